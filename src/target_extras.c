/*-------------------------------------------------------------------------
 *
 * target_extras.c
 *	  What lfsync hangs on its tables if it is asked to: full-text indexes and
 *	  a view.
 *
 * A full-text index is an FTS5 table over the content of another
 * (https://www.sqlite.org/fts5.html#external_content_tables).  Triggers, which
 * usually keep it right, do not fire in our connection, so the commands that
 * they would give are given here: rows that are about to change are noted and
 * taken out of the index with the values that they still have, and what there
 * is of them afterwards goes in again.
 *
 * Both bear a mark in their SQL: what has none is somebody else's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target.h"

#define MARK	"/* made by lfsync */"

const char *const target_not_ours_condition =
"coalesce(object.sql, '') NOT LIKE '%" MARK "%' AND NOT EXISTS "
"(SELECT 1 FROM main.sqlite_schema AS fts WHERE fts.sql LIKE 'CREATE VIRTUAL TABLE %" MARK "%' "
"AND object.name IN (fts.name || '_data', fts.name || '_idx', fts.name || '_docsize', "
"fts.name || '_config', fts.name || '_content'))";

static char *
fts_name(const TargetTable *table)
{
	return psprintf("%s_fts", table->name);
}

static char *
quoted_fts(const TargetTable *table)
{
	return message_quote_name(fts_name(table));
}

/* The columns of the index, each behind a prefix. */
static char *
fts_columns(const TargetTable *table, const char *prefix)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < table->nfts; i++)
		appendStringInfo(&list, "%s%s%s", i ? ", " : "", prefix,
						 message_quote_name(table->columns[table->fts[i]].name));
	return list.data;
}

/* The column that is the rowid's alias: the mapping sees to it that it is. */
static char *
rowid_column(const TargetTable *table)
{
	return message_quote_name(table->columns[table->keys[0]].name);
}

/*-------------------------------------------------------------------------
 * Making them
 *-------------------------------------------------------------------------
 */

/* The SQL of what has this name; NULL if there is nothing. */
static char *
sql_of(sqlite3 *db, const char *name)
{
	char	   *sql = sqlite3_mprintf("SELECT coalesce(sql, '') FROM main.sqlite_schema "
									  "WHERE name = %Q COLLATE NOCASE", name);
	char	   *found = target_query_text(db, sql, "reading its schema");

	sqlite3_free(sql);
	return found;
}

/* Drops what we once made under this name; an error if it is not ours. */
static void
drop_ours(sqlite3 *db, const char *kind, const char *name, const char *found)
{
	if (strstr(found, MARK) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("name \"%s\" is taken in the file by something that lfsync did not make", name),
				 errhint("Choose another name, or another file.")));
	target_run(db, psprintf("DROP %s main.%s", kind, message_quote_name(name)),
			   "making it anew");
}

static void
require_fts5(sqlite3 *db)
{
	if (target_query_int(db, "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'",
						 "looking for FTS5", 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this server's SQLite library has no FTS5"),
				 errdetail("A full-text index was asked for (\"fts\")."),
				 errhint("Install a library that was built with SQLITE_ENABLE_FTS5, or leave \"fts\" out.")));
}

/* Rowids may be others than before where the table is a new one. */
static void
fit_fts(sqlite3 *db, const TargetTable *table, bool is_new)
{
	const char *name = quoted_fts(table);
	char	   *found = sql_of(db, fts_name(table));
	char	   *sql;

	if (table->nfts == 0)
	{
		/* it would go stale; anybody else's is none of our business */
		if (found && strstr(found, MARK))
			drop_ours(db, "TABLE", fts_name(table), found);
		return;
	}
	require_fts5(db);
	sql = psprintf("CREATE VIRTUAL TABLE %s " MARK " USING fts5(%s, content=%s, content_rowid=%s)",
				   name, fts_columns(table, ""), message_quote_name(table->name),
				   rowid_column(table));
	if (found && strcmp(found, sql) == 0 && !is_new)
		return;
	if (found)
		drop_ours(db, "TABLE", fts_name(table), found);
	target_run(db, sql, "creating a full-text index");
	target_run(db, psprintf("INSERT INTO main.%s (%s) VALUES ('rebuild')", name, name),
			   "filling a full-text index");
}

static void
fit_view(sqlite3 *db, const TargetTable *table)
{
	char	   *sql;
	char	   *found;

	if (table->view_name == NULL)
		return;
	sql = psprintf("CREATE VIEW %s " MARK " AS %s", message_quote_name(table->view_name),
				   table->view_sql);
	found = sql_of(db, table->view_name);
	if (found && strcmp(found, sql) == 0)
		return;
	if (found)
		drop_ours(db, "VIEW", table->view_name, found);
	target_run(db, sql, "creating a view");
}

void
target_fit_extras(sqlite3 *db, const TargetTable *table, bool is_new)
{
	fit_fts(db, table, is_new);
	fit_view(db, table);
}

/*-------------------------------------------------------------------------
 * Keeping an index right
 *-------------------------------------------------------------------------
 */

void
target_begin_fts(sqlite3 *db)
{
	target_run(db, "CREATE TEMP TABLE IF NOT EXISTS lfsync_changed (id INTEGER PRIMARY KEY)",
			   "preparing the file");
}

void
target_note_changed(sqlite3 *db, const char *select)
{
	target_run(db, psprintf(TARGET_NOTE_CHANGED " %s", select), "noting rows");
}

void
target_unindex_changed(sqlite3 *db, const TargetTable *table)
{
	target_run(db, psprintf("INSERT INTO main.%s (%s, rowid, %s) SELECT 'delete', t.%s, %s "
							"FROM temp.lfsync_changed AS c JOIN main.%s AS t ON t.%s = c.id",
							quoted_fts(table), quoted_fts(table), fts_columns(table, ""),
							rowid_column(table), fts_columns(table, "t."),
							message_quote_name(table->name), rowid_column(table)),
			   "taking rows out of a full-text index");
}

void
target_index_changed(sqlite3 *db, const TargetTable *table)
{
	target_run(db, psprintf("INSERT INTO main.%s (rowid, %s) SELECT t.%s, %s "
							"FROM temp.lfsync_changed AS c JOIN main.%s AS t ON t.%s = c.id",
							quoted_fts(table), fts_columns(table, ""), rowid_column(table),
							fts_columns(table, "t."), message_quote_name(table->name),
							rowid_column(table)),
			   "putting rows into a full-text index");
	target_forget_changed(db);
}

static void
run_for_row(sqlite3 *db, const char *sql, sqlite3_int64 key, const char *what)
{
	sqlite3_stmt *stmt = target_prepare(db, sql, what);

	sqlite3_bind_int64(stmt, 1, key);
	target_step(db, stmt, what);
	sqlite3_finalize(stmt);
}

void
target_unindex_row(sqlite3 *db, const TargetTable *table, sqlite3_int64 key)
{
	/* those that were noted have been taken out */
	run_for_row(db, psprintf("INSERT INTO main.%s (%s, rowid, %s) SELECT 'delete', t.%s, %s FROM main.%s AS t "
							 "WHERE t.%s = ?1 AND ?1 NOT IN (SELECT id FROM temp.lfsync_changed)",
							 quoted_fts(table), quoted_fts(table), fts_columns(table, ""),
							 rowid_column(table), fts_columns(table, "t."),
							 message_quote_name(table->name), rowid_column(table)),
				key, "taking a row out of a full-text index");
}

void
target_index_row(sqlite3 *db, const TargetTable *table, sqlite3_int64 key)
{
	run_for_row(db, psprintf("INSERT INTO main.%s (rowid, %s) SELECT t.%s, %s FROM main.%s AS t WHERE t.%s = ?1",
							 quoted_fts(table), fts_columns(table, ""), rowid_column(table),
							 fts_columns(table, "t."), message_quote_name(table->name),
							 rowid_column(table)),
				key, "putting a row into a full-text index");
}

void
target_forget_changed(sqlite3 *db)
{
	target_run(db, "DELETE FROM temp.lfsync_changed", "noting rows");
}

char *
target_fts_differs(const TargetTable *table, const char *a, const char *b)
{
	return psprintf("(%s) IS NOT (%s)", fts_columns(table, a), fts_columns(table, b));
}
