# The scheduler survives whatever happens to it, to a job and to the server;
# meanwhile the other jobs keep running, and nothing is run twice.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $t = Lfsync->new('scheduler', allows_streaming => 1, conf => <<'END');
lfsync.databases = 'postgres, "Other db"'
lfsync.busy_timeout = '60s'
max_worker_processes = 16
restart_after_crash = on
timezone = 'UTC'
fsync = off
END
my $node = $t->node;
$t->make_source;

sub runs_of
{
	my ($job) = @_;

	return $t->sql("SELECT count(*) FROM lfsync_runs WHERE job = '$job' AND status = 'succeeded'");
}

# A test: the scheduler is there within five seconds, another one if the old
# one's process is given, and goes on running a job.
sub goes_on
{
	my ($name, $old) = @_;

	return subtest "$name: the scheduler goes on" => sub {
		my (undef, $took) = poll('a scheduler', sub { my $pid = eval { $t->scheduler }; return $pid && $pid != ($old // 0) });
		cmp_ok($took, '<', 5, 'it is there');
		my $before = runs_of('tick');
		(undef, $took) = poll('a run', sub { return runs_of('tick') > $before + 1 });
		cmp_ok($took, '<', 5, 'and a healthy job runs');
		is($t->sql(q(SELECT count(*) FROM lfsync_runs a JOIN lfsync_runs b ON a.job = b.job AND a.run_id < b.run_id
			AND b.started_at < coalesce(a.finished_at, 'infinity') AND a.status <> 'crashed')),
			0, 'no job has two runs at once');
	};
}

sub log_since
{
	my ($since) = @_;

	return slurp_file($node->logfile, $since);
}

ok($t->scheduler, 'it starts with the server');
$t->sql(q(SELECT lfsync_add_job('tick', 't', 'tick.db', 'full', schedule => '1 s')));
my (undef, $took) = poll('the first run', sub { return runs_of('tick') });
cmp_ok($took, '<', 3, 'a job that is added runs at once');
goes_on('at first');
is($t->history('owner'), 'postgres', 'as its owner');

#
# The scheduler itself
#
foreach my $how ('terminate', 'cancel')
{
	my $old = $t->scheduler;

	$t->sql("SELECT pg_${how}_backend($old)");
	goes_on($how, $how eq 'cancel' ? undef : $old);
}
{
	my $old = $t->scheduler;

	kill 'KILL', $old;
	$t->wait_restart($old);
	goes_on('killed', $old);
}
{
	my $log = -s $node->logfile;
	my $old = $t->scheduler;

	$t->sql(q(ALTER SYSTEM SET lfsync.naptime = '2s'));
	$t->sql('SELECT pg_reload_conf()');
	goes_on('reload');
	is($t->scheduler, $old, 'it is the same one');
	unlike(log_since($log), qr/scheduler failed/, 'and says nothing');
}
{
	my ($took_create) = time;
	$t->sql($_) foreach ('CREATE DATABASE z', 'DROP DATABASE z');
	cmp_ok(time - $took_create, '<', 5, 'it keeps nobody from dropping a database');
}

#
# The end of a run is written whatever becomes of the scheduler.
#
subtest 'a run outlives its scheduler' => sub {
	my $gate = $t->close_gate;

	$t->sql(q(SELECT lfsync_add_job('gated', 'gated', 'gated.db', 'full', schedule => '1 hour')));
	$t->wait_at_gate;
	my $old = $t->scheduler;
	my $run = $t->sql(q(SELECT run_id FROM lfsync_progress WHERE job = 'gated'));
	$t->sql("SELECT pg_terminate_backend($old)");
	goes_on('meanwhile', $old);
	is($t->sql(q(SELECT count(*) FROM lfsync_runs WHERE job = 'gated')), 1, 'it is not started again');
	$t->fails(q(SELECT lfsync_start_job('gated')), '55006', qr/the job is running already.*DETAIL:  Its run $run is under way/s, 'nor by hand');
	is($t->status('gated', 'last_status'), 'running', 'it is said to be running');
	$gate->open_gate;
	$t->wait_runs('gated', 1);
	is($t->status('gated', 'last_status, runs_total, health'), 'succeeded|1|ok', 'and it counts');
	$t->sql(q(SELECT lfsync_drop_job('gated', true)));
};

#
# Jobs
#
subtest 'an owner that is dropped' => sub {
	$t->sql('CREATE ROLE app LOGIN; GRANT SELECT ON t TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app');
	my ($rc) = $t->try(q(SELECT lfsync_add_job('apps', 't', 'apps.db', 'full', schedule => '1 s')), role => 'app');
	is($rc, 0, 'stored');
	poll('a run', sub { return runs_of('apps') });
	is($t->sql(q(SELECT DISTINCT owner FROM lfsync_runs WHERE job = 'apps')), 'app', 'runs as its owner');
	$t->sql('ALTER ROLE app NOLOGIN');
	$t->wait_sql(q(SELECT health = 'failing' FROM lfsync_status WHERE job = 'apps'));
	is($t->sql(q(SELECT sqlstate FROM lfsync_runs WHERE job = 'apps' ORDER BY run_id DESC LIMIT 1)), '28000', 'that may not log in: a failed run');
	$t->sql('DROP OWNED BY app; DROP ROLE app');
	$t->wait_sql(q(SELECT sqlstate = '55000' AND owner ~ '^\d+$' FROM lfsync_runs WHERE job = 'apps' ORDER BY run_id DESC LIMIT 1));
	like($t->status('apps', 'message'), qr/the owner of job "apps", has been dropped/, 'that is gone: a failed run, too');
	goes_on('meanwhile');
	$t->sql(q(SELECT lfsync_drop_job('apps')));
	unlink $t->path('apps.db');
};

subtest 'a source that is dropped' => sub {
	$t->sql(q(CREATE TABLE brief (id int PRIMARY KEY); SELECT lfsync_add_job('brief', 'brief', 'brief.db', 'full', schedule => '1 s')));
	poll('a run', sub { return runs_of('brief') });
	$t->sql('DROP TABLE brief');
	$t->wait_sql(q(SELECT health = 'failing' FROM lfsync_status WHERE job = 'brief'));
	like($t->status('brief', 'message'), qr/the source of job "brief", public\.brief, does not exist/, 'is told');
	goes_on('meanwhile');
	$t->sql('CREATE TABLE brief (id int PRIMARY KEY)');
	$t->wait_sql(q(SELECT last_status = 'succeeded' FROM lfsync_status WHERE job = 'brief'));
	$t->sql(q(SELECT lfsync_drop_job('brief', true)));
	ok(1, 'made again, it runs');
};

subtest 'a row that makes no sense' => sub {
	$t->sql(q(SELECT lfsync_add_job('odd', 't', 'odd.db', 'full', schedule => '1 s'); UPDATE lfsync_jobs SET options = '{"backoff": []}' WHERE name = 'odd'));
	$t->wait_sql(q(SELECT health = 'failing' FROM lfsync_job_state JOIN lfsync_jobs USING (job_id) WHERE name = 'odd'));
	goes_on('meanwhile');
	$t->sql(q(SELECT lfsync_drop_job('odd')));
	poll('the end of its run', sub { return !$t->sql(q(SELECT count(*) FROM lfsync_progress WHERE job = 'odd')) });
	unlink $t->path('odd.db');
};

subtest 'two jobs and one file' => sub {
	my $log = -s $node->logfile;

	$t->sql(q(SELECT lfsync_add_job('left', 't', 'both.db', 'full', 'l', schedule => '1 s'), lfsync_add_job('right', 't', 'both.db', 'full', 'r', schedule => '1 s')));
	poll('runs', sub { return runs_of('left') > 2 && runs_of('right') > 2 });
	is($t->sql(q(SELECT sum(runs_failed) FROM lfsync_status WHERE job IN ('left', 'right'))), 0, 'take turns');
	$t->sql(q(SELECT lfsync_drop_job('left'), lfsync_drop_job('right')));
	poll('their ends', sub { return !$t->sql(q(SELECT count(*) FROM lfsync_progress WHERE job IN ('left', 'right'))) });
	unlink $t->path('both.db');
};

subtest 'no slot' => sub {
	my $log = -s $node->logfile;
	my $gate = $t->close_gate;

	$t->sql("SELECT lfsync_add_job('g$_', 'gated', 'g$_.db', 'full', schedule => '1 hour')") foreach 1 .. 3;
	poll('the log', sub { return log_since($log) =~ /job "tick", due since .*, does not start: as many runs as lfsync\.max_runs allows/ });
	$t->sql(q(SELECT pg_sleep(0)));
	my $said = () = log_since($log) =~ /job "tick", due since \S+ \S+, does not start/g;
	is($said, 1, 'is said once');
	$gate->open_gate;
	goes_on('when there is one');
	$t->wait_runs("g$_", 1) foreach 1 .. 3;
	$t->sql(qq(SELECT lfsync_drop_job('g$_', true))) foreach 1 .. 3;
};

subtest 'the extension is dropped and made again' => sub {
	my $gate = $t->close_gate;
	my $old = $t->scheduler;

	$t->sql(q(SELECT lfsync_add_job('gated', 'gated', 'gated.db', 'full', schedule => '1 hour')));
	$t->wait_at_gate;
	$t->sql('DROP EXTENSION lfsync');
	$gate->open_gate;
	poll('the end of the run', sub { return !$t->workers });
	$t->sql('CREATE EXTENSION lfsync');
	is($t->scheduler, $old, 'it is the same one');
	$t->sql(q(SELECT lfsync_add_job('tick', 't', 'tick.db', 'full', schedule => '1 s')));
	goes_on('afterwards');
	unlink $t->path('gated.db');
};

#
# Databases
#
subtest 'a database that is made later' => sub {
	my $log = -s $node->logfile;

	$t->sql('CREATE DATABASE "Other db"');
	(undef, $took) = poll('its scheduler', sub { return $t->scheduler('Other db') }, 70);
	cmp_ok($took, '<', 65, 'has its scheduler within a minute');
	$t->sql('CREATE EXTENSION lfsync; CREATE TABLE t (id int PRIMARY KEY)', db => 'Other db');
	$t->sql(q(SELECT lfsync_add_job('j', 't', 'other.db', 'full', schedule => '1 s')), db => 'Other db');
	poll('a run', sub { return $t->sql(q(SELECT count(*) FROM lfsync_runs WHERE status = 'succeeded'), db => 'Other db') });
	$t->fails('DROP DATABASE "Other db"', '55006', qr/is being accessed by other users/, 'is in use');
	my $since = time;
	$t->sql('DROP DATABASE "Other db" WITH (FORCE)');
	cmp_ok(time - $since, '<', 5, 'and is dropped by force');
	goes_on('the other one');
	unlink $t->path('other.db');
};

#
# The server
#
subtest 'fast shutdown' => sub {
	my $gate = $t->close_gate;
	my $log = -s $node->logfile;

	$t->sql(q(SELECT lfsync_add_job('gated', 'gated', 'gated.db', 'full', schedule => '1 hour')));
	$t->wait_at_gate;
	my $since = time;
	$node->stop('fast');
	cmp_ok(time - $since, '<', 5, 'does not wait');
	$gate->quit;
	$node->start;
	goes_on('afterwards');
	$t->wait_sql(q(SELECT last_status = 'succeeded' FROM lfsync_status WHERE job = 'gated'));
	is($t->sql(q(SELECT string_agg(status || ' ' || attempt, ', ' ORDER BY run_id) FROM lfsync_runs WHERE job = 'gated')),
		'cancelled 1, succeeded 2', 'what was stopped is tried again');
	$t->sql(q(SELECT lfsync_drop_job('gated', true)));
};

# It kills its own process, which is one crash of the server for each try.
subtest 'a job that takes the server with it' => sub {
	$t->sql(<<'END');
CREATE TABLE deadly (yes boolean);
INSERT INTO deadly VALUES (true);
CREATE FUNCTION kill() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT yes FROM deadly) THEN
		COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
	END IF;
	RETURN 1;
END $$;
CHECKPOINT;
END
	my $log = -s $node->logfile;
	# the crash may come before the answer
	eval { $t->sql(q(SELECT lfsync_add_query_job('deadly', 'SELECT kill() AS x', 'deadly.db', 'x', 'full', schedule => '1 s', options => '{"backoff": 2, "max_attempts": 2}'))) };
	my $tries = q(SELECT concat_ws('|', attempt, extract(epoch FROM attempt_at), retry_after / 1e6) FROM lfsync_job_state JOIN lfsync_jobs USING (job_id)
		WHERE name = 'deadly');
	my @tries;

	foreach my $n (1 .. 3)
	{
		poll("try $n", sub {
				my $try = eval { $t->sql($tries) } or return 0;
				$try =~ /^$n\|/ or return 0;
				push @tries, [ split /\|/, $try ];
		});
	}
	foreach my $n (0, 1)
	{
		cmp_ok($tries[ $n + 1 ][1] - $tries[$n][1], '>=', $tries[$n][2], 'the next try comes after its pause');
		cmp_ok($tries[$n][2], '>', 1.7 * ($n + 1), 'which grows, whatever the schedule');
	}
	# what has read "yes" already crashes the server still
	poll('the third crash', sub { my @crashes = log_since($log) =~ /reinitializing/g; return @crashes >= 3 });
	poll('the server', sub { return eval { $t->sql('UPDATE deadly SET yes = false; SELECT 1') } });
	goes_on('between crashes');
	$t->wait_sql(q(SELECT last_status = 'succeeded' FROM lfsync_status WHERE job = 'deadly'));
	is($t->sql(q(SELECT count(*) FROM lfsync_runs WHERE status = 'running' AND started_at < now() - interval '3 s')), 0, 'no run is left "running"');
	$t->sql(q(SELECT lfsync_drop_job('deadly', true)));
};

subtest 'a standby' => sub {
	$node->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	my $dir = PostgreSQL::Test::Utils::tempdir_short() . '/files';

	mkdir $dir, 0755 or die "$dir: $!";
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "lfsync.export_directory = '$dir'");
	$standby->start;
	my $s = Lfsync->adopt($standby, $dir);
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is($s->scheduler, undef, 'has none');
	is($s->status('tick', 'health IS NOT NULL'), 't', 'but tells how it stands');
	$node->stop;
	my $before = $s->sql('SELECT max(run_id) FROM lfsync_runs');
	$standby->promote;
	poll('a run', sub { return $s->sql("SELECT count(*) FROM lfsync_runs WHERE run_id > $before AND status = 'succeeded'") });
	ok($s->scheduler, 'has one when it is promoted');
	unlike(slurp_file($standby->logfile), qr/scheduler failed/, 'which says nothing');
	$standby->stop;
	$node->start;
	goes_on('the old primary');
};
$t->sql(q(SELECT lfsync_drop_job('tick')));
poll('the end', sub { return !$t->workers });

#
# Many jobs and little room
#
subtest 'a hundred jobs and room for two' => sub {
	$t->sql(q(ALTER SYSTEM SET lfsync.max_runs = 2));
	$t->sql(q(ALTER SYSTEM SET lfsync.databases = 'postgres'));
	$t->sql(q(ALTER SYSTEM SET log_statement = 'none'));
	$node->restart;
	poll('a scheduler', sub { return $t->scheduler });
	$t->sql(q(SELECT lfsync_add_job('many ' || i, 't', 'many' || i || '.db', 'full', filter => 'id <= 10', schedule => '1 s') FROM generate_series(1, 100) i));
	poll('two rounds', sub { return $t->sql('SELECT min(runs_succeeded) >= 2 FROM lfsync_status') eq 't' });
	my $pid = $t->scheduler;
	my $before = memory($pid);
	my $files = () = glob "/proc/$pid/fd/*";
	poll('six', sub { return $t->sql('SELECT min(runs_succeeded) >= 6 FROM lfsync_status') eq 't' });
	# a slow disk holds up as many as there are slots for: of the others none is behind
	is($t->sql('SELECT max(runs_total) - (SELECT runs_total FROM lfsync_status ORDER BY 1 OFFSET 2 LIMIT 1) <= 2, sum(runs_failed) FROM lfsync_status'),
		't|0', 'each has its turn')
	  or diag $t->sql('SELECT runs_total, count(*) FROM lfsync_status GROUP BY 1 ORDER BY 1');
	is($t->scheduler, $pid, 'one scheduler all the time');
	cmp_ok(memory($pid), '<', $before + 1024, 'its memory does not grow');
	my $files_now = () = glob "/proc/$pid/fd/*";
	# the files of a table come and go, those of 400 runs would be many
	cmp_ok($files_now, '<', $files + 20, 'nor what it has open');
	is($t->sql(q(SELECT count(*) FROM pg_shmem_allocations WHERE name LIKE 'lfsync%')), 2, 'nor its shared memory');
	$t->sql('SELECT lfsync_drop_job(name) FROM lfsync_jobs');
	poll('the end', sub { return !$t->workers });
	unlink map { $t->path("many$_.db") } 1 .. 100;
};

# Private memory of a process in kB.
sub memory
{
	my ($pid) = @_;

	return eval { slurp_file("/proc/$pid/smaps_rollup") =~ /^Private_Dirty:\s+(\d+)/m ? $1 : 0 };
}

# One run takes both; parallel queries, other extensions and logical replication
# have to share with it.
subtest 'workers for one run' => sub {
	my $log = -s $node->logfile;

	$t->sql('ALTER SYSTEM SET max_worker_processes = 4');
	$node->restart;
	poll('a scheduler', sub { return $t->scheduler });
	$t->sql(q(SELECT lfsync_add_job('few ' || i, 't', 'few' || i || '.db', 'full', filter => 'id <= 10', schedule => '1 s', options => '{"backoff": 1}') FROM generate_series(1, 5) i));
	poll('rounds', sub { return $t->sql('SELECT min(runs_succeeded) >= 3 FROM lfsync_status') eq 't' });
	ok(1, 'each has its turn');
	$t->sql('SELECT lfsync_drop_job(name) FROM lfsync_jobs');
	poll('the end', sub { return !$t->workers });
	unlink map { $t->path("few$_.db") } 1 .. 5;
};

unlink $t->path('tick.db');
$t->baseline;
$t->clean('at the end');

done_testing();
