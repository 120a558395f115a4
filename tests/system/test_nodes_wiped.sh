#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# A node's disk is wiped while two hosts write: it does not count until it has got again all that it is to hold, which it does by
# itself. Then all replicas are the same, and it can stand in for the others. So it is with one of two drives.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
node_history=$build/tests/tools/node_history
options=segment_size=1M,seal_after=1s,lease=4s

net_up 3 2
# Node 3 has two drives.
node_data() { # NODE
	[[ $1 -eq 3 ]] && echo "$work/node-3/data,$work/node-3/more" || echo "$work/node-$1/data"
}
cluster_up 3
pool=$(pool_url vms)
on_host 1 "$garner" init "$pool"
random_file "$work/data" 40
mount_on_host 1 "$options"
cp "$work/data" "$mnt-1/disk.raw"
on_host 1 "$garner" flush "$mnt-1/disk.raw"
unmount "$mnt-1" "${daemons[1]}"

history=$(pool_url history)
load() {
	start_on h1 "$node_history" run -u "$history" -o "$work/history" -w "$1" -t 4
	client=$!
	start_on h2 "$node_history" run -u "$history" -o "$work/history" -w "$(($1 + 1))" -t 4
	other_client=$!
}

explained() {
	wait_for "$client" || fail "the client on host 1 failed"
	wait_for "$other_client" || fail "the client on host 2 failed"
	on_host 1 "$node_history" look -u "$history" -o "$work/history" -w "$1" || fail 'a key cannot be read'
	"$node_history" check "$work/history" || fail 'what the clients were told cannot be explained'
	eventually 30 replicas_agree 3 || fail "the replicas differ: $(head "$work/differs")"
}

# Of the cache of no host.
read_cold() { # HOST
	rm -rf "$cache-$1"
	mount_on_host "$1" "$options"
	same "$work/data" "$mnt-$1/disk.raw"
	unmount "$mnt-$1" "${daemons[$1]}"
}

echo '== a whole disk'
load 1
sleep 1
node_kill 2
disk_wipe 2
before=$(map_version)
node_start 2
began=$SECONDS
wait_green 60
echo "rebuilt after $((SECONDS - began)) s: $(node_status 2 'objects') objects, $(($(node_status 2 'bytes') >> 20)) MiB"
[[ $(map_version) -gt $before ]] || fail 'the votes that the node gave before might be counted: the map is the same'
grep 'got again all' "$work/node-2.log"
explained 90

echo '== it stands in for another'
node_kill 1
read_cold 2
node_start 1
wait_green 30

echo '== one of two drives'
load 3
sleep 1
node_kill 3
lost=$(find "$work/node-3/more/objects" -type f | wc -l)
[[ $lost -gt 0 ]] || fail 'the second drive holds nothing'
rm -rf "$work/node-3/more"
mkdir "$work/node-3/more"
node_start 3
wait_green 60
[[ $(find "$work/node-3/more/objects" -type f | wc -l) -gt 0 ]] || fail 'the new drive is not used'
explained 91
node_kill 2
read_cold 1
