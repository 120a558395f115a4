#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Mounted by root, images have owners and modes that the kernel enforces, and another user can open what is his.
. "$(dirname "$0")/lib.sh"
require_root
require setpriv

as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
}

chmod 755 "$work"
mount_fs
chmod 755 "$mnt"
echo secret >"$mnt/private.raw"
chmod 600 "$mnt/private.raw"
echo public >"$mnt/public.raw"
chmod 644 "$mnt/public.raw"
echo his >"$mnt/his.raw"
chown 65534:65534 "$mnt/his.raw"
chmod 600 "$mnt/his.raw"

as_nobody ls -l "$mnt"
[[ $(as_nobody cat "$mnt/public.raw") == public ]] || fail 'cannot read what all may read'
! as_nobody cat "$mnt/private.raw" 2>/dev/null || fail 'reads what is private'
! as_nobody sh -c "echo x >'$mnt/public.raw'" 2>/dev/null || fail 'writes what is not his'
! as_nobody touch "$mnt/new.raw" 2>/dev/null || fail 'creates where he may not'
! as_nobody chmod 666 "$mnt/public.raw" 2>/dev/null || fail 'changes the mode of what is not his'
as_nobody sh -c "echo changed >'$mnt/his.raw'" || fail 'cannot write what is his'
[[ $(cat "$mnt/his.raw") == changed ]] || fail 'what he wrote is not there'
mkdir "$mnt/shared"
chmod 1777 "$mnt/shared"
as_nobody sh -c "echo x >'$mnt/shared/new.raw'" || fail 'cannot create in a directory of all'
[[ $(stat -c '%u:%g' "$mnt/shared/new.raw") == 65534:65534 ]] || fail 'the new file is not his'
[[ $(stat -c %a "$mnt/shared") == 1777 ]] || fail "mode $(stat -c %a "$mnt/shared")"

stat -c '%n %a %u %g' "$mnt"/* "$mnt"/shared/* >"$work/before"
unmount
rm -rf "$cache"
mount_fs
stat -c '%n %a %u %g' "$mnt"/* "$mnt"/shared/* >"$work/after"
same "$work/before" "$work/after"
! as_nobody cat "$mnt/private.raw" 2>/dev/null || fail 'reads what is private after mounting again'
unmount
