--
-- A run is no part of the caller's transaction: it sees what is committed, and
-- what it has written stays.  What would be missing is refused.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\setenv LFSYNC_DATABASE :DBNAME
\! rm -f "$LFSYNC_EXPORT_DIR"/transactions*
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;
CREATE TABLE t (id int PRIMARY KEY, a text);
CREATE TABLE other (id int PRIMARY KEY, t_id int REFERENCES t);
INSERT INTO t VALUES (1, 'x');
CREATE VIEW v AS SELECT * FROM t;
CREATE VIEW v_join AS SELECT o.id, v.a FROM other o LEFT JOIN v ON v.id = o.t_id;
CREATE TABLE parted (id int) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES IN (2);
CREATE FUNCTION count_rows(source regclass) RETURNS bigint LANGUAGE sql
	AS $$SELECT rows_read FROM lfsync_export(source, 'transactions_function.db')$$;

-- a source that the caller has changed is refused, at once, whatever the change
BEGIN;
INSERT INTO t VALUES (2, 'y');
SELECT rows_read FROM lfsync_export('t', 'transactions.db');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
UPDATE t SET a = 'z' WHERE false;
SELECT rows_read FROM lfsync_export('t', 'transactions.db');
ROLLBACK;
BEGIN;
TRUNCATE other;
SELECT rows_read FROM lfsync_export('other', 'transactions.db');
ROLLBACK;
BEGIN;
ALTER TABLE t ADD COLUMN b int;
SELECT rows_read FROM lfsync_export('t', 'transactions.db');
ROLLBACK;
BEGIN;
CREATE INDEX ON t (a);
SELECT rows_read FROM lfsync_export('t', 'transactions.db');
ROLLBACK;
BEGIN;
LOCK TABLE t IN ACCESS EXCLUSIVE MODE;
SELECT rows_read FROM lfsync_export('t', 'transactions.db');
ROLLBACK;
BEGIN;
CREATE TABLE made AS SELECT 1 AS id;
SELECT rows_read FROM lfsync_export('made', 'transactions.db');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
CREATE VIEW made AS SELECT 1 AS id;
SELECT rows_read FROM lfsync_export('made', 'transactions.db');
ROLLBACK;
BEGIN;
CREATE MATERIALIZED VIEW made AS SELECT 1 AS id;
SELECT rows_read FROM lfsync_export('made', 'transactions.db');
ROLLBACK;
BEGIN;
INSERT INTO t VALUES (2, 'y');
SELECT rows_read FROM lfsync_export_tables('{other,t}', 'transactions.db');
ROLLBACK;
-- in one statement too
WITH changed AS (INSERT INTO t VALUES (2, 'y') RETURNING id)
SELECT rows_read FROM changed, lfsync_export('t', 'transactions.db');
\echo :SQLSTATE
\! LC_ALL=C ls -A "$LFSYNC_EXPORT_DIR" | grep transactions

-- what lies below a source is found by the run
BEGIN;
INSERT INTO t VALUES (2, 'y');
SELECT rows_read FROM lfsync_export('v', 'transactions.db');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
INSERT INTO t VALUES (2, 'y');
SELECT rows_read FROM lfsync_export('v_join', 'transactions.db');
ROLLBACK;
BEGIN;
INSERT INTO t VALUES (2, 'y');
SELECT rows_read FROM lfsync_export_query('SELECT count(*) AS n FROM v', 'transactions.db', 'n');
ROLLBACK;
BEGIN;
INSERT INTO t VALUES (2, 'y');
SELECT rows_read FROM lfsync_export('other', 'transactions.db', filter => 'EXISTS (SELECT FROM t WHERE t.id = t_id)');
ROLLBACK;
BEGIN;
INSERT INTO parted_2 VALUES (2);
SELECT rows_read FROM lfsync_export('parted', 'transactions.db');
ROLLBACK;
BEGIN;
INSERT INTO parted VALUES (2);
SELECT rows_read FROM lfsync_export('parted_1', 'transactions_1.db');
ROLLBACK;
BEGIN;
CREATE TABLE parted_3 PARTITION OF parted FOR VALUES IN (3);
SELECT rows_read FROM lfsync_export('parted', 'transactions.db');
ROLLBACK;
BEGIN;
ALTER TABLE parted DETACH PARTITION parted_2;
SELECT rows_read FROM lfsync_export('parted', 'transactions.db');
ROLLBACK;

-- what the caller has changed elsewhere does not matter, nor what it has read or locked
BEGIN;
INSERT INTO other VALUES (1, 1);
SELECT count(*) FROM t;
SELECT id FROM t FOR UPDATE;
SELECT rows_read FROM lfsync_export('t', 'transactions_t.db');
SELECT rows_read FROM lfsync_export('v', 'transactions_v.db');
ROLLBACK;
\! sqlite3 "$LFSYNC_EXPORT_DIR/transactions_t.db" "SELECT * FROM t"

-- savepoints: what is rolled back is no change, what is released is
BEGIN;
SAVEPOINT s;
INSERT INTO t VALUES (2, 'y');
ROLLBACK TO s;
SELECT rows_read FROM lfsync_export('t', 'transactions_t.db');
INSERT INTO t VALUES (3, 'y');
RELEASE s;
SAVEPOINT s;
SELECT rows_read FROM lfsync_export('t', 'transactions_t.db');
ROLLBACK TO s;
SELECT count(*) FROM t;
ROLLBACK;

-- a run that waits for its own caller would wait for ever
BEGIN;
SELECT pg_advisory_xact_lock(4711) IS NULL AS locked;
SELECT rows_read FROM lfsync_export_query('SELECT pg_advisory_xact_lock_shared(4711)::text AS x', 'transactions.db', 'x');
\echo :SQLSTATE
ROLLBACK;
BEGIN;
LOCK TABLE lfsync_runs IN SHARE MODE;
SELECT rows_read FROM lfsync_export('t', 'transactions.db');
\echo :SQLSTATE
ROLLBACK;

-- what the run sees is newer than the caller's snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM t;
\! psql -X -q -d "$LFSYNC_DATABASE" -c "INSERT INTO regress_lfsync.t VALUES (10, 'by another')"
SELECT count(*) FROM t;
SELECT rows_read FROM lfsync_export('t', 'transactions_t.db');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM t;
SELECT rows_read FROM lfsync_export('t', 'transactions_t.db');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
SELECT rows_read FROM lfsync_export('t', 'transactions_t.db');
COMMIT;
BEGIN READ ONLY;
SELECT rows_read FROM lfsync_export('t', 'transactions_t.db');
COMMIT;

-- the caller's rollback takes back neither the file nor the history
SELECT max(run_id) AS before FROM lfsync_runs \gset
BEGIN;
INSERT INTO other VALUES (7, 1);
SELECT rows_read FROM lfsync_export('t', 'transactions_rollback.db');
SELECT run_id - :before AS run, status FROM lfsync_runs WHERE run_id > :before;
ROLLBACK;
SELECT run_id - :before AS run, status, rows_read FROM lfsync_runs WHERE run_id > :before;
\! sqlite3 "$LFSYNC_EXPORT_DIR/transactions_rollback.db" "SELECT count(*) FROM t"
BEGIN;
SELECT rows_read FROM lfsync_export('t', 'transactions_rollback.db', key_columns => '{nope}');
SELECT 1;
ROLLBACK;
SELECT run_id - :before AS run, status, sqlstate FROM lfsync_runs WHERE run_id > :before ORDER BY 1;

-- DO, functions, exception blocks
DO $$
DECLARE
	n bigint;
BEGIN
	SELECT rows_read INTO n FROM lfsync_export('t', 'transactions_do.db');
	RAISE NOTICE '% rows', n;
	BEGIN
		PERFORM lfsync_export('t', 'transactions_do.db', key_columns => '{nope}');
	EXCEPTION WHEN undefined_column THEN
		RAISE NOTICE 'caught: %', SQLERRM;
	END;
	SELECT rows_read INTO n FROM lfsync_export('t', 'transactions_do.db', filter => 'id = 1');
	RAISE NOTICE '% row', n;
	BEGIN
		INSERT INTO t VALUES (2, 'y');
		PERFORM lfsync_export('t', 'transactions_do.db');
	EXCEPTION WHEN object_not_in_prerequisite_state THEN
		RAISE NOTICE 'caught: %', SQLERRM;
	END;
	SELECT rows_read INTO n FROM lfsync_export('t', 'transactions_do.db');
	RAISE NOTICE '% rows', n;
END
$$;
SELECT count_rows('t'), count_rows('v');
CREATE PROCEDURE fill_and_export() LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	INSERT INTO t VALUES (20, 'by a procedure');
	COMMIT;
	SELECT rows_read INTO n FROM lfsync_export('t', 'transactions_do.db');
	RAISE NOTICE '% rows', n;
END
$$;
CALL fill_and_export();
-- a trigger is inside the change
CREATE FUNCTION export_t() RETURNS trigger LANGUAGE plpgsql
	AS $$BEGIN PERFORM lfsync_export('t', 'transactions_trigger.db'); RETURN NULL; END$$;
CREATE TRIGGER t_changed AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION export_t();
CREATE TRIGGER other_changed AFTER INSERT ON other FOR EACH STATEMENT EXECUTE FUNCTION export_t();
\set SHOW_CONTEXT never
INSERT INTO t VALUES (30, 'trigger');
\echo :SQLSTATE
\set SHOW_CONTEXT errors
INSERT INTO other VALUES (30, 1);
\! sqlite3 "$LFSYNC_EXPORT_DIR/transactions_trigger.db" "SELECT count(*) FROM t"
DROP TRIGGER t_changed ON t;
DROP TRIGGER other_changed ON other;

-- prepared statements and cursors
PREPARE p (regclass, text, jsonb) AS SELECT rows_read FROM lfsync_export($1, $2, options => $3);
EXECUTE p ('t', 'transactions_p.db', '{}');
EXECUTE p ('v', 'transactions_p.db', '{"strict": true}');
DO $$BEGIN FOR i IN 1..6 LOOP PERFORM count_rows('t'); END LOOP; END$$;
SELECT count(*) FROM lfsync_runs WHERE file LIKE '%transactions\_function.db';
DEALLOCATE p;
BEGIN;
DECLARE c CURSOR FOR SELECT rows_read FROM lfsync_export('t', 'transactions_c.db') UNION ALL SELECT -1;
FETCH c;
FETCH c;
FETCH c;
ROLLBACK;

-- history may be a source too; it has its own row, still running
SELECT rows_read FROM lfsync_export('lfsync_runs', 'transactions_runs.db', filter => 'file LIKE ''%transactions\_runs.db''');
\! sqlite3 "$LFSYNC_EXPORT_DIR/transactions_runs.db" "SELECT status, source, finished_at IS NULL FROM lfsync_runs"

-- whatever happened, nothing is left running or lying around
SELECT count(*) FROM lfsync_progress;
SELECT count(*) FROM lfsync_runs WHERE status = 'running' OR finished_at IS NULL;
SELECT name FROM pg_ls_dir(:'dir') AS name WHERE name LIKE '.%' OR name LIKE '%-journal' OR name LIKE '%-wal';

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync CASCADE;
