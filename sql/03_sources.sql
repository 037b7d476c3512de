--
-- What can be a source, and what of it arrives.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/sources*
\set counts 'rows_read, rows_inserted, rows_updated, rows_deleted'
\set last_run 'SELECT source, status, notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1'
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;

-- an empty table, an unlogged one, one of a type
CREATE TABLE empty (id int PRIMARY KEY, name text UNIQUE);
SELECT :counts FROM lfsync_export('empty', 'sources.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources.db" "SELECT count(*) FROM empty; PRAGMA integrity_check"
CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS id;
SELECT :counts FROM lfsync_export('unlogged', 'sources_unlogged.db');
CREATE TYPE pair AS (a int, b text);
CREATE TABLE of_type OF pair;
INSERT INTO of_type VALUES (1, 'x');
SELECT :counts FROM lfsync_export('of_type', 'sources_of_type.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_of_type.db" "SELECT * FROM of_type"

-- a partitioned table with all its partitions, and one of them alone
CREATE TABLE parted (id int, day date, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE parted_2 (note text, dropped int, id int NOT NULL, day date NOT NULL);
ALTER TABLE parted_2 DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE TABLE parted_rest PARTITION OF parted DEFAULT PARTITION BY LIST (id);
CREATE TABLE parted_rest_1 PARTITION OF parted_rest FOR VALUES IN (1, 2, 3);
INSERT INTO parted VALUES (1, '2024-01-31', 'a'), (1, '2024-02-01', 'b'), (2, '2030-01-01', 'c'), (3, '2024-02-29', 'd');
SELECT :counts FROM lfsync_export('parted', 'sources_parted.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_parted.db" "SELECT * FROM parted ORDER BY id, day; SELECT sql FROM sqlite_schema WHERE name = 'parted'"
SELECT :counts FROM lfsync_export('parted_2', 'sources_parted_2.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_parted_2.db" "SELECT * FROM parted_2 ORDER BY id; SELECT sql FROM sqlite_schema WHERE name = 'parted_2'"
CREATE TABLE no_partitions (id int) PARTITION BY LIST (id);
SELECT :counts FROM lfsync_export('no_partitions', 'sources_no_partitions.db');

-- an inheritance parent with its children; a key holds for each alone
CREATE TABLE parent (id int PRIMARY KEY, name text UNIQUE, x int NOT NULL);
CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO parent VALUES (1, 'one', 1);
INSERT INTO child VALUES (1, 'one', 2, 3);
SELECT :counts FROM lfsync_export('parent', 'sources_parent.db');
:last_run;
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_parent.db" "SELECT * FROM parent ORDER BY x; SELECT sql FROM sqlite_schema WHERE tbl_name = 'parent'"
SELECT :counts FROM lfsync_export('child', 'sources_child.db');
SELECT :counts FROM lfsync_export('parent', 'sources_parent.db', key_columns => '{id}');
SELECT :counts FROM lfsync_export('parent', 'sources_parent.db', key_columns => '{x}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_parent.db" "SELECT rowid, * FROM parent"

-- views, with and without a key
CREATE TABLE base (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO base VALUES (2, 'two'), (1, 'one'), (3, 'three');
CREATE VIEW named AS SELECT id AS number, upper(name) AS "Name" FROM base WHERE id < 3;
SELECT :counts FROM lfsync_export('named', 'sources_view.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_view.db" "SELECT number, Name FROM named ORDER BY 1; SELECT sql FROM sqlite_schema WHERE name = 'named'"
SELECT :counts FROM lfsync_export('named', 'sources_view.db', key_columns => '{number}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_view.db" "SELECT rowid, * FROM named; SELECT sql FROM sqlite_schema WHERE name = 'named'"
CREATE VIEW over_views AS
	WITH RECURSIVE up AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM up WHERE n < 5)
	SELECT n, (SELECT "Name" FROM named WHERE number = n) AS name FROM up ORDER BY n DESC;
SELECT :counts FROM lfsync_export('over_views', 'sources_view2.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_view2.db" "SELECT * FROM over_views"

-- materialized views
CREATE MATERIALIZED VIEW mat AS SELECT * FROM named;
CREATE UNIQUE INDEX mat_number ON mat (number);
SELECT :counts FROM lfsync_export('mat', 'sources_mat.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_mat.db" "SELECT * FROM mat ORDER BY 1; SELECT sql FROM sqlite_schema WHERE tbl_name = 'mat'"
REFRESH MATERIALIZED VIEW mat WITH NO DATA;
\set SHOW_CONTEXT never
SELECT :counts FROM lfsync_export('mat', 'sources_mat.db');
\echo :SQLSTATE
\set SHOW_CONTEXT errors

-- a foreign table, or an ordinary one in its place where the server lacks postgres_fdw
SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'postgres_fdw') AS have_fdw,
	split_part(current_setting('unix_socket_directories'), ',', 1) AS host \gset
\if :have_fdw
CREATE EXTENSION postgres_fdw;
CREATE SERVER loopback FOREIGN DATA WRAPPER postgres_fdw
	OPTIONS (host :'host', port :'PORT', dbname :'DBNAME');
CREATE USER MAPPING FOR CURRENT_USER SERVER loopback OPTIONS (user :'USER');
CREATE FOREIGN TABLE remote (id int NOT NULL, name text) SERVER loopback
	OPTIONS (schema_name 'regress_lfsync', table_name 'base');
\else
CREATE VIEW remote AS SELECT * FROM base;
\endif
SELECT :counts FROM lfsync_export('remote', 'sources_remote.db', key_columns => '{id}', filter => 'name < ''p''');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_remote.db" "SELECT rowid, * FROM remote; SELECT sql FROM sqlite_schema WHERE name = 'remote'"

-- queries
SELECT tables FROM lfsync_export_query('SELECT id, name FROM base ORDER BY name', 'sources_query.db', 'by name');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query.db" "SELECT rowid, * FROM \"by name\""
:last_run;
SELECT :counts FROM lfsync_export_query('SELECT id, name FROM base ORDER BY name', 'sources_query.db', 'by name', '{id}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query.db" "SELECT rowid, * FROM \"by name\"; SELECT sql FROM sqlite_schema WHERE name = 'by name'"
SELECT :counts FROM lfsync_export_query('SELECT id, name FROM base ORDER BY name LIMIT 2; -- the end;', 'sources_query2.db', 't', '{id}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query2.db" "SELECT rowid, * FROM t"
SELECT :counts FROM lfsync_export_query('/* ; */ (((SELECT 2 AS a, NULL AS b))) UNION ALL SELECT 1, ''; --''
	;
	', 'sources_query2.db', 't', '{a}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query2.db" "SELECT rowid, * FROM t"
SELECT :counts FROM lfsync_export_query('VALUES (1, ''x''), (2, ''y'')', 'sources_query2.db', 't');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query2.db" "SELECT column1, column2 FROM t"
SELECT :counts FROM lfsync_export_query('TABLE base', 'sources_query2.db', 't', key_columns => '{name}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query2.db" "SELECT * FROM t ORDER BY id; SELECT sql FROM sqlite_schema WHERE name = 't'"
SELECT :counts FROM lfsync_export_query('WITH w AS (SELECT count(*) AS n, max(name) FROM base) SELECT *, true AS "Is it?" FROM w',
	'sources_query2.db', 't');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query2.db" "SELECT * FROM t; SELECT group_concat(name, '; ') FROM pragma_table_info('t')"
SELECT :counts FROM lfsync_export_query('SELECT generate_series(1, 3) AS n WHERE false', 'sources_query2.db', 't');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_query2.db" "SELECT count(*), typeof(max(n)) FROM t"
-- what a query finds by search_path, and only that
CREATE SCHEMA regress_lfsync_2;
CREATE TABLE regress_lfsync_2.base (other int);
SET search_path = regress_lfsync_2, regress_lfsync, public;
SELECT :counts FROM lfsync_export_query('SELECT * FROM base', 'sources_query2.db', 't');
SET search_path = regress_lfsync, public;

-- several tables at one snapshot, with the foreign keys between them
CREATE TABLE artist (id int PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE album (artist int REFERENCES artist ON DELETE CASCADE, title text, similar_to text,
	PRIMARY KEY (title, artist), CHECK (title <> ''));
CREATE TABLE track (id int PRIMARY KEY, title text NOT NULL, artist int, album text,
	artist_name text REFERENCES artist (name),
	next int REFERENCES track DEFERRABLE INITIALLY DEFERRED,
	elsewhere int REFERENCES base,
	FOREIGN KEY (album, artist) REFERENCES album (title, artist) MATCH FULL);
ALTER TABLE track ADD CONSTRAINT track_unchecked FOREIGN KEY (artist) REFERENCES artist NOT VALID;
INSERT INTO artist VALUES (1, 'Björk'), (2, 'Sigur Rós');
INSERT INTO album VALUES (1, 'Post'), (2, '( )'), (1, 'Homogenic');
INSERT INTO track VALUES (1, 'Army of Me', 1, 'Post', 'Björk', 2, NULL), (2, 'Hyperballad', 1, 'Post', NULL, NULL, 1),
	(3, 'Untitled', NULL, NULL, NULL, 3, NULL);
SELECT :counts, tables FROM lfsync_export_tables('{track,artist,album}', 'sources_tables.db', '{"check": "full"}');
:last_run;
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_tables.db" "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '!_lfsync%' ESCAPE '!'"
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_tables.db" "PRAGMA foreign_key_check; PRAGMA integrity_check; SELECT count(*) FROM track JOIN album ON album.artist = track.artist AND album.title = track.album"
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_tables.db" "PRAGMA foreign_keys = ON; DELETE FROM artist WHERE id = 2" 2>&1 | grep -c 'FOREIGN KEY constraint failed'
-- again, in place of the old, and beside another
SELECT :counts FROM lfsync_export_tables('{track,artist,album}', 'sources_tables.db', '{"check": "full"}');
SELECT :counts FROM lfsync_export('base', 'sources_tables.db');
SELECT :counts FROM lfsync_export_tables('{artist,track,album}', 'sources_tables.db', '{"check": "full"}');
:last_run;
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_tables.db" "SELECT f.* FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table' AND m.name IN ('artist', 'track', 'album') ORDER BY m.name, f.id, f.seq"
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_tables.db" "PRAGMA foreign_key_check; PRAGMA integrity_check; SELECT count(*) FROM track JOIN album ON album.artist = track.artist AND album.title = track.album"
-- a table alone leaves its keys to others behind, and keeps those to itself
SELECT :counts FROM lfsync_export('track', 'sources_track.db');
:last_run;
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_track.db" "SELECT sql FROM sqlite_schema WHERE name = 'track'"
SELECT :counts FROM lfsync_export('track', 'sources_track.db', table_name => 'songs');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_track.db" "SELECT sql FROM sqlite_schema WHERE name = 'songs'"
SELECT :counts FROM lfsync_export('track', 'sources_track3.db', filter => 'id = 1');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_track3.db" "SELECT count(*) FROM pragma_foreign_key_list('track')"
-- foreign keys of and to partitioned tables
CREATE TABLE parted_child (id int, parted_id int, parted_day date, PRIMARY KEY (id),
	FOREIGN KEY (parted_id, parted_day) REFERENCES parted) PARTITION BY HASH (id);
CREATE TABLE parted_child_1 PARTITION OF parted_child FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO parted_child VALUES (1, 1, '2024-01-31'), (2, NULL, NULL), (3, 2, '2030-01-01');
SELECT tables FROM lfsync_export_tables('{parted,parted_child}', 'sources_parted_fk.db', '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_parted_fk.db" "SELECT sql FROM sqlite_schema WHERE name = 'parted_child'"
-- and not to each of its partitions, where they are exported too
SELECT rows_read FROM lfsync_export_tables('{parted,parted_1,parted_2,parted_child,parted_child_1}', 'sources_parted_fk.db', '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_parted_fk.db" "SELECT m.name, f.\"table\", f.\"from\", f.\"to\" FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table' ORDER BY m.name, f.id, f.seq"
-- foreign keys go with the key they refer to
CREATE TABLE tree (id int PRIMARY KEY, code text NOT NULL, parent int REFERENCES tree, maybe int UNIQUE NULLS NOT DISTINCT);
ALTER TABLE tree ADD also int REFERENCES tree (maybe);
INSERT INTO tree VALUES (1, 'a', 1, 7, 7), (2, 'b', 1, 8, 7);
SELECT rows_read FROM lfsync_export('tree', 'sources_tree.db', options => '{"check": "full"}');
:last_run;
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_tree.db" "SELECT sql FROM sqlite_schema WHERE tbl_name = 'tree' AND sql IS NOT NULL"
SELECT rows_read FROM lfsync_export('tree', 'sources_tree.db', key_columns => '{code}', options => '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_tree.db" "SELECT sql FROM sqlite_schema WHERE tbl_name = 'tree' AND sql IS NOT NULL"
SELECT rows_read FROM lfsync_export('tree', 'sources_tree.db', key_columns => '{code}', options => '{"check": "full", "indexes": false}');
:last_run;
-- those of periods came with PostgreSQL 18, and are not carried
SELECT current_setting('server_version_num')::int >= 180000 AS have_periods \gset
\if :have_periods
CREATE TABLE room (id int4range, valid daterange, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
CREATE TABLE booking (id int4range, valid daterange, room int4range, PRIMARY KEY (id, valid WITHOUT OVERLAPS),
	FOREIGN KEY (room, PERIOD valid) REFERENCES room (id, PERIOD valid));
\else
CREATE TABLE room (id int4range, valid daterange, PRIMARY KEY (id, valid));
CREATE TABLE booking (id int4range, valid daterange, room int4range, PRIMARY KEY (id, valid));
\endif
INSERT INTO room VALUES ('[1,2)', '[2024-01-01,2025-01-01)');
INSERT INTO booking VALUES ('[1,2)', '[2024-02-01,2024-03-01)', '[1,2)');
SELECT rows_read FROM lfsync_export_tables('{room,booking}', 'sources_periods.db', '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_periods.db" "SELECT sql FROM sqlite_schema WHERE name = 'booking'"
-- tables of one name, and what is not there
SELECT :counts FROM lfsync_export_tables('{base,regress_lfsync_2.base}', 'sources_two.db');
\echo :SQLSTATE
SELECT :counts FROM lfsync_export_tables('{base,base}', 'sources_two.db');
CREATE TABLE "BASE" (x int);
SELECT :counts FROM lfsync_export_tables('{base,"BASE"}', 'sources_two.db');
SELECT :counts FROM lfsync_export_tables('{base,NULL}', 'sources_two.db');
\echo :SQLSTATE
SELECT :counts FROM lfsync_export_tables('{base,1}', 'sources_two.db');
\echo :SQLSTATE
SELECT :counts FROM lfsync_export_tables('{}', 'sources_two.db');
\echo :SQLSTATE
SELECT :counts FROM lfsync_export_tables(ARRAY[['base','artist'],['album','named']]::regclass[], 'sources_two.db');
-- every catalog of PostgreSQL has its odd types; but the key of pg_aggregate is
-- a regproc, whose text is not unique
SELECT r.rows_read > 10000 AS rows_read, (SELECT count(*) FROM jsonb_object_keys(r.tables)) - cardinality(c.catalogs) AS missing
FROM (SELECT array_agg(oid::regclass) AS catalogs FROM pg_catalog.pg_class
	WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND relname <> 'pg_aggregate') c,
	lfsync_export_tables(c.catalogs, 'sources_catalogs.db', '{"check": "full"}') r;
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_catalogs.db" "SELECT typname, typlen FROM pg_type WHERE oid = 16; SELECT sql FROM sqlite_schema WHERE name = 'pg_enum'"
SELECT :counts FROM lfsync_export('pg_catalog.pg_aggregate', 'sources_aggregate.db');
\echo :SQLSTATE
SELECT rows_read > 0 AS rows_read FROM lfsync_export('pg_catalog.pg_settings', 'sources_settings.db', key_columns => '{name}');
SELECT rows_read > 0 AS rows_read FROM lfsync_export('information_schema.tables', 'sources_information.db');

-- generated and identity columns, defaults, dropped columns
CREATE TABLE columns (gone1 text, id int GENERATED BY DEFAULT AS IDENTITY, a int DEFAULT 7, gone2 int,
	doubled int GENERATED ALWAYS AS (a * 2) STORED, gone3 int);
INSERT INTO columns (a) VALUES (DEFAULT), (NULL), (1);
ALTER TABLE columns DROP COLUMN gone1, DROP COLUMN gone2, DROP COLUMN gone3;
ALTER TABLE columns ADD COLUMN late text NOT NULL DEFAULT 'was not there';
SELECT :counts FROM lfsync_export('columns', 'sources_columns.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_columns.db" "SELECT * FROM columns ORDER BY id; SELECT sql FROM sqlite_schema WHERE name = 'columns'"
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_columns.db" "SELECT column_name, ordinal FROM _lfsync_columns ORDER BY ordinal"
-- generated columns that are not stored came with PostgreSQL 18
SELECT current_setting('server_version_num')::int >= 180000 AS have_virtual \gset
\if :have_virtual
CREATE TABLE virtual (a int, doubled int GENERATED ALWAYS AS (a * 2) VIRTUAL);
\else
CREATE TABLE virtual (a int, doubled int GENERATED ALWAYS AS (a * 2) STORED);
\endif
INSERT INTO virtual VALUES (21);
SELECT :counts FROM lfsync_export('virtual', 'sources_virtual.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_virtual.db" "SELECT * FROM virtual"

-- names
CREATE TABLE "Größe ""x"" 'y' ;--" ("SELECT" int PRIMARY KEY, "naïve" text, "[b]" text, "a.b" text, " " text, "日本語" text, "x""y" text, "it's" text);
INSERT INTO "Größe ""x"" 'y' ;--" VALUES (1, 'a', 'b', 'c', 'd', 'e', 'f', 'g');
SELECT :counts, tables FROM lfsync_export('"Größe ""x"" ''y'' ;--"', 'sources_names.db');
:last_run;
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_names.db" "SELECT name FROM sqlite_schema WHERE name LIKE 'G%'; SELECT name FROM pragma_table_info((SELECT name FROM sqlite_schema WHERE name LIKE 'G%'))"
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_names.db" "SELECT * FROM \"Größe \"\"x\"\" 'y' ;--\""
SELECT :counts FROM lfsync_export('base', 'sources_names.db', table_name => 'BÄSE');
SELECT :counts FROM lfsync_export('"Größe ""x"" ''y'' ;--"', 'sources_names.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_names.db" "SELECT * FROM \"Größe \"\"x\"\" 'y' ;--\"; SELECT source FROM _lfsync_state ORDER BY 1"
-- SQLite's three names of a row's number, taken by columns
CREATE TABLE rowid_names (rowid text, _rowid_ int, oid text, id int PRIMARY KEY);
INSERT INTO rowid_names VALUES ('a', 7, 'b', 1);
CREATE TABLE rowid_names_2 (rowid text, _rowid_ int, oid text PRIMARY KEY);
INSERT INTO rowid_names_2 VALUES ('a', 7, 'b'), ('c', 6, 'a');
SELECT :counts FROM lfsync_export_tables('{rowid_names,rowid_names_2}', 'sources_rowid.db', '{"check": "full"}');
SELECT :counts FROM lfsync_export('base', 'sources_rowid.db');
SELECT :counts FROM lfsync_export_tables('{rowid_names,rowid_names_2}', 'sources_rowid.db', '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_rowid.db" "SELECT * FROM rowid_names; SELECT * FROM rowid_names_2 ORDER BY _rowid_"
-- ASCII letters are folded, others are not
CREATE TABLE letters ("é" int, "É" int, a int);
SELECT :counts FROM lfsync_export('letters', 'sources_letters.db');
CREATE TABLE folded (name int, "NAME" int);
SELECT :counts FROM lfsync_export('folded', 'sources_folded.db');
\echo :SQLSTATE
SELECT :counts FROM lfsync_export_query('SELECT name, "NAME" AS name_2 FROM folded', 'sources_folded.db', 'folded');

-- no column, one column, as many as there can be
CREATE TABLE none ();
INSERT INTO none DEFAULT VALUES;
SELECT :counts FROM lfsync_export('none', 'sources_none.db');
\echo :SQLSTATE
ALTER TABLE none ADD COLUMN one int;
SELECT :counts FROM lfsync_export('none', 'sources_none.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_none.db" "SELECT count(*), count(one) FROM none"
DO $$
BEGIN
	EXECUTE (SELECT 'CREATE TABLE broad (' || string_agg('c' || i || ' int', ', ') || ')' FROM generate_series(1, 1600) i);
	EXECUTE (SELECT 'INSERT INTO broad VALUES (' || string_agg(i::text, ', ') || ')' FROM generate_series(1, 1600) i);
END
$$;
SELECT :counts FROM lfsync_export('broad', 'sources_broad.db', options => '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_broad.db" "SELECT c1, c800, c1600 FROM broad; SELECT count(*) FROM pragma_table_info('broad')"
SELECT 'SELECT 0 AS c0' || string_agg(', ' || i || ' AS c' || i, '') AS query FROM generate_series(1, 1663) i \gset
SELECT :counts FROM lfsync_export_query(:'query', 'sources_broad2.db', 'broad');
\! sqlite3 "$LFSYNC_EXPORT_DIR/sources_broad2.db" "SELECT c0, c800, c1663 FROM broad; SELECT count(*) FROM pragma_table_info('broad')"

\if :have_fdw
SET client_min_messages = warning;
DROP EXTENSION postgres_fdw CASCADE;
\endif
SET client_min_messages = warning;
DROP SCHEMA regress_lfsync, regress_lfsync_2 CASCADE;
