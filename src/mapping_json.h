/*-------------------------------------------------------------------------
 *
 * mapping_json.h
 *	  The argument "mapping": which tables one source becomes.
 *
 * What can be told without looking at the source is checked here.  Every error
 * begins with the place in the json that is wrong.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_MAPPING_JSON_H
#define LFSYNC_MAPPING_JSON_H

#include "nodes/pg_list.h"

typedef struct MappedTable MappedTable;

/* One column of a target table: one of the three is not NULL. */
typedef struct MappedColumn
{
	char	   *name;
	char	   *path;			/* of what it comes from */
	char	   *source;			/* a column of the source */
	char	   *expression;		/* SQL over its row */
	MappedTable *references;	/* the row of another table */
} MappedColumn;

struct MappedTable
{
	char	   *name;
	char	   *path;
	List	   *columns;		/* of MappedColumn */
	char	   *key_path;
	List	   *key;			/* int: columns; NIL: not given */
	bool		has_indexes;
	List	   *indexes;		/* of int lists: columns */
	char	   *fts_path;
	List	   *fts;			/* int: columns; NIL: no full-text index */
	bool		referenced;
};

/* A column of the view that gives the source's shape back. */
typedef struct FlatColumn
{
	char	   *name;
	char	   *path;
	List	   *steps;			/* of char *: reference columns, and the column */
} FlatColumn;

typedef struct MappedTables
{
	List	   *tables;			/* of MappedTable: no table before one that it
								 * refers to */
	char	   *flat_name;		/* NULL: no such view */
	char	   *flat_path;
	List	   *flat;			/* of FlatColumn */
} MappedTables;

extern MappedTables *mapping_parse(const char *json);

#endif							/* LFSYNC_MAPPING_JSON_H */
