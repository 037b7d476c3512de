/*-------------------------------------------------------------------------
 *
 * mapping.c
 *	  How the columns of a source become the columns of target tables.
 *
 * What PostgreSQL guarantees and SQLite can express is carried: the key, NOT
 * NULL, unique constraints, plain btree indexes, foreign keys between the
 * tables of one run, comments.  What is left out leaves a note.
 *
 * With a mapping in json there may be several tables.  One of them has the
 * source's rows; the others are dimensions, whose rows are told apart by a
 * natural key and numbered by a surrogate one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "image.h"
#include "lfsync.h"
#include "mapping_parts.h"

/* Where there are rows only in images: no table of a target is called so. */
#define ROWLESS_NAME	LFSYNC_TABLE_PREFIX "rows"

char *
mapping_to_utf8(const char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

bool
mapping_same_name(const char *a, const char *b)
{
	/* ASCII letters only, as in SQLite, whatever the locale */
	while (*a && pg_ascii_tolower((unsigned char) *a) == pg_ascii_tolower((unsigned char) *b))
		a++, b++;
	return *a == *b;
}

bool
mapping_name_is_reserved(const char *name)
{
	return pg_strncasecmp(name, "sqlite_", 7) == 0 ||
		pg_strncasecmp(name, LFSYNC_TABLE_PREFIX,
					   strlen(LFSYNC_TABLE_PREFIX)) == 0;
}

void
mapping_check_table_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > 255)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid target table name \"%s\"", name),
				 errdetail("A name has 1 to 255 bytes.")));
	if (mapping_name_is_reserved(name))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("target table name \"%s\" is reserved", name),
				 errdetail("SQLite keeps names that begin with \"sqlite_\" for itself, and lfsync those that begin with \"%s\".",
						   LFSYNC_TABLE_PREFIX),
				 errhint("Give another name in \"table_name\".")));
}

void
mapping_check_relation(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	if (relkind == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	switch (relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
		case RELKIND_FOREIGN_TABLE:
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" cannot be exported", get_rel_name(relid)),
					 errdetail("A source is a table, partitioned table, view, materialized view or foreign table."),
					 errhint("Name one of these, or use lfsync_export_query().")));
	}
}

int
column_by_attnum(const ColumnInfo *columns, int ncolumns, AttrNumber attnum)
{
	for (int i = 0; i < ncolumns; i++)
	{
		if (columns[i].attnum == attnum)
			return i;
	}
	return -1;
}

int
column_by_name(const ColumnInfo *columns, int ncolumns, const char *name)
{
	for (int i = 0; i < ncolumns; i++)
	{
		if (strcmp(columns[i].name, name) == 0)
			return i;
	}
	return -1;
}

char *
column_list(const ColumnInfo *columns, int ncolumns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < ncolumns && i < 30; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "",
						 quote_identifier(columns[i].name));
	if (ncolumns > 30)
		appendStringInfoString(&list, ", ...");
	return list.data;
}

/*-------------------------------------------------------------------------
 * A table and its columns
 *-------------------------------------------------------------------------
 */

/*
 * The fingerprint of a structure: any change of columns, their types, their
 * order or what they come from changes it.
 */
static char *
fingerprint(const ColumnInfo *columns, int ncolumns, List *natural, List *dimensions)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	for (int i = 0; i < ncolumns; i++)
	{
		const char *name = quote_identifier(columns[i].name);

		appendStringInfo(&buf, "%s,%s,%d;", name,
						 format_type_with_typemod(columns[i].typid,
												  columns[i].typmod),
						 columns[i].not_null);
		if (columns[i].is_expression || strcmp(name, columns[i].sql) != 0)
			appendStringInfo(&buf, "=%s;", columns[i].references ?
							 columns[i].references->name : columns[i].sql);
	}
	foreach(lc, natural)
		appendStringInfo(&buf, "%d;", lfirst_int(lc));
	foreach(lc, dimensions)
		appendStringInfo(&buf, "%s;", ((TargetTable *) lfirst(lc))->fingerprint);
	return psprintf("%016llx",
					(unsigned long long) DatumGetUInt64(hash_any_extended((unsigned char *) buf.data,
																		  buf.len, 0)));
}

/* What _lfsync_columns says that a column comes from. */
static char *
source_expression(const ColumnInfo *column)
{
	if (column->references)
		return psprintf("references %s", quote_identifier(column->references->name));
	return column->shown ? column->shown : column->sql;
}

/* Under a policy of types: what a column of a source becomes. */
static void
map_column(TargetColumn *target, const ColumnInfo *column, const SyncOptions *options,
		   bool *not_null, const char **note)
{
	ValueColumn value;

	value_prepare(&value, column->typid, column->typmod, (SyncOptions *) options);
	target->name = mapping_to_utf8(column->name);
	target->sqlite_type = pstrdup(value.sqlite_type);
	target->source_type = mapping_to_utf8(format_type_with_typemod(column->typid,
																   column->typmod));
	target->expression = mapping_to_utf8(source_expression(column));
	target->comment = column->comment ? mapping_to_utf8(column->comment) : NULL;
	target->never_number = value.never_number;
	*not_null = column->not_null && !value.nan_as_null;
	*note = value.note;
}

/* The columns of the target table, checked against SQLite's rules for names. */
static Mapping *
map_columns(const ColumnInfo *columns, int ncolumns, int nselected,
			const char *table_name, const char *source, const SyncOptions *options)
{
	Mapping    *mapping = palloc0(sizeof(Mapping));
	TargetTable *table = palloc0(sizeof(TargetTable));

	for (int i = 0; i < ncolumns; i++)
	{
		for (int j = 0; j < i; j++)
		{
			if (mapping_same_name(columns[i].name, columns[j].name))
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("columns \"%s\" and \"%s\" of %s have one name in SQLite",
								columns[j].name, columns[i].name, source),
						 errdetail("A table has no two columns of one name, and SQLite does not tell upper from lower case."),
						 errhint("Give one of them another name, in a mapping or in a query.")));
		}
	}

	table->name = mapping_to_utf8(table_name);
	table->source = mapping_to_utf8(source);
	table->strict = options->strict;
	table->ncolumns = ncolumns;
	table->columns = palloc0(ncolumns * sizeof(TargetColumn));
	mapping->table = table;
	mapping->nselected = nselected;
	mapping->sql_of = palloc(nselected * sizeof(char *));
	mapping->not_null = palloc0(nselected * sizeof(bool));
	mapping->column_notes = palloc0(nselected * sizeof(char *));
	for (int i = 0; i < nselected; i++)
		mapping->sql_of[i] = columns[i].sql;
	for (int i = 0; i < ncolumns; i++)
		map_column(&table->columns[i], &columns[i], options,
				   &mapping->not_null[i], &mapping->column_notes[i]);
	return mapping;
}

/*-------------------------------------------------------------------------
 * Keys and indexes
 *-------------------------------------------------------------------------
 */

/*
 * The rowid is the table's key where that is one column of SQLite's type
 * INTEGER, in SQLite's own view too; every other key becomes a PRIMARY KEY
 * with an index of its own.
 */
static void
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

static void
set_key(TargetTable *table, List *columns)
{
	ListCell   *lc;

	table->nkeys = 0;
	table->keys = palloc(list_length(columns) * sizeof(int));
	foreach(lc, columns)
		table->keys[table->nkeys++] = lfirst_int(lc);
}

/* The columns that argument "key_columns" names. */
static List *
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
static void
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

/*-------------------------------------------------------------------------
 * What SQLite is told
 *-------------------------------------------------------------------------
 */

/* Names of some of a table's columns. */
static char *
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
static char *
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
static char *
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

static char *
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

static void
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

/*-------------------------------------------------------------------------
 * What PostgreSQL is asked
 *-------------------------------------------------------------------------
 */

bool
mapping_is_one_expression(const char *sql)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_PLPGSQL_EXPR));

	return list_length(castNode(SelectStmt, raw->stmt)->targetList) == 1;
}

/*
 * A filter is one condition: by itself, so that it closes no parenthesis of
 * ours, and between parentheses, where mapping_select() puts it.
 */
static void
check_filter(const char *filter)
{
	if (!mapping_is_one_expression(filter))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the filter must be one condition"),
				 errdetail("It stands where a WHERE clause has its condition."),
				 errhint("For example: filter => 'id > 1000'. Leave it out to get all rows.")));
}

char *
mapping_select(const Mapping *mapping, const char *condition, const char *order)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s", mapping->select_list, mapping->from);
	if (mapping->filter)
		appendStringInfo(&sql, " WHERE (%s\n)", mapping->filter);
	if (condition)
		appendStringInfo(&sql, " %s %s", mapping->filter ? "AND" : "WHERE", condition);
	if (order)
		appendStringInfo(&sql, " ORDER BY %s", order);
	return sql.data;
}

/*
 * A column of the source goes by its own name: ORDER BY takes a name for the
 * column of the result first.  Names that nothing refers to need only be
 * nobody else's.
 */
static char *
select_list(const ColumnInfo *columns, int ncolumns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < ncolumns; i++)
	{
		appendStringInfo(&list, "%s%s", i ? ", " : "", columns[i].sql);
		if (columns[i].is_expression)
			appendStringInfo(&list, " AS \"expression %d\"", i + 1);
	}
	return list.data;
}

/* A query as something to select from, without the semicolon and what follows. */
static char *
parenthesized(const char *query)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(query, RAW_PARSE_DEFAULT));
	const char *statement = query + raw->stmt_location;

	/* no length: to the end */
	return psprintf("(%.*s\n) AS source",
					raw->stmt_len > 0 ? raw->stmt_len : (int) strlen(statement), statement);
}

/*-------------------------------------------------------------------------
 * All of it
 *-------------------------------------------------------------------------
 */

/*
 * The columns of a full-text index.  What rows it means it knows by their
 * rowids, which last only as aliases of a key.
 */
static void
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
static List *
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

/* Plain tables alone have an order of their own. */
static bool
has_own_order(const SourceInfo *source)
{
	return source->rel &&
		(source->rel->rd_rel->relkind == RELKIND_RELATION ||
		 source->rel->rd_rel->relkind == RELKIND_MATVIEW) &&
		!mapping_is_inherited(source->relid);
}

/* Is a column of a dimension part of its natural key? */
static bool
is_natural(const TargetTable *table, int column)
{
	for (int i = 0; i < table->nnatural; i++)
	{
		if (table->natural[i] == column)
			return true;
	}
	return false;
}

/* The dimensions that columns refer to, by number. */
static int *
find_parents(const ColumnInfo *columns, int ncolumns, const TablesInfo *tables, int offset)
{
	int		   *parents = palloc((ncolumns + offset) * sizeof(int));
	ListCell   *lc;

	for (int i = 0; i < offset; i++)
		parents[i] = -1;
	for (int i = 0; i < ncolumns; i++)
	{
		parents[i + offset] = -1;
		foreach(lc, tables->dimensions)
		{
			if (columns[i].references &&
				((DimensionInfo *) lfirst(lc))->mapped == columns[i].references)
				parents[i + offset] = foreach_current_index(lc);
		}
	}
	return parents;
}

static List *
reference_clauses(const TargetTable *table, const TablesInfo *tables, const SyncOrder *order)
{
	List	   *clauses = NIL;

	for (int i = 0; i < table->ncolumns && order->options.foreign_keys; i++)
	{
		DimensionInfo *parent;

		if (table->parents[i] < 0)
			continue;
		parent = list_nth(tables->dimensions, table->parents[i]);
		clauses = lappend(clauses,
						  psprintf("FOREIGN KEY (%s) REFERENCES %s (%s)",
								   message_quote_name(table->columns[i].name),
								   message_quote_name(mapping_to_utf8(parent->mapped->name)),
								   message_quote_name(MAPPING_SURROGATE_KEY)));
	}
	return clauses;
}

/* A table of rows that the source's rows share. */
static MappingDimension *
map_dimension(const DimensionInfo *info, const TablesInfo *tables,
			  const SourceInfo *source, const SyncOrder *order)
{
	MappingDimension *dimension = palloc0(sizeof(MappingDimension));
	TargetTable *table = palloc0(sizeof(TargetTable));
	int			ncolumns = info->ncolumns + 1;
	bool	   *not_null = palloc0(ncolumns * sizeof(bool));
	List	   *constraints;
	ListCell   *lc;

	dimension->table = table;
	dimension->column_notes = palloc0(ncolumns * sizeof(char *));
	dimension->inputs = palloc(ncolumns * sizeof(int));
	dimension->inputs[0] = -1;
	memcpy(dimension->inputs + 1, info->inputs, info->ncolumns * sizeof(int));

	table->name = mapping_to_utf8(info->mapped->name);
	table->source = mapping_to_utf8(source->description);
	table->strict = order->options.strict;
	table->ncolumns = ncolumns;
	table->columns = palloc0(ncolumns * sizeof(TargetColumn));
	table->columns[0].name = MAPPING_SURROGATE_KEY;
	table->columns[0].sqlite_type = "INTEGER";
	table->columns[0].source_type = "bigint";
	table->columns[0].expression = "surrogate key";
	for (int i = 0; i < info->ncolumns; i++)
		map_column(&table->columns[i + 1], &info->columns[i], &order->options,
				   &not_null[i + 1], &dimension->column_notes[i + 1]);
	memset(not_null, 0, ncolumns * sizeof(bool));
	table->nkeys = 1;
	table->keys = palloc0(sizeof(int));
	table->parents = find_parents(info->columns, info->ncolumns, tables, 1);
	table->natural = palloc(list_length(info->mapped->key) * sizeof(int));
	foreach(lc, info->mapped->key)
		table->natural[table->nnatural++] = lfirst_int(lc) + 1;
	for (int i = 1; i < ncolumns; i++)
	{
		if (!is_natural(table, i))
			dimension->has_values = true;
		else if (table->parents[i] < 0)
			not_null[i] = true;
	}
	map_given_indexes(table, info->mapped->indexes, 1);
	set_fts(table, info->mapped->fts, 1, true, info->mapped->fts_path);

	dimension->image_sql = psprintf("CREATE TABLE %s (%s)", message_quote_name(table->name),
									bare_columns(table, 1));
	constraints = list_make1(psprintf("UNIQUE (%s)",
									  quoted_columns(table, table->natural, table->nnatural)));
	constraints = list_concat(constraints, reference_clauses(table, tables, order));
	table->body = with_constraints(typed_columns(table, not_null, 0), constraints);
	table->fingerprint = fingerprint(info->columns, info->ncolumns, info->mapped->key, NIL);
	return dimension;
}

/*
 * The order in which rows are read.  Pages are built in rowid order; where rows
 * may disagree on a value, that of the highest key wins, and so comes last.
 */
static char *
row_order(const Mapping *mapping, const TablesInfo *tables, const SourceInfo *source)
{
	List	   *keys = NIL;
	bool		disagree = false;
	StringInfoData order;
	ListCell   *lc;

	if (mapping->rowid_column >= 0)
		return psprintf("%d", mapping->rowid_column + 1);
	foreach(lc, mapping->dimensions)
		disagree = disagree || ((MappingDimension *) lfirst(lc))->has_values;
	if (!disagree)
		return NULL;

	for (int i = 0; i < mapping->table->nkeys; i++)
		keys = lappend(keys, &tables->columns[mapping->table->keys[i]]);
	if (keys == NIL && source->rel)
	{
		foreach(lc, primary_key_columns(source->rel))
			keys = lappend(keys, &source->columns[column_by_attnum(source->columns, source->ncolumns,
																   lfirst_int(lc))]);
	}
	initStringInfo(&order);
	foreach(lc, keys)
	{
		ColumnInfo *column = (ColumnInfo *) lfirst(lc);
		Oid			type = getBaseType(column->typid);

		appendStringInfo(&order, "%s%s%s", order.len ? ", " : "", column->sql,
						 type == TEXTOID || type == VARCHAROID ?
						 " COLLATE pg_catalog.\"C\"" : "");
	}
	return order.len ? order.data : NULL;
}

/* The source's columns as they are, or as a mapping has them. */
static Mapping *
map_source(const SourceInfo *source, const char *table_name, const SyncOrder *order)
{
	TablesInfo	plain = {.ncolumns = source->ncolumns,.nrow_columns = source->ncolumns,
	.columns = source->columns};
	TablesInfo *tables = &plain;
	Mapping    *mapping;
	TargetTable *table;
	List	   *foreign_keys = NIL;
	ListCell   *lc;

	if (source->ncolumns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("source %s has no columns", source->description),
				 errdetail("A SQLite table needs at least one."),
				 errhint("Add a column, or leave the source out.")));
	if (order->mapping)
	{
		tables = map_tables(source, mapping_parse(order->mapping), order);
		table_name = tables->rows ? tables->rows->name : ROWLESS_NAME;
	}
	mapping = map_columns(tables->columns, tables->nrow_columns, tables->ncolumns,
						  table_name, source->description, &order->options);
	table = mapping->table;
	table->rowless = order->mapping && tables->rows == NULL;
	foreach(lc, tables->dimensions)
		mapping->dimensions = lappend(mapping->dimensions,
									  map_dimension((DimensionInfo *) lfirst(lc), tables,
													source, order));
	foreach(lc, mapping->dimensions)
		table->dimensions = lappend(table->dimensions, ((MappingDimension *) lfirst(lc))->table);
	table->parents = find_parents(tables->columns, tables->nrow_columns, tables, 0);
	table->fingerprint = fingerprint(tables->columns, tables->nrow_columns, NIL,
									 table->dimensions);
	table->comment = source->comment ? mapping_to_utf8(source->comment) : NULL;

	if (tables->key)
		set_key(table, tables->key);
	if (source->rel && !table->rowless)
		map_indexes(mapping, tables->columns, source->rel, order,
					order->options.indexes && !(tables->rows && tables->rows->has_indexes));
	if (order->key_columns != NIL && !order->mapping)
		set_key(table, given_key(source->columns, source->ncolumns, order->key_columns));
	map_key(mapping, order);
	if (order->mapping)
	{
		map_given_indexes(table, tables->rows ? tables->rows->indexes : NIL, 0);
		foreign_keys = reference_clauses(table, tables, order);
	}
	else if (source->rel && order->options.foreign_keys)
		foreign_keys = map_foreign_keys(mapping, source->rel, order);
	map_body(mapping, foreign_keys);
	set_fts(table, fts_option(source, order), 0, mapping->rowid_column >= 0, "option \"fts\"");
	if (tables->view_name)
	{
		table->view_name = mapping_to_utf8(tables->view_name);
		table->view_sql = tables->view_sql;
	}
	if (tables->rows)
		set_fts(table, tables->rows->fts, 0, mapping->rowid_column >= 0, tables->rows->fts_path);

	if (order->filter)
		check_filter(order->filter);
	mapping->select_list = select_list(tables->columns, tables->ncolumns);
	mapping->from = source->from;
	mapping->filter = order->filter;
	mapping->sql = mapping_select(mapping, NULL, row_order(mapping, tables, source));
	if (mapping->rowid_column >= 0 && has_own_order(source) && mapping->dimensions == NIL &&
		source_in_order(source->relid, tables->columns[mapping->rowid_column].attnum))
		mapping->heap_sql = mapping_select(mapping, NULL, NULL);
	return mapping;
}

Mapping *
mapping_from_relation(Oid relid, const char *table_name, const SyncOrder *order)
{
	Relation	rel = table_open(relid, NoLock);
	Mapping    *mapping = map_source(source_info_from_relation(rel), table_name, order);

	table_close(rel, NoLock);
	return mapping;
}

Mapping *
mapping_from_query(const Source *query, const char *table_name,
				   const SyncOrder *order)
{
	SourceInfo	source;

	memset(&source, 0, sizeof(source));
	source.description = query->description;
	source.from = parenthesized(order->query);
	source.ncolumns = query->ncolumns;
	source.columns = palloc0(query->ncolumns * sizeof(ColumnInfo));
	for (int i = 0; i < query->ncolumns; i++)
	{
		source.columns[i].name = query->columns[i].name;
		source.columns[i].sql = pstrdup(quote_identifier(query->columns[i].name));
		source.columns[i].typid = query->columns[i].typid;
		source.columns[i].typmod = query->columns[i].typmod;
	}
	return map_source(&source, table_name, order);
}

Mapping *
mapping_check(Oid relid, const char *query, const SyncOrder *order)
{
	MemoryContext context = CurrentMemoryContext;
	Mapping    *mapping;

	/* expressions are prepared, which wants SPI; what they become outlives it */
	SPI_connect();
	MemoryContextSwitchTo(context);
	if (query)
		mapping = mapping_from_query(source_prepare(InvalidOid, "query", query),
									 linitial(order->table_names), order);
	else
		mapping = mapping_from_relation(relid, linitial(order->table_names), order);
	SPI_finish();
	MemoryContextSwitchTo(context);
	return mapping;
}
