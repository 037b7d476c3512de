/*-------------------------------------------------------------------------
 *
 * due.h
 *	  When a stored job starts next, and why then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_DUE_H
#define LFSYNC_DUE_H

#include "job.h"
#include "job_state.h"

typedef struct JobPlan
{
	Schedule	schedule;
	JobOptions	options;
	bool		active;			/* does anything happen by itself? */
	bool		again;			/* another try after a failure */
	TimestampTz since;			/* when it was or will be due */
	TimestampTz at;				/* when it may start; DT_NOEND: never */
} JobPlan;

/* An error if the job's row makes no sense. */
extern void job_plan(const Job *job, const JobState *state, TimestampTz now,
					 JobPlan *plan);

/* Did its last run fail, also in ways of which nothing is known? */
extern bool job_has_failed(const JobState *state);

/*
 * Writes into the state that a try starts now, before it does: whatever becomes
 * of it, the next one is later.
 */
extern void job_begin_try(const Job *job, const JobPlan *plan, TimestampTz now,
						  JobState *state);

#endif							/* LFSYNC_DUE_H */
