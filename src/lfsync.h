/*-------------------------------------------------------------------------
 *
 * lfsync.h
 *	  Settings and names that every room knows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_H
#define LFSYNC_H

#define LFSYNC_VERSION "1.1"

/* lfsync.* settings, defined in lfsync.c */
typedef enum LogRuns
{
	LOG_RUNS_NONE,
	LOG_RUNS_ERRORS,
	LOG_RUNS_ALL
} LogRuns;

extern char *lfsync_export_directory;
extern int	lfsync_max_runs;
extern int	lfsync_batch_bytes; /* kB */
extern int	lfsync_busy_timeout;	/* ms */
extern int	lfsync_run_timeout; /* ms */
extern int	lfsync_file_mode;	/* permission bits */
extern int	lfsync_log_runs;	/* LogRuns */
extern char *lfsync_databases;	/* as given ... */
extern int	lfsync_ndatabases;	/* ... and how many they are */
extern int	lfsync_naptime;		/* ms */
extern int	lfsync_history_retention;	/* s, 0: for ever */
extern int	lfsync_history_rows;	/* 0: all */

/* Prefixes that belong to us inside a SQLite file. */
#define LFSYNC_TABLE_PREFIX	"_lfsync_"

#endif							/* LFSYNC_H */
