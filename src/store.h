/*-------------------------------------------------------------------------
 *
 * store.h
 *	  lfsync's own tables: where they are, and how to write them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_STORE_H
#define LFSYNC_STORE_H

#include "utils/palloc.h"

/* One table that is worked on, and the state to go back to afterwards. */
typedef struct StoreAccess
{
	char	   *table;			/* qualified name, for SQL */
	MemoryContext context;		/* the caller's: SPI has its own */
	Oid			save_userid;
	int			save_context;
} StoreAccess;

/*
 * Between these the current user is the table's owner, and SPI is connected:
 * nobody else has the right to write there.  What runs meanwhile must name
 * nothing that the search path could exchange.
 */
extern void store_begin(StoreAccess *access, const char *relname);
extern void store_end(StoreAccess *access);

/* The same in a transaction of its own, for a background worker. */
extern void store_begin_transaction(StoreAccess *access, const char *relname);
extern void store_end_transaction(StoreAccess *access);

/*
 * Keeps the extension from being dropped until the end of the transaction;
 * false if it is not there.  A background worker that uses several tables does
 * this first, or it and DROP EXTENSION would wait for each other.
 */
extern bool store_lock(void);

/* One of lfsync's functions or tables, qualified, for a query.  Inside SPI_connect(). */
extern char *store_name(const char *name);

#endif							/* LFSYNC_STORE_H */
