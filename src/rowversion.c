/*-------------------------------------------------------------------------
 *
 * rowversion.c
 *	  Which rows are newer than a snapshot, told by their xmin.
 *
 * A row that a run has not seen was written by a transaction that its snapshot
 * could not see: one that was running, or had not begun.  Neither has an id
 * below the snapshot's xmin, and a subtransaction's is above its parent's, so
 * rows with an xmin from there on are all that can be new, and some that are
 * not, which an upsert leaves alone.
 *
 * xmin has 32 bits and the raw value stays when a row is frozen, so what counts
 * is whether it lies in the window [old xmin, new xmax) modulo 2^32.  A frozen
 * row of an earlier round of the counter may lie there too: it is read again
 * for nothing.  age() would be wrong for rows frozen long ago.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "lfsync.h"
#include "rowversion.h"
#include "store.h"

PG_FUNCTION_INFO_V1(lfsync_row_version);

static int64 rows_asked = 0;

bool
rowversion_supported(Oid relid, const char **why)
{
	List	   *leaves = find_all_inheritors(relid, NoLock, NULL);
	ListCell   *lc;

	*why = NULL;
	foreach(lc, leaves)
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		char		relkind = rel->rd_rel->relkind;
		const char *reason = NULL;

		if (relkind != RELKIND_RELATION && relkind != RELKIND_MATVIEW &&
			relkind != RELKIND_PARTITIONED_TABLE)
			reason = "is not a table";
		else if (relkind != RELKIND_PARTITIONED_TABLE && rel->rd_rel->relam != HEAP_TABLE_AM_OID)
			reason = "is not a heap table";
		else if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
			reason = "is not logged";
		if (reason)
			*why = psprintf("\"%s\" %s", RelationGetRelationName(rel), reason);
		table_close(rel, NoLock);
		if (reason)
			return false;
	}
	return true;
}

uint64
rowversion_full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint64		high = U64FromFullTransactionId(next) & ~(uint64) PG_UINT32_MAX;
	uint64		full = high | xid;

	/* the counter has begun a new round since */
	if (full > U64FromFullTransactionId(next) && full >= (UINT64CONST(1) << 32))
		full -= UINT64CONST(1) << 32;
	return full;
}

uint64
rowversion_oldest(Snapshot snapshot)
{
	return rowversion_full_xid(snapshot->xmin);
}

uint64
rowversion_next(Snapshot snapshot)
{
	return rowversion_full_xid(snapshot->xmax);
}

char *
rowversion_condition(const char *xmin, uint64 from, uint64 until)
{
	return psprintf("%s(%s, " UINT64_FORMAT ", " UINT64_FORMAT ")",
					store_name("lfsync_row_version"), xmin, from, until);
}

/*
 * lfsync_row_version(xmin xid, from_xid bigint, until_xid bigint)
 *
 * For queries of runs only, which see to it that the window is not wider than
 * the counter.
 */
Datum
lfsync_row_version(PG_FUNCTION_ARGS)
{
	uint32		xmin = DatumGetTransactionId(PG_GETARG_DATUM(0));
	uint32		from = (uint32) PG_GETARG_INT64(1);
	uint32		until = (uint32) PG_GETARG_INT64(2);

	rows_asked++;
	PG_RETURN_BOOL((uint32) (xmin - from) < (uint32) (until - from));
}

void
rowversion_reset_count(void)
{
	rows_asked = 0;
}

int64
rowversion_count(void)
{
	return rows_asked;
}

/*
 * Of every leaf its OID, the values that stand for missing ones and the
 * expressions of generated columns; of every enum that a column may hold its
 * labels.
 */
char *
rowversion_fingerprint(Oid relid)
{
	static const char query[] =
		"WITH RECURSIVE leaf AS ("
		"  SELECT $1 AS relid UNION ALL SELECT i.inhrelid FROM leaf l JOIN pg_catalog.pg_inherits i ON i.inhparent OPERATOR(pg_catalog.=) l.relid), "
		"type AS ("
		"  SELECT a.atttypid AS oid FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped "
		"  UNION SELECT p.oid FROM type t JOIN pg_catalog.pg_type y ON y.oid OPERATOR(pg_catalog.=) t.oid, "
		"    LATERAL (SELECT y.typelem AS oid UNION ALL SELECT y.typbasetype UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE y.oid IN (r.rngtypid, r.rngmultitypid) "
		"             UNION ALL SELECT c.atttypid FROM pg_catalog.pg_attribute c WHERE c.attrelid OPERATOR(pg_catalog.=) y.typrelid AND y.typrelid OPERATOR(pg_catalog.<>) 0 AND c.attnum OPERATOR(pg_catalog.>) 0 AND NOT c.attisdropped) p "
		"  WHERE p.oid OPERATOR(pg_catalog.<>) 0) "
		"SELECT pg_catalog.concat("
		"  (SELECT pg_catalog.string_agg(pg_catalog.concat(l.relid, ',', "
		"     (SELECT pg_catalog.string_agg(pg_catalog.concat(a.attnum, a.attmissingval::pg_catalog.text, '|', a.attgenerated, "
		"        pg_catalog.pg_get_expr(CASE WHEN a.attgenerated OPERATOR(pg_catalog.<>) '' THEN d.adbin END, d.adrelid)), ';' ORDER BY a.attnum) "
		"      FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid AND d.adnum OPERATOR(pg_catalog.=) a.attnum "
		"      WHERE a.attrelid OPERATOR(pg_catalog.=) l.relid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped)), '/' ORDER BY l.relid) FROM leaf l), "
		"  (SELECT pg_catalog.string_agg(pg_catalog.concat(e.enumtypid, e.oid, e.enumlabel), ',' ORDER BY e.oid) "
		"   FROM pg_catalog.pg_enum e WHERE e.enumtypid IN (SELECT oid FROM type)))";
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(relid)};
	char	   *text;

	if (SPI_execute_with_args(query, 1, types, values, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read the structure of relation %u", relid);
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	return psprintf("%016llx",
					(unsigned long long) DatumGetUInt64(hash_any_extended((unsigned char *) text,
																		  strlen(text), 0)));
}
