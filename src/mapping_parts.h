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
extern bool mapping_name_is_reserved(const char *name);

/* The column of a name or number, or -1. */
extern int	column_by_name(const ColumnInfo *columns, int ncolumns,
						   const char *name);
extern int	column_by_attnum(const ColumnInfo *columns, int ncolumns,
							 AttrNumber attnum);

/* Names of columns for a message, not more than can be read. */
extern char *column_list(const ColumnInfo *columns, int ncolumns);

/* One expression or condition, which closes no parenthesis of ours. */
extern bool mapping_is_one_expression(const char *sql);

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
