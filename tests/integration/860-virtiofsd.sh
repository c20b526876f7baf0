#!/usr/bin/env bash
# timeout: 240
# kfs-virtiofsd: started as libvirt starts virtiofsd, as Kata does and as people do, beside a mount and on an image with
# nothing mounted; it stays for as long as the guest, and takes the guest with it when it is ended. What cannot be is
# refused in one line that says what to do. A front end of our own (tests/vhost) stands for QEMU.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3 setpriv

VFE=$TOOLS/vhost/vfe
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -p "$KFS_RUNTIME_DIR"

# launch WORDS…: in the background, as people do. $launched is its process.
launch() {
	kfs-virtiofsd "$@" >launch.out 2>launch.err &
	launched=$!
}
# with_fd SOCKET WORDS…: the same with a listening socket made beforehand; FD among the words becomes its number.
with_fd() {
	python3 - "$@" >launch.out 2>launch.err <<-'PY' &
	import os, socket, sys
	s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
	s.bind(sys.argv[1])
	s.listen(1)
	os.set_inheritable(s.fileno(), True)
	words = [w.replace('FD', str(s.fileno())) for w in sys.argv[2:]]
	os.execvp('kfs-virtiofsd', ['kfs-virtiofsd'] + words)
	PY
	launched=$!
	eventually 20 test -S "$1" || fail "no socket: $(cat launch.err)"
}
ended() { all_gone "$launched"; }
# leaves STATUS: it ends by itself, with that status
leaves() {
	local status=0
	eventually 20 ended || fail "the launcher does not end: $(cat launch.err)"
	wait "$launched" || status=$?
	expect_eq "$status" "$1" "status of the launcher ($(cat launch.err))"
}
# refused TEXT WORDS…
refused() {
	local text=$1 status=0
	shift
	kfs-virtiofsd "$@" 2>refused || status=$?
	[ "$status" -ne 0 ] || fail "accepted: $*"
	expect_eq "$(wc -l <refused)" 1 "lines of: $(cat refused)"
	grep -qF -- "$text" refused || fail "refused with: $(cat refused)"
	[ ! -e s ] || fail "a socket is left behind"
}

# ---- beside a mount ----

mkimage disk.img 128M
mount_kfs disk.img mnt -o share=on

# libvirt, as of the Rust virtiofsd: a listening descriptor, one word for the source, the rest behind it.
with_fd s --fd=FD -o "source=$PWD/mnt,cache=always,sandbox=chroot,xattr,no_flock,no_posix_lock" --thread-pool-size=16
"$VFE" s script
leaves 0
expect_eq "$(cat mnt/dir/hello)" "hello from a guest" "what the host reads"
grep -q 'sandbox: ignored: ' launch.err || fail "an option was passed over in silence"
rm s

# Kata Containers.
with_fd s --syslog --cache=auto --shared-dir="$PWD/mnt" --fd=FD --inode-file-handles=mandatory --announce-submounts \
	--thread-pool-size=1 --sandbox=none --seccomp=none
"$VFE" s share "$PWD/mnt"
leaves 0
rm s

# People.
ln -s mnt link
launch --socket-path s --shared-dir link --tag=guests --sandbox namespace --socket-group=1234
eventually 20 test -S s || fail "no socket: $(cat launch.err)"
eventually 20 grep -qs 'a guest may connect' launch.err || fail "not served: $(cat launch.err)"
expect_eq "$(stat -c '%F %a %g' s)" "socket 660 1234" "the socket"
"$VFE" s locks "$PWD/mnt"
leaves 0
[ ! -e s ] || fail "the socket is left behind"

# By descriptor, connected already.
python3 - "$PWD/mnt" "$VFE" <<'PY'
import os, socket, subprocess, sys
a, b = socket.socketpair()
p = subprocess.Popen(['kfs-virtiofsd', '--shared-dir', sys.argv[1], '--fd', str(b.fileno())], pass_fds=[b.fileno()], stderr=subprocess.DEVNULL)
b.close()
a.sendall(bytes([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))  # GET_FEATURES
assert len(a.recv(20, socket.MSG_WAITALL)) == 20
a.close()
assert p.wait(20) == 0
PY

# The guest only reads; two guests at once, and a third front end at a socket that has its guest.
launch --socket-path s --shared-dir mnt --readonly
eventually 20 test -S s
"$VFE" s readonly
leaves 0

# A launcher that is ended, politely or not, takes its guest with it, and nothing of it stays in the daemon.
descriptors() { find "/proc/$daemon/fd" -mindepth 1 | wc -l; }
daemon=$(kfs_pids "$PWD/mnt")
before=$(descriptors)
fewer() { [ "$(descriptors)" -le "$before" ]; }
for how in TERM KILL; do
	launch --socket-path s --shared-dir mnt
	eventually 20 grep -qs 'a guest may connect' launch.err
	python3 - "$launched" "$how" <<-'PY'
	import os, signal, socket, sys
	s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
	s.settimeout(20)
	s.connect('s')
	s.sendall(bytes([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]))
	assert len(s.recv(20, socket.MSG_WAITALL)) == 20
	late = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
	try:
	    late.connect('s')
	    assert late.recv(1) == b'', 'a second front end is served'
	except ConnectionError:
	    pass
	os.kill(int(sys.argv[1]), getattr(signal, 'SIG' + sys.argv[2]))
	assert s.recv(1) == b'', 'the guest is still served'
	PY
	eventually 20 ended || fail "the launcher outlives SIG$how"
	wait "$launched" || :
	eventually 20 fewer || fail "the daemon keeps descriptors of a guest that has gone: $before before, $(descriptors) now"
	rm -f s
done

# As many, one after the other, as would fill every slot; and then all of them at once. By the control protocol itself.
python3 - "$KFS_RUNTIME_DIR"/*.sock <<'PY'
import array, json, socket, struct, sys
control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
control.settimeout(20)
control.connect(sys.argv[1])
def share(args, fds):
    text = json.dumps({'version': 1, 'command': 'share_add', 'args': args}).encode()
    control.sendmsg([struct.pack('<I', len(text)) + text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
    size, = struct.unpack('<I', control.recv(4, socket.MSG_WAITALL))
    return json.loads(control.recv(size, socket.MSG_WAITALL))
def add():
    front, back = socket.socketpair()
    life, other = socket.socketpair()
    life.settimeout(20)
    reply = share({'path': '/'}, [back.fileno(), other.fileno()])
    return front, life, reply
for _ in range(70):
    front, life, reply = add()
    assert reply['ok'], reply
    front.close()
    assert life.recv(2) == b'g' and life.recv(1) == b''
guests = [add() for _ in range(64)]
assert all(reply['ok'] for _, _, reply in guests)
front, life, reply = add()
assert not reply['ok'] and 'served already' in reply['error']['why'], reply
assert life.recv(1) == b''
for front, life, _ in guests[:32]:
    life.close()
    front.settimeout(20)
    assert front.recv(1) == b'', 'still served'
for front, life, _ in guests[32:]:
    front.close()
    assert life.recv(2) == b'g'
assert add()[2]['ok']
# Descriptors that are not what they have to be, too few of them, and words that are not.
a, b = socket.socketpair()
null = open('/dev/null')
listening = socket.socket(socket.AF_UNIX)
listening.bind('listening')
listening.listen()
def refused(args, fds):
    reply = share(args, fds)
    assert not reply['ok'], (args, reply)
refused({'path': '/'}, [null.fileno(), a.fileno()])
refused({'path': '/'}, [b.fileno(), null.fileno()])
refused({'path': '/'}, [b.fileno(), listening.fileno()])
refused({'path': '/'}, [b.fileno()])
refused({'path': '/', 'tag': ''}, [b.fileno(), a.fileno()])
refused({'path': '/', 'tag': 'x' * 37}, [b.fileno(), a.fileno()])
refused({'path': '/', 'cache': 'some'}, [b.fileno(), a.fileno()])
refused({'path': '../..'}, [b.fileno(), a.fileno()])
refused({'path': 'sub'}, [b.fileno(), a.fileno()])
refused({}, [b.fileno(), a.fileno()])
PY
eventually 20 fewer || fail "the daemon keeps descriptors: $before before, $(descriptors) now"

# A directory inside the mount is the guest's root. That it cannot be left: 812.
mkdir -p mnt/sub/below elsewhere
launch --socket-path s --shared-dir mnt/sub/below
eventually 20 test -S s || fail "no socket: $(cat launch.err)"
"$VFE" s script
leaves 0
expect_eq "$(cat mnt/sub/below/dir/hello)" "hello from a guest" "what the host reads of a shared directory"

# What the guest may keep is what was asked for.
mkdir -p mnt/kept/dir
echo kept >mnt/kept/file
for cache in never always; do
	launch --socket-path s --shared-dir mnt/kept --cache=$cache
	eventually 20 test -S s || fail "no socket: $(cat launch.err)"
	"$VFE" s caching >kept.$cache
	leaves 0
done
cmp -s kept.never kept.always && fail "cache= changes nothing: $(cat kept.never)"

# What cannot be.
refused 'use virtiofsd' --shared-dir elsewhere --socket-path s
refused 'No such file' --shared-dir nothing --socket-path s
refused 'wants auto, always, metadata' --shared-dir mnt --socket-path s --cache=some
refused 'is longer than 36' --shared-dir mnt --socket-path s --tag=0123456789012345678901234567890123456
refused '--socket-path: is missing' --shared-dir mnt
refused 'contradicts' --shared-dir mnt --socket-path s --fd=0
refused 'not a listening or connected' --shared-dir mnt --fd=0 </dev/null
refused 'there is no such group' --shared-dir mnt --socket-path s --socket-group=nobody-has-this
refused 'not an option of virtiofsd' --shared-dir mnt --socket-path s --novelty
refused 'not an option of virtiofsd' --shared-dir mnt --socket-path s -o novelty
refused 'leave it out' --shared-dir mnt --socket-path s --xattrmap=:map::user.virtiofs.:
refused 'leave it out' --shared-dir mnt --socket-path s --translate-uid=squash-guest:0:1000:1
refused 'live migration is not in this build' --shared-dir mnt --socket-path s --migration-mode=find-paths
echo precious >file
kfs-virtiofsd --shared-dir mnt --socket-path file 2>refused && fail "a file was taken for a socket"
grep -q 'there is a file that is no socket' refused || fail "refused with: $(cat refused)"
expect_eq "$(cat file)" precious "the file"
mkdir -m 777 public
as_user env "KFS_RUNTIME_DIR=$KFS_RUNTIME_DIR" "$BIN/kfs-virtiofsd" --shared-dir mnt --socket-path public/s 2>refused && fail "another user shares a mount"
grep -q 'belongs to another user: ask as root' refused || fail "refused with: $(cat refused)"

# The mount ends: so does the guest, and the launcher says why.
launch --socket-path s --shared-dir mnt
eventually 20 grep -qs 'a guest may connect' launch.err
umount_kfs mnt
leaves 1
grep -q 'its daemon has ended' launch.err || fail "the launcher said: $(cat launch.err)"
fsck_clean disk.img

# The host caches all it can: a guest that writes is refused, one that reads is not.
mount_kfs disk.img mnt
refused 'share=on' --shared-dir mnt --socket-path s
launch --socket-path s --shared-dir mnt --readonly
eventually 20 test -S s
"$VFE" s readonly
leaves 0
umount_kfs mnt

# A window into the image is offered to those that may write, and to no others: what is mapped can be written.
mkimage window.img 64M -b 4096
mount_kfs window.img mnt -o "share=on,vhost=$PWD/own,dax_window=8M"
window_offered() { # WORDS: SHMEM is among the protocol's features
	launch --socket-path s --shared-dir mnt "$@"
	eventually 20 test -S s || fail "no socket: $(cat launch.err)"
	python3 - <<-'PY'
	import socket, struct
	s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
	s.settimeout(20)
	s.connect('s')
	s.sendall(struct.pack('<III', 15, 1, 0))  # GET_PROTOCOL_FEATURES
	print(struct.unpack('<IIIQ', s.recv(20, socket.MSG_WAITALL))[3] >> 22 & 1)
	PY
	leaves 0
}
expect_eq "$(window_offered)" 1 "a window for a guest that writes"
expect_eq "$(window_offered --readonly)" 0 "a window for a guest that only reads"
umount_kfs mnt

# ---- an image that is not mounted ----

with_fd s --fd=FD -o "source=$PWD/disk.img,cache=always,xattr" -o no_posix_lock
"$VFE" s vanish
leaves 0
rm s
fsck_clean disk.img
launch --socket-path s --shared-dir disk.img --socket-group=1234 --tag=guests
for_the_group() { [ "$(stat -c '%F %a %g' s 2>/dev/null)" = "socket 660 1234" ]; }
eventually 20 for_the_group || fail "the socket: $(stat -c '%F %a %g' s)"
# A second guest of the same image goes to the daemon of the first, which stays for it.
first=$launched
eventually 20 kfsctl status disk.img >/dev/null || fail "the daemon is not registered"
kfs-virtiofsd --socket-path s2 --shared-dir disk.img >second.out 2>second.err &
second=$!
eventually 20 grep -qs 'a guest may connect' second.err || fail "the second guest: $(cat second.err)"
"$VFE" s vanish
"$VFE" s2 restart
eventually 20 all_gone "$first" "$second" || fail "the daemon outlives its guests"
wait "$first" || fail "the first launcher: $(cat launch.err)"
wait "$second" || fail "the second launcher: $(cat second.err)"
if [ -e s ] || [ -e s2 ]; then fail "a socket is left behind"; fi
fsck_clean disk.img
launch --socket-path s --shared-dir disk.img --readonly
eventually 20 test -S s
"$VFE" s readonly
leaves 0
fsck_clean disk.img

# ---- discovery ----

kfs-virtiofsd --print-capabilities | python3 -c 'import json, sys; c = json.load(sys.stdin); assert c["type"] == "fs" and "separate-options" in c["features"], c'
kfs-virtiofsd --help | grep -q -- --shared-dir
kfs-virtiofsd --version | grep -q '^kfs-virtiofsd '
