/*-------------------------------------------------------------------------
 *
 * target.c
 *	  All SQL that runs in SQLite.
 *
 * Errors are raised between SQLite's calls, never inside its callbacks: those
 * look at flags and return.  A connection is found again by the exit callback
 * of the writer through the variable below, so an error may leave it open.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <sys/time.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/pmsignal.h"

#include "lfsync.h"
#include "target.h"

#define HIDDEN_PREFIX		LFSYNC_TABLE_PREFIX "new_"
#define HIDDEN_TABLES \
	"SELECT name FROM main.sqlite_schema WHERE type = 'table' " \
	"AND name LIKE '\\_lfsync\\_new\\_%' ESCAPE '\\'"
#define PROGRESS_OPCODES	10000	/* some 0.1 ms */
#define BUSY_SLEEP_US		10000
#define EXAMINE_MEMORY		(64 * 1024 * 1024)

/*
 * Creating an index sorts runs of this size; larger ones were slower in test
 * and take twice as much memory.
 */
#define CACHE_KB			8000

/*
 * The text is compared with what a file holds: a file whose bookkeeping looks
 * different is not ours to touch.
 */
static const char *const state_sql =
"CREATE TABLE _lfsync_state (table_name TEXT PRIMARY KEY NOT NULL, job TEXT, "
"mode TEXT NOT NULL, source TEXT NOT NULL, source_fingerprint TEXT, "
"owner TEXT NOT NULL, system_identifier TEXT NOT NULL, timeline INTEGER, "
"database TEXT NOT NULL, position TEXT, generation INTEGER NOT NULL, "
"rows INTEGER NOT NULL, updated_at TEXT NOT NULL, lfsync_version TEXT NOT NULL)";

static const char *const columns_sql =
"CREATE TABLE _lfsync_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL, "
"ordinal INTEGER NOT NULL, source_expression TEXT, source_type TEXT, "
"sqlite_type TEXT, comment TEXT, PRIMARY KEY (table_name, column_name))";

static sqlite3 *open_db = NULL;
static pg_atomic_uint32 *stop_flag = NULL;
static RunSlot *run_slot = NULL;
static int	busy_limit_ms;
static struct timeval busy_since;
static int	last_code = 0;
static bool filling_hidden = false;

void
target_init(pg_atomic_uint32 *stop, RunSlot *slot, int busy_timeout,
			const char *temp_directory)
{
	stop_flag = stop;
	run_slot = slot;
	busy_limit_ms = busy_timeout;
	/* index builds sort here: where there is room for the file itself */
	setenv("SQLITE_TMPDIR", temp_directory, 1);
}

bool
target_stopping(void)
{
	return ProcDiePending || pg_atomic_read_u32(stop_flag) != 0 ||
		!PostmasterIsAlive();
}

void
target_interrupt(void)
{
	if (open_db)
		sqlite3_interrupt(open_db);
}

static int
progress_callback(void *arg)
{
	return target_stopping() ? 1 : 0;
}

static int
busy_callback(void *arg, int count)
{
	struct timeval now;
	int64		waited_ms;

	gettimeofday(&now, NULL);
	if (count == 0)
		busy_since = now;
	waited_ms = (now.tv_sec - busy_since.tv_sec) * (int64) 1000 +
		(now.tv_usec - busy_since.tv_usec) / 1000;
	if (waited_ms >= busy_limit_ms || target_stopping())
	{
		pg_atomic_write_u32(&run_slot->file_busy, 0);
		return 0;
	}
	pg_atomic_write_u32(&run_slot->file_busy, 1);
	pg_usleep(BUSY_SLEEP_US);
	return 1;
}

static int
sqlstate_of(int code)
{
	switch (code)
	{
		case SQLITE_CONSTRAINT_UNIQUE:
		case SQLITE_CONSTRAINT_PRIMARYKEY:
		case SQLITE_CONSTRAINT_ROWID:
			return ERRCODE_UNIQUE_VIOLATION;
		case SQLITE_CONSTRAINT_NOTNULL:
			return ERRCODE_NOT_NULL_VIOLATION;
		case SQLITE_CONSTRAINT_FOREIGNKEY:
			return ERRCODE_FOREIGN_KEY_VIOLATION;
		case SQLITE_CONSTRAINT_CHECK:
			return ERRCODE_CHECK_VIOLATION;
		default:
			break;
	}
	switch (code & 0xff)
	{
		case SQLITE_BUSY:
		case SQLITE_LOCKED:
			return ERRCODE_LOCK_NOT_AVAILABLE;
		case SQLITE_FULL:
			return ERRCODE_DISK_FULL;
		case SQLITE_IOERR:
			return ERRCODE_IO_ERROR;
		case SQLITE_CANTOPEN:
			return ERRCODE_IO_ERROR;
		case SQLITE_CORRUPT:
			return ERRCODE_DATA_CORRUPTED;
		case SQLITE_NOTADB:
			return ERRCODE_WRONG_OBJECT_TYPE;
		case SQLITE_READONLY:
		case SQLITE_PERM:
		case SQLITE_AUTH:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case SQLITE_INTERRUPT:
		case SQLITE_ABORT:
			return ERRCODE_QUERY_CANCELED;
		case SQLITE_TOOBIG:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case SQLITE_NOMEM:
			return ERRCODE_OUT_OF_MEMORY;
		case SQLITE_CONSTRAINT:
			return ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;
		default:
			return ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
	}
}

static const char *
hint_of(int code)
{
	switch (code & 0xff)
	{
		case SQLITE_BUSY:
			return "Another program holds a lock on the file. Try again when it has finished, or raise lfsync.busy_timeout.";
		case SQLITE_FULL:
			return "Free some room on the file system of the target, or choose another one.";
		case SQLITE_NOTADB:
			return "The file is not a SQLite database, or it is encrypted. Choose another file, or remove this one.";
		case SQLITE_CORRUPT:
			return "Check the file with PRAGMA integrity_check, and restore or remove it.";
		case SQLITE_READONLY:
			return "The file, its directory or its file system is read-only for the server, or the file has a newer format. Choose another file.";
		case SQLITE_CONSTRAINT:
			return "The source has rows that its copy excludes: choose other key columns.";
		default:
			return "Look at the file with the sqlite3 shell, or choose another one.";
	}
}

void
target_error(sqlite3 *db, int rc, const char *what)
{
	int			code = db ? sqlite3_extended_errcode(db) : rc;
	char	   *message = pstrdup(db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
	const char *hint;

	/* out of step if the failing call never reached the connection */
	if ((code & 0xff) != (rc & 0xff))
	{
		code = rc;
		message = pstrdup(sqlite3_errstr(rc));
	}
	if (target_stopping())
		code = SQLITE_INTERRUPT;
	last_code = code;
	hint = hint_of(code);
	ereport(ERROR,
			(errcode(sqlstate_of(code)),
			 (code & 0xff) == SQLITE_INTERRUPT ?
			 errmsg("the run was stopped while %s", what) :
			 errmsg("SQLite failed while %s", what),
			 errdetail_internal("%s (result code %d).", message, code),
			 hint ? errhint("%s", hint) : 0));
}

int
target_error_code(void)
{
	return last_code;
}

static sqlite3_stmt *
prepare(sqlite3 *db, const char *sql, const char *what)
{
	sqlite3_stmt *stmt;
	int			rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (rc != SQLITE_OK)
		target_error(db, rc, what);
	return stmt;
}

static void
run(sqlite3 *db, const char *sql, const char *what)
{
	int			rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	if (rc != SQLITE_OK)
		target_error(db, rc, what);
}

void
target_exec(sqlite3 *db, const char *sql)
{
	run(db, sql, "preparing the file");
}

/* The integer that a statement returns in its first row; missing: no row. */
static int64
query_int(sqlite3 *db, const char *sql, const char *what, int64 missing)
{
	sqlite3_stmt *stmt = prepare(db, sql, what);
	int			rc = sqlite3_step(stmt);
	int64		value = missing;

	if (rc == SQLITE_ROW)
		value = sqlite3_column_int64(stmt, 0);
	else if (rc != SQLITE_DONE)
	{
		/* the message goes with the statement */
		target_error(db, rc, what);
	}
	sqlite3_finalize(stmt);
	return value;
}

/* The text of column 0 of the first row, palloc'd, or NULL. */
static char *
query_text(sqlite3 *db, const char *sql, const char *what)
{
	sqlite3_stmt *stmt = prepare(db, sql, what);
	int			rc = sqlite3_step(stmt);
	char	   *value = NULL;

	if (rc == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
		value = pstrdup((const char *) sqlite3_column_text(stmt, 0));
	else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(stmt);
	return value;
}

/* The texts of column 0 of every row. */
static List *
query_texts(sqlite3 *db, const char *sql, const char *bound, const char *what)
{
	sqlite3_stmt *stmt = prepare(db, sql, what);
	List	   *texts = NIL;
	int			rc;

	if (bound)
		sqlite3_bind_text(stmt, 1, bound, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
	{
		const char *text = (const char *) sqlite3_column_text(stmt, 0);

		texts = lappend(texts, pstrdup(text ? text : ""));
	}
	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(stmt);
	return texts;
}

/*
 * The settings of https://www.sqlite.org/security.html for a file that may be
 * hostile, and those that Debian and others compile in differently.
 */
static void
harden(sqlite3 *db)
{
	static const struct
	{
		int			op;
		int			value;
	}			configs[] = {
		{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
		{SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
		{SQLITE_DBCONFIG_ENABLE_VIEW, 0},
		{SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
		{SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0},
		{SQLITE_DBCONFIG_ENABLE_FKEY, 0},
		{SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1},
		{SQLITE_DBCONFIG_DQS_DML, 0},
		{SQLITE_DBCONFIG_DQS_DDL, 0},
	};

	for (size_t i = 0; i < lengthof(configs); i++)
		sqlite3_db_config(db, configs[i].op, configs[i].value, NULL);
	sqlite3_limit(db, SQLITE_LIMIT_TRIGGER_DEPTH, 1);
	sqlite3_limit(db, SQLITE_LIMIT_WORKER_THREADS, 0);
	sqlite3_busy_handler(db, busy_callback, NULL);
	sqlite3_progress_handler(db, PROGRESS_OPCODES, progress_callback, NULL);
	run(db, "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; "
		"PRAGMA secure_delete = OFF; PRAGMA threads = 0",
		"opening the file");
}

sqlite3 *
target_open(const char *path, const TargetPath *expected)
{
	int			rc;
	int			moved = 0;

	Assert(open_db == NULL);
	/* the database and its journal, or a file to sort in */
	ReserveExternalFD();
	ReserveExternalFD();
	rc = sqlite3_open_v2(path, &open_db,
						 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW |
						 SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
						 "unix");
	if (rc != SQLITE_OK)
		target_error(open_db, rc, "opening the file");
	if (expected)
	{
		/* SQLite opened a path: is it the file that was looked at? */
		sqlite3_file_control(open_db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
		if (moved || !path_unchanged(expected))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("file \"%s\" was replaced or removed by somebody else during the run",
							path),
					 errhint("Run again.")));
		/* forbids journal_mode = OFF, which a file that nobody sees may have */
		sqlite3_db_config(open_db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	}
	harden(open_db);
	return open_db;
}

void
target_close(sqlite3 *db)
{
	int			rc;

	Assert(db == open_db);
	/* a signal must not interrupt what is being freed */
	open_db = NULL;
	rc = sqlite3_close(db);
	if (rc != SQLITE_OK)
	{
		open_db = db;
		target_error(db, rc, "closing the file");
	}
	ReleaseExternalFD();
	ReleaseExternalFD();
}

/* What cannot be dropped now, the next run will drop. */
static void
drop_hidden(sqlite3 *db)
{
	for (;;)
	{
		sqlite3_stmt *stmt;
		char	   *drop = NULL;

		if (sqlite3_prepare_v2(db, HIDDEN_TABLES, -1, &stmt, NULL) != SQLITE_OK)
			return;
		if (sqlite3_step(stmt) == SQLITE_ROW)
			drop = sqlite3_mprintf("DROP TABLE main.\"%w\"", sqlite3_column_text(stmt, 0));
		sqlite3_finalize(stmt);
		if (drop == NULL || sqlite3_exec(db, drop, NULL, NULL, NULL) != SQLITE_OK)
		{
			sqlite3_free(drop);
			return;
		}
		sqlite3_free(drop);
	}
}

void
target_abandon(void)
{
	sqlite3    *db = open_db;
	sqlite3_stmt *stmt;

	if (db == NULL)
		return;
	open_db = NULL;
	/* a stop that is under way must not keep us from tidying up */
	sqlite3_progress_handler(db, 0, NULL, NULL);
	sqlite3_busy_handler(db, NULL, NULL);
	while ((stmt = sqlite3_next_stmt(db, NULL)) != NULL)
		sqlite3_finalize(stmt);
	if (!sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	if (filling_hidden)
	{
		sqlite3_exec(db, "DETACH image", NULL, NULL, NULL);
		drop_hidden(db);
	}
	sqlite3_close(db);
	ReleaseExternalFD();
	ReleaseExternalFD();
}

/*-------------------------------------------------------------------------
 * Looking at an existing file
 *-------------------------------------------------------------------------
 */

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

/* The SQL that made one of lfsync's own tables must be ours to the letter. */
static bool
own_table_exists(sqlite3 *db, const char *name, const char *sql)
{
	char	   *found = query_text(db, psprintf("SELECT coalesce(sql, '') FROM sqlite_schema WHERE name = '%s' COLLATE NOCASE", name),
								   "reading its schema");

	if (found == NULL)
		return false;
	if (strcmp(found, sql) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" of the file is not as lfsync makes it", name),
				 errdetail("Somebody has changed it, or another version of lfsync made it."),
				 errhint("Choose another file, or remove this one.")));
	return true;
}

/* May a table of this name be written, as far as the file is concerned? */
static void
examine_table(sqlite3 *db, const char *name, bool have_state)
{
	char	   *quoted = sqlite3_mprintf("%Q", name);
	char	   *type = query_text(db, psprintf("SELECT type FROM sqlite_schema WHERE name = %s COLLATE NOCASE", quoted),
								  "reading its schema");

	if (type == NULL)
		return;
	if (strcmp(type, "table") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("name \"%s\" is taken in the file by something that is not a table", name),
				 errdetail("It is of type \"%s\".", type),
				 errhint("Choose another \"table_name\" or another file.")));
	if (!have_state ||
		query_int(db, psprintf("SELECT 1 FROM _lfsync_state WHERE table_name = %s COLLATE NOCASE", quoted),
				  "reading _lfsync_state", 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("table \"%s\" is in the file, and lfsync did not make it", name),
				 errhint("Choose another \"table_name\" or another file.")));
	sqlite3_free(quoted);
}

void
target_examine(const TargetPath *target, const OpenRequest *request,
			   OpenReply *reply)
{
	sqlite3    *db = target_open(target->path, target);
	bool		have_state;
	List	   *names;
	ListCell   *lc;
	bool		others = false;
	char	   *encoding;

	/* a file that wants more memory than this to show its schema is no file */
	sqlite3_hard_heap_limit64(EXAMINE_MEMORY);
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);

	/* the first read rolls back a hot journal and notices what is no database */
	names = query_texts(db, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') "
						"AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
						"AND name NOT IN ('_lfsync_state', '_lfsync_columns') "
						"AND name NOT LIKE '\\_lfsync\\_new\\_%' ESCAPE '\\'",
						NULL, "reading its schema");
	have_state = own_table_exists(db, "_lfsync_state", state_sql);
	(void) own_table_exists(db, "_lfsync_columns", columns_sql);

	foreach(lc, request->tables)
		examine_table(db, (char *) lfirst(lc), have_state);
	foreach(lc, names)
	{
		if (!name_in_list(request->tables, (char *) lfirst(lc)))
			others = true;
	}
	/* whatever else somebody hung on our tables would be lost with the file */
	if (query_int(db, "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'",
				  "reading its schema", 0) > 0)
		others = true;

	reply->owners = NIL;
	if (have_state)
	{
		reply->owners = query_texts(db, "SELECT DISTINCT owner FROM _lfsync_state",
									NULL, "reading _lfsync_state");
		if (query_int(db, "SELECT count(*) FROM _lfsync_state WHERE mode <> 'full' OR job IS NOT NULL",
					  "reading _lfsync_state", 0) > 0)
			others = true;
	}

	reply->disposition = others ? DISPOSITION_IN_PLACE : DISPOSITION_BUILD;
	if (others)
	{
		encoding = query_text(db, "PRAGMA encoding", "reading its encoding");
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

/*-------------------------------------------------------------------------
 * Bookkeeping and checks, for built files and in place
 *-------------------------------------------------------------------------
 */

static void
bind_text(sqlite3_stmt *stmt, int n, const char *text)
{
	if (text)
		sqlite3_bind_text(stmt, n, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(stmt, n);
}

static void
step_once(sqlite3 *db, sqlite3_stmt *stmt, const char *what)
{
	int			rc = sqlite3_step(stmt);

	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		target_error(db, rc, what);
	sqlite3_reset(stmt);
}

/* The rows of _lfsync_state and _lfsync_columns for the tables of a run. */
static void
write_bookkeeping(sqlite3 *db, const FinishRequest *request)
{
	static const char what[] = "writing lfsync's own tables";
	sqlite3_stmt *forget;
	sqlite3_stmt *state;
	sqlite3_stmt *column;
	ListCell   *lc;

	if (!own_table_exists(db, "_lfsync_state", state_sql))
		run(db, state_sql, what);
	if (!own_table_exists(db, "_lfsync_columns", columns_sql))
		run(db, columns_sql, what);

	forget = prepare(db, "DELETE FROM _lfsync_columns WHERE table_name = ?1 COLLATE NOCASE", what);
	state = prepare(db, "INSERT INTO _lfsync_state VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL, 1, ?10, "
					"strftime('%Y-%m-%d %H:%M:%f', 'now'), '" LFSYNC_VERSION "') "
					"ON CONFLICT (table_name) DO UPDATE SET job = ?2, mode = ?3, source = ?4, "
					"source_fingerprint = ?5, owner = ?6, system_identifier = ?7, timeline = ?8, "
					"database = ?9, position = NULL, generation = generation + 1, rows = ?10, "
					"updated_at = excluded.updated_at, lfsync_version = excluded.lfsync_version", what);
	column = prepare(db, "INSERT INTO _lfsync_columns VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", what);
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		bind_text(forget, 1, table->name);
		step_once(db, forget, what);

		bind_text(state, 1, table->name);
		bind_text(state, 2, request->identity.job);
		bind_text(state, 3, request->identity.mode);
		bind_text(state, 4, table->source);
		bind_text(state, 5, table->fingerprint);
		bind_text(state, 6, request->identity.owner);
		bind_text(state, 7, request->identity.system_identifier);
		sqlite3_bind_int(state, 8, request->identity.timeline);
		bind_text(state, 9, request->identity.database);
		sqlite3_bind_int64(state, 10, table->rows);
		step_once(db, state, what);

		/* the table's own entry, with its comment, stands at ordinal 0 */
		for (int i = -1; i < table->ncolumns; i++)
		{
			TargetColumn *c = i < 0 ? NULL : &table->columns[i];

			bind_text(column, 1, table->name);
			bind_text(column, 2, c ? c->name : "");
			sqlite3_bind_int(column, 3, i + 1);
			bind_text(column, 4, c ? c->expression : NULL);
			bind_text(column, 5, c ? c->source_type : NULL);
			bind_text(column, 6, c ? c->sqlite_type : NULL);
			bind_text(column, 7, c ? c->comment : table->comment);
			step_once(db, column, what);
		}
	}
	sqlite3_finalize(forget);
	sqlite3_finalize(state);
	sqlite3_finalize(column);
}

/* A name that nothing in the file has yet: tables and indexes share them. */
static char *
free_name(sqlite3 *db, const char *wanted)
{
	char	   *name = pstrdup(wanted);

	for (int n = 2;; n++)
	{
		char	   *quoted = sqlite3_mprintf("%Q", name);
		int64		taken = query_int(db, psprintf("SELECT 1 FROM sqlite_schema WHERE name = %s COLLATE NOCASE", quoted),
									  "reading its schema", 0);

		sqlite3_free(quoted);
		if (!taken)
			return name;
		name = psprintf("%s_%d", wanted, n);
	}
}

/* Has the table an index of this name, the one that is about to be replaced? */
static bool
is_index_of(sqlite3 *db, const char *name, const char *table_name)
{
	char	   *sql = sqlite3_mprintf("SELECT 1 FROM sqlite_schema WHERE type = 'index' "
									  "AND name = %Q COLLATE NOCASE AND tbl_name = %Q COLLATE NOCASE",
									  name, table_name);
	bool		found = query_int(db, sql, "reading its schema", 0) != 0;

	sqlite3_free(sql);
	return found;
}

/*
 * Indexes of one table.  In a table that is synced in place uniqueness beyond
 * the key is not kept: two rows that swap a value would fail for ever.
 */
static List *
create_indexes(sqlite3 *db, const TargetTable *table, const char *table_name,
			   bool in_place)
{
	List	   *notes = NIL;
	ListCell   *lc;

	foreach(lc, table->indexes)
	{
		TargetIndex *index = (TargetIndex *) lfirst(lc);
		char	   *name = free_name(db, index->name);

		/* in place the old table still has its own, and goes with it */
		if (strcmp(name, index->name) != 0 &&
			!(in_place && is_index_of(db, index->name, table->name)))
			notes = lappend(notes, psprintf("index %s is named %s: the name was taken",
											index->name, name));
		if (in_place && index->unique)
			notes = lappend(notes, psprintf("index %s is carried without UNIQUE: the table is kept in place",
											index->name));
		run(db, psprintf("CREATE %sINDEX %s ON %s (%s)",
						 index->unique && !in_place ? "UNIQUE " : "",
						 message_quote_name(name), message_quote_name(table_name),
						 index->columns),
			"creating an index");
	}
	return notes;
}

static void
check_count(sqlite3 *db, const char *table_name, int64 rows)
{
	/* an index may be what is still empty, and would be counted instead */
	int64		found = query_int(db, psprintf("SELECT count(*) FROM main.%s NOT INDEXED",
											   message_quote_name(table_name)),
								  "counting the rows", -1);

	if (found != rows)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" has " INT64_FORMAT " rows in the file, but " INT64_FORMAT " were sent",
						table_name, found, rows),
				 errhint("This is a fault of lfsync or of the storage; nothing was published. Please report it.")));
}

static void
check_pragma(sqlite3 *db, const char *pragma)
{
	char	   *answer = query_text(db, psprintf("PRAGMA main.%s(1)", pragma), "checking the file");

	if (answer == NULL || strcmp(answer, "ok") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the finished file did not pass PRAGMA %s", pragma),
				 errdetail_internal("%s", answer ? answer : "no answer"),
				 errhint("This is a fault of lfsync or of the storage; nothing was published. Please report it.")));
}

static void
check_file(sqlite3 *db, const SyncOptions *options)
{
	if (options->check == CHECK_QUICK)
		check_pragma(db, "quick_check");
	else if (options->check == CHECK_FULL)
	{
		check_pragma(db, "integrity_check");
		if (query_text(db, "PRAGMA main.foreign_key_check", "checking foreign keys") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("the finished file did not pass PRAGMA foreign_key_check"),
					 errhint("The source itself breaks a foreign key, or a query leaves rows out.")));
	}
}

static void
insert_late(sqlite3 *db, const LateRows *late)
{
	int			rc = sqlite3_deserialize(db, "image", late->image, late->size,
										 late->size, SQLITE_DESERIALIZE_READONLY);

	if (rc != SQLITE_OK)
		target_error(db, rc, "reading late rows");
	run(db, psprintf("INSERT INTO main.%s SELECT * FROM image.%s",
					 message_quote_name(late->table_name),
					 message_quote_name(late->table_name)),
		"inserting late rows");
	if (sqlite3_changes64(db) != late->nrows)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg(INT64_FORMAT " late rows arrived as %lld", late->nrows,
						(long long) sqlite3_changes64(db))));
}

List *
target_complete(const char *path, const SyncOptions *options,
				const FinishRequest *request, List *late)
{
	sqlite3    *db = target_open(path, NULL);
	List	   *notes = NIL;
	ListCell   *lc;

	/* nobody else sees this file, and a run that fails throws it away */
	run(db, psprintf("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
					 "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -%d",
					 CACHE_KB),
		"preparing the file");
	if (late != NIL)
	{
		run(db, "ATTACH ':memory:' AS image", "preparing the file");
		foreach(lc, late)
			insert_late(db, (LateRows *) lfirst(lc));
		run(db, "DETACH image", "letting go of late rows");
	}
	run(db, "BEGIN", "beginning a transaction");

	slot_set_phase(run_slot, "creating indexes");
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		if (options->check != CHECK_NONE)
			check_count(db, table->name, table->rows);
		if (table->auto_index)
			run(db, psprintf("REINDEX %s", message_quote_name(table->name)),
				"creating the index of the primary key");
		notes = list_concat(notes, create_indexes(db, table, table->name, false));
	}
	write_bookkeeping(db, request);
	run(db, "COMMIT", "completing the file");

	slot_set_phase(run_slot, "checking");
	check_file(db, options);
	if (options->journal_mode == JOURNAL_WAL)
		run(db, "PRAGMA locking_mode = NORMAL; PRAGMA journal_mode = WAL",
			"switching to WAL");
	target_close(db);
	return notes;
}

/*-------------------------------------------------------------------------
 * Tables in a file that holds others
 *-------------------------------------------------------------------------
 */

static char *
hidden_name(const char *name)
{
	return psprintf("%s%s", HIDDEN_PREFIX, name);
}

/* A transaction that holds the file's write lock from here on. */
static void
begin_write(sqlite3 *db)
{
	int			rc;

	/*
	 * Not BEGIN IMMEDIATE, which fails while a read-only image is attached. A
	 * write that changes nothing takes the lock just as well, and waits for
	 * it in the busy handler.
	 */
	run(db, "BEGIN", "beginning a transaction");
	rc = sqlite3_exec(db, "DELETE FROM main._lfsync_state WHERE 0", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		target_error(db, rc, "locking the file");
	pg_atomic_write_u32(&run_slot->file_busy, 0);
}

static void
commit(sqlite3 *db)
{
	int			rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);

	/* a reader may hold up a COMMIT; the busy handler has waited for it */
	if (rc != SQLITE_OK)
		target_error(db, rc, "committing");
	pg_atomic_write_u32(&run_slot->file_busy, 0);
}

void
target_begin_in_place(sqlite3 *db, const SyncOptions *options)
{
	static const char *const synchronous[] = {"EXTRA", "FULL", "NORMAL"};
	List	   *leftovers;
	ListCell   *lc;

	run(db, psprintf("PRAGMA synchronous = %s; PRAGMA cache_size = -%d; "
					 "ATTACH ':memory:' AS image",
					 synchronous[options->synchronous], CACHE_KB),
		"preparing the file");
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);

	run(db, "BEGIN IMMEDIATE", "locking the file");
	if (!own_table_exists(db, "_lfsync_state", state_sql))
		run(db, state_sql, "writing lfsync's own tables");
	leftovers = query_texts(db, HIDDEN_TABLES, NULL, "reading its schema");
	foreach(lc, leftovers)
		run(db, psprintf("DROP TABLE %s", message_quote_name((char *) lfirst(lc))),
			"removing what an interrupted run has left");
	commit(db);
	filling_hidden = true;
}

void
target_begin_table(sqlite3 *db, const TargetTable *table)
{
	begin_write(db);
	run(db, psprintf("CREATE TABLE main.%s (%s)%s",
					 message_quote_name(hidden_name(table->name)),
					 table->body, table->strict ? " STRICT" : ""),
		"creating a table");
	commit(db);
}

void
target_apply_image(sqlite3 *db, const TargetTable *table, void *image,
				   sqlite3_int64 size, int64 nrows)
{
	int			rc;

	/* deserialize outside of transactions, one image in each */
	rc = sqlite3_deserialize(db, "image", image, size, size,
							 SQLITE_DESERIALIZE_READONLY);
	if (rc != SQLITE_OK)
		target_error(db, rc, "reading a batch");
	begin_write(db);
	/* nothing but these words lets SQLite copy whole records */
	run(db, psprintf("INSERT INTO main.%s SELECT * FROM image.%s",
					 message_quote_name(hidden_name(table->name)),
					 message_quote_name(table->name)),
		"inserting rows");
	if (sqlite3_changes64(db) != nrows)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a batch of " INT64_FORMAT " rows arrived as %lld", nrows,
						(long long) sqlite3_changes64(db))));
	commit(db);

	/* its memory goes back: an empty image, so that nobody reads it again */
	rc = sqlite3_deserialize(db, "image", NULL, 0, 0,
							 SQLITE_DESERIALIZE_READONLY);
	if (rc != SQLITE_OK)
		target_error(db, rc, "letting go of a batch");
}

List *
target_swap(sqlite3 *db, const SyncOptions *options,
			const FinishRequest *request)
{
	List	   *notes = NIL;
	ListCell   *lc;

	slot_set_phase(run_slot, "creating indexes");
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);
		char	   *hidden = hidden_name(table->name);

		if (options->check != CHECK_NONE)
			check_count(db, hidden, table->rows);
		begin_write(db);
		notes = list_concat(notes, create_indexes(db, table, hidden, true));
		commit(db);
	}

	slot_set_phase(run_slot, "publishing");
	begin_write(db);
	foreach(lc, request->tables)
	{
		TargetTable *table = (TargetTable *) lfirst(lc);

		/* legacy_alter_table is on: views that name the table stay as they are */
		run(db, psprintf("DROP TABLE IF EXISTS main.%s; ALTER TABLE main.%s RENAME TO %s",
						 message_quote_name(table->name),
						 message_quote_name(hidden_name(table->name)),
						 message_quote_name(table->name)),
			"putting the new table in place");
	}
	write_bookkeeping(db, request);
	commit(db);
	filling_hidden = false;

	slot_set_phase(run_slot, "checking");
	check_file(db, options);
	return notes;
}

/*
 * The pages of one database into another, as one transaction of the other.
 */
void
target_copy_over(const char *from, const TargetPath *target,
				 const SyncOptions *options)
{
	sqlite3    *source;
	sqlite3    *db;
	sqlite3_backup *backup;
	int			rc;

	db = target_open(target->path, target);
	run(db, psprintf("PRAGMA synchronous = %s",
					 options->synchronous == SYNCHRONOUS_EXTRA ? "EXTRA" :
					 options->synchronous == SYNCHRONOUS_FULL ? "FULL" : "NORMAL"),
		"preparing the file");
	rc = sqlite3_open_v2(from, &source,
						 SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW |
						 SQLITE_OPEN_NOMUTEX, "unix");
	backup = rc == SQLITE_OK ? sqlite3_backup_init(db, "main", source, "main") : NULL;
	if (backup)
	{
		/* a step that meets a lock has waited in the busy handler */
		while ((rc = sqlite3_backup_step(backup, 1000)) == SQLITE_OK)
		{
			if (target_stopping())
			{
				rc = SQLITE_INTERRUPT;
				break;
			}
		}
		pg_atomic_write_u32(&run_slot->file_busy, 0);
		sqlite3_backup_finish(backup);
	}
	else
		rc = sqlite3_errcode(db);
	sqlite3_close(source);
	if (rc != SQLITE_DONE)
		target_error(db, rc, "copying over the old content");
	target_close(db);
}
