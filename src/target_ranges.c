/*-------------------------------------------------------------------------
 *
 * target_ranges.c
 *	  Checksums of ranges, and whether the file is still as they say.
 *
 * Each transaction of a file in rollback journal mode counts up the number at
 * offset 24 of its header (section 1.3.5 of https://www.sqlite.org/fileformat2.html):
 * if it is what our last transaction has left, nobody has written since.  In WAL
 * mode it is not counted, and nothing is believed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"
#include "target.h"

#define CHANGE_COUNTER	24

const char *const target_ranges_sql =
"CREATE TABLE _lfsync_ranges (table_name TEXT PRIMARY KEY NOT NULL, "
"change_counter INTEGER NOT NULL, sums BLOB NOT NULL)";

/* SQLite's number for what other connections have committed, at our start. */
static int64 seen_version;

static int64
data_version(sqlite3 *db)
{
	return target_query_int(db, "PRAGMA main.data_version", "reading the file", 0);
}

/* Of the last transaction that has committed; false if nobody counts. */
static bool
change_counter(sqlite3 *db, uint32 *counter)
{
	char	   *mode = target_query_text(db, "PRAGMA main.journal_mode", "reading the file");
	sqlite3_file *file = NULL;

	if (mode == NULL || strcmp(mode, "wal") == 0 ||
		sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
		file == NULL || file->pMethods == NULL ||
		file->pMethods->xRead(file, counter, sizeof(*counter), CHANGE_COUNTER) != SQLITE_OK)
		return false;
	*counter = pg_ntoh32(*counter);
	return true;
}

void *
target_read_sums(sqlite3 *db, const char *table_name, Size *len)
{
	static const char what[] = "reading _lfsync_ranges";
	sqlite3_stmt *stmt;
	uint32		counter;
	void	   *sums = NULL;
	int			rc;

	*len = 0;
	seen_version = data_version(db);
	if (!target_own_table_exists(db, "_lfsync_ranges", target_ranges_sql) ||
		!change_counter(db, &counter))
		return NULL;
	stmt = target_prepare(db, "SELECT sums FROM main._lfsync_ranges "
						  "WHERE table_name = ?1 COLLATE NOCASE AND change_counter = ?2", what);
	sqlite3_bind_text(stmt, 1, table_name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, counter);
	rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
	{
		*len = sqlite3_column_bytes(stmt, 0);
		sums = palloc(*len + 1);
		memcpy(sums, sqlite3_column_blob(stmt, 0), *len);
	}
	else if (rc != SQLITE_DONE)
		target_error(db, rc, what);
	sqlite3_finalize(stmt);
	return sums;
}

void
target_write_sums(sqlite3 *db, const TargetTable *table)
{
	static const char what[] = "writing _lfsync_ranges";
	bool		exists = target_own_table_exists(db, "_lfsync_ranges", target_ranges_sql);
	sqlite3_stmt *stmt;
	uint32		counter;

	/* what somebody has written since our start is in no sum */
	if (table->sums == NULL || data_version(db) != seen_version || !change_counter(db, &counter))
	{
		if (!exists)
			return;
		stmt = target_prepare(db, "DELETE FROM main._lfsync_ranges WHERE table_name = ?1 COLLATE NOCASE", what);
	}
	else
	{
		if (!exists)
			target_run(db, target_ranges_sql, what);
		stmt = target_prepare(db, "INSERT OR REPLACE INTO main._lfsync_ranges VALUES (?1, ?2, ?3)", what);
		/* this transaction is one more */
		sqlite3_bind_int64(stmt, 2, (uint32) (counter + 1));
		sqlite3_bind_blob(stmt, 3, table->sums, (int) table->sums_len, SQLITE_STATIC);
	}
	sqlite3_bind_text(stmt, 1, table->name, -1, SQLITE_STATIC);
	target_step(db, stmt, what);
	sqlite3_finalize(stmt);
}
