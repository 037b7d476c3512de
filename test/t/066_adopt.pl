# existing_table => 'adopt': a table that somebody else made in the file is
# filled and kept in sync where it is.  Its other rows and columns, its indexes
# and all else in the file stay as they are.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('adopt', conf => "fsync = off\n");
my $file = $t->path('a.db');

$t->sql(<<'END');
CREATE TABLE music_scrobble_records (
	id bigint PRIMARY KEY,
	name text NOT NULL,
	artist text NOT NULL,
	mbid uuid,
	loved boolean,
	score float8,
	date timestamptz NOT NULL
);
CREATE INDEX of_date ON music_scrobble_records (date, id);
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
	TRUNCATE music_scrobble_records;
	INSERT INTO music_scrobble_records
	SELECT i, 'track ' || i % 50, 'artist ' || i % 7, md5(i::text)::uuid, i % 3 = 0, i / 4.0,
		'2024-01-01 00:00:00Z'::timestamptz + i * interval '3 min'
	FROM generate_series(1, 5000) i;
$$;
CREATE ROLE alice LOGIN;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO alice;
GRANT SELECT ON music_scrobble_records TO alice;
END

# Their own: other columns, order and types, and rows that are not the source's.
my $theirs = <<'END';
CREATE TABLE music_listen (
	listen INTEGER PRIMARY KEY,
	date DATETIME NOT NULL,
	rating INT DEFAULT 3,
	Artist VARCHAR(200) NOT NULL COLLATE NOCASE,
	length AS (length(name)),
	name,
	mbid CHAR(36),
	ID BIGINT NOT NULL,
	loved BOOLEAN,
	score DOUBLE PRECISION,
	comment TEXT NOT NULL DEFAULT 'none',
	UNIQUE (id) ON CONFLICT REPLACE
);
INSERT INTO music_listen (listen, date, artist, name, id, comment) VALUES
	(7, '2023-12-31 23:00:00', 'Someone', 'theirs', -1, 'mine'), (8, '2023-12-31 23:30:00', 'Else', 'too', -2, 'mine');
CREATE INDEX by_artist ON music_listen (artist, rating DESC);
CREATE TABLE friends (a INTEGER PRIMARY KEY, b TEXT);
INSERT INTO friends VALUES (1, 'x'), (2, 'y');
CREATE TRIGGER friends_insert AFTER INSERT ON friends BEGIN UPDATE friends SET b = 'z' WHERE a = 1; END;
CREATE VIEW rated AS SELECT artist, avg(rating) FROM music_listen GROUP BY 1;
END

sub make
{
	unlink glob "$file*";
	sqlite($file, $_[0] // $theirs);
	return;
}

sub adopt_sql
{
	my ($more) = @_;

	$more = ", $more" if $more;
	$more //= '';
	return qq(SELECT rows_read, rows_inserted, rows_updated, rows_deleted FROM lfsync_export('music_scrobble_records', 'a.db',
		'music_listen', options => '{"existing_table": "adopt", "batch_rows": 700}'$more));
}

sub adopt { return $t->sql(adopt_sql(@_)) }
sub rows { return sqlite($file, q(SELECT id, name, artist, mbid, loved, score, typeof(score), date FROM music_listen WHERE id > 0 ORDER BY id)) }
sub mine { return sqlite($file, q(SELECT * FROM music_listen WHERE id < 0 ORDER BY id)) }
sub state { return sqlite($file, "SELECT $_[0] FROM _lfsync_state") }
sub definition { return sqlite($file, q(SELECT * FROM sqlite_schema WHERE tbl_name = 'music_listen')) }

# The source as SQLite should have it.
sub source
{
	return $t->sql(<<'END');
SELECT concat_ws('|', id, name, artist, coalesce(mbid::text, ''), coalesce(loved::int::text, ''), CASE WHEN score = trunc(score) THEN score || '.0' ELSE score::text END,
	'real', to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')) FROM music_scrobble_records ORDER BY id
END
}

#
# Filled and kept in sync by every mode
#

my %modes = (
	full => q(mode => 'full'),
	merge => q(mode => 'merge'),
	incremental => q(mode => 'incremental'),
	cursor => q(mode => 'incremental', cursor_columns => '{date}'));

foreach my $mode (qw(full merge incremental cursor))
{
	subtest "mode $mode" => sub {
		my $how = $modes{$mode};

		make();
		$t->sql('SELECT fill()');
		my $others = content($file, 'music_listen');
		my $mine = mine();
		my $definition = definition();

		is(adopt($how), '5000|5000|0|0', 'filled');
		same_text(rows(), source(), 'the rows of the source');
		is(sqlite($file, q(SELECT DISTINCT rating, comment FROM music_listen WHERE id > 0)), '3|none', 'with their defaults');
		is(state('mode, rows, adopted, owner, indexes IS NULL'), ($mode eq 'cursor' ? 'incremental' : $mode) . '|5000|1|' . $t->sql('SELECT current_user') . '|1', 'the state');

		sqlite($file, q(UPDATE music_listen SET rating = 5, comment = 'loved' WHERE id = 10));
		$t->sql(<<'END');
UPDATE music_scrobble_records SET artist = 'ARTIST 3', date = date_trunc('second', now()) WHERE id = 10;
UPDATE music_scrobble_records SET loved = NULL, date = date_trunc('second', now()) WHERE id = 11;
INSERT INTO music_scrobble_records SELECT i, 'new', 'Artist', NULL, true, 1, date_trunc('second', now()) FROM generate_series(6001, 6010) i;
END
		like(adopt($how), qr/\|10\|2\|0\z/, 'new and changed rows');
		same_text(rows(), source(), 'the rows of the source');
		is(sqlite($file, 'SELECT artist, rating, comment FROM music_listen WHERE id = 10'), 'ARTIST 3|5|loved', 'their columns stay');
		is(state('rows'), 5010, 'rows of the source');

		my $before = rows();
		$t->sql('DELETE FROM music_scrobble_records WHERE id % 100 = 0');
		like(adopt($how), qr/\|0\|0\|0\z/, 'rows are deleted at the source');
		same_text(rows(), $before, 'they stay');
		if ($mode ne 'cursor')
		{
			is(state('rows'), 4960, 'rows of the source');
			like($t->history(q(notes->>'run')), qr/has 50 rows less than at the last run: an adopted table keeps/, 'which a note says');
		}
		my $generation = state('generation');
		adopt($how);
		unlike($t->history('notes'), qr/everything was compared|rows less/, 'and does not say again');
		is(state('generation'), $generation, 'nothing new: nothing is written') if $how =~ /incremental/;

		is(mine(), $mine, 'their rows are as they were');
		is(definition() =~ s/\|\d+\|/||/gr, $definition =~ s/\|\d+\|/||/gr, 'so is the table');
		same_text(content($file, 'music_listen'), $others, 'and all else in the file');
		is(integrity($file), 'ok', 'integrity');
		$t->clean('afterwards', 'a.db');
	};
}

subtest 'one mode after the other' => sub {
	make();
	$t->sql('SELECT fill()');
	foreach my $mode (qw(incremental merge full incremental cursor full merge cursor incremental))
	{
		$t->sql(q(UPDATE music_scrobble_records SET name = name || '.', date = date + interval '1 year' WHERE id % 1000 = 1));
		like(adopt($modes{$mode}), qr/\|(0\|5|5000\|0)\|0\z/, $mode);
		same_text(rows(), source(), 'rows');
	}
	is(integrity($file), 'ok', 'integrity');
};

subtest 'a row of theirs that has a key of the source' => sub {
	make();
	sqlite($file, q(INSERT INTO music_listen (date, artist, name, id, comment) VALUES ('', '', 'before', 17, 'kept')));
	is(adopt(q(mode => 'incremental')), '5000|4999|1|0', 'is updated');
	same_text(rows(), source(), 'rows');
	is(sqlite($file, 'SELECT comment FROM music_listen WHERE id = 17'), 'kept', 'but for their columns');
	is(state('rows'), 5000, 'rows of the source');
	is(adopt(q(mode => 'incremental')), '0|0|0|0', 'nothing is compared for that');
};

subtest 'a run that is broken off' => sub {
	make();
	my $others = content($file, 'music_listen');
	$t->sql(q(CREATE VIEW broken AS SELECT *, CASE WHEN id = 4000 THEN 1 / (id - 4000) END FROM music_scrobble_records));
	$t->fails(adopt_sql() =~ s/'music_scrobble_records'/'broken'/r =~ s/, options/, key_columns => '{id}', options/r, '42703', qr/has no column "case"/, 'another column');
	$t->sql(q(CREATE OR REPLACE VIEW stops AS SELECT id, name, artist, mbid, loved, score, date FROM music_scrobble_records WHERE 1 / (id - 4000) < 2));
	$t->fails(adopt_sql() =~ s/'music_scrobble_records'/'stops'/r =~ s/, options/, key_columns => '{id}', options/r, '22012', qr/division by zero/, 'an error');
	same_text(content($file, 'music_listen'), $others, 'all else in the file is as it was');
	is(adopt() =~ s/\|.*//r, 5000, 'the next run');
	same_text(rows(), source(), 'rows');
	is(mine() =~ tr/\n//, 1, 'and theirs');
	$t->sql('DROP VIEW broken, stops');
};

#
# Only where it is asked for
#

subtest 'without the option' => sub {
	make();
	my $own = q(SELECT lfsync_export('music_scrobble_records', 'a.db', 'music_listen'));
	$t->fails($own, '42P07', qr/lfsync did not make it.*existing_table => 'adopt'/s, 'it is refused');
	adopt();
	$t->fails($own, '42P07', qr/lfsync did not make it/, 'it is still not ours');
	sqlite($file, 'ALTER TABLE music_listen RENAME TO theirs');
	$t->sql($own);
	is(state('adopted, rows'), '0|5000', 'one of ours in its place');
	adopt(q(mode => 'merge')) foreach 1 .. 2;
	$t->sql('DELETE FROM music_scrobble_records WHERE id <= 10');
	is(adopt(q(mode => 'merge')), '4990|0|0|10', 'is ours with the option, too');
	is(sqlite($file, 'SELECT count(*) FROM theirs'), 5002, 'theirs has what it had');
	$t->sql('SELECT fill()');
};

subtest 'rights' => sub {
	make();
	adopt();
	my ($rc, undef, $err) = $t->try(adopt_sql(), role => 'alice');
	isnt($rc, 0, 'another role');
	like($err, qr/ERROR:  42501: .*has tables of role/, 'may not write there');
	make();
	($rc) = $t->try(adopt_sql(), role => 'alice');
	is($rc, 0, 'a file without tables of anybody');
	is(state('owner'), 'alice', 'belongs to who adopts a table');
};

subtest 'a job' => sub {
	make();
	$t->sql(q(SELECT lfsync_add_job('j', 'music_scrobble_records', 'a.db', mode => 'incremental', table_name => 'music_listen',
		options => '{"existing_table": "adopt"}')));
	my $verify = q(SELECT rows_source, missing, extra, different FROM lfsync_verify('j'));
	$t->fails($verify, '55000', qr/holds no table of this job/, 'nothing to verify yet');
	is($t->sql(q(SELECT rows_inserted FROM lfsync_export('j'))), 5000, 'fills');
	is($t->sql($verify), '5000|0|0|0', 'verified: rows of theirs are not too many');
	sqlite($file, q(DELETE FROM music_listen WHERE id = 5; UPDATE music_listen SET artist = 'ARTIST 6' WHERE id = 6));
	is($t->sql($verify), '5000|1|0|1', 'somebody has changed rows');
	is($t->sql($verify =~ s/'j'/'j', true/r), '5000|1|0|1', 'mended');
	same_text(rows(), source(), 'rows');
	is(sqlite($file, 'SELECT count(*) FROM music_listen'), 5002, 'and theirs');
	is($t->sql(q(SELECT rows_read FROM lfsync_export('j'))), 0, 'the next run goes on');
	$t->fails(q(SELECT lfsync_drop_job('j', true)), '55000', qr/not this job's alone/, 'its file is not the job\'s');
	$t->sql(q(SELECT lfsync_drop_job('j')));
};

subtest 'with a table of ours' => sub {
	make();
	$t->sql(q(CREATE TABLE friends2 (id int PRIMARY KEY); INSERT INTO friends2 VALUES (1);
		CREATE VIEW music_listen AS SELECT * FROM music_scrobble_records));
	$t->fails(q(SELECT lfsync_export_tables('{friends2,music_listen}', 'a.db', '{"existing_table": "adopt"}')), '42P16',
		qr/table "music_listen" of the file cannot be adopted.*public\.music_listen has none/s, 'a view has no key');
	$t->sql(q(DROP VIEW music_listen; CREATE TABLE music_listen (LIKE music_scrobble_records INCLUDING ALL);
		INSERT INTO music_listen SELECT * FROM music_scrobble_records));
	is($t->sql(q(SELECT rows_inserted FROM lfsync_export_tables('{friends2,music_listen}', 'a.db', '{"existing_table": "adopt"}'))), 5001, 'both');
	same_text(rows(), source(), 'rows');
	my $states = "friends2|1|0\nmusic_listen|5000|1\n1";
	is(sqlite($file, 'SELECT table_name, rows, adopted FROM _lfsync_state ORDER BY 1; SELECT * FROM friends2'), $states, 'states');
	$t->sql(q(SELECT lfsync_export_tables('{music_listen,friends2}', 'a.db', '{"existing_table": "adopt"}')));
	is(sqlite($file, 'SELECT table_name, rows, adopted FROM _lfsync_state ORDER BY 1; SELECT * FROM friends2'), $states, 'in another order');
	$t->sql('DROP TABLE friends2, music_listen');
};

#
# What does not fit
#

my $columns = 'name, artist, mbid, loved, score, date';
my $rest = ', name, artist, mbid, loved, score, date';
my @misfits = (
	[ 'no column', 'id INTEGER PRIMARY KEY, name, artist, mbid, loved, score', '42703', qr/has no column "date"/ ],
	[ 'no key', "id INTEGER $rest", '42P10', qr/Nothing there keeps the key \("id"\) unique/ ],
	[ 'a key of two', "id INTEGER $rest, PRIMARY KEY (id, date)", '42P10', qr/unique/ ],
	[ 'a key that is not the whole', "id INTEGER $rest, UNIQUE (name)", '42P10', qr/unique/ ],
	[ 'NOT NULL', "id INTEGER PRIMARY KEY $rest, more NOT NULL", '23502', qr/Column "more" is NOT NULL, has no default/ ],
	[ 'generated', 'id INTEGER PRIMARY KEY, artist, mbid, loved, score, date, name AS (artist)', '428C9', qr/Column "name" is generated/ ],
	[ 'text as numbers', "id INTEGER PRIMARY KEY, name NUMERIC, artist, mbid, loved, score, date", '42804', qr/Column "name" is declared as NUMERIC there, which does not keep every text \(TEXT\) as it is/ ],
	[ 'text as integers', "id INTEGER PRIMARY KEY, name INT, artist, mbid, loved, score, date", '42804', qr/declared as INT/ ],
	[ 'text as reals', "id INTEGER PRIMARY KEY, name REAL, artist, mbid, loved, score, date", '42804', qr/declared as REAL/ ],
	[ 'numbers as text', "id INTEGER PRIMARY KEY, name, artist, mbid, loved VARCHAR, score, date", '42804', qr/boolean \(INTEGER\)/ ],
	[ 'integers as reals', "id INTEGER PRIMARY KEY, name, artist, mbid, loved FLOAT, score, date", '42804', qr/boolean \(INTEGER\)/ ],
	[ 'reals as integers', "id INTEGER PRIMARY KEY, name, artist, mbid, loved, score DECIMAL, date", '42804', qr/double precision \(REAL\)/ ],
	[ 'keys as text', "id TEXT PRIMARY KEY $rest", '42804', qr/bigint \(INTEGER\)/ ],
	[ 'without rowid', "id INTEGER PRIMARY KEY $rest) WITHOUT ROWID, (", '42809', qr/WITHOUT ROWID/ ],
);

sub misfit
{
	my ($name, $sql, $sqlstate, $like) = @_;

	return subtest $name => sub {
		make("$sql; CREATE TABLE other (a); INSERT INTO other VALUES (1)");
		my $before = content($file);
		$t->fails(adopt_sql(), $sqlstate, $like, 'refused');
		same_text(content($file), $before, 'the file is as it was');
	};
}

foreach my $misfit (@misfits)
{
	my ($name, $body, @expected) = @$misfit;

	misfit($name, "CREATE TABLE music_listen ($body)" =~ s/, \(\)\z//r, @expected);
}
misfit('an index of some rows', "CREATE TABLE music_listen (id INTEGER $rest); CREATE UNIQUE INDEX i ON music_listen (id) WHERE id > 0", '42P10', qr/unique/);
misfit('an index over an expression', "CREATE TABLE music_listen (id INTEGER $rest); CREATE UNIQUE INDEX i ON music_listen (id + 0)", '42P10', qr/unique/);
misfit('a trigger', "CREATE TABLE music_listen (id INTEGER PRIMARY KEY $rest); CREATE TRIGGER told AFTER DELETE ON music_listen BEGIN SELECT 1; END", '0A000', qr/It has a trigger, "told"/);
misfit('a view', 'CREATE VIEW music_listen AS SELECT 1 AS id', '42809', qr/not a table/);
misfit('a virtual table', "CREATE VIRTUAL TABLE music_listen USING fts5(id $rest)", '42809', qr/It is a virtual table/);
misfit('UTF-16', "PRAGMA encoding = 'UTF-16le'; CREATE TABLE music_listen (id INTEGER PRIMARY KEY $rest)", '0A000', qr/encoding is UTF-16le/);
misfit('STRICT', "CREATE TABLE music_listen (id INTEGER PRIMARY KEY, name TEXT, artist TEXT, mbid TEXT, loved INT, score REAL, date INT) STRICT", '42804', qr/Column "date" is declared as INT/);

subtest 'a key of two text columns, compared otherwise there' => sub {
	$t->sql(q(CREATE TABLE words (a text, b text, n int, PRIMARY KEY (a, b)); INSERT INTO words VALUES ('a', 'x', 1), ('A', 'x', 2), ('a ', 'X', 3)));
	my $sql = q(SELECT rows_inserted, rows_updated FROM lfsync_export('words', 'a.db', options => '{"existing_table": "adopt"}'));
	make('CREATE TABLE words (n ANY, b TEXT COLLATE NOCASE, A TEXT COLLATE RTRIM, UNIQUE (a, b)) STRICT; CREATE UNIQUE INDEX only_b ON words (b, a COLLATE NOCASE)');
	$t->fails($sql, '42P10', qr/key \("a", "b"\) unique.*its collation is BINARY/s, 'refused');
	make('CREATE TABLE words (n ANY, b TEXT COLLATE NOCASE, A TEXT COLLATE RTRIM) STRICT; CREATE UNIQUE INDEX k ON words (b COLLATE BINARY, a COLLATE BINARY)');
	is($t->sql($sql), '3|0', 'with an index of ours, byte by byte');
	$t->sql('UPDATE words SET n = n + 1');
	is($t->sql($sql), '0|3', 'rows are found by it');
	is(sqlite($file, 'SELECT a, b, n FROM words ORDER BY n'), "a|x|2\nA|x|3\na |X|4", 'rows');
};

subtest 'a constraint of theirs' => sub {
	make($theirs =~ s/name,\n/name UNIQUE ON CONFLICT REPLACE,\n/r =~ s/AS \(length\(name\)\)/INT/r);
	$t->sql(q(UPDATE music_scrobble_records SET name = 'track ' || id));
	sqlite($file, q(UPDATE music_listen SET name = 'track 77' WHERE id = -1));
	my $mine = mine();
	$t->fails(adopt_sql(), '23505', qr/UNIQUE constraint failed: music_listen.name/, 'stops the run');
	is(mine(), $mine, 'rather than replace their rows');
};

$t->clean('afterwards', 'a.db');
done_testing();
