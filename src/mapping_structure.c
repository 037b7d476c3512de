/*-------------------------------------------------------------------------
 *
 * mapping_structure.c
 *	  Keys, indexes and the SQL that makes a target table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mapping_parts.h"

/*-------------------------------------------------------------------------
 * Keys and indexes
 *-------------------------------------------------------------------------
 */

/*
 * The rowid is the table's key where that is one column of SQLite's type
 * INTEGER, in SQLite's own view too; every other key becomes a PRIMARY KEY
 * with an index of its own.
 */
void
map_key(Mapping *mapping, const SyncOrder *order)
{
	mapping->rowid_column = -1;

	/*
	 * A table that is kept in sync outlives a NOT NULL that the source drops:
	 * it says so of its key alone.
	 */
	if (order_goes_on(order))
		memset(mapping->not_null, 0, mapping->table->ncolumns * sizeof(bool));
	for (int i = 0; i < mapping->table->nkeys; i++)
		mapping->not_null[mapping->table->keys[i]] = true;
	if (mapping->table->nkeys == 1 &&
		strcmp(mapping->table->columns[mapping->table->keys[0]].sqlite_type, "INTEGER") == 0)
		mapping->rowid_column = mapping->table->keys[0];
	mapping->table->auto_index = mapping->table->nkeys > 0 && mapping->rowid_column < 0;
}

void
set_key(TargetTable *table, List *columns)
{
	ListCell   *lc;

	table->nkeys = 0;
	table->keys = palloc(list_length(columns) * sizeof(int));
	foreach(lc, columns)
		table->keys[table->nkeys++] = lfirst_int(lc);
}

/* The columns that argument "key_columns" names. */
List *
given_key(const ColumnInfo *columns, int ncolumns, List *key_columns)
{
	List	   *key = NIL;
	ListCell   *lc;

	foreach(lc, key_columns)
	{
		const char *name = (const char *) lfirst(lc);
		int			found = column_by_name(columns, ncolumns, name);

		if (found < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" does not exist in the source", name),
					 errdetail("Its columns are: %s.", column_list(columns, ncolumns)),
					 errhint("Write the name as it is there, upper and lower case too.")));
		if (list_member_int(key, found))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("key column \"%s\" is given twice", name),
					 errhint("Name each column once.")));
		key = lappend_int(key, found);
	}
	return key;
}

/*
 * Indexes that a mapping asks for, named after table and columns.  "first" is
 * the number of the mapping's first column in the table.
 */
void
map_given_indexes(TargetTable *table, List *indexes, int first)
{
	ListCell   *lc;

	foreach(lc, indexes)
	{
		TargetIndex *index = palloc0(sizeof(TargetIndex));
		StringInfoData name;
		StringInfoData columns;
		ListCell   *column;

		initStringInfo(&name);
		initStringInfo(&columns);
		appendStringInfoString(&name, table->name);
		foreach(column, (List *) lfirst(lc))
		{
			const char *column_name = table->columns[lfirst_int(column) + first].name;

			appendStringInfo(&name, "_%s", column_name);
			appendStringInfo(&columns, "%s%s", columns.len ? ", " : "",
							 message_quote_name(column_name));
		}
		appendStringInfoString(&name, "_idx");
		index->name = name.data;
		index->columns = columns.data;
		table->indexes = lappend(table->indexes, index);
	}
}

/*
 * The columns of a full-text index.  What rows it means it knows by their
 * rowids, which last only as aliases of a key.
 */
void
set_fts(TargetTable *table, List *columns, int first, bool has_rowid, const char *path)
{
	ListCell   *lc;

	if (columns == NIL)
		return;
	if (!has_rowid)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s: a full-text index needs a table whose key is one integer", path),
				 errdetail("SQLite's VACUUM numbers the rows of other tables anew."),
				 errhint("Leave it out, or map an integer key.")));
	table->fts = palloc(list_length(columns) * sizeof(int));
	foreach(lc, columns)
	{
		int			column = lfirst_int(lc) + first;

		if (mapping_same_name(table->columns[column].name, "rank") ||
			mapping_same_name(table->columns[column].name, "rowid"))
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("%s: FTS5 keeps the name \"%s\" for itself", path,
							table->columns[column].name),
					 errhint("Give the column another name in a mapping.")));
		table->fts[table->nfts++] = column;
	}
}

/* The columns that option "fts" names. */
List *
fts_option(const SourceInfo *source, const SyncOrder *order)
{
	List	   *columns = NIL;
	ListCell   *lc;

	foreach(lc, options_names(order->options.fts))
	{
		int			found = column_by_name(source->columns, source->ncolumns,
										   (char *) lfirst(lc));

		if (order->mapping)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"fts\" and argument \"mapping\" do not go together"),
					 errhint("Put \"fts\" beside the \"columns\" of a table in the mapping.")));
		if (found < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("option \"fts\": column \"%s\" does not exist in %s",
							(char *) lfirst(lc), source->description),
					 errdetail("Its columns are: %s.",
							   column_list(source->columns, source->ncolumns))));
		columns = list_append_unique_int(columns, found);
	}
	return columns;
}

/*-------------------------------------------------------------------------
 * CREATE TABLE
 *-------------------------------------------------------------------------
 */

/* Names of some of a table's columns. */
char *
quoted_columns(const TargetTable *table, const int *numbers, int n)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "",
						 message_quote_name(table->columns[numbers[i]].name));
	return list.data;
}

/* Columns and their types, as an image has them that says nothing of keys. */
char *
bare_columns(const TargetTable *table, int first)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = first; i < table->ncolumns; i++)
		appendStringInfo(&list, "%s%s %s", i > first ? ", " : "",
						 message_quote_name(table->columns[i].name),
						 table->columns[i].sqlite_type);
	return list.data;
}

/* What stands between the parentheses of CREATE TABLE, but for constraints. */
char *
typed_columns(const TargetTable *table, const bool *not_null, int rowid_column)
{
	StringInfoData body;

	initStringInfo(&body);
	for (int i = 0; i < table->ncolumns; i++)
	{
		appendStringInfo(&body, "%s\n  %s %s", i ? "," : "",
						 message_quote_name(table->columns[i].name),
						 table->columns[i].sqlite_type);
		if (i == rowid_column)
			appendStringInfoString(&body, " PRIMARY KEY");
		else if (not_null[i])
			appendStringInfoString(&body, " NOT NULL");
	}
	return body.data;
}

char *
with_constraints(const char *body, List *constraints)
{
	StringInfoData whole;
	ListCell   *lc;

	initStringInfo(&whole);
	appendStringInfoString(&whole, body);
	foreach(lc, constraints)
		appendStringInfo(&whole, ",\n  %s", (char *) lfirst(lc));
	appendStringInfoChar(&whole, '\n');
	return whole.data;
}

void
map_body(Mapping *mapping, List *foreign_keys)
{
	TargetTable *table = mapping->table;
	char	   *body = typed_columns(table, mapping->not_null, mapping->rowid_column);
	List	   *constraints = NIL;

	/* late rows have the key as a value, and a rowid that says nothing */
	mapping->late_sql = psprintf("CREATE TABLE %s (%s)",
								 message_quote_name(table->name),
								 bare_columns(table, 0));

	/*
	 * An image has no index: its tables differ from the target's in nothing
	 * else, so that SQLite can copy whole records.
	 */
	mapping->image_sql = psprintf("CREATE TABLE %s (%s)%s",
								  message_quote_name(table->name), body,
								  table->strict ? " STRICT" : "");
	if (table->auto_index)
		constraints = list_make1(psprintf("PRIMARY KEY (%s)",
										  quoted_columns(table, table->keys, table->nkeys)));
	table->body = with_constraints(body, list_concat(constraints, foreign_keys));
}

char *
mapping_create_sql(const TargetTable *table)
{
	return psprintf("CREATE TABLE %s (%s)%s", message_quote_name(table->name),
					table->body, table->strict ? " STRICT" : "");
}
