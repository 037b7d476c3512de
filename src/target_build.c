/*-------------------------------------------------------------------------
 *
 * target_build.c
 *	  Completing a file that was built from pages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target.h"

static void
insert_late(sqlite3 *db, const LateRows *late)
{
	int			rc = sqlite3_deserialize(db, "image", late->image, late->size,
										 late->size, SQLITE_DESERIALIZE_READONLY);

	if (rc != SQLITE_OK)
		target_error(db, rc, "reading late rows");
	target_run(db, psprintf("INSERT INTO main.%s SELECT * FROM image.%s",
							message_quote_name(late->table_name),
							message_quote_name(late->table_name)),
			   "inserting late rows");
	if (sqlite3_changes64(db) != late->nrows)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg(INT64_FORMAT " late rows arrived as %lld", late->nrows,
						(long long) sqlite3_changes64(db))));
}

void
target_prepare_unseen(sqlite3 *db)
{
	target_run(db, psprintf("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
							"PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -%d",
							CACHE_KB),
			   "preparing the file");
}

/* What is left to do when all rows are there; closes the file. */
static List *
complete(sqlite3 *db, const SyncOptions *options, const FinishRequest *request,
		 bool from_pages)
{
	List	   *notes = NIL;
	ListCell   *lc;

	target_run(db, "BEGIN", "beginning a transaction");
	target_set_phase("creating indexes");
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		if (options->check != CHECK_NONE)
			target_check_count(db, table->name, table->rows);
		if (from_pages && table->auto_index)
			target_run(db, psprintf("REINDEX %s", message_quote_name(table->name)),
					   "creating the index of the primary key");
		notes = list_concat(notes, target_create_indexes(db, table, table->name, false));
	}
	target_write_bookkeeping(db, request);
	foreach(lc, request->tables)
		target_fit_extras(db, (TargetTable *) lfirst(lc), true);
	target_run(db, "COMMIT", "completing the file");

	target_set_phase("checking");
	target_check_file(db, options);
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

	target_prepare_unseen(db);
	if (late != NIL)
	{
		target_run(db, "ATTACH ':memory:' AS image", "preparing the file");
		foreach(lc, late)
			insert_late(db, (LateRows *) lfirst(lc));
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
