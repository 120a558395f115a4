#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Stored segments are damaged: whoever reads them gets the right bytes or EIO, never wrong ones, and garner verify says where.
. "$(dirname "$0")/lib.sh"
require perl

random_file "$work/data" 24
mount_fs segment_size=1M
cp "$work/data" "$mnt/disk.raw"
unmount
"$garner" verify "$pool" || fail 'verify finds fault with a sound store'

# damage WHAT COMMAND...: damages (a function that gets the segment's path), reads, verifies, repairs.
damage() {
	local what=$1 segment=$2 code=0
	shift 2
	echo "== $what: ${segment#"$pool"/}"
	cp -a "$segment" "$work/good"
	"$@"
	rm -rf "$cache"
	if "$garner" verify "$pool" >"$work/out" 2>&1; then
		cat "$work/out"
		fail 'garner verify finds nothing'
	fi
	tail -n 3 "$work/out"
	grep -q "segment $((16#$(basename "$segment" | cut -d- -f1)))" "$work/out" || fail 'garner verify does not name the segment'
	if mount_at "$pool" "$cache" "$mnt"; then
		if head -c 1 "$mnt/disk.raw" >/dev/null 2>&1 || [[ $segment != "$last" ]]; then
			never_wrong "$mnt/disk.raw" "$work/data" zeros
		else
			echo 'the image cannot be opened'
		fi
		unmount "$mnt" "$daemon"
	else
		tail -n 1 "$work/garnerfs.log"
	fi
	cp -a "$work/good" "$segment"
}

mapfile -t segments < <(stored_segments)
[[ ${#segments[@]} -gt 20 ]] || fail "only ${#segments[@]} segments"
middle=${segments[$((${#segments[@]} / 2))]} first=${segments[0]} last=${segments[-1]}
for segment in "$first" "$middle" "$last"; do
	size=$(stat -c %s "$segment")
	damage 'a bit in the header' "$segment" flip_bit "$segment" 70
	damage 'a bit in the index' "$segment" flip_bit "$segment" 520
	damage 'a bit at the end' "$segment" flip_bit "$segment" -1
	damage 'cut in half' "$segment" truncate -s $((size / 2)) "$segment"
	damage 'empty' "$segment" truncate -s 0 "$segment"
done
damage 'a bit in the middle' "$middle" flip_bit "$middle" $(($(stat -c %s "$middle") / 2))
damage 'another segment in its place' "$middle" cp "$first" "$middle"
damage 'gone' "$middle" rm "$middle"

echo '== repaired'
"$garner" verify "$pool"
rm -rf "$cache"
mount_fs
same "$work/data" "$mnt/disk.raw"
unmount
