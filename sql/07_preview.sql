--
-- lfsync_preview(): what an export would make of a source, before it does.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/preview*
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;

CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN price AS numeric(10,2);
CREATE DOMAIN counter AS numeric(10,0);
CREATE TABLE typed (
	c_int2 smallint, c_int4 integer PRIMARY KEY, c_int8 bigint, c_oid oid, c_bool boolean,
	c_float4 real, c_float8 double precision,
	c_numeric numeric, c_numeric_10_2 numeric(10,2), c_numeric_18_0 numeric(18,0), c_numeric_19_0 numeric(19,0),
	c_numeric_3_m3 numeric(3,-3), c_text text, c_varchar varchar(10), c_char char(3), c_name name, c_internal "char", c_mood mood,
	c_bytea bytea, c_uuid uuid, c_date date, c_timestamp timestamp(3), c_timestamptz timestamptz, c_time time, c_timetz timetz,
	c_interval interval, c_json json, c_jsonb jsonb, c_array int[], c_pair pair, c_pairs pair[],
	c_positive positive, c_price price, c_counter counter, c_range tstzrange, c_inet inet, c_bit bit(4), c_money money,
	c_xml xml, c_tsvector tsvector, c_point point, c_regclass regclass);
SELECT target_column, source_type, sqlite_type, note FROM lfsync_preview('typed');
-- and so the file is declared
SELECT rows_read FROM lfsync_export('typed', 'preview.db');
CREATE TEMP TABLE declared (name text, type text);
\copy declared FROM PROGRAM 'sqlite3 -separator "|" "$LFSYNC_EXPORT_DIR/preview.db" "SELECT name, type FROM pragma_table_info(''typed'')"' (DELIMITER '|')
SELECT count(*), count(*) FILTER (WHERE p.sqlite_type = d.type) AS same
FROM lfsync_preview('typed') p FULL JOIN declared d ON d.name = p.target_column;

-- the options it depends on
SELECT target_column, sqlite_type, note FROM lfsync_preview('typed', options => '{"timestamps": "unix", "uuid": "blob", "numeric": "real", "nan": "text"}')
WHERE target_column ~ 'timestamp|uuid|numeric|float|price|counter';
SELECT target_column, sqlite_type, note FROM lfsync_preview('typed', options => '{"timestamps": "unix_us", "nan": "error"}')
WHERE target_column ~ 'timestamp|float|numeric';

-- all columns of the answer; names and expressions as PostgreSQL needs them
CREATE TABLE "Odd ""name""" ("Id" bigint PRIMARY KEY, "select" text, plain text, "größe" int, dropped int, last int);
ALTER TABLE "Odd ""name""" DROP COLUMN dropped;
SELECT * FROM lfsync_preview('"Odd ""name"""');

-- what is not carried, a row each without a column
CREATE TABLE indexed (a text PRIMARY KEY, b int);
CREATE INDEX indexed_lower ON indexed (lower(a));
CREATE INDEX indexed_hash ON indexed USING hash (b);
CREATE UNIQUE INDEX indexed_nulls ON indexed (b) NULLS NOT DISTINCT;
CREATE INDEX indexed_plain ON indexed (b);
SELECT * FROM lfsync_preview('indexed') ORDER BY target_column COLLATE "C", note COLLATE "C";
SELECT * FROM lfsync_preview('indexed', options => '{"indexes": false}') ORDER BY target_column COLLATE "C", note COLLATE "C";

-- any source
CREATE VIEW seen AS SELECT c_int4 AS id, c_text || 'x' AS text FROM typed;
SELECT * FROM lfsync_preview('seen');
CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
SELECT * FROM lfsync_preview('parted');
CREATE TEMP TABLE temporary (x int);

-- what an export would refuse, it refuses
CREATE TABLE none ();
SELECT * FROM lfsync_preview('none');
CREATE TABLE folded (a int, "A" int);
SELECT * FROM lfsync_preview('folded');
CREATE TABLE sqlite_x (a int);
SELECT * FROM lfsync_preview('sqlite_x');
SELECT * FROM lfsync_preview('temporary');
SELECT * FROM lfsync_preview('typed', options => '{"nan": "text", "strict": true}');

-- it reads no row, writes no file, and leaves no run
SELECT count(*) AS runs FROM lfsync_runs \gset
CREATE VIEW failing AS SELECT 1 / 0 AS x;
SELECT * FROM lfsync_preview('failing');
SELECT count(*) - :runs AS runs FROM lfsync_runs;
-- in a transaction that has changed the source, too
BEGIN;
ALTER TABLE indexed ADD COLUMN c uuid;
SELECT target_column, sqlite_type FROM lfsync_preview('indexed') WHERE target_column IS NOT NULL;
ROLLBACK;
BEGIN READ ONLY;
SELECT target_column, sqlite_type FROM lfsync_preview('indexed') WHERE target_column IS NOT NULL;
COMMIT;

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync CASCADE;
