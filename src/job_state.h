/*-------------------------------------------------------------------------
 *
 * job_state.h
 *	  What has become of a job's runs: rows of lfsync_job_state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_JOB_STATE_H
#define LFSYNC_JOB_STATE_H

#include "datatype/timestamp.h"

#include "progress.h"

/* How many runs "unreliable" looks back on. */
#define RECENT_RUNS		20

/* Times are 0 and text is NULL where there is none. */
typedef struct JobState
{
	int64		job_id;

	/* the scheduler's, written before a try starts */
	TimestampTz anchor;			/* first time of the schedule */
	TimestampTz served;			/* its last time that a start has served */
	int			attempt;		/* tries since the last success; 0: none */
	TimestampTz attempt_at;		/* the last one ... */
	int64		retry_after;	/* ... and the pause after it, microseconds */
	TimestampTz altered_at;		/* which version of the job was tried */
	bool		open_try;		/* it has not ended yet, or never will */

	/* the runs', written as they end */
	char	   *last_status;	/* NULL: never run */
	int64		last_run_id;	/* 0: it never came to a run */
	TimestampTz last_ended_at;
	int64		last_us;		/* how long it took */
	char	   *last_sqlstate;
	char	   *last_message;
	TimestampTz success_at;		/* the last success ... */
	TimestampTz snapshot_at;	/* ... and of which moment the file is then */
	char	   *position;
	int64		runs_total;
	int64		runs_succeeded;
	int64		runs_failed;	/* crashed ones too */
	int64		rows_written;
	int64		bytes_written;
	int64		total_us;		/* duration of those that succeeded */
	int			consecutive_failures;
	int			recent_runs;	/* at most RECENT_RUNS ... */
	int			recent_failures;	/* ... a bit each, the last one lowest */

	/* what was last told of it */
	char	   *health;
	TimestampTz health_since;
} JobState;

/* How a run of a job ended. */
typedef struct RunOutcome
{
	int64		run_id;
	const char *status;			/* as in lfsync_runs */
	const char *sqlstate;
	const char *message;
	const char *position;
	const RunCounts *counts;	/* NULL: it did nothing */
	int64		duration_us;
	bool		scheduled;		/* the scheduler's try */
} RunOutcome;

/*
 * These work in a transaction that the caller has begun.  A job that has no row
 * yet has an empty state.
 */
extern void job_state_get(int64 job_id, JobState *state, bool for_update);
extern void job_state_put(const JobState *state);

/* All of them, by id, in CurrentMemoryContext. */
extern List *job_state_list(void);

/* Forgets those of jobs that are gone. */
extern void job_state_forget(void);

/* Adds a run that has ended; the state is the caller's to put. */
extern void job_state_add_run(JobState *state, const RunOutcome *outcome);

#endif							/* LFSYNC_JOB_STATE_H */
