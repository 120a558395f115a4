#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Storage nodes are killed, stopped, cut off, slowed down, filled up, wiped and damaged, while clients on two hosts put, read, create,
# remove and list, and write down what they were told. Afterwards all is mended: the nodes become well by themselves, all replicas are
# the same, and what the clients were told can be explained: nothing that was acknowledged is lost, no read is stale, no create-only
# key has two winners, no byte was never written, no listing lacks a key.
# FAULT_ROUNDS: how many with three nodes (3); then comes one with five. FAULT_SEED: of the first; without FAULT_ROUNDS only that one.
# FAULT_NODES: how many nodes, in all rounds. FAULT_SECONDS: of load in each round (5). FAULT_KINDS: only these. FAULT_KEEP: a directory
# for histories that cannot be explained. FAULT_MOVES=1: in the first four rounds a node joins or leaves meanwhile.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
require perl
node_history=$build/tests/tools/node_history
[[ -x $node_history ]] || fail "$node_history is missing"

seed=${FAULT_SEED:-$((RANDOM << 15 | RANDOM))}
rounds=${FAULT_ROUNDS:-3}
[[ -z ${FAULT_SEED:-} ]] || rounds=${FAULT_ROUNDS:-1}
load=${FAULT_SECONDS:-5}
# shellcheck disable=SC2206
kinds=(${FAULT_KINDS:-kill kill host_kill etcd_kill stop stop storm link one_way one_way partition partition isolate isolate slow fill wipe
	flip client_stop client_kill clock monotonic})
faketime_library=$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null | head -n 1)
injected=0 longest=0
declare -A counts=()
declare -a clients=()

start_client() { # HOST
	# Some of those that are cut off give up soon, and try something else; some only write: what is answered there is looked for.
	local options=(-p 1000)
	((RANDOM % 2)) || options+=(-d 900)
	((RANDOM % 3)) || options=(-x -p 20000)
	writer=$((writer + 1))
	[[ $((RANDOM % 3)) -ne 0 ]] || options+=(-c $((60 + RANDOM)))
	start_on "h$1" "$node_history" run -u "$pool" -o "$work/history" -w "$writer" -s "$seed" -t "$load" "${options[@]}" 2>>"$work/client.log"
	clients[$1]=$!
}

# Sleeps, at least MS and less than MS and SPAN milliseconds.
nap() { # MS SPAN
	local ms=$(($1 + RANDOM % $2))
	sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}

some_node() {
	echo "${live_nodes[RANDOM % ${#live_nodes[@]}]}"
}

some_place() {
	local n=$((RANDOM % (${#live_nodes[@]} + 2)))
	[[ $n -lt ${#live_nodes[@]} ]] && echo "n${live_nodes[n]}" || echo "h$((n - ${#live_nodes[@]} + 1))"
}

# One more fault. What was damaged is one node's in a round: more may lose what only two nodes have.
fault() {
	local kind=${kinds[RANDOM % ${#kinds[@]}]} node place other left right
	node=$(some_node)
	place=$(some_place)
	case $kind in
	kill) node_kill "$node" ;;
	host_kill) host_kill "$node" ;;
	etcd_kill) etcd_kill "$node" ;;
	stop)
		node_runs "$node" || return 0
		node_stop "$node"
		;;
	storm)
		for other in "${live_nodes[@]}"; do
			node_kill "$other"
			node_start "$other"
			nap 0 300
		done
		;;
	link)
		link_down "$place"
		node=$place
		;;
	one_way)
		other=$(some_place)
		[[ $other != "$place" ]] || return 0
		one_way "$place" "$other"
		node="$place-$other"
		;;
	partition)
		left='' right=''
		for other in "${live_nodes[@]}"; do
			((RANDOM % 2)) && left+=" n$other" || right+=" n$other"
		done
		((RANDOM % 2)) && left+=' h1' || right+=' h1'
		((RANDOM % 2)) && left+=' h2' || right+=' h2'
		partition "$left" "$right"
		node="${left// /}|${right// /}"
		;;
	isolate) # with a host
		other=h$((1 + RANDOM % 2)) right=''
		for left in "${places[@]}"; do
			[[ $left == "n$node" || $left == "$other" ]] || right+=" $left"
		done
		partition "$right" "n$node $other"
		node=n$node$other
		nap 1000 1500
		;;
	slow)
		slow_link "$place" "$((1 + RANDOM % 8))mbit"
		node=$place
		;;
	fill)
		[[ -z $filled ]] || return 0
		disk_fill "$node" $((RANDOM % 2 * 131072))
		filled=$node
		;;
	wipe)
		[[ -z $damaged ]] || return 0
		node_kill "$node"
		disk_wipe "$node"
		damaged=$node
		node_start "$node"
		;;
	flip)
		[[ -z $damaged || $damaged == "f$node" ]] || return 0
		[[ -n $(flip_object "$node") ]] || return 0
		damaged=f$node
		;;
	client_stop)
		node=h$((1 + RANDOM % 2))
		kill -STOP "${clients[${node#h}]}" 2>/dev/null || return 0
		;;
	client_kill)
		node=h$((1 + RANDOM % 2))
		end_hard "${clients[${node#h}]}"
		start_client "${node#h}"
		;;
	clock)
		[[ -n $faketime_library ]] || return 0
		node_kill "$node"
		NODE_UNDER=(env "LD_PRELOAD=$faketime_library" "FAKETIME=+$((RANDOM % 500))m" FAKETIME_DONT_FAKE_MONOTONIC=1)
		node_start "$node"
		NODE_UNDER=()
		;;
	monotonic)
		node_kill "$node"
		NODE_UNDER=(unshare --time --monotonic "$((RANDOM * 100))" --boottime "$((RANDOM * 100))")
		node_start "$node"
		NODE_UNDER=()
		;;
	esac
	injected=$((injected + 1))
	counts[$kind]=$((${counts[$kind]:-0} + 1))
	trail+=" $kind:$node"
}

# All that is broken works again; what was damaged stays so.
mend() {
	local n
	none_crashed
	net_mend
	[[ -z $filled ]] || disk_free "$filled"
	filled=''
	for n in "${live_nodes[@]}"; do
		if node_runs "$n"; then
			node_cont "$n"
		else
			node_start "$n"
		fi
		if [[ $n -le $etcd_members && -z ${etcd_pids[$n]} ]]; then
			etcd_start "$n"
		fi
	done
	kill -CONT "${clients[@]}" 2>/dev/null || true
	trail+=' mended'
}

check_round() {
	local took=$SECONDS
	wait_green 90
	took=$((SECONDS - took))
	[[ $took -le $longest ]] || longest=$took
	on_host 1 "$node_history" look -u "$pool" -o "$work/history" -w 90 -d 20000 || fail "a key cannot be read (FAULT_SEED=$seed)"
	on_host 2 "$node_history" look -u "$pool" -o "$work/history" -w 91 -d 20000 || fail "a key cannot be read (FAULT_SEED=$seed)"
	"$node_history" check "$work/history" || fail "the history cannot be explained (FAULT_SEED=$seed): $(keep_history)"
	# The bits that were flipped are found by the scrub.
	[[ $damaged != f* ]] || cluster scrub >/dev/null
	eventually 60 replicas_agree 3 || fail "the replicas differ (FAULT_SEED=$seed): $(head "$work/differs")"
	echo "well after $took s; $(grep -c . "$work/history") lines"
}

keep_history() {
	cp "$work/history" "${FAULT_KEEP:-$work}/history-$seed"
	echo "${FAULT_KEEP:-$work}/history-$seed"
}

# A node joins or leaves during the round: FAULT_MOVES.
declare -a moves=()
begin_move() {
	moving=${moves[0]:-}
	moves=("${moves[@]:1}")
	case $moving in
	join*)
		change_cluster join "$(node_address "${moving#join}"):7070"
		make_disk "${moving#join}"
		node_start "${moving#join}"
		live_nodes+=("${moving#join}")
		;;
	drain*) change_cluster drain "${moving#drain}" ;;
	esac
}

is_moved() {
	! cluster map | grep -E 'state=(joining|leaving)' >/dev/null
}

end_move() {
	local n left=()
	[[ -n $moving ]] || return 0
	eventually 90 is_moved || fail "the move ($moving) does not end (FAULT_SEED=$seed): $(cluster status 2>&1)"
	echo "moved: $moving"
	[[ $moving == drain* ]] || return 0
	node_end "${moving#drain}"
	for n in "${live_nodes[@]}"; do [[ $n == "${moving#drain}" ]] || left+=("$n"); done
	live_nodes=("${left[@]}")
}

round() {
	local until moving
	RANDOM=$seed
	pool=$(pool_url "round$seed")
	writer=0 damaged='' filled='' trail=''
	: >"$work/history"
	start_client 1
	start_client 2
	until=$((SECONDS + load))
	nap 200 300
	begin_move
	while ((SECONDS < until)); do
		fault
		nap 100 1200
		((RANDOM % 4)) || { mend && nap 200 800; }
	done
	echo "faults:$trail"
	mend
	wait_for "${clients[1]}" 60 || true
	wait_for "${clients[2]}" 60 || true
	end_move
	check_round
	on_host 1 "$node_history" wipe -u "$pool" -d 20000 || fail "cannot remove all (FAULT_SEED=$seed)"
	forget_ended
}

rounds_with() { # NODES ROUNDS
	local n
	cluster_up "$1"
	for ((n = 0; n < $2; n++, seed++)); do
		echo "== $1 nodes: FAULT_SEED=$seed"
		round
	done
	cluster_down
}

net_up 5 2
[[ -z ${FAULT_MOVES:-} ]] || moves=(join4 drain1 join5 drain2)
rounds_with "${FAULT_NODES:-3}" "$rounds"
[[ -n ${FAULT_NODES:-} || $rounds -eq 1 ]] || rounds_with 5 1
echo "faults: $injected ($(for kind in "${!counts[@]}"; do echo -n "$kind ${counts[$kind]} "; done)); longest until well: $longest s"
