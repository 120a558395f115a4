#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# garner import, export and takeover on a store that nobody has mounted here: sparse stays sparse, what is interrupted is finished by
# running it again, snapshots are to be had, an owner that has died or hangs is fenced, and no cache is left behind.
. "$(dirname "$0")/lib.sh"
require perl

# What the commands make on the way is to be seen here.
export TMPDIR=$work/tmp
mkdir "$TMPDIR"
nothing_left() {
	[[ -z $(ls -A "$TMPDIR") ]] || fail "left behind: $(ls "$TMPDIR")"
}

head -c 32 /dev/urandom >"$work/key"
chmod 600 "$work/key"
fresh_pool --key-file "$work/key"
key=(--key-file "$work/key")
truncate -s 300M "$work/source.raw"
random_file "$work/part" 50
dd if="$work/part" of="$work/source.raw" bs=1M seek=7 conv=notrunc status=none
dd if="$work/part" of="$work/source.raw" bs=1M seek=230 conv=notrunc status=none

interrupted() { # COMMAND...: interrupts it at several moments, then lets it end
	local delay
	for delay in 0.05 0.2; do
		interrupt_after "$delay" "$@"
		nothing_left
	done
	"$@"
}

echo '== import and export'
interrupted "$garner" import "$work/source.raw" "$pool" disk.raw "${key[@]}"
nothing_left
"$garner" import "$work/source.raw" "$pool" disk.raw "${key[@]}" | grep 'there already' >/dev/null || fail 'importing again is not seen'
interrupted "$garner" export "$pool" disk.raw "$work/back.raw" "${key[@]}"
same "$work/source.raw" "$work/back.raw"
[[ $(allocated "$work/back.raw") -le $((110 << 20)) ]] || fail "export is not sparse: $(allocated "$work/back.raw")"
nothing_left

echo '== what is refused'
expect_line 'there is no image other.raw' "$garner" export "$pool" other.raw "$work/x" "${key[@]}"
expect_line 'there is no snapshot' "$garner" export "$pool" disk.raw@monday "$work/x" "${key[@]}"
expect_line 'differs: remove it, or use --replace' "$garner" import "$work/part" "$pool" disk.raw "${key[@]}"
expect_line 'does not exist' "$garner" import "$work/part" "$pool" folder/disk.raw "${key[@]}"
expect_line 'is sealed: give its key' "$garner" export "$pool" disk.raw "$work/x"
expect_line 'not in a garnerfs mount' "$garner" export "$work/part" disk.raw "$work/x" "${key[@]}"
mount_fs "key_file=$work/key,lease=3s"
expect_line 'is no store' "$garner" export "$mnt" disk.raw "$work/x" "${key[@]}"
[[ ! -e $work/x ]] || fail 'something was exported'
nothing_left
"$garner" import "$work/part" "$pool" disk.raw --replace "${key[@]}"
"$garner" verify "$pool" "${key[@]}"

echo '== the same is in a mount; and a snapshot of it without one'
same "$work/part" "$mnt/disk.raw"
"$garner" snapshot create "$mnt/disk.raw@monday"
mkdir "$mnt/folder"
dd if=/dev/zero of="$mnt/disk.raw" bs=1M count=1 conv=notrunc,fsync status=none
"$garner" export "$pool" disk.raw@monday "$work/monday.raw" "${key[@]}"
same "$work/part" "$work/monday.raw"
"$garner" import "$work/source.raw" "$pool" folder/other.raw "${key[@]}"
eventually 60 cmp "$work/source.raw" "$mnt/folder/other.raw" 2>/dev/null || fail 'the mount does not see what was imported'

echo '== its owner hangs'
# A guest has it open; not this shell, all of whose children would wait for the daemon when they close it.
start perl -e 'open(DISK, "+<", shift) or die; sleep 600' "$mnt/disk.raw"
guest=$!
dd if="$work/part" of="$mnt/disk.raw" bs=1M conv=notrunc,fsync status=none
"$garner" flush "$mnt"
kill -STOP "$daemon"
"$garner" takeover "$pool" disk.raw "${key[@]}" >"$work/out"
cat "$work/out"
[[ $(<"$work/out") == *"its owner was $HOSTNAME"* ]] || fail 'it is not said who the owner was'
kill -CONT "$daemon"
nothing_left
first=$daemon
mount_at "$pool" "$work/other-cache" "$work/other-mnt" "key_file=$work/key,lease=3s" || fail 'the second host cannot mount'
same "$work/part" "$work/other-mnt/disk.raw"
dd if=/dev/zero of="$work/other-mnt/disk.raw" bs=1M count=1 conv=notrunc,fsync status=none || fail 'the image cannot be written to elsewhere'
refused() {
	! dd if=/dev/zero of="$mnt/disk.raw" bs=1M count=1 conv=notrunc,fsync status=none 2>"$work/err"
}
eventually 60 refused || fail 'the first host goes on writing'
cat "$work/err"
kill "$guest"
unmount "$work/other-mnt" "$daemon"
kill_daemon "$mnt" "$first"
"$garner" verify "$pool" "${key[@]}"
