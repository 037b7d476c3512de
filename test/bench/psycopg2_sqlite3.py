#!/usr/bin/env python3
"""A table to a SQLite file with psycopg2 and sqlite3, with the usual care.

    psycopg2_sqlite3.py TABLE FILE

The server formats, a server-side cursor keeps memory small, and SQLite gets
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
        "SELECT id, name, artist, album, url, artist_mbid::text, album_mbid::text, "
        "track_mbid::text, loved::int, "
        "to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM {} ORDER BY id"
    ).format(sql.Identifier(table))
)

target = sqlite3.connect(path, isolation_level=None)
target.execute("PRAGMA journal_mode = OFF")
target.execute("PRAGMA synchronous = OFF")
target.execute(
    "CREATE TABLE bench (id INTEGER PRIMARY KEY, name TEXT NOT NULL, artist TEXT NOT NULL, "
    "album TEXT, url TEXT, artist_mbid TEXT, album_mbid TEXT, track_mbid TEXT, "
    "loved INTEGER NOT NULL, date TEXT NOT NULL)"
)
target.execute("BEGIN")
while rows := source.fetchmany(BATCH):
    target.executemany("INSERT INTO bench VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
target.execute("COMMIT")
target.close()

with open(path, "rb") as file:
    os.fsync(file.fileno())
