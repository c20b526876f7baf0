#!/usr/bin/env bash
# umount.fuse.kfs returns when the daemon has closed the image: it can be copied, checked or mounted elsewhere at once.
. "$(dirname "$0")/../lib/lib.sh"
need_root

mkimage a.img 64M
for round in 1 2 3 4 5; do
	mount_kfs a.img a
	pid=$(kfs_pids "$SCRATCH/a")
	mkdir "a/$round"
	for i in $(seq 50); do echo "$round" >"a/$round/$i"; done
	umount.fuse.kfs a
	expect_eq "$(grep -c 'a.img: closed$' kfs-a.log)" "$round" "images closed when umount.fuse.kfs returned"
	cp a.img copy.img
	eventually 30 all_gone "$pid" || fail "the daemon outlives its mount"
	forget_mount "$SCRATCH/a"
	fsck_clean copy.img
	expect_eq "$(debugfs -R "ls -p /$round" copy.img 2>/dev/null | grep -c "/100644/")" 50 "files in the copy"
done

# ---- by the image's name, and with a slash too many ----
mount_kfs a.img a
umount.fuse.kfs a.img
forget_mount "$SCRATCH/a"
mount_kfs a.img a
umount.fuse.kfs ./a/
forget_mount "$SCRATCH/a"

# ---- in use: refused, nothing happens; lazily it goes ----
mount_kfs a.img a
exec 5<a/1/1
expect_status 32 umount.fuse.kfs a 2>busy.txt
grep -q "^kfs: $SCRATCH/a: in use: " busy.txt || fail "$(cat busy.txt)"
expect_eq "$(wc -l <busy.txt)" 1 "lines of the refusal"
cat a/1/2 >/dev/null
pid=$(kfs_pids "$SCRATCH/a")
umount.fuse.kfs a -l
exec 5<&-
eventually 30 all_gone "$pid" || fail "the daemon outlives its mount"
forget_mount "$SCRATCH/a"
fsck_clean a.img

# ---- a bind mount keeps it: said, and not waited for ----
kept_by_a_bind_mount() {
	local pid
	mount_kfs a.img a
	mkdir -p bound
	mount --bind a bound
	umount.fuse.kfs a 2>bound.txt
	grep -q 'still mounted elsewhere' bound.txt || fail "$(cat bound.txt)"
	pid=$(kfs_pids "$SCRATCH/a")
	umount -i bound
	eventually 30 all_gone "$pid" || fail "the daemon outlives the bind mount"
	forget_mount "$SCRATCH/a"
	fsck_clean a.img
}
listed() { [ -d "$1" ] && [ "$(stat -f -c %t "$1")" = 65735543 ]; }
if [ "$(tier_told)" = bpf ] || listed /sys/fs/fuse/connections; then kept_by_a_bind_mount; fi
# The module's list of connections is mounted by those who want it only.
if [ "$(tier_told)" = bpf ]; then
	connections=/sys/fs/fusebpf/connections
	listed "$connections" && fail "the list of connections is mounted: the first time was no other than this"
	mount -t fusebpfctl none "$connections"
	kept_by_a_bind_mount
	umount "$connections"
fi

# ---- what is not ours ----
expect_status 32 umount.fuse.kfs a 2>none.txt
grep -q '^kfs: a: not mounted$' none.txt || fail "$(cat none.txt)"
expect_status 32 umount.fuse.kfs /proc 2>none.txt
grep -q 'not by kfs: use umount' none.txt || fail "$(cat none.txt)"
expect_status 1 umount.fuse.kfs 2>none.txt
