#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Two guests on two hosts write files and sync them, on disks of one cluster of three nodes (sync=remote). A node's host is killed, comes
# back, and another one is killed: neither guest sees an I/O error. Then the hosts lose their caches: the guests boot on the other host,
# and find all that was synced.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
require_guest
options=segment_size=1M,sync=remote,lease=4s

net_up 3 2
cluster_up 3
pool=$(pool_url guests)
on_host 1 "$garner" init "$pool"
for host in 1 2; do
	mount_on_host "$host" "$options"
	truncate -s 256M "$mnt-$host/guest-$host.raw"
done

drive_of() { # GUEST HOST
	echo "file=$mnt-$2/guest-$1.raw,format=raw,if=virtio,cache=none,discard=unmap"
}

synced() { # GUEST
	grep -o 'SYNCED [0-9]*' "$work/console-$1" | tail -n 1 | cut -d' ' -f2
}

more_than() { # GUEST NUMBER
	[[ $(synced "$1") -gt $2 ]]
}

echo '== two guests write'
guests=()
for host in 1 2; do
	start_guest 'mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt || exit 9; n=0; mkdir -p /mnt/f
while :; do n=$((n + 1)); dd if=/dev/urandom of=/mnt/f/$n bs=64k count=4 2>/dev/null || { echo FAILED; exit 8; }
cd /mnt/f; sha256sum $n >$n.sum && sync || { echo FAILED; exit 7; }; cd /; echo SYNCED $n; done' \
		"$work/console-$host" -drive "$(drive_of "$host" "$host")"
	guests+=("$qemu")
done
for host in 1 2; do wait_for_console "$work/console-$host" 'SYNCED 3'; done
for node in 1 2; do
	host_kill "$node"
	for host in 1 2; do
		began=$(date +%s%N) before=$(synced "$host")
		eventually 30 more_than "$host" $((before + 1)) || fail "guest $host does not go on without node $node"
		echo "guest $host has synced twice, $((($(date +%s%N) - began) / 1000000)) ms after node $node was killed"
	done
	host_start "$node"
	wait_green 60
done
for host in 1 2; do
	kill -9 "${guests[host - 1]}"
	wait "${guests[host - 1]}" || true
	! grep -E 'FAILED|I/O error|Buffer I/O|EXT4-fs error|GUEST-DONE' "$work/console-$host" || fail "guest $host met an error"
	last[host]=$(synced "$host")
	echo "guest $host: synced up to ${last[host]}"
done

echo '== each boots on the other host, of which the caches are gone'
for host in 1 2; do
	kill_daemon "$mnt-$host" "${daemons[host]}"
	rm -rf "$cache-$host"
done
sleep 5 # the leases of the hosts that were killed
for host in 1 2; do
	mount_on_host "$host" "$options"
	other=$((3 - host))
	run_guest "e2fsck -p /dev/vda; [ \$? -le 1 ] || exit 9; e2fsck -fn /dev/vda || exit 8; mount /dev/vda /mnt || exit 7
cd /mnt/f; n=1; while [ \$n -le ${last[other]} ]; do sha256sum -c \$n.sum >/dev/null || { echo LOST \$n; exit 6; }; n=\$((n + 1)); done
cd /; umount /mnt" "$work/console-$other" -drive "$(drive_of "$other" "$host")"
	unmount "$mnt-$host" "${daemons[host]}"
done
