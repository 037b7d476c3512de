/*-------------------------------------------------------------------------
 *
 * writer.c
 *	  The background worker that owns the target file.
 *
 * It has no database connection, so that DROP DATABASE never waits for it,
 * and it takes no orders but its runner's.  It ends when the runner says so,
 * when the runner is gone, at SIGTERM, and with the postmaster; on each of
 * these ways the exit callback closes SQLite, so that no journal stays beside
 * the target, removes the temporary file and lets go of the claim on the
 * target.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/stat.h>

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "channel.h"
#include "lfsync.h"
#include "path.h"
#include "publish.h"
#include "target.h"

PGDLLEXPORT void lfsync_writer_main(Datum arg);

typedef struct Writer
{
	Channel    *channel;
	RunSlot    *slot;
	OpenRequest request;
	TargetPath	target;
	bool		target_opened;
	Disposition disposition;
	NewFile    *file;			/* building */
	sqlite3    *db;				/* in place */
	List	   *late;			/* building: of LateRows */
	TargetTable *table;			/* in place: whose images arrive */
	int64		bytes_written;
	int64		write_us;
} Writer;

static Writer writer;

/*
 * die() only sets flags, which are looked at between SQLite's calls and by its
 * progress handler; a statement that is running ends by itself.  When it is
 * our runner who has had enough there is nothing to report, and the end of
 * the queue ends us quietly.
 */
static void
writer_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;

	/* on the way out the segment may be gone already */
	if (proc_exit_inprogress)
		return;
	if (pg_atomic_read_u32(&writer.channel->header->stop) == 0 &&
		pg_atomic_read_u32(&writer.channel->header->patient) != 0)
	{
		/* a shutdown has told the runner already, who only asked for us has not */
		if (writer.slot->runner_pid != 0)
			kill(writer.slot->runner_pid, SIGTERM);
		errno = save_errno;
		return;
	}
	target_interrupt();
	if (pg_atomic_read_u32(&writer.channel->header->stop) == 0)
		die(postgres_signal_arg);
}

static void
writer_exit(int code, Datum arg)
{
	target_abandon();
	if (writer.file)
		newfile_discard(writer.file, &writer.target);
	if (writer.target_opened)
		path_close_target(&writer.target);
	slot_release(writer.slot, SLOT_WRITER);
}

/*
 * One run per file: the claim is on the directory's identity and the name in
 * it, since symbolic and hard links are refused anyway.
 */
static void
claim_file(void)
{
	int64		other = 0;

	if (!slot_claim_file(writer.slot, writer.target.dirstat.st_dev,
						 writer.target.dirstat.st_ino, writer.target.name, &other))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("file \"%s\" is being written by another run",
						writer.target.path),
				 errdetail("It is run " INT64_FORMAT ".", other),
				 errhint("Try again when it has ended (see lfsync_progress).")));
}

static void
handle_open(StringInfo message)
{
	OpenReply	reply;
	char	   *directory;

	message_get_open(message, &writer.request);
	path_open_target(writer.request.path, &writer.request.forbidden, &writer.target);
	writer.target_opened = true;
	claim_file();

	directory = pnstrdup(writer.target.path,
						 strlen(writer.target.path) - strlen(writer.target.name));
	target_init(&writer.channel->header->stop, writer.slot,
				writer.request.busy_timeout, directory);

	if (!writer.request.keep)
		newfile_remove_orphans(&writer.target);
	memset(&reply, 0, sizeof(reply));
	reply.disposition = DISPOSITION_BUILD;
	if (writer.target.exists)
		target_examine(&writer.target, &writer.request, &reply);
	else if (writer.request.keep)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("file \"%s\" does not exist", writer.target.path),
				 errhint("Run the job first.")));
	if (writer.request.keep)
		reply.disposition = DISPOSITION_IN_PLACE;
	writer.disposition = reply.disposition;
	if (reply.disposition == DISPOSITION_IN_PLACE &&
		path_is_network(&writer.target))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("file \"%s\" is on a network or user-space file system",
						writer.target.path),
				 errdetail("SQLite cannot rely on the locks of such a file system, and tables can be added to a file only under locks."),
				 errhint("Choose a file on a local disk.")));

	if (reply.disposition == DISPOSITION_BUILD)
		writer.file = newfile_create(&writer.target,
									 writer.request.options.page_size);

	channel_begin(writer.channel, MESSAGE_OPENED);
	message_put_opened(&writer.channel->message, &reply);
	(void) channel_send(writer.channel);
}

/* since: when the batch came, or NULL where it matters to nobody */
static void
release_buffer(uint32 buffer, const instr_time *since)
{
	ReleasedMessage released = {buffer, 0, 0};

	if (since)
	{
		instr_time	elapsed;

		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, *since);
		released.apply_us = INSTR_TIME_GET_MICROSEC(elapsed);
		released.busy = target_was_busy();
	}
	channel_begin(writer.channel, MESSAGE_RELEASED);
	message_put_bytes(&writer.channel->message, &released, sizeof(released));
	(void) channel_send(writer.channel);
}

static void
handle_pages(StringInfo message)
{
	PagesMessage pages;

	message_get_bytes(message, &pages, sizeof(pages));
	newfile_write(writer.file, channel_buffer(writer.channel, pages.buffer),
				  pages.first_page, pages.npages);
	writer.bytes_written += (int64) pages.npages * writer.request.options.page_size;
	pg_atomic_write_u64(&writer.slot->bytes_written, writer.bytes_written);
	pg_atomic_write_u64(&writer.slot->rows_written, pages.rows);
	pg_atomic_fetch_add_u64(&writer.slot->batches_done, 1);
	release_buffer(pages.buffer, NULL);
}

/* Kept until the pages are all there; the runner bounds them to a buffer. */
static void
handle_late(StringInfo message)
{
	LateMessage late;
	LateRows   *rows = palloc(sizeof(LateRows));

	message_get_bytes(message, &late, sizeof(late));
	rows->table_name = message_get_text(message);
	rows->size = (int64) late.npages * writer.request.options.page_size;
	rows->nrows = late.nrows;
	rows->image = palloc(rows->size);
	memcpy(rows->image, channel_buffer(writer.channel, late.buffer), rows->size);
	writer.late = lappend(writer.late, rows);
	release_buffer(late.buffer, NULL);
}

static void
handle_table(StringInfo message)
{
	TableReply	reply;

	if (writer.table && writer.table->apply != APPLY_FILL)
		target_end_sync(writer.db);
	writer.table = message_get_table(message);

	/* the first table whose rows come in images opens the file for them */
	if (writer.db == NULL)
	{
		if (writer.disposition == DISPOSITION_BUILD)
		{
			writer.db = target_open(writer.file->path, NULL);
			target_begin_new(writer.db, &writer.request.options);
		}
		else
		{
			writer.db = target_open(writer.target.path, &writer.target);
			if (writer.table->apply == APPLY_VERIFY)
				target_begin_verify(writer.db);
			else
				target_begin_in_place(writer.db, &writer.request.options);
		}
	}
	if (writer.table->apply == APPLY_FILL)
	{
		target_begin_table(writer.db, writer.table);
		return;
	}
	memset(&reply, 0, sizeof(reply));
	target_begin_sync(writer.db, writer.table, &writer.request.options, &reply);
	channel_begin(writer.channel, MESSAGE_TABLE_READY);
	message_put_table_ready(&writer.channel->message, &reply);
	(void) channel_send(writer.channel);
}

static void
handle_image(StringInfo message)
{
	ImageMessage image;
	int64		size;
	dsm_segment *segment = NULL;
	void	   *data;
	instr_time	start;
	bool		some = true;

	INSTR_TIME_SET_CURRENT(start);
	message_get_bytes(message, &image, sizeof(image));
	size = (int64) image.npages * writer.request.options.page_size;
	if (image.buffer == WIDE_BUFFER)
	{
		segment = dsm_attach(image.segment);
		if (segment == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_SYSTEM_ERROR),
					 errmsg("could not map a wide row's shared memory")));
		data = dsm_segment_address(segment);
	}
	else
		data = channel_buffer(writer.channel, image.buffer);

	if (writer.table->apply == APPLY_FILL)
		target_apply_image(writer.db, writer.table, &writer.request.options,
						   data, size, image.nrows);
	else
	{
		BatchEnd	end;

		message_get_batch_end(message, &end, writer.table->nkeys);
		some = target_sync_batch(writer.db, data, size, image.nrows, image.keyed, &end);
	}
	if (some)
		writer.bytes_written += size;
	pg_atomic_write_u64(&writer.slot->bytes_written, writer.bytes_written);
	pg_atomic_fetch_add_u64(&writer.slot->batches_done, 1);
	pg_atomic_fetch_add_u64(&writer.slot->rows_written, image.nrows);
	release_buffer(image.buffer, &start);
	if (segment)
		dsm_detach(segment);
}

static void
handle_range(StringInfo message)
{
	BatchEnd	end;

	message_get_batch_end(message, &end, writer.table->nkeys);
	(void) target_sync_batch(writer.db, NULL, 0, 0, false, &end);
}

static void
handle_count(StringInfo message)
{
	Size		size = (1 + list_length(writer.table->dimensions)) * sizeof(TableCounts);
	TableCounts *counts = palloc0(size);

	target_sync_counts(writer.db, writer.table, message_get_int(message) != 0, counts);
	channel_begin(writer.channel, MESSAGE_COUNTED);
	message_put_bytes(&writer.channel->message, counts, size);
	(void) channel_send(writer.channel);
}

static void
handle_finish(StringInfo message)
{
	FinishRequest request;
	FinishReply reply;
	struct stat st;
	ListCell   *lc;

	message_get_finish(message, &request);
	memset(&reply, 0, sizeof(reply));
	if (writer.disposition == DISPOSITION_BUILD)
	{
		if (writer.db)
		{
			reply.notes = target_complete_filled(writer.db, &writer.request.options, &request);
			writer.db = NULL;
		}
		else
		{
			newfile_truncate(writer.file, request.page_count);
			reply.notes = target_complete(writer.file->path, &writer.request.options,
										  &request, writer.late);
		}
		if (fstat(writer.file->fd, &st) == 0)
			writer.bytes_written = st.st_size;
		slot_set_phase(writer.slot, "publishing");
		newfile_publish(writer.file, &writer.target, &writer.request.options);
		writer.file = NULL;
	}
	else
	{
		if (!path_unchanged(&writer.target))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("file \"%s\" was replaced or removed by somebody else during the run",
							writer.target.path),
					 errhint("Run again.")));
		reply.notes = target_swap(writer.db, &writer.request.options, &request);
		if (writer.table->apply != APPLY_FILL)
			target_end_sync(writer.db);
		target_close(writer.db);
		writer.db = NULL;
	}

	foreach(lc, request.tables)
		reply.refused = lappend_int(reply.refused,
									target_refused_count(((TargetTable *) lfirst(lc))->name));
	pg_atomic_write_u64(&writer.slot->bytes_written, writer.bytes_written);
	reply.bytes_written = writer.bytes_written;
	reply.write_us = writer.write_us;
	channel_begin(writer.channel, MESSAGE_DONE);
	message_put_done(&writer.channel->message, &reply);
	(void) channel_send(writer.channel);
}

/* Messages until the runner is gone. */
static void
serve(void)
{
	MemoryContext message_context = AllocSetContextCreate(TopMemoryContext,
														  "lfsync message",
														  ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		StringInfoData message;
		MessageType type;
		instr_time	start;
		instr_time	elapsed;

		if (!channel_receive(writer.channel, &message, &type))
			return;
		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(start);
		switch (type)
		{
				/* what these read is kept until the process ends */
			case MESSAGE_OPEN:
				MemoryContextSwitchTo(TopMemoryContext);
				handle_open(&message);
				break;
			case MESSAGE_TABLE:
				MemoryContextSwitchTo(TopMemoryContext);
				handle_table(&message);
				break;
			case MESSAGE_LATE:
				MemoryContextSwitchTo(TopMemoryContext);
				handle_late(&message);
				break;
			case MESSAGE_PAGES:
				MemoryContextSwitchTo(message_context);
				handle_pages(&message);
				break;
			case MESSAGE_IMAGE:
				MemoryContextSwitchTo(message_context);
				handle_image(&message);
				break;
			case MESSAGE_RANGE:
				MemoryContextSwitchTo(message_context);
				handle_range(&message);
				break;
			case MESSAGE_COUNT:
				MemoryContextSwitchTo(message_context);
				handle_count(&message);
				break;
			case MESSAGE_REJECT:
				target_reject(&message);
				break;
			case MESSAGE_RETRIED:
				MemoryContextSwitchTo(message_context);
				target_retried(writer.db, message_get_texts(&message));
				break;
			case MESSAGE_FINISH:
				MemoryContextSwitchTo(message_context);
				handle_finish(&message);
				break;
			default:
				elog(ERROR, "unexpected message %d from the runner", type);
		}
		INSTR_TIME_SET_CURRENT(elapsed);
		INSTR_TIME_SUBTRACT(elapsed, start);
		writer.write_us += INSTR_TIME_GET_MICROSEC(elapsed);
		MemoryContextReset(message_context);
	}
}

/*
 * The runner raises the error, in its own database's encoding: the text goes
 * there as the UTF-8 that it is here.
 */
static void
send_error(const ErrorData *edata)
{
	RunError	error;

	memset(&error, 0, sizeof(error));
	error.sqlerrcode = edata->sqlerrcode;
	error.sqlite_code = target_error_code();
	slot_copy_text(error.message, sizeof(error.message), edata->message);
	slot_copy_text(error.detail, sizeof(error.detail), edata->detail);
	slot_copy_text(error.hint, sizeof(error.hint), edata->hint);
	channel_begin(writer.channel, MESSAGE_ERROR);
	message_put_bytes(&writer.channel->message, &error, sizeof(error));
	(void) channel_send(writer.channel);
}

void
lfsync_writer_main(Datum arg)
{
	/* a lease on the old file is asked about, not waited for */
	pqsignal(SIGIO, SIG_IGN);

	memset(&writer, 0, sizeof(writer));
	writer.channel = channel_attach(DatumGetUInt32(arg));
	if (writer.channel == NULL)
		proc_exit(0);
	pqsignal(SIGTERM, writer_sigterm);
	BackgroundWorkerUnblockSignals();
	writer.slot = slot_attach(&writer.channel->header->slot, SLOT_WRITER);
	if (writer.slot == NULL)
		proc_exit(0);
	before_shmem_exit(writer_exit, (Datum) 0);

	PG_TRY();
	{
		serve();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(TopMemoryContext);
		edata = CopyErrorData();
		FlushErrorState();
		LWLockReleaseAll();
		/* nothing of the failure is left when the runner hears of it */
		target_abandon();
		if (writer.file)
			newfile_discard(writer.file, &writer.target);
		send_error(edata);
	}
	PG_END_TRY();
	proc_exit(0);
}
