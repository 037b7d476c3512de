# Real listening histories, every value of them.  LFSYNC_SCROBBLES names
# scrobbles-a.csv.gz.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $scrobbles = $ENV{LFSYNC_SCROBBLES};
plan skip_all => 'the environment has no LFSYNC_SCROBBLES'
  if !defined $scrobbles || $scrobbles eq '';
my $rows = 129_649;

my $node = PostgreSQL::Test::Cluster->new('scrobbles');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
my $dir = $node->basedir . '/files';
mkdir $dir, 0755 or die "mkdir $dir: $!";
$node->append_conf('postgresql.conf', <<"END");
shared_preload_libraries = 'lfsync'
lfsync.export_directory = '$dir'
END
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION lfsync');

$node->safe_psql('postgres', <<'END');
CREATE TABLE music_scrobble_records (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	artist text NOT NULL,
	album text,
	image text NOT NULL DEFAULT '',
	mbid uuid,
	url text,
	date timestamptz NOT NULL
);
CREATE TABLE staging (user_name text, artist text, artist_mbid text, album text, album_mbid text,
	track text, track_mbid uuid, scrobbled_at timestamptz);
\copy staging FROM PROGRAM 'gzip -dc "$LFSYNC_SCROBBLES"' (FORMAT csv, HEADER)
INSERT INTO music_scrobble_records (name, artist, album, mbid, url, date)
SELECT track, artist, album, track_mbid,
	   'https://www.last.fm/music/' || replace(artist, ' ', '+') || '/_/' || replace(track, ' ', '+'),
	   scrobbled_at
FROM staging;
END
is($node->safe_psql('postgres', 'SELECT count(*) FROM music_scrobble_records'), $rows, 'all rows loaded');

# Runs compare.py and returns what it says.
sub compare
{
	my ($in, @arg) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run [ 'python3', "$FindBin::Bin/../lib/compare.py", @arg ],
	  '<', $in, '>', \$out, '2>', \$err;
	return "$out$err";
}

# The times as COPY is to print them are made by to_char(), not by lfsync.
my $copy = $node->basedir . '/copy';
$node->safe_psql('postgres', <<"END");
\\copy (SELECT id, name, artist, album, image, mbid, url, to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM music_scrobble_records ORDER BY id) TO '$copy'
\\copy (SELECT id, name, artist, album, image, decode(replace(mbid::text, '-', ''), 'hex'), url, extract(epoch FROM date)::bigint FROM music_scrobble_records ORDER BY id) TO '$copy.options'
END

is( $node->safe_psql('postgres', <<'END'), "$rows|$rows|0|0|full", 'counts of the run');
SELECT rows_read, rows_inserted, rows_updated, rows_deleted, mode
FROM lfsync_export('music_scrobble_records', 'scrobbles.db')
END
is(compare(\'', 'check', "$dir/scrobbles.db"), "ok\n", 'integrity');
is( compare($copy, 'equal', "$dir/scrobbles.db",
		'SELECT id, name, artist, album, image, mbid, url, date FROM music_scrobble_records ORDER BY id',
		qw(integer text text text text text text text)),
	"$rows rows equal\n", 'every value');
is( compare(\'', 'rows', "$dir/scrobbles.db",
		q(SELECT name, type, "notnull", pk FROM pragma_table_info('music_scrobble_records'))),
	<<'END', 'columns');
text id	text INTEGER	integer 0	integer 1
text name	text TEXT	integer 1	integer 0
text artist	text TEXT	integer 1	integer 0
text album	text TEXT	integer 0	integer 0
text image	text TEXT	integer 1	integer 0
text mbid	text TEXT	integer 0	integer 0
text url	text TEXT	integer 0	integer 0
text date	text TEXT	integer 1	integer 0
END

# What the file is for: questions in SQL.
my $questions = <<'END';
SELECT artist, count(*) FROM music_scrobble_records GROUP BY artist ORDER BY 2 DESC, 1 LIMIT 20
END
my @postgres = split /\n/, $node->safe_psql('postgres', $questions);
is( compare(\'', 'rows', "$dir/scrobbles.db", $questions),
	join('', map { /^(.*)\|(\d+)$/ ? "text $1\tinteger $2\n" : "?$_\n" } @postgres),
	'the most played artists');
is(scalar @postgres, 20, 'twenty of them');

$node->safe_psql('postgres', <<'END');
SELECT lfsync_export('music_scrobble_records', 'options.db',
	options => '{"timestamps": "unix", "uuid": "blob", "strict": true}')
END
is(compare(\'', 'check', "$dir/options.db"), "ok\n", 'integrity, with options');
is( compare("$copy.options", 'equal', "$dir/options.db",
		'SELECT id, name, artist, album, image, mbid, url, date FROM music_scrobble_records ORDER BY id',
		qw(integer text text text text blob text integer)),
	"$rows rows equal\n", 'every value, with options');

$node->stop;
done_testing();
