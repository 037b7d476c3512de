--
-- A run can do what its owner can, no more.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS lfsync;
DROP ROLE IF EXISTS regress_lfsync_app, regress_lfsync_other, regress_lfsync_nologin, regress_lfsync_owner;
RESET client_min_messages;
SELECT current_setting('lfsync.export_directory') AS dir \gset
\setenv LFSYNC_EXPORT_DIR :dir
\! rm -f "$LFSYNC_EXPORT_DIR"/rights*
\set SHOW_CONTEXT never
CREATE SCHEMA regress_lfsync;
SET search_path = regress_lfsync, public;
CREATE ROLE regress_lfsync_owner LOGIN;
CREATE ROLE regress_lfsync_app LOGIN;
CREATE ROLE regress_lfsync_other LOGIN;
CREATE ROLE regress_lfsync_nologin;
GRANT USAGE ON SCHEMA regress_lfsync TO PUBLIC;
-- an error in parts, without the names of directory and database
CREATE FUNCTION refusal(query text) RETURNS TABLE (part text, text text) LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE query;
	RETURN QUERY VALUES ('accepted', '');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN QUERY SELECT c.part, regexp_replace(replace(c.text, current_database(), 'this'), '"/.*/', '".../')
		FROM (VALUES ('sqlstate', SQLSTATE), ('message', message), ('detail', detail), ('hint', hint)) c (part, text);
END
$$;
GRANT CREATE ON SCHEMA regress_lfsync TO regress_lfsync_owner, regress_lfsync_app;
SET ROLE regress_lfsync_owner;
CREATE TABLE t (id int PRIMARY KEY, public text, secret text);
INSERT INTO t VALUES (1, 'a', 's1'), (2, 'b', 's2');
RESET ROLE;

-- the function's right comes first
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('t', 'rights.db');
\echo :SQLSTATE
RESET ROLE;
GRANT EXECUTE ON FUNCTION lfsync_export(regclass, text, text, text, text[], text[], text, json, jsonb),
	lfsync_export_query(text, text, text, text[], jsonb),
	lfsync_export_tables(regclass[], text, jsonb), lfsync_cancel(bigint)
	TO regress_lfsync_app, regress_lfsync_other, regress_lfsync_nologin, regress_lfsync_owner;

-- then those on the tables, which are the owner's, not the caller's session's
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('t', 'rights.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export_tables('{t}', 'rights.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export_query('TABLE t', 'rights.db', 't');
\echo :SQLSTATE
RESET ROLE;
-- some columns are not the table
GRANT SELECT (id, public) ON t TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('t', 'rights.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export_query('SELECT id, public FROM t', 'rights.db', 't');
SELECT rows_read FROM lfsync_export_query('SELECT id, public FROM t WHERE secret = ''s1''', 'rights.db', 't');
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT ON t TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('t', 'rights.db');
RESET ROLE;
SELECT owner, owner_oid = 'regress_lfsync_app'::regrole AS owner_oid, status FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights.db" "SELECT owner FROM _lfsync_state"
-- what runs inside is the owner, whoever the session belongs to
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export_query('SELECT current_user::text AS u, session_user::text AS s, current_setting(''role'') AS r', 'rights_who.db', 't');
RESET ROLE;
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights_who.db" "SELECT * FROM t"
CREATE FUNCTION definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER
	AS $$SELECT rows_read FROM lfsync_export_query('SELECT current_user::text AS u', 'rights_definer.db', 't')$$;
ALTER FUNCTION definer() OWNER TO regress_lfsync_owner;
SET ROLE regress_lfsync_app;
SELECT definer();
RESET ROLE;
SELECT owner FROM lfsync_runs ORDER BY run_id DESC LIMIT 1;
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights_definer.db" "SELECT * FROM t"
-- a sequence is no way up: what the query calls is called as the owner
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export_query('SELECT rolpassword FROM pg_catalog.pg_authid', 'rights_who.db', 't');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export_query('SELECT pg_read_file(''PG_VERSION'') AS x', 'rights_who.db', 't');
\echo :SQLSTATE
RESET ROLE;

-- views run as PostgreSQL runs them
SET ROLE regress_lfsync_owner;
CREATE TABLE hidden AS SELECT i AS id FROM generate_series(1, 3) i;
CREATE VIEW as_owner AS SELECT id FROM hidden;
CREATE VIEW as_invoker WITH (security_invoker) AS SELECT id FROM hidden;
CREATE MATERIALIZED VIEW stored AS SELECT id FROM hidden;
GRANT SELECT ON as_owner, as_invoker, stored TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('as_owner', 'rights_view.db');
SELECT rows_read FROM lfsync_export('as_invoker', 'rights_view.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('stored', 'rights_stored.db');
RESET ROLE;
-- a partition's own rights do not matter under its parent
SET ROLE regress_lfsync_owner;
CREATE TABLE parted (id int) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
INSERT INTO parted VALUES (1);
GRANT SELECT ON parted TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('parted', 'rights_parted.db');
SELECT rows_read FROM lfsync_export('parted_1', 'rights_parted.db');
\echo :SQLSTATE
RESET ROLE;

-- row security: all rows, or by option those that the owner may see
SET ROLE regress_lfsync_owner;
CREATE TABLE rows (id int PRIMARY KEY, who text);
INSERT INTO rows VALUES (1, 'regress_lfsync_app'), (2, 'regress_lfsync_other'), (3, 'regress_lfsync_app'), (4, 'regress_lfsync_owner');
ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON rows USING (who = current_user);
GRANT SELECT ON rows TO regress_lfsync_app, regress_lfsync_other;
SELECT rows_read FROM lfsync_export('rows', 'rights_rows_owner.db');
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('rows', 'rights_rows.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export_tables('{t,rows}', 'rights_rows.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export_query('TABLE rows', 'rights_rows.db', 'rows');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('rows', 'rights_rows.db', options => '{"row_security": true}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights_rows.db" "SELECT * FROM rows"
SELECT rows_read FROM lfsync_export_query('TABLE rows', 'rights_rows.db', 'rows', options => '{"row_security": true}');
-- the setting of the session is not asked
SET row_security = on;
SELECT rows_read FROM lfsync_export('rows', 'rights_rows.db');
SET row_security = off;
SELECT rows_read FROM lfsync_export('rows', 'rights_rows.db', options => '{"row_security": true}');
RESET row_security;
SET ROLE regress_lfsync_owner;
ALTER TABLE rows FORCE ROW LEVEL SECURITY;
SELECT rows_read FROM lfsync_export('rows', 'rights_rows_owner.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('rows', 'rights_rows_owner.db', options => '{"row_security": true}');
-- through a view it is the view's owner who may see rows
CREATE VIEW rows_view AS SELECT * FROM rows;
CREATE VIEW rows_invoker WITH (security_invoker) AS SELECT * FROM rows;
GRANT SELECT ON rows_view, rows_invoker TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export('rows_view', 'rights_rows2.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('rows_invoker', 'rights_rows2.db');
\echo :SQLSTATE
SELECT rows_read FROM lfsync_export('rows_invoker', 'rights_rows2.db', options => '{"row_security": true}');
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights_rows2.db" "SELECT * FROM rows_invoker"
RESET ROLE;
SELECT rows_read FROM lfsync_export('rows', 'rights_rows_super.db', options => '{"row_security": true}');
ALTER ROLE regress_lfsync_other BYPASSRLS;
SET ROLE regress_lfsync_other;
SELECT rows_read FROM lfsync_export('rows', 'rights_rows_bypass.db');
RESET ROLE;
ALTER ROLE regress_lfsync_other NOBYPASSRLS;

-- a run is a connection of its owner
GRANT regress_lfsync_nologin TO regress_lfsync_app;
SET ROLE regress_lfsync_nologin;
SELECT rows_read FROM lfsync_export_query('SELECT 1 AS x', 'rights_login.db', 't');
\echo :SQLSTATE
RESET ROLE;
REVOKE CONNECT ON DATABASE :DBNAME FROM PUBLIC;
SET ROLE regress_lfsync_app;
SELECT * FROM refusal($$SELECT lfsync_export_query('SELECT 1 AS x', 'rights_connect.db', 't')$$);
RESET ROLE;
GRANT CONNECT ON DATABASE :DBNAME TO PUBLIC;
-- nothing that the role's or the database's settings say disturbs it
ALTER ROLE regress_lfsync_app SET default_transaction_read_only = on;
ALTER ROLE regress_lfsync_app SET default_transaction_isolation = 'serializable';
ALTER ROLE regress_lfsync_app SET default_transaction_deferrable = on;
ALTER ROLE regress_lfsync_app SET statement_timeout = '1ms';
ALTER ROLE regress_lfsync_app SET lock_timeout = '1ms';
ALTER ROLE regress_lfsync_app SET idle_in_transaction_session_timeout = '1ms';
ALTER ROLE regress_lfsync_app SET search_path = nowhere;
ALTER ROLE regress_lfsync_app SET role = regress_lfsync_nologin;
ALTER ROLE regress_lfsync_app SET row_security = off;
ALTER ROLE regress_lfsync_app SET session_preload_libraries = '';
ALTER ROLE regress_lfsync_app SET check_function_bodies = off;
ALTER ROLE regress_lfsync_app SET client_encoding = 'LATIN1';
ALTER ROLE regress_lfsync_app SET timezone = 'Asia/Kolkata';
SELECT current_setting('server_version_num')::int >= 170000 AS have_transaction_timeout \gset
\if :have_transaction_timeout
ALTER ROLE regress_lfsync_app SET transaction_timeout = '20ms';
\endif
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export_query('SELECT current_user::text AS u, ''ö'' AS o, timestamptz ''2024-01-01 00:00+00'' AS t, count(*) FROM t, pg_sleep(0.05)',
	'rights_settings.db', 't');
SELECT rows_read FROM lfsync_export('rows', 'rights_rows.db', options => '{"row_security": true}');
RESET ROLE;
ALTER ROLE regress_lfsync_app RESET ALL;
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights_settings.db" "SELECT * FROM t"

-- a file belongs to the role that made its tables
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export_query('SELECT 1 AS x', 'rights_file.db', 'app');
SET ROLE regress_lfsync_other;
SELECT * FROM refusal($$SELECT rows_read FROM lfsync_export_query('SELECT 2 AS x', 'rights_file.db', 'app')$$);
SELECT * FROM refusal($$SELECT rows_read FROM lfsync_export_query('SELECT 2 AS x', 'rights_file.db', 'other')$$);
RESET ROLE;
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights_file.db" "SELECT table_name, owner FROM _lfsync_state; SELECT x FROM app"
GRANT regress_lfsync_app TO regress_lfsync_other;
SET ROLE regress_lfsync_other;
SELECT rows_read FROM lfsync_export_query('SELECT 2 AS x', 'rights_file.db', 'other');
SELECT rows_read FROM lfsync_export_query('SELECT 3 AS x', 'rights_file.db', 'app');
RESET ROLE;
REVOKE regress_lfsync_app FROM regress_lfsync_other;
\! sqlite3 "$LFSYNC_EXPORT_DIR/rights_file.db" "SELECT table_name, owner FROM _lfsync_state ORDER BY 1; SELECT x FROM app"
SET ROLE regress_lfsync_app;
SELECT * FROM refusal($$SELECT rows_read FROM lfsync_export_query('SELECT 4 AS x', 'rights_file.db', 'app')$$);
RESET ROLE;
GRANT pg_write_server_files TO regress_lfsync_app;
SET ROLE regress_lfsync_app;
SELECT rows_read FROM lfsync_export_query('SELECT 4 AS x', 'rights_file.db', 'app');
-- who may name any path
SELECT rows_read FROM lfsync_export_query('SELECT 5 AS x', :'dir' || '/rights_absolute.db', 'app');
RESET ROLE;
REVOKE pg_write_server_files FROM regress_lfsync_app;
SET ROLE regress_lfsync_app;
\set VERBOSITY terse
SELECT rows_read FROM lfsync_export_query('SELECT 5 AS x', '/rights_absolute.db', 'app');
\echo :SQLSTATE
\set VERBOSITY default
RESET ROLE;

-- history: everybody sees their own runs, and those of roles they are members of
SELECT count(*) > 10 AS all_of_them FROM lfsync_runs WHERE owner LIKE 'regress_lfsync%';
SET ROLE regress_lfsync_app;
SELECT owner, count(*) > 10 AS many FROM lfsync_runs GROUP BY 1;
SET ROLE regress_lfsync_other;
SELECT owner, count(*) > 1 AS many FROM lfsync_runs GROUP BY 1;
UPDATE lfsync_runs SET status = 'succeeded';
\echo :SQLSTATE
DELETE FROM lfsync_runs;
\echo :SQLSTATE
RESET ROLE;
GRANT regress_lfsync_app TO regress_lfsync_other;
SET ROLE regress_lfsync_other;
SELECT owner FROM lfsync_runs GROUP BY 1 ORDER BY 1;
RESET ROLE;
REVOKE regress_lfsync_app FROM regress_lfsync_other;
GRANT pg_read_all_stats TO regress_lfsync_other;
SET ROLE regress_lfsync_other;
SELECT owner FROM lfsync_runs WHERE owner LIKE 'regress_lfsync%' GROUP BY 1 ORDER BY 1;
RESET ROLE;
REVOKE pg_read_all_stats FROM regress_lfsync_other;
-- a role that comes later under the same name sees nothing of it
REASSIGN OWNED BY regress_lfsync_app TO CURRENT_USER;
DROP OWNED BY regress_lfsync_app;
DROP ROLE regress_lfsync_app;
CREATE ROLE regress_lfsync_app LOGIN;
SET ROLE regress_lfsync_app;
SELECT count(*) FROM lfsync_runs;
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA regress_lfsync CASCADE;
REVOKE ALL ON FUNCTION lfsync_export(regclass, text, text, text, text[], text[], text, json, jsonb),
	lfsync_export_query(text, text, text, text[], jsonb),
	lfsync_export_tables(regclass[], text, jsonb), lfsync_cancel(bigint)
	FROM regress_lfsync_app, regress_lfsync_other, regress_lfsync_nologin, regress_lfsync_owner;
DROP ROLE regress_lfsync_app, regress_lfsync_other, regress_lfsync_nologin, regress_lfsync_owner;
