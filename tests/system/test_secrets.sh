#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-only
# Secrets stay secret: after a life with debugging on and a bad network, and after commands with wrong keys, none of them is in a
# log, a message, a command line, a status, the cache directory, the name of an object or an object.
# What is in the environment of the daemon is its caller's doing.
. "$(dirname "$0")/lib.sh"
only_with_server 'there is nothing to log in to'
require perl curl

word() {
	head -c 18 /dev/urandom | base64 -w0 | tr '+/' 'xy'
}

# note NAME SECRET: from now on it is searched for. A file of `secrets` holds one.
mkdir -m 700 "$work/secrets" "$work/seen"
note() {
	printf '%s' "$2" >"$work/secrets/$1"
}

# A file that only its owner can read, with this line in it.
secret_file() { # FILE LINE
	(umask 077 && printf '%s\n' "$2" >"$1")
}

# search DIRECTORY...: no file in there holds a secret, be it as it is, in base64 at any offset, in hex or with %XX; no name does.
search() {
	python3 - "$work/secrets" "$@" <<-'EOF_SEARCH' || fail 'secrets are to be seen'
		import base64, os, sys, urllib.parse

		forms = {}
		for name in os.listdir(sys.argv[1]):
		    with open(os.path.join(sys.argv[1], name), "rb") as file:
		        secret = file.read()
		    assert len(secret) >= 12, name
		    forms[secret] = name
		    forms[secret.hex().encode()] = forms[secret.hex().upper().encode()] = name + " in hex"
		    forms[urllib.parse.quote(secret, safe="").encode()] = name
		    for shift in range(3):
		        text = base64.b64encode(b"\0" * shift + secret)[(0, 4, 4)[shift] :]
		        forms[text[: len(text) // 4 * 4 - 4]] = name + " in base64"
		count = found = 0
		for root in sys.argv[2:]:
		    for folder, _, files in os.walk(root):
		        for name in files:
		            path = os.path.join(folder, name)
		            if not os.path.isfile(path):
		                continue
		            with open(path, "rb") as file:
		                content = os.path.relpath(path, root).encode() + b"\0" + file.read()
		            count += 1
		            for form, what in forms.items():
		                if form in content:
		                    print("FOUND: %s in %s" % (what, path))
		                    found += 1
		print("%d files hold none of %d secrets" % (count, len(os.listdir(sys.argv[1]))) if not found else "")
		sys.exit(found > 0)
	EOF_SEARCH
}

# What everybody can see of the processes and what the daemon says of itself.
look() { # NAME
	local pid path
	ps -ww -eo pid,args >"$work/seen/ps-$1"
	for pid in "$daemon" /proc/"$daemon"/task/*; do
		pid=${pid##*/}
		cat "/proc/$pid/cmdline" "/proc/$pid/comm" >>"$work/seen/cmdline-$1" || true # a thread that has just ended
	done
	grep " $mnt " /proc/mounts >"$work/seen/mounts-$1"
	# Some of it fails while the store is away; what it says then counts as well.
	for path in "$mnt" "$mnt/disk.raw"; do
		within 60 "$garner" status "$path" || true
		within 60 "$garner" status "$path" --json || true
		within 60 "$garner" info "$mnt/disk.raw" --json || true
		within 60 getfattr -n user.garner.status "$path" || true
	done >>"$work/seen/status-$1" 2>&1
}

# refused NAME COMMAND...: it fails, and what it says is kept. Wrong secrets are tried as they are mistaken in real life.
refused() {
	local name=$1 code=0
	shift
	within 120 "$@" >"$work/seen/refused-$name" 2>&1 </dev/null || code=$?
	echo "$name: $(head -n 1 "$work/seen/refused-$name")"
	[[ $code -ne 0 && -s $work/seen/refused-$name ]] || fail "not refused: $*"
}

key_file=$work/key passphrase_file=$work/passphrase passwd_file=$work/passwd
note 'the key file' "KEY-$(word)-KEY"
note 'the passphrase' "PHRASE-$(word)-PHRASE"
note 'the wrong secret' "WRONG-$(word)-WRONG"
note 'the wrong key file' "WRONGKEY-$(word)-KEY"
note 'the session token' "TOKEN-$(word)-TOKEN"
printf '%s' "$(cat "$work/secrets/the key file")" >"$key_file"
printf '%s' "$(cat "$work/secrets/the wrong key file")" >"$key_file-wrong"
chmod 600 "$key_file" "$key_file-wrong"
secret_file "$passphrase_file" "$(cat "$work/secrets/the passphrase")"
wrong=$(cat "$work/secrets/the wrong secret")
case $store_kind in
s3)
	note 'the secret key' "$AWS_SECRET_ACCESS_KEY"
	secret_file "$passwd_file" "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
	secret_file "$passwd_file-wrong" "$AWS_ACCESS_KEY_ID:$wrong"
	without=(env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY)
	wrongly=(env "AWS_SECRET_ACCESS_KEY=$wrong")
	;;
swift)
	note 'the key' "$ST_KEY"
	user=$(sed -E 's/.*[?&]user=([^&]*).*/\1/' <<<"$STORE_URL_QUERY")
	auth=$(sed -E 's/.*[?&]auth=([^&]*).*/\1/' <<<"$STORE_URL_QUERY")
	# As long as a token is good, everybody who logs in gets the same.
	note 'the token' "$(curl -sS -D - -o "$work/answer" -K - "$auth" <<-EOF_CURL | sed -n 's/^[Xx]-[Aa]uth-[Tt]oken: *\([^[:space:]]*\).*/\1/p'
		header = "X-Auth-User: $user"
		header = "X-Auth-Key: $ST_KEY"
	EOF_CURL
	)"
	secret_file "$passwd_file" "$user:$ST_KEY"
	secret_file "$passwd_file-wrong" "$user:$wrong"
	without=(env -u ST_KEY)
	wrongly=(env "ST_KEY=$wrong")
	;;
esac

life() { # NAME OPTIONS PROGRAM...: mounts with the program before, writes and reads, and looks around.
	local name=$1 options=$2
	shift 2
	echo "== $name"
	mkdir -p "$mnt"
	"$@" "$garnerfs" "$proxied" "$mnt" -f -o "cache_dir=$cache,debug,segment_size=1M,seal_after=200ms,store_timeout=5s,$options" \
		>>"$work/seen/garnerfs-$name" 2>&1 &
	daemon=$!
	pids+=("$daemon")
	mounts+=("$mnt")
	eventually 60 is_mounted "$mnt" || fail "no mount: $(tail -n 2 "$work/seen/garnerfs-$name")"
	random_file "$work/data" 3
	within 100 cp "$work/data" "$mnt/disk.raw" || fail 'cp'
	within 100 "$garner" flush "$mnt" || fail 'garner flush'
	look "$name"
	proxy down >/dev/null
	within 100 dd if="$work/data" of="$mnt/disk.raw" bs=64k count=8 conv=notrunc status=none >>"$work/seen/away-$name" 2>&1 || true
	within 100 ls -l "$mnt/missing" >>"$work/seen/away-$name" 2>&1 || true
	sleep 6
	look "$name-away"
	proxy up >/dev/null
	within 100 "$garner" flush "$mnt" || fail 'garner flush'
	cp -a "$cache" "$work/seen/cache-$name" 2>/dev/null || [[ -s $work/seen/cache-$name/garner.db ]] # segments come and go
	unmount
	grep -q 'no answer' "$work/seen/garnerfs-$name" || fail 'no fault was met'
	rm -rf "$work/seen/stored-$name"
	store_list >"$work/seen/objects-$name"
	store_download "$work/seen/stored-$name"
	search "$work/seen" "$cache"
	rm -rf "$work/seen/stored-$name" "$work/seen/cache-$name" "$cache"
	forget_ended
}

fresh_pool --key-file "$key_file" >"$work/seen/init" 2>&1
proxy_start --seed 3 --fault 500=0.05 --fault reset-after=0.05 --fault truncate=0.05 --fault 429=0.03,1
life environment "key_file=$key_file"
life passwd "key_file=$key_file,passwd_file=$passwd_file" "${without[@]}"
"$garner" key "$pool" --key-file "$key_file" --new-passphrase-file "$passphrase_file" >"$work/seen/key" 2>&1
life passphrase "passphrase_file=$passphrase_file,passwd_file=$passwd_file" "${without[@]}"
proxy 'faults off'

echo '== wrong secrets'
good=(--passphrase-file "$passphrase_file")
refused no-key "$garner" ls "$pool"
refused old-key "$garner" ls "$pool" --key-file "$key_file"
refused wrong-key "$garner" verify "$pool" --key-file "$key_file-wrong"
refused wrong-new-key "$garner" key "$pool" --key-file "$key_file-wrong" --new-key-file "$key_file"
refused key-as-passphrase "$garner" ls "$pool" --passphrase-file "$key_file-wrong"
refused wrong-secret "${wrongly[@]}" "$garner" ls "$pool" "${good[@]}"
refused wrong-passwd "${without[@]}" "$garner" ls "$pool" "${good[@]}" --passwd-file "$passwd_file-wrong"
refused wrong-passwd-mount "${without[@]}" "$garnerfs" "$pool" "$mnt" -f -o \
	"debug,cache_dir=$cache,passphrase_file=$passphrase_file,passwd_file=$passwd_file-wrong"
refused wrong-key-mount "$garnerfs" "$pool" "$mnt" -f -o "debug,cache_dir=$cache,key_file=$key_file-wrong"
printf '%s' "$wrong" >"$work/no-newline"
chmod 600 "$work/no-newline"
[[ $store_kind == swift ]] || refused no-colon "${without[@]}" "$garner" ls "$pool" "${good[@]}" --passwd-file "$work/no-newline"
secret_file "$work/three-lines" "$(printf 'name\n%s\nmore\n' "$wrong")"
refused three-lines "${without[@]}" "$garner" ls "$pool" "${good[@]}" --passwd-file "$work/three-lines"
cp "$passwd_file-wrong" "$work/readable"
chmod 644 "$work/readable"
refused readable "${without[@]}" "$garner" ls "$pool" "${good[@]}" --passwd-file "$work/readable"
refused readable-key "$garner" ls "$pool" --key-file "$work/readable"
refused secret-in-url "$garner" ls "$pool&secret=$wrong"
refused user-in-url "$garner" ls "${pool/127.0.0.1/name:$wrong@127.0.0.1}"
refused user-in-store "$garner" ls "s3://name:$wrong@bucket/prefix"
if [[ $store_kind == s3 ]]; then
	# Not every server looks at a token that it has not given.
	AWS_SESSION_TOKEN=$(cat "$work/secrets/the session token") within 120 "$garner" ls "$pool" "${good[@]}" >"$work/seen/token" 2>&1 || true
	refused token-and-wrong-secret env AWS_SESSION_TOKEN="$(cat "$work/secrets/the session token")" "${wrongly[@]}" \
		"$garner" ls "$pool" "${good[@]}"
	(umask 077 && printf '[default]\naws_access_key_id = x\naws_secret_access_key = %s\naws_session_token %s\n' "$wrong" "$wrong" \
		>"$work/profile")
	refused bad-profile "${without[@]}" env "AWS_SHARED_CREDENTIALS_FILE=$work/profile" "$garner" ls "$pool" "${good[@]}"
fi
search "$work/seen"

echo '== the search finds what there is'
mkdir "$work/planted"
printf 'a header: %s\n' "$(printf 'x%s' "$wrong" | base64 -w0)" >"$work/planted/one"
! (search "$work/planted") >"$work/out" 2>&1 || fail 'it does not'
grep ^FOUND "$work/out"
