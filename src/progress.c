/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  The shared slots of live runs.
 *
 * A slot belongs to up to three processes: the caller that waits for the
 * run's result, its runner and its writer.  Each holds one bit and clears it
 * when it ends, however it ends; the slot is free when no bit is left.  A
 * worker finds its slot by index and generation, so one that starts late,
 * after its caller died and the slot was given away, finds nothing and exits.
 *
 * Locking: everything in a slot but the atomic counters is read and written
 * under RunSlots.lock.  The lock is held for copies of memory only, never for
 * a wait or a call that may raise an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "lfsync.h"
#include "progress.h"

#define LFSYNC_TRANCHE "lfsync"
#define SLOT_STARTING "starting"

RunSlots   *run_slots = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

PG_FUNCTION_INFO_V1(lfsync_progress_rows);

static Size
slots_size(void)
{
	return add_size(offsetof(RunSlots, slots),
					mul_size(lfsync_max_runs, sizeof(RunSlot)));
}

static void
progress_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(slots_size());
	RequestNamedLWLockTranche(LFSYNC_TRANCHE, 1);
}

static void
progress_shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	run_slots = ShmemInitStruct("lfsync run slots", slots_size(), &found);
	if (!found)
	{
		memset(run_slots, 0, slots_size());
		run_slots->lock = &GetNamedLWLockTranche(LFSYNC_TRANCHE)->lock;
		run_slots->nslots = lfsync_max_runs;
		for (int i = 0; i < lfsync_max_runs; i++)
		{
			RunSlot    *slot = &run_slots->slots[i];

			pg_atomic_init_u64(&slot->rows_estimated, 0);
			pg_atomic_init_u64(&slot->rows_read, 0);
			pg_atomic_init_u64(&slot->rows_written, 0);
			pg_atomic_init_u64(&slot->rows_rejected, 0);
			pg_atomic_init_u64(&slot->bytes_written, 0);
			pg_atomic_init_u64(&slot->batches_done, 0);
			pg_atomic_init_u64(&slot->batch_rows, 0);
			pg_atomic_init_u64(&slot->memory_bytes, 0);
			pg_atomic_init_u32(&slot->file_busy, 0);
			pg_atomic_init_u32(&slot->flush_asked, FLUSH_NOT_ASKED);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
progress_install_hooks(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = progress_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = progress_shmem_startup;
}

void
progress_require(void)
{
	if (run_slots == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("lfsync is not loaded"),
				 errdetail("Runs need shared memory, which is set up when the server starts."),
				 errhint("Add lfsync to shared_preload_libraries and restart the server.")));
}

bool
slot_is_live(const RunSlot *slot)
{
	return (slot->holders & (SLOT_RUNNER | SLOT_WRITER)) != 0;
}

bool
slot_wants_worker(const RunSlot *slot)
{
	return (slot->holders & SLOT_RUNNER) != 0 && !slot->had_writer &&
		strcmp(slot->phase, SLOT_STARTING) == 0;
}

RunSlot *
slots_copy(void)
{
	Size		size = run_slots->nslots * sizeof(RunSlot);
	RunSlot    *copies = palloc(size);

	LWLockAcquire(run_slots->lock, LW_SHARED);
	memcpy(copies, run_slots->slots, size);
	LWLockRelease(run_slots->lock);
	return copies;
}

bool
slot_read(const SlotHandle *handle, RunSlot *copy)
{
	LWLockAcquire(run_slots->lock, LW_SHARED);
	memcpy(copy, &run_slots->slots[handle->index], sizeof(RunSlot));
	LWLockRelease(run_slots->lock);
	return copy->generation == handle->generation;
}

RunSlot *
slot_claim(Oid dboid, Oid owner, int64 job_id, SlotHandle *handle)
{
	RunSlot    *slot = NULL;
	bool		running = false;
	int64		other = 0;

	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < run_slots->nslots; i++)
	{
		RunSlot    *candidate = &run_slots->slots[i];

		if (candidate->holders == 0)
		{
			if (slot == NULL)
			{
				slot = candidate;
				handle->index = i;
			}
		}
		else if (job_id != 0 && candidate->job_id == job_id &&
				 candidate->dboid == dboid &&
				 (slot_is_live(candidate) || candidate->status == RUN_RUNNING))
		{
			running = true;
			other = candidate->run_id;
		}
	}
	if (slot && !running)
	{
		uint32		generation = slot->generation + 1;

		if (generation == 0)
			generation = 1;
		memset(slot, 0, offsetof(RunSlot, rows_estimated));
		slot->generation = handle->generation = generation;
		slot->holders = SLOT_CALLER;
		slot->dboid = dboid;
		slot->owner = owner;
		slot->job_id = job_id;
		slot->waiter = MyLatch;
		slot->attempt = 1;
		slot->started_at = GetCurrentTimestamp();
		strlcpy(slot->phase, SLOT_STARTING, sizeof(slot->phase));
		pg_atomic_write_u64(&slot->rows_estimated, 0);
		pg_atomic_write_u64(&slot->rows_read, 0);
		pg_atomic_write_u64(&slot->rows_written, 0);
		pg_atomic_write_u64(&slot->rows_rejected, 0);
		pg_atomic_write_u64(&slot->bytes_written, 0);
		pg_atomic_write_u64(&slot->batches_done, 0);
		pg_atomic_write_u64(&slot->batch_rows, 0);
		pg_atomic_write_u64(&slot->memory_bytes, 0);
		pg_atomic_write_u32(&slot->file_busy, 0);
		pg_atomic_write_u32(&slot->flush_asked, FLUSH_NOT_ASKED);
	}
	LWLockRelease(run_slots->lock);

	if (running)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the job is running already"),
				 other ? errdetail("Its run " INT64_FORMAT " is under way; see lfsync_progress.", other) :
				 errdetail("A run of it is being started; see lfsync_progress."),
				 errhint("Wait for its end, or stop it with lfsync_cancel().")));
	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
				 errmsg("too many lfsync runs at once"),
				 errdetail("All %d runs that lfsync.max_runs allows are under way.",
						   run_slots->nslots),
				 errhint("Try again when one has ended (see lfsync_progress), or raise lfsync.max_runs and restart the server.")));
	return slot;
}

RunSlot *
slot_attach(const SlotHandle *handle, int holder)
{
	RunSlot    *slot = NULL;

	if (run_slots == NULL || handle->index < 0 ||
		handle->index >= run_slots->nslots)
		return NULL;

	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	/* The bit was set by whoever registered the worker; see slot_add_holder. */
	if (run_slots->slots[handle->index].generation == handle->generation &&
		(run_slots->slots[handle->index].holders & holder) != 0)
	{
		slot = &run_slots->slots[handle->index];
		if (holder == SLOT_RUNNER)
			slot->runner_pid = MyProcPid;
		else if (holder == SLOT_WRITER)
		{
			slot->writer_pid = MyProcPid;
			slot->had_writer = true;
		}
	}
	LWLockRelease(run_slots->lock);
	if (slot && holder == SLOT_WRITER)
		clock_wake(InvalidOid);
	return slot;
}

/*
 * Whoever registers a worker sets the worker's bit first, so that the slot
 * cannot be given away between registration and start; it clears the bit
 * again if the worker never starts.
 */
void
slot_add_holder(RunSlot *slot, int holder)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	slot->holders |= holder;
	LWLockRelease(run_slots->lock);
}

bool
slot_is_held(const RunSlot *slot, int holder)
{
	bool		held;

	LWLockAcquire(run_slots->lock, LW_SHARED);
	held = (slot->holders & holder) != 0;
	LWLockRelease(run_slots->lock);
	return held;
}

void
slot_release(RunSlot *slot, int holder)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	slot->holders &= ~holder;
	if (holder == SLOT_WRITER)
	{
		slot->writer_pid = 0;
		slot->claimed[0] = '\0';
	}
	else if (holder == SLOT_RUNNER)
	{
		slot->runner_pid = 0;
		if (slot->waiter)
			SetLatch(slot->waiter);
	}
	else
		slot->waiter = NULL;
	LWLockRelease(run_slots->lock);
	/* whoever waits for a slot, a file or the end of a run looks again */
	clock_wake(InvalidOid);
}

void
slot_abandon(RunSlot *slot, int holder)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	if ((holder == SLOT_RUNNER ? slot->runner_pid : slot->writer_pid) == 0)
		slot->holders &= ~holder;
	LWLockRelease(run_slots->lock);
}

/* Symbolic and hard links are refused anyway, so that a name is the file. */
bool
slot_claim_file(RunSlot *slot, dev_t dev, ino_t ino, const char *name,
				int64 *other)
{
	bool		taken = false;

	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	for (int i = 0; i < run_slots->nslots; i++)
	{
		RunSlot    *neighbour = &run_slots->slots[i];

		if (neighbour != slot && neighbour->claimed_dev == dev &&
			neighbour->claimed_ino == ino && strcmp(neighbour->claimed, name) == 0)
		{
			taken = true;
			*other = neighbour->run_id;
		}
	}
	if (!taken)
	{
		strlcpy(slot->claimed, name, sizeof(slot->claimed));
		slot->claimed_dev = dev;
		slot->claimed_ino = ino;
	}
	LWLockRelease(run_slots->lock);
	return !taken;
}

void
slot_set_status(RunSlot *slot, RunStatus status)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	slot->status = status;
	LWLockRelease(run_slots->lock);
}

void
slot_set_phase(RunSlot *slot, const char *phase)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	strlcpy(slot->phase, phase, sizeof(slot->phase));
	LWLockRelease(run_slots->lock);
}

void
slot_set_flush_reason(RunSlot *slot, const char *reason)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	strlcpy(slot->flush_reason, reason, sizeof(slot->flush_reason));
	LWLockRelease(run_slots->lock);
}

const char *
slot_flush_asked(RunSlot *slot)
{
	switch ((FlushRequest) pg_atomic_read_u32(&slot->flush_asked))
	{
		case FLUSH_NOT_ASKED:
			return NULL;
		case FLUSH_BY_CALL:
			return "lfsync_flush_job";
		case FLUSH_FOR_OTHERS:
			return "another job waits";
		case FLUSH_FOR_CHANGE:
			return "the job was changed";
	}
	return NULL;
}

int
slots_ask_flush(FlushRequest who, Oid dboid, int64 job_id, const char *file,
				SlotHandle *handle)
{
	int		   *pids = palloc(run_slots->nslots * sizeof(int));
	int			n = 0;

	LWLockAcquire(run_slots->lock, LW_SHARED);
	for (int i = 0; i < run_slots->nslots; i++)
	{
		RunSlot    *slot = &run_slots->slots[i];

		if (slot->holders == 0 ||
			(job_id != 0 && (slot->job_id != job_id || slot->dboid != dboid)) ||
			(file && strcmp(slot->file, file) != 0))
			continue;
		pg_atomic_write_u32(&slot->flush_asked, who);
		pids[n++] = slot->runner_pid;
		if (handle)
		{
			handle->index = i;
			handle->generation = slot->generation;
		}
	}
	LWLockRelease(run_slots->lock);
	for (int i = 0; i < n; i++)
	{
		PGPROC	   *runner = pids[i] == 0 ? NULL : BackendPidGetProc(pids[i]);

		if (runner)
			SetLatch(&runner->procLatch);
	}
	pfree(pids);
	return n;
}

void
slot_set_waiting(RunSlot *slot, const char *waiting_for)
{
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	strlcpy(slot->waiting_for, waiting_for ? waiting_for : "",
			sizeof(slot->waiting_for));
	LWLockRelease(run_slots->lock);
}

/* strlcpy that never cuts a UTF-8 character in two */
static void
copy_utf8(char *dst, Size size, const char *src)
{
	Size		len = strlen(src);

	if (len >= size)
		len = pg_encoding_mbcliplen(PG_UTF8, src, len, size - 1);
	memcpy(dst, src, len);
	dst[len] = '\0';
}

/*
 * Converts with question marks for what the other side cannot hold.  Errors
 * must not fail on their own text, so this never raises one.
 */
static char *
convert_lossy(const char *src, int src_encoding, int dst_encoding)
{
	Oid			proc;
	StringInfoData buf;
	const char *p = src;
	int			len = strlen(src);

	if (src_encoding == dst_encoding ||
		src_encoding == PG_SQL_ASCII || dst_encoding == PG_SQL_ASCII)
		return pstrdup(src);
	/* Looking up a conversion needs the catalogs. */
	if (!IsTransactionState())
		proc = InvalidOid;
	else
		proc = FindDefaultConversionProc(src_encoding, dst_encoding);

	initStringInfo(&buf);
	while (len > 0)
	{
		int			done = 0;

		if (OidIsValid(proc))
		{
			int			room = len * MAX_CONVERSION_GROWTH + 1;

			enlargeStringInfo(&buf, room);
			done = pg_do_encoding_conversion_buf(proc, src_encoding, dst_encoding,
												 (unsigned char *) p, len,
												 (unsigned char *) buf.data + buf.len,
												 room, true);
			buf.len += strlen(buf.data + buf.len);
		}
		else
		{
			while (done < len && !IS_HIGHBIT_SET(p[done]))
				done++;
			appendBinaryStringInfo(&buf, p, done);
		}
		p += done;
		len -= done;
		if (len > 0)
		{
			int			skip = Min(pg_encoding_mblen(src_encoding, p), len);

			appendStringInfoChar(&buf, '?');
			p += skip;
			len -= skip;
		}
	}
	return buf.data;
}

void
slot_copy_text(char *dst, Size size, const char *src)
{
	char	   *utf8;

	if (src == NULL)
	{
		dst[0] = '\0';
		return;
	}
	utf8 = convert_lossy(src, GetDatabaseEncoding(), PG_UTF8);
	copy_utf8(dst, size, utf8);
	pfree(utf8);
}

char *
slot_text(const char *utf8)
{
	return convert_lossy(utf8, PG_UTF8, GetDatabaseEncoding());
}

void
slot_set_error(RunSlot *slot, const ErrorData *edata, int sqlite_code)
{
	RunError	error;

	memset(&error, 0, sizeof(error));
	error.sqlerrcode = edata->sqlerrcode;
	error.sqlite_code = sqlite_code;
	slot_copy_text(error.message, sizeof(error.message), edata->message);
	slot_copy_text(error.detail, sizeof(error.detail), edata->detail);
	slot_copy_text(error.hint, sizeof(error.hint), edata->hint);
	slot_copy_text(error.context, sizeof(error.context), edata->context);

	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	if (slot->error.sqlerrcode == 0)
		slot->error = error;
	LWLockRelease(run_slots->lock);
}

void
slot_throw_error(const RunError *error)
{
	ereport(ERROR,
			(errcode(error->sqlerrcode),
			 errmsg_internal("%s", slot_text(error->message)),
			 error->detail[0] ? errdetail_internal("%s", slot_text(error->detail)) : 0,
			 error->hint[0] ? errhint("%s", slot_text(error->hint)) : 0,
			 error->context[0] ? errcontext("%s", slot_text(error->context)) : 0));
}

/*
 * lfsync_progress_rows()
 *
 * One row per live run of this cluster.  As in PostgreSQL's own progress
 * views everyone sees that a run is there, its owner and members of
 * pg_read_all_stats see the rest.
 */
Datum
lfsync_progress_rows(PG_FUNCTION_ARGS)
{
#define PROGRESS_COLS 22
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	RunSlot    *copies;

	progress_require();
	InitMaterializedSRF(fcinfo, 0);
	copies = slots_copy();
	for (int i = 0; i < run_slots->nslots; i++)
	{
		RunSlot    *slot = &copies[i];
		Datum		values[PROGRESS_COLS];
		bool		nulls[PROGRESS_COLS];
		char	   *datname;

		/* A slot that only its caller still reads has no live run any more. */
		if (!slot_is_live(slot))
			continue;
		memset(nulls, true, sizeof(nulls));

#define SET(n, datum) (values[n] = (datum), nulls[n] = false)
#define SET_TEXT(n, text) \
		do { if ((text)[0]) SET(n, CStringGetTextDatum(slot_text(text))); } while (0)

		datname = get_database_name(slot->dboid);
		if (datname)
			SET(2, CStringGetTextDatum(datname));
		if (slot->runner_pid != 0)
			SET(3, Int32GetDatum(slot->runner_pid));
		if (has_privs_of_role(GetUserId(), slot->owner) ||
			has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		{
			uint64		estimated = pg_atomic_read_u64(&slot->rows_estimated);

			if (slot->run_id != 0)
				SET(0, Int64GetDatum(slot->run_id));
			SET_TEXT(1, slot->job);
			if (slot->writer_pid != 0)
				SET(4, Int32GetDatum(slot->writer_pid));
			SET_TEXT(5, slot->mode);
			SET_TEXT(6, slot->phase);
			SET_TEXT(7, slot->source);
			SET_TEXT(8, slot->file);
			SET_TEXT(9, slot->table_name);
			if (estimated > 0)
				SET(10, Int64GetDatum(estimated));
			SET(11, Int64GetDatum(pg_atomic_read_u64(&slot->rows_read)));
			SET(12, Int64GetDatum(pg_atomic_read_u64(&slot->rows_written)));
			SET(13, Int64GetDatum(pg_atomic_read_u64(&slot->rows_rejected)));
			SET(14, Int64GetDatum(pg_atomic_read_u64(&slot->bytes_written)));
			SET(15, Int64GetDatum(pg_atomic_read_u64(&slot->batches_done)));
			SET(16, Int64GetDatum(pg_atomic_read_u64(&slot->batch_rows)));
			if (pg_atomic_read_u32(&slot->file_busy))
				SET(17, CStringGetTextDatum("a lock on the file"));
			else
				SET_TEXT(17, slot->waiting_for);
			SET(18, Int32GetDatum(slot->attempt));
			SET(19, Int64GetDatum(pg_atomic_read_u64(&slot->memory_bytes)));
			SET(20, TimestampTzGetDatum(slot->started_at));
			SET(21, TimestampTzGetDatum(GetCurrentTimestamp()));
		}
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
