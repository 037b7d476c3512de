# Sourced by test/run, test/demo/run and test/bench/run: a scratch directory
# with a copy of the source tree and a private copy of the server that has
# lfsync installed.  Nothing outside of it is touched, and it goes away at the
# end, however the script ends.
#
# PostgreSQL finds its libraries and its share directory relative to its own
# binary, so a copy of the installation under another prefix is a complete
# server (PostgreSQL's own `make check` lives on that), and `make install`
# with DESTDIR puts lfsync into the copy only.
#
# Environment: PG_CONFIG chooses the server, LFSYNC_SCRATCH where the directory
# is made (/tmp), and LFSYNC_KEEP=1 keeps it.
#
# After scratch_open and scratch_install:
#   $top      the source tree as called       $pg_config  the server's
#   $scratch  the scratch directory           $source     the copy of the tree
#   $bin      psql, initdb, … of the private server, first in PATH
#   $user     who runs the server, since PostgreSQL refuses root
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

scratch_open() {
	umask 022
	pg_config=$("$top/test/setup")
	if [ "$(id -u)" = 0 ]; then
		# Debian's packages bring the user postgres; any other would do.
		user=$(id -un postgres 2>/dev/null || echo nobody)
	else
		user=$(id -un)
	fi
	# Not $TMPDIR: $user has to reach it, and the paths of sockets must be short.
	scratch=$(mktemp -d "${LFSYNC_SCRATCH:-/tmp}/lfsync.XXXXXX")
	trap scratch_close EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	chmod 755 "$scratch"
	mkdir "$scratch/tmp"
	export TMPDIR=$scratch/tmp
	# Nothing of the caller's settings: one locale and one time zone for all, no
	# way to another server, no flags of a make above us.
	unset "${!LC_@}" "${!PG@}" "${!MAKE@}" MFLAGS
	export LANG=C.UTF-8 TZ=UTC
	# and nothing from directories that $user may not enter
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
}

# Runs a command as the server's user.
as_user() {
	if [ "$(id -u)" = 0 ]; then
		HOME=$scratch USER=$user setpriv --reuid "$user" --regid "$(id -gn "$user")" --init-groups "$@"
	else
		"$@"
	fi
}

# Builds lfsync from a copy of the tree and installs it into a private server.
# Arguments go to make, as in: scratch_install WERROR=1
# shellcheck disable=SC2120
scratch_install() {
	source=$scratch/source
	mkdir "$source"
	tar -C "$top" --exclude=./.git --exclude='*.o' --exclude='*.so' --exclude='*.bc' -cf - . \
		| tar -C "$source" --no-same-owner -xf -

	local dir
	bin=$scratch/pg$("$pg_config" --bindir)
	for dir in "$("$pg_config" --pkglibdir)" "$("$pg_config" --sharedir)"; do
		mkdir -p "$scratch/pg$dir"
		cp -a "$dir/." "$scratch/pg$dir"
	done
	mkdir -p "$bin"
	dir=$("$pg_config" --bindir)
	cp -a "$dir"/{postgres,initdb,psql,createdb,createuser,dropdb,dropuser,vacuumdb} "$dir"/pg[_b]* "$bin"

	make -s -C "$source" -j2 PG_CONFIG="$pg_config" "$@" install DESTDIR="$scratch/pg"
	[ "$(id -u)" != 0 ] || chown -R "$user:" "$scratch"
	PATH=$bin:$PATH
}

# server_start NAME [SETTING...]: makes and starts a cluster that listens on a
# socket below $scratch only, and points psql at it.
server_start() {
	local data=$scratch/$1 setting
	shift
	as_user initdb -D "$data" -U postgres -A trust -E UTF8 --no-sync >/dev/null
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$scratch/tmp'"
		echo "shared_preload_libraries = 'lfsync'"
		for setting; do
			echo "$setting"
		done
	} >>"$data/postgresql.conf"
	export PGHOST=$scratch/tmp PGUSER=postgres PGDATABASE=postgres
	as_user pg_ctl -D "$data" -l "$data/server.log" -w start >/dev/null || {
		tail -n 20 "$data/server.log" >&2
		return 1
	}
}

# Runs a long command so that a signal to this script ends all of it at once:
# in the background, because bash delays traps while a foreground command runs,
# and as a process group of its own.
job=
supervise() {
	set -m
	"$@" </dev/null &
	job=$!
	set +m
	wait "$job"
}

# alive PID: whether a process, or with a minus sign its group, is there and
# more than a zombie.
alive() {
	# Processes vanish while they are listed.
	{ cat /proc/[0-9]*/stat 2>/dev/null || true; } | awk -v id="$1" '
		{ pid = $1; sub(/.*\) /, ""); if ($1 != "Z" && (pid == id || $3 == -id)) found = 1 }
		END { exit !found }'
}

# Waits up to 20 s for a process or group to end.
gone() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		alive "$1" || return 0
		sleep .1
	done
	return 1
}

# Ends what was started below $scratch, and removes all.
scratch_close() {
	local status=$? file pid
	trap - EXIT INT TERM HUP
	if [ -n "$job" ] && kill -TERM -- "-$job" 2>/dev/null; then
		gone "-$job" || kill -KILL -- "-$job" 2>/dev/null || true
	fi
	# What a test driver left running, and the demo's server.
	while read -r file; do
		read -r pid <"$file" || continue
		[ "$(readlink "/proc/$pid/exe")" = "$bin/postgres" ] && kill -INT "$pid" 2>/dev/null || continue
		gone "$pid" || kill -QUIT "$pid" 2>/dev/null || true
	done < <(find "$scratch" -name postmaster.pid 2>/dev/null)
	cd /
	if [ -n "${LFSYNC_KEEP:-}" ]; then
		echo "kept: $scratch" >&2
	else
		rm -rf "$scratch"
	fi
	exit "$status"
}
