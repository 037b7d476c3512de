--
-- Runs that go on: what they ship, and what verify says of the file.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/sync_*
\set SHOW_CONTEXT never
CREATE SCHEMA regress_sync;
SET search_path = regress_sync, public;

CREATE TABLE scrobble (id bigint PRIMARY KEY, name text, played timestamptz);
INSERT INTO scrobble SELECT i, 'track ' || i % 7, timestamptz '2020-01-01' + i * interval '1 min' FROM generate_series(1, 1000) i;

CREATE FUNCTION shipped(job text) RETURNS text LANGUAGE sql AS
    $$SELECT format('%s read, %s inserted, %s updated, %s deleted', rows_read, rows_inserted, rows_updated, rows_deleted)
      FROM lfsync_export(job)$$;

SELECT lfsync_add_job('sync version', 'scrobble', 'sync_version.db') IS NOT NULL AS stored;
SELECT lfsync_add_job('sync cursor', 'scrobble', 'sync_cursor.db', cursor_columns => '{played,id}') IS NOT NULL AS stored;
SELECT lfsync_add_job('sync merge', 'scrobble', 'sync_merge.db', mode => 'merge') IS NOT NULL AS stored;
SELECT lfsync_add_job('sync filter', 'scrobble', 'sync_filter.db', filter => 'id % 2 = 0') IS NOT NULL AS stored;
SELECT lfsync_add_job('sync after', 'scrobble', 'sync_after.db', cursor_columns => '{id}',
                      options => '{"start_after": 900}') IS NOT NULL AS stored;
SELECT lfsync_add_query_job('sync query', 'SELECT name, count(*) AS plays FROM scrobble GROUP BY name',
                            'sync_query.db', 'plays', key_columns => '{name}') IS NOT NULL AS stored;
SELECT name, mode FROM lfsync_jobs WHERE name LIKE 'sync %' ORDER BY name;

-- the first run of each loads everything, the second nothing
SELECT name, shipped(name) FROM lfsync_jobs WHERE name LIKE 'sync %' ORDER BY name;
SELECT name, shipped(name) FROM lfsync_jobs WHERE name LIKE 'sync %' ORDER BY name;

-- new, changed, gone, moved; dated back
INSERT INTO scrobble SELECT i, 'new', timestamptz '2021-01-01' + i * interval '1 min' FROM generate_series(1001, 1010) i;
INSERT INTO scrobble VALUES (5000, 'dated back', '2019-01-01');
UPDATE scrobble SET name = 'changed' WHERE id IN (10, 11);
DELETE FROM scrobble WHERE id IN (20, 21, 22);
UPDATE scrobble SET id = 6000 WHERE id = 30;
SELECT name, shipped(name) FROM lfsync_jobs WHERE name LIKE 'sync %' ORDER BY name;

-- what a cursor does not see, verify does, and repair mends it
SELECT j.name, v.* FROM lfsync_jobs j, lfsync_verify(j.name) v WHERE j.name LIKE 'sync %' ORDER BY j.name;
SELECT * FROM lfsync_verify('sync cursor', repair => true);
SELECT * FROM lfsync_verify('sync cursor');
SELECT shipped('sync cursor');

-- the history says where a run began and where it left off
SELECT job, position_from IS NULL AS from_nothing, position_to::jsonb ? 'candidate' AS candidate,
       position_to::jsonb -> 'stable' AS stable
FROM lfsync_runs WHERE job = 'sync cursor' AND mode = 'incremental' ORDER BY run_id LIMIT 3;

-- rows without a cursor, and a window that is read again
INSERT INTO scrobble VALUES (7000, 'when?', NULL);
SELECT shipped('sync cursor');
SELECT notes -> 'run' AS notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
SELECT lfsync_alter_job('sync cursor', options => '{"lookback": "2 min"}');
SELECT shipped('sync cursor');

-- a column more at the source
ALTER TABLE scrobble ADD COLUMN loved boolean DEFAULT false;
SELECT shipped('sync version');
SELECT * FROM lfsync_verify('sync version');
SELECT lfsync_alter_job('sync merge', options => '{"on_schema_change": "error"}');
SELECT shipped('sync merge');
-- another type: not without a new beginning
ALTER TABLE scrobble ALTER COLUMN played TYPE double precision USING extract(epoch FROM played);
SELECT shipped('sync version');
SELECT lfsync_reset_job('sync version');
SELECT shipped('sync version');
SELECT * FROM lfsync_verify('sync version');

-- rows that are left alone, on demand
SELECT lfsync_alter_job('sync version', options => '{"deletes": "ignore"}');
SELECT shipped('sync version');
DELETE FROM scrobble WHERE id > 990;
SELECT shipped('sync version');
SELECT * FROM lfsync_verify('sync version');

-- what cannot be followed
SELECT lfsync_add_job('sync x', 'scrobble', 'sync_x.db', mode => 'incremental', filter => 'played < extract(epoch FROM now())');
SELECT lfsync_add_job('sync x', 'scrobble', 'sync_x.db', filter => 'played < extract(epoch FROM now())') IS NOT NULL AS stored;
SELECT mode FROM lfsync_jobs WHERE name = 'sync x';
SELECT lfsync_export('scrobble', 'sync_x.db', mode => 'incremental', filter => 'id IN (SELECT 1)');
SELECT lfsync_export('scrobble', 'sync_x.db', mode => 'merge', options => '{"lookback": true}');
SELECT lfsync_verify('no such job');
SELECT lfsync_verify(NULL);

SELECT lfsync_drop_job(name, drop_file => true) FROM lfsync_jobs WHERE name LIKE 'sync %' ORDER BY name;
DROP SCHEMA regress_sync CASCADE;
