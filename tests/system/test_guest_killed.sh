#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# A guest that is killed in the middle of writing, and whose garnerfs is killed, finds all it had synced when it boots again.
. "$(dirname "$0")/lib.sh"
require_guest

mount_fs
image=$mnt/guest.raw
drive="file=$image,format=raw,if=virtio,cache=none,discard=unmap"
truncate -s 512M "$image"
run_guest 'mkfs.ext4 -q -F /dev/vda' "$work/console" -drive "$drive"

synced_up_to() {
	grep -o 'SYNCED [0-9]*' "$work/console" | tail -n 1 | cut -d' ' -f2
}

for round in 1 2 3; do
	echo "== round $round: killed while it writes"
	start_guest 'mount /dev/vda /mnt; n=0; mkdir -p /mnt/f
while :; do n=$((n + 1)); dd if=/dev/urandom of=/mnt/f/$n bs=64k count=8 2>/dev/null
cd /mnt/f; sha256sum $n >$n.sum; sync; cd /; echo SYNCED $n; done' "$work/console" -drive "$drive"
	wait_for_console "$work/console" 'SYNCED 8'
	if [[ $round -eq 3 ]]; then
		# Counted before: sync(2) tells nobody of errors, so a guest without its disk goes on counting.
		synced=$(synced_up_to)
		kill_daemon
		kill -9 "$qemu"
		wait "$qemu" || true
		mount_fs
	else
		kill -9 "$qemu"
		wait "$qemu" || true
		synced=$(synced_up_to)
	fi
	echo "synced up to $synced"
	run_guest "e2fsck -p /dev/vda; [ \$? -le 1 ] || exit 9; e2fsck -fn /dev/vda || exit 8; mount /dev/vda /mnt || exit 7
cd /mnt/f; n=1; while [ \$n -le $synced ]; do sha256sum -c \$n.sum >/dev/null || { echo LOST \$n; exit 6; }; n=\$((n + 1)); done
cd /; rm -rf /mnt/f; umount /mnt" "$work/console" -drive "$drive"
done
unmount
