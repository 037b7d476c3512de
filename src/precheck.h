/*-------------------------------------------------------------------------
 *
 * precheck.h
 *	  What a run would be refused for, said before there is one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_PRECHECK_H
#define LFSYNC_PRECHECK_H

#include "nodes/pg_list.h"

/* What a background worker of this role would be refused with FATAL for. */
extern void precheck_owner(Oid owner);

/*
 * Relations that this transaction may have changed, by the locks it holds.
 * Catalogs are left out: every DDL command locks some.
 */
extern List *precheck_held(void);

/* A relation that no run can read, or that the caller has changed (held). */
extern void precheck_source(Oid relid, List *held);

/*
 * A run sees all rows or none, unless it is told otherwise.  PostgreSQL says so
 * too, but cannot say what to do about it here.
 */
extern void precheck_row_security(Oid relid, Oid owner);

#endif							/* LFSYNC_PRECHECK_H */
