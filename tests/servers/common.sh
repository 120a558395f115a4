# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
# common.sh: what the scripts that start a server for tests share. Knows how to start, watch, stop and tidy, and nothing of
# any server. A script sources this, sets `made` (the names it makes in $dir), has server_up (which starts all on $port and the
# ports after it) and server_env (which prints what a client needs), and ends with
#
#   server_main "$@"
#
# A process is started as the leader of its own session, and DIR/run/NAME.pid holds its process id and when it started, so
# that `down` ends what `up` started, with all children, and never a stranger that came by the same id later.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
umask 077 # DIR holds the secrets of the server

servers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir='' port='' made=()
PORT_TAKEN=75 # exit code of `up`: try another port

die() { # TEXT
	echo "${0##*/}: $1" >&2
	exit "${2:-1}"
}

# need PROGRAM PACKAGE...: pairs of a program and the Debian package that has it. Says all that are missing at once.
need() {
	local missing=()
	while (($# > 0)); do
		command -v "$1" >/dev/null || missing+=("$2")
		shift 2
	done
	((${#missing[@]} == 0)) || die "programs are missing. Install the Debian packages: apt-get install $(printf '%s\n' "${missing[@]}" |
		sort -u | tr '\n' ' ')"
}

# Nothing may listen on these ports of 127.0.0.1.
need_ports() {
	local port
	for port in "$@"; do
		((port > 0 && port < 65536)) || die "port $port is impossible"
		! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "port $port of 127.0.0.1 is taken" "$PORT_TAKEN"
	done
}

# start NAME COMMAND...: in the background, with its output in DIR/log/NAME.
start() {
	local name=$1
	shift
	setsid "$@" >"$dir/log/$name" 2>&1 </dev/null &
	echo "$! $(started_at $!)" >"$dir/run/$name.pid"
	disown
}

# When the process started, in ticks since the machine did; nothing when there is no such process. PID
started_at() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	stat=${stat##*) } # the name may hold spaces
	cut -d' ' -f20 <<<"$stat"
}

# Whether a process of this session runs. One that has ended and that nobody has waited for does not. PID
session_runs() {
	ps -o stat= -s "$1" | awk '!/^Z/ { runs = 1 } END { exit !runs }'
}

# Whether what was started under this name still runs. NAME
runs() {
	local pid started
	read -r pid started <"$dir/run/$1.pid" && [[ -n $started && $(started_at "$pid") == "$started" ]] && session_runs "$pid"
}

# wait_until SECONDS WHAT COMMAND...: repeats the command until it succeeds. Ends when a started process has ended instead.
wait_until() {
	local until=$((SECONDS + $1)) what=$2 file
	shift 2
	until "$@" >/dev/null 2>&1; do
		for file in "$dir"/run/*.pid; do
			runs "$(basename "$file" .pid)" || die "$(basename "$file" .pid) has ended while $what was awaited"
		done
		((SECONDS < until)) || die "$what did not come up"
		sleep 0.1
	done
}

listens() { # PORT
	(exec 3<>"/dev/tcp/127.0.0.1/$1")
}

# Ends all that runs in the sessions, and waits until it is gone. Nothing of a test's server is kept, so nothing is asked: a
# process that hangs, or that a test has stopped, goes as well. PID...
end_sessions() {
	local pid i
	for pid in "$@"; do
		kill -KILL -- "-$pid" 2>/dev/null || true
	done
	for pid in "$@"; do
		for ((i = 0; i < 300; i++)); do
			session_runs "$pid" || continue 2
			sleep 0.1
		done
		die "process $pid, or a child of it, does not end"
	done
}

# Stops and removes what `up` left in $dir, be it much or little.
server_down() {
	local file pid started pids=() name
	for file in "$dir"/run/*.pid; do
		[[ -e $file ]] || continue
		pid='' started=''
		read -r pid started <"$file" || true
		# The leader may have ended before its children; then its id is still that of their session.
		[[ -z $pid || (-n $(started_at "$pid") && $(started_at "$pid") != "$started") ]] || pids+=("$pid")
	done
	((${#pids[@]} == 0)) || end_sessions "${pids[@]}"
	for name in run log env "${made[@]}"; do
		rm -rf "${dir:?}/$name"
	done
	rmdir --ignore-fail-on-non-empty "$dir"
}

# Says which of the server's programs have ended, and their last words. Returns 1 when one has.
server_check() {
	local file name code=0
	for file in "$dir"/run/*.pid; do
		name=$(basename "$file" .pid)
		! runs "$name" || continue
		echo "$name of the store's server has ended:"
		tail -n 5 "$dir/log/$name"
		code=1
	done
	return "$code"
}

up_failed() {
	local code=$? file
	trap - EXIT
	trap '' INT TERM
	if ((code != PORT_TAKEN && code != 143)); then
		for file in "$dir"/log/*; do
			[[ ! -s $file ]] || { echo "--- ${file##*/}"; tail -n 15 "$file"; } >&2
		done
	fi
	(server_down) || true
	exit "$code"
}

# An object goes there and back. The bucket or container is made.
store_works() {
	# shellcheck disable=SC1091
	. "$dir/env"
	local url=$STORE_URL_BASE/probe$STORE_URL_QUERY
	"$servers/object" "$url" make && "$servers/object" "$url" put probe "$dir/env.probe" &&
		"$servers/object" "$url" get probe "$dir/env.back" && cmp "$dir/env.probe" "$dir/env.back" &&
		"$servers/object" "$url" delete probe
}

server_main() {
	[[ $# -ge 2 && ($1 == down && $# -eq 2 || $1 == check && $# -eq 2 || $1 == up && $# -eq 3) ]] || {
		sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
		exit 2
	}
	dir=$(realpath -m "$2")
	if [[ $1 == down ]]; then
		[[ ! -d $dir ]] || server_down
		return 0
	fi
	if [[ $1 == check ]]; then
		server_check
		return
	fi
	port=$3
	[[ $port =~ ^[0-9]{1,5}$ ]] || die "the port is a number, not \"$port\""
	need python3 python3 ps procps
	[[ ! -e $dir/run ]] || die "$dir/run is there: a server was started in $dir. Stop it with: $0 down $dir"
	trap up_failed EXIT
	trap 'exit 143' INT TERM
	mkdir -p "$dir" "$dir/run" "$dir/log"
	server_up
	server_env >"$dir/env"
	head -c 70000 /dev/urandom >"$dir/env.probe"
	wait_until 30 'the store' store_works
	rm "$dir"/env.*
	trap - EXIT
	echo "${0##*/} is up on 127.0.0.1:$port; what a client needs: . $dir/env"
}
