/*-------------------------------------------------------------------------
 *
 * source.c
 *	  Reading a source: relation or query, in chunks, through SPI.
 *
 * Rows stream from a read-only SPI cursor into an own DestReceiver, a small
 * number at a time, so that no tuple table is ever built.  The receiver never
 * asks the executor to pause: a portal whose receiver says no counts as
 * finished, and the rest of its rows would silently be lost.  It says no only
 * where its owner wants none of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_statistic.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "source.h"

typedef struct RowReceiver
{
	DestReceiver pub;
	Source	   *source;
	SourceRow	row;
	void	   *arg;
	MemoryContext row_context;
	ImageValue *converted;
	bool		in_row;			/* else the executor is looking for the next */
	int			column;			/* being converted, -1: none */
	uint64		rows;			/* begun */
	bool		ended;			/* by its owner */
} RowReceiver;

Source *
source_prepare(Oid relid, const char *description, const char *sql)
{
	Source	   *source = palloc0(sizeof(Source));
	MemoryContext oldcontext = CurrentMemoryContext;
	CachedPlanSource *plansource;
	TupleDesc	desc;
	List	   *plansources;
	ListCell   *lc;

	source->relid = relid;
	source->description = pstrdup(description);

	/* no scroll: a scrollable portal makes sorts keep everything */
	source->plan = SPI_prepare_cursor(sql, 0, NULL, CURSOR_OPT_NO_SCROLL);
	/* SPI comes back in a context of its own, which goes with SPI_finish() */
	MemoryContextSwitchTo(oldcontext);
	if (source->plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s",
			 SPI_result_code_string(SPI_result));

	plansources = SPI_plan_get_plan_sources(source->plan);
	if (list_length(plansources) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("the query must be one statement"),
				 errhint("Give a single SELECT.")));
	plansource = (CachedPlanSource *) linitial(plansources);
	foreach(lc, plansource->query_list)
	{
		Query	   *query = lfirst_node(Query, lc);

		if (query->commandType != CMD_SELECT || query->hasModifyingCTE ||
			query->rowMarks != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the query must be a plain SELECT"),
					 errdetail("A run reads only: data-modifying statements, row locks, SHOW and other utility statements are refused."),
					 errhint("Give a SELECT, VALUES or TABLE statement without FOR UPDATE.")));
	}

	desc = plansource->resultDesc;
	if (desc == NULL || desc->natts == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("source %s has no columns", description),
				 errdetail("A SQLite table needs at least one."),
				 errhint("Select at least one column.")));
	source->ncolumns = desc->natts;
	source->columns = palloc0(desc->natts * sizeof(SourceColumn));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		SourceColumn *column = &source->columns[i];

		column->name = pstrdup(NameStr(att->attname));
		column->typid = att->atttypid;
		column->typmod = att->atttypmod;
		if (get_typtype(att->atttypid) == TYPTYPE_PSEUDO &&
			att->atttypid != RECORDOID && att->atttypid != RECORDARRAYOID &&
			att->atttypid != ANYARRAYOID)	/* statistics have it */
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" has pseudo-type %s", column->name,
							format_type_be(att->atttypid)),
					 errhint("Cast it to a real type in the query.")));
	}
	return source;
}

void
source_lock_children(Oid relid)
{
	if (has_subclass(relid))
		(void) find_all_inheritors(relid, AccessShareLock, NULL);
}

double
source_estimate(Source *source)
{
	CachedPlan *plan = SPI_plan_get_cached_plan(source->plan);
	double		rows = 0;

	if (plan != NULL)
	{
		PlannedStmt *stmt = linitial_node(PlannedStmt, plan->stmt_list);

		rows = stmt->planTree->plan_rows;
		/* a plan that is not saved has no resource owner */
		ReleaseCachedPlan(plan, NULL);
	}
	return rows;
}

static Query *
source_query(const Source *source)
{
	CachedPlanSource *plansource = linitial(SPI_plan_get_plan_sources(source->plan));

	return linitial_node(Query, plansource->query_list);
}

bool
source_is_mutable(const Source *source)
{
	Query	   *query = source_query(source);

	return query->hasSubLinks || contain_mutable_functions(query->jointree->quals) ||
		contain_mutable_functions((Node *) query->targetList);
}

char *
source_conditions(const Source *source)
{
	Query	   *query = source_query(source);
	StringInfoData text;
	ListCell   *lc;

	initStringInfo(&text);
	if (query->jointree->quals)
		appendStringInfoString(&text, nodeToString(query->jointree->quals));
	foreach(lc, query->targetList)
	{
		Expr	   *expr = lfirst_node(TargetEntry, lc)->expr;

		if (!IsA(expr, Var))
			appendStringInfoString(&text, nodeToString(expr));
	}
	return text.len > 0 ? text.data : NULL;
}

/* Below this nobody would miss an index. */
#define SMALL_TABLE		10000	/* rows */

static double
rows_of_relation(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double		rows;

	if (!HeapTupleIsValid(tuple))
		return 0;
	rows = ((Form_pg_class) GETSTRUCT(tuple))->reltuples;
	ReleaseSysCache(tuple);
	return rows;
}

typedef bool (*PlanTest) (const PlannedStmt *stmt, const Plan *plan);

static bool some_plan(const PlannedStmt *stmt, const Plan *plan, PlanTest test);

static bool
some_plan_of(const PlannedStmt *stmt, const List *plans, PlanTest test)
{
	ListCell   *lc;

	foreach(lc, plans)
	{
		if (some_plan(stmt, (const Plan *) lfirst(lc), test))
			return true;
	}
	return false;
}

static bool
some_plan(const PlannedStmt *stmt, const Plan *plan, PlanTest test)
{
	if (plan == NULL)
		return false;
	if (test(stmt, plan))
		return true;
	if (IsA(plan, Append))
		return some_plan_of(stmt, ((const Append *) plan)->appendplans, test);
	if (IsA(plan, MergeAppend))
		return some_plan_of(stmt, ((const MergeAppend *) plan)->mergeplans, test);
	if (IsA(plan, SubqueryScan))
		return some_plan(stmt, ((const SubqueryScan *) plan)->subplan, test);
	return some_plan(stmt, plan->lefttree, test) || some_plan(stmt, plan->righttree, test);
}

static bool
source_plan_has(Source *source, PlanTest test)
{
	CachedPlan *plan = SPI_plan_get_cached_plan(source->plan);
	bool		found = false;

	if (plan != NULL)
	{
		PlannedStmt *stmt = linitial_node(PlannedStmt, plan->stmt_list);

		found = some_plan(stmt, stmt->planTree, test);
		/* a plan that is not saved has no resource owner */
		ReleaseCachedPlan(plan, NULL);
	}
	return found;
}

/* What counts is what a scan reads, not what it lets through. */
static bool
is_long(const PlannedStmt *stmt, const Plan *plan)
{
	if (IsA(plan, SeqScan))
		return rows_of_relation(list_nth_node(RangeTblEntry, stmt->rtable,
											  ((const Scan *) plan)->scanrelid - 1)->relid) > SMALL_TABLE;
	return IsA(plan, Sort) && plan->plan_rows > SMALL_TABLE;
}

bool
source_reads_all(Source *source)
{
	return source_plan_has(source, is_long);
}

static bool
is_foreign(const PlannedStmt *stmt, const Plan *plan)
{
	return IsA(plan, ForeignScan);
}

bool
source_reads_foreign(Source *source)
{
	return source_plan_has(source, is_foreign);
}

void
source_check_rights(Source *source)
{
	CachedPlan *plan = SPI_plan_get_cached_plan(source->plan);

	if (plan == NULL)
		elog(ERROR, "source %s has no plan", source->description);
	check_plan_rights(linitial_node(PlannedStmt, plan->stmt_list));
	/* a plan that is not saved has no resource owner */
	ReleaseCachedPlan(plan, NULL);
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
receiver_shutdown(DestReceiver *self)
{
}

static void
receiver_destroy(DestReceiver *self)
{
}

/* A table must not get a NULL that its target column excludes. */
static ValueError
null_error(const Source *source, int column)
{
	ValueError	error;

	error.sqlerrcode = ERRCODE_NOT_NULL_VIOLATION;
	error.message = psprintf("NULL in column \"%s\" of %s, which is NOT NULL in the target",
							 source->columns[column].name, source->description);
	error.detail = "A key column has no NULLs; a NaN becomes NULL unless option \"nan\" says otherwise.";
	error.hint = "Choose other key columns, or for NaN the option nan => 'text'.";
	return error;
}

static inline void
convert_column(RowReceiver *receiver, const TupleTableSlot *slot, int column)
{
	ValueColumn *value = &receiver->source->values[column];

	if (slot->tts_isnull[column])
		receiver->converted[column].kind = IMAGE_NULL;
	else
		value->convert(value, slot->tts_values[column], &receiver->converted[column]);
}

/* A row is told by its key, as far as that can be converted itself. */
static void
convert_key(RowReceiver *receiver, const TupleTableSlot *slot)
{
	Source	   *source = receiver->source;

	for (int i = 0; i < source->nkeys; i++)
	{
		convert_column(receiver, slot, source->keys[i]);
		source->values[source->keys[i]].error = NULL;
	}
}

/* Rejects a row for one of its values, or raises the error. */
static void
refuse_value(RowReceiver *receiver, const TupleTableSlot *slot, int column)
{
	Source	   *source = receiver->source;
	ValueError	error = source->values[column].error ?
		*source->values[column].error : null_error(source, column);

	source->values[column].error = NULL;
	if (source->reject == NULL)
		value_raise(&error);
	convert_key(receiver, slot);
	source->reject(source->reject_arg, &error, column, receiver->converted);
}

void
source_refuse_row(Source *source, const ValueError *error, const ImageValue *values)
{
	if (source->reject == NULL)
		value_raise(error);
	source->reject(source->reject_arg, error, -1, values);
}

static bool
receiver_receive(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	Source	   *source = receiver->source;
	ImageValue *converted = receiver->converted;
	MemoryContext oldcontext;
	bool		rejected = false;

	slot_getallattrs(slot);
	receiver->rows++;
	receiver->in_row = true;

	/* the executor's context lives until the portal ends: not for rows */
	MemoryContextReset(receiver->row_context);
	oldcontext = MemoryContextSwitchTo(receiver->row_context);
	for (int i = 0; i < source->ncolumns && !rejected; i++)
	{
		receiver->column = i;
		convert_column(receiver, slot, i);
		/* what cannot be converted is NULL, too */
		if (converted[i].kind == IMAGE_NULL &&
			(source->values[i].error || source->columns[i].not_null))
		{
			refuse_value(receiver, slot, i);
			rejected = true;
		}
	}
	receiver->column = -1;
	if (!rejected && !receiver->row(receiver->arg, converted))
		receiver->ended = true;
	receiver->in_row = false;
	MemoryContextSwitchTo(oldcontext);
	return !receiver->ended;
}

/* Names the place where an error was met: column, row and key. */
static void
receiver_error_context(void *arg)
{
	RowReceiver *receiver = (RowReceiver *) arg;
	Source	   *source = receiver->source;
	StringInfoData key;

	if (receiver->rows == 0)
		return;
	initStringInfo(&key);
	for (int i = 0; i < source->nkeys; i++)
	{
		int			column = source->keys[i];
		ImageValue *value = &receiver->converted[column];

		/* columns at and after the current one still hold the last row */
		if (receiver->column >= 0 && column >= receiver->column)
			continue;
		if (value->kind == IMAGE_INTEGER)
			appendStringInfo(&key, "%s%s = " INT64_FORMAT, key.len ? ", " : "",
							 source->columns[column].name, value->u.i);
		else if (value->kind == IMAGE_TEXT && value->len <= 64 &&
				 GetDatabaseEncoding() == PG_UTF8)
			appendStringInfo(&key, "%s%s = %.*s", key.len ? ", " : "",
							 source->columns[column].name, (int) value->len,
							 (const char *) value->u.data);
	}
	if (receiver->column >= 0)
		errcontext("column \"%s\", row " UINT64_FORMAT " of %s%s%s%s",
				   source->columns[receiver->column].name, receiver->rows,
				   source->description,
				   key.len ? " (" : "", key.data, key.len ? ")" : "");
	else
		errcontext("%srow " UINT64_FORMAT " of %s%s%s%s",
				   receiver->in_row ? "" : "after ", receiver->rows,
				   source->description,
				   key.len ? " (" : "", key.data, key.len ? ")" : "");
	pfree(key.data);
}

bool
source_in_order(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache3(STATRELATTINH, ObjectIdGetDatum(relid),
										Int16GetDatum(attnum), BoolGetDatum(false));
	AttStatsSlot slot;
	bool		in_order = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (get_attstatsslot(&slot, tuple, STATISTIC_KIND_CORRELATION, InvalidOid,
						 ATTSTATSSLOT_NUMBERS))
	{
		in_order = slot.nnumbers == 1 && slot.numbers[0] > 0.99;
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(tuple);
	return in_order;
}

bool
source_scan(Source *source, SyncOptions *options,
			SourceBeforeFetch before_fetch, SourceRow row, void *arg)
{
	RowReceiver receiver;
	ErrorContextCallback callback;
	Portal		portal;

	source->values = palloc0(source->ncolumns * sizeof(ValueColumn));
	for (int i = 0; i < source->ncolumns; i++)
		value_prepare(&source->values[i], source->columns[i].typid,
					  source->columns[i].typmod, options);

	memset(&receiver, 0, sizeof(receiver));
	receiver.pub.receiveSlot = receiver_receive;
	receiver.pub.rStartup = receiver_startup;
	receiver.pub.rShutdown = receiver_shutdown;
	receiver.pub.rDestroy = receiver_destroy;
	receiver.pub.mydest = DestNone;
	receiver.source = source;
	receiver.row = row;
	receiver.arg = arg;
	receiver.row_context = AllocSetContextCreate(CurrentMemoryContext,
												 "lfsync row",
												 ALLOCSET_DEFAULT_SIZES);
	receiver.converted = palloc0(source->ncolumns * sizeof(ImageValue));
	receiver.column = -1;

	portal = SPI_cursor_open(NULL, source->plan, NULL, NULL, true);

	callback.callback = receiver_error_context;
	callback.arg = &receiver;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	while (!portal->atEnd && !receiver.ended)
		(void) PortalRunFetch(portal, FETCH_FORWARD, before_fetch(arg),
							  &receiver.pub);
	error_context_stack = callback.previous;

	SPI_cursor_close(portal);
	MemoryContextDelete(receiver.row_context);
	return !receiver.ended;
}
