/*-------------------------------------------------------------------------
 *
 * mapping_parts.h
 *	  What the rooms that make mappings have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_MAPPING_PARTS_H
#define LFSYNC_MAPPING_PARTS_H

#include "utils/rel.h"

#include "mapping.h"
#include "mapping_json.h"

/* One column on its way from a source to a target table. */
typedef struct ColumnInfo
{
	char	   *name;			/* in the target; server encoding, as all here */
	char	   *sql;			/* over the source's row ... */
	char	   *shown;			/* ... and as it was written; NULL: as it is */
	bool		is_expression;	/* not just a name */
	AttrNumber	attnum;			/* 0: an expression, or in a query */
	Oid			typid;
	int32		typmod;
	bool		not_null;
	char	   *comment;
	const MappedTable *references;	/* the row of which table, or NULL */
} ColumnInfo;

/* What there is to be mapped. */
typedef struct SourceInfo
{
	Oid			relid;			/* InvalidOid: a query */
	Relation	rel;			/* NULL: a query */
	char	   *description;
	char	   *from;			/* as in Mapping */
	int			ncolumns;
	ColumnInfo *columns;
	char	   *comment;
} SourceInfo;

/* Another table that the rows of a source are taken apart into. */
typedef struct DimensionInfo
{
	MappedTable *mapped;
	int			ncolumns;
	ColumnInfo *columns;
	int		   *inputs;			/* columns of the SELECT; -1: a reference */
} DimensionInfo;

/* What a mapping makes of a source. */
typedef struct TablesInfo
{
	MappedTable *rows;			/* the table that has the source's rows, or
								 * NULL */
	int			ncolumns;		/* of the SELECT; those of "rows" come first */
	int			nrow_columns;	/* of these */
	ColumnInfo *columns;
	List	   *key;			/* int; NIL: none, or "rows" has not said */
	List	   *dimensions;		/* of DimensionInfo: none before what it refers
								 * to */
	char	   *view_name;		/* or NULL */
	char	   *view_sql;		/* UTF-8 */
} TablesInfo;

/* The column that numbers a dimension's rows. */
#define MAPPING_SURROGATE_KEY	"id"

extern char *mapping_to_utf8(const char *text);

/* The column of a name or number, or -1. */
extern int	column_by_name(const ColumnInfo *columns, int ncolumns,
						   const char *name);
extern int	column_by_attnum(const ColumnInfo *columns, int ncolumns,
							 AttrNumber attnum);

/* Names of columns for a message, not more than can be read. */
extern char *column_list(const ColumnInfo *columns, int ncolumns);

/*
 * Any change of columns, their types, their order or what they come from
 * changes it.
 */
extern char *mapping_fingerprint(const ColumnInfo *columns, int ncolumns,
								 List *natural, List *dimensions);

/* What a column of a source becomes, under a policy of types. */
extern void map_column(TargetColumn *target, const ColumnInfo *column,
					   const SyncOptions *options, bool *not_null,
					   const char **note);

/* mapping_select.c */

/* One expression or condition, which closes no parenthesis of ours. */
extern bool mapping_is_one_expression(const char *sql);
extern void mapping_check_filter(const char *filter);
extern char *mapping_select_list(const ColumnInfo *columns, int ncolumns);

/* A query as something to select from. */
extern char *mapping_from_clause(const char *query);

/* Plain tables alone have an order of their own. */
extern bool mapping_has_own_order(const SourceInfo *source);

/* What to order by when all rows are read; NULL: it does not matter. */
extern char *mapping_row_order(const Mapping *mapping, const TablesInfo *tables,
							   const SourceInfo *source);

/* mapping_structure.c */

/* Columns of the key by number, and what follows from them. */
extern void set_key(TargetTable *table, List *columns);
extern void map_key(Mapping *mapping, const SyncOrder *order);

/* The columns that argument "key_columns" names. */
extern List *given_key(const ColumnInfo *columns, int ncolumns,
					   List *key_columns);

/*
 * Indexes that a mapping asks for.  "first" is the number of the mapping's
 * first column in the table.
 */
extern void map_given_indexes(TargetTable *table, List *indexes, int first);
extern void set_fts(TargetTable *table, List *columns, int first,
					bool has_rowid, const char *path);

/* The columns that option "fts" names. */
extern List *fts_option(const SourceInfo *source, const SyncOrder *order);

/* Lists of columns in SQL, without a type or with it. */
extern char *quoted_columns(const TargetTable *table, const int *numbers, int n);
extern char *bare_columns(const TargetTable *table, int first);

/* What stands between the parentheses of CREATE TABLE. */
extern char *typed_columns(const TargetTable *table, const bool *not_null,
						   int rowid_column);
extern char *with_constraints(const char *body, List *constraints);
extern void map_body(Mapping *mapping, List *foreign_keys);

/* mapping_dimension.c */

/* The dimensions that columns refer to, behind "offset" that refer to none. */
extern int *find_parents(const ColumnInfo *columns, int ncolumns,
						 const TablesInfo *tables, int offset);
extern List *reference_clauses(const TargetTable *table,
							   const TablesInfo *tables,
							   const SyncOrder *order);
extern MappingDimension *map_dimension(const DimensionInfo *info,
									   const TablesInfo *tables,
									   const SourceInfo *source,
									   const SyncOrder *order);

/* mapping_catalog.c */

extern SourceInfo *source_info_from_relation(Relation rel);

/* In an inheritance tree, unlike partitions, keys hold for each table alone. */
extern bool mapping_is_inherited(Oid relid);

/*
 * The primary key, unless a key is given, and with "others" all indexes, as
 * far as the target has their columns.
 */
extern void map_indexes(Mapping *mapping, const ColumnInfo *columns,
						Relation rel, const SyncOrder *order, bool others);

/* Clauses of the foreign keys that are carried. */
extern List *map_foreign_keys(Mapping *mapping, Relation rel,
							  const SyncOrder *order);

/* Do these columns tell the rows of the relation apart? */
extern bool columns_are_unique(Relation rel, const List *attnums);

/* The columns of the primary key, in its order; NIL: there is none. */
extern List *primary_key_columns(Relation rel);

/* mapping_tables.c */

extern TablesInfo *map_tables(const SourceInfo *source,
							  const MappedTables *mapped,
							  const SyncOrder *order);

/* mapping_flat.c */

/* The SELECT of the view that joins the tables again, in UTF-8. */
extern char *map_flat(const MappedTables *mapped, const MappedTable *rows);

#endif							/* LFSYNC_MAPPING_PARTS_H */
