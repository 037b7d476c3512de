/*-------------------------------------------------------------------------
 *
 * mode_incremental.c
 *	  What is new or changed since the last run.
 *
 * Without cursor columns the position is the last run's snapshot, and a run
 * ships the rows whose version is newer (rowversion.c), in one pass over the
 * table that counts its rows, too.  All rows of the source are then in the
 * target, so if it has more, or the other way round, rows were deleted, and the
 * same run compares everything (mode_merge.c).
 *
 * With cursor columns a run reads what lies behind the position in the order
 * of cursor and key.  A transaction that is still open may commit a row below
 * what has been read, so the position holds two bounds: a stable one, below
 * which nobody can appear any more, from where every run reads; and a
 * candidate, which becomes the stable one once nobody of those is left who were
 * open when it was taken.  Rows between the two are looked at again, where row
 * versions can be told apart only those that have appeared since.
 *
 * The order of three steps makes this right: the bound, then who is open, then
 * the snapshot of the scan.  Who commits a row below the bound was open at the
 * second step, or had committed before it and is in the snapshot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "batch.h"
#include "compat.h"
#include "reject.h"
#include "rowversion.h"
#include "sync.h"

/* A snapshot position moves at the latest when it is as old as this. */
#define POSITION_AGE	10000000

/* Rows left out by earlier runs that one query looks for. */
#define RETRIED_KEYS	1000

/* Cursor columns, then those of the key that are not among them. */
typedef struct Keyset
{
	List	   *columns;		/* of char *, quoted */
	List	   *types;			/* of char *, for casts */
	List	   *numbers;		/* int: columns of the source */
	int			ncursor;
	bool		time;			/* the first is a date or timestamp */
} Keyset;

typedef struct IncrementalScan
{
	Run		   *run;
	RunTable   *table;
	Batch	   *batch;
	Keyset	   *keyset;			/* rows come in its order; NULL: in any */
	Position   *position;		/* what batches of such rows commit */
	KeptKey		last;			/* of the last such row */
	ImageValue *current;		/* the row that is being added */
} IncrementalScan;

/* Of the run under way, from before the scan's snapshot. */
static Candidate *next_candidate = NULL;	/* NULL: no rows yet */
static bool settled = false;	/* can the last candidate become stable? */
static char *basis = NULL;		/* of its position */

static void incremental_prepare(Run *run);

/*-------------------------------------------------------------------------
 * Rows on their way
 *-------------------------------------------------------------------------
 */

/*
 * A value as text that a cast turns into what the source has; NULL if it is
 * not sure that there is such a cast.
 */
static char *
value_text(const Source *source, int column, const ImageValue *value)
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

/* A batch of rows in the cursor's order commits how far the run has come. */
static void
describe_batch(void *arg, BatchEnd *end)
{
	IncrementalScan *scan = (IncrementalScan *) arg;
	List	   *reached = NIL;

	if (scan->keyset == NULL)
		return;
	if (scan->batch->wide)
	{
		/* the record has it as rowid only */
		if (scan->batch->form == BATCH_KEYED)
			scan->current[scan->table->mapping->rowid_column].kind = IMAGE_INTEGER;
		kept_key_keep(&scan->last, scan->current);
	}
	for (int i = 0; i < scan->last.n; i++)
	{
		char	   *text = value_text(scan->table->source, scan->last.columns[i],
									  &scan->last.values[i]);

		if (text == NULL)
			return;
		reached = lappend(reached, text);
	}
	scan->position->reached = reached;
	end->position = position_to_utf8(scan->position);
}

static bool
receive_row(void *arg, ImageValue *values)
{
	IncrementalScan *scan = (IncrementalScan *) arg;
	int			rowid_column = scan->table->mapping->rowid_column;
	int64		rowid = 0;
	ImageResult result;

	scan->current = values;
	scan->run->counts.rows_read++;
	if (scan->batch->form == BATCH_KEYED)
	{
		rowid = values[rowid_column].u.i;
		values[rowid_column].kind = IMAGE_NULL;
	}
	result = batch_add_row(scan->batch, rowid, values);
	if (scan->batch->form == BATCH_KEYED)
		values[rowid_column].kind = IMAGE_INTEGER;
	if (result != IMAGE_OK)
		batch_refuse_row(scan->batch->source, result, values);
	else if (scan->keyset)
		kept_key_keep(&scan->last, values);
	return true;
}

static Source *
prepare_shipping(RunTable *table, const char *sql)
{
	Source	   *source = source_prepare(table->source->relid,
										table->source->description, sql);

	reject_describe(table, source);
	return source;
}

static void
ship(IncrementalScan *scan, Source *source, BatchForm form)
{
	batch_begin_table(scan->batch, source, scan->table->mapping, form, describe_batch, scan);
	(void) source_scan(source, &scan->run->order->options, batch_before_fetch,
					   receive_row, scan);
	batch_send(scan->batch);
	run_count_oddities(scan->run, source);
}

/*
 * Rows that earlier runs have left out have no new version, and may lie below
 * the cursor: they are read once more by their keys.
 */
static void
retry_rejects(IncrementalScan *scan)
{
	RunTable   *table = scan->table;
	List	   *rest = reject_complete_keys(table->reject_keys);

	scan->keyset = NULL;
	while (rest != NIL)
	{
		List	   *keys = list_truncate(list_copy(rest), RETRIED_KEYS);
		char	   *condition = reject_condition(table, keys);

		if (condition == NULL)
			return;
		rest = list_copy_tail(rest, list_length(keys));
		ship(scan, prepare_shipping(table, mapping_select(table->mapping, condition, NULL)),
			 BATCH_NUMBERED);
		reject_retried(scan->run, keys);
	}
}

/* A position in what the run under way reads, and nothing read so far. */
static void
renew_position(const Run *run, Position *position)
{
	position->timeline = run->finish.identity.timeline;
	position->basis = basis;
	position->xmin = 0;
	position->stable = NIL;
	position->candidate = NULL;
	position->reached = NIL;
}

/*-------------------------------------------------------------------------
 * By row versions
 *-------------------------------------------------------------------------
 */

/*
 * Why the position says nothing about the rows that have changed since; NULL if
 * it does.
 */
static const char *
versions_lost(const IncrementalScan *scan, uint64 next)
{
	const Position *position = scan->position;
	const char *reason = sync_position_lost(scan->run, scan->table, position, basis);

	if (reason)
		return reason;
	if (position->xmin == 0)
		return "the position is lost";
	if (position->xmin > next)
		return "the server has gone back behind the position";
	if (next - position->xmin > ROWVERSION_MAX_AGE)
		return "the position is too old";
	return NULL;
}

/* Rows of the window, and how many rows the source has. */
static int64
ship_versions(IncrementalScan *scan, uint64 from, uint64 until)
{
	const Mapping *mapping = scan->table->mapping;

	/*
	 * Where there is a filter it has to come first, or rows that it leaves out
	 * would be counted.  OFFSET 0 keeps the planner from pulling it up.
	 * Expressions may name the table.
	 */
	char	   *sql = mapping->filter == NULL ?
		mapping_select(mapping, rowversion_condition("xmin", from, until), NULL) :
		psprintf("SELECT %s FROM (SELECT *, xmin AS \"xmin of the row\" FROM %s WHERE (%s\n) OFFSET 0) AS %s WHERE %s",
				 mapping->select_list, mapping->from, mapping->filter,
				 quote_identifier(get_rel_name(scan->table->source->relid)),
				 rowversion_condition("\"xmin of the row\"", from, until));

	rowversion_reset_count();
	ship(scan, prepare_shipping(scan->table, sql), BATCH_NUMBERED);
	return rowversion_count();
}

static void
scan_versions(IncrementalScan *scan)
{
	Run		   *run = scan->run;
	RunTable   *table = scan->table;
	Position   *position = scan->position;
	Snapshot	snapshot = GetActiveSnapshot();
	uint64		next = rowversion_next(snapshot);
	const char *reason = versions_lost(scan, next);
	bool		adopted = table->mapping->table->adopted;
	bool		recount = false;
	int64		rows;

	if (sync_begin_table(run, table, APPLY_SYNC) && reason == NULL)
		reason = "the target lacked columns of the source";
	if (reason == NULL)
	{
		rows = ship_versions(scan, position->xmin, next);
		retry_rejects(scan);
		sync_end_table(run, table, false);
		if (adopted)
			recount = rows != table->state->rows;
		else if (rows != table->counts.rows + table->counts.rejects &&
				 run->order->options.deletes == DELETES_AUTO)
			reason = "rows were deleted at the source, or written in the file by others";
	}
	if (reason)
	{
		sync_note(run, "everything was compared: %s", reason);
		renew_position(run, position);
		position->xmin = rowversion_oldest(snapshot);
		(void) merge_table(run, table, position);
	}
	else if (recount || table->counts.rejected > 0 ||
			 table->counts.inserted + table->counts.updated > 0 ||
			 next - position->xmin > POSITION_AGE)
	{
		position->xmin = rowversion_oldest(snapshot);
		if (adopted)
			sync_count_source(run, table, rows);
	}
	else
		return;					/* nothing new: nothing is written */
	sync_set_position(run, table, position);
}

/*-------------------------------------------------------------------------
 * By a cursor
 *-------------------------------------------------------------------------
 */

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

static Keyset *
make_keyset(const RunTable *table, List *cursor_columns)
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

static char *
behind(const Keyset *keyset, List *bound)
{
	return sync_keyset_condition(keyset->columns, ">", bound_literals(keyset, bound));
}

static const char *
first_cursor(const Keyset *keyset)
{
	return (const char *) linitial(keyset->columns);
}

/* Rows that have a place in the order of the cursor. */
static char *
has_cursor(const Keyset *keyset)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < keyset->ncursor; i++)
		appendStringInfo(&sql, "%s(%s) IS NOT NULL", i ? " AND " : "",
						 (char *) list_nth(keyset->columns, i));
	return sql.data;
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
					 table->mapping->from, has_cursor(keyset));
	if (keyset->time)
		appendStringInfo(&sql, " AND %s <= pg_catalog.now()", first_cursor(keyset));
	if (table->mapping->filter)
		appendStringInfo(&sql, " AND (%s\n)", table->mapping->filter);
	appendStringInfo(&sql, " ORDER BY %s LIMIT 1", joined(keyset->columns, " DESC"));
	return query_texts(sql.data);
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

/* First two steps of three, each with a snapshot of its own. */
static void
incremental_before(Run *run)
{
	MemoryContext oldcontext;
	RunTable   *table;
	List	   *bound;
	List	   *open;
	Snapshot	snapshot;

	next_candidate = NULL;
	settled = false;
	if (run->order->cursor_columns == NIL)
		return;
	incremental_prepare(run);
	table = linitial(run->tables);
	PushActiveSnapshot(GetTransactionSnapshot());
	bound = read_bound(table, make_keyset(table, run->order->cursor_columns));
	PopActiveSnapshot();
	open = open_transactions();
	snapshot = GetTransactionSnapshot();

	if (table->state && table->state->position)
	{
		Candidate  *last = position_from_utf8(table->state->position)->candidate;

		settled = last && is_settled(last, open, rowversion_oldest(snapshot));
	}
	if (bound)
	{
		oldcontext = MemoryContextSwitchTo(run->context);
		next_candidate = palloc0(sizeof(Candidate));
		next_candidate->bound = copy_texts(bound);
		next_candidate->open = copy_texts(open);
		next_candidate->xmin = rowversion_oldest(snapshot);
		next_candidate->xmax = rowversion_next(snapshot);
		next_candidate->started = (int64) PgStartTime;
		MemoryContextSwitchTo(oldcontext);
	}
	run_forget_tables(run);
}

/* Where a run begins: the stable bound, or behind it by the lookback. */
static List *
lower_bound(const Keyset *keyset, const Position *position, const SyncOptions *options)
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
static char *
from_bound(const Keyset *keyset, List *bound)
{
	int			n = Min(keyset->ncursor, list_length(bound));

	if (bound == NIL)
		return has_cursor(keyset);
	if (n == list_length(keyset->columns))
		return behind(keyset, bound);
	return psprintf("%s AND %s", has_cursor(keyset),
					sync_keyset_condition(list_copy_head(keyset->columns, n), ">=",
										  list_copy_head(bound_literals(keyset, bound), n)));
}

/*
 * Below the candidate only what has appeared since it was taken is new; NULL if
 * that cannot be told.
 */
static char *
since_candidate(const IncrementalScan *scan, const Candidate *candidate)
{
	uint64		next = rowversion_next(GetActiveSnapshot());
	const char *why;

	if (candidate == NULL || scan->run->order->query != NULL ||
		scan->run->order->options.lookback[0] != '\0' ||
		!rowversion_supported(scan->table->source->relid, &why) ||
		candidate->xmin > next || next - candidate->xmin > ROWVERSION_MAX_AGE)
		return NULL;
	return psprintf("(%s OR %s)", behind(scan->keyset, candidate->bound),
					rowversion_condition("xmin", candidate->xmin, next));
}

/* Who keeps the candidate from becoming stable. */
static void
note_open_writers(Run *run, const Candidate *candidate)
{
	List	   *pids = query_texts(psprintf("SELECT pg_catalog.string_agg(pid::pg_catalog.text, ', ' ORDER BY pid) "
											"FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'virtualxid' "
											"AND virtualxid OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array(%s, ','))",
											quote_literal_cstr(joined(candidate->open, ""))));

	sync_note(run, "rows above the stable bound are read again by the next run: who might commit below it is still at work%s%s",
			  pids ? ", process " : "", pids ? (char *) linitial(pids) : "");
}

static bool
same_bound(List *a, List *b)
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

/* Ships what the cursor shows; batches commit how far they have come. */
static void
ship_behind(IncrementalScan *scan, List *from, bool resumed)
{
	const Mapping *mapping = scan->table->mapping;
	Keyset	   *keyset = scan->keyset;
	/* a run goes on behind the very row that it has reached */
	char	   *condition = resumed ? behind(keyset, from) : from_bound(keyset, from);
	char	   *since = since_candidate(scan, scan->position->candidate);
	int		   *columns = palloc(list_length(keyset->numbers) * sizeof(int));
	Source	   *source;
	ListCell   *lc;

	if (since)
		condition = psprintf("%s AND %s", condition, since);
	source = prepare_shipping(scan->table,
							  mapping_select(mapping, condition, joined(keyset->columns, "")));
	if (from && source_reads_all(source))
		sync_note(scan->run, "no index serves the cursor: the run read or sorted the whole table");
	foreach(lc, keyset->numbers)
		columns[foreach_current_index(lc)] = lfirst_int(lc);
	kept_key_init(&scan->last, list_length(keyset->numbers), columns);
	ship(scan, source,
		 scan->last.n == 1 && columns[0] == mapping->rowid_column ? BATCH_KEYED : BATCH_NUMBERED);
}

/* May a column of the source be NULL, as far as the catalog knows? */
static bool
may_be_null(const RunTable *table, int column)
{
	Oid			relid = table->source->relid;
	HeapTuple	tuple;
	bool		not_null;

	if (table->mapping->not_null[column] || !OidIsValid(relid))
		return !table->mapping->not_null[column];
	tuple = SearchSysCacheAttName(relid, table->source->columns[column].name);
	if (!HeapTupleIsValid(tuple))
		return true;
	not_null = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	return !not_null;
}

/* Rows without a cursor have no place in its order: all of them, every time. */
static void
ship_without_cursor(IncrementalScan *scan)
{
	Keyset	   *keyset = scan->keyset;
	int64		before = scan->run->counts.rows_read;
	StringInfoData condition;

	initStringInfo(&condition);
	for (int i = 0; i < keyset->ncursor; i++)
	{
		if (may_be_null(scan->table, list_nth_int(keyset->numbers, i)))
			appendStringInfo(&condition, "%s(%s) IS NULL", condition.len ? " OR " : "(",
							 (char *) list_nth(keyset->columns, i));
	}
	if (condition.len == 0)
		return;
	appendStringInfoChar(&condition, ')');
	scan->keyset = NULL;
	ship(scan, prepare_shipping(scan->table, mapping_select(scan->table->mapping,
															condition.data, NULL)),
		 BATCH_NUMBERED);
	if (scan->run->counts.rows_read > before)
		sync_note(scan->run, INT64_FORMAT " rows have no cursor and are read by every run",
				  scan->run->counts.rows_read - before);
}

/* The position is lost: all rows, and from here a cursor goes on again. */
static void
compare_for_cursor(IncrementalScan *scan, const char *reason)
{
	Position   *position = scan->position;

	sync_note(scan->run, "everything was compared: %s", reason);
	renew_position(scan->run, position);
	(void) merge_table(scan->run, scan->table, position);
	position->candidate = next_candidate;
	sync_set_position(scan->run, scan->table, position);
}

static void
follow_cursor(IncrementalScan *scan)
{
	Run		   *run = scan->run;
	RunTable   *table = scan->table;
	Position   *position = scan->position;
	Position	before = *position;
	Candidate  *candidate = position->candidate;
	bool		resumed = position->reached != NIL;

	if (resumed)
		sync_note(run, "a run that was broken off went on");
	ship_behind(scan, resumed ? position->reached :
				lower_bound(scan->keyset, position, &run->order->options), resumed);
	ship_without_cursor(scan);
	retry_rejects(scan);
	sync_end_table(run, table, false);

	/*
	 * What came before the point where it was broken off was read under an
	 * older snapshot: neither bound moves before a run has read it again.
	 */
	position->reached = NIL;
	if (!resumed && settled && candidate)
		position->stable = candidate->bound;
	if (!resumed && (settled || candidate == NULL))
		position->candidate = next_candidate;
	else if (!settled && candidate)
		note_open_writers(run, candidate);

	/* where nothing has come there is nothing to write */
	if (resumed || table->counts.rejected > 0 ||
		table->counts.inserted + table->counts.updated > 0 ||
		!same_bound(before.stable, position->stable) ||
		(candidate == NULL) != (position->candidate == NULL) ||
		(candidate && !same_bound(candidate->bound, position->candidate->bound)))
		sync_set_position(run, table, position);
}

static void
scan_cursor(IncrementalScan *scan)
{
	const char *reason = sync_position_lost(scan->run, scan->table, scan->position, basis);

	scan->keyset = make_keyset(scan->table, scan->run->order->cursor_columns);
	if (sync_begin_table(scan->run, scan->table, APPLY_SYNC) && reason == NULL)
		reason = "the target lacked columns of the source";
	if (reason)
		compare_for_cursor(scan, reason);
	else
		follow_cursor(scan);
}

/*-------------------------------------------------------------------------
 * The mode
 *-------------------------------------------------------------------------
 */

static void
prepare_versions(Run *run, RunTable *table)
{
	MemoryContext oldcontext;
	const char *why;

	if (run->order->query)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mode \"incremental\" cannot follow the rows of a query"),
				 errhint("Use mode \"merge\", or give \"cursor_columns\".")));
	if (!rowversion_supported(table->source->relid, &why))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mode \"incremental\" cannot follow the rows of %s", table->source->description),
				 errdetail("Rows are told apart by their versions, and %s.", why),
				 errhint("Use mode \"merge\", or give \"cursor_columns\".")));
	if (run->order->options.row_security)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mode \"incremental\" does not go with option \"row_security\""),
				 errdetail("Rows may come in sight, or go, without being written."),
				 errhint("Use mode \"merge\".")));
	if (source_is_mutable(table->source))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mode \"incremental\" does not go with this %s",
						run->order->mapping ? "filter or mapping" : "filter"),
				 errdetail("What it lets through depends on more than the row itself, so rows come and go without being written."),
				 errhint("Use mode \"merge\", which compares all rows, or a filter of immutable functions over the row.")));

	/* what the last run's rows went through has to be the same */
	oldcontext = MemoryContextSwitchTo(run->context);
	basis = psprintf("versions %s %s", rowversion_fingerprint(table->source->relid),
					 options_fingerprint(&run->order->options,
										 source_conditions(table->source)));
	MemoryContextSwitchTo(oldcontext);
}

static void
prepare_cursor(Run *run, const RunTable *table)
{
	Keyset	   *keyset = make_keyset(table, run->order->cursor_columns);
	MemoryContext oldcontext = MemoryContextSwitchTo(run->context);

	basis = psprintf("cursor %u (%s) %d %s", table->source->relid,
					 joined(keyset->columns, ""), keyset->ncursor, joined(keyset->types, ""));
	MemoryContextSwitchTo(oldcontext);
}

static void
incremental_prepare(Run *run)
{
	RunTable   *table;

	mode_full.prepare(run);
	sync_end_prepare(run);
	table = linitial(run->tables);
	if (run->order->cursor_columns == NIL)
		prepare_versions(run, table);
	else
		prepare_cursor(run, table);
}

/* A first load: from here the next run goes on. */
static void
load(Run *run, RunTable *table)
{
	Position	position;

	memset(&position, 0, sizeof(position));
	renew_position(run, &position);
	if (run->order->cursor_columns == NIL)
		position.xmin = rowversion_oldest(GetActiveSnapshot());
	else
		position.candidate = next_candidate;
	mode_full.scan(run);
	sync_set_position(run, table, &position);
}

static void
incremental_scan(Run *run)
{
	IncrementalScan scan;

	memset(&scan, 0, sizeof(scan));
	scan.run = run;
	scan.table = linitial(run->tables);
	if (!sync_can_go_on(run, scan.table))
	{
		load(run, scan.table);
		return;
	}
	scan.batch = batch_create(run);
	scan.position = position_from_utf8(scan.table->state->position);
	run->position_from = scan.table->state->position;
	if (run->order->cursor_columns == NIL)
		scan_versions(&scan);
	else
		scan_cursor(&scan);
}

const SyncMode mode_incremental = {
	.name = "incremental",
	.before = incremental_before,
	.prepare = incremental_prepare,
	.scan = incremental_scan,
};
