/*-------------------------------------------------------------------------
 *
 * rangesum.h
 *	  Checksums of ranges of keys, so that a merge need not read in the target
 *	  what has not changed since the last one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_RANGESUM_H
#define LFSYNC_RANGESUM_H

#include "image.h"
#include "utils/palloc.h"

/*
 * A range ends behind a row whose key's hash is a multiple of the modulus, so
 * that rows which come or go move no other range's ends.  That hash tells it
 * from others; 0 is the range behind the last such row.
 */
typedef struct RangeSum
{
	uint64		end;
	uint64		sum;			/* of the hashes of its rows */
} RangeSum;

typedef struct RangeSums
{
	uint64		modulus;
	MemoryContext context;
	int			n;
	int			size;			/* allocated */
	RangeSum   *sums;
} RangeSums;

/* Sums that are being made, beside those that are known. */
typedef struct RangeTracker
{
	RangeSums	found;
	RangeSums	known;
	struct ends_hash *ends;		/* where in known they are; NULL: none is */
	RangeSum	current;
	uint64		seed;
} RangeTracker;

/*
 * known: what rangesum_format() made, NULL if there is nothing to trust.  rows:
 * how many there may be, which bounds the number of ranges.  structure: what
 * the values of a row are, since under other names they belong elsewhere.
 */
extern void rangesum_begin(RangeTracker *tracker, const void *known, Size len,
						   double rows, const char *structure);

/* How many rows a range has on average. */
extern int64 rangesum_rows(const RangeTracker *tracker);

/* Adds a row; true if its range ends with it. */
extern bool rangesum_add(RangeTracker *tracker, const ImageValue *values, int ncolumns,
						 const int *keys, int nkeys);

/* The range ends, at the very end too; true if it is as it was. */
extern bool rangesum_end(RangeTracker *tracker);

/* All ranges found, palloc'd. */
extern void *rangesum_format(const RangeTracker *tracker, Size *len);

#endif							/* LFSYNC_RANGESUM_H */
