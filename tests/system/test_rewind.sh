#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Rewinding, as its user needs it: a file system is filled, then destroyed by mkfs over it, and had back as it was just before, as a new image,
# while a guest goes on writing to the disk.
. "$(dirname "$0")/lib.sh"
require mkfs.ext4 e2fsck debugfs fio

# The file system on an image, and the files in it.
check() { # IMAGE
	e2fsck -fn "$1" || fail "e2fsck finds faults in $1"
	rm -rf "$work/dump"
	mkdir "$work/dump"
	debugfs -R "rdump / $work/dump" "$1" 2>/dev/null
	rm -rf "$work/dump/lost+found"
	diff -r "$work/files" "$work/dump" || fail "$1: files differ"
}

now() {
	date +%Y-%m-%dT%H:%M:%S.%N%:z
}

mkdir "$work/files"
cp -rL "$top/src" "$work/files/"
random_file "$work/files/random" 8
mount_fs segment_size=1M,lease=2s,trash=0
disk=$mnt/disk.raw
start=$(now)
truncate -s 192M "$disk"
expect_line 'nothing that was written' "$garner" history "$mnt/disk.raw"
"$garner" history "$disk" --keep 1h

echo '== filled, while a guest writes to the rest of the disk'
mkfs.ext4 -q -F -d "$work/files" "$disk" 96M
start fio --name=guest --filename="$disk" --rw=randwrite --bs=4k --offset=128m --size=16m --ioengine=libaio --iodepth=8 --direct=1 \
	--time_based --runtime=12 --rate_iops=1500 --output="$work/fio.out"
guest=$!
sleep 1
debugfs -w -R "write $garner /garner" "$disk" 2>/dev/null
cp "$garner" "$work/files/garner"
sync "$disk"
full=$(now)
"$garner" snapshot create "$disk@full"
sleep 1

echo '== destroyed'
before=$(now)
mkfs.ext4 -q -F "$disk" 96M
dd if=/dev/zero of="$disk" bs=1M count=8 conv=notrunc,fsync status=none
debugfs -R 'ls /src' "$disk" 2>&1 | grep -q README && fail 'it is still there'

echo '== had back, while the guest still writes'
kill -0 "$guest" || fail 'the guest has ended already'
"$garner" rewind "$disk" --to "$before" --as "$mnt/saved.raw"
check "$mnt/saved.raw"
"$garner" rewind "$disk" --to "$full" --as "$mnt/full.raw"
check "$mnt/full.raw"
kill -0 "$guest" || fail 'the guest has ended already'
"$garner" rewind "$disk" --to @full --as "$mnt/named.raw"
check "$mnt/named.raw"
"$garner" rewind "$disk" --to -1ms --as "$mnt/gone.raw"
debugfs -R 'ls /src' "$mnt/gone.raw" 2>&1 | grep -q README && fail 'that was not what it was then'
wait_for "$guest" 60 || fail "fio: $(tail -n 3 "$work/fio.out")"

echo '== what there is'
"$garner" history "$disk" | tee "$work/history"
grep -q '@full' "$work/history" || fail 'the snapshot is not shown'
"$garner" history "$disk" --json >"$work/history.json"
[[ $(jq .keep_seconds "$work/history.json") == 3600 ]] || fail 'another time is kept'
log=$(jq -r '.newest.log' "$work/history.json")
"$garner" rewind "$disk" --to "$log" --as "$mnt/newest.raw"
"$garner" flush "$disk"
cmp <(head -c 128M "$disk") <(head -c 128M "$mnt/newest.raw") || fail 'the newest moment is not the newest'
[[ $("$garner" history "$disk" --since "$before" --json | jq '.written | length') -lt $(jq '.written | length' "$work/history.json") ]] ||
	fail '--since leaves nothing out'

echo '== what is refused'
expect_line 'before the image.s first moment; there are moments from' "$garner" rewind "$disk" --to "$start" --as "$mnt/x.raw"
expect_line 'yet to come' "$garner" rewind "$disk" --to 2199-01-01 --as "$mnt/x.raw"
expect_line 'no such position' "$garner" rewind "$disk" --to 999999.0 --as "$mnt/x.raw"
expect_line 'is no time' "$garner" rewind "$disk" --to yesterday --as "$mnt/x.raw"
expect_line 'no snapshot "none"' "$garner" rewind "$disk" --to @none --as "$mnt/x.raw"
expect_line 'exists' "$garner" rewind "$disk" --to "$before" --as "$mnt/saved.raw"
[[ ! -e $mnt/x.raw ]] || fail 'something was made'

echo '== in place'
(cd "$mnt" && "$garner" rewind disk.raw --to "$before") | tee "$work/said"
check "$disk"
debugfs -w -R 'rm /garner' "$disk" 2>/dev/null
"$garner" rewind "$disk" --to "$(sed -n 's/.*--to //p' "$work/said")"
debugfs -R 'ls /src' "$disk" 2>&1 | grep -q README && fail 'it is not what it was before'
"$garner" rewind "$disk" --to @full
check "$disk"
exec 7<"$disk"
expect_line 'in use' "$garner" rewind "$disk" --to "$before"
exec 7<&-

echo '== written, over a kill, and after the disk itself is gone'
debugfs -w -R 'rm /garner' "$mnt/saved.raw" 2>/dev/null
rm "$work/files/garner"
sync "$mnt/saved.raw"
kill_daemon
mount_fs segment_size=1M,lease=2s,trash=0
check "$mnt/saved.raw"
"$garner" snapshot delete "$disk@full"
rm "$disk" "$mnt/gone.raw" "$mnt/newest.raw" "$mnt/named.raw"
cp "$garner" "$work/files/garner"
check "$mnt/full.raw"
unmount
mount_at "$pool" "$work/other" "$mnt" segment_size=1M,trash=0 || fail 'no mount on the other host'
check "$mnt/full.raw"
rm "$work/files/garner"
check "$mnt/saved.raw"
"$garner" verify "$pool"
rm "$mnt"/*.raw
unmount
"$garner" verify "$pool"
