/*-------------------------------------------------------------------------
 *
 * mapping.c
 *	  How the columns of a source become the columns of a target table.
 *
 * What PostgreSQL guarantees and SQLite can express is carried: the key, NOT
 * NULL, unique constraints, plain btree indexes, foreign keys between the
 * tables of one run, comments.  What is left out leaves a note.
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
#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "image.h"
#include "lfsync.h"
#include "mapping.h"

/* One column of a source, relation or query, before it is mapped. */
typedef struct ColumnInfo
{
	char	   *name;			/* server encoding */
	AttrNumber	attnum;			/* 0 in a query */
	Oid			typid;
	int32		typmod;
	bool		not_null;
	char	   *comment;
} ColumnInfo;

static char *
to_utf8(const char *text)
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

static bool
is_reserved(const char *name)
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
	if (is_reserved(name))
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

/* In an inheritance tree, unlike partitions, keys hold for each table alone. */
static bool
inherited(Oid relid)
{
	return get_rel_relkind(relid) == RELKIND_RELATION && has_subclass(relid);
}

static int
column_by_attnum(const ColumnInfo *columns, int ncolumns, AttrNumber attnum)
{
	for (int i = 0; i < ncolumns; i++)
	{
		if (columns[i].attnum == attnum)
			return i;
	}
	return -1;
}

/*
 * The fingerprint of a structure: any change of columns, their types or their
 * order changes it.
 */
static char *
fingerprint(const ColumnInfo *columns, int ncolumns)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&buf, "%s,%s,%d;", quote_identifier(columns[i].name),
						 format_type_with_typemod(columns[i].typid,
												  columns[i].typmod),
						 columns[i].not_null);
	return psprintf("%016llx",
					(unsigned long long) DatumGetUInt64(hash_any_extended((unsigned char *) buf.data,
																		  buf.len, 0)));
}

/*
 * The rowid is the table's key where that is one column of SQLite's type
 * INTEGER, in SQLite's own view too; every other key becomes a PRIMARY KEY
 * with an index of its own.
 */
static void
map_key(Mapping *mapping, const SyncOrder *order)
{
	mapping->rowid_column = -1;

	/*
	 * A table that is kept in sync outlives a NOT NULL that the source drops:
	 * it says so of its key alone.
	 */
	if (order_goes_on(order))
		memset(mapping->not_null, 0, mapping->table->ncolumns * sizeof(bool));
	for (int i = 0; i < mapping->table->nkeys; i++)
		mapping->not_null[mapping->table->keys[i]] = true;
	if (mapping->table->nkeys == 1 &&
		strcmp(mapping->table->columns[mapping->table->keys[0]].sqlite_type, "INTEGER") == 0)
		mapping->rowid_column = mapping->table->keys[0];
	mapping->table->auto_index = mapping->table->nkeys > 0 && mapping->rowid_column < 0;
}

/* Names of columns for a message, not more than can be read. */
static char *
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

static void
map_given_key(Mapping *mapping, const ColumnInfo *columns, int ncolumns,
			  List *key_columns)
{
	ListCell   *lc;

	mapping->table->nkeys = 0;
	mapping->table->keys = palloc(list_length(key_columns) * sizeof(int));
	foreach(lc, key_columns)
	{
		const char *name = (const char *) lfirst(lc);
		int			found = -1;

		for (int i = 0; i < ncolumns; i++)
		{
			if (strcmp(columns[i].name, name) == 0)
				found = i;
		}
		if (found < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" does not exist in the source", name),
					 errdetail("Its columns are: %s.", column_list(columns, ncolumns)),
					 errhint("Write the name as it is there, upper and lower case too.")));
		for (int i = 0; i < mapping->table->nkeys; i++)
		{
			if (mapping->table->keys[i] == found)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("key column \"%s\" is given twice", name),
						 errhint("Name each column once.")));
		}
		mapping->table->keys[mapping->table->nkeys++] = found;
	}
}

/* The columns of the target table, checked against SQLite's rules for names. */
static Mapping *
map_columns(const ColumnInfo *columns, int ncolumns, const char *table_name,
			const char *source, const SyncOptions *options)
{
	Mapping    *mapping = palloc0(sizeof(Mapping));
	TargetTable *table = palloc0(sizeof(TargetTable));

	if (ncolumns == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("source %s has no columns", source),
				 errdetail("A SQLite table needs at least one."),
				 errhint("Add a column, or leave the source out.")));
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
						 errhint("Give one of them an alias, in a query for lfsync_export_query().")));
		}
	}

	table->name = to_utf8(table_name);
	table->source = to_utf8(source);
	table->strict = options->strict;
	table->ncolumns = ncolumns;
	table->columns = palloc0(ncolumns * sizeof(TargetColumn));
	table->fingerprint = fingerprint(columns, ncolumns);
	mapping->table = table;
	mapping->not_null = palloc0(ncolumns * sizeof(bool));
	mapping->column_notes = palloc0(ncolumns * sizeof(char *));
	for (int i = 0; i < ncolumns; i++)
	{
		TargetColumn *column = &table->columns[i];
		ValueColumn value;

		value_prepare(&value, columns[i].typid, columns[i].typmod,
					  (SyncOptions *) options);
		column->name = to_utf8(columns[i].name);
		column->sqlite_type = pstrdup(value.sqlite_type);
		column->source_type = to_utf8(format_type_with_typemod(columns[i].typid,
															   columns[i].typmod));
		column->expression = to_utf8(quote_identifier(columns[i].name));
		column->comment = columns[i].comment ? to_utf8(columns[i].comment) : NULL;
		column->never_number = value.never_number;
		mapping->not_null[i] = columns[i].not_null && !value.nan_as_null;
		mapping->column_notes[i] = value.note;
	}
	return mapping;
}

/* What stands between the parentheses of CREATE TABLE. */
static void
map_body(Mapping *mapping, List *foreign_keys)
{
	TargetTable *table = mapping->table;
	StringInfoData body;
	StringInfoData late;
	ListCell   *lc;

	initStringInfo(&body);
	initStringInfo(&late);
	for (int i = 0; i < table->ncolumns; i++)
	{
		appendStringInfo(&body, "%s\n  %s %s", i ? "," : "",
						 message_quote_name(table->columns[i].name),
						 table->columns[i].sqlite_type);
		if (i == mapping->rowid_column)
			appendStringInfoString(&body, " PRIMARY KEY");
		else if (mapping->not_null[i])
			appendStringInfoString(&body, " NOT NULL");
	}

	/* late rows have the key as a value, and a rowid that says nothing */
	for (int i = 0; i < table->ncolumns; i++)
		appendStringInfo(&late, "%s%s %s", i ? ", " : "",
						 message_quote_name(table->columns[i].name),
						 table->columns[i].sqlite_type);
	mapping->late_sql = psprintf("CREATE TABLE %s (%s)",
								 message_quote_name(table->name), late.data);

	/*
	 * An image has no index: its tables differ from the target's in nothing
	 * else, so that SQLite can copy whole records.
	 */
	mapping->image_sql = psprintf("CREATE TABLE %s (%s)%s",
								  message_quote_name(table->name), body.data,
								  table->strict ? " STRICT" : "");
	if (table->auto_index)
	{
		appendStringInfoString(&body, ",\n  PRIMARY KEY (");
		for (int i = 0; i < mapping->table->nkeys; i++)
			appendStringInfo(&body, "%s%s", i ? ", " : "",
							 message_quote_name(table->columns[mapping->table->keys[i]].name));
		appendStringInfoChar(&body, ')');
	}
	foreach(lc, foreign_keys)
		appendStringInfo(&body, ",\n  %s", (char *) lfirst(lc));
	appendStringInfoChar(&body, '\n');
	table->body = body.data;
}

/* One index that is not the primary key's; NULL and a note if left out. */
static TargetIndex *
map_index(Mapping *mapping, const ColumnInfo *columns, Relation index,
		  bool keep_unique)
{
	Form_pg_index form = index->rd_index;
	char	   *name = to_utf8(RelationGetRelationName(index));
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

		/* indexes on system columns are not possible */
		Assert(column >= 0);
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
	if (is_reserved(name))
	{
		target->name = psprintf("index_%s", name);
		mapping->notes = lappend(mapping->notes,
								 psprintf("index %s is named %s: its prefix is reserved", name, target->name));
	}
	else
		target->name = name;
	return target;
}

static void
map_indexes(Mapping *mapping, const ColumnInfo *columns, Relation rel,
			const SyncOrder *order)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	bool		keep_unique = !inherited(RelationGetRelid(rel));
	bool		goes_on = order_goes_on(order);

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_index->indisprimary && index->rd_index->indisvalid &&
			keep_unique && order->key_columns == NIL)
		{
			mapping->table->nkeys = index->rd_index->indnkeyatts;
			mapping->table->keys = palloc(mapping->table->nkeys * sizeof(int));
			for (int i = 0; i < mapping->table->nkeys; i++)
				mapping->table->keys[i] = column_by_attnum(columns, mapping->table->ncolumns,
													index->rd_index->indkey.values[i]);
		}
		else if (order->options.indexes)
		{
			TargetIndex *target = map_index(mapping, columns, index, keep_unique && !goes_on);

			if (target)
				mapping->table->indexes = lappend(mapping->table->indexes, target);
		}
		index_close(index, NoLock);
	}
	if (!keep_unique)
		mapping->notes = lappend(mapping->notes,
								 psprintf("keys of %s are carried without uniqueness: other tables inherit from it",
										  mapping->table->source));
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
						 message_quote_name(to_utf8(get_attname(relid, values[i], false))));
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
static List *
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
											  to_utf8(NameStr(form->conname)),
											  parent ? "the run has a filter" :
											  "its other table is not part of the run"));
			continue;
		}
		if (!form->convalidated)
		{
			mapping->notes = lappend(mapping->notes,
									 psprintf("foreign key %s is not carried: it is not valid",
											  to_utf8(NameStr(form->conname))));
			continue;
		}
#if PG_VERSION_NUM >= 180000
		if (form->conperiod)
		{
			mapping->notes = lappend(mapping->notes,
									 psprintf("foreign key %s is not carried: it is about periods",
											  to_utf8(NameStr(form->conname))));
			continue;
		}
#endif
		/* SQLite wants a unique key at the other end */
		if (!key_is_carried(form->conindid, order) || inherited(form->confrelid))
		{
			mapping->notes = lappend(mapping->notes,
									 psprintf("foreign key %s is not carried: the key it refers to is not",
											  to_utf8(NameStr(form->conname))));
			continue;
		}
		clauses = lappend(clauses,
						  psprintf("FOREIGN KEY (%s) REFERENCES %s (%s)",
								   quoted_attributes(form->conrelid,
													 heap_getattr(tuple, Anum_pg_constraint_conkey,
																  RelationGetDescr(constraints), &isnull)),
								   message_quote_name(to_utf8(parent)),
								   quoted_attributes(form->confrelid,
													 heap_getattr(tuple, Anum_pg_constraint_confkey,
																  RelationGetDescr(constraints), &isnull))));
	}
	systable_endscan(scan);
	table_close(constraints, AccessShareLock);
	return clauses;
}

/*
 * A filter is one condition: by itself, so that it closes no parenthesis of
 * ours, and between parentheses, where map_sql() puts it.
 */
static void
check_filter(const char *filter)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(filter, RAW_PARSE_PLPGSQL_EXPR));

	if (list_length(castNode(SelectStmt, raw->stmt)->targetList) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the filter must be one condition"),
				 errdetail("It stands where a WHERE clause has its condition."),
				 errhint("For example: filter => 'id > 1000'. Leave it out to get all rows.")));
}

char *
mapping_select(const Mapping *mapping, const char *condition, const char *order)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT %s FROM %s", mapping->select_list, mapping->from);
	if (mapping->filter)
		appendStringInfo(&sql, " WHERE (%s\n)", mapping->filter);
	if (condition)
		appendStringInfo(&sql, " %s %s", mapping->filter ? "AND" : "WHERE", condition);
	if (order)
		appendStringInfo(&sql, " ORDER BY %s", order);
	return sql.data;
}

static char *
select_list(const ColumnInfo *columns, int ncolumns)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < ncolumns; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "",
						 quote_identifier(columns[i].name));
	return list.data;
}

Mapping *
mapping_from_relation(Oid relid, const char *table_name, const SyncOrder *order)
{
	Relation	rel = table_open(relid, NoLock);
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *relation;
	ColumnInfo *columns = palloc0(desc->natts * sizeof(ColumnInfo));
	int			ncolumns = 0;
	bool		is_table = rel->rd_rel->relkind == RELKIND_RELATION ||
		rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	Mapping    *mapping;
	List	   *foreign_keys = NIL;
	char	   *comment;

	relation = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
										  RelationGetRelationName(rel));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		columns[ncolumns].name = pstrdup(NameStr(att->attname));
		columns[ncolumns].attnum = att->attnum;
		columns[ncolumns].typid = att->atttypid;
		columns[ncolumns].typmod = att->atttypmod;
		columns[ncolumns].not_null = is_table && att->attnotnull &&
			not_null_is_valid(relid, att->attnum);
		columns[ncolumns].comment = GetComment(relid, RelationRelationId, att->attnum);
		ncolumns++;
	}
	mapping = map_columns(columns, ncolumns, table_name, relation, &order->options);
	comment = GetComment(relid, RelationRelationId, 0);
	mapping->table->comment = comment ? to_utf8(comment) : NULL;

	map_indexes(mapping, columns, rel, order);
	if (order->key_columns != NIL)
		map_given_key(mapping, columns, ncolumns, order->key_columns);
	map_key(mapping, order);
	if (order->options.foreign_keys)
		foreign_keys = map_foreign_keys(mapping, rel, order);
	map_body(mapping, foreign_keys);
	if (order->filter)
		check_filter(order->filter);
	mapping->select_list = select_list(columns, ncolumns);
	mapping->from = relation;
	mapping->filter = order->filter;
	/* pages are built in rowid order */
	mapping->sql = mapping_select(mapping, NULL,
								  mapping->rowid_column < 0 ? NULL :
								  psprintf("%d", mapping->rowid_column + 1));
	/* plain tables alone have an order of their own */
	if (mapping->rowid_column >= 0 &&
		(rel->rd_rel->relkind == RELKIND_RELATION ||
		 rel->rd_rel->relkind == RELKIND_MATVIEW) && !inherited(relid) &&
		source_in_order(relid, columns[mapping->rowid_column].attnum))
		mapping->heap_sql = mapping_select(mapping, NULL, NULL);

	table_close(rel, NoLock);
	return mapping;
}

/* A query as something to select from, without the semicolon and what follows. */
static char *
parenthesized(const char *query)
{
	RawStmt    *raw = linitial_node(RawStmt, raw_parser(query, RAW_PARSE_DEFAULT));
	const char *statement = query + raw->stmt_location;

	/* no length: to the end */
	return psprintf("(%.*s\n) AS source",
					raw->stmt_len > 0 ? raw->stmt_len : (int) strlen(statement), statement);
}

Mapping *
mapping_from_query(const Source *source, const char *table_name,
				   const SyncOrder *order)
{
	ColumnInfo *columns = palloc0(source->ncolumns * sizeof(ColumnInfo));
	Mapping    *mapping;

	for (int i = 0; i < source->ncolumns; i++)
	{
		columns[i].name = source->columns[i].name;
		columns[i].typid = source->columns[i].typid;
		columns[i].typmod = source->columns[i].typmod;
	}
	mapping = map_columns(columns, source->ncolumns, table_name,
						  source->description, &order->options);
	if (order->key_columns != NIL)
		map_given_key(mapping, columns, source->ncolumns, order->key_columns);
	map_key(mapping, order);
	map_body(mapping, NIL);
	mapping->select_list = select_list(columns, source->ncolumns);
	mapping->from = parenthesized(order->query);
	mapping->sql = mapping_select(mapping, NULL,
								  mapping->rowid_column < 0 ? NULL :
								  psprintf("%d", mapping->rowid_column + 1));
	return mapping;
}

char *
mapping_create_sql(const TargetTable *table)
{
	return psprintf("CREATE TABLE %s (%s)%s", message_quote_name(table->name),
					table->body, table->strict ? " STRICT" : "");
}
