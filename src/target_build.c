/*-------------------------------------------------------------------------
 *
 * target_build.c
 *	  Completing a file that was built from pages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lfsync.h"
#include "target.h"

static void
insert_late(sqlite3 *db, const FinishRequest *request, const LateRows *late, bool skip)
{
	const TargetTable *table = NULL;
	char	   *into = psprintf("main.%s", message_quote_name(late->table_name));
	ListCell   *lc;
	int			rc = sqlite3_deserialize(db, "image", late->image, late->size,
										 late->size, SQLITE_DESERIALIZE_READONLY);

	if (rc != SQLITE_OK)
		target_error(db, rc, "reading late rows");
	foreach(lc, request->tables)
	{
		if (strcmp(((TargetTable *) lfirst(lc))->name, late->table_name) == 0)
			table = (TargetTable *) lfirst(lc);
	}
	rc = sqlite3_exec(db, psprintf("INSERT INTO %s SELECT * FROM %s", into, target_image_rows(table)),
					  NULL, NULL, NULL);
	if (skip && target_is_refusal(rc))
		target_insert_each(db, table, into);
	else if (rc != SQLITE_OK)
		target_error(db, rc, "inserting late rows");
	else if (sqlite3_changes64(db) != late->nrows)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg(INT64_FORMAT " late rows arrived as %lld", late->nrows,
						(long long) sqlite3_changes64(db))));
}

/* Only a statement that may fail alone has to leave the file as it was. */
void
target_prepare_unseen(sqlite3 *db, const SyncOptions *options)
{
	target_run(db, psprintf("PRAGMA journal_mode = %s; PRAGMA synchronous = OFF; "
							"PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -%d",
							options->on_row_error == ROW_ERROR_SKIP ? "MEMORY" : "OFF",
							CACHE_KB),
			   "preparing the file");
}

#define DUPLICATES	"\"" LFSYNC_TABLE_PREFIX "duplicates\""

/*
 * Rows whose key comes twice are left out.  SQLite deletes no row from a table
 * whose index lacks it, so the others move to a new table.
 */
static void
leave_out_duplicates(sqlite3 *db, TargetTable *table, int code)
{
	static const char what[] = "leaving out rows whose key comes twice";
	const char *name = message_quote_name(table->name);
	const char *rowid = target_rowid(table);
	char	   *row = psprintf("main." DUPLICATES " NOT INDEXED WHERE %s = ?1", rowid);
	char	   *message = target_message(db);
	StringInfoData columns;
	sqlite3_stmt *stmt;
	int			rc;

	initStringInfo(&columns);
	appendStringInfoString(&columns, rowid);
	for (int i = 0; i < table->ncolumns; i++)
		appendStringInfo(&columns, ", %s", message_quote_name(table->columns[i].name));
	target_run(db, psprintf("ALTER TABLE main.%s RENAME TO " DUPLICATES "; "
							"CREATE TABLE main.%s (%s)%s; "
							"INSERT OR IGNORE INTO main.%s (%s) SELECT %s FROM main." DUPLICATES " NOT INDEXED ORDER BY 1",
							name, name, table->body, table->strict ? " STRICT" : "",
							name, columns.data, columns.data), what);
	stmt = target_prepare(db, psprintf("SELECT %s FROM main." DUPLICATES " NOT INDEXED "
									   "WHERE %s NOT IN (SELECT %s FROM main.%s NOT INDEXED)",
									   rowid, rowid, rowid, name), what);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
		target_keep_refused(table->name,
							target_reject_row(db, table, row, sqlite3_column_int64(stmt, 0), code, message));
	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(stmt);
	target_take_refused(table);
	target_run(db, "DROP TABLE main." DUPLICATES, what);
}

/* True if rows had to be left out. */
static bool
index_key(sqlite3 *db, TargetTable *table, bool skip)
{
	int			rc = sqlite3_exec(db, psprintf("REINDEX %s", message_quote_name(table->name)),
								  NULL, NULL, NULL);

	if (rc == SQLITE_OK)
		return false;
	if (!skip || !target_is_refusal(rc))
		target_error(db, rc, "creating the index of the primary key");
	leave_out_duplicates(db, table, rc);
	return true;
}

/* What is left to do when all rows are there; closes the file. */
static List *
complete(sqlite3 *db, const SyncOptions *options, const FinishRequest *request,
		 bool from_pages)
{
	bool		skip = options->on_row_error == ROW_ERROR_SKIP;
	bool		moved = false;
	List	   *notes = NIL;
	ListCell   *lc;

	target_begin_mapped(db);
	target_run(db, "BEGIN", "beginning a transaction");
	target_set_phase("creating indexes");
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		target_take_refused(table);
		if (options->check != CHECK_NONE)
			target_check_count(db, table->name, table->rows);
		if (from_pages && table->auto_index && index_key(db, table, skip))
			moved = true;
		notes = list_concat(notes, target_create_indexes(db, table, table->name, options, false));
	}
	target_write_bookkeeping(db, request);
	foreach(lc, request->tables)
		target_fit_extras(db, (TargetTable *) lfirst(lc), true);
	target_run(db, "COMMIT", "completing the file");
	if (moved)
		target_run(db, "VACUUM", "completing the file");

	target_set_phase("checking");
	target_check_file(db, options);
	target_end_mapped(db);
	if (options->journal_mode == JOURNAL_WAL)
		target_run(db, "PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = WAL",
				   "switching to WAL");
	target_close(db);
	return notes;
}

List *
target_complete(const char *path, const SyncOptions *options,
				const FinishRequest *request, List *late)
{
	sqlite3    *db = target_open(path, NULL);
	ListCell   *lc;

	target_prepare_unseen(db, options);
	if (late != NIL)
	{
		target_run(db, "ATTACH ':memory:' AS image", "preparing the file");
		foreach(lc, late)
			insert_late(db, request, (LateRows *) lfirst(lc),
						options->on_row_error == ROW_ERROR_SKIP);
		target_run(db, "DETACH image", "letting go of late rows");
	}
	return complete(db, options, request, true);
}

List *
target_complete_filled(sqlite3 *db, const SyncOptions *options,
					   const FinishRequest *request)
{
	target_run(db, "DETACH image", "letting go of batches");
	return complete(db, options, request, false);
}

/*
 * The pages of one database into another, as one transaction of the other.
 */
void
target_copy_over(const char *from, const TargetPath *target,
				 const SyncOptions *options)
{
	sqlite3    *source;
	sqlite3    *db;
	sqlite3_backup *backup;
	int			rc;

	db = target_open(target->path, target);
	if (target_schema_changed(db, -1))
		target_refuse_changed(target->path);
	target_run(db, psprintf("PRAGMA synchronous = %s",
							options->synchronous == SYNCHRONOUS_EXTRA ? "EXTRA" :
							options->synchronous == SYNCHRONOUS_FULL ? "FULL" : "NORMAL"),
			   "preparing the file");
	rc = sqlite3_open_v2(from, &source,
						 SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW |
						 SQLITE_OPEN_NOMUTEX, "unix");
	backup = rc == SQLITE_OK ? sqlite3_backup_init(db, "main", source, "main") : NULL;
	if (backup)
	{
		/* a step that meets a lock has waited in the busy handler */
		while ((rc = sqlite3_backup_step(backup, 1000)) == SQLITE_OK)
		{
			if (target_stopping())
			{
				rc = SQLITE_INTERRUPT;
				break;
			}
		}
		target_lock_taken();
		sqlite3_backup_finish(backup);
	}
	else
		rc = sqlite3_errcode(db);
	sqlite3_close(source);
	if (rc != SQLITE_DONE)
		target_error(db, rc, "copying over the old content");
	target_close(db);
}
