#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# sync=local: a flush survives a kill. sync=remote: a flush is in the store when it is answered, and so is an O_DSYNC write.
# sync=none: a flush is answered at once, and the mount says so.
. "$(dirname "$0")/lib.sh"

random_file "$work/data" 4

lost=0
# What another host sees when this one never comes back.
from_the_store() {
	lost=$((lost + 1))
	store_download "$work/copy"
	here=$pool
	pool=$(place "lost-$lost")
	store_upload "$work/copy"
	mount_at "$pool" "$work/lost-cache" "$work/lost-mnt" lease=1s || fail 'no mount of the store alone'
	cat "$work/lost-mnt/disk.raw" >"$work/seen"
	fusermount3 -u "$work/lost-mnt"
	wait_for "$daemon" || true
	store_wipe
	pool=$here
	rm -rf "$work/copy" "$work/lost-cache"
}

echo '== sync=local'
mount_fs seal_after=1h,sync=local
dd if="$work/data" of="$mnt/disk.raw" bs=64k conv=fsync status=none
[[ $("$garner" status "$mnt/disk.raw" --json | jq -r .sync) == local ]] || fail 'status does not say local'
kill_daemon
mount_fs seal_after=1h
same "$work/data" "$mnt/disk.raw"
unmount

echo '== sync=remote'
fresh_pool
mount_fs seal_after=1h,sync=remote
dd if="$work/data" of="$mnt/disk.raw" bs=64k conv=fsync status=none
[[ $("$garner" status "$mnt/disk.raw" --json | jq -r .sync) == remote ]] || fail 'status does not say remote'
writer=$daemon
from_the_store
same "$work/data" "$work/seen"
echo 'durable write' | dd of="$mnt/disk.raw" bs=4k seek=10 conv=notrunc oflag=dsync status=none
cp "$work/data" "$work/expected"
echo 'durable write' | dd of="$work/expected" bs=4k seek=10 conv=notrunc status=none
from_the_store
same "$work/expected" "$work/seen"
unmount "$mnt" "$writer"

echo '== sync=none'
fresh_pool
: >"$work/garnerfs.log"
mount_fs seal_after=1h,sync=none
dd if="$work/data" of="$mnt/disk.raw" bs=64k conv=fsync status=none
grep -qi 'sync=none' "$work/garnerfs.log" || fail 'sync=none is not said aloud'
[[ $("$garner" status "$mnt/disk.raw" --json | jq -r .sync) == none ]] || fail 'status does not say none'
unmount
mount_fs
same "$work/data" "$mnt/disk.raw"
unmount
