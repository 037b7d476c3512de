-- Sourced by test/bench/soak, behind test/data/generate.sql: the tables that its
-- jobs read, and what its clients take new rows from.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

-- A time as it stands in a file.
CREATE FUNCTION utc(timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT replace(to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), '.000000', '')
$$;

-- Every kind of change happens to these.  One mbid for each track: in mode
-- incremental a mapping keeps the value that came last, which is not to be told
-- from the rows.
UPDATE music_scrobble_records SET mbid = CASE WHEN hashtext(artist || name) % 4 = 0 THEN ''
	ELSE md5(artist || chr(9) || name)::uuid::text END;
CREATE TABLE pool AS
	SELECT row_number() OVER (ORDER BY id) AS n, name, artist, album, image, mbid, url FROM music_scrobble_records;
ALTER TABLE pool ADD PRIMARY KEY (n);
SELECT count(*) AS pool FROM pool \gset
-- so that there are artists that only come later
DELETE FROM music_scrobble_records WHERE id > 3 * :pool / 4;
CREATE SEQUENCE play_id;
SELECT setval('play_id', :pool);

-- Rows come, in the order of id and date, and stay as they are: a cursor sees
-- neither deletes nor changes.
CREATE TABLE events (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	-- not now(), which is taken before its transaction can be seen as open
	date timestamptz NOT NULL DEFAULT clock_timestamp(),
	kind text NOT NULL,
	payload jsonb
);
CREATE INDEX ON events (date, id);

-- Rows come and change, and say when.
CREATE TABLE notes (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	body text,
	changed timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON notes (changed);

-- Rows come late, by up to a minute, or have no date.
CREATE TABLE late (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	date timestamptz,
	v text
);
CREATE INDEX ON late (date);

-- Rows move between partitions.
CREATE TABLE measures (
	sensor int,
	id bigint GENERATED ALWAYS AS IDENTITY,
	value float8,
	note text,
	PRIMARY KEY (sensor, id)
) PARTITION BY RANGE (sensor);
CREATE TABLE measures_low PARTITION OF measures FOR VALUES FROM (0) TO (10);
CREATE TABLE measures_middle PARTITION OF measures FOR VALUES FROM (10) TO (20) PARTITION BY HASH (id);
CREATE TABLE measures_middle_0 PARTITION OF measures_middle FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE measures_middle_1 PARTITION OF measures_middle FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE measures_high PARTITION OF measures DEFAULT;
CREATE VIEW calm AS SELECT sensor, id, value FROM measures WHERE value < 50;

-- A column of every kind of type.
CREATE TYPE mood AS ENUM ('glad', 'sad', 'soso');
CREATE TABLE wide (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	s smallint, n bigint, whole numeric(12, 0), amount numeric(20, 5), r real, d float8, flag boolean,
	t text, c char(10), u uuid, b bytea, day date, at timestamp, tz timestamptz, j jsonb, a int[], m mood
);

CREATE FUNCTION put_wide(rows int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO wide (s, n, whole, amount, r, d, flag, t, c, u, b, day, at, tz, j, a, m)
	SELECT x * 60000 - 30000, (x - 0.5) * 1e18, x * 1e11, CASE WHEN x < 0.9 THEN (x * 1e9)::numeric(20, 5) END,
		x, CASE WHEN x < 0.01 THEN 'infinity' ELSE exp(x * 50) - 1 END, CASE WHEN x < 0.8 THEN x < 0.4 END,
		-- some are stored out of line
		CASE WHEN x < 0.1 THEN NULL WHEN x < 0.9 THEN E'a\tb\\c\n' || x ELSE (SELECT string_agg(md5(x || k::text), 'é') FROM generate_series(1, 200) k) END,
		left(md5(x::text), (x * 10)::int), md5(x::text)::uuid, decode(md5(x::text), 'hex'),
		'2000-01-01'::date + (x * 9000)::int, '2000-01-01'::timestamp + x * interval '20 years', clock_timestamp(),
		jsonb_build_object('x', x, 'list', ARRAY[1, NULL, 3]), CASE WHEN x < 0.7 THEN ARRAY[1, (x * 100)::int] END,
		(enum_range(NULL::mood))[1 + (x * 2)::int]
	FROM (SELECT random() AS x FROM generate_series(1, rows)) r
$$;

-- TRUNCATE and fill, again and again.
CREATE TABLE spare (id int PRIMARY KEY, v text);
CREATE FUNCTION put_spare() RETURNS void LANGUAGE sql AS $$
	TRUNCATE spare;
	INSERT INTO spare SELECT i, md5(random()::text) FROM generate_series(1, 100 + (random() * 900)::int) i;
$$;

CREATE VIEW tracks AS
	SELECT artist, name, count(*) AS plays, min(date) AS first, max(date) AS last
	FROM music_scrobble_records GROUP BY 1, 2;

INSERT INTO events (date, kind) SELECT clock_timestamp() - (20000 - i) * interval '1 s', 'old' FROM generate_series(1, 20000) i;
INSERT INTO notes (body, changed) SELECT 'note ' || i, clock_timestamp() - (5000 - i) * interval '1 s' FROM generate_series(1, 5000) i;
INSERT INTO late (date, v) SELECT clock_timestamp() - (5000 - i) * interval '1 s', 'old' FROM generate_series(1, 5000) i;
INSERT INTO measures (sensor, value) SELECT i % 30, i % 100 FROM generate_series(1, 10000) i;
SELECT put_wide(5000);
SELECT put_spare();
VACUUM ANALYZE;
