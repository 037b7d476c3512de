/*-------------------------------------------------------------------------
 *
 * args.h
 *	  Arguments of the SQL functions, and lists of text as arrays.
 *
 *-------------------------------------------------------------------------
 */
#ifndef LFSYNC_ARGS_H
#define LFSYNC_ARGS_H

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

/* NULL for NULL */
extern char *text_arg(FunctionCallInfo fcinfo, int n);

/* These raise 22004 for NULL; the relation's name comes with its OID. */
extern char *required_text_arg(FunctionCallInfo fcinfo, int n,
							   const char *name);
extern Oid	required_relation_arg(FunctionCallInfo fcinfo, int n,
								  const char *name, char **relname);

/* The elements of a text[] argument; NIL if it is NULL or empty. */
extern List *text_array_arg(FunctionCallInfo fcinfo, int n, const char *name);

/* The same for a stored array, and back.  List of char *. */
extern List *texts_from_array(ArrayType *array, const char *name);
extern ArrayType *texts_to_array(List *texts);

#endif							/* LFSYNC_ARGS_H */
