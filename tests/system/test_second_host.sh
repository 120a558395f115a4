#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Two hosts (two cache directories) on one pool: one writes, the other is refused and told who it is; after an orderly unmount, a
# kill or a takeover the other goes on with what was in the store, bit for bit, and the first can do no harm.
. "$(dirname "$0")/lib.sh"

other_cache=$work/other-cache other_mnt=$work/other-mnt
require perl
random_file "$work/data" 20
random_file "$work/more" 2

echo '== while the first host writes'
mount_fs segment_size=1M,lease=2s
first=$daemon
cp "$work/data" "$mnt/disk.raw"
exec 5<>"$mnt/disk.raw" # a guest has it open
"$garner" flush "$mnt"
mount_at "$pool" "$other_cache" "$other_mnt" segment_size=1M,lease=2s || fail 'the second host cannot mount'
second=$daemon
if dd if="$work/more" of="$other_mnt/disk.raw" bs=1M conv=notrunc status=none 2>"$work/err"; then
	fail 'both hosts write'
fi
cat "$work/err"
grep -q "$(hostname)" "$work/garnerfs.log" || fail 'nobody says who owns the image'
"$garner" info "$other_mnt/disk.raw"
"$garner" info "$other_mnt/disk.raw" | grep "$(hostname)" >/dev/null || fail 'garner info does not name the owner'
same "$work/data" "$mnt/disk.raw"

echo '== a reader on the second host, who does not close it'
exec 6<"$other_mnt/disk.raw"
sees() { # FILE: the first bytes of the image are that
	cmp <(perl -e 'open(my $h, "<&=", 6); sysseek($h, 0, 0); sysread($h, my $b, shift); print $b' "$(stat -c %s "$1")") "$1"
}
head -c 128k "$work/data" >"$work/before"
head -c 128k "$work/more" >"$work/after"
sees "$work/before" || fail 'it is not what was stored'
dd if="$work/after" of="$mnt/disk.raw" bs=128k conv=notrunc,fsync status=none
"$garner" flush "$mnt"
eventually 60 sees "$work/after" 2>/dev/null || fail 'the reader does not see what the owner has stored'
dd if="$work/before" of="$mnt/disk.raw" bs=128k conv=notrunc,fsync status=none
exec 5>&- 6<&-

echo '== after an orderly unmount'
unmount "$mnt" "$first"
same "$work/data" "$other_mnt/disk.raw"
cp "$work/data" "$work/expected"
dd if="$work/more" of="$work/expected" bs=1M seek=5 conv=notrunc status=none
dd if="$work/more" of="$other_mnt/disk.raw" bs=1M seek=5 conv=notrunc,fsync status=none || fail 'the image was not handed over'
same "$work/expected" "$other_mnt/disk.raw"
unmount "$other_mnt" "$second"

echo '== back again, with the first cache still there'
mount_fs segment_size=1M,lease=2s
first=$daemon
same "$work/expected" "$mnt/disk.raw"
dd if="$work/more" of="$work/expected" bs=1M seek=9 conv=notrunc status=none
dd if="$work/more" of="$mnt/disk.raw" bs=1M seek=9 conv=notrunc,fsync status=none
"$garner" flush "$mnt"

echo '== after a kill: the lease runs out'
kill_daemon "$mnt" "$first"
mount_at "$pool" "$other_cache" "$other_mnt" segment_size=1M,lease=2s || fail 'the second host cannot mount'
second=$daemon
for ((i = 0; i < 60; i++)); do
	dd if="$work/more" of="$other_mnt/disk.raw" bs=1M seek=12 conv=notrunc,fsync status=none 2>/dev/null && break
	sleep 0.5
done
[[ $i -lt 60 ]] || fail 'the image of a dead host is never given'
dd if="$work/more" of="$work/expected" bs=1M seek=12 conv=notrunc status=none
same "$work/expected" "$other_mnt/disk.raw"
unmount "$other_mnt" "$second"

echo '== takeover from a host that lives: it is fenced'
mount_fs segment_size=1M,lease=60s,seal_after=1h
first=$daemon
exec 5<>"$mnt/disk.raw"
dd if="$work/data" of="$mnt/disk.raw" bs=64k count=1 conv=notrunc,fsync status=none # not sent
mount_at "$pool" "$other_cache" "$other_mnt" segment_size=1M,lease=2s || fail 'the second host cannot mount'
second=$daemon
"$garner" takeover "$other_mnt/disk.raw" || fail 'takeover failed'
dd if="$work/more" of="$other_mnt/disk.raw" bs=1M seek=15 conv=notrunc,fsync status=none || fail 'the image was not taken'
dd if="$work/more" of="$work/expected" bs=1M seek=15 conv=notrunc status=none
"$garner" flush "$other_mnt"
for ((i = 0; i < 60; i++)); do
	dd if="$work/data" of="$mnt/disk.raw" bs=64k count=1 seek=$i conv=notrunc,fsync status=none 2>/dev/null || break
	"$garner" flush "$mnt" >/dev/null 2>&1 || break
	sleep 0.5
done
[[ $i -lt 60 ]] || fail 'the first host is not fenced'
exec 5>&-
"$garner" status "$mnt" || true
fusermount3 -u "$mnt"
wait_for "$first" || true
unmount "$other_mnt" "$second"
rm -rf "$other_cache"
mount_at "$pool" "$other_cache" "$other_mnt" || fail 'no mount'
same "$work/expected" "$other_mnt/disk.raw"
unmount "$other_mnt"
"$garner" verify "$pool"
