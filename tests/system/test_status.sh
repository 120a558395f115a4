#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# garner status and info, as text and JSON: what is there, what is not yet in the store, and that flush brings it there.
. "$(dirname "$0")/lib.sh"

random_file "$work/data" 12
mount_fs seal_after=1h,segment_size=8M
cp "$work/data" "$mnt/disk.raw"
sync "$mnt/disk.raw"
image() { "$garner" status "$mnt/disk.raw" --json | jq -r "$1"; }
whole() { "$garner" status "$mnt" --json | jq -r "$1"; }

"$garner" status "$mnt"
"$garner" status "$mnt/disk.raw"
"$garner" info "$mnt/disk.raw"
"$garner" info "$pool"
"$garner" info "$pool" | grep -i plain >/dev/null || fail 'info does not say that the pool is plain'
"$garner" info "$pool" --json | jq -e . >/dev/null || fail 'info --json is no JSON'
"$garner" info "$mnt/disk.raw" --json | jq -e . >/dev/null || fail 'info --json is no JSON'

[[ $(image .size) -eq $((12 << 20)) ]] || fail "size: $(image .size)"
[[ $(image .allocated_bytes) -eq $((12 << 20)) ]] || fail "allocated: $(image .allocated_bytes)"
[[ $(image .state) == ok && $(image .writable_here) == true ]] || fail 'state'
[[ $(image .owner) == "$(hostname)"* ]] || fail "owner: $(image .owner)"
lag=$(image .lag_bytes)
[[ $lag -gt 0 && $lag -le $((14 << 20)) ]] || fail "lag: $lag"
[[ $(whole .lag_bytes) -ge $lag ]] || fail "lag of the mount: $(whole .lag_bytes)"
[[ $(image '.lag_seconds >= 0') == true ]] || fail 'lag in seconds'
[[ $(whole .store_ok) == true && $(whole .sealed) == false ]] || fail 'store'
[[ $(whole .cache_dir) == "$cache" ]] || fail "cache_dir: $(whole .cache_dir)"

"$garner" flush "$mnt/disk.raw"
[[ $(image .lag_bytes) -eq 0 ]] || fail "lag after flush: $(image .lag_bytes)"
dd if="$work/data" of="$mnt/disk.raw" bs=1M count=1 conv=notrunc,fsync status=none
[[ $(image .lag_bytes) -gt 0 ]] || fail 'no lag after a write'
"$garner" flush "$mnt"
[[ $(whole .lag_bytes) -eq 0 ]] || fail "lag after flush: $(whole .lag_bytes)"
[[ $(whole .store_put_bytes) -ge $((12 << 20)) ]] || fail 'what was sent is not counted'
[[ $(whole .writes) -gt 0 ]] || fail 'writes are not counted'
getfattr -d -m - "$mnt/disk.raw" 2>/dev/null || true
df "$mnt"
unmount
"$garner" info "$pool" --json | jq -e . >/dev/null
