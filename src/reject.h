/*-------------------------------------------------------------------------
 *
 * reject.h
 *	  What a target demands of rows, and what becomes of those that do not
 *	  meet it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_REJECT_H
#define LFSYNC_REJECT_H

#include "runner.h"

/*
 * Tells a source what the table demands of its rows, how errors tell them
 * apart, and with option "on_row_error" that they are rejected.
 */
extern void reject_describe(RunTable *table, Source *source);

/*
 * A row that has been read is left out, because another one of its key has been
 * taken: rejects it, or raises the error.
 */
extern void reject_duplicate(RunTable *table, Source *source,
							 const ImageValue *values, const ValueError *error);

/* Nothing has been rejected: the table is read once more from its start. */
extern void reject_forget(RunTable *table);

/*
 * Those of the keys (json) that have a value for each column: the others find no
 * row again.
 */
extern List *reject_complete_keys(List *keys);

/*
 * The condition that a row has one of the keys (json) of rows that earlier runs
 * have left out; NULL if it is not sure what values these stand for.
 */
extern char *reject_condition(const RunTable *table, List *keys);

/* The writer need not remember these keys but for what this run has rejected. */
extern void reject_retried(Run *run, List *keys);

#endif							/* LFSYNC_REJECT_H */
