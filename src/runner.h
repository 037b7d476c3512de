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
#include "mapping.h"
#include "order.h"
#include "progress.h"

/* A source and the table it becomes. */
typedef struct RunTable
{
	struct Run *run;
	Source	   *source;			/* in rowid order; NULL: rows come with those of
								 * the table before it that has one */
	Source	   *heap_source;	/* in the table's own order, or NULL */
	Mapping    *mapping;
	const TargetState *state;	/* of the table in the file, or NULL */
	TableCounts counts;
	void	   *sums;			/* of ranges, as the target still is; or NULL */
	Size		sums_len;
	int64		nrejected;		/* rows that are left out */
	bool		has_rejects;	/* earlier runs have left rows out ... */
	List	   *reject_keys;	/* ... with these keys (json) */
} RunTable;

typedef struct Staging Staging;

typedef struct Run
{
	RunSlot    *slot;
	SlotHandle	handle;
	dsm_segment *order_segment;
	SyncOrder  *order;
	Channel    *channel;
	MemoryContext context;		/* lives as long as the run ... */
	MemoryContext look;			/* ... and as what a look has prepared */
	Staging    *staging;		/* what waits in memory; NULL: nothing does */
	const char *flush_reason;	/* why that was written, or NULL */
	Disposition disposition;	/* what the writer found at the target ... */
	List	   *states;			/* ... and of which tables (TargetState) */
	List	   *tables;			/* of RunTable: set by prepare() */
	uint32		image_cookie;	/* schema cookie of the last image */
	int			smallest_batch; /* rows that batches were allowed to have, ... */
	int			largest_batch;	/* ... where that adapts; 0: it did not */
	FinishRequest finish;		/* filled in by the mode */
	bool		published;		/* the writer has finished ... */
	List	   *writer_notes;	/* ... and noted this (char *, UTF-8) */
	RunCounts	counts;
	int64		nan_values;		/* what the type policy changed */
	int64		negative_zeros;
	int64		cut_fractions;
	List	   *not_carried;	/* of char *, UTF-8 */
	char	   *position_from;	/* for the history, may be NULL */
	char	   *position_to;
	List	   *notes;			/* of char *: what else there is to say, UTF-8 */
} Run;

/*
 * How a run finds what to write.  prepare() runs in the run's read-only
 * transaction and takes every lock, but no snapshot; scan() runs under the
 * snapshot and sends rows to the writer.  before(), if there is one, runs in a
 * read-only transaction of its own before that.
 */
typedef struct SyncMode
{
	const char *name;
	bool		compares;		/* what is there with the source, no more */
	void		(*before) (Run *run);
	void		(*prepare) (Run *run);
	void		(*scan) (Run *run);
} SyncMode;

extern const SyncMode mode_full;
extern const SyncMode mode_incremental;
extern const SyncMode mode_merge;
extern const SyncMode mode_verify;
extern const SyncMode mode_repair;

/* Registers a runner for a claimed slot; false if no worker is free. */
extern bool runner_start(const SlotHandle *handle,
						 BackgroundWorkerHandle **worker);

/* Rows are about to travel as images, in buffers that have room for a batch. */
extern void run_use_images(Run *run);

/* What the file says of a table; NULL if it has none. */
extern const TargetState *run_find_state(const Run *run, const char *table_name);

/* The mode of this name; NULL if there is none. */
extern const SyncMode *find_mode(const char *name);

/* An error (22023) that lists the modes that export, if this is none of them. */
extern void check_export_mode(const char *name);

/* look.c */

/* Reads what there is at one snapshot, and sends it to the writer. */
extern void run_look(Run *run, const SyncMode *mode);

/* Undoes a mode's prepare(). */
extern void run_forget_tables(Run *run);

/* report.c */

/* What the type policy has changed in a source that was read. */
extern void run_count_oddities(Run *run, const Source *source);

/* The sums over all tables, and the position, as far as the run has come. */
extern void run_add_counts(Run *run);

/* What the writer has found that SQLite refuses of a table that was filled. */
extern void run_count_refused(Run *run, const TargetTable *target, int refused);

/* Every loss or oddity, counted; empty if there was none. */
extern char *run_notes_json(Run *run);

/* Counts per target table, for the caller. */
extern char *run_tables_json(Run *run);

#endif							/* LFSYNC_RUNNER_H */
