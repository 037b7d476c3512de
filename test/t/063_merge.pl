# Mode merge finds every difference between file and source, whatever the key is
# made of, writes nothing but that, and goes on where it was broken off.

use strict;
use warnings FATAL => 'all';

use Digest::MD5 qw(md5_hex);
use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('merge', conf => "fsync = off\nrestart_after_crash = on\nlfsync.batch_bytes = '1MB'\n");
my $merge = q(mode => 'merge');

# A job that merges a table into a file of that name.
sub add_job
{
	my ($table, $args) = @_;

	$args = $args ? ", $args" : '';
	unlink $t->path("$table.db");
	return $t->sql("SELECT lfsync_add_job('$table', '$table', '$table.db', mode => 'merge'$args) > 0");
}

# Rows read, inserted, updated and deleted by its next run.
sub merge
{
	my ($job) = @_;

	return $t->sql("SELECT concat_ws(' ', rows_read, rows_inserted, rows_updated, rows_deleted) FROM lfsync_export(job => '$job')");
}

# The same in another mode.
sub incremental
{
	my ($job, $cursor) = @_;
	my $result;

	$cursor = $cursor ? "cursor_columns => '$cursor'" : q(unset => '{cursor_columns}');
	$t->sql("SELECT lfsync_alter_job('$job', mode => 'incremental', $cursor)");
	$result = merge($job);
	$t->sql("SELECT lfsync_alter_job('$job', mode => 'merge', unset => '{cursor_columns}')");
	return $result;
}

# What a comparison finds: rows missing, different and extra in the file.
sub verify
{
	my ($job) = @_;

	return $t->sql("SELECT concat_ws(' ', missing, different, extra) FROM lfsync_verify('$job')");
}

sub state_of
{
	my ($file) = @_;

	return join ' ', md5_hex(slurp_raw($t->path($file))), (stat $t->path($file))[ 1, 7, 9, 10 ];
}

my $has_citext = $t->sql(q(SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'));
$t->sql('CREATE EXTENSION citext') if $has_citext;
$t->sql(<<'END');
CREATE TYPE mood AS ENUM ('z', 'b', 'ö', 'a', 'A', '');
CREATE DOMAIN short AS varchar(9) CHECK (VALUE <> 'x');
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
END

# Rows of a file are changed by hand; a merge with small batches mends them.
# Odd rows are damaged in the file, even ones at the source.
subtest 'keys' => sub {
	my $text = q((ARRAY['', 'a', 'A', 'ä', 'Ä', 'z', 'Z', E'\t', 'aa', 'a a', 'a-b', 'ab', 'ǅ', '𝄞', '￿', 'é', E'e\u0301', 'ß', 'ss', 'I', 'ı', 'İ', 'i', '_', '%', '''', '"', '\', '0', '10', '9', '0.9'])[i]);
	foreach (
		[ 'smallint', 'i - 16' ],
		[ 'bigint', '(i - 16) * 500000000000000000' ],
		[ 'boolean, b smallint', 'i % 2 = 0, i' ],
		[ 'numeric', '(i - 16) * 1.5' ],
		[ 'numeric', q((ARRAY['NaN', 'Infinity', '-Infinity', '0.000', '-0.0001', '1e-20', '1e30', '9.5', '10.00']::numeric[])[i]), '{"nan": "text"}' ],
		[ 'numeric(15)', '(i - 16) * 10000000000000' ],
		[ 'numeric', '(i - 16) * 1.25', '{"numeric": "real"}' ],
		[ 'real', '(i - 16) / 10.0' ],
		[ 'double precision', q((ARRAY['Infinity', '-Infinity', '0', '-1e308', '1e308', '5e-324', '0.1', '-0.1', '1e15']::float8[])[i]) ],
		[ 'double precision', q((ARRAY['NaN', 'Infinity', '-1', '0.1']::float8[])[i]), '{"nan": "text"}' ],
		[ 'text', $text ],
		[ 'text COLLATE "und-x-icu"', $text ],
		[ 'text COLLATE ci', q('k' || i) ],
		[ 'varchar(20)', $text ],
		[ 'char(5)', q(chr(96 + i) || repeat('y', i % 4)) ],
		[ 'short', q('s' || i) ],
		[ 'name', $text ],
		[ '"char"', q(chr(64 + i)::"char") ],
		[ 'uuid', 'md5(i::text)::uuid' ],
		[ 'uuid', 'md5(i::text)::uuid', '{"uuid": "blob"}' ],
		[ 'bytea', q(decode(left(md5(i::text), 2 * (i % 9)) || lpad(to_hex(i), 2, '0'), 'hex')) ],
		[ 'date', q((ARRAY['infinity', '-infinity', '0001-01-01 BC', '0044-03-15 BC', '1999-12-31', '10000-01-01', '0009-01-01', '9999-12-31']::date[])[i]) ],
		[ 'timestamp', q('2024-01-01'::timestamp + i * interval '1 day 0.000001') ],
		[ 'timestamptz', q('1969-12-31 23:59:50+00'::timestamptz + i * interval '1.25 seconds') ],
		[ 'timestamptz', q('1969-12-31 23:59:50+00'::timestamptz + i * interval '1 second'), '{"timestamps": "unix"}' ],
		[ 'timestamptz', q('1969-12-31 23:59:50+00'::timestamptz + i * interval '1.25 seconds'), '{"timestamps": "unix_us"}' ],
		[ 'date', q('2024-01-01'::date + i), '{"timestamps": "unix"}' ],
		[ 'time', q('00:00'::time + i * interval '37 minutes 0.5 seconds') ],
		[ 'interval', q(i * interval '1 month 3 days 04:05:06') ],
		[ 'mood', q((enum_range(NULL::mood))[i]) ],
		[ 'inet', q(('10.0.' || i || '.1')::inet) ],
		[ 'oid', '(4294967295 - i)::oid' ],
		[ 'text, b int, c text COLLATE "und-x-icu"', q(left(md5((i / 8)::text), 1), -i / 2, chr(128 + i)) ],
		[ 'int, b timestamptz, c uuid', q(i % 3, '2024-01-01'::timestamptz + i % 5 * interval '1.5 hour', md5(i::text)::uuid) ],
		$has_citext ? [ 'citext', q('Key ' || i) ] : ())
	{
		my ($type, $values, $options) = @$_;
		my $name = $type . ($options ? " $options" : '');
		my $columns = join ', ', 'a', $type =~ /, (\w) \w/g;
		my $args = q(options => ') . ($options ? $options =~ s/\}/, "batch_rows": 5}/r : '{"batch_rows": 5}') . q(');

		$t->sql(<<"END");
SELECT lfsync_drop_job('k') FROM lfsync_jobs WHERE name = 'k';
DROP TABLE IF EXISTS k;
CREATE TABLE k (a $type, i int NOT NULL, v text, PRIMARY KEY ($columns));
INSERT INTO k SELECT $values, i, 'v' FROM generate_series(1, 32) i WHERE ($values) IS NOT NULL;
END
		add_job('k', $args);
		my $n = merge('k') =~ s/ .*//r;
		cmp_ok($n, '>', 3, "$name: some rows");
		is(merge('k'), "$n 0 0 0", "$name: a merge finds them all equal");
		sqlite($t->path('k.db'), q(UPDATE k SET v = 'by hand' WHERE i % 8 = 1; DELETE FROM k WHERE i % 8 = 3));
		$t->sql(q(UPDATE k SET v = 'new' WHERE i % 8 = 2; DELETE FROM k WHERE i % 8 = 4));
		my ($left, $missing, $different) = split / /, $t->sql(<<'END');
SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE i % 8 = 3), count(*) FILTER (WHERE i % 8 IN (1, 2))) FROM k
END
		my $extra = $n - $left;
		is(verify('k'), "$missing $different $extra", "$name: a comparison counts the differences");
		is(merge('k'), "$left $missing $different $extra", "$name: a merge mends them");
		is(verify('k'), '0 0 0', "$name: none is left");
		$t->same_rows('k.db', 'k', "$name: the file is equal", columns => 'i, v');
	}
};

subtest 'equal rows' => sub {
	$t->sql(q(CREATE TABLE e (id int PRIMARY KEY, v text, w float8); INSERT INTO e SELECT i, md5(i::text), i / 7.0 FROM generate_series(1, 5000) i));
	add_job('e');
	is(merge('e'), '5000 5000 0 0', 'loaded');
	foreach my $options ('{}', '{"batch_rows": 7}', '{"batch_rows": 4999}', '{"batch_rows": 5000}')
	{
		my $before = state_of('e.db');

		$t->sql("SELECT lfsync_alter_job('e', options => '$options')");
		is(merge('e'), '5000 0 0 0', "$options: equal");
		is(state_of('e.db'), $before, "$options: nothing is written");
		is(verify('e'), '0 0 0', "$options: nor found");
		is(join(' ', grep { /^e\.db./ } $t->files), '', "$options: no file beside it");
	}
	$t->sql('UPDATE e SET w = -w WHERE id = 2500');
	is(merge('e'), '5000 0 1 0', 'one row differs');
	my $before = state_of('e.db');
	is(merge('e'), '5000 0 0 0', 'and then none');
	is(state_of('e.db'), $before, 'nothing is written after changes, either');
	is(incremental('e'), '5000 0 0 0', 'row versions begin with a comparison');
	is(incremental('e'), '0 0 0 0', 'and go on');
	$before = state_of('e.db');
	is(merge('e'), '5000 0 0 0', 'a merge in between');
	is(state_of('e.db'), $before, 'leaves their position');
	is(incremental('e'), '0 0 0 0', 'which still holds');
};

# By somebody who does not know what lfsync has counted.
subtest 'by hand' => sub {
	my $file = $t->path('e.db');

	foreach (
		[ 'DELETE FROM e WHERE id IN (1, 77, 5000)', '3 0 0', '5000 3 0 0' ],
		[ 'INSERT INTO e (id) VALUES (-5), (0), (9999)', '0 0 3', '5000 0 0 3' ],
		[ q(UPDATE e SET v = NULL WHERE id < 4; UPDATE e SET w = 'text' WHERE id = 5; UPDATE e SET v = CAST(v AS BLOB) WHERE id = 6), '0 5 0', '5000 0 5 0' ],
		[ 'UPDATE e SET id = id + 100000 WHERE id % 1000 = 0', '5 0 5', '5000 5 0 5' ],
		[ 'DELETE FROM e', '5000 0 0', '5000 5000 0 0' ])
	{
		my ($sql, $found, $mended) = @$_;

		is(sqlite($file, $sql), '', $sql);
		my $before = state_of('e.db');
		is(verify('e'), $found, 'is found');
		is(state_of('e.db'), $before, 'and left');
		is(merge('e'), $mended, 'and mended');
		$t->same_rows('e.db', 'e', 'the file is equal', columns => 'id, v');
		is(verify('e'), '0 0 0', 'to all comparisons');
		is(incremental('e'), '0 0 0 0', 'row versions need not compare');
		is($t->notes, '', 'the number of rows is right again');
		$t->sql(q(DELETE FROM e WHERE id = 42));
		is(incremental('e'), '4999 0 0 1', 'so that a deleted row is noticed');
		$t->sql(q(INSERT INTO e SELECT 42, md5('42'), 6));
		is(incremental('e'), '1 1 0 0', 'and one that comes again');
	}
};

subtest 'no rows' => sub {
	$t->sql('CREATE TABLE none (a text PRIMARY KEY, v int)');
	add_job('none');
	is(merge('none'), '0 0 0 0', 'an empty source');
	is(merge('none'), '0 0 0 0', 'twice');
	sqlite($t->path('none.db'), q(INSERT INTO none VALUES ('x', 1)));
	is(verify('none'), '0 0 1', 'a row of somebody else');
	is(merge('none'), '0 0 0 1', 'goes');
	$t->sql(q(INSERT INTO none VALUES ('a', 1), ('b', 2)));
	is(merge('none'), '2 2 0 0', 'rows come');
	$t->sql('TRUNCATE none');
	is(merge('none'), '0 0 0 2', 'and go');
};

# Larger than a buffer: each goes on its own, and ends a range.
subtest 'wide rows' => sub {
	foreach my $key ('id int', 'id text')
	{
		my ($type) = $key =~ /(\w+)$/;

		$t->sql(<<"END");
SELECT lfsync_drop_job('wide') FROM lfsync_jobs WHERE name = 'wide';
DROP TABLE IF EXISTS wide;
CREATE TABLE wide ($key PRIMARY KEY, v text);
INSERT INTO wide SELECT i::text::$type, repeat(md5(i::text), CASE WHEN i % 3 = 0 THEN 100000 ELSE 1 END) FROM generate_series(10, 30) i;
END
		add_job('wide');
		is(merge('wide'), '21 21 0 0', "$key: loaded");
		is(merge('wide'), '21 0 0 0', "$key: equal");
		$t->sql(qq(DELETE FROM wide WHERE id::text IN ('10', '11', '12', '20', '21', '29', '30'); UPDATE wide SET v = v || 'x' WHERE id::text IN ('15', '16')));
		sqlite($t->path('wide.db'), q(DELETE FROM wide WHERE id IN ('17', '18'); INSERT INTO wide (id) VALUES ('100'), ('151'), ('99')));
		is(verify('wide'), '2 2 10', "$key: compared");
		is(merge('wide'), '14 2 2 10', "$key: merged");
		$t->same_rows('wide.db', 'wide', "$key: the file is equal");
		incremental('wide');
		$t->sql(q(UPDATE wide SET v = v || 'y'));
		is(incremental('wide'), '14 0 14 0', "$key: shipped by their versions");
		$t->same_rows('wide.db', 'wide', "$key: the file is equal");
		incremental('wide', '{id}') for 1 .. 2;
		$t->sql(qq(INSERT INTO wide SELECT i::text::$type, repeat('z', 3000000) FROM generate_series(91, 93) i));
		is(incremental('wide', '{id}'), '3 3 0 0', "$key: shipped by a cursor");
		$t->same_rows('wide.db', 'wide', "$key: the file is equal");
	}
};

subtest 'keys that are not' => sub {
	$t->sql(q(CREATE TABLE twice (a text, b timestamptz); INSERT INTO twice VALUES ('x', '2024-01-01 00:00:00.1+00'), ('x', '2024-01-01 00:00:00.2+00')));
	$t->fails(q(SELECT lfsync_export('twice', 'twice.db', mode => 'merge', key_columns => '{a}')), '23505', qr/HINT:.*key columns/s, 'at the first load');
	is($t->sync('twice', 'twice.db', "$merge, key_columns => '{a,b}'"), '2 2 0 0', 'two columns are one');
	$t->sql('DELETE FROM twice WHERE b > \'2024-01-01 00:00:00.15+00\'');
	$t->sync('twice', 'stored.db', "$merge, key_columns => '{b}', options => '{\"timestamps\": \"unix\"}'");
	$t->sql(q(INSERT INTO twice VALUES ('y', '2024-01-01 00:00:00.2+00')));
	$t->fails(q(SELECT lfsync_export('twice', 'stored.db', mode => 'merge', key_columns => '{b}', options => '{"timestamps": "unix"}')),
		'23505', qr/comes twice.*HINT:.*key columns/s, 'later, as they are stored');
	$t->sql('CREATE TABLE keyless (a int)');
	$t->fails(q(SELECT lfsync_export('keyless', 'no.db', mode => 'merge')), '42P16', qr/needs a key.*HINT:/s, 'none at all');
};

# Held at the 500th row, and killed; what changes before and behind that row
# meanwhile is found by the merge that goes on.
subtest 'broken off' => sub {
	my $args = q(table_name => 'r', key_columns => '{id}', options => '{"batch_rows": 100}');

	$t->make_source;
	$t->sql(<<'END');
CREATE FUNCTION gate_at(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT public.gate() WHERE $1 = 500';
CREATE VIEW numbers AS SELECT id, v, gate_at(id) AS held FROM t;
CREATE VIEW texts AS SELECT lpad(id::text, 5, '0') AS id, v, gate_at(id) AS held FROM t;
CREATE INDEX ON t ((lpad(id::text, 5, '0')) COLLATE "C");
CREATE VIEW floats AS SELECT id / 10::real AS id, v, gate_at(id) AS held FROM t;
CREATE INDEX ON t ((id / 10::real));
CREATE VIEW dates AS SELECT '2000-01-01'::date + id AS id, v, gate_at(id) AS held FROM t;
CREATE VIEW uuids AS SELECT (lpad(id::text, 8, '0') || '-0000-4000-8000-000000000000')::uuid AS id, v, gate_at(id) AS held FROM t;
CREATE INDEX ON t (((lpad(id::text, 8, '0') || '-0000-4000-8000-000000000000')::uuid));
ALTER DATABASE postgres SET enable_sort = off;
END
	foreach my $table (qw(numbers texts floats uuids))
	{
		my $file = $t->path("$table.db");
		my ($gate, $caller);

		$t->sql(q(TRUNCATE t; INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i));
		add_job($table, $args);
		merge($table);
		$t->sql(q(DELETE FROM t WHERE id % 10 = 3; UPDATE t SET v = 'changed' WHERE id % 10 = 4; UPDATE t SET id = id + 1000 WHERE id % 100 = 5));
		$gate = $t->close_gate;
		$caller = $t->session;
		$caller->send("SELECT lfsync_export(job => '$table');");
		$t->wait_at_gate;
		my $progress = $t->wait_phase('scanning', sub { $_[0]{batches_done} >= 4 });
		kill 'KILL', $progress->{writer_pid};
		$caller->wait;
		$caller->quit;
		$gate->quit;
		$t->wait_restart;
		poll('the workers to end', sub { my %workers = $t->workers; return !%workers });
		like(position($file), qr/"merged": \["[irtx]:/, "$table: the position says how far it came");
		$t->sql(q(DELETE FROM t WHERE id IN (7, 8, 600); UPDATE t SET v = 'later' WHERE id IN (11, 700)));
		like(merge($table), qr/^897 \d+ \d+ \d+$/, "$table: the next one reads all");
		is($t->notes, 'a merge that was broken off went on', "$table: from there");
		is(sqlite($file, 'SELECT v, count(*) FROM r GROUP BY v ORDER BY v'),
			$t->sql('SELECT v, count(*) FROM t GROUP BY v ORDER BY v COLLATE "C"'), "$table: the file is equal");
		is(sqlite($file, 'SELECT count(*), count(DISTINCT id) FROM r'), '897|897', "$table: no key twice");
		is(position($file) =~ /merged/, '', "$table: and nothing is left of it");
		is(verify($table), '0 0 0', "$table: not to a comparison, either");
	}
};

# The merge that goes on begins behind the 500th row, and sees the lower ones
# last: of an artist's mbids still that of the highest row wins.
subtest 'broken off, with what rows refer to' => sub {
	my $mapping = q({"artist": {"columns": {"name": "artist", "mbid": "mbid"}, "key": ["name"]},
		"label": {"columns": {"name": "label"}, "key": ["name"]},
		"play": {"columns": {"id": "id", "held": "held", "artist_id": {"references": "artist"}, "label_id": {"references": "label"}}, "key": ["id"]}});
	my $artists = q(SELECT artist, (array_agg(mbid ORDER BY id DESC) FILTER (WHERE mbid IS NOT NULL))[1] FROM plays GROUP BY artist ORDER BY artist COLLATE "C");
	my $file = $t->path('heard.db');

	$t->sql(<<'END');
CREATE TABLE plays (id int PRIMARY KEY, artist text, mbid text, label text);
INSERT INTO plays SELECT i, 'a' || i % 50, 'm' || i, 'l' || i / 100 FROM generate_series(1, 1000) i;
CREATE VIEW heard AS SELECT *, gate_at(id) AS held FROM plays;
END
	add_job('heard', qq(key_columns => '{id}', mapping => '$mapping', options => '{"batch_rows": 100}'));
	merge('heard');
	is(sqlite($file, 'SELECT name, mbid FROM artist ORDER BY name'), $t->sql($artists), 'loaded');
	my $labels = sqlite($file, 'SELECT id, name FROM label WHERE name NOT IN (\'l9\', \'l10\') ORDER BY name');
	$t->sql(<<'END');
DELETE FROM plays WHERE artist = 'a7' OR id BETWEEN 900 AND 1000;
UPDATE plays SET mbid = NULL WHERE artist = 'a8' AND id > 500 OR artist = 'a9' OR artist = 'a11' AND id < 500;
UPDATE plays SET mbid = 'later' WHERE id IN (60, 860);
UPDATE plays SET artist = 'low' WHERE id % 100 = 12 AND id < 500;
UPDATE plays SET artist = 'high' WHERE id % 100 = 13 AND id > 500;
END
	my $gate = $t->close_gate;
	my $caller = $t->session;
	$caller->send(q(SELECT lfsync_export(job => 'heard');));
	$t->wait_at_gate;
	my $progress = $t->wait_phase('scanning', sub { $_[0]{batches_done} >= 4 });
	kill 'TERM', $progress->{writer_pid};
	$gate->open_gate;
	$caller->wait;
	$caller->quit;
	poll('the workers to end', sub { my %workers = $t->workers; return !%workers });
	like(sqlite($file, q(SELECT position FROM _lfsync_state WHERE table_name = 'play')), qr/"merged"/, 'the position says how far it came');
	$t->sql(q(DELETE FROM plays WHERE id = 860));
	merge('heard');
	is($t->notes, 'a merge that was broken off went on', 'the next one goes on from there');
	is(sqlite($file, 'SELECT name, mbid FROM artist ORDER BY name'), $t->sql($artists), 'artists that are played, with the mbids that have won');
	is(sqlite($file, 'SELECT id, name FROM label ORDER BY name'), $labels, 'labels, with the keys that they had');
	is(sqlite($file, 'SELECT count(*), count(a.id), count(l.id) FROM play p LEFT JOIN artist a ON a.id = artist_id LEFT JOIN label l ON l.id = label_id'),
		$t->sql(q(SELECT count(*) || '|' || count(artist) || '|' || count(label) FROM plays)), 'plays, with what they refer to');
	is($t->sql(q(SELECT sum(missing + extra + different) FROM lfsync_verify('heard'))), 0, 'a comparison finds nothing');
};

# Ranges that are as they were are not compared again, but for those of a file
# that somebody else has written meanwhile.
subtest 'by hand, while a merge is under way' => sub {
	$t->sql(q(TRUNCATE t; INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i));
	# the first merge after a load knows of no ranges, and compares all
	$t->sql(q(SELECT lfsync_reset_job('numbers')));
	merge('numbers');
	$t->sql(q(UPDATE t SET v = 'new' WHERE id IN (1, 999)));

	my $gate = $t->close_gate;
	my $caller = $t->session;
	$caller->send(q(SELECT rows_updated FROM lfsync_export(job => 'numbers');));
	$t->wait_at_gate;
	$t->wait_phase('scanning', sub { $_[0]{batches_done} == 4 });
	is(sqlite($t->path('numbers.db'), q(UPDATE r SET v = 'by hand' WHERE id IN (300, 700))), '', 'rows before and behind the point that it has reached');
	$gate->open_gate;
	$caller->wait;
	is($caller->error, '', 'nobody minds');
	is($caller->output, 3, 'what comes after it is mended');
	is(merge('numbers'), '1000 0 1 0', 'what was before by the next merge');
	is(verify('numbers'), '0 0 0', 'and leaves none');
};

subtest 'deletes that are ignored' => sub {
	my $args = q(options => '{"deletes": "ignore"}');

	$t->sql('CREATE TABLE i (id int PRIMARY KEY, v text); INSERT INTO i SELECT i, i FROM generate_series(1, 10) i');
	$t->sync('i', 'i.db', "$merge, $args");
	$t->sql(q(DELETE FROM i WHERE id IN (1, 5, 10); UPDATE i SET v = 'x' WHERE id = 4));
	is($t->sync('i', 'i.db', "$merge, $args"), '7 0 1 0', 'deleted rows stay');
	$t->sql('DELETE FROM i');
	is($t->sync('i', 'i.db', "$merge, $args"), '0 0 0 0', 'all of them');
	is(sqlite($t->path('i.db'), 'SELECT count(*) FROM i'), 10, 'they are there');
	is($t->sync('i', 'i.db', $merge), '0 0 0 10', 'as long as they are ignored');
};

done_testing();
