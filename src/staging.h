/*-------------------------------------------------------------------------
 *
 * staging.h
 *	  Changes that wait in memory before they are written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_STAGING_H
#define LFSYNC_STAGING_H

#include "position.h"
#include "runner.h"

/* The batches of a run that wait, if its order has bounds for them. */
extern void staging_begin(Run *run);

/* Do batches wait, for now? */
extern bool staging_holds(const Run *run);

/*
 * Takes a batch, whose pages are copied.  When more rows wait than may, all of
 * them are written.
 */
extern void staging_keep(Run *run, const ImageMessage *image, const char *pages,
						 const BatchEnd *end);

/*
 * Sends what waits to the writer; what follows does not wait any more.  "why"
 * is for lfsync_progress and the history, NULL if there is nothing to say.
 */
extern void staging_write(Run *run, const char *why);

/* Forgets what waits, and lets nothing wait any more: all rows are compared. */
extern void staging_drop(Run *run);

/* Once written: had the target lacked columns, which are empty still? */
extern bool staging_altered(const Run *run);

/*
 * A look at the source has come to its end, and the next one would go on from
 * "position".  True if there will be one; if not what waits has been written.
 */
extern bool staging_goes_on(Run *run, RunTable *table, const Position *position);

/* Waits until it is time for another look; throws a cancel. */
extern void staging_wait(Run *run);

/*
 * The look under way was broken off.  Goes back to the end of the last complete
 * one; false if nothing waits that is worth writing.
 */
extern bool staging_go_back(Run *run);

/* Where the last complete look has come to, for sync_set_position(). */
extern const char *staging_position(const Run *run);

#endif							/* LFSYNC_STAGING_H */
