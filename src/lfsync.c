/*-------------------------------------------------------------------------
 *
 * lfsync.c
 *	  Module load: settings and shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <sys/stat.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "clock.h"
#include "lfsync.h"
#include "progress.h"
#include "scheduler.h"

PG_MODULE_MAGIC;

#define DEFAULT_MAX_RUNS		3
#define MIN_MAX_RUNS			1
#define MAX_MAX_RUNS			128
#define DEFAULT_BATCH_KB		8192
#define MIN_BATCH_KB			1024
#define MAX_BATCH_KB			8192
#define DEFAULT_BUSY_TIMEOUT_MS	30000
#define DEFAULT_NAPTIME_MS		60000
#define DEFAULT_RETENTION_S		(30 * SECS_PER_DAY)
#define DEFAULT_HISTORY_ROWS	1000

char	   *lfsync_export_directory;
int			lfsync_max_runs;
int			lfsync_batch_bytes;
int			lfsync_busy_timeout;
int			lfsync_run_timeout;
int			lfsync_file_mode;
int			lfsync_log_runs;
char	   *lfsync_databases;
int			lfsync_ndatabases;
int			lfsync_naptime;
int			lfsync_history_retention;
int			lfsync_history_rows;

static const struct config_enum_entry log_runs_options[] = {
	{"none", LOG_RUNS_NONE, false},
	{"errors", LOG_RUNS_ERRORS, false},
	{"all", LOG_RUNS_ALL, false},
	{NULL, 0, false}
};

PGDLLEXPORT void _PG_init(void);

static bool
check_export_directory(char **newval, void **extra, GucSource source)
{
	if (**newval != '\0' && !is_absolute_path(*newval))
	{
		GUC_check_errdetail("\"lfsync.export_directory\" must be an absolute path.");
		return false;
	}
	return true;
}

static bool
check_file_mode(int *newval, void **extra, GucSource source)
{
	if ((*newval & 0600) != 0600)
	{
		GUC_check_errdetail("The server must be able to read and write its own files: \"lfsync.file_mode\" must include 0600.");
		return false;
	}
	return true;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	List	   *names;
	bool		valid = SplitIdentifierString(pstrdup(*newval), ',', &names);

	list_free(names);
	if (!valid)
		GUC_check_errdetail("\"lfsync.databases\" must be a list of names.");
	return valid;
}

static const char *
show_file_mode(void)
{
	static char buf[12];

	snprintf(buf, sizeof(buf), "%04o", lfsync_file_mode);
	return buf;
}

void
_PG_init(void)
{
	DefineCustomStringVariable("lfsync.export_directory",
							   "Directory below which files with relative names are written.",
							   "Empty: only members of pg_write_server_files may write files, by absolute names.",
							   &lfsync_export_directory,
							   "",
							   PGC_SUSET, 0,
							   check_export_directory, NULL, NULL);
	DefineCustomIntVariable("lfsync.max_runs",
							"Number of runs that may be under way at once.",
							"Each takes two of max_worker_processes.",
							&lfsync_max_runs,
							DEFAULT_MAX_RUNS, MIN_MAX_RUNS, MAX_MAX_RUNS,
							PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("lfsync.batch_bytes",
							"Size of a batch.",
							"A run takes twice as much shared memory.",
							&lfsync_batch_bytes,
							DEFAULT_BATCH_KB, MIN_BATCH_KB, MAX_BATCH_KB,
							PGC_USERSET, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("lfsync.busy_timeout",
							"How long a run waits for a locked file or a locked source.",
							NULL,
							&lfsync_busy_timeout,
							DEFAULT_BUSY_TIMEOUT_MS, 1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("lfsync.run_timeout",
							"How long a run may take.",
							"0 means as long as it needs.",
							&lfsync_run_timeout,
							0, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("lfsync.file_mode",
							"Permissions of a finished file.",
							NULL,
							&lfsync_file_mode,
							S_IRUSR | S_IWUSR | S_IRGRP, 0600, 0777,
							PGC_SUSET, 0,
							check_file_mode, NULL, show_file_mode);
	DefineCustomEnumVariable("lfsync.log_runs",
							 "Which runs are written to the server log.",
							 NULL,
							 &lfsync_log_runs,
							 LOG_RUNS_ERRORS, log_runs_options,
							 PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("lfsync.databases",
							   "Databases whose jobs run by themselves.",
							   "A list of names; each takes one of max_worker_processes for its scheduler.",
							   &lfsync_databases,
							   "",
							   PGC_POSTMASTER, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
	DefineCustomIntVariable("lfsync.naptime",
							"How long a scheduler sleeps at most before it looks at its jobs again.",
							NULL,
							&lfsync_naptime,
							DEFAULT_NAPTIME_MS, 100, SECS_PER_HOUR * 1000,
							PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("lfsync.history_retention",
							"How long runs stay in lfsync_runs.",
							"0 means for ever.",
							&lfsync_history_retention,
							DEFAULT_RETENTION_S, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("lfsync.history_rows",
							"How many runs of a job stay in lfsync_runs.",
							"0 means all.",
							&lfsync_history_rows,
							DEFAULT_HISTORY_ROWS, 0, INT_MAX,
							PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("lfsync");

	/* without shared memory only what needs none works; see progress_require */
	if (process_shared_preload_libraries_in_progress)
	{
		progress_install_hooks();
		/* registers as many as there are databases */
		lfsync_ndatabases = scheduler_register();
		clock_install_hooks();
	}
}
