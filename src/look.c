/*-------------------------------------------------------------------------
 *
 * look.c
 *	  A run looks at its source, in one read-only transaction.
 *
 * The order there is: lock everything that will be read, then take the
 * snapshot, then flush WAL.  With the snapshot first, a TRUNCATE that
 * committed in between would leave it an empty table; and without the flush a
 * crash could take back, in PostgreSQL alone, commits that the file already
 * holds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "clock.h"
#include "compat.h"
#include "runner.h"

/*
 * A commit that the file holds must not be lost to a crash of the server: what
 * the snapshot can see is flushed.  A record of our own is flushed rather than
 * the insert position, which at a page's edge may lie beyond any record.
 */
static void
flush_wal(void)
{
	if (!RecoveryInProgress())
		XLogFlush(LogLogicalMessageNoFlush("lfsync", "", 0));
}

/*
 * The caller's own changes are invisible to us, and would be missing or, had
 * the caller scanned, be there though it rolls back: neither is acceptable.
 */
static void
refuse_held(const SyncOrder *order)
{
	if (order->held == NIL)
		return;
	if (SPI_execute("SELECT DISTINCT relation FROM pg_catalog.pg_locks "
					"WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() "
					"AND locktype OPERATOR(pg_catalog.=) 'relation'",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_locks");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														   SPI_tuptable->tupdesc,
														   1, &isnull));

		if (!isnull)
			order_refuse_held(order->held, relid);
	}
}

static void
identify(Run *run)
{
	RunIdentity *identity = &run->finish.identity;
	MemoryContext oldcontext = MemoryContextSwitchTo(run->context);
	char	   *owner = GetUserNameFromId(run->slot->owner, false);
	char	   *database = get_database_name(MyDatabaseId);

	identity->job = run->order->job == NULL ? NULL :
		pg_server_to_any(run->order->job, strlen(run->order->job), PG_UTF8);
	identity->mode = run->order->mode;
	identity->owner = pg_server_to_any(owner, strlen(owner), PG_UTF8);
	identity->database = pg_server_to_any(database, strlen(database), PG_UTF8);
	identity->system_identifier = psprintf(UINT64_FORMAT, GetSystemIdentifier());
	if (RecoveryInProgress())
	{
		TimeLineID	timeline;

		(void) GetXLogReplayRecPtr(&timeline);
		identity->timeline = (int) timeline;
	}
	else
		identity->timeline = (int) GetWALInsertionTimeLine();
	MemoryContextSwitchTo(oldcontext);
}

void
run_forget_tables(Run *run)
{
	run->tables = NIL;
	run->finish.tables = NIL;
	run->not_carried = NIL;
}

/* What a mode wants to know before the transaction that reads. */
static void
look_before(Run *run, const SyncMode *mode)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactReadOnly = true;
	SPI_connect();
	slot_set_phase(run->slot, "locking");
	PushActiveSnapshot(GetCatalogSnapshot(InvalidOid));
	identify(run);
	mode->before(run);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
}

/* Everything that needs the source, in one read-only transaction. */
static void
read_source(Run *run, const SyncMode *mode)
{
	instr_time	start;
	instr_time	elapsed;
	int64		waited;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	XactReadOnly = true;
	SPI_connect();

	/* parsing may call functions; they must not fix the run's snapshot yet */
	slot_set_phase(run->slot, "locking");
	PushActiveSnapshot(GetCatalogSnapshot(InvalidOid));
	identify(run);
	mode->prepare(run);
	PopActiveSnapshot();

	PushActiveSnapshot(GetTransactionSnapshot());
	run->counts.snapshot_at = clock_now();
	flush_wal();
	refuse_held(run->order);

	slot_set_phase(run->slot, "scanning");
	waited = run->channel->wait_us;
	INSTR_TIME_SET_CURRENT(start);
	mode->scan(run);
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, start);
	waited = run->channel->wait_us - waited;
	run->counts.wait_us += waited;
	run->counts.scan_us += INSTR_TIME_GET_MICROSEC(elapsed) - waited;
	run_add_counts(run);

	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
}

void
run_look(Run *run, const SyncMode *mode)
{
	run_forget_tables(run);
	run->look = AllocSetContextCreate(run->context, "lfsync look",
									  ALLOCSET_DEFAULT_SIZES);
	if (mode->before)
		look_before(run, mode);
	read_source(run, mode);
}
