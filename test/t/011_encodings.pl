# Text of any server encoding arrives as UTF-8, or not at all.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('encodings');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
my $dir = $node->basedir . '/files';
mkdir $dir, 0755 or die "mkdir $dir: $!";
$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'lfsync'
lfsync.export_directory = '$dir'
END
$node->start;

sub create_database
{
	my ($name, $encoding) = @_;
	$node->safe_psql('postgres',
		"CREATE DATABASE $name ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql($name, 'CREATE EXTENSION lfsync');
	return $name;
}

# What compare.py prints; its failure is the test's.
sub compare
{
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run [ 'python3', "$FindBin::Bin/../lib/compare.py", @_ ],
	  '>', \$out, '2>', \$err;
	chomp $out;
	return $ok ? $out : "compare.py failed: $out$err";
}

sub hex_rows
{
	my ($file, $column) = @_;
	return compare('rows', "$dir/$file", "SELECT hex($column) FROM t ORDER BY id");
}

# Perl's strings here are bytes; these are theirs in capital hex digits.
sub hex_of
{
	return join "\n", map { 'text ' . uc unpack('H*', $_) } @_;
}

sub utf8
{
	my $s = join '', map { chr } @_;
	utf8::encode($s);
	return $s;
}

subtest 'UTF8' => sub {
	my $db = create_database('utf8', 'UTF8');
	my @values = (
		'ASCII',
		utf8(0xE9), utf8(0x65, 0x301),    # e acute, composed and not: two texts
		utf8(0x1F3B5), utf8(0x1F469, 0x200D, 0x1F3A4),    # emoji, one joined of two
		utf8(0x10FFFF), utf8(0xFFFD), utf8(0xFFFE), utf8(0xFEFF, 0x61),
		utf8(0x85), utf8(0x61, 0x85), utf8(0x13, 0x96, 0x7F), utf8(0x2028, 0x0B, 0x0C, 0x1C),
		utf8(0x61, 0x200B, 0x62), "tab\tline\nreturn\r", q(back\slash 'quote'),
		utf8(0x5D0, 0x202E, 0x627),
		# the longest names of a music service: 255 characters of each length
		map { utf8(($_) x 255) } 0x61, 0xE9, 0x6771, 0x1F3B5);

	my $sql = 'CREATE TABLE t (id int, v text PRIMARY KEY, c varchar(255));';
	for my $i (0 .. $#values)
	{
		my $hex = unpack 'H*', $values[$i];
		$sql .= "INSERT INTO t SELECT $i, s, s FROM convert_from('\\x$hex', 'UTF8') s;";
	}
	$node->safe_psql($db, $sql);
	is( $node->safe_psql($db, q(SELECT rows_inserted FROM lfsync_export('t', 'utf8.db'))),
		scalar @values, 'count');
	is(compare('check', "$dir/utf8.db"), 'ok', 'integrity');
	is(hex_rows('utf8.db', 'v'), hex_of(@values), 'text');
	is(hex_rows('utf8.db', 'c'), hex_of(@values), 'varchar(255)');
	is( compare('rows', "$dir/utf8.db", 'SELECT length(v) FROM t ORDER BY id DESC LIMIT 4'),
		join("\n", ('integer 255') x 4), '255 characters each');

	# names of tables and columns
	my ($table, $column) = (utf8(0x6771, 0x4EAC), utf8(0x1F3B5) x 15);
	$node->safe_psql($db,
		qq(CREATE TABLE "$table" (id int PRIMARY KEY, "$column" text); INSERT INTO "$table" VALUES (1, 'x');
		SELECT lfsync_export('"$table"', 'names.db')));
	is( compare('rows', "$dir/names.db", qq(SELECT id, "$column" FROM "$table")),
		"integer 1\ttext x", 'names of table and column');
};

subtest 'LATIN1' => sub {
	my $db = create_database('latin1', 'LATIN1');

	# every character that is not ASCII, one a row, then all together, and long
	$node->safe_psql($db, <<'END');
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, convert_from(set_byte('\x00', 0, i), 'LATIN1') FROM generate_series(160, 255) i;
INSERT INTO t SELECT 256, string_agg(v, '' ORDER BY id) FROM t;
INSERT INTO t SELECT 257, repeat(v, 3000) FROM t WHERE id = 256;
INSERT INTO t VALUES (258, 'ASCII'), (259, ''), (260, NULL);
END
	my @values = map { utf8($_) } 160 .. 255;
	my $all = join '', @values;
	push @values, $all, $all x 3000, 'ASCII', '';
	is( $node->safe_psql($db, q(SELECT rows_inserted FROM lfsync_export('t', 'latin1.db'))),
		101, 'count');
	is(compare('check', "$dir/latin1.db"), 'ok', 'integrity');
	is( compare('rows', "$dir/latin1.db", 'SELECT hex(v) FROM t WHERE v IS NOT NULL ORDER BY id'),
		hex_of(@values), 'text');
	is(compare('rows', "$dir/latin1.db", 'SELECT id FROM t WHERE v IS NULL'), 'integer 260', 'NULL');

	# everything that goes to text by another way, and names
	$node->safe_psql($db, <<'END');
SET client_encoding = 'UTF8';
CREATE TYPE size AS ENUM ('größe');
CREATE TYPE pair AS ("ä" text, b int);
CREATE TABLE "größe" (id int PRIMARY KEY, "naïve" name, ch char(3), e size, j json, jb jsonb,
	a text[], r pair, ts tsvector);
INSERT INTO "größe" VALUES (1, 'ñ', 'ø', 'größe', '{"ü": "é"}', '{"ü":"é"}', '{ä,"\"ö"}', ROW('ß', 1), 'é:1');
SELECT lfsync_export('"größe"', 'latin1_types.db');
END
	is( compare('rows', "$dir/latin1_types.db", 'SELECT "naïve", ch, e, j, jb, a, r, ts FROM "größe"'),
		join("\t", 'text ñ', 'text ø  ', 'text größe', 'text {"ü": "é"}', 'text {"ü": "é"}',
			'text ["ä","\"ö"]', 'text {"ä":"ß","b":1}', q(text 'é':1)),
		'all types and the names');
};

subtest 'EUC_JP' => sub {
	my $db = create_database('euc_jp', 'EUC_JP');

	# two bytes, half-width kana (0x8E), three bytes (0x8F), and ASCII
	$node->safe_psql($db, <<'END');
SET client_encoding = 'UTF8';
CREATE TABLE t (id int PRIMARY KEY, "曲" text);
INSERT INTO t VALUES (1, '日本語テスト'), (2, 'ｶﾅ'), (3, '丂侄'), (4, 'a~\b'), (5, NULL), (6, repeat('曲', 50000));
END
	is( $node->safe_psql($db, 'SELECT octet_length(v) FROM (SELECT * FROM t) AS t (id, v) ORDER BY id LIMIT 3'),
		"12\n4\n6", 'the server does not hold UTF-8');
	is( $node->safe_psql($db, q(SELECT rows_inserted FROM lfsync_export('t', 'euc_jp.db'))),
		6, 'count');
	is(compare('check', "$dir/euc_jp.db"), 'ok', 'integrity');
	is( compare('rows', "$dir/euc_jp.db", 'SELECT "曲" FROM t ORDER BY id'),
		join("\n", 'text 日本語テスト', 'text ｶﾅ', 'text 丂侄', 'text a~\b', 'null', 'text ' . '曲' x 50000),
		'text');

	# a valid code that no character has
	$node->safe_psql($db, <<'END');
CREATE TABLE unassigned (id int PRIMARY KEY, v text);
INSERT INTO unassigned VALUES (1, 'x'), (2, convert_from('\xfcfc', 'EUC_JP'));
END
	my ($status, undef, $err) = $node->psql($db,
		"\\set VERBOSITY verbose\nSELECT lfsync_export('unassigned', 'unassigned.db')");
	isnt($status, 0, 'an unassigned code is refused');
	like($err, qr/ERROR:  22P05: .*0xfc 0xfc.*column "v", row 2\b/s, 'the error names column and row');
	ok(!-e "$dir/unassigned.db", 'no file');
};

subtest 'SQL_ASCII' => sub {
	my $db = create_database('sql_ascii', 'SQL_ASCII');

	$node->safe_psql($db, <<'END');
CREATE TABLE t (id int PRIMARY KEY, v text, a text[], n name);
INSERT INTO t VALUES (1, 'ASCII', '{}', 'x'), (2, '東京 🎵', '{é}', 'é');
END
	is( $node->safe_psql($db, q(SELECT rows_inserted FROM lfsync_export('t', 'sql_ascii.db'))),
		2, 'count');
	is(compare('check', "$dir/sql_ascii.db"), 'ok', 'integrity');
	is( compare('rows', "$dir/sql_ascii.db", 'SELECT v, a, n FROM t ORDER BY id'),
		"text ASCII\ttext []\ttext x\ntext 東京 🎵\ttext [\"é\"]\ttext é",
		'bytes that are UTF-8 are taken as that');

	# not UTF-8: LATIN1, an overlong form, a surrogate, above U+10FFFF, cut off
	my %invalid = (
		'gr\xfc\xdfe' => 3,
		'\xc0\xaf' => 1,
		'x\xed\xa0\x80' => 2,
		'\xf4\x90\x80\x80' => 1,
		'ab\xe6\x9d' => 3);
	for my $bytes (sort keys %invalid)
	{
		for my $column ('v', 'a', 'n')
		{
			my $value = $column eq 'a' ? "ARRAY[E'$bytes']" : "E'$bytes'";
			my $at = $invalid{$bytes} + ($column eq 'a' ? 2 : 0);
			$node->safe_psql($db, "DELETE FROM t WHERE id = 3; INSERT INTO t (id, $column) VALUES (3, $value)");
			my ($status, undef, $err) = $node->psql($db,
				"\\set VERBOSITY verbose\nSELECT lfsync_export('t', 'invalid.db')");
			isnt($status, 0, "$bytes in $column: refused");
			like($err, qr/ERROR:  22021: .* at byte $at\b.*SQL_ASCII(?=.*^HINT:).*column "$column", row 3\b/ms,
				"$bytes in $column: the error names byte, column and row");
			ok(!-e "$dir/invalid.db", "$bytes in $column: no file");
		}
	}

	# the two ways out that the hint names
	$node->safe_psql($db, q(DELETE FROM t WHERE id = 3; INSERT INTO t (id, v) VALUES (3, E'gr\xfc\xdfe')));
	$node->safe_psql($db, <<'END');
SELECT lfsync_export_query($$SELECT id, convert_to(v, 'SQL_ASCII') AS bytes,
	convert_from(convert(convert_to(v, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII') AS v
	FROM t WHERE id = 3$$, 'converted.db', 't');
END
	is( compare('rows', "$dir/converted.db", 'SELECT bytes, v FROM t'),
		"blob 6772fcdf65\ttext grüße", 'as bytes, and converted');

	# a name that is not UTF-8
	my ($status, undef, $err) = $node->psql($db,
		"CREATE TABLE named (id int PRIMARY KEY, \"gr\xfc\xdfe\" text);\n"
		  . "\\set VERBOSITY verbose\nSELECT lfsync_export('named', 'named.db')");
	isnt($status, 0, 'a column name that is not UTF-8 is refused');
	like($err, qr/ERROR:  22021: /, 'the same error');
	ok(!-e "$dir/named.db", 'no file');
};

is(join(' ', sort map { s/.*\///r } glob "$dir/{.,}*"),
	'. .. converted.db euc_jp.db latin1.db latin1_types.db names.db sql_ascii.db utf8.db',
	'refused runs left nothing behind');

$node->stop;
done_testing();
