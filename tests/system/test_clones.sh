#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Clones, as their user has them: of an image that is written all the while, and of a snapshot; changed, cloned again, over a kill, on
# another host; the parents deleted first.
. "$(dirname "$0")/lib.sh"
require fio qemu-img jq

put_bytes() { # so far, by this mount
	"$garner" status "$mnt" --json | jq .store_put_bytes
}

mount_fs segment_size=1M,lease=2s,trash=0
random_file "$work/one" 8
random_file "$work/piece" 2

echo '== there at once, and each for itself'
cp "$work/one" "$mnt/disk.raw"
"$garner" clone "$mnt/disk.raw" "$mnt/copy.raw"
same "$work/one" "$mnt/copy.raw"
dd if="$work/piece" of="$mnt/copy.raw" bs=1M seek=3 conv=notrunc status=none
same "$work/one" "$mnt/disk.raw"
cp "$work/one" "$work/two"
dd if="$work/piece" of="$work/two" bs=1M seek=3 conv=notrunc status=none
qemu-img compare -f raw -F raw "$mnt/copy.raw" "$work/two"
"$garner" snapshot create "$mnt/copy.raw@s"
truncate -s 5M "$mnt/copy.raw"
(cd "$mnt" && "$garner" clone copy.raw@s again.raw)
same "$work/two" "$mnt/again.raw"
same "$work/two" "$mnt/.snapshots/copy.raw/s"
[[ -z $("$garner" snapshot list "$mnt/disk.raw") ]] || fail 'what a clone holds is shown as a snapshot'

echo '== what is refused'
expect_line 'exists' "$garner" clone "$mnt/disk.raw" "$mnt/copy.raw"
expect_line 'no snapshot "none"' "$garner" clone "$mnt/copy.raw@none" "$mnt/x.raw"
expect_line 'not in a garnerfs mount' "$garner" clone "$mnt/disk.raw" "$work/x.raw"
expect_line 'not in a garnerfs mount' "$garner" clone "$work/one" "$mnt/x.raw"
[[ ! -e $mnt/x.raw ]] || fail 'something was made'

echo '== of an image that a guest writes to'
start fio --name=guest --filename="$mnt/busy.raw" --rw=randwrite --bs=4k --size=16m --ioengine=libaio --iodepth=8 --direct=1 \
	--time_based --runtime=6 --rate_iops=2000 --output="$work/fio.out"
guest=$!
sleep 1
for n in 1 2 3; do
	"$garner" clone "$mnt/busy.raw" "$mnt/busy$n.raw"
	sha256sum <"$mnt/busy$n.raw" >"$work/sum$n"
	sleep 0.5
done
wait_for "$guest" 60 || fail "fio: $(tail -n 3 "$work/fio.out")"
for n in 1 2 3; do
	sha256sum <"$mnt/busy$n.raw" | cmp - "$work/sum$n" || fail "clone $n has changed"
done

echo '== cp shares what is large'
random_file "$work/large" 48
cp "$work/large" "$mnt/large.raw"
"$garner" flush "$mnt"
before=$(put_bytes)
cp "$mnt/large.raw" "$mnt/large2.raw"
cp --sparse=never "$mnt/.snapshots/copy.raw/s" "$mnt/small.raw"
"$garner" flush "$mnt"
(($(put_bytes) - before < 16 * 1048576)) || fail "$(($(put_bytes) - before)) bytes were put into the store"
same "$work/large" "$mnt/large2.raw"
same "$work/two" "$mnt/small.raw"
dd if="$work/piece" of="$mnt/large.raw" bs=1M seek=9 conv=notrunc status=none
same "$work/large" "$mnt/large2.raw"
rm "$mnt/large.raw"

echo '== also what lies in many pieces'
fio --name=pieces --filename="$mnt/pieces.raw" --rw=write:16k --bs=16k --size=96m --io_size=48m --ioengine=psync \
	--randrepeat=0 --output="$work/fio.out"
"$garner" flush "$mnt"
before=$(put_bytes)
# Without --sparse, cp of coreutils 9.1 reads and writes what is sparse.
cp --sparse=never "$mnt/pieces.raw" "$mnt/pieces2.raw"
"$garner" flush "$mnt"
(($(put_bytes) - before < 24 * 1048576)) || fail "$(($(put_bytes) - before)) bytes were put into the store"
same "$mnt/pieces.raw" "$mnt/pieces2.raw"
sha256sum <"$mnt/pieces.raw" >"$work/pieces"
dd if="$work/piece" of="$mnt/pieces.raw" bs=1M seek=40 conv=notrunc status=none
sha256sum <"$mnt/pieces2.raw" | cmp - "$work/pieces" || fail 'the copy has changed'

echo '== parted'
"$garner" clone "$mnt/large2.raw" "$mnt/parted.raw"
"$garner" flatten "$mnt/parted.raw"
"$garner" flatten "$mnt/parted.raw"
same "$work/large" "$mnt/parted.raw"
expect_line 'not an image' "$garner" flatten "$mnt"
rm "$mnt/parted.raw"

echo '== over a kill'
dd if="$work/piece" of="$mnt/again.raw" bs=1M seek=6 conv=notrunc,fsync status=none
dd if="$work/piece" of="$work/two" bs=1M seek=6 conv=notrunc status=none
kill_daemon
mount_fs segment_size=1M,lease=2s,trash=0
same "$work/two" "$mnt/again.raw"
same "$work/one" "$mnt/disk.raw"

same "$work/large" "$mnt/large2.raw"
sha256sum <"$mnt/pieces2.raw" | cmp - "$work/pieces" || fail 'the copy of pieces has changed'

echo '== the parents go first, and another host reads'
"$garner" snapshot delete "$mnt/copy.raw@s"
rm "$mnt/disk.raw" "$mnt/copy.raw" "$mnt/busy.raw" "$mnt/pieces.raw"
unmount
mount_at "$pool" "$work/other" "$mnt" segment_size=1M,trash=0 || fail 'no mount on the other host'
same "$work/two" "$mnt/again.raw"
same "$work/large" "$mnt/large2.raw"
shared=$("$garner" df --json "$mnt/pieces2.raw" | jq .shared)
((shared >= 30 * 1048576)) || fail "$shared bytes are shared"
sha256sum <"$mnt/pieces2.raw" | cmp - "$work/pieces" || fail 'the copy of pieces is another one on the other host'
for n in 1 2 3; do
	sha256sum <"$mnt/busy$n.raw" | cmp - "$work/sum$n" || fail "clone $n is another one on the other host"
done
"$garner" verify "$pool"
rm "$mnt"/*.raw
unmount
"$garner" verify "$pool"
