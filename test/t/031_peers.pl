# One of a run's processes is told to stop, or the source raises an error, at
# the first row, late, and at the last: the run fails with the real reason, no
# partial file appears, the old one stays as it was, and the next run works.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(time);

my $t = Lfsync->new('peers', conf => "lfsync.busy_timeout = '60s'\n");
$t->make_source;
$t->sql(<<'END');
CREATE VIEW fails_first AS SELECT id, v, 1 / (id - 1) AS q FROM t;
CREATE VIEW fails_late AS SELECT id, v, 1 / (id - 700) AS q FROM t;
CREATE VIEW fails_last AS SELECT id, v, 1 / (id - 1000) AS q FROM t;
CREATE VIEW sorted AS SELECT id, v, 1 / (id - 700) AS q FROM t ORDER BY v DESC OFFSET 0;
SELECT lfsync_export('t', 'old.db');
SELECT lfsync_export('t', 'shared.db');
END
sqlite($t->path('shared.db'), 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2)');
my @files = qw(old.db shared.db);
my $old = slurp_raw($t->path('old.db'));
my $content = content($t->path('shared.db'));

# A new file, an old one, and one that is synced in place, in batches that are
# small enough for some to be written before the 500th row.
my @targets = (
	[ 'new file', q('new.db', 't') ],
	[ 'old file', q('old.db', 't') ],
	[ 'in place', q('shared.db', 't', options => '{"batch_rows": 50}') ]);

sub untouched
{
	$t->clean('afterwards', @files);
	is(slurp_raw($t->path('old.db')) eq $old, 1, 'the old file is untouched');
	same_text(content($t->path('shared.db')), $content, 'the file in place is as it was');
	is(integrity($t->path('shared.db')), 'ok', 'and sound');
	return;
}

foreach my $target (@targets)
{
	my ($name, $file) = @$target;

	foreach my $view (qw(fails_first fails_late fails_last sorted))
	{
		subtest "$name: $view" => sub {
			my ($rc, undef, $err) = $t->try("SELECT lfsync_export('$view', $file)");

			isnt($rc, 0, 'fails');
			like($err, qr/ERROR:  22012: division by zero/, 'the real error');
			is($t->history('status, sqlstate, message'), 'failed|22012|division by zero', 'history');
			untouched();
		};
	}
	$t->works($name, 'next.db');
	unlink $t->path('next.db');
}

# Whom to stop: a signal from outside, or the server's own functions.
my @ways = (
	{
		name => 'SIGTERM to the writer',
		stop => sub { kill 'TERM', $_[0]{writer_pid} },
		told => qr/ERROR:  (?:58000: the writer of this run ended without a word|57014: the run was stopped)/,
	},
	{
		name => 'pg_terminate_backend of the runner',
		stop => sub { $t->sql("SELECT pg_terminate_backend($_[0]{pid})") },
		told => qr/ERROR:  57014: the run was stopped/,
		status => 'cancelled',
	},
	{
		name => 'pg_cancel_backend of the runner',
		stop => sub { $t->sql("SELECT pg_cancel_backend($_[0]{pid})") },
		told => qr/ERROR:  57014: the run was cancelled/,
		status => 'cancelled',
	},);

sub stopped
{
	my ($way, $sql, $held) = @_;
	my $caller = $t->session;

	$caller->send($sql);
	$held->();
	my $progress = $t->progress;
	my $since = time;
	$way->{stop}->($progress);
	my $took = $caller->wait($since);

	cmp_ok($took, '<', $soon, 'ends soon');
	like($caller->error, $way->{told}, 'the caller is told');
	is($t->history('status'), $way->{status}, 'history') if $way->{status};
	like($t->history('status, sqlstate'), qr/^(?:failed\|58000|cancelled\|57014)$/, 'history');
	return;
}

foreach my $way (@ways)
{
	foreach my $target (@targets)
	{
		my ($name, $file) = @$target;

		subtest "$name: $way->{name}, scanning" => sub {
			my $gate = $t->close_gate;

			# the writer has to do with the batches first
			if ($way->{name} =~ /writer/)
			{
				my $caller = $t->session;

				$caller->send("SELECT lfsync_export('gated', $file);");
				$t->wait_at_gate;
				my $writer = $t->progress->{writer_pid};
				kill 'TERM', $writer;
				# nobody notices before the next row, and that is allowed
				poll('the end of the writer', sub { return !alive($writer) });
				my $since = time;
				$gate->open_gate;
				cmp_ok($caller->wait($since), '<', $soon, 'ends soon');
				like($caller->error, $way->{told}, 'the caller is told');
				like($t->history('status, sqlstate'), qr/^failed\|58000$/, 'history');
			}
			else
			{
				stopped($way, "SELECT lfsync_export('gated', $file);", sub { $t->wait_at_gate });
			}
			$gate->quit;
			untouched();
		};
	}
	subtest "in place: $way->{name}, waiting for the file" => sub {
		my $lock = sqlite_session($t->path('shared.db'));

		$lock->query('BEGIN IMMEDIATE;');
		stopped($way, "SELECT lfsync_export('t', $targets[2][1]);",
			sub { $t->wait_sql(q(SELECT count(*) > 0 FROM lfsync_progress WHERE waiting_for = 'a lock on the file')) });
		$lock->quit;
		untouched();
	};
	$t->works($way->{name});
	unlink $t->path('next.db');
}

done_testing();
