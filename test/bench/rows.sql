-- :rows scrobbles in key order, 10 columns, about 215 bytes a row in SQLite:
-- 20,000 tracks of 2,000 artists, of which few are played often.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET max_parallel_workers_per_gather = 0;

CREATE TEMP TABLE track AS
SELECT n,
       (ARRAY['Help', 'El Mañana', 'Suicide Nation', 'Paranoid Android', 'Ágætis byrjun'])[n % 5 + 1]
           || ' ' || left(md5('track' || n), 3 + n % 10) AS name,
       'The ' || left(md5('artist' || artist), 4 + artist % 9) AS artist,
       CASE WHEN album % 20 > 0
            THEN initcap(left(md5('album' || album), 8 + album % 15)) || ' LP' END AS album,
       'https://last.fm/' || left(md5('url' || n), 3 + n % 7) AS url,
       md5('artist' || artist)::uuid AS artist_mbid,
       CASE WHEN album % 20 > 0 THEN md5('album' || album)::uuid END AS album_mbid,
       md5('track' || n)::uuid AS track_mbid
FROM (SELECT n, n / 10 AS artist, n / 5 AS album FROM generate_series(0, 19999) n) s;
ALTER TABLE track ADD PRIMARY KEY (n);
ANALYZE track;

DROP TABLE IF EXISTS :table;
CREATE TABLE :table (
    id bigint NOT NULL,
    name text NOT NULL,
    artist text NOT NULL,
    album text,
    url text,
    artist_mbid uuid,
    album_mbid uuid,
    track_mbid uuid,
    loved boolean NOT NULL,
    date timestamptz NOT NULL
);

-- In slices, so that the sort into key order stays in memory.
SELECT format('INSERT INTO %I
               SELECT i, name, artist, album, url, artist_mbid, album_mbid, track_mbid, i %% 37 = 0,
                      timestamptz ''2005-02-13 10:20:00+00'' + i * interval ''31 s''
                          + hashint8(i) %% 15 * interval ''1 s''
               FROM generate_series(%s::bigint, %s) i
               JOIN track ON n = (20000 * power(abs(hashint8(i) / 2147483648.0), 3))::int %% 20000
               ORDER BY i',
              :'table', first, least(first + 99999, :rows))
FROM generate_series(1, :rows, 100000) first
\gexec

ALTER TABLE :table ADD PRIMARY KEY (id);
CREATE INDEX ON :table (date);
CREATE INDEX ON :table (artist, name);
VACUUM ANALYZE :table;
