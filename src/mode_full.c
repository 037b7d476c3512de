/*-------------------------------------------------------------------------
 *
 * mode_full.c
 *	  All rows at one snapshot.
 *
 * A new file, or one that holds nothing but what this run replaces, is built
 * from pages: they leave in page order, in buffers of consecutive pages, and
 * the writer puts them where they belong.  Tables of a file that holds others
 * go there as images, each a small database of its own that the writer
 * inserts from.
 *
 * A page has its place once and for all, so rows must come in rowid order.
 * Reading a table through the index of its key gives that order at a price;
 * most tables lie in that order anyway.  Where ANALYZE says so they are read as
 * they lie.  A row that comes too early, which is common, is held until its
 * turn; the few that come too late, since they were updated, are set aside for
 * the writer to insert.  If these turn out to be many, the table is read again
 * in order, and its pages overwrite the first ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "portability/instr_time.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "image.h"
#include "lfsync.h"
#include "mapping.h"
#include "reorder.h"
#include "runner.h"
#include "source.h"

#define MAX_FETCH	4096		/* rows */

typedef struct FullTable
{
	Source	   *source;			/* in rowid order */
	Source	   *heap_source;	/* in the table's own order, or NULL */
	Mapping    *mapping;
} FullTable;

typedef struct FullScan
{
	Run		   *run;
	FullTable  *table;			/* being read */
	ImageBuilder *builder;
	void	   *builder_memory;
	int64		rowid;			/* last one given */

	/* reading in heap order: rows may come too early or too late */
	Reorder    *early;			/* NULL: reading in rowid order */
	int64		first_rowid;
	int64		placed;			/* rows that have their place in a page */
	uint64		gap;			/* between rowids, above which a row is early */

	uint32		cookie;			/* schema cookie of the last image */

	/* the buffer being filled */
	char	   *pages;			/* NULL: none */
	uint32		buffer;
	uint32		first_page;		/* number of the page at its start */
	uint32		npages;			/* handed out */
	uint32		max_pages;
	int			image_rows;		/* in the image so far */
	dsm_segment *wide;			/* a segment for one row, or NULL */

	/* rows that came too late for their page, in a buffer of their own */
	ImageBuilder *late_builder; /* NULL: none so far */
	void	   *late_memory;
	char	   *late_pages;
	uint32		late_buffer;
	int64		late_rows;

	int64		pages_used;		/* by all rows so far, for the mean row */
} FullScan;

/* Of the run under way; prepare() leaves it for scan(). */
static List *full_tables = NIL;

static char *
relation_description(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/* A query whose rows must come in the order of an integer key. */
static char *
ordered_query(const char *query, int column)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(query, RAW_PARSE_DEFAULT));
	const char *statement = query + raw->stmt_location;

	/* without the semicolon and what follows it; no length: to the end */
	return psprintf("SELECT * FROM (%.*s\n) AS source ORDER BY %d",
					raw->stmt_len > 0 ? raw->stmt_len : (int) strlen(statement),
					statement, column + 1);
}

static FullTable *
prepare_query(Run *run)
{
	FullTable  *table = palloc0(sizeof(FullTable));
	const SyncOrder *order = run->order;

	table->source = source_prepare(InvalidOid, "query", order->query);
	table->mapping = mapping_from_query(table->source,
										linitial(order->table_names), order);
	if (table->mapping->rowid_column >= 0)
		table->source = source_prepare(InvalidOid, "query",
									   ordered_query(order->query,
													 table->mapping->rowid_column));
	return table;
}

static FullTable *
prepare_relation(Run *run, Oid relid, const char *table_name)
{
	FullTable  *table = palloc0(sizeof(FullTable));

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

/* What the target demands of the rows, and how errors tell them apart. */
static void
describe_source(Source *source, const Mapping *mapping)
{
	for (int i = 0; i < source->ncolumns; i++)
		source->columns[i].not_null = mapping->not_null[i];
	source->nkeys = mapping->nkeys;
	source->keys = mapping->keys;
}

static void
full_prepare(Run *run)
{
	const SyncOrder *order = run->order;
	MemoryContext oldcontext = MemoryContextSwitchTo(run->context);
	ListCell   *source;
	ListCell   *name;
	ListCell   *lc;

	full_tables = NIL;
	if (order->query)
		full_tables = lappend(full_tables, prepare_query(run));
	forboth(source, order->sources, name, order->table_names)
		full_tables = lappend(full_tables,
							  prepare_relation(run, lfirst_oid(source),
											   (char *) lfirst(name)));
	foreach(lc, full_tables)
	{
		FullTable  *table = (FullTable *) lfirst(lc);

		describe_source(table->source, table->mapping);
		if (table->heap_source)
			describe_source(table->heap_source, table->mapping);
		run->not_carried = list_concat(run->not_carried, table->mapping->notes);
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

/* A page of an image, which fills one buffer or segment from its start. */
static void *
next_image_page(void *arg, uint32_t pgno)
{
	FullScan   *scan = (FullScan *) arg;

	scan->pages_used++;
	scan->npages++;
	return scan->pages +
		(Size) (pgno - 1) * scan->run->order->options.page_size;
}

static void
refuse_row(FullScan *scan, ImageResult result)
{
	if (result == IMAGE_ORDER)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("key value " INT64_FORMAT " of %s comes twice",
						scan->rowid, scan->table->source->description),
				 errhint("Choose other key columns.")));
	if (result == IMAGE_TOO_LARGE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a row of %s is too large for SQLite",
						scan->table->source->description),
				 errdetail("SQLite's limit is %d bytes for a row.", IMAGE_MAX_RECORD),
				 errhint("Leave the row or the column out with lfsync_export_query().")));
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the file has no page numbers left"),
			 errhint("Use a larger \"page_size\".")));
}

/* The one row of an image's schema; the root is known at its end. */
static ImageSchemaEntry
image_schema(const FullScan *scan)
{
	const Mapping *mapping = scan->table->mapping;
	ImageSchemaEntry entry = {"table", mapping->table->name,
	mapping->table->name, 0, mapping->image_sql};

	return entry;
}

static void
begin_image(FullScan *scan, char *memory, Size size)
{
	uint32		page_size = scan->run->order->options.page_size;
	ImageSchemaEntry entry = image_schema(scan);

	scan->pages = memory;
	scan->builder = image_init(scan->builder_memory, page_size,
							   size / page_size -
							   image_schema_pages(page_size, &entry, 1),
							   next_image_page, scan);
	image_begin_table(scan->builder);
	scan->image_rows = 0;
	scan->npages = 0;
}

static void
begin_ring_image(FullScan *scan)
{
	Channel    *channel = scan->run->channel;

	scan->buffer = channel_take_buffer(channel);
	begin_image(scan, channel_buffer(channel, scan->buffer),
				channel->header->buffer_size);
}

static void
send_image(FullScan *scan)
{
	Channel    *channel = scan->run->channel;
	ImageSchemaEntry entry = image_schema(scan);
	ImageMessage image;
	ImageResult result;

	result = image_end_table(scan->builder, &entry.root);
	/* a new cookie, or a kept statement would read the old image's root */
	if (result == IMAGE_OK)
		result = image_finish(scan->builder, &entry, 1, ++scan->cookie,
							  &image.npages);
	if (result != IMAGE_OK)
		elog(ERROR, "could not finish an image: result %d", result);

	image.buffer = scan->wide ? WIDE_BUFFER : scan->buffer;
	image.segment = scan->wide ? dsm_segment_handle(scan->wide) : 0;
	image.nrows = scan->image_rows;
	pg_atomic_write_u64(&scan->run->slot->batch_rows, scan->image_rows);
	pg_atomic_write_u64(&scan->run->slot->rows_read, scan->run->counts.rows_read);
	channel_begin(channel, MESSAGE_IMAGE);
	message_put_bytes(&channel->message, &image, sizeof(image));
	channel_send(channel);
	scan->run->counts.batches++;
	scan->pages = NULL;
}

static void
release_wide(FullScan *scan)
{
	channel_await_wide(scan->run->channel);
	dsm_detach(scan->wide);
	scan->wide = NULL;
}

/*
 * A row that fills more than a whole buffer gets a segment of its own, which
 * the writer has to be done with before the next row.
 */
static void
add_wide_row(FullScan *scan, const ImageValue *values)
{
	int			ncolumns = scan->table->source->ncolumns;
	uint32		page_size = scan->run->order->options.page_size;
	Size		size = 0;
	ImageResult result;

	for (int i = 0; i < ncolumns; i++)
		size += 16 + (values[i].kind == IMAGE_TEXT || values[i].kind == IMAGE_BLOB ?
					  values[i].len : 0);
	/* overflow pages lose 4 bytes each; schema and tree take a few pages */
	size += size / 64 + strlen(scan->table->mapping->image_sql) + 16 * page_size;
	size = TYPEALIGN(page_size, size);

	scan->wide = channel_create_segment(size, "a wide row",
										"Give /dev/shm more room (containers often have 64 MB), or export to a file of its own, which needs none.");
	begin_image(scan, dsm_segment_address(scan->wide), size);
	result = image_add_row(scan->builder, scan->rowid, values, ncolumns);
	if (result != IMAGE_OK)
		refuse_row(scan, result);
	scan->image_rows = 1;
	send_image(scan);
	release_wide(scan);
}

static void
add_image_row(FullScan *scan, const ImageValue *values)
{
	int			ncolumns = scan->table->source->ncolumns;
	int			batch_rows = scan->run->order->options.batch_rows;
	ImageResult result;

	if (scan->pages != NULL && batch_rows > 0 && scan->image_rows >= batch_rows)
		send_image(scan);
	if (scan->pages == NULL)
		begin_ring_image(scan);
	result = image_add_row(scan->builder, scan->rowid, values, ncolumns);
	if (result == IMAGE_FULL && scan->image_rows > 0)
	{
		send_image(scan);
		begin_ring_image(scan);
		result = image_add_row(scan->builder, scan->rowid, values, ncolumns);
	}
	if (result == IMAGE_FULL)
	{
		/* not even an empty buffer takes it */
		channel_give_back(scan->run->channel, scan->buffer);
		add_wide_row(scan, values);
	}
	else if (result != IMAGE_OK)
		refuse_row(scan, result);
	else
		scan->image_rows++;
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
	ImageSchemaEntry entry = image_schema(scan);

	entry.sql = scan->table->mapping->late_sql;
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
			scan->late_memory = MemoryContextAlloc(scan->run->context,
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
						 scan->table->source->ncolumns) == IMAGE_OK;
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
		image_finish(scan->late_builder, &entry, 1, ++scan->cookie,
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

static void
store_row(FullScan *scan, const ImageValue *values)
{
	ImageResult result;

	if (scan->run->disposition == DISPOSITION_IN_PLACE)
	{
		add_image_row(scan, values);
		return;
	}
	result = image_add_row(scan->builder, scan->rowid, values,
						   scan->table->source->ncolumns);
	if (result != IMAGE_OK)
		refuse_row(scan, result);
}

/* A row whose key is the rowid: its alias is NULL in the record. */
static void
place_row(FullScan *scan, int64 rowid, ImageValue *values)
{
	int			rowid_column = scan->table->mapping->rowid_column;

	scan->rowid = rowid;
	if (scan->placed++ == 0)
		scan->first_rowid = rowid;
	values[rowid_column].kind = IMAGE_NULL;
	store_row(scan, values);
	/* for error messages, which may name the key */
	values[rowid_column].kind = IMAGE_INTEGER;
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

	if (rowid_column < 0)
	{
		scan->rowid++;
		store_row(scan, values);
	}
	else
	{
		int64		rowid = values[rowid_column].u.i;

		/* option nan => 'text' and a numeric key */
		if (values[rowid_column].kind != IMAGE_INTEGER)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("a key value of %s is not an integer",
							scan->table->source->description),
					 errhint("Choose other key columns.")));
		if (scan->early)
			kept = receive_in_heap_order(scan, rowid, values);
		else
		{
			/* images begin anew, and would not notice */
			if (rowid == scan->rowid && scan->placed > 0)
				refuse_row(scan, IMAGE_ORDER);
			place_row(scan, rowid, values);
		}
	}
	target->rows++;
	scan->run->counts.rows_read++;
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
scan_in_heap_order(FullScan *scan, FullTable *table)
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
		table->mapping->table->rows = 0;
		scan->placed = 0;
	}
	reorder_destroy(scan->early);
	scan->early = NULL;
	pfree(saved);
	return complete;
}

static void
scan_table(FullScan *scan, FullTable *table, ImageSchemaEntry *entries,
		   int *nentries)
{
	Run		   *run = scan->run;
	TargetTable *target = table->mapping->table;
	bool		building = run->disposition == DISPOSITION_BUILD;
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
	}

	if (table->heap_source == NULL || !scan_in_heap_order(scan, table))
		(void) source_scan(table->source, &run->order->options, before_fetch,
						   receive_row, scan);

	if (!building)
	{
		if (scan->pages != NULL)
			send_image(scan);
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
		refuse_row(scan, result);
}

static void
full_scan(Run *run)
{
	uint32		page_size = run->order->options.page_size;
	ImageSchemaEntry *entries = palloc0(2 * list_length(full_tables) *
										sizeof(ImageSchemaEntry));
	int			nentries = 0;
	FullScan	scan;
	double		estimated = 0;
	ListCell   *lc;

	memset(&scan, 0, sizeof(scan));
	scan.run = run;
	scan.max_pages = run->channel->header->buffer_size / page_size;
	scan.builder_memory = palloc(image_builder_size(page_size));
	foreach(lc, full_tables)
		estimated += source_estimate(((FullTable *) lfirst(lc))->source);
	pg_atomic_write_u64(&run->slot->rows_estimated, (uint64) estimated);

	if (run->disposition == DISPOSITION_BUILD)
		scan.builder = image_init(scan.builder_memory, page_size, 0,
								  next_file_page, &scan);
	foreach(lc, full_tables)
	{
		FullTable  *table = (FullTable *) lfirst(lc);

		scan_table(&scan, table, entries, &nentries);
		for (int i = 0; i < table->source->ncolumns; i++)
		{
			run->nan_values += table->source->values[i].nan_count;
			run->negative_zeros += table->source->values[i].negative_zero_count;
			run->cut_fractions += table->source->values[i].cut_fraction_count;
		}
	}
	if (run->disposition == DISPOSITION_BUILD)
	{
		ImageResult result = image_finish(scan.builder, entries, nentries, 1,
										  &run->finish.page_count);

		if (result != IMAGE_OK)
			refuse_row(&scan, result);
		send_pages(&scan);
	}
	run->counts.rows_inserted = run->counts.rows_read;
	pg_atomic_write_u64(&run->slot->rows_read, run->counts.rows_read);
}

const SyncMode mode_full = {
	.name = "full",
	.prepare = full_prepare,
	.scan = full_scan,
};
