# A merge leaves out ranges of keys whose checksums are those of the last one,
# but only as long as nobody else has written into the file.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('ranges', conf => "fsync = off\n");
my $merge = q(mode => 'merge');

$t->sql(<<'END');
CREATE TABLE a (id bigint PRIMARY KEY, v text, w numeric);
INSERT INTO a SELECT i, 'v' || i, i / 7.0 FROM generate_series(1, 30000) i;
CREATE TABLE b (name text COLLATE "C", n int, v text, PRIMARY KEY (name, n));
INSERT INTO b SELECT md5(i::text), i % 3, 'v' || i FROM generate_series(1, 20000) i;
END

# Batches that the last run has sent.
sub batches { return $t->sql('SELECT batches FROM lfsync_runs ORDER BY run_id DESC LIMIT 1'); }

# A test: a merge with these counts, after which file and table are equal.
sub merge_like
{
	my ($table, $counts, $name) = @_;

	return like($t->sync($table, "$table.db", $merge), qr/^$counts$/, "$name: counts")
	  & $t->same_rows("$table.db", $table, "$name: the file is equal");
}

foreach my $table (qw(a b))
{
	my $rows = $t->sql("SELECT count(*) FROM $table");

	subtest "table $table" => sub {
		merge_like($table, "$rows $rows 0 0", 'load');
		merge_like($table, "$rows 0 0 0", 'nothing new');
		cmp_ok(batches(), '>', 0, 'without checksums all rows are sent');
		$t->sql("UPDATE $table SET v = '' WHERE v = 'v1'");
		merge_like($table, "$rows 0 1 0", 'one row changed');
		merge_like($table, "$rows 0 0 0", 'nothing new again');
		is(batches(), 0, 'with checksums none is sent');

		foreach (
			[ 'a row changed', $table eq 'a' ? q(UPDATE a SET v = 'x' WHERE id = 20000) : q(UPDATE b SET v = '1' WHERE name = md5('5')), '0 1 0' ],
			[ 'a row deleted', $table eq 'a' ? q(DELETE FROM a WHERE id = 17) : q(DELETE FROM b WHERE name = md5('70')), '0 0 1' ],
			[ 'rows at both ends', $table eq 'a' ? q(INSERT INTO a VALUES (-5), (999999)) : q(INSERT INTO b VALUES ('', 1), ('zzz', 1)), '2 0 0' ],
			[ 'the last rows gone', $table eq 'a' ? q(DELETE FROM a WHERE id > 29000) : q(DELETE FROM b WHERE name > 'f8'), '0 0 \d+' ],
			[ 'many rows changed', $table eq 'a' ? q(UPDATE a SET w = w + 1 WHERE id % 500 = 0) : q(UPDATE b SET v = '2' WHERE name LIKE '%00%'), '0 \d+ 0' ])
		{
			my ($name, $sql, $counts) = @$_;

			$t->sql($sql);
			merge_like($table, "\\d+ $counts", $name);
			cmp_ok(batches(), '>', 0, "$name: its range is sent");
			merge_like($table, '\d+ 0 0 0', "$name, again");
			is(batches(), 0, "$name: and then none");
		}

		sqlite($t->path("$table.db"), "UPDATE $table SET v = 'by hand' WHERE rowid = (SELECT max(rowid) FROM $table)");
		merge_like($table, '\d+ 0 1 0', 'a row changed by hand');
		merge_like($table, '\d+ 0 0 0', 'which is mended');
		is(batches(), 0, 'and known');
	};
}

subtest 'who else writes' => sub {
	$t->sql('CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c SELECT generate_series(1, 100)');
	is($t->sync('c', 'a.db', $merge), '100 100 0 0', 'another table of the file');
	merge_like('a', '\d+ 0 0 0', 'the first one is compared');
	cmp_ok(batches(), '>', 0, 'row by row');

	sqlite($t->path('a.db'), 'PRAGMA journal_mode = WAL');
	$t->sql('UPDATE a SET v = 1 WHERE id = 1');
	merge_like('a', '\d+ 0 1 0', 'in WAL mode');
	sqlite($t->path('a.db'), q(UPDATE a SET v = 'by hand' WHERE id = 2));
	merge_like('a', '\d+ 0 1 0', 'changes by hand are found as well');
	merge_like('a', '\d+ 0 0 0', 'in WAL mode all rows are compared');
	cmp_ok(batches(), '>', 0, 'every time');
};

# Rows that differ here and there, in batches that the ranges do not end with.
subtest 'pieces of batches' => sub {
	my %others = (
		a => [ q(UPDATE a SET v = 'p%1$s' WHERE id %% 97 = %1$s), q(DELETE FROM a WHERE id %% 501 = %1$s), q(INSERT INTO a SELECT i * 1000 + 7 + %1$s, 'n' FROM generate_series(-3, 50) i ON CONFLICT DO NOTHING) ],
		b => [ q(UPDATE b SET v = 'p%1$s' WHERE left(name, 2) = '0%1$s'), q(DELETE FROM b WHERE left(name, 2) = 'a%1$s' AND n = 1), q(INSERT INTO b SELECT md5('n%1$s' || i), i FROM generate_series(1, 70) i ON CONFLICT DO NOTHING) ]);

	sqlite($t->path('a.db'), 'PRAGMA journal_mode = DELETE');
	foreach my $table (qw(a b))
	{
		my @changes = @{ $others{$table} };
		my $round = 0;

		foreach my $batch_rows (1000, 77, 0)
		{
			my $options = $batch_rows ? qq(, options => '{"batch_rows": $batch_rows}') : '';

			foreach my $change (@changes, join ';', @changes)
			{
				$round++;
				$t->sql(join ';', map { sprintf $_, $round % 10 } split /;/, $change);
				like($t->sync($table, "$table.db", "$merge$options"), qr/^\d+ (?!0 0 0)/, "$table, $batch_rows, round $round: something is written");
				$t->same_rows("$table.db", $table, 'the file is equal');
			}
			is($t->sync($table, "$table.db", "$merge$options") =~ s/^\d+ //r, '0 0 0', "$table, $batch_rows: nothing new");
		}
	}
};

subtest 'a table that grows' => sub {
	sqlite($t->path('a.db'), 'PRAGMA journal_mode = DELETE');
	$t->sql('DELETE FROM a');
	merge_like('a', '0 0 0 \d+', 'emptied');
	merge_like('a', '0 0 0 0', 'empty');
	foreach my $n (1, 1000, 20000)
	{
		$t->sql("INSERT INTO a SELECT i, i FROM generate_series(1, $n) i ON CONFLICT DO NOTHING");
		merge_like('a', "$n \\d+ 0 0", "$n rows");
		merge_like('a', "$n 0 0 0", "$n rows again");
		is(batches(), 0, "$n rows: none is sent");
	}
};

done_testing();
