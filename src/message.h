/*-------------------------------------------------------------------------
 *
 * message.h
 *	  What a caller, a runner and a writer say to each other.
 *
 * Messages stay on one machine and between processes of one build, so
 * structs without pointers travel as they are; the rest is integers and
 * counted text.  Text that goes to SQLite is UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_MESSAGE_H
#define LFSYNC_MESSAGE_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "storage/dsm.h"

#include "options.h"
#include "path.h"

typedef enum MessageType
{
	/* runner to writer ... */
	MESSAGE_OPEN = 1,			/* OpenRequest */
	MESSAGE_PAGES,				/* PagesMessage: finished pages of a new file */
	MESSAGE_TABLE,				/* a TargetTable whose images follow */
	MESSAGE_LATE,				/* LateMessage: rows that pages had no place for */
	MESSAGE_IMAGE,				/* ImageMessage: a batch for the last table */
	MESSAGE_FINISH,				/* FinishRequest: that was all, publish */
	/* ... and back */
	MESSAGE_OPENED,				/* OpenReply */
	MESSAGE_RELEASED,			/* a buffer is free again */
	MESSAGE_DONE,				/* FinishReply: the file is on disk */
	MESSAGE_ERROR				/* RunError; the writer is gone after it */
} MessageType;

typedef struct TargetColumn
{
	char	   *name;
	char	   *sqlite_type;
	char	   *source_type;	/* as format_type() prints it */
	char	   *expression;		/* SQL over the source row */
	char	   *comment;		/* may be NULL */
} TargetColumn;

typedef struct TargetIndex
{
	char	   *name;
	char	   *columns;		/* quoted, with sort order */
	bool		unique;
} TargetIndex;

/* A table of the target file. */
typedef struct TargetTable
{
	char	   *name;
	char	   *body;			/* what stands in parentheses in CREATE TABLE */
	bool		strict;
	bool		auto_index;		/* the key needs an automatic index */
	int			ncolumns;
	TargetColumn *columns;
	List	   *indexes;		/* of TargetIndex */
	char	   *comment;		/* may be NULL */
	char	   *source;
	char	   *fingerprint;	/* of the source's structure */
	int64		rows;			/* sent; known at the end */
} TargetTable;

typedef struct OpenRequest
{
	char	   *path;
	ForbiddenDirectories forbidden;
	SyncOptions options;
	int			busy_timeout;	/* ms */
	List	   *tables;			/* names of the tables to be written */
} OpenRequest;

typedef enum Disposition
{
	DISPOSITION_BUILD,			/* the whole file is built from pages */
	DISPOSITION_IN_PLACE		/* the file holds other tables, which stay */
} Disposition;

typedef struct OpenReply
{
	Disposition disposition;
	List	   *owners;			/* roles whose tables would be replaced */
} OpenReply;

typedef struct PagesMessage
{
	uint32		buffer;
	uint32		first_page;
	uint32		npages;
	int64		rows;			/* read so far, for lfsync_progress */
} PagesMessage;

/*
 * Rows of a file being built that came too late for their page, as an image
 * that is inserted from when the pages are there.  The table's name follows.
 */
typedef struct LateMessage
{
	uint32		buffer;
	uint32		npages;
	uint32		nrows;
} LateMessage;

/* Stands for a segment of its own. */
#define WIDE_BUFFER	UINT32_MAX

typedef struct ImageMessage
{
	uint32		buffer;			/* WIDE_BUFFER: in the segment below */
	dsm_handle	segment;		/* of a row too wide for the ring */
	uint32		npages;
	uint32		nrows;
} ImageMessage;

/* What _lfsync_state says of every table of a run. */
typedef struct RunIdentity
{
	char	   *job;			/* may be NULL */
	char	   *mode;
	char	   *owner;
	char	   *system_identifier;
	int			timeline;
	char	   *database;
} RunIdentity;

typedef struct FinishRequest
{
	uint32		page_count;		/* of a built file */
	RunIdentity identity;
	List	   *tables;			/* of TargetTable */
} FinishRequest;

typedef struct FinishReply
{
	int64		bytes_written;
	int64		write_us;
	List	   *notes;			/* of char * */
} FinishReply;

extern void message_put_int(StringInfo message, int64 value);
extern void message_put_text(StringInfo message, const char *text);
extern void message_put_texts(StringInfo message, List *texts);
extern void message_put_bytes(StringInfo message, const void *data, Size len);
extern void message_put_table(StringInfo message, const TargetTable *table);
extern void message_put_open(StringInfo message, const OpenRequest *request);
extern void message_put_opened(StringInfo message, const OpenReply *reply);
extern void message_put_finish(StringInfo message, const FinishRequest *request);
extern void message_put_done(StringInfo message, const FinishReply *reply);

/* What is read is palloc'd in CurrentMemoryContext. */
extern int64 message_get_int(StringInfo message);
extern char *message_get_text(StringInfo message);	/* may be NULL */
extern List *message_get_texts(StringInfo message);
extern void message_get_bytes(StringInfo message, void *data, Size len);
extern TargetTable *message_get_table(StringInfo message);
extern void message_get_open(StringInfo message, OpenRequest *request);
extern void message_get_opened(StringInfo message, OpenReply *reply);
extern void message_get_finish(StringInfo message, FinishRequest *request);
extern void message_get_done(StringInfo message, FinishReply *reply);

/* A name between double quotes, as both databases read it. */
extern char *message_quote_name(const char *name);

#endif							/* LFSYNC_MESSAGE_H */
