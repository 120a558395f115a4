#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Directories and names: create, list a thousand, rename (also over a name), unlink while open, special names; the same
# after mounting again and from an empty cache.
. "$(dirname "$0")/lib.sh"

expect() { # ERRNO-TEXT COMMAND...: must fail so
	local text=$1
	shift
	if "$@" >"$work/out" 2>&1; then fail "should fail: $*"; fi
	grep -qi "$text" "$work/out" || fail "instead of \"$text\": $(cat "$work/out")"
}

mount_fs
cd "$mnt"
mkdir -p a/b/c
echo one >a/one
echo two >a/b/two
expect 'file exists' mkdir a
expect 'no such file' cat a/none
expect 'not empty' rmdir a
expect 'is a directory' dd if=/dev/null of=a
expect 'not a directory' cat a/one/x

echo '== many'
# Each costs requests, which a remote store takes its time for.
mkdir many
count=1000
[[ $store_kind == file ]] || count=100
for ((i = 0; i < count; i++)); do : >"many/file-$i"; done
ls many | sort >"$work/listed"
for ((i = 0; i < count; i++)); do echo "file-$i"; done | sort >"$work/wanted"
same "$work/listed" "$work/wanted"
[[ $(find many -type f | wc -l) -eq $count ]] || fail 'find counts wrongly'
for ((i = 0; i < count; i += 2)); do echo "many/file-$i"; done | xargs rm
[[ $(ls many | wc -l) -eq $((count / 2)) ]] || fail 'wrong after removing'

echo '== special names'
long=$(printf 'n%.0s' {1..255})
for name in "$long" 'a b' $'new\nline' 'ümläut-日本' '-dash' '...' "quote'\"" 'back\slash' '*'; do
	echo "$name" >"./$name"
	[[ $(cat "./$name") == "$name" ]] || fail "name: $name"
	rm "./$name"
done
expect 'name too long' touch "${long}n"

echo '== rename'
mv a/one a/uno
[[ ! -e a/one && $(cat a/uno) == one ]] || fail 'rename'
mv a/uno a/b/two # over a name
[[ ! -e a/uno && $(cat a/b/two) == one ]] || fail 'rename over a name'
mv a/b many/b
[[ $(cat many/b/two) == one && -d many/b/c ]] || fail 'rename of a directory'
perl -e 'rename("many/b", "many/b/c/d") and exit 1; $!{EINVAL} or die "$!\n"' || fail 'a directory went below itself'
mkdir full empty
touch full/x
perl -e 'rename("empty", "full") and exit 1; $!{ENOTEMPTY} || $!{EEXIST} or die "$!\n"' || fail 'rename over a full directory'
mv -T full empty
[[ -e empty/x && ! -e full ]] || fail 'rename over an empty directory'
echo keep >keep
echo other >other
mv -n keep other
[[ $(cat other) == other && $(cat keep) == keep ]] || fail 'rename without replacing'

echo '== unlink while open'
echo still here >open
exec 5<>open
rm open
[[ ! -e open ]] || fail 'it is still there'
[[ $(cat <&5) == 'still here' ]] || fail 'its bytes went with its name'
echo more >&5
exec 5>&-
echo new >open
[[ $(cat open) == new ]] || fail 'the old bytes came back'

echo '== a rename over a file that is open'
echo old >target
exec 5<target
echo new >source
mv source target
[[ $(cat <&5) == old ]] || fail 'the open file changed'
[[ $(cat target) == new ]] || fail 'the name does not lead to the new file'
exec 5<&-

find . | sort >"$work/before"
cd /
unmount
mount_fs
(cd "$mnt" && find . | sort) >"$work/after"
same "$work/before" "$work/after"
unmount
rm -rf "$cache"
mount_fs
(cd "$mnt" && find . | sort) >"$work/after"
same "$work/before" "$work/after"
[[ $(cat "$mnt/many/b/two") == one ]] || fail 'content after all'
"$garner" ls "$mnt" | grep keep >/dev/null || fail 'garner ls lists nothing'
"$garner" ls -l "$pool" | grep many/b/two >/dev/null || fail 'garner ls STORE lists nothing'
unmount
