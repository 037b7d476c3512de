--
-- lfsync_status: what it says of jobs that are run by hand; when jobs run by
-- themselves, and what a schedule may say.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;
CREATE TABLE t (id int PRIMARY KEY, a text);
INSERT INTO t SELECT i, 'a' || i FROM generate_series(1, 10) i;

-- never run, ok, failing, ok again but unreliable, disabled
SELECT lfsync_add_job('status one', 't', 'status_one.db') > 0 AS id;
SELECT lfsync_add_query_job('status two', 'SELECT 10 / (id - 5) AS x FROM t', 'status_two.db', 'x') > 0 AS id;
CREATE VIEW state AS
SELECT job, mode, enabled, last_status AS last, lag IS NOT NULL AS lag, runs_total AS runs, runs_succeeded AS ok, runs_failed AS bad,
	success_rate AS rate, avg_duration > '0' AS took, consecutive_failures AS in_a_row, next_run_at AS next, health,
	regexp_replace(message, 'at \d.*', 'at ...') AS message
FROM lfsync_status ORDER BY job;
TABLE state;
SELECT rows_read FROM lfsync_export('status one');
SELECT rows_read FROM lfsync_export('status two');
TABLE state;
UPDATE t SET id = 11 WHERE id = 5;
SELECT rows_read FROM lfsync_export('status two');
SELECT lfsync_alter_job('status one', enabled => false);
TABLE state;
-- a comparison says nothing of how a job's runs go
SELECT missing FROM lfsync_verify('status one');
SELECT job, runs_total, rows_written, bytes_written > 0 AS bytes FROM lfsync_status WHERE job LIKE 'status %' ORDER BY job;
-- what modes promise
SELECT lfsync_add_job('status full', 't', 'x.db', 'full') > 0 AND lfsync_add_job('status merge', 't', 'x.db', 'merge') > 0
	AND lfsync_add_job('status cursor', 't', 'x.db', cursor_columns => '{id}') > 0
	AND lfsync_add_job('status ignore', 't', 'x.db', options => '{"deletes": "ignore"}') > 0 AS ids;
SELECT job, mode, guarantee FROM lfsync_status ORDER BY job COLLATE "C";
SELECT lfsync_drop_job(name) FROM lfsync_jobs WHERE name ~ '^status (full|merge|cursor|ignore)';

-- others see their own; who watches sees all, and nothing of the data
CREATE ROLE regress_lfsync_status_other;
CREATE ROLE regress_lfsync_status_monitor IN ROLE pg_monitor;
UPDATE t SET id = 5 WHERE id = 11;
SELECT lfsync_export('status two');
SELECT job, message FROM lfsync_status WHERE health = 'failing';
SET ROLE regress_lfsync_status_other;
SELECT count(*) FROM lfsync_status;
SELECT count(*) > 1 AS sees_others FROM lfsync_runs;
SELECT * FROM lfsync_job_state;
SET ROLE regress_lfsync_status_monitor;
SELECT job, health, message, "position" FROM lfsync_status ORDER BY job;
SELECT count(*) > 1 AS sees_others FROM lfsync_runs;
RESET ROLE;

-- totals stay when runs go
DELETE FROM lfsync_runs;
SELECT job, runs_total, runs_failed FROM lfsync_status ORDER BY job;

-- nothing runs a schedule here
SELECT lfsync_add_job('status x', 't', 'status_x.db', schedule => '10 min');
\echo :SQLSTATE
SELECT lfsync_add_job('status x', 't', 'status_x.db', options => '{"attempts_at": ["20:00"]}');
SELECT lfsync_alter_job('status two', schedule => '10 min');
-- that is no matter while it is disabled
SELECT lfsync_alter_job('status one', schedule => '10 min');
SELECT lfsync_alter_job('status one', enabled => true);
-- where times of day are meant, they are the session's
SET timezone = 'Europe/Berlin';
SELECT lfsync_alter_job('status one', options => '{"attempts_at": ["20:00", "22:00", "08:00"]}', unset => '{schedule}');
SELECT options FROM lfsync_jobs WHERE name = 'status one';
SELECT lfsync_alter_job('status one', options => '{"attempts_at": ["20:00"], "timezone": "UTC"}');
SELECT options FROM lfsync_jobs WHERE name = 'status one';
SELECT lfsync_alter_job('status one', options => '{"backoff": 10, "max_attempts": 5}');
SELECT options FROM lfsync_jobs WHERE name = 'status one';

-- what makes no schedule
\set alter 'SELECT lfsync_alter_job(''status one'', schedule => '
:alter '0');
\echo :SQLSTATE
:alter '-1 day');
:alter '10 ms');
:alter '1000 years');
:alter '2 days', options => '{"attempts_at": ["20:00"]}');
:alter '1 day', options => '{"attempts_at": ["20:00", "21:00"]}');
\set alter 'SELECT lfsync_alter_job(''status one'', options => '
:alter '{"attempts_at": "20:00"}');
\echo :SQLSTATE
:alter '{"attempts_at": []}');
:alter '{"attempts_at": ["25:00"]}');
:alter '{"attempts_at": ["20:00", 8]}');
:alter '{"attempts_at": ["20:00", "08:00", "22:00"]}');
:alter '{"attempts_at": ["20:00", "20:00"]}');
:alter '{"timezone": "Mars/Olympus"}');
:alter '{"not_before": "soon"}');
:alter '{"not_before": "2030-01-01", "not_after": "2029-01-01"}');
:alter '{"not_before": "22:00", "not_after": "06:00:30"}');
:alter '{"not_after": ""}');
:alter '{"max_attempts": -1}');
:alter '{"backoff": "soon"}');
:alter '{"condition": "no_such_column = 1"}');
:alter '{"condition": "(SELECT"}');
:alter '{"condition": "(SELECT count(*) > 1 FROM t)"}');
:alter '{"on_event": "no_such_function"}');
CREATE FUNCTION heard(jsonb) RETURNS void LANGUAGE sql AS '';
:alter '{"on_event": "heard"}');
-- of a single run none of it can be said
\set VERBOSITY terse
SELECT lfsync_export('t', 'x.db', options => '{"condition": "true"}');
\set VERBOSITY default

-- in another cluster
UPDATE lfsync_jobs SET system_identifier = '1' WHERE name = 'status one';
SELECT job, enabled, health, message FROM lfsync_status WHERE job = 'status one';
-- a row that makes no sense is no trouble for the others
UPDATE lfsync_jobs SET options = '{"timezone": 1}' WHERE name = 'status one';
SELECT job, guarantee IS NULL AS unknown, health, message FROM lfsync_status ORDER BY job;
SELECT lfsync_drop_job('status one');
SELECT lfsync_drop_job('status two', drop_file => true);

DROP SCHEMA regress_lfsync CASCADE;
DROP ROLE regress_lfsync_status_other, regress_lfsync_status_monitor;
\! rm "$LFSYNC_EXPORT_DIR/status_one.db"
