#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# A guest's file system is filled, then destroyed from within (rm -rf, mkfs over it); while that guest still runs and writes, the disk of ten
# seconds before is had as a new image: sound, and every file as its checksum says that was taken before.
. "$(dirname "$0")/lib.sh"
require_guest
require e2fsck debugfs

mount_fs segment_size=1M,lease=2s
image=$mnt/guest.raw
truncate -s 256M "$image"
"$garner" history "$image" --keep 1h

written() {
	grep -o '^WRITTEN [0-9]*' "$work/console" | tail -n 1 | cut -d' ' -f2
}

goes_on() { # THAN
	[[ $(written) -gt $1 ]]
}

start_guest 'mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt || exit 1
cd /mnt; for d in 1 2 3 4 5 6; do mkdir -p $d/deep; for f in 1 2 3 4 5; do dd if=/dev/urandom of=$d/deep/$f bs=40k count=$((d * f)) 2>/dev/null
seq 1 $((d * f * 100)) >$d/$f.txt; done; done; rm -r 3/deep
find . -type f | sort | while read -r f; do sha256sum $f; done >/tmp/sums; sync
sed "s/^/SUM /" /tmp/sums; echo FILLED
sleep 12
echo DESTROY; rm -rf /mnt/*; sync; cd /; umount /mnt; mkfs.ext4 -q -F /dev/vda; mount /dev/vda /mnt; echo GONE
n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); dd if=/dev/urandom of=/mnt/$((n % 20)) bs=64k count=8 2>/dev/null; sync; echo WRITTEN $n; done' \
	"$work/console" -drive "file=$image,format=raw,if=virtio,cache=none,discard=unmap"

first=$qemu

echo '== filled'
wait_for_console "$work/console" '^FILLED' 300
sed -n 's/^SUM //p' "$work/console" | tr -d '\r' >"$work/sums"
[[ $(wc -l <"$work/sums") -eq 55 ]] || fail "the guest told $(wc -l <"$work/sums") sums"

echo '== destroyed'
wait_for_console "$work/console" '^DESTROY' 120
before=$(date -d '10 seconds ago' +%Y-%m-%dT%H:%M:%S.%N%:z)
wait_for_console "$work/console" '^WRITTEN 5' 120

echo '== had back while the guest goes on'
"$garner" rewind "$image" --to "$before" --as "$mnt/saved.raw"
n=$(written)
code=0
e2fsck -fp "$mnt/saved.raw" || code=$?
# The file system was mounted: its journal is replayed, and nothing else is to be done.
[[ $code -le 1 ]] || fail "e2fsck -p: $code"
e2fsck -fn "$mnt/saved.raw" || fail 'the file system that was had back is not sound'
mkdir "$work/dump"
debugfs -R "rdump / $work/dump" "$mnt/saved.raw" 2>/dev/null
(cd "$work/dump" && sha256sum --quiet -c "$work/sums") || fail 'files differ'
rm -rf "$work/dump/lost+found"
[[ $(find "$work/dump" -type f | wc -l) -eq 55 ]] || fail 'there are other files'
debugfs -c -R 'cat /6/5.txt' "$image" 2>/dev/null | grep -q 3000 && fail 'it was not destroyed'
debugfs -c -R 'cat /6/5.txt' "$mnt/saved.raw" 2>/dev/null | grep -q 3000 || fail 'nor is it there in what was had back'

echo '== another guest runs on what was had back'
run_guest 'mount /dev/vda /mnt && cd /mnt && find . -name "*.txt" | wc -l && cat 6/5.txt | wc -l && echo more >/mnt/more && sync' "$work/second" \
	-drive "file=$mnt/saved.raw,format=raw,if=virtio,cache=none"
grep -q '^3000' "$work/second" || fail 'the second guest reads something else'
eventually 60 goes_on "$n" || fail 'the first guest stands still'
kill -0 "$first" || fail 'the first guest has ended'
kill -9 "$first"
wait "$first" || true
rm "$mnt"/*.raw
unmount
"$garner" verify "$pool"
