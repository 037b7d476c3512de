/*-------------------------------------------------------------------------
 *
 * status.h
 *	  How it stands with every job of this database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_STATUS_H
#define LFSYNC_STATUS_H

#include "due.h"

typedef struct JobStatus
{
	Job		   *job;
	JobState   *state;
	JobPlan		plan;			/* at nothing if the job is malformed ... */
	char	   *malformed;		/* ... for this reason */
	bool		running;		/* a run of it is under way */
} JobStatus;

/*
 * All jobs, in a transaction of the caller's.  A malformed one is no error.
 * List of JobStatus, in CurrentMemoryContext.
 */
extern List *job_status_list(TimestampTz now);

#endif							/* LFSYNC_STATUS_H */
