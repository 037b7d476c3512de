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

/*
 * Writes the end, in a transaction of its own.  notes: a json object.  The
 * positions, where the run began and where it left off, may be NULL.
 */
extern void history_end(RunSlot *slot, RunStatus status,
						const RunCounts *counts, const RunError *error,
						const char *notes, const char *position_from,
						const char *position_to);

#endif							/* LFSYNC_HISTORY_H */
