/*-------------------------------------------------------------------------
 *
 * mapping_json.c
 *	  The argument "mapping": which tables one source becomes.
 *
 *	  {"artist": {"columns": {"name": "artist"}, "key": ["name"]},
 *	   "play":	 {"columns": {"id": "id", "at": {"expr": "date_trunc('day', date)"},
 *							  "artist_id": {"references": "artist"}},
 *				  "key": ["id"], "indexes": [["at"]], "fts": [...]},
 *	   "$flat":  {"plays": {"id": "id", "artist": "artist_id.name"}}}
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "json_tree.h"
#include "lfsync.h"
#include "mapping.h"
#include "mapping_json.h"

#define FLAT_KEY	"$flat"

pg_noreturn static void
wrong_shape(const JsonNode *node, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s must be %s", node->path, wanted)));
}

pg_noreturn static void
unknown_key(const JsonNode *node, const char *valid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is not known", node->path),
			 errhint("Valid keys are: %s.", valid)));
}

static void
require_object(const JsonNode *node, const char *wanted)
{
	if (node->kind != JSON_NODE_OBJECT || node->children == NIL)
		wrong_shape(node, wanted);
}

/* Names that SQLite would take for one. */
static void
check_name(const JsonNode *node, int position, const List *siblings)
{
	if (node->name[0] == '\0' || strlen(node->name) > 255)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("%s is no name for a table or column", node->path),
				 errdetail("A name has 1 to 255 bytes.")));
	for (int i = 0; i < position; i++)
	{
		JsonNode   *other = (JsonNode *) list_nth(siblings, i);

		if (mapping_same_name(other->name, node->name))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("%s and %s have one name in SQLite", other->path, node->path),
					 errdetail("SQLite does not tell upper from lower case in names.")));
	}
}

static void
check_table_name(const JsonNode *node)
{
	if (mapping_name_is_reserved(node->name))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("%s has a name that is reserved", node->path),
				 errdetail("SQLite keeps names that begin with \"sqlite_\" for itself, and lfsync those that begin with \"%s\".",
						   LFSYNC_TABLE_PREFIX)));
}

static MappedTable *
find_table(const MappedTables *mapped, const char *name)
{
	ListCell   *lc;

	foreach(lc, mapped->tables)
	{
		MappedTable *table = (MappedTable *) lfirst(lc);

		if (strcmp(table->name, name) == 0)
			return table;
	}
	return NULL;
}

static char *
table_list(const MappedTables *mapped)
{
	StringInfoData list;
	ListCell   *lc;

	initStringInfo(&list);
	foreach(lc, mapped->tables)
		appendStringInfo(&list, "%s\"%s\"", list.len ? ", " : "",
						 ((MappedTable *) lfirst(lc))->name);
	return list.data;
}

/*-------------------------------------------------------------------------
 * One table
 *-------------------------------------------------------------------------
 */

static MappedColumn *
parse_column(const JsonNode *node, const MappedTables *mapped)
{
	static const char wanted[] = "the name of a source column, {\"expr\": \"SQL\"} or {\"references\": \"table\"}";
	MappedColumn *column = palloc0(sizeof(MappedColumn));
	const JsonNode *value = node;

	column->name = node->name;
	if (node->kind == JSON_NODE_OBJECT)
	{
		if (list_length(node->children) != 1)
			wrong_shape(node, wanted);
		value = linitial(node->children);
		if (strcmp(value->name, "expr") != 0 && strcmp(value->name, "references") != 0)
			unknown_key(value, "\"expr\", \"references\"");
		if (value->kind != JSON_NODE_STRING)
			wrong_shape(value, "a string");
	}
	else if (node->kind != JSON_NODE_STRING)
		wrong_shape(node, wanted);

	column->path = value->path;
	if (value == node)
		column->source = value->text;
	else if (strcmp(value->name, "expr") == 0)
		column->expression = value->text;
	else
	{
		column->references = find_table(mapped, value->text);
		if (column->references == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s: there is no target table \"%s\"", value->path, value->text),
					 errhint("The mapping's tables are: %s.", table_list(mapped))));
		column->references->referenced = true;
	}
	return column;
}

static int
find_column(const MappedTable *table, const JsonNode *node)
{
	ListCell   *lc;

	if (node->kind != JSON_NODE_STRING)
		wrong_shape(node, "the name of a column of the table");
	foreach(lc, table->columns)
	{
		if (strcmp(((MappedColumn *) lfirst(lc))->name, node->text) == 0)
			return foreach_current_index(lc);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s: table \"%s\" has no column \"%s\"", node->path, table->name,
					node->text),
			 errhint("Name a column of %s.columns.", table->path)));
}

/* A list of columns, each of them once. */
static List *
parse_names(const MappedTable *table, const JsonNode *node)
{
	List	   *columns = NIL;
	ListCell   *lc;

	if (node->kind != JSON_NODE_ARRAY || node->children == NIL)
		wrong_shape(node, "an array of column names");
	foreach(lc, node->children)
	{
		int			column = find_column(table, (JsonNode *) lfirst(lc));

		if (list_member_int(columns, column))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s names a column twice", node->path)));
		columns = lappend_int(columns, column);
	}
	return columns;
}

static void
parse_table(MappedTable *table, const JsonNode *node, const MappedTables *mapped)
{
	JsonNode   *columns = json_tree_member(node, "columns");
	ListCell   *lc;

	if (columns == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no \"columns\"", node->path),
				 errhint("For example: {\"columns\": {\"id\": \"id\"}}.")));
	require_object(columns, "an object of columns");
	foreach(lc, columns->children)
	{
		JsonNode   *column = (JsonNode *) lfirst(lc);

		check_name(column, foreach_current_index(lc), columns->children);
		table->columns = lappend(table->columns, parse_column(column, mapped));
	}

	foreach(lc, node->children)
	{
		JsonNode   *member = (JsonNode *) lfirst(lc);
		ListCell   *index;

		if (strcmp(member->name, "columns") == 0)
			continue;
		if (strcmp(member->name, "key") == 0)
		{
			table->key_path = member->path;
			table->key = parse_names(table, member);
		}
		else if (strcmp(member->name, "indexes") == 0)
		{
			if (member->kind != JSON_NODE_ARRAY)
				wrong_shape(member, "an array of arrays of column names");
			table->has_indexes = true;
			foreach(index, member->children)
				table->indexes = lappend(table->indexes,
										 parse_names(table, (JsonNode *) lfirst(index)));
		}
		else if (strcmp(member->name, "fts") == 0)
		{
			table->fts_path = member->path;
			table->fts = parse_names(table, member);
		}
		else
			unknown_key(member, "\"columns\", \"key\", \"indexes\", \"fts\"");
	}
}

/*-------------------------------------------------------------------------
 * All of them
 *-------------------------------------------------------------------------
 */

/*
 * Puts a table behind those that it refers to.  "above" are the tables whose
 * references have led here.
 */
static List *
put_behind_references(List *sorted, MappedTable *table, List *above)
{
	ListCell   *lc;

	if (list_member_ptr(sorted, table))
		return sorted;
	above = lappend(list_copy(above), table);
	foreach(lc, table->columns)
	{
		MappedColumn *column = (MappedColumn *) lfirst(lc);

		if (column->references == NULL)
			continue;
		if (list_member_ptr(above, column->references))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s: the references go round in a circle", column->path),
					 errdetail("Table \"%s\" refers to \"%s\", which refers back.",
							   table->name, column->references->name)));
		if (column->references->key == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s: table \"%s\" has no \"key\"", column->path,
							column->references->name),
					 errdetail("Its rows are found by their key.")));
		sorted = put_behind_references(sorted, column->references, above);
	}
	return lappend(sorted, table);
}

/* "$flat": {"view": {"column": "reference.reference.column"}} */
static void
parse_flat(MappedTables *mapped, const JsonNode *node)
{
	JsonNode   *view;
	ListCell   *lc;

	if (node->kind != JSON_NODE_OBJECT || list_length(node->children) != 1)
		wrong_shape(node, "an object of one view");
	view = linitial(node->children);
	check_table_name(view);
	foreach(lc, mapped->tables)
	{
		if (mapping_same_name(((MappedTable *) lfirst(lc))->name, view->name))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s has the name of a table", view->path)));
	}
	mapped->flat_name = view->name;
	mapped->flat_path = view->path;
	require_object(view, "an object of columns");
	foreach(lc, view->children)
	{
		JsonNode   *node = (JsonNode *) lfirst(lc);
		FlatColumn *column = palloc0(sizeof(FlatColumn));
		char	   *at;

		check_name(node, foreach_current_index(lc), view->children);
		if (node->kind != JSON_NODE_STRING)
			wrong_shape(node, "a column, or reference columns and a column with dots between them");
		column->name = node->name;
		column->path = node->path;
		for (char *rest = pstrdup(node->text); (at = strsep(&rest, ".")) != NULL;)
			column->steps = lappend(column->steps, at);
		mapped->flat = lappend(mapped->flat, column);
	}
}

/* The tables by name, before any of them may refer to another. */
static MappedTables *
parse_names_of_tables(const JsonNode *root)
{
	MappedTables *mapped = palloc0(sizeof(MappedTables));
	ListCell   *lc;

	require_object(root, "an object of target tables");
	foreach(lc, root->children)
	{
		JsonNode   *node = (JsonNode *) lfirst(lc);
		MappedTable *table = palloc0(sizeof(MappedTable));

		if (strcmp(node->name, FLAT_KEY) == 0)
			continue;
		if (node->name[0] == '$')
			unknown_key(node, "names of tables, and \"" FLAT_KEY "\"");
		check_name(node, foreach_current_index(lc), root->children);
		check_table_name(node);
		require_object(node, "an object with \"columns\"");
		table->name = node->name;
		table->path = node->path;
		mapped->tables = lappend(mapped->tables, table);
	}
	if (mapped->tables == NIL)
		wrong_shape(root, "an object of target tables");
	return mapped;
}

MappedTables *
mapping_parse(const char *json)
{
	JsonNode   *root = json_tree_parse(json, "mapping");
	MappedTables *mapped = parse_names_of_tables(root);
	JsonNode   *flat = json_tree_member(root, FLAT_KEY);
	List	   *sorted = NIL;
	ListCell   *lc;

	foreach(lc, mapped->tables)
	{
		MappedTable *table = (MappedTable *) lfirst(lc);

		parse_table(table, json_tree_member(root, table->name), mapped);
	}
	foreach(lc, mapped->tables)
		sorted = put_behind_references(sorted, (MappedTable *) lfirst(lc), NIL);
	mapped->tables = sorted;
	if (flat)
		parse_flat(mapped, flat);
	return mapped;
}

List *
mapping_target_names(const char *mapping, char *table_name, char *source_name)
{
	List	   *names = NIL;
	ListCell   *lc;

	if (mapping == NULL)
		return list_make1(table_name ? table_name : source_name);
	if (table_name)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"table_name\" and \"mapping\" do not go together"),
				 errdetail("A mapping names its tables."),
				 errhint("Leave \"table_name\" out.")));
	foreach(lc, parse_names_of_tables(json_tree_parse(mapping, "mapping"))->tables)
		names = lappend(names, ((MappedTable *) lfirst(lc))->name);
	return names;
}
