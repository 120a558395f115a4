#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# A file system made and filled on an image is sound, now and when it comes from the store.
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 e2fsck debugfs

check() {
	e2fsck -fn "$mnt/fs.raw" || fail 'e2fsck finds faults'
	rm -rf "$work/out"
	mkdir "$work/out"
	debugfs -R "rdump / $work/out" "$mnt/fs.raw" 2>/dev/null
	rm -rf "$work/out/lost+found"
	diff -r "$work/files" "$work/out" || fail 'files differ'
}

mkdir -p "$work/files"
cp -rL "$top/src" "$top/tests" "$work/files/"
random_file "$work/files/random" 24
mount_fs
truncate -s 256M "$mnt/fs.raw"
mkfs.ext4 -q -F -d "$work/files" "$mnt/fs.raw"
check
for name in random src/README; do
	debugfs -w -R "rm /$name" "$mnt/fs.raw" 2>/dev/null
	rm "$work/files/$name"
done
debugfs -w -R "write $garner /garner" "$mnt/fs.raw" 2>/dev/null
cp "$garner" "$work/files/garner"
check
unmount
rm -rf "$cache"
mount_fs
check
unmount
