#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# garner import and export: sparse stays sparse, what is interrupted is finished by running it again, progress goes where it
# belongs.
. "$(dirname "$0")/lib.sh"

truncate -s 1G "$work/source.raw"
random_file "$work/part" 160
dd if="$work/part" of="$work/source.raw" bs=1M seek=7 conv=notrunc status=none
dd if="$work/part" of="$work/source.raw" bs=1M seek=700 conv=notrunc status=none
mount_fs

interrupted() { # COMMAND...: interrupts it at several moments, then lets it end
	local delay
	for delay in 0.05 0.2 0.5; do
		interrupt_after "$delay" "$@"
	done
	"$@"
}

echo '== import'
interrupted "$garner" import "$work/source.raw" "$mnt/disk.raw"
same "$work/source.raw" "$mnt/disk.raw"
[[ $(allocated "$mnt/disk.raw") -le $((321 << 20)) ]] || fail "import is not sparse: $(allocated "$mnt/disk.raw")"
"$garner" import "$work/source.raw" "$mnt/disk.raw" || fail 'importing again fails'
same "$work/source.raw" "$mnt/disk.raw"

echo '== export'
interrupted "$garner" export "$mnt/disk.raw" "$work/back.raw"
same "$work/source.raw" "$work/back.raw"
[[ $(allocated "$work/back.raw") -le $((330 << 20)) ]] || fail "export is not sparse: $(allocated "$work/back.raw")"

echo '== plain lines, no bar, when it is no terminal'
"$garner" import "$work/source.raw" "$mnt/again.raw" >"$work/out" 2>&1
! grep -q $'\r' "$work/out" || fail 'a progress bar in a file'
unmount
rm -rf "$cache"
mount_fs
same "$work/source.raw" "$mnt/disk.raw"
unmount
