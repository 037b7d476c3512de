#!/usr/bin/env python3
"""One table of plays to four SQLite tables with psycopg2 and sqlite3.

    psycopg2_mapping.py TABLE FILE

As a careful user writes it: ids of artists, albums and tracks in dictionaries,
batches in one transaction without journal, then one fsync.
"""
import os
import sqlite3
import sys

import psycopg2
from psycopg2 import sql

BATCH = 10000

table, path = sys.argv[1:]
source = psycopg2.connect("").cursor("export")
source.itersize = BATCH
source.execute(
    sql.SQL(
        "SELECT id, name, artist, album, url, track_mbid::text, loved::int, "
        "to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM {} ORDER BY id"
    ).format(sql.Identifier(table))
)

target = sqlite3.connect(path, isolation_level=None)
target.executescript(
    """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT NOT NULL, artist_id INTEGER REFERENCES artist (id), UNIQUE (artist_id, title));
    CREATE TABLE track (id INTEGER PRIMARY KEY, title TEXT NOT NULL, mbid TEXT, artist_id INTEGER REFERENCES artist (id), UNIQUE (artist_id, title));
    CREATE TABLE scrobble (id INTEGER PRIMARY KEY, played_at TEXT, url TEXT, loved INTEGER, track_id INTEGER REFERENCES track (id), album_id INTEGER REFERENCES album (id));
    """
)
artists, albums, tracks = {}, {}, {}
target.execute("BEGIN")
while rows := source.fetchmany(BATCH):
    new_artists, new_albums, new_tracks, scrobbles = [], [], [], []
    for row_id, name, artist, album, url, mbid, loved, played_at in rows:
        artist_id = artists.get(artist)
        if artist_id is None:
            artist_id = artists[artist] = len(artists) + 1
            new_artists.append((artist_id, artist))
        track_id = tracks.get((artist_id, name))
        if track_id is None:
            track_id = tracks[artist_id, name] = len(tracks) + 1
            new_tracks.append((track_id, name, mbid, artist_id))
        album_id = None
        if album is not None:
            album_id = albums.get((artist_id, album))
            if album_id is None:
                album_id = albums[artist_id, album] = len(albums) + 1
                new_albums.append((album_id, album, artist_id))
        scrobbles.append((row_id, played_at, url, loved, track_id, album_id))
    target.executemany("INSERT INTO artist VALUES (?, ?)", new_artists)
    target.executemany("INSERT INTO album VALUES (?, ?, ?)", new_albums)
    target.executemany("INSERT INTO track VALUES (?, ?, ?, ?)", new_tracks)
    target.executemany("INSERT INTO scrobble VALUES (?, ?, ?, ?, ?, ?)", scrobbles)
target.execute("COMMIT")
target.close()

with open(path, "rb") as file:
    os.fsync(file.fileno())
