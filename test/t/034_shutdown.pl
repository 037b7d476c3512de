# The server stops while a run is under way: by every mode of shutdown, and
# without any, by kill -9 of the postmaster.  It stops as fast as without a
# run, says in the history what became of it, and starts again at once.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(time);

my $t = Lfsync->new('shutdown', conf => <<'END');
lfsync.busy_timeout = '60s'
fsync = off
END
my $node = $t->node;
$t->make_source;
$t->sql(<<'END');
CREATE TABLE indexed (id int PRIMARY KEY, a text, b text);
INSERT INTO indexed SELECT i, md5(i::text), md5((i + 1)::text) FROM generate_series(1, 200000) i;
CREATE INDEX ON indexed (a);
CREATE INDEX ON indexed (b);
CREATE INDEX ON indexed (a, b);
CREATE INDEX ON indexed (b, a);
SELECT lfsync_export('t', 'old.db');
SELECT lfsync_export('t', 'shared.db');
END
sqlite($t->path('shared.db'), 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2)');
my $content = content($t->path('shared.db'));

# Where a run may be: what to export, how to hold it there.
my @places = (
	{
		name => 'scanning for a new file',
		export => q('gated', 'new.db'),
		hold => sub { return $t->close_gate },
		held => sub { $t->wait_at_gate },
	},
	{
		name => 'waiting for the file in place',
		export => q('t', 'shared.db'),
		hold => sub {
			my $lock = sqlite_session($t->path('shared.db'));
			$lock->query('BEGIN IMMEDIATE;');
			return $lock;
		},
		held => sub {
			$t->wait_sql(q(SELECT count(*) > 0 FROM lfsync_progress WHERE waiting_for = 'a lock on the file'));
		},
	},
	{
		name => 'creating indexes',
		export => q('indexed', 'old.db', 't'),
		hold => sub { return undef },
		held => sub { $t->wait_phase('creating indexes') },
	},);

sub under_way
{
	my ($place) = @_;
	my $holder = $place->{hold}->();
	my $caller = $t->session;

	$caller->send("SELECT lfsync_export($place->{export});");
	$place->{held}->();
	return ($holder, $caller);
}

sub untouched
{
	is(integrity($t->path($_)), 'ok', "$_ is sound") foreach qw(old.db shared.db);
	is(sqlite($t->path('old.db'), 'SELECT count(*), sum(id) FROM t'), '1000|500500', 'the old file is as it was');
	# hidden tables are the next run's to remove
	same_text(content($t->path('shared.db'), '_lfsync_new_*'), $content, 'the file in place is as it was');
	ok(!-e $t->path('new.db'), 'there is no new file');
	return;
}

sub afterwards
{
	my (@status) = @_;

	$t->baseline;
	is(join(' ', $t->workers), '', 'no worker is left');
	is($t->history('status, finished_at IS NOT NULL'), $status[0], 'history');
	# each target, since what was left beside it is its next run's to remove
	$t->works('after the restart', $_) foreach qw(new.db old.db shared.db);
	same_text(content($t->path('shared.db')), $content, 'and the file in place has nothing else in it');
	is($t->history('status'), 'succeeded', 'history');
	is($t->sql(q(SELECT count(*) FROM lfsync_runs WHERE status = 'running')), 0, 'and that of no run is left open');
	unlink $t->path('new.db');
	$t->clean('at the end', qw(old.db shared.db));
	return;
}

foreach my $place (@places)
{
	subtest "fast, $place->{name}" => sub {
		my ($holder, $caller) = under_way($place);
		my $since = time;

		$node->stop('fast');
		cmp_ok(time - $since, '<', 5, 'stops fast');
		$holder->kill9 if $holder;
		untouched();
		$node->start;
		afterwards('cancelled|t');
	};
	subtest "immediate, $place->{name}" => sub {
		my ($holder, $caller) = under_way($place);
		my %workers = $t->workers;
		my $since = time;

		$node->stop('immediate');
		cmp_ok(time - $since, '<', 5, 'stops fast');
		is(scalar(grep { alive($_) } keys %workers), 0, 'no worker is left');
		$holder->kill9 if $holder;
		untouched();
		$node->start;
		is($t->history('status, finished_at IS NULL'), 'running|t', 'the row is left running');
		my $run_id = $t->history('run_id');
		$t->works('after the restart', 'old.db');
		is($t->sql("SELECT status FROM lfsync_runs WHERE run_id = $run_id"), 'crashed', 'and is marked crashed');
		afterwards('succeeded|t');
	};
	subtest "kill -9 of the postmaster, $place->{name}" => sub {
		my ($holder, $caller) = under_way($place);
		my $postmaster = $node->{_pid};
		my %children = children($postmaster);
		my $since = time;

		$node->kill9;
		poll('the end of all processes', sub { return !grep { alive($_) } keys %children });
		cmp_ok(time - $since, '<', 5, 'all processes end soon');
		$holder->kill9 if $holder;
		untouched();
		poll('the end of the postmaster', sub { return !kill 0, $postmaster });
		ok($node->start(fail_ok => 1), 'starts at the first try');
		my $run_id = $t->history('run_id');
		$t->works('after the restart', 'old.db');
		is($t->sql("SELECT status FROM lfsync_runs WHERE run_id = $run_id"), 'crashed', 'the run is marked crashed');
		afterwards('succeeded|t');
	};
}

# Who waits for a run is a client, and a smart shutdown waits for clients.
subtest 'smart' => sub {
	my ($holder, $caller) = under_way($places[0]);
	my $pid = $node->{_pid};

	kill 'TERM', $pid;
	$node->wait_for_log(qr/received smart shutdown request/);
	ok(alive($pid), 'waits for the run');
	$holder->send('SELECT pg_advisory_unlock_all();');
	$caller->wait;
	is($caller->error, '', 'the run is not disturbed');
	like($caller->output, qr/^\(\d+,,full,.*new\.db,1000,/, 'and has its result');
	$_->quit foreach ($holder, $caller);
	poll('the end of the server', sub { return !alive($pid) });
	# it is gone without pg_ctl
	$node->_update_pid(0);
	$node->start;
	is(sqlite($t->path('new.db'), 'SELECT count(*), sum(id) FROM gated'), '1000|500500', 'the file is right');
	afterwards('succeeded|t');
};

done_testing();
