/*-------------------------------------------------------------------------
 *
 * job_check.c
 *	  Whether a job can be run as it stands.
 *
 * A job runs when nobody looks, so what can be wrong with it is said when it is
 * stored: its source is prepared as a run would do it, as the owner and under
 * the search path that the job keeps.  A caller may be a member of the owning
 * role, or a superuser, and planning calls functions that the owner chose:
 * hence the restricted security context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "compat.h"
#include "job.h"
#include "mapping.h"
#include "owner.h"
#include "path.h"
#include "precheck.h"
#include "rowversion.h"
#include "runner.h"
#include "source.h"

#define MAX_JOB_NAME	255		/* bytes */

/* Reading a source above this at every run is worth a word. */
#define LARGE_SOURCE	(INT64CONST(1) << 30)

/*-------------------------------------------------------------------------
 * What needs no source
 *-------------------------------------------------------------------------
 */

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MAX_JOB_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid job name \"%s\"", name),
				 errdetail("A name has 1 to %d bytes.", MAX_JOB_NAME),
				 errhint("Choose another name.")));
}

/* Returns what the job says besides. */
static JobOptions
check_schedule(const Job *job)
{
	Schedule	schedule;
	JobOptions	options;

	job_schedule(job, &schedule, &options);
	return options;
}

static bool
is_incremental(const Job *job)
{
	return strcmp(job->mode, "incremental") == 0;
}

static bool
is_full(const Job *job)
{
	return strcmp(job->mode, "full") == 0;
}

/*-------------------------------------------------------------------------
 * The source
 *-------------------------------------------------------------------------
 */

static void
check_cursor_columns(const Source *source, List *cursor_columns)
{
	ListCell   *lc;

	foreach(lc, cursor_columns)
	{
		const char *name = (const char *) lfirst(lc);
		bool		found = false;

		for (int i = 0; i < source->ncolumns; i++)
		{
			if (strcmp(source->columns[i].name, name) == 0)
				found = true;
		}
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("cursor column \"%s\" does not exist in the source", name),
					 errhint("Write the name as it is there, upper and lower case too.")));
		for (int i = 0; i < foreach_current_index(lc); i++)
		{
			if (strcmp((const char *) list_nth(cursor_columns, i), name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("cursor column \"%s\" is given twice", name),
						 errhint("Name each column once.")));
		}
	}
}

/* What a look at the source has shown. */
typedef struct Findings
{
	bool		keyed;
	bool		mutable;		/* the filter looks at more than the row */
} Findings;

/* What runs as the owner before a run, or after one, must be something. */
static void
check_owners_code(const SyncOrder *order)
{
	if (order->condition && SPI_prepare(owner_question(order->condition), 0, NULL) == NULL)
		elog(ERROR, "could not prepare condition \"%s\"", order->condition);
	if (order->on_event &&
		SPI_prepare(owner_call(order->on_event), 1, (Oid[]) {JSONBOID}) == NULL)
		elog(ERROR, "could not prepare a call of \"%s\"", order->on_event);
}

/* Prepares what a run of the order would read, as the current user. */
static Findings
prepare_source(const SyncOrder *order)
{
	Source	   *source;
	Mapping    *mapping;
	Findings	findings;

	SPI_connect();
	check_owners_code(order);
	if (order->query)
	{
		source = source_prepare(InvalidOid, "query", order->query);
		mapping = mapping_from_query(source, linitial(order->table_names), order);
	}
	else
	{
		Oid			relid = linitial_oid(order->sources);
		Relation	rel = table_open(relid, AccessShareLock);

		mapping = mapping_from_relation(relid, linitial(order->table_names), order);
		source = source_prepare(relid, get_rel_name(relid), mapping->sql);
		table_close(rel, NoLock);
	}
	check_cursor_columns(source, order->cursor_columns);
	source_check_rights(source);
	findings.keyed = mapping->table->nkeys > 0;
	findings.mutable = source_is_mutable(source);
	SPI_finish();
	return findings;
}

/* The same as somebody else, who must not get at the caller's session. */
static Findings
prepare_source_as(Oid owner, const SyncOrder *order)
{
	Findings	findings;
	int			nestlevel = NewGUCNestLevel();
	Oid			save_userid;
	int			save_context;

	(void) set_config_option("search_path", order->search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&save_userid, &save_context);
	SetUserIdAndSecContext(owner,
						   save_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	findings = prepare_source(order);
	AtEOXact_GUC(false, nestlevel);
	SetUserIdAndSecContext(save_userid, save_context);
	return findings;
}

/*-------------------------------------------------------------------------
 * The key
 *-------------------------------------------------------------------------
 */

/* Does an index see to it that no two rows agree in the key's columns? */
static bool
is_unique(Relation rel, List *attnums)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		unique = false;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		backs = form->indisunique && form->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

		/* a unique part makes the whole unique; 0 is an expression */
		for (int i = 0; i < form->indnkeyatts; i++)
			backs = backs && list_member_int(attnums, form->indkey.values[i]);
		unique = unique || backs;
		index_close(index, NoLock);
	}
	return unique;
}

/*
 * A given key of a table is proved by an index.  That of a view, foreign table
 * or query is believed, since nothing could prove it; so is that of a table
 * that others inherit from, where an index covers each of them alone.  A build
 * of the whole file finds duplicates by itself.
 */
static void
check_given_key(const Job *job, Oid relid)
{
	char		relkind = get_rel_relkind(relid);
	Relation	rel;
	List	   *attnums = NIL;
	bool		not_null = true;
	ListCell   *lc;

	if (relkind == RELKIND_VIEW || relkind == RELKIND_FOREIGN_TABLE ||
		(relkind == RELKIND_RELATION && has_subclass(relid)))
		return;

	rel = table_open(relid, AccessShareLock);
	foreach(lc, job->key_columns)
	{
		AttrNumber	attnum = get_attnum(relid, (const char *) lfirst(lc));

		attnums = lappend_int(attnums, attnum);
		/* a NOT VALID one promises too much, which the run would find out */
		if (!TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attnotnull)
			not_null = false;
	}
	/* columns of a materialized view cannot be declared NOT NULL */
	if (relkind == RELKIND_MATVIEW)
		not_null = true;
	if (!not_null || !is_unique(rel, attnums))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("the key columns do not identify the rows of %s", job->source),
				 not_null ? errdetail("No unique index says that no two rows have the same values there.") :
				 errdetail("Not all of them are NOT NULL."),
				 errhint("Name the columns of a unique index that are NOT NULL, make such an index, or use mode \"full\".")));
	table_close(rel, NoLock);
}

/*-------------------------------------------------------------------------
 * The mode
 *-------------------------------------------------------------------------
 */

/* What a run that reads everything reads, in bytes. */
static int64
source_size(Oid relid)
{
	List	   *tables = find_all_inheritors(relid, AccessShareLock, NULL);
	int64		size = 0;
	ListCell   *lc;

	foreach(lc, tables)
	{
		char		relkind = get_rel_relkind(lfirst_oid(lc));

		if (relkind == RELKIND_RELATION || relkind == RELKIND_MATVIEW)
			size += DatumGetInt64(DirectFunctionCall1(pg_table_size,
													   ObjectIdGetDatum(lfirst_oid(lc))));
	}
	return size;
}

/* The best that the source allows, and says so. */
static void
choose_mode(Job *job, bool keyed, bool has_versions)
{
	const char *reason;

	if (job->cursor_columns != NIL)
	{
		job->mode = "incremental";
		reason = "It has cursor columns.";
	}
	else if (!keyed)
	{
		job->mode = "full";
		reason = "The source has no primary key, and no \"key_columns\" are given.";
	}
	else if (has_versions)
	{
		job->mode = "incremental";
		reason = "The source is a table with a key.";
	}
	else
	{
		job->mode = "merge";
		reason = "The source has a key, and is no table whose changes could be followed.";
	}
	ereport(NOTICE,
			(errmsg("job \"%s\" will run in mode \"%s\"", job->name, job->mode),
			 errdetail_internal("%s", reason),
			 errhint("Give \"mode\" to choose another one.")));
}

static void
refuse_unversioned(const Job *job, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("mode \"incremental\" cannot follow the changes of %s",
					job->source ? job->source : "a query"),
			 errdetail("Rows are told apart by their versions, and %s.", why),
			 errhint("Use mode \"merge\", or give \"cursor_columns\".")));
}

static void
check_mode_fits(const Job *job, bool keyed)
{
	if (job->cursor_columns != NIL && !is_incremental(job))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" does not go with mode \"%s\"",
						"cursor_columns", job->mode),
				 errhint("Leave it out, or use mode \"incremental\".")));
	if (!keyed && !is_full(job))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"%s\" needs a key", job->mode),
				 errdetail("The source has no primary key of its own, and no \"key_columns\" are given."),
				 errhint("Give \"key_columns\", or use mode \"full\".")));
}

/* Rows may wait in memory only where one look goes on from the one before. */
static void
check_staging(const Job *job, const JobOptions *options)
{
	const char *given = options->flush_rows != NOT_GIVEN ? "flush_rows" :
		options->flush_interval != NOT_GIVEN ? "flush_interval" :
		options->max_pending_rows != NOT_GIVEN ? "max_pending_rows" : NULL;

	if (given == NULL)
		return;
	if (job->schedule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" needs a \"schedule\"", given),
				 errdetail("It bounds how long rows wait in memory; the schedule says how often the source is looked at meanwhile."),
				 errhint("Give a \"schedule\", such as '1 s', or leave the option out.")));
	if (!is_incremental(job))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" does not go with mode \"%s\"", given, job->mode),
				 errdetail("Such a run looks at all rows, and has nothing to wait with."),
				 errhint("Use mode \"incremental\", or leave the option out.")));
}

/*-------------------------------------------------------------------------
 * All of it
 *-------------------------------------------------------------------------
 */

/*
 * Says which of many jobs it was.  An error of the parser that counts
 * characters means those of the filter, not those of the caller's statement.
 */
static void
validate_error_context(void *arg)
{
	const Job  *job = (const Job *) arg;
	int			position = geterrposition();

	if (position > 0 && job->filter)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(job->filter);
	}
	errcontext("job \"%s\"", job->name);
}

static void
validate(Job *job)
{
	SyncOrder	order;
	Oid			relid = InvalidOid;
	int64		size = 0;
	Findings	findings;
	bool		versioned = false;
	const char *why = "those of a query have none";
	JobOptions	options;

	check_name(job->name);
	options = check_schedule(job);
	if (job->mode)
		check_export_mode(job->mode);
	precheck_owner(job->owner_oid);
	(void) path_resolve(job->file, job->owner_oid);

	job_order(job, &order);
	if (order.mode == NULL)
		order.mode = "full";	/* reads what any other one would */
	mapping_check_table_name(linitial(order.table_names));
	if (job->source)
	{
		relid = linitial_oid(order.sources);
		precheck_source(relid, NIL);
		if (!order.options.row_security)
			precheck_row_security(relid, job->owner_oid);
	}
	order.condition = options.condition;
	order.on_event = options.on_event;
	findings = prepare_source_as(job->owner_oid, &order);
	if (job->source)
	{
		size = source_size(relid);
		versioned = rowversion_supported(relid, &why);
	}
	if (versioned && findings.mutable)
	{
		versioned = false;
		why = "the filter lets rows come and go that have no new one";
	}

	if (job->mode == NULL)
		choose_mode(job, findings.keyed, versioned);
	check_mode_fits(job, findings.keyed);
	check_staging(job, &options);
	if (job->source && job->key_columns != NIL && !is_full(job))
		check_given_key(job, relid);
	if (is_incremental(job) && job->cursor_columns == NIL)
	{
		if (!versioned)
			refuse_unversioned(job, why);
		if (size > LARGE_SOURCE)
			ereport(NOTICE,
					(errmsg("every run of job \"%s\" will read the whole of %s once, as count(*) does",
							job->name, job->source),
					 errdetail("It has %s.",
							   TextDatumGetCString(DirectFunctionCall1(pg_size_pretty,
																	   Int64GetDatum(size)))),
					 errhint("With \"cursor_columns\" a run costs as much as the new rows, but sees neither deletes nor changes below the cursor.")));
	}
}

void
job_validate(Job *job)
{
	ErrorContextCallback callback;

	callback.callback = validate_error_context;
	callback.arg = job;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	validate(job);
	error_context_stack = callback.previous;
}
