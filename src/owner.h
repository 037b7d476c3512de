/*-------------------------------------------------------------------------
 *
 * owner.h
 *	  What a job's owner is asked before a run, and told after one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_OWNER_H
#define LFSYNC_OWNER_H

#include "order.h"

/* The statements that ask for a condition, and call a function. */
extern char *owner_question(const char *condition);
extern char *owner_call(const char *function);

/* Is the order's condition true now?  As the owner, in a transaction. */
extern bool owner_agrees(const SyncOrder *order);

/* Calls the order's function with its event, in the same way. */
extern void owner_tell(const SyncOrder *order);

#endif							/* LFSYNC_OWNER_H */
