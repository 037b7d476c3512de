# The type policy: a column of every type, every edge of it, and what a SQLite
# file has for it, storage class included.  Nothing expected here was made by
# lfsync: the values are written out, and Python's sqlite3 reads the file.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('types');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
my $dir = $node->basedir . '/files';
mkdir $dir, 0755 or die "mkdir $dir: $!";
$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'lfsync'
lfsync.export_directory = '$dir'
END
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION lfsync');

my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my %available = map { $_ => 1 } split /\n/,
  $node->safe_psql('postgres', 'SELECT name FROM pg_available_extensions');

# What compare.py prints; its failure is the test's.
sub compare
{
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run [ 'python3', "$FindBin::Bin/../lib/compare.py", @_ ],
	  '>', \$out, '2>', \$err;
	chomp $out;
	return $ok ? $out : "compare.py failed: $out$err";
}

# Exports a relation with these options, a json object.
sub export
{
	my ($source, $file, $options) = @_;
	return $node->safe_psql('postgres',
		"SELECT rows_read, rows_inserted FROM lfsync_export('$source', '$file', table_name => 't', options => '$options')"
	);
}

# An export that must fail: its messages, with SQLSTATE.
sub refused
{
	my ($source, $options, $name) = @_;
	my ($status, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT * FROM lfsync_export('$source', 'refused.db', options => '$options')"
	);
	isnt($status, 0, "$name: refused");
	ok(!-e "$dir/refused.db", "$name: no file");
	return $err;
}

my $digits = '9' x 1000 . '.' . '1' x 499 . '0';

# Column, type, type declared in SQLite, and pairs of an SQL expression and
# what the file has for it.  Row n of the table has the nth pair of each column
# that has as many, and NULL in the others.
my @columns = (
	[ 'int2', 'smallint', 'INTEGER',
		q('-32768') => 'integer -32768',
		q('32767') => 'integer 32767',
		q('0') => 'integer 0' ],
	[ 'int4', 'integer', 'INTEGER',
		q('-2147483648') => 'integer -2147483648',
		q('2147483647') => 'integer 2147483647',
		# the sizes of SQLite's integers, on both sides
		(map { (qq('$_') => "integer $_") }
			0, 1, 2, -1, 127, 128, -128, -129, 32767, 32768, -32768, -32769,
			8388607, 8388608, -8388608, -8388609) ],
	[ 'int8', 'bigint', 'INTEGER',
		(map { (qq('$_') => "integer $_") }
			'-9223372036854775808', '9223372036854775807', '2147483648', '-2147483649',
			'140737488355327', '140737488355328', '-140737488355328', '-140737488355329',
			'9007199254740993') ],
	[ 'oid', 'oid', 'INTEGER',
		q('0') => 'integer 0',
		q('2147483648') => 'integer 2147483648',
		q('4294967295') => 'integer 4294967295' ],
	[ 'bool', 'boolean', 'INTEGER',
		q('t') => 'integer 1',
		q('f') => 'integer 0' ],

	[ 'float4', 'real', 'REAL',
		# the double that equals the float4, not its decimals
		q('0.1') => 'real 0.10000000149011612',
		q('3.4028235e38') => 'real 3.4028234663852886e+38',
		q('1e-45') => 'real 1.401298464324817e-45',
		q('-0') => 'real 0.0',
		q('infinity') => 'real inf',
		q('-infinity') => 'real -inf',
		q('16777216') => 'real 16777216.0' ],
	[ 'float8', 'double precision', 'REAL',
		q('0.1') => 'real 0.1',
		q('1.7976931348623157e308') => 'real 1.7976931348623157e+308',
		q('-1.7976931348623157e308') => 'real -1.7976931348623157e+308',
		q('2.2250738585072014e-308') => 'real 2.2250738585072014e-308',
		q('4.9406564584124654e-324') => 'real 5e-324',
		q('-4.9406564584124654e-324') => 'real -5e-324',
		q('0') => 'real 0.0',
		q('-0') => 'real 0.0',
		q('infinity') => 'real inf',
		q('-infinity') => 'real -inf',
		q('5') => 'real 5.0',
		q('-9223372036854775808') => 'real -9.223372036854776e+18',
		q('9007199254740993') => 'real 9007199254740992.0',
		q('0.30000000000000004') => 'real 0.30000000000000004' ],

	[ 'numeric', 'numeric', 'TEXT',
		"'$digits'" => "text $digits",
		"'-$digits'" => "text -$digits",
		q('1.50') => 'text 1.50',
		q('0.000') => 'text 0.000',
		q('-0') => 'text 0',
		q('1e-30') => 'text 0.000000000000000000000000000001',
		q('1e20') => 'text 100000000000000000000',
		q('5') => 'text 5',
		q('NaN') => 'text NaN',
		q('Infinity') => 'text Infinity',
		q('-Infinity') => 'text -Infinity' ],
	[ 'numeric_10_2', 'numeric(10,2)', 'TEXT',
		q('12345678.9') => 'text 12345678.90',
		q('-0.001') => 'text 0.00' ],
	[ 'numeric_18_0', 'numeric(18,0)', 'INTEGER',
		q('999999999999999999') => 'integer 999999999999999999',
		q('-999999999999999999') => 'integer -999999999999999999',
		q('0') => 'integer 0' ],
	[ 'numeric_1_0', 'numeric(1,0)', 'INTEGER', q('9') => 'integer 9' ],
	[ 'numeric_19_0', 'numeric(19,0)', 'TEXT',
		q('9999999999999999999') => 'text 9999999999999999999' ],
	[ 'numeric_3_m15', 'numeric(3,-15)', 'INTEGER',
		q('999000000000000000') => 'integer 999000000000000000' ],
	[ 'numeric_3_m16', 'numeric(3,-16)', 'TEXT',
		q('9990000000000000000') => 'text 9990000000000000000' ],
	[ 'numeric_2_4', 'numeric(2,4)', 'TEXT', q('0.0012') => 'text 0.0012' ],

	[ 'text', 'text', 'TEXT',
		q('') => 'text ',
		q('x') => 'text x',
		q('2112') => 'text 2112',
		q('5.45') => 'text 5.45',
		q('NULL') => 'text NULL',
		q('it''s "quoted"\\') => q(text it's "quoted"\\),
		q('Björk 東京 🎵') => 'text Björk 東京 🎵',
		q('  padded  ') => 'text   padded  ',
		# one byte of header, four bytes of header, compressed, out of line
		(map { ("repeat('x', $_)" => 'text ' . 'x' x $_) } 126, 127, 128, 5000, 100000) ],
	[ 'varchar', 'varchar(5)', 'TEXT',
		q('abcde') => 'text abcde',
		q('ab ') => 'text ab ' ],
	[ 'char', 'char(5)', 'TEXT',
		q('ab') => 'text ab   ',
		q('é') => 'text é    ',
		q('') => 'text      ' ],
	[ 'name', 'name', 'TEXT',
		q('x') => 'text x',
		"repeat('n', 63)" => 'text ' . 'n' x 63 ],
	[ 'internal_char', '"char"', 'TEXT',
		q('q') => 'text q',
		q('') => 'text ',
		q((-1)::int::"char") => 'text \\377' ],
	[ 'enum', 'mood', 'TEXT',
		q('sad') => 'text sad',
		q('it''s "höppy"') => 'text it\'s "höppy"',
		"repeat('l', 63)::mood" => 'text ' . 'l' x 63 ],

	[ 'bytea', 'bytea', 'BLOB',
		q('') => 'blob ',
		q('\x00') => 'blob 00',
		q('\x00ff275c0a') => 'blob 00ff275c0a',
		"decode(repeat('00ff', 50000), 'hex')" => 'blob ' . '00ff' x 50000 ],
	[ 'uuid', 'uuid', 'TEXT',
		q('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11') =>
		  'text a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
		q('00000000-0000-0000-0000-000000000000') =>
		  'text 00000000-0000-0000-0000-000000000000' ],

	[ 'date', 'date', 'TEXT',
		q('2024-02-29') => 'text 2024-02-29',
		q('1970-01-01') => 'text 1970-01-01',
		q('0001-01-01') => 'text 0001-01-01',
		q('0001-12-31 BC') => 'text 0000-12-31',
		q('0002-01-01 BC') => 'text -0001-01-01',
		q('4713-01-01 BC') => 'text -4712-01-01',
		q('4714-11-24 BC') => 'text -4713-11-24',
		q('9999-12-31') => 'text 9999-12-31',
		q('10000-01-01') => 'text 10000-01-01',
		q('5874897-12-31') => 'text 5874897-12-31',
		q('infinity') => 'text infinity',
		q('-infinity') => 'text -infinity',
		# after infinity, and one day twice
		q('2024-02-29') => 'text 2024-02-29',
		q('2024-02-29') => 'text 2024-02-29' ],
	[ 'timestamp', 'timestamp', 'TEXT',
		q('2024-02-29 12:34:56') => 'text 2024-02-29 12:34:56',
		q('2024-02-29 12:34:56.5') => 'text 2024-02-29 12:34:56.500000',
		q('2024-02-29 23:59:59.999999') => 'text 2024-02-29 23:59:59.999999',
		q('2024-02-29 24:00:00') => 'text 2024-03-01 00:00:00',
		q('1999-12-31 23:59:59.000001') => 'text 1999-12-31 23:59:59.000001',
		q('1970-01-01 00:00:00') => 'text 1970-01-01 00:00:00',
		q('1969-12-31 23:59:58.5') => 'text 1969-12-31 23:59:58.500000',
		q('0001-01-01 00:00:00') => 'text 0001-01-01 00:00:00',
		q('0001-12-31 23:59:59 BC') => 'text 0000-12-31 23:59:59',
		q('4714-11-24 00:00:00 BC') => 'text -4713-11-24 00:00:00',
		q('294276-12-31 23:59:59.999999') => 'text 294276-12-31 23:59:59.999999',
		q('infinity') => 'text infinity',
		q('-infinity') => 'text -infinity' ],
	[ 'timestamptz', 'timestamptz', 'TEXT',
		q('2024-02-29 12:34:56+05:30') => 'text 2024-02-29 07:04:56',
		q('2024-02-29 12:34:56.123456-08') => 'text 2024-02-29 20:34:56.123456',
		q('0044-03-15 12:00:00+00 BC') => 'text -0043-03-15 12:00:00',
		q('294276-12-31 23:59:59.999999+00') => 'text 294276-12-31 23:59:59.999999',
		q('infinity') => 'text infinity',
		q('-infinity') => 'text -infinity' ],
	[ 'timestamp_0', 'timestamp(0)', 'TEXT',
		q('2024-02-29 12:34:56.5') => 'text 2024-02-29 12:34:57' ],
	[ 'time', 'time', 'TEXT',
		q('00:00:00') => 'text 00:00:00',
		q('12:34:56.7') => 'text 12:34:56.700000',
		q('00:00:00.000001') => 'text 00:00:00.000001',
		q('23:59:59.999999') => 'text 23:59:59.999999',
		q('24:00:00') => 'text 24:00:00' ],
	[ 'timetz', 'timetz', 'TEXT',
		q('12:34:56+00') => 'text 12:34:56+00:00',
		q('12:34:56.7+05:30') => 'text 12:34:56.700000+05:30',
		q('12:34:56-08') => 'text 12:34:56-08:00',
		q('12:34:56-00:30') => 'text 12:34:56-00:30',
		q('00:00:00+15:59:59') => 'text 00:00:00+15:59:59',
		q('24:00:00-15:59:59') => 'text 24:00:00-15:59:59' ],
	[ 'interval', 'interval', 'TEXT',
		q('1 year 2 months 3 days 04:05:06.7') => 'text P1Y2M3DT4H5M6.7S',
		q('0') => 'text PT0S',
		q('-1 month +25 hours') => 'text P-1MT25H',
		q('-0.000001 s') => 'text PT-0.000001S',
		q('178000000 years') => 'text P178000000Y',
		($version >= 170000 ? (
			q('infinity') => 'text infinity',
			q('-infinity') => 'text -infinity') : ()) ],

	[ 'json', 'json', 'TEXT',
		q('{"b" : 1,  "a": "\u00e9"}') => 'text {"b" : 1,  "a": "\u00e9"}',
		q('null') => 'text null' ],
	[ 'jsonb', 'jsonb', 'TEXT',
		q('{"b" : 1.50,  "a": "\u00e9", "b": 2.0}') => 'text {"a": "é", "b": 2.0}',
		q('"x"') => 'text "x"' ],
	[ 'int_array', 'integer[]', 'TEXT',
		q('{1,NULL,-3}') => 'text [1,null,-3]',
		q('{{1,2},{3,4}}') => 'text [[1,2],[3,4]]',
		q('{}') => 'text []',
		q('[0:1]={5,6}') => 'text [5,6]' ],
	[ 'text_array', 'text[]', 'TEXT',
		q(ARRAY['a"b', NULL, 'NULL', '', 'c\d', E'e\tf', 'é,']) =>
		  'text ["a\"b",null,"NULL","","c\\\\d","e\tf","é,"]' ],
	[ 'float_array', 'float8[]', 'TEXT',
		q('{0.1,NaN,Infinity,1e300}') => 'text [0.1,"NaN","Infinity",1e+300]' ],
	[ 'timestamptz_array', 'timestamptz[]', 'TEXT',
		q('{"2024-02-29 12:34:56.5+05:30",infinity}') =>
		  'text ["2024-02-29T07:04:56.5+00:00","infinity"]' ],
	[ 'bytea_array', 'bytea[]', 'TEXT', q(ARRAY['\x00ff'::bytea]) => 'text ["\\\\x00ff"]' ],
	[ 'interval_array', 'interval[]', 'TEXT', q('{1 day 2 hours}') => 'text ["P1DT2H"]' ],
	[ 'composite', 'pair', 'TEXT',
		q(ROW(1, 'x"y', '2024-02-29 00:00+00')) =>
		  'text {"a":1,"b":"x\"y","c":"2024-02-29T00:00:00+00:00"}',
		q(ROW(NULL, NULL, NULL)) => 'text {"a":null,"b":null,"c":null}' ],
	[ 'composite_array', 'pair[]', 'TEXT',
		q(ARRAY[ROW(1, NULL, '-infinity')::pair, NULL]) =>
		  'text [{"a":1,"b":null,"c":"-infinity"},null]' ],
	[ 'int2vector', 'int2vector', 'TEXT', q('1 2 3') => 'text [1,2,3]' ],

	[ 'domain', 'positive', 'INTEGER', q(7) => 'integer 7' ],
	[ 'domain_of_domain', 'small_positive', 'INTEGER', q(7) => 'integer 7' ],
	[ 'domain_numeric', 'quantity', 'INTEGER', q(12345) => 'integer 12345' ],
	[ 'domain_array', 'numbers', 'TEXT', q('{1,2}') => 'text [1,2]' ],
	[ 'domain_composite', 'whole_pair', 'TEXT',
		q(ROW(1, 'x', NULL)) => 'text {"a":1,"b":"x","c":null}' ],

	[ 'int4range', 'int4range', 'TEXT', q('[1,5]') => 'text [1,6)', q('empty') => 'text empty' ],
	[ 'int4multirange', 'int4multirange', 'TEXT', q('{[1,2],[5,6]}') => 'text {[1,3),[5,7)}' ],
	[ 'tstzrange', 'tstzrange', 'TEXT',
		q{'[2024-02-29 12:00+05:30,)'} => 'text ["2024-02-29 06:30:00+00",)' ],
	[ 'inet', 'inet', 'TEXT', q('192.168.0.1/24') => 'text 192.168.0.1/24',
		q('::1') => 'text ::1' ],
	[ 'cidr', 'cidr', 'TEXT', q('10.0.0.0/8') => 'text 10.0.0.0/8' ],
	[ 'macaddr', 'macaddr', 'TEXT', q('08:00:2B:01:02:03') => 'text 08:00:2b:01:02:03' ],
	[ 'bit', 'bit(4)', 'TEXT', q(B'1010') => 'text 1010' ],
	[ 'varbit', 'varbit', 'TEXT', q(B'') => 'text ', q(B'101') => 'text 101' ],
	[ 'money', 'money', 'TEXT', q('-1234.56') => 'text -$1,234.56' ],
	[ 'tsvector', 'tsvector', 'TEXT', q('a:1 fat:2A') => q(text 'a':1 'fat':2A) ],
	[ 'tsquery', 'tsquery', 'TEXT', q('fat & rat') => q(text 'fat' & 'rat') ],
	[ 'point', 'point', 'TEXT', q('(0.1,-2e300)') => 'text (0.1,-2e+300)' ],
	[ 'box', 'box', 'TEXT', q('(0,0),(1,1)') => 'text (1,1),(0,0)' ],
	[ 'regclass', 'regclass', 'TEXT', q('pg_catalog.pg_class') => 'text pg_class' ],
	[ 'pg_lsn', 'pg_lsn', 'TEXT', q('16/B374D848') => 'text 16/B374D848' ],
	[ 'xid', 'xid', 'TEXT', q('4294967295') => 'text 4294967295' ],);

# Types that are not on every server.
my $xml = ($node->psql('postgres', q(SELECT '<a/>'::xml)))[0] == 0;
push @columns,
  [ 'xml', 'xml', 'TEXT', q('<a b="c">é</a>') => 'text <a b="c">é</a>' ]
  if $xml;
push @columns, [ 'citext', 'citext', 'TEXT', q('AbÇ') => 'text AbÇ' ]
  if $available{citext};
push @columns, [ 'hstore', 'hstore', 'TEXT',
	q('b=>NULL, a=>"x y"') => 'text "a"=>"x y", "b"=>NULL' ]
  if $available{hstore};
for my $extension (qw(citext hstore))
{
	$node->safe_psql('postgres', "CREATE EXTENSION $extension")
	  if $available{$extension};
}

$node->safe_psql('postgres', <<'END');
CREATE TYPE mood AS ENUM ('sad', 'it''s "höppy"', 'lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll');
CREATE TYPE pair AS (a int, b text, c timestamptz);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE DOMAIN small_positive AS positive CHECK (value < 10);
CREATE DOMAIN quantity AS numeric(5,0);
CREATE DOMAIN numbers AS int[];
CREATE DOMAIN whole_pair AS pair;
END

# A table of these columns and all their pairs.  Its last row is NULL but for
# the key.
sub create_table
{
	my ($name, @cols) = @_;
	my $sql = "CREATE TABLE $name (id int PRIMARY KEY"
	  . join('', map { ", c_$_->[0] $_->[1]" } @cols) . ");\n";
	my $id = 0;
	for (my $i = 3; grep { $#$_ > $i } @cols; $i += 2)
	{
		my @present = grep { $#$_ > $i } @cols;
		$sql .= "INSERT INTO $name (id"
		  . join('', map { ", c_$_->[0]" } @present)
		  . ") VALUES (" . ++$id
		  . join('', map { ", $_->[$i]" } @present) . ");\n";
	}
	$sql .= "INSERT INTO $name (id) VALUES (" . ++$id . ");\n";
	$node->safe_psql('postgres', $sql);
	return $id;
}

# Compares a file with the pairs, one test for each column.
sub column_tests
{
	my ($file, $rows, @cols) = @_;

	is(compare('check', $file), 'ok', 'integrity');
	is( compare('rows', $file, "SELECT name, type, pk FROM pragma_table_info('t')"),
		join("\n",
			"text id\ttext INTEGER\tinteger 1",
			map { "text c_$_->[0]\ttext $_->[2]\tinteger 0" } @cols),
		'declared types');
	is( compare('rows', $file, 'SELECT id FROM t ORDER BY id'),
		join("\n", map { "integer $_" } 1 .. $rows),
		'keys');
	for my $col (@cols)
	{
		my ($name, $type, undef, @pairs) = @$col;
		my @expected = map { $pairs[ 2 * $_ + 1 ] // 'null' } 0 .. $rows - 1;
		is(compare('rows', $file, "SELECT c_$name FROM t ORDER BY id"),
			join("\n", @expected), $type);
	}
}

my $rows = create_table('types', @columns);
cmp_ok($rows, '>', 15, 'rows of edges');

subtest 'defaults' => sub {
	is(export('types', 'types.db', '{}'), "$rows|$rows", 'counts');
	column_tests("$dir/types.db", $rows, @columns);
};

subtest 'strict' => sub {
	is(export('types', 'strict.db', '{"strict": true}'), "$rows|$rows", 'counts');
	is( compare('rows', "$dir/strict.db", "SELECT strict FROM pragma_table_list('t')"),
		'integer 1', 'a STRICT table');
	column_tests("$dir/strict.db", $rows, @columns);
};

SKIP:
{
	skip 'this server was built without libxml', 1 unless $xml;
	pass('xml was among them');
}
for my $extension (qw(citext hstore))
{
  SKIP:
	{
		skip "the contrib module $extension is not installed", 1
		  unless $available{$extension};
		pass("$extension was among them");
	}
}

# The settings of whoever starts the run, of the database and of the role must
# not be seen in the file.
subtest 'settings' => sub {
	my %setting = (
		datestyle => 'German, DMY',
		intervalstyle => 'sql_standard',
		timezone => 'Asia/Kolkata',
		extra_float_digits => '-15',
		bytea_output => 'escape',
		quote_all_identifiers => 'on');
	my $show = sub {
		$node->safe_psql('postgres',
			q(SELECT '\x00'::bytea, interval '1 day 1 hour', date '2024-02-29', 0.1::float8 + 0.2));
	};
	my $before = $show->();
	my @names = sort keys %setting;

	# by turns for the database and the role
	for my $i (0 .. $#names)
	{
		my $what = $i % 2 ? 'DATABASE postgres' : 'ROLE CURRENT_USER';
		$node->safe_psql('postgres', "ALTER $what SET $names[$i] = '$setting{$names[$i]}'");
	}
	isnt($show->(), $before, 'the settings have an effect in a session');
	$node->safe_psql('postgres',
		join('', map { "SET $_ = '$setting{$_}';\n" } @names)
		  . "SELECT lfsync_export('types', 'settings.db', table_name => 't')");
	$node->safe_psql('postgres',
		"ALTER DATABASE postgres RESET ALL; ALTER ROLE CURRENT_USER RESET ALL");

	column_tests("$dir/settings.db", $rows, @columns);
	my @dump = map { (run_command([ 'sqlite3', "$dir/$_", '.dump t' ]))[0] }
	  'types.db', 'settings.db';
	like($dump[0], qr/^INSERT INTO t VALUES\(1,/m, 'a dump');
	ok($dump[0] eq $dump[1], 'the dumps are equal');
};

# Columns that options change, one file for each set of options.
my @timestamps = (
	q('1970-01-01 00:00:00'), 0,
	q('1969-12-31 23:59:59'), -1_000_000,
	q('1969-12-31 23:59:58.5'), -1_500_000,
	q('1969-12-31 23:59:59.999999'), -1,
	q('1970-01-01 00:00:00.999999'), 999_999,
	q('1999-12-31 23:59:59.5'), 946684799_500_000,
	q('2000-01-01 00:00:00.5'), 946684800_500_000,
	q('2024-02-29 12:34:56.123456'), 1709210096_123_456,
	q('4714-11-24 00:00:00 BC'), -210866803200_000_000,
	# the last microsecond that 64 bits from 1970 can count
	q('294247-01-10 04:00:54.775807'), 9223372036854775807);

# Expected under unix is the second in which the microsecond lies.
sub unix_columns
{
	my ($divisor) = @_;
	my @pairs;
	for (my $i = 0; $i < @timestamps; $i += 2)
	{
		use integer;
		my $us = $timestamps[ $i + 1 ];
		my $expected = $us / $divisor;
		$expected-- if $us < 0 && $us % $divisor != 0;
		push @pairs, $timestamps[$i] => "integer $expected";
	}
	my @utc = @pairs;
	$utc[ 2 * $_ ] =~ s/( BC)?'$/+00$1'/ for 0 .. $#pairs / 2;
	return (
		[ 'ts', 'timestamp', 'INTEGER', @pairs ],
		[ 'tstz', 'timestamptz', 'INTEGER',
			@utc, q('1970-01-01 00:00+05:30') => 'integer ' . -19800 * 1_000_000 / $divisor ]);
}

subtest 'timestamps' => sub {
	my @unix = unix_columns(1_000_000);
	my @unix_us = unix_columns(1);
	my $n = create_table('timestamps', @unix);

	is($unix[0][8], 'integer -2', 'half a second before 1970 belongs to the second before');
	is(export('timestamps', 'unix.db', '{"timestamps": "unix"}'), "$n|$n", 'unix: counts');
	column_tests("$dir/unix.db", $n, @unix);
	is(export('timestamps', 'unix_us.db', '{"timestamps": "unix_us"}'), "$n|$n", 'unix_us: counts');
	column_tests("$dir/unix_us.db", $n, @unix_us);

	my @last = ([ 'ts', 'timestamp', 'INTEGER',
			q('294276-12-31 23:59:59') => 'integer 9224318015999' ]);
	$n = create_table('last_timestamp', @last);
	is(export('last_timestamp', 'last.db', '{"timestamps": "unix"}'), "$n|$n", 'the last timestamp');
	column_tests("$dir/last.db", $n, @last);
	like( refused('last_timestamp', '{"timestamps": "unix_us"}', 'above 64 bits'),
		qr/ERROR:  22008: .*unix_us(?=.*^HINT:).*column "c_ts", row 1\b/ms,
		'above 64 bits: an error that names option, column and row');

	for my $infinity ('infinity', '-infinity')
	{
		for my $format ('unix', 'unix_us')
		{
			$node->safe_psql('postgres', qq(
				DROP TABLE IF EXISTS infinite;
				CREATE TABLE infinite (id int PRIMARY KEY, at timestamptz);
				INSERT INTO infinite VALUES (1, now()), (2, '$infinity')));
			like( refused('infinite', qq({"timestamps": "$format"}), "$infinity as $format"),
				qr/ERROR:  22008: .*"$infinity".*"timestamps"(?=.*^HINT:).*column "at", row 2\b/ms,
				"$infinity as $format: an error that names value, option, column and row");
		}
	}
};

subtest 'uuid as blob' => sub {
	my @cols = ([ 'u', 'uuid', 'BLOB',
			q('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11') => 'blob a0eebc999c0b4ef8bb6d6bb9bd380a11',
			q('00000000-0000-0000-0000-000000000000') => 'blob ' . '0' x 32 ]);
	my $n = create_table('uuids', @cols);
	is(export('uuids', 'uuids.db', '{"uuid": "blob"}'), "$n|$n", 'counts');
	column_tests("$dir/uuids.db", $n, @cols);
};

subtest 'numeric as real' => sub {
	my @cols = (
		[ 'n', 'numeric', 'REAL',
			q('0.1') => 'real 0.1',
			q('1.50') => 'real 1.5',
			q('0.000') => 'real 0.0',
			q('9007199254740993') => 'real 9007199254740992.0',
			q('1.7976931348623157e308') => 'real 1.7976931348623157e+308',
			q('5e-324') => 'real 5e-324',
			q('Infinity') => 'real inf',
			q('-Infinity') => 'real -inf',
			q('NaN') => 'null' ],
		[ 'i', 'numeric(18,0)', 'INTEGER', q('999999999999999999') => 'integer 999999999999999999' ]);
	my $n = create_table('numerics', @cols);
	is(export('numerics', 'numerics.db', '{"numeric": "real"}'), "$n|$n", 'counts');
	column_tests("$dir/numerics.db", $n, @cols);

	for my $value ('2e308', '-2e308', '1e-400')
	{
		$node->safe_psql('postgres', qq(
			DROP TABLE IF EXISTS far;
			CREATE TABLE far AS SELECT 1 AS id, $value\::numeric AS n));
		like( refused('far', '{"numeric": "real"}', $value),
			qr/ERROR:  22003: (?=.*^HINT:.*"numeric").*column "n", row 1\b/ms,
			"$value: an error that names option, column and row");
	}
};

subtest 'NaN' => sub {
	my @types = (
		[ 'f4', 'real', 'REAL' ],
		[ 'f8', 'double precision', 'REAL' ],
		[ 'ni', 'numeric(5,0)', 'INTEGER' ],
		[ 'nt', 'numeric', 'TEXT' ]);
	my @null = map { [ @$_, q('NaN') => $_->[0] eq 'nt' ? 'text NaN' : 'null' ] } @types;
	my @text = map { [ @$_, q('NaN') => 'text NaN' ] } @types;
	my $n = create_table('nans', @null);

	is(export('nans', 'nan_default.db', '{}'), "$n|$n", 'by default: counts');
	column_tests("$dir/nan_default.db", $n, @null);
	is(export('nans', 'nan_null.db', '{"nan": "null", "strict": true}'), "$n|$n", 'null: counts');
	column_tests("$dir/nan_null.db", $n, @null);
	is(export('nans', 'nan_text.db', '{"nan": "text"}'), "$n|$n", 'text: counts');
	column_tests("$dir/nan_text.db", $n, @text);

	for my $type (@types)
	{
		my ($name, $pg, $sqlite) = @$type;
		my $source = "nan_$name";
		$node->safe_psql('postgres',
			"CREATE TABLE $source (id int, v $pg); INSERT INTO $source VALUES (1, '1'), (2, 'NaN')");
		if ($sqlite eq 'TEXT')
		{
			is(export($source, "$source.db", '{"nan": "error"}'), '2|2',
				"$pg keeps NaN whatever the option says");
			is(compare('rows', "$dir/$source.db", 'SELECT v FROM t ORDER BY id'),
				"text 1\ntext NaN", "$pg: as text");
			next;
		}
		like( refused($source, '{"nan": "error"}', "$pg, error"),
			qr/ERROR:  22003: NaN (?=.*^HINT:.*"nan").*column "v", row 2\b/ms,
			"$pg: an error that names option, column and row");
		like( refused($source, '{"nan": "text", "strict": true}', "$pg, text and strict"),
			qr/ERROR:  22023: .*"nan".*STRICT.*^HINT:/ms,
			"$pg: a STRICT table has no text NaN, said before the first row");
	}
};

# One value of each size class of SQLite's records, and of PostgreSQL's TOAST,
# against what COPY prints.
subtest 'sizes' => sub {
	$node->safe_psql('postgres', <<'END');
CREATE TABLE sizes (id int PRIMARY KEY, plain text, packed text, bytes bytea);
ALTER TABLE sizes ALTER plain SET STORAGE EXTERNAL;
INSERT INTO sizes
SELECT n, left(x, n), repeat('y', n), decode(left(x, n - n % 2), 'hex')
FROM (SELECT string_agg(md5(i::text), '') AS x FROM generate_series(1, 32000) i) s,
	 unnest(ARRAY[0, 1, 57, 58, 59, 125, 126, 127, 128, 1000, 2000, 2030, 2040, 4000, 4040, 4050,
				  4060, 4096, 8192, 8200, 16000, 32768, 65536, 1000000]) n;
END
	is(export('sizes', 'sizes.db', '{}'), '24|24', 'counts');
	is(compare('check', "$dir/sizes.db"), 'ok', 'integrity');
	my $copy = $node->safe_psql('postgres', 'COPY (SELECT * FROM sizes ORDER BY id) TO STDOUT');
	my $out = '';
	IPC::Run::run [ 'python3', "$FindBin::Bin/../lib/compare.py", 'equal', "$dir/sizes.db",
		'SELECT * FROM t ORDER BY id', 'integer', 'text', 'text', 'blob' ],
	  '<', \"$copy\n", '>', \$out;
	is($out, "24 rows equal\n", 'all values');
};

$node->stop;
done_testing();
