/*-------------------------------------------------------------------------
 *
 * api.c
 *	  The SQL functions: arguments in, a run started and waited for, rows out.
 *
 * The caller scans nothing.  SQLite cannot take back what it has committed
 * when the caller rolls back, so a run must never see the caller's own
 * changes; it sees what is committed, from another process, and a caller that
 * has changed what the run reads is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "lfsync.h"
#include "mapping.h"
#include "order.h"
#include "path.h"
#include "progress.h"
#include "runner.h"

PG_FUNCTION_INFO_V1(lfsync_export);
PG_FUNCTION_INFO_V1(lfsync_export_query);
PG_FUNCTION_INFO_V1(lfsync_export_tables);
PG_FUNCTION_INFO_V1(lfsync_cancel);
PG_FUNCTION_INFO_V1(lfsync_preview);

/* How often a waiting caller looks at its client and at who waits for whom. */
#define CALLER_CHECK_MS		500

/* How long a caller that gives up waits for its run to end. */
#define CALLER_GRACE_MS		1000

typedef struct Caller
{
	RunSlot    *slot;
	SlotHandle	handle;
	BackgroundWorkerHandle *runner; /* NULL until it is registered */
	dsm_segment *segment;
} Caller;

/*-------------------------------------------------------------------------
 * Arguments
 *-------------------------------------------------------------------------
 */

static char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static char *
required_text_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", name)));
	return text_arg(fcinfo, n);
}

/* The elements of a text[] argument; NIL if it is NULL or empty. */
static List *
text_array_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	List	   *texts = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT,
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

static void
options_arg(FunctionCallInfo fcinfo, int n, SyncOptions *options)
{
	options_parse(PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n), options);
}

/*-------------------------------------------------------------------------
 * Refusals that need no runner
 *-------------------------------------------------------------------------
 */

/* What a background worker would refuse with FATAL, said in time. */
static void
check_owner(Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	bool		can_login;
	AclResult	connect;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", owner)));
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!can_login)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" is not permitted to log in",
						GetUserNameFromId(owner, false)),
				 errdetail("A run works in a process of its own, connected as its owner."),
				 errhint("Call as a role that may log in, or ALTER ROLE ... LOGIN.")));

#if PG_VERSION_NUM >= 160000
	connect = object_aclcheck(DatabaseRelationId, MyDatabaseId, owner, ACL_CONNECT);
#else
	connect = pg_database_aclcheck(MyDatabaseId, owner, ACL_CONNECT);
#endif
	if (connect != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not connect to database \"%s\"",
						GetUserNameFromId(owner, false),
						get_database_name(MyDatabaseId)),
				 errdetail("A run works in a process of its own, connected as its owner."),
				 errhint("GRANT CONNECT ON DATABASE ... TO ....")));
}

/*
 * Relations that this transaction may have changed, by the locks it holds.
 * Catalogs are left out: every DDL command locks some.
 */
static List *
held_relations(void)
{
	List	   *held = NIL;

	SPI_connect();
	if (SPI_execute("SELECT relation FROM pg_catalog.pg_locks "
					"WHERE pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() "
					"AND locktype OPERATOR(pg_catalog.=) 'relation' AND granted "
					"AND mode OPERATOR(pg_catalog.=) ANY ('{RowExclusiveLock,ShareUpdateExclusiveLock,"
					"ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'::pg_catalog.text[]) "
					"AND relation OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_locks");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Oid			relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
														   SPI_tuptable->tupdesc,
														   1, &isnull));
		MemoryContext oldcontext = MemoryContextSwitchTo(CurTransactionContext);

		held = lappend_oid(held, relid);
		MemoryContextSwitchTo(oldcontext);
	}
	SPI_finish();
	return held;
}

static void
check_source(Oid relid, List *held)
{
	mapping_check_relation(relid);
	if (get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is temporary", get_rel_name(relid)),
				 errdetail("A run works in another process, which cannot see temporary tables."),
				 errhint("Copy it into an ordinary or unlogged table first.")));
	order_refuse_held(held, relid);
}

/*
 * A run sees all rows or none, unless it is told otherwise.  PostgreSQL says so
 * too, but cannot say what to do about it here.
 */
static void
check_row_security(Oid relid)
{
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security of table \"%s\" hides rows from role \"%s\"",
						get_rel_name(relid), GetUserNameFromId(GetUserId(), false)),
				 errdetail("A copy of some rows is easily taken for a copy of all."),
				 errhint("Set option \"row_security\" to true to export the rows that the role may see, or use a role with BYPASSRLS.")));
}

/*-------------------------------------------------------------------------
 * Starting and waiting
 *-------------------------------------------------------------------------
 */

/*
 * A moment for a run that was told to end, so that whoever tries again at once
 * finds workers, slot and file free.  No longer, since its writer may be inside
 * an fsync.
 */
static void
wait_for_end(BackgroundWorkerHandle *runner)
{
	TimestampTz since = GetCurrentTimestamp();
	pid_t		pid;

	HOLD_INTERRUPTS();
	while (GetBackgroundWorkerPid(runner, &pid) != BGWH_STOPPED &&
		   !TimestampDifferenceExceeds(since, GetCurrentTimestamp(), CALLER_GRACE_MS))
	{
		if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_POSTMASTER_DEATH,
					  10, PG_WAIT_EXTENSION) & WL_POSTMASTER_DEATH)
			break;
		ResetLatch(MyLatch);
	}
	RESUME_INTERRUPTS();
}

/* The run ends with its caller: on ERROR and on FATAL. */
static void
caller_cleanup(int code, Datum arg)
{
	Caller	   *caller = (Caller *) DatumGetPointer(arg);

	if (caller->runner)
	{
		TerminateBackgroundWorker(caller->runner);
		slot_abandon(caller->slot, SLOT_RUNNER);
		wait_for_end(caller->runner);
	}
	slot_release(caller->slot, SLOT_CALLER);
}

/*
 * A caller that waits for a run that waits for a lock of the caller would wait
 * for ever: the deadlock detector does not know of our wait.
 */
static void
check_blocking(pid_t runner)
{
	ArrayType  *blockers = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
																  Int32GetDatum(runner)));
	int			n = ArrayGetNItems(ARR_NDIM(blockers), ARR_DIMS(blockers));
	int32	   *pids = (int32 *) ARR_DATA_PTR(blockers);

	for (int i = 0; i < n; i++)
	{
		if (pids[i] == MyProcPid)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the run waits for a lock of the calling transaction"),
					 errdetail("The transaction has locked or changed something that the run reads."),
					 errhint("Commit first, then start the run.")));
	}
}

static void
wait_for_runner(Caller *caller)
{
	TimestampTz checked = GetCurrentTimestamp();

	for (;;)
	{
		pid_t		pid;
		BgwHandleStatus status = GetBackgroundWorkerPid(caller->runner, &pid);

		if (status == BGWH_STOPPED || status == BGWH_POSTMASTER_DIED)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 CALLER_CHECK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (!TimestampDifferenceExceeds(checked, GetCurrentTimestamp(), CALLER_CHECK_MS))
			continue;
		checked = GetCurrentTimestamp();
		/* nobody else tells a backend that is not reading */
		if (MyProcPort != NULL && !pq_check_connection())
			ereport(FATAL,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("connection to client lost")));
		if (status == BGWH_STARTED)
			check_blocking(pid);
	}
}

static void
start_and_wait(Caller *caller)
{
	slot_add_holder(caller->slot, SLOT_RUNNER);
	if (!runner_start(&caller->handle, &caller->runner))
	{
		slot_release(caller->slot, SLOT_RUNNER);
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no free background worker for a run"),
				 errdetail("A run takes two of max_worker_processes, shared with parallel queries and other extensions."),
				 errhint("Try again later, or raise max_worker_processes and restart the server.")));
	}
	wait_for_runner(caller);
}

/* What lfsync_progress shows before the runner has said anything. */
static void
describe_slot(RunSlot *slot, const SyncOrder *order, const char *file)
{
	char	   *source;
	RunSlot    *text = palloc0(sizeof(RunSlot));

	if (order->query)
		source = "query";
	else if (list_length(order->sources) == 1)
		source = quote_qualified_identifier(get_namespace_name(get_rel_namespace(linitial_oid(order->sources))),
											get_rel_name(linitial_oid(order->sources)));
	else
		source = psprintf("%d tables", list_length(order->sources));
	/* conversions may fail, and must not do so under the lock */
	slot_copy_text(text->source, sizeof(text->source), source);
	slot_copy_text(text->file, sizeof(text->file), file);
	if (list_length(order->table_names) == 1)
		slot_copy_text(text->table_name, sizeof(text->table_name),
					   linitial(order->table_names));
	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	strlcpy(slot->mode, order->mode, sizeof(slot->mode));
	strlcpy(slot->source, text->source, sizeof(slot->source));
	strlcpy(slot->file, text->file, sizeof(slot->file));
	strlcpy(slot->table_name, text->table_name, sizeof(slot->table_name));
	LWLockRelease(run_slots->lock);
	pfree(text);
}

static void
return_result(FunctionCallInfo fcinfo, const SyncOrder *order, const char *file,
			  const RunSlot *outcome, const char *tables)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[11];
	bool		nulls[11] = {0};
	Interval   *duration = palloc0(sizeof(Interval));

	duration->time = GetCurrentTimestamp() - outcome->started_at;
	values[0] = Int64GetDatum(outcome->run_id);
	nulls[1] = order->job == NULL;
	values[1] = order->job ? CStringGetTextDatum(order->job) : (Datum) 0;
	values[2] = CStringGetTextDatum(order->mode);
	values[3] = CStringGetTextDatum(file);
	values[4] = Int64GetDatum(outcome->counts.rows_read);
	values[5] = Int64GetDatum(outcome->counts.rows_inserted);
	values[6] = Int64GetDatum(outcome->counts.rows_updated);
	values[7] = Int64GetDatum(outcome->counts.rows_deleted);
	values[8] = Int64GetDatum(outcome->counts.bytes_written);
	values[9] = IntervalPGetDatum(duration);
	values[10] = DirectFunctionCall1(jsonb_in, CStringGetDatum(tables));

	InitMaterializedSRF(fcinfo, 0);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Does what an order says and returns its result row. */
static Datum
execute_order(FunctionCallInfo fcinfo, SyncOrder *order)
{
	Caller		caller;
	RunSlot    *outcome = palloc(sizeof(RunSlot));
	char	   *path;
	char	   *tables;
	ListCell   *lc;

	progress_require();
	(void) find_mode(order->mode);
	foreach(lc, order->table_names)
		mapping_check_table_name((char *) lfirst(lc));
	check_owner(GetUserId());
	path = path_resolve(order->file, GetUserId());
	order->held = held_relations();
	foreach(lc, order->sources)
	{
		check_source(lfirst_oid(lc), order->held);
		if (!order->options.row_security)
			check_row_security(lfirst_oid(lc));
	}
	order->search_path = pstrdup(namespace_search_path);
	order->export_directory = lfsync_export_directory;
	order->batch_bytes = lfsync_batch_bytes;
	order->busy_timeout = lfsync_busy_timeout;

	memset(&caller, 0, sizeof(caller));
	caller.segment = order_send(order);
	caller.slot = slot_claim(MyDatabaseId, GetUserId(), &caller.handle);
	PG_ENSURE_ERROR_CLEANUP(caller_cleanup, PointerGetDatum(&caller));
	{
		LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
		caller.slot->order = dsm_segment_handle(caller.segment);
		LWLockRelease(run_slots->lock);
		describe_slot(caller.slot, order, path);
		start_and_wait(&caller);
	}
	PG_END_ENSURE_ERROR_CLEANUP(caller_cleanup, PointerGetDatum(&caller));

	LWLockAcquire(run_slots->lock, LW_SHARED);
	memcpy(outcome, caller.slot, sizeof(RunSlot));
	LWLockRelease(run_slots->lock);
	/* one that never started has left its bit set */
	slot_release(caller.slot, SLOT_RUNNER);
	slot_release(caller.slot, SLOT_CALLER);
	tables = order_get_result(caller.segment);
	dsm_detach(caller.segment);

	if (outcome->status != RUN_SUCCEEDED)
	{
		if (outcome->error.sqlerrcode != 0)
			slot_throw_error(&outcome->error);
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("the runner of this run ended without a word"),
				 errhint("The server log says why.")));
	}
	return_result(fcinfo, order, path, outcome, tables);
	return (Datum) 0;
}

/* The tables that a run makes: those of its mapping, or one. */
static List *
target_names(const char *mapping, char *table_name, char *source_name)
{
	if (mapping == NULL)
		return list_make1(table_name ? table_name : source_name);
	if (table_name)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"table_name\" and \"mapping\" do not go together"),
				 errdetail("A mapping names its tables."),
				 errhint("Leave \"table_name\" out.")));
	return mapping_table_names(mapping);
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
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "source")));
	relid = PG_GETARG_OID(0);
	relname = get_rel_name(relid);
	if (relname == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	order.sources = list_make1_oid(relid);
	order.file = required_text_arg(fcinfo, 1, "file");
	order.mapping = text_arg(fcinfo, 7);
	order.table_names = target_names(order.mapping, text_arg(fcinfo, 2), relname);
	order.mode = PG_ARGISNULL(3) ? "full" : text_arg(fcinfo, 3);
	order.key_columns = text_array_arg(fcinfo, 4, "key_columns");
	order.cursor_columns = text_array_arg(fcinfo, 5, "cursor_columns");
	order.filter = text_arg(fcinfo, 6);
	options_arg(fcinfo, 8, &order.options);
	return execute_order(fcinfo, &order);
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
	return execute_order(fcinfo, &order);
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
	return execute_order(fcinfo, &order);
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

static void
put_preview(ReturnSetInfo *rsinfo, const char *table, const TargetColumn *column,
			const char *note)
{
	Datum		values[6];
	bool		nulls[6];

	memset(nulls, true, sizeof(nulls));
	values[0] = CStringGetTextDatum(slot_text(table));
	nulls[0] = false;
	if (column)
	{
		values[1] = CStringGetTextDatum(slot_text(column->name));
		values[2] = CStringGetTextDatum(slot_text(column->expression));
		values[3] = CStringGetTextDatum(slot_text(column->source_type));
		values[4] = CStringGetTextDatum(column->sqlite_type);
		memset(nulls, false, 5 * sizeof(bool));
	}
	if (note)
	{
		values[5] = CStringGetTextDatum(slot_text(note));
		nulls[5] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * lfsync_preview(source regclass, mapping json, options jsonb)
 *
 * A row per target column, and one without a column for each note on the
 * table as a whole.
 */
Datum
lfsync_preview(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SyncOrder	order;
	Mapping    *mapping;
	Oid			relid;
	char	   *relname;
	ListCell   *lc;
	Relation	rel;

	memset(&order, 0, sizeof(order));
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null", "source")));
	relid = PG_GETARG_OID(0);
	check_source(relid, NIL);
	order.mapping = text_arg(fcinfo, 1);
	options_arg(fcinfo, 2, &order.options);
	relname = get_rel_name(relid);
	order.sources = list_make1_oid(relid);
	order.table_names = target_names(order.mapping, NULL, relname);

	rel = table_open(relid, AccessShareLock);
	mapping_check_table_name(linitial(order.table_names));
	mapping = mapping_check(relid, NULL, &order);
	table_close(rel, NoLock);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < mapping->table->ncolumns; i++)
	{
		const char *note = mapping->column_notes[i];

		if (i == mapping->rowid_column)
			note = "INTEGER PRIMARY KEY";
		put_preview(rsinfo, mapping->table->name, &mapping->table->columns[i], note);
	}
	foreach(lc, mapping->notes)
		put_preview(rsinfo, mapping->table->name, NULL, (char *) lfirst(lc));
	return (Datum) 0;
}
