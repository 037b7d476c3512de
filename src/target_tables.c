/*-------------------------------------------------------------------------
 *
 * target_tables.c
 *	  What every table of a target gets: bookkeeping, indexes, checks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lfsync.h"
#include "target.h"

/*
 * The text is compared with what a file holds: a file whose bookkeeping looks
 * different is not ours to touch.
 */
const char *const target_state_sql =
"CREATE TABLE _lfsync_state (table_name TEXT PRIMARY KEY NOT NULL, job TEXT, "
"mode TEXT NOT NULL, source TEXT NOT NULL, source_fingerprint TEXT, "
"owner TEXT NOT NULL, system_identifier TEXT NOT NULL, timeline INTEGER, "
"database TEXT NOT NULL, position TEXT, generation INTEGER NOT NULL, "
"rows INTEGER NOT NULL, updated_at TEXT NOT NULL, lfsync_version TEXT NOT NULL, "
"indexes TEXT, adopted INTEGER NOT NULL)";

const char *const target_columns_sql =
"CREATE TABLE _lfsync_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL, "
"ordinal INTEGER NOT NULL, source_expression TEXT, source_type TEXT, "
"sqlite_type TEXT, comment TEXT, PRIMARY KEY (table_name, column_name))";

/* The SQL that made one of lfsync's own tables must be ours to the letter. */
bool
target_own_table_exists(sqlite3 *db, const char *name, const char *sql)
{
	char	   *found = target_query_text(db, psprintf("SELECT coalesce(sql, '') FROM sqlite_schema WHERE name = '%s' COLLATE NOCASE", name),
										  "reading its schema");

	if (found == NULL)
		return false;
	if (strcmp(found, sql) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" of the file is not as lfsync makes it", name),
				 errdetail("Somebody has changed it, or another version of lfsync made it."),
				 errhint("Choose another file, or remove this one.")));
	return true;
}

/* The rows of _lfsync_state and _lfsync_columns for the tables of a run. */
void
target_write_bookkeeping(sqlite3 *db, const FinishRequest *request)
{
	static const char what[] = "writing lfsync's own tables";
	sqlite3_stmt *forget;
	sqlite3_stmt *state;
	sqlite3_stmt *column;
	ListCell   *lc;

	if (!target_own_table_exists(db, "_lfsync_state", target_state_sql))
		target_run(db, target_state_sql, what);
	if (!target_own_table_exists(db, "_lfsync_columns", target_columns_sql))
		target_run(db, target_columns_sql, what);

	forget = target_prepare(db, "DELETE FROM _lfsync_columns WHERE table_name = ?1 COLLATE NOCASE", what);
	state = target_prepare(db, "INSERT INTO _lfsync_state VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?11, 1, coalesce(?10, 0), "
						   "strftime('%Y-%m-%d %H:%M:%f', 'now'), '" LFSYNC_VERSION "', NULL, ?12) "
						   "ON CONFLICT (table_name) DO UPDATE SET job = ?2, mode = ?3, source = ?4, "
						   "source_fingerprint = ?5, owner = ?6, system_identifier = ?7, timeline = ?8, "
						   "database = ?9, position = ?11, generation = generation + 1, rows = coalesce(?10, rows), "
						   "updated_at = excluded.updated_at, lfsync_version = excluded.lfsync_version, adopted = ?12", what);
	column = target_prepare(db, "INSERT INTO _lfsync_columns VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", what);
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		if (table->apply != APPLY_FILL && table->position == NULL)
			continue;			/* it is as it was */
		target_write_sums(db, table);
		target_bind_text(forget, 1, table->name);
		target_step(db, forget, what);

		target_bind_text(state, 1, table->name);
		target_bind_text(state, 2, request->identity.job);
		target_bind_text(state, 3, request->identity.mode);
		target_bind_text(state, 4, table->source);
		target_bind_text(state, 5, table->fingerprint);
		target_bind_text(state, 6, request->identity.owner);
		target_bind_text(state, 7, request->identity.system_identifier);
		sqlite3_bind_int(state, 8, request->identity.timeline);
		target_bind_text(state, 9, request->identity.database);
		if (table->rows >= 0)
			sqlite3_bind_int64(state, 10, table->rows);
		else
			sqlite3_bind_null(state, 10);
		target_bind_text(state, 11, table->position);
		sqlite3_bind_int(state, 12, table->adopted);
		target_step(db, state, what);
		if (table->apply == APPLY_FILL)
		{
			target_record_indexes(db, table->name, NIL);
			target_forget_rejects(db, table->name);
			target_add_rejects(db, table, table->rejects);
		}

		/* the table's own entry, with its comment, stands at ordinal 0 */
		for (int i = -1; i < table->ncolumns; i++)
		{
			TargetColumn *c = i < 0 ? NULL : &table->columns[i];

			target_bind_text(column, 1, table->name);
			target_bind_text(column, 2, c ? c->name : "");
			sqlite3_bind_int(column, 3, i + 1);
			target_bind_text(column, 4, c ? c->expression : NULL);
			target_bind_text(column, 5, c ? c->source_type : NULL);
			target_bind_text(column, 6, c ? c->sqlite_type : NULL);
			target_bind_text(column, 7, c ? c->comment : table->comment);
			target_step(db, column, what);
		}
	}
	sqlite3_finalize(forget);
	sqlite3_finalize(state);
	sqlite3_finalize(column);
}

/* A name that nothing in the file has yet: tables and indexes share them. */
static char *
free_name(sqlite3 *db, const char *wanted)
{
	char	   *name = pstrdup(wanted);

	for (int n = 2;; n++)
	{
		char	   *quoted = sqlite3_mprintf("%Q", name);
		int64		taken = target_query_int(db, psprintf("SELECT 1 FROM sqlite_schema WHERE name = %s COLLATE NOCASE", quoted),
											 "reading its schema", 0);

		sqlite3_free(quoted);
		if (!taken)
			return name;
		name = psprintf("%s_%d", wanted, n);
	}
}

/* Has the table an index of this name? */
bool
target_has_index(sqlite3 *db, const char *name, const char *table_name)
{
	char	   *sql = sqlite3_mprintf("SELECT 1 FROM sqlite_schema WHERE type = 'index' "
									  "AND name = %Q COLLATE NOCASE AND tbl_name = %Q COLLATE NOCASE",
									  name, table_name);
	bool		found = target_query_int(db, sql, "reading its schema", 0) != 0;

	sqlite3_free(sql);
	return found;
}

static int
create_index(sqlite3 *db, const char *name, const char *table_name,
			 const TargetIndex *index, bool unique)
{
	return sqlite3_exec(db, psprintf("CREATE %sINDEX %s ON %s (%s)", unique ? "UNIQUE " : "",
									 message_quote_name(name),
									 message_quote_name(table_name), index->columns),
						NULL, NULL, NULL);
}

/*
 * Indexes of one table.  In a table that is synced in place uniqueness beyond
 * the key is not kept: two rows that swap a value would fail for ever.
 */
List *
target_create_indexes(sqlite3 *db, const TargetTable *table, const char *table_name,
					  const SyncOptions *options, bool in_place)
{
	List	   *notes = NIL;
	ListCell   *lc;

	foreach(lc, table->indexes)
	{
		TargetIndex *index = (TargetIndex *) lfirst(lc);
		char	   *name = free_name(db, index->name);
		bool		unique = index->unique && !in_place;
		int			rc;

		/* in place the old table still has its own, and goes with it */
		if (strcmp(name, index->name) != 0 &&
			!(in_place && target_has_index(db, index->name, table->name)))
			notes = lappend(notes, psprintf("index %s is named %s: the name was taken",
											index->name, name));
		if (in_place && index->unique)
			notes = lappend(notes, psprintf("index %s is carried without UNIQUE: the table is kept in place",
											index->name));
		rc = create_index(db, name, table_name, index, unique);
		if (rc == SQLITE_CONSTRAINT_UNIQUE && options->on_row_error == ROW_ERROR_SKIP)
		{
			/* no reason to leave out rows that the table can hold */
			notes = lappend(notes, psprintf("index %s is carried without UNIQUE: rows are alike as SQLite holds them",
											index->name));
			rc = create_index(db, name, table_name, index, false);
		}
		if (rc != SQLITE_OK)
			target_error(db, rc, "creating an index");
	}
	return notes;
}

void
target_check_count(sqlite3 *db, const char *table_name, int64 rows)
{
	/* an index may be what is still empty, and would be counted instead */
	int64		found = target_query_int(db, psprintf("SELECT count(*) FROM main.%s NOT INDEXED",
													  message_quote_name(table_name)),
										 "counting the rows", -1);

	target_check_readable(db);
	if (found != rows)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" has " INT64_FORMAT " rows in the file, but " INT64_FORMAT " were sent",
						table_name, found, rows),
				 errhint("This is a fault of lfsync or of the storage; nothing was published. Please report it.")));
}

static void
check_pragma(sqlite3 *db, const char *pragma)
{
	char	   *answer = target_query_text(db, psprintf("PRAGMA main.%s(1)", pragma), "checking the file");

	target_check_readable(db);
	if (answer == NULL || strcmp(answer, "ok") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the finished file did not pass PRAGMA %s", pragma),
				 errdetail_internal("%s", answer ? answer : "no answer"),
				 errhint("This is a fault of lfsync or of the storage; nothing was published. Please report it.")));
}

void
target_check_file(sqlite3 *db, const SyncOptions *options)
{
	if (options->check == CHECK_QUICK)
		check_pragma(db, "quick_check");
	else if (options->check == CHECK_FULL)
	{
		check_pragma(db, "integrity_check");
		if (target_query_text(db, "PRAGMA main.foreign_key_check", "checking foreign keys") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("the finished file did not pass PRAGMA foreign_key_check"),
					 errhint("The source itself breaks a foreign key, or a query leaves rows out.")));
	}
}
