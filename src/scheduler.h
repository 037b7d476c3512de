/*-------------------------------------------------------------------------
 *
 * scheduler.h
 *	  The permanent worker that starts what is due.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_SCHEDULER_H
#define LFSYNC_SCHEDULER_H

/* Registers one for each name in lfsync.databases and returns how many. */
extern int	scheduler_register(void);

#endif							/* LFSYNC_SCHEDULER_H */
