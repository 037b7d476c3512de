/*-------------------------------------------------------------------------
 *
 * history.c
 *	  Runs as rows of lfsync_runs.
 *
 * Start and end are written by the runner in transactions of their own, so
 * that history survives a run that fails and a caller that rolls back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "history.h"
#include "job_state.h"
#include "lfsync.h"
#include "store.h"

#define RUNS_TABLE	"lfsync_runs"

static bool
is_alive(const RunSlot *slots, int64 run_id)
{
	for (int i = 0; i < run_slots->nslots; i++)
	{
		if (slots[i].holders != 0 && slots[i].dboid == MyDatabaseId &&
			slots[i].run_id == run_id)
			return true;
	}
	return false;
}

/*
 * Ids of runs that are not alive any more, though nobody has written their end,
 * as an SQL array; NULL if there are none.  Rows first, then slots: a run is in
 * its slot before its row is committed, and has written its end before it
 * leaves the slot, which the update that follows sees.
 */
static char *
lost_runs(const char *table)
{
	StringInfoData ids;
	RunSlot    *slots;

	if (SPI_execute(psprintf("SELECT run_id FROM %s WHERE status OPERATOR(pg_catalog.=) 'running'",
							 table), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the runs");
	if (SPI_processed == 0)
		return NULL;
	slots = slots_copy();
	initStringInfo(&ids);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
														 SPI_tuptable->tupdesc,
														 1, &isnull));

		if (!is_alive(slots, run_id))
			appendStringInfo(&ids, "%s" INT64_FORMAT, ids.len ? "," : "", run_id);
	}
	return ids.len ? psprintf("{%s}", ids.data) : NULL;
}

/* A run, and the job that it counts for. */
typedef struct JobRun
{
	int64		run_id;
	int64		job_id;
} JobRun;

/* Marks what lost_runs() finds, also in the totals of their jobs. */
static void
mark_crashed(const char *table)
{
	char	   *lost = lost_runs(table);
	JobRun	   *jobs;
	int			njobs = 0;

	if (lost == NULL)
		return;
	if (SPI_execute(psprintf("UPDATE %s SET status = 'crashed', finished_at = pg_catalog.now() "
							 "WHERE run_id OPERATOR(pg_catalog.=) ANY ('%s'::pg_catalog.int8[]) "
							 "AND status OPERATOR(pg_catalog.=) 'running' RETURNING run_id, job_id",
							 table, lost),
					false, 0) != SPI_OK_UPDATE_RETURNING)
		elog(ERROR, "could not mark crashed runs");
	jobs = palloc(SPI_processed * sizeof(JobRun));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		jobs[njobs].run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], desc, 1, &isnull));
		jobs[njobs].job_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], desc, 2, &isnull));
		if (!isnull)
			njobs++;
	}
	for (int i = 0; i < njobs; i++)
	{
		RunOutcome	crashed = {.run_id = jobs[i].run_id, .status = "crashed", .scheduled = true};
		JobState	state;

		job_state_get(jobs[i].job_id, &state, true);
		job_state_add_run(&state, &crashed);
		job_state_put(&state);
	}
}

void
history_mark_crashed(void)
{
	StoreAccess store;

	store_begin(&store, RUNS_TABLE);
	mark_crashed(store.table);
	store_end(&store);
}

int64
history_start(RunSlot *slot, const SyncOrder *order)
{
	StoreAccess store;
	Oid			types[] = {TEXTOID, NAMEOID, OIDOID, TEXTOID, TEXTOID, TEXTOID,
	INT4OID, TIMESTAMPTZOID, INT8OID};
	Datum		values[9];
	char		nulls[10] = "         ";
	int64		run_id;
	bool		isnull;
	NameData	owner;
	char	   *role;

	if (RecoveryInProgress())
	{
		LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
		run_id = slot->run_id = --run_slots->last_standby_id;
		LWLockRelease(run_slots->lock);
		return run_id;
	}

	store_begin_transaction(&store, RUNS_TABLE);
	role = GetUserNameFromId(slot->owner, true);
	/* a run that was refused, since its owner has been dropped, has a row too */
	namestrcpy(&owner, role ? role : psprintf("%u", slot->owner));
	values[0] = order->job ? CStringGetTextDatum(order->job) : (Datum) 0;
	nulls[0] = order->job ? ' ' : 'n';
	values[1] = NameGetDatum(&owner);
	values[2] = ObjectIdGetDatum(slot->owner);
	values[3] = CStringGetTextDatum(order->mode);
	values[4] = CStringGetTextDatum(slot_text(slot->source));
	values[5] = CStringGetTextDatum(slot_text(slot->file));
	values[6] = Int32GetDatum(slot->attempt);
	values[7] = TimestampTzGetDatum(slot->started_at);
	values[8] = Int64GetDatum(order->job_id);
	nulls[8] = order->job_id ? ' ' : 'n';
	mark_crashed(store.table);
	if (SPI_execute_with_args(psprintf("INSERT INTO %s (job, owner, owner_oid, mode, source, file, status, attempt, started_at, job_id) "
									   "VALUES ($1, $2, $3, $4, $5, $6, 'running', $7, $8, $9) RETURNING run_id",
									   store.table),
							  9, types, values, nulls, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write the start of a run");
	run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	/* in shared memory before it is committed, so that nobody marks it */
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	slot->run_id = run_id;
	LWLockRelease(run_slots->lock);
	/* losing this record in a crash loses nothing but itself */
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	store_end_transaction(&store);
	return run_id;
}

static const char *
status_name(RunStatus status)
{
	switch (status)
	{
		case RUN_RUNNING:
			return "running";
		case RUN_SUCCEEDED:
			return "succeeded";
		case RUN_FAILED:
			return "failed";
		case RUN_CANCELLED:
		case RUN_STOPPED:
			return "cancelled";
		case RUN_SKIPPED:
			break;
	}
	return NULL;
}

static Datum
microseconds_interval(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return IntervalPGetDatum(interval);
}

/* The same in the totals of its job. */
static void
add_to_job(const RunSlot *slot, const SyncOrder *order, RunStatus status,
		   const RunCounts *counts, const RunError *error, const char *position)
{
	JobState	state;
	RunOutcome	outcome = {
		.run_id = slot->run_id,
		.status = status_name(status),
		.sqlstate = error->sqlerrcode ? unpack_sql_state(error->sqlerrcode) : NULL,
		.message = error->message[0] ? slot_text(error->message) : NULL,
		.position = position ? slot_text(position) : NULL,
		.counts = counts,
		.duration_us = GetCurrentTimestamp() - slot->started_at,
		.scheduled = order->scheduled
	};

	/* who stopped it meant the server, not the job */
	if (status == RUN_STOPPED)
		outcome.sqlstate = unpack_sql_state(ERRCODE_ADMIN_SHUTDOWN);
	job_state_get(order->job_id, &state, true);
	job_state_add_run(&state, &outcome);
	job_state_put(&state);
}

void
history_end(RunSlot *slot, const SyncOrder *order, RunStatus status,
			const RunCounts *counts, const RunError *error, const char *notes,
			const char *position_from, const char *position_to)
{
	StoreAccess store;
	Oid			types[21];
	Datum		values[21];
	char		nulls[22];
	int			n = 0;

	if (slot->run_id < 0)
		return;

	store_begin_transaction(&store, RUNS_TABLE);
#define ADD(type, datum, isnull) \
	(types[n] = (type), values[n] = (datum), nulls[n] = (isnull) ? 'n' : ' ', n++)
#define ADD_TEXT(text) \
	ADD(TEXTOID, (text) ? CStringGetTextDatum(text) : (Datum) 0, (text) == NULL)

	ADD(INT8OID, Int64GetDatum(slot->run_id), false);
	ADD_TEXT(status_name(status));
	ADD(TIMESTAMPTZOID, TimestampTzGetDatum(GetCurrentTimestamp()), false);
	ADD(INT8OID, Int64GetDatum(counts->rows_read), false);
	ADD(INT8OID, Int64GetDatum(counts->rows_inserted), false);
	ADD(INT8OID, Int64GetDatum(counts->rows_updated), false);
	ADD(INT8OID, Int64GetDatum(counts->rows_deleted), false);
	ADD(INT8OID, Int64GetDatum(counts->rows_rejected), false);
	ADD(INT8OID, Int64GetDatum(counts->bytes_written), false);
	ADD(INT8OID, Int64GetDatum(counts->batches), false);
	ADD(INTERVALOID, microseconds_interval(counts->scan_us), false);
	ADD(INTERVALOID, microseconds_interval(counts->write_us), false);
	ADD(INTERVALOID, microseconds_interval(counts->wait_us), false);
	ADD_TEXT(error->sqlerrcode ? unpack_sql_state(error->sqlerrcode) : NULL);
	ADD(INT4OID, Int32GetDatum(error->sqlite_code), error->sqlite_code == 0);
	ADD_TEXT(error->message[0] ? slot_text(error->message) : NULL);
	if (error->detail[0] && error->context[0])
		ADD_TEXT(slot_text(psprintf("%s\n%s", error->detail, error->context)));
	else
		ADD_TEXT(error->detail[0] ? slot_text(error->detail) :
				 error->context[0] ? slot_text(error->context) : NULL);
	ADD_TEXT(error->hint[0] ? slot_text(error->hint) : NULL);
	ADD_TEXT(notes);
	ADD_TEXT(position_from ? slot_text(position_from) : NULL);
	ADD_TEXT(position_to ? slot_text(position_to) : NULL);
	nulls[n] = '\0';

	if (SPI_execute_with_args(psprintf("UPDATE %s SET status = $2, finished_at = $3, rows_read = $4, "
									   "rows_inserted = $5, rows_updated = $6, rows_deleted = $7, "
									   "rows_rejected = $8, bytes_written = $9, batches = $10, "
									   "scan_time = $11, write_time = $12, wait_time = $13, "
									   "sqlstate = $14, sqlite_code = $15, message = $16, "
									   "detail = $17, hint = $18, notes = $19::pg_catalog.jsonb, "
									   "position_from = $20, position_to = $21 "
									   "WHERE run_id OPERATOR(pg_catalog.=) $1",
									   store.table),
							  n, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write the end of a run");
	if (order->job_id != 0)
		add_to_job(slot, order, status, counts, error, position_to);
	store_end_transaction(&store);
}

void
history_skip(const SyncOrder *order)
{
	StoreAccess store;
	JobState	state;

	if (RecoveryInProgress())
		return;
	store_begin_transaction(&store, RUNS_TABLE);
	job_state_get(order->job_id, &state, true);
	state.open_try = false;
	state.attempt = 0;
	job_state_put(&state);
	store_end_transaction(&store);
}

static void
delete_runs(const char *sql)
{
	if (SPI_execute(sql, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete old runs");
}

void
history_trim(int64 job_id)
{
	StoreAccess store;
	const char *same_job = job_id == 0 ? "job_id IS NULL" :
		psprintf("job_id OPERATOR(pg_catalog.=) " INT64_FORMAT, job_id);

	if (RecoveryInProgress())
		return;
	store_begin_transaction(&store, RUNS_TABLE);
	if (lfsync_history_retention > 0)
		delete_runs(psprintf("DELETE FROM %s WHERE finished_at OPERATOR(pg_catalog.<) '%s'::pg_catalog.timestamptz",
							 store.table,
							 timestamptz_to_str(clock_now() - lfsync_history_retention * USECS_PER_SEC)));
	if (lfsync_history_rows > 0)
		delete_runs(psprintf("DELETE FROM %s WHERE %s AND status OPERATOR(pg_catalog.<>) 'running' AND run_id OPERATOR(pg_catalog.<=) "
							 "(SELECT run_id FROM %s WHERE %s ORDER BY run_id DESC OFFSET %d LIMIT 1)",
							 store.table, same_job, store.table, same_job, lfsync_history_rows));
	store_end_transaction(&store);
}
