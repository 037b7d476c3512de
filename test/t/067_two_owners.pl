# A table of a file is kept in sync by one database of one cluster.  Others are
# told so, and may have other tables in it, at the same time; who takes a table
# over takes it from whoever is writing it.

use strict;
use warnings FATAL => 'all';

use Lfsync;
use Test::More;
use Time::HiRes qw(time);

my $one = Lfsync->new('one', conf => "fsync = off\n");
my $two = Lfsync->new('two', conf => "fsync = off\n");
my $file = $one->path('shared.db');
my $incremental = q(mode => 'incremental');

# One server with two databases, and another one; each may write to one place.
$two->node->append_conf('postgresql.conf', "lfsync.export_directory = '@{[ $one->dir ]}'");
$two->node->reload;
$two->wait_sql("SELECT current_setting('lfsync.export_directory') = '@{[ $one->dir ]}'");
$one->sql('CREATE DATABASE other');
$one->sql('CREATE EXTENSION lfsync', db => 'other');
my @owners = ([ $one, 'postgres', 'a' ], [ $one, 'other', 'b' ], [ $two, 'postgres', 'c' ]);

foreach (@owners)
{
	my ($server, $db, $tag) = @$_;

	$server->sql(<<"END", db => $db);
CREATE TABLE t (id int PRIMARY KEY, tag text);
INSERT INTO t SELECT i, '$tag' FROM generate_series(1, 1000) i;
CREATE PROCEDURE often(name text, args text, seconds float8, works boolean, INOUT worked int, INOUT failed text[]) LANGUAGE plpgsql AS \$\$
DECLARE
	until timestamptz := clock_timestamp() + seconds * interval '1 s';
	detail text;
BEGIN
	-- who may not get at it among the others does when they have ended
	WHILE clock_timestamp() < until OR (works AND worked = 0 AND clock_timestamp() < until + interval '1 min') LOOP
		UPDATE t SET tag = tag || '.' WHERE id % 50 = worked % 50;
		DELETE FROM t WHERE id % 100 = worked % 100;
		COMMIT;
		BEGIN
			EXECUTE format('SELECT FROM lfsync_export(''t'', ''shared.db'', %L, %s, options => ''{"batch_rows": 100}'')', name, args);
			worked := worked + 1;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
			failed := failed || CASE WHEN SQLSTATE IN ('55006', '55P03', '53300') THEN 'refused' ELSE concat_ws(' ', SQLSTATE, SQLERRM, detail) END;
		END;
		COMMIT;
	END LOOP;
END \$\$;
END
}

sub sync
{
	my ($owner, $table, $args) = @_;
	my ($server, $db) = @$owner;
	my ($rc, $out, $err) = $server->try(
		"SELECT concat_ws(' ', rows_read, rows_inserted, rows_updated, rows_deleted) FROM lfsync_export('t', 'shared.db', '$table', $args)", db => $db);

	return $rc == 0 ? $out : $err;
}

sub is_of
{
	my ($owner, $table, $name) = @_;
	my ($server, $db) = @$owner;

	return is(sqlite($file, "SELECT count(*), sum(id), group_concat(DISTINCT substr(tag, 1, 1)), sum(length(tag)) FROM $table"),
		$server->sql(q(SELECT count(*), sum(id), string_agg(DISTINCT left(tag, 1), ','), sum(length(tag)) FROM t), db => $db), $name);
}

subtest 'one table' => sub {
	is(sync($owners[0], 't', $incremental), '1000 1000 0 0', 'whoever comes first has it');
	foreach my $owner (@owners[ 1, 2 ])
	{
		my $identifier = $one->sql('SELECT system_identifier FROM pg_control_system()');

		foreach my $args ($incremental, q(mode => 'merge'), qq($incremental, cursor_columns => '{id}'))
		{
			my $before = slurp_raw($file);

			like(sync($owner, 't', $args), qr/ERROR:  55006:.*kept in sync by somebody else.*database "postgres", system identifier $identifier.*HINT:/s, "others do not: $args");
			ok(slurp_raw($file) eq $before, 'the file is as it was');
		}
	}
	is(sync($owners[0], 't', $incremental), '0 0 0 0', 'he goes on');
	is(sync($owners[2], 't', q(mode => 'full')) =~ s/ .*//r, 1000, 'it can be taken');
	is_of($owners[2], 't', 'and then is another\'s');
	like(sync($owners[0], 't', q(mode => 'full')), qr/^1000 /, 'and back');
	is(sync($owners[0], 't', $incremental) =~ s/ .*//r, 1000, 'a new beginning');
	is_of($owners[0], 't', 'it is his');
};

# Held in the middle of its batches, and when it has nothing left to write.
subtest 'taken from under a run' => sub {
	my ($server) = @{ $owners[0] };

	$server->sql(<<'END');
CREATE FUNCTION gate() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(1); RETURN 1; END $$;
CREATE FUNCTION gate_at(int, int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT public.gate() WHERE $1 = $2 $$;
CREATE VIEW middle AS SELECT id, tag, gate_at(id, 500) AS held FROM t;
CREATE VIEW ending AS SELECT id, tag, gate_at(id, 1000) AS held FROM t;
ALTER DATABASE postgres SET enable_sort = off;
END
	foreach my $source (qw(middle ending))
	{
		my $merge = qq(lfsync_export('$source', 'shared.db', '$source', mode => 'merge', key_columns => '{id}', options => '{"batch_rows": 100}'));
		my $caller = $server->session;
		my $gate;

		$server->sql("SELECT FROM $merge");
		$server->sql(q(UPDATE t SET tag = 'A')) if $source eq 'middle';
		$gate = $server->close_gate;
		$caller->send("SELECT rows_updated FROM $merge;");
		$server->wait_at_gate;
		$server->wait_phase('scanning', sub { $_[0]{batches_done} >= 4 });
		like(sync($owners[2], $source, q(mode => 'full')), qr/^1000 /, "$source: another server takes the table");
		$gate->open_gate;
		$caller->wait;
		like($caller->error, qr/ERROR:  (?:55006|55000):.*HINT:/s, "$source: the run says so");
		is_of($owners[2], $source, "$source: the table is of the other");
		is(sqlite($file, "SELECT mode, system_identifier, position FROM _lfsync_state WHERE table_name = '$source'"),
			'full|' . $two->sql('SELECT system_identifier FROM pg_control_system()') . '|', "$source: and so is its position");
		is(integrity($file), 'ok', 'integrity');
	}
	$server->sql('ALTER DATABASE postgres RESET enable_sort');
};

# All at once: each keeps its own table, and tries for the one of the first.
subtest 'all at once' => sub {
	my @sessions;
	my $since = time;

	foreach (@owners)
	{
		my ($server, $db, $tag) = @$_;
		my $mode = $tag eq 'b' ? q(mode => ''merge'') : q(mode => ''incremental'');

		foreach my $table ("own_$tag", 't')
		{
			my $works = $table eq 't' && $tag ne 'a' ? 'false' : 'true';

			push @sessions, $server->session(db => $db);
			$sessions[-1]->send(qq(CALL often('$table', '$mode', 4, $works, 0, ARRAY[]::text[]);));
		}
	}
	foreach my $n (0 .. $#sessions)
	{
		my ($server, $db, $tag) = @{ $owners[ $n / 2 ] };
		my $name = $n % 2 ? "$tag for t" : "$tag for its own";

		$sessions[$n]->wait;
		my ($worked, $failed) = split /\|/, $sessions[$n]->output, 2;
		is($sessions[$n]->error, '', "$name: no error");
		like($failed, qr/^\{(?:refused,?)*\}$/, "$name: who does not get at it is told why");
		$n % 2 && $tag ne 'a' ? is($worked, 0, "$name: never") : cmp_ok($worked, '>', 0, "$name: some runs work");
		note "$name: $worked worked, " . scalar(() = $failed =~ /refused/g) . ' refused';
	}
	foreach (@owners)
	{
		my ($server, $db, $tag) = @$_;

		unlike(sync($_, "own_$tag", $tag eq 'b' ? q(mode => 'merge') : $incremental), qr/ERROR/, "$tag: alone it works");
		is_of($_, "own_$tag", "$tag: its table is its own");
	}
	sync($owners[0], 't', $incremental);
	is_of($owners[0], 't', 'the first has its table');
	is(integrity($file), 'ok', 'integrity');
	is(sqlite($file, q(SELECT count(*) FROM sqlite_schema WHERE name LIKE '\_lfsync\_new%' ESCAPE '\')), 0, 'no hidden table is left');
};

done_testing();
