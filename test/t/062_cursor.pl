# Mode incremental with a cursor reads what lies behind a bound that nobody can
# commit below any more: whoever commits late is found, in a table that is never
# quiet, too, and a run that is broken off goes on where it was.

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('cursor', conf => "fsync = off\nwal_level = replica\nmax_prepared_transactions = 5\nrestart_after_crash = on\n");
my $by_id = q(mode => 'incremental', cursor_columns => '{id}');

# A bound of the position: the first value of "stable" or "candidate.bound".
sub bound
{
	my ($file, $which) = @_;

	return sqlite($t->path($file), "SELECT json_extract(position, '\$.$which\[0]') FROM _lfsync_state");
}

# A test: the next run gives these counts, and then the file is equal.
sub run_like
{
	my ($table, $counts, $name, $args, %arg) = @_;

	return like($t->sync($table, "$table.db", $args // $by_id), qr/^$counts$/, "$name: rows read, inserted, updated, deleted")
	  & $t->same_rows("$table.db", $table, "$name: the file is equal", %arg);
}

subtest 'what is new' => sub {
	$t->sql('CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT i, i FROM generate_series(1, 1000) i');
	run_like('a', '1000 1000 0 0', 'a load');
	is(bound('a.db', 'candidate.bound'), 1000, 'has a candidate');
	is(bound('a.db', 'stable'), '', 'and no stable bound yet');
	run_like('a', '0 0 0 0', 'a second run');
	is(bound('a.db', 'stable'), 1000, 'it becomes stable');

	my $state = sub { return join ' ', md5_hex(slurp_raw($t->path('a.db'))), (stat $t->path('a.db'))[ 1, 7, 9, 10 ]; };
	my $before = $state->();
	run_like('a', '0 0 0 0', 'nothing new');
	is($state->(), $before, 'nothing is written');
	is(join(' ', grep { /^a\.db./ } $t->files), '', 'no file beside it');

	$t->sql('INSERT INTO a SELECT i, i FROM generate_series(1001, 1010) i');
	run_like('a', '10 10 0 0', 'new rows');
	run_like('a', '\d 0 0 0', 'and no others');
	$t->sql('UPDATE a SET id = id + 2000 WHERE id IN (7, 8)');
	like($t->sync('a', 'a.db', $by_id), qr/^2 2 0 0$/, 'keys that move above the bound are new rows');
	is(sqlite($t->path('a.db'), 'SELECT count(*) FROM a'), 1012, 'and the old ones stay, as the guarantee says');
	is($t->sync('a', 'a.db', q(mode => 'merge')), '1010 0 0 2', 'until a merge');
	$t->sql('INSERT INTO a VALUES (5000)');
	run_like('a', '\d 1 0 0', 'the cursor goes on after it');
};

subtest 'types of cursors' => sub {
	foreach (
		[ 'bigint', '(i - 30) * 100000000000' ],
		[ 'numeric(30,5)', 'i * 1.00100' ],
		[ 'numeric(12)', 'i * 1000000' ],
		[ 'text COLLATE "C"', q(chr(64 + i) || ' it''s "\\ ' || i) ],
		[ 'text COLLATE "und-x-icu"', q(lpad(i::text, 5, '0') || ' éÀ') ],
		[ 'varchar(20)', q('x' || lpad(i::text, 5, '0')) ],
		[ 'uuid', q((lpad(i::text, 8, '0') || '-0000-4000-8000-' || left(md5(i::text), 12))::uuid) ],
		[ 'date', q('2020-01-01'::date + i) ],
		[ 'timestamp', q('2020-01-01 00:00:00.000001'::timestamp + i * interval '1 day 1 microsecond') ],
		[ 'timestamptz(3)', q('0044-03-15 12:00:00.125+01 BC'::timestamptz + i * interval '1 year') ],
		[ 'interval', q(i * interval '25 hours') ])
	{
		my ($type, $value) = @$_;
		my $args = q(mode => 'incremental', cursor_columns => '{c}', options => '{"batch_rows": 7}');

		$t->sql("CREATE TABLE c (c $type, id int PRIMARY KEY); CREATE INDEX ON c (c, id); INSERT INTO c SELECT $value, i FROM generate_series(1, 30) i");
		$t->sync('c', 'c.db', $args) for 1 .. 2;
		$t->sql("INSERT INTO c SELECT $value, i FROM generate_series(31, 60) i");
		like($t->sync('c', 'c.db', $args), qr/^3[01] 30 0 0$/, "$type: a run reads the new rows");
		like($t->sync('c', 'c.db', $args), qr/^3[01] 0 0 0$|^[01] 0 0 0$/, "$type: and no others");
		$t->same_rows('c.db', 'c', "$type: they are there", columns => 'count(*), sum(id)', order => '');
		$t->sql('DROP TABLE c');
		unlink $t->path('c.db');
	}
};

subtest 'ties' => sub {
	my $args = q(mode => 'incremental', options => '{"batch_rows": 7}', cursor_columns => );
	my %expected = (b => '{at}', b2 => '{at,id}');

	$t->sql('CREATE TABLE b (id int PRIMARY KEY, at date NOT NULL); CREATE INDEX ON b (at, id)');
	$t->sql(q(INSERT INTO b SELECT i, '2024-01-01'::date + i / 50 FROM generate_series(1, 200) i));
	$t->sql('CREATE TABLE b2 (LIKE b INCLUDING ALL); INSERT INTO b2 SELECT * FROM b');
	foreach my $table (sort keys %expected)
	{
		my $cursor = "$args'$expected{$table}'";

		$t->sync($table, "$table.db", $cursor) for 1 .. 2;
		$t->sql("INSERT INTO $table SELECT i, '2024-01-05'::date + i / 100 FROM generate_series(201, 500) i");
		run_like($table, '30\d 300 0 0', "$table: many rows of one date", $cursor);
		run_like($table, '\d+ 0 0 0', "$table: none is written twice", $cursor);
		$t->sql("INSERT INTO $table SELECT i, max(at) FROM $table, generate_series(601, 620) i GROUP BY i");
		run_like($table, '\d+ 20 0 0', "$table: more of the last date", $cursor);
	}
	$t->sync('b', 'b.db', "$args'{at}'");
	$t->sql('INSERT INTO b SELECT -i, max(at) FROM b, generate_series(1, 20) i GROUP BY i');
	run_like('b', '\d+ 20 0 0', 'with smaller keys', "$args'{at}'");
};

subtest 'no cursor' => sub {
	my $args = q(mode => 'incremental', cursor_columns => '{x,y}');

	$t->sql('CREATE TABLE n (id int PRIMARY KEY, x int, y int); CREATE INDEX ON n (x, y)');
	$t->sql('INSERT INTO n SELECT i, nullif(i % 10, 0) * 10, nullif(i % 3, 0) FROM generate_series(1, 30) i');
	my $without = $t->sql('SELECT count(*) FROM n WHERE x IS NULL OR y IS NULL');
	$t->sync('n', 'n.db', $args) for 1 .. 2;
	is(bound('n.db', 'stable'), 90, 'rows without a cursor do not hold up the others');
	$t->sql('INSERT INTO n VALUES (31, 100, NULL), (32, NULL, 1), (33, 100, 1), (34, 90, NULL); UPDATE n SET id = 50 WHERE id = 30');
	like($t->sync('n', 'n.db', $args), qr/^\d+ 5 0 0$/, 'all new rows are found');
	like($t->notes, qr/^@{[ $without + 3 ]} rows have no cursor and are read by every run$/, 'and noted');
	is(sqlite($t->path('n.db'), 'SELECT count(*) FROM n WHERE id > 30'), 5, 'they are there');
};

subtest 'dates' => sub {
	my $args = q(mode => 'incremental', cursor_columns => '{at}');

	foreach my $type (qw(timestamptz timestamp date))
	{
		$t->sql("CREATE TABLE d (id int PRIMARY KEY, at $type); CREATE INDEX ON d (at)");
		$t->sql(q(INSERT INTO d VALUES (1, '2024-01-01'), (2, '2999-12-31'), (3, 'infinity'), (4, '-infinity')));
		$t->sync('d', 'd.db', $args) for 1 .. 2;
		like(bound('d.db', 'stable'), qr/^2024-01-01/, "$type: the future is no bound");
		$t->sql(q(INSERT INTO d SELECT 5, '2024-02-01'));
		like($t->sync('d', 'd.db', $args), qr/^\d 1 0 0$/, "$type: what comes before it is found");
		$t->sync('d', 'd.db', $args) for 1 .. 2;
		$t->sql(q(INSERT INTO d SELECT 6, '2024-01-20'));
		like($t->sync('d', 'd.db', $args), qr/^\d 0 0 0$/, "$type: what is dated back is not, as the guarantee says");
		like($t->sync('d', 'd.db', qq($args, options => '{"lookback": "20 days"}')), qr/^\d 1 0 0$/, "$type: with lookback it is");
		$t->same_rows('d.db', 'd', "$type: equal", columns => 'id');
		$t->sql('DROP TABLE d');
		unlink $t->path('d.db');
	}
	$t->sql('INSERT INTO a VALUES (4000)');
	$t->sync('a', 'a.db', $by_id) for 1 .. 2;
	$t->sql('INSERT INTO a VALUES (4500)');
	run_like('a', '\d 1 0 0', 'lookback of a number', qq($by_id, options => '{"lookback": 600}'));
};

subtest 'a first position' => sub {
	my $options = q(options => '{"start_after": 900}');

	$t->sql('CREATE TABLE s (id int PRIMARY KEY, v text); INSERT INTO s SELECT i, i FROM generate_series(1, 1000) i');
	run_like('s', '100 100 0 0', 'rows behind it', "$by_id, $options", where => 'id > 900');
	$t->sql('INSERT INTO s VALUES (-1), (1001)');
	run_like('s', '\d 1 0 0', 'for good', "$by_id, $options", where => 'id > 900');
	like($t->sync('s', 's.db', $by_id), qr/^1002 901 0 0$/, 'without it all are wanted');
	like($t->notes, qr/^everything was compared: .*has changed/, 'which is another filter');
};

subtest 'what a position was taken from' => sub {
	$t->sql('CREATE TABLE w (id int PRIMARY KEY, other int, v int); CREATE INDEX ON w (other)');
	$t->sql('INSERT INTO w SELECT i, -i, i % 3 FROM generate_series(1, 100) i');
	$t->sync('w', 'w.db', $by_id) for 1 .. 2;
	$t->sql('INSERT INTO w VALUES (0, 0, 0), (101, -101, 0)');
	run_like('w', '102 2 0 0', 'another cursor', q(mode => 'incremental', cursor_columns => '{other}'));
	$t->sync('w', 'w.db', "$by_id, filter => 'v = 1'") for 1 .. 2;
	run_like('w', '102 68 0 0', 'a filter that lets more through');
	$t->sql('ALTER TABLE w RENAME TO old; CREATE TABLE w (LIKE old INCLUDING ALL); INSERT INTO w SELECT i, i, 5 FROM generate_series(-5, 5) i');
	run_like('w', '11 5 6 96', 'another relation of that name');
	$t->sql('ALTER TABLE w ADD x int DEFAULT 3; INSERT INTO w VALUES (200)');
	run_like('w', '12 1 11 0', 'a new column with a default');
	$t->sync('w', 'w.db', $by_id) for 1 .. 2;
	foreach my $expression ('NULL', q('{}'), 'substr(position, 1, 40)', q('{"stable": [1]}'), q(json_set(position, '$.timeline', '7')))
	{
		$t->sql('INSERT INTO w SELECT min(id) - 1 FROM w');
		set_position($t->path('w.db'), $expression);
		run_like('w', '\d+ 1 0 0', "position $expression");
		like($t->notes, qr/^everything was compared: /, 'noted');
	}
	set_position($t->path('w.db'), q(json_set(position, '$.stable', json_array('five'))));
	$t->fails("SELECT lfsync_export('w', 'w.db', $by_id)", '22P02', qr/invalid input syntax.*five/s, 'a bound that is no value');
	is($t->sync('w', 'w.db', q(mode => 'full')) && $t->sync('w', 'w.db', $by_id), '17 17 0 0', 'can be started anew');
};

subtest 'what is noted' => sub {
	my $writer = $t->session;

	$t->sql('CREATE TABLE o (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now()); INSERT INTO o SELECT generate_series(1, 20000); ANALYZE o');
	$t->sync('o', 'o.db', $by_id) for 1 .. 2;
	is($t->notes, '', 'nothing, with an index');
	$t->sync('o', 'at.db', q(mode => 'incremental', cursor_columns => '{at}')) for 1 .. 3;
	like($t->notes, qr/^no index serves the cursor/, 'a cursor without an index');

	$writer->query('BEGIN; INSERT INTO o VALUES (-1);');
	$t->sql('INSERT INTO o VALUES (20001)');
	$t->sync('o', 'o.db', $by_id) for 1 .. 2;
	like($t->notes, qr/^rows above the stable bound are read again.*, process $writer->{backend}$/, 'who holds up the bound');
	$writer->query('ROLLBACK;');
	$t->sync('o', 'o.db', $by_id);
	is($t->notes, '', 'until he is gone');
	$t->sql('CREATE SEQUENCE hasty CACHE 10; ALTER SEQUENCE hasty OWNED BY o.id');
	$t->sync('o', 'o.db', $by_id);
	like($t->notes, qr/^the sequence of "id" has a CACHE: .* may come below/, 'a sequence that gives values ahead');
  SKIP: {
		skip 'file_fdw is not there', 1 if !$t->sql(q(SELECT count(*) FROM pg_available_extensions WHERE name = 'file_fdw'));
		my $rows = $t->node->basedir . '/rows';
		append_to_file($rows, "1\n2\n");
		$t->sql(<<"END");
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE f (id int) SERVER files OPTIONS (filename '$rows');
END
		$t->sync('f', 'f.db', "$by_id, key_columns => '{id}'");
		like($t->notes, qr/^who writes a foreign table is not seen/, 'a foreign table');
	}
	$t->fails(q(SELECT lfsync_export('o', 'o2.db', mode => 'incremental', cursor_columns => '{At}')),
		'42703', qr/cursor column "At" does not exist.*HINT:/s, 'a column that is not there');
};

# Each commits when the next has begun.
subtest 'a table that is never quiet' => sub {
	my @writers = map { $t->session } 1 .. 3;
	my @stable;

	$t->sql('CREATE TABLE q (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text); INSERT INTO q (v) SELECT 1 FROM generate_series(1, 10)');
	$t->sync('q', 'q.db', $by_id);
	$writers[0]->query(q(BEGIN; INSERT INTO q (v) VALUES ('a');));
	foreach my $n (1 .. 12)
	{
		my ($old, $new) = @writers[ ($n - 1) % 3, $n % 3 ];

		$new->query(q(BEGIN; INSERT INTO q (v) VALUES ('b');));
		$t->sql(q(INSERT INTO q (v) VALUES ('c')));
		run_like('q', '\d+ [1-3] 0 0', "round $n, one open");
		$old->query(q(INSERT INTO q (v) VALUES ('d'); COMMIT;));
		run_like('q', '\d+ \d 0 0', "round $n, after its commit");
		push @stable, bound('q.db', 'stable');
	}
	cmp_ok($stable[-1], '>', $stable[2], 'the stable bound advances');
	note "stable bounds: @stable";
};

# A run is held when it has its snapshot.  Who commits then is not in it.
subtest 'a commit during the scan' => sub {
	my $writer = $t->session;
	my $caller = $t->session;

	$t->make_source;
	# at a row as it comes, and not while the bound is read
	$t->sql(<<'END');
CREATE FUNCTION gate_at(int, int) RETURNS int LANGUAGE sql STABLE AS $$
	SELECT public.gate() WHERE $1 = $2 AND current_setting('transaction_isolation') = 'repeatable read' $$;
CREATE VIEW held AS SELECT id, v, gate_at(id, 1002) AS held FROM t;
END
	my $args = q(mode => 'incremental', cursor_columns => '{id}', key_columns => '{id}');
	$t->sync('held', 'held.db', $args);
	$writer->query(q(BEGIN; INSERT INTO t VALUES (1001, 'late');));
	$t->sql(q(INSERT INTO t VALUES (1002, 'quick')));
	is($t->sync('held', 'held.db', $args), '1001 1 0 0', 'the late one is open when the bound is taken');

	my $gate = $t->close_gate;
	$caller->send("SELECT rows_inserted FROM lfsync_export('held', 'held.db', $args);");
	$t->wait_at_gate;
	$writer->query('COMMIT;');
	$gate->open_gate;
	$caller->wait;
	is($caller->output, 0, 'and commits behind the back of a run');
	is($t->sync('held', 'held.db', $args), '2 1 0 0', 'the next one finds it');
	$t->same_rows('held.db', 'held', 'equal', columns => 'id');
};

# Broken off in the middle, at the 500th row, by a cancel and by a crash.
subtest 'broken off' => sub {
	my %ways = (
		'a cancel' => sub { $t->sql('SELECT lfsync_cancel(run_id) FROM lfsync_progress') },
		'a crash of the runner' => sub { kill 'KILL', $_[0]{pid} },
		'a crash of the writer' => sub { kill 'KILL', $_[0]{writer_pid} });

	# rows in the order of an index, so that they go into batches one by one
	$t->sql('CREATE INDEX ON t ((id / 1000), id); ALTER DATABASE postgres SET enable_sort = off');
	foreach my $cursor (qw(id tie))
	{
		my $args = qq(mode => 'incremental', cursor_columns => '{$cursor}', key_columns => '{id}', options => '{"batch_rows": 100}');

		$t->sql("CREATE VIEW $cursor AS SELECT id, id / 1000 AS tie, v, gate_at(id, 500) AS held FROM t");
		foreach my $way (sort keys %ways)
		{
			my $name = "$way, cursor $cursor";
			my $gate;
			my $caller;

			$t->sql(q(DELETE FROM t WHERE id > 5));
			unlink $t->path('r.db');
			$t->sync($cursor, 'r.db', $args);
			$t->sql(q(INSERT INTO t SELECT i, 'row ' || i FROM generate_series(6, 999) i));
			$gate = $t->close_gate;
			$caller = $t->session;
			$caller->send("SELECT lfsync_export('$cursor', 'r.db', $args);");
			$t->wait_at_gate;
			my $progress = $t->wait_phase('scanning', sub { $_[0]{batches_done} == 4 });
			$ways{$way}->($progress);
			$caller->wait;
			$caller->quit;
			$gate->quit;
			$t->wait_restart;
			poll('the workers to end', sub { my %workers = $t->workers; return !%workers });

			is(sqlite($t->path('r.db'), 'SELECT count(*), max(id) FROM r' =~ s/FROM r/FROM $cursor/r), '400|400', "$name: four batches are there");
			is(sqlite($t->path('r.db'), q(SELECT json_extract(position, '$.reached') FROM _lfsync_state)),
				$cursor eq 'id' ? '["400"]' : '["0","400"]', "$name: the position has reached them");

			# what comes below meanwhile is for the run after the next
			$t->sql(q(INSERT INTO t VALUES (-1, 'below')));
			is($t->sync($cursor, 'r.db', $args), '599 599 0 0', "$name: the next run reads the others");
			is($t->notes, 'a run that was broken off went on', "$name: and says so");
			like($t->sync($cursor, 'r.db', $args), qr/^\d+ 1 0 0$/, "$name: and one more what came below");
			is(sqlite($t->path('r.db'), "SELECT count(*), count(DISTINCT id), sum(id) FROM $cursor"), '1000|1000|499499', "$name: nothing is lost or doubled");
			$t->sync($cursor, 'r.db', $args) for 1 .. 2;
			is(position($t->path('r.db')) =~ /reached/, '', "$name: no trace is left");
			$t->sql('DELETE FROM t WHERE id < 0');
		}
	}
};

# A prepared transaction outlives the name that it was known by.
subtest 'prepared, and a restart' => sub {
	my $n = 0;

	$t->sql('CREATE TABLE x (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text)');
	foreach my $how (qw(fast immediate crash))
	{
		my $writer = $t->session;

		# the sequence logs some values ahead: taking the next one needs no transaction id
		$t->sql(q(INSERT INTO x (v) VALUES ('first')));
		$t->sync('x', 'x.db', $by_id) for 1 .. 2;
		my $id = $writer->query(q(BEGIN; SELECT nextval('x_id_seq');));
		$t->sql(q(INSERT INTO x (v) VALUES ('quick')));
		$t->sync('x', 'x.db', $by_id);
		$writer->query("INSERT INTO x VALUES ($id, 'slow'); PREPARE TRANSACTION 'slow';");
		if ($how eq 'crash')
		{
			kill 'KILL', $writer->{backend};
			$writer->quit;
			$t->wait_restart($writer->{backend});
		}
		else
		{
			# a server that starts would inherit its pipes, and keep them open
			$writer->quit;
			$t->node->stop($how);
			$t->node->start;
		}
		$t->sync('x', 'x.db', $by_id) for 1 .. 3;
		$t->sql(q(COMMIT PREPARED 'slow'));
		run_like('x', '\d 1 0 0', "$how: the run after its commit finds it");
		$t->sync('x', 'x.db', $by_id) for 1 .. 2;
		cmp_ok(bound('x.db', 'stable'), '>', $n, "$how: and the bound goes on");
		$n = bound('x.db', 'stable');
	}
};

subtest 'another timeline' => sub {
	$t->sync('a', 'a.db', $by_id) for 1 .. 2;
	$t->node->stop;
	append_to_file($t->node->data_dir . '/standby.signal', '');
	$t->node->start;
	$t->node->promote;
	$t->wait_sql('SELECT NOT pg_is_in_recovery()');
	$t->sql('INSERT INTO a VALUES (-7)');
	run_like('a', '\d+ 1 0 0', 'ids may have been given twice');
	like($t->notes, qr/^everything was compared: the server is on another timeline/, 'so everything is compared');
};

done_testing();
