/*-------------------------------------------------------------------------
 *
 * transact.h
 *	  Transactions of the scheduler, and what follows an error in one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_TRANSACT_H
#define LFSYNC_TRANSACT_H

#include "utils/palloc.h"

/* Lives as long as the scheduler looks around once; all of these go back to it. */
extern MemoryContext transact_context;

/* False if there is no extension; it is not dropped before the commit. */
extern bool transact_begin(const char *activity);
extern void transact_commit(void);

/* Ends what an error has interrupted, in PG_CATCH; returns the error. */
extern ErrorData *transact_recover(void);

/* Writes an error into the log, and what it was an error of. */
extern void transact_report(const char *what, const ErrorData *edata);

#endif							/* LFSYNC_TRANSACT_H */
