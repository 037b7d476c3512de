/*-------------------------------------------------------------------------
 *
 * mode_full.c
 *	  All rows at one snapshot.
 *
 * A new file, or one that holds nothing but what this run replaces, is built
 * from pages: they leave in page order, in buffers of consecutive pages, and
 * the writer puts them where they belong.  Tables of a file that holds others
 * go there as images, each a small database of its own that the writer
 * inserts from; so does a mapping to several tables, since only the target knows
 * which of their rows are there already.
 *
 * A page has its place once and for all, so rows must come in rowid order.
 * Reading a table through the index of its key gives that order at a price;
 * most tables lie in that order anyway.  Where ANALYZE says so they are read as
 * they lie.  A row that comes too early, which is common, is held until its
 * turn; the few that come too late, since they were updated, are set aside for
 * the writer to insert.  If these turn out to be many, the table is read again
 * in order, and its pages overwrite the first ones.
 *
 * A table that somebody else made is never replaced: rows are merged into it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "batch.h"
#include "image.h"
#include "lfsync.h"
#include "mapping.h"
#include "reject.h"
#include "reorder.h"
#include "runner.h"
#include "source.h"
#include "sync.h"

#define MAX_FETCH	4096		/* rows */

typedef struct FullScan
{
	Run		   *run;
	RunTable  *table;			/* being read */
	ImageBuilder *builder;
	void	   *builder_memory;
	int64		rowid;			/* last one given */

	/* reading in heap order: rows may come too early or too late */
	Reorder    *early;			/* NULL: reading in rowid order */
	int64		first_rowid;
	int64		placed;			/* rows that have their place in a page */
	uint64		gap;			/* between rowids, above which a row is early */

	Batch	   *batch;			/* in place: images on their way */

	/* building: the buffer being filled */
	char	   *pages;			/* NULL: none */
	uint32		buffer;
	uint32		first_page;		/* number of the page at its start */
	uint32		npages;			/* handed out */
	uint32		max_pages;

	/* rows that came too late for their page, in a buffer of their own */
	ImageBuilder *late_builder; /* NULL: none so far */
	void	   *late_memory;
	char	   *late_pages;
	uint32		late_buffer;
	int64		late_rows;

	int64		pages_used;		/* by all rows so far, for the mean row */
} FullScan;

static char *
relation_description(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

static RunTable *
prepare_query(Run *run)
{
	RunTable  *table = palloc0(sizeof(RunTable));
	const SyncOrder *order = run->order;

	table->source = source_prepare(InvalidOid, "query", order->query);
	table->mapping = mapping_from_query(table->source,
										linitial(order->table_names), order);
	if (table->mapping->rowid_column >= 0 || order->mapping)
		table->source = source_prepare(InvalidOid, "query", table->mapping->sql);
	return table;
}

static RunTable *
prepare_relation(Run *run, Oid relid, const char *table_name)
{
	RunTable  *table = palloc0(sizeof(RunTable));

	LockRelationOid(relid, AccessShareLock);
	mapping_check_relation(relid);
	table->mapping = mapping_from_relation(relid, table_name, run->order);
	table->source = source_prepare(relid, relation_description(relid),
								   table->mapping->sql);
	if (table->mapping->heap_sql && run->disposition == DISPOSITION_BUILD)
		table->heap_source = source_prepare(relid, table->source->description,
											table->mapping->heap_sql);
	source_lock_children(relid);
	return table;
}

static void
check_adopted(const Run *run, const RunTable *table)
{
	if (((RunTable *) linitial(run->tables))->mapping->dimensions != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" of the file cannot be adopted", table->state->table_name),
				 errdetail("A mapping to several tables makes them itself."),
				 errhint("Choose another file, or other names in the mapping.")));
	if (table->mapping->table->nfts > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" of the file cannot be adopted", table->state->table_name),
				 errdetail("A full-text index (\"fts\") is made only for tables that lfsync makes."),
				 errhint("Leave \"fts\" out.")));
	if (table->mapping->table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("table \"%s\" of the file cannot be adopted", table->state->table_name),
				 errdetail("Its rows are told apart by a key, and %s has none.",
						   table->source->description),
				 errhint("Give \"key_columns\" that tell the rows apart, or add a primary key.")));
}

/* A mapping has one source, and the tables beside its first have none. */
static void
add_dimensions(Run *run)
{
	RunTable   *rows = linitial(run->tables);
	ListCell   *lc;

	foreach(lc, rows->mapping->dimensions)
	{
		RunTable   *table = palloc0(sizeof(RunTable));

		table->mapping = palloc0(sizeof(Mapping));
		table->mapping->table = ((MappingDimension *) lfirst(lc))->table;
		run->tables = lappend(run->tables, table);
	}
}

static void
full_prepare(Run *run)
{
	const SyncOrder *order = run->order;
	MemoryContext oldcontext = MemoryContextSwitchTo(run->look);
	ListCell   *source;
	ListCell   *name;
	ListCell   *lc;

	if (order->query)
		run->tables = lappend(run->tables, prepare_query(run));
	forboth(source, order->sources, name, order->table_names)
		run->tables = lappend(run->tables,
							  prepare_relation(run, lfirst_oid(source),
											   (char *) lfirst(name)));
	if (order->mapping)
		add_dimensions(run);
	foreach(lc, run->tables)
	{
		RunTable  *table = (RunTable *) lfirst(lc);

		table->run = run;
		if (table->source)
			reject_describe(table, table->source);
		if (table->heap_source)
			reject_describe(table, table->heap_source);
		table->state = run_find_state(run, table->mapping->table->name);
		table->mapping->table->adopted = table->state && table->state->adopted;
		if (table->mapping->table->adopted)
			check_adopted(run, table);
		run->not_carried = list_concat(run->not_carried, table->mapping->notes);
		if (table->mapping->table->rowless)
			continue;
		run->finish.tables = lappend(run->finish.tables, table->mapping->table);
	}
	MemoryContextSwitchTo(oldcontext);
}

/* Hands the filled buffer to the writer. */
static void
send_pages(FullScan *scan)
{
	PagesMessage pages;

	if (scan->pages == NULL)
		return;
	pages.buffer = scan->buffer;
	pages.first_page = scan->first_page;
	pages.npages = scan->npages;
	pages.rows = scan->run->counts.rows_read;
	/* lfsync_progress must not show more rows written than read */
	pg_atomic_write_u64(&scan->run->slot->rows_read, pages.rows);
	channel_begin(scan->run->channel, MESSAGE_PAGES);
	message_put_bytes(&scan->run->channel->message, &pages, sizeof(pages));
	channel_send(scan->run->channel);
	scan->run->counts.batches++;
	scan->pages = NULL;
}

/* A page of the final file: buffers hold consecutive ones. */
static void *
next_file_page(void *arg, uint32_t pgno)
{
	FullScan   *scan = (FullScan *) arg;
	Size		page_size = scan->run->order->options.page_size;

	if (scan->pages != NULL &&
		(scan->npages == scan->max_pages ||
		 pgno != scan->first_page + scan->npages))
		send_pages(scan);
	if (scan->pages == NULL)
	{
		scan->buffer = channel_take_buffer(scan->run->channel);
		scan->pages = channel_buffer(scan->run->channel, scan->buffer);
		scan->first_page = pgno;
		scan->npages = 0;
	}
	scan->pages_used++;
	return scan->pages + page_size * scan->npages++;
}

static void *
next_late_page(void *arg, uint32_t pgno)
{
	FullScan   *scan = (FullScan *) arg;

	return scan->late_pages +
		(Size) (pgno - 1) * scan->run->order->options.page_size;
}

static ImageSchemaEntry
late_schema(const FullScan *scan)
{
	const Mapping *mapping = scan->table->mapping;
	ImageSchemaEntry entry = {"table", mapping->table->name,
	mapping->table->name, 0, mapping->late_sql};

	return entry;
}

/* False if there are too many of them by now. */
static bool
add_late_row(FullScan *scan, const ImageValue *values)
{
	Channel    *channel = scan->run->channel;
	uint32		page_size = scan->run->order->options.page_size;

	if (scan->late_builder == NULL)
	{
		ImageSchemaEntry entry = late_schema(scan);

		if (scan->late_memory == NULL)
			scan->late_memory = MemoryContextAlloc(scan->run->look,
												   image_builder_size(page_size));
		scan->late_buffer = channel_take_buffer(channel);
		scan->late_pages = channel_buffer(channel, scan->late_buffer);
		scan->late_builder = image_init(scan->late_memory, page_size,
										channel->header->buffer_size / page_size -
										image_schema_pages(page_size, &entry, 1),
										next_late_page, scan);
		image_begin_table(scan->late_builder);
		scan->late_rows = 0;
	}
	return image_add_row(scan->late_builder, ++scan->late_rows, values,
						 scan->table->mapping->table->ncolumns) == IMAGE_OK;
}

static void
send_late_rows(FullScan *scan)
{
	Channel    *channel = scan->run->channel;
	ImageSchemaEntry entry = late_schema(scan);
	LateMessage late;

	if (scan->late_builder == NULL)
		return;
	if (image_end_table(scan->late_builder, &entry.root) != IMAGE_OK ||
		image_finish(scan->late_builder, &entry, 1, ++scan->run->image_cookie,
					 &late.npages) != IMAGE_OK)
		elog(ERROR, "could not finish the image of late rows");
	late.buffer = scan->late_buffer;
	late.nrows = (uint32) scan->late_rows;
	channel_begin(channel, MESSAGE_LATE);
	message_put_bytes(&channel->message, &late, sizeof(late));
	message_put_text(&channel->message, entry.name);
	channel_send(channel);
	scan->late_builder = NULL;
}

static ImageResult
store_row(FullScan *scan, const ImageValue *values)
{
	if (scan->batch)
		return batch_add_row(scan->batch, scan->rowid, values);
	return image_add_row(scan->builder, scan->rowid, values,
						 scan->table->mapping->table->ncolumns);
}

/* A row that has no place after all, though it counts as received. */
static void
refuse_row(FullScan *scan, ImageResult result, const ImageValue *values)
{
	batch_refuse_row(scan->table->source, result, values);
	scan->table->mapping->table->rows--;
	scan->table->counts.inserted--;
}

static void
refuse_key(FullScan *scan, const ImageValue *values)
{
	Source	   *source = scan->table->source;
	ValueError	error;

	error.sqlerrcode = ERRCODE_DATATYPE_MISMATCH;
	error.message = psprintf("a key value of %s is not an integer", source->description);
	error.detail = NULL;
	error.hint = "Choose other key columns.";
	source_refuse_row(source, &error, values);
}

static void
refuse_duplicate(FullScan *scan, const ImageValue *values)
{
	Source	   *source = scan->table->source;
	ValueError	error;

	error.sqlerrcode = ERRCODE_UNIQUE_VIOLATION;
	error.message = psprintf("key value " INT64_FORMAT " of %s comes twice",
							 scan->rowid, source->description);
	error.detail = NULL;
	error.hint = "Choose other key columns.";
	reject_duplicate(scan->table, source, values, &error);
}

/* A row whose key is the rowid: its alias is NULL in the record. */
static void
place_row(FullScan *scan, int64 rowid, ImageValue *values)
{
	int			rowid_column = scan->table->mapping->rowid_column;
	ImageResult result;

	scan->rowid = rowid;
	if (scan->placed++ == 0)
		scan->first_rowid = rowid;
	values[rowid_column].kind = IMAGE_NULL;
	result = store_row(scan, values);
	/* for messages, which may name the key */
	values[rowid_column].kind = IMAGE_INTEGER;
	if (result != IMAGE_OK)
		refuse_row(scan, result, values);
}

static void
place_early(FullScan *scan, int64 limit)
{
	ImageValue *values;
	int64		rowid;

	while ((values = reorder_take(scan->early, limit, &rowid)) != NULL)
		place_row(scan, rowid, values);
}

/* Those that follow without a gap; at most up to a limit. */
static void
place_following(FullScan *scan, int64 limit)
{
	ImageValue *values;
	int64		rowid;

	for (;;)
	{
		int64		next = scan->rowid > PG_INT64_MAX - (int64) scan->gap ?
			PG_INT64_MAX : scan->rowid + (int64) scan->gap;

		values = reorder_take(scan->early, Min(next, limit), &rowid);
		if (values == NULL)
			return;
		place_row(scan, rowid, values);
	}
}

/*
 * A row is early if its rowid leaves out more than two rows usually do.  That
 * may be a gap in the keys, when the next row shows it and nothing is lost but
 * a copy of the row.
 */
static bool
is_early(FullScan *scan, int64 rowid)
{
	uint64		distance = (uint64) rowid - (uint64) scan->rowid;

	if (distance <= scan->gap || scan->placed < 2)
		return false;
	scan->gap = 2 * (((uint64) scan->rowid - (uint64) scan->first_rowid) /
					 (scan->placed - 1)) - 1;
	return distance > scan->gap;
}

/*
 * There is no room for more early rows.  If they follow each other the keys
 * have a gap and these rows were not early at all; single ones stay.
 */
static void
make_room_for_early(FullScan *scan)
{
	int			held = reorder_count(scan->early);
	int64		rowid;
	ImageValue *values = reorder_take(scan->early, PG_INT64_MAX, &rowid);

	place_row(scan, rowid, values);
	place_following(scan, PG_INT64_MAX);
	if (reorder_count(scan->early) > held / 2)
		place_early(scan, PG_INT64_MAX);
}

/* False if reading in this order is hopeless. */
static bool
receive_in_heap_order(FullScan *scan, int64 rowid, ImageValue *values)
{
	if (scan->placed > 0 && rowid <= scan->rowid)
		return add_late_row(scan, values);
	if (reorder_count(scan->early) > 0)
		place_following(scan, rowid - 1);
	if (is_early(scan, rowid))
	{
		if (!reorder_hold(scan->early, rowid, values))
			make_room_for_early(scan);
		return true;
	}
	place_early(scan, rowid - 1);
	place_row(scan, rowid, values);
	return true;
}

static bool
receive_row(void *arg, ImageValue *values)
{
	FullScan   *scan = (FullScan *) arg;
	TargetTable *target = scan->table->mapping->table;
	int			rowid_column = scan->table->mapping->rowid_column;
	bool		kept = true;

	scan->run->counts.rows_read++;
	if (rowid_column < 0)
	{
		ImageResult result;

		scan->rowid++;
		result = store_row(scan, values);
		if (result != IMAGE_OK)
			refuse_row(scan, result, values);
	}
	else
	{
		int64		rowid = values[rowid_column].u.i;

		/* option nan => 'text' and a numeric key */
		if (values[rowid_column].kind != IMAGE_INTEGER)
		{
			refuse_key(scan, values);
			return true;
		}
		if (scan->early)
			kept = receive_in_heap_order(scan, rowid, values);
		else if (rowid == scan->rowid && scan->placed > 0)
		{
			/* images begin anew, and would not notice */
			refuse_duplicate(scan, values);
			return true;
		}
		else
			place_row(scan, rowid, values);
	}
	target->rows++;
	if (!target->rowless)
		scan->table->counts.inserted++;
	return kept;
}

/*
 * As many rows as fit into the buffer that is open, if they are like the ones
 * before; if it is full, not before there is another: better to wait here than
 * with a page of the table pinned.
 */
static long
before_fetch(void *arg)
{
	FullScan   *scan = (FullScan *) arg;
	Run		   *run = scan->run;
	int64		rows = run->counts.rows_read + 1;
	int64		room = 0;		/* pages */

	if (scan->batch)
		return batch_before_fetch(scan->batch);
	CHECK_FOR_INTERRUPTS();
	pg_atomic_write_u64(&run->slot->rows_read, run->counts.rows_read);
	if (scan->pages != NULL)
		room = (int64) scan->max_pages - scan->npages;
	if (room * rows <= scan->pages_used)
	{
		channel_wait_buffer(run->channel);
		room = scan->max_pages;
	}
	return Max(1, Min(room * rows / (scan->pages_used + 1), MAX_FETCH));
}

/*
 * Reads a table as it lies.  False if too many rows came too late: then
 * nothing has been read, as far as builder and counts can tell.
 */
static bool
scan_in_heap_order(FullScan *scan, RunTable *table)
{
	Run		   *run = scan->run;
	Size		builder_size = image_builder_size(run->order->options.page_size);
	void	   *saved = palloc(builder_size);
	bool		complete;

	memcpy(saved, scan->builder_memory, builder_size);
	scan->early = reorder_create(table->source->ncolumns);
	complete = source_scan(table->heap_source, &run->order->options,
						   before_fetch, receive_row, scan);
	if (complete)
	{
		place_early(scan, PG_INT64_MAX);
		send_late_rows(scan);
		table->source = table->heap_source;
	}
	else
	{
		memcpy(scan->builder_memory, saved, builder_size);
		/* with pages of the tables before, and some that will be overwritten */
		send_pages(scan);
		channel_give_back(run->channel, scan->late_buffer);
		scan->late_builder = NULL;
		run->counts.rows_read -= table->mapping->table->rows;
		reject_forget(table);
		table->mapping->table->rows = 0;
		table->counts.inserted = 0;
		scan->placed = 0;
	}
	reorder_destroy(scan->early);
	scan->early = NULL;
	pfree(saved);
	return complete;
}

static void
scan_table(FullScan *scan, RunTable *table, ImageSchemaEntry *entries,
		   int *nentries)
{
	Run		   *run = scan->run;
	TargetTable *target = table->mapping->table;
	bool		building = scan->batch == NULL;
	ImageResult result = IMAGE_OK;

	scan->table = table;
	scan->rowid = 0;
	scan->placed = 0;
	scan->gap = 0;
	if (building)
		image_begin_table(scan->builder);
	else
	{
		channel_begin(run->channel, MESSAGE_TABLE);
		message_put_table(&run->channel->message, target);
		channel_send(run->channel);
		batch_begin_table(scan->batch, table->source, table->mapping,
						  BATCH_KEYED, NULL, NULL);
	}

	if (table->heap_source == NULL || !scan_in_heap_order(scan, table))
		(void) source_scan(table->source, &run->order->options, before_fetch,
						   receive_row, scan);

	if (!building)
	{
		batch_send(scan->batch);
		if (target->dimensions)
			sync_end_table(run, table, true);
		return;
	}
	entries[*nentries].type = "table";
	entries[*nentries].name = entries[*nentries].tbl_name = target->name;
	entries[*nentries].sql = mapping_create_sql(target);
	result = image_end_table(scan->builder, &entries[(*nentries)++].root);
	if (result == IMAGE_OK && target->auto_index)
	{
		entries[*nentries].type = "index";
		entries[*nentries].name = psprintf("sqlite_autoindex_%s_1", target->name);
		entries[*nentries].tbl_name = target->name;
		entries[*nentries].sql = NULL;
		result = image_empty_index(scan->builder, &entries[(*nentries)++].root);
	}
	if (result != IMAGE_OK)
		batch_refuse_row(scan->table->source, result, NULL);
}

/* Nothing of it is replaced; whatever mode wrote it last goes no further. */
static void
merge_adopted(Run *run, RunTable *table)
{
	Position	none;

	memset(&none, 0, sizeof(none));
	(void) sync_begin_table(run, table, APPLY_SYNC);
	(void) merge_table(run, table, NULL);
	sync_set_position(run, table, &none);
}

static void
full_scan(Run *run)
{
	uint32		page_size = run->order->options.page_size;
	ImageSchemaEntry *entries = palloc0(2 * list_length(run->tables) *
										sizeof(ImageSchemaEntry));
	int			nentries = 0;
	FullScan	scan;
	double		estimated = 0;
	bool		has_dimensions = ((RunTable *) linitial(run->tables))->mapping->dimensions != NIL;
	bool		building = run->disposition == DISPOSITION_BUILD && !has_dimensions;
	ListCell   *lc;

	memset(&scan, 0, sizeof(scan));
	scan.run = run;
	scan.max_pages = run->channel->header->buffer_size / page_size;
	scan.builder_memory = palloc(image_builder_size(page_size));
	foreach(lc, run->tables)
	{
		if (((RunTable *) lfirst(lc))->source)
			estimated += source_estimate(((RunTable *) lfirst(lc))->source);
	}
	pg_atomic_write_u64(&run->slot->rows_estimated, (uint64) estimated);

	if (building)
		scan.builder = image_init(scan.builder_memory, page_size, 0,
								  next_file_page, &scan);
	else
	{
		run_use_images(run);
		scan.batch = batch_create(run);
	}
	foreach(lc, run->tables)
	{
		RunTable  *table = (RunTable *) lfirst(lc);

		if (table->source == NULL)
			continue;
		if (table->mapping->table->adopted)
		{
			merge_adopted(run, table);
			continue;
		}
		scan_table(&scan, table, entries, &nentries);
		run_count_oddities(run, table->source);
	}
	if (building)
	{
		ImageResult result = image_finish(scan.builder, entries, nentries, 1,
										  &run->finish.page_count);

		if (result != IMAGE_OK)
			batch_refuse_row(scan.table->source, result, NULL);
		send_pages(&scan);
	}
	pg_atomic_write_u64(&run->slot->rows_read, run->counts.rows_read);
}

const SyncMode mode_full = {
	.name = "full",
	.prepare = full_prepare,
	.scan = full_scan,
};
