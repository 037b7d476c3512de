# Sourced by test/bench/run: one source, four tables.
# shellcheck shell=bash disable=SC2154,SC2016

# TRACK: the SQL that tells tracks apart.
four_tables() { # TRACK
	printf '%s' '{"artist": {"columns": {"name": "artist"}, "key": ["name"]},' \
		' "album": {"columns": {"title": "album", "artist_id": {"references": "artist"}}, "key": ["artist_id", "title"]},' \
		' "track": {"columns": {"title": {"expr": "'"$1"'"}, "mbid": "track_mbid", "artist_id": {"references": "artist"}}, "key": ["artist_id", "title"]},' \
		' "scrobble": {"columns": {"id": "id", "played_at": "date", "url": "url", "loved": "loved",' \
		'   "track_id": {"references": "track"}, "album_id": {"references": "album"}}, "key": ["id"]}}'
}

map_table() { # FILE TRACK
	query "SELECT * FROM lfsync_export('bench', '$1', mapping => '$(four_tables "$2")')"
}

lfsync_mapping() { clock map_table "$1" name; }
python_mapping() { clock "$python" "$here/psycopg2_mapping.py" bench "$1"; }
bind_mapping() { "$scratch/bind_mapping" "$1" <"$scratch/rows"; }

# All ways find the same artists, albums and tracks.
same_mapping() {
	local way counts=''
	for way in lfsync_mapping bind_mapping python_mapping; do
		[ $way != python_mapping ] || [ -n "$python" ] || continue
		rm -f map.db
		$way map.db >/dev/null
		counts+=$(sqlite3 map.db 'SELECT (SELECT count(*) FROM artist), (SELECT count(*) FROM album),
			(SELECT count(*) FROM track), (SELECT count(*) FROM scrobble),
			(SELECT sum(length(a.name || t.title)) FROM scrobble s JOIN track t ON t.id = s.track_id
			                                       JOIN artist a ON a.id = t.artist_id)')$'\n'
	done
	rm -f map.db
	[ "$(sort -u <<<"$counts" | wc -l)" = 2 ] || {
		say "the ways to four tables do not agree: $counts"
		return 1
	}
}

mapping_lines() {
	local memory
	same_mapping
	counted=scrobble
	head_line 'one source, four tables'
	pair 'lfsync' lfsync_mapping 'psycopg2, dictionaries, executemany' python_mapping 3
	pair 'lfsync' lfsync_mapping 'rows in memory, bind and step, statements that look up' bind_mapping 1.5
	counted=bench

	memory=$(as_user python3 "$here/memory.py" psql -Xqc "SELECT * FROM lfsync_export('bench', 'map.db',
		mapping => '$(four_tables "name || ' ' || id % 2000000" | sed "s/'/''/g")')")
	met "$memory < 64 * 1024"
	printf '\nPrivate memory with %s distinct tracks: %.1f MB (target: below 64 MB; met: %s).\n' \
		"$(sqlite3 map.db 'SELECT count(*) FROM track')" "$(calc "$memory / 1024")" "$verdict"
	rm -f map.db*
}
