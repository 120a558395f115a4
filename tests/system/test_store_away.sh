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
declare -a job=(--name=guest --filename="$mnt/disk.raw" --rw=randwrite --bs=4k --size="$((away + 40))m" --ioengine=libaio
	--iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --randseed=1)

# look: keeps what the mount says of itself, for `image FIELD`. (Asking for the image's own path would not do:
# looking it up asks the store.)
look() {
	within 90 "$garner" status "$mnt" --json >"$work/status.json" || fail 'garner status'
}

image() { # FIELD
	jq -r ".images[0].$1" "$work/status.json"
}

state_is() { # STATE
	look
	[[ $(image state) == "$1" ]]
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
state_is ok || fail "the state is $(image state)"
[[ $(image stored_segment) -gt 0 ]] || fail 'nothing went up'
before=$(wc -l <"$work/garnerfs.log")

echo "== the store is away for $away s"
proxy down
until=$((SECONDS + away))
eventually 20 state_is 'store away' || fail "the state is $(image state)"
"$garner" status "$mnt"
jq -e '.store_ok == false and .store_error != ""' "$work/status.json" || fail 'the status of the mount does not say so'
lag=$(image lag_bytes)
while ((SECONDS < until)); do
	sleep 1
done
kill -0 "$guest" 2>/dev/null || fail "the guest has ended: $(tail -n 5 "$work/fio.out")"
state_is 'store away' || fail "the state is $(image state)"
later=$(image lag_bytes)
echo "not yet in the store: $lag bytes, later $later, the oldest for $(image lag_seconds) s"
[[ $later -gt $lag ]] || fail 'the lag does not grow'
[[ $(says 'the store does not answer') -eq 1 ]] || fail 'the log does not say it once'
[[ $(says 'the store answers again') -eq 0 ]] || fail 'the log says that the store answers'
# Asking for a name, which garner status does as well, is answered with an error, and that is said each time.
lines=$(tail -n +$((before + 1)) "$work/garnerfs.log" | grep -vcE 'warning: (lookup|readdir) ' || true)
[[ $lines -eq 1 ]] || fail "the log has $lines lines about it"

echo '== it is back'
proxy up
eventually 60 state_is ok || fail "the state is $(image state)"
code=0
wait_for "$guest" $((away + 120)) || code=$?
cat "$work/garnerfs.log"
[[ $code -eq 0 ]] || { tail -n 20 "$work/fio.out"; fail 'the guest met an error'; }
# Requests that were given up while it came back may have the last word once more.
[[ $(says 'the store does not answer') -le 2 && $(says 'the store answers again') -ge 1 ]] || fail 'the log says it again and again'
all_stored() {
	look
	[[ $(jq .lag_bytes "$work/status.json") -eq 0 ]]
}
eventually 120 all_stored || fail "$(jq .lag_bytes "$work/status.json") bytes do not go up by themselves"
within 60 "$garner" flush "$mnt" || fail 'garner flush'
"$garner" verify "$pool" || fail 'garner verify finds faults'
unmount

echo '== on another host'
mount_at "$pool" "$work/other-cache" "$mnt" || fail 'no mount'
fio "${job[@]}" --verify_only --output="$work/fio.out" || { tail -n 20 "$work/fio.out"; fail 'wrong bytes'; }
unmount
"$garner" verify "$pool"
