/* src/lfsync--1.0--1.1.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION lfsync UPDATE TO '1.1'" to load this file. \quit

/*
 * Rows of a scheduled job may wait in memory before they are written.
 */
CREATE FUNCTION lfsync_flush_job(name text)
RETURNS void
AS 'MODULE_PATHNAME', 'lfsync_flush_job'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

COMMENT ON FUNCTION lfsync_flush_job(text)
    IS 'write what a run of a stored job holds in memory, and wait for its end';
REVOKE ALL ON FUNCTION lfsync_flush_job(text) FROM PUBLIC;

CREATE FUNCTION lfsync_flush_reason(pid integer)
RETURNS text
AS 'MODULE_PATHNAME', 'lfsync_flush_reason'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

COMMENT ON FUNCTION lfsync_flush_reason(integer)
    IS 'why a run writes what has waited in its memory, as the view lfsync_progress needs it';

/*
 * percent counts rows against the planner's estimate; it stays below 100
 * until the run is over, since an estimate may be wrong and the file still has
 * to be completed when the last row has been read.
 */
CREATE OR REPLACE VIEW lfsync_progress AS
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
       CASE WHEN p.run_id IS NOT NULL THEN lfsync_flush_reason(p.pid) END AS flush_reason,
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
