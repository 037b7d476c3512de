/*-------------------------------------------------------------------------
 *
 * due.c
 *	  When a stored job starts next, and why then.
 *
 * A job is due when its schedule says so, or when a failure is to be followed
 * by another try; its windows say when it may start.  The scheduler and
 * lfsync_status both ask here, so that what is shown is what happens.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "due.h"
#include "retry.h"

static bool
has_status(const JobState *state, const char *status)
{
	return state->last_status && strcmp(state->last_status, status) == 0;
}

bool
job_has_failed(const JobState *state)
{
	if (has_status(state, "cancelled"))
		return state->last_sqlstate && strcmp(state->last_sqlstate, "57P01") == 0;
	return has_status(state, "failed") || has_status(state, "crashed");
}

static ScheduleTimes
times_of(const Job *job, const JobState *state)
{
	ScheduleTimes times = {
		.created = job->created_at,
		.anchor = state->anchor,
		.served = state->served,
		.success = state->snapshot_at
	};

	return times;
}

/* When the pause after the last try is over. */
static TimestampTz
end_of_pause(const JobState *state, TimestampTz now)
{
	TimestampTz since = Max(state->attempt_at, state->last_ended_at);

	/*
	 * The clock was set back: the pause is over, or nobody knows.  A moment
	 * ahead is no more than a run that ended since we looked at the clock.
	 */
	return since > now + USECS_PER_MINUTE ? now : since + state->retry_after;
}

void
job_plan(const Job *job, const JobState *state, TimestampTz now, JobPlan *plan)
{
	ScheduleTimes times = times_of(job, state);
	TimestampTz retry_at;

	memset(plan, 0, sizeof(JobPlan));
	plan->at = plan->since = DT_NOEND;
	job_schedule(job, &plan->schedule, &plan->options);
	plan->active = job->enabled && job_is_at_home(job) &&
		schedule_is_automatic(&plan->schedule);
	if (!plan->active)
		return;

	plan->since = schedule_next(&plan->schedule, &times, now);
	if (state->attempt > 0 && job_has_failed(state))
	{
		retry_at = end_of_pause(state, now);
		if (state->altered_at != job->updated_at)
		{
			/* whatever was wrong with it may have been mended */
			plan->since = Min(plan->since, now);
		}
		else if (has_status(state, "crashed"))
		{
			/* a job that takes the server with it must not do so on schedule */
			plan->again = true;
			plan->since = state->attempt < plan->options.max_attempts ? retry_at :
				Max(plan->since, retry_at);
		}
		else if (state->attempt < plan->options.max_attempts &&
				 retry_is_transient(state->last_sqlstate) &&
				 retry_at < plan->since)
		{
			plan->again = true;
			plan->since = retry_at;
		}
	}
	plan->at = schedule_open(&plan->schedule, Max(plan->since, now));
}

void
job_begin_try(const Job *job, const JobPlan *plan, TimestampTz now,
			  JobState *state)
{
	ScheduleTimes times = times_of(job, state);

	schedule_serve(&plan->schedule, &times, now);
	state->anchor = times.anchor;
	state->served = times.served;
	state->attempt = plan->again ? state->attempt + 1 : 1;
	state->attempt_at = now;
	state->retry_after = retry_pause(state->attempt, plan->options.backoff);
	state->altered_at = job->updated_at;
	state->open_try = true;
}
