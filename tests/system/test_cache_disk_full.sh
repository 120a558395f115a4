#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# The disk of the cache directory fills: writes wait or fail with a clear error; what was answered is right; when there is
# room again it goes on.
. "$(dirname "$0")/lib.sh"
require_root

small_disk() { # DIRECTORY SIZE
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2" tmpfs "$1" || skip 'cannot mount a tmpfs'
	finally "umount -l '$1'"
}

random_file "$work/data" 150

echo '== the store is there: the cache makes room by itself'
small_disk "$work/small" 96M
mount_at "$pool" "$work/small/cache" "$mnt" segment_size=1M,cache_size=64M,dirty_limit=16M || fail 'no mount'
timeout 120 dd if="$work/data" of="$mnt/a.raw" bs=1M conv=fsync status=none || fail 'writing more than the cache holds failed'
same "$work/data" "$mnt/a.raw"
unmount

echo '== the disk is smaller than the cache may be: writing goes on, or says so'
small_disk "$work/tiny" 48M
mount_at "$pool" "$work/tiny/cache" "$mnt" segment_size=1M,on_full=error || fail 'no mount'
code=0
timeout 120 dd if="$work/data" of="$mnt/b.raw" bs=1M oflag=direct conv=notrunc status=none 2>"$work/dd.err" || code=$?
cat "$work/dd.err"
[[ $code -ne 124 ]] || fail 'writing hangs with on_full=error'
[[ $code -eq 0 ]] || grep -qi 'no space left' "$work/dd.err" || fail 'the error is not ENOSPC'
kill -0 "$daemon" || fail 'the daemon ended'
n=$(stat -c %s "$mnt/b.raw")
cmp -n "$n" "$work/data" "$mnt/b.raw" || fail 'what was written is wrong'
mount -o remount,size=400M "$work/tiny"
timeout 120 dd if="$work/data" of="$mnt/b.raw" bs=1M conv=fsync,notrunc status=none || fail 'it does not go on when there is room'
same "$work/data" "$mnt/b.raw"
unmount

echo '== the disk fills from outside while a guest flushes'
mount_at "$pool" "$work/tiny/cache" "$mnt" segment_size=1M,on_full=error || fail 'no mount'
dd if="$work/data" of="$mnt/c.raw" bs=1M count=8 conv=fsync status=none
head -c 500M /dev/zero >"$work/tiny/ballast" 2>/dev/null || true
for ((i = 0; i < 40; i++)); do
	timeout 60 dd if="$work/data" of="$mnt/c.raw" bs=1M count=1 skip="$i" seek="$i" conv=fsync,notrunc status=none 2>>"$work/dd.err" ||
		break
done
echo "$i of 40 MiB were written on a full disk"
cmp -n "$((i << 20))" "$work/data" "$mnt/c.raw" || fail 'what was flushed on a full disk is wrong'
rm "$work/tiny/ballast"
kill_daemon
mount_at "$pool" "$work/tiny/cache" "$mnt" segment_size=1M || fail 'no mount after the full disk'
cmp -n "$((i << 20))" "$work/data" "$mnt/c.raw" || fail 'what was flushed on a full disk is lost after a kill'
unmount
