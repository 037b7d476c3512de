/*-------------------------------------------------------------------------
 *
 * cursor.h
 *	  Bounds in the order of a cursor and a key, and who may still commit below
 *	  them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_CURSOR_H
#define LFSYNC_CURSOR_H

#include "sync.h"

/* Cursor columns, then those of the key that are not among them. */
typedef struct Keyset
{
	List	   *columns;		/* of char *, quoted */
	List	   *types;			/* of char *, for casts */
	List	   *numbers;		/* int: columns of the source */
	int			ncursor;
	bool		time;			/* the first is a date or timestamp */
} Keyset;

/* Of a table's source; an error (42703) if it lacks a column. */
extern Keyset *cursor_keyset(const RunTable *table, List *cursor_columns);

/* What stands behind ORDER BY. */
extern char *cursor_order(const Keyset *keyset);

/* What must be the same for a position to mean anything. */
extern char *cursor_basis(const Keyset *keyset, Oid relid);

/* Conditions: a row has a cursor, is behind a bound, is at it or behind. */
extern char *cursor_exists(const Keyset *keyset);
extern char *cursor_behind(const Keyset *keyset, List *bound);
extern char *cursor_from(const Keyset *keyset, List *bound);

/* Where a run begins: the stable bound, or behind it by the lookback. */
extern List *cursor_lower_bound(const Keyset *keyset, const Position *position,
								const SyncOptions *options);
extern bool cursor_same_bound(List *a, List *b);

/*
 * The bound, then who is open, each with a snapshot of its own; NULL if there
 * are no rows.  "settled" says whether the last candidate can become stable.  In
 * CurrentMemoryContext.
 */
extern Candidate *cursor_take_candidate(const RunTable *table, List *cursor_columns,
										const Candidate *last, bool *settled);

/* Who may commit below a bound without being seen, as far as can be told. */
extern void cursor_note_unseen_writers(Run *run, const RunTable *table,
									   const Keyset *keyset);
extern void cursor_note_open_writers(Run *run, const Candidate *candidate);

/*
 * A value as text that a cast turns into what the source has; NULL if it is
 * not sure that there is such a cast.
 */
extern char *cursor_value_text(const Source *source, int column,
							   const ImageValue *value);

#endif							/* LFSYNC_CURSOR_H */
