/* src/lfsync--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION lfsync" to load this file. \quit

/*
 * Runs.  Start and end are written by the run itself, in transactions of its
 * own; nobody else writes here.
 */
CREATE TABLE lfsync_runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text,                       -- NULL: a one-off run
    owner name NOT NULL,            -- the role the run works as ...
    owner_oid oid NOT NULL,         -- ... told apart from a later one of that name
    mode text NOT NULL,
    source text NOT NULL,
    file text NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'cancelled', 'crashed')),
    attempt integer NOT NULL DEFAULT 1,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,        -- NULL only while it runs
    rows_read bigint,
    rows_inserted bigint,
    rows_updated bigint,
    rows_deleted bigint,
    rows_rejected bigint,
    bytes_written bigint,
    batches bigint,
    scan_time interval,             -- reading and converting
    write_time interval,            -- the writer at work
    wait_time interval,             -- the reader waiting for the writer
    sqlstate text,
    sqlite_code integer,            -- SQLite's extended result code
    message text,
    detail text,
    hint text,
    position_from text,
    position_to text,
    notes jsonb,                    -- every loss or oddity, counted
    job_id bigint                   -- tells a job from a later one of its name
);

CREATE INDEX lfsync_runs_running ON lfsync_runs (run_id) WHERE status = 'running';
CREATE INDEX lfsync_runs_job ON lfsync_runs (job_id, run_id);
CREATE INDEX lfsync_runs_finished ON lfsync_runs (finished_at);

COMMENT ON TABLE lfsync_runs IS 'runs of lfsync, live and past; everybody sees their own';

ALTER TABLE lfsync_runs ENABLE ROW LEVEL SECURITY;
/* messages name values and paths, so that who only watches has lfsync_status */
CREATE POLICY lfsync_runs_own ON lfsync_runs FOR SELECT
    USING (pg_catalog.pg_has_role(owner_oid, 'MEMBER')
           OR pg_catalog.pg_has_role('pg_read_all_stats', 'MEMBER'));
GRANT SELECT ON lfsync_runs TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('lfsync_runs', '');
SELECT pg_catalog.pg_extension_config_dump('lfsync_runs_run_id_seq', '');

/*
 * Jobs.  Written by the functions below, as the owner of the table; nobody else
 * writes here.  Runs name their job and do not refer to it: they stay when it
 * is dropped.
 */
CREATE TABLE lfsync_jobs (
    job_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    owner name NOT NULL,            -- the role its runs work as ...
    owner_oid oid NOT NULL,         -- ... told apart from a later one of that name
    source text,                    -- qualified and quoted, looked up at each run
    query text,
    file text NOT NULL,
    mode text NOT NULL,
    table_name text,                -- NULL: the source's name
    key_columns text[],             -- NULL: the primary key
    cursor_columns text[],
    filter text,
    mapping json,
    schedule interval,
    enabled boolean NOT NULL DEFAULT true,
    options jsonb NOT NULL DEFAULT '{}',
    search_path text NOT NULL,      -- for names in query, filter and mapping
    system_identifier text NOT NULL,    -- in another cluster the job is disabled
    reset boolean NOT NULL DEFAULT false,   -- the next run starts from nothing
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CHECK ((source IS NULL) <> (query IS NULL))
);

COMMENT ON TABLE lfsync_jobs IS 'stored jobs of lfsync; everybody sees their own';

CREATE FUNCTION lfsync_job_owner(owner name, owner_oid oid, system_identifier text)
RETURNS oid
AS 'MODULE_PATHNAME', 'lfsync_job_owner'
LANGUAGE C STRICT STABLE PARALLEL SAFE;

COMMENT ON FUNCTION lfsync_job_owner(name, oid, text)
    IS 'the role that a stored job belongs to in this cluster; NULL if there is none';

ALTER TABLE lfsync_jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY lfsync_jobs_own ON lfsync_jobs FOR SELECT
    USING (pg_catalog.pg_has_role(lfsync_job_owner(owner, owner_oid, system_identifier), 'MEMBER')
           OR pg_catalog.pg_has_role('pg_read_all_stats', 'MEMBER'));
GRANT SELECT ON lfsync_jobs TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('lfsync_jobs', '');
SELECT pg_catalog.pg_extension_config_dump('lfsync_jobs_job_id_seq', '');

/*
 * What has become of each job: its totals, which survive the retention of runs,
 * and where its schedule stands.  Written by runs and by the scheduler.
 */
CREATE TABLE lfsync_job_state (
    job_id bigint PRIMARY KEY,
    anchor timestamptz,             -- the first time of its schedule
    served timestamptz,             -- the last time that a start has served
    attempt integer NOT NULL,       -- tries since the last success
    attempt_at timestamptz,         -- the last one, written before it starts
    retry_after bigint NOT NULL,    -- microseconds from it to the next
    altered_at timestamptz,         -- which version of the job was tried
    open_try boolean NOT NULL,      -- it has not ended
    last_status text,
    last_run_id bigint NOT NULL,
    last_ended_at timestamptz,
    last_us bigint NOT NULL,
    last_sqlstate text,
    last_message text,
    success_at timestamptz,
    snapshot_at timestamptz,
    position text,
    runs_total bigint NOT NULL,
    runs_succeeded bigint NOT NULL,
    runs_failed bigint NOT NULL,
    rows_written bigint NOT NULL,
    bytes_written bigint NOT NULL,
    total_us bigint NOT NULL,
    consecutive_failures integer NOT NULL,
    recent_runs integer NOT NULL,
    recent_failures integer NOT NULL,   -- a bit for each
    health text,                    -- as last told
    health_since timestamptz
);

COMMENT ON TABLE lfsync_job_state IS 'internal: what lfsync_status is made of';

SELECT pg_catalog.pg_extension_config_dump('lfsync_job_state', '');

/*
 * Exports.  Each runs to its end before it returns, in processes of its own,
 * and returns one row.
 */

CREATE FUNCTION lfsync_export(
    source regclass,
    file text,
    table_name text DEFAULT NULL,
    mode text DEFAULT 'full',
    key_columns text[] DEFAULT NULL,
    cursor_columns text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    mapping json DEFAULT NULL,
    options jsonb DEFAULT '{}')
RETURNS TABLE (
    run_id bigint, job text, mode text, file text, rows_read bigint,
    rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
    bytes_written bigint, duration interval, tables jsonb)
AS 'MODULE_PATHNAME', 'lfsync_export'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;

COMMENT ON FUNCTION lfsync_export(regclass, text, text, text, text[], text[], text, json, jsonb)
    IS 'export a table, view or foreign table into a SQLite file';

CREATE FUNCTION lfsync_export_query(
    query text,
    file text,
    table_name text,
    key_columns text[] DEFAULT NULL,
    options jsonb DEFAULT '{}')
RETURNS TABLE (
    run_id bigint, job text, mode text, file text, rows_read bigint,
    rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
    bytes_written bigint, duration interval, tables jsonb)
AS 'MODULE_PATHNAME', 'lfsync_export_query'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;

COMMENT ON FUNCTION lfsync_export_query(text, text, text, text[], jsonb)
    IS 'export the result of a query into a SQLite file';

CREATE FUNCTION lfsync_export_tables(
    sources regclass[],
    file text,
    options jsonb DEFAULT '{}')
RETURNS TABLE (
    run_id bigint, job text, mode text, file text, rows_read bigint,
    rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
    bytes_written bigint, duration interval, tables jsonb)
AS 'MODULE_PATHNAME', 'lfsync_export_tables'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;

COMMENT ON FUNCTION lfsync_export_tables(regclass[], text, jsonb)
    IS 'export several tables at one snapshot, with their foreign keys, into a SQLite file';

CREATE FUNCTION lfsync_export(job text)
RETURNS TABLE (
    run_id bigint, job text, mode text, file text, rows_read bigint,
    rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
    bytes_written bigint, duration interval, tables jsonb)
AS 'MODULE_PATHNAME', 'lfsync_export_job'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;

COMMENT ON FUNCTION lfsync_export(text)
    IS 'run a stored job';

CREATE FUNCTION lfsync_export()
RETURNS TABLE (
    run_id bigint, job text, mode text, file text, rows_read bigint,
    rows_inserted bigint, rows_updated bigint, rows_deleted bigint,
    bytes_written bigint, duration interval, tables jsonb)
AS 'MODULE_PATHNAME', 'lfsync_export_all'
LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 10;

COMMENT ON FUNCTION lfsync_export()
    IS 'run all enabled jobs that the caller may run, by name';

CREATE FUNCTION lfsync_cancel(run_id bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'lfsync_cancel'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_cancel(bigint)
    IS 'tell a live run to stop; false if there is no such run';

/* Stored jobs */

CREATE FUNCTION lfsync_add_job(
    name text,
    source regclass,
    file text,
    mode text DEFAULT NULL,
    table_name text DEFAULT NULL,
    key_columns text[] DEFAULT NULL,
    cursor_columns text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    mapping json DEFAULT NULL,
    schedule interval DEFAULT NULL,
    enabled boolean DEFAULT true,
    options jsonb DEFAULT '{}')
RETURNS bigint
AS 'MODULE_PATHNAME', 'lfsync_add_job'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_add_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb)
    IS 'store a job that exports a table, view or foreign table';

CREATE FUNCTION lfsync_add_query_job(
    name text,
    query text,
    file text,
    table_name text,
    mode text DEFAULT NULL,
    key_columns text[] DEFAULT NULL,
    cursor_columns text[] DEFAULT NULL,
    mapping json DEFAULT NULL,
    schedule interval DEFAULT NULL,
    enabled boolean DEFAULT true,
    options jsonb DEFAULT '{}')
RETURNS bigint
AS 'MODULE_PATHNAME', 'lfsync_add_query_job'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_add_query_job(text, text, text, text, text, text[], text[], json, interval, boolean, jsonb)
    IS 'store a job that exports the result of a query';

CREATE FUNCTION lfsync_alter_job(
    name text,
    source regclass DEFAULT NULL,
    file text DEFAULT NULL,
    mode text DEFAULT NULL,
    table_name text DEFAULT NULL,
    key_columns text[] DEFAULT NULL,
    cursor_columns text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    mapping json DEFAULT NULL,
    schedule interval DEFAULT NULL,
    enabled boolean DEFAULT NULL,
    options jsonb DEFAULT NULL,
    unset text[] DEFAULT '{}',
    query text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'lfsync_alter_job'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_alter_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb, text[], text)
    IS 'change a stored job; NULL leaves a value as it is, unset puts it back to its default';

CREATE FUNCTION lfsync_drop_job(name text, drop_file boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'lfsync_drop_job'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_drop_job(text, boolean)
    IS 'forget a stored job, and remove its file if that is asked for';

CREATE FUNCTION lfsync_start_job(name text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'lfsync_start_job'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_start_job(text)
    IS 'start a stored job and return the id of its run at once';

CREATE FUNCTION lfsync_reset_job(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'lfsync_reset_job'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_reset_job(text)
    IS 'let the next run of a stored job start from nothing';

CREATE FUNCTION lfsync_verify(job text, repair boolean DEFAULT false)
RETURNS TABLE (
    table_name text, rows_source bigint, rows_target bigint,
    missing bigint, extra bigint, different bigint)
AS 'MODULE_PATHNAME', 'lfsync_verify'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_verify(text, boolean)
    IS 'compare a job''s tables with their source at one snapshot, and with repair mend them';

CREATE FUNCTION lfsync_preview(
    source regclass,
    mapping json DEFAULT NULL,
    options jsonb DEFAULT '{}')
RETURNS TABLE (
    target_table text, target_column text, source_expression text,
    source_type text, sqlite_type text, note text)
AS 'MODULE_PATHNAME', 'lfsync_preview'
LANGUAGE C STABLE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_preview(regclass, json, jsonb)
    IS 'what an export would make of a source, before it does';

CREATE FUNCTION lfsync_lastfm_mapping(source regclass DEFAULT NULL)
RETURNS json
AS 'MODULE_PATHNAME', 'lfsync_lastfm_mapping'
LANGUAGE C STABLE PARALLEL SAFE;

COMMENT ON FUNCTION lfsync_lastfm_mapping(regclass)
    IS 'a mapping of scrobbles to artists, albums, tracks and plays';

/*
 * For the queries of runs, which work as the run's owner: how a row version
 * compares with a snapshot, and how a value sorts in SQLite.  The first is
 * expensive by decree, so that every other condition is looked at before it.
 */

CREATE FUNCTION lfsync_row_version(xmin xid, from_xid bigint, until_xid bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'lfsync_row_version'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED COST 1000000;

COMMENT ON FUNCTION lfsync_row_version(xid, bigint, bigint)
    IS 'internal: is a row version in a window of transactions';

CREATE FUNCTION lfsync_stored(value anyelement)
RETURNS bytea
AS 'MODULE_PATHNAME', 'lfsync_stored'
LANGUAGE C STRICT STABLE PARALLEL RESTRICTED;

COMMENT ON FUNCTION lfsync_stored(anyelement)
    IS 'internal: a value''s bytes as the run under way stores them';

/* Watching */

CREATE FUNCTION lfsync_progress_rows(
    OUT run_id bigint, OUT job text, OUT datname text, OUT pid integer,
    OUT writer_pid integer, OUT mode text, OUT phase text, OUT source text,
    OUT file text, OUT table_name text, OUT rows_estimated bigint,
    OUT rows_read bigint, OUT rows_written bigint, OUT rows_rejected bigint,
    OUT bytes_written bigint, OUT batches_done bigint, OUT batch_rows bigint,
    OUT waiting_for text, OUT attempt integer, OUT memory_bytes bigint,
    OUT started_at timestamptz, OUT seen_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'lfsync_progress_rows'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION lfsync_progress_rows()
    IS 'live runs as the view lfsync_progress needs them';

/*
 * percent counts rows against the planner's estimate; it stays below 100
 * until the run is over, since an estimate may be wrong and the file still has
 * to be completed when the last row has been read.
 */
CREATE VIEW lfsync_progress AS
SELECT p.run_id, p.job, p.datname, p.pid, p.writer_pid, p.mode, p.phase,
       p.source, p.file, p.table_name, p.rows_estimated, p.rows_read,
       p.rows_written,
       CASE WHEN p.rows_read > p.rows_written THEN p.rows_read - p.rows_written
            WHEN p.rows_read IS NOT NULL THEN 0 END AS rows_pending,
       p.rows_rejected, p.bytes_written, p.batches_done, p.batch_rows,
       p.percent,
       CASE WHEN p.seconds > 0 THEN (p.rows_read / p.seconds)::bigint END AS rows_per_second,
       CASE WHEN p.phase = 'scanning' AND p.percent BETWEEN 1 AND 98
            THEN pg_catalog.make_interval(secs => pg_catalog.round((p.seconds * (100 - p.percent) / p.percent)::numeric, 1)::double precision)
       END AS eta,
       COALESCE(p.waiting_for,
                CASE WHEN a.wait_event_type = 'Lock'
                     THEN 'a lock (' || a.wait_event || ') held by process '
                          || pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(p.pid), ', ')
                END) AS waiting_for,
       p.attempt, p.memory_bytes,
       NULL::text AS flush_reason,
       p.started_at,
       '[' || pg_catalog.repeat('#', p.percent / 5) || pg_catalog.repeat('.', 20 - p.percent / 5) || '] '
           || pg_catalog.lpad(p.percent::text, 2) || ' %' AS bar
FROM (SELECT r.*,
             CASE WHEN r.phase IN ('completing', 'creating indexes', 'checking', 'publishing') THEN 99
                  WHEN r.rows_read IS NULL THEN NULL
                  ELSE LEAST(99, r.rows_read * 100 / GREATEST(r.rows_estimated, 1, r.rows_read))
             END::integer AS percent,
             EXTRACT(epoch FROM r.seen_at - r.started_at)::double precision AS seconds
      FROM lfsync_progress_rows() AS r) AS p
LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = p.pid;

COMMENT ON VIEW lfsync_progress IS 'live runs of lfsync; values for their owners and pg_read_all_stats';

GRANT SELECT ON lfsync_progress TO PUBLIC;

CREATE FUNCTION lfsync_status_rows(
    OUT job text, OUT owner text, OUT mode text, OUT guarantee text,
    OUT enabled boolean, OUT last_status text, OUT success_at timestamptz,
    OUT snapshot_at timestamptz, OUT runs_total bigint,
    OUT runs_succeeded bigint, OUT runs_failed bigint, OUT total_us bigint,
    OUT consecutive_failures integer, OUT "position" text,
    OUT next_run_at timestamptz, OUT health text, OUT message text,
    OUT rows_written bigint, OUT bytes_written bigint, OUT seen_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'lfsync_status_rows'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_status_rows()
    IS 'jobs as the view lfsync_status needs them';

CREATE VIEW lfsync_status AS
SELECT s.job, s.mode, s.guarantee, s.enabled, s.last_status,
       s.success_at AS last_success_at,
       s.seen_at - s.snapshot_at AS lag,
       s.runs_total, s.runs_succeeded, s.runs_failed,
       CASE WHEN s.runs_succeeded + s.runs_failed > 0
            THEN pg_catalog.round(100.0 * s.runs_succeeded / (s.runs_succeeded + s.runs_failed), 1)
       END AS success_rate,
       CASE WHEN s.runs_succeeded > 0
            THEN pg_catalog.make_interval(secs => pg_catalog.round(s.total_us / 1e6 / s.runs_succeeded, 3)::double precision)
       END AS avg_duration,
       s.consecutive_failures, s."position", s.next_run_at, s.health, s.message,
       s.rows_written, s.bytes_written, s.owner
FROM lfsync_status_rows() AS s;

COMMENT ON VIEW lfsync_status IS 'how it stands with every job; one''s own, and all for pg_monitor';

GRANT SELECT ON lfsync_status TO PUBLIC;

/* Files are the administrator's to give away: see the README for the GRANTs. */
REVOKE ALL ON FUNCTION lfsync_export(regclass, text, text, text, text[], text[], text, json, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_export_query(text, text, text, text[], jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_export_tables(regclass[], text, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_verify(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_cancel(bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_export(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_export() FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_add_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_add_query_job(text, text, text, text, text, text[], text[], json, interval, boolean, jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_alter_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb, text[], text) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_drop_job(text, boolean) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_start_job(text) FROM PUBLIC;
REVOKE ALL ON FUNCTION lfsync_reset_job(text) FROM PUBLIC;
