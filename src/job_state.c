/*-------------------------------------------------------------------------
 *
 * job_state.c
 *	  What has become of a job's runs: rows of lfsync_job_state.
 *
 * Kept apart from the jobs, so that who changes a job never keeps a run from
 * ending, and apart from the runs, so that totals survive their retention.  A
 * row is read, changed here, and written back whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "job_state.h"
#include "store.h"

#define STATE_TABLE		"lfsync_job_state"
#define RECENT_MASK		((1 << RECENT_RUNS) - 1)

typedef struct StateColumn
{
	const char *name;
	Oid			type;
	size_t		offset;			/* in JobState */
} StateColumn;

#define COLUMN(name, type) {#name, type, offsetof(JobState, name)}

static const StateColumn columns[] = {
	COLUMN(job_id, INT8OID),
	COLUMN(anchor, TIMESTAMPTZOID),
	COLUMN(served, TIMESTAMPTZOID),
	COLUMN(attempt, INT4OID),
	COLUMN(attempt_at, TIMESTAMPTZOID),
	COLUMN(retry_after, INT8OID),
	COLUMN(altered_at, TIMESTAMPTZOID),
	COLUMN(open_try, BOOLOID),
	COLUMN(last_status, TEXTOID),
	COLUMN(last_run_id, INT8OID),
	COLUMN(last_ended_at, TIMESTAMPTZOID),
	COLUMN(last_us, INT8OID),
	COLUMN(last_sqlstate, TEXTOID),
	COLUMN(last_message, TEXTOID),
	COLUMN(success_at, TIMESTAMPTZOID),
	COLUMN(snapshot_at, TIMESTAMPTZOID),
	COLUMN(position, TEXTOID),
	COLUMN(runs_total, INT8OID),
	COLUMN(runs_succeeded, INT8OID),
	COLUMN(runs_failed, INT8OID),
	COLUMN(rows_written, INT8OID),
	COLUMN(bytes_written, INT8OID),
	COLUMN(total_us, INT8OID),
	COLUMN(consecutive_failures, INT4OID),
	COLUMN(recent_runs, INT4OID),
	COLUMN(recent_failures, INT4OID),
	COLUMN(health, TEXTOID),
	COLUMN(health_since, TIMESTAMPTZOID),
};

#define NCOLUMNS ((int) lengthof(columns))

/* The columns' names, or their places in a statement. */
static char *
column_list(bool places)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < NCOLUMNS; i++)
	{
		if (places)
			appendStringInfo(&list, "%s$%d", i ? ", " : "", i + 1);
		else
			appendStringInfo(&list, "%s%s", i ? ", " : "", columns[i].name);
	}
	return list.data;
}

/* In the context that is given; SPI has its own. */
static void
state_from_row(JobState *state, HeapTuple tuple, TupleDesc desc,
			   MemoryContext context)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	memset(state, 0, sizeof(JobState));
	for (int i = 0; i < NCOLUMNS; i++)
	{
		void	   *field = (char *) state + columns[i].offset;
		bool		isnull;
		Datum		value = SPI_getbinval(tuple, desc, i + 1, &isnull);

		if (isnull)
			continue;
		switch (columns[i].type)
		{
			case BOOLOID:
				*(bool *) field = DatumGetBool(value);
				break;
			case INT4OID:
				*(int *) field = DatumGetInt32(value);
				break;
			case TEXTOID:
				*(char **) field = TextDatumGetCString(value);
				break;
			default:
				*(int64 *) field = DatumGetInt64(value);
				break;
		}
	}
	MemoryContextSwitchTo(oldcontext);
}

static void
state_to_values(const JobState *state, Oid *types, Datum *values, char *nulls)
{
	for (int i = 0; i < NCOLUMNS; i++)
	{
		const void *field = (const char *) state + columns[i].offset;

		types[i] = columns[i].type;
		values[i] = (Datum) 0;
		nulls[i] = ' ';
		switch (columns[i].type)
		{
			case BOOLOID:
				values[i] = BoolGetDatum(*(const bool *) field);
				break;
			case INT4OID:
				values[i] = Int32GetDatum(*(const int *) field);
				break;
			case TEXTOID:
				if (*(char *const *) field)
					values[i] = CStringGetTextDatum(*(char *const *) field);
				else
					nulls[i] = 'n';
				break;
			case TIMESTAMPTZOID:
				if (*(const TimestampTz *) field == 0)
					nulls[i] = 'n';
				/* FALLTHROUGH */
			default:
				values[i] = Int64GetDatum(*(const int64 *) field);
				break;
		}
	}
	nulls[NCOLUMNS] = '\0';
}

void
job_state_get(int64 job_id, JobState *state, bool for_update)
{
	StoreAccess store;

	memset(state, 0, sizeof(JobState));
	store_begin(&store, STATE_TABLE);
	if (SPI_execute_with_args(psprintf("SELECT %s FROM %s WHERE job_id OPERATOR(pg_catalog.=) $1%s",
									   column_list(false), store.table,
									   for_update ? " FOR UPDATE" : ""),
							  1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(job_id)},
							  NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the state of job " INT64_FORMAT, job_id);
	if (SPI_processed == 1)
		state_from_row(state, SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
					   store.context);
	state->job_id = job_id;
	store_end(&store);
}

void
job_state_put(const JobState *state)
{
	StoreAccess store;
	Oid			types[NCOLUMNS];
	Datum		values[NCOLUMNS];
	char		nulls[NCOLUMNS + 1];
	char	   *places = column_list(true);

	state_to_values(state, types, values, nulls);
	store_begin(&store, STATE_TABLE);
	if (SPI_execute_with_args(psprintf("INSERT INTO %s (%s) VALUES (%s) "
									   "ON CONFLICT (job_id) DO UPDATE SET (%s) = ROW(%s)",
									   store.table, column_list(false), places,
									   column_list(false), places),
							  NCOLUMNS, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write the state of job " INT64_FORMAT, state->job_id);
	store_end(&store);
}

List *
job_state_list(void)
{
	StoreAccess store;
	List	   *states = NIL;

	store_begin(&store, STATE_TABLE);
	if (SPI_execute(psprintf("SELECT %s FROM %s ORDER BY job_id", column_list(false),
							 store.table), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the states of jobs");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		JobState   *state = MemoryContextAlloc(store.context, sizeof(JobState));
		MemoryContext oldcontext;

		state_from_row(state, SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
					   store.context);
		oldcontext = MemoryContextSwitchTo(store.context);
		states = lappend(states, state);
		MemoryContextSwitchTo(oldcontext);
	}
	store_end(&store);
	return states;
}

void
job_state_forget(void)
{
	StoreAccess store;

	store_begin(&store, STATE_TABLE);
	if (SPI_execute(psprintf("DELETE FROM %s WHERE job_id OPERATOR(pg_catalog.<>) ALL "
							 "(ARRAY(SELECT j.job_id FROM %s AS j))",
							 store.table, store_name("lfsync_jobs")),
					false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete the states of jobs that are gone");
	store_end(&store);
}

void
job_state_add_run(JobState *state, const RunOutcome *outcome)
{
	bool		succeeded = strcmp(outcome->status, "succeeded") == 0;
	bool		cancelled = strcmp(outcome->status, "cancelled") == 0;

	state->last_status = pstrdup(outcome->status);
	state->last_run_id = outcome->run_id;
	state->last_ended_at = clock_now();
	state->last_us = outcome->duration_us;
	state->last_sqlstate = outcome->sqlstate ? pstrdup(outcome->sqlstate) : NULL;
	state->last_message = outcome->message ? pstrdup(outcome->message) : NULL;
	state->runs_total++;
	if (outcome->scheduled)
		state->open_try = false;
	if (outcome->counts)
	{
		state->rows_written += outcome->counts->rows_inserted +
			outcome->counts->rows_updated + outcome->counts->rows_deleted;
		state->bytes_written += outcome->counts->bytes_written;
	}
	/* somebody wanted it so: that says nothing of the job */
	if (cancelled)
		return;

	state->recent_failures = (state->recent_failures << 1 | (succeeded ? 0 : 1)) & RECENT_MASK;
	state->recent_runs = Min(state->recent_runs + 1, RECENT_RUNS);
	if (succeeded)
	{
		state->runs_succeeded++;
		state->consecutive_failures = 0;
		state->attempt = 0;
		state->success_at = state->last_ended_at;
		state->snapshot_at = outcome->counts->snapshot_at;
		state->position = outcome->position ? pstrdup(outcome->position) : NULL;
		state->total_us += outcome->duration_us;
	}
	else
	{
		state->runs_failed++;
		state->consecutive_failures++;
	}
}
