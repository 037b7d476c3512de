# Sourced by test/bench/run: what runs that go on cost.
# shellcheck shell=bash disable=SC2154

# The source of these runs, and the same rows for the C program.
sync_source() { # ROWS
	generate bench_sync "$1"
	query 'CHECKPOINT'
}

# New rows behind those that are there, like them.
append_rows() { # ROWS
	query "INSERT INTO bench_sync
	       SELECT id + (SELECT max(id) FROM bench_sync), name, artist, album, url, artist_mbid, album_mbid, track_mbid, loved, date
	       FROM bench WHERE id <= $1 ORDER BY id"
	query 'CHECKPOINT'
}

sync_run() { # FILE ARGUMENTS
	query "SELECT * FROM lfsync_export('bench_sync', '$1', $2, options => '{\"indexes\": false}')"
}

by_cursor() { sync_run "$1" "mode => 'incremental', cursor_columns => '{id}'"; }
by_version() { sync_run "$1" "mode => 'incremental'"; }
by_merge() { sync_run "$1" "mode => 'merge'"; }
count_alone() { query 'SET max_parallel_workers_per_gather = 0; SELECT count(*) FROM bench_sync'; }

# The median of the seconds of a command.
seconds_of() {
	for ((run = 0; run < runs; run++)); do
		clock "$@"
		echo
	done | median
}

# A line about a limit: TITLE SECONDS LIMIT-TEXT CONDITION
limit_line() {
	met "$4"
	printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$verdict"
}

# The median time to append rows to a job of SIZE rows by cursor.
append_seconds() { # SIZE ROWS
	rm -f sync.db*
	sync_source "$1"
	by_cursor sync.db >/dev/null
	by_cursor sync.db >/dev/null
	for ((run = 0; run < runs; run++)); do
		append_rows "$2"
		settle "$2"
		clock by_cursor sync.db
		echo
	done | median
}

# The peer: the same new rows, in memory before its clock starts.
append_peer() { # SIZE ROWS
	local round
	query "COPY (SELECT id, name, artist, album, url, artist_mbid::text, album_mbid::text, track_mbid::text, loved::int::text,
	                    to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
	             FROM bench_sync WHERE id <= $1 ORDER BY id) TO STDOUT (FORMAT binary)" >"$scratch/old"
	rm -f peer.db*
	"$scratch/bind_step" new peer.db <"$scratch/old" >/dev/null
	for ((round = 0; round < runs; round++)); do
		query "COPY (SELECT id, name, artist, album, url, artist_mbid::text, album_mbid::text, track_mbid::text, loved::int::text,
		                    to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
		             FROM bench_sync WHERE id > $1 + $round * $2 AND id <= $1 + ($round + 1) * $2 ORDER BY id)
		       TO STDOUT (FORMAT binary)" >"$scratch/new"
		settle "$2"
		"$scratch/bind_step" append peer.db <"$scratch/new"
	done | median
	rm -f peer.db* "$scratch/old" "$scratch/new"
}

sync_lines() {
	local few=$((rows / 10)) many=$rows new=$((rows / 5)) small large peer nothing thousand ratio count full merge

	printf '\n| a run that goes on | seconds | limit | met |\n|---|--:|---|---|\n'
	small=$(append_seconds "$few" "$new")
	large=$(append_seconds "$many" "$new")
	peer=$(append_peer "$many" "$new")
	ratio=$(calc "$large / $small")
	limit_line "cursor: $new new rows, the table had $few" "$small" '' 1
	limit_line "cursor: $new new rows, the table had $many" "$large" "0.85 to 1.15 of the line above: $ratio" \
		"$ratio >= 0.85 && $ratio <= 1.15"
	ratio=$(calc "$peer / $large")
	limit_line "the same by bind and step, batches of 40,000" "$peer" "2 of ours: $ratio" "$ratio >= 2"

	by_cursor sync.db >/dev/null
	nothing=$(seconds_of by_cursor sync.db)
	limit_line 'cursor: nothing new' "$nothing" '0.06' "$nothing < 0.06"
	append_rows 1000
	settle 1000
	thousand=$(clock by_cursor sync.db)
	limit_line 'cursor: 1,000 new rows' "$thousand" '0.08' "$thousand < 0.08"

	rm -f sync.db*
	by_version sync.db >/dev/null
	nothing=$(seconds_of by_version sync.db)
	count=$(seconds_of count_alone)
	ratio=$(calc "$nothing / $count")
	limit_line 'count(*), one process' "$count" '' 1
	limit_line 'row versions: nothing new' "$nothing" "1.3 of count(*): $ratio" "$ratio <= 1.3"

	rm -f sync.db*
	full=$(for ((run = 0; run < runs; run++)); do
		rm -f full.db*
		settle "$rows"
		clock sync_run full.db "mode => 'full'"
		echo
	done | median)
	by_merge sync.db >/dev/null
	merge=$(for ((run = 0; run < runs; run++)); do
		query "UPDATE bench_sync SET name = name || '.' WHERE id % 100 = 37 + $run"
		query 'VACUUM bench_sync'
		query 'CHECKPOINT'
		settle "$rows"
		clock by_merge sync.db
		echo
	done | median)
	ratio=$(calc "$merge / $full")
	limit_line 'a full export, with its key' "$full" '' 1
	limit_line 'merge: 1 % changed' "$merge" "2.5 of the full export: $ratio" "$ratio <= 2.5"
	rm -f sync.db* full.db*
}
