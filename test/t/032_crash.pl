# kill -9 of the runner or of the writer: the server restarts, the file is as
# it was for whoever reads it, and the next run marks the dead one as crashed,
# clears away what it has left, and works.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('crash', conf => <<'END');
lfsync.busy_timeout = '60s'
lfsync.batch_bytes = '1MB'
restart_after_crash = on
fsync = off
END
$t->make_source;
$t->sql(<<'END');
SELECT lfsync_export('t', 'old.db');
SELECT lfsync_export('t', 'shared.db');
END
sqlite($t->path('shared.db'), 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2)');

sub crash
{
	my ($whom, $file, @left) = @_;
	my $content = -e $t->path($file) ? content($t->path($file)) : undef;
	my $gate = $t->close_gate;
	my $caller = $t->session;

	$caller->send("SELECT lfsync_export('gated', '$file', 't', options => '{\"batch_rows\": 100}');");
	$t->wait_at_gate;
	my $progress = $t->wait_phase('scanning', sub { $_[0]{batches_done} > 0 || $file eq 'new.db' });
	my $log = -s $t->node->logfile;
	kill 'KILL', $progress->{$whom};
	$caller->wait;
	$gate->quit;
	$t->wait_restart;
	like(substr(slurp_raw($t->node->logfile), $log), qr/reinitializing/, 'the server has crashed and restarted');
	$t->baseline;

	my %workers = $t->workers;
	is(keys %workers, 0, 'no worker is left');
	is($t->sql('SELECT count(*) FROM lfsync_progress'), 0, 'no slot is left');
	is($t->sql("SELECT status FROM lfsync_runs WHERE run_id = $progress->{run_id}"), 'running', 'the row is left running');
	cmp_ok(scalar(grep { /^\.\Q$file\E\.lfsync-/ } $t->files), '==', $left[0], 'temporary files left');
	if (defined $content)
	{
		is(integrity($t->path($file)), 'ok', 'the old file is sound');
		is(sqlite($t->path($file), 'SELECT count(*), sum(id) FROM t'), '1000|500500', 'and has the old rows');
	}

	my ($rc, $out, $err) = $t->try("SELECT rows_read FROM lfsync_export('t', '$file')");
	is("$rc $out", '0 1000', 'the next run works') or diag $err;
	is($t->sql("SELECT status, finished_at IS NOT NULL FROM lfsync_runs WHERE run_id = $progress->{run_id}"),
		'crashed|t', 'and has marked the dead one');
	is(integrity($t->path($file)), 'ok', 'its file is sound');
	is(sqlite($t->path($file), 'SELECT count(*), sum(id) FROM t'), '1000|500500', 'and right');
	is(content($t->path($file), 't'), $content =~ /mine/ ? "table|mine|CREATE TABLE mine (a)\n1|1\n2|2" : '',
		'and has nothing else that it had not before')
	  if defined $content;
	is(join(' ', grep { /^new|lfsync-/ } $t->files), $file eq 'new.db' ? 'new.db' : '', 'no temporary file is left');
	return;
}

foreach my $whom (qw(pid writer_pid))
{
	my $name = $whom eq 'pid' ? 'runner' : 'writer';

	subtest "kill -9 of the $name: new file" => sub { crash($whom, 'new.db', 1) };
	unlink $t->path('new.db');
	subtest "kill -9 of the $name: old file" => sub { crash($whom, 'old.db', 1) };
	subtest "kill -9 of the $name: in place" => sub { crash($whom, 'shared.db', 0) };
}
$t->clean('at the end', qw(old.db shared.db));

done_testing();
