/*-------------------------------------------------------------------------
 *
 * channel.c
 *	  Buffers and messages between a runner and its writer.
 *
 * The order of calls matters: the mapping is pinned, or it would go with the
 * transaction it was made in; the sender and receiver of each queue are set
 * before the writer is registered; the runner attaches with the worker's
 * handle, so that a writer that never starts counts as gone and nobody waits
 * for it.
 *
 * A queue that ends says only that the peer is gone.  Success is always an
 * explicit message, and an error, if the writer could still send one, is
 * found in the queue before its end is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "channel.h"
#include "compat.h"
#include "lfsync.h"

#define QUEUE_SIZE		65536
#define REGISTER_RETRY_MS	20
#define HEADER_SIZE		MAXALIGN(sizeof(ChannelHeader))

pg_noreturn static void channel_throw(Channel *channel, StringInfo message);

#define BUFFERS_HINT \
	"Lower lfsync.batch_bytes, or give /dev/shm more room (containers often have 64 MB)."

dsm_segment *
channel_create_segment(Size size, const char *purpose, const char *hint)
{
	dsm_segment *segment = NULL;

	PG_TRY();
	{
		segment = dsm_create(size, 0);
	}
	PG_CATCH();
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);
		ErrorData  *edata = CopyErrorData();

		MemoryContextSwitchTo(oldcontext);
		FlushErrorState();
		ereport(ERROR,
				(errcode(edata->sqlerrcode),
				 errmsg("could not get %zu bytes of shared memory for %s",
						size, purpose),
				 errdetail_internal("%s", edata->message),
				 errhint("%s", hint)));
	}
	PG_END_TRY();
	return segment;
}

static void
set_buffers(Channel *channel, uint32 nbuffers, Size buffer_size)
{
	channel->header->nbuffers = nbuffers;
	channel->header->buffer_size = buffer_size;
	for (uint32 i = 0; i < nbuffers; i++)
		channel->free[i] = nbuffers - 1 - i;
	channel->nfree = nbuffers;
}

/*
 * Other runs give back their workers when they end, so that who has patience
 * waits for one.
 */
static bool
register_writer(RunSlot *slot, BackgroundWorker *worker,
				BackgroundWorkerHandle **handle, int patience_ms)
{
	TimestampTz since = GetCurrentTimestamp();

	for (;;)
	{
		slot_add_holder(slot, SLOT_WRITER);
		if (RegisterDynamicBackgroundWorker(worker, handle))
			return true;
		slot_release(slot, SLOT_WRITER);
		if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), patience_ms))
			return false;
		slot_set_waiting(slot, "a free background worker");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 REGISTER_RETRY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		slot_set_waiting(slot, NULL);
	}
}

Channel *
channel_create(RunSlot *slot, const SlotHandle *handle,
			   uint32 nbuffers, Size buffer_size, int patience_ms)
{
	Channel    *channel = palloc0(sizeof(Channel));
	BackgroundWorker worker;
	Size		size;
	char	   *base;
	shm_mq	   *out;
	shm_mq	   *in;

	/* buffers start at a page of their own: SQLite likes aligned pages */
	size = TYPEALIGN(BLCKSZ, HEADER_SIZE + 2 * QUEUE_SIZE) + nbuffers * buffer_size;

	channel->segment = channel_create_segment(size, "a run",
											  BUFFERS_HINT);
	dsm_pin_mapping(channel->segment);

	base = dsm_segment_address(channel->segment);
	channel->header = (ChannelHeader *) base;
	pg_atomic_init_u32(&channel->header->stop, 0);
	pg_atomic_init_u32(&channel->header->patient, 0);
	channel->header->slot = *handle;
	channel->buffers = base + TYPEALIGN(BLCKSZ, HEADER_SIZE + 2 * QUEUE_SIZE);

	out = shm_mq_create(base + HEADER_SIZE, QUEUE_SIZE);
	in = shm_mq_create(base + HEADER_SIZE + QUEUE_SIZE, QUEUE_SIZE);
	shm_mq_set_sender(out, MyProc);
	shm_mq_set_receiver(in, MyProc);

	channel->header->enlarged = DSM_HANDLE_INVALID;
	set_buffers(channel, nbuffers, buffer_size);
	channel->slot = slot;
	initStringInfo(&channel->message);
	pg_atomic_write_u64(&slot->memory_bytes, size);

	memset(&worker, 0, sizeof(worker));
	/* no database connection: DROP DATABASE must never wait for a writer */
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(channel->segment));
	strlcpy(worker.bgw_library_name, "lfsync", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "lfsync_writer_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "lfsync writer", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "lfsync writer", sizeof(worker.bgw_type));

	if (!register_writer(slot, &worker, &channel->writer, patience_ms))
	{
		dsm_detach(channel->segment);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no free background worker for the writer of a run"),
				 errdetail("A run takes two of max_worker_processes, shared with parallel queries and other extensions."),
				 errhint("Try again later, or raise max_worker_processes and restart the server.")));
	}
	channel->out = shm_mq_attach(out, channel->segment, channel->writer);
	channel->in = shm_mq_attach(in, channel->segment, channel->writer);
	return channel;
}

void
channel_enlarge(Channel *channel, uint32 nbuffers, Size buffer_size)
{
	channel->enlarged = channel_create_segment(nbuffers * buffer_size,
											   "a run's batches", BUFFERS_HINT);
	dsm_pin_mapping(channel->enlarged);
	channel->header->enlarged = dsm_segment_handle(channel->enlarged);
	channel->buffers = dsm_segment_address(channel->enlarged);
	set_buffers(channel, nbuffers, buffer_size);
	pg_atomic_fetch_add_u64(&channel->slot->memory_bytes, nbuffers * buffer_size);
}

/* What a writer that ends has still said; true if its work was done. */
static bool
drain(Channel *channel)
{
	void	   *data;
	Size		len;
	bool		done = false;

	while (shm_mq_receive(channel->in, &len, &data, true) == SHM_MQ_SUCCESS)
	{
		resetStringInfo(&channel->message);
		appendBinaryStringInfo(&channel->message, data, len);
		if (message_get_int(&channel->message) == MESSAGE_DONE)
		{
			done = true;
			break;				/* it is the last one */
		}
	}
	return done;
}

bool
channel_destroy(Channel *channel)
{
	pid_t		pid;
	bool		done = false;

	/* the end of its queue is the end of a writer that waits for orders ... */
	pg_atomic_write_u32(&channel->header->stop, 1);
	shm_mq_detach(channel->out);
	/* ... and the signal that of one at work */
	if (GetBackgroundWorkerPid(channel->writer, &pid) != BGWH_STOPPED)
		TerminateBackgroundWorker(channel->writer);

	/*
	 * Not WaitForBackgroundWorkerShutdown(): this runs after errors too, when
	 * a pending cancel must not end the wait, and the writer may be inside an
	 * fsync for long, when DROP DATABASE elsewhere must not wait for us.
	 */
	HOLD_INTERRUPTS();
	for (;;)
	{
		BgwHandleStatus status = GetBackgroundWorkerPid(channel->writer, &pid);

		/* read on, or it would wait for room in its queue */
		done = done || drain(channel);
		if (status == BGWH_STOPPED || status == BGWH_POSTMASTER_DIED)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 100, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (ProcSignalBarrierPending)
			ProcessProcSignalBarrier();
	}
	RESUME_INTERRUPTS();
	shm_mq_detach(channel->in);
	/* a writer that never started has left its bit set */
	slot_release(channel->slot, SLOT_WRITER);
	if (channel->enlarged)
		dsm_detach(channel->enlarged);
	channel->enlarged = NULL;
	dsm_detach(channel->segment);
	channel->segment = NULL;
	return done;
}

void
channel_set_patient(Channel *channel)
{
	pg_atomic_write_u32(&channel->header->patient, 1);
}

Channel *
channel_attach(dsm_handle handle)
{
	Channel    *channel = palloc0(sizeof(Channel));
	char	   *base;
	shm_mq	   *out;
	shm_mq	   *in;

	channel->segment = dsm_attach(handle);
	if (channel->segment == NULL)
		return NULL;			/* the runner is gone already */
	base = dsm_segment_address(channel->segment);
	channel->header = (ChannelHeader *) base;
	channel->buffers = base + TYPEALIGN(BLCKSZ, HEADER_SIZE + 2 * QUEUE_SIZE);

	in = (shm_mq *) (base + HEADER_SIZE);
	out = (shm_mq *) (base + HEADER_SIZE + QUEUE_SIZE);
	shm_mq_set_receiver(in, MyProc);
	shm_mq_set_sender(out, MyProc);
	channel->in = shm_mq_attach(in, channel->segment, NULL);
	channel->out = shm_mq_attach(out, channel->segment, NULL);
	initStringInfo(&channel->message);
	return channel;
}

void
channel_begin(Channel *channel, MessageType type)
{
	resetStringInfo(&channel->message);
	message_put_int(&channel->message, type);
}

/*
 * The writer may be gone because it failed, and may have said why: that is
 * what the runner wants to hear, not that the queue is broken.
 */
static void
channel_gone(Channel *channel)
{
	void	   *data;
	Size		len;

	while (shm_mq_receive(channel->in, &len, &data, false) == SHM_MQ_SUCCESS)
	{
		StringInfoData message;

		message.data = data;
		message.len = len;
		message.maxlen = len;
		message.cursor = 0;
		if (message_get_int(&message) == MESSAGE_ERROR)
			channel_throw(channel, &message);
	}
	/* at shutdown both of us are told to end, and it may have been faster */
	CHECK_FOR_INTERRUPTS();
	ereport(ERROR,
			(errcode(ERRCODE_SYSTEM_ERROR),
			 errmsg("the writer of this run ended without a word"),
			 errhint("It was terminated, or the server log says why it could not go on.")));
}

bool
channel_send(Channel *channel)
{
	shm_mq_result result;

	result = shm_mq_send(channel->out, channel->message.len,
						 channel->message.data, false, true);
	if (result == SHM_MQ_SUCCESS)
		return true;
	if (channel->writer)
		channel_gone(channel);
	return false;
}

static void
take_back(Channel *channel, StringInfo message)
{
	message_get_bytes(message, &channel->applied, sizeof(ReleasedMessage));
	if (channel->applied.buffer == WIDE_BUFFER)
		channel->wide_released = true;
	else
		channel->free[channel->nfree++] = channel->applied.buffer;
}

/* Writer: the runner has moved the buffers. */
static void
follow_buffers(Channel *channel)
{
	channel->enlarged = dsm_attach(channel->header->enlarged);
	if (channel->enlarged == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not map the shared memory of a run's batches")));
	channel->buffers = dsm_segment_address(channel->enlarged);
}

bool
channel_receive(Channel *channel, StringInfo message, MessageType *type)
{
	void	   *data;
	Size		len;
	instr_time	start;
	instr_time	end;

	INSTR_TIME_SET_CURRENT(start);
	if (shm_mq_receive(channel->in, &len, &data, false) != SHM_MQ_SUCCESS)
	{
		if (channel->writer)
			channel_gone(channel);
		return false;
	}
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	channel->wait_us += INSTR_TIME_GET_MICROSEC(end);

	message->data = data;
	message->len = len;
	message->maxlen = len;
	message->cursor = 0;
	*type = (MessageType) message_get_int(message);
	if (*type == MESSAGE_ERROR)
		channel_throw(channel, message);
	if (*type == MESSAGE_RELEASED)
		take_back(channel, message);
	if (channel->writer == NULL && channel->enlarged == NULL &&
		channel->header->enlarged != DSM_HANDLE_INVALID)
		follow_buffers(channel);
	return true;
}

void
channel_await(Channel *channel, MessageType type, StringInfo message)
{
	MessageType got;

	do
		(void) channel_receive(channel, message, &got);
	while (got == MESSAGE_RELEASED);
	if (got != type)
		elog(ERROR, "unexpected message %d from the writer", got);
}

static void
await_release(Channel *channel)
{
	StringInfoData message;
	MessageType type;

	(void) channel_receive(channel, &message, &type);
	if (type != MESSAGE_RELEASED)
		elog(ERROR, "unexpected message %d from the writer", type);
}

uint32
channel_take_buffer(Channel *channel)
{
	channel_wait_buffer(channel);
	return channel->free[--channel->nfree];
}

void
channel_give_back(Channel *channel, uint32 buffer)
{
	channel->free[channel->nfree++] = buffer;
}

void
channel_wait_buffer(Channel *channel)
{
	while (channel->nfree == 0)
		await_release(channel);
}

void
channel_await_wide(Channel *channel)
{
	while (!channel->wide_released)
		await_release(channel);
	channel->wide_released = false;
}

/*
 * Throws what the writer sent.  SQLite's extended code is kept in the slot,
 * which has no other way through ereport.
 */
static void
channel_throw(Channel *channel, StringInfo message)
{
	RunError   *error = palloc(sizeof(RunError));

	message_get_bytes(message, error, sizeof(RunError));
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	if (channel->slot->error.sqlerrcode == 0)
		channel->slot->error = *error;
	LWLockRelease(run_slots->lock);
	slot_throw_error(error);
}
