#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Objects' files on one node are damaged in all ways: bits are flipped in their bodies, sums and headers, they are cut off, emptied,
# deleted and mixed up. Whoever reads gets the right bytes, and the copies are replaced by good ones: those that are read at once, all
# others by a scrub.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
require perl
options=segment_size=1M,seal_after=1s

net_up 3 1
cluster_up 3
pool=$(pool_url vms)
on_host 1 "$garner" init "$pool"
random_file "$work/data" 24
mount_on_host 1 "$options"
cp "$work/data" "$mnt-1/disk.raw"
mkdir "$mnt-1/folder"
on_host 1 "$garner" flush "$mnt-1/disk.raw"
unmount "$mnt-1" "${daemons[1]}"
wait_green 30
eventually 20 replicas_agree 3 || fail "the replicas differ: $(head "$work/differs")"

# Damages every object of a node that has a body, each in another way.
damage() { # NODE
	local file kind=0 count=0 last=''
	while read -r file; do
		case $((kind++ % 7)) in
		0) flip_bit "$file" 5000 ;;             # the body
		1) flip_bit "$file" -1 ;;               # the sums
		2) flip_bit "$file" $((RANDOM % 200)) ;; # the header
		3) cut_to "$file" 4500 ;;
		4) cut_to "$file" 0 ;;
		5) rm "$file" ;;
		6) cat "$last" >"$file" ;;
		esac
		last=$file
		[[ -s $last ]] || last=$before
		before=$last
		count=$((count + 1))
	done < <(find "$work/node-$1/data/objects" -type f -size +9 | sort)
	echo "$count copies on node $1 are damaged"
	[[ $count -gt 20 ]] || fail 'there are too few'
}

read_cold() {
	rm -rf "$cache-1"
	mount_on_host 1 "$options"
	same "$work/data" "$mnt-1/disk.raw"
	unmount "$mnt-1" "${daemons[1]}"
}

for node in 1 2 3; do
	damage "$node"
	read_cold
	on_host 1 "$garner" verify "$pool"
	cluster scrub
	eventually 60 replicas_agree 3 || fail "copies were not replaced: $(cat "$work/differs"); $(tail -n 5 "$work/node-$node.log")"
	wait_green 30
	grep -c 'was damaged' "$work/node-$node.log"
done
