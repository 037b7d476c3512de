/*-------------------------------------------------------------------------
 *
 * target_examine.c
 *	  Looking at a file that is there already.
 *
 * The file may be anybody's, and hostile.  Nothing is written here, but what
 * SQLite itself does when it finds the journal of an interrupted transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "port/pg_bswap.h"
#include "target.h"

#define EXAMINE_MEMORY		(64 * 1024 * 1024)
#define SCHEMA_COOKIE		40	/* its offset in a file's header */

/* SQLite changes it with every change of a schema. */
static uint32 schema_cookie;

static bool
name_in_list(List *names, const char *name)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		if (pg_strcasecmp((char *) lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

bool
target_examine_table(sqlite3 *db, const char *name, bool have_state,
					 ExistingTable existing)
{
	char	   *quoted = sqlite3_mprintf("%Q", name);
	char	   *type = target_query_text(db, psprintf("SELECT type FROM sqlite_schema WHERE name = %s COLLATE NOCASE", quoted),
										 "reading its schema");
	bool		theirs = false;

	if (type != NULL && strcmp(type, "table") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("name \"%s\" is taken in the file by something that is not a table", name),
				 errdetail("It is of type \"%s\".", type),
				 errhint("Choose another \"table_name\" or another file.")));
	if (type != NULL)
		theirs = !have_state ||
			target_query_int(db, psprintf("SELECT adopted FROM _lfsync_state WHERE table_name = %s COLLATE NOCASE", quoted),
							 "reading _lfsync_state", 1) != 0;
	sqlite3_free(quoted);
	if (theirs && existing == EXISTING_OWN)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("table \"%s\" is in the file, and lfsync did not make it", name),
				 errhint("Choose another \"table_name\" or another file, or have its rows written where they are with existing_table => 'adopt'.")));
	return theirs;
}

static char *
column_text(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *) sqlite3_column_text(stmt, column);

	return text ? pstrdup(text) : NULL;
}

/* Those of the run's tables that are there, and known to _lfsync_state. */
static List *
read_states(sqlite3 *db, List *tables)
{
	static const char what[] = "reading _lfsync_state";
	sqlite3_stmt *stmt = target_prepare(db, "SELECT table_name, job, mode, source, source_fingerprint, "
										"system_identifier, timeline, database, position, rows, adopted "
										"FROM _lfsync_state JOIN sqlite_schema ON type = 'table' "
										"AND name = table_name COLLATE NOCASE "
										"WHERE table_name = ?1 COLLATE NOCASE", what);
	List	   *states = NIL;
	ListCell   *lc;

	foreach(lc, tables)
	{
		int			rc;

		sqlite3_bind_text(stmt, 1, (char *) lfirst(lc), -1, SQLITE_STATIC);
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW)
		{
			TargetState *state = palloc0(sizeof(TargetState));

			state->table_name = column_text(stmt, 0);
			state->job = column_text(stmt, 1);
			state->mode = column_text(stmt, 2);
			state->source = column_text(stmt, 3);
			state->fingerprint = column_text(stmt, 4);
			state->system_identifier = column_text(stmt, 5);
			state->timeline = sqlite3_column_int(stmt, 6);
			state->database = column_text(stmt, 7);
			state->position = column_text(stmt, 8);
			state->rows = sqlite3_column_int64(stmt, 9);
			state->adopted = sqlite3_column_int(stmt, 10) != 0;
			states = lappend(states, state);
		}
		else if (rc != SQLITE_DONE)
			target_error(db, rc, what);
		sqlite3_reset(stmt);
	}
	sqlite3_finalize(stmt);
	return states;
}

/* Of a table that is about to be adopted. */
static TargetState *
new_state(char *table_name)
{
	TargetState *state = palloc0(sizeof(TargetState));

	state->table_name = table_name;
	state->mode = "full";
	state->source = state->system_identifier = state->database = "";
	state->adopted = true;
	return state;
}

static bool
has_state(List *states, const char *table_name)
{
	ListCell   *lc;

	foreach(lc, states)
	{
		if (pg_strcasecmp(((TargetState *) lfirst(lc))->table_name, table_name) == 0)
			return true;
	}
	return false;
}

void
target_examine(const TargetPath *target, const OpenRequest *request,
			   OpenReply *reply)
{
	sqlite3    *db = target_open(target->path, target);
	bool		have_state;
	List	   *names;
	ListCell   *lc;
	List	   *theirs = NIL;
	bool		others;
	char	   *encoding;

	memset(reply, 0, sizeof(*reply));
	/* a file that wants more memory than this to show its schema is no file */
	sqlite3_hard_heap_limit64(EXAMINE_MEMORY);
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);

	/* the first read rolls back a hot journal and notices what is no database */
	names = target_query_texts(db, psprintf("SELECT name FROM sqlite_schema AS object WHERE type IN ('table', 'view') "
											"AND name NOT LIKE 'sqlite\\_%%' ESCAPE '\\' "
											"AND name NOT IN ('_lfsync_state', '_lfsync_columns', '_lfsync_ranges', '_lfsync_rejects') "
											"AND name NOT LIKE '\\_lfsync\\_new\\_%%' ESCAPE '\\' "
											"AND %s", target_not_ours_condition),
							   NULL, "reading its schema");
	have_state = target_own_table_exists(db, "_lfsync_state", target_state_sql);
	(void) target_own_table_exists(db, "_lfsync_columns", target_columns_sql);
	(void) target_own_table_exists(db, "_lfsync_ranges", target_ranges_sql);
	(void) target_has_rejects(db);

	foreach(lc, request->tables)
	{
		if (target_examine_table(db, (char *) lfirst(lc), have_state,
								 request->options.existing_table))
			theirs = lappend(theirs, lfirst(lc));
	}
	others = theirs != NIL;
	foreach(lc, names)
	{
		if (!name_in_list(request->tables, (char *) lfirst(lc)))
			others = true;
	}
	/* whatever somebody hung on our tables would be lost with the file */
	foreach(lc, request->tables)
	{
		if (have_state && target_user_objects(db, (char *) lfirst(lc)) != NIL)
			others = true;
	}
	if (target_query_int(db, "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'",
						 "reading its schema", 0) > 0)
		others = true;

	if (have_state)
	{
		reply->owners = target_query_texts(db, "SELECT DISTINCT owner FROM _lfsync_state",
										   NULL, "reading _lfsync_state");
		/* a file that is synced in place is never renamed over */
		if (target_query_int(db, "SELECT count(*) FROM _lfsync_state WHERE mode <> 'full'",
							 "reading _lfsync_state", 0) > 0)
			others = true;
		reply->states = read_states(db, request->tables);
	}
	foreach(lc, theirs)
	{
		if (!has_state(reply->states, (char *) lfirst(lc)))
			reply->states = lappend(reply->states, new_state((char *) lfirst(lc)));
	}

	schema_cookie = (uint32) target_query_int(db, "PRAGMA main.schema_version",
											  "reading its schema", 0);
	reply->disposition = others ? DISPOSITION_IN_PLACE : DISPOSITION_BUILD;
	if (others)
	{
		encoding = target_query_text(db, "PRAGMA encoding", "reading its encoding");
		if (encoding == NULL || strcmp(encoding, "UTF-8") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the file's encoding is %s", encoding ? encoding : "unknown"),
					 errdetail("Tables can be added only to a UTF-8 database."),
					 errhint("Choose another file.")));
	}
	target_close(db);
	sqlite3_hard_heap_limit64(0);
}

bool
target_schema_changed(sqlite3 *db, int fd)
{
	uint32		found = 0;

	if (db)
		found = (uint32) target_query_int(db, "PRAGMA main.schema_version",
										  "reading its schema", 0);
	else if (pread(fd, &found, sizeof(found), SCHEMA_COOKIE) == sizeof(found))
		found = pg_ntoh32(found);
	return found != schema_cookie;
}

void
target_refuse_changed(const char *path)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("file \"%s\" was changed by somebody else during the run", path),
			 errdetail("Something was made or dropped in it that would be lost with the old content."),
			 errhint("Run again.")));
}
