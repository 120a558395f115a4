#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# An image of 1 TiB with 50 GiB mapped (8 GiB in a remote store), made by a tool: a host that has never seen it opens it without reading it all, and the
# daemon stays under 256 MiB while it is read all over.
. "$(dirname "$0")/lib.sh"
require fio

bigmap=$build/tests/bench/bigmap
[[ -x $bigmap ]] || fail "$bigmap is missing"
mapped=50
[[ $store_kind == file ]] || mapped=8
"$bigmap" "$pool" big.raw 1T ${mapped}G || fail 'bigmap'
echo "$(store_list | wc -l) objects are stored"

mount_fs
started=$(date +%s%N)
dd if="$mnt/big.raw" of=/dev/null bs=4k count=1 skip=1000000 iflag=direct status=none
printf 'x%.0s' {1..4096} | dd of="$mnt/big.raw" bs=4k seek=999 oflag=direct conv=notrunc status=none
took=$((($(date +%s%N) - started) / 1000000))
echo "opened for writing, one read, one write: $took ms"
[[ $(stat -c %s "$mnt/big.raw") -eq $((1 << 40)) ]] || fail 'size'
[[ $(allocated "$mnt/big.raw") -ge $((mapped << 30)) ]] || fail "allocated: $(allocated "$mnt/big.raw")"

fio --name=walk --filename="$mnt/big.raw" --rw=randread --bs=4k --ioengine=libaio --iodepth=16 --direct=1 --time_based \
	--runtime="${BIGMAP_SECONDS:-8}" --filesize=1T --norandommap --output="$work/fio.out" || fail 'reading failed'
fio --name=walk --filename="$mnt/big.raw" --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --direct=1 --time_based \
	--runtime="${BIGMAP_SECONDS:-8}" --filesize=1T --norandommap --output="$work/fio.out" || fail 'writing failed'
rss=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$daemon/status")
echo "resident: at most $((rss / 1024)) MiB"
[[ $rss -lt $((256 * 1024)) ]] || fail "the daemon took $((rss / 1024)) MiB"
unmount
