#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# What goes wrong at the start is said in one clear line, with exit code 1, in the foreground and when it would daemonise.
. "$(dirname "$0")/lib.sh"

mkdir -p "$mnt" "$work/full"
echo 'correct horse battery' >"$work/right"
echo 'wrong horse battery' >"$work/wrong"
head -c 32 /dev/urandom >"$work/key"
chmod 600 "$work/right" "$work/wrong" "$work/key"
"$garner" init "file://$work/sealed" --passphrase-file "$work/right"
"$garner" init "file://$work/keyed" --key-file "$work/key"
"$garner" init "file://$work/newer"

both() { # PATTERN STORE MOUNTPOINT OPTIONS
	expect_line "$1" "$garnerfs" "$2" "$3" -f -o "$4"
	expect_line "$1" "$garnerfs" "$2" "$3" -o "$4"
	! is_mounted "$3" || fail 'it is mounted all the same'
}

echo '== store URL'
both 'file://' nosuch://pool "$mnt" "cache_dir=$cache"
both 'srv/pool|file://' relative/pool "$mnt" "cache_dir=$cache"
both 'file://|srv/pool' file://host/pool "$mnt" "cache_dir=$cache"
touch "$work/plainfile"
both 'plainfile' "file://$work/plainfile" "$mnt" "cache_dir=$cache"
expect_line 'nopool' "$garner" ls "file://$work/nopool"
expect_line 'garner init' "$garner" ls "file://$work/nopool"

echo '== keys'
both 'wrong passphrase' "$work/sealed" "$mnt" "cache_dir=$cache,passphrase_file=$work/wrong"
both 'passphrase|key' "$work/sealed" "$mnt" "cache_dir=$cache"
both 'nothere' "$work/sealed" "$mnt" "cache_dir=$cache,passphrase_file=$work/nothere"
both 'wrong passphrase or key' "$work/keyed" "$mnt" "cache_dir=$cache,passphrase_file=$work/right"
chmod 644 "$work/right"
both 'chmod' "$work/sealed" "$mnt" "cache_dir=$cache,passphrase_file=$work/right"
chmod 600 "$work/right"
expect_line 'already' "$garner" init "file://$work/sealed"
mkdir "$work/used"
touch "$work/used/something"
expect_line 'used' "$garner" init "file://$work/used"

echo '== a pool of a newer format'
perl -e 'open(my $f, "+<", $ARGV[0]) or die $!; seek($f, 8, 0); print $f pack("V", 99); close($f)' "$work/newer/pool"
both 'newer|version' "$work/newer" "$mnt" "cache_dir=$cache"
both 'upgrade|newer' "$work/newer" "$mnt" "cache_dir=$cache"

echo '== cache directory'
rm -rf "$cache"
mount_at "$work/pool" "$cache" "$work/mnt1" || fail 'no mount'
both 'in use' "$work/pool" "$mnt" "cache_dir=$cache"
both "$daemon" "$work/pool" "$mnt" "cache_dir=$cache"
unmount "$work/mnt1"
"$garner" init "file://$work/another"
both 'another pool|other pool|belongs' "$work/another" "$mnt" "cache_dir=$cache"
both 'plainfile' "$work/pool" "$mnt" "cache_dir=$work/plainfile/cache"
if [[ $(id -u) -eq 0 ]] && mount -t tmpfs -o size=64k tmpfs "$work/full" 2>/dev/null; then
	finally "umount -l '$work/full'"
	head -c 64k /dev/zero >"$work/full/ballast" 2>/dev/null || true
	both '[Nn]o space' "$work/pool" "$mnt" "cache_dir=$work/full/cache"
fi

echo '== mount point'
touch "$mnt/something"
both 'not empty' "$work/pool" "$mnt" "cache_dir=$cache"
rm "$mnt/something"
both 'nothere' "$work/pool" "$work/nothere" "cache_dir=$cache"
both 'plainfile' "$work/pool" "$work/plainfile" "cache_dir=$cache"

echo '== options and commands'
for options in sync=perhaps on_full=explode segment_size=3M segment_size=1T cache_size=1 seal_after=never nonsense=1; do
	code=0
	"$garnerfs" "$work/pool" "$mnt" -f -o "cache_dir=$cache,$options" >"$work/out" 2>"$work/err" || code=$?
	cat "$work/err"
	[[ $code -eq 1 || $code -eq 2 ]] || fail "exit code $code for $options"
	grep -q "${options%%=*}" "$work/err" || fail "the message does not name $options"
done
for command in "$garnerfs" "$garnerfs $work/pool" "$garner" "$garner nosuch" "$garner init" "$garner import" "$garner create x"; do
	code=0
	$command >"$work/out" 2>"$work/err" || code=$?
	[[ $code -eq 2 ]] || fail "exit code $code instead of 2: $command"
	[[ -s $work/err ]] || fail "no usage: $command"
done
expect_line 'nothere' "$garner" status "$work/nothere"
expect_line 'not.*garnerfs|no.*mount|garnerfs' "$garner" status "$work"
expect_line 'nothere' "$garner" import "$work/nothere" "$work/x"
for command in "$garner --help" "$garnerfs --help" "$garner --version" "$garnerfs --version"; do
	$command >"$work/out" || fail "$command"
	[[ -s $work/out ]] || fail "$command prints nothing"
done

echo '== and nothing was left behind'
mount_at "$work/pool" "$cache" "$mnt" || fail 'it does not mount after all this'
unmount
