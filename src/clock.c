/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  The time that schedules go by, and the schedulers that wait for it.
 *
 * Every decision about schedules asks this clock, in whatever process.  A test
 * stops it at a time of its own with lfsync_set_clock(), which is no part of
 * the extension: a superuser who wants it declares it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "clock.h"
#include "lfsync.h"

#define CLOCK_TRANCHE "lfsync_clock"

/* A scheduler as long as it lives; a latch of one that is gone wakes nobody. */
typedef struct Sleeper
{
	Oid			dboid;			/* InvalidOid: not connected yet */
	Latch	   *latch;
	int			failed_starts;
} Sleeper;

typedef struct Clock
{
	LWLock	   *lock;			/* for the sleepers */
	pg_atomic_uint64 stopped_at;	/* 0: it goes */
	int			nsleepers;
	Sleeper		sleepers[FLEXIBLE_ARRAY_MEMBER];
} Clock;

static Clock *lfsync_clock = NULL;
static bool wake_at_commit = false;
static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

PG_FUNCTION_INFO_V1(lfsync_set_clock);

static Size
clock_size(void)
{
	return add_size(offsetof(Clock, sleepers),
					mul_size(lfsync_ndatabases, sizeof(Sleeper)));
}

static void
clock_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(clock_size());
	RequestNamedLWLockTranche(CLOCK_TRANCHE, 1);
}

static void
clock_shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	lfsync_clock = ShmemInitStruct("lfsync clock", clock_size(), &found);
	if (!found)
	{
		memset(lfsync_clock, 0, clock_size());
		lfsync_clock->lock = &GetNamedLWLockTranche(CLOCK_TRANCHE)->lock;
		lfsync_clock->nsleepers = lfsync_ndatabases;
		pg_atomic_init_u64(&lfsync_clock->stopped_at, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

static void
wake_after_commit(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && wake_at_commit)
		clock_wake(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		wake_at_commit = false;
}

void
clock_install_hooks(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = clock_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = clock_shmem_startup;
	RegisterXactCallback(wake_after_commit, NULL);
}

TimestampTz
clock_now(void)
{
	TimestampTz stopped_at = lfsync_clock == NULL ? 0 :
		(TimestampTz) pg_atomic_read_u64(&lfsync_clock->stopped_at);

	return stopped_at != 0 ? stopped_at : GetCurrentTimestamp();
}

int
clock_starting(int n)
{
	Sleeper    *sleeper = &lfsync_clock->sleepers[n];
	int			failed_starts;

	LWLockAcquire(lfsync_clock->lock, LW_EXCLUSIVE);
	failed_starts = sleeper->failed_starts++;
	sleeper->dboid = InvalidOid;
	LWLockRelease(lfsync_clock->lock);
	return failed_starts;
}

void
clock_ready(int n)
{
	Sleeper    *sleeper = &lfsync_clock->sleepers[n];

	LWLockAcquire(lfsync_clock->lock, LW_EXCLUSIVE);
	sleeper->failed_starts = 0;
	sleeper->dboid = MyDatabaseId;
	sleeper->latch = MyLatch;
	LWLockRelease(lfsync_clock->lock);
}

bool
clock_has_scheduler(void)
{
	const char *database = get_database_name(MyDatabaseId);
	List	   *names;
	ListCell   *lc;

	if (lfsync_clock == NULL ||
		!SplitIdentifierString(pstrdup(lfsync_databases), ',', &names))
		return false;
	foreach(lc, names)
	{
		if (database && strcmp((const char *) lfirst(lc), database) == 0)
			return true;
	}
	return false;
}

void
clock_wake(Oid dboid)
{
	if (lfsync_clock == NULL)
		return;
	LWLockAcquire(lfsync_clock->lock, LW_SHARED);
	for (int i = 0; i < lfsync_clock->nsleepers; i++)
	{
		Sleeper    *sleeper = &lfsync_clock->sleepers[i];

		if (OidIsValid(sleeper->dboid) &&
			(!OidIsValid(dboid) || sleeper->dboid == dboid))
			SetLatch(sleeper->latch);
	}
	LWLockRelease(lfsync_clock->lock);
}

void
clock_wake_at_commit(void)
{
	wake_at_commit = true;
}

/*
 * lfsync_set_clock(timestamptz)
 *
 * Stops the clock at a time; NULL lets it go again.
 */
Datum
lfsync_set_clock(PG_FUNCTION_ARGS)
{
	if (lfsync_clock)
		pg_atomic_write_u64(&lfsync_clock->stopped_at,
							PG_ARGISNULL(0) ? 0 : (uint64) PG_GETARG_TIMESTAMPTZ(0));
	clock_wake(InvalidOid);
	PG_RETURN_VOID();
}
