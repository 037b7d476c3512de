--
-- Mappings: one source, one or several target tables.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/mapping*
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;

CREATE TABLE plays (
	id int PRIMARY KEY, name text NOT NULL, artist text NOT NULL, album text, mbid text, url text,
	date timestamptz NOT NULL, mood name);
CREATE INDEX plays_artist ON plays (artist);
INSERT INTO plays
SELECT i, 'Song ' || i % 5, 'Artist ' || i % 3, nullif('Album ' || i % 4, 'Album 3'),
	CASE WHEN i % 4 = 0 THEN NULL ELSE 'mbid ' || i % 5 END, 'u' || i,
	timestamptz '2024-01-01 00:00:00+00' + i * interval '1 hour', 'ok'
FROM generate_series(1, 20) i;

--
-- One table: renames, subsets, expressions
--
\set one '{"song": {"columns": {"nr": "id", "title": "name", "loud": {"expr": "upper(artist) -- loud"}, "name": "artist"}, "indexes": [["loud"], ["name", "title"]]}}'
SELECT target_table, target_column, source_expression, source_type, sqlite_type, note FROM lfsync_preview('plays', :'one');
SELECT mode, rows_read, tables FROM lfsync_export('plays', 'mapping_one.db', mapping => :'one');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_one.db" "SELECT sql FROM sqlite_schema WHERE tbl_name = 'song'" "SELECT * FROM song LIMIT 2" "SELECT column_name, source_expression FROM _lfsync_columns WHERE ordinal > 0"
-- names of the source and of the target may cross: what is sorted by is the source's
SELECT rows_read FROM lfsync_export('plays', 'mapping_cross.db', mode => 'merge', filter => 'id > 2',
	mapping => '{"t": {"columns": {"name": "id", "id": "name"}}}');
UPDATE plays SET name = 'Other' WHERE id = 7;
DELETE FROM plays WHERE id = 8;
SELECT rows_read, rows_inserted, rows_updated, rows_deleted FROM lfsync_export('plays', 'mapping_cross.db', mode => 'merge', filter => 'plays.id > 2',
	mapping => '{"t": {"columns": {"name": "id", "id": "name"}}}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_cross.db" "SELECT group_concat(name), count(*), max(id) FROM t"
-- following row versions, and a cursor that is not mapped
\set two '{"t": {"columns": {"id": "id", "first": {"expr": "left(plays.name, 1)"}}}}'
SELECT rows_inserted FROM lfsync_export('plays', 'mapping_versions.db', mode => 'incremental', filter => 'id > 2', mapping => :'two');
SELECT rows_inserted FROM lfsync_export('plays', 'mapping_cursor.db', mode => 'incremental', cursor_columns => '{date}', mapping => :'two');
INSERT INTO plays VALUES (21, 'New', 'Artist 0', NULL, NULL, 'u', '2024-02-01 00:00:00+00', 'ok');
SELECT rows_read, rows_inserted FROM lfsync_export('plays', 'mapping_versions.db', mode => 'incremental', filter => 'id > 2', mapping => :'two');
SELECT rows_read, rows_inserted FROM lfsync_export('plays', 'mapping_cursor.db', mode => 'incremental', cursor_columns => '{date}', mapping => :'two');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_cursor.db" "SELECT * FROM t WHERE id > 19"
-- an expression that looks at more than the row
SELECT lfsync_export('plays', 'mapping_x.db', mode => 'incremental', mapping => '{"t": {"columns": {"id": "id", "age": {"expr": "now() - date"}}}}');
\echo :SQLSTATE

--
-- Several tables
--
\set four '{"artist": {"columns": {"name": "artist"}, "key": ["name"]}, "album": {"columns": {"title": "album", "artist_id": {"references": "artist"}}, "key": ["artist_id", "title"]}, "track": {"columns": {"title": "name", "mbid": "mbid", "artist_id": {"references": "artist"}}, "key": ["artist_id", "title"]}, "play": {"columns": {"id": "id", "played_at": "date", "track_id": {"references": "track"}, "album_id": {"references": "album"}}, "key": ["id"], "indexes": [["played_at"], ["track_id"]]}}'
SELECT target_table, target_column, source_expression, source_type, sqlite_type, note FROM lfsync_preview('plays', :'four');
SELECT rows_read, rows_inserted, jsonb_pretty(tables) FROM lfsync_export('plays', 'mapping_four.db', mapping => :'four');
\set show 'SELECT * FROM artist; SELECT a.id, a.title, b.name FROM album a JOIN artist b ON b.id = a.artist_id ORDER BY 1; SELECT t.id, t.title, t.mbid, b.name FROM track t JOIN artist b ON b.id = t.artist_id ORDER BY 1; SELECT p.id, p.played_at, p.track_id, p.album_id FROM play p ORDER BY 1 LIMIT 5; PRAGMA integrity_check; PRAGMA foreign_key_check'
\setenv SHOW :show
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_four.db" "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE '\_%' ESCAPE '\'" "$SHOW"
-- in place, ids stay what they are
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_four.db" "CREATE TABLE mine (a)" "CREATE TABLE was AS SELECT a.name, t.title, t.id FROM track t JOIN artist a ON a.id = artist_id"
DELETE FROM plays WHERE id = 1;
INSERT INTO plays VALUES (0, 'Zero', 'Artist 0', 'Album 9', 'mbid 0', 'u', '2023-12-31 00:00:00+00', 'ok');
SELECT rows_read, rows_inserted FROM lfsync_export('plays', 'mapping_four.db', mapping => :'four');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_four.db" "SELECT count(*) FROM was JOIN artist a USING (name) JOIN track t ON t.artist_id = a.id AND t.title = was.title WHERE was.id <> t.id" "SELECT id, title FROM track WHERE id NOT IN (SELECT id FROM was)" "SELECT name FROM sqlite_schema WHERE name LIKE '%new%'"

-- incremental: rows and what they refer to, never deleted
SELECT rows_inserted FROM lfsync_export('plays', 'mapping_inc.db', mode => 'incremental', mapping => :'four');
INSERT INTO plays VALUES (30, 'Thirty', 'Artist 30', NULL, 'mbid 30', 'u', '2024-03-01 00:00:00+00', 'ok');
UPDATE plays SET artist = 'Artist 31' WHERE id = 5;
UPDATE plays SET mbid = 'early' WHERE id = 2;
SELECT rows_read, jsonb_pretty(tables) FROM lfsync_export('plays', 'mapping_inc.db', mode => 'incremental', mapping => :'four');
SELECT rows_read, rows_inserted + rows_updated + rows_deleted AS written FROM lfsync_export('plays', 'mapping_inc.db', mode => 'incremental', mapping => :'four');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_inc.db" "SELECT mbid FROM track WHERE mbid = 'early'" "SELECT table_name, mode, rows, position IS NOT NULL FROM _lfsync_state ORDER BY 1"
-- a merge lets the highest key win, and removes what nobody plays
SELECT rows_read, jsonb_pretty(tables) FROM lfsync_export('plays', 'mapping_inc.db', mode => 'merge', mapping => :'four');
SELECT rows_inserted + rows_updated + rows_deleted AS written FROM lfsync_export('plays', 'mapping_inc.db', mode => 'merge', mapping => :'four');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_inc.db" "SELECT mbid FROM track WHERE mbid = 'early'" "SELECT (SELECT count(*) FROM artist), (SELECT count(*) FROM album), (SELECT count(*) FROM track), (SELECT count(*) FROM play)" "PRAGMA integrity_check" "PRAGMA foreign_key_check"
SELECT count(DISTINCT artist) AS artists, count(DISTINCT (artist, album)) FILTER (WHERE album IS NOT NULL) AS albums, count(DISTINCT (artist, name)) AS tracks, count(*) AS plays FROM plays;
UPDATE plays SET mbid = NULL WHERE artist = 'Artist 2';
DELETE FROM plays WHERE artist = 'Artist 1' AND album = 'Album 1';
SELECT jsonb_pretty(tables) FROM lfsync_export('plays', 'mapping_inc.db', mode => 'merge', mapping => :'four');

-- jobs, and what verify says
SELECT lfsync_add_job('mapping', 'plays', 'mapping_job.db', mapping => :'four') IS NOT NULL AS stored;
SELECT rows_inserted FROM lfsync_export('mapping');
UPDATE plays SET artist = 'Artist 40', mbid = 'first' WHERE id = 3;
UPDATE plays SET mbid = 'later' WHERE id IN (4, 6);
SELECT rows_updated FROM lfsync_export('mapping');
SELECT * FROM lfsync_verify('mapping') ORDER BY 1;
SELECT table_name FROM lfsync_verify('mapping', true) ORDER BY 1;
SELECT * FROM lfsync_verify('mapping') ORDER BY 1;
SELECT lfsync_drop_job('mapping', true);
\! test -e "$LFSYNC_EXPORT_DIR"/mapping_job.db || echo gone

-- no key at the source: rows are numbered, and full is the only mode
CREATE TABLE keyless AS SELECT name, artist FROM plays;
\set keyless '{"artist": {"columns": {"name": "artist"}, "key": ["name"]}, "play": {"columns": {"name": "name", "artist_id": {"references": "artist"}}}}'
SELECT jsonb_pretty(tables) FROM lfsync_export('keyless', 'mapping_keyless.db', mapping => :'keyless');
SELECT lfsync_export('keyless', 'mapping_x.db', mode => 'merge', mapping => :'keyless');
\echo :SQLSTATE
-- a view: the table that no other refers to has its rows
CREATE VIEW seen AS SELECT * FROM plays;
SELECT rows_inserted FROM lfsync_export('seen', 'mapping_view.db', mode => 'merge', mapping => :'four');
-- NULL in a key, and in a reference that is part of one
INSERT INTO keyless VALUES (NULL, 'Artist 1');
\set nulls '{"artist": {"columns": {"name": {"expr": "nullif(artist, ''Artist 1'')"}}, "key": ["name"]}, "track": {"columns": {"title": "name", "artist_id": {"references": "artist"}}, "key": ["artist_id", "title"]}, "play": {"columns": {"track_id": {"references": "track"}}}}'
SELECT rows_inserted FROM lfsync_export('keyless', 'mapping_nulls.db', mapping => :'nulls');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_nulls.db" "SELECT count(*) FROM artist" "SELECT title, count(*) FROM track WHERE artist_id IS NULL GROUP BY 1 ORDER BY 1" "SELECT count(*) FROM play WHERE track_id IS NULL"
-- none with the source's rows
\set artists '{"artist": {"columns": {"name": "artist", "last": "date"}, "key": ["name"]}}'
SELECT jsonb_pretty(tables) FROM lfsync_export('plays', 'mapping_artists.db', mapping => :'artists');
SELECT rows_inserted FROM lfsync_export('plays', 'mapping_artists.db', mode => 'merge', mapping => :'artists');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_artists.db" "SELECT count(*) FROM artist" "SELECT max(last) FROM artist"
SELECT lfsync_export('plays', 'mapping_x.db', mode => 'incremental', mapping => :'artists');
\echo :SQLSTATE
-- rows wider than a buffer, with what they refer to
SET lfsync.batch_bytes = '1MB';
CREATE TABLE wide (id int PRIMARY KEY, word text, v text);
INSERT INTO wide SELECT i, repeat(chr(96 + i), 700000), repeat('v', 700000) FROM generate_series(1, 3) i;
INSERT INTO wide SELECT i, 'w' || i % 3, 'v' FROM generate_series(4, 9) i;
SELECT jsonb_pretty(tables) FROM lfsync_export('wide', 'mapping_wide.db', mapping => '{"w": {"columns": {"word": "word"}, "key": ["word"]}, "t": {"columns": {"id": "id", "v": "v", "w": {"references": "w"}}}}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_wide.db" "SELECT t.id, length(v), length(word), substr(word, 1, 2) FROM t JOIN w ON w.id = t.w" "PRAGMA integrity_check"
RESET lfsync.batch_bytes;

--
-- Last.fm
--
CREATE TABLE music_scrobble_records (
	id bigint PRIMARY KEY, name text NOT NULL, artist text NOT NULL, album text, image text NOT NULL DEFAULT '',
	mbid uuid, url text, date timestamptz NOT NULL);
INSERT INTO music_scrobble_records VALUES
	(1, 'Help!', 'The Beatles', 'Help!', '', '054a6cef-c53a-4ffa-a76e-69d2b8cc7d09', 'u1', '2005-02-13 10:20:00+00'),
	(2, 'El Mañana', 'Gorillaz', '', 'i', NULL, '', '2005-02-13 10:24:00+00'),
	(3, 'Help!', 'The Beatles', NULL, 'i', NULL, NULL, '2005-02-13 10:28:00+00');
SELECT lfsync_lastfm_mapping();
SELECT lfsync_lastfm_mapping('plays');
CREATE TABLE bare (artist text, date date);
SELECT lfsync_lastfm_mapping('bare');
SELECT rows_read FROM lfsync_export('bare', 'mapping_bare.db', mapping => lfsync_lastfm_mapping('bare'));
SELECT rows_read FROM lfsync_export('music_scrobble_records', 'mapping_lastfm.db', mapping => lfsync_lastfm_mapping());
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_lastfm.db" "SELECT * FROM scrobble_flat" "SELECT sql FROM sqlite_schema WHERE type = 'view'" "PRAGMA foreign_key_check"
-- a file that holds nothing but these is replaced as a whole
SELECT bytes_written > 0 AS built FROM lfsync_export('music_scrobble_records', 'mapping_lastfm.db', mapping => lfsync_lastfm_mapping());
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_lastfm.db" "SELECT generation FROM _lfsync_state" "SELECT count(*) FROM scrobble_flat"
CREATE TABLE other (a int);
SELECT lfsync_lastfm_mapping('other');
\echo :SQLSTATE
SET search_path = public;
SELECT lfsync_lastfm_mapping();
\echo :SQLSTATE
SET search_path = regress_lfsync, public;

--
-- Full text
--
\set words '{"artist": {"columns": {"name": "artist"}, "key": ["name"], "fts": ["name"]}, "track": {"columns": {"title": "name", "note": "mbid", "artist_id": {"references": "artist"}}, "key": ["artist_id", "title"], "fts": ["title", "note"]}, "play": {"columns": {"id": "id", "link": "url", "track_id": {"references": "track"}}, "key": ["id"], "fts": ["link"]}}'
\set find 'INSERT INTO artist_fts (artist_fts, rank) VALUES (''integrity-check'', 1); INSERT INTO track_fts (track_fts, rank) VALUES (''integrity-check'', 1); INSERT INTO play_fts (play_fts, rank) VALUES (''integrity-check'', 1); SELECT ''artists'', group_concat(name, '', '') FROM artist_fts(''40 OR 41''); SELECT ''tracks'', group_concat(title || '' '' || note, '', '') FROM track_fts(''thirty OR later OR latest''); SELECT ''plays'', group_concat(rowid, '', '') FROM play_fts(''u30 OR needle'')'
\setenv FIND :find
SELECT rows_read FROM lfsync_export('plays', 'mapping_words.db', mode => 'incremental', mapping => :'words');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_words.db" "$FIND"
UPDATE plays SET mbid = 'latest' WHERE id = 30;
UPDATE plays SET url = 'needle' WHERE id IN (9, 10);
UPDATE plays SET artist = 'Artist 41' WHERE id = 11;
SELECT rows_read FROM lfsync_export('plays', 'mapping_words.db', mode => 'incremental', mapping => :'words');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_words.db" "$FIND"
DELETE FROM plays WHERE id IN (9, 3);
UPDATE plays SET mbid = 'thirty' WHERE id = 30;
SELECT rows_deleted > 0 AS deleted FROM lfsync_export('plays', 'mapping_words.db', mode => 'merge', mapping => :'words');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_words.db" "$FIND"
SELECT rows_read > 0 AS read FROM lfsync_export('plays', 'mapping_words.db', mapping => :'words');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_words.db" "$FIND"
-- by option, in a file that is built from pages
SELECT rows_read > 0 AS read FROM lfsync_export('plays', 'mapping_plain.db', options => '{"fts": ["name", "artist"]}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_plain.db" "SELECT rowid FROM plays_fts('thirty')" "INSERT INTO plays_fts (plays_fts, rank) VALUES ('integrity-check', 1)"
SELECT rows_read > 0 AS read FROM lfsync_export('plays', 'mapping_plain.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_plain.db" "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%fts%'"
SELECT lfsync_export('keyless', 'mapping_x.db', options => '{"fts": ["name"]}');
\echo :SQLSTATE
SELECT lfsync_export('plays', 'mapping_x.db', options => '{"fts": ["names"]}');
SELECT lfsync_export('plays', 'mapping_x.db', options => '{"fts": "name"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/mapping_taken.db" "CREATE TABLE plays_fts (a)"
SELECT lfsync_export('plays', 'mapping_taken.db', options => '{"fts": ["name"]}');
\echo :SQLSTATE

--
-- What cannot work is refused, with the place in the json
--
CREATE PROCEDURE refuse(mapping text, source regclass DEFAULT 'plays') LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
	context text;
BEGIN
	PERFORM lfsync_preview(source, mapping::json);
	RAISE 'was taken';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	RAISE INFO '% %', SQLSTATE, concat_ws(' | ', SQLERRM, nullif(detail, ''), nullif(hint, ''), substring(context FROM '^mapping[^\n]*'));
END $$;
\set VERBOSITY terse
CALL refuse('[]');
CALL refuse('{}');
CALL refuse('{"t": 1}');
CALL refuse('{"t": {}}');
CALL refuse('{"t": {"columns": {}}}');
CALL refuse('{"t": {"columns": {"a": 1}}}');
CALL refuse('{"t": {"columns": {"a": {"exp": "1"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "1", "references": "t"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": 1}}}}');
CALL refuse('{"t": {"columns": {"a": "id", "a": "id"}}}');
CALL refuse('{"t": {"columns": {"a": "id", "A": "id"}}}');
CALL refuse('{"t": {"columns": {"": "id"}}}');
CALL refuse('{"t": {"columns": {"a": "id"}}, "T": {"columns": {"a": "id"}}}');
CALL refuse('{"sqlite_t": {"columns": {"a": "id"}}}');
CALL refuse('{"$view": {}}');
CALL refuse('{"t": {"columns": {"a": "ID"}}}');
CALL refuse('{"t": {"columns": {"a": "id"}, "keys": ["a"]}}');
CALL refuse('{"t": {"columns": {"a": "id"}, "key": "a"}}');
CALL refuse('{"t": {"columns": {"a": "id"}, "key": ["b"]}}');
CALL refuse('{"t": {"columns": {"a": "id"}, "key": ["a", "a"]}}');
CALL refuse('{"t": {"columns": {"a": "id"}, "key": [1]}}');
CALL refuse('{"t": {"columns": {"a": "id"}, "indexes": ["a"]}}');
CALL refuse('{"t": {"columns": {"a b": "id"}, "indexes": [["a b"], ["a"]]}}');
CALL refuse('{"t": {"columns": {"a": {"references": "u"}}}}');
CALL refuse('{"t": {"columns": {"a": {"references": "u"}}}, "u": {"columns": {"a": "id"}}}');
CALL refuse('{"t": {"columns": {"a": {"references": "t"}}, "key": ["a"]}}');
CALL refuse('{"t": {"columns": {"a": {"references": "u"}}, "key": ["a"]}, "u": {"columns": {"b": {"references": "t"}}, "key": ["b"]}}');
CALL refuse('{"t": {"columns": {"id": "artist"}, "key": ["id"]}}');
CALL refuse('{"t": {"columns": {"a": "id"}}, "u": {"columns": {"a": "id"}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "upper(artist"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "artist), (id"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "id, name"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": ""}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "nothing + 1"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "count(*)"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "row_number() OVER ()"}}}}');
CALL refuse('{"t": {"columns": {"a": {"expr": "generate_series(1, 2)"}}}}');
CALL refuse('{"t": {"columns": {"a": "name"}, "fts": ["a"]}}');
CALL refuse('{"t": {"columns": {"id": "id", "rank": "name"}, "fts": ["rank"]}}');
CALL refuse('{"t": {"columns": {"id": "id"}}, "$flat": {"t": {"id": "id"}}}');
CALL refuse('{"t": {"columns": {"id": "id"}}, "$flat": {"v": {"id": "a.b"}}}');
CALL refuse('{"t": {"columns": {"id": "id"}}, "$flat": {"v": {"id": "id.b"}}}');
CALL refuse('{"t": {"columns": {"a": "artist"}, "key": ["a"]}, "$flat": {"v": {"a": "a"}}}');
\set VERBOSITY default
SELECT lfsync_export('plays', 'mapping_x.db', 'name', mapping => '{"t": {"columns": {"id": "id"}}}');
\echo :SQLSTATE
SELECT lfsync_add_job('mapping', 'plays', 'mapping_x.db', mapping => '{"t": {"columns": {"a": {"references": "u"}}}}');
\echo :SQLSTATE
\! test -e "$LFSYNC_EXPORT_DIR"/mapping_x.db || echo none

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync CASCADE;
