# When jobs are due: intervals, times of day, windows, tries, and clocks that
# jump.  The clock stands still wherever a test puts it.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('schedule', conf => <<'END');
lfsync.databases = 'postgres'
lfsync.naptime = '1h'
timezone = 'UTC'
fsync = off
END
$t->sql(<<'END');
CREATE TABLE knob (sqlstate text, open boolean);
INSERT INTO knob VALUES (NULL, true);
CREATE FUNCTION turn() RETURNS int LANGUAGE plpgsql AS $$
DECLARE state text := (SELECT sqlstate FROM knob);
BEGIN
	IF state IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = state, MESSAGE = 'turned to ' || state;
	END IF;
	RETURN 1;
END $$;
END

my $runs;

# One job at a time; its file goes with it.
sub add
{
	my ($time, $arguments) = @_;

	$t->set_clock($time);
	# the table's default is the real time
	$t->sql("BEGIN; SELECT lfsync_add_query_job('j', 'SELECT turn() AS x', 'j.db', 'x', 'full', $arguments); "
		  . "UPDATE lfsync_jobs SET created_at = '$time'; COMMIT");
	$runs = 0;
	return;
}

sub drop
{
	$t->wait_sql('SELECT count(*) = 0 FROM lfsync_progress');
	$t->sql(q(SELECT lfsync_drop_job('j', drop_file => true)));
	return;
}

sub wait_run
{
	$t->wait_runs('j', ++$runs);
	return;
}

sub turn
{
	my ($sqlstate) = @_;

	$t->sql('UPDATE knob SET sqlstate = ' . ($sqlstate ? "'$sqlstate'" : 'NULL'));
	return;
}

# The clock is put to a time: does the job run, and when is it due next?
sub at
{
	my ($time, $runs_now, $next, $name) = @_;
	my $is_due = $t->sql("SELECT count(*) FROM lfsync_status WHERE job = 'j' AND next_run_at <= '$time'");

	is($is_due, $runs_now, "$name: so it is said before");
	$t->set_clock($time);
	wait_run() if $runs_now;
	is($t->status('j', 'runs_total, next_run_at'), "$runs|$next+00", $name);
	return;
}

subtest 'an interval' => sub {
	add('2025-01-01 00:00:00', q(schedule => '10 min'));
	wait_run();
	is($t->status('j', 'runs_total, next_run_at'), '1|2025-01-01 00:10:00+00', 'starts at once');
	at('2025-01-01 00:09:59', 0, '2025-01-01 00:10:00', 'not before its time');
	at('2025-01-01 00:10:00', 1, '2025-01-01 00:20:00', 'at its time');
	at('2025-01-01 00:21:30', 1, '2025-01-01 00:30:00', 'late, and without a drift');
	at('2025-01-01 03:05:00', 1, '2025-01-01 03:10:00', 'times missed are made up for once');
	$t->sql(q(SELECT lfsync_alter_job('j', schedule => '1 hour')));
	is($t->status('j', 'next_run_at'), '2025-01-01 04:00:00+00', 'a longer one counts from the first start');
	$t->sql(q(SELECT lfsync_alter_job('j', enabled => false)));
	$t->set_clock('2025-01-01 06:00:00');
	is($t->status('j', 'runs_total, next_run_at IS NULL, health'), "$runs|t|disabled", 'it pauses');
	$t->sql(q(SELECT lfsync_alter_job('j', enabled => true)));
	wait_run();
	is($t->status('j', 'runs_total, next_run_at'), "$runs|2025-01-01 07:00:00+00", 'and resumes');
	$t->sql(q(SELECT lfsync_export('j')));
	is($t->status('j', 'runs_total, next_run_at'), ++$runs . '|2025-01-01 07:00:00+00', 'a run by hand changes no time');
	drop();
};

subtest 'months' => sub {
	add('2025-01-31 12:00:00', q(schedule => '1 month'));
	wait_run();
	at('2025-02-28 11:59:59', 0, '2025-02-28 12:00:00', 'a month that has no 31st');
	at('2025-02-28 12:00:00', 1, '2025-03-31 12:00:00', 'has its last day, and the next one its 31st');
	at('2035-02-15 12:00:00', 1, '2035-02-28 12:00:00', 'ten years later, too');
	drop();
};

subtest 'summer time' => sub {
	add('2025-03-29 01:30:00', q(schedule => '1 day', options => '{"timezone": "Europe/Berlin"}'));
	wait_run();
	is($t->status('j', 'next_run_at'), '2025-03-30 01:30:00+00', 'a time that is left out is an hour later');
	at('2025-03-30 01:30:00', 1, '2025-03-31 00:30:00', 'then it is as before');
	drop();
	add('2025-10-25 00:30:00', q(schedule => '1 day', options => '{"timezone": "Europe/Berlin"}'));
	wait_run();
	at('2025-10-26 00:30:00', 0, '2025-10-26 01:30:00', 'a time that comes twice');
	at('2025-10-26 01:30:00', 1, '2025-10-27 01:30:00', 'is served once');
	drop();
	add('2025-03-30 00:50:00', q(schedule => '5 min', options => '{"timezone": "Europe/Berlin"}'));
	wait_run();
	at('2025-03-30 00:55:00', 1, '2025-03-30 01:00:00', 'minutes');
	at('2025-03-30 01:00:00', 1, '2025-03-30 01:05:00', 'go on');
	drop();
};

subtest 'times of day' => sub {
	turn('22012');
	add('2025-06-01 13:00:00', q(options => '{"attempts_at": ["20:00", "22:00", "08:00"], "timezone": "Europe/Berlin"}'));
	is($t->status('j', 'runs_total, next_run_at'), '0|2025-06-01 18:00:00+00', 'the next opening');
	at('2025-06-01 18:00:00', 1, '2025-06-01 20:00:00', 'fails, so again at the second');
	at('2025-06-01 20:00:05', 1, '2025-06-02 06:00:00', 'and at the third, on the next day');
	turn();
	at('2025-06-02 06:00:00', 1, '2025-06-02 18:00:00', 'succeeds: the next cycle');
	at('2025-06-02 18:00:00', 1, '2025-06-03 18:00:00', 'succeeds at once: the rest of the cycle is skipped');
	at('2025-06-06 10:00:00', 1, '2025-06-06 18:00:00', 'cycles missed are made up for once');
	turn('22012');
	at('2025-06-06 18:00:00', 1, '2025-06-06 20:00:00', 'fails');
	turn();
	$t->set_clock('2025-06-06 18:30:00');
	$t->sql(q(SELECT lfsync_export('j')));
	is($t->status('j', 'runs_total, next_run_at'), ++$runs . '|2025-06-07 18:00:00+00', 'a run by hand that succeeds counts');
	drop();
};

subtest 'a condition' => sub {
	$t->sql('UPDATE knob SET open = false');
	add('2025-06-01 17:00:00', q(options => '{"attempts_at": ["20:00", "22:00"], "timezone": "Europe/Berlin",
		"condition": "(SELECT open FROM knob) AND current_setting(''TimeZone'') = ''Europe/Berlin''"}'));
	my $log = -s $t->node->logfile;
	$t->set_clock('2025-06-01 18:00:00');
	poll('the log', sub { return slurp_file($t->node->logfile, $log) =~ /job "j" does not run this time: its condition is not true/ });
	is($t->status('j', 'runs_total, health, next_run_at'), '0|never run|2025-06-01 20:00:00+00', 'not met: no run');
	$t->sql('UPDATE knob SET open = true');
	at('2025-06-01 20:00:00', 1, '2025-06-02 18:00:00', 'met');
	$t->sql('ALTER TABLE knob RENAME open TO closed');
	at('2025-06-02 18:00:00', 1, '2025-06-02 20:00:00', 'one that cannot be asked for');
	is($t->history('status, sqlstate'), 'failed|42703', 'is a failure');
	$t->sql('ALTER TABLE knob RENAME closed TO open');
	drop();
};

subtest 'windows' => sub {
	add('2025-06-01 12:00:00', q(schedule => '1 hour', options => '{"not_before": "22:00", "not_after": "02:00", "timezone": "UTC"}'));
	is($t->status('j', 'runs_total, next_run_at'), '0|2025-06-01 22:00:00+00', 'the first start waits for it');
	at('2025-06-01 22:00:00', 1, '2025-06-01 23:00:00', 'inside');
	at('2025-06-02 01:59:00', 1, '2025-06-02 02:00:00', 'over midnight');
	at('2025-06-02 02:00:00', 1, '2025-06-02 22:00:00', 'up to the end');
	at('2025-06-02 12:00:00', 0, '2025-06-02 22:00:00', 'outside');
	drop();
	add('2025-06-01 12:00:00', q(schedule => '1 hour', options => '{"not_before": "2025-06-03", "not_after": "2025-06-03 10:30"}'));
	is($t->status('j', 'runs_total, next_run_at'), '0|2025-06-03 00:00:00+00', 'a first day');
	at('2025-06-03 00:00:00', 1, '2025-06-03 01:00:00', 'begins');
	$t->set_clock('2025-06-03 10:00:00');
	wait_run();
	is($t->status('j', 'runs_total, next_run_at IS NULL'), '2|t', 'and a last one ends');
	drop();
};

# The n-th pause lies around 4 s * 2^(n-1).
subtest 'tries' => sub {
	turn('53100');
	add('2025-06-01 12:00:00', q(schedule => '1 hour'));
	wait_run();
	like($t->status('j', 'health, message'), qr/^retrying\|try 1 of 3 failed \(turned to 53100\), the next one is at /, 'the first one fails');
	is($t->sql(q(SELECT attempt, retry_after BETWEEN 4e6 * 0.87 AND 4e6 * 1.13,
		(SELECT next_run_at FROM lfsync_status) = attempt_at + retry_after * interval '1 us', NOT open_try FROM lfsync_job_state JOIN lfsync_jobs USING (job_id))),
		'1|t|t|t', 'its pause');
	$t->set_clock($t->status('j', 'next_run_at'));
	wait_run();
	is($t->sql('SELECT attempt, retry_after BETWEEN 8e6 * 0.87 AND 8e6 * 1.13 FROM lfsync_job_state JOIN lfsync_jobs USING (job_id)'), '2|t', 'the second one');
	is($t->history('attempt, sqlstate'), '2|53100', 'in the history');
	$t->set_clock($t->status('j', 'next_run_at'));
	wait_run();
	is($t->status('j', 'health, next_run_at, message'), 'failing|2025-06-01 13:00:00+00|failed 3 times in a row: turned to 53100',
		'after the third one it waits for its schedule');
	$t->set_clock('2025-06-01 13:00:00');
	wait_run();
	is($t->sql('SELECT attempt FROM lfsync_job_state JOIN lfsync_jobs USING (job_id)'), 1, 'which brings new tries');
	is($t->status('j', 'health'), 'failing', 'and no new state of health');
	turn();
	$t->set_clock($t->status('j', 'next_run_at'));
	wait_run();
	is($t->status('j', 'consecutive_failures, next_run_at'), '0|2025-06-01 14:00:00+00', 'a success ends it');
	is($t->sql('SELECT attempt FROM lfsync_job_state JOIN lfsync_jobs USING (job_id)'), 0, 'and the count of tries');
	drop();
};

subtest 'a failure that only a change can mend' => sub {
	turn('42501');
	add('2025-06-01 12:00:00', q(schedule => '1 hour'));
	wait_run();
	is($t->status('j', 'health, next_run_at'), 'failing|2025-06-01 13:00:00+00', 'is not tried again');
	turn();
	$t->sql(q(SELECT lfsync_alter_job('j', options => '{"indexes": false}')));
	wait_run();
	is($t->status('j', 'consecutive_failures, next_run_at'), '0|2025-06-01 13:00:00+00', 'until the job is changed');
	drop();
};

subtest 'very many tries' => sub {
	turn('55P03');
	add('2025-06-01 12:00:00', q(schedule => '12 hours', options => '{"max_attempts": 2000, "backoff": "1 min"}'));
	wait_run();
	$t->sql('UPDATE lfsync_job_state SET attempt = 1000, retry_after = 1');
	$t->set_clock('2025-06-01 12:00:01');
	wait_run();
	is($t->sql('SELECT attempt, retry_after BETWEEN 36e8 * 0.87 AND 36e8 * 1.13 FROM lfsync_job_state JOIN lfsync_jobs USING (job_id)'), '1001|t', 'the pause has a limit');
	drop();
};

# As a crash of the server leaves it; the crash itself is in 080_scheduler.pl.
subtest 'a try that was lost' => sub {
	turn();
	add('2025-06-01 12:00:00', q(schedule => '1 min', options => '{"backoff": "10 min"}'));
	wait_run();
	$t->sql(q(UPDATE lfsync_job_state SET attempt = 5, attempt_at = '2025-06-01 12:00:30', retry_after = 6e8, open_try = true));
	$t->set_clock('2025-06-01 12:00:40');
	$t->wait_sql(q(SELECT last_status = 'crashed' FROM lfsync_status));
	is($t->status('j', 'next_run_at'), '2025-06-01 12:10:40+00', 'is followed by a pause that is longer than its schedule');
	drop();
};

subtest 'a clock that jumps' => sub {
	turn();
	add('2025-06-10 12:00:00', q(schedule => '10 min'));
	wait_run();
	at('2025-06-11 12:05:00', 1, '2025-06-11 12:10:00', 'a day ahead: one run');
	$t->set_clock('2025-06-10 12:15:00');
	wait_run();
	is($t->status('j', 'runs_total, next_run_at'), "$runs|2025-06-10 12:25:00+00", 'and back: it does not wait for that day');
	at('2025-06-10 12:14:59', 0, '2025-06-10 12:25:00', 'a second back: nothing');
	drop();
};

$t->set_clock(undef);
$t->clean('at the end');

done_testing();
