#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# What goes wrong at the start is said in one clear line, with exit code 1, in the foreground and when it would daemonise.
. "$(dirname "$0")/lib.sh"

mkdir -p "$mnt" "$work/full"
sealed=$(place sealed) keyed=$(place keyed) later=$(place later) used=$(place used) another=$(place another) nopool=$(place nopool)
store=${pool#file://} # a path is a store too
echo 'correct horse battery' >"$work/right"
echo 'wrong horse battery' >"$work/wrong"
head -c 32 /dev/urandom >"$work/key"
chmod 600 "$work/right" "$work/wrong" "$work/key"
"$garner" init "$sealed" --passphrase-file "$work/right"
"$garner" init "$keyed" --key-file "$work/key"
"$garner" init "$later"

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
[[ $store_kind != file ]] || both 'plainfile' "file://$work/plainfile" "$mnt" "cache_dir=$cache"
expect_line 'nopool' "$garner" ls "$nopool"
expect_line 'garner init' "$garner" ls "$nopool"

case $store_kind in
s3) secret=AWS_SECRET_ACCESS_KEY ;;
swift) secret=ST_KEY ;;
file) secret='' ;;
esac
if [[ -n $secret ]]; then
	echo '== a store that wants to know who asks'
	expect_line "$secret" env -u "$secret" "$garner" ls "$store"
	right=${!secret}
	wrong=${right//[0-9A-Za-z]/x}
	expect_line 'key|secret|credential|password|denied|refuse' env "$secret=$wrong" "$garner" ls "$store"
	! grep -q "$wrong" "$work/err" || fail 'the secret is in the message'
	expect_line 'no-such-place' "$garner" ls "${STORE_URL_BASE%%://*}://no-such-place/x$STORE_URL_QUERY"
	! grep -q "$right" "$work/err" || fail 'the secret is in the message'
fi

echo '== keys'
both 'wrong passphrase' "${sealed#file://}" "$mnt" "cache_dir=$cache,passphrase_file=$work/wrong"
both 'passphrase|key' "${sealed#file://}" "$mnt" "cache_dir=$cache"
both 'nothere' "${sealed#file://}" "$mnt" "cache_dir=$cache,passphrase_file=$work/nothere"
both 'wrong passphrase or key' "${keyed#file://}" "$mnt" "cache_dir=$cache,passphrase_file=$work/right"
chmod 644 "$work/right"
both 'chmod' "${sealed#file://}" "$mnt" "cache_dir=$cache,passphrase_file=$work/right"
chmod 600 "$work/right"
expect_line 'already' "$garner" init "$sealed"
pool=$used store_put something "$work/key"
expect_line 'used' "$garner" init "$used"

echo '== a pool of a newer format'
set_version() { # FILE VERSION
	perl -e 'open(my $f, "+<", $ARGV[0]) or die $!; seek($f, 8, 0); print $f pack("V", $ARGV[1]); close($f)' "$1" "$2"
}
pool=$later corrupt_object pool set_version 99
both 'newer|version' "$later" "$mnt" "cache_dir=$cache"
both 'upgrade|newer' "$later" "$mnt" "cache_dir=$cache"

echo '== cache directory'
rm -rf "$cache"
mount_at "$store" "$cache" "$work/mnt1" || fail 'no mount'
both 'in use' "$store" "$mnt" "cache_dir=$cache"
both "$daemon" "$store" "$mnt" "cache_dir=$cache"
unmount "$work/mnt1"
"$garner" init "$another"
both 'another pool|other pool|belongs' "$another" "$mnt" "cache_dir=$cache"
both 'plainfile' "$store" "$mnt" "cache_dir=$work/plainfile/cache"
if [[ $(id -u) -eq 0 ]] && mount -t tmpfs -o size=64k tmpfs "$work/full" 2>/dev/null; then
	finally "umount -l '$work/full'"
	head -c 64k /dev/zero >"$work/full/ballast" 2>/dev/null || true
	both '[Nn]o space' "$store" "$mnt" "cache_dir=$work/full/cache"
fi

echo '== mount point'
touch "$mnt/something"
both 'not empty' "$store" "$mnt" "cache_dir=$cache"
rm "$mnt/something"
both 'nothere' "$store" "$work/nothere" "cache_dir=$cache"
both 'plainfile' "$store" "$work/plainfile" "cache_dir=$cache"

echo '== options and commands'
for options in sync=perhaps on_full=explode segment_size=3M segment_size=1T cache_size=1 seal_after=never nonsense=1; do
	code=0
	"$garnerfs" "$store" "$mnt" -f -o "cache_dir=$cache,$options" >"$work/out" 2>"$work/err" || code=$?
	cat "$work/err"
	[[ $code -eq 1 || $code -eq 2 ]] || fail "exit code $code for $options"
	grep -q "${options%%=*}" "$work/err" || fail "the message does not name $options"
done
for command in "$garnerfs" "$garnerfs $store" "$garner" "$garner nosuch" "$garner init" "$garner import" "$garner create x"; do
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
mount_at "$store" "$cache" "$mnt" || fail 'it does not mount after all this'
unmount
