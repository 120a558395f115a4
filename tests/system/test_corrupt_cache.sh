#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Files of the cache directory are damaged. What the store has too is read right; what only the cache had is never read wrong.
. "$(dirname "$0")/lib.sh"
require perl

random_file "$work/data" 16

echo '== everything is in the store: damage in the cache is healed'
mount_fs segment_size=1M
cp "$work/data" "$mnt/disk.raw"
unmount
mapfile -t segments < <(local_segments)
[[ ${#segments[@]} -gt 8 ]] || fail "only ${#segments[@]} local segments"
flip_bit "${segments[1]}" $((700 << 10))
flip_bit "${segments[2]}" 4100
flip_bit "${segments[3]}" 20
truncate -s 300K "${segments[4]}"
truncate -s 0 "${segments[5]}"
rm "${segments[6]}"
scribble "${segments[7]}" 400000 5000
mount_fs segment_size=1M
same "$work/data" "$mnt/disk.raw"
unmount

echo '== damage in segments that were not sent'
for how in data index header cut; do
	fresh_pool
	mount_fs segment_size=1M,seal_after=1h,uploads=1
	dd if="$work/data" of="$mnt/disk.raw" bs=64k conv=fsync status=none
	kill_daemon
	mapfile -t segments < <(local_segments)
	victim=${segments[-1]}
	[[ $(stat -c %s "$victim") -gt $((1 << 20)) ]] || victim=${segments[-2]}
	echo "== $how of ${victim##*/}"
	case $how in
	data) flip_bit "$victim" $((300 << 10)) ;;
	index) flip_bit "$victim" $((4096 + 40)) ;;
	header) flip_bit "$victim" 20 ;;
	cut) truncate -s 200K "$victim" ;;
	esac
	if mount_at "$pool" "$cache" "$mnt" segment_size=1M; then
		if [[ -r $mnt/disk.raw ]] && head -c 1 "$mnt/disk.raw" >/dev/null 2>&1; then
			n=$(stat -c %s "$mnt/disk.raw")
			head -c "$n" "$work/data" >"$work/part"
			never_wrong "$mnt/disk.raw" "$work/part" zeros
		else
			echo 'the image is refused'
		fi
		unmount
	else
		tail -n 1 "$work/garnerfs.log"
	fi
done
