/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Telling the world of a change in a job's health.
 *
 * Everybody in a database may LISTEN, so that a notification says no more of an
 * error than its SQLSTATE.  The job's own function, which is called as the
 * owner, and the log get the message too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "event.h"
#include "health.h"

#define CHANNEL	"lfsync"

static void
put_text(StringInfo json, const char *name, const char *text)
{
	appendStringInfo(json, ", \"%s\": ", name);
	if (text)
		escape_json(json, text);
	else
		appendStringInfoString(json, "null");
}

static char *
payload(const JobStatus *status, const JobHealth *health, TimestampTz now)
{
	const JobState *state = status->state;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"event\": ");
	escape_json(&json, health->event);
	put_text(&json, "job", status->job->name);
	put_text(&json, "health", health->health);
	put_text(&json, "message", health->message);
	put_text(&json, "sqlstate", state->last_sqlstate);
	if (state->last_run_id)
		appendStringInfo(&json, ", \"run_id\": " INT64_FORMAT, state->last_run_id);
	appendStringInfo(&json, ", \"duration\": %.3f, \"runs_total\": " INT64_FORMAT
					 ", \"runs_failed\": " INT64_FORMAT ", \"consecutive_failures\": %d",
					 (double) state->last_us / USECS_PER_SEC, state->runs_total,
					 state->runs_failed, state->consecutive_failures);
	put_text(&json, "at", timestamptz_to_str(now));
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* Are these two no news: a job that works, or that has nothing to do? */
static bool
is_quiet(const char *before, const char *after)
{
	bool		was_idle = before == NULL || strcmp(before, "never run") == 0 ||
		strcmp(before, "disabled") == 0;

	return strcmp(after, "never run") == 0 ||
		(was_idle && strcmp(after, "ok") == 0) ||
		(before == NULL && strcmp(after, "disabled") == 0);
}

static JobHealth
health_of(const JobStatus *status, TimestampTz now, bool full)
{
	if (status->malformed)
		return job_health_malformed(status->malformed, full);
	return job_health(status->job, status->state, &status->plan, now,
					  status->running, full);
}

bool
event_is_due(const JobStatus *status, TimestampTz now)
{
	return status->state->health == NULL ||
		strcmp(status->state->health, health_of(status, now, true).health) != 0;
}

char *
event_tell(const JobStatus *status, TimestampTz now)
{
	JobHealth	health = health_of(status, now, true);
	JobHealth	for_all = health_of(status, now, false);
	JobState	state;
	bool		quiet;

	job_state_get(status->job->id, &state, true);
	quiet = is_quiet(state.health, health.health);
	state.health = pstrdup(health.health);
	state.health_since = now;
	job_state_put(&state);
	if (quiet)
		return NULL;

	Async_Notify(CHANNEL, payload(status, &for_all, now));
	ereport(LOG,
			(errmsg("lfsync job \"%s\" is %s: %s", status->job->name, health.health,
					health.message)));
	return status->plan.options.on_event ? payload(status, &health, now) : NULL;
}
