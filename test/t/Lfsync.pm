# What the tests of faults share: a server with lfsync and a directory to
# export to, sessions that can be left waiting, a source that holds a run at a
# known row, and the question whether a run has left anything behind.

package Lfsync;

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Exporter qw(import);
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw($soon poll position set_position sqlite sqlite_session integrity children alive content same_text slurp_raw);

# How long what should take a second may take on a busy machine.
our $soon = 3;

my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# One failure is all that a broken build has to show.
if ($ENV{LFSYNC_FAIL_FAST})
{
	my $ok = \&Test::Builder::ok;

	no warnings qw(redefine);
	*Test::Builder::ok = sub {
		my ($self, @args) = @_;

		local $Test::Builder::Level = $Test::Builder::Level + 1;
		return $self->$ok(@args) || $self->BAIL_OUT('one failure is enough');
	};
}

# A new server, running.  conf: more lines for its configuration; initdb: more
# arguments; env: variables of the postmaster; mode: of the directory.
sub new
{
	my ($class, $name, %arg) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $dir = abs_path(PostgreSQL::Test::Utils::tempdir_short()) . '/files';

	mkdir $dir, 0755 or die "$dir: $!";
	$node->init(
		extra => [ '--encoding=UTF8', '--locale=C', @{ $arg{initdb} // [] } ],
		allows_streaming => $arg{allows_streaming});
	# segments as files in the data directory can be told from another test's
	$node->append_conf('postgresql.conf', <<"END" . ($arg{conf} // ''));
shared_preload_libraries = 'lfsync'
lfsync.export_directory = '$dir'
dynamic_shared_memory_type = mmap
autovacuum = off
END
	{
		local @ENV{ keys %{ $arg{env} // {} } } = values %{ $arg{env} // {} };
		$node->start;
	}
	my $self = bless { node => $node, dir => $dir }, $class;
	$self->sql('CREATE EXTENSION lfsync');
	$self->baseline;
	return $self;
}

# Another server, such as a standby, with the same questions to ask.
sub adopt
{
	my ($class, $node, $dir) = @_;

	return bless { node => $node, dir => $dir }, $class;
}

sub node { return $_[0]{node}; }
sub dir { return $_[0]{dir}; }
sub path { return "$_[0]{dir}/$_[1]"; }

sub sql
{
	my ($self, $sql, %arg) = @_;

	return $self->node->safe_psql($arg{db} // 'postgres', $sql);
}

# Runs SQL that may fail: exit code, output, messages with SQLSTATE.
sub try
{
	my ($self, $sql, %arg) = @_;
	my ($out, $err);
	my $rc = $self->node->psql(
		$arg{db} // 'postgres', "\\set VERBOSITY verbose\n$sql",
		stdout => \$out,
		stderr => \$err,
		on_error_stop => 1,
		timeout => $timeout,
		extra_params => $arg{role} ? [ '-U', $arg{role} ] : []);

	return ($rc, $out, $err);
}

# Calls the test fails unless SQL fails with this SQLSTATE and message.
sub fails
{
	my ($self, $sql, $sqlstate, $like, $name) = @_;
	my ($rc, $out, $err) = $self->try($sql);

	return subtest $name => sub {
		isnt($rc, 0, 'fails');
		like($err, qr/(?:ERROR|FATAL):  $sqlstate:/, "SQLSTATE $sqlstate");
		like($err, $like, 'message');
	};
}

# A psql of its own, which can be left waiting; see Lfsync::Session.
sub session
{
	my ($self, %arg) = @_;
	my $session = Lfsync::Session->new(
		[ $self->node->installed_command('psql'), '-XAtq', '-v', 'VERBOSITY=verbose',
			'-d', $self->node->connstr($arg{db} // 'postgres'),
			$arg{role} ? ('-U', $arg{role}) : () ],
		'\\echo %s');

	$session->{backend} = $session->query('SELECT pg_backend_pid();');
	return $session;
}

# A table of 1000 rows of about 1 kB, and views over it that hold a run at a
# row: "gated" at the 500th, "gated_first" and "gated_last".
sub make_source
{
	my ($self, %arg) = @_;

	$self->sql(<<'END', %arg);
CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL);
INSERT INTO t SELECT i, 'row ' || i || ' ' || repeat('x', 1000) FROM generate_series(1, 1000) i;
CREATE FUNCTION gate() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_catalog.pg_advisory_xact_lock_shared(1);
	RETURN 1;
END $$;
CREATE VIEW gated AS SELECT id, v, CASE WHEN id = 500 THEN gate() END AS held FROM t;
CREATE VIEW gated_first AS SELECT id, v, CASE WHEN id = 1 THEN gate() END AS held FROM t;
CREATE VIEW gated_last AS SELECT id, v, CASE WHEN id = 1000 THEN gate() END AS held FROM t;
ANALYZE t;
END
	return;
}

# Closes the gate; the session returned opens it with open_gate() or its end.
sub close_gate
{
	my ($self, %arg) = @_;
	my $session = $self->session(%arg);

	$session->query('SELECT pg_advisory_lock(1);');
	return $session;
}

# Waits until some run stands at the gate.
sub wait_at_gate
{
	my ($self) = @_;

	return $self->wait_sql("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
}

# Waits until SQL gives "t".
sub wait_sql
{
	my ($self, $sql) = @_;

	return poll($sql, sub { return $self->sql($sql) eq 't' });
}

# Waits until the server takes connections again after a crash.  pid: who was
# killed; until the postmaster has reaped it, there is no crash, and connections
# are taken still.  A psql that is refused may be gone before it has read its
# input, and IPC::Run dies of that.
sub wait_restart
{
	my ($self, $pid) = @_;

	poll('the crash', sub { return !-d "/proc/$pid" }) if $pid;
	return poll('the restart', sub { return eval { $self->node->psql('postgres', 'SELECT 1') == 0 } });
}

# Waits until the only run is in a phase, and returns its row of
# lfsync_progress as a hash.
sub wait_phase
{
	my ($self, $phase, $where) = @_;
	my $progress;

	poll("phase $phase",
		sub {
			$progress = $self->progress;
			return $progress && ($progress->{phase} // '') eq $phase
			  && (!$where || $where->($progress));
		});
	return $progress;
}

# Stops the clock that schedules go by, or with undef lets it go again.
sub set_clock
{
	my ($self, $time) = @_;

	$self->sql(q(CREATE FUNCTION set_clock(timestamptz) RETURNS void AS 'lfsync', 'lfsync_set_clock' LANGUAGE C))
	  if !$self->{has_clock}++;
	$self->sql($time ? "SELECT set_clock('$time')" : 'SELECT set_clock(NULL)');
	return;
}

# The process that starts what is due; undef while there is none.
sub scheduler
{
	my ($self, $db) = @_;

	$db //= 'postgres';
	return $self->sql("SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'lfsync scheduler' AND datname = '$db'")
	  || undef;
}

# Columns of a job's row in lfsync_status, divided by "|".
sub status
{
	my ($self, $job, $columns) = @_;

	return $self->sql("SELECT concat_ws('|', $columns) FROM lfsync_status WHERE job = '$job'");
}

# Waits until a job has run so often, and the scheduler has looked at the end.
sub wait_runs
{
	my ($self, $job, $n) = @_;

	return $self->wait_sql("SELECT runs_total >= $n AND last_status <> 'running' FROM lfsync_status WHERE job = '$job'");
}

# The only live run, as a hash; undef if there is none.  NULL is undef.
sub progress
{
	my ($self) = @_;
	my $fields = $self->sql(
		q(SELECT string_agg(key || chr(31) || coalesce(value, chr(30)), chr(29))
		  FROM (SELECT * FROM lfsync_progress LIMIT 1) p, jsonb_each_text(to_jsonb(p))));

	return undef if $fields eq '';
	return { map { my ($k, $v) = split /\x1f/, $_, 2; $k => $v eq "\x1e" ? undef : $v }
		  split /\x1d/, $fields };
}

# Columns of the newest row of lfsync_runs, divided by "|".
sub history
{
	my ($self, $columns) = @_;

	return $self->sql("SELECT concat_ws('|', $columns) FROM lfsync_runs ORDER BY run_id DESC LIMIT 1");
}

# Runs an export of a mode that goes on: rows read, inserted, updated and
# deleted.  args: more arguments of lfsync_export().
sub sync
{
	my ($self, $table, $file, $args) = @_;

	$args //= q(mode => 'incremental');
	return $self->sql("SELECT concat_ws(' ', rows_read, rows_inserted, rows_updated, rows_deleted) FROM lfsync_export('$table', '$file', $args)");
}

# What the last run has noted, beside structure.
sub notes
{
	my ($self) = @_;

	return $self->sql(q(SELECT string_agg(n, '; ') FROM jsonb_array_elements_text(
		(SELECT notes -> 'run' FROM lfsync_runs ORDER BY run_id DESC LIMIT 1)) n));
}

# A test: a table of the file has the rows that SQL gives, as text, in order.
# The sqlite3 shell reads it, so values must look the same in both.
sub same_rows
{
	my ($self, $file, $table, $name, %arg) = @_;
	my $columns = $arg{columns} // '*';
	my $order = $arg{order} // 'ORDER BY 1';

	return same_text(
		sqlite($self->path($file), "SELECT $columns FROM $table $order"),
		$self->sql("SELECT $columns FROM $table " . ($arg{where} ? "WHERE $arg{where} " : '') . $order),
		$name);
}

# Descendants of the postmaster that are lfsync's: a hash of pid and title.
sub workers
{
	my ($self) = @_;
	my %children = children($self->{node}{_pid});

	return map { $_ => $children{$_} } grep { $children{$_} =~ /lfsync (?:runner|writer)/ } keys %children;
}

# Shared memory segments.  Those of 1 MB, 2 MB and so on hold the server's own
# statistics, and come when these grow.
sub segments
{
	my ($self) = @_;

	return map { s{.*/}{}r }
	  grep { my $size = -s $_ // 0; $size < 1048576 || ($size & ($size - 1)) != 0 }
	  glob $self->node->data_dir . '/pg_dynshmem/mmap.*';
}

sub files
{
	my ($self) = @_;

	opendir my $dh, $self->dir or die $self->dir . ": $!";
	return sort grep { !/^\.\.?$/ } readdir $dh;
}

# What is there between runs, to be compared with later.
sub baseline
{
	my ($self) = @_;

	$self->{segments} = { map { $_ => 1 } $self->segments };
	$self->{checkpointer} = $self->sql(
		q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'));
	return;
}

# A test: within a short time nothing is left of any run but the files named.
# The checkpointer is another one after a crash of the server.
sub clean
{
	my ($self, $name, @files) = @_;
	my @left;
	my $since = time;

	@files = sort @files;
	do
	{
		my %workers = $self->workers;

		usleep 10_000 if @left;
		@left = map { "process $_: $workers{$_}" } keys %workers;
		push @left, map { "segment $_" } grep { !$self->{segments}{$_} } $self->segments;
		push @left, "files: @{[ $self->files ]}, not: @files" if "@{[ $self->files ]}" ne "@files";
		push @left, 'a slot' if !@left && $self->sql('SELECT count(*) FROM lfsync_progress') ne '0';
		push @left, 'another checkpointer'
		  if !@left
		  && $self->{checkpointer} ne
		  $self->sql(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'));
		push @left, 'rows left running'
		  if !@left && $self->sql(q(SELECT count(*) FROM lfsync_runs WHERE status = 'running')) ne '0';
	} while (@left && time - $since < $soon);
	return is_deeply(\@left, [], "$name: nothing is left behind");
}

# A test: an export of t works, and its file is right.
sub works
{
	my ($self, $name, $file, $source) = @_;

	$file //= 'next.db';
	$source //= 't';
	return subtest "$name: the next run works" => sub {
		my ($rc, $out, $err) = $self->try("SELECT rows_read FROM lfsync_export('$source', '$file', 't')");

		is("$rc $out", '0 1000', 'rows read') or diag $err;
		is(sqlite($self->path($file), 'SELECT count(*), sum(id) FROM t'), '1000|500500', 'rows in the file');
		is(integrity($self->path($file)), 'ok', 'integrity');
	};
}

#
# Functions
#

# Calls a function until it returns true, and returns that and the seconds
# it took; dies after a long time.
sub poll
{
	my ($what, $code, $limit) = @_;
	my $since = time;
	my $result;

	until ($result = $code->())
	{
		die "timed out waiting for: $what" if time - $since > ($limit // $timeout);
		usleep 5_000;
	}
	return wantarray ? ($result, time - $since) : $result;
}

# What the sqlite3 shell says.
sub sqlite
{
	my ($file, $sql) = @_;
	my ($out, $err) = ('', '');

	$sql = ".timeout 10000\n$sql";
	IPC::Run::run([ 'sqlite3', '-batch', $file ], '<', \$sql, '>', \$out, '2>', \$err);
	chomp $out;
	return $err eq '' ? $out : "$out$err";
}

# A sqlite3 shell that can keep a transaction open.
sub sqlite_session
{
	my ($file) = @_;

	return Lfsync::Session->new([ 'sqlite3', '-batch', $file ], '.print %s');
}

sub integrity
{
	my ($file) = @_;

	return sqlite($file, 'PRAGMA integrity_check; PRAGMA foreign_key_check;');
}

# All that a file holds beside tables whose names match these patterns, and
# lfsync's own; hidden tables that a run has left are shown.
sub content
{
	my ($file, @without) = @_;
	my $others = join ' AND ', map { "tbl_name NOT GLOB '$_'" } @without, '_lfsync_state', '_lfsync_columns', '_lfsync_ranges', '_lfsync_rejects';
	my $tables = sqlite($file, "SELECT name FROM sqlite_schema WHERE type = 'table' AND $others ORDER BY 1");

	return sqlite($file, "SELECT type, name, sql FROM sqlite_schema WHERE $others ORDER BY 1, 2;\n"
		  . join("\n", map { qq(SELECT quote(rowid), * FROM "$_" ORDER BY rowid;) } split /\n/, $tables));
}

# A test: two long texts are the same; shows where they begin to differ.
sub same_text
{
	my ($got, $expected, $name) = @_;
	my @got = split /\n/, $got;
	my @expected = split /\n/, $expected;
	my $n = 0;

	return pass($name) if $got eq $expected;
	$n++ while $n < @got && $n < @expected && $got[$n] eq $expected[$n];
	fail($name);
	diag(sprintf "line %d of %d: %.300s\n  expected of %d: %.300s",
		$n + 1, scalar @got, $got[$n] // '(end)', scalar @expected, $expected[$n] // '(end)');
	return 0;
}

# The position of a file's only table, and another one for it.
sub position
{
	my ($file) = @_;

	return sqlite($file, 'SELECT position FROM _lfsync_state');
}

sub set_position
{
	my ($file, $expression) = @_;

	return sqlite($file, "UPDATE _lfsync_state SET position = $expression");
}

sub slurp_raw
{
	my ($file) = @_;

	open my $fh, '<:raw', $file or die "$file: $!";
	local $/;
	return <$fh> // '';
}

# Children of a process: a hash of pid and title.
sub children
{
	my ($parent) = @_;
	my @candidates;
	my %children;

	# the kernel's own list, where it has one
	if (open my $fh, '<', "/proc/$parent/task/$parent/children")
	{
		@candidates = map { "/proc/$_/stat" } split ' ', <$fh> // '';
	}
	else
	{
		@candidates = glob '/proc/[0-9]*/stat';
	}
	foreach my $stat (@candidates)
	{
		open my $fh, '<', $stat or next;
		my $line = <$fh> // next;
		my ($pid, $state, $ppid) = $line =~ /^(\d+) \(.*\) (\S) (\d+)/s or next;
		next if $ppid != $parent || $state eq 'Z';
		open $fh, '<', "/proc/$pid/cmdline" or next;
		$children{$pid} = (<$fh> // '') =~ s/\0.*//sr;
	}
	return %children;
}

# Whether a process is there and more than a zombie.
sub alive
{
	my ($pid) = @_;

	open my $fh, '<', "/proc/$pid/stat" or return 0;
	return (<$fh> // '') =~ /^\d+ \(.*\) [^ZX]/s;
}

# A program that reads commands from a pipe and can be left waiting.
package Lfsync::Session;

use IPC::Run;
use Time::HiRes qw(time usleep);

sub new
{
	my ($class, $command, $echo) = @_;
	my $self = bless { in => '', out => '', err => '', echo => $echo, asked => 0 }, $class;

	$self->{run} = IPC::Run::start($command, '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err});
	return $self;
}

# Sends commands and does not wait.
sub send
{
	my ($self, $text) = @_;

	$self->{asked}++;
	$self->{out} = $self->{err} = '';
	$self->{sent} = time;
	$self->{in} .= "$text\n" . sprintf($self->{echo}, "-- done $self->{asked}") . "\n";
	$self->{run}->pump_nb;
	return;
}

# Whether what was sent has ended, or the program has.
sub done
{
	my ($self) = @_;

	return 1 if $self->{gone} || $self->{out} =~ /^-- done $self->{asked}$/m;
	# an error here says that the program is gone
	eval { $self->{run}->pump_nb; 1 } or return 1;
	return 1 if $self->{out} =~ /^-- done $self->{asked}$/m;
	return !$self->{run}->pumpable;
}

# Waits for the end of what was sent; the seconds since a moment.
sub wait
{
	my ($self, $since) = @_;

	Lfsync::poll("the end of a command (out: $self->{out}, err: $self->{err})", sub { return $self->done });
	return time - ($since // $self->{sent});
}

sub output
{
	my ($self) = @_;

	return $self->{out} =~ s/^-- done \d+\n//mr =~ s/\n\z//r;
}

sub error { return $_[0]{err}; }

# Sends, waits, and returns the output; dies of errors.
sub query
{
	my ($self, $text) = @_;

	$self->send($text);
	$self->wait;
	die "\"$text\" failed: $self->{err}" if $self->{err} ne '';
	return $self->output;
}

sub signal
{
	my ($self, $signal) = @_;

	kill $signal, map { $_->{PID} } @{ $self->{run}{KIDS} };
	return;
}

sub open_gate
{
	my ($self) = @_;

	$self->query('SELECT pg_advisory_unlock_all();');
	return;
}

sub quit
{
	my ($self) = @_;

	eval { $self->{run}->finish; 1 };
	$self->{gone} = 1;
	return;
}

sub kill9
{
	my ($self) = @_;

	$self->signal('KILL');
	$self->quit;
	return;
}

sub DESTROY
{
	my ($self) = @_;

	local ($@, $?);
	eval { $self->{run}->kill_kill(grace => 1) } if $self->{run} && !$self->{gone};
	return;
}

1;
