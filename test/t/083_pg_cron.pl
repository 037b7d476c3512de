# Jobs that somebody else starts: pg_cron, psql from cron, and agents that call
# in a transaction block.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('pg_cron', conf => "fsync = off\ntimezone = 'UTC'\nmax_worker_processes = 16\n");
my $node = $t->node;
$t->make_source;
$t->sql(q(SELECT lfsync_add_job('scrobbles', 't', 'scrobbles.db'), lfsync_add_job('gated', 'gated', 'gated.db', 'full')));

#
# psql, as from cron; an agent that calls in a transaction block
#
my @psql = ('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'));
$node->command_like([ @psql, '-c', q(SELECT rows_read FROM lfsync_export('scrobbles')) ], qr/^1000$/, 'psql');
$t->sql(q(INSERT INTO t VALUES (1001, 'new')));
is($t->sql(q(BEGIN; SELECT rows_inserted FROM lfsync_export('scrobbles'); COMMIT;)), 1, 'in a transaction block');
is($t->sql(q(DO $$ BEGIN PERFORM lfsync_export('scrobbles'); END $$; SELECT last_status FROM lfsync_status WHERE job = 'scrobbles')), 'succeeded', 'in a DO block');
is($t->sql(q(BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t; SELECT lfsync_start_job('scrobbles') > 0; COMMIT;)), "1001\nt", 'started, with a snapshot');
poll('its end', sub { return !$t->workers });
is(sqlite($t->path('scrobbles.db'), 'SELECT count(*) FROM t'), 1001, 'the file');

subtest 'calls that overlap' => sub {
	my $gate = $t->close_gate;
	my $first = $t->session;

	$first->send(q(SELECT rows_read FROM lfsync_export('gated');));
	$t->wait_at_gate;
	my $run_id = $t->sql(q(SELECT run_id FROM lfsync_progress));
	foreach my $call ('lfsync_export', 'lfsync_start_job')
	{
		$t->fails("SELECT $call('gated')", '55006',
			qr/the job is running already.*DETAIL:  Its run $run_id is under way; see lfsync_progress\..*HINT:  Wait for its end, or stop it with lfsync_cancel\(\)/s, $call);
	}
	$t->fails(q(SELECT lfsync_export('t', 'gated.db', 't')), '55006', qr/is being written by another run.*$run_id/s, 'another run, the same file');
	$gate->open_gate;
	$first->wait;
	is($first->output, 1001, 'the first one is not disturbed');
	is($t->status('gated', 'runs_total, runs_failed'), '1|0', 'nor is what is said of it');
};

#
# pg_cron
#
SKIP:
{
	my $share = $node->config_data('--sharedir');

	skip 'pg_cron is not installed (Debian: postgresql-15-cron)', 5 if !-f "$share/extension/pg_cron.control";

	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'pg_cron,lfsync'\ncron.database_name = 'postgres'\ncron.host = '" . $node->host . "'\n");
	$node->restart;
	$t->sql('CREATE EXTENSION pg_cron');
	$t->sql(q(INSERT INTO t VALUES (1002, 'newer')));
	my $gate = $t->close_gate;

	# every minute is as often as this version goes
	$t->sql(q(SELECT cron.schedule('scrobbles', '* * * * *', $$SELECT lfsync_export('scrobbles')$$)));
	$t->sql(qq(SELECT cron.schedule('gated $_', '* * * * *', \$\$SELECT lfsync_export('gated')\$\$))) foreach 1, 2;
	poll('rows in the file', sub { return sqlite($t->path('scrobbles.db'), 'SELECT count(*) FROM t') eq '1002' }, 150);
	ok(1, 'rows arrive in the file');
	$t->wait_sql(q(SELECT count(*) > 0 FROM cron.job_run_details JOIN cron.job USING (jobid) WHERE jobname = 'scrobbles' AND status = 'succeeded'));
	ok(1, 'pg_cron says so, too');
	like($t->status('scrobbles', 'last_status, health'), qr/^succeeded\|ok$/, 'and so does lfsync_status');
	poll('a call that overlaps', sub {
			return $t->sql(q(SELECT return_message FROM cron.job_run_details JOIN cron.job USING (jobid) WHERE jobname LIKE 'gated%' AND status = 'failed')) =~
			  /the job is running already/;
	}, 150);
	ok(1, 'calls that overlap are told, clearly');
	$t->sql('SELECT cron.unschedule(jobid) FROM cron.job');
	$gate->open_gate;
	poll('the end', sub { return !$t->workers });
	is($t->status('gated', 'last_status'), 'succeeded', 'and do not disturb the first one');
}

done_testing();
