# A run that is stopped, by every way there is and at every place where it may
# be waiting or busy: it ends within a second, says so in the history, leaves
# nothing behind and the old file as it was, and the next run works.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(time);

my $t = Lfsync->new('cancel', conf => <<'END');
lfsync.busy_timeout = '60s'
max_worker_processes = 16
END
$t->make_source;
$t->sql(<<'END');
CREATE TABLE indexed (id int PRIMARY KEY, a text, b text, c text);
INSERT INTO indexed SELECT i, md5(i::text), md5((i + 1)::text), md5((i + 2)::text) FROM generate_series(1, 200000) i;
CREATE INDEX ON indexed (a);
CREATE INDEX ON indexed (b);
CREATE INDEX ON indexed (c);
CREATE INDEX ON indexed (a, b);
CREATE INDEX ON indexed (b, c);
CREATE INDEX ON indexed (c, a);
END

# A file of a run before, and one that holds another table too.
$t->sql(q(SELECT lfsync_export('t', 'old.db'); SELECT lfsync_export('t', 'shared.db')));
sqlite($t->path('shared.db'), 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2)');
my @files = qw(old.db shared.db);
my %before = map { $_ => slurp_raw($t->path($_)) } @files;

# Where a run can be held: what to export, how to hold it, how to know that it
# is there, how to let go.
my @places = (
	{
		name => 'scanning for a new file',
		export => q('gated', 'new.db'),
		hold => sub { return $t->close_gate },
		held => sub { return $t->wait_at_gate },
	},
	{
		name => 'scanning for a file in place',
		export => q('gated', 'shared.db', 't', options => '{"batch_rows": 100}'),
		hold => sub { return $t->close_gate },
		held => sub { return $t->wait_at_gate },
	},
	{
		name => 'waiting for a lock on the source',
		export => q('t', 'new.db'),
		hold => sub {
			my $session = $t->session;
			$session->query('BEGIN; LOCK TABLE t;');
			return $session;
		},
		held => sub {
			return $t->wait_sql(q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 't'::regclass AND NOT granted));
		},
	},
	{
		name => 'waiting to read a locked file',
		export => q('t', 'old.db'),
		hold => sub { return file_lock('old.db', 'BEGIN EXCLUSIVE') },
		held => \&wait_for_file,
	},
	{
		name => 'waiting to write a locked file in place',
		export => q('t', 'shared.db'),
		hold => sub { return file_lock('shared.db', 'BEGIN IMMEDIATE') },
		held => \&wait_for_file,
	},
	{
		name => 'waiting to copy over a locked file',
		export => q('t', 'old.db'),
		hold => sub { return file_lock('old.db', 'BEGIN IMMEDIATE') },
		held => sub { return $t->wait_phase('publishing', sub { $_[0]{waiting_for} }) },
	},
	{
		name => 'waiting for a reader to commit in place',
		export => q('t', 'shared.db'),
		hold => sub { return file_lock('shared.db', 'BEGIN; SELECT count(*) FROM t') },
		held => \&wait_for_file,
	},
	{
		name => 'creating indexes',
		export => q('indexed', 'new.db'),
		hold => sub { return undef },
		held => sub { return $t->wait_phase('creating indexes') },
	},
	{
		name => 'creating indexes in place',
		export => q('indexed', 'shared.db'),
		hold => sub { return undef },
		held => sub { return $t->wait_phase('creating indexes') },
	},);

# Ways to stop a run.  What the caller is told, and what the history says, as
# far as it does not depend on the place.
my @ways = (
	{
		name => 'pg_cancel_backend',
		stop => sub { $t->sql("SELECT pg_cancel_backend($_[0]{backend})") },
		told => qr/57014: canceling statement due to user request/,
	},
	{
		name => 'pg_terminate_backend',
		stop => sub { $t->sql("SELECT pg_terminate_backend($_[0]{backend})") },
		told => qr/57P01: terminating connection due to administrator command/,
	},
	{
		name => 'lost client',
		stop => sub { $_[0]->kill9 },
	},
	{
		name => 'lfsync_cancel',
		stop => sub { $t->sql('SELECT lfsync_cancel(run_id) FROM lfsync_progress') },
		told => qr/57014: the run was (?:cancelled|stopped)/,
	},
	{
		name => 'statement_timeout',
		before => q(SET statement_timeout = '%s';),
		told => qr/57014: canceling statement due to statement timeout/,
	},
	{
		name => 'run_timeout',
		before => q(SET lfsync.run_timeout = '%s';),
		told => qr/57014: the run took longer than "run_timeout"/,
		status => 'failed',
	},);

sub file_lock
{
	my ($file, $sql) = @_;
	my $session = sqlite_session($t->path($file));

	$session->query("$sql;");
	return $session;
}

sub wait_for_file
{
	return $t->wait_sql(q(SELECT count(*) > 0 FROM lfsync_progress WHERE waiting_for = 'a lock on the file'));
}

sub stopped
{
	my ($place, $way) = @_;
	my $holder = $place->{hold}->();
	my $caller = $t->session;
	my $limit = 0.3;

	$caller->query(sprintf $way->{before}, "${limit}s") if $way->{before};
	$caller->send("SELECT lfsync_export($place->{export});");
	my $since = $caller->{sent} + $limit;
	# a timeout may strike before it is seen where it strikes
	if (!$way->{before})
	{
		$place->{held}->();
		$since = time;
		$way->{stop}->($caller);
	}
	my $took = $caller->wait($since);

	cmp_ok($took, '<', $soon, 'the caller gets its answer soon');
	like($caller->error, $way->{told}, 'and the right one') if $way->{told};
	poll('the end of the workers', sub { my %w = $t->workers; return !%w });
	cmp_ok(time - $since, '<', $soon, 'the workers end soon');
	$holder->kill9 if $holder;
	is($t->history('status, sqlstate, finished_at >= started_at'),
		($way->{status} // 'cancelled') . '|57014|t', 'history');
	$t->clean('afterwards', @files);
	foreach my $file (@files)
	{
		is(integrity($t->path($file)), 'ok', "$file: integrity");
		is(sqlite($t->path($file), 'SELECT count(*), sum(length(v)) FROM t'), '1000|1007893', "$file: rows");
	}
	is(slurp_raw($t->path('old.db')) eq $before{'old.db'}, 1, 'the old file is untouched');
	is(sqlite($t->path('shared.db'), q(SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name))),
		'_lfsync_columns _lfsync_state mine t', 'no hidden table is left');
	return;
}

foreach my $place (@places)
{
	foreach my $way (@ways)
	{
		# an index may not be begun before so short a timeout, and where the
		# caller is when its own timeout strikes is the same everywhere
		next if $way->{before} && $place->{name} =~ /index/;
		next if $way->{name} eq 'statement_timeout' && $place->{name} !~ /^scanning/;
		subtest "$place->{name}: $way->{name}" => sub { stopped($place, $way) };
	}
	$t->works($place->{name});
	unlink $t->path('next.db');
}

# Nobody stops it, and it does not wait for ever.
{
	my $locker = $t->session;
	my $since = time;

	$locker->query('BEGIN; LOCK TABLE t;');
	$t->fails(q(SET lfsync.busy_timeout = '300ms'; SELECT lfsync_export('t', 'new.db')), '55P03',
		qr/HINT:  .*lfsync\.busy_timeout/, 'a locked source, longer than busy_timeout');
	cmp_ok(time - $since, '<', $soon, 'not much longer');
	is($t->history('status, sqlstate'), 'failed|55P03', 'history');
	$t->clean('afterwards', @files);
}

done_testing();
