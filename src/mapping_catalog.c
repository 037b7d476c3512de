/*-------------------------------------------------------------------------
 *
 * mapping_catalog.c
 *	  What PostgreSQL's catalogs say of a source.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "commands/comment.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "mapping_parts.h"

/*
 * Does the table really hold no NULL there?  From 18 on a NOT NULL constraint
 * may be NOT VALID, with attnotnull set all the same.
 */
static bool
not_null_is_valid(Oid relid, AttrNumber attnum)
{
	bool		valid = true;

#if PG_VERSION_NUM >= 180000
	HeapTuple	tuple = findNotNullConstraintAttnum(relid, attnum);

	if (HeapTupleIsValid(tuple))
	{
		valid = ((Form_pg_constraint) GETSTRUCT(tuple))->convalidated;
		heap_freetuple(tuple);
	}
#endif
	return valid;
}

bool
mapping_is_inherited(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_RELATION && has_subclass(relid);
}

/* One index that is not the primary key's; NULL and a note if left out. */
static TargetIndex *
map_index(Mapping *mapping, const ColumnInfo *columns, Relation index,
		  bool keep_unique)
{
	Form_pg_index form = index->rd_index;
	char	   *name = mapping_to_utf8(RelationGetRelationName(index));
	const char *reason = NULL;
	TargetIndex *target;
	StringInfoData list;

	if (!form->indisvalid)
		reason = "it is not valid";
	else if (index->rd_rel->relam != BTREE_AM_OID)
		reason = "it is not a btree";
	else if (!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		reason = "it has expressions";
	else if (!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
		reason = "it is partial";
	if (reason)
	{
		mapping->notes = lappend(mapping->notes,
								 psprintf("index %s is not carried: %s", name, reason));
		return NULL;
	}

	initStringInfo(&list);
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		int			column = column_by_attnum(columns, mapping->table->ncolumns,
											  form->indkey.values[i]);

		if (column < 0)
		{
			mapping->notes = lappend(mapping->notes,
									 psprintf("index %s is not carried: the table lacks one of its columns", name));
			return NULL;
		}
		appendStringInfo(&list, "%s%s%s", i ? ", " : "",
						 message_quote_name(mapping->table->columns[column].name),
						 (index->rd_indoption[i] & INDOPTION_DESC) ? " DESC" : "");
	}

	target = palloc0(sizeof(TargetIndex));
	target->columns = list.data;
	target->unique = form->indisunique && keep_unique;
#if PG_VERSION_NUM >= 150000
	if (target->unique && form->indnullsnotdistinct)
	{
		/* in SQLite NULLs are always distinct */
		target->unique = false;
		mapping->notes = lappend(mapping->notes,
								 psprintf("index %s is carried without UNIQUE: it is NULLS NOT DISTINCT", name));
	}
#endif
	if (mapping_name_is_reserved(name))
	{
		target->name = psprintf("index_%s", name);
		mapping->notes = lappend(mapping->notes,
								 psprintf("index %s is named %s: its prefix is reserved", name, target->name));
	}
	else
		target->name = name;
	return target;
}

/* The columns of an index; NIL if one of them is missing. */
static List *
index_columns(const Mapping *mapping, const ColumnInfo *columns, Form_pg_index form)
{
	List	   *numbers = NIL;

	for (int i = 0; i < form->indnkeyatts; i++)
	{
		int			column = column_by_attnum(columns, mapping->table->ncolumns,
											  form->indkey.values[i]);

		if (column < 0 || form->indkey.values[i] == 0)
			return NIL;
		numbers = lappend_int(numbers, column);
	}
	return numbers;
}

/* Is that the table's key already? */
static bool
is_key(const TargetTable *table, List *columns)
{
	ListCell   *lc;

	if (table->nkeys != list_length(columns))
		return false;
	foreach(lc, columns)
	{
		if (table->keys[foreach_current_index(lc)] != lfirst_int(lc))
			return false;
	}
	return true;
}

void
map_indexes(Mapping *mapping, const ColumnInfo *columns, Relation rel,
			const SyncOrder *order, bool others)
{
	TargetTable *table = mapping->table;
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		key_given = order->key_columns != NIL || table->nkeys > 0;
	bool		keep_unique = !mapping_is_inherited(RelationGetRelid(rel));
	bool		goes_on = order_goes_on(order);

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		List	   *numbers = index_columns(mapping, columns, form);

		if (form->indisprimary && form->indisvalid && keep_unique && !key_given &&
			numbers != NIL)
		{
			table->keys = palloc(list_length(numbers) * sizeof(int));
			for (table->nkeys = 0; table->nkeys < list_length(numbers); table->nkeys++)
				table->keys[table->nkeys] = list_nth_int(numbers, table->nkeys);
		}
		else if (others && !(key_given && numbers != NIL && is_key(table, numbers)))
		{
			TargetIndex *target = map_index(mapping, columns, index, keep_unique && !goes_on);

			if (target)
				table->indexes = lappend(table->indexes, target);
		}
		index_close(index, NoLock);
	}
	if (!keep_unique)
		mapping->notes = lappend(mapping->notes,
								 psprintf("keys of %s are carried without uniqueness: other tables inherit from it",
										  table->source));
}

bool
columns_are_unique(Relation rel, const List *attnums)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		unique = false;
	ListCell   *lc;

	if (mapping_is_inherited(RelationGetRelid(rel)))
		return false;
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		fits = form->indisunique && form->indisvalid && form->indimmediate &&
			form->indnkeyatts == list_length(attnums) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

		for (int i = 0; i < form->indnkeyatts && fits; i++)
		{
			AttrNumber	attnum = form->indkey.values[i];

			fits = attnum > 0 && list_member_int(attnums, attnum) &&
				TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attnotnull;
		}
		unique = unique || fits;
		index_close(index, NoLock);
	}
	return unique;
}

static char *
quoted_attributes(Oid relid, Datum attnums)
{
	ArrayType  *array = DatumGetArrayTypeP(attnums);
	int16	   *values = (int16 *) ARR_DATA_PTR(array);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < ARR_DIMS(array)[0]; i++)
		appendStringInfo(&buf, "%s%s", i ? ", " : "",
						 message_quote_name(mapping_to_utf8(get_attname(relid, values[i], false))));
	return buf.data;
}

/*
 * A foreign key to a partitioned table has copies, one for each partition it
 * may lead to: rows of pg_constraint, but no constraints of their own.
 */
static bool
is_partition_copy(Form_pg_constraint form)
{
	HeapTuple	parent;
	bool		copy = false;

	if (!OidIsValid(form->conparentid))
		return false;
	parent = SearchSysCache1(CONSTROID, ObjectIdGetDatum(form->conparentid));
	if (HeapTupleIsValid(parent))
	{
		copy = ((Form_pg_constraint) GETSTRUCT(parent))->conrelid == form->conrelid;
		ReleaseSysCache(parent);
	}
	return copy;
}

/*
 * Is what this index says about its table still said in the target, as a key
 * that foreign keys may refer to?
 */
static bool
key_is_carried(Oid indexid, const SyncOrder *order)
{
	Relation	index = index_open(indexid, AccessShareLock);
	bool		primary = index->rd_index->indisprimary && order->key_columns == NIL;
	bool		unique = order->options.indexes && !order->in_place &&
		!index->rd_index->indnullsnotdistinct;

	index_close(index, NoLock);
	return primary || unique;
}

/*
 * Foreign keys to tables of the same run.  Their actions are left out: the
 * copy follows the source, it does not act by itself.
 */
List *
map_foreign_keys(Mapping *mapping, Relation rel, const SyncOrder *order)
{
	List	   *clauses = NIL;
	Relation	constraints = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(RelationGetRelid(rel)));
	scan = systable_beginscan(constraints, ConstraintRelidTypidNameIndexId, true,
							  NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
		ListCell   *source;
		ListCell   *name;
		const char *parent = NULL;
		bool		isnull;

		if (form->contype != CONSTRAINT_FOREIGN || is_partition_copy(form))
			continue;
		forboth(source, order->sources, name, order->table_names)
		{
			if (lfirst_oid(source) == form->confrelid)
				parent = (const char *) lfirst(name);
		}
		if (parent == NULL || order->filter)
		{
			/* a filter may keep a row and leave out the one it refers to */
			mapping->notes = lappend(mapping->notes,
									 psprintf("foreign key %s is not carried: %s",
											  mapping_to_utf8(NameStr(form->conname)),
											  parent ? "the run has a filter" :
											  "its other table is not part of the run"));
			continue;
		}
		if (!form->convalidated)
		{
			mapping->notes = lappend(mapping->notes,
									 psprintf("foreign key %s is not carried: it is not valid",
											  mapping_to_utf8(NameStr(form->conname))));
			continue;
		}
#if PG_VERSION_NUM >= 180000
		if (form->conperiod)
		{
			mapping->notes = lappend(mapping->notes,
									 psprintf("foreign key %s is not carried: it is about periods",
											  mapping_to_utf8(NameStr(form->conname))));
			continue;
		}
#endif
		/* SQLite wants a unique key at the other end */
		if (!key_is_carried(form->conindid, order) || mapping_is_inherited(form->confrelid))
		{
			mapping->notes = lappend(mapping->notes,
									 psprintf("foreign key %s is not carried: the key it refers to is not",
											  mapping_to_utf8(NameStr(form->conname))));
			continue;
		}
		clauses = lappend(clauses,
						  psprintf("FOREIGN KEY (%s) REFERENCES %s (%s)",
								   quoted_attributes(form->conrelid,
													 heap_getattr(tuple, Anum_pg_constraint_conkey,
																  RelationGetDescr(constraints), &isnull)),
								   message_quote_name(mapping_to_utf8(parent)),
								   quoted_attributes(form->confrelid,
													 heap_getattr(tuple, Anum_pg_constraint_confkey,
																  RelationGetDescr(constraints), &isnull))));
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return clauses;
}


List *
primary_key_columns(Relation rel)
{
	List	   *attnums = NIL;
	Relation	index;

	/* this finds it out */
	(void) RelationGetIndexList(rel);
	if (!OidIsValid(rel->rd_pkindex))
		return NIL;
	index = index_open(rel->rd_pkindex, AccessShareLock);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		attnums = lappend_int(attnums, index->rd_index->indkey.values[i]);
	index_close(index, NoLock);
	return attnums;
}

SourceInfo *
source_info_from_relation(Relation rel)
{
	SourceInfo *source = palloc0(sizeof(SourceInfo));
	TupleDesc	desc = RelationGetDescr(rel);
	bool		is_table = rel->rd_rel->relkind == RELKIND_RELATION ||
		rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;

	source->relid = RelationGetRelid(rel);
	source->rel = rel;
	source->description = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
													 RelationGetRelationName(rel));
	source->from = source->description;
	source->comment = GetComment(source->relid, RelationRelationId, 0);
	source->columns = palloc0(desc->natts * sizeof(ColumnInfo));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		ColumnInfo *column = &source->columns[source->ncolumns];

		if (att->attisdropped)
			continue;
		column->name = pstrdup(NameStr(att->attname));
		column->sql = pstrdup(quote_identifier(column->name));
		column->attnum = att->attnum;
		column->typid = att->atttypid;
		column->typmod = att->atttypmod;
		column->not_null = is_table && att->attnotnull &&
			not_null_is_valid(source->relid, att->attnum);
		column->comment = GetComment(source->relid, RelationRelationId, att->attnum);
		source->ncolumns++;
	}
	return source;
}
