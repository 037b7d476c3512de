# Real listening histories through the mapping for Last.fm, in every mode: loaded
# in parts, with rows of earlier parts corrected in between, and with kills in
# the middle.  LFSYNC_SCROBBLES names scrobbles-a.csv.gz.

use strict;
use warnings FATAL => 'all';

use FindBin;
use Lfsync;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'the environment has no LFSYNC_SCROBBLES'
  if ($ENV{LFSYNC_SCROBBLES} // '') eq '';
my $rows = 129_649;

my $t = Lfsync->new('mapping', conf => "fsync = off\nrestart_after_crash = on\n");

$t->sql(<<'END');
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
CREATE INDEX ON music_scrobble_records (date, id);
CREATE TABLE staging (user_name text, artist text, artist_mbid text, album text, album_mbid text,
	track text, track_mbid uuid, scrobbled_at timestamptz, part int);
\copy staging (user_name, artist, artist_mbid, album, album_mbid, track, track_mbid, scrobbled_at) FROM PROGRAM 'gzip -dc "$LFSYNC_SCROBBLES"' (FORMAT csv, HEADER)
UPDATE staging s SET part = p.part FROM (SELECT ctid, ntile(4) OVER (ORDER BY scrobbled_at, ctid) AS part FROM staging) p
WHERE p.ctid = s.ctid;
END

sub load_part
{
	my ($part) = @_;

	$t->sql(<<"END");
INSERT INTO music_scrobble_records (name, artist, album, image, mbid, url, date)
SELECT track, artist, album, CASE WHEN length(track) % 5 = 0 THEN 'https://lastfm/i/' || length(track) ELSE '' END, track_mbid,
	   'https://www.last.fm/music/' || replace(artist, ' ', '+') || '/_/' || replace(track, ' ', '+'),
	   scrobbled_at
FROM staging WHERE part = $part ORDER BY scrobbled_at, ctid;
END
	return;
}

# Runs compare.py and returns what it says.
sub compare
{
	my ($in, @arg) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run [ 'python3', "$FindBin::Bin/../lib/compare.py", @arg ],
	  '<', $in, '>', \$out, '2>', \$err;
	return "$out$err";
}

# The source as the view is to show it: '' is NULL, and of the mbids of one track
# the one of its last row counts.
my $expected = <<'END' =~ s/\n/ /gr;
SELECT id, name, artist, nullif(album, ''), nullif(image, ''), %s, nullif(url, ''),
	to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
FROM music_scrobble_records JOIN (
	SELECT artist, name, (array_agg(mbid ORDER BY id DESC) FILTER (WHERE mbid IS NOT NULL))[1] AS last
	FROM music_scrobble_records GROUP BY 1, 2) t USING (artist, name)
ORDER BY id
END

sub equals_source
{
	my ($file, $name, %arg) = @_;
	my $copy = $t->node->basedir . '/copy';
	my $n = $t->sql('SELECT count(*) FROM music_scrobble_records');
	my ($want, $got) = $arg{any_mbid} ? ('NULL', 'NULL') : ('last', 'mbid');
	my $query = sprintf $expected, $want;

	return subtest $name => sub {
		$t->sql("\\copy ($query) TO '$copy'");
		is( compare($copy, 'equal', $t->path($file),
				"SELECT id, name, artist, album, image, $got, url, date FROM scrobble_flat ORDER BY id",
				qw(integer text text text text text text text)),
			"$n rows equal\n", 'every value');
		is(compare(\'', 'check', $t->path($file)), "ok\n", 'integrity and foreign keys');
		return if $arg{any_mbid};
		is( sqlite($t->path($file), 'SELECT (SELECT count(*) FROM artist), (SELECT count(*) FROM album), (SELECT count(*) FROM track)'),
			$t->sql(q(SELECT count(DISTINCT artist), count(DISTINCT (artist, album)) FILTER (WHERE album <> ''),
				count(DISTINCT (artist, name)) FROM music_scrobble_records)),
			'as many artists, albums and tracks');
	};
}

# What incremental cannot know it may hold from earlier, and no more than that.
sub mbids_were_there
{
	my ($file, $name) = @_;
	my %known = map { $_ => 1 } split /\n/,
	  $t->sql('SELECT artist || chr(9) || name || chr(9) || mbid FROM seen');
	my @unknown = grep { !$known{$_} } split /\n/,
	  sqlite($t->path($file),
		'SELECT DISTINCT artist || char(9) || name || char(9) || mbid FROM scrobble_flat WHERE mbid IS NOT NULL');

	return is("@unknown[0 .. ($#unknown > 2 ? 2 : $#unknown)]", '', $name);
}

my %jobs = (
	full => '',
	incremental => q(, mode => 'incremental'),
	cursor => q(, cursor_columns => '{date,id}'),
	merge => q(, mode => 'merge'),
);

# Every mbid that a track has had.
$t->sql('CREATE TABLE seen (artist text, name text, mbid uuid, UNIQUE (artist, name, mbid))');
sub remember
{
	$t->sql('INSERT INTO seen SELECT DISTINCT artist, name, mbid FROM music_scrobble_records WHERE mbid IS NOT NULL ON CONFLICT DO NOTHING');
	return;
}

load_part(1);
remember();
foreach my $job (sort keys %jobs)
{
	my $mode = $jobs{$job} || q(, mode => 'full');

	# small batches, so that there is something to break off
	$t->sql("SELECT lfsync_add_job('$job', 'music_scrobble_records', '$job.db',
		mapping => lfsync_lastfm_mapping(), options => '{\"batch_rows\": 1000}'$mode)");
	$t->sql("SELECT lfsync_export('$job')");
	equals_source("$job.db", "$job: the first part");
}

my $ids = q(SELECT string_agg(id || ' ' || name, ',' ORDER BY id) FROM artist WHERE id <= 50);
my $artists = sqlite($t->path('incremental.db'), $ids =~ s/string_agg\((.*?) ORDER BY id\)/group_concat($1)/r);

subtest 'the second part, and rows of the first corrected' => sub {
	load_part(2);
	$t->sql(<<'END');
UPDATE music_scrobble_records SET artist = artist || ' (corrected)' WHERE id BETWEEN 100 AND 300;
UPDATE music_scrobble_records SET album = NULL WHERE id BETWEEN 20000 AND 20100;
UPDATE music_scrobble_records SET mbid = gen_random_uuid() WHERE id BETWEEN 500 AND 600;
UPDATE music_scrobble_records SET mbid = NULL WHERE id BETWEEN 700 AND 710;
END
	remember();
	foreach my $job (sort keys %jobs)
	{
		$t->sql("SELECT lfsync_export('$job')");
	}
	equals_source('full.db', 'full');
	equals_source('merge.db', 'merge');
	equals_source('incremental.db', 'incremental', any_mbid => 1);
	mbids_were_there('incremental.db', 'incremental: no mbid from nowhere');
	is( sqlite($t->path('incremental.db'), $ids =~ s/string_agg\((.*?) ORDER BY id\)/group_concat($1)/r),
		$artists, 'artists keep their ids');

	# a cursor sees no corrections: verify says so, and mends it
	my $verify = $t->sql(q(SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM lfsync_verify('cursor') WHERE missing + extra + different > 0));
	like($verify, qr/track/, 'verify finds what a cursor does not see');
	$t->sql(q(SELECT lfsync_verify('cursor', true)));
	equals_source('cursor.db', 'cursor, repaired');
	is($t->sql(q(SELECT coalesce(sum(missing + extra + different), 0) FROM lfsync_verify('incremental') WHERE table_name = 'scrobble')),
		0, 'verify: incremental holds every row');
};

# Breaks a run off when it has written some batches: whether there was time to.
sub broken_off
{
	my ($job, $how) = @_;
	my $session = $t->session;
	my $monitor = $t->session;
	my $live = '';

	$session->send("SELECT rows_read FROM lfsync_export('$job');");
	Lfsync::poll('some batches',
		sub {
			$live = $monitor->query('SELECT writer_pid, run_id FROM lfsync_progress WHERE batches_done >= 3 AND writer_pid IS NOT NULL;');
			return $live ne '' || $session->done;
		});
	$how->(split /\|/, $live) if $live ne '';
	eval { $session->wait };
	$_->quit foreach ($session, $monitor);
	return $live ne '';
}

subtest 'the third part, with runs broken off' => sub {
	load_part(3);
	$t->sql(q(DELETE FROM music_scrobble_records WHERE artist LIKE 'B%' AND id < 20000));
	$t->sql(q(UPDATE music_scrobble_records SET name = name || ' (live)' WHERE id BETWEEN 40000 AND 40400));
	remember();
	foreach my $job (sort keys %jobs)
	{
		my $n = 0;

		$n += broken_off($job, sub { kill 'TERM', $_[0] });
		$n += broken_off($job, sub { $t->sql("SELECT lfsync_cancel($_[1])") });
		# in place readers see a part of a merge, but none of a row without what it refers to
		is(compare(\'', 'check', $t->path("$job.db")), "ok\n", "$job: a file that was left in the middle");
		$n += broken_off($job, sub { kill 'KILL', $_[0] });
		cmp_ok($n, '>', 0, "$job: $n of 3 runs were broken off");
		# the run may have ended just before its writer was killed, and the server not noticed yet
		Lfsync::poll('a whole run', sub { return eval { $t->sql("SELECT lfsync_export('$job')"); 1 } });
	}
	equals_source('full.db', 'full');
	equals_source('merge.db', 'merge');
	equals_source('incremental.db', 'incremental, which has compared everything');
	$t->sql(q(SELECT lfsync_verify('cursor', true)));
	equals_source('cursor.db', 'cursor, repaired');
};

subtest 'the fourth part' => sub {
	load_part(4);
	remember();
	foreach my $job (sort keys %jobs)
	{
		$t->sql("SELECT lfsync_export('$job')");
		equals_source("$job.db", $job, any_mbid => $job =~ /cursor|incremental/ ? 1 : 0);
	}
	# a merge into what the others have kept
	$t->sql(q(SELECT lfsync_alter_job('incremental', mode => 'merge')));
	$t->sql(q(SELECT lfsync_export('incremental')));
	equals_source('incremental.db', 'incremental, merged');
	is($t->sql(q(SELECT sum(missing + extra + different) FROM lfsync_verify('incremental'))), 0, 'verify agrees');
	cmp_ok($t->sql('SELECT count(*) FROM music_scrobble_records'), '<', $rows, 'with rows that were deleted');
};

subtest 'readers' => sub {
	# a reader's transaction sees one state of all tables while runs go on
	my $reader = sqlite_session($t->path('merge.db'));
	my $look = q(SELECT count(*), count(t.id), count(a.id) FROM scrobble s LEFT JOIN track t ON t.id = s.track_id LEFT JOIN artist a ON a.id = t.artist_id;);

	$reader->query('.timeout 10000');
	$t->sql(q(UPDATE music_scrobble_records SET artist = 'Renamed ' || artist WHERE id % 50 = 0));
	my $session = $t->session;
	$session->send(q(SELECT lfsync_export('merge');));
	my $torn = 0;
	until ($session->done)
	{
		my ($all, $tracks, $names) = split /\|/, $reader->query($look);

		$torn++ if $all != $tracks || $all != $names;
	}
	$session->quit;
	$reader->quit;
	is($torn, 0, 'no row without its track and artist');
	equals_source('merge.db', 'merge, beside a reader');
};

$t->node->stop;
done_testing();
