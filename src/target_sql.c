/*-------------------------------------------------------------------------
 *
 * target_sql.c
 *	  The words of the statements that keep a table in sync.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "target.h"

static bool
is_key(const TargetTable *table, int column)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		if (table->keys[i] == column)
			return true;
	}
	return false;
}

/*
 * A column's name where it is compared.  In an adopted table it may compare
 * otherwise than byte by byte, and would hide an update from us.
 */
char *
target_sql_column(const TargetTable *table, int column)
{
	const TargetColumn *c = &table->columns[column];
	bool		collated = table->adopted && strcmp(c->sqlite_type, "TEXT") == 0;

	return psprintf("%s%s", message_quote_name(c->name), collated ? " COLLATE BINARY" : "");
}

/* "a", "b" of the key, in its order. */
char *
target_sql_keys(const TargetTable *table)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", target_sql_column(table, table->keys[i]));
	return list.data;
}

static char *
all_list(const TargetTable *table)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < table->ncolumns; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", message_quote_name(table->columns[i].name));
	return list.data;
}

/* Columns beside the key, each behind a prefix; empty if there are none. */
static char *
other_list(const TargetTable *table, const char *prefix)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < table->ncolumns; i++)
	{
		if (!is_key(table, i))
			appendStringInfo(&list, "%s%s%s", list.len ? ", " : "", prefix, target_sql_column(table, i));
	}
	return list.data;
}

/*
 * INSERT ... SELECT ... WHERE true ON CONFLICT: without the WHERE SQLite's
 * parser takes ON for a join's.  OR ABORT overrules what an adopted table's
 * constraints may say, such as to replace other rows.
 */
char *
target_sql_upsert(const TargetTable *table, const char *from)
{
	StringInfoData sql;
	char	   *columns = all_list(table);
	bool		first = true;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT OR ABORT INTO main.%s AS old (%s) SELECT %s FROM %s "
					 "WHERE true ON CONFLICT (%s) DO ",
					 message_quote_name(table->name), columns, columns, from,
					 target_sql_keys(table));
	if (table->nkeys == table->ncolumns)
	{
		appendStringInfoString(&sql, "NOTHING");
		return sql.data;
	}
	appendStringInfoString(&sql, "UPDATE SET ");
	for (int i = 0; i < table->ncolumns; i++)
	{
		char	   *name;

		if (is_key(table, i))
			continue;
		name = message_quote_name(table->columns[i].name);
		appendStringInfo(&sql, "%s%s = excluded.%s", first ? "" : ", ", name, name);
		first = false;
	}
	appendStringInfo(&sql, " WHERE (%s) IS NOT (%s)",
					 other_list(table, "old."), other_list(table, "excluded."));
	return sql.data;
}

/* Rows of the image that the table lacks, and those that it has otherwise. */
char *
target_sql_compare(const TargetTable *table)
{
	StringInfoData sql;
	const char *key = message_quote_name(table->columns[table->keys[0]].name);

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT sum(old.%s IS NULL), ", key);
	if (table->nkeys == table->ncolumns)
		appendStringInfoString(&sql, "0");
	else
		appendStringInfo(&sql, "sum(old.%s IS NOT NULL AND (%s) IS NOT (%s))", key,
						 other_list(table, "old."), other_list(table, "new."));
	appendStringInfo(&sql, " FROM %s AS new LEFT JOIN main.%s AS old ON ",
					 target_image_rows(table), message_quote_name(table->name));
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&sql, "%sold.%s = new.%s", i ? " AND " : "",
						 target_sql_column(table, table->keys[i]),
						 message_quote_name(table->columns[table->keys[i]].name));
	return sql.data;
}

/* Of one row of an image, whose rowid is the parameter ?1. */
char *
target_sql_image_key(const TargetTable *table, const char *row)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "SELECT ",
						 message_quote_name(table->columns[table->keys[i]].name));
	appendStringInfo(&sql, " FROM %s", row);
	return sql.data;
}

/* The condition of a range, with its values as parameters. */
char *
target_sql_in_range(const TargetTable *table, const BatchEnd *end)
{
	StringInfoData sql;
	StringInfoData parameters;
	char	   *keys = target_sql_keys(table);

	initStringInfo(&parameters);
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfoString(&parameters, i ? ", ?" : "?");
	initStringInfo(&sql);
	appendStringInfoString(&sql, "true");
	if (!end->after.open)
		appendStringInfo(&sql, " AND (%s) > (%s)", keys, parameters.data);
	if (!end->to.open)
		appendStringInfo(&sql, " AND (%s) <= (%s)", keys, parameters.data);
	return sql.data;
}
