/*-------------------------------------------------------------------------
 *
 * mapping_dimension.c
 *	  Tables of rows that the source's rows share.
 *
 * A dimension's rows are told apart by a natural key, and numbered by a
 * surrogate one that other tables refer to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mapping_parts.h"

/* The dimensions that columns refer to, by number. */
int *
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

List *
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
MappingDimension *
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
		if (!message_is_natural(table, i))
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
	table->fingerprint = mapping_fingerprint(info->columns, info->ncolumns, info->mapped->key, NIL);
	return dimension;
}
