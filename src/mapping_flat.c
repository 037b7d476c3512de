/*-------------------------------------------------------------------------
 *
 * mapping_flat.c
 *	  The view that gives the shape of a mapping's source back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mapping_parts.h"

/* A table of the view, reached by a way of references. */
typedef struct FlatTable
{
	const MappedTable *table;
	char	   *alias;
	List	   *joined;			/* of FlatTable: reached from here ... */
	List	   *by;				/* ... through these MappedColumns */
} FlatTable;

typedef struct FlatView
{
	int			naliases;
	StringInfoData columns;
	StringInfoData joins;
} FlatView;

static char *
quoted(const char *name)
{
	return message_quote_name(mapping_to_utf8(name));
}

static MappedColumn *
find_step(const FlatTable *from, const FlatColumn *column, const char *name)
{
	ListCell   *lc;

	foreach(lc, from->table->columns)
	{
		MappedColumn *found = (MappedColumn *) lfirst(lc);

		if (strcmp(found->name, name) == 0)
			return found;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s: table \"%s\" has no column \"%s\"", column->path,
					from->table->name, name),
			 errhint("It goes through columns that refer to other tables, with dots between them.")));
}

/* The table that a reference leads to, joined once for each way. */
static FlatTable *
join_table(FlatView *view, FlatTable *from, MappedColumn *by)
{
	FlatTable  *table;
	ListCell   *joined;
	ListCell   *lc;

	forboth(joined, from->joined, lc, from->by)
	{
		if (lfirst(lc) == by)
			return (FlatTable *) lfirst(joined);
	}
	table = palloc0(sizeof(FlatTable));
	table->table = by->references;
	table->alias = psprintf("t%d", ++view->naliases);
	from->joined = lappend(from->joined, table);
	from->by = lappend(from->by, by);
	appendStringInfo(&view->joins, "\nLEFT JOIN %s AS %s ON %s.%s = %s.%s",
					 quoted(table->table->name), table->alias, table->alias,
					 quoted(MAPPING_SURROGATE_KEY), from->alias, quoted(by->name));
	return table;
}

static void
add_column(FlatView *view, FlatTable *rows, const FlatColumn *column)
{
	FlatTable  *table = rows;
	ListCell   *lc;

	foreach(lc, column->steps)
	{
		MappedColumn *step = find_step(table, column, (char *) lfirst(lc));

		if (lnext(column->steps, lc) == NULL)
		{
			appendStringInfo(&view->columns, "%s\n  %s.%s AS %s",
							 view->columns.len ? "," : "", table->alias,
							 quoted(step->name), quoted(column->name));
			return;
		}
		if (step->references == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s: column \"%s\" of table \"%s\" refers to no table", column->path,
							step->name, table->table->name)));
		table = join_table(view, table, step);
	}
}

char *
map_flat(const MappedTables *mapped, const MappedTable *rows)
{
	FlatView	view;
	FlatTable	first;
	ListCell   *lc;

	if (rows == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s: no table of the mapping has the rows of the source", mapped->flat_path),
				 errdetail("The view begins with that table.")));
	memset(&view, 0, sizeof(view));
	initStringInfo(&view.columns);
	initStringInfo(&view.joins);
	memset(&first, 0, sizeof(first));
	first.table = rows;
	first.alias = "t0";
	foreach(lc, mapped->flat)
		add_column(&view, &first, (FlatColumn *) lfirst(lc));
	return psprintf("SELECT%s\nFROM %s AS t0%s", view.columns.data, quoted(rows->name),
					view.joins.data);
}
