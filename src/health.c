/*-------------------------------------------------------------------------
 *
 * health.c
 *	  Whether all is well with a job, in a word and in a sentence.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "health.h"
#include "lfsync.h"

/* Of RECENT_RUNS, how many may fail before a job counts as unreliable. */
#define UNRELIABLE_PART		0.05

static int
count_recent_failures(const JobState *state)
{
	int			n = 0;

	for (int i = 0; i < state->recent_runs; i++)
		n += state->recent_failures >> i & 1;
	return n;
}

/* A moment as the reader's session shows it, to the second. */
static char *
moment(TimestampTz t)
{
	return pstrdup(timestamptz_to_str(t / USECS_PER_SEC * USECS_PER_SEC));
}

static const char *
times(int n)
{
	return n == 1 ? "once" : psprintf("%d times in a row", n);
}

/* What the last failure was. */
static char *
failure(const JobState *state, bool full)
{
	if (strcmp(state->last_status, "crashed") == 0)
		return pstrdup("its run ended without a word, as in a crash of the server");
	if (full && state->last_message)
		return pstrdup(state->last_message);
	return psprintf("SQLSTATE %s", state->last_sqlstate ? state->last_sqlstate : "unknown");
}

/* Overdue: nobody started it, though it was its time and no run was under way. */
static bool
is_late(const JobState *state, const JobPlan *plan, TimestampTz now, bool running)
{
	return plan->active && !running && plan->at <= now &&
		now - Max(plan->since, state->last_ended_at) > lfsync_naptime * (USECS_PER_SEC / 1000);
}

static JobHealth
sick(const JobState *state, const JobPlan *plan, bool full)
{
	JobHealth	result = {.health = "failing", .event = "failed"};
	const char *what = failure(state, full);

	/* one that has had its tries stays "failing" until it succeeds */
	if (plan->active && plan->again &&
		state->consecutive_failures < plan->options.max_attempts)
	{
		result.health = "retrying";
		result.event = "retrying";
		result.message = psprintf("try %d of %d failed (%s), the next one is at %s",
								  state->consecutive_failures, plan->options.max_attempts,
								  what, moment(plan->at));
	}
	else
		result.message = psprintf("failed %s: %s", times(state->consecutive_failures), what);
	return result;
}

JobHealth
job_health(const Job *job, const JobState *state, const JobPlan *plan,
		   TimestampTz now, bool running, bool full)
{
	JobHealth	result = {.health = "ok", .event = "recovered"};
	int			failures = count_recent_failures(state);

	if (!job->enabled || !job_is_at_home(job))
	{
		result.health = result.event = "disabled";
		result.message = !job_is_at_home(job) ?
			pstrdup("it was stored in another cluster; lfsync_alter_job(name, enabled => true) makes it a job of this one") :
			pstrdup("lfsync_alter_job(name, enabled => true) lets it run by itself again");
	}
	else if (state->consecutive_failures > 0 && job_has_failed(state))
		result = sick(state, plan, full);
	else if (is_late(state, plan, now, running))
	{
		result.health = result.event = "late";
		result.message = clock_has_scheduler() ?
			psprintf("it has been due since %s; the server log says what it waits for", moment(plan->since)) :
			psprintf("it has been due since %s, and nothing runs it: this database is not in lfsync.databases",
					 moment(plan->since));
	}
	else if (state->runs_total == 0)
	{
		result.health = "never run";
		result.event = NULL;
		result.message = running ? pstrdup("its first run is under way") :
			plan->active ? psprintf("its first run is at %s", moment(Max(plan->at, plan->since))) :
			pstrdup("it has no schedule, and nobody has run it");
	}
	else if (failures > 0 && failures >= UNRELIABLE_PART * state->recent_runs)
	{
		result.health = result.event = "unreliable";
		result.message = psprintf("%d of its last %d runs failed, though not the last one",
								  failures, state->recent_runs);
	}
	else if (state->success_at == 0)
		result.message = pstrdup("it was cancelled each time it ran");
	else
		result.message = psprintf("succeeded at %s", moment(state->success_at));
	return result;
}

JobHealth
job_health_malformed(const char *reason, bool full)
{
	JobHealth	result = {.health = "failing", .event = "failed"};

	result.message = full ? psprintf("what is stored makes no sense: %s", reason) :
		pstrdup("what is stored makes no sense");
	return result;
}

const char *
job_guarantee(const Job *job)
{
	SyncOptions options;
	JobOptions	of_job;

	if (strcmp(job->mode, "full") == 0)
		return "every row as of one moment";
	options_parse(job->options, &options, &of_job);
	if (strcmp(job->mode, "incremental") != 0)
		return "every row as of one moment, changes and deletes included";
	if (job->cursor_columns != NIL)
		return "every row that appears above the cursor; not deletes, changed keys, or changes that leave the cursor alone";
	if (options.deletes == DELETES_IGNORE)
		return "every row as of one moment, changes included; deleted rows stay";
	return "every row as of one moment, changes and deletes included, unless somebody else edits the file";
}
