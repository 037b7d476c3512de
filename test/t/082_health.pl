# Changes of health reach those who listen, the log, and the job's own function;
# history is kept as long as it should be, and its totals longer; who watches
# sees neither values nor paths.

use strict;
use warnings FATAL => 'all';

use JSON::PP;
use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('health', conf => <<'END');
lfsync.databases = 'postgres'
lfsync.naptime = '200ms'
lfsync.max_runs = 2
timezone = 'UTC'
fsync = off
END
my $node = $t->node;
$t->make_source;
$t->sql(<<'END');
CREATE ROLE app LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE ROLE stranger LOGIN;
GRANT ALL ON SCHEMA public TO app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO app;
CREATE TABLE knob (broken boolean);
INSERT INTO knob VALUES (false);
CREATE VIEW picky AS SELECT CASE WHEN broken THEN 'secret'::text ELSE '1' END::int AS x FROM knob;
GRANT SELECT ON knob, picky TO app;
END

sub as
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $t->try($sql, role => $role);

	return $rc == 0 ? $out : $err;
}

# What has been heard on the channel since the last time, as hashes.
my $listener = $t->session(role => 'stranger');
$listener->query('LISTEN lfsync;');
my $heard = '';

sub heard_of
{
	my ($event) = @_;
	my $payload;

	poll("event $event", sub {
			$heard .= $listener->query('SELECT;');
			return $heard =~ s/.*?notification "lfsync" with payload "(\{"event": "$event".*\})" received.*//s && ($payload = $1);
	});
	return decode_json($payload);
}

sub wait_health
{
	my ($job, $health) = @_;

	return $t->wait_sql("SELECT s.health = '$health' FROM lfsync_job_state s JOIN lfsync_jobs USING (job_id) WHERE name = '$job'");
}

#
# Events
#
as('app', <<'END');
CREATE TABLE told (n int GENERATED ALWAYS AS IDENTITY, who name, event jsonb);
CREATE FUNCTION tell(event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO told (who, event) VALUES (session_user, event);
	IF event->>'event' = 'recovered' THEN
		RAISE EXCEPTION 'fails by itself';
	END IF;
END $$;
END
unlike(as('app', q(SELECT lfsync_add_query_job('j', 'SELECT x FROM picky', 'j.db', 'x', 'full', schedule => '1 s', options => '{"on_event": "tell", "max_attempts": 1}'))),
	qr/ERROR/, 'stored');
wait_health('j', 'ok');
is($t->sql('SELECT count(*) FROM told'), 0, 'nothing is told of a job that works');

my $log = -s $node->logfile;
$t->sql('UPDATE knob SET broken = true');
my $event = heard_of('failed');
is_deeply([ @{$event}{qw(job health sqlstate message consecutive_failures runs_failed)} ],
	[ 'j', 'failing', '22P02', 'failed once: SQLSTATE 22P02', 1, 1 ], 'a failure, to everybody');
ok($event->{run_id} > 0 && $event->{duration} >= 0 && $event->{runs_total} > 1, 'and which run it was');
$t->wait_sql('SELECT count(*) = 1 FROM told');
is($t->sql(q(SELECT who, event->>'event', event->>'message' FROM told)), q(app|failed|failed once: invalid input syntax for type integer: "secret"),
	'to the owner, as the owner, with the message');
like(slurp_file($node->logfile, $log), qr/LOG:  lfsync job "j" is failing: failed once: invalid input syntax for type integer: "secret"/, 'and in the log');
$t->wait_sql(q(SELECT consecutive_failures >= 3 FROM lfsync_status WHERE job = 'j'));
is($t->sql('SELECT count(*) FROM told'), 1, 'not again at each failure');

# Who sees what, while it fails.
is(as('watcher', q(SELECT job, health, regexp_replace(message, '\d+ times', 'n times') FROM lfsync_status)),
	'j|failing|failed n times in a row: SQLSTATE 22P02', 'who watches sees that it fails');
unlike(as('watcher', 'SELECT * FROM lfsync_status'), qr/secret|j\.db/, 'and neither values nor paths');
is(as('stranger', 'SELECT count(*) FROM lfsync_status'), 0, 'others see nothing');
like(as('stranger', 'SELECT * FROM lfsync_job_state'), qr/42501: permission denied/, 'from nowhere');
like(as('app', q(SELECT message FROM lfsync_status)), qr/"secret"/, 'the owner sees it all');

$t->sql('UPDATE knob SET broken = false');
$event = heard_of('unreliable');
like($event->{message}, qr/^\d+ of its last \d+ runs failed, though not the last one$/, 'it works again, and is not trusted');
$t->wait_sql('SELECT count(*) = 2 FROM told');
$event = heard_of('recovered');
is($event->{health}, 'ok', 'twenty runs later it is');
poll('the log', sub { return slurp_file($node->logfile, $log) =~ /LOG:  function "tell", called for an event of lfsync job "j", failed: fails by itself/ });
my $runs = $t->status('j', 'runs_total');
$t->wait_sql("SELECT runs_total > $runs FROM lfsync_status WHERE job = 'j'");
is($t->status('j', 'health'), 'ok', 'a function that fails harms nothing');
is($t->sql('SELECT count(*) FROM told'), 2, 'and its work is rolled back');
$t->sql(q(SELECT lfsync_alter_job('j', enabled => false)));
is(heard_of('disabled')->{job}, 'j', 'that it was switched off is told, too');

# Late: two runs hold all slots.
subtest 'late' => sub {
	my $gate = $t->close_gate;

	$t->sql(q(SELECT lfsync_add_job('g' || i, 'gated', 'g' || i || '.db', 'full', schedule => '1 hour') FROM generate_series(1, 2) i));
	$t->wait_sql('SELECT count(*) = 2 FROM lfsync_progress');
	$t->sql(q(SELECT lfsync_alter_job('j', enabled => true)));
	like(heard_of('late')->{message}, qr/^it has been due since .*; the server log says what it waits for$/, 'is told');
	$gate->open_gate;
	is(heard_of('recovered')->{job}, 'j', 'and its end');
	$t->wait_runs("g$_", 1) foreach 1, 2;
	$t->sql(qq(SELECT lfsync_drop_job('g$_', true))) foreach 1, 2;
};

#
# History
#
$t->sql(q(ALTER SYSTEM SET lfsync.history_rows = 5; SELECT pg_reload_conf()));
$t->sql(q(SELECT lfsync_export('t', 'once.db') FROM generate_series(1, 3)));
$runs = $t->status('j', 'runs_total');
$t->wait_sql("SELECT runs_total >= $runs + 2 FROM lfsync_status WHERE job = 'j'");
$t->wait_sql(q(SELECT count(*) FILTER (WHERE status <> 'running') <= 5 FROM lfsync_runs WHERE job = 'j'));
is($t->sql('SELECT count(*) FROM lfsync_runs WHERE job IS NULL'), 3, 'so many of each, not of all');
cmp_ok($t->status('j', 'runs_total'), '>', 20, 'totals stay');
$t->sql(q(SELECT lfsync_alter_job('j', enabled => false)));
$t->wait_sql('SELECT count(*) = 0 FROM lfsync_progress');
$t->set_clock($t->sql(q(SELECT now() + interval '29 days')));
$t->sql(q(SELECT lfsync_export('t', 'once.db')));
cmp_ok($t->sql('SELECT count(*) FROM lfsync_runs'), '>', 5, 'for thirty days');
my $last = $t->sql('SELECT max(run_id) FROM lfsync_runs');
$t->set_clock($t->sql(q(SELECT now() + interval '31 days')));
$t->wait_sql('SELECT count(*) = 0 FROM lfsync_runs');
ok(1, 'no longer, also of jobs that do not run');
cmp_ok($t->status('j', 'runs_total'), '>', 20, 'totals stay');
$t->set_clock(undef);

#
# The query of the README for exporters of metrics
#
my ($query) = slurp_file('README.md') =~ /^(    SELECT current_database\(\) AS datname, job,.*?;)$/ms;
$query =~ s/;$//;
my $counters = sub { return decode_json($t->sql("SELECT row_to_json(q) FROM ($query) q")) };
my $before = $counters->();
$t->sql(q(SELECT lfsync_alter_job('j', enabled => true)));
$t->wait_sql("SELECT runs_total > $before->{runs_total} FROM lfsync_status WHERE job = 'j'");
my $after = $counters->();
cmp_ok($after->{$_}, '>=', $before->{$_}, "counter $_") foreach grep { /_total$/ } sort keys %$before;
is_deeply([ sort keys %$after ],
	[ sort qw(datname job runs_total runs_succeeded_total runs_failed_total rows_written_total bytes_written_total consecutive_failures lag_seconds healthy) ],
	'its columns');
$t->sql(q(SELECT lfsync_drop_job('j')));
poll('the end', sub { return !$t->workers });

# A state goes with its job.
$t->set_clock($t->sql(q(SELECT now() + interval '2 hours')));
$t->sql(q(SELECT lfsync_add_job('k', 't', 'k.db', 'full', schedule => '1 hour')));
$t->wait_sql('SELECT count(*) = 1 FROM lfsync_job_state');
ok(1, 'what is left of a job that was dropped goes, too');
$t->set_clock(undef);

done_testing();
