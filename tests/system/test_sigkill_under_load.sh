#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# garnerfs is killed (-9) under load, again and again: nothing answered is lost, nothing is reordered, no block is torn.
# KILL_ROUNDS: how often (5).
. "$(dirname "$0")/lib.sh"
require fio
[[ -x $flush_checker ]] || fail "$flush_checker is missing"

rounds=${KILL_ROUNDS:-5}
options=segment_size=1M,seal_after=1s
seed=${GARNER_TEST_SEED:-$RANDOM}
echo "GARNER_TEST_SEED=$seed"
RANDOM=$seed

fio_verify() {
	fio --name=verify --filename="$mnt/fio.raw" --rw=read --bs=4k --size=64m --ioengine=libaio --iodepth=16 --direct=1 \
		--verify=crc32c --verify_fatal=1 --verify_state_save=0 --output="$work/fio.out" || {
		tail -n 20 "$work/fio.out"
		fail 'fio finds wrong bytes'
	}
}

mount_fs "$options"
fio --name=fill --verify_state_save=0 --filename="$mnt/fio.raw" --rw=write --bs=4k --size=64m --ioengine=libaio --iodepth=32 --direct=1 \
	--verify=crc32c --do_verify=0 --end_fsync=1 --output="$work/fio.out"
for ((round = 1; round <= rounds; round++)); do
	touch "$work/begun"
	sleep 0.1
	"$flush_checker" write -f "$mnt/checker.raw" -n "$work/notes" -s "$seed" -b 4096 -t 60 >"$work/writer.out" &
	writer=$!
	fio --name=load --filename="$mnt/fio.raw" --rw=randwrite --bs=4k --size=64m --ioengine=libaio --iodepth=32 --direct=1 \
		--verify=crc32c --do_verify=0 --verify_state_save=0 --time_based --runtime=60 --randseed=$((seed + round)) \
		--fsync=50 --output=/dev/null 2>/dev/null &
	load=$!
	pids+=("$writer" "$load")
	# Opening for writing may take its time, where a store has to be asked twice who owns the image.
	for ((i = 0; i < 600; i++)); do
		[[ ! -s $work/notes || ! $work/notes -nt $work/begun ]] || break
		sleep 0.1
	done
	sleep "$((1 + RANDOM % 3)).$((RANDOM % 10))"
	kill -9 "$daemon"
	code=0
	wait_for "$writer" || code=$?
	wait_for "$load" || true
	cat "$work/writer.out"
	[[ $code -eq 3 ]] || fail "the writer should have met an error, and ended with $code"
	wait "$daemon" 2>/dev/null || true
	fusermount3 -u -z "$mnt"
	mount_fs "$options"
	"$flush_checker" verify -f "$mnt/checker.raw" -n "$work/notes" -s "$seed" -b 4096 -a || fail "round $round: writes are lost"
	fio_verify
	echo "round $round: good"
done
echo 'in order, and from the store alone'
unmount
rm -rf "$cache"
mount_fs "$options"
"$flush_checker" verify -f "$mnt/checker.raw" -n "$work/notes" -s "$seed" -b 4096 -a || fail 'the store lacks writes'
fio_verify
unmount
