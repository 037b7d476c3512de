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

#include "image.h"
#include "options.h"
#include "path.h"

typedef enum MessageType
{
	/* runner to writer ... */
	MESSAGE_OPEN = 1,			/* OpenRequest */
	MESSAGE_PAGES,				/* PagesMessage: finished pages of a new file */
	MESSAGE_TABLE,				/* a TargetTable whose images follow; answered
								 * by TABLE_READY unless it is filled */
	MESSAGE_LATE,				/* LateMessage: rows that pages had no place for */
	MESSAGE_IMAGE,				/* ImageMessage: a batch for the last table; a
								 * BatchEnd follows in a table kept in sync */
	MESSAGE_RANGE,				/* BatchEnd: a range without rows */
	MESSAGE_REJECT,				/* Reject: a row that is not among those of the
								 * last table */
	MESSAGE_RETRIED,			/* texts: keys of rejects that have been read
								 * once more */
	MESSAGE_COUNT,				/* was that all of the source?  What has the
								 * last table come to? */
	MESSAGE_FINISH,				/* FinishRequest: that was all, publish */
	/* ... and back */
	MESSAGE_OPENED,				/* OpenReply */
	MESSAGE_TABLE_READY,		/* TableReply */
	MESSAGE_COUNTED,			/* TableCounts, also of its dimensions */
	MESSAGE_RELEASED,			/* ReleasedMessage: a buffer is free again */
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
	bool		never_number;	/* text that SQLite never turns into one */
} TargetColumn;

/* How rows reach a table of a file that is there. */
typedef enum ApplyKind
{
	APPLY_FILL,					/* a hidden table, put in place at the end */
	APPLY_SYNC,					/* the table itself: upserts and ranges */
	APPLY_VERIFY				/* compared with it, nothing is written */
} ApplyKind;

typedef struct TargetIndex
{
	char	   *name;
	char	   *columns;		/* quoted, with sort order */
	bool		unique;
} TargetIndex;

/* A row that is left out, and why. */
typedef struct Reject
{
	ImageValue *key;			/* NULL: the table has none */
	bool		again;			/* another row of this key has been taken */
	char	   *column;			/* NULL: it is about the row as a whole */
	int			sqlerrcode;
	char	   *message;
} Reject;

/* A table of the target file. */
typedef struct TargetTable
{
	char	   *name;
	char	   *body;			/* what stands in parentheses in CREATE TABLE */
	bool		strict;
	bool		auto_index;		/* the key needs an automatic index */
	ApplyKind	apply;
	bool		adopted;		/* somebody else made it: only rows are ours */
	int			ncolumns;
	TargetColumn *columns;
	int			nkeys;
	int		   *keys;			/* columns of the key, in its order */
	List	   *indexes;		/* of TargetIndex */

	/*
	 * Of a mapping to several tables.  Images then hold the rows of this one,
	 * with a reference as a number within the image, and each dimension's rows
	 * under these numbers.
	 */
	bool		rowless;		/* only its dimensions are tables */
	List	   *dimensions;		/* of TargetTable: none before one that it
								 * refers to */
	int		   *parents;		/* per column: the dimension it refers to; -1:
								 * a value */
	int			nnatural;		/* of a dimension, whose first column is its */
	int		   *natural;		/* surrogate key: columns of the natural one */
	int			nfts;			/* columns of the full-text index; the key is */
	int		   *fts;			/* then one integer */
	char	   *view_name;		/* that joins the dimensions again, ... */
	char	   *view_sql;		/* ... a SELECT; or NULL */
	char	   *comment;		/* may be NULL */
	char	   *source;
	char	   *fingerprint;	/* of the source's structure */
	List	   *rejects;		/* of Reject; those of a table kept in sync go
								 * before their batch */
	int64		rows;			/* known at the end; -1: as batches have
								 * counted them.  Adopted: the source's */
	char	   *position;		/* where the run leaves off (json); NULL: none,
								 * or as it was in a table kept in sync */
	void	   *sums;			/* of ranges (rangesum.h); NULL: none */
	Size		sums_len;
} TargetTable;

/* What _lfsync_state says of a table that a run is about to write. */
typedef struct TargetState
{
	char	   *table_name;
	char	   *job;			/* may be NULL */
	char	   *mode;
	char	   *source;
	char	   *fingerprint;	/* may be NULL */
	char	   *system_identifier;
	int			timeline;
	char	   *database;
	char	   *position;		/* may be NULL */
	int64		rows;
	bool		adopted;		/* lfsync has not made the table; a state like
								 * an empty full run's if it is new to it */
} TargetState;

typedef struct OpenRequest
{
	char	   *path;
	ForbiddenDirectories forbidden;
	SyncOptions options;
	int			busy_timeout;	/* ms */
	List	   *tables;			/* names of the tables to be written */
	bool		keep;			/* the file must be there, and is not built anew */
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
	List	   *states;			/* of TargetState: tables of the run that are
								 * there */
} OpenReply;

/* How a table that is kept in sync was found. */
typedef struct TableReply
{
	bool		altered;		/* has columns now that it had not */
	void	   *sums;			/* of ranges as they are still; NULL: none, or
								 * somebody has written into the file since */
	Size		sums_len;
	bool		has_rejects;	/* earlier runs have left rows out ... */
	List	   *reject_keys;	/* ... with these keys (json) */
	List	   *notes;			/* of char * */
} TableReply;

typedef struct TableCounts
{
	int64		inserted;		/* APPLY_VERIFY: missing in the target */
	int64		updated;		/* different */
	int64		deleted;		/* more than in the source */
	int64		rows;			/* in the target now */
	int64		rejected;		/* left out by this run ... */
	int64		rejects;		/* ... and in all */
} TableCounts;

/* Key values: one end of a range. */
typedef struct KeyBound
{
	bool		open;			/* no bound at this end */
	ImageValue *values;			/* one per column of the key */
} KeyBound;

/*
 * Rows of an image, by their rowids in it, both ends included.  PG_INT64_MIN and
 * PG_INT64_MAX are the batch's own ends.
 */
typedef struct ImagePiece
{
	int64		first;
	int64		last;
	int64		nrows;
} ImagePiece;

/*
 * What goes with a batch of a table kept in sync.  In a range (after, to] the
 * image holds all there is: other rows go.
 */
typedef struct BatchEnd
{
	bool		range;
	KeyBound	after;			/* exclusive */
	KeyBound	to;				/* inclusive */
	bool		begins;			/* the first batch of a merge, ... */
	bool		comes_round;	/* ... the first one when it comes round to keys
								 * below those before, ... */
	bool		ends;			/* ... and the last one */
	int			npieces;		/* 0, or only these may differ, ... */
	ImagePiece *pieces;			/* ... in the order of their rowids */
	char	   *position;		/* commits with the rows; NULL: as it was */
} BatchEnd;

typedef struct ReleasedMessage
{
	uint32		buffer;
	uint32		busy;			/* another program held the file */
	int64		apply_us;		/* what the batch took */
} ReleasedMessage;

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
	bool		keyed;			/* the rowid is the key's, as in the target */
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
	List	   *refused;		/* int, per table: rows of one that was filled
								 * that SQLite has refused */
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
extern void message_put_table_ready(StringInfo message, const TableReply *reply);
extern void message_put_batch_end(StringInfo message, const BatchEnd *end,
								  int nkeys);
extern void message_put_reject(StringInfo message, const Reject *reject,
							   int nkeys);
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
extern void message_get_table_ready(StringInfo message, TableReply *reply);
extern void message_get_batch_end(StringInfo message, BatchEnd *end, int nkeys);
extern Reject *message_get_reject(StringInfo message, int nkeys);
extern void message_get_done(StringInfo message, FinishReply *reply);

/* Is the column part of a dimension's natural key? */
extern bool message_is_natural(const TargetTable *table, int column);

/* A name between double quotes, as both databases read it. */
extern char *message_quote_name(const char *name);

#endif							/* LFSYNC_MESSAGE_H */
