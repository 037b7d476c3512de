/*-------------------------------------------------------------------------
 *
 * options.h
 *	  The validated options of a run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_OPTIONS_H
#define LFSYNC_OPTIONS_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum TimestampFormat
{
	TIMESTAMPS_TEXT,			/* YYYY-MM-DD HH:MM:SS[.ffffff] */
	TIMESTAMPS_UNIX,			/* whole seconds since 1970, INTEGER */
	TIMESTAMPS_UNIX_US			/* microseconds since 1970, INTEGER */
} TimestampFormat;

typedef enum UuidFormat
{
	UUID_TEXT,
	UUID_BLOB
} UuidFormat;

typedef enum NumericFormat
{
	NUMERIC_TEXT,
	NUMERIC_REAL
} NumericFormat;

typedef enum NanFormat
{
	NAN_NULL,
	NAN_TEXT,
	NAN_ERROR
} NanFormat;

typedef enum CheckKind
{
	CHECK_COUNT,
	CHECK_QUICK,
	CHECK_FULL,
	CHECK_NONE
} CheckKind;

typedef enum JournalKind
{
	JOURNAL_DELETE,
	JOURNAL_WAL
} JournalKind;

typedef enum SynchronousKind
{
	SYNCHRONOUS_EXTRA,
	SYNCHRONOUS_FULL,
	SYNCHRONOUS_NORMAL
} SynchronousKind;

typedef enum ExistingTable
{
	EXISTING_OWN,				/* written only if lfsync has made it */
	EXISTING_ADOPT				/* filled where it is otherwise */
} ExistingTable;

typedef enum DeletesKind
{
	DELETES_AUTO,				/* rows that are gone go from the file, too */
	DELETES_IGNORE
} DeletesKind;

typedef enum SchemaChange
{
	SCHEMA_CHANGE_ALTER,		/* the target follows the source */
	SCHEMA_CHANGE_ERROR			/* the run stops */
} SchemaChange;

typedef enum RowErrorKind
{
	ROW_ERROR_STOP,
	ROW_ERROR_SKIP				/* the row is left out, and kept in mind */
} RowErrorKind;

#define OPTION_TEXT		128		/* bytes, with the terminator */
#define OPTION_NAMES	1024

/* No pointers: a run's options travel between processes by memcpy. */
typedef struct SyncOptions
{
	/* types */
	TimestampFormat timestamps;
	UuidFormat	uuid;
	NumericFormat numeric;
	NanFormat	nan;
	bool		strict;			/* STRICT tables */

	/* structure */
	char		fts[OPTION_NAMES];	/* columns, see options_names() */
	bool		indexes;
	bool		foreign_keys;
	int			page_size;		/* bytes */
	JournalKind journal_mode;
	SynchronousKind synchronous;
	CheckKind	check;
	int			file_mode;		/* permission bits */
	ExistingTable existing_table;
	bool		row_security;	/* export only the rows the owner may see */

	/* what a run that goes on reads */
	DeletesKind deletes;
	SchemaChange on_schema_change;
	char		lookback[OPTION_TEXT];	/* interval or number; empty: none */
	char		start_after[OPTION_TEXT];	/* first position; empty: none */

	/* pace and faults */
	RowErrorKind on_row_error;
	int			batch_rows;		/* 0: no limit of its own */
	int			run_timeout;	/* ms, 0: none */
} SyncOptions;

/* What a job may say besides: when it runs by itself.  NULL, empty: not given. */
typedef struct JobOptions
{
	char		attempts_at[OPTION_NAMES];	/* times of day; the first opens a
											 * cycle */
	char	   *condition;		/* SQL */
	char	   *not_before;		/* a time of day, or a point in time */
	char	   *not_after;
	char	   *timezone;
	char	   *on_event;		/* a function's name */
	int			max_attempts;
	int			backoff;		/* ms */
	int			flush_rows;		/* of what waits in memory: NOT_GIVEN ... */
	int			flush_interval; /* ... ms ... */
	int			max_pending_rows;	/* ... unless one of them is given */
} JobOptions;

#define NOT_GIVEN		(-1)

/*
 * Fills *options from a json object over the defaults; an unknown key or a
 * wrong value is an error (22023) that lists the valid ones.  Without *job,
 * what only jobs may say is unknown.
 */
extern void options_parse(Jsonb *json, SyncOptions *options, JobOptions *job);

/* The names that an option for several has, as a list of char *. */
extern List *options_names(const char *value);

/* The same as long as rows become the same values. */
extern char *options_fingerprint(const SyncOptions *options, const char *filter);

#endif							/* LFSYNC_OPTIONS_H */
