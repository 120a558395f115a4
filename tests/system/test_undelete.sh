#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Images that were removed, or replaced, are had back: by name and by id, to where they were and elsewhere, on another host, after a
# kill; and what must not be had back is refused.
. "$(dirname "$0")/lib.sh"

mount_fs segment_size=1M,lease=2s
random_file "$work/one" 6
random_file "$work/two" 3

id_in_trash() { # NAME: of the newest of that name
	"$garner" undelete "$mnt" | awk -v name="$1" '$NF == name { id = $1 } END { print id }'
}

echo '== removed, and back'
cp "$work/one" "$mnt/disk.raw"
[[ -z $("$garner" undelete "$mnt") ]] || fail 'something is in the trash'
rm "$mnt/disk.raw"
"$garner" undelete "$mnt"
[[ $("$garner" undelete "$mnt" | wc -l) -eq 1 ]] || fail 'the trash'
"$garner" undelete "$mnt" disk.raw
same "$work/one" "$mnt/disk.raw"
[[ -z $("$garner" undelete "$mnt") ]] || fail 'something is still in the trash'

echo '== replaced, and back beside the new one'
cp "$work/two" "$mnt/new.raw"
mv "$mnt/new.raw" "$mnt/disk.raw"
expect_line "'disk.raw' exists" "$garner" undelete "$mnt" disk.raw
mkdir "$mnt/old ones"
"$garner" undelete "$mnt" disk.raw "$mnt/old ones/the disk.raw"
same "$work/one" "$mnt/old ones/the disk.raw"
same "$work/two" "$mnt/disk.raw"

echo '== several of one name, and a directory that is gone'
rm "$mnt/disk.raw"
cp "$work/one" "$mnt/disk.raw"
rm "$mnt/disk.raw"
expect_line '2 images of the name' "$garner" undelete "$mnt" disk.raw
"$garner" undelete "$mnt" "$(id_in_trash disk.raw)"
same "$work/one" "$mnt/disk.raw"
"$garner" undelete "$mnt" disk.raw "$mnt/second.raw"
same "$work/two" "$mnt/second.raw"
rm -r "$mnt/old ones"
expect_line 'say where' "$garner" undelete "$mnt" 'the disk.raw'
expect_line 'not in the trash' "$garner" undelete "$mnt" nothing.raw
expect_line 'not in a garnerfs mount' "$garner" undelete "$mnt" 'the disk.raw' "$work/elsewhere.raw"

echo '== after a kill, on another host'
"$garner" flush "$mnt"
rm "$mnt/disk.raw"
kill_daemon
mount_at "$pool" "$work/other" "$mnt" segment_size=1M || fail 'no mount on the other host'
"$garner" undelete "$mnt" "$(id_in_trash disk.raw)"
"$garner" undelete "$mnt" 'the disk.raw' "$mnt/third.raw"
same "$work/one" "$mnt/disk.raw"
same "$work/one" "$mnt/third.raw"
unmount

echo '== kept for no time'
mount_at "$pool" "$work/other" "$mnt" trash=0 || fail 'no mount'
rm "$mnt/disk.raw"
expect_line 'not in the trash|is being deleted' "$garner" undelete "$mnt" disk.raw
unmount
"$garner" verify "$pool"
