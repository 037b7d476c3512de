/*-------------------------------------------------------------------------
 *
 * target_in_place.c
 *	  Tables in a file that holds others.
 *
 * They are filled under hidden names, one transaction per batch, and put in the
 * place of the old ones in one transaction at the end.  A new file that cannot
 * be built from pages is filled in the same way, but that nobody sees it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/file.h>

#include "common/pg_prng.h"
#include "lfsync.h"
#include "miscadmin.h"
#include "target.h"
#include "utils/timestamp.h"

#define HIDDEN_TABLES \
	"SELECT name FROM main.sqlite_schema WHERE type = 'table' " \
	"AND name LIKE '\\_lfsync\\_new\\_%' ESCAPE '\\'"

/*
 * The pages of a batch of the usual size, and some: before it may write one that
 * has no room, SQLite syncs the journal.
 */
#define BATCH_CACHE_KB	10000

/* Of this run, so that it never mistakes another server's tables for its own. */
static uint32 hidden_number;

/* A query for the tables that this run fills. */
static char own_tables[128];

/*
 * A journal that stays after each transaction, with a header of zeros, rather
 * than being removed, saves the directory's share of every fsync, and that of a
 * file that grows.  At the end it goes.
 */
static bool keeps_journal = false;

static void
remove_journal(sqlite3 *db)
{
	if (keeps_journal)
		sqlite3_exec(db, "PRAGMA main.journal_mode = DELETE", NULL, NULL, NULL);
}

/* What cannot be dropped now, the next run will drop. */
static void
drop_hidden_tables(sqlite3 *db)
{
	for (;;)
	{
		sqlite3_stmt *stmt;
		char	   *drop = NULL;

		if (sqlite3_prepare_v2(db, own_tables, -1, &stmt, NULL) != SQLITE_OK)
			return;
		if (sqlite3_step(stmt) == SQLITE_ROW)
			drop = sqlite3_mprintf("DROP TABLE main.\"%w\"", sqlite3_column_text(stmt, 0));
		sqlite3_finalize(stmt);
		if (drop == NULL || sqlite3_exec(db, drop, NULL, NULL, NULL) != SQLITE_OK)
		{
			sqlite3_free(drop);
			return;
		}
		sqlite3_free(drop);
	}
}

static void
drop_hidden(sqlite3 *db)
{
	sqlite3_exec(db, "DETACH image", NULL, NULL, NULL);
	drop_hidden_tables(db);
	remove_journal(db);
}

/*
 * Is there no other run with tables of its own to fill?  That can only be one of
 * another server.  To be asked under the file's write lock; from here on others
 * know of this run.
 *
 * By a lock of flock(2), since SQLite has those of fcntl(2).  On a file system
 * without such locks a run that loses its tables says so.
 */
static bool
no_other_fills(sqlite3 *db)
{
	int			fd = target_descriptor(db);
	bool		alone;

	if (fd < 0)
		return false;
	alone = flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
	(void) flock(fd, LOCK_SH | LOCK_NB);
	return alone;
}

/* Has nobody taken this run's tables for leftovers? */
static void
check_own_tables(sqlite3 *db)
{
	if (target_query_text(db, own_tables, "reading its schema") == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the file is being written by somebody else"),
				 errdetail("The tables that this run was filling have been dropped."),
				 errhint("Another server may write into the same file, on a file system without flock(): give it a file of its own.")));
}

/* What interrupted runs have left. */
static void
drop_leftovers(sqlite3 *db)
{
	List	   *names = target_query_texts(db, HIDDEN_TABLES, NULL, "reading its schema");
	ListCell   *lc;

	foreach(lc, names)
		target_run(db, psprintf("DROP TABLE %s", message_quote_name((char *) lfirst(lc))),
				   "removing what an interrupted run has left");
}

/* Does nobody see the file yet? */
static bool is_new = false;

char *
target_filled_name(const char *name)
{
	if (is_new)
		return pstrdup(name);
	return psprintf("%s%0*x_%s", HIDDEN_PREFIX, HIDDEN_DIGITS, hidden_number, name);
}

void
target_begin_write(sqlite3 *db)
{
	int			rc;

	/*
	 * Not BEGIN IMMEDIATE, which fails while a read-only image is attached. A
	 * write that changes nothing takes the lock just as well, and waits for
	 * it in the busy handler.
	 */
	target_run(db, "BEGIN", "beginning a transaction");
	rc = sqlite3_exec(db, "DELETE FROM main._lfsync_state WHERE 0", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		target_error(db, rc, "locking the file");
	target_lock_taken();
}

void
target_commit(sqlite3 *db)
{
	int			rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);

	/* a reader may hold up a COMMIT; the busy handler has waited for it */
	if (rc != SQLITE_OK)
		target_error(db, rc, "committing");
	target_lock_taken();
}

static void
attach_images(sqlite3 *db)
{
	target_run(db, psprintf("PRAGMA cache_size = -%d; ATTACH ':memory:' AS image", BATCH_CACHE_KB),
			   "preparing the file");
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
}

void
target_begin_verify(sqlite3 *db)
{
	attach_images(db);
}

void
target_begin_in_place(sqlite3 *db, const SyncOptions *options)
{
	static const char *const synchronous[] = {"EXTRA", "FULL", "NORMAL"};
	char	   *mode;
	pg_prng_state prng;

	pg_prng_seed(&prng, GetCurrentTimestamp() ^ ((uint64) MyProcPid << 32));
	hidden_number = pg_prng_uint32(&prng);
	snprintf(own_tables, sizeof(own_tables),
			 "SELECT name FROM main.sqlite_schema WHERE type = 'table' "
			 "AND name GLOB '" HIDDEN_PREFIX "%0*x_*'",
			 HIDDEN_DIGITS, hidden_number);

	attach_images(db);
	target_run(db, psprintf("PRAGMA synchronous = %s", synchronous[options->synchronous]),
			   "preparing the file");
	/* in WAL mode there is none, and the mode is its owner's to choose */
	mode = target_query_text(db, "PRAGMA main.journal_mode", "preparing the file");
	keeps_journal = mode != NULL && strcmp(mode, "delete") == 0;
	target_on_abandon(remove_journal);
	if (keeps_journal)
		target_run(db, "PRAGMA main.journal_mode = PERSIST", "preparing the file");

	target_run(db, "BEGIN IMMEDIATE", "locking the file");
	if (!target_own_table_exists(db, "_lfsync_state", target_state_sql))
		target_run(db, target_state_sql, "writing lfsync's own tables");
	if (no_other_fills(db))
		drop_leftovers(db);
	target_commit(db);
	target_on_abandon(drop_hidden);
}

void
target_begin_new(sqlite3 *db, const SyncOptions *options)
{
	is_new = true;
	target_run(db, psprintf("PRAGMA page_size = %d", options->page_size), "preparing the file");
	target_prepare_unseen(db, options);
	attach_images(db);
	target_run(db, target_state_sql, "writing lfsync's own tables");
}

static void
create_filled(sqlite3 *db, const TargetTable *table)
{
	if (table->rowless)
		return;
	target_run(db, psprintf("CREATE TABLE main.%s (%s)%s",
							message_quote_name(target_filled_name(table->name)),
							table->body, table->strict ? " STRICT" : ""),
			   "creating a table");
}

void
target_begin_table(sqlite3 *db, const TargetTable *table)
{
	ListCell   *lc;

	target_begin_write(db);
	foreach(lc, table->dimensions)
		create_filled(db, (TargetTable *) lfirst(lc));
	create_filled(db, table);
	target_commit(db);
	target_begin_dimensions(db, table);
}

void
target_attach_image(sqlite3 *db, void *image, sqlite3_int64 size)
{
	int			rc = sqlite3_deserialize(db, "image", image, size, size,
										 SQLITE_DESERIALIZE_READONLY);

	if (rc != SQLITE_OK)
		target_error(db, rc, "reading a batch");
}

/* Its memory goes back: an empty image, so that nobody reads it again. */
void
target_detach_image(sqlite3 *db)
{
	int			rc = sqlite3_deserialize(db, "image", NULL, 0, 0,
										 SQLITE_DESERIALIZE_READONLY);

	if (rc != SQLITE_OK)
		target_error(db, rc, "letting go of a batch");
}

static void
insert_rows(sqlite3 *db, const TargetTable *table, const SyncOptions *options,
			int64 nrows)
{
	char	   *into = psprintf("main.%s", message_quote_name(target_filled_name(table->name)));

	/* nothing but these words lets SQLite copy whole records */
	int			rc = sqlite3_exec(db, psprintf("INSERT INTO %s SELECT * FROM %s", into,
											   target_image_rows(table)),
								  NULL, NULL, NULL);

	if (options->on_row_error == ROW_ERROR_SKIP && target_is_refusal(rc))
		target_insert_each(db, table, into);
	else if (rc != SQLITE_OK)
		target_error(db, rc, "inserting rows");
	else if (sqlite3_changes64(db) != nrows)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a batch of " INT64_FORMAT " rows arrived as %lld", nrows,
						(long long) sqlite3_changes64(db))));
}

void
target_apply_image(sqlite3 *db, const TargetTable *table, const SyncOptions *options,
				   void *image, sqlite3_int64 size, int64 nrows)
{
	/* deserialize outside of transactions, one image in each */
	target_attach_image(db, image, size);
	target_begin_write(db);
	if (!is_new)
		check_own_tables(db);
	target_apply_dimensions(db, false);
	if (!table->rowless)
		insert_rows(db, table, options, nrows);
	target_commit(db);
	target_detach_image(db);
}

/*
 * The new tables in the place of the old ones, with what others had hung on
 * those.
 */
static List *
replace_tables(sqlite3 *db, const FinishRequest *request)
{
	List	   *notes = NIL;
	List	   *objects = NIL;
	ListCell   *lc;
	ListCell   *theirs;

	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		if (table->apply != APPLY_FILL)
		{
			if (table->position)
				target_check_generation(db, table);
			objects = lappend(objects, NIL);
			continue;
		}
		/* somebody may have made one of this name in the meantime */
		(void) target_examine_table(db, table->name, true, EXISTING_OWN);
		objects = lappend(objects, target_user_objects(db, table->name));
		/* legacy_alter_table is on: views that name the table stay as they are */
		target_run(db, psprintf("DROP TABLE IF EXISTS main.%s; ALTER TABLE main.%s RENAME TO %s",
								message_quote_name(table->name),
								message_quote_name(target_filled_name(table->name)),
								message_quote_name(table->name)),
				   "putting the new table in place");
	}
	target_write_bookkeeping(db, request);
	forboth(lc, request->tables, theirs, objects)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		notes = list_concat(notes, target_restore_objects(db, table, (List *) lfirst(theirs)));
		if (table->apply == APPLY_FILL)
			target_fit_extras(db, table, true);
	}
	return notes;
}

List *
target_swap(sqlite3 *db, const SyncOptions *options,
			const FinishRequest *request)
{
	List	   *notes = NIL;
	ListCell   *lc;
	bool		work = false;

	target_set_phase("creating indexes");
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);
		char	   *hidden = target_filled_name(table->name);

		work = work || table->apply == APPLY_FILL || table->position != NULL;
		if (table->apply != APPLY_FILL)
			continue;
		check_own_tables(db);
		target_take_refused(table);
		if (options->check != CHECK_NONE)
		{
			target_begin_mapped(db);
			target_check_count(db, hidden, table->rows);
			target_end_mapped(db);
		}
		target_begin_write(db);
		notes = list_concat(notes, target_create_indexes(db, table, hidden, options, true));
		target_commit(db);
	}

	if (!work)
	{
		remove_journal(db);
		target_on_abandon(NULL);
		return NIL;
	}

	target_set_phase("publishing");
	target_begin_write(db);
	notes = list_concat(notes, replace_tables(db, request));

	/* what does not pass is not published */
	target_set_phase("checking");
	target_check_file(db, options);
	target_set_phase("publishing");
	target_commit(db);
	remove_journal(db);
	target_on_abandon(NULL);
	return notes;
}
