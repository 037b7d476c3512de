# The file belongs to others as well: they have it open, die in the middle of
# writing to it, move it away, put another in its place, or make tables of their
# own in it.  Nothing of theirs is lost, and nobody is left with a file that is
# not the file.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('others', conf => "lfsync.busy_timeout = '60s'\nfsync = off\n");
$t->make_source;
my $rows = '1000|500500';

sub export
{
	my ($file, $more) = @_;

	return $t->sql("SELECT rows_read FROM lfsync_export('t', '$file'" . ($more // '') . ')');
}

# A file of a run, and with "shared" a table, a view, an index and a trigger of
# somebody else's in it.
sub make
{
	my ($file, $shared) = @_;

	unlink glob $t->path($file) . '*';
	export($file);
	sqlite($t->path($file), <<'END') if $shared;
CREATE TABLE mine (a INTEGER PRIMARY KEY, b TEXT, c BLOB);
INSERT INTO mine SELECT value, 'text ' || value, zeroblob(value) FROM generate_series(1, 3000);
CREATE TABLE log (what TEXT);
CREATE INDEX mine_b ON mine (b);
CREATE VIEW over AS SELECT t.id, m.b FROM t JOIN mine m ON m.a = t.id;
CREATE VIEW simple AS SELECT count(*) FROM t;
CREATE TRIGGER mine_insert AFTER INSERT ON mine BEGIN INSERT INTO log VALUES ('mine ' || new.a); END;
END
	return;
}

sub theirs { return content($t->path($_[0]), 't'); }
sub right { return sqlite($t->path($_[0]), 'SELECT count(*), sum(id) FROM t'); }

# Holds on to a file without opening it, so that its inode's number is not used
# again, and returns a function that tells whether that is still the file.
sub hold_inode
{
	my ($file) = @_;
	my $o_path = 010000000;

	sysopen my $fh, $t->path($file), $o_path or die "$file: $!";
	return sub { return (stat $fh)[1] == (stat $t->path($file))[1] };
}

# Runs Python to open a file as "c", do something, and be killed.
sub killed
{
	my ($file, $code) = @_;
	my $err = '';

	IPC::Run::run([ 'python3', '-' ], '<', \<<"END", '2>', \$err);
import os, signal, sqlite3
c = sqlite3.connect("${\ $t->path($file)}", isolation_level=None)
c.execute("PRAGMA synchronous = OFF")
$code
os.kill(os.getpid(), signal.SIGKILL)
END
	die "$file: $err" if $err ne '';
	return;
}

#
# Others have it open
#

subtest 'nobody has it open' => sub {
	make('a.db');
	my $same = hold_inode('a.db');
	export('a.db');
	ok(!$same->(), 'it is replaced');
	is(right('a.db'), $rows, 'rows');
};

foreach my $mode (qw(delete wal))
{
	subtest "somebody has it open, $mode" => sub {
		make('a.db');
		sqlite($t->path('a.db'), "PRAGMA journal_mode = $mode");
		my $same = hold_inode('a.db');
		my $reader = sqlite_session($t->path('a.db'));
		is($reader->query('SELECT count(*) FROM t;'), 1000, 'a reader');
		$t->sql(q(INSERT INTO t VALUES (1001, 'new')));
		is(export('a.db'), 1001, 'exported');
		$t->sql('DELETE FROM t WHERE id = 1001');
		ok($same->(), 'it is written in place');
		is($reader->query('SELECT count(*) FROM t;'), 1001, 'the reader sees the new rows');
		$reader->quit;
		is(integrity($t->path('a.db')), 'ok', 'integrity');
		export('a.db');
		ok(!$same->(), 'when the reader has gone it is replaced');
	};
}

foreach my $shared (0, 1)
{
	subtest 'somebody reads all the while, ' . ($shared ? 'in place' : 'replaced') => sub {
		make('a.db', $shared);
		my $theirs = theirs('a.db');
		my $reader = sqlite_session($t->path('a.db'));
		is($reader->query('BEGIN; SELECT count(*) FROM t;'), 1000, 'a reader');
		$t->sql(q(INSERT INTO t VALUES (1001, 'new')));
		$t->fails(q(SET lfsync.busy_timeout = '300ms'; SELECT lfsync_export('t', 'a.db')), '55P03',
			qr/DETAIL:  database is locked.*HINT:  Another program holds a lock/s, 'the run gives up');
		$t->sql('DELETE FROM t WHERE id = 1001');
		is($reader->query('SELECT count(*) FROM t;'), 1000, 'the reader still sees the old rows');
		is($reader->query('COMMIT; SELECT count(*) FROM t;'), 1000, 'and afterwards');
		$reader->quit;
		same_text(theirs('a.db'), $theirs, 'everything else is as it was');
		is(export('a.db'), 1000, 'the next run works');
		is(integrity($t->path('a.db')), 'ok', 'integrity');
		$t->clean('afterwards', 'a.db');
	};
}

#
# Others died
#

foreach my $shared (0, 1)
{
	my $how = $shared ? 'in place' : 'replaced';
	my $table = $shared ? 'mine' : 't';
	my $column = $shared ? 'b' : 'v';

	subtest "a hot journal, $how" => sub {
		make('a.db', $shared);
		my $theirs = theirs('a.db');
		killed('a.db', <<"END");
c.execute("PRAGMA cache_size = 1")
c.execute("BEGIN")
c.execute("UPDATE $table SET $column = 'half done'")
c.execute("SELECT count(*) FROM $table").fetchone()
END
		ok(-s $t->path('a.db-journal'), 'there is one');
		is(export('a.db'), 1000, 'the run works');
		is(right('a.db'), $rows, 'rows');
		is(sqlite($t->path('a.db'), "SELECT count(*) FROM $table WHERE $column = 'half done'"), 0, 'rolled back');
		same_text(theirs('a.db'), $theirs, 'everything else is as it was');
		is(integrity($t->path('a.db')), 'ok', 'integrity');
		$t->clean('afterwards', 'a.db');
	};

	subtest "a WAL of a dead process, $how" => sub {
		make('a.db', $shared);
		killed('a.db', <<"END");
c.execute("PRAGMA journal_mode = WAL")
c.execute("PRAGMA wal_autocheckpoint = 0")
c.execute("UPDATE $table SET $column = 'committed'")
c.execute("BEGIN")
c.execute("UPDATE $table SET $column = 'half done'")
END
		ok(-s $t->path('a.db-wal'), 'there is one');
		is(export('a.db'), 1000, 'the run works');
		is(right('a.db'), $rows, 'rows');
		is(sqlite($t->path('a.db'), q(SELECT count(*), min(b), max(b) FROM mine)), '3000|committed|committed',
			'what was committed is there')
		  if $shared;
		is(sqlite($t->path('a.db'), q(SELECT count(*) FROM t WHERE v IN ('committed', 'half done'))), 0, 'and no old row');
		is(integrity($t->path('a.db')), 'ok', 'integrity');
		sqlite($t->path('a.db'), 'PRAGMA journal_mode = delete');
		$t->clean('afterwards', 'a.db');
	};
}

# Journals of a database that is gone would be taken for those of a new one.
foreach my $ending (qw(journal wal))
{
	subtest "a -$ending without its database" => sub {
		make('a.db', 1);
		killed('a.db', $ending eq 'wal' ? <<'END' : <<'END');
c.execute("PRAGMA journal_mode = WAL")
c.execute("PRAGMA wal_autocheckpoint = 0")
c.execute("UPDATE t SET v = 'committed'")
END
c.execute("PRAGMA cache_size = 1")
c.execute("BEGIN")
c.execute("UPDATE mine SET b = 'half done'")
END
		rename $t->path('a.db'), $t->path('moved.db') or die $!;
		my $stray = slurp_raw($t->path("a.db-$ending"));
		my ($rc, undef, $err) = $t->try(q(SELECT lfsync_export('t', 'a.db')));
		isnt($rc, 0, 'refused');
		like($err, qr/ERROR:  55000: .*a\.db-$ending.*HINT:  /s, 'with a hint');
		is(slurp_raw($t->path("a.db-$ending")) eq $stray, 1, 'it is still there');
		ok(!-e $t->path('a.db'), 'no file');
		rename $t->path('moved.db'), $t->path('a.db') or die $!;
		is(integrity($t->path('a.db')), 'ok', 'with it the old file is sound');
		is(sqlite($t->path('a.db'), 'SELECT count(*) FROM mine'), 3000, 'and complete');
		unlink $t->path('a.db');
		$t->clean('afterwards');
	};
}

#
# Others do something during the run
#

sub during
{
	my ($name, $file, $do, $then, $options) = @_;

	return subtest $name => sub {
		my $gate = $t->close_gate;
		my $caller = $t->session;

		$caller->send("SELECT rows_read FROM lfsync_export('gated', '$file', 't', options => '{\"batch_rows\": 100}');");
		$t->wait_at_gate;
		$do->();
		$gate->open_gate;
		$caller->wait;
		$then->($caller->output, $caller->error);
		unlink glob $t->path('') . '*';
		$t->clean('afterwards');
	};
}

my $replaced = qr/ERROR:  55000: file ".*" was replaced or removed by somebody else during the run.*HINT:  Run again/s;

foreach my $shared (0, 1)
{
	my $how = $shared ? 'in place' : 'replaced';
	my $moved;

	make('a.db', $shared);
	$moved = theirs('a.db');
	during("it is moved away, $how", 'a.db',
		sub { rename $t->path('a.db'), $t->path('moved.db') or die $! },
		sub {
			my ($out, $err) = @_;

			like($err, qr/$replaced|ERROR:  [0-9A-Z]{5}: SQLite failed/, 'refused');
			ok(!-e $t->path('a.db'), 'no new file');
			# SQLite does not write to a file that was moved, not even to tidy up
			same_text(content($t->path('moved.db'), 't', '_lfsync_new_*'), $moved, 'the old one is as it was');
			is(right('moved.db'), $rows, 'and has its rows');
			is(integrity($t->path('moved.db')), 'ok', 'and is sound');
		});

	make('a.db', $shared);
	during("another is put in its place, $how", 'a.db',
		sub {
			sqlite($t->path('other.db'), 'CREATE TABLE other (a); INSERT INTO other VALUES (1)');
			rename $t->path('other.db'), $t->path('a.db') or die $!;
		},
		sub {
			my ($out, $err) = @_;

			like($err, qr/$replaced|ERROR:  [0-9A-Z]{5}: SQLite failed/, 'refused');
			is(sqlite($t->path('a.db'), '.dump'), <<'END' =~ s/\n\z//r, 'the other one is as it was');
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE other (a);
INSERT INTO other VALUES(1);
COMMIT;
END
		});

	make('a.db', $shared);
	during("it is removed, $how", 'a.db',
		sub { unlink $t->path('a.db') or die $! },
		sub {
			my ($out, $err) = @_;

			like($err, qr/$replaced|ERROR:  [0-9A-Z]{5}: SQLite failed/, 'refused');
			ok(!-e $t->path('a.db'), 'no new file');
		});

	make('a.db', $shared);
	$moved = $shared ? theirs('a.db') : '';
	during("somebody makes a table in it, $how", 'a.db',
		sub { sqlite($t->path('a.db'), q(CREATE TABLE late (a); INSERT INTO late VALUES ('theirs'))) },
		sub {
			my ($out, $err) = @_;

			is(sqlite($t->path('a.db'), 'SELECT * FROM late'), 'theirs', 'their table is there');
			is(right('a.db'), $rows, 'and ours');
			like("$out$err", $shared ? qr/\A1000\z/ : qr/ERROR:  55000: .*was changed by somebody else during the run/,
				'the run');
			is(integrity($t->path('a.db')), 'ok', 'integrity');
		});
}

# With somebody who has it open, so that it would be copied over.
make('a.db');
my $reader;
during('somebody makes a table in it, copied over',
	'a.db',
	sub {
		$reader = sqlite_session($t->path('a.db'));
		$reader->query(q(CREATE TABLE late (a); INSERT INTO late VALUES ('theirs');));
	},
	sub {
		my ($out, $err) = @_;

		is($reader->query('SELECT * FROM late;'), 'theirs', 'their table is there');
		like($err, qr/ERROR:  55000: .*was changed by somebody else during the run/, 'the run');
		is(right('a.db'), $rows, 'and ours');
		$reader->quit;
	});

make('a.db', 1);
sqlite($t->path('a.db'), q(DROP TABLE t; DELETE FROM _lfsync_state; DELETE FROM _lfsync_columns));
during('somebody makes a table of that name, in place',
	'a.db',
	sub { sqlite($t->path('a.db'), q(CREATE TABLE t (a); INSERT INTO t VALUES ('theirs'))) },
	sub {
		my ($out, $err) = @_;

		like($err, qr/ERROR:  42P07: table "t" is in the file, and lfsync did not make it/, 'refused');
		is(sqlite($t->path('a.db'), 'SELECT * FROM t'), 'theirs', 'their table is there');
	});

during('a file appears where there was none', 'a.db',
	sub { sqlite($t->path('a.db'), q(CREATE TABLE other (a); INSERT INTO other VALUES (1))) },
	sub {
		my ($out, $err) = @_;

		like($err, qr/ERROR:  58P02: file ".*" has appeared while it was being built.*HINT:/s, 'refused');
		is(sqlite($t->path('a.db'), 'SELECT * FROM other'), 1, 'it is as it was');
	});

#
# And else
#

subtest 'in place, everything else stays' => sub {
	foreach my $mode (qw(delete wal))
	{
		make('a.db', 1);
		sqlite($t->path('a.db'), "PRAGMA journal_mode = $mode");
		my $theirs = theirs('a.db');
		my $over = sqlite($t->path('a.db'), 'SELECT count(*), sum(id) FROM over; SELECT * FROM simple');
		like($theirs, qr/trigger\|mine_insert/, 'there is something to lose');
		export('a.db', q(, options => '{"batch_rows": 100, "check": "full"}')) foreach 1 .. 3;
		same_text(theirs('a.db'), $theirs, "$mode: it is as it was");
		is(sqlite($t->path('a.db'), 'SELECT count(*), sum(id) FROM over; SELECT * FROM simple'), $over, "$mode: views work");
		is(sqlite($t->path('a.db'), q(INSERT INTO mine (a) VALUES (5000); SELECT * FROM log)), 'mine 5000', "$mode: the trigger works");
		is(sqlite($t->path('a.db'), 'PRAGMA journal_mode'), $mode, "$mode: still in that mode");
		is(integrity($t->path('a.db')), 'ok', "$mode: integrity");
		is(sqlite($t->path('a.db'), q(SELECT generation, rows FROM _lfsync_state)), '4|1000', "$mode: generation");
		unlink $t->path('a.db');
	}
	$t->clean('afterwards');
};

# A check that fails keeps what it has found from being published.
subtest 'a check that fails in place' => sub {
	$t->sql(<<'END');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (1, 1), (2, 2);
END
	sqlite($t->path('a.db'), 'CREATE TABLE mine (a)');
	$t->sql(q(SELECT lfsync_export_tables('{parent,child}', 'a.db', options => '{"check": "full"}')));
	is(sqlite($t->path('a.db'), 'SELECT count(*) FROM child'), 2, 'two rows');
	$t->sql('DELETE FROM child; DELETE FROM parent');
	$t->fails(q(SELECT lfsync_export('parent', 'a.db', options => '{"check": "full"}')), '23503',
		qr/did not pass PRAGMA foreign_key_check/, 'parents without their children');
	is($t->history('status'), 'failed', 'history');
	is(sqlite($t->path('a.db'), 'SELECT count(*) FROM parent'), 2, 'are not published');
	is(integrity($t->path('a.db')), 'ok', 'integrity');
	$t->clean('afterwards', 'a.db');
};

done_testing();
