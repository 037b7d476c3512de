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
#include "rangesum.h"
#include "runner.h"

/* Raises 55006 where the table is another job's, database's or server's. */
extern void sync_check_owner(const Run *run, const TargetState *state);

/*
 * Does the target hold what an earlier run of a mode that goes on has left, of
 * this source?  If not the tables are loaded anew.  Checks the owner.
 */
extern bool sync_can_go_on(Run *run);

/*
 * Batches that follow are for this table.  True if the target has columns now
 * that it had not before, and are still empty.
 */
extern bool sync_begin_table(Run *run, RunTable *table, ApplyKind apply);

/*
 * What the table and its dimensions have come to.  If that was all of the source,
 * what earlier runs left out is known anew.
 */
extern void sync_end_table(Run *run, RunTable *table, bool complete);

/*
 * The source of an adopted table has so many rows.  They are what counts there:
 * its own number says nothing, since it holds others' rows, and keeps ours.
 */
extern void sync_count_source(Run *run, RunTable *table, int64 rows);

/* Where the run leaves off, committed at its end. */
extern void sync_set_position(Run *run, RunTable *table, const Position *position);

/* What a merge has found, stored if the run has anything to write. */
extern void sync_set_sums(Run *run, RunTable *table, const RangeTracker *sums);

/* A note for the history. */
extern void sync_note(Run *run, const char *format,...) pg_attribute_printf(2, 3);

/*
 * The key of the last row, kept beyond the row: rows come with memory of their
 * own, which the next one takes.
 */
typedef struct KeptKey
{
	int			n;
	const int  *columns;		/* of the row; NULL: the row is the key */
	ImageValue *values;			/* NULL: no row yet */
	MemoryContext contexts[2];	/* the old key is read until there is a new one */
	int			current;
} KeptKey;

extern void kept_key_init(KeptKey *kept, int n, const int *columns);
extern void kept_key_keep(KeptKey *kept, const ImageValue *row);

/*
 * What the position of the table was taken from is not what it would go on
 * with: why, or NULL.  "basis" is the mode's own.
 */
extern const char *sync_position_lost(const Run *run, const RunTable *table,
									  const Position *position, const char *basis);

/*
 * To be called by prepare(), when the tables are known: they want a key, and
 * what rows become goes into their fingerprints.
 */
extern void sync_end_prepare(Run *run);

/* The same text, or neither is there. */
extern bool sync_same_text(const char *a, const char *b);

/* Raises 42P16 for a source without a key. */
extern void sync_require_key(const RunTable *table, const char *mode);

/*
 * Compares the whole source with the table, range by range, and writes what
 * differs (APPLY_VERIFY: counts it).  "position" is what the table's position
 * is while it goes on; a merge that was broken off is taken up again.  True if
 * the file has something to learn from it: rows were written, their number was
 * wrong, or an earlier merge's position is to go.
 */
extern bool merge_table(Run *run, RunTable *table, Position *position);

/* The condition that keeps rows behind a key; values as SQL literals. */
extern char *sync_keyset_condition(List *expressions, const char *operator,
								   List *literals);

#endif							/* LFSYNC_SYNC_H */
