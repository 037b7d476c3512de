/*-------------------------------------------------------------------------
 *
 * rowversion.h
 *	  Which rows are newer than a snapshot, told by their xmin.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_ROWVERSION_H
#define LFSYNC_ROWVERSION_H

#include "access/transam.h"
#include "utils/snapshot.h"

/*
 * Can row versions be told apart here?  Only in ordinary, logged heap tables
 * and materialized views, in every partition and child: views have no xmin,
 * and that of a foreign table is always 0.  The caller holds locks on all of
 * them.  "why" is set to what stands against it.
 */
extern bool rowversion_supported(Oid relid, const char **why);

/*
 * A 32-bit transaction id of a snapshot or later as the 64-bit one that it
 * stands for.
 */
extern uint64 rowversion_full_xid(TransactionId xid);

/* The first transaction that a snapshot may not see, and the first it cannot. */
extern uint64 rowversion_oldest(Snapshot snapshot);
extern uint64 rowversion_next(Snapshot snapshot);

/*
 * Older than this the window's ends could no longer be told apart: a position
 * that is further back is of no use.
 */
#define ROWVERSION_MAX_AGE	(UINT64CONST(1) << 30)

/*
 * The condition that a row version in [from, until) meets, over column xmin.
 * Each row that it is asked about is counted, so it must be the last condition
 * that the executor looks at.
 */
extern char *rowversion_condition(const char *xmin, uint64 from, uint64 until);
extern void rowversion_reset_count(void);
extern int64 rowversion_count(void);

/*
 * What changes rows without a new version: partitions that come and go, a
 * constant default of a new column, an enum label's new name, an expression.
 */
extern char *rowversion_fingerprint(Oid relid);

#endif							/* LFSYNC_ROWVERSION_H */
