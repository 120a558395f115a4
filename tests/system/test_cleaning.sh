#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Cleaning, as an administrator has it: what an image takes, what is garbage, giving it back while a guest writes; a snapshot keeps what it
# needs; a daemon that is killed meanwhile loses nothing; and another host finds all of it.
. "$(dirname "$0")/lib.sh"
require fio

options=segment_size=1M,seal_after=500ms,lease=2s,gc_target=0,gc_grace=0

number() { # IMAGE FIELD: as garner df tells
	"$garner" df --json "$1" | jq -r ".$2"
}

# Where listings may lag, garbage waits for a minute in any case.
cleaned_to() { # IMAGE MIB
	"$garner" gc --now "$1"
	[[ $(number "$1" stored) -lt $(($2 << 20)) ]]
}

overwrite() { # IMAGE: all of it, at random places
	fio --name=guest --filename="$1" --rw=randwrite --bs=16k --size=16m --ioengine=libaio --iodepth=8 --direct=1 \
		--randseed="$RANDOM" --output="$work/fio.out" >/dev/null
}

mount_fs "$options"
random_file "$work/one" 16

echo '== what was overwritten is garbage, and is given back'
cp "$work/one" "$mnt/disk.raw"
for _ in 1 2 3; do
	overwrite "$mnt/disk.raw"
	cat "$work/one" >"$work/copy"
	dd if="$work/copy" of="$mnt/disk.raw" bs=64k conv=notrunc status=none
	"$garner" flush "$mnt/disk.raw"
done
before=$(number "$mnt/disk.raw" stored)
[[ $before -gt $((60 << 20)) ]] || fail "only $before bytes are stored"
"$garner" gc --dry-run "$mnt/disk.raw" | grep -q 'would empty' || fail 'the dry run'
[[ $(number "$mnt/disk.raw" stored) -ge $before ]] || fail 'a dry run deleted something'
eventually 150 cleaned_to "$mnt/disk.raw" 24 || fail "$(number "$mnt/disk.raw" stored) bytes are left"
[[ $(number "$mnt/disk.raw" logical) -eq $((16 << 20)) ]] || fail 'the size'
same "$work/one" "$mnt/disk.raw"
"$garner" df "$mnt" | grep -q 'disk.raw' || fail 'garner df of a mount'

echo '== a snapshot keeps what it needs'
"$garner" snapshot create "$mnt/disk.raw@one"
overwrite "$mnt/disk.raw"
"$garner" gc --now "$mnt/disk.raw"
[[ $(number "$mnt/disk.raw" history) -gt $((12 << 20)) ]] || fail 'the history'
same "$work/one" "$mnt/.snapshots/disk.raw/one"
"$garner" snapshot delete "$mnt/disk.raw@one"
eventually 150 cleaned_to "$mnt/disk.raw" 24 || fail 'what only the snapshot needed is still there'

echo '== one that cannot be cleaned keeps no other from it'
for n in a b c; do
	cp "$work/one" "$mnt/$n.raw"
done
"$garner" snapshot create "$mnt/b.raw@damaged"
key=$(store_list "images/$(printf %016x "$(stat -c %i "$mnt/b.raw")")/snapshots/" | head -n 1)
store_get "$key" "$work/sound"
store_put "$key" <(head -c 100 /dev/urandom)
code=0
"$garner" gc "$mnt" >"$work/gc.out" 2>"$work/gc.err" || code=$?
cat "$work/gc.out" "$work/gc.err"
[[ $code -eq 1 ]] || fail "the exit status is $code"
for n in a c; do
	grep -q "^$n.raw: " "$work/gc.out" || fail "$n.raw was not cleaned"
done
grep -q 'b\.raw.*snapshots' "$work/gc.err" || fail 'what failed is not said'
grep -q '1 of 4 could not be done' "$work/gc.err" || fail 'nor at the end'
store_put "$key" "$work/sound"
"$garner" gc "$mnt" >/dev/null || fail 'cleaning again'
"$garner" snapshot delete "$mnt/b.raw@damaged"

echo '== while a guest writes'
start fio --name=guest --filename="$mnt/busy.raw" --rw=randwrite --bs=4k --size=16m --ioengine=libaio --iodepth=8 --direct=1 \
	--time_based --runtime=10 --rate_iops=3000 --verify=crc32c --verify_fatal=1 --verify_state_save=0 --output="$work/fio.out"
guest=$!
for _ in 1 2 3 4; do
	sleep 1
	"$garner" gc --now "$mnt/busy.raw"
done
wait_for "$guest" 90 || fail "fio: $(tail -n 3 "$work/fio.out")"
fio --name=guest --filename="$mnt/busy.raw" --rw=randread --bs=4k --size=16m --ioengine=libaio --iodepth=8 --direct=1 \
	--output="$work/fio.out" || fail 'reading what was written'

echo '== killed meanwhile'
for n in 1 2 3; do
	overwrite "$mnt/busy.raw"
	sync -f "$mnt/busy.raw" 2>/dev/null || true
	dd if="$work/one" of="$mnt/disk.raw" bs=64k conv=notrunc,fsync status=none
	start "$garner" gc --now "$mnt"
	cleaner=$!
	sleep "0.$((n * 2))"
	kill_daemon
	wait "$cleaner" || true
	mount_at "$pool" "$cache" "$mnt" "$options" || fail 'no mount'
	same "$work/one" "$mnt/disk.raw"
done
"$garner" gc --now "$mnt"
same "$work/one" "$mnt/disk.raw"
unmount
"$garner" verify "$pool" | tee "$work/verify"
grep -q 'cleaned away' "$work/verify" || fail 'verify does not tell of cleaning'

echo '== another host'
mount_at "$pool" "$work/other" "$mnt" "$options" || fail 'no mount on the other host'
same "$work/one" "$mnt/disk.raw"
"$garner" gc "$mnt/disk.raw"
same "$work/one" "$mnt/disk.raw"

echo '== what is refused'
expect_line 'not in a garnerfs mount|No such file' "$garner" gc "$work/one"
! "$garner" gc --dry-run --now "$mnt" 2>/dev/null || fail 'both at once'
! "$garner" df 2>/dev/null || fail 'of nothing'
unmount
