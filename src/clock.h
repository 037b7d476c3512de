/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The time that schedules go by, and the schedulers that wait for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_CLOCK_H
#define LFSYNC_CLOCK_H

#include "datatype/timestamp.h"

extern void clock_install_hooks(void);

/* The time; a test may have stopped it at one of its own. */
extern TimestampTz clock_now(void);

/*
 * For the scheduler of the n-th database: says that it starts, and how many
 * starts before this one have not come to clock_ready().
 */
extern int	clock_starting(int n);

/* The same scheduler, connected: clock_wake() finds it from now on. */
extern void clock_ready(int n);

/* Has this database a scheduler, by lfsync.databases? */
extern bool clock_has_scheduler(void);

/* Lets the scheduler of a database look around; InvalidOid: all of them. */
extern void clock_wake(Oid dboid);

/* The same for this database, once the transaction has committed. */
extern void clock_wake_at_commit(void);

#endif							/* LFSYNC_CLOCK_H */
