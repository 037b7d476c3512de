/*-------------------------------------------------------------------------
 *
 * reorder.h
 *	  Rows that come before their turn, held until it is theirs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_REORDER_H
#define LFSYNC_REORDER_H

#include "image.h"

typedef struct Reorder Reorder;

/* Lives in a memory context of its own below the current one. */
extern Reorder *reorder_create(int ncolumns);
extern void reorder_destroy(Reorder *reorder);

/* Keeps a copy of a row.  False if it was the last that there is room for. */
extern bool reorder_hold(Reorder *reorder, int64 rowid, const ImageValue *values);

/*
 * The held row with the lowest rowid, if that is not above "limit"; NULL if
 * there is none.  The values live until the next call.
 */
extern ImageValue *reorder_take(Reorder *reorder, int64 limit, int64 *rowid);

extern int	reorder_count(const Reorder *reorder);

#endif							/* LFSYNC_REORDER_H */
