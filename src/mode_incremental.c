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

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "batch.h"
#include "cursor.h"
#include "reject.h"
#include "rowversion.h"
#include "staging.h"
#include "sync.h"

/* A snapshot position moves at the latest when it is as old as this. */
#define POSITION_AGE	10000000

/* Rows left out by earlier runs that one query looks for. */
#define RETRIED_KEYS	1000

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

/* A batch of rows in the cursor's order commits how far the run has come. */
static bool
describe_batch(void *arg, BatchEnd *end)
{
	IncrementalScan *scan = (IncrementalScan *) arg;
	List	   *reached = NIL;

	if (scan->keyset == NULL)
		return true;
	if (scan->batch->wide)
	{
		/* the record has it as rowid only */
		if (scan->batch->form == BATCH_KEYED)
			scan->current[scan->table->mapping->rowid_column].kind = IMAGE_INTEGER;
		kept_key_keep(&scan->last, scan->current);
	}
	for (int i = 0; i < scan->last.n; i++)
	{
		char	   *text = cursor_value_text(scan->table->source, scan->last.columns[i],
									  &scan->last.values[i]);

		if (text == NULL)
			return true;
		reached = lappend(reached, text);
	}
	scan->position->reached = reached;
	end->position = position_to_utf8(scan->position);
	return true;
}

static long
before_fetch(void *arg)
{
	return batch_before_fetch(((IncrementalScan *) arg)->batch);
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
	(void) source_scan(source, &scan->run->order->options, before_fetch,
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

static const char lacked_columns[] = "the target lacked columns of the source";

/*
 * The writer gets to know the table, unless its rows wait in memory.  Why
 * everything has to be compared, or NULL.
 */
static const char *
begin_table(const IncrementalScan *scan)
{
	if (!staging_holds(scan->run) &&
		sync_begin_table(scan->run, scan->table, APPLY_SYNC))
		return lacked_columns;
	return NULL;
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

	if (reason == NULL)
		reason = begin_table(scan);
	else
	{
		staging_drop(run);
		(void) begin_table(scan);
	}
	if (reason == NULL)
	{
		Position	after = *position;

		rows = ship_versions(scan, position->xmin, next);
		after.xmin = rowversion_oldest(snapshot);
		if (staging_goes_on(run, table, &after))
			return;
		if (staging_altered(run))
			reason = lacked_columns;
	}
	if (reason == NULL)
	{
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

/* First two steps of three, each with a snapshot of its own. */
static void
incremental_before(Run *run)
{
	MemoryContext oldcontext;
	RunTable   *table;
	Candidate  *last = NULL;

	next_candidate = NULL;
	settled = false;
	if (run->order->cursor_columns == NIL)
		return;
	incremental_prepare(run);
	table = linitial(run->tables);
	if (table->state && table->state->position)
		last = position_from_utf8(table->state->position)->candidate;
	oldcontext = MemoryContextSwitchTo(run->look);
	next_candidate = cursor_take_candidate(table, run->order->cursor_columns, last, &settled);
	MemoryContextSwitchTo(oldcontext);
	run_forget_tables(run);
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
	return psprintf("(%s OR %s)", cursor_behind(scan->keyset, candidate->bound),
					rowversion_condition("xmin", candidate->xmin, next));
}

/* Ships what the cursor shows; batches commit how far they have come. */
static void
ship_behind(IncrementalScan *scan, List *from, bool resumed)
{
	const Mapping *mapping = scan->table->mapping;
	Keyset	   *keyset = scan->keyset;
	/* a run goes on behind the very row that it has reached */
	char	   *condition = resumed ? cursor_behind(keyset, from) : cursor_from(keyset, from);
	char	   *since = since_candidate(scan, scan->position->candidate);
	int		   *columns = palloc(list_length(keyset->numbers) * sizeof(int));
	Source	   *source;
	ListCell   *lc;

	if (since)
		condition = psprintf("%s AND %s", condition, since);
	source = prepare_shipping(scan->table,
							  mapping_select(mapping, condition, cursor_order(keyset)));
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
				cursor_lower_bound(scan->keyset, position, &run->order->options), resumed);
	ship_without_cursor(scan);

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
		cursor_note_open_writers(run, candidate);
	if (staging_goes_on(run, table, position))
		return;
	if (staging_altered(run))
	{
		compare_for_cursor(scan, lacked_columns);
		return;
	}
	retry_rejects(scan);
	sync_end_table(run, table, false);

	/* where nothing has come there is nothing to write */
	if (resumed || table->counts.rejected > 0 ||
		table->counts.inserted + table->counts.updated > 0 ||
		!cursor_same_bound(before.stable, position->stable) ||
		(candidate == NULL) != (position->candidate == NULL) ||
		(candidate && !cursor_same_bound(candidate->bound, position->candidate->bound)))
		sync_set_position(run, table, position);
}

static void
scan_cursor(IncrementalScan *scan)
{
	const char *reason = sync_position_lost(scan->run, scan->table, scan->position, basis);

	scan->keyset = cursor_keyset(scan->table, scan->run->order->cursor_columns);
	if (reason)
	{
		staging_drop(scan->run);
		(void) begin_table(scan);
	}
	else
		reason = begin_table(scan);
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
						run->order->mapping ? "mapping" : "filter"),
				 run->order->mapping ?
				 errdetail("What it, or the filter, makes of a row depends on more than the row itself, so rows change without being written.") :
				 errdetail("What it lets through depends on more than the row itself, so rows come and go without being written."),
				 errhint("Use mode \"merge\", which compares all rows, or a %s of immutable functions over the row.",
						 run->order->mapping ? "mapping" : "filter")));

	/* what the last run's rows went through has to be the same */
	oldcontext = MemoryContextSwitchTo(run->look);
	basis = psprintf("versions %s %s", rowversion_fingerprint(table->source->relid),
					 options_fingerprint(&run->order->options,
										 source_conditions(table->source)));
	MemoryContextSwitchTo(oldcontext);
}

static void
prepare_cursor(Run *run, const RunTable *table)
{
	Keyset	   *keyset = cursor_keyset(table, run->order->cursor_columns);
	MemoryContext oldcontext = MemoryContextSwitchTo(run->look);

	basis = cursor_basis(keyset, table->source->relid);
	MemoryContextSwitchTo(oldcontext);
}

static void
incremental_prepare(Run *run)
{
	RunTable   *table;

	mode_full.prepare(run);
	sync_end_prepare(run);
	table = linitial(run->tables);
	if (table->mapping->table->rowless)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mode \"incremental\" needs a target table that has the key of %s",
						table->source->description),
				 errdetail("The mapping has none, so that nothing says which rows of its tables are still referred to."),
				 errhint("Use mode \"merge\" or \"full\", or map the source's key.")));
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
	staging_drop(run);
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
	if (run->order->cursor_columns != NIL)
		cursor_note_unseen_writers(run, scan.table,
								   cursor_keyset(scan.table, run->order->cursor_columns));
	if (!sync_can_go_on(run))
	{
		load(run, scan.table);
		return;
	}
	scan.batch = batch_create(run);
	scan.position = position_from_utf8(scan.table->state->position);
	if (run->position_from == NULL)
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
