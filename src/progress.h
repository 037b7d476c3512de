/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  The shared slots of live runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_PROGRESS_H
#define LFSYNC_PROGRESS_H

#include <sys/types.h>

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#include "compat.h"

/* How long a worker that has let go of its slot may still take one of the server's. */
#define SLOT_WORKER_GONE_MS	1000

#define SLOT_TEXT		256
#define SLOT_MESSAGE	1024
#define SLOT_DETAIL		2048

typedef enum RunStatus
{
	RUN_RUNNING,
	RUN_SUCCEEDED,
	RUN_FAILED,
	RUN_CANCELLED,
	RUN_STOPPED,				/* by the server, or by its caller's end */
	RUN_SKIPPED					/* its job's condition was not met */
} RunStatus;

/* What a run counted. */
typedef struct RunCounts
{
	int64		rows_read;
	int64		rows_inserted;
	int64		rows_updated;
	int64		rows_deleted;
	int64		rows_rejected;
	int64		bytes_written;
	int64		batches;
	int64		scan_us;		/* reading and converting */
	int64		write_us;		/* the writer at work */
	int64		wait_us;		/* waiting for the other side, or for locks */
	TimestampTz snapshot_at;	/* of what was read; 0: it did not come to that */
} RunCounts;

/* An error as it crosses processes; all text is UTF-8. */
typedef struct RunError
{
	int			sqlerrcode;		/* 0: no error */
	int			sqlite_code;	/* extended result code, 0: not SQLite's */
	char		message[SLOT_MESSAGE];
	char		detail[SLOT_DETAIL];
	char		hint[SLOT_MESSAGE];
	char		context[SLOT_MESSAGE];	/* which column and row, for instance */
} RunError;

/* Who wants to have written what waits in memory. */
typedef enum FlushRequest
{
	FLUSH_NOT_ASKED,
	FLUSH_BY_CALL,				/* lfsync_flush_job() */
	FLUSH_FOR_OTHERS,			/* a job that needs the file, or the slot */
	FLUSH_FOR_CHANGE			/* the job has been changed */
} FlushRequest;

/* Who holds a slot; it is free when nobody does. */
#define SLOT_CALLER		0x01
#define SLOT_RUNNER		0x02
#define SLOT_WRITER		0x04

/*
 * One live run.  Everything but the atomics is protected by the lock of
 * RunSlots; text is UTF-8, since the databases of one cluster may differ.
 */
typedef struct RunSlot
{
	/* set by the caller when it claims the slot */
	int			holders;		/* SLOT_* bits */
	uint32		generation;		/* bumped at each claim, never 0 */
	Oid			dboid;
	Oid			owner;
	int64		job_id;			/* 0: not the run of a job */
	dsm_handle	order;			/* the caller's segment: order and result */
	Latch	   *waiter;			/* the caller's, who is woken when the runner has ended */
	TimestampTz started_at;
	int			attempt;
	char		job[SLOT_TEXT];
	char		mode[32];
	char		source[SLOT_TEXT];
	char		file[MAXPGPATH];
	char		table_name[SLOT_TEXT];

	/* set by the runner */
	int			runner_pid;
	int64		run_id;
	RunStatus	status;
	RunCounts	counts;			/* final */
	RunError	error;			/* first error of the run */

	/* set by the writer */
	int			writer_pid;
	bool		had_writer;		/* there is one, or there was */
	char		claimed[MAXPGPATH]; /* the file nobody else may write, in the
									 * server's bytes; empty: none yet */
	dev_t		claimed_dev;	/* of its directory */
	ino_t		claimed_ino;

	/* set by runner or writer */
	char		phase[32];
	char		waiting_for[SLOT_TEXT];
	char		flush_reason[32];	/* why what waited in memory is written */

	/* live counters, written by one process each, read by anyone */
	pg_atomic_uint64 rows_estimated;
	pg_atomic_uint64 rows_read;
	pg_atomic_uint64 rows_written;
	pg_atomic_uint64 rows_rejected;
	pg_atomic_uint64 bytes_written;
	pg_atomic_uint64 batches_done;
	pg_atomic_uint64 batch_rows;
	pg_atomic_uint64 memory_bytes;
	pg_atomic_uint32 file_busy; /* the writer waits for a lock on the file */
	pg_atomic_uint32 flush_asked;	/* a FlushRequest, written by anyone */
} RunSlot;

typedef struct RunSlots
{
	LWLock	   *lock;
	int			nslots;
	int64		last_standby_id;	/* run ids where none can be stored */
	RunSlot		slots[FLEXIBLE_ARRAY_MEMBER];
} RunSlots;

/* What a worker is started with (bgw_extra). */
typedef struct SlotHandle
{
	int			index;
	uint32		generation;
} SlotHandle;

extern RunSlots *run_slots;		/* NULL unless preloaded */

extern void progress_install_hooks(void);

/* Error 55000 with the preload hint unless shared memory is there. */
extern void progress_require(void);

/*
 * Claims a free slot for the caller.  An error if the job has a run under way
 * (55006), or if all slots are taken (53300).
 */
extern RunSlot *slot_claim(Oid dboid, Oid owner, int64 job_id,
						   SlotHandle *handle);

/* A copy of all slots, RunSlots.nslots of them. */
extern RunSlot *slots_copy(void);

/* Is a run still short of a worker, of the two that it takes? */
extern bool slot_wants_worker(const RunSlot *slot);

/* Has a slot a run that is not over? */
extern bool slot_is_live(const RunSlot *slot);

/* A copy of the slot of a handle; false if it has been given away since. */
extern bool slot_read(const SlotHandle *handle, RunSlot *copy);

/*
 * The slot of a handle, or NULL if it has been given away since.  A worker
 * calls it once with its own bit, which is then its to release.
 */
extern RunSlot *slot_attach(const SlotHandle *handle, int holder);
extern void slot_add_holder(RunSlot *slot, int holder);
extern bool slot_is_held(const RunSlot *slot, int holder);
extern void slot_release(RunSlot *slot, int holder);

/* Clears the bit of a worker that has not attached yet, and so never will. */
extern void slot_abandon(RunSlot *slot, int holder);

/*
 * Claims a file for its writer, by its directory and its name there, until
 * slot_release() of SLOT_WRITER.  False if another run has it, and which.
 */
extern bool slot_claim_file(RunSlot *slot, dev_t dev, ino_t ino,
							const char *name, int64 *other);

extern void slot_set_status(RunSlot *slot, RunStatus status);
extern void slot_set_phase(RunSlot *slot, const char *phase);
extern void slot_set_waiting(RunSlot *slot, const char *waiting_for);

extern void slot_set_flush_reason(RunSlot *slot, const char *reason);

/* Who has asked a run to write what waits in its memory; NULL: nobody. */
extern const char *slot_flush_asked(RunSlot *slot);

/*
 * Asks runs of a job (0: of any), or with a file (NULL: with any), to write what
 * waits in their memory.  Returns how many are under way, and the last one's
 * handle.
 */
extern int	slots_ask_flush(FlushRequest who, Oid dboid, int64 job_id,
							const char *file, SlotHandle *handle);

/*
 * Copies text of the database's encoding into a slot's field as UTF-8, cut at
 * a character, and back; what does not convert becomes a question mark.
 */
extern void slot_copy_text(char *dst, Size size, const char *src);
extern char *slot_text(const char *utf8);

/* Records an error unless the run has one already. */
extern void slot_set_error(RunSlot *slot, const ErrorData *edata,
						   int sqlite_code);

/* Fields of an ErrorData, throwing what slot_set_error() stored. */
pg_noreturn extern void slot_throw_error(const RunError *error);

#endif							/* LFSYNC_PROGRESS_H */
