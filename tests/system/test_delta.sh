#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# A copy of an image in another pool is kept up to date by streams of what has changed, through a pipe and through files: bytewise, with
# sizes that grow and shrink. What is damaged, out of order or would overwrite something is refused; what was broken off goes on.
. "$(dirname "$0")/lib.sh"
require perl

far=$work/far # where the other pool is mounted
disk=$mnt/disk.raw copy=$far/sub/copy.raw

snapshots() {
	"$garner" snapshot list "$1" --json | jq -r .name | xargs
}

# The moments NAME of both images hold the same bytes.
same_moment() { # NAME
	same "$mnt/.snapshots/disk.raw/$1" "$far/.snapshots/sub/copy.raw/$1"
}

# Writes MIB random MiB at offset AT MiB
scatter() { # MIB AT
	head -c "$(($1 << 20))" /dev/urandom | dd of="$disk" bs=64K seek="$2"M oflag=seek_bytes conv=notrunc status=none
}

mount_fs segment_size=1M
near=$daemon
first=$pool
pool=$(place far-pool)
"$garner" init "$pool"
mount_at "$pool" "$work/far-cache" "$far" segment_size=1M || fail 'no second mount'
far_daemon=$daemon
mkdir "$far/sub"

truncate -s 200M "$disk"
scatter 3 1
scatter 2 150
"$garner" snapshot create "$disk@a"
scatter 1 2
fallocate -p -o 150M -l 1M "$disk"
truncate -s 300M "$disk"
scatter 1 299
"$garner" snapshot create "$disk@b"
scatter 2 20
truncate -s 123456789 "$disk"
printf tail | dd of="$disk" bs=1 seek=123456785 conv=notrunc status=none
"$garner" snapshot create "$disk@c"

echo '== a chain through pipes'
"$garner" export --stream "$disk@a" - 2>"$work/err" | "$garner" import --onto "$copy" - | tee "$work/out"
grep -q 'from nothing to a: 5 MiB of data' "$work/out" || fail 'what import says'
grep -q 'from nothing to a' "$work/err" || fail 'what export says'
same_moment a
"$garner" export --since a "$disk@b" - 2>/dev/null | "$garner" import --onto "$copy" -
same_moment b
"$garner" export --since b "$disk@c" "$work/b-c"
[[ $(stat -c %s "$work/b-c") -lt $((3 << 20)) ]] || fail 'more than has changed'
"$garner" import --onto "$copy" "$work/b-c"
same_moment a
same_moment b
same_moment c
same "$disk" "$copy"
[[ $(snapshots "$disk") == 'a b c' && $(snapshots "$copy") == 'a b c' ]] || fail 'the snapshots'
[[ $("$garner" snapshot list "$disk" --json | jq -r .id) == "$("$garner" snapshot list "$copy" --json | jq -r .origin)" ]] ||
	fail 'where they are from'
"$garner" import --onto "$copy" "$work/b-c" | grep -q 'already' || fail 'once more'

echo '== what is refused changes nothing'
scatter 3 40
"$garner" snapshot create "$disk@d"
"$garner" export --since c "$disk@d" "$work/c-d"
"$garner" export --since b "$disk@d" "$work/b-d"
size=$(stat -c %s "$work/c-d")
for at in 0 10 70 300 $((size / 2)) -1 -40; do
	cp "$work/c-d" "$work/bad"
	flip_bit "$work/bad" "$at"
	expect_line 'damaged|cut short|no garner-delta|makes no sense' "$garner" import --onto "$copy" "$work/bad"
done
for size in 0 100 $((size / 2)) $((size - 1)); do
	cp "$work/c-d" "$work/bad"
	cut_to "$work/bad" "$size"
	expect_line 'cut short' "$garner" import --onto "$copy" "$work/bad"
done
echo more | cat "$work/c-d" - >"$work/bad"
expect_line 'follows the end' "$garner" import --onto "$copy" "$work/bad"
expect_line 'has changed since' "$garner" import --onto "$copy" "$work/b-d"
expect_line 'No such file' "$garner" import --onto "$far/sub/none.raw" "$work/c-d"
expect_line 'no snapshot "x"' "$garner" export --since x "$disk@d" "$work/none"
expect_line 'is there already' "$garner" export --since c "$disk@d" "$work/c-d"
"$garner" export --stream "$disk@d" "$work/all-d"
expect_line 'not empty' "$garner" import --onto "$copy" "$work/all-d"
truncate -s 1M "$far/other.raw"
"$garner" snapshot create "$far/other.raw@c"
expect_line 'only its name' "$garner" import --onto "$far/other.raw" "$work/c-d"
expect_line 'no snapshot "b"' "$garner" import --onto "$far/other.raw" "$work/b-d"
same "$mnt/.snapshots/disk.raw/c" "$copy"
[[ $(snapshots "$copy") == 'a b c' && $(snapshots "$disk") == 'a b c d' ]] || fail 'the snapshots'

echo '== a copy that was written to'
printf x | dd of="$copy" bs=1 seek=1053000 conv=notrunc status=none
expect_line 'has changed since' "$garner" import --onto "$copy" "$work/c-d"
dd if="$far/.snapshots/sub/copy.raw/c" of="$copy" bs=4096 skip=257 seek=257 count=1 conv=notrunc status=none
# The same bytes as before, at another place.
"$garner" diff "$copy@c" "$copy" | grep -q '^1 range' || fail 'it is at the same place'

echo '== broken off, and gone on with'
head -c $((2 << 20)) "$work/c-d" >"$work/bad"
code=0
"$garner" import --onto "$copy" - < <(cat "$work/bad") >"$work/out" 2>&1 || code=$?
cat "$work/out"
[[ $code -eq 1 ]] || fail "exit code $code"
grep -q 'cut short' "$work/out" && grep -q 'half-way to d' "$work/out" || fail 'what is said'
! cmp -s "$copy" "$mnt/.snapshots/disk.raw/c" || fail 'it has not begun'
[[ $(snapshots "$copy") == 'a b c import-unfinished' ]] || fail 'the snapshots'
same_moment c

# begin_import: feeds the begin of the stream to an import, until some of it is in the image; $importer is its process id.
begin_import() {
	start "$garner" import --onto "$copy" "$work/fifo" >"$work/out" 2>&1
	importer=$!
	exec 7>"$work/fifo"
	cat "$work/bad" >&7
	eventually 20 cmp -s -n $((1 << 20)) -i $((40 << 20)) "$copy" "$mnt/.snapshots/disk.raw/d" || fail 'it does not go on'
}

mkfifo "$work/fifo"
begin_import
expect_line 'another import' "$garner" import --onto "$copy" "$work/c-d"
kill -9 "$importer"
wait "$importer" 2>/dev/null || true
exec 7>&-
begin_import
kill -INT "$importer"
code=0
wait_for "$importer" || code=$?
exec 7>&-
[[ $code -eq 1 ]] || fail "exit code $code"
grep -q interrupted "$work/out" || fail 'what is said'
[[ $(snapshots "$copy") == 'a b c import-unfinished' ]] || fail 'the snapshots'
"$garner" import --onto "$copy" "$work/c-d"
same_moment d
same "$disk" "$copy"
[[ $(snapshots "$copy") == 'a b c d' ]] || fail 'the snapshots'
# All of an image: another such stream is not gone on with.
head -c $((1 << 20)) "$work/all-d" | "$garner" import --onto "$far/whole.raw" - 2>/dev/null && fail 'a part is taken for the whole'
"$garner" export --stream "$disk@c" "$work/all-c"
expect_line 'another stream' "$garner" import --onto "$far/whole.raw" "$work/all-c"
"$garner" import --onto "$far/whole.raw" <"$work/all-d" -
same "$disk" "$far/whole.raw"

echo '== until now, and a reader that goes away'
scatter 1 60
"$garner" export --since d "$disk" - 2>/dev/null | "$garner" import --onto "$copy" -
same "$disk" "$copy"
[[ $(snapshots "$disk") == 'a b c d' && $(snapshots "$copy") == 'a b c d' ]] || fail 'the snapshots'
code=0
"$garner" export --stream "$disk" - 2>"$work/err" | head -c 1000 >"$work/out" || code=$?
[[ $code -eq 1 && $(wc -l <"$work/err") -eq 1 ]] || fail "exit code $code: $(cat "$work/err")"
[[ $(snapshots "$disk") == 'a b c d' ]] || fail 'a snapshot was left'

echo '== and back again'
"$garner" snapshot create "$far/whole.raw@e"
dd if="$work/b-c" of="$far/whole.raw" bs=64K seek=10 conv=notrunc status=none
"$garner" snapshot create "$far/whole.raw@f"
cp "$disk" "$work/keep"
truncate -s "$(stat -c %s "$work/keep")" "$disk"
dd if="$mnt/.snapshots/disk.raw/d" of="$disk" bs=1M conv=notrunc status=none
"$garner" export --since d "$far/whole.raw@f" - 2>/dev/null | "$garner" import --onto "$disk" -
same "$far/whole.raw" "$disk"

unmount "$far" "$far_daemon"
"$garner" verify "$pool"
unmount "$mnt" "$near"
"$garner" verify "$first"
