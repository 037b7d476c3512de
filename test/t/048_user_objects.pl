# Indexes and triggers that somebody made in the file, on a table of lfsync's,
# are there after a refresh, however the table is written.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('user_objects', conf => "fsync = off\n");
my $file = $t->path('a.db');

$t->sql(<<'END');
CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL, w int);
INSERT INTO t SELECT i, 'row ' || i, i % 10 FROM generate_series(1, 1000) i;
CREATE INDEX t_v ON t (v);
END

sub export
{
	my ($more) = @_;

	return $t->sql("SELECT rows_read FROM lfsync_export('t', 'a.db'" . ($more // '') . ')');
}

sub indexes { return sqlite($file, q(SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 't' AND sql IS NOT NULL ORDER BY sql)); }
sub triggers { return sqlite($file, q(SELECT sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name)); }
sub notes { return $t->history(q(notes->>'structure')) }

my $theirs = <<'END' =~ s/\n\z//r;
CREATE INDEX "Theirs" ON T(w DESC) WHERE w > 5
CREATE INDEX of_two ON t (v COLLATE NOCASE, w)
END
my $trigger = 'CREATE TRIGGER told AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.id); END';
my $ours = 'CREATE INDEX "t_v" ON "t" ("v")';
my $renamed = 'CREATE INDEX "t_v_2" ON "t" ("v")';

#
# Tables that are replaced
#

subtest 'indexes in a file that would be built anew' => sub {
	export();
	is(indexes(), $ours, 'ours');
	export();
	is(indexes(), $ours, 'a file that holds nothing else is built anew');
	sqlite($file, join ";\n", split /\n/, $theirs);
	my $inode = (stat $file)[1];
	$t->sql(q(INSERT INTO t VALUES (1001, 'new', 7)));
	foreach my $expected ($renamed, $ours, $renamed)
	{
		is(export(), 1001, 'refreshed');
		is(indexes(), join("\n", sort $theirs =~ /^.+$/mg, $expected), 'theirs are there, and one of ours');
		is(notes(), '', 'nothing to note');
	}
	is((stat $file)[1], $inode, 'in place');
	is(sqlite($file, 'SELECT count(*), max(id) FROM t INDEXED BY "Theirs" WHERE w > 5'), '401|1001', 'they serve');
	is(integrity($file), 'ok', 'integrity');
};

subtest 'triggers' => sub {
	sqlite($file, "CREATE TABLE log (id); $trigger; "
		  . 'CREATE TRIGGER calls AFTER DELETE ON t BEGIN SELECT of_their_program(old.v); END');
	my $before = triggers();
	export() foreach 1 .. 2;
	is(triggers(), $before, 'are there');
	is(sqlite($file, 'SELECT count(*) FROM log'), 0, 'and do not fire for what lfsync writes');
	is(sqlite($file, q(INSERT INTO t VALUES (2000, 'theirs', 1); SELECT * FROM log)), 2000, 'but for what others write');
	sqlite($file, 'DROP TRIGGER calls');
};

subtest 'what the new table does not bear' => sub {
	sqlite($file, <<'END');
CREATE UNIQUE INDEX once ON t (v);
CREATE INDEX on_w ON t (w + 1);
CREATE TRIGGER of_w AFTER UPDATE ON t BEGIN INSERT INTO log VALUES (new.w); END;
END
	$t->sql(q(ALTER TABLE t DROP w; UPDATE t SET v = 'row 1' WHERE id = 2));
	export();
	is(indexes(), $ours, 'is left out');
	is(triggers(), $trigger, 'with triggers of that column');
	my $notes = notes();
	like($notes, qr/"index once, which somebody had made on table t, is gone: UNIQUE constraint failed: t.v"/, 'twice the same');
	like($notes, qr/"index $_, which somebody had made on table t, is gone: no such column: w"/, "no column for $_") foreach qw(Theirs of_two on_w);
	like($notes, qr/"trigger of_w, which somebody had made on table t, is gone: no such column: new.w"/, 'nor for the trigger');
	is(integrity($file), 'ok', 'integrity');
	export();
	is(notes(), '', 'once is enough');
	$t->sql('ALTER TABLE t ADD w int');
};

#
# Which are ours?
#

subtest 'an index of ours that has gone from the source' => sub {
	$t->sql('CREATE INDEX t_more ON t (w, id DESC)');
	export();
	like(indexes(), qr/"t_more"/, 'is there');
	$t->sql('DROP INDEX t_more');
	export();
	is(indexes(), $renamed, 'goes');
};

subtest 'an index of theirs under the name of ours' => sub {
	my $index = 'CREATE INDEX t_v ON t (id, v)';
	export();
	is(indexes(), $ours, 'ours');
	sqlite($file, "DROP INDEX t_v; $index");
	export();
	is(indexes(), "$renamed\n$index", 'stays');
	export();
	like(indexes(), qr/\Q$index\E\z/, 'and stays');
	sqlite($file, 'DROP INDEX t_v; DROP TRIGGER told; DROP TABLE log');
};

subtest 'nothing of theirs any more' => sub {
	my $same = (stat $file)[1];
	export();
	isnt((stat $file)[1], $same, 'the file is built anew');
	is(indexes(), $ours, 'with ours');
	is(triggers(), '', 'and nothing else');
};

#
# Tables that are kept in sync
#

foreach my $mode (qw(incremental merge))
{
	subtest "mode $mode" => sub {
		export(", mode => '$mode'") foreach 1 .. 2;
		sqlite($file, 'CREATE INDEX theirs ON t (w); CREATE TABLE IF NOT EXISTS log (id); ' . $trigger);
		$t->sql(q(CREATE INDEX t_w ON t (w); UPDATE t SET v = v || '.' WHERE id = 3));
		export(", mode => '$mode'");
		my $both = qq($ours\nCREATE INDEX "t_w" ON "t" ("w"));
		is(indexes() =~ s/t_v_2/t_v/r, "$both\nCREATE INDEX theirs ON t (w)", 'a new index of the source');
		$t->sql('DROP INDEX t_w');
		export(", mode => '$mode'");
		is(indexes() =~ s/t_v_2/t_v/r, "$ours\nCREATE INDEX theirs ON t (w)", 'goes as it came, theirs stays');
		export(", mode => '$_'") foreach 'full', $mode;
		is(indexes() =~ s/t_v_2/t_v/r, "$ours\nCREATE INDEX theirs ON t (w)", 'loaded anew');
		is(triggers(), $trigger, 'the trigger');
		is(sqlite($file, 'SELECT count(*) FROM log'), 0, 'has not fired');
		is(integrity($file), 'ok', 'integrity');
		sqlite($file, 'DROP INDEX theirs; DROP TRIGGER told');
	};
}

$t->clean('afterwards', 'a.db');
done_testing();
