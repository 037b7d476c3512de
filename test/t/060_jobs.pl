# Stored jobs: whose they are, what becomes of a run that nobody waits for, and
# a dump that is restored elsewhere.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $t = Lfsync->new('jobs', allows_streaming => 1, conf => "lfsync.busy_timeout = '60s'\nlfsync.max_runs = 2\nfsync = off\n");
my $node = $t->node;
my $functions = 'lfsync_export(text), lfsync_export(), lfsync_start_job(text), lfsync_drop_job(text, boolean), '
  . 'lfsync_add_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb), '
  . 'lfsync_alter_job(text, regclass, text, text, text, text[], text[], text, json, interval, boolean, jsonb, text[], text)';

$t->make_source;
$t->sql(<<'END');
CREATE ROLE app LOGIN;
CREATE ROLE member LOGIN IN ROLE app;
CREATE ROLE distant LOGIN NOINHERIT IN ROLE app;
CREATE ROLE other LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats;
GRANT SELECT ON t, gated TO app;
END
$t->sql("GRANT EXECUTE ON FUNCTION $functions TO app, distant, other, watcher");

sub as
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $t->try($sql, role => $role);

	return $rc == 0 ? $out : $err =~ s/^LOCATION:.*\n?//mr;
}

# Roles that log in as themselves.
as('app', q(SELECT lfsync_add_job('app''s', 't', 'app.db', 'full')));
$t->sql(q(SELECT lfsync_add_job('super', 't', 'super.db', 'full')));
is(as('app', 'SELECT name FROM lfsync_jobs'), q(app's), 'the owner sees its own jobs');
is(as('member', 'SELECT name FROM lfsync_jobs'), q(app's), 'and so do members');
is(as('other', 'SELECT name FROM lfsync_jobs'), '', 'others see none');
is(as('watcher', 'SELECT name FROM lfsync_jobs ORDER BY name'), "app's\nsuper", 'pg_read_all_stats sees all');
is(as('member', q(SELECT rows_read FROM lfsync_export('app''s'))), 1000, 'a member runs it');
is($t->history('owner, job, status'), q(app|app's|succeeded), 'as the owner');
is(sqlite($t->path('app.db'), 'SELECT owner, job FROM _lfsync_state'), q(app|app's), 'and so does the file say');
foreach my $role ('other', 'watcher', 'distant')
{
	like(as($role, q(SELECT lfsync_export('app''s'))), qr/42501: permission denied for job "app's".*HINT: /s, "$role may not run it");
	like(as($role, q(SELECT lfsync_drop_job('app''s', true))), qr/42501: permission denied for job/, "$role may not drop it");
}
is(as('distant', q(SET ROLE app; SELECT rows_read FROM lfsync_export('app''s'))), 1000, 'who becomes the owner may');
like(as('app', q(SELECT lfsync_export('super'))), qr/42501: permission denied for job "super"/, q(nobody runs a superuser's));
is(as('app', q(SELECT job FROM lfsync_export())), q(app's), 'all of them are those that one may run');
like(as('app', q(SELECT lfsync_export('t'))), qr/42704: job "t" does not exist.*HINT:  To export the relation.*lfsync_export\('t', 't\.db'\)/s,
	'the name of a table');

# What was so when the job was stored may have gone since.
$t->sql('REVOKE SELECT ON t FROM app');
like(as('app', q(SELECT lfsync_export('app''s'))), qr/42501: permission denied for table t/, 'a right that was revoked');
is($t->history('status, sqlstate'), 'failed|42501', 'is noticed by the run');
$t->sql('GRANT SELECT ON t TO app; ALTER ROLE app NOLOGIN');
like(as('member', q(SELECT lfsync_export('app''s'))), qr/28000: role "app" is not permitted to log in/, 'an owner that may not log in');
$t->sql('ALTER ROLE app LOGIN; ALTER TABLE t RENAME TO t_old; CREATE TABLE t (id int PRIMARY KEY, fresh text); GRANT SELECT ON t TO app');
is(as('app', q(SELECT rows_read FROM lfsync_export('app''s'))), 0, 'a table that was dropped and made again');
is(sqlite($t->path('app.db'), q(SELECT group_concat(name) FROM pragma_table_info('t'))), 'id,fresh', 'has its new columns');
$t->sql('DROP TABLE t; ALTER TABLE t_old RENAME TO t');
$t->sql('ALTER ROLE app RENAME TO renamed');
like(as('renamed', q(SELECT lfsync_export('app''s'))), qr/55000: role "app", the owner of job "app's", has been renamed.*HINT: /s, 'an owner that was renamed');
$t->sql('ALTER ROLE renamed RENAME TO app');
$t->sql(q(ALTER SYSTEM SET lfsync.export_directory = ''; SELECT pg_reload_conf()));
$t->wait_sql(q(SELECT current_setting('lfsync.export_directory') = ''));
like(as('app', q(SELECT lfsync_export('app''s'))), qr/55000: there is no directory for file "app.db"/, 'a directory that is none any more');
$t->sql('ALTER SYSTEM RESET lfsync.export_directory; SELECT pg_reload_conf()');
$t->wait_sql(q(SELECT current_setting('lfsync.export_directory') <> ''));
$t->sql(q(SELECT lfsync_drop_job('super')));
is(as('app', q(SELECT lfsync_drop_job('app''s', true))), '', 'the owner drops it');
$t->clean('afterwards');

# Nobody waits for it.
$t->sql(q(SELECT lfsync_add_job('gated', 'gated', 'gated.db', table_name => 't')));
subtest 'started' => sub {
	my $gate = $t->close_gate;
	my $caller = $t->session;
	my $since = time;
	my $run_id = $caller->query(q(SELECT lfsync_start_job('gated');));

	cmp_ok(time - $since, '<', $soon, 'returns at once');
	$t->wait_at_gate;
	my $run = $t->progress;
	is("$run->{run_id} $run->{job}", "$run_id gated", 'the run is under way');
	$caller->quit;
	$t->wait_sql("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $caller->{backend}");
	ok(alive($run->{pid}), 'the caller goes, the run stays');
	$gate->open_gate;
	$t->wait_sql("SELECT status = 'succeeded' FROM lfsync_runs WHERE run_id = $run_id");
	is(sqlite($t->path('gated.db'), 'SELECT count(*) FROM t'), 1000, 'and writes its file');
	$t->clean('afterwards', 'gated.db');
};

subtest 'started in a transaction that rolls back' => sub {
	my $run_id = $t->sql(q(BEGIN; SELECT lfsync_start_job('gated'); ROLLBACK;));

	$t->wait_sql("SELECT status = 'succeeded' FROM lfsync_runs WHERE run_id = $run_id");
	$t->clean('afterwards', 'gated.db');
};

subtest 'started and cancelled' => sub {
	my $gate = $t->close_gate;
	my $run_id = $t->sql(q(SELECT lfsync_start_job('gated')));

	$t->wait_at_gate;
	is($t->sql("SELECT lfsync_cancel($run_id)"), 't', 'cancelled');
	$t->wait_sql("SELECT status = 'cancelled' FROM lfsync_runs WHERE run_id = $run_id");
	$t->clean('afterwards', 'gated.db');
};

subtest 'started and failed' => sub {
	$t->sql(q(SELECT lfsync_add_query_job('division', 'SELECT 1 / (id - 500) AS x FROM t', 'division.db', 'x')));
	my $run_id = $t->sql(q(SELECT lfsync_start_job('division')));

	$t->wait_sql("SELECT status = 'failed' FROM lfsync_runs WHERE run_id = $run_id");
	is($t->history('job, sqlstate'), 'division|22012', 'history');
	$t->clean('afterwards', 'gated.db');
	$t->sql(q(SELECT lfsync_drop_job('division')));
};

subtest 'too many' => sub {
	my $gate = $t->close_gate;

	$t->sql(q(SELECT lfsync_start_job('gated')));
	$t->wait_at_gate;
	$t->sql(q(SELECT lfsync_add_job('second', 'gated', 'second.db')));
	$t->sql(q(SELECT lfsync_start_job('second')));
	$t->fails(q(SELECT lfsync_export('t', 'third.db')), '53300', qr/too many lfsync runs at once/, 'a third');
	$t->fails(q(SELECT lfsync_start_job('gated')), '55006', qr/the job is running already.*HINT: /s, 'the first one again');
	$gate->open_gate;
	$t->clean('afterwards', 'gated.db', 'second.db');
	$t->sql(q(SELECT lfsync_drop_job('second', true)));
};

# The run has no id yet, and the caller goes.
foreach my $how ('cancelled', 'terminated', 'killed')
{
	subtest "the caller is $how while the run starts" => sub {
		my $locker = $t->session;
		my $caller = $t->session;

		$locker->query('BEGIN; LOCK TABLE lfsync_runs IN SHARE MODE;');
		$caller->send(q(SELECT lfsync_start_job('gated');));
		$t->wait_sql(q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 'lfsync_runs'::regclass AND NOT granted));
		if ($how eq 'killed')
		{
			$caller->kill9;
		}
		else
		{
			$t->sql('SELECT pg_' . ($how eq 'cancelled' ? 'cancel' : 'terminate') . "_backend($caller->{backend})");
			$caller->wait;
			like($caller->error, qr/57014|57P01/, 'it is told');
		}
		poll('the end of the run', sub { return !$t->workers });
		$locker->query('COMMIT;');
		$t->clean('afterwards', 'gated.db');
	};
}

$t->fails(q(BEGIN; LOCK TABLE lfsync_runs; SELECT lfsync_start_job('gated');), '55000',
	qr/the run waits for a lock of the calling transaction/, 'a start that waits for its caller: refused');
$t->clean('afterwards', 'gated.db');

# All of them: failures do not stop the others, a cancelled run is a failure,
# a cancelled caller is the end.
$t->sql(q(SELECT lfsync_add_job('a', 't', 'a.db', 'full'), lfsync_add_job('z', 't', 'z.db', 'full')));
subtest 'one of many is cancelled' => sub {
	my $gate = $t->close_gate;
	my $caller = $t->session;

	$caller->send('SELECT job, rows_read FROM lfsync_export();');
	$t->wait_at_gate;
	my $run = $t->progress;
	$t->sql("SELECT lfsync_cancel($run->{run_id})");
	$caller->wait;
	like($caller->error, qr/57014: 1 of 3 jobs failed\nDETAIL:  Job "gated": the run was cancelled\nHINT:  The others have run/, 'the caller is told');
	is($t->sql(q(SELECT string_agg(concat_ws(' ', job, status), ', ' ORDER BY run_id) FROM (SELECT * FROM lfsync_runs ORDER BY run_id DESC LIMIT 3) r)),
		'a succeeded, gated cancelled, z succeeded', 'the others have run');
	$t->clean('afterwards', 'a.db', 'gated.db', 'z.db');
};

subtest 'the caller of many is cancelled' => sub {
	my $gate = $t->close_gate;
	my $caller = $t->session;

	$caller->send('SELECT job, rows_read FROM lfsync_export();');
	$t->wait_at_gate;
	$t->sql("SELECT pg_cancel_backend($caller->{backend})");
	$caller->wait;
	like($caller->error, qr/57014: canceling statement due to user request/, 'is told just that');
	$t->wait_sql(q(SELECT count(*) = 0 FROM lfsync_runs WHERE status = 'running'));
	is($t->history('job, status'), 'gated|cancelled', 'and no other starts');
	$t->clean('afterwards', 'a.db', 'gated.db', 'z.db');
};
unlink map { $t->path($_) } 'a.db', 'z.db';

# A file that is in use stays.
subtest 'dropped while its run writes' => sub {
	my $gate = $t->close_gate;

	$t->sql(q(SELECT lfsync_start_job('gated')));
	$t->wait_at_gate;
	$t->fails(q(SELECT lfsync_drop_job('gated', drop_file => true)), '55006', qr/is being written by a run.*DETAIL:  It is run \d+/s, 'refused');
	$gate->open_gate;
	$t->clean('afterwards', 'gated.db');
};
subtest 'dropped while somebody reads' => sub {
	my $reader = sqlite_session($t->path('gated.db'));

	$reader->query('SELECT count(*) FROM t;');
	$t->fails(q(SELECT lfsync_drop_job('gated', drop_file => true)), '55006', qr/file ".*gated\.db" is in use.*HINT: /s, 'refused');
	$reader->query('BEGIN EXCLUSIVE;');
	$t->fails(q(SET lfsync.busy_timeout = '100ms'; SELECT lfsync_drop_job('gated', drop_file => true)), '55P03', qr/SQLite failed/, 'and while somebody writes');
	$reader->quit;
	is($t->sql(q(SELECT count(*) FROM lfsync_jobs WHERE name = 'gated')), 1, 'the job stays, too');
	$t->sql(q(SELECT lfsync_drop_job('gated', drop_file => true)));
	$t->clean('afterwards');
};

# A standby runs what the primary has stored.
$t->sql(q(SELECT lfsync_alter_job('a', enabled => false), lfsync_alter_job('z', filter => 'id <= 10', options => '{"indexes": false}')));
subtest 'on a standby' => sub {
	$node->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->start;
	my $s = Lfsync->adopt($standby, $t->dir);
	$s->baseline;

	is($s->sql(q(SELECT run_id < 0, rows_read FROM lfsync_export('z'))), 't|10', 'a job runs');
	is($s->sql(q(SELECT lfsync_start_job('z') < 0)), 't', 'and is started');
	$s->clean('afterwards', 'z.db');
	$s->fails(q(SELECT lfsync_reset_job('z')), '25006', qr/read-only transaction/, 'and is not changed');
	$standby->stop;
	unlink $t->path('z.db');
};

# A dump, restored in another cluster where roles have other OIDs.
as('app', q(SELECT lfsync_add_job('app''s', 't', 'app.db', 'full', key_columns => '{id}', filter => 'id > 990')));
my $dump = $node->data_dir . '/../jobs.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dumped');
my $columns = 'name, owner, source, query, file, mode, table_name, key_columns, cursor_columns, filter, mapping, schedule, enabled, options, '
  . 'search_path, system_identifier, reset, created_at, updated_at, job_id';
my $stored = $t->sql("SELECT $columns FROM lfsync_jobs ORDER BY name");

my $u = Lfsync->new('other', conf => "fsync = off\n");
$u->sql('CREATE ROLE somebody; CREATE ROLE app LOGIN; CREATE ROLE member LOGIN IN ROLE app; CREATE ROLE distant; CREATE ROLE other LOGIN; CREATE ROLE watcher');
$u->sql('DROP EXTENSION lfsync');
$u->node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $u->node->connstr('postgres') ], 'restored');
is($u->sql("SELECT $columns FROM lfsync_jobs ORDER BY name"), $stored, 'all of it');
is($u->sql(q(SELECT string_agg(name, ',' ORDER BY name) FROM lfsync_jobs), db => 'postgres'), q(a,app's,z), 'the superuser sees all');
my (undef, $seen) = $u->try('SELECT name FROM lfsync_jobs', role => 'member');
is($seen, q(app's), 'members of the owner by name see theirs');
(undef, $seen) = $u->try('SELECT name FROM lfsync_jobs', role => 'other');
is($seen, '', 'whoever has the OID does not');
$u->fails(q(SELECT lfsync_export('z')), '55000', qr/job "z" was stored in another cluster.*HINT:  .*lfsync_alter_job\('z', enabled => true\)/s, 'it is disabled');
is($u->sql('SELECT count(*) FROM lfsync_export()'), 0, 'as are all');
$u->fails(q(SELECT lfsync_drop_job('z', true)), '55000', qr/was stored in another cluster/, 'and has no file to drop');
$u->sql('SELECT lfsync_alter_job(name, enabled => true) FROM lfsync_jobs');
is($u->sql('SELECT job, rows_read FROM lfsync_export() ORDER BY job'), "a|1000\napp's|10\nz|10", 'one statement enables them');
is($u->sql(q(SELECT owner_oid = 'app'::regrole FROM lfsync_jobs WHERE owner = 'app')), 't', 'for the role of that name');
is(sqlite($u->path('app.db'), 'SELECT count(*), (SELECT owner FROM _lfsync_state) FROM t'), '10|app', 'and they run as it');
is($u->sql(q(SELECT lfsync_add_job('new', 't', 'new.db', 'full') > max(job_id) FROM lfsync_jobs)), 't', 'the next id is a new one');
$u->clean('afterwards', 'a.db', 'app.db', 'z.db');

# An owner that does not exist there.
$u->sql(q(UPDATE lfsync_jobs SET system_identifier = '1', owner = 'nobody' WHERE name = 'new'));
$u->fails(q(SELECT lfsync_alter_job('new', enabled => true)), '42704', qr/role "nobody", the owner of job "new", does not exist.*HINT: /s,
	'an owner that is not there');
$u->sql(q(SELECT lfsync_drop_job('new')));

$t->works('at the end');

done_testing();
