# An older version of the extension works with this library, keeps its jobs and
# its history when it is updated, and is then what a new one is.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;

my $t = Lfsync->new('upgrade', conf => "fsync = off\n");
my $newest = $t->sql(q(SELECT default_version FROM pg_available_extensions WHERE name = 'lfsync'));

# All that belongs to the extension, and what is inside.
sub members
{
	return $t->sql(<<'END', db => $_[0]);
SELECT pg_describe_object(classid, objid, 0) || coalesce(': ' || CASE classid
	WHEN 'pg_class'::regclass THEN (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = objid AND attnum > 0)
		|| coalesce(pg_get_viewdef(objid), '') || coalesce((SELECT relacl::text FROM pg_class c WHERE c.oid = objid), '')
	WHEN 'pg_proc'::regclass THEN pg_get_functiondef(objid) || coalesce((SELECT proacl::text FROM pg_proc p WHERE p.oid = objid), '')
	END, '')
FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
ORDER BY 1
END
}

$t->make_source;
$t->sql('CREATE DATABASE fresh');
$t->sql('CREATE EXTENSION lfsync', db => 'fresh');
my $fresh = members('fresh');
cmp_ok(length $fresh, '>', 10_000, 'a new one has something in it');

my @steps = split /\n/, $t->sql(q(SELECT version FROM pg_available_extension_versions WHERE name = 'lfsync' ORDER BY string_to_array(version, '.')::int[]));
is($steps[0], '1.0', 'the first version can be had');
is($steps[-1], $newest, 'the last one is what is installed');

foreach my $version (@steps[ 0 .. $#steps - 1 ])
{
	subtest "from $version" => sub {
		$t->sql("DROP EXTENSION lfsync; CREATE EXTENSION lfsync VERSION '$version'");
		$t->sql("SELECT lfsync_add_job('j', 't', 'j$version.db')");
		is($t->sql(q(SELECT rows_read FROM lfsync_export('j'))), 1000, 'a job runs');
		is($t->sql(q(SELECT count(*) FROM lfsync_progress)), 0, 'live runs can be seen');
		is($t->status('j', 'health'), 'ok', 'and how it stands');
		$t->sql('ALTER EXTENSION lfsync UPDATE');
		is($t->sql(q(SELECT extversion FROM pg_extension WHERE extname = 'lfsync')), $newest, 'updated');
		is(members('postgres'), $fresh, 'to what a new one is');
		$t->sql(q(INSERT INTO t SELECT max(id) + 1, 'new' FROM t));
		is($t->sql(q(SELECT mode, rows_inserted FROM lfsync_export('j'))), 'incremental|1', 'the job goes on');
		$t->same_rows("j$version.db", 't', 'and its file with it');
		is($t->sql(q(SELECT count(*) FROM lfsync_runs WHERE job = 'j' AND status = 'succeeded')), 2, 'with its history');
		$t->sql('DELETE FROM t WHERE id > 1000');
	};
}

done_testing();
