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
char *
mapping_fingerprint(const ColumnInfo *columns, int ncolumns, List *natural, List *dimensions)
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
void
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
 * All of it
 *-------------------------------------------------------------------------
 */

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
	table->fingerprint = mapping_fingerprint(tables->columns, tables->nrow_columns, NIL,
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
		mapping_check_filter(order->filter);
	mapping->select_list = mapping_select_list(tables->columns, tables->ncolumns);
	mapping->from = source->from;
	mapping->filter = order->filter;
	mapping->sql = mapping_select(mapping, NULL, mapping_row_order(mapping, tables, source));
	if (mapping->rowid_column >= 0 && mapping_has_own_order(source) && mapping->dimensions == NIL &&
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
	source.from = mapping_from_clause(order->query);
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
