# lfsync_progress while a run is held: what it shows, to whom, and that nothing
# in it goes backwards.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(usleep);

my $t = Lfsync->new('progress', conf => "lfsync.busy_timeout = '60s'\nlfsync.batch_bytes = '1MB'\nfsync = off\n");
$t->sql(<<'END');
CREATE ROLE owner LOGIN;
CREATE ROLE member LOGIN IN ROLE owner;
CREATE ROLE stranger LOGIN;
CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats;
GRANT ALL ON SCHEMA public TO owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO owner, stranger;
END
$t->make_source;
$t->sql('GRANT SELECT ON ALL TABLES IN SCHEMA public TO owner');

sub seen_by
{
	my ($role, $columns) = @_;

	return $t->sql("SET ROLE $role; SELECT $columns FROM lfsync_progress");
}

is( $t->sql(q(SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
			FROM pg_attribute WHERE attrelid = 'lfsync_progress'::regclass)),
	'run_id bigint, job text, datname text, pid integer, writer_pid integer, mode text, phase text, source text, '
	  . 'file text, table_name text, rows_estimated bigint, rows_read bigint, rows_written bigint, rows_pending bigint, '
	  . 'rows_rejected bigint, bytes_written bigint, batches_done bigint, batch_rows bigint, percent integer, '
	  . 'rows_per_second bigint, eta interval, waiting_for text, attempt integer, memory_bytes bigint, '
	  . 'flush_reason text, started_at timestamp with time zone, bar text',
	'columns');
is($t->sql('SELECT count(*) FROM lfsync_progress'), 0, 'empty without runs');

# 1000 rows of 1 kB: the writer has done with some pages when the 500th is read.
my $gate = $t->close_gate;
my $caller = $t->session(role => 'owner');
$caller->send(q(SELECT run_id, rows_read FROM lfsync_export('gated', 'p.db', 'target');));
$t->wait_at_gate;
my $p = $t->wait_phase('scanning', sub { $_[0]{rows_written} > 0 });

subtest 'what a held run shows' => sub {
	my %is = (
		job => undef, datname => 'postgres', mode => 'full', phase => 'scanning', source => 'public.gated',
		file => $t->path('p.db'), table_name => 'target', rows_rejected => 0, attempt => 1, flush_reason => undef,
		waiting_for => "a lock (advisory) held by process $gate->{backend}");

	is($p->{$_}, $is{$_}, $_) foreach sort keys %is;
	is($p->{run_id}, $t->sql(q(SELECT run_id FROM lfsync_runs WHERE status = 'running')), 'run_id');
	my %workers = $t->workers;
	like($workers{ $p->{pid} } // '', qr/lfsync runner/, 'pid');
	like($workers{ $p->{writer_pid} } // '', qr/lfsync writer/, 'writer_pid');
	is($p->{rows_estimated}, 1000, 'rows_estimated');
	cmp_ok($p->{rows_read}, '>', 0, 'rows_read');
	cmp_ok($p->{rows_read}, '<', 500, 'rows_read: the held one is not counted');
	cmp_ok($p->{rows_written}, '<=', $p->{rows_read}, 'rows_written');
	is($p->{rows_pending}, $p->{rows_read} - $p->{rows_written}, 'rows_pending');
	cmp_ok($p->{bytes_written}, '>', 1000 * $p->{rows_written}, 'bytes_written');
	cmp_ok($p->{batches_done}, '>', 0, 'batches_done');
	is($p->{percent}, int($p->{rows_read} / 10), 'percent');
	is($p->{bar}, '[' . '#' x int($p->{percent} / 5) . '.' x (20 - int($p->{percent} / 5)) . sprintf('] %2d %%', $p->{percent}), 'bar');
	cmp_ok($p->{rows_per_second}, '>', 0, 'rows_per_second');
	like($p->{eta}, qr/^\d\d:\d\d:\d\d/, 'eta');
	cmp_ok($p->{memory_bytes}, '>=', 512 * 1024, 'memory_bytes');
	is($t->sql('SELECT started_at BETWEEN now() - interval \'1 min\' AND now() FROM lfsync_progress'), 't', 'started_at');
};

# All but datname and pid.
my $values = join ', ',
  grep { !/^(?:datname|pid)$/ } sort keys %$p;
is(seen_by('stranger', 'count(*), count(datname), count(pid)'), '1|1|1', 'everybody sees that there is a run');
is(seen_by('stranger', "num_nonnulls($values)"), 0, 'and nothing else');
foreach my $role (qw(owner member watcher))
{
	is(seen_by($role, 'phase, source, table_name, percent, file'), "scanning|public.gated|target|$p->{percent}|$p->{file}", "$role sees it");
}
is(seen_by('watcher', 'waiting_for'), $p->{waiting_for}, 'and what it waits for');
my ($rc, undef, $err) = $t->try("SELECT lfsync_cancel($p->{run_id})", role => 'stranger');
like($err, qr/ERROR:  42501: permission denied to cancel run/, 'a stranger may not cancel it');
is($t->sql('SELECT lfsync_cancel(0)'), 'f', 'there is no run 0');
$gate->open_gate;
$caller->wait;
is($caller->output, "$p->{run_id}|1000", 'the run succeeds under that id');
is($t->sql('SELECT count(*) FROM lfsync_progress'), 0, 'and is gone');

# Locks: on the source, and on the file, each only as long as it is waited for.
subtest 'waiting_for' => sub {
	my $locker = $t->session;
	$locker->query('BEGIN; LOCK TABLE t;');
	$gate->query('SELECT pg_advisory_lock(1);');
	$caller->send(q(SELECT rows_read FROM lfsync_export('gated', 'p.db', 'target');));
	is($t->wait_phase('locking', sub { $_[0]{waiting_for} })->{waiting_for},
		"a lock (relation) held by process $locker->{backend}", 'a lock on the source');
	$locker->query('ROLLBACK;');
	$t->wait_at_gate;
	is($t->progress->{waiting_for}, "a lock (advisory) held by process $gate->{backend}", 'then one in the query');
	$gate->open_gate;
	$caller->wait;
	is($caller->output, 1000, 'succeeds');

	foreach my $lock ('BEGIN EXCLUSIVE', 'BEGIN IMMEDIATE')
	{
		sqlite($t->path('shared.db'), 'CREATE TABLE IF NOT EXISTS mine (a)');
		my $holder = sqlite_session($t->path('shared.db'));
		$holder->query("$lock;");
		$gate->query('SELECT pg_advisory_lock(1);');
		$caller->send(q(SELECT rows_read FROM lfsync_export('gated', 'shared.db', 'target');));
		$t->wait_sql(q(SELECT count(*) > 0 FROM lfsync_progress WHERE waiting_for = 'a lock on the file'));
		$holder->query('ROLLBACK;');
		$t->wait_at_gate;
		like($t->progress->{waiting_for}, qr/advisory/, "$lock: the file was waited for, and is no more");
		$gate->open_gate;
		$caller->wait;
		is($caller->output, 1000, 'succeeds');
		$holder->quit;
	}

	# a file that is replaced is only looked at before
	my $holder = sqlite_session($t->path('p.db'));
	$holder->query('BEGIN EXCLUSIVE;');
	$gate->query('SELECT pg_advisory_lock(1);');
	$caller->send(q(SELECT rows_read FROM lfsync_export('gated', 'p.db', 'target');));
	$t->wait_sql(q(SELECT count(*) > 0 FROM lfsync_progress WHERE waiting_for = 'a lock on the file'));
	$holder->query('ROLLBACK;');
	$t->wait_at_gate;
	like($t->progress->{waiting_for}, qr/advisory/, 'looking at the file was waited for, and is no more');
	$gate->open_gate;
	$caller->wait;
	$holder->quit;
};

# Values of a whole run, as often as they can be asked for.
subtest 'nothing goes backwards' => sub {
	my $watcher = $t->session;
	my (%last, %phases, @wrong);
	my $n = 0;

	$t->sql('CREATE TABLE much (id int PRIMARY KEY, a text); INSERT INTO much SELECT i, md5(i::text) FROM generate_series(1, 300000) i; CREATE INDEX ON much (a); ANALYZE much; GRANT SELECT ON much TO owner');
	foreach my $file (qw(p2.db shared.db))
	{
		%last = ();
		$caller->send("SELECT rows_read FROM lfsync_export('much', '$file');");
		until ($caller->done)
		{
			my $row = $watcher->query(q(SELECT phase, rows_read, rows_written, bytes_written, batches_done, percent, rows_pending, bar FROM lfsync_progress;)) or next;
			my %now;

			@now{qw(phase rows_read rows_written bytes_written batches_done percent rows_pending bar)} = split /\|/, $row;
			$n++;
			$phases{ $now{phase} }++;
			foreach (qw(rows_read rows_written bytes_written batches_done percent))
			{
				push @wrong, "$file: $_ $now{$_} after $last{$_}" if $now{$_} < ($last{$_} // 0);
			}
			push @wrong, "$file: percent $now{percent}" if $now{percent} < 0 || $now{percent} > 99;
			push @wrong, "$file: rows_pending $now{rows_pending}" if $now{rows_pending} < 0;
			push @wrong, "$file: bar $now{bar}" if $now{bar} !~ /^\[(#*\.*)\] (?: \d|\d\d) %$/ || length $1 != 20;
			%last = %now;
			usleep 500;
		}
		is($caller->output, 300000, "$file: succeeds");
	}
	is_deeply(\@wrong, [], 'all values are sane');
	note "$n times: ", join ', ', map { "$_ $phases{$_}" } sort keys %phases;
	ok($phases{scanning} && $phases{'creating indexes'}, 'the long phases were seen');
};

# An estimate that is far too low.
subtest 'a wrong estimate' => sub {
	$gate->query('SELECT pg_advisory_lock(1);');
	$caller->send(q(SELECT rows_read FROM lfsync_export_query(
		'SELECT i, CASE WHEN i = 4000 THEN gate() END AS held, repeat(''x'', 1000) AS v FROM unnest(ARRAY(SELECT generate_series(1, 5000))) i',
		'q.db', 'q');));
	$t->wait_at_gate;
	my $q = $t->wait_phase('scanning', sub { $_[0]{rows_written} > 0 });
	is($q->{source}, 'query', 'its source');
	cmp_ok($q->{rows_read}, '>', $q->{rows_estimated}, 'more rows than estimated');
	is($q->{percent}, 99, 'percent stays below 100');
	is($q->{bar}, '[###################.] 99 %', 'bar');
	$gate->open_gate;
	$caller->wait;
	is($caller->output, 5000, 'succeeds');
};
$t->clean('at the end', qw(p.db p2.db q.db shared.db));

done_testing();
