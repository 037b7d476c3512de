/*-------------------------------------------------------------------------
 *
 * bind_step.c
 *	  The usual way into SQLite, as fast as it goes: rows that are in memory
 *	  already, one prepared statement, bind and step for each row.
 *
 * Usage: bind_step new|indexes|append|upsert FILE < rows
 *
 *	  new		a new file without journal, one transaction, one fsync
 *	  indexes	the same, then the two indexes
 *	  append	into a file that exists, durably, a transaction per BATCH rows
 *	  upsert	the same, but rows with a known key are updated
 *
 * Prints the seconds from opening the file to having it closed and on disk.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

static void
insert_rows(sqlite3 *db, const char *sql, const Row *rows, size_t nrows, size_t batch)
{
	sqlite3_stmt *stmt = prepare(db, sql);

	for (size_t r = 0; r < nrows; r++)
	{
		const Row  *row = &rows[r];
		const char *text = row->text;

		if (r % batch == 0)
			run_sql(db, r == 0 ? "BEGIN" : "COMMIT; BEGIN");

		sqlite3_bind_int64(stmt, 1, row->id);
		for (int i = 0; i < TEXT_COLUMNS; i++)
		{
			if (row->len[i] < 0)
				sqlite3_bind_null(stmt, i + 2);
			else if (i == LOVED)
				sqlite3_bind_int64(stmt, i + 2, *text == '1');
			else
				sqlite3_bind_text(stmt, i + 2, text, row->len[i], SQLITE_STATIC);
			if (row->len[i] > 0)
				text += row->len[i];
		}
		if (sqlite3_step(stmt) != SQLITE_DONE)
			die("insert: %s", sqlite3_errmsg(db));
		sqlite3_reset(stmt);
	}
	run_sql(db, "COMMIT");
	sqlite3_finalize(stmt);
}

int
main(int argc, char **argv)
{
	bool		in_place;
	bool		upsert;
	const char *path = argv[2];
	size_t		nrows;
	Row		   *rows;
	sqlite3    *db;
	double		start;

	if (argc != 3)
		die("usage: bind_step new|indexes|append|upsert FILE < rows");
	upsert = strcmp(argv[1], "upsert") == 0;
	in_place = upsert || strcmp(argv[1], "append") == 0;
	rows = read_rows(&nrows);

	start = now();
	if (sqlite3_open(path, &db) != SQLITE_OK)
		die("%s: %s", path, sqlite3_errmsg(db));
	run_sql(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA secure_delete = OFF");
	run_sql(db, in_place ? "PRAGMA synchronous = FULL" :
			"PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF");
	run_sql(db, CREATE_TABLE);
	insert_rows(db, upsert ? INSERT_ROW UPSERT_ROW : INSERT_ROW, rows, nrows,
				in_place ? BATCH : nrows);
	if (strcmp(argv[1], "indexes") == 0)
		run_sql(db, CREATE_INDEXES);
	sqlite3_close(db);
	if (!in_place)
		sync_file(path);
	printf("%.3f\n", now() - start);
	return 0;
}
