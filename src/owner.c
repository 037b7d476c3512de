/*-------------------------------------------------------------------------
 *
 * owner.c
 *	  What a job's owner is asked before a run, and told after one.
 *
 * Both are code of the owner's, so they run in a runner, which is connected as
 * the owner: in the scheduler they would run in a superuser's session, and keep
 * every other job waiting.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "owner.h"

static void
begin(bool read_only)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactReadOnly = read_only;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

static void
end(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

char *
owner_question(const char *condition)
{
	return psprintf("SELECT (%s\n)::pg_catalog.bool", condition);
}

char *
owner_call(const char *function)
{
	return psprintf("SELECT %s($1)", function);
}

bool
owner_agrees(const SyncOrder *order)
{
	MemoryContext context = CurrentMemoryContext;
	bool		isnull = true;
	bool		agrees = false;

	begin(true);
	/* "today" is the owner's */
	if (order->timezone)
		(void) set_config_option("TimeZone", order->timezone, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	if (SPI_execute(owner_question(order->condition), true, 2) != SPI_OK_SELECT)
		elog(ERROR, "could not ask for condition \"%s\"", order->condition);
	if (SPI_processed == 1)
		agrees = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	end();
	MemoryContextSwitchTo(context);
	return agrees && !isnull;
}

void
owner_tell(const SyncOrder *order)
{
	Datum		event = DirectFunctionCall1(jsonb_in, CStringGetDatum(order->event));

	begin(false);
	if (SPI_execute_with_args(owner_call(order->on_event),
							  1, (Oid[]) {JSONBOID}, &event, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call \"%s\"", order->on_event);
	end();
}
