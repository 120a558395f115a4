#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# What programs do with files: append, mmap, copy_file_range between images, times, truncate through a handle, many at once.
. "$(dirname "$0")/lib.sh"
require fio

random_file "$work/data" 20
mount_fs
cd "$mnt"

echo '== cp, within the mount (copy_file_range) and sparse'
cp "$work/data" a
cp --reflink=auto a b
same "$work/data" b
truncate -s 1G c
dd if="$work/data" of=c bs=1M seek=500 conv=notrunc status=none
cp --sparse=auto c d
same c d
[[ $(allocated d) -le $((21 << 20)) ]] || fail "the copy is not sparse: $(allocated d)"

echo '== append'
for i in 1 2 3 4 5; do echo "line $i" >>log; done
[[ $(wc -l <log) -eq 5 ]] || fail 'append'

echo '== mapped reading'
fio --name=map --filename="$mnt/map" --rw=randwrite --bs=4k --size=8m --ioengine=psync --verify=crc32c --do_verify=0 \
	--verify_state_save=0 --output="$work/fio.out"
fio --name=map --filename="$mnt/map" --rw=randwrite --bs=4k --size=8m --ioengine=mmap --verify=crc32c --verify_only \
	--verify_fatal=1 --verify_state_save=0 --output="$work/fio.out" || fail 'mapped reading'

echo '== times'
touch -d '2021-01-01 00:00:00.5 UTC' a
[[ $(stat -c %y a) == *:00.500000000* ]] || fail "mtime: $(stat -c %y a)"
old=$(stat -c %Y a)
echo x | dd of=a conv=notrunc status=none
[[ $(stat -c %Y a) -gt $old ]] || fail 'a write does not change mtime'

echo '== many writers and readers at once'
for i in 1 2 3 4 5 6 7 8; do
	(cp "$work/data" "many-$i" && cmp "$work/data" "many-$i") &
	pids+=($!)
	copies[i]=$!
done
for i in 1 2 3 4 5 6 7 8; do wait "${copies[i]}" || fail "copy $i"; done

echo '== a file of 1 byte, of 4095, 4096 and 4097'
for n in 1 4095 4096 4097; do
	head -c $n "$work/data" >"size-$n"
	[[ $(stat -c %s "size-$n") -eq $n ]] || fail "size $n"
	head -c $n "$work/data" | cmp - "size-$n" || fail "bytes of $n"
done
cd /
unmount
rm -rf "$cache"
mount_fs
for f in b many-1 many-8; do same "$work/data" "$mnt/$f"; done
[[ $(wc -l <"$mnt/log") -eq 5 ]] || fail 'append, mounted again'
unmount
