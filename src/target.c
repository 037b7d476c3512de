/*-------------------------------------------------------------------------
 *
 * target.c
 *	  A connection to the target file, and what may go wrong with it.
 *
 * Errors are raised between SQLite's calls, never inside its callbacks: those
 * look at flags and return.  A connection is found again by the exit callback
 * of the writer through the variable below, so an error may leave it open.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/time.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/pmsignal.h"

#include "lfsync.h"
#include "target.h"

#define PROGRESS_OPCODES	10000	/* some 0.1 ms */
#define BUSY_SLEEP_US		10000
#define DESCRIPTORS			3

static sqlite3 *open_db = NULL;
static pg_atomic_uint32 *stop_flag = NULL;
static RunSlot *run_slot = NULL;
static int	busy_limit_ms;
static struct timeval busy_since;
static int	last_code = 0;
static bool was_busy = false;
static void (*tidy_up) (sqlite3 *db) = NULL;

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
	was_busy = true;
	pg_usleep(BUSY_SLEEP_US);
	return 1;
}

int
target_sqlstate(int code)
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
		case SQLITE_CONSTRAINT_DATATYPE:
			return ERRCODE_DATATYPE_MISMATCH;
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
		case SQLITE_INTERRUPT:
			return "Run again.";
		default:
			return "Look at the file with the sqlite3 shell, or choose another one.";
	}
}

/* Hidden tables go by the names that they will have. */
static void
unhide(char *message)
{
	char	   *name;

	while ((name = strstr(message, HIDDEN_PREFIX)) != NULL)
	{
		char	   *rest = name + strlen(HIDDEN_PREFIX);
		size_t		digits = strspn(rest, "0123456789abcdef");

		if (digits == HIDDEN_DIGITS && rest[digits] == '_')
			rest += digits + 1;
		memmove(name, rest, strlen(rest) + 1);
	}
}

char *
target_message(sqlite3 *db)
{
	char	   *message = pstrdup(sqlite3_errmsg(db));

	unhide(message);
	return message;
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
	if (target_unreadable())
	{
		code = SQLITE_IOERR_MMAP;
		message = pstrdup(sqlite3_errstr(code));
	}
	if (target_stopping())
	{
		code = SQLITE_INTERRUPT;
		message = pstrdup(sqlite3_errstr(code));
	}
	unhide(message);
	last_code = code;
	hint = hint_of(code);
	ereport(ERROR,
			(errcode(target_sqlstate(code)),
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

sqlite3_stmt *
target_prepare(sqlite3 *db, const char *sql, const char *what)
{
	sqlite3_stmt *stmt;
	int			rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);

	if (rc != SQLITE_OK)
		target_error(db, rc, what);
	return stmt;
}

void
target_run(sqlite3 *db, const char *sql, const char *what)
{
	int			rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

	if (rc != SQLITE_OK)
		target_error(db, rc, what);
}

void
target_bind_text(sqlite3_stmt *stmt, int n, const char *text)
{
	if (text)
		sqlite3_bind_text(stmt, n, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(stmt, n);
}

void
target_step(sqlite3 *db, sqlite3_stmt *stmt, const char *what)
{
	int			rc = sqlite3_step(stmt);

	if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_reset(stmt);
}

/* A value as SQLite holds it; text and blobs are copied. */
static void
read_value(sqlite3_stmt *stmt, int column, ImageValue *value)
{
	memset(value, 0, sizeof(*value));
	switch (sqlite3_column_type(stmt, column))
	{
		case SQLITE_INTEGER:
			value->kind = IMAGE_INTEGER;
			value->u.i = sqlite3_column_int64(stmt, column);
			break;
		case SQLITE_FLOAT:
			value->kind = IMAGE_REAL;
			value->u.r = sqlite3_column_double(stmt, column);
			break;
		case SQLITE_NULL:
			value->kind = IMAGE_NULL;
			break;
		default:
			value->kind = sqlite3_column_type(stmt, column) == SQLITE_TEXT ? IMAGE_TEXT : IMAGE_BLOB;
			value->u.data = sqlite3_column_blob(stmt, column);
			value->len = sqlite3_column_bytes(stmt, column);
			value->u.data = memcpy(palloc(value->len + 1), value->u.data, value->len);
			break;
	}
}

ImageValue *
target_read_key(sqlite3 *db, const TargetTable *table, sqlite3_stmt *stmt,
				sqlite3_int64 rowid, const char *what)
{
	ImageValue *key = palloc(table->nkeys * sizeof(ImageValue));

	sqlite3_bind_int64(stmt, 1, rowid);
	if (sqlite3_step(stmt) != SQLITE_ROW)
		target_error(db, sqlite3_errcode(db), what);
	for (int i = 0; i < table->nkeys; i++)
		read_value(stmt, i, &key[i]);
	sqlite3_reset(stmt);
	return key;
}

/* The integer that a statement returns in its first row; missing: no row. */
int64
target_query_int(sqlite3 *db, const char *sql, const char *what, int64 missing)
{
	sqlite3_stmt *stmt = target_prepare(db, sql, what);
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
char *
target_query_text(sqlite3 *db, const char *sql, const char *what)
{
	sqlite3_stmt *stmt = target_prepare(db, sql, what);
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
List *
target_query_texts(sqlite3 *db, const char *sql, const char *bound, const char *what)
{
	sqlite3_stmt *stmt = target_prepare(db, sql, what);
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
	target_run(db, "PRAGMA mmap_size = 0; PRAGMA cell_size_check = ON; "
			   "PRAGMA secure_delete = OFF; PRAGMA threads = 0",
			   "opening the file");
}

static void
release_descriptors(void)
{
	for (int i = 0; i < DESCRIPTORS; i++)
		ReleaseExternalFD();
}

sqlite3 *
target_open(const char *path, const TargetPath *expected)
{
	int			rc;
	int			moved = 0;

	Assert(open_db == NULL);
	/* the database twice, and its journal or a file to sort in */
	for (int i = 0; i < DESCRIPTORS; i++)
		ReserveExternalFD();
	rc = sqlite3_open_v2(path, &open_db,
						 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW |
						 SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
						 target_vfs());
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
	target_lock_taken();
	/* a signal must not interrupt what is being freed */
	open_db = NULL;
	rc = sqlite3_close(db);
	if (rc != SQLITE_OK)
	{
		open_db = db;
		target_error(db, rc, "closing the file");
	}
	release_descriptors();
}

void
target_on_abandon(void (*function) (sqlite3 *db))
{
	tidy_up = function;
}

void
target_set_phase(const char *phase)
{
	slot_set_phase(run_slot, phase);
}

void
target_lock_taken(void)
{
	pg_atomic_write_u32(&run_slot->file_busy, 0);
}

bool
target_was_busy(void)
{
	bool		busy = was_busy;

	was_busy = false;
	return busy;
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
	for (stmt = sqlite3_next_stmt(db, NULL); stmt; stmt = sqlite3_next_stmt(db, stmt))
		sqlite3_reset(stmt);
	if (!sqlite3_get_autocommit(db))
		sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	if (tidy_up)
		tidy_up(db);

	/*
	 * A module, such as full-text search, finalizes its own statements, at
	 * the first attempt to close; what is left then is ours.
	 */
	if (sqlite3_close(db) != SQLITE_OK)
	{
		while ((stmt = sqlite3_next_stmt(db, NULL)) != NULL)
			sqlite3_finalize(stmt);
		sqlite3_close(db);
	}
	release_descriptors();
}
