/*-------------------------------------------------------------------------
 *
 * status.c
 *	  How it stands with every job of this database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "health.h"
#include "status.h"

PG_FUNCTION_INFO_V1(lfsync_status_rows);

static bool
is_running(const RunSlot *slots, int64 job_id)
{
	for (int i = 0; slots && i < run_slots->nslots; i++)
	{
		if (slots[i].job_id == job_id && slots[i].dboid == MyDatabaseId &&
			slot_is_live(&slots[i]))
			return true;
	}
	return false;
}

/* Nothing but a malformed row can make this fail, and nothing is left of it. */
static void
make_plan(JobStatus *status, TimestampTz now)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		job_plan(status->job, status->state, now, &status->plan);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		status->malformed = CopyErrorData()->message;
		FlushErrorState();
		memset(&status->plan, 0, sizeof(JobPlan));
		status->plan.at = status->plan.since = DT_NOEND;
	}
	PG_END_TRY();
}

List *
job_status_list(TimestampTz now)
{
	/*
	 * Slots first: a run that ends meanwhile has written its end before it
	 * gives up its slot, so that none seems to have disappeared.
	 */
	RunSlot    *slots = run_slots ? slots_copy() : NULL;
	List	   *jobs = job_list();
	List	   *states = job_state_list();
	List	   *result = NIL;
	ListCell   *lc;
	int			next_state = 0;

	foreach(lc, jobs)
	{
		JobStatus  *status = palloc0(sizeof(JobStatus));

		status->job = (Job *) lfirst(lc);
		status->running = is_running(slots, status->job->id);
		/* both lists are in the order of ids */
		while (next_state < list_length(states) &&
			   ((JobState *) list_nth(states, next_state))->job_id < status->job->id)
			next_state++;
		if (next_state < list_length(states) &&
			((JobState *) list_nth(states, next_state))->job_id == status->job->id)
			status->state = (JobState *) list_nth(states, next_state);
		else
		{
			status->state = palloc0(sizeof(JobState));
			status->state->job_id = status->job->id;
		}
		make_plan(status, now);
		result = lappend(result, status);
	}
	return result;
}

static void
put_status(ReturnSetInfo *rsinfo, const JobStatus *status, TimestampTz now,
		   bool full)
{
	const Job  *job = status->job;
	const JobState *state = status->state;
	const JobPlan *plan = &status->plan;
	JobHealth	health;
	Datum		values[20];
	bool		nulls[20] = {0};
	int			n = 0;

#define PUT(datum, isnull) \
	(nulls[n] = (isnull), values[n] = (isnull) ? (Datum) 0 : (datum), n++)
#define PUT_TEXT(text) \
	PUT(CStringGetTextDatum(text), (text) == NULL)
#define PUT_TIME(time) \
	PUT(TimestampTzGetDatum(time), (time) == 0)

	health = status->malformed ? job_health_malformed(status->malformed, full) :
		job_health(job, state, plan, now, status->running, full);
	PUT_TEXT(job->name);
	PUT_TEXT(job->owner);
	PUT_TEXT(job->mode);
	PUT_TEXT(status->malformed ? NULL : job_guarantee(job));
	PUT(BoolGetDatum(job->enabled && job_is_at_home(job)), false);
	PUT_TEXT(status->running ? "running" : state->last_status);
	PUT_TIME(state->success_at);
	PUT_TIME(state->snapshot_at);
	PUT(Int64GetDatum(state->runs_total), false);
	PUT(Int64GetDatum(state->runs_succeeded), false);
	PUT(Int64GetDatum(state->runs_failed), false);
	PUT(Int64GetDatum(state->total_us), false);
	PUT(Int32GetDatum(state->consecutive_failures), false);
	PUT_TEXT(full ? state->position : NULL);
	PUT(TimestampTzGetDatum(plan->at > now ? plan->at : plan->since),
		plan->at == DT_NOEND);
	PUT_TEXT(health.health);
	PUT_TEXT(health.message);
	PUT(Int64GetDatum(state->rows_written), false);
	PUT(Int64GetDatum(state->bytes_written), false);
	PUT(TimestampTzGetDatum(now), false);
	Assert(n == lengthof(values));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * lfsync_status_rows()
 *
 * A row per job that one may see: one's own, and for members of
 * pg_read_all_stats, of which pg_monitor is one, all of them.
 */
Datum
lfsync_status_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = clock_now();
	bool		sees_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, job_status_list(now))
	{
		const JobStatus *status = (const JobStatus *) lfirst(lc);
		bool		own = has_privs_of_role(GetUserId(), job_steering_role(status->job));

		if (own || sees_all)
			put_status(rsinfo, status, now, own);
	}
	return (Datum) 0;
}
