# Runs that are stopped at a random moment in a random way, one after the other,
# on a server that has room for only one: the file is of one run, the history
# says what became of it, and nothing is left behind.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(time usleep);

my $t = Lfsync->new('random', conf => "lfsync.max_runs = 1\nlfsync.log_runs = none\nfsync = off\n");
my $seed = time ^ $$;
srand $seed;
note "seed $seed";

$t->sql(<<'END');
CREATE TABLE generation (gen int);
INSERT INTO generation VALUES (0);
CREATE VIEW g AS
	SELECT i::int AS id, gen, repeat(md5(i::text || gen), 10) AS noise
	FROM generation, generate_series(1, 1000) AS i;
SELECT lfsync_export('g', 'build.db', key_columns => '{id}');
SELECT lfsync_export('g', 'open.db', key_columns => '{id}');
SELECT lfsync_export('g', 'shared.db', key_columns => '{id}');
END
sqlite($t->path('shared.db'), 'CREATE TABLE mine (a); INSERT INTO mine VALUES (1), (2), (3)');
my $reader = sqlite_session($t->path('open.db'));
$reader->query('SELECT count(*) FROM g;');
my $mine = content($t->path('shared.db'), 'g');
my %generation = map { $_ => 0 } qw(build.db open.db shared.db);

my %ways = (
	'cancel the caller' => sub { kill 'INT', $_[0]{backend} },
	'terminate the caller' => sub { kill 'TERM', $_[0]{backend} },
	'kill the client' => sub { $_[0]->signal('KILL') },
	'cancel the runner' => sub { kill 'INT', worker('runner') },
	'terminate the runner' => sub { kill 'TERM', worker('runner') },
	'terminate the writer' => sub { kill 'TERM', worker('writer') },
	'nothing' => sub { });

sub worker
{
	my ($which) = @_;
	my %workers = $t->workers;

	return grep { $workers{$_} =~ /$which/ } keys %workers;
}

my (@wrong, %outcomes);
my $admin = $t->session;
my $caller;
foreach my $n (1 .. 200)
{
	my $file = (qw(build.db open.db shared.db))[ $n % 3 ];
	my $way = (sort keys %ways)[ rand keys %ways ];
	my $where = "$n: $way, $file";
	my $last = $admin->query('UPDATE generation SET gen = gen + 1; SELECT coalesce(max(run_id), 0) FROM lfsync_runs;');

	$caller //= $t->session;
	$caller->send("SELECT rows_read FROM lfsync_export('g', '$file', key_columns => '{id}', options => '{\"batch_rows\": 100}');");
	# more often soon than late
	usleep rand rand 40_000;
	$ways{$way}->($caller);
	$caller->wait;
	my $error = $caller->error;
	if ($way =~ /client|terminate the caller/)
	{
		# its backend may not even have read the query yet
		poll("$where: the end of the backend", sub { return !alive($caller->{backend}) });
		$caller = undef;
	}
	poll("$where: the end of the run", sub { my %workers = $t->workers; return !%workers });
	poll("$where: the slot", sub { return $admin->query('SELECT count(*) FROM lfsync_progress;') eq '0' });

	my $state = sqlite($t->path($file), 'PRAGMA integrity_check; SELECT count(*), min(gen) = max(gen), min(gen) FROM g');
	my ($found) = $state =~ /\Aok\n1000\|1\|(\d+)\z/;
	my $status = $admin->query("SELECT string_agg(status || ' ' || coalesce(sqlstate, ''), ', ') FROM lfsync_runs WHERE run_id > $last;");
	if (!defined $found || ($found != $n && $found != $generation{$file}))
	{
		push @wrong, "$where: the file is $state, not of $generation{$file} or $n";
	}
	elsif ($found == $n ? $status ne 'succeeded ' : $status !~ /^(?:|cancelled 57014|failed 58000)$/)
	{
		push @wrong, "$where: the file is of $found, and the history says: $status";
	}
	push @wrong, "$where: $error" if $way eq 'nothing' && $error;
	push @wrong, "$where: " . join ' ', $t->files if "@{[ $t->files ]}" ne 'build.db open.db shared.db';
	push @wrong, "$where: something else in the file" if $file eq 'shared.db' && content($t->path($file), 'g') ne $mine;
	$generation{$file} = $found;
	$outcomes{$status}++;
	last if @wrong > 5;
}
is_deeply(\@wrong, [], 'all is well after each');
note join '; ', map { "'$_': $outcomes{$_}" } sort keys %outcomes;
cmp_ok($outcomes{'succeeded '}, '>', 10, 'some succeeded');
cmp_ok($outcomes{'cancelled 57014'}, '>', 10, 'some were cancelled');
$reader->quit;
$t->clean('at the end', qw(build.db open.db shared.db));

done_testing();
