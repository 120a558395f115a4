# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
# lib.sh: what the system tests share. A test sources it first:
#
#   . "$(dirname "$0")/lib.sh"
#   require fio
#   mount_fs                              a fresh pool and cache directory, mounted at $mnt
#   ...
#
# Everything is below $work, which goes at the end with every mount and process that was started here. A test ends with exit
# code 0, or fail, or skip (77). What a test prints is its log.
#
# GARNER_STORE says where the pools are: file (a directory below $work), s3 or swift (a server that tests/system/run starts, or
# tests/servers/rgw or swift with its DIR/env; what a test leaves there is deleted at its end). A test is written once for all
# of them: it names its pools by place and fresh_pool, and looks at what is stored with the functions under "the store".
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
top=$(cd "$tests/.." && pwd)
build=$(cd "${GARNER_BUILD:-.}" && pwd)
garner=$build/garner
garnerfs=$build/garnerfs
store_kind=${GARNER_STORE:-file}
flush_checker=$build/tests/tools/flush_checker

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

skip() {
	echo "skip: $*"
	exit 77
}

# only_for KIND WHY: ends the test here, well, when the pools are elsewhere. For what makes no sense there, not for what fails.
only_for() {
	[[ $store_kind != "$1" ]] || return 0
	echo "n/a: only for $1: $2"
	exit 0
}

# Programs that the test cannot do without.
require() {
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || skip "needs $tool"
	done
}

require_root() {
	[[ $(id -u) -eq 0 ]] || skip 'needs root'
}

[[ -x $garner && -x $garnerfs ]] || fail "$build holds no garner and garnerfs: build first, or set GARNER_BUILD"
[[ -c /dev/fuse ]] || skip 'needs /dev/fuse'
require fusermount3 jq
case $store_kind in
file) ;;
s3 | swift)
	[[ ${STORE_URL_BASE:-} == "$store_kind"://* ]] ||
		fail "there is no $store_kind server: use tests/system/run -s $store_kind, or start one and source its env (tests/servers)"
	require python3
	;;
*) fail "GARNER_STORE is file, s3 or swift, not \"$store_kind\"" ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/garner-system.XXXXXX")
cache=$work/cache mnt=$work/mnt
pool=''             # URL of the newest pool: see fresh_pool
daemon=''           # process id of the newest mount
declare -a pids=()  # of everything started here
declare -a mounts=() # mount points, to be undone in reverse
declare -a at_end=() # commands, to be run in reverse, after the mounts are gone

# Runs a command when the test ends, however it ends.
finally() {
	at_end+=("$*")
}

# Runs a program in the background; its process id is $! and is known to the clean-up.
start() {
	"$@" &
	pids+=($!)
}

# Whether the process is still the one that was started here: ids are given again. PID
is_ours() {
	[[ $(ps -o ppid= -p "$1" 2>/dev/null | tr -d ' ') == "$$" ]]
}

clean_up() {
	local code=$? i pid
	set +e
	trap - EXIT INT TERM
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		grep -qs " ${mounts[i]} " /proc/mounts && fusermount3 -u -z "${mounts[i]}" 2>/dev/null
	done
	for pid in "${pids[@]}"; do
		is_ours "$pid" || continue
		kill "$pid" 2>/dev/null
		for ((i = 0; i < 100; i++)); do
			is_ours "$pid" || break
			sleep 0.1
		done
		! is_ours "$pid" || kill -9 "$pid" 2>/dev/null
	done
	wait
	for ((i = ${#at_end[@]} - 1; i >= 0; i--)); do
		eval "${at_end[i]}"
	done
	if [[ $code -ne 0 && $code -ne 77 ]]; then
		for i in "$work"/*.log; do
			[[ -e $i ]] || continue
			echo "--- ${i##*/}"
			tail -n 40 "$i"
		done
	fi
	if [[ -n ${KEEP:-} && $code -ne 0 && $code -ne 77 ]]; then
		echo "kept: $work"
	else
		rm -rf "$work"
		[[ $store_kind == file ]] || remote "$(place)" wipe
	fi
	exit "$code"
}
trap clean_up EXIT
trap 'exit 143' INT TERM

is_mounted() { # DIRECTORY
	grep -qs " $1 " /proc/mounts
}

# mount_at STORE CACHE MOUNTPOINT [OPTIONS]: starts a daemon and waits until the mount is usable. $daemon is its process id,
# its output goes to $work/garnerfs.log. Returns 1 when the daemon ended instead.
mount_at() {
	local i
	mkdir -p "$3"
	"$garnerfs" "$1" "$3" -f -o "cache_dir=$2${4:+,$4}" >>"$work/garnerfs.log" 2>&1 5<&- &
	daemon=$!
	pids+=("$daemon")
	mounts+=("$3")
	for ((i = 0; i < 600; i++)); do
		is_mounted "$3" && return 0
		kill -0 "$daemon" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

# mount_fs [OPTIONS]: mounts $pool at $mnt with cache directory $cache. Also used to mount again.
mount_fs() {
	mount_at "$pool" "$cache" "$mnt" "${1:-}" || fail "the mount did not start: $(tail -n 3 "$work/garnerfs.log")"
}

# Waits for a process that was started here; fails after SECONDS (default 90). Its exit code is returned.
wait_for() { # PID [SECONDS]
	local i
	for ((i = 0; i < ${2:-90} * 20; i++)); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.05
	done
	kill -0 "$1" 2>/dev/null && fail "process $1 still runs after ${2:-90} s"
	wait "$1"
}

# unmount [MOUNTPOINT [PID]]: in order; returns when the daemon has ended, and fails if it ended badly.
unmount() {
	fusermount3 -u "${1:-$mnt}"
	wait_for "${2:-$daemon}" || fail "the daemon ended with exit code $?"
}

# kill_daemon [MOUNTPOINT [PID]]: kill -9, then takes the dead mount away.
kill_daemon() {
	kill -9 "${2:-$daemon}"
	wait "${2:-$daemon}" 2>/dev/null || true
	fusermount3 -u -z "${1:-$mnt}" 2>/dev/null || umount -l "${1:-$mnt}"
}

# interrupt_after DELAY COMMAND...: SIGINT after so many seconds; it must have ended well or with 1. What it said is in $work/out.
interrupt_after() {
	local delay=$1 pid code=0
	shift
	"$@" >"$work/out" 2>&1 &
	pid=$!
	pids+=("$pid")
	sleep "$delay"
	kill -INT "$pid" 2>/dev/null || true
	wait_for "$pid" || code=$?
	echo "after $delay s: exit code $code: $(tail -n 1 "$work/out")"
	[[ $code -le 1 ]] || fail "exit code $code"
}

# expect_line PATTERN COMMAND...: the command must exit with 1 and say one line that matches (grep -E) on standard error.
expect_line() {
	local pattern=$1 code=0 lines
	shift
	timeout 60 "$@" >"$work/out" 2>"$work/err" || code=$?
	lines=$(wc -l <"$work/err")
	echo "\$ $*"
	sed 's/^/  /' "$work/err"
	[[ $code -eq 1 ]] || fail "exit code $code instead of 1: $*"
	[[ $lines -eq 1 ]] || fail "$lines lines instead of one: $*"
	grep -qE "$pattern" "$work/err" || fail "the line says nothing of \"$pattern\": $*"
}

# Bytes that the file takes up.
allocated() { # FILE
	echo $(($(stat -c %b "$1") * $(stat -c %B "$1")))
}

# Asserts that two files hold the same bytes.
same() { # FILE FILE
	cmp "$1" "$2" || fail "$1 and $2 differ"
}

# A file of random, hardly compressible bytes: random_file FILE MIB
random_file() {
	head -c "$(($2 << 20))" /dev/urandom >"$1"
}

# ---- the store ------------------------------------------------------------------------------------------------------

# Everything of this test is below one prefix of the store, and no other test's is.
store_prefix=$(basename "$0" .sh)-${work##*.}
pool_number=0

# The URL of a place for a pool, where nothing is until something is put there. Without NAME: of all places of this test.
place() { # [NAME]
	case $store_kind in
	file) echo "file://$work${1:+/$1}" ;;
	*) echo "$STORE_URL_BASE/$store_prefix${1:+/$1}$STORE_URL_QUERY" ;;
	esac
}

# A client for stores that are elsewhere. Where the server is and the secrets are in the environment.
remote() { # URL VERB...
	"$tests/servers/object" "$@"
}

# An empty pool at a place that was not used before, and no cache directory; the pool before is deleted. ARGS are for garner
# init. Without any, a file: store is left an empty directory, which the first mount makes a pool.
# shellcheck disable=SC2120
fresh_pool() { # [ARGS...]
	[[ -z $pool ]] || store_wipe
	rm -rf "$cache"
	pool_number=$((pool_number + 1))
	pool=$(place "pool$pool_number")
	if [[ $store_kind == file && $# -eq 0 ]]; then
		mkdir "${pool#file://}"
	else
		init_pool "$@"
	fi
}

# Makes $pool a pool.
init_pool() { # [ARGS...]
	"$garner" init "$pool" "$@" || fail "garner init $pool"
}

# Deletes all that is stored in $pool.
store_wipe() {
	case $store_kind in
	file) rm -rf "${pool#file://}" ;;
	*) remote "$pool" wipe ;;
	esac
}

# The keys of $pool that begin with PREFIX, sorted.
store_list() { # [PREFIX]
	case $store_kind in
	file) (cd "${pool#file://}" && find . -type f -printf '%P\n' | { grep "^${1:-}" || true; } | sort) ;;
	*) remote "$pool" list "${1:-}" ;;
	esac
}

# Copies an object of $pool into a file.
store_get() { # KEY FILE
	case $store_kind in
	file) cp "${pool#file://}/$1" "$2" ;;
	*) remote "$pool" get "$1" "$2" ;;
	esac
}

# Makes a file an object of $pool, in the place of what was there.
store_put() { # KEY FILE
	case $store_kind in
	file)
		mkdir -p "$(dirname "${pool#file://}/$1")"
		cp "$2" "${pool#file://}/$1"
		;;
	*) remote "$pool" put "$1" "$2" ;;
	esac
}

store_delete() { # KEY
	case $store_kind in
	file) rm "${pool#file://}/$1" ;;
	*) remote "$pool" delete "$1" ;;
	esac
}

# Copies all of $pool into a directory that is not there yet, each object a file of the same name; and the reverse.
store_download() { # DIRECTORY
	case $store_kind in
	file) cp -a "${pool#file://}" "$1" ;;
	*) mkdir "$1" && remote "$pool" download "$1" ;;
	esac
}

store_upload() { # DIRECTORY
	case $store_kind in
	file) mkdir -p "${pool#file://}" && cp -a "$1/." "${pool#file://}" ;;
	*) remote "$pool" upload "$1" ;;
	esac
}

# The keys of the stored segments of all images, in order of their numbers.
stored_segments() {
	store_list images/ | grep /segments/
}

# corrupt_object KEY COMMAND [ARGS...]: what COMMAND FILE ARGS makes of the object, such as flip_bit, scribble or cut_to.
corrupt_object() {
	local key=$1 command=$2
	shift 2
	store_get "$key" "$work/corrupt"
	"$command" "$work/corrupt" "$@"
	store_put "$key" "$work/corrupt"
	rm "$work/corrupt"
}

# ---- guests ---------------------------------------------------------------------------------------------------------

# Prepares to run guests: makes the guest's kernel and initramfs once per build tree. GARNER_TEST_ACCEL=kvm is quicker.
require_guest() {
	require qemu-system-x86_64
	guest=$build/system-guest
	if ! "$top/contrib/make-guest" "$guest" >"$work/make-guest.log" 2>&1; then
		skip "cannot make a guest: $(tail -n 1 "$work/make-guest.log")"
	fi
	accel=${GARNER_TEST_ACCEL:-tcg} # slow, and the same everywhere; kvm in a virtual machine often is neither
}

# start_guest SCRIPT CONSOLE -drive ...: a guest that runs SCRIPT; $qemu is its process id, CONSOLE the file of what it says.
start_guest() {
	local script=$1 console=$2
	shift 2
	: >"$console"
	qemu-system-x86_64 -machine "accel=$accel" -m 256 -display none -no-reboot -monitor none -nic none \
		-serial "file:$console" -kernel "$guest/vmlinuz" -initrd "$guest/initrd" \
		-append "console=ttyS0 quiet panic=-1 garner.cmd=$(printf '%s' "$script" | base64 -w0)" "$@" \
		>"$work/qemu.log" 2>&1 </dev/null &
	qemu=$!
	pids+=("$qemu")
}

# run_guest SCRIPT CONSOLE -drive ...: the same, to its end. The script's exit code must be 0.
run_guest() {
	start_guest "$@"
	wait_for "$qemu" 300 || fail "qemu ended with exit code $?: $(tail -n 2 "$work/qemu.log")"
	cat "$2"
	grep -q '^GUEST-DONE 0' "$2" || fail 'the guest did not end well'
}

# Waits until the guest has said something. FILE PATTERN [SECONDS]
wait_for_console() {
	local i
	for ((i = 0; i < ${3:-120} * 10; i++)); do
		grep -q "$2" "$1" && return 0
		kill -0 "$qemu" 2>/dev/null || fail "qemu ended before the guest said \"$2\": $(tail -n 5 "$1")"
		sleep 0.1
	done
	fail "the guest did not say \"$2\""
}

# ---- damage ---------------------------------------------------------------------------------------------------------

# Flips one bit of the byte at OFFSET (from the end when negative). FILE OFFSET
flip_bit() {
	perl -e 'my ($f, $o) = @ARGV; open(my $h, "+<", $f) or die "$f: $!"; seek($h, $o, $o < 0 ? 2 : 0);
		read($h, my $b, 1) == 1 or die "short"; seek($h, $o, $o < 0 ? 2 : 0); print $h chr(ord($b) ^ 0x10); close($h) or die $!' \
		"$1" "$2"
}

# Cuts the file, or extends it with zeros. FILE SIZE
cut_to() {
	truncate -s "$2" "$1"
}

# Overwrites LENGTH bytes at OFFSET with noise. FILE OFFSET LENGTH
scribble() {
	head -c "$3" /dev/urandom | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Reads an image in 64 KiB steps beside a reference: each step must be right or be refused with EIO. Prints "RIGHT REFUSED"
# to $work/outcome. With a third argument "zeros", a step may also be all zeros (what was never written).
never_wrong() { # IMAGE REFERENCE [zeros]
	perl -e 'use Errno qw(EIO); my ($f, $r, $zeros) = @ARGV; my ($right, $refused, $empty) = (0, 0, 0); my $step = 65536;
		open(my $i, "<:raw", $f) or die "$f: $!\n"; open(my $k, "<:raw", $r) or die "$r: $!\n";
		my $size = -s $r;
		for (my $o = 0; $o < $size; $o += $step) {
			sysseek($i, $o, 0); sysseek($k, $o, 0); my ($a, $b) = ("", "");
			my $n = sysread($i, $a, $step);
			my $why = $!;
			sysread($k, $b, $step);
			if (!defined $n) { $why == EIO or die "offset $o: $why instead of EIO\n"; $refused++; next; }
			if ($a eq $b) { $right++; next; }
			if ($zeros && $a !~ /[^\0]/) { $empty++; next; }
			die "WRONG BYTES at offset $o\n";
		}
		print "$right $refused $empty\n"' "$1" "$2" "${3:-}" >"$work/outcome" || fail "wrong bytes in $1"
	echo "right, refused, empty: $(cat "$work/outcome")"
}

# The segment files of the cache directory.
local_segments() {
	find "$cache/images" -name '*.seg' -type f | sort
}

# ---- faults between garnerfs and the store ---------------------------------------------------------------------------

fault_proxy=$build/tests/tools/fault_proxy
proxy_port='' proxy_pid=''

# only_with_server WHY: ends the test here, well, when the pools are in a directory.
only_with_server() {
	[[ $store_kind != file ]] || only_for 's3 and swift' "$1"
}

# proxy_start [OPTIONS]: puts a fault proxy before the store's server; OPTIONS are its own, such as --seed 7 --fault stall=0.1.
# $proxied is then the URL of $pool through it, and `through_proxy URL` that of any other. The functions under "the store" go
# around it. A proxy that runs is ended first.
proxy_start() {
	local to i
	[[ -x $fault_proxy ]] || fail "$fault_proxy is missing: make $fault_proxy"
	to=$(sed -En 's|.*=http://(127\.0\.0\.1:[0-9]+).*|\1|p' <<<"$STORE_URL_QUERY")
	[[ -n $to ]] || skip "the server of $STORE_URL_QUERY is not on 127.0.0.1"
	proxy_stop
	: >"$work/proxy.out"
	"$fault_proxy" --listen 127.0.0.1:0 --to "$to" --control "$work/proxy.control" "$@" >"$work/proxy.out" 2>"$work/proxy.log" 5<&- &
	proxy_pid=$!
	pids+=("$proxy_pid")
	for ((i = 0; i < 200; i++)); do
		proxy_port=$(sed -n 's/^listening on 127\.0\.0\.1://p' "$work/proxy.out")
		[[ -z $proxy_port ]] || break
		kill -0 "$proxy_pid" 2>/dev/null || break
		sleep 0.05
	done
	[[ -n $proxy_port ]] || fail "the fault proxy does not start: $(cat "$work/proxy.log")"
	proxied=$(through_proxy "$pool")
}

proxy_stop() {
	[[ -n $proxy_pid ]] || return 0
	kill "$proxy_pid" 2>/dev/null || true
	wait "$proxy_pid" || fail "the fault proxy ended with exit code $?"
	proxy_pid=''
}

# The same place, reached through the proxy.
through_proxy() { # URL
	sed -E "s|=http://127\.0\.0\.1:[0-9]+|=http://127.0.0.1:$proxy_port|" <<<"$1"
}

# proxy LINE: tells the proxy something (down, up, faults off, fault KIND=P[,ARG], stats ...) and prints its answer.
proxy() {
	local answer
	answer=$(python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
s.sendall(sys.argv[2].encode() + b"\n")
print(s.makefile().readline().strip())' "$work/proxy.control" "$*") || fail "the fault proxy does not listen"
	[[ $answer != error* ]] || fail "the fault proxy does not take \"$*\": $answer"
	echo "$answer"
}

# Takes from the clean-up's list what has ended: in a long test its process id may have become that of a stranger.
forget_ended() {
	local pid running=()
	for pid in "${pids[@]}"; do
		! is_ours "$pid" || running+=("$pid")
	done
	pids=("${running[@]}")
}

# within SECONDS COMMAND...: the command's exit code is returned; one that is not done by then hangs, and fails the test.
within() {
	local seconds=$1 code=0
	shift
	timeout -k 5 "$seconds" "$@" || code=$?
	[[ $code -ne 124 && $code -ne 137 ]] || fail "not done after $seconds s: $*"
	return "$code"
}

# eventually SECONDS COMMAND...: repeats the command until it succeeds; returns 1 when it does not within that time.
eventually() {
	local until=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS < until)) || return 1
		sleep 0.2
	done
}

# A field of garner status --json: of an image, or of a mount. PATH FIELD
status_of() {
	timeout 20 "$garner" status "$1" --json | jq -r ".$2"
}

fresh_pool
