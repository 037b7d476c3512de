/*-------------------------------------------------------------------------
 *
 * history.h
 *	  Runs as rows of lfsync_runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_HISTORY_H
#define LFSYNC_HISTORY_H

#include "order.h"
#include "progress.h"

/*
 * Writes the start of the run in a transaction of its own and returns its id.
 * Marks runs of this database that a crash left behind.  On a standby nothing
 * can be stored: the id is negative and comes from shared memory.
 */
extern int64 history_start(RunSlot *slot, const SyncOrder *order);

/* Marks runs that a crash left behind, in a transaction of the caller's. */
extern void history_mark_crashed(void);

/*
 * Writes the end, in a transaction of its own.  notes: a json object.  The
 * positions, where the run began and where it left off, may be NULL.
 */
extern void history_end(RunSlot *slot, const SyncOrder *order, RunStatus status,
						const RunCounts *counts, const RunError *error,
						const char *notes, const char *position_from,
						const char *position_to);

/* The scheduler's try ended before it became a run. */
extern void history_skip(const SyncOrder *order);

/*
 * Deletes runs that are too old, and those of this job (0: one-off runs) that
 * are too many.
 */
extern void history_trim(int64 job_id);

#endif							/* LFSYNC_HISTORY_H */
