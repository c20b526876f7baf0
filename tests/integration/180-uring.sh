#!/usr/bin/env bash
# timeout: 600
# Over io_uring everything is as through /dev/fuse: what POSIX promises about names and attributes, contents against a
# model, operations against kernel ext4, locks that wait; and both say which way requests come. On a machine that has it
# off, uring=on names the remedy.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
need python3
need_uring
chmod 755 .
OPS=${OPS:-2500}

transport() {
	kfsctl status --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["transport"])'
}
counted() { # OPCODE DIR: requests of it through rings
	kfsctl stats --json "$2" | python3 -c 'import json, sys
for t in json.load(sys.stdin)["transports"]:
    if t["name"] == "uring": print(t["opcodes"].get(sys.argv[1], {}).get("requests", 0))' "$1"
}

# ---- which way, and why ----
mkimage img 256M -b 4096
mkdir m
echo N >"$URING_SWITCH"
expect_status 32 kfs img m -o uring=on 2>err.txt
grep -q "uring=on: the kernel has it switched off: echo Y > $URING_SWITCH" err.txt || fail "no remedy: $(cat err.txt)"
mount_kfs img m -o uring=auto
expect_eq "$(transport m)" dev "transport while it is off"
kfsctl status m | grep -q 'transport.*/dev/fuse: the kernel has it switched off' || fail "status does not say why"
umount_kfs m
echo Y >"$URING_SWITCH"
mount_kfs img m -o uring=off
expect_eq "$(transport m)" dev "transport with uring=off"
umount_kfs m
mount_kfs img m -o uring=on
expect_eq "$(transport m)" uring transport
for i in $(seq 20); do mkdir "m/dir$i"; done
expect_eq "$(counted MKDIR m)" 20 "mkdir requests through rings"
umount_kfs m

# A queue is served on its own processor: kept from one by a cpuset, kfs stays with /dev/fuse and says so.
CPUSETS=/sys/fs/cgroup/cpuset
if [ "$(nproc)" -gt 1 ] && [ -e "$CPUSETS/cpuset.cpus" ]; then
	narrow=$CPUSETS/kfs-test-$$
	mkdir "$narrow"
	cat "$CPUSETS/cpuset.mems" >"$narrow/cpuset.mems"
	echo 0 >"$narrow/cpuset.cpus"
	in_cpuset() { (echo "$BASHPID" >"$narrow/tasks" && exec "$@"); }
	expect_status 32 in_cpuset kfs img m -o uring=on 2>err.txt
	grep -q 'may run on 1 of .* processors (cpuset)' err.txt || fail "uring=on in a cpuset: $(cat err.txt)"
	in_cpuset kfs img m -o "uring=auto,log=$SCRATCH/cpuset.log"
	expect_eq "$(transport m)" dev "transport in a cpuset of one processor"
	kfsctl status m | grep -q 'transport.*/dev/fuse: .*cpuset' || fail "status does not say why: $(kfsctl status m)"
	umount_kfs m
	eventually 10 rmdir "$narrow"
else
	echo "not shown: a cpuset of some processors (one processor, or no hierarchy of cpusets at $CPUSETS)"
fi

# ---- POSIX ----
for profile in off on; do
	mkimage img 256M -b 4096
	mount_kfs img m -o "uring=on,share=$profile"
	words=$([ "$profile" = on ] || echo no-open-messages)
	python3 "$TOP/tests/posix/run.py" m "$words" || fail "share=$profile"
	umount_kfs m
	fsck_clean img
done

# ---- contents ----
for words in share=off share=on nowriteback max_threads=1; do
	mkimage img 96M
	mount_kfs img m -o "uring=on,$words"
	"$TOOLS/filemodel" m/1 11 800 & first=$!
	"$TOOLS/filemodel" m/2 12 800 & second=$!
	wait "$first" || fail "filemodel on $words"
	wait "$second" || fail "filemodel on $words"
	(cd m && sha256sum ./[0-9]*) >sums.txt
	umount_kfs m
	fsck_clean img
	kmount img k ro
	(cd k && sha256sum --quiet -c ../sums.txt) || fail "the kernel reads other bytes ($words)"
	kumount k
done

# ---- operations ----
mkimage_e2 kfs.img 256M
mkimage_e2 ext4.img 256M
kmount ext4.img ext4 nodev
mount_kfs kfs.img m -o nodev,uring=on
for seed in 1 2; do
	mkdir "m/$seed" "ext4/$seed"
	for where in m ext4; do
		"$TOOLS/fschurn" "$where/$seed" "$seed" "$OPS" xattr special >"$where.log"
	done
	cmp m.log ext4.log || fail "seed $seed differs: $(diff m.log ext4.log | head -n 20)"
done
kwalk m --no-times --no-dir-size >live.txt
same_tree live.txt ext4 --no-times --no-dir-size
umount_kfs m
fsck_clean kfs.img
kumount ext4

# ---- a request that came while the only entry of its queue was taken by one that waits: nothing else comes after it ----
mkimage img 64M
mount_kfs img m -o uring=on,share=on
touch m/other
daemon=$(kfs_pids "$PWD/m")
drop_caches
timeout -s KILL 100 taskset -c 0 python3 - m/locked m/other "$daemon" <<'PY' || fail "a request that came after one that waits"
import fcntl, os, signal, sys, time
locked, other, daemon = sys.argv[1], sys.argv[2], int(sys.argv[3])
holder = os.open(locked, os.O_RDWR | os.O_CREAT)
waiting = os.open(locked, os.O_RDWR)
fcntl.flock(holder, fcntl.LOCK_EX)
def child(run):
    pid = os.fork()
    if not pid:
        run()
        os.kill(os.getpid(), signal.SIGKILL) # nothing is flushed
    return pid
os.kill(daemon, signal.SIGSTOP)
try:
    waiter = child(lambda: fcntl.flock(waiting, fcntl.LOCK_EX))
    time.sleep(1)
    ended, end = os.pipe()
    asker = child(lambda: os.write(end, b"%d" % os.stat(other).st_size))
    time.sleep(1)
finally:
    os.kill(daemon, signal.SIGCONT)
signal.alarm(60)
assert os.read(ended, 1) == b"0"
os.waitpid(asker, 0)
fcntl.flock(holder, fcntl.LOCK_UN)
os.waitpid(waiter, 0)
PY
umount_kfs m
fsck_clean img

# ---- requests that wait: more of them than threads, all in one queue; whoever unlocks must be served ----
mkimage img 64M
mount_kfs img m -o uring=on,share=on,max_threads=1
timeout 120 taskset -c 0 python3 - m/file <<'PY' || fail "waiting locks"
import fcntl, os, signal, sys, time
path = sys.argv[1]
holder = os.open(path, os.O_RDWR | os.O_CREAT)
fcntl.lockf(holder, fcntl.LOCK_EX)
pids = []
for i in range(24):
    pid = os.fork()
    if pid == 0:
        signal.alarm(100)
        f = os.open(path, os.O_RDWR)
        fcntl.lockf(f, fcntl.LOCK_EX)
        os.stat(f"{path}-{i}") if os.path.exists(f"{path}-{i}") else os.close(os.open(f"{path}-{i}", os.O_CREAT))
        os._exit(0)
    pids.append(pid)
time.sleep(0.5)
for pid in pids[:8]:
    os.kill(pid, signal.SIGKILL)
for pid in pids[:8]:
    os.waitpid(pid, 0)
fcntl.lockf(holder, fcntl.LOCK_UN)
for pid in pids[8:]:
    assert os.waitpid(pid, 0)[1] == 0, pid
assert len(os.listdir(os.path.dirname(path))) >= 17
PY
umount_kfs m
fsck_clean img
