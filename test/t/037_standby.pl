# On a standby an export works, has a negative id and leaves no row; it ends
# when recovery wants its snapshot; and the history begins with the promotion.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Cluster;
use Test::More;

my $t = Lfsync->new('primary', allows_streaming => 1, conf => "lfsync.busy_timeout = '60s'\nfsync = off\n");
my $primary = $t->node;
$t->make_source;
is($t->sql(q(SELECT run_id > 0 FROM lfsync_export('t', 'primary.db'))), 't', 'the primary has a positive id');

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = 0\nhot_standby_feedback = off\n");
$standby->start;
my $s = Lfsync->adopt($standby, $t->dir);
$s->baseline;

sub caught_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

# Rows of any age: committed ones that have been replayed.
$t->sql(q(INSERT INTO t VALUES (1001, 'new')));
caught_up();
is($s->sql(q(SELECT run_id, rows_read, rows_inserted FROM lfsync_export('t', 'standby.db'))), '-1|1001|1001', 'the first export');
is($s->sql(q(SELECT run_id, rows_read FROM lfsync_export('t', 'standby.db'))), '-2|1001', 'the second one');
is(sqlite($t->path('standby.db'), 'SELECT count(*), max(id) FROM t'), '1001|1001', 'its file');
is(sqlite($t->path('standby.db'), 'SELECT timeline FROM _lfsync_state'), 1, 'the timeline');
is(integrity($t->path('standby.db')), 'ok', 'integrity');
is($s->sql('SELECT count(*), min(run_id) > 0 FROM lfsync_runs'), '1|t', 'and no row');
$s->fails(q(SELECT lfsync_export_query('SELECT 1 / 0 AS a', 'no.db', 'q')), '22012', qr/division by zero/, 'an error is told');

subtest 'lfsync_cancel' => sub {
	my $gate = $s->close_gate;
	my $caller = $s->session;

	$caller->send(q(SELECT lfsync_export('gated', 'no.db');));
	$s->wait_at_gate;
	is($s->progress->{run_id}, -4, 'its id is seen');
	is($s->sql('SELECT lfsync_cancel(-4)'), 't', 'cancelled');
	cmp_ok($caller->wait, '<', $soon, 'ends soon');
	like($caller->error, qr/57014: the run was cancelled/, 'and is told');
	$gate->quit;
	$s->clean('afterwards', qw(primary.db standby.db));
};

# The replayed lock of a TRUNCATE takes precedence.
subtest 'conflict with recovery' => sub {
	my $gate = $s->close_gate;
	my $caller = $s->session;

	$caller->send(q(SELECT lfsync_export('gated', 'standby.db', 't');));
	$s->wait_at_gate;
	$t->sql(q(TRUNCATE t; INSERT INTO t SELECT i, 'after' FROM generate_series(1, 1000) i));
	$caller->wait;
	like($caller->error, qr/ERROR:  40001: .*due to conflict with recovery/, 'the run gives way');
	$gate->quit;
	caught_up();
	is(sqlite($t->path('standby.db'), 'SELECT count(*), max(id) FROM t'), '1001|1001', 'the old file stays');
	$s->clean('afterwards', qw(primary.db standby.db));
	is($s->sql(q(SELECT rows_read FROM lfsync_export('t', 'standby.db', 't'))), 1000, 'the next run works');
};

# The replayed DROP DATABASE ends every session of that database, without a
# word to the runner's error handling.
subtest 'its database is dropped' => sub {
	$t->sql('CREATE DATABASE doomed');
	$t->sql('CREATE EXTENSION lfsync', db => 'doomed');
	$t->make_source(db => 'doomed');
	caught_up();
	my $gate = $s->close_gate(db => 'doomed');
	my $caller = $s->session(db => 'doomed');

	$caller->send(q(SELECT lfsync_export('gated', 'standby.db', 't');));
	$s->wait_at_gate;
	$t->sql('DROP DATABASE doomed');
	$caller->wait;
	like($caller->error, qr/due to conflict with recovery/, 'the caller ends');
	caught_up();
	$gate->quit;
	is(sqlite($t->path('standby.db'), 'SELECT count(*) FROM t'), 1000, 'the old file stays');
	$s->clean('afterwards', qw(primary.db standby.db));
	is($s->sql(q(SELECT rows_read FROM lfsync_export('t', 'standby.db', 't'))), 1000, 'the next run works');
};

$standby->promote;
$s->wait_sql('SELECT NOT pg_is_in_recovery()');
is($s->sql(q(SELECT run_id > 0, rows_read FROM lfsync_export('t', 'standby.db', 't'))), 't|1000', 'after the promotion');
is($s->history('status, rows_read'), 'succeeded|1000', 'there is a history');
is(sqlite($t->path('standby.db'), 'SELECT timeline, count(*) FROM _lfsync_state'), '2|1', 'the timeline');
$s->clean('afterwards', qw(primary.db standby.db));

done_testing();
