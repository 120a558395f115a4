#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Ten times as much as nodes may hold in memory comes at the same time: puts of large objects, and reads whose answers nobody takes.
# Their memory stays under a limit, they answer 503, lose nothing, and go on as before when it is over.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
node_history=$build/tests/tools/node_history
flood=$tests/tools/node_flood.py
memory=64 # MiB for bodies, of each node
# As much comes in as goes out; beside that there are the program itself, the index, TLS, and what malloc keeps.
limit=$((memory * 2 + 96))
[[ -z ${GARNER_SANITIZED:-} ]] || limit=$((limit * 4))
CLUSTER_OPTIONS=(--plain)
node_options+=(--memory "${memory}M" --connections 200)
NODE_MEMORY=900m

net_up 3 2
cluster_up 3
addresses=$(node_address 1):7070,$(node_address 2):7070,$(node_address 3):7070
pool=$(pool_url flooded)

# The most that each node has had in memory since the last look, in MiB; it must not be more than the limit.
memory_used() { # WHEN
	local n used
	for n in 1 2 3; do
		used=$(($(awk '/^VmHWM/ { print $2 }' "/proc/${node_pids[n]}/status") >> 10))
		echo "$1: node $n had $used MiB at most, now $(($(awk "/^VmRSS/ { print \$2 }" "/proc/${node_pids[n]}/status") >> 10))"
		[[ $used -le $limit ]] || fail "node $n has used $used MiB, more than $limit"
		echo 5 >"/proc/${node_pids[n]}/clear_refs"
	done
}

flood_with() { # HOST WAY ARGS...
	start_on "h$1" python3 "$flood" "$2" --cluster "$cluster_dir/cluster" --map "$(map_version)" "${@:3}" "$addresses" flooded \
		>"$work/flood-$1.out" 2>"$work/flood-$1.log"
	flooders+=("$!")
}

flooded() {
	local pid
	for pid in "${flooders[@]}"; do wait_for "$pid" 90 || fail "$(tail -n 3 "$work"/flood-?.log)"; done
	flooders=()
	cat "$work"/flood-?.out
}
flooders=()
memory_used 'at rest'

echo '== 160 clients put 4 MiB each: ten times as much as the nodes hold'
for host in 1 2; do flood_with "$host" put --clients 80 --seconds 5 --mib 4; done
flooded
memory_used 'with puts'
grep -q '503=' "$work/flood-1.out" || fail 'nobody was put off'
grep -q '201=' "$work/flood-1.out" || fail 'nothing was put at all'

for read in any latest; do
	echo "== 160 clients read ($read) 4 MiB each and do not take it"
	for host in 1 2; do flood_with "$host" read --clients 80 --seconds 5 "$read"; done
	flooded
	memory_used 'with reads'
	grep -q '200=' "$work/flood-1.out" || fail 'nothing was read at all'
done

echo '== and on'
wait_green 60
start_on h1 "$node_history" run -u "$pool" -o "$work/history" -w 1 -t 3
wait_for "$!"
on_host 2 "$node_history" look -u "$pool" -o "$work/history" -w 90 || fail 'a key cannot be read'
"$node_history" check "$work/history"
eventually 30 replicas_agree 3 || fail "the replicas differ: $(head "$work/differs")"
grep -h -m 1 'overload' "$work"/node-?.log || fail 'the logs say nothing of it'
