/*-------------------------------------------------------------------------
 *
 * scheduler.c
 *	  The permanent worker that starts what is due.
 *
 * One for each database in lfsync.databases.  It sleeps on its latch until the
 * next job is due, and looks around whenever a job is stored or changed, a run
 * has ended anywhere, or the configuration was read again.
 *
 * It is connected as a superuser, so it reads lfsync's own tables and nothing
 * else, and runs no code of anybody's: what belongs to a job's owner happens in
 * a runner.
 *
 * Whatever goes wrong with one job is caught there; whatever goes wrong besides
 * is caught in the loop.  On SIGTERM it exits with status 1: unless the server
 * is shutting down, the postmaster starts another.  Runs go on without it, and
 * write their ends themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#include "caller.h"
#include "clock.h"
#include "event.h"
#include "history.h"
#include "lfsync.h"
#include "scheduler.h"
#include "transact.h"
#include "tries.h"

PGDLLEXPORT void lfsync_scheduler_main(Datum arg);

/* Seconds: after the end of a scheduler, and at most after many of them. */
#define RESTART_PAUSE		1
#define LONGEST_PAUSE		60

/* How soon to look again when something went wrong or no worker is free. */
#define TROUBLE_PAUSE_MS	1000

/* How often what is old is cleared away. */
#define CLEAR_PAUSE			USECS_PER_HOUR

/* How long a function that is told of an event may take. */
#define EVENT_TIMEOUT_MS	60000

/* A call of on_event that waits for a slot. */
typedef struct Event
{
	char	   *job;
	char	   *json;
} Event;

/* What it has to remember from one look to the next. */
static List *events = NIL;		/* of Event */
static TimestampTz cleared_at = 0;
static bool marked_crashed = false;

/*-------------------------------------------------------------------------
 * Telling
 *-------------------------------------------------------------------------
 */

static void
queue_event(const Job *job, const char *json)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	Event	   *event = palloc(sizeof(Event));

	event->job = pstrdup(job->name);
	event->json = pstrdup(json);
	events = lappend(events, event);
	MemoryContextSwitchTo(oldcontext);
}

static void
tell(const JobStatus *status, TimestampTz now)
{
	PG_TRY();
	{
		char	   *json;

		(void) transact_begin("lfsync: telling a change of health");
		json = event_tell(status, now);
		transact_commit();
		if (json)
			queue_event(status->job, json);
	}
	PG_CATCH();
	{
		transact_report("lfsync could not tell a change of a job's health", transact_recover());
	}
	PG_END_TRY();
}

/* Calls the job's function, in a runner. */
static void
call(const Event *event)
{
	PG_TRY();
	{
		Job		   *job;
		Schedule	schedule;
		JobOptions	options;
		SyncOrder	order = {.mode = "event", .file = ""};
		Caller	   *caller;

		(void) transact_begin("lfsync: calling on_event");
		job = job_get(event->job, false);
		job_check_owner(job);
		job_schedule(job, &schedule, &options);
		order.job = job->name;
		order.search_path = job->search_path;
		order.event = event->json;
		order.on_event = options.on_event;
		order.options.run_timeout = EVENT_TIMEOUT_MS;
		caller = options.on_event ? caller_launch(&order, job->owner_oid) : NULL;
		transact_commit();
		if (caller)
			tries_remember(job, true, 1, caller);
	}
	PG_CATCH();
	{
		transact_report(psprintf("lfsync could not call the function \"on_event\" of job \"%s\"", event->job),
			   transact_recover());
	}
	PG_END_TRY();
}

/* As many as there is room for; the others wait. */
static void
call_events(void)
{
	while (events != NIL && tries_has_room())
	{
		Event	   *event = (Event *) linitial(events);

		events = list_delete_first(events);
		call(event);
		pfree(event->job);
		pfree(event->json);
		pfree(event);
	}
}

/*-------------------------------------------------------------------------
 * Looking around
 *-------------------------------------------------------------------------
 */

/* All jobs; NIL where there is no extension. */
static List *
read_jobs(TimestampTz now)
{
	List	   *statuses = NIL;

	if (transact_begin("lfsync: looking for jobs that are due"))
	{
		if (!marked_crashed)
			history_mark_crashed();
		marked_crashed = true;
		statuses = job_status_list(now);
	}
	transact_commit();
	return statuses;
}

/* Those whose health is not what was last told. */
static List *
changed_health(List *statuses, TimestampTz now)
{
	List	   *changed = NIL;
	ListCell   *lc;

	(void) transact_begin("lfsync: looking at the health of jobs");
	foreach(lc, statuses)
	{
		if (event_is_due((const JobStatus *) lfirst(lc), now))
			changed = lappend(changed, lfirst(lc));
	}
	transact_commit();
	return changed;
}

static void
clear_old(TimestampTz now)
{
	if (cleared_at != 0 && now >= cleared_at && now - cleared_at < CLEAR_PAUSE)
		return;
	(void) transact_begin("lfsync: clearing away what is old");
	job_state_forget();
	transact_commit();
	history_trim(0);
	MemoryContextSwitchTo(transact_context);
	cleared_at = now;
}

/* Does what there is to do, and returns for how long there is nothing. */
static long
look_around(void)
{
	TimestampTz now = clock_now();
	TimestampTz next = DT_NOEND;
	List	   *statuses;
	ListCell   *lc;
	bool		workers_left;

	MemoryContextReset(transact_context);
	MemoryContextSwitchTo(transact_context);
	tries_collect_ended();
	statuses = read_jobs(now);
	if (statuses == NIL)
		return lfsync_naptime;
	foreach(lc, statuses)
		tries_close_lost((JobStatus *) lfirst(lc));
	workers_left = tries_start_due(statuses, now);
	foreach(lc, changed_health(statuses, now))
		tell((const JobStatus *) lfirst(lc), now);
	call_events();
	clear_old(now);

	/* what is due already waits for something that will wake us */
	foreach(lc, statuses)
	{
		const JobStatus *status = (const JobStatus *) lfirst(lc);

		if (status->plan.at > now)
			next = Min(next, status->plan.at);
	}
	if (!workers_left)
		return TROUBLE_PAUSE_MS;
	return next == DT_NOEND ? lfsync_naptime :
		Min(lfsync_naptime, TimestampDifferenceMilliseconds(now, next));
}

static void
pause_ms(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Looks around and waits, for ever; an error returns. */
static void
work(void)
{
	PG_TRY();
	{
		for (;;)
			pause_ms(look_around());
	}
	PG_CATCH();
	{
		transact_report("lfsync scheduler failed, and goes on", transact_recover());
	}
	PG_END_TRY();
}

/*-------------------------------------------------------------------------
 * The worker
 *-------------------------------------------------------------------------
 */

static List *
database_names(void)
{
	List	   *names = NIL;

	/* checked when it was set */
	(void) SplitIdentifierString(pstrdup(lfsync_databases), ',', &names);
	return names;
}

int
scheduler_register(void)
{
	List	   *names = database_names();
	ListCell   *lc;

	/* nothing is to run in a server that pg_upgrade has started */
	if (IsBinaryUpgrade)
		return 0;
	foreach(lc, names)
	{
		BackgroundWorker worker;

		memset(&worker, 0, sizeof(worker));
		worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
		/* a standby is written by its primary's */
		worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
		worker.bgw_restart_time = RESTART_PAUSE;
		worker.bgw_main_arg = Int32GetDatum(foreach_current_index(lc));
		strlcpy(worker.bgw_library_name, "lfsync", sizeof(worker.bgw_library_name));
		strlcpy(worker.bgw_function_name, "lfsync_scheduler_main",
				sizeof(worker.bgw_function_name));
		snprintf(worker.bgw_name, sizeof(worker.bgw_name), "lfsync scheduler %s",
				 (const char *) lfirst(lc));
		strlcpy(worker.bgw_type, "lfsync scheduler", sizeof(worker.bgw_type));
		RegisterBackgroundWorker(&worker);
	}
	return list_length(names);
}

static void
leave(int code, Datum arg)
{
	tries_leave();
}

static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION);
}

void
lfsync_scheduler_main(Datum arg)
{
	int			n = DatumGetInt32(arg);
	int			failed_starts;
	TimestampTz started_at;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	/* a database that is not there, or not yet, should not fill the log */
	failed_starts = clock_starting(n);
	started_at = GetCurrentTimestamp();
	while (failed_starts > 0 &&
		   !TimestampDifferenceExceeds(started_at, GetCurrentTimestamp(),
									   Min(LONGEST_PAUSE, 1 << Min(failed_starts, 16)) * 1000))
		pause_ms(TROUBLE_PAUSE_MS);
	BackgroundWorkerInitializeConnection(list_nth(database_names(), n), NULL, 0);
	clock_ready(n);
	before_shmem_exit(leave, (Datum) 0);

	pin_settings();
	transact_context = AllocSetContextCreate(TopMemoryContext, "lfsync scheduler",
										 ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		work();
		pause_ms(TROUBLE_PAUSE_MS);
	}
}
