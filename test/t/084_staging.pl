# Rows that wait in memory: nothing of them is in the file until a bound is
# reached or somebody asks, nothing is lost with the memory, and whoever waits
# keeps nobody else waiting.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $t = Lfsync->new('staging', conf => <<'END');
lfsync.databases = 'postgres'
lfsync.naptime = '200ms'
lfsync.max_runs = 2
restart_after_crash = on
timezone = 'UTC'
END
my $node = $t->node;
$t->sql(<<'END');
CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON t (at, id);
INSERT INTO t (id, v) SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
END
my $next = 1000;

sub insert
{
	my ($n) = @_;

	$t->sql("INSERT INTO t (id, v) SELECT i, 'row ' || i FROM generate_series($next + 1, $next + $n) i");
	$next += $n;
	return;
}

sub rows { return sqlite($t->path($_[0]), 'SELECT count(*) FROM t'); }

# Waits until so many rows wait, and returns what lfsync_progress says.
sub wait_pending
{
	my ($n) = @_;

	return $t->wait_phase('collecting', sub { return $_[0]{rows_pending} == $n; });
}

sub reason { return $t->history(q(notes ->> 'flush_reason')); }

# Waits until the rows of a file are so many, and for the end of that run.
sub wait_rows
{
	my ($file, $n) = @_;

	poll("$n rows", sub { return rows($file) eq $n });
	return $t->wait_sql(q(SELECT count(*) > 0 FROM lfsync_runs WHERE notes ? 'flush_reason' AND status = 'succeeded' AND run_id =
		(SELECT max(run_id) FROM lfsync_runs WHERE rows_inserted > 0)));
}

sub last_reason
{
	return $t->sql(q(SELECT notes ->> 'flush_reason' FROM lfsync_runs WHERE notes ? 'flush_reason' ORDER BY run_id DESC LIMIT 1));
}

foreach my $arguments (q(), q(, cursor_columns => '{at}'))
{
	my $name = $arguments eq '' ? 'row versions' : 'a cursor';
	my $file = $arguments eq '' ? 'versions.db' : 'cursor.db';
	my $before;

	subtest $name => sub {
		$t->sql(qq(SELECT lfsync_add_job('j', 't', '$file', 'incremental', schedule => '1 s'$arguments,
			options => '{"flush_rows": 500, "flush_interval": "1 h", "max_pending_rows": 2000, "batch_rows": 200}')));
		poll('the first load', sub { return -e $t->path($file) && rows($file) eq ($before = $t->sql('SELECT count(*) FROM t')) });

		insert(10);
		my $progress = wait_pending(10);
		is(rows($file), $before, 'nothing of them is in the file');
		cmp_ok($progress->{memory_bytes}, '>', 0, 'they are in memory');
		is($progress->{flush_reason}, undef, 'and wait for nothing in particular');
		is($t->sql("SELECT count(*) FROM pg_locks WHERE pid = $progress->{pid} AND relation = 't'::regclass"), 0, 'no lock is held');
		is($t->sql("SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $progress->{pid}"), 't', 'nor a snapshot');
		is(sqlite($t->path($file), 'BEGIN IMMEDIATE; ROLLBACK; SELECT 1'), 1, 'nor the file');

		insert(5);
		is(wait_pending(15)->{run_id}, $progress->{run_id}, 'another look of the same run brings more');
		$t->sql(q(SELECT lfsync_flush_job('j')));
		is(rows($file), $before + 15, 'lfsync_flush_job() writes them, and comes back when they are written');
		is($t->sql("SELECT status || ' ' || rows_inserted || ' ' || (notes ->> 'flush_reason') FROM lfsync_runs WHERE run_id = $progress->{run_id}"),
			'succeeded 15 lfsync_flush_job', 'which is one run, in the history');
		$t->sql(q(SELECT lfsync_flush_job('j')));
		ok(1, 'that it has nothing to write is no error');

		insert(500);
		wait_rows($file, $before + 515);
		is(last_reason(), 'flush_rows', 'enough rows are written at once');

		# more in one look than may wait
		insert(3000);
		wait_rows($file, $before + 3515);
		is(last_reason(), 'max_pending_rows', 'too many are written as they come');

		# changed while they wait; what a cursor does not see is not touched
		insert(3);
		wait_pending(3);
		$t->sql("UPDATE t SET v = 'changed', at = clock_timestamp() WHERE id IN ($next, 5)");
		wait_pending(5);
		$t->sql("UPDATE t SET v = 'changed again', at = clock_timestamp() WHERE id = $next");
		wait_pending(6);
		if ($arguments eq '')
		{
			$t->sql('DELETE FROM t WHERE id = 7; DELETE FROM t WHERE id = ' . ($next - 1));
		}
		$t->sql(q(SELECT lfsync_flush_job('j')));
		$t->same_rows($file, 't', 'the last one counts, and rows that are gone are gone', columns => 'id, v');

		insert(2);
		$progress = wait_pending(2);
		$t->sql("SELECT lfsync_cancel($progress->{run_id})");
		$t->wait_sql("SELECT status = 'cancelled' FROM lfsync_runs WHERE run_id = $progress->{run_id}");
		isnt(wait_pending(2)->{run_id}, $progress->{run_id}, 'what goes with a run that is cancelled is read again');

		$progress = wait_pending(2);
		$t->sql("SELECT pg_terminate_backend($progress->{pid})");
		$t->wait_sql("SELECT status = 'succeeded' FROM lfsync_runs WHERE run_id = $progress->{run_id}");
		is(last_reason(), 'shutdown', 'one that is stopped writes it');
		$t->same_rows($file, 't', 'all of it', columns => 'id, v');

		insert(2);
		$progress = wait_pending(2);
		kill 'TERM', $progress->{writer_pid};
		$t->wait_sql("SELECT status = 'succeeded' FROM lfsync_runs WHERE run_id = $progress->{run_id}");
		$t->same_rows($file, 't', 'so it does when its writer is stopped', columns => 'id, v');

		insert(4);
		wait_pending(4);
		my $since = time;
		$node->stop('fast');
		cmp_ok(time - $since, '<', 5, 'a shutdown does not wait for long');
		is(rows($file), sqlite($t->path($file), 'SELECT rows FROM _lfsync_state'), 'and rows go with the position');
		my $rows = rows($file);
		$node->start;
		is($rows, $t->sql('SELECT count(*) FROM t'), 'what waited was written');

		insert(4);
		$progress = wait_pending(4);
		kill 'KILL', $progress->{pid};
		poll('the restart', sub { return eval { $t->sql("SELECT count(*) FROM lfsync_runs WHERE run_id = $progress->{run_id} AND status = 'crashed'") } });
		is(wait_pending(4)->{rows_pending}, 4, 'what is lost with the memory is read again');
		is(rows($file), $rows, 'none of it was in the file');

		$t->sql(q(SELECT lfsync_alter_job('j', enabled => false)));
		$t->wait_sql('SELECT count(*) = 0 FROM lfsync_progress');
		is(last_reason(), 'the job was changed', 'a job that is changed writes first');
		$t->same_rows($file, 't', 'all of it', columns => 'id, v');
		is(integrity($t->path($file)), 'ok', 'integrity');
		$t->sql(q(SELECT lfsync_drop_job('j')));
	};
}

subtest 'an interval' => sub {
	$t->sql(q(SELECT lfsync_add_job('j', 't', 'interval.db', 'incremental', schedule => '1 s', options => '{"flush_interval": "1 s"}')));
	poll('the first load', sub { return -e $t->path('interval.db') && rows('interval.db') eq $t->sql('SELECT count(*) FROM t') });
	insert(1);
	poll('the row', sub { return rows('interval.db') eq $t->sql('SELECT count(*) FROM t') });
	is(last_reason(), 'flush_interval', 'rows do not wait for longer');
	$t->sql(q(SELECT lfsync_drop_job('j')));
	$t->wait_sql('SELECT count(*) = 0 FROM lfsync_progress');
};

# Two slots, and a file that a second job writes to.
subtest 'others' => sub {
	my $options = q(schedule => '1 s', options => '{"flush_interval": "1 h"}');

	$t->sql(qq(CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1);
		SELECT lfsync_add_job('j', 't', 'shared.db', 'incremental', $options);
		SELECT lfsync_add_job('k', 'u', 'own.db', 'incremental', $options)));
	$t->wait_runs($_, 1) foreach 'j', 'k';
	$t->sql('INSERT INTO u VALUES (2)');
	insert(1);
	$t->wait_sql(q(SELECT count(*) = 2 FROM lfsync_progress WHERE phase = 'collecting'));
	$t->sql(q(SELECT lfsync_add_job('l', 'u', 'shared.db', 'full', schedule => '1 h')));
	$t->wait_runs('l', 1);
	is($t->sql(q(SELECT last_status FROM lfsync_status WHERE job = 'l')), 'succeeded', 'a job with the same file, and without a slot, has its turn');
	is(rows('shared.db'), $t->sql('SELECT count(*) FROM t'), 'what waited is in the file');
	is(last_reason(), 'another job waits', 'and the history says why');
	$t->sql(qq(SELECT lfsync_drop_job('$_'))) foreach 'j', 'k', 'l';
	$t->wait_sql('SELECT count(*) = 0 FROM lfsync_progress');
};

subtest 'several tables' => sub {
	$t->sql(<<'END');
CREATE TABLE music_scrobble_records (id bigint PRIMARY KEY, name text, artist text, album text, image text, mbid text, url text, date timestamptz);
INSERT INTO music_scrobble_records SELECT i, 'n' || i % 20, 'a' || i % 5, 'b' || i % 7, NULL, NULL, NULL, now() FROM generate_series(1, 100) i;
SELECT lfsync_add_job('m', 'music_scrobble_records', 'music.db', 'incremental', mapping => lfsync_lastfm_mapping(),
	schedule => '1 s', options => '{"flush_interval": "1 h"}');
END
	$t->wait_runs('m', 1);
	$t->sql(q(INSERT INTO music_scrobble_records SELECT i, 'n' || i % 30, 'a' || i % 9, 'b' || i % 7, NULL, NULL, NULL, now() FROM generate_series(101, 150) i));
	wait_pending(50);
	$t->sql(q(INSERT INTO music_scrobble_records SELECT i, 'n' || i % 40, 'a' || i % 11, 'b' || i % 7, NULL, NULL, NULL, now() FROM generate_series(151, 200) i));
	wait_pending(100);
	$t->sql(q(SELECT lfsync_flush_job('m')));
	is( sqlite($t->path('music.db'), 'SELECT id, name, artist, album FROM scrobble_flat ORDER BY id'),
		$t->sql('SELECT id, name, artist, album FROM music_scrobble_records ORDER BY id'),
		'go together');
	is(sqlite($t->path('music.db'), 'PRAGMA foreign_key_check'), '', 'and fit');
	$t->sql(q(SELECT lfsync_drop_job('m')));
	$t->wait_sql('SELECT count(*) = 0 FROM lfsync_progress');
};

subtest 'what makes no sense' => sub {
	$t->fails(q(SELECT lfsync_add_job('x', 't', 'x.db', 'incremental', options => '{"flush_rows": 10}')),
		'22023', qr/option "flush_rows" needs a "schedule"/, 'without a schedule');
	$t->fails(q(SELECT lfsync_add_job('x', 't', 'x.db', 'full', schedule => '1 s', options => '{"flush_interval": 10}')),
		'22023', qr/option "flush_interval" does not go with mode "full"/, 'in another mode');
	$t->fails(q(SELECT lfsync_export('t', 'x.db', options => '{"max_pending_rows": 10}')),
		'22023', qr/unknown option "max_pending_rows"/, 'of a single run');
	$t->fails(q(SELECT lfsync_flush_job('nobody')), '42704', qr/job "nobody" does not exist/, 'of no job');
};

done_testing();
