# A run never keeps another database from being created or dropped, and its own
# can be dropped by force.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(time);

my $t = Lfsync->new('drop_database', conf => <<'END');
lfsync.busy_timeout = '60s'
fsync = off
END
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
sqlite($t->path('shared.db'), 'CREATE TABLE mine (a)');

# Each is held all the while: the creation of indexes by stopping the writer,
# which is what a process inside fsync looks like from outside.
my %places = (
	'scanning' => {
		export => q('gated', 'new.db', 't'),
		hold => sub { return $t->close_gate },
		held => sub { $t->wait_at_gate; return; },
		release => sub { $_[0]->open_gate },
	},
	'waiting for a lock on the source' => {
		export => q('t', 'new.db', 't'),
		hold => sub {
			my $session = $t->session;
			$session->query('BEGIN; LOCK TABLE t;');
			return $session;
		},
		held => sub {
			$t->wait_sql(q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 't'::regclass AND NOT granted));
		},
		release => sub { $_[0]->query('ROLLBACK;') },
	},
	'waiting to read the file' => {
		export => q('t', 'old.db', 't'),
		hold => sub { return file_lock('old.db', 'BEGIN EXCLUSIVE;') },
		held => \&wait_for_file,
		release => sub { $_[0]->query('ROLLBACK;') },
	},
	'waiting to write the file' => {
		export => q('t', 'shared.db', 't'),
		hold => sub { return file_lock('shared.db', 'BEGIN IMMEDIATE;') },
		held => \&wait_for_file,
		release => sub { $_[0]->query('ROLLBACK;') },
	},
	'creating indexes' => {
		export => q('indexed', 'new.db', 't'),
		hold => sub { return undef },
		held => sub {
			my $writer = $t->wait_phase('creating indexes')->{writer_pid};
			kill 'STOP', $writer;
			return $writer;
		},
		release => sub { kill 'CONT', $_[1] },
	},);

sub file_lock
{
	my ($file, $sql) = @_;
	my $session = sqlite_session($t->path($file));

	$session->query($sql);
	return $session;
}

sub wait_for_file
{
	$t->wait_sql(q(SELECT count(*) > 0 FROM lfsync_progress WHERE waiting_for = 'a lock on the file'));
	return;
}

foreach my $name (sort keys %places)
{
	my $place = $places{$name};

	subtest "another database, $name" => sub {
		my $holder = $place->{hold}->();
		my $caller = $t->session;

		$caller->send("SELECT rows_read FROM lfsync_export($place->{export});");
		my $held = $place->{held}->();
		my $since = time;
		$t->sql($_) foreach ('CREATE DATABASE other', 'DROP DATABASE other');
		cmp_ok(time - $since, '<', 5, 'CREATE and DROP DATABASE do not wait');
		ok(!$caller->done, 'the run was under way all the time');
		$place->{release}->($holder, $held);
		$caller->wait;
		like($caller->output, qr/^(?:1000|200000)$/, 'and is not disturbed') or diag $caller->error;
		$holder->quit if $holder;
		unlink $t->path('new.db');
		$t->clean('afterwards', qw(old.db shared.db));
	};
}

subtest 'a run that was cancelled while its writer cannot end' => sub {
	my $place = $places{'creating indexes'};
	my $caller = $t->session;

	$caller->send("SELECT rows_read FROM lfsync_export($place->{export});");
	my $writer = $place->{held}->();
	my $since = time;
	$t->sql("SELECT pg_cancel_backend($caller->{backend})");
	cmp_ok($caller->wait($since), '<', $soon, 'the caller need not wait for it');
	$since = time;
	$t->sql($_) foreach ('CREATE DATABASE other', 'DROP DATABASE other');
	cmp_ok(time - $since, '<', 5, 'CREATE and DROP DATABASE do not wait');
	$t->fails(q(SELECT lfsync_export('t', 'new.db')), '55006', qr/is being written by another run/,
		'the file is still taken');
	kill 'CONT', $writer;
	$t->clean('afterwards', qw(old.db shared.db));
	$t->works('when it has ended', 'new.db');
	unlink $t->path('new.db');
};

# The exported one.  What holds the run is outside of it: force would end a
# session that does, and the run might be done before its own signal comes.
$t->sql('CREATE DATABASE exported');
$t->sql('CREATE EXTENSION lfsync', db => 'exported');
$t->make_source(db => 'exported');
my $lock = file_lock('shared.db', 'BEGIN IMMEDIATE;');
my $caller = $t->session(db => 'exported');
$caller->send(q(SELECT lfsync_export('t', 'shared.db', 'exported');));
wait_for_file();
$t->fails('DROP DATABASE exported', '55006', qr/database "exported" is being accessed by other users/,
	'the exported database is in use');
ok(!$caller->done, 'the run goes on');
my $since = time;
$t->sql('DROP DATABASE exported WITH (FORCE)');
cmp_ok(time - $since, '<', 5, 'force ends the run');
$caller->wait;
$lock->quit;
$t->clean('afterwards', qw(old.db shared.db));
$t->works('afterwards');

done_testing();
