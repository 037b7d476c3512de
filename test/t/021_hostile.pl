# Files that are no database, are broken, or were made to hurt whoever opens
# them.  An export to one either works or ends with a plain error; a file that
# is refused stays as it was, byte by byte; and the server goes on.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Digest::MD5;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

umask 0022;

my $dir = abs_path(PostgreSQL::Test::Utils::tempdir_short());
my $seeds = "$dir/seeds";
my $base = "$dir/base";
mkdir $_, 0755 or die "$_: $!" foreach ($seeds, $base);

my $node = PostgreSQL::Test::Cluster->new('hostile');
$node->init;
$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'lfsync'
lfsync.export_directory = '$base'
lfsync.busy_timeout = '2s'
END
$node->start;
$node->safe_psql('postgres', <<'END');
CREATE EXTENSION lfsync;
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 100) i;
CREATE ROLE alice LOGIN;
GRANT SELECT ON t TO alice;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO alice;
END
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $super = $node->safe_psql('postgres', 'SELECT current_user');

sub sqlite
{
	my ($file, $sql) = @_;
	my ($stdout, $stderr) = ('', '');

	IPC::Run::run([ 'sqlite3', '-batch', $file ], '<', \$sql, '>', \$stdout, '2>', \$stderr);
	chomp $stdout;
	return $stderr eq '' ? $stdout : "$stdout$stderr";
}

# The same, where an error is an error of this test.
sub make
{
	my ($file, $sql) = @_;
	my ($stdout, $stderr) = ('', '');

	IPC::Run::run([ 'sqlite3', '-batch', '-bail', $file ], '<', \$sql, '>', \$stdout, '2>', \$stderr)
	  or die "sqlite3: $stderr";
	return;
}

sub bytes
{
	my ($file, $content) = @_;

	if (defined $content)
	{
		open my $fh, '>:raw', $file or die "$file: $!";
		print $fh $content;
		close $fh or die "$file: $!";
		return;
	}
	open my $fh, '<:raw', $file or die "$file: $!";
	local $/;
	return <$fh>;
}

sub export
{
	my ($role, $name) = @_;
	my ($rc, $stdout, $stderr);

	$rc = $node->psql(
		'postgres',
		"\\set VERBOSITY verbose\nSELECT rows_read FROM lfsync_export('t', '$name')",
		stdout => \$stdout,
		stderr => \$stderr,
		timeout => $PostgreSQL::Test::Utils::timeout_default,
		extra_params => [ '-U', $role ]);
	return ($rc, $stderr);
}

# What is beside the file, apart from it.
sub beside
{
	my ($name) = @_;

	opendir my $dh, $base or die $!;
	return [ sort grep { !/^\.\.?$/ && $_ ne $name } readdir $dh ];
}

# Databases to begin with.  "own" holds what lfsync made; "theirs" a table that
# it did not make; "empty" has been a database and holds nothing.
is((export($super, 'own.db'))[0], 0, 'an ordinary export');
rename "$base/own.db", "$seeds/own" or die $!;

my $mine = <<'END';
CREATE TABLE mine (id INTEGER PRIMARY KEY, v TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO mine SELECT i, 'mine ' || i FROM n;
CREATE INDEX mine_v ON mine (v);
END
my $check_mine = q{SELECT count(*), sum(v = 'mine ' || id) FROM mine};
my $table_t = 'CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t VALUES (7, NULL);';
make("$seeds/mine", $mine);
make("$seeds/theirs", $mine . $table_t);
make("$seeds/empty", 'CREATE TABLE x (a); DROP TABLE x');

my $state = sqlite("$seeds/own", q{SELECT sql || ';' FROM sqlite_schema WHERE name = '_lfsync_state'});
like($state, qr/^CREATE TABLE/, 'the state table was read');

# Ways to make a file: from a seed by SQL, or by other bytes at an offset.
sub sql
{
	my ($seed, $sql) = @_;
	return sub {
		my ($file) = @_;
		bytes($file, bytes("$seeds/$seed")) if $seed;
		make($file, $sql);
	};
}

sub patch
{
	my ($seed, @patches) = @_;
	return sub {
		my ($file) = @_;
		my $content = bytes("$seeds/$seed");
		while (my ($offset, $new) = splice @patches, 0, 2)
		{
			substr($content, $offset, length $new) = $new;
		}
		bytes($file, $content);
	};
}

sub content
{
	my ($content) = @_;
	return sub { bytes($_[0], $content) };
}

my $noise = join '', map { chr($_ * 7919 % 251 ^ $_ >> 3 & 255) } 1 .. 20000;
my $schema = "\n.dbconfig defensive off\nPRAGMA writable_schema = ON;\n";

# Name, how to make it, what is expected:
#   refused, and then the file is as before, with this SQLSTATE
#   works
#   either: what comes of it is not the point; whether it is plain, is
# and a query whose answer an export must not change.
my @corpus = (
	# tables that lfsync did not make
	[ 'a table of that name', sql('', $table_t), 'refused', '42P07' ],
	[ 'the same among others', sql('theirs', ''), 'refused', '42P07' ],
	[ 'the same in capitals', sql('', 'CREATE TABLE "T" (id, v)'), 'refused', '42P07' ],
	[ 'the same without rowid', sql('', 'CREATE TABLE t (id PRIMARY KEY, v) WITHOUT ROWID'), 'refused', '42P07' ],
	[ 'a generated column', sql('', 'CREATE TABLE t (id INTEGER PRIMARY KEY, v AS (id || zeroblob(9)))'), 'refused', '42P07' ],
	[ 'a view of that name', sql('mine', 'CREATE VIEW t AS SELECT * FROM mine'), 'refused', '42809' ],
	[ 'an index of that name', sql('mine', 'CREATE INDEX t ON mine (v)'), 'refused', '42809' ],
	[ 'a full-text table of that name', sql('', 'CREATE VIRTUAL TABLE t USING fts5(id, v)'), 'refused', '42(P07|809)' ],
	[ 'an R-tree of that name', sql('', 'CREATE VIRTUAL TABLE t USING rtree(id, a, b)'), 'refused', '42(P07|809)' ],
	[ 'a table of a module that is not there', sql('mine', "$schema INSERT INTO sqlite_schema VALUES ('table', 't', 't', 0, 'CREATE VIRTUAL TABLE t USING nowhere(a)')"), 'refused', '\w{5}' ],

	# a file that others use too
	[ 'a table of somebody else', sql('mine', ''), 'works', $check_mine ],
	[ 'a table of ours and one of theirs', sql('own', $mine), 'works', $check_mine ],
	[ 'a table that looks like one of ours', sql('', "CREATE TABLE _lfsync_notes (a); INSERT INTO _lfsync_notes VALUES ('precious')"), 'either', 'SELECT a FROM _lfsync_notes' ],
	[ 'a full-text table beside', sql('', q{CREATE VIRTUAL TABLE docs USING fts5(a); INSERT INTO docs VALUES ('word')}), 'either', q{SELECT a FROM docs WHERE docs MATCH 'word'} ],
	[ 'a WAL', sql('mine', 'PRAGMA journal_mode = WAL'), 'works', $check_mine ],
	[ 'pages of 512 bytes', sql('', "PRAGMA page_size = 512; $mine"), 'works', $check_mine ],
	[ 'pages of 64 KB', sql('', "PRAGMA page_size = 65536; $mine"), 'works', $check_mine ],
	[ 'auto_vacuum', sql('', "PRAGMA auto_vacuum = FULL; $mine"), 'works', $check_mine ],
	[ 'a table that refers to ours', sql('own', 'PRAGMA foreign_keys = ON; CREATE TABLE child (t REFERENCES t ON DELETE CASCADE); INSERT INTO child VALUES (5)'), 'either', 'SELECT * FROM child' ],
	[ 'UTF-16', sql('', "PRAGMA encoding = 'UTF-16le'; $mine"), 'refused', '0A000' ],
	[ 'UTF-16 and nothing else', sql('', "PRAGMA encoding = 'UTF-16be'; CREATE TABLE x (a); DROP TABLE x"), 'either' ],
	[ 'a table of another role', sql('own', ''), 'refused', '42501', 'alice' ],

	# code in the file
	[ 'triggers on our table', sql('own', <<'END'), 'either', 'SELECT count(*) FROM stolen' ],
CREATE TABLE stolen (id, v);
CREATE TRIGGER steal AFTER INSERT ON t BEGIN
	INSERT INTO stolen VALUES (new.id, new.v); DELETE FROM t WHERE id = new.id - 1;
END;
CREATE TRIGGER keep BEFORE DELETE ON t BEGIN SELECT raise(IGNORE); END;
END
	[ 'triggers on the bookkeeping', sql('own', <<'END'), 'either', 'SELECT count(*) FROM stolen' ],
CREATE TABLE stolen (a, b);
CREATE TRIGGER steal AFTER INSERT ON _lfsync_state BEGIN INSERT INTO stolen VALUES (new.owner, 1); END;
CREATE TRIGGER steal2 AFTER UPDATE ON _lfsync_state BEGIN INSERT INTO stolen VALUES (new.owner, 2); END;
CREATE TRIGGER steal3 BEFORE DELETE ON _lfsync_columns BEGIN SELECT raise(ABORT, 'no'); END;
END
	[ 'a trigger of our table\'s name', sql('mine', 'CREATE TRIGGER t AFTER INSERT ON mine BEGIN SELECT 1; END'), 'either', $check_mine ],
	[ 'a view that loads code', sql('own', q{CREATE VIEW evil AS SELECT load_extension('/nowhere/evil.so'), fts3_tokenizer('a', x'4141414141414141')}), 'either' ],
	[ 'a view that never ends', sql('own', 'CREATE VIEW evil AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n'), 'either' ],
	[ 'a default and a check with functions', sql('', $mine . q{CREATE TABLE evil (a DEFAULT (zeroblob(1000000000)), CHECK (length(hex(zeroblob(400000000))) > 0))}), 'either', $check_mine ],

	# bookkeeping that is none
	[ 'the state table is a view', sql('', "$table_t CREATE VIEW _lfsync_state AS SELECT 't' AS table_name, '$super' AS owner"), 'refused', '55000' ],
	[ 'the state table has other columns', sql('', "$table_t CREATE TABLE _lfsync_state (table_name, owner); INSERT INTO _lfsync_state VALUES ('t', '$super')"), 'refused', '55000' ],
	[ 'the state table is a full-text table', sql('', "$table_t CREATE VIRTUAL TABLE _lfsync_state USING fts5(table_name, owner)"), 'refused', '55000' ],
	[ 'the state table has a column more', sql('own', 'ALTER TABLE _lfsync_state ADD COLUMN more'), 'refused', '55000' ],
	[ 'the columns table is a view', sql('own', 'DROP TABLE _lfsync_columns; CREATE VIEW _lfsync_columns AS SELECT 1'), 'refused', '55000' ],
	[ 'the state table does not name the table', sql('own', 'DELETE FROM _lfsync_state'), 'refused', '42P07' ],
	[ 'the state table is gone', sql('own', 'DROP TABLE _lfsync_state'), 'refused', '42P07' ],
	[ 'the state table and no other', sql('', $state), 'either' ],
	[ 'our table has become a view', sql('own', "DROP TABLE t; $mine CREATE VIEW t AS SELECT * FROM mine"), 'refused', '42809' ],
	[ 'our table is gone', sql('own', 'DROP TABLE t'), 'either' ],
	[ 'a hidden table of an interrupted run', sql('own', $mine . 'CREATE TABLE _lfsync_new_t (a); INSERT INTO _lfsync_new_t VALUES (1)'), 'works', $check_mine ],

	# a schema made by hand
	[ 'SQL that is none', sql('mine', "$schema INSERT INTO sqlite_schema VALUES ('table', 't', 't', 5, 'CREATE GARBAGE')"), 'refused', '\w{5}' ],
	[ 'a table twice', sql('own', "$schema INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = 't'"), 'either' ],
	[ 'a root page beyond the file', sql('own', "$schema UPDATE sqlite_schema SET rootpage = 99999 WHERE name = 't'"), 'either' ],
	[ 'a root page that is another table\'s', sql('own', "$mine $schema UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'mine') WHERE name = '_lfsync_state'"), 'either', $check_mine ],
	[ 'a root page in the schema\'s own place', sql('own', "$schema UPDATE sqlite_schema SET rootpage = 1 WHERE name = '_lfsync_state'"), 'either' ],
	[ 'names that are NULL', sql('mine', "$schema INSERT INTO sqlite_schema VALUES ('table', NULL, NULL, 2, NULL)"), 'either' ],
	[ 'an unknown kind of object', sql('mine', "$schema INSERT INTO sqlite_schema VALUES ('thing', 't', 't', 2, 'CREATE THING t')"), 'refused', '\w{5}' ],
	[ 'a definition of 5 MB', sql('mine', 'CREATE VIEW big AS SELECT 1' . ' + 1' x 400 . ' /*' . 'x' x 5_000_000 . '*/'), 'either', $check_mine ],
	[ 'a thousand tables', sql('mine', join '', map { "CREATE TABLE x$_ (a UNIQUE);" } 1 .. 1000), 'works', $check_mine ],

	# no database
	[ 'no bytes', content(''), 'works' ],
	[ 'an empty database', sql('empty', ''), 'works' ],
	[ 'one byte', content("\0"), 'either' ],
	[ 'five letters', content('hello'), 'refused', '42809' ],
	[ 'a text', content("# a text\n" x 1000), 'refused', '42809' ],
	[ 'noise, as if encrypted', content($noise), 'refused', '42809' ],
	[ 'zeros', content("\0" x 8192), 'refused', '42809' ],
	[ 'the magic words alone', content("SQLite format 3\0"), 'refused', '\w{5}' ],
	[ 'the magic words and noise', content("SQLite format 3\0" . $noise), 'refused', '\w{5}' ],
	[ 'a header and noise', sub { bytes($_[0], substr(bytes("$seeds/theirs"), 0, 100) . $noise) }, 'refused', '\w{5}' ],

	# a header that lies
	[ 'a format of the future', patch('theirs', 18, "\x09\x09"), 'refused', '42809' ],
	[ 'a format of the future, for writers', patch('mine', 18, "\x09\x01"), 'refused', '\w{5}' ],
	[ 'a page size that is no power of two', patch('theirs', 16, "\x03\xe8"), 'refused', '42809' ],
	[ 'another page size', patch('theirs', 16, "\x02\x00"), 'refused', '\w{5}' ],
	[ 'no usable room on a page', patch('theirs', 20, "\xff"), 'either' ],
	[ 'a huge page count', patch('theirs', 28, "\xff\xff\xff\xfe"), 'refused', '\w{5}' ],
	[ 'a huge page count in a file of ours', patch('own', 28, "\xff\xff\xff\xfe"), 'either' ],
	[ 'a free list in nowhere', patch('mine', 32, "\x7f\xff\xff\xff\x00\x00\x10\x00"), 'either' ],
	[ 'a free list that is the schema', patch('mine', 32, "\x00\x00\x00\x01\x00\x00\x00\x05"), 'either' ],
	[ 'a schema format of the future', patch('theirs', 44, "\x00\x00\x00\x09"), 'refused', '\w{5}' ],
	[ 'an encoding of the future', patch('mine', 56, "\x00\x00\x00\x07"), 'either' ],

	# pages that lie
	[ 'a schema page of no kind', patch('theirs', 100, "\x07"), 'refused', 'XX001' ],
	[ 'a schema page that is its own child', patch('theirs', 100, "\x05\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x01"), 'refused', 'XX001' ],
	[ 'a schema page with 65535 cells', patch('theirs', 103, "\xff\xff"), 'refused', 'XX001' ],
	[ 'half a file', sub { my $c = bytes("$seeds/mine"); bytes($_[0], substr $c, 0, length($c) / 2) }, 'either' ],
	[ 'a file cut within the first page', sub { bytes($_[0], substr bytes("$seeds/theirs"), 0, 1000) }, 'refused', '\w{5}' ],
	[ 'pages of noise', sub { my $c = bytes("$seeds/mine"); bytes($_[0], substr($c, 0, 4096) . substr($noise x 9, 0, length($c) - 4096)) }, 'either' ]);

my $number = 0;
foreach (@corpus)
{
	my ($test, $make, $expected, $more, $role) = @$_;
	my $name = sprintf 'c%02d.db', ++$number;
	my $file = "$base/$name";

	subtest "$test ($name)" => sub {
		# a SQLite without the module that the file is about
		if (!eval { $make->($file); 1 })
		{
			plan skip_all => 'no such module in this sqlite3' if $@ =~ /no such module: (fts5|rtree)/;
			die $@;
		}

		my $check = $expected eq 'refused' ? undef : $more;
		my $answer = $check ? sqlite($file, $check) : '';
		my $before = bytes($file);
		my $beside = beside($name);
		my ($rc, $stderr) = export($role // $super, $name);

		note $stderr =~ /(ERROR:  .*)/ ? $1 : 'it works';
		is($rc, $expected eq 'works' ? 0 : $expected eq 'refused' ? 3 : $rc == 0 ? 0 : 3, $expected)
		  or diag $stderr;
		if ($rc == 0)
		{
			is(sqlite($file, 'SELECT count(*), sum(id) FROM t'), '100|5050', 'the rows are there');
			# not of a file that had its faults before
			is(sqlite($file, 'PRAGMA integrity_check'), 'ok', 'the file is sound')
			  if $expected eq 'works';
		}
		else
		{
			like($stderr, qr/ERROR:  (?!XX000|57P0)/, 'the error has an SQLSTATE of its own');
			like($stderr, qr/^HINT:  \S/m, 'and a hint');
		}
		if ($expected eq 'refused')
		{
			like($stderr, qr/ERROR:  $more: /, 'namely this one');
			ok(bytes($file) eq $before, 'the file is as it was');
		}
		is(sqlite($file, $check), $answer, q{what is others' is as it was}) if $check;
		is_deeply(beside($name), $beside, 'nothing was left beside it');
	};
	unlink $file;
}

# One flipped bit or wild byte, anywhere; the same ones each time.
srand 20040229;
subtest 'files with random faults' => sub {
	my ($worked, $failed) = (0, 0);
	my $strange = '';

	foreach my $n (1 .. 120)
	{
		my $seed = (qw(own mine theirs))[ $n % 3 ];
		my $content = bytes("$seeds/$seed");

		# the first page, half of the time: that is where the meaning is
		foreach (0 .. $n % 4)
		{
			my $offset = int rand($n % 2 ? 4096 : length $content);
			my $byte = $n % 5 ? ord(substr $content, $offset, 1) ^ 1 << int rand 8 : int rand 256;
			substr($content, $offset, 1) = chr $byte;
		}
		bytes("$base/random.db", $content);

		my ($rc, $stderr) = export($super, 'random.db');
		if ($rc == 0) { $worked++ }
		else { $failed++ }
		$strange .= "$n: $stderr\n" if $rc != 0 && $stderr !~ /ERROR:  (?!XX000|57P0)\w{5}: .*HINT:  /s;
		$strange .= "$n: file left\n" if @{ beside('random.db') };
		unlink glob "$base/random.db*";
	}
	is($strange, '', 'every error is a plain one');
	cmp_ok($failed, '>', 0, "$failed were refused");
	cmp_ok($worked, '>', 0, "$worked did no harm");
};

# The server as such has seen nothing of it.
is((export($super, 'after.db'))[0], 0, 'an ordinary export works after all that');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server never restarted');
is_deeply(beside('after.db'), [], 'nothing is left');
$node->stop;
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC|server process .* exited with exit code [^01]/,
	'no process died');
done_testing();
