/*-------------------------------------------------------------------------
 *
 * mode_merge.c
 *	  The whole source compared with the target, range by range.
 *
 * Both sides go through the key in one order, SQLite's.  A batch covers the
 * range from behind the last key of the one before to its own last key: its
 * rows are upserted, what else the range holds in the target is deleted.
 *
 * Where checksums are those of the last merge, and nobody has written into the
 * file since, the writer need not look: it is told in which pieces of a batch
 * rows may differ, and a batch in which none can is not sent at all.
 *
 * A merge that was broken off goes on behind its last range, and comes round
 * to the ranges before it at the end: rows there may have changed since.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "batch.h"
#include "rangesum.h"
#include "reject.h"
#include "store.h"
#include "sync.h"

PG_FUNCTION_INFO_V1(lfsync_stored);

/* That a range has so many times the rows of the mean happens to one of 3000. */
#define MANY_SUMS		8

typedef struct MergeScan
{
	Run		   *run;
	RunTable   *table;
	Source	   *source;			/* in key order */
	Batch	   *batch;
	Position   *position;		/* that batches commit; NULL: none */

	KeptKey		last;			/* of the last row taken */
	KeyBound	after;			/* where the range that is being filled begins ... */
	KeptKey		after_key;		/* ... and where that lives */
	KeyBound	limit;			/* where the scan ends */
	ImageValue *current;		/* the row that is being added */
	bool		ranges;			/* what the source lacks is to be found, too */
	bool		ending;			/* no more rows: the range goes up to the limit */
	bool		begins;			/* the next batch is the first, ... */
	bool		comes_round;	/* ... the first when keys begin anew; ... */
	bool		ends;			/* ... and no keys follow these */

	RangeTracker *sums;			/* NULL: none are made */
	ImagePiece *pieces;			/* of the batch, in which rows may differ */
	int			npieces;
	int			maxpieces;
	int64		first;			/* where in it the current sum begins, ... */
	int64		nbefore;		/* ... how many of its rows come before, ... */
	int64		last_rowid;		/* ... and its last row */
} MergeScan;

/* Options of the run, for lfsync_stored(). */
static SyncOptions *stored_options = NULL;

/*-------------------------------------------------------------------------
 * SQLite's order, in PostgreSQL
 *-------------------------------------------------------------------------
 */

/*
 * lfsync_stored(value anyelement) returns bytea
 *
 * The bytes of a value as the target holds it, whose order is SQLite's.  For
 * queries of runs only: it follows their options.
 */
Datum
lfsync_stored(PG_FUNCTION_ARGS)
{
	ValueColumn *column = (ValueColumn *) fcinfo->flinfo->fn_extra;
	ImageValue	value;

	if (stored_options == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("lfsync_stored() is for lfsync's own queries")));
	if (column == NULL)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		column = palloc0(sizeof(ValueColumn));
		value_prepare(column, get_fn_expr_argtype(fcinfo->flinfo, 0), -1, stored_options);
		MemoryContextSwitchTo(oldcontext);
		fcinfo->flinfo->fn_extra = column;
	}
	column->convert(column, PG_GETARG_DATUM(0), &value);
	if (column->error)
	{
		/* the row is rejected when it comes: it has no place in the order */
		if (stored_options->on_row_error == ROW_ERROR_SKIP)
		{
			column->error = NULL;
			PG_RETURN_NULL();
		}
		value_raise(column->error);
	}
	if (value.kind != IMAGE_TEXT && value.kind != IMAGE_BLOB)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a key value is not stored as text"),
				 errhint("Choose other key columns.")));
	PG_RETURN_BYTEA_P(cstring_to_text_with_len(value.u.data, value.len));
}

/* How a key column sorts as SQLite sorts what it becomes. */
static char *
order_expression(const RunTable *table, int key)
{
	const SourceColumn *column = &table->source->columns[key];
	const char *name = table->mapping->sql_of[key];
	const char *stored = table->mapping->table->columns[key].sqlite_type;
	Oid			type = getBaseType(column->typid);

	if (strcmp(stored, "INTEGER") == 0 || strcmp(stored, "REAL") == 0 ||
		type == BYTEAOID || type == UUIDOID)
		return pstrdup(name);
	if ((type == TEXTOID || type == VARCHAROID) && GetDatabaseEncoding() == PG_UTF8)
		return psprintf("%s COLLATE pg_catalog.\"C\"", name);
	return psprintf("%s(%s)", store_name("lfsync_stored"), name);
}

/*
 * A key value as SQLite has it, as a literal to compare such an expression
 * with; NULL if there is no way back.
 */
static char *
order_literal(const RunTable *table, int key, const ImageValue *value)
{
	Oid			type = getBaseType(table->source->columns[key].typid);
	char	   *hex;

	switch (value->kind)
	{
		case IMAGE_INTEGER:
			if (type == BOOLOID)
				return pstrdup(value->u.i ? "true" : "false");
			if (type != INT2OID && type != INT4OID && type != INT8OID &&
				type != OIDOID && type != NUMERICOID)
				return NULL;
			return psprintf("'" INT64_FORMAT "'", value->u.i);
		case IMAGE_REAL:
			return psprintf("'%.17g'::pg_catalog.float8", value->u.r);
		default:
			break;
	}
	hex = palloc(2 * value->len + 1);
	hex[hex_encode(value->u.data, value->len, hex)] = '\0';
	if (type == UUIDOID && value->kind == IMAGE_BLOB)
		return psprintf("'%s'::pg_catalog.uuid", hex);
	if (type == UUIDOID)
		return psprintf("pg_catalog.convert_from('\\x%s', 'UTF8')::pg_catalog.uuid", hex);
	if ((type == TEXTOID || type == VARCHAROID) && GetDatabaseEncoding() == PG_UTF8)
		return psprintf("pg_catalog.convert_from('\\x%s', 'UTF8')", hex);
	return psprintf("'\\x%s'::pg_catalog.bytea", hex);
}

/* As SQLite compares values of one class under BINARY. */
static int
compare_values(const ImageValue *a, const ImageValue *b)
{
	int			result;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	switch (a->kind)
	{
		case IMAGE_INTEGER:
			return a->u.i < b->u.i ? -1 : a->u.i > b->u.i;
		case IMAGE_REAL:
			return a->u.r < b->u.r ? -1 : a->u.r > b->u.r;
		case IMAGE_TEXT:
		case IMAGE_BLOB:
			result = memcmp(a->u.data, b->u.data, Min(a->len, b->len));
			if (result != 0)
				return result;
			return a->len < b->len ? -1 : a->len > b->len;
		case IMAGE_NULL:
			break;
	}
	return 0;
}

/*-------------------------------------------------------------------------
 * Ranges
 *-------------------------------------------------------------------------
 */

/* The rows of the current sum that are in the batch may differ. */
static void
add_piece(MergeScan *scan)
{
	ImagePiece *last = scan->npieces > 0 ? &scan->pieces[scan->npieces - 1] : NULL;
	int64		nrows = scan->batch->nrows - scan->nbefore;

	if (last && last->last + 1 == scan->first)
	{
		last->last = scan->last_rowid;
		last->nrows += nrows;
		return;
	}
	if (scan->npieces == scan->maxpieces)
	{
		scan->maxpieces *= 2;
		scan->pieces = repalloc(scan->pieces, scan->maxpieces * sizeof(ImagePiece));
	}
	scan->pieces[scan->npieces++] = (ImagePiece) {scan->first, scan->last_rowid, nrows};
}

/* The rows that follow belong to another sum. */
static void
begin_piece(MergeScan *scan)
{
	scan->nbefore = scan->batch->nrows;
	scan->first = scan->nbefore == 0 ? PG_INT64_MIN : scan->last_rowid + 1;
}

/* Where in the batch rows may differ; false if they cannot. */
static bool
describe_pieces(MergeScan *scan, BatchEnd *end)
{
	ImagePiece *last;

	/* what a sum says that is not complete is not known */
	if (scan->batch->nrows > scan->nbefore)
		add_piece(scan);
	if (scan->npieces == 0)
		return false;
	last = &scan->pieces[scan->npieces - 1];
	if (last->last == scan->last_rowid)
		last->last = PG_INT64_MAX;
	if (scan->pieces[0].first != PG_INT64_MIN || scan->pieces[0].last != PG_INT64_MAX)
	{
		end->pieces = scan->pieces;
		end->npieces = scan->npieces;
	}
	return true;
}

/* What goes with the batch that is about to leave; the next begins behind it. */
static bool
describe_range(void *arg, BatchEnd *end)
{
	MergeScan  *scan = (MergeScan *) arg;
	int			nkeys = scan->table->mapping->table->nkeys;
	bool		some = true;

	if (scan->sums && !scan->batch->wide && scan->batch->nrows > 0)
		some = describe_pieces(scan, end);
	scan->npieces = 0;
	scan->first = PG_INT64_MIN;
	scan->nbefore = 0;

	if (scan->batch->wide)
	{
		/* the record has it as rowid only */
		if (scan->table->mapping->rowid_column >= 0)
			scan->current[scan->table->mapping->rowid_column].kind = IMAGE_INTEGER;
		kept_key_keep(&scan->last, scan->current);
	}
	end->range = scan->ranges;
	end->begins = scan->begins;
	end->comes_round = scan->comes_round;
	end->ends = scan->ending && scan->ends;
	scan->begins = scan->comes_round = false;
	end->after = scan->after;
	if (scan->ending)
		end->to = scan->limit;
	else
	{
		end->to.open = false;
		end->to.values = scan->last.values;
	}
	if (!scan->ending)
	{
		kept_key_keep(&scan->after_key, scan->last.values);
		scan->after.open = false;
		scan->after.values = scan->after_key.values;
	}
	if (scan->position)
	{
		if (!scan->ending)
		{
			scan->position->merged = scan->after.values;
			scan->position->nmerged = nkeys;
		}
		end->position = position_to_utf8(scan->position);
	}
	return some;
}

/* False if a row is rejected since its key was the last row's. */
static bool
check_order(MergeScan *scan, const ImageValue *values)
{
	const TargetTable *target = scan->table->mapping->table;
	int			order = 0;
	ValueError	error;

	for (int i = 0; i < target->nkeys && order == 0; i++)
		order = compare_values(&scan->last.values[i], &values[target->keys[i]]);
	if (order > 0)
		elog(ERROR, "keys of %s come in another order than SQLite's",
			 scan->source->description);
	if (order < 0)
		return true;
	error.sqlerrcode = ERRCODE_UNIQUE_VIOLATION;
	error.message = psprintf("a key of %s comes twice", scan->source->description);
	error.detail = "The key columns do not tell its rows apart, as they are stored in SQLite.";
	error.hint = "Choose other key columns.";
	reject_duplicate(scan->table, scan->source, values, &error);
	return false;
}

static long
before_fetch(void *arg)
{
	return batch_before_fetch(((MergeScan *) arg)->batch);
}

static bool
receive_row(void *arg, ImageValue *values)
{
	MergeScan  *scan = (MergeScan *) arg;
	int			rowid_column = scan->table->mapping->rowid_column;
	int64		rowid = 0;
	ImageResult result;

	scan->run->counts.rows_read++;
	if (scan->last.values && !check_order(scan, values))
		return true;
	scan->current = values;
	if (rowid_column >= 0)
	{
		rowid = values[rowid_column].u.i;
		values[rowid_column].kind = IMAGE_NULL;
	}
	result = batch_add_row(scan->batch, rowid, values);
	if (rowid_column >= 0)
		values[rowid_column].kind = IMAGE_INTEGER;
	if (result != IMAGE_OK)
	{
		batch_refuse_row(scan->source, result, values);
		return true;
	}
	kept_key_keep(&scan->last, values);
	scan->last_rowid = rowid_column >= 0 ? rowid : scan->batch->nrows;
	if (scan->sums &&
		rangesum_add(scan->sums, values, scan->source->ncolumns,
					 scan->table->mapping->table->keys,
					 scan->table->mapping->table->nkeys))
	{
		int64		margin = MANY_SUMS * rangesum_rows(scan->sums);

		if (!rangesum_end(scan->sums) && scan->batch->nrows > scan->nbefore)
			add_piece(scan);
		begin_piece(scan);
		/* a batch that ends within a sum has a piece that is not known */
		if (scan->batch->nrows > 4 * margin && !batch_has_room(scan->batch, margin))
			batch_send(scan->batch);
	}
	return true;
}

/* The end of a range that may hold no row, as far as the limit. */
static void
end_ranges(MergeScan *scan)
{
	Channel    *channel = scan->run->channel;
	BatchEnd	end;
	bool		same = scan->sums && rangesum_end(scan->sums);

	if (scan->sums && !same)
	{
		if (scan->batch->nrows > scan->nbefore)
			add_piece(scan);
		else
			batch_send(scan->batch);	/* which does not reach the limit */
	}
	if (scan->sums)
		begin_piece(scan);
	scan->ending = true;
	if (scan->batch->nrows > 0)
	{
		batch_send(scan->batch);
		return;
	}
	if (!scan->ranges || same)
		return;
	memset(&end, 0, sizeof(end));
	(void) describe_range(scan, &end);
	channel_begin(channel, MESSAGE_RANGE);
	message_put_batch_end(&channel->message, &end, scan->table->mapping->table->nkeys);
	channel_send(channel);
}

/* One scan over the keys behind "after", up to "to". */
static void
merge_keys(MergeScan *scan, const KeyBound *after, const KeyBound *to)
{
	const Mapping *mapping = scan->table->mapping;
	const TargetTable *target = mapping->table;
	List	   *expressions = NIL;
	List	   *literals = NIL;
	const KeyBound *bound = after->open ? to : after;
	char	   *condition = NULL;
	StringInfoData order;

	initStringInfo(&order);
	for (int i = 0; i < target->nkeys; i++)
	{
		char	   *expression = order_expression(scan->table, target->keys[i]);

		expressions = lappend(expressions, expression);
		if (!bound->open)
			literals = lappend(literals, order_literal(scan->table, target->keys[i],
													   &bound->values[i]));
		appendStringInfo(&order, "%s%s", i ? ", " : "", expression);
	}
	if (!bound->open)
		condition = sync_keyset_condition(expressions, after->open ? "<=" : ">", literals);

	scan->source = source_prepare(scan->table->source->relid,
								  scan->table->source->description,
								  mapping_select(mapping, condition, order.data));
	reject_describe(scan->table, scan->source);

	scan->after = *after;
	scan->limit = *to;
	kept_key_init(&scan->last, target->nkeys, target->keys);
	kept_key_init(&scan->after_key, target->nkeys, NULL);
	scan->ending = false;
	batch_begin_table(scan->batch, scan->source, mapping,
					  mapping->rowid_column >= 0 ? BATCH_KEYED : BATCH_NUMBERED,
					  describe_range, scan);
	begin_piece(scan);
	(void) source_scan(scan->source, &scan->run->order->options, before_fetch,
					   receive_row, scan);
	end_ranges(scan);
	run_count_oddities(scan->run, scan->source);
}

static bool
can_resume(const MergeScan *scan, const RunTable *table, const Position *position)
{
	const TargetTable *target = table->mapping->table;

	if (position == NULL || position->merged == NULL || position->nmerged != target->nkeys)
		return false;
	/* values that rows refer to are the last row's, if none are settled at the end */
	if (target->dimensions != NIL && !scan->ranges)
		return false;
	for (int i = 0; i < target->nkeys; i++)
	{
		if (order_literal(table, target->keys[i], &position->merged[i]) == NULL)
			return false;
	}
	return true;
}

bool
merge_table(Run *run, RunTable *table, Position *position)
{
	static const KeyBound open = {true, NULL};
	TargetTable *target = table->mapping->table;
	int64		read_before = run->counts.rows_read;
	bool		broken_off = position && position->merged;
	MergeScan	scan;

	memset(&scan, 0, sizeof(scan));
	scan.run = run;
	scan.table = table;
	scan.batch = batch_create(run);
	scan.position = position;
	scan.ranges = !target->adopted &&
		(target->apply == APPLY_VERIFY || run->order->options.deletes == DELETES_AUTO);
	scan.begins = true;
	scan.maxpieces = 64;
	scan.pieces = palloc(scan.maxpieces * sizeof(ImagePiece));
	stored_options = &run->order->options;

	if (can_resume(&scan, table, position))
	{
		KeyBound	resume = {false, position->merged};

		sync_note(run, "a merge that was broken off went on");
		merge_keys(&scan, &resume, &open);
		scan.comes_round = scan.ends = true;
		merge_keys(&scan, &open, &resume);
	}
	else
	{
		RangeTracker sums;

		/*
		 * What rows refer to is known by all of them only, and a row that was
		 * left out may have its place today.
		 */
		if (scan.ranges && target->apply == APPLY_SYNC &&
			table->mapping->dimensions == NIL && !table->has_rejects)
		{
			rangesum_begin(&sums, table->sums, table->sums_len,
						   source_estimate(table->source), target->fingerprint);
			scan.sums = &sums;
		}
		scan.ends = true;
		merge_keys(&scan, &open, &open);
		if (scan.sums)
			sync_set_sums(run, table, &sums);
	}
	if (position)
		position->merged = NULL;
	sync_end_table(run, table, true);
	if (target->apply == APPLY_VERIFY)
		table->counts.inserted += table->nrejected;
	if (table->counts.rejects > 0)
		target->sums = NULL;

	/* both sides are the same now, whoever wrote into the file before */
	if (target->apply == APPLY_SYNC && target->adopted)
		sync_count_source(run, table, run->counts.rows_read - read_before);
	else if (target->apply == APPLY_SYNC && scan.ranges)
		target->rows = run->counts.rows_read - read_before - table->counts.rejects;
	return broken_off || (target->rows >= 0 && target->rows != table->counts.rows) ||
		table->counts.inserted + table->counts.updated + table->counts.deleted > 0;
}

/*-------------------------------------------------------------------------
 * The mode
 *-------------------------------------------------------------------------
 */

static void
merge_prepare(Run *run)
{
	mode_full.prepare(run);
	sync_end_prepare(run);
}

static void
merge_scan(Run *run)
{
	RunTable   *table = linitial(run->tables);
	Position   *position;
	bool		altered;

	if (!sync_can_go_on(run) || table->mapping->table->rowless)
	{
		mode_full.scan(run);
		return;
	}
	position = position_from_utf8(table->state->position);
	run->position_from = table->state->position;
	altered = sync_begin_table(run, table, APPLY_SYNC);
	/* where all was as it should be nothing is written, for other modes neither */
	if (merge_table(run, table, position) || altered ||
		!sync_same_text(table->state->fingerprint, table->mapping->table->fingerprint))
		sync_set_position(run, table, position);
}

const SyncMode mode_merge = {
	.name = "merge",
	.prepare = merge_prepare,
	.scan = merge_scan,
};

/*-------------------------------------------------------------------------
 * Verify and repair, for lfsync_verify()
 *-------------------------------------------------------------------------
 */

/* The position stays as it is: the next run goes on as if nothing had been. */
static void
compare(Run *run, ApplyKind apply)
{
	RunTable   *table = linitial(run->tables);

	if (table->mapping->table->rowless)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a mapping none of whose tables has the rows of %s cannot be verified",
						table->source->description),
				 errhint("Every run of the job makes its tables anew.")));
	/* one that is still to be adopted names no source */
	if (table->state == NULL || table->state->source[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the file holds no table of this job"),
				 errhint("Run the job first.")));
	sync_check_owner(run, table->state);
	(void) sync_begin_table(run, table, apply);
	if (merge_table(run, table, NULL) && apply == APPLY_SYNC)
	{
		/* how many rows there are was wrong, too, perhaps */
		run->finish.identity.mode = table->state->mode;
		table->mapping->table->position = table->state->position;
	}
}

static void
verify_scan(Run *run)
{
	compare(run, APPLY_VERIFY);
}

static void
repair_scan(Run *run)
{
	compare(run, APPLY_SYNC);
}

const SyncMode mode_verify = {
	.name = "verify",
	.compares = true,
	.prepare = merge_prepare,
	.scan = verify_scan,
};

const SyncMode mode_repair = {
	.name = "repair",
	.compares = true,
	.prepare = merge_prepare,
	.scan = repair_scan,
};
