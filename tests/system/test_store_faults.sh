#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# The network to the store is bad: connections are reset, requests are lost or arrive twice, answers are cut, damaged, slow or an
# error. Short lives of an image under a schedule of such faults: no byte is ever wrong, none hangs, and no command fails, but for
# one reason, for which it is done again: an answer was damaged on its way (which TLS would notice, and garnerfs refuses).
# FAULT_ROUNDS: how many schedules (6). FAULT_SEED: of the first; without FAULT_ROUNDS only that one.
. "$(dirname "$0")/lib.sh"
only_with_server 'the faults are made between garnerfs and a server'
require perl

rounds=${FAULT_ROUNDS:-6}
seed=${FAULT_SEED:-$((RANDOM << 15 | RANDOM))}
[[ -z ${FAULT_SEED:-} ]] || rounds=${FAULT_ROUNDS:-1}
options=segment_size=1M,seal_after=500ms,store_timeout=8s,lease=3s
other_cache=$work/other-cache
# shellcheck disable=SC2054
kinds=(reset-before reset-after stall,1500 stall truncate truncate,0 500 503 503,1 429,1 duplicate duplicate,700 corrupt slow,60000)
mib=6

# Faults of 2 to 5 kinds, of which each request meets one with a probability of 1 to 10 %, and of 25 % all together.
make_schedule() {
	local n left=25 chosen='' kind percent
	schedule=(--seed "$seed")
	for ((n = 2 + RANDOM % 4; n > 0; n--)); do
		kind=${kinds[RANDOM % ${#kinds[@]}]}
		percent=$((1 + RANDOM % 10))
		[[ $percent -le $left ]] || percent=$left
		[[ $percent -gt 0 && " $chosen " != *" ${kind%,*} "* ]] || continue
		left=$((left - percent))
		chosen+=" ${kind%,*}"
		schedule+=(--fault "$(printf '%s=%.2f%s' "${kind%%,*}" "${percent}e-2" "${kind#"${kind%%,*}"}")")
	done
}

# Whether what failed may be done again: answers are damaged, or there were none for so long that nothing is left of store_timeout
# for the faults of the tries after that.
excused() { # NUMBER
	[[ $1 -lt 10 && " ${schedule[*]} " == *" corrupt="* || $1 -lt 3 && " ${schedule[*]} " == *" stall="* ]] || return 1
	refused=$((refused + 1))
}

# must COMMAND...: it succeeds, and within the time that retrying may take. (What cmp finds is 1; it could not look: 2.)
must() {
	local code n
	for ((n = 0;; n++)); do
		code=0
		within 100 "$@" || code=$?
		[[ $code -ne 0 ]] || return 0
		[[ $1 != cmp || $code -ne 1 ]] || fail "WRONG BYTES (FAULT_SEED=$seed)"
		excused "$n" || fail "exit code $code: $* (FAULT_SEED=$seed)"
		echo "once more: $1"
	done
}

mount_on() { # CACHE
	local n
	for ((n = 0;; n++)); do
		! mount_at "$proxied" "$1" "$mnt" "$options" || return 0
		excused "$n" || fail "no mount (FAULT_SEED=$seed): $(tail -n 2 "$work/garnerfs.log")"
	done
}

# acquire: $image is open for writing as file 5 from now on, so that it is not handed back between commands.
acquire() {
	local n
	for ((n = 0;; n++)); do
		must dd if=/dev/null of="$image" bs=1 conv=notrunc status=none
		! { exec 5<>"$image"; } 2>/dev/null || return 0
		excused "$n" || fail "cannot open $image (FAULT_SEED=$seed)"
	done
}

release() {
	exec 5>&-
}

check() { # WHAT FILE
	must cmp "$work/expected" "$2"
	echo "$1: right"
}

# overwrite FILE: some pieces of the image and of what is expected of it. The pieces since the last flush are in $work/pieces.
overwrite() {
	local make='my ($seed, $size, @files) = @ARGV; srand($seed);
		my @handles = map { open(my $h, "+<:raw", $_) or die "$_: $!\n"; $h } @files;
		for (1 .. 24) {
			my $at = int(rand($size)); my $length = 1 + int(rand(rand() < 0.5 ? 5000 : 150000));
			$length = $size - $at if $length > $size - $at;
			my $bytes = substr(pack("L*", map { rand(4294967296) } 0 .. $length / 4), 0, $length);
			print pack("L<L<", $at, $length), $bytes unless @files;
			for my $h (@handles) {
				sysseek($h, $at, 0); (syswrite($h, $bytes) // -1) == $length or die "writing: $!\n";
			}
		}
		for my $h (@handles) { close($h) or die "closing: $!\n"; }' seed_of_pieces=$RANDOM
	must perl -e "$make" "$seed_of_pieces" $((mib << 20)) "$1"
	perl -e "$make" "$seed_of_pieces" $((mib << 20)) "$work/expected"
	perl -e "$make" "$seed_of_pieces" $((mib << 20)) >>"$work/pieces"
}

# old_or_new FILE: it is as of the last flush, with some of the pieces that were written after it: the first ones, and of the one
# that comes next some sectors. What it is is expected from now on.
old_or_new() {
	must cp "$1" "$work/found"
	perl -e 'my ($found, $state, $pieces) = map { open(my $h, "<:raw", $_) or die "$_: $!\n"; local $/; <$h> // "" } @ARGV;
		length $found == length $state or die "the size is " . length($found) . "\n"; my ($n, $good) = (0, -1);
		for (my $o = 0; $good < 0; $n++) {
			my ($at, $length) = $o < length $pieces ? unpack("L<L<", substr($pieces, $o, 8)) : (0, 0);
			my $next = $state; substr($next, $at, $length) = substr($pieces, $o + 8, $length) if $length;
			my ($first, $end) = ($at & ~511, ($at + $length + 511) & ~511); my $same = 1;
			if (substr($found, 0, $first) eq substr($state, 0, $first) && substr($found, $end) eq substr($state, $end)) {
				for (my $s = $first; $s < $end && $same; $s += 512) {
					my $sector = substr($found, $s, 512);
					$same = $sector eq substr($state, $s, 512) || $sector eq substr($next, $s, 512);
				}
				$good = $n if $same;
			}
			last if !$length; $o += 8 + $length; $state = $next;
		}
		$good >= 0 or die "no moment of the disk\n"; print "taken over: $good pieces since the last flush are there\n";' \
		"$work/found" "$work/flushed" "$work/pieces" || fail "WRONG BYTES in $1 (FAULT_SEED=$seed)"
	mv "$work/found" "$work/expected"
	cp "$work/expected" "$work/flushed"
	: >"$work/pieces"
}

killed() {
	kill_daemon
	release
}

flush() { # IMAGE
	must "$garner" flush "$1"
	cp "$work/expected" "$work/flushed"
	: >"$work/pieces"
}

life() {
	local image=$mnt/disk.raw made refused=0
	# Of the hundred requests that it makes, those that are never answered would take ten seconds each. On Swift it claims the pool.
	if [[ $store_kind == s3 ]] && ! [[ "${schedule[*]} " =~ corrupt=|stall=[0-9.]*" " ]]; then
		made=$(place "made$seed")
		must "$garner" init "$(through_proxy "$made")"
		must "$garner" info "$made" >/dev/null
		remote "$made" wipe
	fi

	random_file "$work/expected" "$mib"
	mount_on "$cache"
	must touch "$image"
	acquire
	must dd if="$work/expected" of="$image" bs=64k conv=notrunc,fsync status=none
	flush "$image"
	if ((RANDOM % 3 == 0)); then
		overwrite "$image"
		killed
		mount_on "$cache"
		check 'after a kill' "$image"
		acquire
		flush "$image"
	fi
	release
	unmount
	rm -rf "$cache"
	mount_on "$cache"
	check 'read cold' "$image"
	acquire
	overwrite "$image"
	flush "$image"
	must mkdir -p "$mnt/folder"
	must bash -c '[[ ! -e $1 ]] || mv "$1" "$2"' - "$image" "$mnt/folder/disk.raw"
	image=$mnt/folder/disk.raw
	overwrite "$image"
	check 'overwritten and renamed' "$image"
	case $((RANDOM % 3)) in
	0)
		sleep "$((RANDOM % 2)).$((RANDOM % 10))" # some of it goes up
		killed
		mount_on "$other_cache"
		if ((RANDOM % 2 == 0)); then
			must "$garner" takeover "$image"
		fi
		acquire # waits for the lease, if it must
		old_or_new "$image"
		;;
	1)
		killed
		mount_on "$cache"
		check 'after a kill' "$image"
		acquire
		;;
	esac
	overwrite "$image"
	check 'overwritten' "$image"
	flush "$image"
	release
	unmount
	mount_on "$cache"
	check 'mounted again' "$image"
	unmount
	echo "$(proxy stats); done again: $refused"
	within 100 "$garner" verify "$pool" || fail "garner verify finds faults (FAULT_SEED=$seed)"
	rm -rf "$cache" "$other_cache"
	mount_at "$pool" "$cache" "$mnt" "$options" || fail 'no mount'
	[[ $(cd "$mnt" && find . | sort | tr '\n' ' ') == '. ./folder ./folder/disk.raw ' ]] ||
		fail "there is: $(find "$mnt") (FAULT_SEED=$seed)"
	check 'from the store, without faults' "$image"
	unmount
}

for ((round = 1; round <= rounds; round++, seed++)); do
	RANDOM=$seed
	make_schedule
	echo "== round $round: FAULT_SEED=$seed ${schedule[*]}"
	: >"$work/garnerfs.log"
	[[ $round -eq 1 ]] || fresh_pool
	rm -rf "$other_cache"
	proxy_start "${schedule[@]}"
	life
	forget_ended
done
