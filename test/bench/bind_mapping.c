/*-------------------------------------------------------------------------
 *
 * bind_mapping.c
 *	  The usual way from one list of plays to four tables: rows that are in
 *	  memory already, and for each a statement that looks up, or makes, its
 *	  artist, album and track.
 *
 * Usage: bind_mapping FILE < rows
 *
 * Prints the seconds from opening the file to having it closed and on disk.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "rows.h"

enum Column
{
	NAME, ARTIST, ALBUM, URL, ARTIST_MBID, ALBUM_MBID, TRACK_MBID, LOVED_TEXT, PLAYED_AT
};

static const char schema[] =
"CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
"CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT NOT NULL, artist_id INTEGER REFERENCES artist (id), UNIQUE (artist_id, title));"
"CREATE TABLE track (id INTEGER PRIMARY KEY, title TEXT NOT NULL, mbid TEXT, artist_id INTEGER REFERENCES artist (id), UNIQUE (artist_id, title));"
"CREATE TABLE scrobble (id INTEGER PRIMARY KEY, played_at TEXT, url TEXT, loved INTEGER, track_id INTEGER REFERENCES track (id), album_id INTEGER REFERENCES album (id))";

typedef struct Text
{
	const char *data;
	int			len;			/* -1: NULL */
} Text;

static void
bind(sqlite3_stmt *stmt, int n, Text text)
{
	if (text.len < 0)
		sqlite3_bind_null(stmt, n);
	else
		sqlite3_bind_text(stmt, n, text.data, text.len, SQLITE_STATIC);
}

/* The id of what the first statement finds, or the second one makes. */
static sqlite3_int64
look_up(sqlite3 *db, sqlite3_stmt *find, sqlite3_stmt *make)
{
	sqlite3_int64 id;

	if (sqlite3_step(find) == SQLITE_ROW)
		id = sqlite3_column_int64(find, 0);
	else
	{
		if (sqlite3_step(make) != SQLITE_DONE)
			die("insert: %s", sqlite3_errmsg(db));
		sqlite3_reset(make);
		id = sqlite3_last_insert_rowid(db);
	}
	sqlite3_reset(find);
	return id;
}

int
main(int argc, char **argv)
{
	size_t		nrows;
	Row		   *rows;
	sqlite3    *db;
	sqlite3_stmt *find_artist;
	sqlite3_stmt *make_artist;
	sqlite3_stmt *find_album;
	sqlite3_stmt *make_album;
	sqlite3_stmt *find_track;
	sqlite3_stmt *make_track;
	sqlite3_stmt *make_scrobble;
	double		start;

	if (argc != 2)
		die("usage: bind_mapping FILE < rows");
	rows = read_rows(&nrows);

	start = now();
	if (sqlite3_open(argv[1], &db) != SQLITE_OK)
		die("%s: %s", argv[1], sqlite3_errmsg(db));
	run_sql(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA secure_delete = OFF; "
			"PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = -64000");
	run_sql(db, schema);
	find_artist = prepare(db, "SELECT id FROM artist WHERE name = ?");
	make_artist = prepare(db, "INSERT INTO artist (name) VALUES (?)");
	find_album = prepare(db, "SELECT id FROM album WHERE artist_id = ? AND title = ?");
	make_album = prepare(db, "INSERT INTO album (artist_id, title) VALUES (?, ?)");
	find_track = prepare(db, "SELECT id FROM track WHERE artist_id = ? AND title = ?");
	make_track = prepare(db, "INSERT INTO track (artist_id, title, mbid) VALUES (?, ?, ?)");
	make_scrobble = prepare(db, "INSERT INTO scrobble VALUES (?, ?, ?, ?, ?, ?)");
	run_sql(db, "BEGIN");
	for (size_t r = 0; r < nrows; r++)
	{
		Text		texts[TEXT_COLUMNS];
		const char *text = rows[r].text;
		sqlite3_int64 artist;

		for (int i = 0; i < TEXT_COLUMNS; i++)
		{
			texts[i].data = text;
			texts[i].len = rows[r].len[i];
			if (texts[i].len > 0)
				text += texts[i].len;
		}
		bind(find_artist, 1, texts[ARTIST]);
		bind(make_artist, 1, texts[ARTIST]);
		artist = look_up(db, find_artist, make_artist);

		sqlite3_bind_int64(find_track, 1, artist);
		bind(find_track, 2, texts[NAME]);
		sqlite3_bind_int64(make_track, 1, artist);
		bind(make_track, 2, texts[NAME]);
		bind(make_track, 3, texts[TRACK_MBID]);
		sqlite3_bind_int64(make_scrobble, 5, look_up(db, find_track, make_track));

		if (texts[ALBUM].len < 0)
			sqlite3_bind_null(make_scrobble, 6);
		else
		{
			sqlite3_bind_int64(find_album, 1, artist);
			bind(find_album, 2, texts[ALBUM]);
			sqlite3_bind_int64(make_album, 1, artist);
			bind(make_album, 2, texts[ALBUM]);
			sqlite3_bind_int64(make_scrobble, 6, look_up(db, find_album, make_album));
		}
		sqlite3_bind_int64(make_scrobble, 1, rows[r].id);
		bind(make_scrobble, 2, texts[PLAYED_AT]);
		bind(make_scrobble, 3, texts[URL]);
		sqlite3_bind_int(make_scrobble, 4, *texts[LOVED_TEXT].data == '1');
		if (sqlite3_step(make_scrobble) != SQLITE_DONE)
			die("insert: %s", sqlite3_errmsg(db));
		sqlite3_reset(make_scrobble);
	}
	run_sql(db, "COMMIT");
	sqlite3_finalize(find_artist);
	sqlite3_finalize(make_artist);
	sqlite3_finalize(find_album);
	sqlite3_finalize(make_album);
	sqlite3_finalize(find_track);
	sqlite3_finalize(make_track);
	sqlite3_finalize(make_scrobble);
	sqlite3_close(db);
	sync_file(argv[1]);
	printf("%.3f\n", now() - start);
	return 0;
}
