/*-------------------------------------------------------------------------
 *
 * target_rejects.c
 *	  Rows that are left out of their table, and _lfsync_rejects.
 *
 * The runner rejects rows that SQLite cannot hold, the writer those that
 * constraints of the file exclude: when a statement over a whole image fails for
 * one, its rows are taken one by one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "target.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

/* The writer keeps those of a table that is filled in memory. */
#define MAX_REFUSED		100000

/* The table comes with the first reject of a file. */
static const char rejects_sql[] =
"CREATE TABLE _lfsync_rejects (table_name TEXT NOT NULL COLLATE NOCASE, key TEXT, "
"column_name TEXT, sqlstate TEXT NOT NULL, message TEXT NOT NULL, rejected_at TEXT NOT NULL)";
static const char index_sql[] =
"CREATE INDEX _lfsync_rejects_key ON _lfsync_rejects (table_name, key)";

static const char writing[] = "writing _lfsync_rejects";

/* Of tables that are filled; until they are complete. */
typedef struct RefusedRows
{
	char	   *table_name;
	List	   *rejects;
	int			count;
} RefusedRows;

static List *refused_rows = NIL;

/*-------------------------------------------------------------------------
 * The table
 *-------------------------------------------------------------------------
 */

bool
target_has_rejects(sqlite3 *db)
{
	return target_own_table_exists(db, "_lfsync_rejects", rejects_sql);
}

/* When this run rejects rows: one time for all of them, which tells runs apart. */
static const char *
run_time(sqlite3 *db)
{
	static char *text = NULL;

	if (text == NULL)
	{
		char	   *now = target_query_text(db, "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')", writing);

		text = MemoryContextStrdup(TopMemoryContext, now);
	}
	return text;
}

static void
append_value(StringInfo json, const ImageValue *value)
{
	char		real[DOUBLE_SHORTEST_DECIMAL_LEN];

	switch (value->kind)
	{
		case IMAGE_NULL:
			appendStringInfoString(json, "null");
			break;
		case IMAGE_INTEGER:
			appendStringInfo(json, INT64_FORMAT, value->u.i);
			break;
		case IMAGE_REAL:
			double_to_shortest_decimal_buf(value->u.r, real);
			/* json has no infinity */
			appendStringInfo(json, isfinite(value->u.r) ? "%s" : "\"%s\"", real);
			break;
		case IMAGE_TEXT:
			escape_json(json, pnstrdup(value->u.data, value->len));
			break;
		case IMAGE_BLOB:
			{
				char	   *hex = palloc(2 * value->len + 1);

				hex[hex_encode(value->u.data, value->len, hex)] = '\0';
				appendStringInfo(json, "\"\\\\x%s\"", hex);
			}
			break;
	}
}

/* A json object; NULL if the table has no key. */
static char *
key_json(const TargetTable *table, const ImageValue *key)
{
	StringInfoData json;

	if (key == NULL)
		return NULL;
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < table->nkeys; i++)
	{
		if (i > 0)
			appendStringInfoString(&json, ", ");
		escape_json(&json, table->columns[table->keys[i]].name);
		appendStringInfoString(&json, ": ");
		append_value(&json, &key[i]);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

bool
target_key_is_complete(const TargetTable *table, const Reject *reject)
{
	if (reject->key == NULL)
		return false;
	for (int i = 0; i < table->nkeys; i++)
	{
		if (reject->key[i].kind == IMAGE_NULL)
			return false;
	}
	return true;
}

void
target_add_rejects(sqlite3 *db, const TargetTable *table, List *rejects)
{
	sqlite3_stmt *forget;
	sqlite3_stmt *add;
	ListCell   *lc;

	if (rejects == NIL)
		return;
	if (!target_has_rejects(db))
	{
		target_run(db, rejects_sql, writing);
		target_run(db, index_sql, writing);
	}
	forget = target_prepare(db, "DELETE FROM main._lfsync_rejects WHERE table_name = ?1 AND key = ?2", writing);
	add = target_prepare(db, "INSERT INTO main._lfsync_rejects VALUES (?1, ?2, ?3, ?4, ?5, ?6)", writing);
	foreach(lc, rejects)
	{
		Reject	   *reject = (Reject *) lfirst(lc);
		char	   *key = key_json(table, reject->key);

		/* as often as it comes, a key has one reject, unless rows share it */
		if (target_key_is_complete(table, reject) && !reject->again)
		{
			target_bind_text(forget, 1, table->name);
			target_bind_text(forget, 2, key);
			target_step(db, forget, writing);
		}
		target_bind_text(add, 1, table->name);
		target_bind_text(add, 2, key);
		target_bind_text(add, 3, reject->column);
		target_bind_text(add, 4, unpack_sql_state(reject->sqlerrcode));
		target_bind_text(add, 5, reject->message);
		target_bind_text(add, 6, run_time(db));
		target_step(db, add, writing);
		if (key)
			pfree(key);
	}
	sqlite3_finalize(forget);
	sqlite3_finalize(add);
}

static int64
change_rejects(sqlite3 *db, const char *sql, const char *table_name, const char *key)
{
	sqlite3_stmt *stmt = target_prepare(db, sql, writing);
	int64		changed;

	target_bind_text(stmt, 1, table_name);
	target_bind_text(stmt, 2, run_time(db));
	target_bind_text(stmt, 3, key);
	target_step(db, stmt, writing);
	changed = sqlite3_changes64(db);
	sqlite3_finalize(stmt);
	return changed;
}

void
target_forget_rejects(sqlite3 *db, const char *table_name)
{
	if (target_has_rejects(db))
		(void) change_rejects(db, "DELETE FROM main._lfsync_rejects WHERE table_name = ?1",
							  table_name, NULL);
}

int64
target_forget_earlier(sqlite3 *db, const char *table_name)
{
	return change_rejects(db, "DELETE FROM main._lfsync_rejects WHERE table_name = ?1 AND rejected_at <> ?2",
						  table_name, NULL);
}

int64
target_forget_keys(sqlite3 *db, const char *table_name, List *keys)
{
	int64		changed = 0;
	ListCell   *lc;

	foreach(lc, keys)
		changed += change_rejects(db, "DELETE FROM main._lfsync_rejects WHERE table_name = ?1 "
								  "AND key = ?3 AND rejected_at <> ?2",
								  table_name, (char *) lfirst(lc));
	return changed;
}

void
target_forget_reject(sqlite3 *db, const TargetTable *table, const Reject *reject)
{
	(void) change_rejects(db, "DELETE FROM main._lfsync_rejects WHERE table_name = ?1 AND key = ?3",
						  table->name, key_json(table, reject->key));
}

void
target_count_rejects(sqlite3 *db, const char *table_name, int64 *rejected, int64 *rejects)
{
	static const char what[] = "reading _lfsync_rejects";
	sqlite3_stmt *stmt;

	*rejected = *rejects = 0;
	if (!target_has_rejects(db))
		return;
	stmt = target_prepare(db, "SELECT coalesce(sum(rejected_at = ?2), 0), count(*) "
						  "FROM main._lfsync_rejects WHERE table_name = ?1", what);
	target_bind_text(stmt, 1, table_name);
	target_bind_text(stmt, 2, run_time(db));
	if (sqlite3_step(stmt) != SQLITE_ROW)
		target_error(db, sqlite3_errcode(db), what);
	*rejected = sqlite3_column_int64(stmt, 0);
	*rejects = sqlite3_column_int64(stmt, 1);
	sqlite3_finalize(stmt);
}

/* The second argument would be NULL in one without a key. */
List *
target_reject_keys(sqlite3 *db, const char *table_name)
{
	return target_query_texts(db, "SELECT DISTINCT key FROM main._lfsync_rejects "
							  "WHERE table_name = ?1 AND key IS NOT NULL",
							  table_name, "reading _lfsync_rejects");
}

/*-------------------------------------------------------------------------
 * Rows one by one
 *-------------------------------------------------------------------------
 */

bool
target_is_refusal(int rc)
{
	return (rc & 0xff) == SQLITE_CONSTRAINT || (rc & 0xff) == SQLITE_TOOBIG;
}

const char *
target_rowid(const TargetTable *table)
{
	static const char *const names[] = {"rowid", "_rowid_", "oid"};

	for (size_t i = 0; i < lengthof(names); i++)
	{
		bool		taken = false;

		for (int j = 0; j < table->ncolumns; j++)
			taken = taken || pg_strcasecmp(table->columns[j].name, names[i]) == 0;
		if (!taken)
			return names[i];
	}
	return names[0];
}

Reject *
target_reject_row(sqlite3 *db, const TargetTable *table, const char *row,
				  sqlite3_int64 rowid, int rc, const char *message)
{
	static const char what[] = "reading a row that was refused";
	Reject	   *reject = palloc0(sizeof(Reject));
	sqlite3_stmt *stmt;

	reject->sqlerrcode = target_sqlstate(rc);
	reject->message = pstrdup(message);
	if (table->nkeys == 0)
		return reject;

	stmt = target_prepare(db, target_sql_image_key(table, row), what);
	reject->key = target_read_key(db, table, stmt, rowid, what);
	sqlite3_finalize(stmt);
	return reject;
}

void
target_insert_each(sqlite3 *db, const TargetTable *table, const char *into)
{
	static const char what[] = "inserting rows one by one";
	const char *row = target_image_row(table);
	sqlite3_stmt *rows = target_prepare(db, target_image_rowids(table), what);
	sqlite3_stmt *one = target_prepare(db, psprintf("INSERT INTO %s SELECT * FROM %s", into, row), what);
	int			rc;

	while ((rc = sqlite3_step(rows)) == SQLITE_ROW)
	{
		sqlite3_int64 number = sqlite3_column_int64(rows, 0);

		sqlite3_bind_int64(one, 1, number);
		rc = sqlite3_step(one);
		if (target_is_refusal(rc))
		{
			MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);
			char	   *message = target_message(db);

			sqlite3_reset(one);
			target_keep_refused(table->name, target_reject_row(db, table, row, number, rc, message));
			MemoryContextSwitchTo(oldcontext);
			continue;
		}
		if (rc != SQLITE_DONE)
			target_error(db, rc, what);
		sqlite3_reset(one);
	}
	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(rows);
	sqlite3_finalize(one);
}

/*-------------------------------------------------------------------------
 * What SQLite has refused of tables that are filled
 *-------------------------------------------------------------------------
 */

static RefusedRows *
refused_of(const char *table_name)
{
	RefusedRows *refused;
	MemoryContext oldcontext;
	ListCell   *lc;

	foreach(lc, refused_rows)
	{
		refused = (RefusedRows *) lfirst(lc);
		if (strcmp(refused->table_name, table_name) == 0)
			return refused;
	}
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	refused = palloc0(sizeof(RefusedRows));
	refused->table_name = pstrdup(table_name);
	refused_rows = lappend(refused_rows, refused);
	MemoryContextSwitchTo(oldcontext);
	return refused;
}

/* In the memory that the reject is in. */
void
target_keep_refused(const char *table_name, Reject *reject)
{
	RefusedRows *refused = refused_of(table_name);
	MemoryContext oldcontext;

	/* only keys that come twice are refused in a table of ours */
	reject->again = true;
	if (++refused->count > MAX_REFUSED)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("SQLite has refused more than %d rows of table \"%s\"", MAX_REFUSED, table_name),
				 errdetail_internal("The last one: %s.", reject->message),
				 errhint("The option on_row_error => 'skip' is for exceptions. Choose other key columns.")));
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	refused->rejects = lappend(refused->rejects, reject);
	MemoryContextSwitchTo(oldcontext);
}

void
target_take_refused(TargetTable *table)
{
	RefusedRows *refused = refused_of(table->name);

	table->rows -= list_length(refused->rejects);
	table->rejects = list_concat(table->rejects, refused->rejects);
	refused->rejects = NIL;
}

int
target_refused_count(const char *table_name)
{
	return refused_of(table_name)->count;
}
