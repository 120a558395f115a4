#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Without -f garnerfs returns when the mount is usable and goes on in the background, without the caller's terminal.
. "$(dirname "$0")/lib.sh"

mkdir -p "$mnt"
mounts+=("$mnt")
for ((i = 0; i < 5; i++)); do
	timeout 30 "$garnerfs" "$pool" "$mnt" -o "cache_dir=$cache" || fail "exit code $?"
	echo "$i" >"$mnt/disk.raw" || fail 'not usable at once'
	[[ $(cat "$mnt/disk.raw") == "$i" ]] || fail 'bytes'
	fusermount3 -u "$mnt"
	for ((k = 0; k < 600; k++)); do
		flock -n "$cache/lock" true && break
		sleep 0.1
	done
	[[ $k -lt 600 ]] || fail 'the daemon does not end'
done
out=$(timeout 30 "$garnerfs" "$pool" "$mnt" -o "cache_dir=$cache" 2>&1 | cat) # its output must be closed for this to end
echo "$out"
fusermount3 -u "$mnt"
for ((k = 0; k < 600; k++)); do
	flock -n "$cache/lock" true && break
	sleep 0.1
done
"$garner" verify "$pool"
