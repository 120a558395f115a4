#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# qemu-img converts to, compares, checks and benches images in the mount, raw and qcow2.
. "$(dirname "$0")/lib.sh"
require qemu-img

truncate -s 200M "$work/source.raw"
random_file "$work/part" 20
dd if="$work/part" of="$work/source.raw" bs=1M seek=3 conv=notrunc status=none
dd if="$work/part" of="$work/source.raw" bs=1M seek=150 conv=notrunc status=none

mount_fs
qemu-img convert -f raw -O raw -t none "$work/source.raw" "$mnt/disk.raw"
qemu-img convert -f raw -O qcow2 "$work/source.raw" "$mnt/disk.qcow2"
[[ $(allocated "$mnt/disk.raw") -lt $((60 << 20)) ]] || fail 'the raw image is not sparse'
compare() {
	qemu-img compare -f raw -F raw "$work/source.raw" "$mnt/disk.raw"
	qemu-img compare -f raw -F qcow2 "$work/source.raw" "$mnt/disk.qcow2"
	qemu-img check "$mnt/disk.qcow2"
}
compare
qemu-img convert -f qcow2 -O raw "$mnt/disk.qcow2" "$mnt/back.raw"
same "$work/source.raw" "$mnt/back.raw"
unmount
rm -rf "$cache"
mount_fs
compare
qemu-img create -q -f qcow2 -b "$mnt/disk.qcow2" -F qcow2 "$mnt/overlay.qcow2"
for aio in threads native; do
	qemu-img bench -f raw -t none -i "$aio" -c 2000 -d 32 -s 4k "$mnt/disk.raw"
	qemu-img bench -f raw -t none -i "$aio" -c 500 -d 8 -s 64k -w --flush-interval=100 "$mnt/back.raw"
done
qemu-img bench -f qcow2 -t writeback -c 500 -d 8 -s 64k -w "$mnt/overlay.qcow2"
qemu-img check "$mnt/overlay.qcow2"
qemu-img resize -q -f raw "$mnt/back.raw" 300M
[[ $(stat -c %s "$mnt/back.raw") -eq $((300 << 20)) ]] || fail 'resized wrongly'
unmount
