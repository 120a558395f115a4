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
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
top=$(cd "$tests/.." && pwd)
build=$(cd "${GARNER_BUILD:-.}" && pwd)
garner=$build/garner
garnerfs=$build/garnerfs
flush_checker=$build/tests/tools/flush_checker

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

skip() {
	echo "skip: $*"
	exit 77
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

work=$(mktemp -d "${TMPDIR:-/tmp}/garner-system.XXXXXX")
pool=$work/pool cache=$work/cache mnt=$work/mnt
mkdir "$pool"
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

clean_up() {
	local code=$? i pid
	set +e
	trap - EXIT INT TERM
	for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
		grep -qs " ${mounts[i]} " /proc/mounts && fusermount3 -u -z "${mounts[i]}" 2>/dev/null
	done
	for pid in "${pids[@]}"; do
		kill -0 "$pid" 2>/dev/null || continue
		kill "$pid" 2>/dev/null
		for ((i = 0; i < 100; i++)); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -9 "$pid" 2>/dev/null
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
	fi
	exit "$code"
}
trap clean_up EXIT
trap 'exit 143' INT TERM

is_mounted() { # DIRECTORY
	grep -qs " $1 " /proc/mounts
}

# An empty directory as the pool, and no cache directory.
fresh_pool() {
	rm -rf "$pool" "$cache"
	mkdir "$pool"
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

# The stored segments of all images, in order of their numbers.
stored_segments() {
	find "$pool" -path '*/segments/*' -type f | sort
}

# The segment files of the cache directory.
local_segments() {
	find "$cache/images" -name '*.seg' -type f | sort
}
