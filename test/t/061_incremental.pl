# Mode incremental without a cursor follows row versions: whatever happens to
# rows, with or without a new version, the file is equal to the source after the
# next run, and a run reads no more than it has to.

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('incremental', conf => "fsync = off\nwal_level = replica\nmax_prepared_transactions = 2\n");
my $compared = qr/^everything was compared: /;

# Makes a change, runs, and compares; what the run did is given as a pattern of
# rows read, inserted, updated and deleted.
sub after
{
	my ($name, $sql, $counts, $note, %arg) = @_;
	my $table = $arg{table} // 't';
	my $args = join ', ', q(mode => 'incremental'), $arg{args} // ();

	return subtest $name => sub {
		$t->sql($sql);
		like($t->sync($table, "$table.db", $args), qr/^$counts$/, 'rows read, inserted, updated, deleted');
		like($t->notes, $note ? qr/^everything was compared: .*$note/ : qr/^$/, 'note');
		$t->same_rows("$table.db", $table, 'the file is equal', where => $arg{where});
		is($t->sync($table, "$table.db", $args), '0 0 0 0', 'and nothing is left to do')
		  if !$arg{again};
	};
}

$t->sql(<<'END');
CREATE TABLE t (id int PRIMARY KEY, at date NOT NULL DEFAULT '2024-05-06', v text);
INSERT INTO t SELECT i, '2024-01-01'::date + i, 'v' || i FROM generate_series(1, 1000) i;
END

subtest 'rows' => sub {
	my $deleted = qr/rows were deleted/;

	is($t->sync('t', 't.db'), '1000 1000 0 0', 'the first run loads');
	after('nothing', '', '0 0 0 0');
	after('inserts', q(INSERT INTO t VALUES (1001), (1002)), '2 2 0 0', undef, again => 1);
	after('dated back', q(INSERT INTO t VALUES (-5, '1970-01-01', 'old')), '\d 1 0 0', undef, again => 1);
	after('updates', q(UPDATE t SET v = 'new', at = '1999-01-01' WHERE id IN (3, 400)), '\d 0 2 0', undef, again => 1);
	after('a row that comes and goes', q(INSERT INTO t VALUES (7777); DELETE FROM t WHERE id = 7777), '\d 0 0 0', undef, again => 1);
	after('a column becomes NULL', q(UPDATE t SET v = NULL WHERE id = 9), '\d 0 1 0', undef, again => 1);
	after('deletes', q(DELETE FROM t WHERE id BETWEEN 10 AND 19), '\d+ 0 0 10', $deleted);
	after('as many deleted as inserted', q(DELETE FROM t WHERE id = 20; INSERT INTO t VALUES (2001)), '\d+ 1 0 1', $deleted, again => 1);
	after('a key changes', q(UPDATE t SET id = 3000 WHERE id = 21), '\d+ 1 0 1', $deleted, again => 1);
	after('keys change places',
		q(UPDATE t SET id = -id WHERE id IN (22, 23); UPDATE t SET id = 45 + id WHERE id IN (-22, -23)),
		'\d+ 0 2 0', undef, again => 1);
	after('TRUNCATE', q(TRUNCATE t; INSERT INTO t VALUES (1, '2024-01-01', 'anew')), '\d+ 0 1 \d+', $deleted, again => 1);
	after('all of them deleted', q(DELETE FROM t), '0 0 0 1', $deleted);
	after('and some again', q(INSERT INTO t SELECT i, '2024-01-01', 'x' FROM generate_series(1, 500) i), '500 500 0 0', undef, again => 1);
	after('writes that fire no trigger', q(SET session_replication_role = replica; UPDATE t SET v = 'applied' WHERE id = 5), '\d+ 0 1 0', undef, again => 1);
};

subtest 'deletes that are ignored' => sub {
	my %ignore = (args => q(options => '{"deletes": "ignore"}'));

	$t->sql('CREATE TABLE kept (id int PRIMARY KEY, v text); INSERT INTO kept SELECT i, i FROM generate_series(1, 10) i');
	$t->sync('kept', 'kept.db', qq(mode => 'incremental', $ignore{args}));
	$t->sql('DELETE FROM kept WHERE id < 4');
	is($t->sync('kept', 'kept.db', qq(mode => 'incremental', $ignore{args})), '0 0 0 0', 'a run leaves them');
	$t->sql('ALTER TABLE kept ADD w int DEFAULT 5');
	like($t->sync('kept', 'kept.db', qq(mode => 'incremental', $ignore{args})), qr/^7 0 7 0$/, 'also one that compares');
	is(sqlite($t->path('kept.db'), 'SELECT count(*) FROM kept'), 10, 'they are there');
	is($t->sync('kept', 'kept.db'), '7 0 0 3', 'until they are not ignored any more');
};

subtest 'a filter' => sub {
	my %some = (table => 'f', args => q(filter => 'v > 10'), where => 'v > 10');

	$t->sql('CREATE TABLE f (id int PRIMARY KEY, v int); INSERT INTO f SELECT i, i FROM generate_series(1, 20) i');
	after('first', '', '10 10 0 0', undef, %some);
	after('rows leave', 'UPDATE f SET v = 0 WHERE id IN (11, 12)', '\d+ 0 0 2', qr/deleted/, %some);
	after('rows come', 'UPDATE f SET v = 50 WHERE id IN (1, 2)', '\d+ 2 0 0', undef, %some, again => 1);
	after('one leaves as another comes', 'UPDATE f SET v = 20 - v WHERE id IN (3, 18)', '\d+ 1 0 1', qr/deleted/, %some, again => 1);
	after('another filter', '', '\d+ 0 0 \d+', qr/has changed/, %some, args => q(filter => 'v > 15'), where => 'v > 15');
	after('none', '', '20 \d+ 0 0', qr/has changed/, table => 'f');

	foreach my $filter ('v < extract(year FROM now())', 'random() < 0.5', 'v IN (SELECT v FROM f)', 'EXISTS (SELECT)')
	{
		$t->fails("SELECT lfsync_export('f', 'g.db', mode => 'incremental', filter => '$filter')",
			'0A000', qr/does not go with this filter.*HINT:.*merge/s, "refused: $filter");
	}

	# what a literal stands for may be another thing tomorrow
	$t->sql('CREATE TABLE chosen (); CREATE TABLE other (); CREATE TABLE l (id int PRIMARY KEY, owner regclass)');
	$t->sql(q(INSERT INTO l VALUES (1, 'chosen'), (2, 'other')));
	is($t->sync('l', 'l.db', q(mode => 'incremental', filter => $$owner = 'chosen'::regclass$$)), '1 1 0 0', 'a literal');
	$t->sql('ALTER TABLE chosen RENAME TO third; ALTER TABLE other RENAME TO chosen');
	is($t->sync('l', 'l.db', q(mode => 'incremental', filter => $$owner = 'chosen'::regclass$$)), '1 1 0 1', 'stands for something else');
	is(sqlite($t->path('l.db'), 'SELECT id FROM l'), 2, 'and so does the file');
};

subtest 'what changes rows without a new version' => sub {
	my $changed = qr/structure of the source/;

	$t->sql(<<'END');
CREATE TABLE p (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
CREATE TABLE p3 (id int PRIMARY KEY, v text);
INSERT INTO p SELECT i, 'p' || i FROM generate_series(0, 19) i;
INSERT INTO p3 SELECT i, 'q' || i FROM generate_series(20, 29) i;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN moods AS mood[];
CREATE TABLE e (id int PRIMARY KEY, m mood, ms moods);
INSERT INTO e VALUES (1, 'sad', '{sad,happy}'), (2, 'happy', NULL);
END
	my %p = (table => 'p');
	my %e = (table => 'e');

	after('partitions', '', '20 20 0 0', undef, %p);
	after('a new leaf', 'CREATE TABLE p4 PARTITION OF p DEFAULT', '20 0 0 0', $changed, %p);
	after('a row moves to another one', 'UPDATE p SET id = 100 WHERE id = 5', '\d+ 1 0 1', qr/deleted/, %p, again => 1);
	after('as many attached as detached',
		'ALTER TABLE p DETACH PARTITION p2; ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)',
		'20 10 0 10', $changed, %p);

	is($t->sync('e', 'e.db'), '2 2 0 0', 'an enum');
	$t->sql(q(ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'));
	is($t->sync('e', 'e.db'), '2 0 1 0', 'a label gets another name');
	is(sqlite($t->path('e.db'), 'SELECT * FROM e'), qq(1|blue|["blue","happy"]\n2|happy|), 'in the file, too');

	after('a constant default', 'ALTER TABLE t ADD w int DEFAULT 5', '500 0 500 0', $changed);
	after('and another', 'ALTER TABLE t ALTER w SET DEFAULT 6; INSERT INTO t VALUES (-1)', '\d+ 1 0 0', undef, again => 1);
	after('a generated column', 'ALTER TABLE t ADD g int GENERATED ALWAYS AS (id * 2) STORED', '\d+ 0 \d+ 0', $changed, again => 1);
};

subtest 'the position' => sub {
	my $file = $t->path('t.db');

	$t->sync('t', 't.db') for 1 .. 2;
	foreach (
		[ 'from the future', q(json_set(position, '$.xmin', '4000000000000')), qr/gone back/ ],
		[ 'without a snapshot', q(json_remove(position, '$.xmin')), qr/position is lost/ ],
		[ 'removed', 'NULL', qr/position is lost/ ],
		[ 'empty', q('{}'), qr/position is lost/ ],
		[ 'cut off', 'substr(position, 1, 20)', qr/position is lost/ ],
		[ 'of another type', q('{"xmin": [], "basis": 3, "timeline": null}'), qr/position is lost/ ],
		[ 'no UTF-8', q(CAST(x'7b22ff227d' AS TEXT)), qr/position is lost/ ],
		[ 'of something else', q(json_set(position, '$.basis', 'cursor 1 (id)')), qr/has changed/ ])
	{
		my ($name, $expression, $note) = @$_;

		# what a lost position would hide
		$t->sql(q(UPDATE t SET v = v || '.' WHERE id = 77));
		is(set_position($file, $expression), '', "$name: set");
		like($t->sync('t', 't.db'), qr/^\d+ 0 1 0$/, "$name: the row is found");
		like($t->notes, qr/^everything was compared: .*$note/, "$name: everything was compared");
		$t->same_rows('t.db', 't', "$name: the file is equal");
		like(position($file), qr/"xmin": "\d{3,9}"/, "$name: there is a position again");
	}
};

subtest 'nothing new' => sub {
	my $state = sub { return join ' ', md5_hex(slurp_raw($t->path('t.db'))), (stat $t->path('t.db'))[ 1, 7, 9, 10 ]; };

	$t->sync('t', 't.db') for 1 .. 2;
	my $before = $state->();
	is($t->sync('t', 't.db'), '0 0 0 0', 'reads no row');
	is($state->(), $before, 'the file is the same, to the time of its inode');
	is(join(' ', grep { /^t\.db./ } $t->files), '', 'no file beside it');
	$t->sql('VACUUM FULL t');
	is($t->sync('t', 't.db'), '0 0 0 0', 'VACUUM FULL makes no new versions');
	$t->sql('VACUUM (FREEZE) t');
	is($t->sync('t', 't.db'), '0 0 0 0', 'nor does VACUUM FREEZE');
	$t->sql('CLUSTER t USING t_pkey');
	is($t->sync('t', 't.db'), '0 0 0 0', 'nor CLUSTER');
	is($state->(), $before, 'the file is the same');
	sqlite($t->path('t.db'), 'PRAGMA journal_mode = wal');
	$before = $state->();
	is($t->sync('t', 't.db'), '0 0 0 0', 'in WAL mode');
	is($state->(), $before, 'the file is the same');
	is(join(' ', grep { /^t\.db./ } $t->files), '', 'no file beside it');
};

subtest 'not followed' => sub {
	$t->sql(<<'END');
CREATE VIEW view_of_t AS SELECT * FROM t;
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TABLE keyless (v int);
CREATE MATERIALIZED VIEW m AS SELECT id, v FROM t;
CREATE ROLE limited LOGIN;
END
	foreach (
		[ 'view_of_t', q(key_columns => '{id}'), '0A000', qr/is not a table.*HINT:.*merge/s ],
		[ 'unlogged', q(filter => 'true'), '0A000', qr/is not logged.*HINT:.*merge/s ],
		[ 't', q(options => '{"row_security": true}'), '0A000', qr/row_security.*HINT:.*merge/s ],
		[ 'keyless', q(filter => 'true'), '42P16', qr/needs a key.*HINT:/s ])
	{
		my ($table, $args, $sqlstate, $message) = @$_;

		$t->fails("SELECT lfsync_export('$table', 'no.db', mode => 'incremental', $args)", $sqlstate, $message, "$table, $args");
	}
	is($t->sync('m', 'm.db', q(mode => 'incremental', key_columns => '{id}')), '501 501 0 0', 'a materialized view');
	$t->sql(q(UPDATE t SET v = 'refreshed' WHERE id < 3; REFRESH MATERIALIZED VIEW m));
	like($t->sync('m', 'm.db', q(mode => 'incremental', key_columns => '{id}')), qr/^501 0 3 0$/, 'refreshed');
	$t->same_rows('m.db', 'm', 'and equal');
};

subtest 'crashes' => sub {
	$t->sql(q(UPDATE t SET v = 'before the crash' WHERE id < 10));
	$t->sync('t', 't.db');
	$t->sql(q(UPDATE t SET v = 'not shipped' WHERE id = 10; BEGIN; UPDATE t SET v = 'prepared' WHERE id = 11; PREPARE TRANSACTION 'p'));
	$t->sync('t', 't.db');
	$t->sql(q(SET synchronous_commit = off; UPDATE t SET v = 'maybe lost' WHERE id = 12));
	$t->node->stop('immediate');
	$t->node->start;
	$t->sql(q(COMMIT PREPARED 'p'));
	like($t->sync('t', 't.db'), qr/^\d{1,2} 0 [12] 0$/, 'a run finds what came after the last one');
	is($t->notes, '', 'by its position');
	$t->same_rows('t.db', 't', 'the file is equal');
};

# A copy of the data directory from before the last runs: whoever comes back
# from there gives the same ids to other transactions.
subtest 'another timeline' => sub {
	my $data = $t->node->data_dir;

	$t->node->stop;
	system_or_bail('cp', '-a', $data, "$data.saved");
	$t->node->start;
	$t->sql(qq(UPDATE t SET v = 'undone' WHERE id = $_)) for 20 .. 39;
	$t->sync('t', 't.db');
	$t->sync('t', 'merged.db');
	$t->node->stop;
	system_or_bail('rm', '-rf', $data);
	system_or_bail('mv', "$data.saved", $data);
	append_to_file("$data/standby.signal", '');
	$t->node->start;
	$t->node->promote;
	$t->wait_sql('SELECT NOT pg_is_in_recovery()');
	is($t->sync('t', 'merged.db', q(mode => 'merge')), '501 0 20 0', 'a merge takes back what is undone');

	# as many as before: the position lies behind them
	$t->sql(qq(UPDATE t SET v = 'instead' WHERE id = $_)) for 20 .. 44;
	foreach my $file (qw(t.db merged.db))
	{
		is($t->sync('t', $file), '501 0 25 0', "$file: a run finds the rows");
		like($t->notes, qr/${compared}the server is on another timeline/, "$file: it compares everything");
		$t->same_rows($file, 't', "$file: equal");
		is($t->sync('t', $file), '0 0 0 0', "$file: and goes on from there");
	}
};

# Transaction ids have 32 bits, and frozen rows keep theirs for good.
subtest 'round the transaction counter' => sub {
	my $round = 4 * 1024 ** 3;
	my $expected = 501;

	$t->sql('ALTER DATABASE template0 ALLOW_CONNECTIONS true');
	foreach my $next (map { $_ * 1_000_000_000 } 1 .. 5)
	{
		my ($epoch, $xid) = (int($next / $round), $next % $round);

		$t->node->command_ok([ 'vacuumdb', '--all', '--freeze', '--quiet' ], 'everything is frozen');
		$t->node->stop;
		# the page of the commit log that the next transaction is on
		my $segment = sprintf '%s/pg_xact/%04X', $t->node->data_dir, $xid / 1048576;
		append_to_file($segment, "\0" x 262144) if !-e $segment;
		command_ok([ 'pg_resetwal', '-f', '-e', $epoch, '-x', $xid, $t->node->data_dir ], "to transaction $next");
		$t->node->start;

		$expected++;
		$t->sql("INSERT INTO t VALUES ($expected, '2024-01-01', 'at $next'); UPDATE t SET v = 'at $next' WHERE id = 1");
		# where the counter begins anew it passes the ids of the oldest rows again
		like($t->sync('t', 't.db'), $epoch ? qr/^\d+ 1 1 0$/ : qr/^\d 1 1 0$/, 'ships what is new, and no more');
		is($t->notes, '', 'by its position');
		is($t->sync('t', 't.db'), '0 0 0 0', 'once');
		$t->same_rows('t.db', 't', 'equal');
	}
	set_position($t->path('t.db'), q(json_set(position, '$.xmin', '3000000000')));
	$t->sql(q(UPDATE t SET v = 'late' WHERE id = 2));
	like($t->sync('t', 't.db'), qr/^\d+ 0 1 0$/, 'with a position from the round before');
	like($t->notes, qr/${compared}the position is too old/, 'everything is compared');
	$t->same_rows('t.db', 't', 'equal');
};

is(integrity($t->path('t.db')), 'ok', 'integrity');

done_testing();
