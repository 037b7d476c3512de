/*-------------------------------------------------------------------------
 *
 * caller.c
 *	  The side of a run that asks for it: a slot, a worker, the wait.
 *
 * Whoever waits for a run ends it when it gives up.  Whoever only starts one
 * waits until the run has an id, which it gets after it has read its order:
 * from then on it needs nothing of its caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "caller.h"
#include "compat.h"
#include "lfsync.h"
#include "mapping.h"
#include "path.h"
#include "precheck.h"
#include "remove.h"
#include "runner.h"

/* How often a waiting caller looks at its client and at who waits for whom. */
#define CALLER_CHECK_MS		500

/* How often one that waits for a worker or the start alone looks for it. */
#define CALLER_START_MS		5

/* How long a caller that gives up waits for its run to end. */
#define CALLER_GRACE_MS		1000

/* How often one that waits for what is in memory looks whether it is written. */
#define FLUSH_POLL_MS		10

struct Caller
{
	RunSlot    *slot;
	SlotHandle	handle;
	BackgroundWorkerHandle *runner; /* or remover; NULL until registered */
	dsm_segment *segment;
};

typedef bool (*WorkerStart) (const SlotHandle *handle,
							 BackgroundWorkerHandle **worker);

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

static int64
run_id(Caller *caller)
{
	int64		id;

	LWLockAcquire(run_slots->lock, LW_SHARED);
	id = caller->slot->run_id;
	LWLockRelease(run_slots->lock);
	return id;
}

/*
 * Until the run has ended, or only until it has an id.  Its process is not waited
 * for: what it has mapped of the shared buffers takes the system a while to take
 * down.
 */
static void
wait_for_runner(Caller *caller, bool start_only)
{
	TimestampTz checked = GetCurrentTimestamp();

	for (;;)
	{
		pid_t		pid;
		BgwHandleStatus status = GetBackgroundWorkerPid(caller->runner, &pid);

		if (status == BGWH_STOPPED || status == BGWH_POSTMASTER_DIED ||
			!slot_is_held(caller->slot, SLOT_RUNNER))
			return;
		if (start_only && run_id(caller) != 0)
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 start_only ? CALLER_START_MS : CALLER_CHECK_MS,
						 PG_WAIT_EXTENSION);
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

static bool
register_worker(Caller *caller, WorkerStart start)
{
	slot_add_holder(caller->slot, SLOT_RUNNER);
	if (start(&caller->handle, &caller->runner))
		return true;
	/* not slot_release(), which would wake us, who may try again */
	slot_abandon(caller->slot, SLOT_RUNNER);
	return false;
}

static void
start_and_wait(Caller *caller, WorkerStart start, bool start_only)
{
	TimestampTz since = GetCurrentTimestamp();

	while (!register_worker(caller, start))
	{
		if (TimestampDifferenceExceeds(since, GetCurrentTimestamp(), SLOT_WORKER_GONE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no free background worker for a run"),
					 errdetail("A run takes two of max_worker_processes, shared with parallel queries and other extensions."),
					 errhint("Try again later, or raise max_worker_processes and restart the server.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 CALLER_START_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	wait_for_runner(caller, start_only);
}

/*
 * What lfsync_progress shows before the run has said anything.  Conversions may
 * fail, so they are made before there is a slot.
 */
static RunSlot *
describe(const SyncOrder *order, const char *file)
{
	RunSlot    *text = palloc0(sizeof(RunSlot));
	char	   *source;

	if (order->event)
		source = order->on_event;
	else if (order->query)
		source = "query";
	else if (list_length(order->sources) == 1)
		source = quote_qualified_identifier(get_namespace_name(get_rel_namespace(linitial_oid(order->sources))),
											get_rel_name(linitial_oid(order->sources)));
	else
		source = psprintf("%d tables", list_length(order->sources));
	text->job_id = order->job_id;
	text->attempt = Max(order->attempt, 1);
	strlcpy(text->mode, order->mode, sizeof(text->mode));
	slot_copy_text(text->job, sizeof(text->job), order->job);
	slot_copy_text(text->source, sizeof(text->source), source);
	slot_copy_text(text->file, sizeof(text->file), file);
	if (list_length(order->table_names) == 1)
		slot_copy_text(text->table_name, sizeof(text->table_name),
					   linitial(order->table_names));
	return text;
}

/* Claims a slot for what the segment says. */
static void
claim(Caller *caller, const RunSlot *text, Oid owner)
{
	RunSlot    *slot = slot_claim(MyDatabaseId, owner, text->job_id, &caller->handle);

	LWLockAcquire(run_slots->lock, LW_EXCLUSIVE);
	slot->order = dsm_segment_handle(caller->segment);
	slot->attempt = text->attempt;
	strlcpy(slot->job, text->job, sizeof(slot->job));
	strlcpy(slot->mode, text->mode, sizeof(slot->mode));
	strlcpy(slot->source, text->source, sizeof(slot->source));
	strlcpy(slot->file, text->file, sizeof(slot->file));
	strlcpy(slot->table_name, text->table_name, sizeof(slot->table_name));
	LWLockRelease(run_slots->lock);
	caller->slot = slot;
}

/*
 * Lets a worker do what the segment says.  On return the caller's bit of the
 * slot is still set.
 */
static void
work(Caller *caller, const RunSlot *text, Oid owner, WorkerStart start,
	 bool start_only)
{
	claim(caller, text, owner);
	PG_ENSURE_ERROR_CLEANUP(caller_cleanup, PointerGetDatum(caller));
	{
		start_and_wait(caller, start, start_only);
	}
	PG_END_ENSURE_ERROR_CLEANUP(caller_cleanup, PointerGetDatum(caller));
}

/* How a worker that has ended left the slot, which goes. */
static void
take_slot(Caller *caller, RunSlot *slot)
{
	LWLockAcquire(run_slots->lock, LW_SHARED);
	memcpy(slot, caller->slot, sizeof(RunSlot));
	LWLockRelease(run_slots->lock);
	/* one that never started has left its bit set */
	slot_release(caller->slot, SLOT_RUNNER);
	slot_release(caller->slot, SLOT_CALLER);
}

/* What must be so that a run makes sense, and what it takes from the session. */
static char *
complete_order(SyncOrder *order, Oid owner)
{
	char	   *file;
	ListCell   *lc;

	progress_require();
	if (order->search_path == NULL)
		order->search_path = pstrdup(namespace_search_path);
	order->export_directory = lfsync_export_directory;
	order->batch_bytes = lfsync_batch_bytes;
	order->busy_timeout = lfsync_busy_timeout;
	precheck_owner(owner);
	if (order->event)
		return order->file;
	foreach(lc, order->table_names)
		mapping_check_table_name((char *) lfirst(lc));
	file = path_resolve(order->file, owner);
	order->held = precheck_held();
	foreach(lc, order->sources)
	{
		precheck_source(lfirst_oid(lc), order->held);
		if (!order->options.row_security)
			precheck_row_security(lfirst_oid(lc), owner);
	}
	return file;
}

RunResult *
caller_run(SyncOrder *order, Oid owner)
{
	Caller		caller = {0};
	RunResult  *result = palloc0(sizeof(RunResult));

	result->file = complete_order(order, owner);
	caller.segment = order_send(order);
	work(&caller, describe(order, result->file), owner, runner_start, false);
	take_slot(&caller, &result->slot);
	result->tables = order_get_result(caller.segment);
	result->ended_at = GetCurrentTimestamp();
	dsm_detach(caller.segment);
	return result;
}

static void
check_outcome(const RunSlot *slot)
{
	if (slot->status == RUN_SUCCEEDED)
		return;
	if (slot->error.sqlerrcode != 0)
		slot_throw_error(&slot->error);
	ereport(ERROR,
			(errcode(ERRCODE_SYSTEM_ERROR),
			 errmsg("the runner of this run ended without a word"),
			 errhint("The server log says why.")));
}

void
caller_check_result(const RunResult *result)
{
	check_outcome(&result->slot);
}

int64
caller_start(SyncOrder *order, Oid owner)
{
	Caller		caller = {0};
	RunSlot    *text = describe(order, complete_order(order, owner));
	int64		id;

	caller.segment = order_send(order);
	work(&caller, text, owner, runner_start, true);
	id = run_id(&caller);
	if (id != 0)
		slot_release(caller.slot, SLOT_CALLER);
	else
	{
		take_slot(&caller, text);
		check_outcome(text);
	}
	/* a runner that has an id has the segment too, which lives on with it */
	dsm_detach(caller.segment);
	return id;
}

static void
let_go(Caller *caller)
{
	slot_release(caller->slot, SLOT_CALLER);
	dsm_detach(caller->segment);
}

Caller *
caller_launch(SyncOrder *order, Oid owner)
{
	RunSlot    *text = describe(order, complete_order(order, owner));
	Caller		claimed = {0};
	Caller	   *caller = NULL;
	MemoryContext oldcontext;

	claimed.segment = order_send(order);
	claim(&claimed, text, owner);
	/* nothing fails from here on */
	dsm_pin_mapping(claimed.segment);
	oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	if (register_worker(&claimed, runner_start))
	{
		caller = palloc(sizeof(Caller));
		*caller = claimed;
	}
	else
		let_go(&claimed);
	MemoryContextSwitchTo(oldcontext);
	return caller;
}

bool
caller_ended(Caller *caller, RunSlot *slot)
{
	pid_t		pid;

	if (GetBackgroundWorkerPid(caller->runner, &pid) != BGWH_STOPPED)
		return false;
	take_slot(caller, slot);
	dsm_detach(caller->segment);
	pfree(caller->runner);
	pfree(caller);
	return true;
}

void
caller_leave(Caller *caller)
{
	let_go(caller);
	pfree(caller->runner);
	pfree(caller);
}

void
caller_flush(int64 job_id)
{
	SlotHandle	handle;
	RunSlot    *slot = palloc(sizeof(RunSlot));
	bool		ours;

	progress_require();
	if (slots_ask_flush(FLUSH_BY_CALL, MyDatabaseId, job_id, NULL, &handle) == 0)
		return;
	while ((ours = slot_read(&handle, slot)) && slot_is_live(slot))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 FLUSH_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (ours)
		check_outcome(slot);
}

void
caller_remove(const char *path, const char *job, Oid owner)
{
	Caller		caller = {0};
	RunSlot    *text = palloc0(sizeof(RunSlot));
	RemoveRequest *request;

	progress_require();
	strlcpy(text->mode, "remove", sizeof(text->mode));
	slot_copy_text(text->job, sizeof(text->job), job);
	slot_copy_text(text->file, sizeof(text->file), path);

	caller.segment = dsm_create(sizeof(RemoveRequest), 0);
	request = dsm_segment_address(caller.segment);
	request->busy_timeout = lfsync_busy_timeout;
	strlcpy(request->path, path, sizeof(request->path));
	slot_copy_text(request->job, sizeof(request->job), job);
	slot_copy_text(request->owner, sizeof(request->owner),
				   GetUserNameFromId(owner, false));
	work(&caller, text, owner, remover_start, false);
	take_slot(&caller, text);
	dsm_detach(caller.segment);
	check_outcome(text);
}
