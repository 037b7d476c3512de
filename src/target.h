/*-------------------------------------------------------------------------
 *
 * target.h
 *	  All SQL that runs in SQLite.
 *
 * For the writer's rooms only: this header knows sqlite3.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_TARGET_H
#define LFSYNC_TARGET_H

#include <sqlite3.h>

#include "compat.h"
#include "message.h"
#include "port/atomics.h"
#include "progress.h"

/*
 * Where SQLite looks whether it shall go on, and says that it waits.  Set once
 * per process, before the first target_open().
 */
extern void target_init(pg_atomic_uint32 *stop, RunSlot *slot,
						int busy_timeout, const char *temp_directory);

/* True once the run is to stop: flags only, safe in SQLite's callbacks. */
extern bool target_stopping(void);

/* For the signal handler: makes a running statement end. */
extern void target_interrupt(void);

/*
 * Opens a database hardened against its own content, in the way the README's
 * section on security describes.  One connection at a time; the process's exit
 * closes it.  "expected" is what path_open_target() saw; NULL means that nobody
 * else knows the file, and that a crash may damage it.
 */
extern sqlite3 *target_open(const char *path, const TargetPath *expected);
extern void target_close(sqlite3 *db);

/* Closes whatever is open, for exit callbacks: never raises an error. */
extern void target_abandon(void);

/* SQLite's last error as a PostgreSQL error; never returns. */
pg_noreturn extern void target_error(sqlite3 *db, int rc, const char *what);

/* What the last error says, and the SQLSTATE of an extended code. */
extern char *target_message(sqlite3 *db);
extern int	target_sqlstate(int code);

/* The extended code of the last target_error(), 0: none. */
extern int	target_error_code(void);

/* What is left to do with an open database when a run fails; NULL: nothing. */
extern void target_on_abandon(void (*function) (sqlite3 *db));

/* For lfsync_progress: what is being done, and that a lock has been taken. */
extern void target_set_phase(const char *phase);
extern void target_lock_taken(void);

/* Had we to wait for a lock since this was last asked? */
extern bool target_was_busy(void);

/*
 * Statements; "what" completes "SQLite failed while ...".  Results are
 * palloc'd.
 */
extern sqlite3_stmt *target_prepare(sqlite3 *db, const char *sql,
									const char *what);
extern void target_run(sqlite3 *db, const char *sql, const char *what);

/* Text, which is not copied, or NULL; and a statement that returns no row, once. */
extern void target_bind_text(sqlite3_stmt *stmt, int n, const char *text);
extern void target_step(sqlite3 *db, sqlite3_stmt *stmt, const char *what);

/* What such a statement returns, of the row with a rowid. */
extern ImageValue *target_read_key(sqlite3 *db, const TargetTable *table,
								   sqlite3_stmt *stmt, sqlite3_int64 rowid,
								   const char *what);

extern int64 target_query_int(sqlite3 *db, const char *sql, const char *what,
							  int64 missing);
extern char *target_query_text(sqlite3 *db, const char *sql, const char *what);
extern List *target_query_texts(sqlite3 *db, const char *sql,
								const char *bound, const char *what);

/* target_vfs.c */

/* The name of the VFS that a target is opened through. */
extern const char *target_vfs(void);

/* A descriptor of the database, which SQLite does not use; -1: there is none. */
extern int	target_descriptor(sqlite3 *db);

/* target_mapped.c */

/*
 * Between the two the file is read through a mapping; what cannot be read raises
 * 58030, at the end at the latest.  For files that nobody else knows, and for
 * counting.
 */
extern void target_begin_mapped(sqlite3 *db);
extern void target_end_mapped(sqlite3 *db);

/*
 * Has something been found that cannot be read?  Then nothing that SQLite says
 * counts.  The second one raises it.
 */
extern bool target_unreadable(void);
extern void target_check_readable(sqlite3 *db);

/* target_tables.c */

/*
 * Creating an index sorts runs of this size; larger ones were slower in test
 * and take twice as much memory.
 */
#define CACHE_KB			8000

extern const char *const target_state_sql;
extern const char *const target_columns_sql;
extern const char *const target_ranges_sql;

/* False if it is missing; an error if it is not to the letter as we make it. */
extern bool target_own_table_exists(sqlite3 *db, const char *name,
									const char *sql);
extern void target_write_bookkeeping(sqlite3 *db, const FinishRequest *request);

/* Both return or raise what they find; notes are char *. */
extern List *target_create_indexes(sqlite3 *db, const TargetTable *table,
								   const char *table_name,
								   const SyncOptions *options, bool in_place);
extern bool target_has_index(sqlite3 *db, const char *name,
							 const char *table_name);
extern void target_check_count(sqlite3 *db, const char *table_name, int64 rows);
extern void target_check_file(sqlite3 *db, const SyncOptions *options);

/* target_ranges.c */

/*
 * Checksums of ranges (rangesum.h) of a table; NULL if there are none, or
 * somebody has written into the file since.
 */
extern void *target_read_sums(sqlite3 *db, const char *table_name, Size *len);

/* Stores them, as they will be when this transaction has committed. */
extern void target_write_sums(sqlite3 *db, const TargetTable *table);

/* target_objects.c */

/* Indexes and triggers on a table of ours that somebody else made. */
extern List *target_user_objects(sqlite3 *db, const char *table_name);

/* Names and SQL of the indexes that are lfsync's. */
extern List *target_own_indexes(sqlite3 *db, const char *table_name, List **sqls);

/* All indexes that the table has, but for somebody's objects, are lfsync's. */
extern void target_record_indexes(sqlite3 *db, const char *table_name, List *objects);

/* Makes them again on a new table; notes (char *) say what cannot be. */
extern List *target_restore_objects(sqlite3 *db, const TargetTable *table,
									List *objects);

/* target_rejects.c */

/* Is there a table _lfsync_rejects?  All others but add want one. */
extern bool target_has_rejects(sqlite3 *db);

/* Do all columns of a reject's key have a value? */
extern bool target_key_is_complete(const TargetTable *table, const Reject *reject);

/* Rejects of this run. */
extern void target_add_rejects(sqlite3 *db, const TargetTable *table, List *rejects);

/*
 * Forgets all rejects of a table, those of earlier runs, those of earlier runs
 * with these keys, and one; the number of them.
 */
extern void target_forget_rejects(sqlite3 *db, const char *table_name);
extern int64 target_forget_earlier(sqlite3 *db, const char *table_name);
extern int64 target_forget_keys(sqlite3 *db, const char *table_name, List *keys);
extern void target_forget_reject(sqlite3 *db, const TargetTable *table,
								 const Reject *reject);

/* How many this run has added, and how many there are. */
extern void target_count_rejects(sqlite3 *db, const char *table_name,
								 int64 *rejected, int64 *rejects);

/* Their keys, as json. */
extern List *target_reject_keys(sqlite3 *db, const char *table_name);

/* Is this result about a row that a constraint or a limit of SQLite excludes? */
extern bool target_is_refusal(int rc);

/* What the rowid goes by: a column may have taken its name. */
extern const char *target_rowid(const TargetTable *table);

/*
 * Makes a reject of a row, which is something to select from with its rowid as
 * parameter ?1.
 */
extern Reject *target_reject_row(sqlite3 *db, const TargetTable *table,
								 const char *row, sqlite3_int64 rowid,
								 int rc, const char *message);

/*
 * Inserts the rows of an image into a table that is filled, but for those that
 * are refused: they are kept until the table takes them into its rejects.
 */
extern void target_insert_each(sqlite3 *db, const TargetTable *table,
							   const char *into);
extern void target_keep_refused(const char *table_name, Reject *reject);
extern void target_take_refused(TargetTable *table);

/* How many it were. */
extern int	target_refused_count(const char *table_name);

/* target_fit.c */

/*
 * Compares the columns with what a run is about to write, and adds those that
 * are missing.  True if there were some.  Sets whether the columns are exactly
 * those of an image.
 */
extern bool target_fit_columns(sqlite3 *db, const TargetTable *table,
							   const SyncOptions *options, bool *appendable,
							   List **notes);
extern List *target_fit_indexes(sqlite3 *db, const TargetTable *table,
								const SyncOptions *options);

/* target_adopt.c */

/* Raises what keeps a table that somebody else made from being written to. */
extern void target_check_adopted(sqlite3 *db, const TargetTable *table);

/* target_examine.c */

/*
 * Looks at an existing file: may these tables be written, and how?  Raises
 * 42P07 and the like if they may not.
 */
extern void target_examine(const TargetPath *target, const OpenRequest *request,
						   OpenReply *reply);

/*
 * The same for one table, once more in the transaction that replaces it.  True
 * if it is there, and somebody else has made it.
 */
extern bool target_examine_table(sqlite3 *db, const char *name, bool have_state,
								 ExistingTable existing);

/*
 * Has somebody made or dropped a table or the like since target_examine()?  It
 * would be lost with the old content.  Asks the connection, or where there is
 * none (db NULL) the header of a file that nobody else has open.
 */
extern bool target_schema_changed(sqlite3 *db, int fd);
pg_noreturn extern void target_refuse_changed(const char *path);

/* target_build.c */

/* An image of rows that came too late for their page. */
typedef struct LateRows
{
	char	   *table_name;
	void	   *image;
	sqlite3_int64 size;
	int64		nrows;
} LateRows;

/*
 * A file built from pages: inserts late rows, fills the automatic indexes,
 * creates the others, writes lfsync's own tables, checks.  Returns notes
 * (char *).
 */
extern List *target_complete(const char *path, const SyncOptions *options,
							 const FinishRequest *request, List *late);

/* The same for one that was filled by SQL; closes it. */
extern List *target_complete_filled(sqlite3 *db, const SyncOptions *options,
									const FinishRequest *request);

/* Settings for a file that a run which fails throws away. */
extern void target_prepare_unseen(sqlite3 *db, const SyncOptions *options);

/* Copies a finished database over another one in one transaction. */
extern void target_copy_over(const char *from, const TargetPath *target,
							 const SyncOptions *options);

/* target_in_place.c */

/* What a table is called until it is complete: with as many digits behind it. */
#define HIDDEN_PREFIX		LFSYNC_TABLE_PREFIX "new_"
#define HIDDEN_DIGITS		8

/*
 * Tables in a file that holds others: filled under hidden names, batch by
 * batch, and put in place of the old ones in one transaction.
 */
extern void target_begin_in_place(sqlite3 *db, const SyncOptions *options);

/* The same in a new file, which target_complete_filled() completes. */
extern void target_begin_new(sqlite3 *db, const SyncOptions *options);

/* The same for a run that only looks. */
extern void target_begin_verify(sqlite3 *db);
/* A transaction that holds the file's write lock from here on, and its end. */
extern void target_begin_write(sqlite3 *db);
extern void target_commit(sqlite3 *db);

/* A batch's image as database "image", outside of transactions. */
extern void target_attach_image(sqlite3 *db, void *image, sqlite3_int64 size);
extern void target_detach_image(sqlite3 *db);

extern void target_begin_table(sqlite3 *db, const TargetTable *table);
extern void target_apply_image(sqlite3 *db, const TargetTable *table,
							   const SyncOptions *options, void *image,
							   sqlite3_int64 size, int64 nrows);
extern List *target_swap(sqlite3 *db, const SyncOptions *options,
						 const FinishRequest *request);

/* The name under which a table is filled. */
extern char *target_filled_name(const char *name);

/* target_dimensions.c */

/*
 * Images that follow bring, with the rows of this table, those of the tables
 * that it refers to.
 */
extern void target_begin_dimensions(sqlite3 *db, const TargetTable *rows);

/*
 * The rows of an image's dimensions go where they belong, before the rows that
 * refer to them.  "merging": all rows of the source come by.
 */
extern void target_apply_dimensions(sqlite3 *db, bool merging);

/*
 * An image's rows, as something to select from: references are keys.  One of
 * them, whose rowid is the parameter ?1; those from ?1 to ?2; and all the
 * rowids.
 */
extern char *target_image_rows(const TargetTable *table);
extern char *target_image_row(const TargetTable *table);
extern char *target_image_piece(const TargetTable *table);
extern char *target_image_rowids(const TargetTable *table);

/*
 * The first and the last batch of a merge or of a comparison, and the first one
 * when it comes round to the keys before those that it began with.
 */
extern void target_begin_merging(sqlite3 *db);
extern void target_come_round(sqlite3 *db);
extern void target_end_merging(sqlite3 *db);

/* What has become of a dimension, but for one that batches have counted. */
extern void target_count_dimension(sqlite3 *db, int n, TableCounts *counts);

/* target_extras.c */

/* Of a row "object" of sqlite_schema: it is none of these, and no part of one. */
extern const char *const target_not_ours_condition;

/*
 * Makes a table's full-text index and view, and drops an index that is not
 * wanted any more.  is_new: all its rows are.
 */
extern void target_fit_extras(sqlite3 *db, const TargetTable *table, bool is_new);

/*
 * Rows of a table with a full-text index that are about to change: note their
 * keys, take those that are there out of the index, change them, and put in
 * those that are there then.
 */
#define TARGET_NOTE_CHANGED	"INSERT OR IGNORE INTO temp.lfsync_changed"

extern void target_begin_fts(sqlite3 *db);
extern void target_note_changed(sqlite3 *db, const char *select);
extern void target_unindex_changed(sqlite3 *db, const TargetTable *table);
extern void target_index_changed(sqlite3 *db, const TargetTable *table);
extern void target_forget_changed(sqlite3 *db);

/* The same for one row that goes, if it is not noted, and one that has come. */
extern void target_unindex_row(sqlite3 *db, const TargetTable *table, sqlite3_int64 key);
extern void target_index_row(sqlite3 *db, const TargetTable *table, sqlite3_int64 key);

/* A condition: of two rows the indexed columns, behind prefixes, differ. */
extern char *target_fts_differs(const TargetTable *table, const char *a,
								const char *b);

/* target_sql.c */

/*
 * A column's name where it is compared.  In an adopted table it may compare
 * otherwise than byte by byte, and would hide an update from us.
 */
extern char *target_sql_column(const TargetTable *table, int column);

/* "a", "b" of the key, in its order. */
extern char *target_sql_keys(const TargetTable *table);

/* Writes what is missing or different of the rows to select from "from". */
extern char *target_sql_upsert(const TargetTable *table, const char *from);

/* Rows of the image that the table lacks, and those that it has otherwise. */
extern char *target_sql_compare(const TargetTable *table);

/* The key of one row of an image, whose rowid is the parameter ?1. */
extern char *target_sql_image_key(const TargetTable *table, const char *row);

/* The condition of a range, with its values as parameters. */
extern char *target_sql_in_range(const TargetTable *table, const BatchEnd *end);

/* target_sync.c */

/*
 * The table that batches arrive for from now on: kept in sync where it is, or
 * compared.  Adds columns and indexes that are missing; raises 42804 where it
 * does not fit.
 */
extern void target_begin_sync(sqlite3 *db, const TargetTable *table,
							  const SyncOptions *options, TableReply *reply);

/*
 * Applies a batch; image NULL: a range without rows.  True if there was anything
 * to write.
 */
extern bool target_sync_batch(sqlite3 *db, void *image, sqlite3_int64 size,
							  int64 nrows, bool keyed, const BatchEnd *end);

/*
 * Raises 55006 if somebody else has written the table since our last batch, if
 * it is the one that batches arrived for last.  Under the write lock it stays
 * true.
 */
extern void target_check_generation(sqlite3 *db, const TargetTable *table);

/* A reject of the runner (MESSAGE_REJECT): it goes with the next batch. */
extern void target_reject(StringInfo message);

/* Rows with these keys have been among the last batches, if they are still there. */
extern void target_retried(sqlite3 *db, List *keys);

/*
 * Over all batches of this table so far; its dimensions' counts follow.  Were
 * they the complete source, so that rejects of earlier runs say nothing any more?
 */
extern void target_sync_counts(sqlite3 *db, const TargetTable *table,
							   bool complete, TableCounts *counts);

/* No more batches: gives the statements back. */
extern void target_end_sync(sqlite3 *db);

#endif							/* LFSYNC_TARGET_H */
