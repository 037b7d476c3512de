/*-------------------------------------------------------------------------
 *
 * precheck.c
 *	  What a run would be refused for, said before there is one.
 *
 * Nothing here is a protection: the runner and PostgreSQL look at all of it
 * again, as the owner of the run.  But what they could say only in the server's
 * log, or without a hint, is better said to the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "compat.h"
#include "mapping.h"
#include "order.h"
#include "precheck.h"

void
precheck_owner(Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	bool		can_login;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", owner)));
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!can_login)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" is not permitted to log in",
						GetUserNameFromId(owner, false)),
				 errdetail("A run works in a process of its own, connected as its owner."),
				 errhint("Call as a role that may log in, or ALTER ROLE ... LOGIN.")));

	if (object_aclcheck(DatabaseRelationId, MyDatabaseId, owner, ACL_CONNECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not connect to database \"%s\"",
						GetUserNameFromId(owner, false),
						get_database_name(MyDatabaseId)),
				 errdetail("A run works in a process of its own, connected as its owner."),
				 errhint("GRANT CONNECT ON DATABASE ... TO ....")));
}

List *
precheck_held(void)
{
	List	   *held = NIL;

	SPI_connect();
	if (SPI_execute("SELECT relation FROM pg_catalog.pg_locks "
					"WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() "
					"AND locktype OPERATOR(pg_catalog.=) 'relation' AND granted "
					"AND mode OPERATOR(pg_catalog.=) ANY ('{RowExclusiveLock,ShareUpdateExclusiveLock,"
					"ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'::pg_catalog.text[]) "
					"AND relation OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_locks");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														   SPI_tuptable->tupdesc,
														   1, &isnull));
		MemoryContext oldcontext = MemoryContextSwitchTo(CurTransactionContext);

		held = lappend_oid(held, relid);
		MemoryContextSwitchTo(oldcontext);
	}
	SPI_finish();
	return held;
}

void
precheck_row_security(Oid relid, Oid owner)
{
	if (check_enable_rls(relid, owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security of table \"%s\" hides rows from role \"%s\"",
						get_rel_name(relid), GetUserNameFromId(owner, false)),
				 errdetail("A copy of some rows is easily taken for a copy of all."),
				 errhint("Set option \"row_security\" to true to export the rows that the role may see, or use a role with BYPASSRLS.")));
}

void
precheck_source(Oid relid, List *held)
{
	mapping_check_relation(relid);
	if (get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is temporary", get_rel_name(relid)),
				 errdetail("A run works in another process, which cannot see temporary tables."),
				 errhint("Copy it into an ordinary or unlogged table first.")));
	order_refuse_held(held, relid);
}
