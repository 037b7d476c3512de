/*-------------------------------------------------------------------------
 *
 * caller.h
 *	  The side of a run that asks for it: a slot, a worker, the wait.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_CALLER_H
#define LFSYNC_CALLER_H

#include "order.h"
#include "progress.h"

/* How a run ended that was waited for. */
typedef struct RunResult
{
	RunSlot		slot;			/* as the run left it */
	char	   *file;			/* absolute */
	char	   *tables;			/* counts per target table, json; NULL: none */
	TimestampTz ended_at;
} RunResult;

/*
 * Does what an order says, as the owner, and waits for the end.  What keeps a
 * run from starting is raised, also the caller's own cancel; what the run
 * itself failed of is in the result.
 */
extern RunResult *caller_run(SyncOrder *order, Oid owner);

/* Raises the error of a run that has not succeeded. */
extern void caller_check_result(const RunResult *result);

/* Starts what an order says and returns the run's id; nobody waits for it. */
extern int64 caller_start(SyncOrder *order, Oid owner);

/*
 * Starts what an order says and goes on at once; whoever calls looks after it
 * when its latch is set.  NULL if no worker is free.  May be called in a
 * transaction, whose end does not matter.
 */
typedef struct Caller Caller;
extern Caller *caller_launch(SyncOrder *order, Oid owner);

/* Has it ended?  Then *slot is as it left it, and the Caller is gone. */
extern bool caller_ended(Caller *caller, RunSlot *slot);

/* Lets it go on alone. */
extern void caller_leave(Caller *caller);

/*
 * Has the job's run write what waits in its memory, and waits for its end; an
 * error if that is one.  Without such a run there is nothing to do.
 */
extern void caller_flush(int64 job_id);

/*
 * Removes the file of a job of this owner, if it holds nothing else.  What goes
 * does not come back when the caller rolls back.
 */
extern void caller_remove(const char *path, const char *job, Oid owner);

#endif							/* LFSYNC_CALLER_H */
