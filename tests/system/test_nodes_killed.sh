#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Two hosts write through two mounts (sync=remote) to one cluster of three nodes. Each node's host is killed once, etcd with it: no I/O
# error; the longest pause of a flush is printed. The nodes come back, and get by themselves what they have missed. Then a host is
# killed, too, and loses its cache: what it had flushed is there on the other one.
export NODE_MEMORY=2g # every flush is an object of its own
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nodes.sh"
require fio
[[ -x $flush_checker ]] || fail "$flush_checker is missing"

options=segment_size=1M,sync=remote,lease=4s
seed=${GARNER_TEST_SEED:-$RANDOM}
echo "GARNER_TEST_SEED=$seed"

net_up 3 2
cluster_up 3
pool=$(pool_url vms)
on_host 1 "$garner" init "$pool"
for host in 1 2; do mount_on_host "$host" "$options"; done

fio_on() { # HOST JOB [ARGS...]
	fio --name="$2" --filename="$mnt-$1/fio.$1" --size=24m --bs=16k --ioengine=psync --verify=crc32c --verify_fatal=1 \
		--verify_state_save=0 --randseed="$seed" --output="$work/fio-$1-$2.json" --output-format=json "${@:3}"
}

echo '== filled'
for host in 1 2; do fio_on "$host" fill --rw=write --do_verify=0 --end_fsync=1; done

echo '== each node is killed under load'
loads=() checkers=()
for host in 1 2; do
	start fio_on "$host" load --rw=randwrite --rate_iops=100 --fsync=1 --do_verify=0 --time_based --runtime=22
	loads+=("$!")
	start "$flush_checker" write -f "$mnt-$host/checker.$host" -n "$work/notes-$host" -s "$seed" -b 4096 -t 60 >"$work/checker-$host.out"
	checkers[host]=$!
done
sleep 2
for node in 1 2 3; do
	host_kill "$node"
	sleep 3.5
	host_start "$node"
	wait_green 60
	echo "node $node: killed, and well again"
	sleep 1
done
for pid in "${loads[@]}"; do
	wait_for "$pid" || fail "fio met an error: $(tail -n 5 "$work"/fio-*.json)"
done
for host in 1 2; do
	jq -r --arg host "$host" '.jobs[0] | "host \($host): \(.write.total_ios) writes, each flushed; longest flush \(.sync.lat_ns.max / 1000000 | round) ms, median " +
		"\(.sync.lat_ns.percentile["50.000000"] / 10000 | round / 100) ms"' "$work/fio-$host-load.json"
	[[ $(jq '.jobs[0].error' "$work/fio-$host-load.json") -eq 0 ]] || fail "fio met an error on host $host"
	kill -0 "${checkers[$host]}" 2>/dev/null || fail "the writer on host $host met an error"
done
grep -h 'got .* missed\|were got' "$work"/node-?.log || fail 'no node was given what it had missed'

echo '== a host is killed, and its cache is lost'
kill_daemon "$mnt-1" "${daemons[1]}"
code=0
wait_for "${checkers[1]}" || code=$?
[[ $code -eq 3 ]] || fail "the writer should have met an error, and ended with $code"
rm -rf "$cache-1"
end_hard "${checkers[2]}"
eventually 60 dd if=/dev/null of="$mnt-2/checker.1" bs=1 conv=notrunc status=none 2>/dev/null || fail 'its image is never given'
"$flush_checker" verify -f "$mnt-2/checker.1" -n "$work/notes-1" -s "$seed" -b 4096 || fail 'what was flushed is lost'
"$flush_checker" verify -f "$mnt-2/checker.2" -n "$work/notes-2" -s "$seed" -b 4096 || fail 'what was flushed is lost'
for host in 1 2; do
	fio --name=verify --filename="$mnt-2/fio.$host" --size=24m --bs=16k --rw=read --verify=crc32c --verify_fatal=1 \
		--verify_state_save=0 --output="$work/fio-verify.out" || fail "wrong bytes in fio.$host: $(tail -n 5 "$work/fio-verify.out")"
done
unmount "$mnt-2" "${daemons[2]}"
on_host 2 "$garner" verify "$pool"
wait_green 30
eventually 30 replicas_agree 3 || fail "the replicas differ: $(head "$work/differs")"
