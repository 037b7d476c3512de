# Where a file may go: by role, by name, by what is there, and by who else
# could change what is there.  Every refusal leaves every file as it was.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use Digest::MD5;
use File::Find;
use IO::Socket::UNIX;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

umask 0022;

# All that the tests write to lies below here; the ancestors are safe.
my $area = abs_path(PostgreSQL::Test::Utils::tempdir_short());
my $base = "$area/base";
my $other = "$area/other";
mkdir $_, 0755 or die "$_: $!" foreach ($base, $other, "$area/victim", "$area/log", "$area/tablespace");
chmod 02750, $base;
append_to_file("$area/victim/victim", "VICTIM\n");

my $node = PostgreSQL::Test::Cluster->new('paths');
$node->init(extra => [ '--waldir', "$area/wal" ]);
$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'lfsync'
lfsync.export_directory = '$base'
log_directory = '$area/log'
END
$node->start;

$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION lfsync;
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 100) i;
CREATE ROLE alice LOGIN;
CREATE ROLE "Bob B" LOGIN;
CREATE ROLE stranger LOGIN;
GRANT pg_write_server_files TO "Bob B";
GRANT SELECT ON t TO alice, "Bob B", stranger;
DO \$\$
DECLARE
	f regprocedure;
BEGIN
	FOR f IN SELECT oid FROM pg_proc WHERE proname = 'lfsync_export' LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO alice, "Bob B"', f);
	END LOOP;
END
\$\$;
CREATE TABLESPACE elsewhere LOCATION '$area/tablespace';
SQL

my $super = $node->safe_psql('postgres', 'SELECT current_user');
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $os_user = getpwuid($>);
my $os_group = getgrgid((split ' ', $))[0]);

# What is below a directory: names, kinds, modes, links, contents.
sub tree
{
	my ($dir) = @_;
	my @tree;

	find(
		{
			no_chdir => 1,
			wanted => sub {
				my @st = lstat $_ or return;
				# the server writes there, and only there
				return $File::Find::prune = 1 if $_ eq "$area/wal" || $_ eq "$area/tablespace";
				my $entry = sprintf '%s %o %d', $_, $st[2], $st[3];
				$entry .= ' ' . readlink $_ if -l _;
				$entry .= ' ' . Digest::MD5->new->addfile(do { open my $fh, '<', $_ or die "$_: $!"; $fh })->hexdigest
				  if -f _;
				push @tree, $entry;
			}
		},
		$dir);
	return [ sort @tree ];
}

# Runs an export; returns psql's exit code and what it said.
sub export
{
	my ($role, $file, $more) = @_;
	my ($rc, $stdout, $stderr);

	$file =~ s/'/''/g;
	$rc = $node->psql(
		'postgres',
		"SET standard_conforming_strings = on;\n\\set VERBOSITY verbose\n"
		  . "SELECT rows_read FROM lfsync_export('t', '$file'" . ($more // '') . ");",
		stdout => \$stdout,
		stderr => \$stderr,
		timeout => $PostgreSQL::Test::Utils::timeout_default,
		extra_params => [ '-U', $role ]);
	return ($rc, $stdout, $stderr);
}

sub sqlite
{
	my ($file, $sql) = @_;
	my ($stdout, $stderr) = ('', '');

	IPC::Run::run([ 'sqlite3', '-batch', $file ], '<', \$sql, '>', \$stdout, '2>', \$stderr);
	chomp $stdout;
	return $stderr eq '' ? $stdout : "$stdout$stderr";
}

# An export that works.
sub works
{
	my ($role, $file, $path, $test, $more) = @_;

	subtest $test => sub {
		my ($rc, $stdout, $stderr) = export($role, $file, $more);
		is($rc, 0, 'no error') or diag $stderr;
		is($stdout, 100, 'all rows were read');
		ok(-f $path && !-l $path, 'the file is there');
		is(sqlite($path, 'PRAGMA integrity_check; SELECT count(*) FROM t'), "ok\n100", 'and holds them');
		is_deeply([ grep { /\.lfsync-|-journal|-wal|-shm/ } map { $_ =~ s/ .*//r } @{ tree($path =~ s{/[^/]*$}{}r) } ],
			[], 'and nothing else was left');
	};
	return;
}

# An export that is refused; returns the hint.
sub refused
{
	my ($role, $file, $sqlstate, $message, $test) = @_;
	my $before = tree($area);
	my $stderr;

	subtest $test => sub {
		(my $rc, my $stdout, $stderr) = export($role, $file);
		is($rc, 3, 'an error');
		like($stderr, qr/ERROR:  $sqlstate: [^\n]*$message/, 'SQLSTATE and message');
		like($stderr, qr/^DETAIL:  \S.*\.$/m, 'a detail');
		like($stderr, qr/^HINT:  \S/m, 'a hint');
		is_deeply(tree($area), $before, 'every file is as it was');
	};
	return $stderr =~ /^HINT:  (.*?)^(?:LOCATION|CONTEXT|STATEMENT):/ms ? $1 : '';
}

# The indented lines of a hint are what to paste.
sub commands
{
	my ($hint) = @_;

	return [ $hint =~ /^    (\S.*)$/mg ];
}

# A directory is refused, and the command in the hint leads to one that works.
sub refused_directory
{
	my ($dir, $sqlstate, $message, $good, $test) = @_;
	my $hint = refused($super, "$dir/x.db", $sqlstate, $message, $test);
	my ($command) = @{ commands($hint) };

	ok($command, "$test: the hint has a command") or return;
	if ($good)
	{
		is(system($command), 0, "$test: the command works") or diag $command;
		works($super, "$good/x.db", "$good/x.db", "$test: then the export works");
	}
	else
	{
		is($command, "install -d -o $os_user -g $os_group -m 2750 /var/lib/lfsync",
			"$test: the command leads elsewhere");
	}
	return;
}

###
### By role
###

works('alice', 'relative.db', "$base/relative.db", 'an ordinary role below the export directory');
works('alice', 'relative.db', "$base/relative.db", 'and again, over its own file');
works('Bob B', "$other/bob.db", "$other/bob.db", 'an absolute name by a member of pg_write_server_files');
works('Bob B', 'bob.db', "$base/bob.db", 'a relative name by a member of pg_write_server_files');
works($super, "$other/super.db", "$other/super.db", 'an absolute name by a superuser');
works($super, 'super.db', "$base/super.db", 'a relative name by a superuser');

mkdir "$base/sub", 0755;
works('alice', 'sub/x.db', "$base/sub/x.db", 'a directory below the export directory');
works('alice', q{it's "x" $(id) ü.db}, "$base/" . q{it's "x" $(id) ü.db}, 'a name that a shell would misread');

{
	my ($rc, $stdout, $stderr) = export('stranger', 'x.db');
	like($stderr, qr/ERROR:  42501: permission denied for function/, 'a role that was not granted the function');
}

foreach my $file ("$other/alice.db", "$base/alice.db")
{
	my $hint = refused('alice', $file, 42501, 'permission denied to write file', "ordinary role, $file");
	is_deeply(commands($hint), ['GRANT pg_write_server_files TO alice;'], 'the hint has the GRANT');
}
$node->safe_psql('postgres', 'GRANT pg_write_server_files TO alice');
works('alice', "$other/alice.db", "$other/alice.db", 'after that GRANT');
$node->safe_psql('postgres', 'REVOKE pg_write_server_files FROM alice');
refused('alice', "$other/alice.db", 42501, 'permission denied', 'after a REVOKE, although the file is hers');

###
### The export directory itself
###

sub set_base
{
	my ($dir) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET lfsync.export_directory = '$dir'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('lfsync.export_directory') = '$dir'")
	  or die 'the setting does not arrive';
	return;
}

set_base('');
{
	my $hint = refused('alice', 'x.db', 55000, 'no directory for file', 'no export directory');
	my @commands = @{ commands($hint) };
	is_deeply(
		\@commands,
		[
			"install -d -o $os_user -g $os_group -m 2750 /var/lib/lfsync",
			"ALTER SYSTEM SET lfsync.export_directory = '/var/lib/lfsync';",
			'SELECT pg_reload_conf();'
		],
		'the hint has all that is to be done');
	my $install = $commands[0] =~ s{/var/lib/lfsync}{$area/hinted}r;
	is(system($install), 0, 'its command works with another directory');
	set_base("$area/hinted");
	works('alice', 'x.db', "$area/hinted/x.db", 'and then the export works');
	is(sprintf('%04o', (stat "$area/hinted")[2] & 07777), '2750', 'the directory lets its group read');
}

set_base("$area/missing");
{
	my $hint = refused('alice', 'x.db', '58P01', 'could not open directory', 'an export directory that is not there');
	is(system(commands($hint)->[0]), 0, 'the command in the hint works');
	works('alice', 'x.db', "$area/missing/x.db", 'and then the export works');
}
set_base($base);

###
### Names
###

foreach (
	[ '', 42602, 'an empty name' ],
	[ '.', 42602, 'a dot' ],
	[ '..', 42602, 'two dots' ],
	[ '../x.db', 42602, 'two dots first' ],
	[ 'sub/../../x.db', 42602, 'two dots within' ],
	[ 'sub/..', 42602, 'two dots last' ],
	[ './x.db', 42602, 'a dot first' ],
	[ 'sub/./x.db', 42602, 'a dot within' ],
	[ 'sub//x.db', 42602, 'two slashes' ],
	[ 'sub/', 42602, 'a slash at the end' ],
	[ "x.db\n", 42602, 'a line break at the end' ],
	[ "x\t.db", 42602, 'a tab' ],
	[ "x\x7f.db", 42602, 'a delete character' ],
	[ 'file:x.db', 42602, 'a URI' ],
	[ 'FILE:x.db?mode=memory', 42602, 'a URI in capitals' ],
	[ "file://$base/x.db", 42602, 'a URI with a path' ],
	[ ':memory:', 42602, 'a database in memory' ],
	[ 'sub/:memory:', 42602, 'a file of that name' ],
	[ 'x.db-journal', 42602, 'a journal' ],
	[ 'x.db-wal', 42602, 'a write-ahead log' ],
	[ 'x.db-SHM', 42602, 'its index' ],
	[ '.x.db.lfsync-0123abcd', 42602, 'an unfinished file' ],
	[ 'x' x 4096, 54000, 'a name of 4 KB' ],
	[ 'x' x 255, 54000, 'the longest name of the file system, without room for a journal' ],
	[ 'xx/' x 150 . 'x.db', 54000, 'a path that SQLite would not open' ])
{
	my ($file, $sqlstate, $test) = @$_;
	refused('alice', $file, $sqlstate, 'file name', "relative: $test");
	refused($super, "$other/$file", $sqlstate, 'file name', "absolute: $test")
	  unless $file eq '';
}
refused($super, '/', 42602, 'file name', 'the root directory');
refused($super, "/$other/x.db", 42602, 'file name', 'two slashes first');
works('alice', 'x' x 200, "$base/" . 'x' x 200, 'a long name');

###
### What may be at the name
###

mkdir "$base/dir.db";
symlink 'relative.db', "$base/link.db";
symlink "$area/victim/victim", "$base/link-out.db";
symlink "$area/victim/new", "$base/link-dangling.db";
mkfifo("$base/fifo.db", 0600) or die $!;
my $socket = IO::Socket::UNIX->new(Type => SOCK_STREAM, Local => "$base/socket.db", Listen => 1) or die $!;
append_to_file("$base/two-names.db", '');
link "$base/two-names.db", "$area/victim/two-names";
my $pg_version = slurp_file($node->data_dir . '/PG_VERSION');
# where the data directory is on another file system, any other file will do
link $node->data_dir . '/PG_VERSION', "$base/hard.db"
  or link "$area/victim/victim", "$base/hard.db"
  or die $!;

refused('alice', 'dir.db', 42809, 'is a directory', 'a directory');
refused('alice', 'link.db', 42809, 'is a symbolic link', 'a symbolic link');
refused('alice', 'link-out.db', 42809, 'is a symbolic link', 'a symbolic link to a file elsewhere');
refused('alice', 'link-dangling.db', 42809, 'is a symbolic link', 'a symbolic link to no file');
refused('alice', 'fifo.db', 42809, 'is a named pipe', 'a named pipe');
refused('alice', 'socket.db', 42809, 'is a socket', 'a socket');
refused('alice', 'two-names.db', 42809, 'hard links', 'a file with two names');
refused('alice', 'hard.db', 42809, 'hard links', 'a hard link to PG_VERSION');
is(slurp_file($node->data_dir . '/PG_VERSION'), $pg_version, 'PG_VERSION is intact');
refused($super, '/dev/null', '(42501|55000)', 'director', 'a device');
refused($super, '/dev/fd/1', 42809, 'is a symbolic link', 'a file descriptor');

# What lies beside it.
foreach my $ending (qw(-journal -wal -shm))
{
	my ($name) = $ending =~ /(\w+)/;

	works($super, "with_$name.db", "$base/with_$name.db", 'a file to have something beside it');
	foreach my $db ("with_$name.db", "without_$name.db")
	{
		my $beside = "$base/$db$ending";
		my %plant = (
			'a symbolic link' => sub { symlink "$area/victim/victim", $beside },
			'a named pipe' => sub { mkfifo($beside, 0600) },
			'a directory' => sub { mkdir $beside });

		foreach my $what (sort keys %plant)
		{
			$plant{$what}->() or die $!;
			refused('alice', $db, 42809, "is $what", "$what as $db$ending");
			unlink $beside or rmdir $beside or die $!;
		}
		link "$area/victim/victim", $beside or die $!;
		refused('alice', $db, 42809, 'hard links', "a hard link as $db$ending");
		unlink $beside;
	}
}

###
### Directories
###

symlink $other, "$base/out";
symlink $base, "$area/link-to-base";
symlink "$area/nowhere", "$base/dangling";
append_to_file("$base/plain", "plain\n");

refused('alice', 'out/x.db', 42809, 'is a symbolic link', 'a symbolic link as directory');
refused_directory("$area/link-to-base", 42809, 'is a symbolic link', undef, 'a symbolic link to a good directory');
refused_directory("$area/link-to-base/sub", 42809, 'is a symbolic link', undef, 'a symbolic link on the way');
refused_directory("$base/dangling", 42809, 'is a symbolic link', undef, 'a symbolic link to no directory');
refused_directory("$base/plain", 42809, 'could not open directory', undef, 'a file as directory');
refused_directory("$area/a b's/c/d", '58P01', 'could not open directory', "$area/a b's/c/d", 'a missing directory');

foreach my $mode (0777, 0775, 0757, 02770, 01777, 01775)
{
	my $name = sprintf '%04o', $mode;
	my $dir = "$area/mode-$name";

	mkdir $dir or die $!;
	chmod $mode, $dir;
	refused_directory($dir, 55000, 'is writable by others', $mode & 01000 ? "$dir/lfsync" : $dir, "mode $name");
}
{
	my $dir = "$area/ancestor";

	mkdir $dir;
	chmod 01777, $dir;
	mkdir "$dir/safe", 0755;
	works($super, "$dir/safe/x.db", "$dir/safe/x.db", 'below a sticky directory that all can write');
	chmod 0777, $dir;
	refused($super, "$dir/safe/y.db", 55000, 'is writable by others', 'below a directory that all can write');
	chmod 0775, $dir;
	refused_directory("$dir/safe", 55000, 'is writable by others', "$dir/safe",
		'below a directory that its group can write');
}
{
	my $dir = "$area/read-only";

	mkdir $dir;
	chmod 0555, $dir;
	refused_directory($dir, 42501, 'could not write in directory', $dir, 'a directory that we cannot write');
}
like(
	(export($super, '/usr/x.db'))[2],
	qr{ERROR:  42501: could not write in directory "/usr".*^    install -d -o $os_user -g $os_group -m 2750 /usr/lfsync$}ms,
	q{a directory of root's});

# The server's own.
my $data = $node->data_dir;
my $sockets = $node->safe_psql('postgres', "SELECT split_part(current_setting('unix_socket_directories'), ',', 1)");
my ($version) = glob "$area/tablespace/PG_*";

foreach (
	[ $data, 'the data directory' ],
	[ "$data/base", 'the databases' ],
	[ (glob "$data/base/*")[0], 'a database' ],
	[ "$data/pg_wal", 'the WAL directory through its link' ],
	[ "$area/wal", 'the WAL directory' ],
	[ "$area/tablespace", 'a tablespace' ],
	[ $version, q{a tablespace's inside} ],
	[ "$data/pg_tblspc", 'the tablespaces' ],
	[ "$area/log", 'the log directory' ],
	[ $sockets, 'the socket directory' ])
{
	my ($dir, $test) = @$_;
	next if $dir eq '';    # no Unix sockets
	my @before = glob "$dir/*";

	refused($super, "$dir/x.db", '42(501|809)', '(belongs to a PostgreSQL server|is a symbolic link)', $test);
	is_deeply([ glob "$dir/*" ], \@before, "$test: nothing was made there");
}

# Another server's, although this one does not know of it.
mkdir "$area/pg";
append_to_file("$area/pg/PG_VERSION", "12\n");
refused($super, "$area/pg/x.db", 42501, 'belongs to a PostgreSQL server', q{another server's data directory});

###
### The finished file
###

sub mode_of
{
	return sprintf '%04o', (stat $_[0])[2] & 07777;
}

works('alice', 'mode.db', "$base/mode.db", 'a file with the usual mode');
is(mode_of("$base/mode.db"), '0640', 'which is 0640');
is((stat "$base/mode.db")[5], (stat $base)[5], q{and has the directory's group});
works('alice', 'mode-600.db', "$base/mode-600.db", 'option file_mode', q{, options => '{"file_mode": "0600"}'});
is(mode_of("$base/mode-600.db"), '0600', 'gives the mode');
works('alice', 'mode-644.db', "$base/mode-644.db", 'option file_mode', q{, options => '{"file_mode": "0644"}'});
is(mode_of("$base/mode-644.db"), '0644', 'gives the mode, whatever the umask is');

###
### A journal that is a real one
###

# The program dies in a transaction that has reached the file.
works('alice', 'hot.db', "$base/hot.db", 'a file to crash on');
{
	my $sql = <<'END';
CREATE TABLE mine (id INTEGER PRIMARY KEY, v);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO mine SELECT i, 'good ' || i FROM n;
PRAGMA cache_size = 5;
PRAGMA cache_spill = 5;
BEGIN;
UPDATE mine SET v = 'bad';
.shell kill -9 $PPID
END
	sqlite("$base/hot.db", $sql);
	ok(-s "$base/hot.db-journal", 'there is a hot journal');
	works('alice', 'hot.db', "$base/hot.db", 'export over a hot journal');
	is(sqlite("$base/hot.db", q{SELECT count(*), sum(v LIKE 'good %') FROM mine}),
		'5000|5000', 'it was rolled back');
}

###
### Races
###

# Someone exchanges a directory, or the file, for a symbolic link all the time.
# Whatever a run makes of it, nothing arrives where the link leads to.
my $victims = tree("$area/victim");

sub race
{
	my ($what, $file, $make, @swap) = @_;
	my $runs = 150;
	my ($rc, $stdout, $stderr);

	$make->();
	my $pid = fork;
	die $! unless defined $pid;
	if ($pid == 0)
	{
		my $parent = getppid;
		while (getppid == $parent)
		{
			foreach my $step (@swap)
			{
				$step->();
				# for as long as a run or a part of one may take
				lstat $base foreach 0 .. rand 20_000;
			}
		}
		POSIX::_exit(0);
	}
	$node->psql(
		'postgres',
		"SELECT 'done' FROM lfsync_export('t', '$file');\n" x $runs,
		on_error_stop => 0,
		on_error_die => 0,
		stdout => \$stdout,
		stderr => \$stderr,
		extra_params => [ '-U', 'alice' ]);
	kill 'KILL', $pid;
	waitpid $pid, 0;

	my $done = () = $stdout =~ /done/g;
	my $refused = () = $stderr =~ /ERROR: /g;
	note "$done runs of $runs wrote, $refused were refused";
	is($done + $refused, $runs, "$what: every run had an end");
	cmp_ok($refused, '>', 0, "$what: some were refused");
	is_deeply(tree("$area/victim"), $victims, "$what: the victims are intact");
	is_deeply([ grep { /\.lfsync-/ } @{ tree($area) } ], [], "$what: nothing unfinished was left");
	return;
}

race(
	'a directory exchanged for a link',
	'race/x.db',
	sub { mkdir "$base/race", 0755 or die $! },
	sub { rename "$base/race", "$base/race.real"; symlink "$area/victim", "$base/race" },
	sub { unlink "$base/race"; rename "$base/race.real", "$base/race" });
# Both files hold a table of somebody else, so that runs write in place.
race(
	'a directory with a file to add to exchanged for a link',
	'place/x.db',
	sub {
		mkdir "$base/place", 0755 or die $!;
		sqlite($_, 'CREATE TABLE mine (a)') foreach ("$base/place/x.db", "$area/victim/x.db");
		$victims = tree("$area/victim");
	},
	sub { rename "$base/place", "$base/place.real"; symlink "$area/victim", "$base/place" },
	sub { unlink "$base/place"; rename "$base/place.real", "$base/place" });
race(
	'a file exchanged for a link',
	'race.db',
	sub { },
	sub { rename "$base/race.db", "$base/race.db.real"; symlink "$area/victim/victim", "$base/race.db" },
	sub { unlink "$base/race.db" if -l "$base/race.db"; rename "$base/race.db.real", "$base/race.db" });

is(slurp_file("$area/victim/victim"), "VICTIM\n", 'the victim is intact');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server never restarted');

$node->safe_psql('postgres', 'DROP TABLESPACE elsewhere');
$node->stop;
done_testing();
