/*-------------------------------------------------------------------------
 *
 * sync.h
 *	  What the modes that go on from an earlier run have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_SYNC_H
#define LFSYNC_SYNC_H

#include "position.h"
#include "runner.h"

/*
 * Does the target hold what an earlier run of a mode that goes on has left, of
 * this source?  If not the table is loaded anew.  Raises 55006 where it is
 * another job's, database's or server's.
 */
extern bool sync_can_go_on(Run *run, const RunTable *table);

/*
 * Batches that follow are for this table.  True if the target has columns now
 * that it had not before, and are still empty.
 */
extern bool sync_begin_table(Run *run, RunTable *table, ApplyKind apply);

/* What the table has come to; adds to the run's counts. */
extern void sync_end_table(Run *run, RunTable *table);

/*
 * The source has so many rows.  That is what counts in an adopted table, whose
 * own number says nothing: it holds others' rows, and keeps ours for good.
 */
extern void sync_count_source(Run *run, RunTable *table, int64 rows);

/* A note for the history. */
extern void sync_note(Run *run, const char *format,...) pg_attribute_printf(2, 3);

/*
 * The key of the last row, kept beyond the row: rows come with memory of their
 * own, which the next one takes.
 */
typedef struct KeptKey
{
	int			n;
	const int  *columns;		/* of the row */
	ImageValue *values;			/* NULL: no row yet */
	MemoryContext contexts[2];	/* the old key is read until there is a new one */
	int			current;
} KeptKey;

extern void kept_key_init(KeptKey *kept, int n, const int *columns);
extern void kept_key_set(KeptKey *kept, const ImageValue *row);

/* A copy of key values in CurrentMemoryContext. */
extern ImageValue *copy_key_values(const ImageValue *values, int n);

/* Raises 42P16 for a source without a key. */
extern void sync_require_key(const RunTable *table, const char *mode);

/*
 * Compares the whole source with the table, range by range, and writes what
 * differs (APPLY_VERIFY: counts it).  "position" is what the table's position
 * is while it goes on; a merge that was broken off is taken up again.
 */
extern void merge_table(Run *run, RunTable *table, Position *position);

/* The condition that keeps rows behind a key; values as SQL literals. */
extern char *sync_keyset_condition(List *expressions, const char *operator,
								   List *literals);

#endif							/* LFSYNC_SYNC_H */
