/*-------------------------------------------------------------------------
 *
 * runner.c
 *	  The life of a run.
 *
 * The runner connects as the run's owner, so that PostgreSQL itself sees to
 * every right.  Its settings are pinned, whatever the role or the database
 * prescribes.  A run is three transactions: the start of its history, the
 * read-only one that scans (look.c), and the end of its history; publishing
 * happens between the last two, when no snapshot holds back vacuum any more.
 *
 * SIGTERM acts as a query cancel, so that the end is written to the history
 * also at fast shutdown.
 *
 * A run whose rows may wait in memory (staging.c) takes several looks at the
 * source, each such a transaction, before it completes its target.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"

#include "history.h"
#include "job.h"
#include "lfsync.h"
#include "mapping.h"
#include "owner.h"
#include "runner.h"
#include "staging.h"
#include "sync.h"

PGDLLEXPORT void lfsync_runner_main(Datum arg);

/*
 * Pages of a new file travel in few and small buffers, which stay in the
 * processors' caches; a batch fills one.  Containers often have no more than
 * 64 MB of /dev/shm.
 */
#define PAGE_BUFFERS	4
#define PAGE_BUFFER_PART	8	/* of batch_bytes */
#define IMAGE_BUFFERS	2

/* Each table of an image has pages of its own, however large they are. */
#define IMAGE_PAGES		64

/* How long a shutdown may be kept waiting for what waits in memory. */
#define LAST_WRITE_MS	5000

static Run *current_run = NULL;
static volatile sig_atomic_t got_sigterm = false;
static volatile sig_atomic_t timed_out = false;
static volatile sig_atomic_t writing_last = false;
static TimeoutId run_timeout_id;
static emit_log_hook_type prev_emit_log_hook = NULL;

static const SyncMode *const modes[] = {
	&mode_full, &mode_incremental, &mode_merge, &mode_verify, &mode_repair
};

const SyncMode *
find_mode(const char *name)
{
	for (size_t i = 0; i < lengthof(modes); i++)
	{
		if (strcmp(modes[i]->name, name) == 0)
			return modes[i];
	}
	return NULL;
}

void
check_export_mode(const char *name)
{
	const SyncMode *mode = find_mode(name);
	StringInfoData list;

	if (mode && !mode->compares)
		return;
	initStringInfo(&list);
	for (size_t i = 0; i < lengthof(modes); i++)
	{
		if (!modes[i]->compares)
			appendStringInfo(&list, "%s\"%s\"", i ? ", " : "", modes[i]->name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown mode \"%s\"", name),
			 errhint("Valid modes are: %s.", list.data)));
}

bool
runner_start(const SlotHandle *handle, BackgroundWorkerHandle **worker_handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* on a standby too, where RecoveryFinished would never come */
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "lfsync", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "lfsync_runner_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "lfsync runner", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "lfsync runner", sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, handle, sizeof(SlotHandle));
	return RegisterDynamicBackgroundWorker(&worker, worker_handle);
}

static void
runner_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	/* the writer passes on what the postmaster has told us, too */
	if (writing_last)
		return;
	got_sigterm = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
run_timeout_handler(void)
{
	timed_out = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Not in time; what has not been written is read again. */
static void
last_write_handler(void)
{
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/*
 * A FATAL error never reaches PG_CATCH, and the most likely ones come before
 * there is one: a role that may not log in or connect.
 */
static void
runner_emit_log(ErrorData *edata)
{
	if (edata->elevel == FATAL && current_run)
		slot_set_error(current_run->slot, edata, 0);
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

static void
runner_exit(int code, Datum arg)
{
	Run		   *run = current_run;

	if (run->channel && run->channel->segment)
	{
		/* FATAL: no time to wait, the writer holds its own part of the slot */
		pg_atomic_write_u32(&run->channel->header->stop, 1);
		TerminateBackgroundWorker(run->channel->writer);
		slot_abandon(run->slot, SLOT_WRITER);
	}
	/* it may be another run's from here on */
	current_run = NULL;
	slot_release(run->slot, SLOT_RUNNER);
}

static void
pin_settings(const SyncOrder *order)
{
	static const char *const settings[][2] = {
		{"role", "none"},
		{"DateStyle", "ISO"},
		{"IntervalStyle", "iso_8601"},
		{"TimeZone", "UTC"},
		{"extra_float_digits", "1"},
		{"bytea_output", "hex"},
		{"quote_all_identifiers", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"synchronize_seqscans", "off"},
		{"jit", "off"},
		{"statement_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("row_security", order->options.row_security ? "on" : "off",
					PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("lfsync.export_directory", order->export_directory,
					PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("lfsync.batch_bytes", psprintf("%d", order->batch_bytes),
					PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("lfsync.busy_timeout", psprintf("%d", order->busy_timeout),
					PGC_SUSET, PGC_S_SESSION);
	SetConfigOption("lock_timeout", psprintf("%d", order->busy_timeout),
					PGC_SUSET, PGC_S_SESSION);
	/* names in a query, a filter or a mapping are the caller's; nothing else needs any */
	SetConfigOption("search_path",
					order->query || order->filter || order->mapping ||
					order->condition || order->event ? order->search_path : "pg_catalog",
					PGC_USERSET, PGC_S_SESSION);

	/* this one looks for conversions in the catalogs, under the others */
	StartTransactionCommand();
	SetConfigOption("client_encoding", "UTF8", PGC_SUSET, PGC_S_SESSION);
	CommitTransactionCommand();
}

void
run_use_images(Run *run)
{
	Size		least = (Size) IMAGE_PAGES * run->order->options.page_size;

	if (run->channel->enlarged == NULL)
		channel_enlarge(run->channel, IMAGE_BUFFERS,
						Max((Size) lfsync_batch_bytes * 1024, least));
}

/* Of all of a run, but not of the time that rows wait in memory. */
static void
limit_time(const Run *run)
{
	if (run->order->options.run_timeout > 0)
		enable_timeout_after(run_timeout_id, run->order->options.run_timeout);
}

/* The writer looks at the target and says how it is to be written. */
static void
open_target(Run *run)
{
	OpenRequest request;
	OpenReply	reply;
	StringInfoData message;
	const SyncOptions *options = &run->order->options;
	ListCell   *lc;

	StartTransactionCommand();
	memset(&request, 0, sizeof(request));
	/* rights are asked anew at each run */
	request.path = MemoryContextStrdup(run->context,
									   path_resolve(run->order->file, run->slot->owner));
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);

	path_forbidden(&request.forbidden);
	request.options = *options;
	request.busy_timeout = lfsync_busy_timeout;
	request.keep = find_mode(run->order->mode)->compares;
	foreach(lc, run->order->table_names)
		request.tables = lappend(request.tables,
								 pg_server_to_any(lfirst(lc), strlen(lfirst(lc)), PG_UTF8));

	/* somebody who waits had rather know soon */
	run->channel = channel_create(run->slot, &run->handle, PAGE_BUFFERS,
								  (Size) lfsync_batch_bytes * 1024 / PAGE_BUFFER_PART,
								  run->order->scheduled ? Max(lfsync_busy_timeout, SLOT_WORKER_GONE_MS) : SLOT_WORKER_GONE_MS);
	channel_begin(run->channel, MESSAGE_OPEN);
	message_put_open(&run->channel->message, &request);
	channel_send(run->channel);
	channel_await(run->channel, MESSAGE_OPENED, &message);
	message_get_opened(&message, &reply);
	run->disposition = reply.disposition;
	run->states = reply.states;
	run->order->in_place = reply.disposition == DISPOSITION_IN_PLACE ||
		order_goes_on(run->order);
	if (run->disposition == DISPOSITION_IN_PLACE)
		run_use_images(run);

	StartTransactionCommand();
	foreach(lc, reply.owners)
	{
		char	   *owner = pg_any_to_server(lfirst(lc), strlen(lfirst(lc)), PG_UTF8);
		Oid			roleid = get_role_oid(owner, true);

		if ((!OidIsValid(roleid) || !has_privs_of_role(run->slot->owner, roleid)) &&
			!has_privs_of_role(run->slot->owner, ROLE_PG_WRITE_SERVER_FILES))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("file \"%s\" has tables of role \"%s\"",
							request.path, owner),
					 errdetail("Only that role, its members and members of pg_write_server_files may write to it."),
					 errhint("Choose another file.")));
	}
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
}

const TargetState *
run_find_state(const Run *run, const char *table_name)
{
	ListCell   *lc;

	foreach(lc, run->states)
	{
		TargetState *state = (TargetState *) lfirst(lc);

		if (mapping_same_name(state->table_name, table_name))
			return state;
	}
	return NULL;
}

/*
 * A shutdown tells us more than once: the postmaster does, our caller and our
 * writer.  What is written because of the first is not broken off by the others,
 * only by its time.
 */
static void
begin_last_write(void)
{
	writing_last = true;
	QueryCancelPending = false;
	enable_timeout_after(RegisterTimeout(USER_TIMEOUT, last_write_handler), LAST_WRITE_MS);
}

/*
 * A shutdown has come while rows wait in memory: those of complete looks are
 * written, as if the run had ended there.
 */
static void
write_last(Run *run)
{
	RunTable   *table = (RunTable *) linitial(run->tables);
	const Position *position;

	begin_last_write();
	staging_write(run, "shutdown");
	sync_end_table(run, table, false);
	position = position_from_utf8(staging_position(run));
	sync_set_position(run, table, position);
	run_add_counts(run);
}

/* Looks at the source until what has come is on its way to the file. */
static void
follow_source(Run *run, const SyncMode *mode)
{
	PG_TRY();
	{
		run_look(run, mode);
		while (staging_holds(run))
		{
			disable_all_timeouts(false);
			staging_wait(run);
			limit_time(run);
			run_look(run, mode);
		}
	}
	PG_CATCH();
	{
		if (!got_sigterm || !staging_go_back(run))
			PG_RE_THROW();
		disable_all_timeouts(false);
		FlushErrorState();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(run->context);
		write_last(run);
	}
	PG_END_TRY();
}

/* From here on the file is there: nothing may call the run a failure. */
static void
accept_target(Run *run, StringInfo message)
{
	FinishReply reply;
	ListCell   *lc;
	ListCell   *refused;

	message_get_done(message, &reply);
	forboth(lc, run->finish.tables, refused, reply.refused)
		run_count_refused(run, (TargetTable *) lfirst(lc), lfirst_int(refused));
	run->counts.bytes_written = reply.bytes_written;
	run->counts.write_us = reply.write_us;
	run->writer_notes = reply.notes;
	run->published = true;
}

/* The writer completes the file and publishes it. */
static void
finish_target(Run *run)
{
	StringInfoData message;

	channel_begin(run->channel, MESSAGE_FINISH);
	message_put_finish(&run->channel->message, &run->finish);
	channel_send(run->channel);
	channel_await(run->channel, MESSAGE_DONE, &message);
	accept_target(run, &message);
	channel_destroy(run->channel);
}

static void
set_outcome(Run *run, RunStatus status)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	run->slot->status = status;
	run->slot->counts = run->counts;
	LWLockRelease(run_slots->lock);
}

static void
run_succeeded(Run *run)
{
	RunError	no_error;
	char	   *notes;

	/* names are converted, which wants the catalogs */
	StartTransactionCommand();
	order_set_result(run->order_segment, run_tables_json(run));
	notes = MemoryContextStrdup(run->context, run_notes_json(run));
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	set_outcome(run, RUN_SUCCEEDED);
	memset(&no_error, 0, sizeof(no_error));
	history_end(run->slot, run->order, RUN_SUCCEEDED, &run->counts, &no_error,
				notes, run->position_from, run->position_to);
	if (run->order->reset)
		job_clear_reset(run->order->job);
	if (lfsync_log_runs == LOG_RUNS_ALL)
		ereport(LOG,
				(errmsg("lfsync run " INT64_FORMAT " of %s to \"%s\": " INT64_FORMAT " rows",
						run->slot->run_id, slot_text(run->slot->source),
						run->order->file, run->counts.rows_read)));
}

static void
run_order(Run *run)
{
	const SyncMode *mode = find_mode(run->order->mode);

	pgstat_report_activity(STATE_RUNNING,
						   psprintf("lfsync: %s to %s", run->order->mode, run->order->file));
	if (run->order->condition)
	{
		slot_set_phase(run->slot, "asking for its condition");
		if (!owner_agrees(run->order))
		{
			history_skip(run->order);
			slot_set_status(run->slot, RUN_SKIPPED);
			return;
		}
	}
	(void) history_start(run->slot, run->order);
	MemoryContextSwitchTo(run->context);

	order_add_first_position(run->order);
	open_target(run);
	staging_begin(run);
	follow_source(run, mode);
	slot_set_phase(run->slot, "completing");
	finish_target(run);
	disable_all_timeouts(false);
	run_succeeded(run);
}

/* What a cancel was about. */
static void
explain_cancel(ErrorData *edata)
{
	if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && edata->hint == NULL)
		edata->hint = "A source is locked. Try again later, or raise lfsync.busy_timeout.";
	if (edata->sqlerrcode != ERRCODE_QUERY_CANCELED)
		return;
	if (timed_out)
	{
		edata->message = "the run took longer than \"run_timeout\"";
		edata->hint = "Raise lfsync.run_timeout or the option \"run_timeout\".";
	}
	else if (got_sigterm)
		edata->message = "the run was stopped";
	else
		edata->message = "the run was cancelled";
}

static void
write_end(Run *run, RunStatus status, const RunError *error)
{
	volatile bool stopped = false;

	PG_TRY();
	{
		if (run->published)
			run_succeeded(run);
		else
		{
			/* a condition that fails does so before the run is one */
			if (run->slot->run_id == 0 && run->order->condition && status == RUN_FAILED)
				(void) history_start(run->slot, run->order);
			if (run->slot->run_id > 0)
				history_end(run->slot, run->order, status, &run->counts, error,
							NULL, NULL, NULL);
		}
	}
	PG_CATCH();
	{
		/* what is told to stop only now may still say what became of it */
		stopped = geterrcode() == ERRCODE_QUERY_CANCELED && !writing_last;
		/* or else the next run will mark it crashed */
		if (!stopped)
			EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	if (stopped)
	{
		begin_last_write();
		write_end(run, status, error);
	}
}

/* What the run did is told; that this fails changes nothing of it. */
static void
trim_history(Run *run)
{
	PG_TRY();
	{
		history_trim(run->order->job_id);
	}
	PG_CATCH();
	{
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
}

static void
run_failed(Run *run, ErrorData *edata)
{
	RunStatus	status = RUN_FAILED;
	RunError	error;

	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	/* conversion of its texts wants the transaction that is about to go */
	explain_cancel(edata);
	slot_set_error(run->slot, edata, 0);
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	/* the writer may have been faster than the news that it is to stop */
	if (run->channel && run->channel->segment && channel_destroy(run->channel))
		accept_target(run, &run->channel->message);

	error = run->slot->error;
	if (error.sqlerrcode == ERRCODE_QUERY_CANCELED && !timed_out)
		status = got_sigterm ? RUN_STOPPED : RUN_CANCELLED;
	if (!run->published)
		set_outcome(run, status);
	if (got_sigterm)
		begin_last_write();
	QueryCancelPending = false;
	RESUME_INTERRUPTS();

	if (run->order->event)
		ereport(LOG,
				(errmsg("function \"%s\", called for an event of lfsync job \"%s\", failed: %s",
						run->order->on_event, run->order->job, error.message)));
	else if (lfsync_log_runs >= LOG_RUNS_ERRORS)
		ereport(LOG,
				(errmsg(run->published ?
						"lfsync run " INT64_FORMAT " published its file, and then failed: %s" :
						"lfsync run " INT64_FORMAT " failed: %s",
						run->slot->run_id, error.message),
				 error.detail[0] ? errdetail_internal("%s", error.detail) : 0,
				 error.hint[0] ? errhint("%s", error.hint) : 0));
	write_end(run, status, &error);
}

/*
 * The work inside PG_TRY, and what follows an error, in functions of their own:
 * their variables survive the jump.
 */
void
lfsync_runner_main(Datum arg)
{
	Run		   *run = MemoryContextAllocZero(TopMemoryContext, sizeof(Run));

	pqsignal(SIGTERM, runner_sigterm);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	memcpy(&run->handle, MyBgworkerEntry->bgw_extra, sizeof(SlotHandle));
	run->slot = slot_attach(&run->handle, SLOT_RUNNER);
	if (run->slot == NULL)
		proc_exit(0);			/* the caller has given up */
	current_run = run;
	before_shmem_exit(runner_exit, (Datum) 0);
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = runner_emit_log;

	run->context = AllocSetContextCreate(TopMemoryContext, "lfsync run",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(run->context);
	CurrentResourceOwner = NULL;
	run->order = order_receive(run->slot->order, &run->order_segment);
	if (run->order == NULL)
		proc_exit(0);
	dsm_pin_mapping(run->order_segment);

	BackgroundWorkerInitializeConnectionByOid(run->slot->dboid, run->slot->owner, 0);

	PG_TRY();
	{
		pin_settings(run->order);
		MemoryContextSwitchTo(run->context);
		run_timeout_id = RegisterTimeout(USER_TIMEOUT, run_timeout_handler);
		limit_time(run);
		if (run->order->event)
			owner_tell(run->order);
		else
			run_order(run);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(run->context);
		edata = CopyErrorData();
		FlushErrorState();
		run_failed(run, edata);
	}
	PG_END_TRY();
	if (run->slot->run_id > 0)
		trim_history(run);
	proc_exit(0);
}
