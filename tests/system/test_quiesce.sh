#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# garner snapshot create --quiesce: a guest with QEMU's agent in it writes all the while, and its file system in the snapshot needs no
# recovery; the guest goes on. Whatever goes wrong, it is thawed, and there is no snapshot.
. "$(dirname "$0")/lib.sh"
require_guest
require python3 dumpe2fs e2fsck debugfs cpio qemu-ga

# ---- a guest with the agent: a second initramfs, behind the first one

agent=$work/agent
mkdir -p "$agent/sbin" "$work/guest"
cp -L "$(command -v qemu-ga)" "$agent/sbin/"
ldd "$agent/sbin/qemu-ga" | sed -n 's/.*=> *\(\/[^ ]*\) .*/\1/p' | while read -r lib; do
	mkdir -p "$agent${lib%/*}"
	cp -L "$lib" "$agent$lib"
done
(cd "$agent" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) | cat "$guest/initrd" - >"$work/guest/initrd"
cp "$guest/vmlinuz" "$work/guest/"
guest=$work/guest

# One that behaves as it is told: at the freezing it runs a command, at the thawing it says how many it has thawed.
cat >"$work/fake_agent.py" <<'E_FAKE'
import json, os, socket, subprocess, sys
path, at_freeze, thawed = sys.argv[1:4]
s = socket.socket(socket.AF_UNIX)
s.bind(path + ".new")
s.listen(4)
os.rename(path + ".new", path)
while True:
	c = s.accept()[0]
	for line in c.makefile("rb"):
		request = json.loads(line.lstrip(b"\xff"))
		command = request["execute"]
		print(command, flush=True)
		if command == "guest-sync-delimited":
			c.sendall(b"\xff")
			answer = request["arguments"]["id"]
		elif command == "guest-fsfreeze-status":
			answer = "thawed"
		elif command == "guest-fsfreeze-freeze":
			subprocess.run(at_freeze, shell=True, check=True)
			answer = 1
		else:
			answer = int(thawed)
		c.sendall(json.dumps({"return": answer}).encode() + b"\n")
E_FAKE
start_fake() { # NAME AT-FREEZE THAWED
	start python3 "$work/fake_agent.py" "$work/$1" "$2" "$3" >>"$work/$1.log"
	eventually 20 test -S "$work/$1" || fail 'the fake agent does not start'
}

# One command to the guest's agent, as another program would.
ask() { # COMMAND
	python3 -c 'import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect(sys.argv[1])
s.sendall(b"{\"execute\": \"%s\"}\n" % sys.argv[2].encode())
print(s.makefile().readline().strip())' "$work/real" "$1"
}

snapshots() {
	"$garner" snapshot list "$image" --json | jq -r .name | xargs
}

recovery() { # FILE: whether its file system would need its journal
	dumpe2fs -h "$1" 2>/dev/null | grep -q '^Filesystem features:.*needs_recovery' && echo needed || echo clean
}

written() { # how far the guest has come
	grep -o '^WRITTEN [0-9]*' "$work/console" | tail -n 1 | cut -d' ' -f2
}

come_further() { # THAN
	[[ $(written) -gt $1 ]]
}

goes_on() {
	eventually 60 come_further "$(($(written) + 1))" || fail 'the guest stands still'
}

mount_fs segment_size=1M
image=$mnt/guest.raw
truncate -s 128M "$image"
mkfs.ext4 -q -F "$image"

declare -a ports=(-device virtio-serial)
for port in real forbidden idle; do
	ports+=(-chardev "socket,id=$port,path=$work/$port,server=on,wait=off"
		-device "virtserialport,chardev=$port,name=garner.$port")
done
start_guest 'mount /dev/vda /mnt; mkdir /tmp/1 /tmp/2
qemu-ga -p /dev/vport*p1 -t /tmp/1 -f /tmp/1/pid >/tmp/1/log 2>&1 &
qemu-ga -p /dev/vport*p2 -t /tmp/2 -f /tmp/2/pid -b guest-fsfreeze-freeze >/tmp/2/log 2>&1 &
n=0; while [ ! -e /mnt/end ]; do n=$((n + 1)); seq $n $((n + 9999)) >/mnt/new; mv /mnt/new /mnt/$((n % 50)); echo WRITTEN $n; done' \
	"$work/console" -drive "file=$image,format=raw,if=virtio,cache=none,discard=unmap" "${ports[@]}"
wait_for_console "$work/console" 'WRITTEN 20'

echo '== what the guest has written, and not synced, is there; nothing is to be recovered; the guest goes on'
"$garner" snapshot create "$image@crash"
for n in 1 2 3; do
	last=$(written) snapshot=$mnt/.snapshots/guest.raw/clean$n
	"$garner" snapshot create --quiesce "$work/real" "$image@clean$n"
	goes_on
	[[ $(recovery "$snapshot") == clean ]] || fail "snapshot clean$n needs its journal"
	e2fsck -fn "$snapshot" >"$work/e2fsck.log" 2>&1 || fail "snapshot clean$n: $(cat "$work/e2fsck.log")"
	debugfs -R "cat /$((last % 50))" "$snapshot" >"$work/file" 2>/dev/null
	echo "clean$n: $last, $(head -n 1 "$work/file") to $(tail -n 1 "$work/file")"
	[[ $(head -n 1 "$work/file") -ge $last && $(wc -l <"$work/file") -eq 10000 ]] || fail "file $last is not in snapshot clean$n"
done
[[ $(recovery "$image") == needed && $(recovery "$mnt/.snapshots/guest.raw/crash") == needed ]] ||
	fail 'the guest does not use its journal, so this shows nothing'
"$garner" snapshot delete "$image@crash" "$image@clean2" "$image@clean3"

echo '== whatever goes wrong: no snapshot, and the guest goes on'
quiesce() { # PATTERN SOCKET...
	local pattern=$1 socket sockets=()
	shift
	for socket in "$@"; do
		sockets+=(--quiesce "$work/$socket")
	done
	expect_line "$pattern" "$garner" snapshot create "${sockets[@]}" "$image@none"
	[[ $(snapshots) == clean1 ]] || fail "there are snapshots: $(snapshots)"
	[[ $(ask guest-fsfreeze-status) == *'"thawed"'* ]] || fail 'the guest is frozen'
	goes_on
}
quiesce 'no such socket' nothing
quiesce 'nobody listens' console
quiesce 'does not answer' idle
quiesce 'may not do guest-fsfreeze-freeze' forbidden
quiesce 'may not do guest-fsfreeze-freeze' real forbidden
expect_line 'there is a snapshot' "$garner" snapshot create --quiesce "$work/real" "$image@clean1"
goes_on
start_fake early true 0
quiesce 'thawed by itself' early real
code=0
"$garner" snapshot create --quiesce "$work/real" "$image@x" "$image@y" 2>"$work/err" || code=$?
[[ $code -eq 2 ]] && grep -q -- --group "$work/err" || fail "several images without --group: $code, $(cat "$work/err")"

echo '== a guest that another has frozen is left to that one'
ask guest-fsfreeze-freeze
expect_line 'frozen already' "$garner" snapshot create --quiesce "$work/real" "$image@none"
[[ $(ask guest-fsfreeze-status) == *'"frozen"'* ]] || fail 'it was thawed'
ask guest-fsfreeze-thaw
goes_on

echo '== a daemon that does not answer: the guest is not held for longer than ten seconds'
# A thread that is in the kernel goes on for a while after the signal.
start_fake slow "kill -STOP $daemon; while grep -h ^State: /proc/$daemon/task/*/status | grep -qv T; do sleep 0.01; done" 1
began=$SECONDS
code=0
"$garner" snapshot create --quiesce "$work/slow" "$image@none" 2>"$work/err" || code=$?
kill -CONT "$daemon"
cat "$work/err" "$work/slow.log"
[[ $code -eq 1 ]] && grep -q 'within 10 s' "$work/err" || fail "exit code $code"
[[ $(tail -n 1 "$work/slow.log") == guest-fsfreeze-thaw ]] || fail 'the guest was not thawed'
((SECONDS - began >= 10)) || fail 'too early'
goes_on
[[ $(snapshots) == clean1 ]] || fail "there are snapshots: $(snapshots)"

echo '== interrupted'
: >"$work/slow.log"
"$garner" snapshot create --quiesce "$work/slow" "$image@none" 2>"$work/err" &
command=$!
pids+=("$command")
eventually 20 grep -q freeze-freeze "$work/slow.log" || fail 'not frozen'
sleep 1
kill "$command"
code=0
wait_for "$command" || code=$?
kill -CONT "$daemon"
cat "$work/err" "$work/slow.log"
grep -q 'interrupted$' "$work/err" || fail 'it says something else'
[[ $code -eq 1 && $(tail -n 1 "$work/slow.log") == guest-fsfreeze-thaw ]] || fail "exit code $code, or not thawed"
goes_on
[[ $(snapshots) == clean1 ]] || fail "there are snapshots: $(snapshots)"

echo '== several guests, several images, one moment'
truncate -s 4M "$mnt/second.raw"
start_fake second true 1
"$garner" snapshot create --group --quiesce "$work/real" --quiesce="$work/second" "$image@both" "$mnt/second.raw@both"
goes_on
[[ $(recovery "$mnt/.snapshots/guest.raw/both") == clean && -e $mnt/.snapshots/second.raw/both ]] || fail 'the group'
grep -c freeze-thaw "$work/second.log"
kill "$qemu"
wait_for "$qemu" || true
unmount
"$garner" verify "$pool"
