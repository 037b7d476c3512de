# What the history says is what became of the file, whatever becomes of the
# caller; and a file never holds what the caller has not committed.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(time);

my $t = Lfsync->new('history', conf => "lfsync.busy_timeout = '60s'\nmax_prepared_transactions = 2\nfsync = off\n");
my $node = $t->node;
$t->make_source;
$t->sql(<<'END');
CREATE VIEW over AS SELECT * FROM t;
CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
INSERT INTO parts VALUES (1, 'committed');
CREATE FUNCTION call_lfsync() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM lfsync_export('t', 'trigger.db');
	RETURN NULL;
END $$;
CREATE TABLE with_trigger (a int);
CREATE TRIGGER call_lfsync AFTER INSERT ON with_trigger FOR EACH STATEMENT EXECUTE FUNCTION call_lfsync();
END

sub runs
{
	return $t->sql('SELECT count(*) FROM lfsync_runs');
}

# The caller rolls back, and the run has been all the same.
foreach my $case (
	[ 'a transaction', q(BEGIN; SELECT lfsync_export('t', 'r.db'); ROLLBACK;) ],
	[ 'a savepoint', q(BEGIN; SAVEPOINT s; SELECT lfsync_export('t', 'r.db'); ROLLBACK TO s; COMMIT;) ],
	[ 'an exception block', <<'END' ],
DO $$
BEGIN
	PERFORM lfsync_export('t', 'r.db');
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
	NULL;
END $$;
END
	[ 'an error afterwards', q(\set ON_ERROR_STOP 0
SELECT rows_read, 1 / (rows_read - 1000) FROM lfsync_export('t', 'r.db');) ],
	[ 'a read-only transaction', q(BEGIN READ ONLY; SELECT lfsync_export('t', 'r.db'); ROLLBACK;) ],
	[ 'a serializable transaction', q(BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT lfsync_export('t', 'r.db'); ROLLBACK;) ],
	[ 'a prepared statement', q(PREPARE p AS SELECT lfsync_export($1::regclass, $2); EXECUTE p('t', 'r.db');) ],
	[ 'a trigger', q(BEGIN; INSERT INTO with_trigger VALUES (1); ROLLBACK;) ],)
{
	my ($name, $sql) = @$case;
	my $before = runs();

	unlink $t->path('r.db'), $t->path('trigger.db');
	$t->try($sql);
	is(runs() - $before, 1, "rolled back, $name: one run");
	is($t->history('status, rows_read, sqlstate IS NULL, finished_at >= started_at'), 'succeeded|1000|t|t', "rolled back, $name: history");
	is(sqlite($t->path($name eq 'a trigger' ? 'trigger.db' : 'r.db'), 'SELECT count(*) FROM t'), 1000, "rolled back, $name: file");
}
unlink $t->path('r.db'), $t->path('trigger.db');
is($t->sql('SELECT count(*) FROM with_trigger'), 0, 'they were rolled back');

# What the caller has changed and not committed is neither written nor missing:
# the run is refused.
foreach my $case (
	[ 'insert', q(INSERT INTO t VALUES (2000, 'phantom')), 't' ],
	[ 'delete', 'DELETE FROM t WHERE id = 1', 't' ],
	[ 'update, exporting a view', q(UPDATE t SET v = 'phantom' WHERE id = 1), 'over' ],
	[ 'insert into a partition', q(INSERT INTO part1 VALUES (2, 'phantom')), 'parts' ],
	[ 'savepoint', q(SAVEPOINT s; INSERT INTO t VALUES (2000, 'phantom')), 't' ],
	[ 'truncate', 'TRUNCATE t', 't' ],
	[ 'alter', 'ALTER TABLE t ADD COLUMN w int', 't' ],
	[ 'lock', 'LOCK TABLE t', 't' ],
	[ 'exception block', q(DO $$ BEGIN INSERT INTO t VALUES (2000, 'phantom'); EXCEPTION WHEN division_by_zero THEN NULL; END $$), 't' ],)
{
	my ($name, $change, $source) = @$case;

	$t->fails("BEGIN; $change; SELECT lfsync_export('$source', 'phantom.db');", '55000',
		qr/has been changed by the calling transaction.*HINT:  Commit first/s, "uncommitted changes, $name: refused");
}
$t->fails(q(BEGIN; CREATE TABLE fresh (a int); SELECT lfsync_export('fresh', 'phantom.db');), '55000',
	qr/has been changed by the calling transaction/, 'a table that is not committed: refused');
$t->fails(q(BEGIN; INSERT INTO t VALUES (2000, 'phantom'); SELECT lfsync_export_query('SELECT * FROM t', 'phantom.db', 'q');),
	'55000', qr/has been changed by the calling transaction/, 'a query over what is not committed: refused');

# A run that waits for its own caller.
my $since = time;
$t->fails('BEGIN; LOCK TABLE lfsync_runs; SELECT lfsync_export(\'t\', \'phantom.db\');', '55000',
	qr/the run waits for a lock of the calling transaction/, 'a lock that the run needs: refused');
cmp_ok(time - $since, '<', $soon, 'and soon');

# A transaction that was prepared has neither committed nor gone.
$t->sql(q(BEGIN; INSERT INTO t VALUES (2000, 'phantom'); PREPARE TRANSACTION 'p'));
is($t->sql(q(SELECT rows_read FROM lfsync_export('t', 'prepared.db'))), 1000, 'a prepared transaction is not seen');
$t->sql(q(ROLLBACK PREPARED 'p'));
unlink $t->path('prepared.db');
$t->clean('afterwards');

# The file has been published, and then the run is stopped while it waits to
# write its end: no cancel makes a failure of it.
sub stopped_late
{
	my ($name, $stop, $told) = @_;

	subtest "stopped after it has published: $name" => sub {
		my $gate = $t->close_gate;
		my $locker = $t->session;
		my $caller = $t->session;

		$caller->send(q(SELECT rows_read FROM lfsync_export('gated', 'late.db', 't');));
		$t->wait_at_gate;
		my $run = $t->progress;
		$locker->query('BEGIN; LOCK TABLE lfsync_runs IN SHARE MODE;');
		$gate->open_gate;
		poll('the file', sub { return -e $t->path('late.db') });
		$t->wait_sql(q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 'lfsync_runs'::regclass AND NOT granted));
		$stop->($caller, $run);
		$locker->query('COMMIT;');
		$caller->wait;
		like($caller->output . $caller->error, $told, 'the caller');
		$t->wait_sql("SELECT status <> 'running' FROM lfsync_runs WHERE run_id = $run->{run_id}");
		is($t->sql("SELECT status, rows_read, sqlstate IS NULL FROM lfsync_runs WHERE run_id = $run->{run_id}"),
			'succeeded|1000|t', 'history');
		is(sqlite($t->path('late.db'), 'SELECT count(*) FROM t'), 1000, 'file');
		$t->clean('afterwards', 'late.db');
		unlink $t->path('late.db');
	};
	return;
}

# Each waits until the signal has had its effect: the runner asks anew for the
# lock, or the caller has its answer.
my $queued = q(SELECT max(waitstart) FROM pg_locks WHERE relation = 'lfsync_runs'::regclass AND NOT granted);

sub signal_runner
{
	my ($sql) = @_;
	my $before = $t->sql($queued);

	$t->sql($sql);
	poll('the next attempt', sub { my $now = $t->sql($queued); return $now ne '' && $now ne $before });
	return;
}

stopped_late('lfsync_cancel', sub { signal_runner("SELECT lfsync_cancel($_[1]{run_id})") }, qr/^1000$/);
stopped_late('pg_terminate_backend of the runner', sub { signal_runner("SELECT pg_terminate_backend($_[1]{pid})") }, qr/^1000$/);
stopped_late('pg_cancel_backend of the caller',
	sub { $t->sql("SELECT pg_cancel_backend($_[0]{backend})"); $_[0]->wait },
	qr/57014: canceling statement due to user request/);

# So with a run that has failed: it stays one.
$t->sql('CREATE VIEW failing AS SELECT id, v, CASE WHEN id = 500 THEN gate() / 0 END AS held FROM t');
foreach my $stop (qw(lfsync_cancel pg_terminate_backend))
{
	subtest "stopped after it has failed: $stop" => sub {
		my $gate = $t->close_gate;
		my $locker = $t->session;
		my $caller = $t->session;

		$caller->send(q(SELECT lfsync_export('failing', 'late.db');));
		$t->wait_at_gate;
		my $run = $t->progress;
		$locker->query('BEGIN; LOCK TABLE lfsync_runs IN SHARE MODE;');
		$gate->open_gate;
		$t->wait_sql(q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 'lfsync_runs'::regclass AND NOT granted));
		signal_runner("SELECT $stop(" . $run->{ $stop eq 'lfsync_cancel' ? 'run_id' : 'pid' } . ')');
		$locker->query('COMMIT;');
		$caller->wait;
		like($caller->error, qr/22012: division by zero/, 'the caller');
		is($t->sql("SELECT status, sqlstate, finished_at IS NOT NULL FROM lfsync_runs WHERE run_id = $run->{run_id}"),
			'failed|22012|t', 'history');
		$t->clean('afterwards');
	};
}

# The writer has published before it could hear of the cancel, and the runner
# gets both news at once.
subtest 'stopped while it publishes' => sub {
	$t->sql(q(SELECT lfsync_export('t', 'late.db'); INSERT INTO t VALUES (1001, 'new')));
	my $reader = sqlite_session($t->path('late.db'));
	my $caller = $t->session;

	$reader->query('BEGIN; SELECT count(*) FROM t;');
	$caller->send(q(SELECT rows_read FROM lfsync_export('t', 'late.db');));
	my $run = $t->wait_phase('publishing', sub { $_[0]{waiting_for} });
	kill 'STOP', $run->{pid};
	$reader->query('COMMIT;');
	poll('the new content', sub { return sqlite($t->path('late.db'), 'SELECT count(*) FROM t') eq '1001' });
	poll('the end of the work', sub { return !grep { /lfsync-/ } $t->files });
	$t->sql("SELECT pg_terminate_backend($run->{pid})");
	kill 'CONT', $run->{pid};
	$caller->wait;
	is($caller->output, 1001, 'the caller') or diag $caller->error;
	is($t->sql("SELECT status, rows_read, bytes_written > 0, sqlstate IS NULL FROM lfsync_runs WHERE run_id = $run->{run_id}"),
		'succeeded|1001|t|t', 'history');
	$reader->quit;
	$t->sql('DELETE FROM t WHERE id = 1001');
	$t->clean('afterwards', 'late.db');
};

$t->works('at the end');

done_testing();
