/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Rows of one table on their way to the writer, as images.
 *
 * A batch is what one SQLite transaction commits.  It ends when its buffer is
 * full or when it has as many rows as a batch should have: option "batch_rows"
 * says so, or in a table that is kept in sync, the time that the writer took
 * for the last ones.  Others wait for the file's lock as long as a batch takes,
 * so a slow one is followed by a smaller one, and the rows grow again as long
 * as it goes quickly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "batch.h"
#include "staging.h"

#define MAX_FETCH		4096	/* rows */

/* Rows of the first batch of a table kept in sync, and of the smallest. */
#define FIRST_ROWS		10000
#define FEWEST_ROWS		100

/* Rows of a batch with a dictionary, which the runner holds in its own memory. */
#define MOST_SHARED_ROWS	40000

/* Pages above the rows' leaves, and of the schema: a few on each level. */
#define SPARE_PAGES		8

/* A batch that takes longer is followed by a smaller one; half: a larger one. */
#define SLOW_BATCH_US	500000

Batch *
batch_create(Run *run)
{
	Batch	   *batch = palloc0(sizeof(Batch));

	batch->run = run;
	batch->builder_memory = palloc(image_builder_size(run->order->options.page_size));
	batch->max_pages = run->channel->header->buffer_size / run->order->options.page_size;
	return batch;
}

/* The history shows between which bounds it went. */
static void
set_max_rows(Batch *batch, int rows)
{
	Run		   *run = batch->run;

	batch->max_rows = rows;
	if (run->smallest_batch == 0 || rows < run->smallest_batch)
		run->smallest_batch = rows;
	run->largest_batch = Max(run->largest_batch, rows);
}

/* What an image's schema says; the roots are known at its end. */
static void
begin_schema(Batch *batch)
{
	const Mapping *mapping = batch->mapping;

	batch->dictionary = mapping->dimensions == NIL ? NULL :
		dictionary_create(mapping, batch->run->order->options.page_size);
	batch->entries = palloc0((1 + list_length(mapping->dimensions)) * sizeof(ImageSchemaEntry));
	batch->nentries = 0;
	if (!mapping->table->rowless)
	{
		ImageSchemaEntry *entry = &batch->entries[batch->nentries++];

		entry->type = "table";
		entry->name = entry->tbl_name = mapping->table->name;
		entry->sql = batch->form == BATCH_KEYED ? mapping->image_sql : mapping->late_sql;
	}
	if (batch->dictionary)
		batch->nentries += dictionary_schema(batch->dictionary,
											 batch->entries + batch->nentries);
}

void
batch_begin_table(Batch *batch, Source *source, const Mapping *mapping,
				  BatchForm form, BatchDescribe describe, void *arg)
{
	batch->source = source;
	batch->mapping = mapping;
	batch->form = form;
	batch->describe = describe;
	batch->arg = arg;
	begin_schema(batch);
	batch->max_rows = batch->run->order->options.batch_rows;
	if (describe)
		set_max_rows(batch, batch->max_rows == 0 ? FIRST_ROWS : Min(batch->max_rows, FIRST_ROWS));
	/* one without rows of its own is full when its dictionary is */
	if (batch->dictionary && !mapping->table->rowless &&
		(batch->max_rows == 0 || batch->max_rows > MOST_SHARED_ROWS))
		batch->max_rows = MOST_SHARED_ROWS;
}

void
batch_refuse_row(Source *source, ImageResult result, const ImageValue *values)
{
	ValueError	error;

	if (result == IMAGE_ORDER)
		elog(ERROR, "rows of %s come in another order than they were asked for",
			 source->description);
	if (result != IMAGE_TOO_LARGE || values == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the file has no page numbers left"),
				 errhint("Use a larger \"page_size\".")));
	error.sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	error.message = psprintf("a row of %s is too large for SQLite", source->description);
	error.detail = psprintf("SQLite's limit is %d bytes for a row.", IMAGE_MAX_RECORD);
	error.hint = "Leave the row or the column out with lfsync_export_query().";
	source_refuse_row(source, &error, values);
}

/* A page of an image, which fills one buffer or segment from its start. */
static void *
next_page(void *arg, uint32_t pgno)
{
	Batch	   *batch = (Batch *) arg;

	batch->total_pages++;
	batch->npages++;
	return batch->pages + (Size) (pgno - 1) * batch->run->order->options.page_size;
}

static void
begin_image(Batch *batch, char *memory, Size size)
{
	uint32		page_size = batch->run->order->options.page_size;

	batch->pages = memory;
	batch->builder = image_init(batch->builder_memory, page_size,
								size / page_size -
								image_schema_pages(page_size, batch->entries, batch->nentries),
								next_page, batch);
	if (!batch->mapping->table->rowless)
		image_begin_table(batch->builder);
	batch->nrows = 0;
	batch->npages = 0;
}

static void
begin_ring_image(Batch *batch)
{
	Channel    *channel = batch->run->channel;

	batch->buffer = channel_take_buffer(channel);
	begin_image(batch, channel_buffer(channel, batch->buffer),
				channel->header->buffer_size);
}

/* What the last batch took says how large the next ones should be. */
static void
adapt(Batch *batch, bool was_full)
{
	Run		   *run = batch->run;
	int			limit = run->order->options.batch_rows;
	int64		rows = batch->max_rows;

	if (run->channel->applied.apply_us == 0)
		return;					/* none has come back since */
	if (run->channel->applied.busy || run->channel->applied.apply_us > SLOW_BATCH_US)
		rows /= 2;
	else if (was_full && run->channel->applied.apply_us < SLOW_BATCH_US / 2)
		rows *= 2;
	run->channel->applied.apply_us = 0;
	rows = Max(rows, FEWEST_ROWS);
	set_max_rows(batch, (int) Min(rows, limit > 0 ? limit : PG_INT32_MAX));
}

/* Tells the writer of an image. */
static void
send_image(Batch *batch, const ImageMessage *image, const BatchEnd *end)
{
	Channel    *channel = batch->run->channel;

	pg_atomic_write_u64(&batch->run->slot->batch_rows, batch->nrows);
	channel_begin(channel, MESSAGE_IMAGE);
	message_put_bytes(&channel->message, image, sizeof(*image));
	if (batch->describe)
		message_put_batch_end(&channel->message, end, batch->mapping->table->nkeys);
	channel_send(channel);
}

/* Or has it wait in memory. */
static void
stage_image(Batch *batch, const ImageMessage *image, const BatchEnd *end)
{
	/* what waits may be written by this, so the buffer is given back first */
	channel_give_back(batch->run->channel, batch->buffer);
	staging_keep(batch->run, image, batch->pages, end);
}

static void
finish_image(Batch *batch, ImageMessage *image)
{
	int			nrow_entries = batch->mapping->table->rowless ? 0 : 1;
	ImageResult result = IMAGE_OK;

	if (nrow_entries > 0)
		result = image_end_table(batch->builder, &batch->entries[0].root);
	if (result == IMAGE_OK && batch->dictionary)
		result = dictionary_build(batch->dictionary, batch->builder,
								  batch->entries + nrow_entries);
	/* a new cookie, or a kept statement would read the old image's root */
	if (result == IMAGE_OK)
		result = image_finish(batch->builder, batch->entries, batch->nentries,
							  ++batch->run->image_cookie,
							  &image->npages);
	if (result != IMAGE_OK)
		elog(ERROR, "could not finish an image: result %d", result);
	image->buffer = batch->wide ? WIDE_BUFFER : batch->buffer;
	image->segment = batch->wide ? dsm_segment_handle(batch->wide) : 0;
	image->nrows = batch->nrows;
	image->keyed = batch->form == BATCH_KEYED;
}

static void
let_go(Batch *batch, const BatchEnd *end)
{
	ImageMessage image;

	finish_image(batch, &image);
	/* it would have to wait in shared memory */
	if (batch->wide && staging_holds(batch->run))
		staging_write(batch->run, "a wide row");
	pg_atomic_write_u64(&batch->run->slot->rows_read, batch->run->counts.rows_read);
	if (staging_holds(batch->run))
		stage_image(batch, &image, end);
	else
		send_image(batch, &image, end);
	batch->run->counts.batches++;
	if (batch->describe)
		adapt(batch, batch->nrows >= batch->max_rows);
}

void
batch_send(Batch *batch)
{
	BatchEnd	end;

	if (batch->pages == NULL)
		return;
	memset(&end, 0, sizeof(end));
	if (batch->describe == NULL || batch->describe(batch->arg, &end))
		let_go(batch, &end);
	else
		channel_give_back(batch->run->channel, batch->buffer);
	if (end.position)
		pfree(end.position);
	batch->pages = NULL;
	batch->npages = 0;
	batch->nrows = 0;
	if (batch->dictionary)
		dictionary_reset(batch->dictionary);
}

/*-------------------------------------------------------------------------
 * Rows
 *-------------------------------------------------------------------------
 */

static Size
row_size(const Batch *batch, const ImageValue *values)
{
	Size		size = 0;

	for (int i = 0; i < batch->mapping->nselected; i++)
		size += 16 + (values[i].kind == IMAGE_TEXT || values[i].kind == IMAGE_BLOB ?
					  values[i].len : 0);
	return size;
}

/* Puts a row into the image that is open, or what it refers to. */
static ImageResult
put_row(Batch *batch, int64 rowid, const ImageValue *values)
{
	if (batch->dictionary)
		values = dictionary_put(batch->dictionary, values);
	if (batch->mapping->table->rowless)
		return IMAGE_OK;
	if (batch->form == BATCH_NUMBERED)
		rowid = batch->nrows + 1;
	return image_add_row(batch->builder, rowid, values, batch->mapping->table->ncolumns);
}

/*
 * Does a row surely fit into a buffer that may bring new rows of other tables
 * with it?  The image knows of its own rows only.
 */
static bool
fits_with_dictionary(const Batch *batch, const ImageValue *values)
{
	uint32		page_size = batch->run->order->options.page_size;
	uint64		pages;

	if (batch->dictionary == NULL)
		return true;
	pages = batch->npages + SPARE_PAGES + row_size(batch, values) / (page_size - 64) +
		dictionary_pages(batch->dictionary) +
		dictionary_pages_of_row(batch->dictionary, values);
	return pages <= batch->max_pages;
}

/*
 * A row that fills more than a whole buffer gets a segment of its own, which
 * the writer has to be done with before the next row.
 */
static ImageResult
add_wide_row(Batch *batch, int64 rowid, const ImageValue *values)
{
	uint32		page_size = batch->run->order->options.page_size;
	int			ntables = batch->nentries;
	Size		size = row_size(batch, values);
	ImageResult result;

	/* overflow pages lose 4 bytes each; schema and trees take a few pages */
	size = (size + size / 64) * ntables + 16 * ntables * page_size;
	for (int i = 0; i < ntables; i++)
		size += strlen(batch->entries[i].sql);
	size = TYPEALIGN(page_size, size);

	batch->wide = channel_create_segment(size, "a wide row",
										 "Give /dev/shm more room (containers often have 64 MB), or export to a file of its own, which needs none.");
	begin_image(batch, dsm_segment_address(batch->wide), size);
	result = put_row(batch, rowid, values);
	if (result == IMAGE_OK)
	{
		batch->nrows = 1;
		batch_send(batch);
		channel_await_wide(batch->run->channel);
	}
	else
		batch->pages = NULL;
	dsm_detach(batch->wide);
	batch->wide = NULL;
	return result;
}

ImageResult
batch_add_row(Batch *batch, int64 rowid, const ImageValue *values)
{
	ImageResult result = IMAGE_FULL;
	bool		fits = fits_with_dictionary(batch, values);

	if (batch->nrows > 0 &&
		(!fits || (batch->max_rows > 0 && batch->nrows >= batch->max_rows)))
	{
		batch_send(batch);
		fits = fits_with_dictionary(batch, values);
	}
	if (batch->pages == NULL)
		begin_ring_image(batch);
	if (fits)
		result = put_row(batch, rowid, values);
	if (result == IMAGE_FULL && batch->nrows > 0)
	{
		batch_send(batch);
		begin_ring_image(batch);
		result = put_row(batch, rowid, values);
	}
	if (result == IMAGE_FULL)
	{
		/* not even an empty buffer takes it */
		channel_give_back(batch->run->channel, batch->buffer);
		result = add_wide_row(batch, rowid, values);
	}
	else if (result == IMAGE_OK)
		batch->nrows++;
	else if (batch->nrows == 0)
	{
		/* an image without rows is not sent */
		channel_give_back(batch->run->channel, batch->buffer);
		batch->pages = NULL;
	}
	batch->total_rows++;
	return result;
}

bool
batch_has_room(const Batch *batch, int64 rows)
{
	if (batch->max_rows > 0 && batch->nrows + rows > batch->max_rows)
		return false;
	return batch->nrows == 0 ||
		batch->npages + rows * batch->npages / batch->nrows + SPARE_PAGES <= batch->max_pages;
}

/*
 * As many rows as fit into the image that is open, if they are like the ones
 * before; if it is full, not before there is another buffer: better to wait
 * here than with a page of the table pinned.
 */
long
batch_before_fetch(Batch *batch)
{
	Run		   *run = batch->run;
	int64		rows = batch->total_rows + 1;
	int64		room = 0;		/* pages */

	CHECK_FOR_INTERRUPTS();
	pg_atomic_write_u64(&run->slot->rows_read, run->counts.rows_read);
	if (batch->pages != NULL)
		room = (int64) batch->max_pages - batch->npages;
	if (room * rows <= batch->total_pages)
	{
		channel_wait_buffer(run->channel);
		room = batch->max_pages;
	}
	return Max(1, Min(room * rows / (batch->total_pages + 1), MAX_FETCH));
}
