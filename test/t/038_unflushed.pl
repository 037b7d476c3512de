# A commit that is not on disk yet may be lost in a crash, and its id be given
# to another row.  What a file holds must not be lost: a run flushes what its
# snapshot sees before it writes.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('unflushed', conf => <<'END');
wal_writer_delay = '10s'
checkpoint_timeout = '1h'
bgwriter_lru_maxpages = 0
lfsync.busy_timeout = '60s'
END
my $node = $t->node;
$t->make_source;

# With its WAL writer stopped nobody writes WAL but who has to.
sub stop_wal_writer
{
	$t->sql('CHECKPOINT');
	kill 'STOP', $t->sql(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'));
	return;
}

sub commit_unflushed
{
	my ($id) = @_;

	return $t->sql("SET synchronous_commit = off; INSERT INTO t VALUES ($id, 'unflushed')");
}

# All processes at once, so that none can flush on its way out.
sub crash
{
	my $postmaster = $node->{_pid};
	my %children = children($postmaster);

	kill 'KILL', $postmaster, keys %children;
	$node->kill9;
	poll('the end of all processes', sub { return !kill 0, $postmaster, keys %children });
	$node->start;
	$t->baseline;
	return;
}

# First, that there is anything to be lost here.
stop_wal_writer();
commit_unflushed(1001);
crash();
is($t->sql('SELECT max(id) FROM t'), 1000, 'a commit that nobody has flushed is lost in a crash');

# A crash when the file is published and before the run's end is committed,
# which would flush, too.
stop_wal_writer();
commit_unflushed(1001);
my $gate = $t->close_gate;
my $caller = $t->session;
$caller->send(q(SELECT lfsync_export('gated', 'u.db', 't');));
$t->wait_at_gate;
my $locker = $t->session;
$locker->query('BEGIN; LOCK TABLE lfsync_runs IN SHARE MODE;');
$gate->open_gate;
poll('the file', sub { return -e $t->path('u.db') });
$t->wait_sql(q(SELECT count(*) > 0 FROM pg_locks WHERE relation = 'lfsync_runs'::regclass AND NOT granted));
crash();
is(sqlite($t->path('u.db'), 'SELECT max(id), count(*) FROM t'), '1001|1001', 'the file has a row that was not flushed');
is($t->sql('SELECT max(id), count(*) FROM t'), '1001|1001', 'and so PostgreSQL still has it');
is(integrity($t->path('u.db')), 'ok', 'the file is sound');

# A crash right after an export.
stop_wal_writer();
commit_unflushed(1002);
is($t->sql(q(SELECT rows_read FROM lfsync_export('t', 'u.db'))), 1002, 'an export');
crash();
is($t->sql('SELECT max(id) FROM t'), 1002, 'all that it has read is there after a crash');
is($t->history('status, rows_read'), 'succeeded|1002', 'and its history');
$t->clean('at the end', 'u.db');

done_testing();
