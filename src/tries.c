/*-------------------------------------------------------------------------
 *
 * tries.c
 *	  The scheduler's tries: starting what is due, and what became of it.
 *
 * A try is written down and committed before it starts, so that a job that
 * takes the server with it comes back later each time.  Runs write their ends
 * themselves; what is left to do here is about those that never became one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "history.h"
#include "lfsync.h"
#include "transact.h"
#include "tries.h"

/* How long others wait for a run that starts. */
#define STARTING_TIME	USECS_PER_SEC

/* A worker that was started and has not ended: a try, or a call of on_event. */
typedef struct Errand
{
	Job		   *job;			/* as much of it as is needed afterwards */
	bool		event;
	int			attempt;
	Caller	   *caller;
} Errand;

/* What a due job was last said to wait for. */
typedef struct Skip
{
	int64		job_id;
	TimestampTz since;
	const char *reason;
} Skip;

static List *errands = NIL;		/* of Errand */
static List *skips = NIL;		/* of Skip */

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
		MemoryContextSwitchTo(transact_context);
		history_trim(job->id);
	}
	PG_CATCH();
	{
		transact_report("lfsync could not write that a job failed to start", transact_recover());
	}
	PG_END_TRY();
	MemoryContextSwitchTo(transact_context);
}

static void
refuse(const Job *job, int attempt, const ErrorData *edata)
{
	RunSlot    *slot = palloc0(sizeof(RunSlot));

	transact_report(psprintf("lfsync job \"%s\" could not be started", job->name), edata);
	(void) transact_begin("lfsync: writing a refusal");
	slot->owner = job->owner_oid;
	slot->started_at = GetCurrentTimestamp();
	slot_copy_text(slot->source, sizeof(slot->source), job->source ? job->source : "query");
	slot_copy_text(slot->file, sizeof(slot->file), job->file);
	slot_set_error(slot, edata, 0);
	transact_commit();
	write_refusal(job, attempt, slot);
}

/*-------------------------------------------------------------------------
 * Workers that were started
 *-------------------------------------------------------------------------
 */

void
tries_remember(const Job *job, bool event, int attempt, Caller *caller)
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
void
tries_collect_ended(void)
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

void
tries_close_lost(JobStatus *status)
{
	JobState   *state = status->state;

	if (!state->open_try || is_under_way(status))
		return;
	(void) transact_begin("lfsync: looking after a try that was lost");
	job_state_get(status->job->id, state, true);
	state->open_try = false;
	state->last_status = "crashed";
	state->last_run_id = 0;
	state->last_ended_at = clock_now();
	state->last_sqlstate = state->last_message = NULL;
	state->consecutive_failures++;
	job_state_put(state);
	if (status->malformed == NULL)
		job_plan(status->job, state, clock_now(), &status->plan);
	transact_commit();
}

/* A runner that has not read its order yet finds it gone. */
void
tries_leave(void)
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

bool
tries_has_room(void)
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
 * one worker and wait for the other.  It wakes us when it has both; one that
 * takes its time, since lfsync_runs is locked, say, must not stop all others.
 */
static bool
is_starting(void)
{
	RunSlot    *slots = slots_copy();
	bool		found = false;

	for (int i = 0; i < run_slots->nslots; i++)
		found = found || (slot_wants_worker(&slots[i]) &&
						  GetCurrentTimestamp() - slots[i].started_at < STARTING_TIME);
	pfree(slots);
	return found;
}

/*
 * Is the job's file being written?  A guess: the writer's claim decides.  Who has
 * nothing to do but to wait with it is asked for it.
 */
static bool
is_file_busy(const Job *job)
{
	char		file[MAXPGPATH];

	slot_copy_text(file, sizeof(file),
				   is_absolute_path(job->file) ? job->file :
				   psprintf("%s/%s", lfsync_export_directory, job->file));
	return slots_ask_flush(FLUSH_FOR_OTHERS, InvalidOid, 0, file, NULL) > 0;
}

/* Stores that a try starts; *before is the state to go back to. */
static int
store_try(const JobStatus *status, TimestampTz now, JobState *before)
{
	JobState	state;

	(void) transact_begin("lfsync: storing a try");
	job_state_get(status->job->id, &state, true);
	*before = state;
	job_begin_try(status->job, &status->plan, now, &state);
	job_state_put(&state);
	transact_commit();
	return state.attempt;
}

static void
take_try_back(const JobState *before)
{
	(void) transact_begin("lfsync: taking a try back");
	job_state_put(before);
	transact_commit();
}

/* NULL if no worker is free. */
static Caller *
launch(const Job *stored, const JobOptions *options, int attempt)
{
	SyncOrder	order;
	Job		   *job;
	Caller	   *caller;

	(void) transact_begin(psprintf("lfsync: starting %s", stored->name));
	job = job_get(stored->name, false);
	job_check_owner(job);
	job_order(job, &order);
	order.scheduled = true;
	order.attempt = attempt;
	order.condition = options->condition;
	order.timezone = options->timezone;
	order.flush = job_flush_bounds(job, options);
	caller = caller_launch(&order, job->owner_oid);
	transact_commit();
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
			tries_remember(job, false, attempt, caller);
		else
			take_try_back(&before);
	}
	PG_CATCH();
	{
		ErrorData  *edata = transact_recover();

		if (!stored || edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
			transact_report(psprintf("lfsync could not look after job \"%s\"", job->name), edata);
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

bool
tries_start_due(List *statuses, TimestampTz now)
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
		{
			/* that its rows wait in memory is what it is for */
			if (!job_flush_bounds(status->job, &status->plan.options).staged)
				log_skip(status->job, since, "it is still running");
		}
		else if (is_file_busy(status->job))
			log_skip(status->job, since, "another run is writing its file");
		else if (!tries_has_room())
		{
			(void) slots_ask_flush(FLUSH_FOR_OTHERS, InvalidOid, 0, NULL, NULL);
			log_skip(status->job, since, "as many runs as lfsync.max_runs allows are under way");
		}
		else if (is_starting())
			return false;
		else if (!start(status, now))
			return false;
	}
	return true;
}
