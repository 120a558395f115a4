#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# A host is stopped (SIGSTOP) in the middle of its uploads, another one takes over and writes, the first one goes on (SIGCONT): its
# image gives EIO, the other's disk is right, and nothing of what the first one still uploads is ever read.
# FENCING_ROUNDS: how often (3). FENCING_SEED: of the first round.
. "$(dirname "$0")/lib.sh"
only_with_server 'uploads are slowed and repeated between garnerfs and a server'
require perl

rounds=${FENCING_ROUNDS:-3}
seed=${FENCING_SEED:-$((RANDOM << 15 | RANDOM))}
[[ -z ${FENCING_SEED:-} ]] || rounds=${FENCING_ROUNDS:-1}
other_cache=$work/other-cache other_mnt=$work/other-mnt
grains=1024 # of 4 KiB
head -c $((grains * 4096)) /dev/urandom >"$work/noise"

# The guest of the first host: rewrites the disk in order, again and again. Each grain says in which lap it was written. After
# every 8 writes of 64 KiB a flush, and what was flushed is told: "LAP GRAIN". Ends with exit code 3 at EIO.
guest='use Errno qw(EIO); local $SIG{__WARN__} = sub {}; my ($disk, $noise, $grains, $told) = @ARGV; $| = 1;
	open(my $n, "<:raw", $noise) or die; local $/; my $bytes = <$n>;
	open(my $d, "+<:raw", $disk) or die "$disk: $!\n"; open(my $t, ">", $told) or die;
	sub check { my ($good, $what) = @_; return if $good; my $code = $! == EIO ? 3 : 4; print "guest: $what: $!\n"; exit $code; }
	use IO::Handle;
	for (my $lap = 1;; $lap++) {
		for (my $g = 0; $g < $grains; $g += 16) {
			my $w = join("", map { pack("Q<Q<", $lap, $_) . substr($bytes, $_ * 4096 + 16, 4080) } $g .. $g + 15);
			sysseek($d, $g * 4096, 0); check((syswrite($d, $w) // -1) == length $w, "write");
			select(undef, undef, undef, $ENV{PAUSE} // 0); # uploads keep up with it, more or less
			next if $g % 128 != 112;
			check($d->sync, "flush");
			sysseek($t, 0, 0); syswrite($t, sprintf("%8d %8d\n", $lap, $g + 15));
		}
		last if $ENV{ONE_LAP};
	}'

# What another host finds: the first grains of one lap, the others of the lap before. Not less than was promised, if anything was.
prefix='my ($disk, $noise, $grains, $least_lap, $least_grain) = @ARGV; local $/;
	open(my $d, "<:raw", $disk) or die; my $found = <$d>; open(my $n, "<:raw", $noise) or die; my $bytes = <$n>;
	length $found == $grains * 4096 or die "the size is " . length($found) . "\n"; my ($first, $end);
	for my $g (0 .. $grains - 1) {
		my ($lap, $number) = unpack("Q<Q<", substr($found, $g * 4096, 16)); $first //= $lap;
		$number == $g && substr($found, $g * 4096 + 16, 4080) eq substr($bytes, $g * 4096 + 16, 4080) or die "WRONG BYTES in grain $g\n";
		$end //= $g if $lap != $first;
		$lap == (defined $end ? $first - 1 : $first) or die "grain $g is of lap $lap: no moment of the disk\n";
	}
	$end //= $grains; print "it is as of lap $first, grain $end\n";
	$first * $grains + $end > $least_lap * $grains + $least_grain or die "flushed writes are lost: lap $least_lap, grain $least_grain\n";'

bad() {
	fail "$* (FENCING_SEED=$seed)"
}

fenced() {
	[[ $(status_of "$mnt" 'images[0].state') == fenced ]]
}

# Overwrites pieces of the disk and of what is expected of it.
overwrite() { # DISK EXPECTED
	local n at
	for ((n = 0; n < 12; n++)); do
		at=$((RANDOM % (grains - 64)))
		random_file "$work/piece" 1
		within 60 dd if="$work/piece" of="$1" bs=4k count=$((1 + n * 5)) seek="$at" conv=notrunc,fsync status=none ||
			bad 'the other host cannot write'
		dd if="$work/piece" of="$2" bs=4k count=$((1 + n * 5)) seek="$at" conv=notrunc status=none
	done
}

life() {
	local policy=local first second writer code=0 least='0 0'
	((RANDOM % 2 == 0)) || policy=remote
	mount_at "$proxied" "$cache" "$mnt" "segment_size=1M,seal_after=200ms,lease=2s,sync=$policy,stop_deadline=5s" || bad 'no mount'
	first=$daemon
	truncate -s $((grains * 4096)) "$mnt/disk.raw"
	ONE_LAP=1 within 60 perl -e "$guest" "$mnt/disk.raw" "$work/noise" "$grains" "$work/told"
	"$garner" flush "$mnt/disk.raw"
	mount_at "$pool" "$other_cache" "$other_mnt" segment_size=1M,lease=2s || bad 'no mount'
	second=$daemon

	: >"$work/told"
	PAUSE=0.0$((RANDOM % 5))5 start perl -e "$guest" "$mnt/disk.raw" "$work/noise" "$grains" "$work/told"
	writer=$!
	eventually 60 test -s "$work/told" || bad 'the guest does not begin'
	proxy rate $((1000000 + RANDOM * 100)) >/dev/null
	proxy delay $((RANDOM % 40)) >/dev/null
	proxy fault "duplicate=0.2,$((RANDOM % 8000))" >/dev/null
	proxy fault "reset-after=0.1" >/dev/null
	sleep "$((1 + RANDOM % 3)).$((RANDOM % 10))"
	kill -STOP "$first"
	echo "stopped, with sync=$policy, flushed: $(cat "$work/told")"
	[[ $policy != remote || ! -s $work/told ]] || least=$(cat "$work/told")
	((RANDOM % 2 == 0)) || within 60 "$garner" takeover "$other_mnt/disk.raw" || bad 'no takeover'
	# A sign of life that was under way may arrive late, and the lease is then waited for once more.
	eventually 60 within 90 dd if=/dev/null of="$other_mnt/disk.raw" bs=1 conv=notrunc status=none ||
		bad 'the other host is not given the image'
	cp "$other_mnt/disk.raw" "$work/expected"
	# shellcheck disable=SC2086
	perl -e "$prefix" "$work/expected" "$work/noise" "$grains" $least || bad 'it is no state that the disk was ever in'
	((RANDOM % 3 == 0)) || "$garner" flush "$other_mnt/disk.raw"
	overwrite "$other_mnt/disk.raw" "$work/expected"
	((RANDOM % 2 == 0)) || sleep $((RANDOM % 4))

	echo '== it goes on'
	kill -CONT "$first"
	overwrite "$other_mnt/disk.raw" "$work/expected"
	wait_for "$writer" 90 || code=$?
	[[ $code -eq 3 ]] || bad "the guest of the first host ended with $code: there should have been EIO"
	eventually 60 fenced || bad "the first host says \"$(status_of "$mnt" 'images[0].state')\" and not that it is fenced"
	within 60 cmp "$work/expected" "$other_mnt/disk.raw" || bad 'the disk is wrong'
	within 60 "$garner" flush "$other_mnt/disk.raw" || bad 'garner flush'
	overwrite "$other_mnt/disk.raw" "$work/expected"
	fusermount3 -u "$mnt"
	wait_for "$first" 60 || true # it keeps what it could not send, and says so
	sleep 1
	unmount "$other_mnt" "$second"
	proxy stats
	grep -q fenced "$work/garnerfs.log" || bad 'the log does not say that the first host is fenced'

	echo '== from the store, and on the first host again'
	"$garner" verify "$pool" || bad 'garner verify finds faults'
	rm -rf "$other_cache"
	mount_at "$pool" "$other_cache" "$other_mnt" || bad 'no mount'
	within 60 cmp "$work/expected" "$other_mnt/disk.raw" || bad 'the disk is wrong in the store'
	unmount "$other_mnt"
	mount_at "$pool" "$cache" "$mnt" || bad 'no mount'
	within 60 cmp "$work/expected" "$mnt/disk.raw" || bad 'the disk is wrong on the first host'
	unmount
}

for ((round = 1; round <= rounds; round++, seed++)); do
	RANDOM=$seed
	echo "== round $round: FENCING_SEED=$seed"
	: >"$work/garnerfs.log"
	[[ $round -eq 1 ]] || fresh_pool
	rm -rf "$other_cache"
	proxy_start --seed "$seed"
	life
	forget_ended
done
