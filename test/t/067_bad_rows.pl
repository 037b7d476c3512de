# on_row_error => 'skip': rows that the file cannot take are left out, counted,
# kept in _lfsync_rejects with the reason, and tried again.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('bad_rows', conf => "fsync = off\n");
my $file = $t->path('a.db');

sub export
{
	my ($source, $more, %options) = @_;
	my $options = join ', ', map { $options{$_} =~ /^\d+\z/ ? qq("$_": $options{$_}) : qq("$_": "$options{$_}") } sort keys %options;

	$more = $more ? ", $more" : '';
	return $t->sql(qq(SELECT rows_read, rows_inserted, rows_updated, rows_deleted
		FROM lfsync_export('$source', 'a.db', 't'$more, options => '{"on_row_error": "skip", "nan": "error"@{[ $options && ", $options" ]}}')));
}

sub stops
{
	my ($source, $more, $sqlstate, $like, $name, $mode) = @_;

	$mode //= 'stop';
	$more = $more ? ", $more" : '';
	return $t->fails(qq(SELECT lfsync_export('$source', 'a.db', 't'$more, options => '{"on_row_error": "$mode", "nan": "error"}')), $sqlstate, $like, $name);
}

sub query { return sqlite($file, $_[0]) }
sub rejects { return query('SELECT key, column_name, sqlstate FROM _lfsync_rejects ORDER BY 1, 2, 3') }
sub bad { return join "\n", sort map { "{\"id\": $_}|v|22003" } @_ }
sub rejected { return $t->history('rows_rejected') }
sub clear { unlink glob "$file*"; sqlite($file, 'CREATE TABLE mine (a)') if $_[0]; return }
sub compared { return like($t->history('notes'), qr/everything was compared/, $_[0] // 'everything was compared') }
sub not_compared { return unlike($t->history('notes'), qr/everything was compared/, $_[0] // 'not everything was compared') }

my @modes = (
	[ 'full, a new file', q(mode => 'full'), 0 ],
	[ 'full, in place', q(mode => 'full'), 1 ],
	[ 'merge', q(mode => 'merge'), 0 ],
	[ 'incremental', q(mode => 'incremental'), 0 ],
	[ 'incremental with a cursor', q(mode => 'incremental', cursor_columns => '{id}'), 0 ]);

#
# Values that SQLite cannot hold
#

$t->sql(<<'END');
CREATE TABLE good (id int PRIMARY KEY, v float8, w text);
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
	TRUNCATE good;
	INSERT INTO good SELECT i, CASE WHEN i % 100 = 7 THEN 'NaN'::float8 ELSE i END, 'row ' || i FROM generate_series(1, 1000) i;
$$;
SELECT fill();
END

stops('good', '', '22003', qr/NaN cannot be stored in SQLite's type REAL.*column "v", row 7 of public.good \(id = 7\)/s, 'by default the first one stops the run');

foreach (@modes)
{
	my ($name, $mode, $shared) = @$_;

	subtest $name => sub {
		my $goes_on = $mode !~ /full/;

		clear($shared);
		$t->sql('SELECT fill()');
		is(export('good', $mode), '1000|990|0|0', 'all but ten');
		is(rejected(), 10, 'which the history counts');
		is($t->sql(q(SELECT tables->'t'->>'rows_rejected' FROM lfsync_export('good', 'a.db', 't', mode => 'full', options => '{"on_row_error": "skip", "nan": "error"}'))), 10, 'and the result');
		is(export('good', $mode) =~ s/\|.*//r, 1000, 'this mode again');
		is(rejects(), bad(7, map { "${_}07" } 1 .. 9), 'in the file');
		is(query('SELECT DISTINCT message FROM _lfsync_rejects'), q(NaN cannot be stored in SQLite's type REAL), 'with the reason');
		is(query('SELECT rows, (SELECT count(*) FROM t) FROM _lfsync_state'), '990|990', 'the table');

		export('good', $mode);
		not_compared() if $goes_on;
		is(rejected(), 10, 'tried again');

		# 7 is mended, 507 goes, 10 gets bad, 107 stays bad, and there is a new one
		$t->sql(<<'END');
UPDATE good SET v = 7 WHERE id = 7;
DELETE FROM good WHERE id = 507;
UPDATE good SET w = w || '.' WHERE id = 107;
INSERT INTO good VALUES (1107, 'NaN', 'new'), (1108, 1108, 'new');
END
		$t->sql(q(UPDATE good SET v = 'NaN' WHERE id = 10)) if $mode !~ /cursor/;
		export('good', $mode);
		my @bad = $mode =~ /cursor/ ? () : 10;
		is(rejects(), bad(@bad, 107, 1107, map { "${_}07" } 2 .. 4, 6 .. 9), 'what has changed');
		is(query('SELECT count(*), sum(id IN (7, 1108)) FROM t') . '|' . rejected(), (990 + 2 - @bad) . '|2|' . (9 + @bad), 'and in the table');
		is(query('SELECT rows FROM _lfsync_state'), 990 + 2 - @bad, 'rows');
		export('good', $mode);
		not_compared() if $goes_on;
		is(integrity($file), 'ok', 'integrity');

		$t->sql(q(UPDATE good SET v = id WHERE v = 'NaN'));
		export('good', $mode);
		is($shared || $mode !~ /full/ ? rejects() : query(q(SELECT name FROM sqlite_schema WHERE name = '_lfsync_rejects')), '', 'nothing is left when all are mended');
		is(query('SELECT count(*) FROM t') . '|' . rejected(), $t->sql('SELECT count(*) FROM good') . '|0', 'all rows');
		$t->clean('afterwards', 'a.db');
	};
}

subtest 'a row that is rejected is not there as it was before, either' => sub {
	clear();
	$t->sql('SELECT fill()');
	export('good', q(mode => 'incremental'));
	$t->sql(q(UPDATE good SET v = 'NaN' WHERE id = 20));
	is(export('good', q(mode => 'incremental')) =~ s/^\d+\|//r, '0|0|1', 'it goes');
	not_compared();
	is(query('SELECT count(*) FROM t WHERE id = 20'), 0, 'gone');
};

subtest 'from skip to stop' => sub {
	stops('good', q(mode => 'incremental'), '22003', qr/NaN cannot be stored/, 'rows that were left out stop the run');
};

subtest 'verify' => sub {
	$t->sql(q(SELECT lfsync_add_job('j', 'good', 'a.db', mode => 'merge', table_name => 't', options => '{"on_row_error": "skip", "nan": "error"}')));
	unlink $file;
	$t->sql(q(SELECT lfsync_export('j')));
	is($t->sql(q(SELECT rows_source, rows_target, missing, extra, different FROM lfsync_verify('j'))), '1000|989|11|0|0', 'they are missing');
	is(rejects() =~ tr/\n//, 10, 'and still told apart');
	$t->sql(q(SELECT * FROM lfsync_verify('j', true)));
	is(rejects() =~ tr/\n//, 10, 'mending tries them again');
	$t->sql(q(SELECT lfsync_drop_job('j')));
};

subtest 'other reasons' => sub {
	clear();
	$t->sql(<<'END');
CREATE TABLE reasons (id int PRIMARY KEY, n numeric, i numeric(5), at timestamptz, late timestamptz);
INSERT INTO reasons VALUES (1, 1, 1, now(), now()), (2, 1e400, 2, now(), now()), (3, 3, 'NaN', now(), now()),
	(4, 4, 4, 'infinity', now()), (5, 5, 5, now(), '294270-01-01');
END
	is(export('reasons', '', numeric => 'real', timestamps => 'unix_us'), '5|1|0|0', 'rows');
	is(rejects(), <<'END' =~ s/\n\z//r, 'columns and states');
{"id": 2}|n|22003
{"id": 3}|i|22003
{"id": 4}|at|22008
{"id": 5}|late|22008
END
};

subtest 'too many' => sub {
	$t->sql(q(CREATE VIEW many AS SELECT i AS id, 'NaN'::float8 AS v FROM generate_series(1, 100001) i));
	stops('many', '', '54000', qr/more than 100000 rows of public.many cannot be kept.*on_row_error => 'skip' is for exceptions/s, 'stop the run', 'skip');
};

subtest 'a row too large for SQLite' => sub {
	clear();
	$t->sql(q(CREATE TABLE large (id int PRIMARY KEY, a text, b text);
		INSERT INTO large SELECT i, repeat('x', n), repeat('y', n) FROM (VALUES (1, 1), (2, 500000000), (3, 1)) v (i, n)));
	foreach my $shared (0, 1)
	{
		clear($shared);
		is(export('large'), '3|2|0|0', 'is left out');
		is(rejects(), '{"id": 2}||54000', 'of the table');
	}
	is(export('large', q(mode => 'merge')) =~ s/\|.*//r, 3, 'merged');
	is(export('large', q(mode => 'merge')), '3|0|0|0', 'and again');
	is(rejects(), '{"id": 2}||54000', 'still');
	$t->sql('DROP TABLE large');
};

#
# Encodings
#

subtest 'a database without encoding' => sub {
	$t->sql(q(CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0));
	$t->sql(<<'END', db => 'ascii');
CREATE EXTENSION lfsync;
CREATE TABLE t (k text PRIMARY KEY, v text);
INSERT INTO t VALUES ('a', 'fine'), ('b', E'\xff'), (E'\xe4', 'no UTF-8'), ('z', E'\xc3\xa4');
END
	foreach my $mode (qw(full merge merge incremental incremental))
	{
		clear() if $mode eq 'full';
		$t->sql(qq(SELECT lfsync_export('t', 'a.db', mode => '$mode', options => '{"on_row_error": "skip"}')), db => 'ascii');
		is(query('SELECT k, hex(v) FROM t ORDER BY 1'), "a|66696E65\nz|C3A4", "$mode: rows");
		is(rejects(), qq({"k": "b"}|v|22021\n{"k": null}|k|22021), "$mode: rejects");
	}
	is($t->sql(q(SELECT count(*) FROM lfsync_runs WHERE notes::text LIKE '%compared%'), db => 'ascii'), 1, 'compared once: another mode');
};

subtest 'a character without a place in Unicode' => sub {
	$t->sql(q(CREATE DATABASE win ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0));
	$t->sql(<<'END', db => 'win');
CREATE EXTENSION lfsync;
CREATE TABLE t (k int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, convert_from('\x80', 'WIN1252')), (2, convert_from('\x81', 'WIN1252')), (3, 'x');
END
	clear();
	$t->sql(q(SELECT lfsync_export('t', 'a.db', options => '{"on_row_error": "skip"}')), db => 'win');
	is(query('SELECT k, hex(v) FROM t ORDER BY 1'), "1|E282AC\n3|78", 'rows');
	is(rejects(), '{"k": 2}|v|22P05', 'rejects');
};

#
# Keys
#

foreach my $key ('int', 'text')
{
	foreach (@modes[ 0 .. 2 ])
	{
		my ($name, $mode, $shared) = @$_;

		subtest "keys of type $key, $name" => sub {
			clear($shared);
			$t->sql(qq(CREATE TABLE keys (k $key, v int); INSERT INTO keys VALUES ('5', 1), ('3', 2), ('5', 3), (NULL, 4), ('4', 5), (NULL, 6), ('5', 7)));
			foreach my $how ('once', 'again')
			{
				is(export('keys', "key_columns => '{k}', $mode") =~ s/\|.*//r, 7, "$how: all are read");
				is(query('SELECT k, count(*) FROM t GROUP BY 1 ORDER BY 1'), "3|1\n4|1\n5|1", "$how: each key is there once");
				my $five = $key eq 'int' ? 5 : '"5"';
				is(rejects(), join("\n", sort(("{\"k\": $five}||23505") x 2, ('{"k": null}|k|23502') x 2)), "$how: the others are not");
				is(rejected(), 4, "$how: counted");
				is(query('SELECT rows FROM _lfsync_state'), 3, "$how: rows");
				is(integrity($file), 'ok', "$how: integrity");
			}
			is(query('PRAGMA freelist_count'), 0, 'no room is wasted') unless $shared || $mode =~ /merge/;
			$t->sql('DROP TABLE keys');
		};
	}
}

subtest 'a key that comes twice in a table read as it lies' => sub {
	clear();
	$t->sql('CREATE TABLE keys (k int NOT NULL, rowid text); INSERT INTO keys SELECT i, i FROM generate_series(1, 20000) i; INSERT INTO keys VALUES (5, 5), (19999, 7); ANALYZE keys');
	is(export('keys', q(key_columns => '{k}')), '20002|20000|0|0', 'rows');
	is(rejects(), qq({"k": 19999}||23505\n{"k": 5}||23505), 'rejects');
	is(query('SELECT count(*), sum(k) FROM t') . '|' . query('SELECT rows FROM _lfsync_state'), '20000|200010000|20000', 'rows');
	is(integrity($file), 'ok', 'integrity');
	stops('keys', q(key_columns => '{k}'), '23505', qr/UNIQUE constraint failed|comes twice/, 'by default they stop the run');
	$t->sql('DROP TABLE keys');
};

subtest 'a unique index over what is alike in SQLite' => sub {
	clear();
	$t->sql(q(CREATE TABLE alike (id int PRIMARY KEY, at timestamptz UNIQUE); INSERT INTO alike VALUES (1, '2024-01-01 00:00:00.1Z'), (2, '2024-01-01 00:00:00.2Z')));
	is(export('alike', '', timestamps => 'unix'), '2|2|0|0', 'leaves no row out');
	like($t->history(q(notes->>'structure')), qr/index alike_at_key is carried without UNIQUE: rows are alike as SQLite holds them/, 'but is not unique');
};

#
# Constraints of the file
#

subtest 'constraints of a table that is adopted' => sub {
	clear();
	$t->sql(<<'END');
CREATE TABLE limits (id int PRIMARY KEY, a int, b text);
INSERT INTO limits SELECT i, i, 'b' || i FROM generate_series(1, 100) i;
UPDATE limits SET a = -1 WHERE id = 5;
UPDATE limits SET a = NULL WHERE id = 15;
UPDATE limits SET b = 'theirs' WHERE id = 25;
END
	query(q(CREATE TABLE t (b TEXT UNIQUE ON CONFLICT REPLACE, a INT NOT NULL CHECK (a > 0), id INTEGER PRIMARY KEY); INSERT INTO t VALUES ('theirs', 1, 1000)));
	stops('limits', q(mode => 'incremental'), '42P07', qr/did not make it/, 'only with the option');
	is(export('limits', q(mode => 'incremental'), existing_table => 'adopt'), '100|97|0|0', 'rows');
	is(rejects(), qq({"id": 15}||23502\n{"id": 25}||23505\n{"id": 5}||23514), 'rejects');
	is(query(q(SELECT message FROM _lfsync_rejects WHERE key = '{"id": 5}')), 'CHECK constraint failed: a > 0', 'with what SQLite says');
	is(rejected() . '|' . query('SELECT rows FROM _lfsync_state'), '3|100', 'counts');
	is(query(q(SELECT * FROM t WHERE id = 1000)), 'theirs|1|1000', 'their row stays');

	is(export('limits', q(mode => 'incremental'), existing_table => 'adopt'), '3|0|0|0', 'tried again');
	not_compared();
	query(q(UPDATE t SET b = 'other' WHERE id = 1000));
	is(export('limits', q(mode => 'incremental'), existing_table => 'adopt'), '3|1|0|0', 'one passes now');
	$t->sql('UPDATE limits SET a = 5 WHERE id = 5');
	is(export('limits', q(mode => 'incremental'), existing_table => 'adopt') =~ s/^\d+\|//r, '1|0|0', 'and one that was mended');
	is(rejects() . '|' . rejected(), '{"id": 15}||23502|1', 'one is left');
	$t->sql('UPDATE limits SET a = -2 WHERE id = 30');
	export('limits', q(mode => 'incremental'), existing_table => 'adopt');
	is(query('SELECT a FROM t WHERE id = 30'), 30, 'what is adopted keeps the row as it was');
	is(rejects() =~ tr/\n//, 1, 'and says so');
	$t->sql('DELETE FROM limits WHERE id IN (15, 30)');
	export('limits', q(mode => 'incremental'), existing_table => 'adopt');
	is(rejects(), '', 'what is gone at the source is no reject');
	is(integrity($file), 'ok', 'integrity');
	$t->sql('DROP TABLE limits');
};

foreach my $mode (q(mode => 'incremental'), q(mode => 'merge'))
{
	subtest "values that change places under a unique index of somebody, $mode" => sub {
		clear();
		$t->sql(q(CREATE TABLE places (id int PRIMARY KEY, place int); INSERT INTO places SELECT i, i FROM generate_series(1, 50) i));
		export('places', $mode);
		query('CREATE UNIQUE INDEX theirs ON t (place)');
		$t->sql('UPDATE places SET place = 51 - place WHERE id <= 10 OR id > 40');
		stops('places', $mode, '23505', qr/UNIQUE constraint failed: t.place/, 'stops a run');
		export('places', $mode, batch_rows => 5);
		is(rejected(), 0, 'passes when it is tried again at the end');
		is(query('SELECT count(*), sum(place = CASE WHEN id BETWEEN 11 AND 40 THEN id ELSE 51 - id END) FROM t'), '50|50', 'all are there');
		is(query('SELECT rows FROM _lfsync_state'), 50, 'rows');

		$t->sql('UPDATE places SET place = 20 WHERE id = 21');
		export('places', $mode);
		is(rejects(), '{"id": 21}||23505', 'one that two rows have');
		is(query('SELECT count(*) FROM t'), 49, 'is there once');
		export('places', $mode);
		not_compared();
		is(query('SELECT rows FROM _lfsync_state'), 49, 'rows');
		query('DROP INDEX theirs');
		export('places', $mode);
		is(rejects() . query('SELECT count(*) FROM t'), 50, 'when nothing is against it it passes');
		export('places', $mode);
		not_compared();
		$t->sql('DROP TABLE places');
	};
}

#
# Several tables, and full-text indexes
#

subtest 'a mapping to several tables' => sub {
	my $mapping = <<'END';
mapping => '{"artist": {"columns": {"name": "artist", "score": "score"}, "key": ["name"], "fts": ["name"]},
	"play": {"columns": {"id": "id", "link": "link", "artist_id": {"references": "artist"}}, "key": ["id"], "fts": ["link"]}}'
END
	my $words = q(INSERT INTO play_fts (play_fts, rank) VALUES ('integrity-check', 1); INSERT INTO artist_fts (artist_fts, rank) VALUES ('integrity-check', 1););
	my $plays = 'SELECT p.id, link, name FROM play p JOIN artist a ON a.id = artist_id ORDER BY 1';
	my $run = sub {
		my ($mode) = @_;

		return $t->sql(qq(SELECT rows_read, rows_inserted, rows_updated, rows_deleted
			FROM lfsync_export('plays', 'a.db', mode => '$mode', $mapping, options => '{"on_row_error": "skip", "nan": "error"}')));
	};

	foreach my $mode (qw(full merge incremental))
	{
		clear();
		$t->sql(<<'END');
DROP TABLE IF EXISTS plays;
CREATE TABLE plays (id int PRIMARY KEY, link text, artist text, score float8);
INSERT INTO plays SELECT i, 'link' || i, 'artist' || i % 5, i FROM generate_series(1, 40) i;
UPDATE plays SET score = 'NaN' WHERE id IN (4, 9);
END
		$run->($mode);
		is(rejects(), qq({"id": 4}|score|22003\n{"id": 9}|score|22003), "$mode: rejects");
		is(query("SELECT count(*) FROM ($plays); $words"), 38, "$mode: rows");
		next if $mode eq 'full';

		query('CREATE UNIQUE INDEX theirs ON play (link)');
		# two change places, one is refused for good, and one of its artist is new
		$t->sql(<<'END');
UPDATE plays SET link = 'link' || 23 - id WHERE id IN (11, 12);
UPDATE plays SET link = 'link30', artist = 'new one' WHERE id = 31;
UPDATE plays SET score = 4 WHERE id = 4;
END
		foreach my $again ('once', 'again')
		{
			$run->($mode);
			is(rejects(), qq({"id": 31}||23505\n{"id": 9}|score|22003), "$mode, $again: rejects");
			is(query("SELECT * FROM ($plays) WHERE id IN (4, 11, 12, 31); $words"), "4|link4|artist4\n11|link12|artist1\n12|link11|artist2", "$mode, $again: rows");
			is(query(q(SELECT rowid FROM play_fts('link12 OR link31'))), 11, "$mode, $again: words");
		}
		unlike($t->history('notes'), qr/everything was compared/, "$mode: not everything was compared");
		query('DROP INDEX theirs');
		$run->($mode);
		is(rejects(), '{"id": 9}|v|22003' =~ s/v/score/r, "$mode: it passes");
		is(query("SELECT * FROM ($plays) WHERE id = 31; SELECT rowid FROM play_fts('link30'); $words"), "31|link30|new one\n30\n31", "$mode: with its artist and words");
		$run->($mode);
		unlike($t->history('notes'), qr/everything was compared/, "$mode: not everything was compared");
		is(query(q(SELECT rows FROM _lfsync_state WHERE table_name = 'play')), 39, "$mode: rows");
		is(integrity($file), 'ok', "$mode: integrity");
	}
};

subtest 'a mapping none of whose tables has the rows' => sub {
	clear();
	$t->sql(q(SELECT lfsync_export('plays', 'a.db', mapping => '{"artist": {"columns": {"name": "artist", "score": "score"}, "key": ["name"]}}',
		options => '{"on_row_error": "skip", "nan": "error"}')));
	is(query('SELECT table_name, key, column_name FROM _lfsync_rejects'), 'artist||score', 'the reject');
	is(rejected() . '|' . query('SELECT count(*) FROM artist'), '1|6', 'counts');
};

#
# And else
#

subtest 'an error of the query stops the run' => sub {
	clear();
	$t->sql(q(CREATE VIEW divides AS SELECT id, v, 1 / (id - 900) AS one FROM good));
	stops('divides', '', '22012', qr/division by zero/, 'full', 'skip');
	ok(!-e $file, 'no file');
	$t->sql('DROP VIEW divides');
};

subtest 'a run that is broken off' => sub {
	my $cursor = q(mode => 'incremental', cursor_columns => '{id}', filter => 'stop_there(id) IS NOT NULL');

	clear();
	$t->sql(<<'END');
TRUNCATE good;
CREATE TABLE stop_at (id int);
CREATE FUNCTION stop_there(int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	RETURN 1 / ($1 - coalesce((SELECT max(id) FROM public.stop_at), 0));
END $$;
-- so that rows come one by one
ALTER DATABASE postgres SET enable_sort = off;
ALTER DATABASE postgres SET enable_bitmapscan = off;
INSERT INTO good VALUES (1, 1);
END
	export('good', $cursor) foreach 1 .. 2;
	$t->sql(q(SELECT fill(); INSERT INTO stop_at VALUES (900)));
	$t->fails(qq(SELECT lfsync_export('good', 'a.db', 't', $cursor, options => '{"on_row_error": "skip", "nan": "error", "batch_rows": 100}')), '22012', qr/division by zero/, 'at row 900');
	my ($rows, $rejects) = split /\|/, query('SELECT max(id), (SELECT count(*) FROM _lfsync_rejects) FROM t');
	cmp_ok($rows, '>', 500, 'rows that were read before are there');
	cmp_ok($rejects, '>=', int(($rows + 93) / 100), 'and so are rejects');
	$t->sql('DELETE FROM stop_at');
	export('good', $cursor);
	like($t->history('notes'), qr/a run that was broken off went on/, 'the next run goes on');
	is(rejects(), bad(7, map { "${_}07" } 1 .. 9), 'rejects');
	is(query('SELECT count(*) FROM t'), 990, 'rows');
	$t->sql('ALTER DATABASE postgres RESET ALL');
};

subtest 'progress' => sub {
	clear();
	$t->make_source;
	$t->sql(q(CREATE VIEW gated_bad AS SELECT g.id, CASE WHEN id <= 50 THEN 'NaN'::float8 END AS v, held FROM gated g));
	my $gate = $t->close_gate;
	my $caller = $t->session;
	$caller->send(q(SELECT lfsync_export('gated_bad', 'a.db', 't', options => '{"on_row_error": "skip", "nan": "error"}');));
	$t->wait_at_gate;
	is($t->progress->{rows_rejected}, 50, 'rows_rejected');
	$gate->open_gate;
	$caller->wait;
	is(rejected(), 50, 'and in the end');
};

$t->clean('afterwards', 'a.db');
done_testing();
