# What cannot be read of a file that is being completed is an error of the run,
# and no end of the server: the file is read through a mapping.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = Lfsync->new('mapped', conf => "fsync = off\n");

$t->sql(q(CREATE TABLE big AS SELECT i AS id, repeat(md5(i::text), 10) AS v FROM generate_series(1, 200000) i; CREATE INDEX ON big (v)));

# An export that is held while the file is checked, cut short, and let go on:
# its error, or '' if it was faster than the holding.
sub cut_short
{
	my ($check) = @_;
	my $session = $t->session;

	$session->send(qq(SELECT lfsync_export('big', 'cut.db', options => '{"check": "$check", "batch_rows": 1000}');));
	my $progress;
	poll('the end of the rows',
		sub {
			$progress = $t->progress;
			return $session->done || ($progress && $progress->{writer_pid} && ($progress->{phase} // '') =~ /^(creating indexes|checking)$/);
		});
	if (!$session->done)
	{
		kill 'STOP', $progress->{writer_pid};
		truncate $_, 1_000_000 foreach glob $t->dir . '/.cut.db.lfsync-*';
		kill 'CONT', $progress->{writer_pid};
	}
	$session->wait;
	my $error = $session->error;
	$session->quit;
	return $error;
}

my $postmaster = $t->sql('SELECT pg_postmaster_start_time()');
my $error = '';
poll('a run that is cut short', sub { unlink $t->path('cut.db'); return ($error = cut_short('full')) ne '' });
like($error, qr/ERROR:  58030: SQLite failed while .*disk I\/O error/s, 'an I/O error');
is_deeply([ grep { /cut/ } $t->files ], [], 'nothing is left of the file');
unlike(slurp_file($t->node->logfile), qr/terminated by signal|reinitializing/, 'the server has not crashed');
is($t->sql(q(SELECT status || ' ' || sqlstate FROM lfsync_runs ORDER BY run_id DESC LIMIT 1)), 'failed 58030', 'the history has it');
is($t->sync('big', 'cut.db', q(options => '{"check": "full"}')), '200000 200000 0 0', 'the next run works');
is(integrity($t->path('cut.db')), 'ok', 'and its file is sound');

done_testing();
