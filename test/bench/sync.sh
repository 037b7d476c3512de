# Sourced by test/bench/run: what runs that go on cost.
# shellcheck shell=bash disable=SC2154

# The source of these runs, and the same rows for the C program.
synced=bench_sync
sync_source() { # ROWS
	generate "$synced" "$1"
	query 'CHECKPOINT'
}

# New rows behind those that are there, like them.
append_rows() { # ROWS
	query "INSERT INTO $synced
	       SELECT id + (SELECT max(id) FROM $synced), name, artist, album, url, artist_mbid, album_mbid, track_mbid, loved, date
	       FROM bench WHERE id <= $1 ORDER BY id"
	query 'CHECKPOINT'
}

# Each of these prints its seconds.
sync_run() { # FILE ARGUMENTS
	clock_statement "SELECT * FROM lfsync_export('$synced', '$1', $2, options => '{\"indexes\": false}')"
}

by_cursor() { sync_run "$1" "mode => 'incremental', cursor_columns => '{id}'"; }
by_version() { sync_run "$1" "mode => 'incremental'"; }
by_merge() { sync_run "$1" "mode => 'merge'"; }
count_alone() { clock_statement 'SET max_parallel_workers_per_gather = 0; SELECT count(*) FROM bench_sync'; }

# The median of the seconds of a command.
seconds_of() {
	for ((run = 0; run < runs; run++)); do
		"$@"
		echo
	done | median
}

# One of a hundred rows.
change_rows() { # WHICH
	query "UPDATE $synced SET name = name || '.' WHERE id % 100 = 37 + $1"
	query "VACUUM $synced"
	query 'CHECKPOINT'
}

# A line about a limit: TITLE SECONDS LIMIT-TEXT CONDITION
limit_line() {
	met "$4"
	printf '| %s | %s | %s | %s |\n' "$1" "$2" "$3" "$verdict"
}

# Appends one job after the other, then the peer: a line for each round, of the
# seconds of the small one, the large one, the peer and the large one's next run.
append_rounds() { # FEW MANY NEW
	local synced last small large peer
	rm -f small.db* sync.db* peer.db*
	for synced in bench_small bench_sync; do
		sync_source "$([ "$synced" = bench_small ] && echo "$1" || echo "$2")"
		append_run >/dev/null
		append_run >/dev/null
	done
	copy_synced true >"$scratch/old"
	"$scratch/bind_step" new peer.db <"$scratch/old" >/dev/null
	rm "$scratch/old"
	for ((run = 0; run < runs; run++)); do
		synced=bench_small
		append_rows "$3"
		settle "$2"
		small=$(append_run)
		append_run >/dev/null
		synced=bench_sync
		last=$(query "SELECT max(id) FROM $synced")
		append_rows "$3"
		settle "$2"
		large=$(append_run)
		copy_synced "id > $last" >"$scratch/new"
		settle "$2"
		peer=$("$scratch/bind_step" append peer.db <"$scratch/new")
		# rows that somebody might have committed among them are looked for once
		echo "$small $large $peer $(append_run)"
	done
	rm -f small.db* peer.db* "$scratch/new"
	query 'DROP TABLE bench_small'
}

append_run() {
	by_cursor "$([ "$synced" = bench_small ] && echo small.db || echo sync.db)"
}

copy_synced() { # CONDITION
	query "COPY (SELECT id, name, artist, album, url, artist_mbid::text, album_mbid::text, track_mbid::text, loved::int::text,
	                    to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
	             FROM bench_sync WHERE $1 ORDER BY id) TO STDOUT (FORMAT binary)"
}

# The median of what an awk expression makes of each line.
median_of() { # LINES EXPRESSION
	awk "{ print $2 }" <<<"$1" | median
}

sync_lines() {
	local few=$((rows / 10)) many=$rows new=$((rows / 5)) rounds nothing thousand ratio count full first merge

	printf '\n| a run that goes on | seconds of the statement | limit | met |\n|---|--:|---|---|\n'
	rounds=$(append_rounds "$few" "$many" "$new")
	limit_line "cursor: $new new rows, the table had $few" "$(median_of "$rounds" '$1')" '' 1
	ratio=$(median_of "$rounds" '$2 / $1')
	limit_line "cursor: $new new rows, the table had $many" "$(median_of "$rounds" '$2')" \
		"0.85 to 1.15 of the line above: $ratio" "$ratio >= 0.85 && $ratio <= 1.15"
	ratio=$(median_of "$rounds" '$3 / $2')
	limit_line "the same by bind and step, batches of 40,000" "$(median_of "$rounds" '$3')" \
		"2 of ours: $ratio" "$ratio >= 2"
	limit_line 'cursor: the run after it, which looks at those rows once more' "$(median_of "$rounds" '$4')" '' 1

	by_cursor sync.db >/dev/null
	nothing=$(seconds_of by_cursor sync.db)
	limit_line 'cursor: nothing new' "$nothing" '0.06' "$nothing < 0.06"
	append_rows 1000
	settle 1000
	thousand=$(by_cursor sync.db)
	limit_line 'cursor: 1,000 new rows' "$thousand" '0.08' "$thousand < 0.08"

	rm -f sync.db*
	by_version sync.db >/dev/null
	nothing=$(seconds_of by_version sync.db)
	count=$(seconds_of count_alone)
	ratio=$(calc "$nothing / $count")
	limit_line 'count(*), one process' "$count" '' 1
	limit_line 'row versions: nothing new' "$nothing" "1.3 of count(*): $ratio" "$ratio <= 1.3"

	rm -f sync.db*
	by_merge sync.db >/dev/null
	# the first merge after a load compares all, and leaves checksums for the others
	change_rows 0
	settle "$rows"
	first=$(by_merge sync.db)
	rounds=$(for ((run = 0; run < runs; run++)); do
		change_rows $((run + 1))
		rm -f full.db*
		settle "$rows"
		full=$(sync_run full.db "mode => 'full'")
		settle "$rows"
		echo "$full $(by_merge sync.db)"
	done)
	full=$(median_of "$rounds" '$1')
	merge=$(median_of "$rounds" '$2')
	ratio=$(median_of "$rounds" '$2 / $1')
	limit_line 'a full export, with its key' "$full" '' 1
	limit_line 'merge: 1 % changed, the first after the load' "$first" '' 1
	limit_line 'merge: 1 % changed' "$merge" "2.5 of the full export: $ratio" "$ratio <= 2.5"
	rm -f sync.db* full.db*
}
