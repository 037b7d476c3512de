/*-------------------------------------------------------------------------
 *
 * source.h
 *	  Reading a source: relation or query, in chunks, through SPI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_SOURCE_H
#define LFSYNC_SOURCE_H

#include "executor/spi.h"
#include "tcop/dest.h"

#include "image.h"
#include "value.h"

typedef struct SourceColumn
{
	char	   *name;			/* server encoding */
	Oid			typid;
	int32		typmod;
	bool		not_null;		/* NULL is refused: the target says NOT NULL */
} SourceColumn;

/*
 * Called for a row that cannot be kept: why, and which column (-1: the row as a
 * whole).  The values of key columns are there, NULL where they are the reason.
 */
typedef void (*SourceReject) (void *arg, const ValueError *error, int column,
							  const ImageValue *values);

typedef struct Source
{
	Oid			relid;			/* InvalidOid for a query */
	char	   *description;	/* schema-qualified name, or "query" */
	int			ncolumns;
	SourceColumn *columns;
	ValueColumn *values;		/* filled in by source_scan() */
	SPIPlanPtr	plan;
	int			nkeys;			/* for error messages: columns that tell rows */
	int		   *keys;			/* apart */
	SourceReject reject;		/* NULL: such a row is an error */
	void	   *reject_arg;
} Source;

/*
 * Called for each row, with SQLite values that live until it returns; false
 * ends the scan for good.  It may wait, though a page of the table stays pinned
 * meanwhile: better to have looked for room between fetches.
 */
typedef bool (*SourceRow) (void *arg, ImageValue *values);

/*
 * Called before each fetch; returns how many rows to fetch.  The place to
 * wait for room.
 */
typedef long (*SourceBeforeFetch) (void *arg);

/*
 * Prepares "sql" and fills in its columns.  Takes the locks that parsing
 * takes, but no snapshot.  Refuses what is not a single SELECT, has no
 * column, two columns of one name, or pseudo-types.  Inside SPI_connect().
 */
extern Source *source_prepare(Oid relid, const char *description,
							  const char *sql);

/* Locks partitions and inheritance children, which parsing does not. */
extern void source_lock_children(Oid relid);

/* The planner's estimate of the rows; needs an active snapshot. */
extern double source_estimate(Source *source);

/*
 * May a row be let through today and not tomorrow, or become something else,
 * without having changed?  Conditions or expressions then look at more than the
 * row.
 */
extern bool source_is_mutable(const Source *source);

/*
 * What its conditions and expressions have come to, as text; NULL: none.  A literal like 'today'
 * is a constant by then, but not the same one every day.
 */
extern char *source_conditions(const Source *source);

/* Does its plan read or sort a whole table that is not small? */
extern bool source_reads_all(Source *source);

/* Does it read from another server or a file? */
extern bool source_reads_foreign(Source *source);

/*
 * Raises what PostgreSQL says (42501) if the current user may not read what the
 * source reads.
 */
extern void source_check_rights(Source *source);

/*
 * True if ANALYZE found the rows of a table to lie in the order of a column,
 * by and large.
 */
extern bool source_in_order(Oid relid, AttrNumber attnum);

/*
 * For a row that turns out to be none that can be kept when it is received:
 * rejects it, or raises the error.
 */
extern void source_refuse_row(Source *source, const ValueError *error,
							  const ImageValue *values);

/*
 * Reads all rows under the active snapshot.  An error says in its context
 * which column and row it met.  False if "row" has ended the scan.
 */
extern bool source_scan(Source *source, SyncOptions *options,
						SourceBeforeFetch before_fetch, SourceRow row,
						void *arg);

#endif							/* LFSYNC_SOURCE_H */
