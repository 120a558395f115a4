#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# What does not come from the cluster, or not now, or not whole: another key, a request that was recorded and is sent again, times that
# are past, heads without end, half a body, a body byte by byte, a wrong digest, certificates of strangers. All of it is refused with a
# line in the log, nothing of it is stored, and others go on meanwhile. Then a node that has the key lies about the bytes it holds:
# neither nodes nor gateways take them.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
node_history=$build/tests/tools/node_history
hostile=$tests/tools/node_hostile.py

net_up 3 2
cluster_up 3
"$garner" cluster init --nodes "$(node_address 1):7070" --out "$work/strangers" >"$work/strangers.out"

# What is stored under wrong/ in a pool, by a node's own index. NODE POOL
wrong_things() {
	ask_node "$1" GET "/v1/replica-list?prefix=$2/wrong" --map "$(map_version)" | grep . || true
}

nothing_wrong() { # POOL
	local n
	for n in "${live_nodes[@]}"; do
		[[ -z $(wrong_things "$n" "$1") ]] || fail "node $n has stored: $(wrong_things "$n" "$1")"
	done
}

says() { # NODE PATTERN
	grep -m 1 "$2" "$work/node-$1.log" || fail "the log of node $1 says nothing of \"$2\""
}

# Where the attacks come from: each from its own address, so that each has its own lines in the log.
for ((i = 150; i < 170; i++)); do
	ip -n "$(space h1)" addr add "10.77.0.$i/24" dev eth0
done

echo '== attacks on node 1'
on_host 1 python3 "$hostile" attack --cluster "$cluster_dir/cluster" --map "$(map_version)" --strangers "$work/strangers/cluster" \
	--from 10.77.0.150 \
	"$(node_address 1):7070" attacked || fail 'not all of it was refused'
nothing_wrong attacked
[[ $(ask_node 2 GET '/v1/list/attacked?prefix=right/&max=1000' --map "$(map_version)" | grep -o right/ | wc -l) -gt 20 ]] || fail 'the others were not served'
echo '-- what the log says'
says 1 'not signed'
says 1 'another key, or was changed'
says 1 'replayed request: /v1/object/attacked/right/replayed'
says 1 'long past, or yet to come'
says 1 'the head is too long'
says 1 'too many headers'
says 1 'first line is too long'
says 1 'not plain text\|does not end with CR LF\|first line is not a request'
says 1 'too slow'
says 1 'the body is too long'
says 1 'not the one that was announced'
says 1 'TLS'
wait_green 10

echo '== node 3 lies about bytes'
node_kill 3
start_on n3 python3 "$hostile" lie --cluster "$cluster_dir/node-3/cluster" --map "$(map_version)" --listen "$(node_address 3):7070" lied \
	>"$work/liar.out" 2>"$work/liar.log"
liar=$!
history=$(pool_url lied)
eventually 10 grep -q . "$work/liar.out" || fail "the liar does not start: $(cat "$work/liar.log")"
start_on h1 "$node_history" run -u "$history" -o "$work/history" -w 1 -t 5
client=$!
start_on h2 "$node_history" run -u "$history" -o "$work/history" -w 2 -t 5
wait_for "$client"
wait_for "$!"
eventually 15 grep -q 'lied:bucket=.*lied:object=.*lied:replica=' "$work/liar.out" || fail "it was not asked for all: $(tail -n 1 "$work/liar.out")"
tail -n 1 "$work/liar.out"
end_hard "$liar"
grep -h -m 1 'node 3 .* gave other bytes of' "$work"/node-[12].log || fail 'nobody noticed'
for node in 1 2; do
	[[ -z $(wrong_things "$node" lied) ]] || fail "node $node has stored what was never put: $(wrong_things "$node" lied)"
done
node_start 3
wait_green 60
on_host 1 "$node_history" look -u "$history" -o "$work/history" -w 90 || fail 'a key cannot be read'
"$node_history" check "$work/history" || fail 'wrong bytes were given, or something is lost'
eventually 30 replicas_agree 3 || fail "the replicas differ: $(head "$work/differs")"
