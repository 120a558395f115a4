#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Under load a fourth node joins, the first is drained, a fifth joins, another dies for good and is removed. Each time everything is
# where the map wants it, on three nodes, and what the clients were told can be explained.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
node_history=$build/tests/tools/node_history
options=segment_size=1M,seal_after=1s

net_up 5 2
cluster_up 3
pool=$(pool_url vms)
on_host 1 "$garner" init "$pool"
random_file "$work/data" 24
mount_on_host 1 "$options"
cp "$work/data" "$mnt-1/disk.raw"
on_host 1 "$garner" flush "$mnt-1/disk.raw"
unmount "$mnt-1" "${daemons[1]}"
history=$(pool_url history)
writer=0

load() {
	local host
	clients=()
	for host in 1 2; do
		writer=$((writer + 1))
		start_on "h$host" "$node_history" run -u "$history" -o "$work/history" -w "$writer" -t 4 -p 4000
		clients+=("$!")
	done
}

in_map() { # NODE
	cluster map | grep "^node $1 " >/dev/null
}

moved() {
	! cluster map | grep -E 'state=(joining|leaving)' >/dev/null
}

not_in_map() {
	! in_map "$1"
}

explained() {
	local pid
	for pid in "${clients[@]}"; do wait_for "$pid" || fail 'a client failed'; done
	wait_green 60
	eventually 60 replicas_agree 3 || fail "not every object is on three nodes: $(head "$work/differs")"
	on_host 1 "$node_history" look -u "$history" -o "$work/history" -w "$((90 + writer))" || fail 'a key cannot be read'
	"$node_history" check "$work/history" || fail 'what the clients were told cannot be explained'
	rm -rf "$cache-2"
	mount_on_host 2 "$options"
	same "$work/data" "$mnt-2/disk.raw"
	unmount "$mnt-2" "${daemons[2]}"
	cluster status
}

join() { # NODE
	change_cluster join "$(node_address "$1"):7070"
	make_disk "$1"
	node_start "$1"
	live_nodes+=("$1")
	eventually 60 moved || fail "the move does not end: $(cluster status 2>&1)"
}

echo '== the fourth joins'
load
join 4
explained
[[ $(node_status 4 objects) -gt 20 ]] || fail 'the new node has not got its share'

echo '== the first is drained'
load
change_cluster drain 1
eventually 60 not_in_map 1 || fail "node 1 does not go: $(cluster status 2>&1)"
node_end 1
live_nodes=(2 3 4)
explained

echo '== the fifth joins, then the second dies for good'
join 5
load
sleep 0.5
host_kill 2
rm -rf "$work/node-2/data"
live_nodes=(3 4 5)
change_cluster remove 2 --force
eventually 60 not_in_map 2 || fail "node 2 does not go: $(cluster status 2>&1)"
explained
