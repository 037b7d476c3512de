/*-------------------------------------------------------------------------
 *
 * target_adopt.c
 *	  Does a table that somebody else made fit what is to be written to it?
 *
 * Its columns may stand in any order, there may be more of them, and they may
 * be declared otherwise, as long as every value stays what it is: SQLite turns
 * text into numbers and numbers into text as a column's affinity says
 * (https://www.sqlite.org/datatype3.html#determination_of_column_affinity).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target.h"

typedef enum Affinity
{
	AFFINITY_BLOB,				/* keeps everything as it is */
	AFFINITY_TEXT,
	AFFINITY_NUMERIC,			/* INTEGER differs in casts alone */
	AFFINITY_REAL
} Affinity;

static const char reading_schema[] = "reading its schema";

pg_noreturn static void
refuse(const TargetTable *table, int sqlerrcode, char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("table \"%s\" of the file cannot be adopted", table->name),
			 errdetail_internal("%s", detail),
			 errhint("%s", hint)));
}

/* As a literal in SQL. */
static char *
literal(const char *text)
{
	char	   *quoted = sqlite3_mprintf("%Q", text);
	char	   *copy = pstrdup(quoted);

	sqlite3_free(quoted);
	return copy;
}

static bool
contains(const char *declared, const char *word)
{
	size_t		len = strlen(word);

	for (; *declared; declared++)
	{
		if (pg_strncasecmp(declared, word, len) == 0)
			return true;
	}
	return false;
}

static Affinity
affinity_of(const char *declared)
{
	if (contains(declared, "INT"))
		return AFFINITY_NUMERIC;
	if (contains(declared, "CHAR") || contains(declared, "CLOB") || contains(declared, "TEXT"))
		return AFFINITY_TEXT;
	if (contains(declared, "BLOB") || declared[0] == '\0')
		return AFFINITY_BLOB;
	if (contains(declared, "REAL") || contains(declared, "FLOA") || contains(declared, "DOUB"))
		return AFFINITY_REAL;
	return AFFINITY_NUMERIC;
}

/* Does a column declared so keep the values of ours? */
static bool
keeps_values(const char *declared, bool strict, const TargetColumn *column)
{
	const char *class = column->sqlite_type;
	bool		text = strcmp(class, "TEXT") == 0;

	if (strict)
		return pg_strcasecmp(declared, "ANY") == 0 ||
			pg_strcasecmp(declared, class) == 0 ||
			(pg_strcasecmp(declared, "INT") == 0 && strcmp(class, "INTEGER") == 0);
	if (strcmp(class, "BLOB") == 0)
		return true;
	switch (affinity_of(declared))
	{
		case AFFINITY_BLOB:
			return true;
		case AFFINITY_TEXT:
			return text;
		case AFFINITY_NUMERIC:
			return strcmp(class, "INTEGER") == 0 || (text && column->never_number);
		case AFFINITY_REAL:
			return strcmp(class, "REAL") == 0 || (text && column->never_number);
	}
	return false;
}

/* What it is; returns whether it is STRICT. */
static bool
check_kind(sqlite3 *db, const TargetTable *table)
{
	sqlite3_stmt *stmt = target_prepare(db, "SELECT type, wr, strict FROM pragma_table_list(?1) "
										"WHERE schema = 'main'", reading_schema);
	char	   *trigger;
	char	   *kind;
	bool		without_rowid;
	bool		strict;

	sqlite3_bind_text(stmt, 1, table->name, -1, SQLITE_STATIC);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		target_error(db, sqlite3_errcode(db), reading_schema);
	kind = pstrdup((const char *) sqlite3_column_text(stmt, 0));
	without_rowid = sqlite3_column_int(stmt, 1) != 0;
	strict = sqlite3_column_int(stmt, 2) != 0;
	sqlite3_finalize(stmt);
	if (strcmp(kind, "table") != 0)
		refuse(table, ERRCODE_WRONG_OBJECT_TYPE, psprintf("It is a %s table.", kind),
			   "Choose another \"table_name\" or another file.");
	if (without_rowid)
		refuse(table, ERRCODE_WRONG_OBJECT_TYPE,
			   "It is WITHOUT ROWID, and SQLite does not tell which rows of such a table it writes.",
			   "Choose another \"table_name\", or make it a table with rowid.");

	trigger = target_query_text(db, psprintf("SELECT name FROM main.sqlite_schema WHERE type = 'trigger' "
											 "AND tbl_name = %s COLLATE NOCASE", literal(table->name)),
								reading_schema);
	if (trigger)
		refuse(table, ERRCODE_FEATURE_NOT_SUPPORTED,
			   psprintf("It has a trigger, \"%s\", which would not fire: lfsync runs nobody's code.", trigger),
			   "Choose another \"table_name\", or drop the trigger.");
	return strict;
}

static int
find_column(const TargetTable *table, const char *name)
{
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (pg_strcasecmp(table->columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

/* One column as table_xinfo shows it; "column" is ours, or NULL. */
static void
check_column(sqlite3_stmt *info, const TargetTable *table,
			 const TargetColumn *column, bool strict, bool rowid_alias)
{
	const char *name = (const char *) sqlite3_column_text(info, 1);
	const char *declared = (const char *) sqlite3_column_text(info, 2);
	bool		not_null = sqlite3_column_int(info, 3) != 0;
	bool		has_default = sqlite3_column_type(info, 4) != SQLITE_NULL;
	bool		generated = sqlite3_column_int(info, 6) != 0;

	if (column == NULL)
	{
		if (not_null && !has_default && !generated && !rowid_alias)
			refuse(table, ERRCODE_NOT_NULL_VIOLATION,
				   psprintf("Column \"%s\" is NOT NULL, has no default, and is not in the source.", name),
				   "Give it a default, or add the column to the source.");
		return;
	}
	if (generated)
		refuse(table, ERRCODE_GENERATED_ALWAYS,
			   psprintf("Column \"%s\" is generated there.", name),
			   "Leave the column out with lfsync_export_query().");
	if (!keeps_values(declared ? declared : "", strict, column))
		refuse(table, ERRCODE_DATATYPE_MISMATCH,
			   psprintf("Column \"%s\" is declared as %s there, which does not keep every %s (%s) as it is.",
						name, declared, column->source_type, column->sqlite_type),
			   "Choose other options for types, or cast the column in a view or query.");
}

/* Returns whether the key is the rowid's alias. */
static bool
check_columns(sqlite3 *db, const TargetTable *table, bool strict)
{
	const char *name = literal(table->name);

	/* the only column of its primary key, which needs no index */
	bool		alias = target_query_int(db, psprintf("SELECT count(*) = 1 AND min(type) = 'INTEGER' COLLATE NOCASE "
													  "AND NOT EXISTS (SELECT 1 FROM pragma_index_list(%s, 'main') WHERE origin = 'pk') "
													  "FROM pragma_table_xinfo(%s, 'main') WHERE pk > 0", name, name),
										 reading_schema, 0) != 0;
	sqlite3_stmt *info = target_prepare(db, psprintf("PRAGMA main.table_xinfo(%s)", name), reading_schema);
	bool	   *found = palloc0(table->ncolumns * sizeof(bool));
	bool		key_is_rowid = false;
	int			rc;

	while ((rc = sqlite3_step(info)) == SQLITE_ROW)
	{
		int			column = find_column(table, (const char *) sqlite3_column_text(info, 1));
		bool		rowid_alias = alias && sqlite3_column_int(info, 5) > 0;

		check_column(info, table, column < 0 ? NULL : &table->columns[column], strict,
					 rowid_alias);
		if (column < 0)
			continue;
		found[column] = true;
		if (rowid_alias && table->nkeys == 1 && table->keys[0] == column)
			key_is_rowid = true;
	}
	if (rc != SQLITE_DONE)
		target_error(db, rc, reading_schema);
	sqlite3_finalize(info);
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (!found[i])
			refuse(table, ERRCODE_UNDEFINED_COLUMN,
				   psprintf("It has no column \"%s\".", table->columns[i].name),
				   "Add the column there, or leave it out of the source with lfsync_export_query().");
	}
	return key_is_rowid;
}

/*
 * The key must tell rows apart there as it does at the source: an index over
 * exactly its columns, of all rows, byte by byte.
 */
static void
check_key(sqlite3 *db, const TargetTable *table)
{
	static const char same_columns[] =
	"SELECT count(*) FROM pragma_index_xinfo(i.name, 'main') AS c WHERE c.key";
	StringInfoData names;
	StringInfoData keys;
	char	   *sql;

	initStringInfo(&names);
	initStringInfo(&keys);
	for (int i = 0; i < table->nkeys; i++)
	{
		const char *name = table->columns[table->keys[i]].name;

		appendStringInfo(&names, "%s%s", i ? ", " : "", literal(name));
		appendStringInfo(&keys, "%s%s", i ? ", " : "", message_quote_name(name));
	}
	sql = psprintf("SELECT 1 FROM pragma_index_list(%s, 'main') AS i "
				   "WHERE i.\"unique\" AND NOT i.partial AND (%s) = %d "
				   "AND (%s AND c.coll COLLATE NOCASE = 'BINARY' AND c.name COLLATE NOCASE IN (%s)) = %d",
				   literal(table->name), same_columns, table->nkeys,
				   same_columns, names.data, table->nkeys);
	if (target_query_int(db, sql, reading_schema, 0) == 0)
		refuse(table, ERRCODE_INVALID_COLUMN_REFERENCE,
			   psprintf("Nothing there keeps the key (%s) unique.", keys.data),
			   psprintf("For example: CREATE UNIQUE INDEX name ON %s (%s). It must not be partial, and its collation is BINARY.",
						message_quote_name(table->name), keys.data));
}

void
target_check_adopted(sqlite3 *db, const TargetTable *table)
{
	bool		strict = check_kind(db, table);

	if (!check_columns(db, table, strict))
		check_key(db, table);
}
