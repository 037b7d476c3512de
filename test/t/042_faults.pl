# Every call that changes a file fails, one after the other, once and for good,
# as on a full or a broken disk.  The file is always that of one run, and sound;
# an error says what to do; and the next run works.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use LfsyncFaults;
use PostgreSQL::Test::Utils;
use Test::More;

my ($faults, $reason) = LfsyncFaults->new(PostgreSQL::Test::Utils::tempdir_short());
plan skip_all => $reason if !$faults;

my $t = Lfsync->new('faults', env => $faults->env, conf => "lfsync.log_runs = none\nlfsync.batch_bytes = '1MB'\n");

$t->sql(<<'END');
CREATE TABLE generation (gen int);
INSERT INTO generation VALUES (1);
CREATE VIEW g AS
	SELECT i::int AS id, gen, repeat(md5(i::text || gen), 10) AS noise
	FROM generation, generate_series(1, 100) AS i;
END

my $session = $t->session;
my $generation = 1;

# One run, of a new generation: SQLSTATE, '' if it worked, and the messages.
sub run
{
	my ($file) = @_;

	$generation++;
	$session->query('UPDATE generation SET gen = gen + 1;');
	$session->send(qq(SELECT rows_read FROM lfsync_export('g', '$file', key_columns => '{id}', options => '{"batch_rows": 50}');));
	$session->wait;
	my ($sqlstate) = $session->error =~ /ERROR:  (\w{5}):/;
	return ($sqlstate // '', $session->error);
}

# What the file is like: its generation, or what is wrong.
sub state
{
	my ($file, $shared) = @_;

	return 'none' if !-e $t->path($file);
	my $state = sqlite($t->path($file),
		q(PRAGMA integrity_check; SELECT count(*), min(gen) = max(gen), min(gen) FROM g;) .
		($shared ? 'SELECT count(*), sum(a) FROM mine;' : ''));
	return $1 if $state =~ /\Aok\n100\|1\|(\d+)@{[ $shared ? '\n3\|6' : '' ]}\z/;
	return $state;
}

sub leftovers
{
	return join ' ', grep { /lfsync-|-journal$|-wal$|-shm$|etilqs/ } $t->files;
}

my %setups = (
	'a new file' => sub { unlink $t->path('a.db') },
	'an old file, replaced' => sub { run('a.db') },
	'an old file that is open' => sub {
		run('a.db');
		my $reader = sqlite_session($t->path('a.db'));
		$reader->query('SELECT count(*) FROM g;');
		return $reader;
	},
	'in place' => sub {
		run('a.db');
		sqlite($t->path('a.db'), 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2), (3)');
	},
	'in place, in WAL mode' => sub {
		run('a.db');
		sqlite($t->path('a.db'), 'PRAGMA journal_mode = wal; CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2), (3)');
	},);

my %sqlstates;

foreach my $name (sort keys %setups)
{
	my $shared = $name =~ /in place/;

	subtest "a call fails: $name" => sub {
		my (@wrong, $n);
		my ($failed, $worked) = (0, 0);

		unlink glob $t->path('') . '*';
		$faults->set('', LfsyncFaults::COUNT);
		my $reader = $setups{$name}->();
		$faults->set($t->dir, LfsyncFaults::COUNT);
		is((run('a.db'))[0], '', 'works without faults');
		my $calls = $faults->count;
		cmp_ok($calls, '>', 5, 'there are calls');
		note "$calls calls";

		# Each for once, then for good from some of them on.  Every now and
		# then there is a run without faults.
		foreach my $forever (0, 1)
		{
			for ($n = 1; $n <= $calls + 2; $n += $forever ? int($calls / 15) + 1 : 1)
			{
				my $where = "call $n" . ($forever ? ' and all that follow' : '');
				unlink $t->path('a.db') if $name eq 'a new file';
				my $before = state('a.db', $shared);

				$faults->set($t->dir, LfsyncFaults::FAIL, first => $n, last => $forever ? 1_000_000 : $n);
				my ($sqlstate, $error) = run('a.db');
				$faults->set('', LfsyncFaults::COUNT);
				my $after = state('a.db', $shared);
				push @wrong, "$where: after an error, $after instead of $before" if $sqlstate && $after ne $before && $after ne $generation;
				push @wrong, "$where: after success, $after instead of $generation" if !$sqlstate && $after ne $generation;
				push @wrong, "$where: $error" if $sqlstate && ($sqlstate !~ /^(?:53100|58030)$/ || $error !~ /HINT:/);
				push @wrong, "$where: left: " . leftovers() if $sqlstate && !$forever && leftovers() =~ /lfsync-|etilqs/;
				$sqlstate ? $failed++ : $worked++;
				$sqlstates{$sqlstate}++;

				next if !$forever && $n % 5 && $calls > 20;
				($sqlstate, $error) = run('a.db');
				$after = state('a.db', $shared);
				push @wrong, "$where: the next run: $error" if $sqlstate;
				push @wrong, "$where: the next run: $after instead of $generation" if $after ne $generation;
				push @wrong, "$where: the next run leaves " . leftovers()
				  if leftovers() =~ /lfsync-|etilqs/ || (leftovers() && !$reader && $name !~ /WAL/);
				last if @wrong > 5;
			}
		}
		is_deeply(\@wrong, [], 'all is well after each');
		cmp_ok($failed, '>', 5, "many failed ($failed), and some did not ($worked)");
	};
}
note join ', ', map { "$_: $sqlstates{$_}" } sort keys %sqlstates;
cmp_ok($sqlstates{53100} // 0, '>', 10, 'disk full was met');
cmp_ok($sqlstates{58030} // 0, '>', 10, 'broken disk was met');

# Some network file systems know no flock(2).
foreach my $name (sort keys %setups)
{
	unlink glob $t->path('') . '*';
	$faults->set('', LfsyncFaults::COUNT);
	my $reader = $setups{$name}->();
	$faults->set($t->dir, LfsyncFaults::FAIL, kinds => LOCK, first => 1, last => 1_000_000);
	is((run('a.db'))[1], '', "without flock: $name");
	cmp_ok($faults->count, '>', 0, 'it was asked for');
	$faults->set('', LfsyncFaults::COUNT);
	is(state('a.db', $name =~ /in place/), $generation, 'the file is of this run');
	is(leftovers(), '', 'and nothing is left') if !$reader && $name !~ /WAL/;
}

done_testing();
