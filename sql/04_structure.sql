--
-- Keys, NOT NULL, indexes, comments and names: what SQLite can express is
-- carried, what is left out is counted in the run's notes.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/structure*
\set last_notes 'SELECT count, note FROM (SELECT notes->>''structure_count'' AS count, jsonb_array_elements_text(notes->''structure'') AS note FROM lfsync_runs WHERE run_id = (SELECT max(run_id) FROM lfsync_runs)) s ORDER BY note COLLATE "C"'
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;

-- primary keys of one integer become the rowid; all others stay keys
CREATE DOMAIN number AS int;
CREATE TABLE key_int2 (x text, id smallint PRIMARY KEY);
CREATE TABLE key_int8 (id bigint PRIMARY KEY);
CREATE TABLE key_domain (id number PRIMARY KEY);
CREATE TABLE key_oid (id oid PRIMARY KEY);
CREATE TABLE key_bool (id boolean PRIMARY KEY);
CREATE TABLE key_numeric (id numeric(18,0) PRIMARY KEY);
CREATE TABLE key_numeric_19 (id numeric(19,0) PRIMARY KEY);
CREATE TABLE key_text (id text PRIMARY KEY, x int);
CREATE TABLE key_uuid (id uuid PRIMARY KEY);
CREATE TABLE key_time (id timestamptz PRIMARY KEY);
CREATE TABLE key_two (a int, b int, c int, PRIMARY KEY (c, a));
CREATE TABLE key_include (a int, b int, PRIMARY KEY (a) INCLUDE (b));
CREATE TABLE key_deferred (a text PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, b int UNIQUE DEFERRABLE);
CREATE TABLE key_none (a int, b int UNIQUE NOT NULL);
INSERT INTO key_int2 VALUES ('a', 32767), ('b', -32768), ('c', 0);
INSERT INTO key_int8 VALUES (9223372036854775807), (-9223372036854775808), (0);
INSERT INTO key_domain VALUES (2), (1);
INSERT INTO key_oid VALUES (4294967295), (1), (2147483648);
INSERT INTO key_bool VALUES (true), (false);
INSERT INTO key_numeric VALUES (999999999999999999), (-999999999999999999), (10), (9);
INSERT INTO key_numeric_19 VALUES (9999999999999999999), (10), (9);
INSERT INTO key_text VALUES ('b', 1), ('a', 2), ('', 3), ('A', 4);
INSERT INTO key_uuid VALUES ('ffffffff-ffff-ffff-ffff-ffffffffffff'), ('00000000-0000-0000-0000-000000000000');
INSERT INTO key_time VALUES ('2024-01-01 00:00:00.5+00'), ('1960-01-01 00:00:00+00');
INSERT INTO key_two VALUES (1, 1, 2), (2, 2, 1);
INSERT INTO key_include VALUES (2, 1), (1, 2);
INSERT INTO key_deferred VALUES ('x', 1), ('y', 2);
INSERT INTO key_none VALUES (2, 2), (1, 1);
SELECT rows_read FROM lfsync_export_tables('{key_int2,key_int8,key_domain,key_oid,key_bool,key_numeric,key_numeric_19,key_text,key_uuid,key_time,key_two,key_include,key_deferred,key_none}',
	'structure_keys.db', '{"check": "full"}');
:last_notes;
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_keys.db" "SELECT m.name, c.name, c.type, c.\"notnull\", c.pk FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.name LIKE 'key_%' AND m.type = 'table' ORDER BY m.name, c.cid"
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_keys.db" "SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name LIKE 'key%' ORDER BY 1"
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_keys.db" "SELECT x, id FROM key_int2; SELECT id FROM key_int8; SELECT id FROM key_oid; SELECT id FROM key_bool; SELECT id FROM key_numeric"
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_keys.db" "EXPLAIN QUERY PLAN SELECT * FROM key_two WHERE c = 1 AND a = 2" | grep -o 'USING .*'
-- the same in a file that holds others, where rows arrive as images
SELECT rows_read FROM lfsync_export('key_none', 'structure_place.db');
SELECT rows_read FROM lfsync_export_tables('{key_int2,key_int8,key_oid,key_bool,key_numeric,key_text,key_two}',
	'structure_place.db', '{"check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_place.db" "SELECT x, id FROM key_int2; SELECT id FROM key_int8; SELECT id FROM key_oid; SELECT id FROM key_bool; SELECT id FROM key_numeric; SELECT * FROM key_text ORDER BY x; SELECT * FROM key_two ORDER BY 1"
-- NaN is no key of an integer type
INSERT INTO key_numeric VALUES ('NaN');
SELECT rows_read FROM lfsync_export('key_numeric', 'structure_nan.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('key_numeric', 'structure_nan.db', options => '{"nan": "text"}');
\echo :SQLSTATE

-- NOT NULL, where the source guarantees it
CREATE TABLE not_null (a int NOT NULL, b text NOT NULL, c text, d real NOT NULL, e numeric NOT NULL, CHECK (c IS NOT NULL));
INSERT INTO not_null VALUES (1, '', 'x', 'NaN', 'NaN');
SELECT rows_read FROM lfsync_export('not_null', 'structure_not_null.db');
SELECT notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_not_null.db" "SELECT name, \"notnull\" FROM pragma_table_info('not_null'); SELECT quote(d), e FROM not_null"
-- with another option for NaN there is none to expect
UPDATE not_null SET d = 1;
SELECT rows_read FROM lfsync_export('not_null', 'structure_not_null.db', options => '{"nan": "error"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_not_null.db" "SELECT name, \"notnull\" FROM pragma_table_info('not_null')"
-- from PostgreSQL 18 on it may not be valid, which is as good as none
SELECT current_setting('server_version_num')::int >= 180000 AS have_not_valid \gset
CREATE TABLE not_valid (id int PRIMARY KEY, a int);
INSERT INTO not_valid VALUES (1, NULL);
\if :have_not_valid
ALTER TABLE not_valid ADD CONSTRAINT a_not_null NOT NULL a NOT VALID;
\endif
SELECT rows_read FROM lfsync_export('not_valid', 'structure_not_valid.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_not_valid.db" "SELECT name, \"notnull\" FROM pragma_table_info('not_valid'); SELECT id, quote(a) FROM not_valid"

-- indexes
CREATE TABLE indexed (id int PRIMARY KEY, a int, b text, c text UNIQUE, d int[], e point, f int);
INSERT INTO indexed SELECT i, i % 3, 'b' || i, 'c' || i, ARRAY[i], point(i, i), NULL FROM generate_series(1, 10) i;
CREATE INDEX indexed_plain ON indexed (b);
CREATE INDEX indexed_desc ON indexed (a DESC, b NULLS FIRST, c DESC NULLS LAST);
CREATE INDEX indexed_ops ON indexed (b text_pattern_ops, c COLLATE "C");
CREATE INDEX indexed_include ON indexed (b) INCLUDE (a);
CREATE UNIQUE INDEX indexed_unique ON indexed (b, a) INCLUDE (f);
CREATE UNIQUE INDEX indexed_unique_include ON indexed (b) INCLUDE (c);
CREATE UNIQUE INDEX indexed_nulls ON indexed (f, c) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX indexed_nulls_too ON indexed (f, b) NULLS DISTINCT;
CREATE INDEX indexed_expression ON indexed (lower(b));
CREATE INDEX indexed_some ON indexed (a, (f + 1));
CREATE UNIQUE INDEX indexed_partial ON indexed (a) WHERE id < 3;
CREATE INDEX indexed_gin ON indexed USING gin (d);
CREATE INDEX indexed_gist ON indexed USING gist (e);
CREATE INDEX indexed_hash ON indexed USING hash (b);
CREATE INDEX indexed_brin ON indexed USING brin (id);
CREATE INDEX "Índex ""x"" 'y'" ON indexed (f);
\set VERBOSITY sqlstate
CREATE UNIQUE INDEX CONCURRENTLY indexed_invalid ON indexed (a);
\set VERBOSITY default
SELECT rows_read FROM lfsync_export('indexed', 'structure_indexed.db', options => '{"check": "full"}');
:last_notes;
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_indexed.db" "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'indexed' ORDER BY name"
-- in a file that holds others uniqueness is the key's alone
SELECT rows_read FROM lfsync_export('key_none', 'structure_indexed2.db');
SELECT rows_read FROM lfsync_export('indexed', 'structure_indexed2.db', options => '{"check": "full"}');
:last_notes;
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_indexed2.db" "SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'indexed' AND sql LIKE '%UNIQUE%'"
-- an exclusion constraint is an index too
CREATE TABLE excluded (id int PRIMARY KEY, p box, EXCLUDE USING gist (p WITH &&));
SELECT rows_read FROM lfsync_export('excluded', 'structure_excluded.db');
:last_notes;
-- and a partitioned table has its own
CREATE TABLE parted (id int, day date, a int, UNIQUE (day, a)) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted DEFAULT;
CREATE INDEX parted_a ON parted (a);
CREATE INDEX parted_1_only ON parted_1 (id);
INSERT INTO parted VALUES (1, '2024-01-01', 1);
SELECT rows_read FROM lfsync_export('parted', 'structure_parted.db');
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_parted.db" "SELECT sql FROM sqlite_schema WHERE tbl_name = 'parted' AND type = 'index' ORDER BY name"

-- comments
COMMENT ON TABLE indexed IS 'Größe "x"
and a second line';
COMMENT ON COLUMN indexed.b IS 'it''s b';
COMMENT ON COLUMN indexed.d IS '';
SELECT rows_read FROM lfsync_export('indexed', 'structure_comments.db', table_name => 'renamed');
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_comments.db" "SELECT ordinal, column_name, source_expression, source_type, sqlite_type, comment FROM _lfsync_columns WHERE table_name = 'renamed' ORDER BY ordinal"

-- names that SQLite or lfsync keep for themselves
CREATE TABLE sqlite_stat1 (id int PRIMARY KEY);
CREATE TABLE "SQLite_x" (id int);
CREATE TABLE _lfsync_state (id int);
CREATE TABLE sqlite (sqlite_a int PRIMARY KEY, _lfsync_b int);
CREATE INDEX sqlite_sequence ON sqlite (_lfsync_b);
CREATE INDEX "_lfsync_State" ON sqlite (_lfsync_b);
SELECT rows_read FROM lfsync_export('sqlite_stat1', 'structure_names.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('"SQLite_x"', 'structure_names.db');
SELECT rows_read FROM lfsync_export('_lfsync_state', 'structure_names.db');
SELECT rows_read FROM lfsync_export_tables('{sqlite,_lfsync_state}', 'structure_names.db');
SELECT rows_read FROM lfsync_export('sqlite', 'structure_names.db', table_name => '_LFSYNC_new_x');
SELECT rows_read FROM lfsync_export('sqlite', 'structure_names.db', table_name => '');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('sqlite', 'structure_names.db', table_name => repeat('n', 256));
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('_lfsync_state', 'structure_names.db', table_name => 'lfsync_state');
SELECT rows_read FROM lfsync_export('sqlite', 'structure_names.db');
:last_notes;
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_names.db" "SELECT name FROM sqlite_schema WHERE tbl_name IN ('sqlite', 'lfsync_state') ORDER BY 1"

-- tables and indexes share their names in SQLite
CREATE TABLE clash (id int PRIMARY KEY, a int);
CREATE TABLE clash_2 (id int PRIMARY KEY, a int);
CREATE SCHEMA regress_lfsync_2;
CREATE TABLE regress_lfsync_2.other (id int PRIMARY KEY, a int, b int);
CREATE INDEX "CLASH_A" ON regress_lfsync_2.other (a);
CREATE INDEX clash ON regress_lfsync_2.other (b);
CREATE INDEX clash_a ON clash (a);
SELECT rows_read FROM lfsync_export_tables('{clash,clash_2,regress_lfsync_2.other}', 'structure_clash.db', '{"check": "full"}');
:last_notes;
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_clash.db" "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' AND tbl_name NOT LIKE '!_lfsync%' ESCAPE '!' ORDER BY 1"
-- a table may not take an index's name either
SELECT rows_read FROM lfsync_export('clash_2', 'structure_clash.db', table_name => 'clash_a');
\echo :SQLSTATE
-- run after run the names stay what they are
SELECT rows_read FROM lfsync_export('clash', 'structure_clash2.db');
SELECT rows_read FROM lfsync_export('key_none', 'structure_clash2.db');
SELECT rows_read FROM lfsync_export('clash', 'structure_clash2.db');
:last_notes;
SELECT rows_read FROM lfsync_export('clash', 'structure_clash2.db');
:last_notes;
SELECT rows_read FROM lfsync_export('clash', 'structure_clash2.db');
:last_notes;
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_clash2.db" "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'clash' ORDER BY 1"

-- as strict as SQLite can be
SELECT rows_read FROM lfsync_export('indexed', 'structure_strict.db', options => '{"strict": true, "check": "full"}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_strict.db" "SELECT sql LIKE '%) STRICT' FROM sqlite_schema WHERE name = 'indexed'"
\! sqlite3 "$LFSYNC_EXPORT_DIR/structure_strict.db" "INSERT INTO indexed (id, a) VALUES (100, 'text')" 2>&1 | grep -o 'cannot store TEXT value in INTEGER column'

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync, regress_lfsync_2 CASCADE;
