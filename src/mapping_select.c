/*-------------------------------------------------------------------------
 *
 * mapping_select.c
 *	  What PostgreSQL is asked for a mapping's rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"

#include "mapping_parts.h"

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
void
mapping_check_filter(const char *filter)
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
char *
mapping_select_list(const ColumnInfo *columns, int ncolumns)
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
char *
mapping_from_clause(const char *query)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(query, RAW_PARSE_DEFAULT));
	const char *statement = query + raw->stmt_location;

	/* no length: to the end */
	return psprintf("(%.*s\n) AS source",
					raw->stmt_len > 0 ? raw->stmt_len : (int) strlen(statement), statement);
}

/* Plain tables alone have an order of their own. */
bool
mapping_has_own_order(const SourceInfo *source)
{
	return source->rel &&
		(source->rel->rd_rel->relkind == RELKIND_RELATION ||
		 source->rel->rd_rel->relkind == RELKIND_MATVIEW) &&
		!mapping_is_inherited(source->relid);
}

/*
 * The order in which rows are read.  Pages are built in rowid order; where rows
 * may disagree on a value, that of the highest key wins, and so comes last.
 */
char *
mapping_row_order(const Mapping *mapping, const TablesInfo *tables, const SourceInfo *source)
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
