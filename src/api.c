/*-------------------------------------------------------------------------
 *
 * api.c
 *	  The SQL functions that run: arguments in, a run of them, rows out.
 *
 * The caller scans nothing.  SQLite cannot take back what it has committed
 * when the caller rolls back, so a run must never see the caller's own
 * changes; it sees what is committed, from another process, and a caller that
 * has changed what the run reads is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "args.h"
#include "caller.h"
#include "job.h"
#include "mapping.h"
#include "precheck.h"
#include "runner.h"

PG_FUNCTION_INFO_V1(lfsync_export);
PG_FUNCTION_INFO_V1(lfsync_export_query);
PG_FUNCTION_INFO_V1(lfsync_export_tables);
PG_FUNCTION_INFO_V1(lfsync_export_job);
PG_FUNCTION_INFO_V1(lfsync_export_all);
PG_FUNCTION_INFO_V1(lfsync_start_job);
PG_FUNCTION_INFO_V1(lfsync_verify);
PG_FUNCTION_INFO_V1(lfsync_flush_job);
PG_FUNCTION_INFO_V1(lfsync_flush_reason);
PG_FUNCTION_INFO_V1(lfsync_cancel);

static void
options_arg(FunctionCallInfo fcinfo, int n, SyncOptions *options)
{
	options_parse(PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n), options,
				  NULL);
}

/* A row of what every export returns. */
static void
put_result(ReturnSetInfo *rsinfo, const SyncOrder *order, const RunResult *result)
{
	const RunSlot *run = &result->slot;
	Datum		values[11];
	bool		nulls[11] = {0};
	Interval   *duration = palloc0(sizeof(Interval));

	duration->time = result->ended_at - run->started_at;
	values[0] = Int64GetDatum(run->run_id);
	nulls[1] = order->job == NULL;
	values[1] = order->job ? CStringGetTextDatum(order->job) : (Datum) 0;
	values[2] = CStringGetTextDatum(order->mode);
	values[3] = CStringGetTextDatum(result->file);
	values[4] = Int64GetDatum(run->counts.rows_read);
	values[5] = Int64GetDatum(run->counts.rows_inserted);
	values[6] = Int64GetDatum(run->counts.rows_updated);
	values[7] = Int64GetDatum(run->counts.rows_deleted);
	values[8] = Int64GetDatum(run->counts.bytes_written);
	values[9] = IntervalPGetDatum(duration);
	values[10] = DirectFunctionCall1(jsonb_in, CStringGetDatum(result->tables));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Does what an order says and returns its result row. */
static Datum
export(FunctionCallInfo fcinfo, SyncOrder *order, Oid owner)
{
	RunResult  *result = caller_run(order, owner);

	caller_check_result(result);
	InitMaterializedSRF(fcinfo, 0);
	put_result((ReturnSetInfo *) fcinfo->resultinfo, order, result);
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 * One-off runs
 *-------------------------------------------------------------------------
 */

static void
refuse_argument(FunctionCallInfo fcinfo, int n, const char *name, const char *mode)
{
	if (!PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("argument \"%s\" does not go with mode \"%s\"", name, mode),
				 errhint("Leave it out.")));
}

/*
 * lfsync_export(source regclass, file text, table_name text, mode text,
 *				 key_columns text[], cursor_columns text[], filter text,
 *				 mapping json, options jsonb)
 */
Datum
lfsync_export(PG_FUNCTION_ARGS)
{
	SyncOrder	order;
	Oid			relid;
	char	   *relname;

	memset(&order, 0, sizeof(order));
	relid = required_relation_arg(fcinfo, 0, "source", &relname);
	order.sources = list_make1_oid(relid);
	order.file = required_text_arg(fcinfo, 1, "file");
	order.mapping = text_arg(fcinfo, 7);
	order.table_names = mapping_target_names(order.mapping, text_arg(fcinfo, 2), relname);
	order.mode = PG_ARGISNULL(3) ? "full" : text_arg(fcinfo, 3);
	check_export_mode(order.mode);
	order.key_columns = text_array_arg(fcinfo, 4, "key_columns");
	if (strcmp(order.mode, "incremental") != 0)
		refuse_argument(fcinfo, 5, "cursor_columns", order.mode);
	order.cursor_columns = text_array_arg(fcinfo, 5, "cursor_columns");
	order.filter = text_arg(fcinfo, 6);
	options_arg(fcinfo, 8, &order.options);
	return export(fcinfo, &order, GetUserId());
}

/*
 * lfsync_export_query(query text, file text, table_name text,
 *					   key_columns text[], options jsonb)
 */
Datum
lfsync_export_query(PG_FUNCTION_ARGS)
{
	SyncOrder	order;

	memset(&order, 0, sizeof(order));
	order.mode = "full";
	order.query = required_text_arg(fcinfo, 0, "query");
	order.file = required_text_arg(fcinfo, 1, "file");
	order.table_names = list_make1(required_text_arg(fcinfo, 2, "table_name"));
	order.key_columns = text_array_arg(fcinfo, 3, "key_columns");
	options_arg(fcinfo, 4, &order.options);
	return export(fcinfo, &order, GetUserId());
}

/* lfsync_export_tables(sources regclass[], file text, options jsonb) */
Datum
lfsync_export_tables(PG_FUNCTION_ARGS)
{
	SyncOrder	order;
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;

	memset(&order, 0, sizeof(order));
	order.mode = "full";
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "sources")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), REGCLASSOID, sizeof(Oid), true,
					  TYPALIGN_INT, &elements, &nulls, &nelements);
	if (nelements == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must name at least one table", "sources")));
	for (int i = 0; i < nelements; i++)
	{
		Oid			relid = nulls[i] ? InvalidOid : DatumGetObjectId(elements[i]);
		char	   *relname = nulls[i] ? NULL : get_rel_name(relid);
		ListCell   *lc;

		if (relname == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("argument \"%s\" names a table that does not exist", "sources")));
		foreach(lc, order.table_names)
		{
			if (mapping_same_name(relname, (char *) lfirst(lc)))
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_TABLE),
						 errmsg("two sources would become table \"%s\"", relname),
						 errdetail("SQLite has no schemas, and does not tell upper from lower case in names."),
						 errhint("Export one of them to a file of its own, or under another name with lfsync_export().")));
		}
		order.sources = lappend_oid(order.sources, relid);
		order.table_names = lappend(order.table_names, relname);
	}
	order.file = required_text_arg(fcinfo, 1, "file");
	options_arg(fcinfo, 2, &order.options);
	return export(fcinfo, &order, GetUserId());
}

/*-------------------------------------------------------------------------
 * Runs of jobs
 *-------------------------------------------------------------------------
 */

/* The job, and what a run of it is asked to do; an error if it may not run. */
static Job *
job_to_run(const char *name, SyncOrder *order)
{
	Job		   *job = job_get(name, false);

	job_check_owner(job);
	job_order(job, order);
	return job;
}

/* lfsync_export(job text) */
Datum
lfsync_export_job(PG_FUNCTION_ARGS)
{
	SyncOrder	order;
	Job		   *job = job_to_run(required_text_arg(fcinfo, 0, "job"), &order);

	return export(fcinfo, &order, job->owner_oid);
}

/* lfsync_start_job(name text) returns bigint */
Datum
lfsync_start_job(PG_FUNCTION_ARGS)
{
	SyncOrder	order;
	Job		   *job = job_to_run(required_text_arg(fcinfo, 0, "name"), &order);

	PG_RETURN_INT64(caller_start(&order, job->owner_oid));
}

/*
 * Runs one of many jobs.  Returns the error that kept it from starting or that
 * the run ended with, NULL if it succeeded.  The caller's own cancel is no
 * failure of the job's.
 */
static ErrorData *
export_one(ReturnSetInfo *rsinfo, const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile failure = NULL;
	RunResult  *volatile result = NULL;
	SyncOrder	order;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		Job		   *job = job_to_run(name, &order);

		result = caller_run(&order, job->owner_oid);
		caller_check_result(result);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		failure = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	if (failure == NULL)
		put_result(rsinfo, &order, result);
	else if (result == NULL && failure->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(failure);
	return failure;
}

/*
 * lfsync_export()
 *
 * A job that fails does not keep the others from running.  In the end there is
 * an error all the same, so that nobody overlooks it.
 */
Datum
lfsync_export_all(PG_FUNCTION_ARGS)
{
	List	   *names = job_names_enabled();
	ListCell   *lc;
	int			failed = 0;
	int			sqlerrcode = 0;
	StringInfoData failures;

	InitMaterializedSRF(fcinfo, 0);
	initStringInfo(&failures);
	foreach(lc, names)
	{
		const char *name = (const char *) lfirst(lc);
		ErrorData  *failure = export_one((ReturnSetInfo *) fcinfo->resultinfo, name);

		if (failure == NULL)
			continue;
		if (failed++ == 0)
			sqlerrcode = failure->sqlerrcode;
		appendStringInfo(&failures, "%sJob \"%s\": %s", failures.len ? "\n" : "",
						 name, failure->message);
	}
	if (failed > 0)
		ereport(ERROR,
				(errcode(sqlerrcode),
				 errmsg("%d of %d jobs failed", failed, list_length(names)),
				 errdetail_internal("%s", failures.data),
				 errhint("The others have run, and their results are in lfsync_runs.")));
	return (Datum) 0;
}

static Datum
count_of(JsonbContainer *counts, const char *name)
{
	JsonbValue	key;
	JsonbValue *value;

	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(counts, JB_FOBJECT, &key);
	return DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric));
}

/*
 * lfsync_verify(job text, repair boolean)
 *
 * A row per target table, of what the run found; with repair it has mended it.
 */
Datum
lfsync_verify(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"rows_source", "rows_target", "missing", "extra", "different"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SyncOrder	order;
	Job		   *job = job_to_run(required_text_arg(fcinfo, 0, "job"), &order);
	RunResult  *result;
	Jsonb	   *tables;
	JsonbIterator *it;
	JsonbValue	name;
	JsonbValue	counts;

	order.mode = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1) ? "repair" : "verify";
	order.job_id = 0;			/* says nothing of how the job's runs go */
	result = caller_run(&order, job->owner_oid);
	caller_check_result(result);

	InitMaterializedSRF(fcinfo, 0);
	tables = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(result->tables)));
	it = JsonbIteratorInit(&tables->root);
	(void) JsonbIteratorNext(&it, &name, true); /* the object's start */
	while (JsonbIteratorNext(&it, &name, true) == WJB_KEY)
	{
		Datum		values[1 + lengthof(columns)];
		bool		nulls[1 + lengthof(columns)] = {0};

		(void) JsonbIteratorNext(&it, &counts, true);
		values[0] = PointerGetDatum(cstring_to_text_with_len(name.val.string.val,
															 name.val.string.len));
		for (size_t i = 0; i < lengthof(columns); i++)
			values[1 + i] = count_of(counts.val.binary.data, columns[i]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* lfsync_flush_job(name text) */
Datum
lfsync_flush_job(PG_FUNCTION_ARGS)
{
	caller_flush(job_get(required_text_arg(fcinfo, 0, "name"), false)->id);
	PG_RETURN_VOID();
}

/*
 * lfsync_flush_reason(pid integer) returns text
 *
 * Why the run of this process writes what has waited in its memory; NULL unless
 * it does.
 */
Datum
lfsync_flush_reason(PG_FUNCTION_ARGS)
{
	RunSlot    *slots;

	if (run_slots == NULL)
		PG_RETURN_NULL();
	slots = slots_copy();
	for (int i = 0; i < run_slots->nslots; i++)
	{
		if (slots[i].holders != 0 && slots[i].runner_pid == PG_GETARG_INT32(0) &&
			slots[i].flush_reason[0])
			PG_RETURN_TEXT_P(cstring_to_text(slots[i].flush_reason));
	}
	PG_RETURN_NULL();
}

/*
 * lfsync_cancel(run_id bigint) returns boolean
 *
 * True if the run was live and has been told to stop.
 */
Datum
lfsync_cancel(PG_FUNCTION_ARGS)
{
	int64		run_id = PG_GETARG_INT64(0);
	Oid			owner = InvalidOid;
	int			pid = 0;

	progress_require();
	LWLockAcquire(run_slots->lock, LW_SHARED);
	for (int i = 0; i < run_slots->nslots; i++)
	{
		RunSlot    *slot = &run_slots->slots[i];

		if ((slot->holders & SLOT_RUNNER) != 0 && slot->run_id == run_id &&
			slot->dboid == MyDatabaseId)
		{
			owner = slot->owner;
			pid = slot->runner_pid;
		}
	}
	LWLockRelease(run_slots->lock);
	if (pid == 0)
		PG_RETURN_BOOL(false);

	/* the rule of pg_cancel_backend(), which does the rest */
	if (!has_privs_of_role(GetUserId(), owner) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_SIGNAL_BACKEND))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to cancel run " INT64_FORMAT, run_id),
				 errdetail("Only its owner's members and members of pg_signal_backend may.")));
	PG_RETURN_DATUM(DirectFunctionCall1(pg_cancel_backend, Int32GetDatum(pid)));
}
