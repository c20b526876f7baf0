#!/usr/bin/env bash
# timeout: 200
# Control clients that never send, send half, never read their replies, or come by hundreds disturb neither the mount nor
# an honest client for longer than they are given; the daemon unmounts at once with them still there.
. "$(dirname "$0")/../lib/lib.sh"
need python3 jq
need_root

mkimage a.img 64M
mount_kfs a.img mnt
echo data >mnt/file
entry=$(grep -lF "$PWD/mnt" /run/kfs/*.mount)
socket=${entry%.mount}.sock
[ -S "$socket" ] || fail "no socket: $socket"

python3 - "$socket" <<'PY' &
import socket, struct, sys, time

def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(0.2)
    try:
        s.connect(sys.argv[1])
    except (BlockingIOError, TimeoutError, OSError):
        return None
    return s

kept = []
request = b'{"version": 1, "command": "stats"}'
for n in range(300):
    s = connect()
    if not s:
        continue
    kept.append(s)
    try:
        if n % 4 == 1:
            s.send(struct.pack("<I", 1000))                  # says much, sends nothing
        elif n % 4 == 2:
            s.send(struct.pack("<I", 0xffffffff) + b"x" * 99)
        elif n % 4 == 3:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            for _ in range(200):
                s.send(struct.pack("<I", len(request)) + request)   # and never reads
    except OSError:
        pass
open("crowd.ready", "w").close()
time.sleep(100)
PY
crowd=$!
eventually 60 test -e crowd.ready || fail "the crowd did not come"

# The mount does not notice.
for k in 1 2 3 4 5; do
	expect_eq "$(timeout 20 cat mnt/file)" data "reading beside the crowd"
	echo "$k" >"mnt/new$k"
	timeout 20 sync "mnt/new$k"
done
# An honest client is served when the others' time is over, at the latest; root has places of its own.
served() { timeout 10 kfsctl status --json mnt >status.json 2>/dev/null; }
eventually 60 served || fail "no answer for an honest client: $(kfsctl status mnt 2>&1 | head -n 2)"
expect_eq "$(jq -r .mountpoint status.json)" "$PWD/mnt" "mount point"

pid=$(kfs_pids "$PWD/mnt")
descriptors=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
[ "$descriptors" -lt 200 ] || fail "$descriptors descriptors are open: the crowd is not bounded"
# And unmounting does not wait for them.
umount_kfs mnt
kill "$crowd"
wait "$crowd" 2>/dev/null || :
fsck_clean a.img
