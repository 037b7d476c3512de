# The writer is killed just before each of the calls that change a file: the
# server crashes and restarts, and whoever reads the file next has what one run
# has published, and what others had in it.  The next run clears away what was
# left.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use LfsyncFaults;
use PostgreSQL::Test::Utils;
use Test::More;

my ($faults, $reason) = LfsyncFaults->new(PostgreSQL::Test::Utils::tempdir_short());
plan skip_all => $reason if !$faults;

my $t = Lfsync->new('crash_points', env => $faults->env, conf => <<'END');
lfsync.batch_bytes = '1MB'
restart_after_crash = on
END

$t->sql(<<'END');
CREATE TABLE generation (gen int);
INSERT INTO generation VALUES (1);
CREATE VIEW g AS
	SELECT i::int AS id, gen, repeat(md5(i::text || gen), 10) AS noise
	FROM generation, generate_series(1, 100) AS i;
END

my $generation = 1;

sub run
{
	$generation++;
	my ($rc, $out, $err) = $t->try(
		q(UPDATE generation SET gen = gen + 1;
		  SELECT rows_read FROM lfsync_export('g', 'a.db', key_columns => '{id}', options => '{"batch_rows": 50}')));
	return $rc == 0 ? '' : $err;
}

sub state
{
	my ($shared) = @_;

	return 'none' if !-e $t->path('a.db');
	my $state = sqlite($t->path('a.db'),
		q(PRAGMA integrity_check; SELECT count(*), min(gen) = max(gen), min(gen) FROM g;) .
		($shared ? 'SELECT count(*), sum(a) FROM mine;' : ''));
	return $1 if $state =~ /\Aok\n100\|1\|(\d+)@{[ $shared ? '\n3\|6' : '' ]}\z/;
	return $state;
}

my $mine = 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2), (3)';
my %setups = (
	'a new file' => sub { return },
	'an old file, replaced' => sub { run() },
	'an old file that is open' => sub {
		run();
		my $reader = sqlite_session($t->path('a.db'));
		$reader->query('SELECT count(*) FROM g;');
		return $reader;
	},
	'in place' => sub { run(); sqlite($t->path('a.db'), $mine) },
	'in place, in WAL mode' => sub { run(); sqlite($t->path('a.db'), "PRAGMA journal_mode = wal; $mine") },);

foreach my $name (sort keys %setups)
{
	subtest $name => sub {
		my $shared = $name =~ /in place/;
		my (%states, $reader);

		unlink glob $t->path('') . '{*,.*}db*';
		$reader = $setups{$name}->();
		$faults->set($t->dir, LfsyncFaults::COUNT);
		is(run(), '', 'works without a crash');
		my $calls = $faults->count;

		foreach my $point (1 .. $calls)
		{
			my $call = "call $point of $calls";
			unlink $t->path('a.db') if $name eq 'a new file';
			my $before = state($shared);

			$faults->set($t->dir, LfsyncFaults::KILL, first => $point);
			my $error = run();
			$faults->set('', LfsyncFaults::COUNT);
			like($error, qr/terminating connection because of crash|server closed the connection/, "$call: the server crashes");
			# the first to look may have to roll back a journal
			my $after = state($shared);
			ok($after eq $before || $after eq $generation, "$call: the file is the old one or the new one")
			  or diag "it is $after, was $before, would be $generation";
			$states{ $after eq $before ? 'old' : 'new' }++;
			$t->wait_restart;
			is(run(), '', "$call: the next run works");
			is(state($shared), $generation, "$call: and its file is right");
			is(join(' ', grep { /lfsync-|etilqs/ } $t->files), '', "$call: and nothing is left");
			is($t->sql(q(SELECT count(*) FROM lfsync_runs WHERE status = 'running')), 0, "$call: nor in the history");
		}
		note join ', ', map { "$_: $states{$_}" } sort keys %states;
	};
}
$t->baseline;
is(scalar(keys %{ { $t->workers } }), 0, 'no workers are left');

done_testing();
