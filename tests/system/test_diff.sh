#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# What differs between two moments of an image, as a user asks for it: between snapshots, between one and now, between times and
# positions of the log, after the size has changed; and what is refused.
. "$(dirname "$0")/lib.sh"

snapshots() {
	"$garner" snapshot list "$1" --json | jq -r .name | xargs
}

# OFFSET+LENGTH=KIND of every range
ranges() {
	"$garner" diff "$@" --json | jq -r '"\(.offset)+\(.length)=\(.kind)"' | xargs
}

mount_fs segment_size=1M
mkdir "$mnt/dir"
disk=$mnt/dir/disk@home.raw
random_file "$work/piece" 1
truncate -s 1T "$disk"
"$garner" snapshot create "$disk@empty"
dd if="$work/piece" of="$disk" bs=1M seek=5 conv=notrunc status=none
dd if="$work/piece" of="$disk" bs=1M seek=500000 conv=notrunc status=none
"$garner" snapshot create "$disk@one"
[[ $(ranges "$disk@empty" "$disk@one") == '5242880+1048576=data 524288000000+1048576=data' ]] || fail 'written'
[[ -z $(ranges "$disk@one" "$disk@one") ]] || fail 'nothing'

echo '== with the image as it is now, in either order'
fallocate -p -o 5M -l 512K "$disk"
truncate -s 2T "$disk"
[[ $(ranges "$disk@one" "$disk") == '5242880+524288=zero 1099511627776+1099511627776=zero' ]] || fail 'until now'
[[ $(ranges "$disk" "$disk@one") == '5242880+524288=data 1099511627776+1099511627776=zero' ]] || fail 'from now'
[[ $(snapshots "$disk") == 'empty one' ]] || fail 'something was left'

echo '== for people'
"$garner" diff "$disk@empty" "$disk@one" | tee "$work/out"
[[ $(tail -n 1 "$work/out") == '2 ranges: 2 MiB data, 0 B zeros' ]] || fail 'the sum'

echo '== moments without a name'
fallocate -p -o 5M -l 1M "$disk"
sync -f "$disk"
sleep 1.1
before=$(date --iso-8601=seconds)
sleep 1.1
dd if="$work/piece" of="$disk" bs=1M seek=7 conv=notrunc,fsync status=none
[[ $(ranges "$disk@$before" "$disk") == '7340032+1048576=data' ]] || fail 'since a time'
[[ $(ranges "$disk@one" "$disk@$before") == '5242880+1048576=zero 1099511627776+1099511627776=zero' ]] || fail 'until a time'
position=$("$garner" diff "$disk@$before" "$disk" | sed -n 's/.*(log \([0-9.]*\))$/\1/p')
[[ $(ranges "$disk@$position" "$disk@-0s") == '7340032+1048576=data' ]] || fail 'since a position'
[[ -z $(ranges "$disk@$position" "$disk@$before") ]] || fail 'the same moment twice'
expect_line 'there are moments from' "$garner" diff "$disk@2001-01-01" "$disk"
expect_line 'there are moments from' "$garner" diff "$disk@99999.0" "$disk"
expect_line 'yet to come' "$garner" diff "$disk@2101-01-01 00:00" "$disk"
[[ $(snapshots "$disk") == 'empty one' ]] || fail 'something was left'

echo '== after a kill, on another host'
kill_daemon
mount_fs segment_size=1M
[[ $(ranges "$disk@one" "$disk") == '5242880+1048576=zero 7340032+1048576=data 1099511627776+1099511627776=zero' ]] ||
	fail 'after a kill'
unmount
mount_at "$pool" "$work/other" "$mnt" || fail 'no mount on the other host'
[[ $(ranges "$disk@empty" "$disk@one") == '5242880+1048576=data 524288000000+1048576=data' ]] || fail 'elsewhere'

echo '== what is refused'
truncate -s 1M "$mnt/other.raw"
"$garner" snapshot create "$mnt/other.raw@one"
expect_line 'no snapshot' "$garner" diff "$disk@none" "$disk"
expect_line 'two images' "$garner" diff "$disk@one" "$mnt/other.raw@one"
expect_line 'two images' "$garner" diff "$disk@one" "$mnt/other.raw"
expect_line 'not in a garnerfs mount' "$garner" diff "$work/piece" "$disk@one"
code=0
"$garner" diff "$disk" "$disk" 2>"$work/err" || code=$?
[[ $code -eq 2 ]] || fail "exit code $code"
[[ $(snapshots "$disk") == 'empty one' && $(snapshots "$mnt/other.raw") == one ]] || fail 'something was left'
unmount
"$garner" verify "$pool"
