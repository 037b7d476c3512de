# A file system that fails where a test wants it to: see test/lib/faults.c,
# which is compiled here and preloaded into the test's server.

package LfsyncFaults;

use strict;
use warnings FATAL => 'all';

use Config;
use Exporter qw(import);
use FindBin;
use IPC::Run;

our @EXPORT = qw(WRITE SYNC TRUNCATE CREATE RENAME UNLINK LOCK);

use constant {
	COUNT => 0, FAIL => 1, KILL => 2, LIMIT => 3,
	WRITE => 1, SYNC => 2, TRUNCATE => 4, CREATE => 8, RENAME => 16, UNLINK => 32, LOCK => 64 };

my $format = 'lllllx4qZ512';

# Compiles, or returns undef with the reason in the second place.
sub new
{
	my ($class, $tmp) = @_;
	my $library = "$tmp/faults.so";
	my ($cc) = grep { IPC::Run::run([ 'sh', '-c', 'command -v "$0" >/dev/null', $_ ]) } qw(cc gcc clang);
	my $out = '';

	return (undef, 'no C compiler') if !defined $cc;
	IPC::Run::run([ $cc, qw(-O1 -shared -fPIC -o), $library, "$FindBin::Bin/../lib/faults.c", '-ldl' ], '>&', \$out)
	  or return (undef, "faults.c does not compile: $out");
	my $self = bless { control => "$tmp/faults.control", library => $library }, $class;
	open my $fh, '>', $self->{control} or die "$self->{control}: $!";
	print $fh pack $format, (0) x 6, '';
	close $fh;
	return $self;
}

sub env
{
	my ($self) = @_;

	return { LD_PRELOAD => $self->{library}, LFSYNC_FAULTS => $self->{control} };
}

# kinds: of calls, without it all that change a file.
sub set
{
	my ($self, $directory, $action, %arg) = @_;

	open my $fh, '+<', $self->{control} or die "$self->{control}: $!";
	syswrite $fh, pack $format, $action,
	  $arg{kinds} // (WRITE | SYNC | TRUNCATE | CREATE | RENAME | UNLINK),
	  $arg{first} // 0, $arg{last} // $arg{first} // 0, 0, $arg{limit} // 0, $directory;
	close $fh;
	return;
}

# Calls of the last process that made any since set().
sub count
{
	my ($self) = @_;

	open my $fh, '<', $self->{control} or die "$self->{control}: $!";
	sysread $fh, my $bytes, 64;
	return (unpack 'lllll', $bytes)[4];
}

1;
