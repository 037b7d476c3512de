/*-------------------------------------------------------------------------
 *
 * args.c
 *	  Arguments of the SQL functions, and lists of text as arrays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "args.h"

char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
require(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
}

char *
required_text_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	require(fcinfo, n, name);
	return text_arg(fcinfo, n);
}

Oid
required_relation_arg(FunctionCallInfo fcinfo, int n, const char *name,
					  char **relname)
{
	Oid			relid;

	require(fcinfo, n, name);
	relid = PG_GETARG_OID(n);
	*relname = get_rel_name(relid);
	if (*relname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	return relid;
}

List *
text_array_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		return NIL;
	return texts_from_array(PG_GETARG_ARRAYTYPE_P(n), name);
}

List *
texts_from_array(ArrayType *array, const char *name)
{
	List	   *texts = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &nelements);
	for (int i = 0; i < nelements; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", name)));
		texts = lappend(texts, TextDatumGetCString(elements[i]));
	}
	return texts;
}

ArrayType *
texts_to_array(List *texts)
{
	Datum	   *elements = palloc(list_length(texts) * sizeof(Datum));
	ListCell   *lc;

	foreach(lc, texts)
		elements[foreach_current_index(lc)] = CStringGetTextDatum((char *) lfirst(lc));
	return construct_array(elements, list_length(texts), TEXTOID, -1, false,
						   TYPALIGN_INT);
}
