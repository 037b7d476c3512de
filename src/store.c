/*-------------------------------------------------------------------------
 *
 * store.c
 *	  lfsync's own tables: where they are, and how to write them.
 *
 * They are written as their owner, inside a local user-id change, since neither
 * a run's owner nor a caller has a right to write there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store.h"

/*
 * The schema that CREATE EXTENSION named.  Asked by catalog scan, since names
 * in the search path prove nothing.
 */
static Oid
extension_schema(void)
{
	Oid			extension = get_extension_oid("lfsync", true);
	Oid			schema = InvalidOid;

	if (OidIsValid(extension) &&
		SPI_execute_with_args("SELECT extnamespace FROM pg_catalog.pg_extension WHERE oid = $1",
							  1, (Oid[]) {OIDOID},
							  (Datum[]) {ObjectIdGetDatum(extension)}, NULL,
							  true, 1) == SPI_OK_SELECT && SPI_processed == 1)
	{
		bool		isnull;

		schema = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0],
												SPI_tuptable->tupdesc, 1, &isnull));
	}
	if (!OidIsValid(schema))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"lfsync\" is not in this database"),
				 errhint("CREATE EXTENSION lfsync.")));
	return schema;
}

char *
store_name(const char *name)
{
	return quote_qualified_identifier(get_namespace_name(extension_schema()), name);
}

void
store_begin(StoreAccess *access, const char *relname)
{
	Oid			schema;
	Oid			relid;
	Relation	rel;

	access->context = CurrentMemoryContext;
	SPI_connect();
	schema = extension_schema();
	relid = get_relname_relid(relname, schema);
	if (!OidIsValid(relid))
		elog(ERROR, "table %s is missing", relname);
	rel = table_open(relid, AccessShareLock);
	access->table = quote_qualified_identifier(get_namespace_name(schema), relname);
	GetUserIdAndSecContext(&access->save_userid, &access->save_context);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   access->save_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	table_close(rel, NoLock);
}

void
store_end(StoreAccess *access)
{
	SetUserIdAndSecContext(access->save_userid, access->save_context);
	SPI_finish();
}

bool
store_lock(void)
{
	Oid			extension = get_extension_oid("lfsync", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	/* it may have gone while we waited */
	return get_extension_oid("lfsync", true) == extension;
}

void
store_begin_transaction(StoreAccess *access, const char *relname)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, psprintf("lfsync: %s", relname));
	(void) store_lock();
	store_begin(access, relname);
}

void
store_end_transaction(StoreAccess *access)
{
	store_end(access);
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}
