/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  What the benchmark's C programs share: the rows in memory, read before
 *	  any clock starts, and the table they go to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sqlite3.h>

#define TEXT_COLUMNS	9
#define LOVED			7		/* the text column that SQLite gets as integer */
#define BATCH			40000	/* rows a transaction, in place */

#define CREATE_TABLE \
	"CREATE TABLE IF NOT EXISTS bench (id INTEGER PRIMARY KEY, name TEXT NOT NULL, " \
	"artist TEXT NOT NULL, album TEXT, url TEXT, artist_mbid TEXT, album_mbid TEXT, " \
	"track_mbid TEXT, loved INTEGER NOT NULL, date TEXT NOT NULL)"
#define CREATE_INDEXES \
	"CREATE INDEX bench_date_idx ON bench (date); " \
	"CREATE INDEX bench_artist_name_idx ON bench (artist, name)"
#define INSERT_ROW \
	"INSERT INTO bench VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
#define UPSERT_ROW \
	" ON CONFLICT (id) DO UPDATE SET name = excluded.name, artist = excluded.artist, " \
	"album = excluded.album, url = excluded.url, artist_mbid = excluded.artist_mbid, " \
	"album_mbid = excluded.album_mbid, track_mbid = excluded.track_mbid, " \
	"loved = excluded.loved, date = excluded.date"

typedef struct Row
{
	int64_t		id;
	const char *text;			/* all columns, one after the other */
	int16_t		len[TEXT_COLUMNS];	/* -1: NULL */
} Row;

/*
 * Reads standard input: the output of COPY … TO STDOUT (FORMAT binary) of a
 * query that gives int8 for the first column and text for all others, so that
 * nothing is left to convert later.
 */
extern Row *read_rows(size_t *nrows);

extern double now(void);
extern void die(const char *format,...) __attribute__((format(printf, 1, 2), noreturn));
extern void run_sql(sqlite3 *db, const char *sql);
extern sqlite3_stmt *prepare(sqlite3 *db, const char *sql);
extern void sync_file(const char *path);

#endif							/* BENCH_ROWS_H */
