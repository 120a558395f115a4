#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# The cache directory is deleted, or the pool is carried to another host: the images are what was uploaded, bit for bit.
. "$(dirname "$0")/lib.sh"

random_file "$work/data" 32
for key in plain sealed; do
	echo "== a $key pool"
	options=segment_size=1M
	if [[ $key == sealed ]]; then
		echo 'correct horse battery' >"$work/passphrase"
		chmod 600 "$work/passphrase"
		fresh_pool --passphrase-file "$work/passphrase"
		options=$options,passphrase_file=$work/passphrase
	else
		fresh_pool
	fi
	mount_fs "$options"
	mkdir -p "$mnt/vms/a"
	cp "$work/data" "$mnt/vms/a/disk.raw"
	truncate -s 10G "$mnt/vms/sparse.raw"
	dd if="$work/data" of="$mnt/vms/sparse.raw" bs=1M count=3 seek=9000 conv=notrunc status=none
	fallocate -p -o 1M -l 2M "$mnt/vms/a/disk.raw"
	cp "$work/data" "$work/expected"
	dd if=/dev/zero of="$work/expected" bs=1M seek=1 count=2 conv=notrunc status=none
	chmod 640 "$mnt/vms/a/disk.raw"
	touch -d '2020-02-02 02:02:02 UTC' "$mnt/vms/a/disk.raw"
	unmount
	store_download "$work/carried"
	store_wipe
	rm -rf "$cache"
	pool=$(place "elsewhere-$key")
	store_upload "$work/carried"
	mount_fs "$options"
	same "$work/expected" "$mnt/vms/a/disk.raw"
	[[ $(stat -c '%a %Y' "$mnt/vms/a/disk.raw") == "640 $(date -d '2020-02-02 02:02:02 UTC' +%s)" ]] ||
		fail "mode or time differ: $(stat -c '%a %Y' "$mnt/vms/a/disk.raw")"
	[[ $(stat -c %s "$mnt/vms/sparse.raw") -eq $((10 << 30)) ]] || fail 'size differs'
	[[ $(allocated "$mnt/vms/sparse.raw") -lt $((8 << 20)) ]] || fail 'the sparse image is not sparse'
	cmp -n $((3 << 20)) -i $((9000 << 20)):0 "$mnt/vms/sparse.raw" "$work/data"
	unmount
	if [[ $key == sealed ]]; then
		"$garner" verify "$pool" --passphrase-file "$work/passphrase"
		! grep -rqa 'disk.raw' "$work/carried" || fail 'names are readable in a sealed pool'
		! store_list | grep 'disk.raw' || fail 'names are keys in a sealed pool'
	else
		"$garner" verify "$pool"
	fi
	rm -rf "$work/carried"
done
