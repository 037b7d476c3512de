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

#include "history.h"
#include "lfsync.h"
#include "store.h"

/* Ids of the runs that are alive in this database, as an SQL array. */
static char *
live_runs(void)
{
	int64	   *live = palloc(run_slots->nslots * sizeof(int64));
	int			nlive = 0;
	StringInfoData ids;

	LWLockAcquire(run_slots->lock, LW_SHARED);
	for (int i = 0; i < run_slots->nslots; i++)
	{
		RunSlot    *slot = &run_slots->slots[i];

		if (slot->holders != 0 && slot->dboid == MyDatabaseId && slot->run_id > 0)
			live[nlive++] = slot->run_id;
	}
	LWLockRelease(run_slots->lock);

	initStringInfo(&ids);
	appendStringInfoChar(&ids, '{');
	for (int i = 0; i < nlive; i++)
		appendStringInfo(&ids, "%s" INT64_FORMAT, i ? "," : "", live[i]);
	appendStringInfoChar(&ids, '}');
	return ids.data;
}

int64
history_start(RunSlot *slot, const SyncOrder *order)
{
	StoreAccess store;
	Oid			types[] = {TEXTOID, NAMEOID, OIDOID, TEXTOID, TEXTOID, TEXTOID,
	INT4OID, TIMESTAMPTZOID};
	Datum		values[8];
	char		nulls[9] = "        ";
	int64		run_id;
	bool		isnull;
	NameData	owner;

	if (RecoveryInProgress())
	{
		LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
		run_id = slot->run_id = --run_slots->last_standby_id;
		LWLockRelease(run_slots->lock);
		return run_id;
	}

	store_begin_transaction(&store, "lfsync_runs");
	namestrcpy(&owner, GetUserNameFromId(slot->owner, false));
	values[0] = order->job ? CStringGetTextDatum(order->job) : (Datum) 0;
	nulls[0] = order->job ? ' ' : 'n';
	values[1] = NameGetDatum(&owner);
	values[2] = ObjectIdGetDatum(slot->owner);
	values[3] = CStringGetTextDatum(order->mode);
	values[4] = CStringGetTextDatum(slot_text(slot->source));
	values[5] = CStringGetTextDatum(slot_text(slot->file));
	values[6] = Int32GetDatum(slot->attempt);
	values[7] = TimestampTzGetDatum(slot->started_at);
	if (SPI_execute_with_args(psprintf("UPDATE %s SET status = 'crashed', finished_at = pg_catalog.now() "
									   "WHERE status OPERATOR(pg_catalog.=) 'running' "
									   "AND run_id OPERATOR(pg_catalog.<>) ALL ('%s'::pg_catalog.int8[])",
									   store.table, live_runs()),
							  0, NULL, NULL, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not mark crashed runs");
	if (SPI_execute_with_args(psprintf("INSERT INTO %s (job, owner, owner_oid, mode, source, file, status, attempt, started_at) "
									   "VALUES ($1, $2, $3, $4, $5, $6, 'running', $7, $8) RETURNING run_id",
									   store.table),
							  8, types, values, nulls, false, 0) != SPI_OK_INSERT_RETURNING)
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
			return "cancelled";
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

void
history_end(RunSlot *slot, RunStatus status, const RunCounts *counts,
			const RunError *error, const char *notes,
			const char *position_from, const char *position_to)
{
	StoreAccess store;
	Oid			types[21];
	Datum		values[21];
	char		nulls[22];
	int			n = 0;

	if (slot->run_id < 0)
		return;

	store_begin_transaction(&store, "lfsync_runs");
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
	store_end_transaction(&store);
}
