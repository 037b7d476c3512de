--
-- Listening histories to play with: creates and fills music_scrobble_records.
--
--   psql -v rows=200000 -f test/data/generate.sql
--
-- All made up, but shaped after real histories.  Few artists get most of the
-- plays and new ones keep turning up; albums are played in sequence; plays are
-- minutes apart, sessions hours or days.  And as odd as real ones: no columns
-- but the id are a key, rows repeat, early rows have no album, dates are lost to
-- 1970, titles look like numbers, text comes in every script and is not always
-- normalised.
--
-- Every value is computed from numbers of its row, so the same number of rows
-- is the same table, on every machine.
--
\set ON_ERROR_STOP on
\if :{?rows}
\else
  \set rows 200000
\endif
SET client_min_messages = warning;
SET work_mem = '512MB';
SET maintenance_work_mem = '512MB';
SET jit = off;
SET timezone = 'UTC';

-- A number in [0, 1), by the number of a thing and which of its numbers it is.
CREATE FUNCTION pg_temp.u(n bigint, which bigint) RETURNS float8
  LANGUAGE sql IMMUTABLE
  RETURN (hashint8extended(n, which) & 4503599627370495)::float8 / 4503599627370496::float8;

-- One of a list, by a number in [0, 1).
CREATE FUNCTION pg_temp.pick(list text[], u float8) RETURNS text
  LANGUAGE sql IMMUTABLE
  RETURN list[1 + floor(u * cardinality(list))::int];

\set syllables '{ka,lo,mi,ren,tar,vel,so,na,bri,dun,el,fa,gor,hes,i,jo,lin,mor,ne,os,pa,qui,ro,sha,ti,um,ve,wen,ya,zor,an,ber,cal,dra,eth,fin}'
\set firsts '{Anna,Ben,Clara,Dario,Edith,Frank,Greta,Hugo,Ida,Jonas,Kira,Leo,Mona,Nils,Olga,Pablo,Rosa,Sam,Tilda,Ugo,Vera,Will}'
\set adjectives '{Golden,Silent,Broken,Paper,Electric,Hollow,Distant,Velvet,Burning,Frozen,Lonely,Crooked,Bright,Second,Wild,Pale,Hidden,Northern,Restless,Quiet,Lost,Blue,Last,Slow,Tired,Endless,Ordinary,Crimson,Summer''s,Nobody''s}'
\set nouns '{Harbour,Lantern,River,Engine,Garden,Mirror,Winter,Signal,Station,Shadow,Orchard,Satellite,Thunder,Horizon,Window,Machine,Island,Feather,Avenue,Ghost,Motel,Cathedral,Compass,Daughter,Radio,Carousel,Meadow,Anchor,Planet,Sparrow,Ocean,Telephone,Fire,Heart,Night,Rain}'
\set openings '{Waiting for the,Don''t Wake the,Run to the,Under the,I Can''t Leave the,Beyond the,Song for the,We Were the,Back to the,Dancing on the,Goodbye\\, My,Letters from the,It''s Only a,Behind the,When the,Follow the}'
\set closings '{ (Live), (Live at the Old Mill), - Remastered 2009, (Acoustic),\\, Pt. 2, (Demo), [Bonus Track], (feat. Mona Velmor), - Single Version, (Reprise)}'
\set cyrillic '{Северный Ветер,Тихая Вода,Звёзды над Рекой,Последний Поезд,Белая Ночь,Мой Город,Осенний Блюз,Дорога Домой,Старые Часы,Жёлтый Дом}'
\set eastern '{夜の海,東京の雨,風の歌,月光列車,さよならの手紙,黄昏的城市,春天的故事,별이 빛나는 밤,바다의 노래,ひまわり}'
\set accented '{Élan Vital,Ágætis Vetur,Mañana Será,Für Immer Blau,Sjöräu,Señor Niño,Čekání na Déšť,Żółta Łódź,Crème Brûlée Trio,İstanbul''da Gece,Được Mùa,Ørsted & Åse}'
\set oddities '{2112,5.45,1979,1e5,0x1F,007,-1,"null",None,NaN,N/A,<Unknown>,[unknown],true,100%,''74-''75,"\\"Heroes\\"",C:\\\\Windows,Untitled,...,¿?,★,🔥🔥🔥,Good Morning ☀️ 🎷,👩‍🎤,"Zero​Width","Two  Spaces","tab\there","  padded  ",Suspensión,O’Clock,�,"Robert''); DROP TABLE songs;--"}'

BEGIN;

-- Artists, the most played ones first; those have more albums.
CREATE TEMP TABLE artist ON COMMIT DROP AS
SELECT artist, albums, sum(albums) OVER (ORDER BY artist) - albums AS albums_before,
       CASE
         WHEN artist > 50 AND script < 0.005 THEN pg_temp.pick(:'cyrillic', u1)
         WHEN artist > 50 AND script < 0.012 THEN pg_temp.pick(:'eastern', u1)
         WHEN artist > 50 AND script < 0.030 THEN pg_temp.pick(:'accented', u1)
         WHEN artist > 50 AND script < 0.036 THEN normalize(pg_temp.pick(:'accented', u1), NFD)
         WHEN artist > 50 AND script < 0.042 THEN pg_temp.pick(:'oddities', u1)
         WHEN style < 0.35 THEN coined
         WHEN style < 0.60 THEN pg_temp.pick(:'firsts', u1) || ' ' || coined
         WHEN style < 0.75 THEN 'The ' || coined || ' ' || pg_temp.pick(:'nouns', u1) || 's'
         WHEN style < 0.90 THEN pg_temp.pick(:'adjectives', u1) || ' ' || pg_temp.pick(:'nouns', u2) || ' ' || coined
         ELSE coined || ' & the ' || pg_temp.pick(:'adjectives', u1) || ' ' || pg_temp.pick(:'nouns', u2) || 's'
       END AS name
FROM (SELECT artist, pg_temp.u(artist, 1) AS script, pg_temp.u(artist, 2) AS style,
             pg_temp.u(artist, 3) AS u1, pg_temp.u(artist, 4) AS u2,
             1 + floor(pg_temp.u(artist, 5) * 16 / (1 + artist / (0.015 * artists)))::int AS albums,
             initcap(pg_temp.pick(:'syllables', pg_temp.u(artist, 6)) || pg_temp.pick(:'syllables', pg_temp.u(artist, 7))
                     || CASE WHEN pg_temp.u(artist, 8) < 0.6 THEN pg_temp.pick(:'syllables', pg_temp.u(artist, 9)) ELSE '' END) AS coined
      FROM (SELECT greatest(20, ceil(4 * :rows ^ 0.6)::int) AS artists) a,
           generate_series(1, artists) AS artist) s;

CREATE TEMP TABLE album ON COMMIT DROP AS
SELECT album, name, tracks, sum(tracks) OVER (ORDER BY album) - tracks AS tracks_before,
       CASE
         WHEN style < 0.30 THEN pg_temp.pick(:'adjectives', u1) || ' ' || pg_temp.pick(:'nouns', u2)
         WHEN style < 0.50 THEN pg_temp.pick(:'openings', u1) || ' ' || pg_temp.pick(:'nouns', u2)
         WHEN style < 0.55 THEN pg_temp.pick(:'nouns', u1) || 's, ' || pg_temp.pick(:'nouns', u2) || 's & '
                                || pg_temp.pick(:'adjectives', style * 20 - 10) || ' Songs (Deluxe Edition)'
         WHEN style < 0.605 THEN pg_temp.pick(:'accented', u1)
         WHEN style < 0.75 THEN name
         ELSE pg_temp.pick(:'nouns', u1) || 's'
       END AS title,
       CASE WHEN u1 < 0.9 THEN 'https://img.example.org/300x300/' || md5(album::text) || '.jpg' ELSE '' END AS image
FROM (SELECT albums_before + number AS album, name,
             8 + floor(pg_temp.u(albums_before + number, 11) * 7)::int AS tracks,
             pg_temp.u(albums_before + number, 12) AS style,
             pg_temp.u(albums_before + number, 13) AS u1,
             pg_temp.u(albums_before + number, 14) AS u2
      FROM artist, generate_series(0, albums - 1) AS number) s;

CREATE TEMP TABLE track ON COMMIT DROP AS
SELECT track, title, artist, album, image,
       CASE WHEN has_mbid < 0.76 THEN md5('track ' || track)::uuid::text ELSE '' END AS mbid,
       'https://www.last.fm/music/' || replace(artist, ' ', '+') || '/_/' || replace(title, ' ', '+') AS url
FROM (SELECT track, artist, album, image, has_mbid,
             CASE
               WHEN style < 0.006 THEN pg_temp.pick(:'oddities', u1)
               WHEN style < 0.014 THEN pg_temp.pick(:'accented', u1)
               WHEN style < 0.0145 THEN repeat(pg_temp.pick(:'openings', u1) || ' ' || pg_temp.pick(:'nouns', u2) || ' and ', 5) || 'Home'
               WHEN style < 0.20 THEN pg_temp.pick(:'nouns', u1)
               WHEN style < 0.50 THEN pg_temp.pick(:'adjectives', u1) || ' ' || pg_temp.pick(:'nouns', u2)
               WHEN style < 0.78 THEN pg_temp.pick(:'openings', u1) || ' ' || pg_temp.pick(:'nouns', u2)
               WHEN style < 0.80 THEN pg_temp.pick(:'nouns', u1) || ', ' || pg_temp.pick(:'nouns', u2)
               WHEN style < 0.90 THEN pg_temp.pick(:'nouns', u1) || ' of the ' || pg_temp.pick(:'adjectives', u2) || ' '
                                      || pg_temp.pick(:'nouns', style * 10 - 8)
               ELSE pg_temp.pick(:'adjectives', u1) || ' ' || pg_temp.pick(:'nouns', u2) || pg_temp.pick(:'closings', style * 10 - 9)
             END AS title
      FROM (SELECT tracks_before + number AS track, name AS artist, title AS album, image,
                   pg_temp.u(tracks_before + number, 21) AS style,
                   pg_temp.u(tracks_before + number, 22) AS u1,
                   pg_temp.u(tracks_before + number, 23) AS u2,
                   pg_temp.u(tracks_before + number, 24) AS has_mbid
            FROM album, generate_series(0, tracks - 1) AS number) n) s;

ANALYZE artist, album, track;

DROP TABLE IF EXISTS music_scrobble_records;
CREATE TABLE music_scrobble_records (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    artist text NOT NULL,
    album text,
    image text,
    mbid text,
    url text,
    date timestamptz NOT NULL
);
COMMENT ON TABLE music_scrobble_records IS 'What was listened to, and when';
COMMENT ON COLUMN music_scrobble_records.mbid IS 'MusicBrainz id of the recording, empty if unknown';

-- One listener fills 20 years with 400,000 plays; more rows are more listeners.
SELECT 1 + :rows / 400001 AS listeners, count(*) AS artists FROM artist \gset

INSERT INTO music_scrobble_records
WITH play AS (
    -- A run is what is played in a row from one album.  A copy is the play
    -- before it, sent twice.
    SELECT play, u < 0.06 AS starts_session, u < 0.30 AS starts_run, u > 0.997 AS is_copy
    FROM (SELECT play, pg_temp.u(play, 31) AS u FROM generate_series(1, :rows) AS play) s
), paced AS (
    SELECT *,
           CASE WHEN starts_session THEN 1800 - 19200 * ln(1 - pg_temp.u(play, 32))
                WHEN is_copy OR pg_temp.u(play, 33) < 0.008 THEN 0
                ELSE exp(5.5 + 0.7 * (pg_temp.u(play, 34) + pg_temp.u(play, 35) + pg_temp.u(play, 36) - 1.5))
           END::int AS gap
    FROM play
), timed AS (
    SELECT play,
           CASE WHEN is_copy THEN play - :listeners ELSE play END AS original,
           coalesce(max(play) FILTER (WHERE starts_run) OVER listener, play % :listeners) AS run,
           sum(gap) OVER listener AS second
    FROM paced
    WINDOW listener AS (PARTITION BY play % :listeners ORDER BY play)
), chosen AS (
    -- Artists by Zipf's law, with a flat head and a thin tail.
    SELECT *, 1 + floor(5 * (exp((1 - (1 - pg_temp.u(run, 41)) ^ 0.55) * ln(:artists / 5.0 + 1)) - 1))::int AS artist
    FROM timed
), placed AS (
    SELECT play, original, run, second,
           albums_before + floor(albums * pg_temp.u(run, 42) ^ 1.5)::int AS album
    FROM chosen JOIN artist USING (artist)
), found AS (
    -- Two in three runs begin with an album's first track.
    SELECT play, original, second,
           tracks_before + ((original - run) / :listeners
                            + floor(tracks * greatest(0, 3 * pg_temp.u(run, 43) - 2))::int) % tracks AS track
    FROM placed JOIN album USING (album)
)
SELECT row_number() OVER (ORDER BY second, play),
       title, artist,
       CASE WHEN pg_temp.u(original, 51) < 0.68 * (1 - 2.0 * original / :rows) THEN '' ELSE album END,
       image, mbid, url,
       CASE WHEN pg_temp.u(original, 52) < 0.005 THEN timestamptz 'epoch'
            ELSE timestamptz '2005-02-13 10:20:00Z' + second * interval '1 second' END
FROM found JOIN track USING (track);

CREATE INDEX music_scrobble_records_date_idx ON music_scrobble_records (date);
CREATE INDEX music_scrobble_records_artist_name_idx ON music_scrobble_records (artist, name);
COMMIT;

ANALYZE music_scrobble_records;
