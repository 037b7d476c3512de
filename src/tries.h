/*-------------------------------------------------------------------------
 *
 * tries.h
 *	  The scheduler's tries: starting what is due, and what became of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_TRIES_H
#define LFSYNC_TRIES_H

#include "caller.h"
#include "status.h"

/*
 * Starts what is due, longest first, as far as there is room, and logs why
 * others do not start.  False if workers are missing: nobody tells us when one
 * is free.  List of JobStatus.
 */
extern bool tries_start_due(List *statuses, TimestampTz now);

/* Is there a slot for another run? */
extern bool tries_has_room(void);

/* Looks after a worker that was started, for a try or to tell of an event. */
extern void tries_remember(const Job *job, bool event, int attempt,
						   Caller *caller);
extern void tries_collect_ended(void);

/*
 * A try that has not ended and is not under way ended with a crash, or with an
 * earlier scheduler.
 */
extern void tries_close_lost(JobStatus *status);

/* The scheduler ends, its runs go on. */
extern void tries_leave(void);

#endif							/* LFSYNC_TRIES_H */
