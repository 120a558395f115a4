#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# SIGTERM: everything is sealed and uploaded, or kept for next time; the mount goes, the exit is orderly.
. "$(dirname "$0")/lib.sh"

random_file "$work/data" 24

echo '== enough time: all of it is in the store'
mount_fs seal_after=1h,segment_size=1M
cp "$work/data" "$mnt/disk.raw"
kill -TERM "$daemon"
wait_for "$daemon" || fail "exit code $?"
! is_mounted "$mnt" || fail 'it is still mounted'
rm -rf "$cache"
mount_fs
same "$work/data" "$mnt/disk.raw"
unmount

echo '== no time: what is not in the store is in the cache'
fresh_pool
mount_fs seal_after=1h,segment_size=1M,stop_deadline=1ms,uploads=1
cp "$work/data" "$mnt/disk.raw"
kill -TERM "$daemon"
wait_for "$daemon" || echo "exit code $?"
mount_fs
same "$work/data" "$mnt/disk.raw"
unmount
rm -rf "$cache"
mount_fs
same "$work/data" "$mnt/disk.raw"

echo '== in the middle of writing'
dd if=/dev/zero bs=1M count=10000 status=none | tr '\0' 'x' | dd of="$mnt/stream.raw" bs=64k iflag=fullblock status=none 2>/dev/null &
writer=$!
pids+=("$writer")
sleep 1
kill -TERM "$daemon"
wait_for "$daemon" || echo "exit code $?"
wait_for "$writer" || true
fusermount3 -u -z "$mnt" 2>/dev/null || true
mount_fs
n=$(stat -c %s "$mnt/stream.raw")
echo "$n bytes"
tr -d 'x' <"$mnt/stream.raw" | cmp - /dev/null || fail 'bytes that nobody wrote'
same "$work/data" "$mnt/disk.raw"
unmount
"$garner" verify "$pool"
