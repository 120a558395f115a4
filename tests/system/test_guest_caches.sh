#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# A guest makes a file system on an image, runs programs from it, reboots, and gives back what it discards: with every cache
# mode of QEMU.
. "$(dirname "$0")/lib.sh"
require_guest

mount_fs seal_after=1s
for mode in none writeback; do
	image=$mnt/guest-$mode.raw
	drive="file=$image,format=raw,if=virtio,cache=$mode,discard=unmap"
	truncate -s 512M "$image"
	echo "== cache=$mode: the guest makes a system on the image"
	run_guest 'set -e
mkfs.ext4 -q -F /dev/vda; mount /dev/vda /mnt; mkdir /mnt/bin /mnt/proc; cp /bin/busybox /mnt/bin/
dd if=/dev/urandom of=/mnt/big bs=1M count=100 2>/dev/null; dd if=/dev/urandom of=/mnt/small bs=1M count=5 2>/dev/null
cd /mnt; sha256sum big small bin/busybox >sums; cd /; umount /mnt' "$work/console" -drive "$drive"
	sync "$image"
	full=$(allocated "$image")
	[[ $full -gt $((100 << 20)) ]] || fail "only $full bytes are allocated"

	echo "== cache=$mode: the next boot runs from the image, and discards"
	run_guest 'set -e
e2fsck -fn /dev/vda >/dev/null; mount /dev/vda /mnt; chroot /mnt /bin/busybox sha256sum -c sums
rm /mnt/big; sed -i /big/d /mnt/sums; sync; fstrim -v /mnt; umount /mnt' "$work/console" -drive "$drive"
	small=$(allocated "$image")
	echo "allocated: $full, after fstrim $small"
	[[ $small -lt $((full - (80 << 20))) ]] || fail 'du did not shrink after fstrim'
done
unmount

echo '== a third boot, from the store alone'
rm -rf "$cache"
mount_fs
for mode in none writeback; do
	run_guest 'set -e
e2fsck -fn /dev/vda >/dev/null; mount -o ro /dev/vda /mnt; chroot /mnt /bin/busybox sha256sum -c sums; umount /mnt' \
		"$work/console" -drive "file=$mnt/guest-$mode.raw,format=raw,if=virtio,cache=$mode"
done
unmount
