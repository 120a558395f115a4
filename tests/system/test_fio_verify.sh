#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# What fio writes it reads back, sequential and random, direct and buffered, of several block sizes; also after mounting again,
# and from the store alone.
. "$(dirname "$0")/lib.sh"
require fio

verify() { # read|write NAME OPTIONS...
	local how=$1 name=$2
	shift 2
	set -- --name="$name" --filename="$mnt/$name.raw" --verify=crc32c --verify_fatal=1 --verify_state_save=0 "$@"
	[[ $how == write ]] || set -- "$@" --verify_only
	fio "$@" --output-format=terse --terse-version=3 >"$work/fio.out" 2>"$work/fio.err" || {
		tail -n 5 "$work/fio.err" "$work/fio.out"
		fail "fio: $how $name"
	}
	echo "$how $name: good"
}

all_jobs() { # read|write
	verify "$1" sequential-1m --rw=write --bs=1m --size=128m --ioengine=libaio --iodepth=4 --direct=1
	verify "$1" random-4k --rw=randwrite --bs=4k --size=64m --ioengine=libaio --iodepth=32 --direct=1
	verify "$1" random-512 --rw=randwrite --bs=512 --size=4m --ioengine=libaio --iodepth=16 --direct=1
	verify "$1" random-mixed --rw=randwrite --bsrange=512-64k --blockalign=512 --size=64m --ioengine=libaio --iodepth=16 \
		--direct=1
	verify "$1" buffered-64k --rw=randwrite --bs=64k --size=64m --ioengine=psync --direct=0 --end_fsync=1
	verify "$1" buffered-odd --rw=write --bs=3000 --size=6m --ioengine=psync --direct=0 --fsync=64
	verify "$1" fsync-each --rw=randwrite --bs=4k --size=4m --ioengine=libaio --iodepth=1 --direct=1 --fsync=1
}

mount_fs
all_jobs write
echo 'mounted again'
unmount
mount_fs
all_jobs read
echo 'with an empty cache'
unmount
rm -rf "$cache"
mount_fs
all_jobs read
unmount
