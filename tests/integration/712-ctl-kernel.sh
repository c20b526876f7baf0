#!/usr/bin/env bash
# Statistics of the kernel on a stock kernel (kstats=on): they count what the daemon counts, add up, go with the mount and
# with a killed daemon, and are read while the daemon is stopped. What functions tell is checked where they can be traced:
# tests/vm/210-kernel-stats.sh.
# timeout: 600
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv
N=200

# The BPF file system in which maps are pinned, seen by this script alone.
if [ "${1:-}" != inside ]; then
	status=0
	own_mounts bash "$TOP/tests/integration/$TEST_NAME.sh" inside || status=$?
	exit "$status"
fi
# Copies of other mounts keep these alive after they were unmounted: let them go here.
while read -r dir; do umount -l "$(printf %b "$dir")"; done < <(findmnt -rn -o FSTYPE,SOURCE,TARGET |
	awk '$1 ~ /^fuse(\.|blk|$)/ || $2 ~ /^\/dev\/loop/ { print $3 }' | tac)
mount -t bpf bpf /sys/fs/bpf || skip "no BPF file system in this kernel"
# Where udev has not opened the device to everybody: a copy that is.
if ! as_user test -w /dev/fuse; then
	mkdir dev
	mount -t tmpfs -o mode=755 none dev
	mknod -m 666 dev/fuse c 10 229
	mount --bind dev/fuse /dev/fuse
	umount -l dev
fi
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

mkimage a.img 64M

# kernel FILTER: of the kernel's part of stats, with the buckets
kernel() { kfsctl stats --json "${2:-a}" | jq -r "(.kernel | $1) // 0"; }
# daemon OPCODE: requests as the daemon counts them, through all transports
daemon() { kfsctl stats --json a | jq "[.transports[].opcodes.$1.requests // 0] | add"; }
# same OPCODE BEFORE_KERNEL BEFORE_DAEMON COUNT: both saw COUNT more
same() {
	expect_eq "$(($(kernel ".opcodes.$1.requests") - $2))" "$4" "$1 requests that the kernel saw"
	expect_eq "$(($(daemon "$1") - $3))" "$4" "$1 requests that the daemon saw"
}
stats_of() { python3 -c 'import os, sys
for i in range(int(sys.argv[2])): os.stat(f"{sys.argv[1]}/f{i}")' "$1" "$2"; }
absent_of() { python3 -c 'import os, sys
for i in range(int(sys.argv[2])): assert not os.path.exists(f"{sys.argv[1]}/n{i}")' "$1" "$2"; }

# ---- off by default, and switched on and off at run time ----
mount_kfs a.img a
for i in $(seq 0 $((N - 1))); do : >"a/f$i"; done
expect_eq "$(kfsctl stats --json a | jq .kernel)" null "the kernel's statistics of an ordinary mount"
expect_eq "$("$TOOLS/bpfprogs" --of "$(kfsctl status --json a | jq .worker_pid)")" "" "programs of an ordinary mount"
if ! kfsctl stats --kernel=on a 2>error.txt; then
	if grep -q 'this build has no BPF programs' error.txt; then skip "$(cat error.txt)"; fi
	if grep -q 'no trace point\|no type information' error.txt; then skip "$(cat error.txt)"; fi
	fail "$(cat error.txt)"
fi
kfsctl stats --kernel=on a
pid=$(kfsctl status --json a | jq .worker_pid)
programs=$("$TOOLS/bpfprogs" --of "$pid")
[ -n "$programs" ] || fail "on, but no programs"
absent_of a 5
expect_eq "$(kernel .opcodes.LOOKUP.requests)" 5 "lookups since it was switched on"
[ "$(kfsctl stats a | grep -c 'seen by the kernel')" -eq 1 ] || fail "the text does not show it"
kfsctl stats --kernel=off a
expect_eq "$(kfsctl stats --json a | jq .kernel)" null "the kernel's statistics, switched off"
# shellcheck disable=SC2086 # a list of numbers
gone() { [ -z "$("$TOOLS/bpfprogs" $programs)" ]; }
eventually 10 gone || fail "programs stay loaded after off"
expect_status 2 kfsctl stats --kernel=maybe a 2>error.txt
grep -q -- '--kernel: wants on or off' error.txt || fail "$(cat error.txt)"
expect_status 2 kfsctl status --kernel=on a 2>/dev/null
umount_kfs a

# ---- what is counted: no dentry is left after a mount ----
count_exactly() { # TRANSPORT WORDS…
	local transport=$1 kernel daemon stats
	shift
	mount_kfs a.img a -o kstats=on "$@"
	expect_eq "$(kfsctl status --json a | jq -r .transport)" "$transport" transport
	kernel=$(kernel .opcodes.LOOKUP.requests)
	daemon=$(daemon LOOKUP)
	stats=$(kernel .attributes.getattrs)
	stats_of a "$N"
	same LOOKUP "$kernel" "$daemon" "$N"
	# Cached now: nothing is sent.
	stats_of a "$N"
	same LOOKUP "$kernel" "$daemon" "$N"
	absent_of a "$N"
	absent_of a "$N"
	same LOOKUP "$kernel" "$daemon" $((2 * N))
	if [ "$(kernel .names.asked)" -gt 0 ]; then
		expect_eq "$(kernel .names.asked)" $((4 * N)) "names the kernel was asked for"
		expect_eq "$(kernel .names.sent)" $((2 * N)) "names it sent on"
		expect_eq "$(($(kernel .attributes.getattrs) - stats))" $((2 * N)) "stats"
	else
		kfsctl stats --json a | jq -e '.kernel | .names == null and .attributes == null and (.functions_missing | test("fuse_lookup \\("))' >/dev/null ||
			fail "no names counted, and not said why: $(kfsctl stats --json a | jq -c .kernel)"
		grep -q 'not counted: .*fuse_lookup (' kfs-a.log || fail "the log does not say what is not counted"
	fi
	python3 -c 'import os, sys
for i in range(10):
    fd = os.open(f"a/w{i}", os.O_CREAT | os.O_WRONLY); os.write(fd, b"x" * 100000); os.fsync(fd); os.close(fd); os.unlink(f"a/w{i}")'
	kfsctl stats --json a >stats.json
	jq -e '.kernel as $k | [.transports[].opcodes | to_entries[]] | group_by(.key) | map({key: .[0].key, requests: ([.[].value.requests] | add)}) |
		map(select(.key | IN("INIT", "FORGET", "BATCH_FORGET", "INTERRUPT", "STATFS", "STATX") | not)) |
		map(select(.requests != ($k.opcodes[.key].requests // 0))) | if length == 0 then true else error("\(.)") end' stats.json >/dev/null ||
		fail "the kernel counts other requests than the daemon: $(jq -c '.kernel, .transports' stats.json)"
	jq -e '.kernel.events_missed == 0' stats.json >/dev/null || fail "events were missed: $(jq -c .kernel.events_missed stats.json)"
	umount_kfs a
}
count_exactly dev -o uring=off

# ---- histograms add up; latencies are the kernel's: not shorter than the daemon's ----
mount_kfs a.img a -o kstats=on,uring=off
stats_of a "$N"
kfsctl stats --histograms --json a >stats.json
python3 - stats.json <<'PY'
import json, sys
reply = json.load(open(sys.argv[1]))
ours = reply["transports"][0]["opcodes"]
for name, op in reply["kernel"]["opcodes"].items():
    assert sum(op["buckets"]) == op["replies"] == op["requests"] and op["untimed"] == 0, (name, op)
    assert op["total_ns"] <= op["replies"] * op["max_ns"], (name, op)
    assert op["buckets"][op["max_ns"].bit_length() - 1] > 0, (name, op)
    if name in ours and ours[name]["requests"] == op["requests"]:
        assert op["total_ns"] >= ours[name]["total_ns"], (name, op, ours[name])
PY
kfsctl stats --histograms a | sed -n '/seen by the kernel/,/asked of it/p' >stats.txt
grep -A1 '^  LOOKUP' stats.txt | grep -q "^    below:  .*: [0-9]" || fail "no histogram in: $(cat stats.txt)"
kfsctl metrics a >metrics.txt
expect_eq "$(sed -n 's/^kfs_kernel_requests_total{.*,opcode="LOOKUP"} //p' metrics.txt)" "$(kernel .opcodes.LOOKUP.requests)" "lookups in metrics"
expect_eq "$(sed -n 's/^kfs_kernel_request_duration_seconds_bucket{.*,opcode="LOOKUP",le="+Inf"} //p' metrics.txt)" "$(kernel .opcodes.LOOKUP.replies)" "lookups in metrics' histogram"

# ---- pins: root's alone; read while the daemon is stopped ----
id=$(kfsctl status --json a | jq -r .id)
pid=$(kfsctl status --json a | jq .worker_pid)
expect_eq "$(stat -c %a /sys/fs/bpf/kfs/"$id")" 700 "mode of the folder of pins"
expect_eq "$(stat -c %a /sys/fs/bpf/kfs/"$id"/* | sort -u)" 600 "mode of pins"
lookups=$(kernel .opcodes.LOOKUP.requests)
kill -STOP "$pid"
kfsctl stats --timeout=1 --json a >stopped.json || fail "no stats of a stopped daemon"
kfsctl stats --timeout=1 a >stopped.txt || fail "no stats of a stopped daemon as text"
as_user kfsctl stats --timeout=1 "$SCRATCH/a" >/dev/null 2>error.txt && fail "an ordinary user reads root's counters"
kill -CONT "$pid"
expect_eq "$(kfsctl stats --timeout=1 a | grep -c 'from the kernel')" 0 "a living daemon's stats say that they are the kernel's"
expect_eq "$(jq .kernel.opcodes.LOOKUP.requests stopped.json)" "$lookups" "lookups as pins tell"
jq -e '.daemon_silent | test("no answer within 1 s")' stopped.json >/dev/null || fail "$(cat stopped.json)"
grep -q 'no answer within 1 s; from the kernel' stopped.txt || fail "$(cat stopped.txt)"
grep -q '^  LOOKUP' stopped.txt || fail "$(cat stopped.txt)"

# ---- watching goes on from the pins, says so, and comes back ----
: >watch.txt
timeout 60 kfsctl stats --watch=1 --timeout=1 --json a >>watch.txt &
watcher=$!
lines() { [ "$(wc -l <watch.txt)" -ge "$1" ]; }
eventually 20 lines 1 || fail "no first line"
kill -STOP "$pid"
silent() { grep -q '"daemon_silent":"no answer within 1 s"' watch.txt; }
eventually 20 silent || fail "the watcher does not tell of a stopped daemon: $(head -c 300 watch.txt)"
kill -CONT "$pid"
count=$(wc -l <watch.txt)
back() { tail -n "+$((count + 1))" watch.txt | grep -q '"transports"'; }
eventually 20 back || fail "the watcher does not come back"
kill "$watcher"
wait "$watcher" 2>/dev/null || :
grep '"daemon_silent"' watch.txt | head -n 1 | jq -e '.kernel.opcodes.LOOKUP.requests > 0' >/dev/null || fail "$(cat watch.txt)"

# ---- gone after unmount, and after a kill ----
programs=$("$TOOLS/bpfprogs" --of "$pid")
umount_kfs a
[ ! -e /sys/fs/bpf/kfs ] || fail "pins stay after unmount: $(find /sys/fs/bpf/kfs)"
eventually 10 gone || fail "programs stay loaded after unmount"
mount_kfs a.img a -o kstats=on
pid=$(kfsctl status --json a | jq .worker_pid)
programs=$("$TOOLS/bpfprogs" --of "$pid")
kill -KILL "$pid"
eventually 10 all_gone "$pid" || fail "pid $pid lives"
eventually 10 gone || fail "programs stay loaded after kill -9"
umount a
forget_mount "$SCRATCH/a"
[ -d /sys/fs/bpf/kfs/"$id" ] || fail "a killed daemon leaves no pins: then the rest of this proves nothing"
mkimage b.img 16M
mount_kfs b.img b
[ ! -e /sys/fs/bpf/kfs ] || fail "the next mount leaves a dead one's pins: $(find /sys/fs/bpf/kfs)"
grep -q "/sys/fs/bpf/kfs/$id: left by a kfs that was killed: removed" kfs-b.log || fail "$(cat kfs-b.log)"

# ---- a living one's pins stay, whoever mounts ----
kfsctl stats --kernel=on b
live=$(kfsctl status --json b | jq -r .id)
mount_kfs a.img a -o kstats=on
[ -d /sys/fs/bpf/kfs/"$live" ] || fail "another mount removed the pins of a living one"
KFS_RUNTIME_DIR=$SCRATCH/other
mkdir -m 700 other
umount_kfs a
mount_kfs a.img a -o kstats=on
[ -d /sys/fs/bpf/kfs/"$live" ] || fail "a mount of another register removed the pins of a living one"
umount_kfs a
KFS_RUNTIME_DIR=$SCRATCH/run
umount_kfs b
[ ! -e /sys/fs/bpf/kfs ] || fail "pins stay: $(find /sys/fs/bpf/kfs)"

# ---- two mounts do not count for each other ----
mount_kfs a.img a -o kstats=on
mount_kfs b.img b -o kstats=on
absent_of a 7
absent_of b 3
expect_eq "$(kernel .opcodes.LOOKUP.requests a) $(kernel .opcodes.LOOKUP.requests b)" "7 3" "lookups of two mounts"
umount_kfs a
umount_kfs b

# ---- an ordinary user: the mount is made, and says what is missing ----
if [ -u "$(command -v fusermount3)" ] && as_user test -x "$SCRATCH" -a -x "$BIN/kfs"; then
	mkdir -m 700 user user/m
	mkimage user/c.img 16M
	chown -R 65534:65534 user
	as_user env -u KFS_RUNTIME_DIR kfs "$SCRATCH/user/c.img" "$SCRATCH/user/m" -o "kstats=on,log=$SCRATCH/user/log" 2>error.txt
	MOUNTS+=("kfs $SCRATCH/user/m")
	grep -q "kstats=on: not counted: loading the tracing programs needs root" error.txt || fail "$(cat error.txt)"
	user_pid=$(kfs_pids "$SCRATCH/user/m")
	as_user fusermount3 -u "$SCRATCH/user/m"
	forget_mount "$SCRATCH/user/m"
	eventually 30 all_gone "$user_pid" || fail "the user's daemon outlives its mount"
fi

# ---- over rings: the same numbers ----
if [ -e "$URING_SWITCH" ] && [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" -ne 2 ]; then
	need_uring
	count_exactly uring -o uring=on
fi
fsck_clean a.img
