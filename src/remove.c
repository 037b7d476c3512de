/*-------------------------------------------------------------------------
 *
 * remove.c
 *	  Removing the file of a job that is dropped.
 *
 * What a file holds only SQLite can tell, and whether somebody has it open only
 * a lease, whose end comes as a signal: neither belongs into a backend.  So a
 * background worker does it, by the rules of a writer: no database connection,
 * the path walked anew, the file claimed as by a run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "path.h"
#include "publish.h"
#include "remove.h"
#include "target.h"

PGDLLEXPORT void lfsync_remover_main(Datum arg);

static RunSlot *slot = NULL;
static TargetPath target;
static pg_atomic_uint32 never_stop; /* SIGTERM is enough */

bool
remover_start(const SlotHandle *handle, BackgroundWorkerHandle **worker_handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "lfsync", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "lfsync_remover_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "lfsync remover", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "lfsync remover", sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, handle, sizeof(SlotHandle));
	return RegisterDynamicBackgroundWorker(&worker, worker_handle);
}

static void
remover_sigterm(SIGNAL_ARGS)
{
	if (proc_exit_inprogress)
		return;
	target_interrupt();
	die(postgres_signal_arg);
}

static void
remover_exit(int code, Datum arg)
{
	target_abandon();
	path_close_target(&target);
	slot_release(slot, SLOT_WRITER);	/* and with it the claim */
	slot_release(slot, SLOT_RUNNER);
}

/*
 * A table, view or trigger of the file that is not the job's, or what lfsync
 * says there of another job or owner; NULL if there is none.  Sets *own to the
 * number of the job's tables.
 */
static char *
find_other(const RemoveRequest *request, int64 *own)
{
	sqlite3    *db = target_open(target.path, &target);
	char	   *other = NULL;

	*own = 0;
	if (target_own_table_exists(db, "_lfsync_state", target_state_sql))
	{
		char	   *ours = sqlite3_mprintf("job IS %Q AND owner = %Q AND NOT adopted",
										   request->job, request->owner);

		*own = target_query_int(db, psprintf("SELECT count(*) FROM _lfsync_state WHERE %s", ours),
								"reading _lfsync_state", 0);
		other = target_query_text(db, psprintf("SELECT name FROM sqlite_schema AS object WHERE type IN ('table', 'view', 'trigger') "
											   "AND name NOT LIKE 'sqlite\\_%%' ESCAPE '\\' "
											   "AND name NOT LIKE '\\_lfsync\\_%%' ESCAPE '\\' "
											   "AND name COLLATE NOCASE NOT IN (SELECT table_name FROM _lfsync_state WHERE %s) AND %s "
											   "UNION ALL SELECT table_name FROM _lfsync_state WHERE NOT (%s)",
											   ours, target_not_ours_condition, ours),
								  "reading its schema");
		sqlite3_free(ours);
	}
	target_close(db);
	return other;
}

static void
remove_file(const RemoveRequest *request)
{
	ForbiddenDirectories forbidden;
	OpenRequest open;
	OpenReply	reply;
	int64		claimed_by;
	int64		own;
	char	   *other;

	path_forbidden(&forbidden);
	path_open_target(request->path, &forbidden, &target);
	if (!target.exists)
		return;
	if (!slot_claim_file(slot, target.dirstat.st_dev, target.dirstat.st_ino,
						 target.name, &claimed_by))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("file \"%s\" is being written by a run", target.path),
				 errdetail("It is run " INT64_FORMAT ".", claimed_by),
				 errhint("Try again when it has ended (see lfsync_progress).")));

	target_init(&never_stop, slot, request->busy_timeout,
				pnstrdup(target.path, strlen(target.path) - strlen(target.name)));
	/* first, so that what is made after the look below is noticed */
	memset(&open, 0, sizeof(open));
	target_examine(&target, &open, &reply);
	other = find_other(request, &own);
	if (other || own == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("file \"%s\" is not this job's alone", target.path),
				 other ? errdetail("It also holds \"%s\".", other) :
				 errdetail("It holds no table that the job has written."),
				 errhint("Drop the job without its file, and remove the file by hand if nobody needs it.")));
	publish_remove(&target);
}

void
lfsync_remover_main(Datum arg)
{
	SlotHandle	handle;
	RemoveRequest request;
	dsm_segment *segment;

	/* a lease on the file is asked about, not waited for */
	pqsignal(SIGIO, SIG_IGN);
	pqsignal(SIGTERM, remover_sigterm);
	memcpy(&handle, MyBgworkerEntry->bgw_extra, sizeof(SlotHandle));
	target.dirfd = -1;
	pg_atomic_init_u32(&never_stop, 0);
	BackgroundWorkerUnblockSignals();

	slot = slot_attach(&handle, SLOT_RUNNER);
	if (slot == NULL)
		proc_exit(0);			/* who asked has given up */
	before_shmem_exit(remover_exit, (Datum) 0);
	slot_set_phase(slot, "removing");
	CurrentResourceOwner = NULL;
	segment = dsm_attach(slot->order);
	if (segment == NULL)
		proc_exit(0);
	memcpy(&request, dsm_segment_address(segment), sizeof(request));

	PG_TRY();
	{
		remove_file(&request);
		slot_set_status(slot, RUN_SUCCEEDED);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(TopMemoryContext);
		edata = CopyErrorData();
		FlushErrorState();
		LWLockReleaseAll();
		target_abandon();
		slot_set_error(slot, edata, target_error_code());
	}
	PG_END_TRY();
	proc_exit(0);
}
