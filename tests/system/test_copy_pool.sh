#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# garner copy: a pool goes from a directory into the store and back, while it is in use, interrupted and brought up to date; what
# comes out is what went in. A copy that was written to is left alone.
. "$(dirname "$0")/lib.sh"

random_file "$work/data" 40
random_file "$work/more" 3
random_file "$work/key" 1
truncate -s 32 "$work/key"
chmod 600 "$work/key"
first=file://$work/first
other_cache=$work/other-cache other_mnt=$work/other-mnt

# interrupted COMMAND...: interrupts it at several moments, then lets it end
interrupted() {
	local delay
	for delay in 0.15 0.25 0.35 0.5; do
		interrupt_after "$delay" "$@"
	done
	"$@"
}

echo '== a sealed pool in a directory, and a host that has an image open'
"$garner" init "$first" --key-file "$work/key"
mount_at "$first" "$cache" "$mnt" "segment_size=1M,key_file=$work/key" || fail 'the mount did not start'
host=$daemon
mkdir "$mnt/dir"
cp "$work/data" "$mnt/dir/disk.raw"
cp "$work/more" "$mnt/small.raw"
truncate -s 1G "$mnt/empty.raw"
exec 5<>"$mnt/dir/disk.raw"
"$garner" flush "$mnt"

echo '== into the store'
pool=$(place second)
expect_line 'sealed' "$garner" copy "$first" "$pool"
interrupted "$garner" copy "$first" "$pool" --key-file "$work/key"
! grep -q $'\r' "$work/out" || fail 'a progress bar in a file'
"$garner" verify "$pool" --key-file "$work/key"
"$garner" info "$pool" --key-file "$work/key"
[[ $(store_list copy/) == '' ]] || fail 'the marker was left behind'
[[ $(store_list leases/) == '' ]] || fail 'leases were copied'

echo '== the host goes on writing; the copy is brought up to date'
dd if="$work/more" of="$mnt/dir/disk.raw" bs=1M seek=11 conv=notrunc,fsync status=none
mv "$mnt/small.raw" "$mnt/dir/renamed.raw"
exec 5<&-
unmount "$mnt" "$host"
"$garner" copy "$first" "$pool" --key-file "$work/key" | tee "$work/out"
grep -q 'there already' "$work/out" || fail 'nothing was skipped'
"$garner" verify "$pool" --key-file "$work/key"
cp "$work/data" "$work/expected"
dd if="$work/more" of="$work/expected" bs=1M seek=11 conv=notrunc status=none

echo '== and back, into another directory'
third=file://$work/third
interrupted "$garner" copy "$pool" "$third" --key-file "$work/key"
"$garner" verify "$third" --key-file "$work/key"

echo '== the copies hold what the pool holds'
for store in "$pool" "$third"; do
	rm -rf "$other_cache"
	mount_at "$store" "$other_cache" "$other_mnt" "segment_size=1M,key_file=$work/key" || fail "$store cannot be mounted"
	same "$work/expected" "$other_mnt/dir/disk.raw"
	same "$work/more" "$other_mnt/dir/renamed.raw"
	[[ ! -e $other_mnt/small.raw ]] || fail 'the old name is there too'
	[[ $(stat -c %s "$other_mnt/empty.raw") -eq $((1 << 30)) ]] || fail 'the empty image has another size'
	unmount "$other_mnt" "$daemon"
done

echo '== one image'
fourth=file://$work/fourth
"$garner" copy "$pool" "$fourth" dir/disk.raw --key-file "$work/key"
[[ $("$garner" ls "$fourth" --key-file "$work/key") == *dir/disk.raw* ]] || fail 'the image is not there'
expect_line "'none' does not exist" "$garner" copy "$pool" "$fourth" none --key-file "$work/key"

echo '== a copy that was written to is left alone'
mount_at "$third" "$other_cache" "$other_mnt" "segment_size=1M,key_file=$work/key" || fail 'the copy cannot be mounted'
dd if="$work/more" of="$other_mnt/dir/disk.raw" bs=1M conv=notrunc,fsync status=none
unmount "$other_mnt" "$daemon"
expect_line 'dir/disk.raw: .*opened for writing' "$garner" copy "$pool" "$third" --key-file "$work/key"
"$garner" verify "$third" --key-file "$work/key"

echo '== what is no place for a copy'
expect_line 'same place' "$garner" copy "$pool" "$pool" --key-file "$work/key"
"$garner" init "file://$work/fifth"
expect_line 'garner export' "$garner" copy "$pool" "file://$work/fifth" --key-file "$work/key"
mkdir "$work/sixth"
echo something >"$work/sixth/file"
expect_line 'holds other objects' "$garner" copy "$pool" "$work/sixth" --key-file "$work/key"
