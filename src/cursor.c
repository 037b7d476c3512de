/*-------------------------------------------------------------------------
 *
 * cursor.c
 *	  Bounds in the order of a cursor and a key, and who may still commit below
 *	  them.
 *
 * A bound is a list of text, one for each column, which goes into SQL as
 * literals of the columns' types.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "cursor.h"
#include "rowversion.h"

static char *
joined(List *texts, const char *suffix)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, texts)
		appendStringInfo(&buf, "%s%s%s", lc == list_head(texts) ? "" : ", ",
						 (char *) lfirst(lc), suffix);
	return buf.data;
}

/* The values of a bound as literals of the columns' types. */
static List *
bound_literals(const Keyset *keyset, List *bound)
{
	List	   *literals = NIL;
	ListCell   *value;
	ListCell   *type;

	forboth(value, bound, type, keyset->types)
		literals = lappend(literals,
						   psprintf("CAST(%s AS %s)", quote_literal_cstr((char *) lfirst(value)),
									(char *) lfirst(type)));
	return literals;
}

static const char *
first_cursor(const Keyset *keyset)
{
	return (const char *) linitial(keyset->columns);
}

/* The row of text that a query returns, if there is one. */
static List *
query_texts(const char *sql)
{
	List	   *texts = NIL;

	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a bound");
	for (int i = 1; SPI_processed == 1 && i <= SPI_tuptable->tupdesc->natts; i++)
	{
		char	   *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i);

		if (text == NULL)
			return NIL;
		texts = lappend(texts, text);
	}
	return texts;
}

static List *
copy_texts(List *texts)
{
	List	   *copy = NIL;
	ListCell   *lc;

	foreach(lc, texts)
		copy = lappend(copy, pstrdup((char *) lfirst(lc)));
	return copy;
}

/* Everybody who has a transaction open in this database, prepared ones too. */
static List *
open_transactions(void)
{
	int			n;
	VirtualTransactionId *vxids = GetCurrentVirtualXIDs(InvalidTransactionId, false, false,
														PROC_IN_VACUUM | PROC_IS_AUTOVACUUM,
														&n);
	List	   *open = NIL;

	for (int i = 0; i < n; i++)
		open = lappend(open, psprintf("%d/%u", VXID_PROC(vxids[i]),
									  vxids[i].localTransactionId));
	return open;
}

/*
 * A value as text that a cast turns into what the source has; NULL if it is
 * not sure that there is such a cast.
 */
char *
cursor_value_text(const Source *source, int column, const ImageValue *value)
{
	char	   *text;

	switch (getBaseType(source->columns[column].typid))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
			return psprintf(INT64_FORMAT, value->u.i);
		case NUMERICOID:
			if (value->kind == IMAGE_INTEGER)
				return psprintf(INT64_FORMAT, value->u.i);
			break;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			/* years before Christ are written otherwise in PostgreSQL */
			if (value->kind != IMAGE_TEXT || !isdigit(*(const unsigned char *) value->u.data))
				return NULL;
			break;
		case TEXTOID:
		case VARCHAROID:
		case UUIDOID:
			break;
		default:
			return NULL;
	}
	if (value->kind != IMAGE_TEXT)
		return NULL;
	text = pnstrdup(value->u.data, value->len);
	return pg_any_to_server(text, value->len, PG_UTF8);
}

static void
add_to_keyset(Keyset *keyset, const RunTable *table, int column)
{
	const Source *source = table->source;

	if (list_member_int(keyset->numbers, column))
		return;
	keyset->numbers = lappend_int(keyset->numbers, column);
	keyset->columns = lappend(keyset->columns,
							  table->mapping->sql_of[column]);
	keyset->types = lappend(keyset->types,
							format_type_extended(source->columns[column].typid,
												 source->columns[column].typmod,
												 FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

Keyset *
cursor_keyset(const RunTable *table, List *cursor_columns)
{
	const Source *source = table->source;
	const TargetTable *target = table->mapping->table;
	Keyset	   *keyset = palloc0(sizeof(Keyset));
	ListCell   *lc;
	Oid			type;

	foreach(lc, cursor_columns)
	{
		int			found = -1;

		for (int i = 0; i < source->ncolumns && found < 0; i++)
		{
			if (strcmp(source->columns[i].name, (char *) lfirst(lc)) == 0)
				found = i;
		}
		if (found < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("cursor column \"%s\" does not exist in %s",
							(char *) lfirst(lc), source->description),
					 errhint("Write the name as it is there, upper and lower case too.")));
		add_to_keyset(keyset, table, found);
	}
	keyset->ncursor = list_length(keyset->numbers);
	for (int i = 0; i < target->nkeys; i++)
		add_to_keyset(keyset, table, target->keys[i]);
	type = getBaseType(source->columns[linitial_int(keyset->numbers)].typid);
	keyset->time = type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
	return keyset;
}

char *
cursor_behind(const Keyset *keyset, List *bound)
{
	return sync_keyset_condition(keyset->columns, ">", bound_literals(keyset, bound));
}

/* Rows that have a place in the order of the cursor. */
char *
cursor_exists(const Keyset *keyset)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < keyset->ncursor; i++)
		appendStringInfo(&sql, "%s(%s) IS NOT NULL", i ? " AND " : "",
						 (char *) list_nth(keyset->columns, i));
	return sql.data;
}

/*
 * The last row in the cursor's order.  A date from the future would be a bound
 * above everything that is still to come: the clock is the limit.
 */
static List *
read_bound(const RunTable *table, const Keyset *keyset)
{
	StringInfoData sql;

	initStringInfo(&sql);
	/* one name for all: ORDER BY must not take the text for the column */
	appendStringInfo(&sql, "SELECT %s FROM %s WHERE %s",
					 joined(keyset->columns, "::pg_catalog.text AS \"text of the bound\""),
					 table->mapping->from, cursor_exists(keyset));
	if (keyset->time)
		appendStringInfo(&sql, " AND %s <= pg_catalog.now()", first_cursor(keyset));
	if (table->mapping->filter)
		appendStringInfo(&sql, " AND (%s\n)", table->mapping->filter);
	appendStringInfo(&sql, " ORDER BY %s LIMIT 1", joined(keyset->columns, " DESC"));
	return query_texts(sql.data);
}

/*
 * Can nobody commit below the candidate's bound any more?
 *
 * A restart has ended everybody but the prepared ones, who have lost the name
 * that they were known by and are all called -1 now.  One of those may have
 * been open without an id when the candidate was taken.
 */
static bool
is_settled(const Candidate *candidate, List *open, uint64 oldest)
{
	ListCell   *was_open;
	ListCell   *is_open;

	if (oldest < candidate->xmax)
		return false;
	foreach(is_open, open)
	{
		if (strncmp((char *) lfirst(is_open), "-1/", 3) == 0)
			return false;
	}
	if (candidate->started != (int64) PgStartTime)
		return true;
	foreach(was_open, candidate->open)
	{
		foreach(is_open, open)
		{
			if (strcmp((char *) lfirst(was_open), (char *) lfirst(is_open)) == 0)
				return false;
		}
	}
	return true;
}

/* Where a run begins: the stable bound, or behind it by the lookback. */
List *
cursor_lower_bound(const Keyset *keyset, const Position *position, const SyncOptions *options)
{
	if (position->stable == NIL || options->lookback[0] == '\0')
		return position->stable;
	return query_texts(psprintf("SELECT (CAST(%s AS %s) - %s)::pg_catalog.text",
								quote_literal_cstr((char *) linitial(position->stable)),
								(char *) linitial(keyset->types),
								keyset->time ?
								psprintf("%s::pg_catalog.interval", quote_literal_cstr(options->lookback)) :
								quote_literal_cstr(options->lookback)));
}

/*
 * Where a cursor does not tell all rows apart, a row may come that ties with
 * the bound and has a smaller key: the key has no share in a bound, and all
 * ties are read again.  So they are if the bound is less than a whole cursor.
 */
char *
cursor_from(const Keyset *keyset, List *bound)
{
	int			n = Min(keyset->ncursor, list_length(bound));

	if (bound == NIL)
		return cursor_exists(keyset);
	if (n == list_length(keyset->columns))
		return cursor_behind(keyset, bound);
	return psprintf("%s AND %s", cursor_exists(keyset),
					sync_keyset_condition(list_copy_head(keyset->columns, n), ">=",
										  list_copy_head(bound_literals(keyset, bound), n)));
}

bool
cursor_same_bound(List *a, List *b)
{
	ListCell   *x;
	ListCell   *y;

	if (list_length(a) != list_length(b))
		return false;
	forboth(x, a, y, b)
	{
		if (strcmp((char *) lfirst(x), (char *) lfirst(y)) != 0)
			return false;
	}
	return true;
}

/* Who keeps the candidate from becoming stable. */
void
cursor_note_open_writers(Run *run, const Candidate *candidate)
{
	List	   *pids = query_texts(psprintf("SELECT pg_catalog.string_agg(pid::pg_catalog.text, ', ' ORDER BY pid) "
											"FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'virtualxid' "
											"AND virtualxid OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(%s, ', '))",
											quote_literal_cstr(joined(candidate->open, ""))));

	sync_note(run, "rows above the stable bound are read again by the next run: who might commit below it is still at work%s%s",
			  pids ? ", process " : "", pids ? (char *) linitial(pids) : "");
}

/* Does a sequence give each session some values ahead? */
static bool
has_cached_sequence(Oid relid, const char *column)
{
	AttrNumber	attnum = OidIsValid(relid) ? get_attnum(relid, column) : InvalidAttrNumber;

	if (attnum == InvalidAttrNumber)
		return false;
	return query_texts(psprintf("SELECT 'cached' FROM pg_catalog.pg_depend d "
								"JOIN pg_catalog.pg_sequence s ON s.seqrelid OPERATOR(pg_catalog.=) d.objid "
								"WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
								"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
								"AND d.refobjid OPERATOR(pg_catalog.=) %u AND d.refobjsubid OPERATOR(pg_catalog.=) %d "
								"AND d.deptype IN ('a', 'i') AND s.seqcache OPERATOR(pg_catalog.>) 1",
								relid, attnum)) != NIL;
}

void
cursor_note_unseen_writers(Run *run, const RunTable *table, const Keyset *keyset)
{
	const char *column = table->source->columns[linitial_int(keyset->numbers)].name;

	if (RecoveryInProgress())
		sync_note(run, "who writes on the primary is not seen on a standby: rows that commit late may be missed");
	if (source_reads_foreign(table->source))
		sync_note(run, "who writes a foreign table is not seen: rows that commit late may be missed");
	if (has_cached_sequence(table->source->relid, column))
		sync_note(run, "the sequence of \"%s\" has a CACHE: rows may come below others without a transaction that was open, and be missed", column);
}

char *
cursor_order(const Keyset *keyset)
{
	return joined(keyset->columns, "");
}

char *
cursor_basis(const Keyset *keyset, Oid relid)
{
	return psprintf("cursor %u (%s) %d %s", relid, joined(keyset->columns, ""),
					keyset->ncursor, joined(keyset->types, ""));
}

Candidate *
cursor_take_candidate(const RunTable *table, List *cursor_columns,
					  const Candidate *last, bool *settled)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext oldcontext;
	Candidate  *candidate;
	List	   *bound;
	List	   *open;
	Snapshot	snapshot;

	PushActiveSnapshot(GetTransactionSnapshot());
	bound = read_bound(table, cursor_keyset(table, cursor_columns));
	PopActiveSnapshot();
	open = open_transactions();
	snapshot = GetTransactionSnapshot();

	*settled = last && is_settled(last, open, rowversion_oldest(snapshot));
	if (bound == NIL)
		return NULL;
	oldcontext = MemoryContextSwitchTo(context);
	candidate = palloc0(sizeof(Candidate));
	candidate->bound = copy_texts(bound);
	candidate->open = copy_texts(open);
	candidate->xmin = rowversion_oldest(snapshot);
	candidate->xmax = rowversion_next(snapshot);
	candidate->started = (int64) PgStartTime;
	MemoryContextSwitchTo(oldcontext);
	return candidate;
}
