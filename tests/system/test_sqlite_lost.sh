#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# SQLite holds nothing that the log does not: its file is deleted or damaged while unsent segments lie in the cache, and
# nothing flushed is lost.
. "$(dirname "$0")/lib.sh"
require perl

random_file "$work/data" 24
random_file "$work/more" 3
cp "$work/data" "$work/expected"

# Rewrites some of it, so that the map at the end differs from any checkpoint.
rewrite() { # FILE
	dd if="$work/more" of="$1" bs=64k seek=100 conv=notrunc,fsync status=none
	dd if="$work/more" of="$1" bs=4k seek=77 count=300 conv=notrunc,fsync status=none
}
rewrite "$work/expected"

for end in killed unmounted; do
	for how in deleted scribbled truncated empty first-page; do
		echo "== $end, $how"
		fresh_pool
		mount_fs segment_size=1M,seal_after=1h,stop_deadline=1ms
		cp "$work/data" "$mnt/disk.raw"
		rewrite "$mnt/disk.raw"
		sync "$mnt/disk.raw"
		if [[ $end == killed ]]; then kill_daemon; else unmount || true; fi
		db=$cache/garner.db
		[[ -s $db ]] || fail "$db is not there"
		size=$(stat -c %s "$db")
		case $how in
		deleted) rm "$db"* ;;
		scribbled) for ((o = 1000; o < size; o += 9000)); do scribble "$db" "$o" 100; done ;;
		truncated) truncate -s $((size / 2)) "$db" ;;
		empty) rm -f "$db"-*; truncate -s 0 "$db" ;;
		first-page) scribble "$db" 0 100 ;;
		esac
		mount_fs segment_size=1M
		same "$work/expected" "$mnt/disk.raw"
		unmount
		rm -rf "$cache"
		mount_fs
		same "$work/expected" "$mnt/disk.raw"
		unmount
	done
done
