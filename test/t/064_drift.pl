# File and source change their structure between runs, by anybody's hand: each
# change is carried, repaired or refused with the reason, and no value is lost
# or left behind without a word.

use strict;
use warnings FATAL => 'all';

use File::Copy qw(copy);
use Lfsync;
use Test::More;

my $t = Lfsync->new('drift', conf => "fsync = off\n");
my %modes = (
	'row versions' => q(mode => 'incremental'),
	'a cursor' => q(mode => 'incremental', cursor_columns => '{id}'),
	'merge' => q(mode => 'merge'));
my $file = $t->path('t.db');
my $mode;

# A new table, and a file of it that a mode goes on with: its second run has
# been, so that a cursor has its stable bound.
sub begin
{
	$t->sql(<<'END');
DROP TABLE IF EXISTS t CASCADE;
CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL, b int UNIQUE, c numeric(5,2));
CREATE INDEX t_a ON t (a);
INSERT INTO t SELECT i, 'a' || i, i, i FROM generate_series(1, 20) i;
END
	unlink $file;
	$t->sync('t', 't.db', $modes{$mode}) for 1 .. 2;
	# what the next run has to bring beside
	$t->sql(q(INSERT INTO t VALUES (21, 'new', 21, 21)));
	return;
}

# A test: a run goes well, says what it has found, and file and table are equal.
sub carried
{
	my ($name, $note, $columns) = @_;

	return subtest "$mode: $name" => sub {
		my ($rc, $out, $err) = $t->try("SELECT lfsync_export('t', 't.db', $modes{$mode})");

		is($rc, 0, 'a run goes well') or diag $err;
		like($t->sql('SELECT notes FROM lfsync_runs ORDER BY run_id DESC LIMIT 1'), $note, 'notes') if $note;
		$t->same_rows('t.db', 't', 'the file is equal', columns => $columns // 'id, a, b, c');
		is(integrity($file), 'ok', 'integrity');
		like($t->sync('t', 't.db', $modes{$mode}), qr/^\d+ 0 0 0$/, 'nothing is left to do');
	};
}

# A test: a run is refused, and leaves the file.
sub refused
{
	my ($name, $sqlstate, $like) = @_;
	my $before = slurp_raw($file);

	return $t->fails("SELECT lfsync_export('t', 't.db', $modes{$mode})", $sqlstate, $like, "$mode: $name")
	  & ok(slurp_raw($file) eq $before, "$mode: $name: the file is as it was");
}

# In the file.
sub damage
{
	my ($sql) = @_;
	my $error;

	begin();
	$error = sqlite($file, $sql);
	is($error =~ s/^(?:wal|delete)\n?//r, '', $sql);
	return;
}

# At the source.
sub alter
{
	my ($sql) = @_;

	begin();
	$t->sql($sql);
	return;
}

my $lost = qr/everything was compared/;
my $misfit = qr/does not fit its source any more.*DETAIL:/s;

foreach (sort keys %modes)
{
	$mode = $_;
	my $compared = $mode eq 'merge' ? undef : $lost;

	#
	# The file
	#
	damage('ALTER TABLE t DROP COLUMN c');
	carried('a column is gone', qr/column c was added to table t/);
	damage('ALTER TABLE t RENAME COLUMN a TO x');
	carried('a column has another name', qr/column x of table t is not in the source.*column a was added/);
	damage(q(ALTER TABLE t ADD COLUMN mine TEXT DEFAULT 'mine'));
	carried('a column of somebody else', qr/column mine of table t is not in the source: it keeps what it has/);
	is(sqlite($file, 'SELECT DISTINCT mine FROM t'), 'mine', "$mode: keeps its values");

	damage('DROP INDEX t_a');
	carried('an index is gone');
	like(sqlite($file, q(SELECT sql FROM sqlite_schema WHERE name = 't_a')), qr/\("a"\)/, "$mode: it is made anew");
	damage('CREATE INDEX mine ON t (c); CREATE VIEW v AS SELECT a FROM t; CREATE TABLE other AS SELECT 1 AS x');
	carried('others have made things');
	is(sqlite($file, 'SELECT count(*) FROM v; SELECT x FROM other; SELECT name FROM sqlite_schema WHERE name = \'mine\''), "21\n1\nmine", "$mode: they stay");
	damage('CREATE UNIQUE INDEX mine ON t (c)');
	$t->sql('UPDATE t SET c = 1; INSERT INTO t SELECT 22, \'tie\', 22, 1');
	refused('rows that an index of somebody else excludes', '23505', qr/UNIQUE constraint failed.*HINT:/s);
	is(sqlite($file, 'DROP INDEX mine'), '', "$mode: it goes");
	carried('and then they come', undef, $mode eq 'a cursor' ? 'id, a, b' : undef);

	damage('DROP TABLE t');
	carried('the table is gone');
	damage('DROP TABLE t; CREATE VIEW t AS SELECT 1 AS id');
	refused('a view has its name', '42809', qr/is not a table.*DETAIL:.*"view".*HINT:/s);
	damage('ALTER TABLE t RENAME TO u');
	carried('the table has another name');
	damage('CREATE TABLE u (id INTEGER, a TEXT, b INTEGER, c TEXT); DROP TABLE t; ALTER TABLE u RENAME TO t');
	refused('it has no key any more', '42804', qr/${misfit}.*key/s);
	damage('CREATE TABLE u (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT); DROP TABLE t; ALTER TABLE u RENAME TO t');
	refused('a type has changed', '42804', qr/$misfit.*"b" is TEXT there and would be INTEGER.*HINT:/s);
	damage('CREATE TABLE u (id INTEGER, a TEXT, b INTEGER, c TEXT, PRIMARY KEY (id, a)); DROP TABLE t; ALTER TABLE u RENAME TO t');
	refused('its key has another column', '42804', qr/$misfit.*"a".*HINT:/s);
	damage('DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER, c TEXT)');
	if ($mode eq 'merge')
	{
		carried('another table has its name');
	}
	else
	{
		# what others delete is for a comparison to find
		$t->sync('t', 't.db', $modes{$mode});
		is($t->sync('t', 't.db', q(mode => 'merge')), '21 20 0 0', "$mode: another table has its name");
	}

	damage('DROP TABLE _lfsync_state');
	refused('whose the table is is not known', '42P07', qr/lfsync did not make it.*HINT:/s);
	damage('DELETE FROM _lfsync_state');
	refused('nor here', '42P07', qr/lfsync did not make it.*HINT:/s);
	damage('ALTER TABLE _lfsync_state ADD COLUMN x');
	refused('the bookkeeping is not ours', '55000', qr/not as lfsync makes it.*HINT:/s);
	damage('DROP TABLE _lfsync_columns');
	carried('the descriptions are gone');
	is(sqlite($file, q(SELECT count(*) FROM _lfsync_columns WHERE column_name <> '')), 4, "$mode: they are written anew");
	damage(q(UPDATE _lfsync_state SET system_identifier = '7'));
	refused('of another server', '55006', qr/kept in sync by somebody else.*system identifier 7.*HINT:/s);
	damage(q(UPDATE _lfsync_state SET job = 'j'));
	refused('of a job', '55006', qr/kept in sync by somebody else.*job "j".*HINT:/s);
	damage(q(UPDATE _lfsync_state SET source = 'public.other'));
	carried('of another source', qr/had another source \(public\.other\): it is loaded anew/);
	damage('UPDATE _lfsync_state SET position = NULL');
	carried('the position is gone', $compared);
	damage(q(UPDATE _lfsync_state SET rows = 'many', timeline = 'x', generation = 'x', source_fingerprint = NULL));
	carried('nonsense', $compared);

	damage('PRAGMA page_size = 512; VACUUM');
	carried('a smaller page');
	damage('PRAGMA page_size = 65536; VACUUM');
	carried('a larger page');
	damage('PRAGMA journal_mode = wal');
	carried('in WAL mode');
	is(sqlite($file, 'PRAGMA journal_mode'), 'wal', "$mode: it stays");
	damage('PRAGMA auto_vacuum = 2; VACUUM; PRAGMA application_id = 5; PRAGMA user_version = 6');
	carried('vacuumed');
	is(sqlite($file, 'PRAGMA application_id; PRAGMA user_version; PRAGMA auto_vacuum'), "5\n6\n2", "$mode: settings stay");
	begin();
	unlink $file;
	carried('the file is gone');

	#
	# The source
	#
	alter(q(ALTER TABLE t ALTER a DROP NOT NULL; INSERT INTO t VALUES (22, NULL, 22, 0)));
	carried('NOT NULL is relaxed');
	alter(q(ALTER TABLE t DROP CONSTRAINT t_b_key; INSERT INTO t VALUES (22, 'tie', 5, 0), (23, 'tie', 5, 0)));
	carried('UNIQUE is relaxed');
	if ($mode ne 'a cursor')
	{
		alter('UPDATE t SET b = -b; UPDATE t SET b = 22 + b');
		carried('unique values change places');
	}

	alter(q(ALTER TABLE t ADD d text DEFAULT 'd', ADD e int));
	carried('columns are added', qr/column d was added.*column e was added/, 'id, a, b, c, d, e');
	alter('ALTER TABLE t DROP c');
	carried('a column is dropped', qr/column c of table t is not in the source/, 'id, a, b');
	is(sqlite($file, 'SELECT count(*), max(id) FROM t WHERE c IS NOT NULL'), '20|20', "$mode: the file keeps its values, and new rows have none");
	alter('ALTER TABLE t RENAME a TO x');
	carried('a column is renamed', qr/column a of table t is not in the source.*column x was added/, 'id, x, b, c');
	alter('ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME c TO a; ALTER TABLE t RENAME x TO c');
	carried('columns change places', $compared);
	alter('ALTER TABLE t DROP c, ADD c text; UPDATE t SET c = a');
	carried('a column comes again', $compared);
	alter('ALTER TABLE t ALTER a TYPE varchar(50), ALTER b TYPE bigint, ALTER id TYPE bigint');
	carried('types that SQLite does not tell apart', $compared);
	alter('ALTER TABLE t ALTER c TYPE int');
	refused('a type that it does', '42804', qr/$misfit.*"c" is TEXT there and would be INTEGER.*HINT:/s);
	alter('ALTER TABLE t ALTER c TYPE numeric(9,3)');
	carried('another scale', $compared);

	alter('ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (a)');
	refused('another key', '42804', qr/$misfit.*key.*HINT:/s);
	alter('ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, a)');
	refused('more columns in the key', '42804', qr/$misfit.*key.*HINT:/s);
	alter('ALTER TABLE t DROP CONSTRAINT t_pkey');
	refused('no key', '42P16', qr/needs a key.*HINT:/s);
	is($t->sync('t', 't.db', "$modes{$mode}, key_columns => '{id}'") =~ s/^\d+ //r, '1 0 0', "$mode: until it is named");

	alter('ALTER TABLE t RENAME TO u; CREATE TABLE t (LIKE u INCLUDING ALL); DROP TABLE u');
	$t->sql(q(INSERT INTO t SELECT i, 'other', i, 1 FROM generate_series(2, 9) i));
	carried('another table of that name', $compared);
	alter('ALTER TABLE t RENAME id TO "ID"; ALTER TABLE t RENAME a TO "A"');
	$modes{'a cursor'} =~ s/id/ID/;
	carried('letters change their case', undef, '"A", b, c');
	$modes{'a cursor'} =~ s/ID/id/;
	alter('CREATE INDEX t_c ON t (c); DROP INDEX t_a');
	carried('another index');
	is(sqlite($file, q(SELECT group_concat(name) FROM sqlite_schema WHERE name IN ('t_a', 't_c'))), 't_c', "$mode: it comes, and the old one goes");

	my $strict = qq($modes{$mode}, options => '{"on_schema_change": "error"}');
	alter('ALTER TABLE t ADD d int');
	$t->fails("SELECT lfsync_export('t', 't.db', $strict)", '42804', qr/$misfit.*"d" is missing.*HINT:/s, "$mode: no column is added where that is not wanted");
	carried('and otherwise it is', qr/column d was added/);
}

# A run that is broken off when it has added a column, and not filled it yet.
foreach (grep { !/merge/ } sort keys %modes)
{
	$mode = $_;
	alter(q(ALTER TABLE t ADD d text DEFAULT 'd'));
	is(sqlite($file, 'ALTER TABLE t ADD COLUMN d TEXT'), '', 'as if a run had added it');
	carried('a column that is there and empty', $lost, 'id, a, b, c, d');
}

done_testing();
