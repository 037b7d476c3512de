# A disk that is too small, whatever the run is doing when it becomes full, and
# directories that are read-only: an error that says what to do, nothing left
# behind, and with room the next run works.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use LfsyncFaults;
use PostgreSQL::Test::Utils;
use Test::More;

my ($faults, $reason) = LfsyncFaults->new(PostgreSQL::Test::Utils::tempdir_short());
plan skip_all => $reason if !$faults;

my $t = Lfsync->new('full_disk', env => $faults->env, conf => "lfsync.batch_bytes = '1MB'\n");
$t->sql(<<'END');
CREATE TABLE big (id int PRIMARY KEY, a text);
INSERT INTO big SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 20000) i;
CREATE INDEX ON big (a);
END

$t->sql(q(SELECT lfsync_export('big', 'a.db')));
my $size = -s $t->path('a.db');
foreach my $shared (0, 1)
{
	my $how = $shared ? 'in place' : 'a new file';

	foreach my $percent (10, 50, 95, 120)
	{
		unlink glob $t->path('') . '*';
		$faults->set('', LfsyncFaults::COUNT);
		sqlite($t->path('a.db'), 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1)') if $shared;
		$faults->set($t->dir, LfsyncFaults::LIMIT, limit => $size * $percent / 100);
		my ($rc, $out, $err) = $t->try(q(SELECT rows_read FROM lfsync_export('big', 'a.db')));
		if ($rc == 0)
		{
			is(integrity($t->path('a.db')), 'ok', "$how, room for $percent %: it is enough");
			next;
		}
		like($err, qr/ERROR:  53100: .*HINT:  Free some room/s, "$how, room for $percent %: error");
		is($t->history('status, sqlstate'), 'failed|53100', 'history');
		$t->clean('afterwards', $shared ? 'a.db' : ());
		is(sqlite($t->path('a.db'), q(SELECT * FROM mine; SELECT count(*) FROM sqlite_schema WHERE name LIKE '%big%')),
			"1\n0", 'the other table is as it was') if $shared;
		$faults->set('', LfsyncFaults::COUNT);
		is($t->sql(q(SELECT rows_read FROM lfsync_export('big', 'a.db'))), 20000, 'with more room the next run works');
		is(integrity($t->path('a.db')), 'ok', 'integrity');
	}
}

# Room for the old table, and not for the new one beside it.
my $old = state_of_big();
foreach my $percent (140, 180)
{
	$faults->set($t->dir, LfsyncFaults::LIMIT, limit => $size * $percent / 100);
	$t->fails(q(SELECT rows_read FROM lfsync_export('big', 'a.db')), '53100', qr/HINT:  Free some room/,
		"a refresh in place, room for $percent %");
	is(state_of_big(), $old, 'the old table is as it was');
	is(sqlite($t->path('a.db'), q(SELECT count(*) FROM sqlite_schema WHERE name LIKE '%lfsync_new%')), 0, 'no hidden table is left');
	$t->clean('afterwards', 'a.db');
}
$faults->set('', LfsyncFaults::COUNT);

sub state_of_big
{
	return sqlite($t->path('a.db'), 'PRAGMA integrity_check; SELECT count(*), sum(id), sum(length(a)) FROM big; SELECT * FROM mine');
}

# Directories and files that are read-only.
SKIP:
{
	skip 'root may write everywhere', 2 if $> == 0;
	my $before = slurp_raw($t->path('a.db'));

	chmod 0555, $t->dir or die $!;
	$t->fails(q(SELECT lfsync_export('big', 'new.db')), '42501', qr/HINT:.*chmod u\+rwx/s, 'a read-only directory');
	$t->fails(q(SELECT lfsync_export('big', 'a.db')), '42501', qr/HINT:.*chmod u\+rwx/s, 'with the file in it');
	chmod 0755, $t->dir or die $!;
	is(slurp_raw($t->path('a.db')) eq $before, 1, 'the old file is untouched');
	$t->clean('afterwards', 'a.db');
}
is($t->sql(q(SELECT rows_read FROM lfsync_export('big', 'a.db'))), 20000, 'and then a run works');

done_testing();
