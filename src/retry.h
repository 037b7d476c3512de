/*-------------------------------------------------------------------------
 *
 * retry.h
 *	  What follows a failure: another try, and when.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_RETRY_H
#define LFSYNC_RETRY_H

/* May the same run succeed in a while, with nothing changed?  By SQLSTATE. */
extern bool retry_is_transient(const char *sqlstate);

/* The pause after the n-th try in microseconds, from 1; a little random. */
extern int64 retry_pause(int attempt, int backoff_ms);

#endif							/* LFSYNC_RETRY_H */
