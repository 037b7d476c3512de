/*-------------------------------------------------------------------------
 *
 * job_api.c
 *	  The SQL functions that store, change and drop jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "args.h"
#include "caller.h"
#include "clock.h"
#include "job.h"
#include "lfsync.h"
#include "path.h"

PG_FUNCTION_INFO_V1(lfsync_add_job);
PG_FUNCTION_INFO_V1(lfsync_add_query_job);
PG_FUNCTION_INFO_V1(lfsync_alter_job);
PG_FUNCTION_INFO_V1(lfsync_drop_job);
PG_FUNCTION_INFO_V1(lfsync_reset_job);

/* The session's time zone as an option. */
static char *
timezone_option(void)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"timezone\": ");
	escape_json(&json, pg_get_timezone_name(session_timezone));
	appendStringInfoChar(&json, '}');
	return json.data;
}

/*
 * Nobody would follow the schedule.  Who has restored many jobs enables all of
 * them first, so that is no error.
 */
static void
complain_unscheduled(const Job *job, bool restored)
{
	const char *database = quote_identifier(get_database_name(MyDatabaseId));
	const char *all = lfsync_databases[0] == '\0' ? database :
		psprintf("%s, %s", lfsync_databases, database);

	ereport(restored ? WARNING : ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("nothing would run job \"%s\" by itself in this database", job->name),
			 errdetail("Database %s is not in lfsync.databases.", database),
			 errhint("ALTER SYSTEM SET lfsync.databases = %s; then restart the server. Or leave out the schedule, and call lfsync_export(%s) from cron.",
					 quote_literal_cstr(all), quote_literal_cstr(job->name))));
}

/*
 * What was just given must be a schedule that somebody follows.  Where its
 * times depend on a time zone, that of the session is what was meant.
 */
static void
complete_schedule(Job *job, bool restored)
{
	Schedule	schedule;
	JobOptions	options;

	job_schedule(job, &schedule, &options);
	if (options.timezone == NULL &&
		(options.condition || schedule_is_local(job->schedule, &options)))
		job->options = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
														  JsonbPGetDatum(job->options),
														  DirectFunctionCall1(jsonb_in,
																			  CStringGetDatum(timezone_option()))));
	if (job->enabled && schedule_is_automatic(&schedule) && !clock_has_scheduler())
		complain_unscheduled(job, restored);
}

/* A relation as text that finds it again. */
static char *
relation_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	char	   *relname;
	Oid			relid = required_relation_arg(fcinfo, n, name, &relname);

	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  relname);
}

static Interval *
interval_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_INTERVAL_P(n);
}

static Jsonb *
no_options(void)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

static Job *
new_job(FunctionCallInfo fcinfo)
{
	Job		   *job = palloc0(sizeof(Job));

	job->name = required_text_arg(fcinfo, 0, "name");
	job->search_path = pstrdup(namespace_search_path);
	job_give(job, GetUserId());
	return job;
}

/* schedule, enabled and options are the last arguments, in this order */
static Datum
store_job(FunctionCallInfo fcinfo, Job *job, int schedule)
{
	job->schedule = interval_arg(fcinfo, schedule);
	job->enabled = PG_ARGISNULL(schedule + 1) || PG_GETARG_BOOL(schedule + 1);
	job->options = PG_ARGISNULL(schedule + 2) ? no_options() :
		PG_GETARG_JSONB_P(schedule + 2);
	job_validate(job);
	complete_schedule(job, false);
	job_insert(job);
	clock_wake_at_commit();
	PG_RETURN_INT64(job->id);
}

/* A run whose rows wait in memory has been asked for something else. */
static void
write_what_waits(const Job *job)
{
	if (run_slots)
		(void) slots_ask_flush(FLUSH_FOR_CHANGE, MyDatabaseId, job->id, NULL, NULL);
}

/*
 * lfsync_add_job(name text, source regclass, file text, mode text,
 *				  table_name text, key_columns text[], cursor_columns text[],
 *				  filter text, mapping json, schedule interval,
 *				  enabled boolean, options jsonb) returns bigint
 */
Datum
lfsync_add_job(PG_FUNCTION_ARGS)
{
	Job		   *job = new_job(fcinfo);

	job->source = relation_arg(fcinfo, 1, "source");
	job->file = required_text_arg(fcinfo, 2, "file");
	job->mode = text_arg(fcinfo, 3);
	job->table_name = text_arg(fcinfo, 4);
	job->key_columns = text_array_arg(fcinfo, 5, "key_columns");
	job->cursor_columns = text_array_arg(fcinfo, 6, "cursor_columns");
	job->filter = text_arg(fcinfo, 7);
	job->mapping = text_arg(fcinfo, 8);
	return store_job(fcinfo, job, 9);
}

/*
 * lfsync_add_query_job(name text, query text, file text, table_name text,
 *						mode text, key_columns text[], cursor_columns text[],
 *						mapping json, schedule interval, enabled boolean,
 *						options jsonb) returns bigint
 */
Datum
lfsync_add_query_job(PG_FUNCTION_ARGS)
{
	Job		   *job = new_job(fcinfo);

	job->query = required_text_arg(fcinfo, 1, "query");
	job->file = required_text_arg(fcinfo, 2, "file");
	/* a mapping names its tables itself */
	job->table_name = PG_ARGISNULL(7) ? required_text_arg(fcinfo, 3, "table_name") :
		text_arg(fcinfo, 3);
	job->mode = text_arg(fcinfo, 4);
	job->key_columns = text_array_arg(fcinfo, 5, "key_columns");
	job->cursor_columns = text_array_arg(fcinfo, 6, "cursor_columns");
	job->mapping = text_arg(fcinfo, 7);
	return store_job(fcinfo, job, 8);
}

/*-------------------------------------------------------------------------
 * Changing a job
 *-------------------------------------------------------------------------
 */

/* The arguments of lfsync_alter_job(), by number. */
enum AlterArgument
{
	ALTER_NAME,
	ALTER_SOURCE,
	ALTER_FILE,
	ALTER_MODE,
	ALTER_TABLE_NAME,
	ALTER_KEY_COLUMNS,
	ALTER_CURSOR_COLUMNS,
	ALTER_FILTER,
	ALTER_MAPPING,
	ALTER_SCHEDULE,
	ALTER_ENABLED,
	ALTER_OPTIONS,
	ALTER_UNSET,
	ALTER_QUERY,
	ALTER_ARGUMENTS
};

/* Those that have a default. */
static const struct
{
	const char *name;
	int			argument;
	bool		query_too;		/* also in a job that exports a query */
}			defaults[] = {
	{"mode", ALTER_MODE, true},
	{"table_name", ALTER_TABLE_NAME, false},
	{"key_columns", ALTER_KEY_COLUMNS, true},
	{"cursor_columns", ALTER_CURSOR_COLUMNS, true},
	{"filter", ALTER_FILTER, false},
	{"mapping", ALTER_MAPPING, true},
	{"schedule", ALTER_SCHEDULE, true},
	{"enabled", ALTER_ENABLED, true},
	{"options", ALTER_OPTIONS, true},
};

/* The number of an argument that is to be put back to its default. */
static int
argument_with_default(const Job *job, const char *name)
{
	StringInfoData list;

	initStringInfo(&list);
	for (size_t i = 0; i < lengthof(defaults); i++)
	{
		if (job->query && !defaults[i].query_too)
			continue;
		if (strcmp(defaults[i].name, name) == 0)
			return defaults[i].argument;
		appendStringInfo(&list, "%s%s", list.len ? ", " : "", defaults[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" of job \"%s\" has no default to go back to", name, job->name),
			 errhint("\"unset\" may name: %s.", list.data)));
}

static void
unset_arguments(FunctionCallInfo fcinfo, const Job *job, bool *unset)
{
	ListCell   *lc;

	foreach(lc, text_array_arg(fcinfo, ALTER_UNSET, "unset"))
	{
		const char *name = (const char *) lfirst(lc);
		int			argument = argument_with_default(job, name);

		if (!PG_ARGISNULL(argument))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" is both given and unset", name),
					 errhint("Leave out one of the two.")));
		unset[argument] = true;
	}
}

/* A job exports either a relation, perhaps with a filter, or a query. */
static void
refuse_other_kind(FunctionCallInfo fcinfo, const Job *job)
{
	const char *name = NULL;

	if (job->query && !PG_ARGISNULL(ALTER_SOURCE))
		name = "source";
	else if (job->query && !PG_ARGISNULL(ALTER_FILTER))
		name = "filter";
	else if (job->source && !PG_ARGISNULL(ALTER_QUERY))
		name = "query";
	if (name)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" does not go with job \"%s\"", name, job->name),
				 job->query ? errdetail("The job exports a query.") :
				 errdetail("The job exports %s.", job->source),
				 job->query ? errhint("Change the query, or drop the job and store another one.") :
				 errhint("Drop the job, and store another one with lfsync_add_query_job().")));
}

/*
 * lfsync_alter_job(name text, source regclass, file text, mode text,
 *					table_name text, key_columns text[], cursor_columns text[],
 *					filter text, mapping json, schedule interval,
 *					enabled boolean, options jsonb, unset text[], query text)
 *
 * NULL leaves a value as it is.  Disabling works whatever has become of the
 * job; anything else wants a job that can be run afterwards.
 */
Datum
lfsync_alter_job(PG_FUNCTION_ARGS)
{
	Job		   *job = job_get(required_text_arg(fcinfo, ALTER_NAME, "name"), true);
	bool		unset[ALTER_ARGUMENTS] = {0};
	bool		restored = !job_is_at_home(job);
	bool		changed = false;

#define CHANGE(argument, field, given, initial) \
	do { \
		if (!PG_ARGISNULL(argument) || unset[argument]) \
		{ \
			job->field = unset[argument] ? (initial) : (given); \
			changed = true; \
		} \
	} while (0)

	unset_arguments(fcinfo, job, unset);
	refuse_other_kind(fcinfo, job);
	CHANGE(ALTER_SOURCE, source, relation_arg(fcinfo, ALTER_SOURCE, "source"), NULL);
	CHANGE(ALTER_QUERY, query, text_arg(fcinfo, ALTER_QUERY), NULL);
	CHANGE(ALTER_FILTER, filter, text_arg(fcinfo, ALTER_FILTER), NULL);
	CHANGE(ALTER_MAPPING, mapping, text_arg(fcinfo, ALTER_MAPPING), NULL);
	/* these names are looked up where they were written */
	if (!PG_ARGISNULL(ALTER_QUERY) || !PG_ARGISNULL(ALTER_FILTER) ||
		!PG_ARGISNULL(ALTER_MAPPING))
		job->search_path = pstrdup(namespace_search_path);
	CHANGE(ALTER_FILE, file, text_arg(fcinfo, ALTER_FILE), NULL);
	CHANGE(ALTER_MODE, mode, text_arg(fcinfo, ALTER_MODE), NULL);
	CHANGE(ALTER_TABLE_NAME, table_name, text_arg(fcinfo, ALTER_TABLE_NAME), NULL);
	CHANGE(ALTER_KEY_COLUMNS, key_columns,
		   text_array_arg(fcinfo, ALTER_KEY_COLUMNS, "key_columns"), NIL);
	CHANGE(ALTER_CURSOR_COLUMNS, cursor_columns,
		   text_array_arg(fcinfo, ALTER_CURSOR_COLUMNS, "cursor_columns"), NIL);
	CHANGE(ALTER_SCHEDULE, schedule, interval_arg(fcinfo, ALTER_SCHEDULE), NULL);
	CHANGE(ALTER_OPTIONS, options, PG_GETARG_JSONB_P(ALTER_OPTIONS), no_options());
	if (!PG_ARGISNULL(ALTER_ENABLED) || unset[ALTER_ENABLED])
	{
		job->enabled = unset[ALTER_ENABLED] || PG_GETARG_BOOL(ALTER_ENABLED);
		if (job->enabled)
		{
			job_adopt(job);
			changed = true;
		}
	}
	if (changed)
	{
		job_check_owner(job);
		job_validate(job);
	}
	if (!PG_ARGISNULL(ALTER_SCHEDULE) || !PG_ARGISNULL(ALTER_OPTIONS) ||
		!PG_ARGISNULL(ALTER_ENABLED))
		complete_schedule(job, restored);
	job_update(job);
	write_what_waits(job);
	clock_wake_at_commit();
	PG_RETURN_VOID();
}

/*
 * lfsync_drop_job(name text, drop_file boolean)
 *
 * The file goes last, and only from where the job would write it itself.
 */
Datum
lfsync_drop_job(PG_FUNCTION_ARGS)
{
	Job		   *job = job_get(required_text_arg(fcinfo, 0, "name"), true);

	job_delete(job);
	write_what_waits(job);
	clock_wake_at_commit();
	if (!PG_ARGISNULL(1) && PG_GETARG_BOOL(1))
	{
		job_check_owner(job);
		caller_remove(path_resolve(job->file, job->owner_oid), job->name,
					  job->owner_oid);
	}
	PG_RETURN_VOID();
}

/* lfsync_reset_job(name text) */
Datum
lfsync_reset_job(PG_FUNCTION_ARGS)
{
	Job		   *job = job_get(required_text_arg(fcinfo, 0, "name"), true);

	job->reset = true;
	job_update(job);
	write_what_waits(job);
	clock_wake_at_commit();
	PG_RETURN_VOID();
}
