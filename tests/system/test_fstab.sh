#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# mount.garnerfs: what mount(8) and fstab call. It returns when the mount is usable, and mount -a, umount and df work.
. "$(dirname "$0")/lib.sh"
require_root
require mount findmnt

helper=$(command -v mount.garnerfs || true)
if [[ -z $helper ]]; then
	helper=/sbin/mount.garnerfs
	[[ -w /sbin ]] || skip 'cannot put mount.garnerfs into /sbin'
	ln -s "$garnerfs" "$helper"
	finally "rm -f '$helper'"
fi
mkdir -p "$mnt"
mounts+=("$mnt")
echo "$pool $mnt garnerfs cache_dir=$cache,seal_after=1s,noauto,_netdev,nofail 0 0" >"$work/fstab"

echo '== mount by fstab'
mount -T "$work/fstab" "$mnt"
echo 'usable at once' >"$mnt/disk.raw"
findmnt "$mnt"
findmnt -n -o FSTYPE "$mnt" | grep -q garnerfs || fail "type: $(findmnt -n -o FSTYPE "$mnt")"
umount "$mnt"
for ((i = 0; i < 200; i++)); do
	flock -n "$cache/lock" true 2>/dev/null && break
	sleep 0.1
done
[[ $i -lt 200 ]] || fail 'the daemon does not end after umount'

echo '== mount -t'
mount -t garnerfs "$pool" "$mnt" -o "cache_dir=$cache,ro"
[[ $(cat "$mnt/disk.raw") == 'usable at once' ]] || fail 'bytes'
! touch "$mnt/new" 2>/dev/null || fail 'writes to a read-only mount'
umount "$mnt"

echo '== what fails is said by mount'
code=0
mount -t garnerfs nosuch://pool "$mnt" -o "cache_dir=$cache" 2>"$work/err" || code=$?
cat "$work/err"
[[ $code -ne 0 && -s $work/err ]] || fail 'a failing mount says nothing'
