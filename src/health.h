/*-------------------------------------------------------------------------
 *
 * health.h
 *	  Whether all is well with a job, in a word and in a sentence.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_HEALTH_H
#define LFSYNC_HEALTH_H

#include "due.h"

typedef struct JobHealth
{
	const char *health;			/* ok, late, retrying, unreliable, failing,
								 * disabled, never run */
	char	   *message;		/* why, without a full stop */
	const char *event;			/* what a change to this is called */
} JobHealth;

/*
 * running: a run of it is under way.  full: to somebody who may see what the
 * owner sees; others get no text of an error, which may hold values or a path.
 */
extern JobHealth job_health(const Job *job, const JobState *state,
							const JobPlan *plan, TimestampTz now, bool running,
							bool full);

/* The health of a job whose row makes no sense, for this reason. */
extern JobHealth job_health_malformed(const char *reason, bool full);

/* What a job's mode promises, and what it cannot see. */
extern const char *job_guarantee(const Job *job);

#endif							/* LFSYNC_HEALTH_H */
