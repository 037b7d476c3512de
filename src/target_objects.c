/*-------------------------------------------------------------------------
 *
 * target_objects.c
 *	  What others have hung on a table of ours: indexes and triggers.
 *
 * They go with the old table when a new one takes its place, and are made again
 * from their SQL.  The indexes that are ours are known by their SQL, which
 * _lfsync_state keeps: one that has gone from the source is not taken for
 * somebody's, and one that somebody made under the name of ours is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target.h"

typedef struct UserObject
{
	char	   *type;			/* index or trigger */
	char	   *name;
	char	   *sql;
} UserObject;

static char *
column_text(sqlite3_stmt *stmt, int column)
{
	return pstrdup((const char *) sqlite3_column_text(stmt, column));
}

List *
target_user_objects(sqlite3 *db, const char *table_name)
{
	static const char what[] = "reading its schema";
	sqlite3_stmt *stmt = target_prepare(db, "SELECT type, name, sql FROM main.sqlite_schema "
										"WHERE tbl_name = ?1 COLLATE NOCASE AND sql IS NOT NULL "
										"AND (type = 'trigger' OR (type = 'index' AND NOT coalesce("
										"(SELECT instr(indexes, sql) FROM main._lfsync_state "
										"WHERE table_name = ?1 COLLATE NOCASE), 0))) ORDER BY rowid", what);
	List	   *objects = NIL;
	int			rc;

	sqlite3_bind_text(stmt, 1, table_name, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
	{
		UserObject *object = palloc(sizeof(UserObject));

		object->type = column_text(stmt, 0);
		object->name = column_text(stmt, 1);
		object->sql = column_text(stmt, 2);
		objects = lappend(objects, object);
	}
	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(stmt);
	return objects;
}

List *
target_own_indexes(sqlite3 *db, const char *table_name, List **sqls)
{
#define OWN_INDEXES \
	" FROM main.sqlite_schema WHERE type = 'index' AND tbl_name = ?1 COLLATE NOCASE " \
	"AND instr((SELECT indexes FROM main._lfsync_state " \
	"WHERE table_name = ?1 COLLATE NOCASE), sql) ORDER BY rowid"

	*sqls = target_query_texts(db, "SELECT sql" OWN_INDEXES, table_name, "reading its schema");
	return target_query_texts(db, "SELECT name" OWN_INDEXES, table_name, "reading its schema");
}

static bool
is_user_sql(List *objects, const char *sql)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		if (strcmp(((UserObject *) lfirst(lc))->sql, sql) == 0)
			return true;
	}
	return false;
}

void
target_record_indexes(sqlite3 *db, const char *table_name, List *objects)
{
	static const char what[] = "writing _lfsync_state";
	List	   *sqls = target_query_texts(db, "SELECT sql FROM main.sqlite_schema WHERE type = 'index' "
										  "AND tbl_name = ?1 COLLATE NOCASE AND sql IS NOT NULL "
										  "ORDER BY rowid",
										  table_name, "reading its schema");
	StringInfoData ours;
	sqlite3_stmt *stmt;
	ListCell   *lc;

	initStringInfo(&ours);
	foreach(lc, sqls)
	{
		if (!is_user_sql(objects, (char *) lfirst(lc)))
			appendStringInfo(&ours, "%s%s", ours.len ? ";\n" : "", (char *) lfirst(lc));
	}
	stmt = target_prepare(db, "UPDATE main._lfsync_state SET indexes = nullif(?1, '') "
						  "WHERE table_name = ?2 COLLATE NOCASE", what);
	sqlite3_bind_text(stmt, 1, ours.data, ours.len, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 2, table_name, -1, SQLITE_STATIC);
	target_step(db, stmt, what);
	sqlite3_finalize(stmt);
}

/* A statement that fires every trigger of an event. */
static char *
firing_sql(const TargetTable *table, int event)
{
	const char *name = message_quote_name(table->name);
	StringInfoData sql;

	if (event == 0)
		return psprintf("INSERT INTO main.%s DEFAULT VALUES", name);
	if (event == 1)
		return psprintf("DELETE FROM main.%s", name);
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE main.%s SET ", name);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const char *column = message_quote_name(table->columns[i].name);

		appendStringInfo(&sql, "%s%s = %s", i ? ", " : "", column, column);
	}
	return sql.data;
}

/*
 * A trigger is looked into only when it is to fire, so have statements prepared
 * that would fire it.  NULL, or what column is missing; anything else may be at
 * hand in its owner's program, such as a function.
 */
static char *
missing_column(sqlite3 *db, const TargetTable *table)
{
	char	   *missing = NULL;

	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 1, NULL);
	for (int event = 0; event < 3 && missing == NULL; event++)
	{
		sqlite3_stmt *stmt;

		if (sqlite3_prepare_v2(db, firing_sql(table, event), -1, &stmt, NULL) == SQLITE_OK)
			sqlite3_finalize(stmt);
		else if (strncmp(sqlite3_errmsg(db), "no such column", 14) == 0)
			missing = pstrdup(sqlite3_errmsg(db));
	}
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	return missing;
}

/* NULL, or why it cannot be. */
static char *
restore_object(sqlite3 *db, const TargetTable *table, const UserObject *object)
{
	const char *what = psprintf("creating %s \"%s\" again", object->type, object->name);
	sqlite3_stmt *stmt;
	int			rc = sqlite3_prepare_v2(db, object->sql, -1, &stmt, NULL);
	char	   *reason = NULL;

	if (rc == SQLITE_OK)
	{
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_DONE)
			rc = SQLITE_OK;
	}
	/* the table lacks a column, or has rows that a unique index excludes */
	if ((rc & 0xff) == SQLITE_ERROR || (rc & 0xff) == SQLITE_CONSTRAINT)
		reason = pstrdup(sqlite3_errmsg(db));
	else if (rc != SQLITE_OK)
		target_error(db, rc, what);
	sqlite3_finalize(stmt);
	if (reason || strcmp(object->type, "trigger") != 0)
		return reason;

	reason = missing_column(db, table);
	if (reason)
		target_run(db, psprintf("DROP TRIGGER main.%s", message_quote_name(object->name)), what);
	return reason;
}

List *
target_restore_objects(sqlite3 *db, const TargetTable *table, List *objects)
{
	List	   *notes = NIL;
	ListCell   *lc;

	foreach(lc, objects)
	{
		UserObject *object = (UserObject *) lfirst(lc);
		char	   *reason = restore_object(db, table, object);

		if (reason)
			notes = lappend(notes, psprintf("%s %s, which somebody had made on table %s, is gone: %s",
											object->type, object->name, table->name, reason));
	}
	return notes;
}
