#!/usr/bin/env bash
# timeout: 180
# kfsctl check of a mount: exit codes, JSON, progress, one at a time, stopping in all ways, read-only, unmount in the
# middle, a huge directory, a view that runs out of memory, damage found while mounted.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need mke2fs e2fsck debugfs jq

mkimage_e2 img 192M -N 60000
mount_kfs img mnt
mkdir mnt/huge mnt/d
seq -f 'mnt/huge/an-entry-with-quite-a-long-name-to-fill-blocks-%.0f' 20000 | xargs touch
cp -r "$TOP/tests/lib" mnt/d

# Clean, and what is said of it.
expect_status 0 kfsctl check mnt >out
grep -q ': clean, ' out || fail "no summary: $(cat out)"
expect_status 0 kfsctl check --json mnt >out.json
expect_eq "$(jq -r .state out.json)" clean state
expect_eq "$(jq -r .found out.json)" 0 found
[ "$(jq -r .inodes_used out.json)" -gt 20000 ] || fail "too few inodes: $(jq -r .inodes_used out.json)"
expect_status 0 kfsctl check -C 0 mnt >out 2>bar
expect_status 0 kfsctl check --progress --rate=40M mnt >out 2>bar
grep -q 'pass' bar || fail "no bar: $(cat bar)"
kfsctl status mnt | grep -q '^ *check .*0 found' || fail "status does not tell of the last check"
expect_status 2 kfsctl check --rate=none mnt
expect_status 2 kfsctl check -C 5 mnt
expect_status 2 kfsctl sync --stop mnt
expect_status 1 kfsctl check --stop mnt

slow() { kfsctl check --rate=64K mnt >slow.out 2>&1; }
running() { kfsctl status --json mnt | jq -e .check.running >/dev/null; }
idle() { ! running; }
start() {
	slow &
	slow_pid=$!
	eventually 20 running || fail "the slow check does not run"
}

# One at a time; status shows progress; --stop ends it with e2fsck's code.
start
expect_status 1 kfsctl check mnt
kfsctl status mnt | grep -q 'check .*runs, pass' || fail "status does not show the running check"
kfsctl check --stop mnt
expect_status 32 wait "$slow_pid"
idle || fail "still running"

# The client goes: so does the check. Changes go on while it runs.
kfsctl check --rate=64K mnt >slow.out 2>&1 &
slow_pid=$!
eventually 20 running || fail "the slow check does not run"
touch mnt/while && mv mnt/while mnt/after && rm mnt/after
kill "$slow_pid"
wait "$slow_pid" || :
eventually 20 idle || fail "the check outlives its client"

# Frozen: a check reads all the same.
kfsctl freeze mnt
expect_status 0 kfsctl check mnt >out
kfsctl thaw mnt
expect_status 0 kfsctl check mnt >out

# Unmount in the middle.
start
umount_kfs mnt
wait "$slow_pid" && fail "the check of an unmounted image succeeded"
fsck_clean img

# Read-only.
mount_kfs img mnt -o ro
expect_status 0 kfsctl check mnt >out
umount_kfs mnt

# Too little memory for what changes: it says so, and the mount goes on.
mount_kfs img mnt
(
	n=0
	while [ ! -e enough ]; do
		n=$((n + 1))
		: >"mnt/huge/new-$n" # by the shell itself: touch(1) would be too slow for it on some machines
		: >"mnt/d/new-$n"
		[ $((n % 50)) -ne 0 ] || kfsctl sync mnt
	done
) &
churn=$!
for _ in $(seq 100); do # a check that falls into a pause of the changes is clean
	status=0
	kfsctl check --memory=1 --rate=200K mnt >out 2>err || status=$?
	[ "$status" -eq 0 ] || break
done
: >enough
wait "$churn"
expect_eq "$status" 8 "exit status with no memory"
grep -q -- '--memory' err || fail "no word of memory: $(cat err)"
expect_status 0 kfsctl check mnt >out
umount_kfs mnt
fsck_clean img

# Damage under a mounted image: found, told in the log, and not repaired.
mount_kfs img mnt -o ro
debugfs -w -R 'sif /d/lib/lib.sh links_count 3' img >/dev/null 2>&1
expect_status 4 kfsctl check mnt >out 2>err
grep -q 'ref count is 3, should be 1\.' out || fail "not found: $(cat out)"
grep -q 'e2fsck -f' err || fail "no remedy: $(cat err)"
expect_status 4 kfsctl check --json mnt >out.json
expect_eq "$(jq -r '.findings[0].kind' out.json)" ref_count kind
grep -q 'a check found' kfs-mnt.log || fail "nothing in the log"
umount_kfs mnt
status=0
e2fsck -fp img >/dev/null 2>&1 || status=$?
[ "$status" -le 1 ] || fail "e2fsck -p: exit status $status"

# A journal that was not replayed is no state to check.
mkimage_e2 img2 16M
mount_kfs img2 mnt2
touch mnt2/x
kfsctl sync mnt2
cp img2 crashed
umount_kfs mnt2
mount_kfs crashed mnt3 -o ro,norecovery
expect_status 8 kfsctl check mnt3 2>err
grep -q norecovery err || fail "no word of norecovery: $(cat err)"
umount_kfs mnt3
