/*-------------------------------------------------------------------------
 *
 * channel.h
 *	  Buffers and messages between a runner and its writer.
 *
 * One dynamic shared memory segment: a header, two message queues and a ring
 * of buffers.  Pages and images never travel in messages; a message names the
 * buffer that holds them, and the buffer belongs to the writer until it comes
 * back in a reply.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_CHANNEL_H
#define LFSYNC_CHANNEL_H

#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/shm_mq.h"

#include "message.h"
#include "progress.h"

#define CHANNEL_MAX_BUFFERS 32

typedef struct ChannelHeader
{
	uint32		nbuffers;
	Size		buffer_size;
	dsm_handle	enlarged;		/* where the buffers are instead, or
								 * DSM_HANDLE_INVALID */
	pg_atomic_uint32 stop;		/* set by the runner: give up now */
	pg_atomic_uint32 patient;	/* set by the runner: SIGTERM is its affair, who
								 * has rows left to write */
	SlotHandle	slot;
	char		database[NAMEDATALEN];	/* server bytes, for the log only */
} ChannelHeader;

typedef struct Channel
{
	dsm_segment *segment;
	dsm_segment *enlarged;		/* or NULL */
	ChannelHeader *header;
	char	   *buffers;
	shm_mq_handle *out;
	shm_mq_handle *in;
	StringInfoData message;		/* the one being built */

	/* runner's side */
	BackgroundWorkerHandle *writer;
	RunSlot    *slot;
	int			nfree;
	uint32		free[CHANNEL_MAX_BUFFERS];
	bool		wide_released;
	ReleasedMessage applied;	/* how the last batch went */
	int64		wait_us;		/* time spent waiting for the writer */
} Channel;

/*
 * Runner: makes the segment and starts the writer.  Both live in
 * CurrentMemoryContext, which must outlive the channel.  Errors: 53200 (no
 * shared memory), 53400 (no free background worker, for as long as that),
 * each with a hint.
 */
extern Channel *channel_create(RunSlot *slot, const SlotHandle *handle,
							   uint32 nbuffers, Size buffer_size,
							   int patience_ms);

/*
 * Runner: a segment of its own, for what does not fit into a buffer.  An error
 * says for what purpose it could not be had, and hints.
 */
extern dsm_segment *channel_create_segment(Size size, const char *purpose,
										   const char *hint);

/*
 * Runner: other buffers, in a segment of their own, before any has been taken.
 */
extern void channel_enlarge(Channel *channel, uint32 nbuffers, Size buffer_size);

/*
 * Runner: stops the writer, waits for its end, gives the segment back.  True if
 * the writer had finished before it heard of that: channel->message is then its
 * MESSAGE_DONE.
 */
extern bool channel_destroy(Channel *channel);

/* Runner: from here on the writer leaves it to us what follows a SIGTERM. */
extern void channel_set_patient(Channel *channel);

/* Writer: joins the segment whose handle it was started with. */
extern Channel *channel_attach(dsm_handle handle);

static inline char *
channel_buffer(Channel *channel, uint32 number)
{
	return channel->buffers + number * channel->header->buffer_size;
}

/*
 * Messages are built with the message_put_* functions between begin and send,
 * and taken apart with message_get_*.  Receiving waits; the
 * runner's side throws an error that the writer sends, and 57P01/58000 if the
 * writer is gone without a word.  The writer's side returns false when the
 * runner is gone.
 */
extern void channel_begin(Channel *channel, MessageType type);
extern bool channel_send(Channel *channel);
extern bool channel_receive(Channel *channel, StringInfo message,
							MessageType *type);

/* Runner: receives the reply of this type, taking released buffers on the way. */
extern void channel_await(Channel *channel, MessageType type,
						  StringInfo message);

/* Runner: a buffer to fill, waiting until the writer gives one back. */
extern uint32 channel_take_buffer(Channel *channel);

/* Runner: a buffer that was taken and not sent. */
extern void channel_give_back(Channel *channel, uint32 buffer);

/* Runner: waits until a buffer could be taken. */
extern void channel_wait_buffer(Channel *channel);

/* Runner: waits until the writer has done with a WIDE_BUFFER. */
extern void channel_await_wide(Channel *channel);

#endif							/* LFSYNC_CHANNEL_H */
