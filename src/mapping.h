/*-------------------------------------------------------------------------
 *
 * mapping.h
 *	  How the columns of a source become the columns of a target table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_MAPPING_H
#define LFSYNC_MAPPING_H

#include "message.h"
#include "order.h"
#include "source.h"

/* A table that rows of the source are taken apart into. */
typedef struct MappingDimension
{
	TargetTable *table;			/* its first column is the surrogate key */
	int		   *inputs;			/* per column: of the SELECT; -1: that key, or
								 * another dimension's */
	char	   *image_sql;		/* CREATE TABLE as an image has it: without that
								 * key, which is the rowid there */
	bool		has_values;		/* columns that rows of one key may disagree on */
	const char **column_notes;	/* per column, may be NULL */
} MappingDimension;

typedef struct Mapping
{
	TargetTable *table;			/* rowless: only the dimensions are tables */
	List	   *dimensions;		/* of MappingDimension: none before one that it
								 * refers to */
	int			nselected;		/* columns of the SELECT: the table's, and what
								 * else is needed */
	char	  **sql_of;			/* per column of the SELECT: what it is */
	char	   *sql;			/* the SELECT; NULL where there is a query */
	char	   *select_list;	/* its columns ... */
	char	   *from;			/* ... and what they come from, a relation or
								 * the query in parentheses, with alias; ... */
	char	   *filter;			/* ... and its condition; NULL: all rows */
	char	   *heap_sql;		/* the same in the table's own order, where that
								 * is mostly the rowid's; or NULL */
	char	   *image_sql;		/* CREATE TABLE as a batch's image has it */
	char	   *late_sql;		/* and as the image of late rows has it */
	int			rowid_column;	/* integer key, the rowid's alias; -1: rows are
								 * numbered as they come */
	bool	   *not_null;		/* per column */
	const char **column_notes;	/* per column, may be NULL */
	List	   *notes;			/* of char *: what is not carried, and why */
} Mapping;

/*
 * A relation: its columns, keys, indexes, and foreign keys to the relations
 * in order->sources.  The caller holds a lock on it.
 */
extern Mapping *mapping_from_relation(Oid relid, const char *table_name,
									  const SyncOrder *order);

/* A query, whose columns are known once it is prepared. */
extern Mapping *mapping_from_query(const Source *source,
								   const char *table_name,
								   const SyncOrder *order);

/*
 * The SELECT of a mapping's columns from its source, with the filter and one
 * more condition and an order, each of which may be NULL.
 */
extern char *mapping_select(const Mapping *mapping, const char *condition,
							const char *order);

/*
 * The mapping of an order's relation, or else of its query, without a run:
 * raises whatever is wrong with it.  The caller holds a lock on the relation.
 */
extern Mapping *mapping_check(Oid relid, const char *query,
							  const SyncOrder *order);

/*
 * Names of the tables that an order makes: those of its mapping, if it has one,
 * or the one name given, or the source's.
 */
extern List *mapping_target_names(const char *mapping, char *table_name,
								  char *source_name);

/* "CREATE TABLE name (body)", the same text wherever the table is made. */
extern char *mapping_create_sql(const TargetTable *table);

/* A name as SQLite sees it; refuses what SQLite or lfsync reserves. */
extern void mapping_check_table_name(const char *name);

/* Does it begin as SQLite's names do, or lfsync's? */
extern bool mapping_name_is_reserved(const char *name);

/* True if SQLite takes the two for one name. */
extern bool mapping_same_name(const char *a, const char *b);

/* Kinds of relations that can be read; others raise 42809. */
extern void mapping_check_relation(Oid relid);

#endif							/* LFSYNC_MAPPING_H */
