#!/usr/bin/env bash
# timeout: 240
# Virtual machines as users: a front end of our own (tests/vhost) in a guest's place, on an image with nothing mounted.
# What it left is judged by debugfs and e2fsck. Guests that leave in the middle, one after the other; read-only ones;
# sockets that are taken, left behind or handed over.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/guests.sh"
need debugfs python3

mkimage disk.img 128M
serve disk.img
expect_eq "$(stat -c '%F %a' s)" "socket 600" "the socket"
"$VFE" s script
stop disk.img
expect_eq "$(debugfs -R 'cat /dir/hello' disk.img 2>/dev/null)" "hello from a guest" "what debugfs reads"
expect_eq "$(debugfs -R 'ls -p /dir' disk.img 2>/dev/null | awk -F/ 'NF { print $6 }' | sort | tr '\n' ' ')" ". .. big hello " "names"
debugfs -R 'dump /dir/big big' disk.img 2>/dev/null
python3 - <<'PY'
data = open('big', 'rb').read()
assert len(data) == 5 * 2**20 + 100, len(data)
assert all(b == (i * 131 + (i >> 8) * 7 + (i >> 16)) & 255 for i, b in enumerate(data))
PY

# One after the other, each leaving something undone; nothing of it stays.
serve disk.img
for _ in 1 2 3; do
	"$VFE" s vanish
	"$VFE" s restart
	"$VFE" s slots
done
stop disk.img
expect_eq "$(debugfs -R 'ls -p /' disk.img 2>/dev/null | awk -F/ 'NF { print $6 }' | sort | tr '\n' ' ')" ". .. dir lost+found " "names"
grep -q 'malformed' kfs.log && fail "an honest front end was called malformed"

# As long as allowed, and never: the same answers, and an idle guest costs nothing.
for us in 1000 0; do
	serve disk.img -o "vhost_poll=$us"
	"$VFE" s idle
	"$VFE" s restart
	stop disk.img
done

serve disk.img -o guests=ro
"$VFE" s readonly
kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s2" 2>refused && fail "two daemons serve one image"
grep -q 'disk.img: served to guests by kfs, pid [0-9]*: end that first$' refused || fail "refused with: $(cat refused)"
# A second daemon does not take a socket that is served; one that was left behind it does.
mkimage other.img 16M
serve other.img 2>refused && fail "two daemons listen at one socket"
grep -q 'another program listens' refused || fail "refused with: $(cat refused)"
pid=$(kfs_pids "$PWD/disk.img")
kill -KILL "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid"
[ -S s ] || fail "the socket is gone"
serve disk.img -o guests=ro
"$VFE" s readonly
stop disk.img
echo precious >s
serve other.img 2>refused && fail "a file was taken for a socket"
expect_eq "$(cat s)" precious "the file"
rm s

# A listening descriptor, as service managers and libvirt hand it over.
python3 - "$BIN/kfs" "$PWD/disk.img" <<'PY'
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind('s')
s.listen()
os.set_inheritable(s.fileno(), True)
words = [sys.argv[1], '--no-mount', sys.argv[2], '-o', 'vhost=fd:%d' % s.fileno()]
assert os.spawnv(os.P_WAIT, words[0], words) == 0
PY
"$VFE" s vanish
pid=$(kfs_pids "$PWD/disk.img")
kill -TERM "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
rm s
fsck_clean disk.img

# What cannot be is refused in one line.
refuse() { # WHAT words…
	local what=$1
	shift
	kfs "$@" 2>refused && fail "accepted: kfs $*"
	expect_eq "$(wc -l <refused)" 1 "lines"
	grep -q -- "$what" refused || fail "refused with: $(cat refused)"
}
mkdir -p mnt
refuse 'share=on beside a mount' disk.img mnt -o vhost=s,share=off
refuse 'needs vhost=' disk.img mnt -o tag=guests
refuse 'needs vhost=' disk.img mnt -o guests=ro
refuse 'needs -o vhost=' --no-mount disk.img
refuse 'one word too many' --no-mount disk.img mnt -o vhost=s
refuse 'longer than 36' --no-mount disk.img -o vhost=s,tag=0123456789012345678901234567890123456
refuse 'needs vhost=' disk.img mnt -o socket_group=0
refuse 'needs vhost=' --no-mount disk.img -o vhost_once
refuse 'does not end with a guest' disk.img mnt -o vhost=s,vhost_once
refuse 'has its group already' --no-mount disk.img -o vhost=fd:0,socket_group=0
refuse 'no such group' --no-mount disk.img -o vhost=s,socket_group=nobody-has-this
refuse 'not a descriptor' --no-mount disk.img -o vhost=fd:x
refuse 'not a listening Unix socket' --no-mount disk.img -o vhost=fd:0
fsck_clean disk.img
