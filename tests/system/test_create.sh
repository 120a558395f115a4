#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# garner create makes an image of a size, as truncate does, and refuses what is there or makes no sense.
. "$(dirname "$0")/lib.sh"

mount_fs
"$garner" create "$mnt/a.raw" 10G
[[ $(stat -c %s "$mnt/a.raw") -eq $((10 << 30)) ]] || fail 'size of 10G'
"$garner" create "$mnt/b.raw" 512M
"$garner" create "$mnt/c.raw" 12345
[[ $(stat -c '%s' "$mnt/b.raw") -eq $((512 << 20)) && $(stat -c %s "$mnt/c.raw") -eq 12345 ]] || fail 'sizes'
truncate -s 10G "$mnt/d.raw"
expect_line 'a.raw' "$garner" create "$mnt/a.raw" 1G
[[ $(stat -c %s "$mnt/a.raw") -eq $((10 << 30)) ]] || fail 'the image that was there changed'
for size in 0x10 -5 ten 10Q 99999999999G; do
	code=0
	"$garner" create "$mnt/e.raw" "$size" >"$work/out" 2>"$work/err" || code=$?
	[[ $code -eq 1 || $code -eq 2 ]] || fail "exit code $code for a size of $size"
	[[ ! -e $mnt/e.raw ]] || fail "an image of size $size was made"
done
"$garner" ls -l "$mnt"
unmount
