# Readers never see half a table: a file is refreshed again and again while
# others read it, and while its writer is killed at random moments.  Every read
# must be of one published generation.

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run;
use Lfsync;
use Test::More;
use Time::HiRes qw(time usleep);

my $t = Lfsync->new('readers', conf => "fsync = off\nlfsync.log_runs = none\n");
my $node = $t->node;
my $seed = time ^ $$;
srand $seed;
note "seed $seed";

# Numbers that tell a generation from a mixture of two; see reader.py.
$t->sql(<<'END');
CREATE TABLE generation (gen int);
INSERT INTO generation VALUES (1);
CREATE VIEW g AS
	SELECT i::int AS id, gen, i::int * gen AS v, md5(i::text || gen) AS noise
	FROM generation, generate_series(1, 2000 + gen % 7 * 100) AS i;
CREATE PROCEDURE refresh(n int, file text, options jsonb, INOUT published int, INOUT failed int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		UPDATE generation SET gen = gen + 1;
		COMMIT;
		BEGIN
			PERFORM lfsync_export('g', file, key_columns => '{id}', options => options);
			published := published + 1;
		EXCEPTION WHEN OTHERS OR query_canceled THEN
			-- what a writer that is killed may end with, and nothing else
			IF SQLSTATE NOT IN ('58000', '57014') THEN
				RAISE;
			END IF;
			failed := failed + 1;
		END;
		COMMIT;
	END LOOP;
END $$;
END

# Holds on to a file without opening it, so that its inode's number is not used
# again, and returns a function that tells whether that is still the file.
sub hold_inode
{
	my ($file) = @_;
	my $o_path = 010000000;

	sysopen my $fh, $t->path($file), $o_path or die "$file: $!";
	return sub { return (stat $fh)[1] == (stat $t->path($file))[1] };
}

# Refreshes a file n times with these readers around, while its writer gets a
# SIGTERM now and then.
my $failures = 0;

sub refreshed
{
	my ($name, $file, $options, $n, @kinds) = @_;

	return subtest $name => sub {
		my ($in, $out, $err) = ('', '', '');
		my $readers = IPC::Run::start([ 'python3', "$FindBin::Bin/../lib/reader.py", $t->path($file), @kinds ],
			'<', \$in, '>', \$out, '2>', \$err);

		poll('the readers', sub { $readers->pump_nb; return $out =~ /^ready$/m || $err });
		my $session = $t->session;
		$session->send("CALL refresh($n, '$file', '$options', 0, 0);");
		my (%seen_writer, $killed);
		until ($session->done)
		{
			my %workers = $t->workers;
			my ($writer) = grep { $workers{$_} =~ /writer/ && !$seen_writer{$_}++ } keys %workers;

			if ($writer && rand() < 0.5)
			{
				# more often soon than late: most are not there for long
				usleep rand rand 30_000;
				$killed += kill 'TERM', $writer;
			}
			eval { $readers->pump_nb };
			usleep 500;
		}
		is($session->error, '', 'no other errors');
		my ($published, $failed) = split /\|/, $session->output;
		note "published $published, failed $failed, killed " . ($killed // 0);
		cmp_ok($published, '>=', $n / 4, 'enough of them were published');
		$failures += $failed;
		# the last generation, with everybody still there
		my $last = $t->sql('UPDATE generation SET gen = gen + 1 RETURNING gen');
		$t->sql("SELECT lfsync_export('g', '$file', key_columns => '{id}', options => '$options')");
		eval { $readers->finish };
		is($err, '', 'no errors of the readers');
		my $seen = 0;
		foreach (split /\n/, $out)
		{
			next if $_ eq 'ready';
			if (/^(\w+) (\d+) (\d+) (\d+)$/)
			{
				note $_;
				$seen++;
				cmp_ok($2, '>', 10, "$1: has read");
				is($3, $last, "$1: sees the last generation");
			}
			else
			{
				fail("reader: $_");
			}
		}
		is($seen, @kinds, 'all readers have reported');
		is(integrity($t->path($file)), 'ok', 'integrity');
		return;
	};
}

sub others
{
	return content($t->path($_[0]), 'g');
}

# A new file is renamed over the old one where nobody has that open, and copied
# over it where somebody has.
$t->sql(q(SELECT lfsync_export('g', 'build.db', key_columns => '{id}')));
my $same = hold_inode('build.db');
refreshed('nobody keeps it open', 'build.db', '{}', 40, 'fresh');
ok(!$same->(), 'it was replaced');
$same = hold_inode('build.db');
refreshed('somebody keeps it open', 'build.db', '{}', 40, qw(fresh kept kept));
ok($same->(), 'it was written in place');

# The same in WAL mode: by option, or because somebody wanted it so.
$t->sql(q(SELECT lfsync_export('g', 'wal.db', key_columns => '{id}', options => '{"journal_mode": "wal"}')));
is(sqlite($t->path('wal.db'), 'PRAGMA journal_mode'), 'wal', 'a file in WAL mode');
refreshed('in WAL mode', 'wal.db', '{"journal_mode": "wal"}', 40, qw(fresh kept kept));
is(sqlite($t->path('wal.db'), 'PRAGMA journal_mode'), 'wal', 'it still is');
refreshed('put into WAL mode by a reader', 'build.db', '{}', 30, qw(fresh wal));

# In place, beside a table of somebody else's, in batches.
sqlite($t->path('build.db'), <<'END');
PRAGMA journal_mode = delete;
CREATE TABLE mine (a INTEGER PRIMARY KEY, b TEXT);
INSERT INTO mine VALUES (1, 'one'), (2, NULL);
CREATE VIEW over AS SELECT m.b, g.v FROM mine m JOIN g ON g.id = m.a;
END
my $others = others('build.db');
my $batches = '{"batch_rows": 700}';
refreshed('in place', 'build.db', $batches, 30, qw(fresh kept));
refreshed('in place, in WAL mode', 'build.db', $batches, 30, qw(fresh wal));
same_text(others('build.db'), $others, 'everything else is as it was');
is( sqlite($t->path('build.db'), 'SELECT * FROM over; SELECT DISTINCT gen FROM g'),
	do { my $gen = $t->sql('SELECT gen FROM generation'); "one|$gen\n|" . 2 * $gen . "\n$gen" },
	'a view over both');
cmp_ok($failures, '>', 10, 'many of the runs were killed');
$t->clean('at the end', qw(build.db wal.db));

done_testing();
