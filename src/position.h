/*-------------------------------------------------------------------------
 *
 * position.h
 *	  Where a run of a mode left off: what _lfsync_state.position says.
 *
 * A json object, read and written by the runner alone:
 *
 *	  timeline		of the server that it was read from
 *	  basis			what it is a position in: the relation, how its rows are told
 *					apart, and what else must be the same for it to mean anything
 *	  xmin			the oldest transaction that the last run's snapshot could
 *					not see; what is older is in the target
 *	  stable		cursor and key, as text, below which nothing can appear any
 *					more; the strings stand for values of the columns' types
 *	  candidate		what becomes stable when nobody of those is left who could
 *					still commit below it: bound (as above), open (virtual
 *					transactions), xmin and xmax (of a snapshot taken after the
 *					bound), started (the postmaster, microseconds since 2000)
 *	  reached		cursor and key of the last row of an unfinished run
 *	  merged		key, as in SQLite, of the last range of an unfinished merge
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_POSITION_H
#define LFSYNC_POSITION_H

#include "image.h"
#include "nodes/pg_list.h"

typedef struct Candidate
{
	List	   *bound;			/* of char * */
	List	   *open;			/* of char *: "backend/local id" */
	uint64		xmin;
	uint64		xmax;
	int64		started;
} Candidate;

typedef struct Position
{
	uint64		timeline;		/* 0: none */
	char	   *basis;			/* or NULL */
	uint64		xmin;			/* 0: none */
	List	   *stable;			/* of char *; NIL: none */
	Candidate  *candidate;		/* or NULL */
	List	   *reached;		/* of char *; NIL: none */
	ImageValue *merged;			/* or NULL */
	int			nmerged;
} Position;

/* Text that is no position of ours gives an empty one: a position is a hint. */
extern Position *position_from_utf8(const char *json);
extern char *position_to_utf8(const Position *position);

#endif							/* LFSYNC_POSITION_H */
