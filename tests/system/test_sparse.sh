#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Sparse images up to 16 TiB cost what is written in them: holes, SEEK_DATA and SEEK_HOLE, punching, zeroing, truncating up
# and down.
. "$(dirname "$0")/lib.sh"
require perl

# Prints the data extents of a file as "offset+length".
extents() {
	perl -e 'open(my $f, "<", $ARGV[0]) or die $!; my $o = 0; my @e;
		while (defined(my $d = sysseek($f, $o, 3))) { my $h = sysseek($f, $d, 4) // die "hole: $!"; push @e, ($d+0) . "+" . ($h - $d);
			$o = $h; } print "@e\n"' "$1"
}

mount_fs
big=$mnt/big.raw
truncate -s 16T "$big"
[[ $(stat -c %s "$big") -eq $((16 << 40)) ]] || fail 'size'
[[ $(allocated "$big") -eq 0 ]] || fail 'an empty image takes space'
[[ $(extents "$big") == '' ]] || fail "extents of an empty image: $(extents "$big")"
random_file "$work/m" 1
for at in 0 1048575 8388608 16777215; do # in MiB: the first, the last, and some between
	dd if="$work/m" of="$big" bs=1M seek="$at" conv=notrunc status=none
done
[[ $(allocated "$big") -eq $((4 << 20)) ]] || fail "allocated: $(allocated "$big")"
want="0+$((1 << 20)) $((1048575 << 20))+$((1 << 20)) $((8388608 << 20))+$((1 << 20)) $((16777215 << 20))+$((1 << 20))"
[[ $(extents "$big") == "$want" ]] || fail "extents: $(extents "$big")"
for at in 0 1048575 8388608 16777215; do
	cmp -n $((1 << 20)) -i $((at << 20)):0 "$big" "$work/m" || fail "bytes at $at MiB"
done
cmp -n $((8 << 20)) -i $((5000 << 20)):0 "$big" /dev/zero || fail 'a hole does not read as zeros'

echo '== zeros written take no space'
dd if=/dev/zero of="$mnt/zeros.raw" bs=1M count=32 oflag=direct status=none
[[ $(stat -c %s "$mnt/zeros.raw") -eq $((32 << 20)) && $(allocated "$mnt/zeros.raw") -eq 0 ]] || fail 'zeros take space'

echo '== punch, zero, allocate'
small=$mnt/small.raw
random_file "$work/data" 8
cp "$work/data" "$small"
cp "$work/data" "$work/expected"
for range in '1000 5000' '1048576 2097152' '4096 4096' '5000001 1' '8388000 608'; do
	read -r offset length <<<"$range"
	for mode in -p -z; do
		fallocate $mode -o "$offset" -l "$length" "$small"
		fallocate $mode -o "$offset" -l "$length" "$work/expected"
	done
	same "$work/expected" "$small"
done
[[ $(allocated "$small") -lt $((7 << 20)) ]] || fail 'punching frees nothing'
fallocate -l 9M "$small" # room is promised: the size grows, the bytes stay
[[ $(stat -c %s "$small") -eq $((9 << 20)) ]] || fail 'fallocate does not extend'
fallocate -n -l 20M "$small"
[[ $(stat -c %s "$small") -eq $((9 << 20)) ]] || fail 'fallocate -n extends'
truncate -s 9M "$work/expected"
same "$work/expected" "$small"
fallocate -p -o 100M -l 1M "$small" # past the end: nothing

echo '== truncate down and up: what was cut does not come back'
for size in 3M 2999999 3000001 1 0 8M; do
	truncate -s "$size" "$small" "$work/expected"
	same "$work/expected" "$small"
done
dd if="$work/m" of="$small" bs=1M seek=1 conv=notrunc status=none
dd if="$work/m" of="$work/expected" bs=1M seek=1 conv=notrunc status=none
printf 'past the end' | dd of="$small" bs=1 seek=8500000 conv=notrunc status=none
printf 'past the end' | dd of="$work/expected" bs=1 seek=8500000 conv=notrunc status=none
same "$work/expected" "$small"

unmount
rm -rf "$cache"
mount_fs
same "$work/expected" "$small"
[[ $(extents "$big") == "$want" ]] || fail "extents after mounting again: $(extents "$big")"
[[ $(allocated "$big") -eq $((4 << 20)) ]] || fail "allocated after mounting again: $(allocated "$big")"
cp --sparse=always "$mnt/zeros.raw" "$mnt/copy.raw"
truncate -s 0 "$big"
[[ $(allocated "$big") -eq 0 ]] || fail 'truncating to nothing frees nothing'
unmount
