/*-------------------------------------------------------------------------
 *
 * runner.h
 *	  The life of a run, and what a mode adds to it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_RUNNER_H
#define LFSYNC_RUNNER_H

#include "channel.h"
#include "order.h"
#include "progress.h"

typedef struct Run
{
	RunSlot    *slot;
	SlotHandle	handle;
	dsm_segment *order_segment;
	SyncOrder  *order;
	Channel    *channel;
	MemoryContext context;		/* lives as long as the run */
	Disposition disposition;	/* what the writer found at the target */
	FinishRequest finish;		/* filled in by the mode */
	bool		published;		/* the writer has finished ... */
	List	   *writer_notes;	/* ... and noted this (char *, UTF-8) */
	RunCounts	counts;
	int64		nan_values;		/* what the type policy changed */
	int64		negative_zeros;
	int64		cut_fractions;
	List	   *not_carried;	/* of char *, UTF-8 */
} Run;

/*
 * How a run finds what to write.  prepare() runs in the run's read-only
 * transaction and takes every lock, but no snapshot; scan() runs under the
 * snapshot and sends rows to the writer.
 */
typedef struct SyncMode
{
	const char *name;
	void		(*prepare) (Run *run);
	void		(*scan) (Run *run);
} SyncMode;

extern const SyncMode mode_full;

/* Registers a runner for a claimed slot; false if no worker is free. */
extern bool runner_start(const SlotHandle *handle,
						 BackgroundWorkerHandle **worker);

/* The mode of this name; an error (22023) that lists them if there is none. */
extern const SyncMode *find_mode(const char *name);

#endif							/* LFSYNC_RUNNER_H */
