# SPDX-License-Identifier: GPL-3.0-only
# shellcheck shell=bash
# nodes.sh: a cluster of storage nodes for system tests: real processes, each node in a network namespace of its own, and so each
# host that mounts. A test sources it after lib.sh:
#
#   net_up 3 2                  a network with three nodes and two hosts: 10.77.0.1 .. .9 and 10.77.0.101 ..
#   cluster_up 3                garner cluster init, etcd on the first three nodes, garnerd on every node, with TLS
#   pool=$(pool_url vms)        node://... of a pool
#   on_host 1 COMMAND...        runs it with that host's network; on_node likewise
#   mount_on_host 1             mounts $pool there: at $mnt-1, with cache $cache-1; ${daemons[1]}
#
# The namespaces hang on a bridge in another one. All names have the test's own random part in them, so that tests run beside each
# other, and all of it goes with the test.
#
# Faults. Nodes are numbers, "n1" or "h1" are places of the network (a node, a host):
#   node_kill, node_start, node_stop, node_cont, host_kill, host_start (etcd too), etcd_kill, etcd_start
#   link_down n1, link_up n1              the cable is out
#   one_way n1 n2                         what n1 sends to n2 is lost, without a word
#   partition 'n1 n2 h1' 'n3'             who is not in the same word does not see each other
#   slow_link n1 2mbit, fast_link n1      both directions
#   net_mend                              all of these are over
#   disk_fill, disk_free, disk_wipe       of a node's data directory, which is a file system of its own
#   flip_object NODE                      a bit of some object's file; prints which
#   clock_start NODE OFFSET               starts it with another wall clock; TIME_OFFSET=SECONDS with other monotonic clocks

[[ $store_kind == file ]] || only_for file 'the nodes are started by the test itself'
require_root
require ip tc nsenter etcd curl python3
garnerd=$build/garnerd
node_client=$tests/tools/node_client.py
[[ -x $garnerd ]] || fail "$build holds no garnerd"

net=garner-${work##*.}
switch=$net-switch
node_count=0
cluster_dir=$work/cluster
declare -a node_pids=() etcd_pids=() daemons=()
declare -a CLUSTER_OPTIONS=() # of garner cluster init
declare -a node_options=(--heal-every 2s --scrub-every 1h)
NODE_MEMORY=${NODE_MEMORY:-320m} # of the tmpfs that is a node's disk

node_address() { # NODE
	echo "10.77.0.$1"
}

# The name of the namespace of a place.
space() { # PLACE
	echo "$net-$1"
}

place_address() { # PLACE
	case $1 in
	n*) echo "10.77.0.${1#n}" ;;
	h*) echo "10.77.0.$((100 + ${1#h}))" ;;
	esac
}

# nsenter, and not ip netns exec: mounts are to be seen by all. The program has the process id of what is started.
on_place() { # PLACE COMMAND...
	local place=$1
	shift
	nsenter --net="/run/netns/$(space "$place")" -- "$@"
}

# The same in the background; $! is the program itself, and the clean-up knows it.
start_on() { # PLACE COMMAND...
	nsenter --net="/run/netns/$(space "$1")" -- "${@:2}" &
	pids+=("$!")
}

on_node() { # NODE COMMAND...
	on_place "n$1" "${@:2}"
}

on_host() { # HOST COMMAND...
	on_place "h$1" "${@:2}"
}

# ---- the network ------------------------------------------------------------------------------------------------------

declare -a places=() one_ways=() # "PLACE ADDRESS" of what one_way has done

add_place() { # PLACE
	local name
	name=$(space "$1")
	ip netns add "$name"
	finally "ip netns del $name"
	ip -n "$switch" link add "p-$1" type veth peer name eth0 netns "$name"
	ip -n "$name" link set lo up
	ip -n "$name" addr add "$(place_address "$1")/24" dev eth0
	ip -n "$name" link set eth0 up
	ip -n "$switch" link set "p-$1" master br0 up
	places+=("$1")
}

add_bridge() { # NUMBER
	ip -n "$switch" link show "br$1" >/dev/null 2>&1 && return 0
	ip -n "$switch" link add "br$1" type bridge forward_delay 0
	ip -n "$switch" link set "br$1" up
}

net_up() { # NODES HOSTS
	local i
	ip netns add "$switch" || skip 'cannot make a network namespace'
	finally "ip netns del $switch"
	ip -n "$switch" link set lo up
	add_bridge 0
	for ((i = 1; i <= $1; i++)); do add_place "n$i"; done
	for ((i = 1; i <= $2; i++)); do add_place "h$i"; done
}

link_down() { # PLACE
	ip -n "$switch" link set "p-$1" down
}

link_up() { # PLACE
	ip -n "$switch" link set "p-$1" up
}

# Sent to a station that does not exist: neither side is told.
one_way() { # FROM TO
	ip -n "$(space "$1")" neigh replace "$(place_address "$2")" lladdr 02:00:00:00:00:01 nud permanent dev eth0
	one_ways+=("$1 $(place_address "$2")")
}

partition() { # "PLACE PLACE..." "PLACE..."...
	local group place number=0
	for group in "$@"; do
		add_bridge "$number"
		for place in $group; do
			ip -n "$switch" link set "p-$place" master "br$number"
		done
		number=$((number + 1))
	done
}

slow_link() { # PLACE RATE
	tc -n "$switch" qdisc replace dev "p-$1" root tbf rate "$2" burst 64k latency 400ms
	tc -n "$(space "$1")" qdisc replace dev eth0 root tbf rate "$2" burst 64k latency 400ms
}

fast_link() { # PLACE
	tc -n "$switch" qdisc del dev "p-$1" root 2>/dev/null || true
	tc -n "$(space "$1")" qdisc del dev eth0 root 2>/dev/null || true
}

net_mend() {
	local place pair
	for pair in ${one_ways[@]+"${one_ways[@]}"}; do
		ip -n "$(space "${pair% *}")" neigh del "${pair#* }" dev eth0 2>/dev/null || true
	done
	one_ways=()
	for place in "${places[@]}"; do
		ip -n "$switch" link set "p-$place" master br0 up
		fast_link "$place"
	done
}

# ---- etcd -------------------------------------------------------------------------------------------------------------

etcd_members=0

# As the unit that `garner cluster init` writes does, with directories of the test.
etcd_start() { # NODE
	[[ $1 -le $etcd_members ]] || return 0
	sed "s|/etc/garnerfs/|$cluster_dir/node-$1/|; s|/var/lib/garner-etcd|$work/etcd-$1|" "$cluster_dir/node-$1/etcd.yaml" \
		>"$work/etcd-$1.yaml"
	start_on "n$1" etcd --config-file "$work/etcd-$1.yaml" >>"$work/etcd-$1.out" 2>&1 </dev/null 5<&-
	etcd_pids[$1]=$!
}

etcd_kill() { # NODE
	[[ -n ${etcd_pids[$1]:-} ]] || return 0
	end_hard "${etcd_pids[$1]}"
	etcd_pids[$1]=''
}

# ---- nodes ------------------------------------------------------------------------------------------------------------

# Kills, and returns when it is gone. PID
end_hard() {
	kill -9 "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# A node's directories; a test may say otherwise.
node_data() { # NODE
	echo "$work/node-$1/data"
}

# node_start NODE [OPTIONS]: garnerd; its messages are in $work/node-NODE.log. NODE_UNDER=(command...) runs it under that.
# shellcheck disable=SC2206
declare -a NODE_UNDER=(${GARNER_NODE_UNDER:-}) # such as "valgrind -q"
node_start() {
	local n=$1
	shift
	start_on "n$n" ${NODE_UNDER[@]+"${NODE_UNDER[@]}"} "$garnerd" --data "$(node_data "$n")" --listen "$(node_address "$n"):7070" \
		--cluster "$cluster_dir/node-$n/cluster" -f "${node_options[@]}" "$@" >>"$work/node-$n.log" 2>&1 </dev/null 5<&-
	node_pids[n]=$!
}

node_kill() { # NODE
	[[ -n ${node_pids[$1]:-} ]] || return 0
	end_hard "${node_pids[$1]}"
	node_pids[$1]=''
}

# In order: exit code 0 is expected.
node_end() { # NODE
	kill "${node_pids[$1]}"
	wait_for "${node_pids[$1]}" 60 || fail "node $1 ended with exit code $?"
	node_pids[$1]=''
}

node_stop() { # NODE
	kill -STOP "${node_pids[$1]}"
}

node_cont() { # NODE
	kill -CONT "${node_pids[$1]}"
}

node_runs() { # NODE
	[[ -n ${node_pids[$1]:-} ]] && kill -0 "${node_pids[$1]}" 2>/dev/null
}

# Fails when a node has ended that nobody has ended, or a sanitizer has found something.
none_crashed() {
	local n
	for n in "${!node_pids[@]}"; do
		[[ -z ${node_pids[n]} ]] || node_runs "$n" || fail "node $n has ended by itself: $(tail -n 5 "$work/node-$n.log")"
	done
	! grep -lE 'ERROR: .*Sanitizer|WARNING: ThreadSanitizer|^==[0-9]+== (Invalid|Conditional|Use of|Syscall param)|runtime error:' "$work"/node-?.log ||
		fail 'the logs of these nodes tell of faults'
}

# With the garnerd, what else runs on that machine.
host_kill() { # NODE
	node_kill "$1"
	etcd_kill "$1"
}

host_start() { # NODE
	etcd_start "$1"
	node_start "$1"
}

# A request to a node, signed, from its own namespace. NODE METHOD TARGET [OPTIONS...]
ask_node() {
	on_node "$1" timeout 20 python3 "$node_client" --timeout 5 --cluster "$cluster_dir/cluster" "${@:4}" "$2" "$(node_address "$1"):7070" \
		"$3"
}

# A field of a node's status, as jq names it. NODE FIELD
node_status() {
	ask_node "$1" GET /v1/status 2>/dev/null | jq -r ".$2"
}

declare -a live_nodes=() # that are in the cluster

# What an operator sees, from the first host, or the first node where there is none.
cluster() { # COMMAND...
	local from=n1
	[[ " ${places[*]} " != *' h1 '* ]] || from=h1
	on_place "$from" timeout 30 "$garner" cluster "$@" --cluster "$cluster_dir/cluster"
}

# The same of what is refused until the nodes have settled for the map as it is.
change_cluster() { # COMMAND...
	eventually 30 cluster "$@" >"$work/cluster-change" 2>&1 || fail "garner cluster $*: $(cat "$work/cluster-change")"
}

all_green() {
	cluster status >"$work/cluster-status" 2>&1
}

wait_green() { # SECONDS
	local n
	none_crashed
	eventually "$1" all_green && return 0
	none_crashed
	cat "$work/cluster-status"
	for n in "${live_nodes[@]}"; do
		echo "node $n: $(node_status "$n" '| {state, hints, moving, map, peers, healing, agreement}' | jq -c .)"
	done
	fail "the cluster is not well after $1 s"
}

# The version of the map that all nodes go by.
map_version() {
	node_status "${live_nodes[0]}" map
}

# ---- the cluster ------------------------------------------------------------------------------------------------------

make_disk() { # NODE
	mkdir -p "$work/node-$1"
	mount -t tmpfs -o "size=$NODE_MEMORY" garner-test "$work/node-$1" || skip 'cannot mount a tmpfs'
	finally "umount -l $work/node-$1 2>/dev/null"
}

make_cluster_files() { # NODES REPLICAS QUORUM
	local i nodes=''
	for ((i = 1; i <= $1; i++)); do nodes+=,$(node_address "$i"):7070; done
	"$garner" cluster init --nodes "${nodes#,}" --replicas "$2" --quorum "$3" --out "$cluster_dir" \
		${CLUSTER_OPTIONS[@]+"${CLUSTER_OPTIONS[@]}"} >"$work/cluster-init" || fail 'garner cluster init'
}

# The first nodes of the network become a cluster. Returns when all of them count.
cluster_up() { # NODES [REPLICAS [QUORUM]]
	local i
	node_count=$1
	make_cluster_files "$1" "${2:-3}" "${3:-2}"
	etcd_members=$(find "$cluster_dir" -name etcd.yaml | wc -l)
	for ((i = 1; i <= etcd_members; i++)); do etcd_start "$i"; done
	for ((i = 1; i <= $1; i++)); do
		make_disk "$i"
		node_start "$i"
		live_nodes+=("$i")
	done
	wait_green 60
}

# All of it ends, in order, and goes: another cluster may be made.
cluster_down() {
	local n
	none_crashed
	for n in "${live_nodes[@]}"; do
		node_end "$n"
	done
	none_crashed
	for n in "${live_nodes[@]}"; do
		etcd_kill "$n"
		umount -l "$work/node-$n"
		rm -rf "$work/node-$n" "$work/etcd-$n"
	done
	rm -rf "$cluster_dir"
	live_nodes=()
	forget_ended
}

# The URL of a pool, by the first nodes.
pool_url() { # NAME
	local i list=''
	for ((i = 1; i <= node_count; i++)); do
		list+=,$(node_address "$i"):7070
	done
	echo "node://${list#,}/$1?cluster=$cluster_dir/cluster"
}

# mount_on_host HOST [OPTIONS]: $pool at $mnt-HOST with cache $cache-HOST. ${daemons[HOST]} is its process id, its output goes to
# $work/garnerfs-HOST.log.
mount_on_host() {
	local host=$1 at=$mnt-$1 i
	mkdir -p "$at"
	start_on "h$host" "$garnerfs" "$pool" "$at" -f -o "cache_dir=$cache-$host${2:+,$2}" >>"$work/garnerfs-$host.log" 2>&1 5<&-
	daemons[host]=$!
	mounts+=("$at")
	for ((i = 0; i < 600; i++)); do
		is_mounted "$at" && return 0
		kill -0 "${daemons[host]}" 2>/dev/null || break
		sleep 0.05
	done
	fail "the mount on host $host did not start: $(tail -n 3 "$work/garnerfs-$host.log")"
}

# ---- disks ------------------------------------------------------------------------------------------------------------

disk_fill() { # NODE [BYTES THAT ARE LEFT]
	local free
	free=$(($(stat -f -c '%a * %S' "$work/node-$1") - ${2:-65536}))
	((free <= 0)) || fallocate -l "$free" "$work/node-$1/filler" 2>/dev/null || true # the node writes, too
}

disk_free() { # NODE
	rm -f "$work/node-$1/filler"
}

# The node must not run.
disk_wipe() { # NODE
	rm -rf "$work/node-$1/data"
	mkdir "$work/node-$1/data"
}

# Whether each object is on exactly that many nodes, in the same version, with the same bytes; and each removal that is remembered on
# at least so many: nodes that do not hold it any more forget it later. What differs is in $work/differs.
replicas_agree() { # REPLICAS
	local n directories=()
	for n in "${live_nodes[@]}"; do directories+=("$work/node-$n"); done
	# A file is HASH-VERSION-FLAGS: a header of 4096 bytes, which tells also when it came, then the body and its sums.
	python3 - "$1" "${directories[@]}" >"$work/differs" <<-'PYTHON'
		import collections, glob, hashlib, os, sys
		found = collections.defaultdict(list)
		for directory in sys.argv[2:]:
		    for path in glob.glob(directory + "/*/objects/*/*"):
		        try:
		            with open(path, "rb") as f:
		                f.seek(4096)
		                body = f.read()
		            digest = hashlib.blake2b(body, digest_size=8).hexdigest() if body else "removed"
		        except FileNotFoundError:
		            digest = "gone"
		        found[os.path.basename(path).rsplit("-", 1)[0] + " " + digest].append(os.path.basename(directory))
		for name, nodes in sorted(found.items()):
		    many = len(set(nodes)) > int(sys.argv[1]) and not name.endswith("removed")
		    if many or len(set(nodes)) < int(sys.argv[1]) or len(nodes) != len(set(nodes)):
		        print(name, *nodes)
	PYTHON
	[[ ! -s $work/differs ]]
}

# Flips a bit of the body, the sums or the header of some object, if there is one with a body. Prints the file's name.
flip_object() { # NODE
	local file size
	file=$(find "$work/node-$1/data/objects" -type f -size +8 -printf '%p\n' | shuf -n 1 --random-source=<(yes $RANDOM))
	[[ -n $file ]] || return 0
	size=$(stat -c %s "$file" 2>/dev/null) || return 0
	flip_bit "$file" $(((RANDOM << 15 | RANDOM) % size)) 2>/dev/null || return 0
	echo "${file##*/}"
}
