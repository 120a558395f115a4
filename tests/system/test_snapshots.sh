#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Snapshots, as their user has them: of an image that is written all the while, of several as one moment; read through the mount, by
# QEMU's tools and by another host; kept over a kill; listed, protected, deleted.
. "$(dirname "$0")/lib.sh"
require fio qemu-img perl

at() { # IMAGE@NAME: where it is to be read
	echo "$mnt/.snapshots/${1%@*}/${1#*@}"
}

mount_fs segment_size=1M,lease=2s
random_file "$work/one" 8
random_file "$work/piece" 2

echo '== one moment, and what came later'
cp "$work/one" "$mnt/disk.raw"
"$garner" snapshot create "$mnt/disk.raw@one"
same "$work/one" "$(at disk.raw@one)"
dd if="$work/piece" of="$mnt/disk.raw" bs=1M seek=3 conv=notrunc status=none
cp "$work/one" "$work/two"
dd if="$work/piece" of="$work/two" bs=1M seek=3 conv=notrunc status=none
"$garner" snapshot create "$mnt/disk.raw@two"
truncate -s 5M "$mnt/disk.raw"
same "$work/one" "$(at disk.raw@one)"
same "$work/two" "$(at disk.raw@two)"
qemu-img compare -f raw -F raw "$(at disk.raw@two)" "$work/two"
[[ $("$garner" snapshot list "$mnt/disk.raw" | wc -l) -eq 2 ]] || fail 'the list'
"$garner" snapshot list "$mnt/disk.raw" --json | jq -se 'map(.name) == ["one", "two"] and all(.protected == false)'
[[ ! -e $mnt/.snapshots/disk.raw/three && -z $(find "$mnt" -maxdepth 1 -name '.snap*') ]] || fail 'the names'

echo '== a guest writes, and snapshots are taken'
start fio --name=guest --filename="$mnt/busy.raw" --rw=randwrite --bs=4k --size=16m --ioengine=libaio --iodepth=8 --direct=1 \
	--time_based --runtime=8 --rate_iops=2000 --output="$work/fio.out"
guest=$!
sleep 2
for n in 1 2 3 4 5; do
	"$garner" snapshot create "$mnt/busy.raw@n$n"
	sha256sum <"$(at "busy.raw@n$n")" >"$work/sum$n"
	sleep 0.5
done
wait_for "$guest" 60 || fail "fio: $(tail -n 3 "$work/fio.out")"
for n in 1 2 3 4 5; do
	sha256sum <"$(at "busy.raw@n$n")" | cmp - "$work/sum$n" || fail "snapshot n$n has changed"
done

echo '== several images as one moment'
# One writer counts in the first, then in the second; not so fast that a slow store is left far behind.
cat >"$work/chase.pl" <<'E_CHASE'
my @handles = map { open(my $h, "+>:raw", $_) or die "$_: $!\n"; $h } @ARGV;
for (my $n = 1;; $n++) {
	for my $h (@handles) { sysseek($h, 0, 0); syswrite($h, pack("Q", $n)) == 8 or die "$!\n"; }
	select(undef, undef, undef, 0.002);
}
E_CHASE
start perl "$work/chase.pl" "$mnt/a.raw" "$mnt/b.raw"
writer=$!
eventually 60 test -s "$mnt/b.raw" || fail 'the writer does not begin'
for n in 1 2 3; do
	"$garner" snapshot create --group "$mnt/a.raw@g$n" "$mnt/b.raw@g$n"
	perl -e 'my ($x, $y) = map { open(my $h, "<:raw", $_) or die "$_: $!\n"; sysread($h, my $b, 8) == 8 or die; unpack("Q", $b) } @ARGV;
		print "$x $y\n"; exit !($x == $y || $x == $y + 1)' "$(at "a.raw@g$n")" "$(at "b.raw@g$n")" || fail 'not one moment'
done
kill "$writer"
wait "$writer" || true

echo '== what is refused'
expect_line 'there is a snapshot' "$garner" snapshot create "$mnt/disk.raw@one"
expect_line 'name' "$garner" snapshot create "$mnt/disk.raw@a/b"
expect_line 'as in vm1.raw@' "$garner" snapshot create "$mnt/disk.raw"
expect_line 'one name' "$garner" snapshot create --group "$mnt/a.raw@x" "$mnt/b.raw@y"
expect_line 'no snapshot' "$garner" snapshot delete "$mnt/disk.raw@three"
expect_line 'not in a garnerfs mount|No such file' "$garner" snapshot list "$work/one"
"$garner" snapshot protect "$mnt/disk.raw@one"
expect_line 'protected' "$garner" snapshot delete "$mnt/disk.raw@one"
! rm -f "$mnt/disk.raw" 2>/dev/null || fail 'an image with snapshots was removed'
! touch "$mnt/.snapshots/new" 2>/dev/null || fail 'a file was made among the snapshots'
! : 2>/dev/null >"$(at disk.raw@one)" || fail 'a snapshot was opened for writing'
same "$work/one" "$(at disk.raw@one)"

echo '== after a kill, and on another host'
kill_daemon
mount_at "$pool" "$cache" "$mnt" segment_size=1M,lease=2s || fail 'no mount'
same "$work/one" "$(at disk.raw@one)"
sha256sum <"$(at busy.raw@n3)" | cmp - "$work/sum3"
unmount
rm -rf "$cache"
mount_at "$pool" "$work/other" "$mnt" || fail 'no mount on the other host'
same "$work/two" "$(at disk.raw@two)"
sha256sum <"$(at busy.raw@n5)" | cmp - "$work/sum5"

echo '== gone again'
"$garner" snapshot unprotect "$mnt/disk.raw@one"
"$garner" snapshot delete "$mnt/disk.raw@one" "$mnt/disk.raw@two"
[[ -z $("$garner" snapshot list "$mnt/disk.raw") && ! -e $(at disk.raw@one) ]] || fail 'they are still there'
rm "$mnt/disk.raw"
unmount
"$garner" verify "$pool"
