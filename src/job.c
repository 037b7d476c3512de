/*-------------------------------------------------------------------------
 *
 * job.c
 *	  Stored jobs: rows of lfsync_jobs.
 *
 * A job is kept as text, so that it survives a table that is dropped and made
 * again, and a dump.  Its owner is kept by name and by OID: within a cluster
 * the OID tells a role from a later one of the same name, in another cluster
 * only the name means anything.  Which of the two counts is told by the system
 * identifier: a copy of a cluster must not write its original's files because
 * somebody restored it, so there the job does nothing until it is adopted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "args.h"
#include "compat.h"
#include "job.h"
#include "mapping.h"
#include "store.h"

PG_FUNCTION_INFO_V1(lfsync_job_owner);

#define JOBS_TABLE	"lfsync_jobs"

/* What is stored of a job, in the order of the functions below ... */
static const char job_columns[] =
"name, owner, owner_oid, source, query, file, mode, table_name, key_columns, "
"cursor_columns, filter, mapping, schedule, enabled, options, search_path, "
"system_identifier, reset";

/* ... and what the table adds by itself. */
static const char job_more_columns[] = "job_id, created_at, updated_at";

static Oid	job_types[] = {
	TEXTOID, NAMEOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTARRAYOID, TEXTARRAYOID, TEXTOID, JSONOID, INTERVALOID, BOOLOID, JSONBOID,
	TEXTOID, TEXTOID, BOOLOID, INT8OID
};

#define JOB_COLUMNS		18
#define JOB_PLACES		"$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18"
#define JOB_ID_PLACE	"$19"	/* the id is behind them */

/*-------------------------------------------------------------------------
 * Rows
 *-------------------------------------------------------------------------
 */

static void
job_to_values(const Job *job, Datum *values, char *nulls)
{
	int			n = 0;

#define PUT(datum, isnull) \
	(nulls[n] = (isnull) ? 'n' : ' ', values[n] = (isnull) ? (Datum) 0 : (datum), n++)
#define PUT_TEXT(text) \
	PUT(CStringGetTextDatum(text), (text) == NULL)
#define PUT_TEXTS(texts) \
	PUT(PointerGetDatum(texts_to_array(texts)), (texts) == NIL)

	PUT_TEXT(job->name);
	PUT(DirectFunctionCall1(namein, CStringGetDatum(job->owner)), false);
	PUT(ObjectIdGetDatum(job->owner_oid), false);
	PUT_TEXT(job->source);
	PUT_TEXT(job->query);
	PUT_TEXT(job->file);
	PUT_TEXT(job->mode);
	PUT_TEXT(job->table_name);
	PUT_TEXTS(job->key_columns);
	PUT_TEXTS(job->cursor_columns);
	PUT_TEXT(job->filter);
	PUT_TEXT(job->mapping);
	PUT(IntervalPGetDatum(job->schedule), job->schedule == NULL);
	PUT(BoolGetDatum(job->enabled), false);
	PUT(JsonbPGetDatum(job->options), false);
	PUT_TEXT(job->search_path);
	PUT_TEXT(job->system_identifier);
	PUT(BoolGetDatum(job->reset), false);
	Assert(n == JOB_COLUMNS);
	PUT(Int64GetDatum(job->id), false);
	nulls[n] = '\0';
}

/* In CurrentMemoryContext. */
static Job *
job_from_row(HeapTuple tuple, TupleDesc desc)
{
	Job		   *job = palloc0(sizeof(Job));
	Datum		value;
	bool		isnull;
	int			n = 0;

#define GET(target, converted) \
	do { \
		value = SPI_getbinval(tuple, desc, ++n, &isnull); \
		if (!isnull) \
			(target) = (converted); \
	} while (0)
#define GET_TEXT(target) \
	GET(target, TextDatumGetCString(value))
#define GET_TEXTS(target, name) \
	GET(target, texts_from_array(DatumGetArrayTypeP(value), name))

	GET_TEXT(job->name);
	GET(job->owner, pstrdup(NameStr(*DatumGetName(value))));
	GET(job->owner_oid, DatumGetObjectId(value));
	GET_TEXT(job->source);
	GET_TEXT(job->query);
	GET_TEXT(job->file);
	GET_TEXT(job->mode);
	GET_TEXT(job->table_name);
	GET_TEXTS(job->key_columns, "key_columns");
	GET_TEXTS(job->cursor_columns, "cursor_columns");
	GET_TEXT(job->filter);
	GET_TEXT(job->mapping);
	GET(job->schedule, DatumGetIntervalP(datumCopy(value, false, sizeof(Interval))));
	GET(job->enabled, DatumGetBool(value));
	GET(job->options, DatumGetJsonbPCopy(value));
	GET_TEXT(job->search_path);
	GET_TEXT(job->system_identifier);
	GET(job->reset, DatumGetBool(value));
	Assert(n == JOB_COLUMNS);
	GET(job->id, DatumGetInt64(value));
	GET(job->created_at, DatumGetTimestampTz(value));
	GET(job->updated_at, DatumGetTimestampTz(value));
	return job;
}

/* Writes one row; false if there was none to write. */
static bool
write_row(const Job *job, int nargs, int expected, const char *sql)
{
	Datum		values[JOB_COLUMNS + 1];
	char		nulls[JOB_COLUMNS + 2];

	job_to_values(job, values, nulls);
	if (SPI_execute_with_args(sql, nargs, job_types, values, nulls, false, 0) != expected)
		elog(ERROR, "could not write job \"%s\"", job->name);
	return SPI_processed == 1;
}

void
job_insert(Job *job)
{
	StoreAccess store;
	bool		isnull;

	store_begin(&store, JOBS_TABLE);
	if (!write_row(job, JOB_COLUMNS, SPI_OK_INSERT_RETURNING,
				   psprintf("INSERT INTO %s (%s) VALUES (" JOB_PLACES ") "
							"ON CONFLICT (name) DO NOTHING RETURNING job_id",
							store.table, job_columns)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("job \"%s\" already exists", job->name),
				 errhint("Choose another name, or change the job with lfsync_alter_job().")));
	job->id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	store_end(&store);
}

void
job_update(const Job *job)
{
	StoreAccess store;

	store_begin(&store, JOBS_TABLE);
	if (!write_row(job, JOB_COLUMNS + 1, SPI_OK_UPDATE,
				   psprintf("UPDATE %s SET (%s, updated_at) = ROW(" JOB_PLACES ", pg_catalog.now()) "
							"WHERE job_id OPERATOR(pg_catalog.=) " JOB_ID_PLACE,
							store.table, job_columns)))
		elog(ERROR, "job \"%s\" is gone", job->name);
	store_end(&store);
}

void
job_delete(const Job *job)
{
	StoreAccess store;

	store_begin(&store, JOBS_TABLE);
	if (SPI_execute_with_args(psprintf("DELETE FROM %s WHERE job_id OPERATOR(pg_catalog.=) $1",
									   store.table),
							  1, (Oid[]) {INT8OID}, (Datum[]) {Int64GetDatum(job->id)},
							  NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete job \"%s\"", job->name);
	store_end(&store);
}

void
job_clear_reset(const char *name)
{
	StoreAccess store;

	/* on a standby the job stays as it is */
	if (RecoveryInProgress())
		return;

	/*
	 * A run that has published its file waits for nobody, least of all for
	 * its caller: a job that is being changed starts from nothing once more.
	 */
	store_begin_transaction(&store, JOBS_TABLE);
	if (SPI_execute_with_args(psprintf("UPDATE %s SET reset = false WHERE job_id OPERATOR(pg_catalog.=) "
									   "(SELECT job_id FROM %s WHERE name OPERATOR(pg_catalog.=) $1 "
									   "AND reset FOR UPDATE SKIP LOCKED)",
									   store.table, store.table),
							  1, (Oid[]) {TEXTOID}, (Datum[]) {CStringGetTextDatum(name)},
							  NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write job \"%s\"", name);
	store_end_transaction(&store);
}

/*-------------------------------------------------------------------------
 * Names
 *-------------------------------------------------------------------------
 */

/*
 * The relation that a name means, InvalidOid if there is none.  Asks for no
 * right: whether the job's owner may read it is looked at elsewhere.
 */
static Oid
relation_by_name(const char *text)
{
	List	   *names;
	Oid			schema;

	if (!SplitIdentifierString(pstrdup(text), '.', &names))
		return InvalidOid;
	if (list_length(names) == 1)
		return RelnameGetRelid(linitial(names));
	if (list_length(names) != 2)
		return InvalidOid;
	schema = get_namespace_oid(linitial(names), true);
	return OidIsValid(schema) ? get_relname_relid(lsecond(names), schema) : InvalidOid;
}

pg_noreturn static void
refuse_unknown(const char *name)
{
	bool		is_table = OidIsValid(relation_by_name(name));

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("job \"%s\" does not exist", name),
			 is_table ? errdetail("There is a relation of that name, but no job.") : 0,
			 is_table ?
			 errhint("To export the relation, name a file too: SELECT * FROM lfsync_export(%s, %s).",
					 quote_literal_cstr(name),
					 quote_literal_cstr(psprintf("%s.db", name))) :
			 errhint("Look at lfsync_jobs for the names of jobs.")));
}

/*-------------------------------------------------------------------------
 * Owners
 *-------------------------------------------------------------------------
 */

static char *
system_identifier(void)
{
	return psprintf(UINT64_FORMAT, GetSystemIdentifier());
}

static bool
is_of_this_cluster(const char *identifier)
{
	return strcmp(identifier, system_identifier()) == 0;
}

static Oid
steering_role(const char *owner, Oid owner_oid, const char *identifier)
{
	return is_of_this_cluster(identifier) ? owner_oid : get_role_oid(owner, true);
}

/* lfsync_job_owner(owner name, owner_oid oid, system_identifier text) */
Datum
lfsync_job_owner(PG_FUNCTION_ARGS)
{
	Oid			role = steering_role(NameStr(*PG_GETARG_NAME(0)), PG_GETARG_OID(1),
									 text_to_cstring(PG_GETARG_TEXT_PP(2)));

	if (!OidIsValid(role))
		PG_RETURN_NULL();
	PG_RETURN_OID(role);
}

Oid
job_steering_role(const Job *job)
{
	return steering_role(job->owner, job->owner_oid, job->system_identifier);
}

bool
job_is_at_home(const Job *job)
{
	return is_of_this_cluster(job->system_identifier);
}

static bool
may_steer(const Job *job)
{
	return has_privs_of_role(GetUserId(), job_steering_role(job));
}

/* What adopts a job, to be pasted. */
static char *
adopting_call(const Job *job)
{
	return psprintf("SELECT lfsync_alter_job(%s, enabled => true)",
					quote_literal_cstr(job->name));
}

void
job_check_owner(const Job *job)
{
	char	   *name;

	if (!job_is_at_home(job))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("job \"%s\" was stored in another cluster", job->name),
				 errdetail("It came with a dump or an upgrade, and is disabled here: its original may still be writing the file."),
				 errhint("To run it here: %s.", adopting_call(job))));

	name = GetUserNameFromId(job->owner_oid, true);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\", the owner of job \"%s\", has been dropped",
						job->owner, job->name),
				 OidIsValid(get_role_oid(job->owner, true)) ?
				 errdetail("There is another role of that name now.") : 0,
				 errhint("Drop the job, or let a superuser give it to the role of that name: %s.",
						 adopting_call(job))));
	if (strcmp(name, job->owner) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\", the owner of job \"%s\", has been renamed to \"%s\"",
						job->owner, job->name, name),
				 errdetail("What it has written so far names the old one, and is not the new one's to write."),
				 errhint("To go on as \"%s\", in another file or without the old one: %s.",
						 name, adopting_call(job))));
}

void
job_give(Job *job, Oid role)
{
	job->owner_oid = role;
	job->owner = GetUserNameFromId(role, false);
	job->system_identifier = system_identifier();
}

void
job_adopt(Job *job)
{
	Oid			role = steering_role(job->owner, job->owner_oid,
									 job->system_identifier);
	char	   *name = GetUserNameFromId(role, true);

	/* dropped, and made again or restored */
	if (name == NULL)
		role = get_role_oid(job->owner, true);
	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", the owner of job \"%s\", does not exist",
						job->owner, job->name),
				 errhint("Create the role, or drop the job and store it again as another one.")));
	/* what a position in the file says, it says of the other cluster */
	if (!job_is_at_home(job))
		job->reset = true;
	job_give(job, role);
}

/*-------------------------------------------------------------------------
 * Jobs
 *-------------------------------------------------------------------------
 */

Job *
job_get(const char *name, bool for_update)
{
	StoreAccess store;
	Job		   *job = NULL;

	store_begin(&store, JOBS_TABLE);
	if (SPI_execute_with_args(psprintf("SELECT %s, %s FROM %s WHERE name OPERATOR(pg_catalog.=) $1%s",
									   job_columns, job_more_columns, store.table,
									   for_update ? " FOR UPDATE" : ""),
							  1, (Oid[]) {TEXTOID}, (Datum[]) {CStringGetTextDatum(name)},
							  NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read job \"%s\"", name);
	if (SPI_processed == 1)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(store.context);

		job = job_from_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(oldcontext);
	}
	store_end(&store);

	if (job == NULL)
		refuse_unknown(name);
	if (!may_steer(job))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for job \"%s\"", name),
				 errdetail("Only its owner \"%s\", members of that role and superusers may run or change it.",
						   job->owner),
				 errhint("Let \"%s\" do it, or become a member of that role.", job->owner)));
	return job;
}

List *
job_list(void)
{
	StoreAccess store;
	List	   *jobs = NIL;

	store_begin(&store, JOBS_TABLE);
	if (SPI_execute(psprintf("SELECT %s, %s FROM %s ORDER BY job_id",
							 job_columns, job_more_columns, store.table),
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the jobs");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext oldcontext = MemoryContextSwitchTo(store.context);

		jobs = lappend(jobs, job_from_row(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc));
		MemoryContextSwitchTo(oldcontext);
	}
	store_end(&store);
	return jobs;
}

List *
job_names_enabled(void)
{
	StoreAccess store;
	List	   *names = NIL;

	store_begin(&store, JOBS_TABLE);
	if (SPI_execute_with_args(psprintf("SELECT name, owner_oid FROM %s "
									   "WHERE enabled AND system_identifier OPERATOR(pg_catalog.=) $1 "
									   "ORDER BY name COLLATE pg_catalog.\"C\"",
									   store.table),
							  1, (Oid[]) {TEXTOID},
							  (Datum[]) {CStringGetTextDatum(system_identifier())},
							  NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the jobs");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;
		Oid			owner = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc,
														   2, &isnull));
		MemoryContext oldcontext = MemoryContextSwitchTo(store.context);

		/* the current user is the table's owner now */
		if (has_privs_of_role(store.save_userid, owner))
			names = lappend(names, SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(oldcontext);
	}
	store_end(&store);
	return names;
}

void
job_schedule(const Job *job, Schedule *schedule, JobOptions *options)
{
	SyncOptions of_runs;

	options_parse(job->options, &of_runs, options);
	schedule_make(schedule, job->schedule, options);
}

/* What is not given while another one is. */
#define DEFAULT_FLUSH_ROWS			5000
#define DEFAULT_FLUSH_INTERVAL_MS	30000
#define DEFAULT_MAX_PENDING_ROWS	100000

static int
given_or(int given, int otherwise)
{
	return given == NOT_GIVEN ? otherwise : given;
}

FlushBounds
job_flush_bounds(const Job *job, const JobOptions *options)
{
	FlushBounds bounds = {.staged = false};
	double		ms;

	if (job->schedule == NULL ||
		(options->flush_rows == NOT_GIVEN && options->flush_interval == NOT_GIVEN &&
		 options->max_pending_rows == NOT_GIVEN))
		return bounds;
	ms = job->schedule->time / 1000.0 +
		(job->schedule->day + job->schedule->month * (double) DAYS_PER_MONTH) * (USECS_PER_DAY / 1000);
	bounds.staged = true;
	bounds.rows = given_or(options->flush_rows, DEFAULT_FLUSH_ROWS);
	bounds.interval = given_or(options->flush_interval, DEFAULT_FLUSH_INTERVAL_MS);
	bounds.max_pending_rows = given_or(options->max_pending_rows, DEFAULT_MAX_PENDING_ROWS);
	bounds.look_every = (int) Min(ms, PG_INT32_MAX);
	return bounds;
}

void
job_order(const Job *job, SyncOrder *order)
{
	JobOptions	of_job;

	memset(order, 0, sizeof(SyncOrder));
	order->job = job->name;
	order->job_id = job->id;
	order->mode = job->mode;
	order->query = job->query;
	order->file = job->file;
	order->key_columns = job->key_columns;
	order->cursor_columns = job->cursor_columns;
	order->filter = job->filter;
	order->mapping = job->mapping;
	order->search_path = job->search_path;
	order->reset = job->reset;
	options_parse(job->options, &order->options, &of_job);
	if (job->source == NULL)
		order->table_names = mapping_target_names(job->mapping, job->table_name, NULL);
	else
	{
		Oid			relid = relation_by_name(job->source);

		if (!OidIsValid(relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("the source of job \"%s\", %s, does not exist",
							job->name, job->source),
					 errhint("Make it again, name another one with lfsync_alter_job(), or drop the job.")));
		order->sources = list_make1_oid(relid);
		order->table_names = mapping_target_names(job->mapping, job->table_name,
												  get_rel_name(relid));
	}
}
