/*-------------------------------------------------------------------------
 *
 * event.h
 *	  Telling the world of a change in a job's health.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_EVENT_H
#define LFSYNC_EVENT_H

#include "status.h"

/* Is the health of a job another than was last told? */
extern bool event_is_due(const JobStatus *status, TimestampTz now);

/*
 * Tells a change of health: to the log, and as a notification on channel
 * "lfsync".  Both in a transaction of the caller's.
 * Returns what the job's own function is to be called with, as json; NULL if
 * there is nothing to call.
 */
extern char *event_tell(const JobStatus *status, TimestampTz now);

#endif							/* LFSYNC_EVENT_H */
