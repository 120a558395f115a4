#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# The store goes away for a while under a guest that writes and reads: the guest sees nothing of it, the log says it once, and
# afterwards everything gets into the store by itself.
# AWAY_SECONDS: how long (20).
. "$(dirname "$0")/lib.sh"
only_with_server 'the server of the store goes away'
require fio

away=${AWAY_SECONDS:-20}
options=segment_size=1M,seal_after=500ms,store_timeout=3s,lease=3s
declare -a job=(--name=guest --filename="$mnt/disk.raw" --rw=randwrite --bs=4k --size="$((away + 15))m" --ioengine=libaio
	--iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed=1)

state_is() { # STATE
	[[ $(status_of "$mnt/disk.raw" state) == "$1" ]]
}

says() { # TEXT: how often the log says it
	grep -c "$1" "$work/garnerfs.log" || true
}

proxy_start
mount_at "$proxied" "$cache" "$mnt" "$options" || fail 'no mount'
echo '== a guest begins'
# A MiB in a second, and what was written is read back and verified all the while.
start fio "${job[@]}" --rate=,1m --verify_backlog=256 --fsync=256 --output="$work/fio.out"
guest=$!
sleep 4
state_is ok || fail "the state is $(status_of "$mnt/disk.raw" state)"
[[ $(status_of "$mnt/disk.raw" stored_segment) -gt 0 ]] || fail 'nothing went up'
before=$(wc -l <"$work/garnerfs.log")

echo "== the store is away for $away s"
proxy down
eventually 20 state_is 'store away' || fail "the state is $(status_of "$mnt/disk.raw" state)"
"$garner" status "$mnt"
[[ $(status_of "$mnt" store_ok) == false ]] || fail 'the status of the mount says that the store is well'
[[ -n $(status_of "$mnt" store_error) ]] || fail 'it does not say why'
lag=$(status_of "$mnt/disk.raw" lag_bytes)
sleep "$away"
kill -0 "$guest" 2>/dev/null || fail "the guest has ended: $(tail -n 5 "$work/fio.out")"
state_is 'store away' || fail "the state is $(status_of "$mnt/disk.raw" state)"
later=$(status_of "$mnt/disk.raw" lag_bytes)
echo "not yet in the store: $lag bytes, later $later, the oldest for $(status_of "$mnt/disk.raw" lag_seconds) s"
[[ $later -gt $lag ]] || fail 'the lag does not grow'
[[ $(says 'the store does not answer') -eq 1 ]] || fail 'the log does not say it once'
[[ $(says 'the store answers again') -eq 0 ]] || fail 'the log says that the store answers'
lines=$(($(wc -l <"$work/garnerfs.log") - before))
[[ $lines -le 4 ]] || fail "the log has $lines lines about it"

echo '== it is back'
proxy up
eventually 60 state_is ok || fail "the state is $(status_of "$mnt/disk.raw" state)"
code=0
wait_for "$guest" $((away + 120)) || code=$?
cat "$work/garnerfs.log"
[[ $code -eq 0 ]] || { tail -n 20 "$work/fio.out"; fail 'the guest met an error'; }
[[ $(says 'the store does not answer') -eq 1 && $(says 'the store answers again') -eq 1 ]] || fail 'the log does not say it once'
all_stored() {
	[[ $(status_of "$mnt" lag_bytes) -eq 0 ]]
}
eventually 120 all_stored || fail "$(status_of "$mnt" lag_bytes) bytes do not go up by themselves"
within 60 "$garner" flush "$mnt" || fail 'garner flush'
"$garner" verify "$pool" || fail 'garner verify finds faults'
unmount

echo '== on another host'
mount_at "$pool" "$work/other-cache" "$mnt" || fail 'no mount'
fio "${job[@]}" --verify_only --output="$work/fio.out" || { tail -n 20 "$work/fio.out"; fail 'wrong bytes'; }
unmount
"$garner" verify "$pool"
