/*-------------------------------------------------------------------------
 *
 * staging.c
 *	  Changes that wait in memory before they are written (write-behind).
 *
 * A run of such a job takes several looks at its source, each a transaction of
 * its own, with the time of the job's schedule between them.  It keeps the
 * images of its batches until so many rows wait, or have waited for so long, or
 * until somebody asks for them.  Then they are sent in their order, as if each
 * look had been a run.
 *
 * A look goes on from where the one before it has come to.  In the file the
 * position moves with the rows and no sooner, so that what is lost with the
 * runner is read again.
 *
 * The writer holds no lock while it waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "staging.h"
#include "sync.h"

typedef struct StagedBatch
{
	ImageMessage image;
	char	   *pages;
	StringInfoData end;			/* a BatchEnd on its way */
} StagedBatch;

struct Staging
{
	MemoryContext context;		/* of the batches */
	const FlushBounds *bounds;
	bool		holding;
	bool		altered;
	List	   *batches;		/* of StagedBatch */
	int64		rows;
	Size		bytes;
	TimestampTz since;			/* when the first row came; 0: none has */

	/* as the last complete look has left it */
	int			complete;		/* batches */
	MemoryContext look;
	List	   *tables;
	FinishRequest finish;
	int64		rows_read;
	char	   *position;		/* UTF-8 */
};

void
staging_begin(Run *run)
{
	Staging    *staging;

	if (!run->order->flush.staged)
		return;
	staging = MemoryContextAllocZero(run->context, sizeof(Staging));
	staging->context = AllocSetContextCreate(run->context, "lfsync staging",
											 ALLOCSET_DEFAULT_SIZES);
	staging->bounds = &run->order->flush;
	staging->holding = true;
	run->staging = staging;
	/* at a shutdown the runner has something left for it to write */
	channel_set_patient(run->channel);
}

bool
staging_holds(const Run *run)
{
	return run->staging && run->staging->holding;
}

bool
staging_altered(const Run *run)
{
	return run->staging && run->staging->altered;
}

const char *
staging_position(const Run *run)
{
	return run->staging->position;
}

static void
forget_batch(Run *run, StagedBatch *batch)
{
	Staging    *staging = run->staging;
	Size		size = (Size) batch->image.npages * run->order->options.page_size;

	staging->rows -= batch->image.nrows;
	staging->bytes -= size;
	pg_atomic_fetch_sub_u64(&run->slot->memory_bytes, size);
	pfree(batch->pages);
	pfree(batch->end.data);
	pfree(batch);
}

void
staging_keep(Run *run, const ImageMessage *image, const char *pages,
			 const BatchEnd *end)
{
	Staging    *staging = run->staging;
	MemoryContext oldcontext = MemoryContextSwitchTo(staging->context);
	Size		size = (Size) image->npages * run->order->options.page_size;
	StagedBatch *batch = palloc(sizeof(StagedBatch));
	const RunTable *table = (RunTable *) linitial(run->tables);

	batch->image = *image;
	batch->pages = MemoryContextAllocHuge(staging->context, size);
	memcpy(batch->pages, pages, size);
	initStringInfo(&batch->end);
	message_put_batch_end(&batch->end, end, table->mapping->table->nkeys);
	staging->batches = lappend(staging->batches, batch);
	MemoryContextSwitchTo(oldcontext);

	staging->rows += image->nrows;
	staging->bytes += size;
	pg_atomic_fetch_add_u64(&run->slot->memory_bytes, size);
	if (staging->since == 0)
		staging->since = GetCurrentTimestamp();
	if (staging->rows >= staging->bounds->max_pending_rows)
		staging_write(run, "max_pending_rows");
}

static void
send_batch(Run *run, const StagedBatch *batch)
{
	Channel    *channel = run->channel;
	ImageMessage image = batch->image;

	image.buffer = channel_take_buffer(channel);
	memcpy(channel_buffer(channel, image.buffer), batch->pages,
		   (Size) image.npages * run->order->options.page_size);
	pg_atomic_write_u64(&run->slot->batch_rows, image.nrows);
	channel_begin(channel, MESSAGE_IMAGE);
	message_put_bytes(&channel->message, &image, sizeof(image));
	appendBinaryStringInfo(&channel->message, batch->end.data, batch->end.len);
	channel_send(channel);
}

void
staging_write(Run *run, const char *why)
{
	Staging    *staging = run->staging;

	staging->holding = false;
	if (why)
	{
		slot_set_flush_reason(run->slot, why);
		run->flush_reason = why;
	}
	slot_set_phase(run->slot, "writing");
	staging->altered = sync_begin_table(run, (RunTable *) linitial(run->tables), APPLY_SYNC);
	while (staging->batches != NIL)
	{
		StagedBatch *batch = (StagedBatch *) linitial(staging->batches);

		send_batch(run, batch);
		staging->batches = list_delete_first(staging->batches);
		forget_batch(run, batch);
	}
}

/* All but the first n. */
static void
drop_batches(Run *run, int n)
{
	Staging    *staging = run->staging;

	while (list_length(staging->batches) > n)
	{
		StagedBatch *batch = (StagedBatch *) llast(staging->batches);

		staging->batches = list_delete_last(staging->batches);
		forget_batch(run, batch);
	}
}

void
staging_drop(Run *run)
{
	if (!staging_holds(run))
		return;
	drop_batches(run, 0);
	run->staging->holding = false;
}

/* Why what waits is to be written now; NULL if it may wait. */
static const char *
is_due(const Run *run)
{
	const Staging *staging = run->staging;
	const char *asked = slot_flush_asked(run->slot);

	if (asked)
		return asked;
	if (staging->rows >= staging->bounds->rows)
		return "flush_rows";
	if (GetCurrentTimestamp() - staging->since >= staging->bounds->interval * INT64CONST(1000))
		return "flush_interval";
	return NULL;
}

bool
staging_goes_on(Run *run, RunTable *table, const Position *position)
{
	Staging    *staging = run->staging;
	const char *why;
	MemoryContext oldcontext;

	if (!staging_holds(run))
		return false;
	why = staging->rows == 0 ? NULL : is_due(run);
	if (why || staging->rows == 0)
	{
		staging_write(run, why);
		return false;
	}

	oldcontext = MemoryContextSwitchTo(staging->context);
	if (staging->position)
		pfree(staging->position);
	staging->position = MemoryContextStrdup(staging->context, position_to_utf8(position));
	MemoryContextSwitchTo(oldcontext);
	/* the next look finds it where that of the file is */
	unconstify(TargetState *, table->state)->position = staging->position;
	staging->complete = list_length(staging->batches);
	if (staging->look)
		MemoryContextDelete(staging->look);
	staging->look = run->look;
	staging->tables = run->tables;
	staging->finish = run->finish;
	staging->rows_read = run->counts.rows_read;
	return true;
}

bool
staging_go_back(Run *run)
{
	Staging    *staging = run->staging;

	if (!staging_holds(run) || staging->complete == 0)
		return false;
	drop_batches(run, staging->complete);
	run->look = staging->look;
	run->tables = staging->tables;
	run->finish = staging->finish;
	run->counts.rows_read = staging->rows_read;
	return true;
}

void
staging_wait(Run *run)
{
	const Staging *staging = run->staging;
	TimestampTz next = GetCurrentTimestamp() + staging->bounds->look_every * INT64CONST(1000);

	next = Min(next, staging->since + staging->bounds->interval * INT64CONST(1000));
	slot_set_phase(run->slot, "collecting");
	while (slot_flush_asked(run->slot) == NULL)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);

		CHECK_FOR_INTERRUPTS();
		if (left <= 0)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
