/*-------------------------------------------------------------------------
 *
 * mapping_tables.c
 *	  A mapping's tables over the columns of a source.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/plancache.h"

#include "mapping_parts.h"

/*-------------------------------------------------------------------------
 * One column
 *-------------------------------------------------------------------------
 */

/* Says where in the json an expression is that PostgreSQL does not like. */
static void
expression_context(void *arg)
{
	const MappedColumn *column = (const MappedColumn *) arg;
	int			position = geterrposition();

	/* it counts from the expression's start, and not the statement's */
	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(column->expression);
	}
	errcontext("%s", column->path);
}

/* The type of an expression over one row. */
static void
prepare_expression(ColumnInfo *info, const MappedColumn *column, const SourceInfo *source)
{
	Source	   *prepared = source_prepare(source->relid, source->description,
										  psprintf("SELECT %s FROM %s", info->sql, source->from));
	CachedPlanSource *plansource = linitial(SPI_plan_get_plan_sources(prepared->plan));
	Query	   *query = linitial_node(Query, plansource->query_list);

	if (query->hasAggs || query->hasWindowFuncs || query->hasTargetSRFs)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is about more than one row", column->path),
				 errdetail("Aggregates, window functions and functions that return sets are not possible in a mapping."),
				 errhint("Export a view or a query that does it.")));
	info->typid = prepared->columns[0].typid;
	info->typmod = prepared->columns[0].typmod;
}

static void
map_expression(ColumnInfo *info, const MappedColumn *column, const SourceInfo *source)
{
	ErrorContextCallback callback;

	callback.callback = expression_context;
	callback.arg = unconstify(MappedColumn *, column);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	if (!mapping_is_one_expression(column->expression))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s must be one expression", column->path)));
	/* a comment at its end must not take the parenthesis with it */
	info->sql = psprintf("(%s\n)", column->expression);
	info->shown = column->expression;
	info->is_expression = true;
	prepare_expression(info, column, source);
	error_context_stack = callback.previous;
}

/* The surrogate key of another table's row: the writer knows it. */
static void
map_reference(ColumnInfo *info, const MappedColumn *column)
{
	info->references = column->references;
	info->sql = "NULL::pg_catalog.int8";
	info->is_expression = true;
	info->typid = INT8OID;
	info->typmod = -1;
}

static void
map_one_column(ColumnInfo *info, const MappedColumn *column, const SourceInfo *source)
{
	memset(info, 0, sizeof(*info));
	if (column->references)
		map_reference(info, column);
	else if (column->expression)
		map_expression(info, column, source);
	else
	{
		int			found = column_by_name(source->columns, source->ncolumns, column->source);

		if (found < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("%s: column \"%s\" does not exist in %s", column->path,
							column->source, source->description),
					 errdetail("Its columns are: %s.",
							   column_list(source->columns, source->ncolumns)),
					 errhint("Write the name as it is there, upper and lower case too.")));
		*info = source->columns[found];
	}
	info->name = column->name;
}

static ColumnInfo *
map_table_columns(const MappedTable *table, const SourceInfo *source)
{
	ColumnInfo *columns = palloc0(list_length(table->columns) * sizeof(ColumnInfo));
	ListCell   *lc;

	foreach(lc, table->columns)
		map_one_column(&columns[foreach_current_index(lc)],
					   (MappedColumn *) lfirst(lc), source);
	return columns;
}

/*-------------------------------------------------------------------------
 * Keys
 *-------------------------------------------------------------------------
 */

/* The columns that argument "key_columns" names; NIL if one is not mapped. */
static List *
mapped_key_columns(const ColumnInfo *columns, int ncolumns, const SourceInfo *source,
				   const SyncOrder *order)
{
	List	   *key = NIL;
	ListCell   *lc;

	foreach(lc, order->key_columns)
	{
		const char *sql = quote_identifier((char *) lfirst(lc));
		int			found = -1;

		if (column_by_name(source->columns, source->ncolumns, (char *) lfirst(lc)) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" does not exist in the source", (char *) lfirst(lc)),
					 errdetail("Its columns are: %s.",
							   column_list(source->columns, source->ncolumns))));
		for (int i = 0; i < ncolumns && found < 0; i++)
		{
			if (!columns[i].is_expression && strcmp(columns[i].sql, sql) == 0)
				found = i;
		}
		if (found < 0)
			return NIL;
		key = list_append_unique_int(key, found);
	}
	return key;
}

/* Do these columns tell the rows of the source apart? */
static bool
is_source_key(List *key, const ColumnInfo *columns, int ncolumns,
			  const SourceInfo *source, const SyncOrder *order)
{
	List	   *attnums = NIL;
	ListCell   *lc;

	if (order->key_columns != NIL)
	{
		List	   *given = mapped_key_columns(columns, ncolumns, source, order);

		return given != NIL && list_length(given) == list_length(key) &&
			list_difference_int(given, key) == NIL;
	}
	if (source->rel == NULL)
		return false;
	foreach(lc, key)
	{
		AttrNumber	attnum = columns[lfirst_int(lc)].attnum;

		if (attnum == 0)
			return false;
		attnums = lappend_int(attnums, attnum);
	}
	return columns_are_unique(source->rel, attnums);
}

/* Could the source have an index that says so? */
static bool
can_have_keys(const SourceInfo *source)
{
	return source->rel && (source->rel->rd_rel->relkind == RELKIND_RELATION ||
						   source->rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
						   source->rel->rd_rel->relkind == RELKIND_MATVIEW);
}

/*
 * Has the table a row for each row of the source?  So it is if its key is the
 * source's, or if it has none.  What tells the rows of a view or query apart
 * nobody knows but "key_columns", or else the only table that no other refers
 * to.
 */
static bool
has_source_rows(const MappedTable *table, const ColumnInfo *columns, const MappedTables *mapped,
				const SourceInfo *source, const SyncOrder *order)
{
	int			nroots = 0;
	ListCell   *lc;

	if (table->key == NIL)
		return true;
	if (table->referenced)
		return false;
	foreach(lc, mapped->tables)
		nroots += !((MappedTable *) lfirst(lc))->referenced;
	if (nroots == 1 && !can_have_keys(source) && order->key_columns == NIL)
		return true;
	return is_source_key(table->key, columns, list_length(table->columns), source, order);
}

/*-------------------------------------------------------------------------
 * All of it
 *-------------------------------------------------------------------------
 */

/* The number of a column of the SELECT, which is added if it is not there. */
static int
select_column(TablesInfo *tables, const ColumnInfo *column)
{
	for (int i = 0; i < tables->ncolumns; i++)
	{
		if (!tables->columns[i].references && strcmp(tables->columns[i].sql, column->sql) == 0)
			return i;
	}
	if (tables->columns == NULL)
		tables->columns = palloc(sizeof(ColumnInfo));
	else
		tables->columns = repalloc(tables->columns,
								   (tables->ncolumns + 1) * sizeof(ColumnInfo));
	tables->columns[tables->ncolumns] = *column;
	return tables->ncolumns++;
}

/* Cursor columns are read, whether or not a table has them. */
static void
select_cursor(TablesInfo *tables, const SourceInfo *source, const SyncOrder *order)
{
	ListCell   *lc;

	foreach(lc, order->cursor_columns)
	{
		int			found = column_by_name(source->columns, source->ncolumns,
										   (char *) lfirst(lc));

		if (found >= 0)			/* else the mode says what is wrong */
			(void) select_column(tables, &source->columns[found]);
	}
}

static void
set_rows(TablesInfo *tables, MappedTable *table, ColumnInfo *columns,
		 const SourceInfo *source, const SyncOrder *order)
{
	if (tables->rows)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s has a row for each row of the source, as %s has", table->path,
						tables->rows->path),
				 errdetail("One table of a mapping has the source's key, or no key."),
				 errhint("Put their columns into one table, or give one of them another \"key\".")));
	tables->rows = table;
	tables->columns = columns;
	tables->ncolumns = tables->nrow_columns = list_length(table->columns);
	tables->key = table->key;
	if (tables->key == NIL)
		tables->key = mapped_key_columns(columns, tables->ncolumns, source, order);
}

static DimensionInfo *
make_dimension(MappedTable *table, ColumnInfo *columns)
{
	DimensionInfo *dimension = palloc0(sizeof(DimensionInfo));

	dimension->mapped = table;
	dimension->ncolumns = list_length(table->columns);
	dimension->columns = columns;
	for (int i = 0; i < dimension->ncolumns; i++)
	{
		if (mapping_same_name(columns[i].name, MAPPING_SURROGATE_KEY))
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("%s.columns.%s has the name of the table's surrogate key",
							table->path, columns[i].name),
					 errdetail("The rows of a table whose key is not known to be the source's are numbered, in a column of that name."),
					 errhint("Give the column another name, or if the key is the source's, say so with \"key_columns\" or a unique index over NOT NULL columns.")));
	}
	return dimension;
}

static void
select_inputs(TablesInfo *tables, DimensionInfo *dimension)
{
	dimension->inputs = palloc(dimension->ncolumns * sizeof(int));
	for (int i = 0; i < dimension->ncolumns; i++)
		dimension->inputs[i] = dimension->columns[i].references ? -1 :
			select_column(tables, &dimension->columns[i]);
}

TablesInfo *
map_tables(const SourceInfo *source, const MappedTables *mapped,
		   const SyncOrder *order)
{
	TablesInfo *tables = palloc0(sizeof(TablesInfo));
	ListCell   *lc;

	foreach(lc, mapped->tables)
	{
		MappedTable *table = (MappedTable *) lfirst(lc);
		ColumnInfo *columns = map_table_columns(table, source);

		if (has_source_rows(table, columns, mapped, source, order))
			set_rows(tables, table, columns, source, order);
		else
			tables->dimensions = lappend(tables->dimensions, make_dimension(table, columns));
	}
	foreach(lc, tables->dimensions)
		select_inputs(tables, (DimensionInfo *) lfirst(lc));
	select_cursor(tables, source, order);
	if (mapped->flat_name)
	{
		tables->view_name = mapped->flat_name;
		tables->view_sql = map_flat(mapped, tables->rows);
	}
	return tables;
}
