# One value of 200 MB, and a million rows: they arrive as they were, and memory
# is bounded by buffers, not by tables.

use strict;
use warnings FATAL => 'all';

use IPC::Run;
use Lfsync;
use Test::More;

my $t = Lfsync->new('large', conf => "fsync = off\nshared_buffers = 64MB\nmax_wal_size = 2GB\nlfsync.busy_timeout = '120s'\n");
my $node = $t->node;

$t->sql(<<'END');
CREATE TABLE blobs (id int PRIMARY KEY, b bytea);
ALTER TABLE blobs ALTER COLUMN b SET STORAGE EXTERNAL;
INSERT INTO blobs SELECT 1, string_agg(int8send(i) || block, NULL)
	FROM generate_series(1, 6250) i,
		 (SELECT string_agg(sha256(n::text::bytea), NULL) AS block FROM generate_series(1, 1000) n) b;
INSERT INTO blobs VALUES (2, 'small'), (3, NULL);
END
my $expected = $t->sql(q(SELECT octet_length(b), encode(sha256(b), 'hex') FROM blobs WHERE id = 1));
like($expected, qr/^200050000\|/, 'one of 200 MB');

# The same from SQLite, by Python.
sub digest
{
	my ($file) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'python3', '-' ], '<', \<<"END", '>', \$out, '2>', \$err);
import hashlib, sqlite3
c = sqlite3.connect("file:${\ $t->path($file)}?mode=ro", uri=True)
b = c.execute("SELECT b FROM blobs WHERE id = 1").fetchone()[0]
print(f"{len(b)}|{hashlib.sha256(b).hexdigest()}")
print(*c.execute("SELECT id, typeof(b), length(b) FROM blobs WHERE id > 1 ORDER BY id"))
END
	return "$out$err";
}

my $digest = "$expected\n(2, 'blob', 5) (3, 'null', None)\n";
is($t->sql(q(SELECT rows_read FROM lfsync_export('blobs', 'new.db'))), 3, 'a new file');
is(digest('new.db'), $digest, 'its content');
is(integrity($t->path('new.db')), 'ok', 'integrity');
unlink $t->path('new.db');

# In place it goes through a segment of its own.
sqlite($t->path('shared.db'), 'CREATE TABLE mine (a)');
is($t->sql(q(SELECT rows_read FROM lfsync_export('blobs', 'shared.db'))), 3, 'in place');
is(digest('shared.db'), $digest, 'its content');
is(integrity($t->path('shared.db')), 'ok', 'integrity');
$t->clean('afterwards', 'shared.db');

# Where there is no room for that segment, as in a small container.
SKIP:
{
	skip 'no prlimit', 5 if !IPC::Run::run([ 'sh', '-c', 'command -v prlimit >/dev/null' ]);

	$t->make_source;
	$t->sql(q(CREATE VIEW gated_blobs AS SELECT id, CASE WHEN id = 1 THEN gate() END AS held, b FROM blobs));
	my $gate = $t->close_gate;
	my $caller = $t->session;
	$caller->send(q(SELECT lfsync_export('gated_blobs', 'shared.db', 'blobs');));
	$t->wait_at_gate;
	my $pid = $t->progress->{pid};
	ok(IPC::Run::run([ 'prlimit', "--pid=$pid", '--fsize=100000000' ]), 'no file of the runner may have 200 MB');
	$gate->open_gate;
	$caller->wait;
	like($caller->error, qr/ERROR:  53[12]00: could not get \d+ bytes of shared memory for a wide row.*HINT:  /s,
		'no room for the segment: the error says so');
	$gate->quit;
	is(digest('shared.db'), $digest, 'the old content is there');
	$t->clean('afterwards', 'shared.db');
}
unlink $t->path('shared.db');

#
# Memory
#

$t->sql(<<'END');
DROP TABLE blobs CASCADE;
CREATE TABLE million (id int PRIMARY KEY, a text, b timestamptz, c numeric);
INSERT INTO million SELECT i, md5(i::text), '2020-01-01 UTC'::timestamptz + i * interval '1 s', i / 7.0 FROM generate_series(1, 1000000) i;
CREATE INDEX ON million (a);
ANALYZE million;
END

# Anonymous memory of a process, in kB.
sub memory
{
	my ($pid) = @_;

	open my $fh, '<', "/proc/$pid/status" or return 0;
	my ($kb) = join('', <$fh>) =~ /^RssAnon:\s+(\d+) kB/m;
	return $kb // 0;
}

foreach my $file (qw(new.db shared.db))
{
	my $name = $file eq 'new.db' ? 'a new file' : 'in place';
	my (%first, %most);

	sqlite($t->path('shared.db'), 'CREATE TABLE mine (a)') if $file eq 'shared.db';
	my $caller = $t->session;
	$caller->send("SELECT rows_read FROM lfsync_export('million', '$file');");
	until ($caller->done)
	{
		foreach my $pid (keys %{ { $t->workers } })
		{
			my $kb = memory($pid) or next;
			$first{$pid} //= $kb;
			$most{$pid} = $kb if $kb > ($most{$pid} // 0);
		}
	}
	is($caller->output, 1_000_000, "$name: a million rows") or diag $caller->error;
	is(keys %first, 2, 'both processes were seen');
	my $growth = 0;
	$growth += $most{$_} - $first{$_} foreach keys %first;
	note "$name: $growth kB";
	cmp_ok($growth, '<', 64 * 1024, 'memory of the run over its start, in kB');
	is(integrity($t->path($file)), 'ok', 'integrity');
}
$t->clean('at the end', qw(new.db shared.db));

done_testing();
