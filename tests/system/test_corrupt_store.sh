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

# damage WHAT SEGMENT COMMAND...: damages the stored segment with the command, reads, verifies, repairs.
damage() {
	local what=$1 segment=$2 code=0
	shift 2
	echo "== $what: $segment"
	store_get "$segment" "$work/good"
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
	store_put "$segment" "$work/good"
}

replace_with() { # FILE KEY
	store_get "$2" "$1"
}

size_of() { # KEY
	store_get "$1" "$work/sized"
	stat -c %s "$work/sized"
}

mapfile -t segments < <(stored_segments)
[[ ${#segments[@]} -gt 20 ]] || fail "only ${#segments[@]} segments"
middle=${segments[$((${#segments[@]} / 2))]} first=${segments[0]} last=${segments[-1]}
for segment in "$first" "$middle" "$last"; do
	size=$(size_of "$segment")
	damage 'a bit in the header' "$segment" corrupt_object "$segment" flip_bit 70
	damage 'a bit in the index' "$segment" corrupt_object "$segment" flip_bit 520
	damage 'a bit at the end' "$segment" corrupt_object "$segment" flip_bit -1
	damage 'cut in half' "$segment" corrupt_object "$segment" cut_to $((size / 2))
	damage 'empty' "$segment" corrupt_object "$segment" cut_to 0
done
damage 'a bit in the middle' "$middle" corrupt_object "$middle" flip_bit $(($(size_of "$middle") / 2))
damage 'another segment in its place' "$middle" corrupt_object "$middle" replace_with "$first"
damage 'gone' "$middle" store_delete "$middle"

echo '== repaired'
"$garner" verify "$pool"
rm -rf "$cache"
mount_fs
same "$work/data" "$mnt/disk.raw"
unmount

echo '== a head'
mount_fs
echo hello >"$mnt/good"
echo hello >"$mnt/bad"
id=$(printf %016x "$(stat -c %i "$mnt/bad")")
unmount
echo 'no head' >"$work/no_head"
store_put "images/$id/head" "$work/no_head"
mount_at "$pool" "$cache" "$mnt" || fail 'no mount'
! ls -l "$mnt" >"$work/out" 2>&1 || fail 'ls takes an image whose size cannot be read for empty'
grep -q "cannot access '$mnt/bad'" "$work/out" || fail 'ls does not say which one'
"$garner" ls -l "$mnt" >"$work/out" || fail 'garner ls gives up'
grep -Eq '^ +- .* bad$' "$work/out" || fail 'garner ls says a size'
grep -Eq '6 B .* good$' "$work/out" || fail 'garner ls leaves the others out'
"$garner" status "$mnt" >/dev/null || fail 'garner status gives up'
unmount
