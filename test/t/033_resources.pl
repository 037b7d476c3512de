# No free worker, no free slot, and many runs of one session: errors that say
# what to do, and nothing that grows.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('resources', conf => <<'END');
max_worker_processes = 3
max_parallel_workers = 0
lfsync.max_runs = 2
lfsync.busy_timeout = '60s'
END
my $node = $t->node;
$t->make_source;

# The replication launcher takes one of the three.
is($t->sql(q(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'logical replication launcher')),
	1, 'two workers are left for lfsync');

# One run takes the two others; with a fourth a second runner starts, too.
foreach my $whom ('a run', 'the writer of a run')
{
	subtest "no worker for $whom" => sub {
		my $gate = $t->close_gate;
		my $first = $t->session;

		$first->send(q(SELECT rows_read FROM lfsync_export('gated', 'a.db', 't');));
		$t->wait_at_gate;
		my ($rc, undef, $err) = $t->try(q(SELECT lfsync_export('t', 'b.db')));
		isnt($rc, 0, 'refused');
		like($err, qr/ERROR:  53400: no free background worker for $whom$/m, 'error');
		like($err, qr/DETAIL:  .*max_worker_processes.*HINT:  .*max_worker_processes/s, 'detail and hint');
		is($t->history('status, sqlstate'), 'failed|53400', 'history') if $whom =~ /writer/;
		$gate->open_gate;
		$first->wait;
		is($first->output, 1000, 'the first run is not disturbed');
		$t->clean('afterwards', 'a.db');
	};
	$t->works("no worker for $whom", 'a.db');
	$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
	$node->restart;
	$t->baseline;
}

$node->append_conf('postgresql.conf', 'max_worker_processes = 16');
$node->restart;
$t->baseline;

subtest 'no slot' => sub {
	my $gate = $t->close_gate;
	my @callers = map { $t->session } 1 .. 2;

	$callers[$_]->send("SELECT rows_read FROM lfsync_export('gated', 'slot$_.db');") foreach 0 .. 1;
	$t->wait_sql(q(SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted));
	my ($rc, undef, $err) = $t->try(q(SELECT lfsync_export('t', 'b.db')));
	isnt($rc, 0, 'refused');
	like($err, qr/ERROR:  53300: too many lfsync runs at once/, 'error');
	like($err, qr/DETAIL:  All 2 runs that lfsync.max_runs allows are under way/, 'detail');
	like($err, qr/HINT:  .*lfsync\.max_runs/, 'hint');
	$gate->open_gate;
	$_->wait foreach @callers;
	is(join(' ', map { $_->output } @callers), '1000 1000', 'the others are not disturbed');
	$t->clean('afterwards', qw(a.db slot0.db slot1.db));
};

# One run per file, whoever starts it.
subtest 'two runs for one file' => sub {
	my $gate = $t->close_gate;
	my $first = $t->session;

	$first->send(q(SELECT rows_read FROM lfsync_export('gated', 'a.db', 't');));
	$t->wait_at_gate;
	$t->fails(q(SELECT lfsync_export('t', 'a.db', 'another')), '55006',
		qr/is being written by another run.*DETAIL:  It is run \d+.*HINT:/s, 'the second is refused');
	$gate->open_gate;
	$first->wait;
	is($first->output, 1000, 'the first is not disturbed');
};

# The end of a run that was stopped is over when its caller hears of it: with
# one slot and one file the next run has room at once.
subtest 'at once after a run that was stopped' => sub {
	$node->append_conf('postgresql.conf', 'lfsync.max_runs = 1');
	$node->restart;
	$t->baseline;
	my $gate = $t->close_gate;
	my $session = $t->session;
	my $again = '';

	foreach my $n (1 .. 5)
	{
		$session->send(<<'END');
SET statement_timeout = '200ms';
SELECT lfsync_export('gated', 'a.db', 't');
RESET statement_timeout;
SELECT rows_read FROM lfsync_export('t', 'a.db');
END
		$session->wait;
		$again .= $session->output;
		like($session->error, qr/\A[^\n]*statement timeout[^\n]*\n(?:LOCATION[^\n]*\n)?\z/, 'stopped, and nothing else');
	}
	is($again, '1000' x 5, 'the same file again, at once');
};

sub fds
{
	my ($pid) = @_;

	opendir my $dh, "/proc/$pid/fd" or die "/proc/$pid/fd: $!";
	return scalar grep { /^\d/ } readdir $dh;
}

# Memory of a process's own, in kB.
sub memory
{
	my ($pid) = @_;
	my $kb = 0;

	open my $fh, '<', "/proc/$pid/smaps_rollup" or die "smaps_rollup: $!";
	while (<$fh>)
	{
		$kb += $1 if /^Anonymous:\s+(\d+) kB/;
	}
	return $kb;
}

# A third fail: half of these before there is a writer, half in the middle.
subtest 'many runs of one session' => sub {
	my $session = $t->session;
	my $pid = $session->{backend};
	my $postmaster = $node->{_pid};

	$t->sql(q(CREATE VIEW fails AS SELECT id, v, 1 / (id - 500) AS q FROM t));
	my $some = sub {
		my ($n) = @_;

		return $session->query(<<"SQL");
DO \$\$
DECLARE
	ok int := 0;
	failed int := 0;
BEGIN
	FOR i IN 1 .. $n LOOP
		BEGIN
			PERFORM lfsync_export(
				CASE i % 6 WHEN 0 THEN 'fails' ELSE 't' END,
				CASE i % 6 WHEN 3 THEN 'no/directory/x.db' ELSE 'many' || i % 2 || '.db' END,
				't');
			ok := ok + 1;
		EXCEPTION WHEN division_by_zero OR undefined_file THEN
			failed := failed + 1;
		END;
	END LOOP;
	PERFORM set_config('lfsync_test.result', ok || ' ' || failed, false);
END
\$\$;
SELECT current_setting('lfsync_test.result');
SQL
	};
	is($some->(30), '20 10', 'warmed up');
	my %before = (fds => fds($pid), postmaster => fds($postmaster), memory => memory($pid), postmaster_memory => memory($postmaster));
	is($some->(180), '120 60', 'a third fails');
	is(fds($pid), $before{fds}, 'file descriptors of the session');
	is(fds($postmaster), $before{postmaster}, 'file descriptors of the postmaster');
	cmp_ok(memory($pid) - $before{memory}, '<', 1024, 'memory of the session (kB)');
	cmp_ok(memory($postmaster) - $before{postmaster_memory}, '<', 512, 'memory of the postmaster (kB)');
	$session->quit;
	$t->clean('afterwards', $t->files);
	is(scalar(grep { /lfsync-|journal|wal/ } $t->files), 0, 'no temporary files');
	is($t->sql(q(SELECT count(*) FROM lfsync_runs WHERE status NOT IN ('succeeded', 'failed', 'cancelled'))), 0, 'history');
};

done_testing();
