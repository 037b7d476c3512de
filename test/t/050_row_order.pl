# Rows in every order that a table may have them: the order of its key, some
# late, many late, none in order; alone and after other tables of a run.

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Test::More;

use Lfsync;

my $server = Lfsync->new('row_order');

# The rows of a table, as text that both databases print alike.
sub rows_in_postgres
{
	my ($table) = @_;

	return $server->sql("SELECT id || '|' || n || '|' || coalesce(v::text, '') FROM $table ORDER BY id");
}

sub rows_in_sqlite
{
	my ($file, $table) = @_;

	return sqlite($server->path($file), "SELECT id || '|' || n || '|' || coalesce(v, '') FROM \"$table\" ORDER BY id");
}

sub exports_all
{
	my ($table, $name) = @_;

	$server->sql("SELECT * FROM lfsync_export('$table', 'order.db')");
	is(integrity($server->path('order.db')), 'ok', "$name: integrity_check");
	ok(rows_in_sqlite('order.db', $table) eq rows_in_postgres($table), "$name: all rows are there");
	return;
}

$server->sql(<<'END');
CREATE TABLE ordered (id bigint PRIMARY KEY, n text NOT NULL, v numeric);
INSERT INTO ordered SELECT i, 'row ' || i, i / 8.0 FROM generate_series(-20000, 20000) i;
CREATE UNIQUE INDEX ON ordered (n);
ANALYZE ordered;

-- updated rows go to the end of the table
CREATE TABLE few (LIKE ordered INCLUDING ALL);
INSERT INTO few SELECT * FROM ordered;
ANALYZE few;
UPDATE few SET n = n || ' corrected' WHERE id % 1000 = 0;

-- more than a buffer of a megabyte holds
CREATE TABLE many (LIKE ordered INCLUDING ALL);
INSERT INTO many SELECT id, n || repeat('x', 200), v FROM ordered;
ANALYZE many;
UPDATE many SET n = n || ' corrected' WHERE id % 3 = 0;

-- the first row has the highest key: all others are late
CREATE TABLE high (LIKE ordered INCLUDING ALL);
INSERT INTO high SELECT 1000000, repeat('y', 300), 0;
INSERT INTO high SELECT id, n || repeat('x', 200), v FROM ordered;
ANALYZE high;

-- short rows fill the ends of earlier pages: they come before their turn
CREATE TABLE early (LIKE ordered INCLUDING ALL);
INSERT INTO early SELECT id, n || repeat('z', abs(hashint8(id)) % 400), v FROM ordered;
ANALYZE early;

-- a gap in the keys is not an early row, and neither is a sparse key
CREATE TABLE gaps (LIKE ordered INCLUDING ALL);
INSERT INTO gaps SELECT CASE WHEN id < 0 THEN id ELSE id * 1000003 + abs(hashint8(id)) % 1000000 END, n || repeat('z', abs(hashint8(id)) % 400), v FROM ordered;
ANALYZE gaps;

CREATE TABLE mixed (LIKE ordered INCLUDING ALL);
INSERT INTO mixed SELECT * FROM ordered ORDER BY md5(id::text);
ANALYZE mixed;
END

# The test is about these plans: without statistics none would be chosen.
is($server->sql("SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_stats WHERE attname = 'id' AND correlation > 0.99"),
	'early,few,gaps,high,many,ordered', 'ANALYZE finds six of the tables in order');
cmp_ok($server->sql('SELECT count(*) FROM (SELECT id, lag(id) OVER (ORDER BY ctid) AS before FROM early) s WHERE id < before'),
	'>', 100, 'some rows lie before their turn');

exports_all('ordered', 'in order');
exports_all('few', 'a few late rows');
exports_all('many', 'too many late rows: read again in order');
exports_all('high', 'all rows late but the first');
exports_all('early', 'early rows');
exports_all('gaps', 'gaps in the keys');
exports_all('mixed', 'in no order');

# Pages that are overwritten must not damage the tables around them.
$server->sql("SELECT * FROM lfsync_export_tables('{ordered, many, early, few, gaps, high, mixed}', 'all.db')");
is(integrity($server->path('all.db')), 'ok', 'all in one file: integrity_check');
for my $table (qw(ordered many early few gaps high mixed))
{
	ok(rows_in_sqlite('all.db', $table) eq rows_in_postgres($table), "all in one file: $table");
}

# A filter may take all rows, and all but the late ones.
$server->sql("SELECT * FROM lfsync_export('few', 'none.db', filter => 'false')");
is(sqlite($server->path('none.db'), 'SELECT count(*) FROM few'), '0', 'no row at all');
$server->sql("SELECT * FROM lfsync_export('few', 'late.db', filter => 'id % 1000 = 0')");
is(sqlite($server->path('late.db'), 'SELECT count(*), min(id), max(id) FROM few'),
	'41|-20000|20000', 'late rows alone');

# Late rows are inserted by SQLite, other rows are not: both alike.
$server->sql(<<'END');
CREATE TABLE kinds (id int PRIMARY KEY, b boolean, r float8, f float4, num numeric, t text, d timestamptz, u uuid, y bytea, j jsonb);
INSERT INTO kinds SELECT i, true, 1.5, 0.1, 1.50, '42', '2020-02-29 12:00:00.5+02', '00000000-0000-0000-0000-0000000000ff', '\x00ff', '{"a": [1, null]}'
  FROM generate_series(1, 5000) i;
ANALYZE kinds;
UPDATE kinds SET b = b WHERE id = 7;
SELECT * FROM lfsync_export('kinds', 'kinds.db', options => '{"indexes": true}');
END
is( sqlite($server->path('kinds.db'),
		'SELECT count(*) FROM (SELECT DISTINCT typeof(b), b, typeof(r), r, typeof(f), f, typeof(num), num, typeof(t), t, d, u, typeof(y), hex(y), j FROM kinds)'),
	'1', 'a late row has the values and types of the others');

done_testing();
