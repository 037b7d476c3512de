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
 * a runner.  A try is written down and committed before it starts, so that a
 * job that takes the server with it comes back later each time.
 *
 * Whatever goes wrong with one job is caught there; whatever goes wrong besides
 * is caught in the loop.  On SIGTERM it exits with status 1: unless the server
 * is shutting down, the postmaster starts another.  Runs go on without it, and
 * write their ends themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#include "caller.h"
#include "clock.h"
#include "event.h"
#include "history.h"
#include "lfsync.h"
#include "scheduler.h"
#include "status.h"
#include "store.h"

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

/* A worker that was started and has not ended: a try, or a call of on_event. */
typedef struct Errand
{
	Job		   *job;			/* as much of it as is needed afterwards */
	bool		event;
	int			attempt;
	Caller	   *caller;
} Errand;

/* A call of on_event that waits for a slot. */
typedef struct Event
{
	char	   *job;
	char	   *json;
} Event;

/* What a due job was last said to wait for. */
typedef struct Skip
{
	int64		job_id;
	TimestampTz since;
	const char *reason;
} Skip;

/* What it has to remember from one look to the next. */
static List *errands = NIL;		/* of Errand */
static List *skips = NIL;		/* of Skip */
static List *events = NIL;		/* of Event */
static TimestampTz cleared_at = 0;
static bool marked_crashed = false;
static MemoryContext look_context;

/*-------------------------------------------------------------------------
 * Transactions
 *-------------------------------------------------------------------------
 */

/* False if there is no extension, or not any more. */
static bool
begin(const char *activity)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, activity);
	MemoryContextSwitchTo(look_context);
	return store_lock();
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(look_context);
}

/* Ends what an error has interrupted; returns the error. */
static ErrorData *
recover(void)
{
	ErrorData  *edata;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(look_context);
	edata = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(look_context);
	RESUME_INTERRUPTS();
	return edata;
}

static void
report(const char *what, const ErrorData *edata)
{
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("%s: %s", what, edata->message),
			 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
			 edata->hint ? errhint("%s", edata->hint) : 0));
}

/*-------------------------------------------------------------------------
 * Starts that do not come off
 *-------------------------------------------------------------------------
 */

/* Once for each time that a job is due, and for each reason. */
static void
log_skip(const Job *job, TimestampTz since, const char *reason)
{
	MemoryContext oldcontext;
	Skip	   *skip = NULL;
	ListCell   *lc;

	foreach(lc, skips)
	{
		if (((Skip *) lfirst(lc))->job_id == job->id)
			skip = (Skip *) lfirst(lc);
	}
	if (skip && skip->since == since && skip->reason == reason)
		return;
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	if (skip == NULL)
	{
		skip = palloc0(sizeof(Skip));
		skips = lappend(skips, skip);
	}
	skip->job_id = job->id;
	skip->since = since;
	skip->reason = reason;
	MemoryContextSwitchTo(oldcontext);
	ereport(LOG,
			(errmsg("lfsync job \"%s\", due since %s, does not start: %s",
					job->name, timestamptz_to_str(since), reason)));
}

static void
forget_skip(int64 job_id)
{
	ListCell   *lc;

	foreach(lc, skips)
	{
		Skip	   *skip = (Skip *) lfirst(lc);

		if (skip->job_id == job_id)
		{
			skips = foreach_delete_current(skips, lc);
			pfree(skip);
		}
	}
}

/* A try that failed before there was a run is one in the history. */
static void
write_refusal(const Job *job, int attempt, RunSlot *slot)
{
	SyncOrder	order = {
		.job = job->name,
		.job_id = job->id,
		.mode = job->mode,
		.scheduled = true
	};
	RunCounts	counts = {0};

	slot->run_id = 0;
	slot->attempt = attempt;
	PG_TRY();
	{
		(void) history_start(slot, &order);
		history_end(slot, &order, RUN_FAILED, &counts, &slot->error, NULL, NULL, NULL);
		MemoryContextSwitchTo(look_context);
		history_trim(job->id);
	}
	PG_CATCH();
	{
		report("lfsync could not write that a job failed to start", recover());
	}
	PG_END_TRY();
	MemoryContextSwitchTo(look_context);
}

static void
refuse(const Job *job, int attempt, const ErrorData *edata)
{
	RunSlot    *slot = palloc0(sizeof(RunSlot));

	report(psprintf("lfsync job \"%s\" could not be started", job->name), edata);
	(void) begin("lfsync: writing a refusal");
	slot->owner = job->owner_oid;
	slot->started_at = GetCurrentTimestamp();
	slot_copy_text(slot->source, sizeof(slot->source), job->source ? job->source : "query");
	slot_copy_text(slot->file, sizeof(slot->file), job->file);
	slot_set_error(slot, edata, 0);
	commit();
	write_refusal(job, attempt, slot);
}

/*-------------------------------------------------------------------------
 * Workers that were started
 *-------------------------------------------------------------------------
 */

static void
remember(const Job *job, bool event, int attempt, Caller *caller)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	Errand	   *errand = palloc0(sizeof(Errand));

	errand->job = palloc0(sizeof(Job));
	errand->job->id = job->id;
	errand->job->name = pstrdup(job->name);
	errand->job->mode = pstrdup(job->mode);
	errand->event = event;
	errand->attempt = attempt;
	errand->caller = caller;
	errands = lappend(errands, errand);
	MemoryContextSwitchTo(oldcontext);
}

static void
forget(Errand *errand)
{
	errands = list_delete_ptr(errands, errand);
	pfree(errand->job->name);
	pfree(errand->job->mode);
	pfree(errand->job);
	pfree(errand);
}

/*
 * Runs have written their ends themselves; what is left are those that never
 * became one.
 */
static void
collect_ended(void)
{
	ListCell   *lc;

	foreach(lc, list_copy(errands))
	{
		Errand	   *errand = (Errand *) lfirst(lc);
		RunSlot    *slot = palloc(sizeof(RunSlot));

		if (!caller_ended(errand->caller, slot))
			continue;
		if (!errand->event && slot->status == RUN_SKIPPED)
			ereport(LOG,
					(errmsg("lfsync job \"%s\" does not run this time: its condition is not true",
							errand->job->name)));
		else if (!errand->event && slot->run_id == 0 && slot->error.sqlerrcode != 0)
			write_refusal(errand->job, errand->attempt, slot);
		forget(errand);
	}
}

static bool
is_under_way(const JobStatus *status)
{
	ListCell   *lc;

	if (status->running)
		return true;
	foreach(lc, errands)
	{
		const Errand *errand = (const Errand *) lfirst(lc);

		if (!errand->event && errand->job->id == status->job->id)
			return true;
	}
	return false;
}

/*
 * A try that has not ended and is not under way ended with a crash, or with an
 * earlier scheduler.
 */
static void
close_lost_try(JobStatus *status)
{
	JobState   *state = status->state;

	if (!state->open_try || is_under_way(status))
		return;
	(void) begin("lfsync: looking after a try that was lost");
	state->open_try = false;
	state->last_status = "crashed";
	state->last_run_id = 0;
	state->last_ended_at = clock_now();
	state->last_sqlstate = state->last_message = NULL;
	state->consecutive_failures++;
	job_state_put(state);
	if (status->malformed == NULL)
		job_plan(status->job, state, clock_now(), &status->plan);
	commit();
}

/* The runs go on; a runner that has not read its order yet finds it gone. */
static void
leave_errands(int code, Datum arg)
{
	ListCell   *lc;

	foreach(lc, errands)
		caller_leave(((Errand *) lfirst(lc))->caller);
	errands = NIL;
}

/*-------------------------------------------------------------------------
 * Starting
 *-------------------------------------------------------------------------
 */

/* Is there a slot for another run? */
static bool
has_room(void)
{
	RunSlot    *slots = slots_copy();
	bool		found = false;

	for (int i = 0; i < run_slots->nslots; i++)
		found = found || slots[i].holders == 0;
	pfree(slots);
	return found;
}

/*
 * Is a run still without its writer?  Runs that start together could each get
 * one worker and wait for the other.  It wakes us when it has both.
 */
static bool
is_starting(void)
{
	RunSlot    *slots = slots_copy();
	bool		found = false;

	for (int i = 0; i < run_slots->nslots; i++)
		found = found || slot_wants_worker(&slots[i]);
	pfree(slots);
	return found;
}

/* Is the job's file being written?  A guess: the writer's claim decides. */
static bool
is_file_busy(const Job *job)
{
	RunSlot    *slots = slots_copy();
	char		file[MAXPGPATH];
	bool		busy = false;

	slot_copy_text(file, sizeof(file),
				   is_absolute_path(job->file) ? job->file :
				   psprintf("%s/%s", lfsync_export_directory, job->file));
	for (int i = 0; i < run_slots->nslots; i++)
	{
		if (slots[i].holders != 0 && strcmp(slots[i].file, file) == 0)
			busy = true;
	}
	pfree(slots);
	return busy;
}

/* Stores that a try starts; *before is the state to go back to. */
static int
store_try(const JobStatus *status, TimestampTz now, JobState *before)
{
	JobState	state;

	(void) begin("lfsync: storing a try");
	job_state_get(status->job->id, &state, true);
	*before = state;
	job_begin_try(status->job, &status->plan, now, &state);
	job_state_put(&state);
	commit();
	return state.attempt;
}

static void
take_try_back(const JobState *before)
{
	(void) begin("lfsync: taking a try back");
	job_state_put(before);
	commit();
}

/* NULL if no worker is free. */
static Caller *
launch(const Job *stored, const JobOptions *options, int attempt)
{
	SyncOrder	order;
	Job		   *job;
	Caller	   *caller;

	(void) begin(psprintf("lfsync: starting %s", stored->name));
	job = job_get(stored->name, false);
	job_check_owner(job);
	job_order(job, &order);
	order.scheduled = true;
	order.attempt = attempt;
	order.condition = options->condition;
	order.timezone = options->timezone;
	caller = caller_launch(&order, job->owner_oid);
	commit();
	return caller;
}

/* False if there is no point in trying to start anything else now. */
static bool
start(JobStatus *status, TimestampTz now)
{
	const Job  *job = status->job;
	JobState	before;
	Caller	   *volatile caller = NULL;
	volatile int attempt = 1;
	volatile bool stored = false;

	PG_TRY();
	{
		attempt = store_try(status, now, &before);
		stored = true;
		caller = launch(job, &status->plan.options, attempt);
		if (caller)
			remember(job, false, attempt, caller);
		else
			take_try_back(&before);
	}
	PG_CATCH();
	{
		ErrorData  *edata = recover();

		if (!stored || edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
			report(psprintf("lfsync could not look after job \"%s\"", job->name), edata);
		else
			refuse(job, attempt, edata);
		return true;
	}
	PG_END_TRY();

	if (caller == NULL)
	{
		log_skip(job, status->plan.since, "no background worker is free (max_worker_processes)");
		return false;
	}
	forget_skip(job->id);
	status->running = true;
	return true;
}

/* Who waits longest is first, so that every job has its turn. */
static int
compare_since(const ListCell *a, const ListCell *b)
{
	const JobStatus *left = (const JobStatus *) lfirst(a);
	const JobStatus *right = (const JobStatus *) lfirst(b);

	if (left->plan.since != right->plan.since)
		return left->plan.since < right->plan.since ? -1 : 1;
	return left->job->id < right->job->id ? -1 : 1;
}

/* Starts what is due, as far as there is room; false if workers are missing. */
static bool
start_due(List *statuses, TimestampTz now)
{
	List	   *due = NIL;
	ListCell   *lc;

	foreach(lc, statuses)
	{
		if (((JobStatus *) lfirst(lc))->plan.at <= now)
			due = lappend(due, lfirst(lc));
	}
	list_sort(due, compare_since);
	foreach(lc, due)
	{
		JobStatus  *status = (JobStatus *) lfirst(lc);
		TimestampTz since = status->plan.since;

		if (is_under_way(status))
			log_skip(status->job, since, "it is still running");
		else if (is_file_busy(status->job))
			log_skip(status->job, since, "another run is writing its file");
		else if (!has_room())
			log_skip(status->job, since, "as many runs as lfsync.max_runs allows are under way");
		else if (is_starting())
			break;
		else if (!start(status, now))
			return false;
	}
	return true;
}

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

		(void) begin("lfsync: telling a change of health");
		json = event_tell(status, now);
		commit();
		if (json)
			queue_event(status->job, json);
	}
	PG_CATCH();
	{
		report("lfsync could not tell a change of a job's health", recover());
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

		(void) begin("lfsync: calling on_event");
		job = job_get(event->job, false);
		job_check_owner(job);
		job_schedule(job, &schedule, &options);
		order.job = job->name;
		order.search_path = job->search_path;
		order.event = event->json;
		order.on_event = options.on_event;
		order.options.run_timeout = EVENT_TIMEOUT_MS;
		caller = options.on_event ? caller_launch(&order, job->owner_oid) : NULL;
		commit();
		if (caller)
			remember(job, true, 1, caller);
	}
	PG_CATCH();
	{
		report(psprintf("lfsync could not call the function \"on_event\" of job \"%s\"", event->job),
			   recover());
	}
	PG_END_TRY();
}

/* As many as there is room for; the others wait. */
static void
call_events(void)
{
	while (events != NIL && has_room())
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

	if (begin("lfsync: looking for jobs that are due"))
	{
		if (!marked_crashed)
			history_mark_crashed();
		marked_crashed = true;
		statuses = job_status_list(now);
	}
	commit();
	return statuses;
}

/* Those whose health is not what was last told. */
static List *
changed_health(List *statuses, TimestampTz now)
{
	List	   *changed = NIL;
	ListCell   *lc;

	(void) begin("lfsync: looking at the health of jobs");
	foreach(lc, statuses)
	{
		if (event_is_due((const JobStatus *) lfirst(lc), now))
			changed = lappend(changed, lfirst(lc));
	}
	commit();
	return changed;
}

static void
clear_old(TimestampTz now)
{
	if (cleared_at != 0 && now >= cleared_at && now - cleared_at < CLEAR_PAUSE)
		return;
	(void) begin("lfsync: clearing away what is old");
	job_state_forget();
	commit();
	history_trim(0);
	MemoryContextSwitchTo(look_context);
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

	MemoryContextReset(look_context);
	MemoryContextSwitchTo(look_context);
	collect_ended();
	statuses = read_jobs(now);
	if (statuses == NIL)
		return lfsync_naptime;
	foreach(lc, statuses)
		close_lost_try((JobStatus *) lfirst(lc));
	workers_left = start_due(statuses, now);
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
		report("lfsync scheduler failed, and goes on", recover());
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
	before_shmem_exit(leave_errands, (Datum) 0);

	pin_settings();
	look_context = AllocSetContextCreate(TopMemoryContext, "lfsync scheduler",
										 ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		work();
		pause_ms(TROUBLE_PAUSE_MS);
	}
}
