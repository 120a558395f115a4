#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# The store fills or goes away: nothing answered is lost, cached reads go on, on_full=error says ENOSPC, and when the store is
# back everything gets there.
. "$(dirname "$0")/lib.sh"
only_for file 'the store is made to fill as a small file system'
require_root

mkdir "$work/store"
mount -t tmpfs -o size=24M tmpfs "$work/store" || skip 'cannot mount a tmpfs'
finally "umount -l '$work/store'"
mkdir "$work/store/pool"
random_file "$work/data" 80

mount_at "$work/store/pool" "$cache" "$mnt" segment_size=1M,dirty_limit=16M,on_full=error,stop_deadline=2s || fail 'no mount'
code=0
timeout 200 dd if="$work/data" of="$mnt/a.raw" bs=1M oflag=direct status=none 2>"$work/dd.err" || code=$?
cat "$work/dd.err"
[[ $code -eq 1 ]] || fail "dd ended with $code on a full store"
grep -qi 'no space left' "$work/dd.err" || fail 'the error is not ENOSPC'
n=$(stat -c %s "$mnt/a.raw")
echo "$n bytes were answered"
[[ $n -gt $((24 << 20)) ]] || fail 'the cache took nothing while the store was full'
timeout 30 cmp -n "$n" "$work/data" "$mnt/a.raw" || fail 'cached reads are wrong or slow without the store'
"$garner" status "$mnt" || true
kill -0 "$daemon" || fail 'the daemon ended'

echo '== killed and mounted again with the store still full'
kill_daemon
mount_at "$work/store/pool" "$cache" "$mnt" segment_size=1M,dirty_limit=16M,on_full=error || fail 'no mount'
cmp -n "$n" "$work/data" "$mnt/a.raw" || fail 'unsent data is lost'

echo '== the store has room again'
mount -o remount,size=400M "$work/store"
timeout 120 "$garner" flush "$mnt" # what waits gets there first: until then there is no room for more
timeout 120 dd if="$work/data" of="$mnt/a.raw" bs=1M oflag=direct conv=notrunc status=none || fail 'it does not go on'
"$garner" flush "$mnt"
unmount
rm -rf "$cache"
mount_at "$work/store/pool" "$cache" "$mnt" || fail 'no mount'
same "$work/data" "$mnt/a.raw"
unmount
