#!/usr/bin/env bash
# A mount's life: the parent returns when it answers, the daemon ends with the unmount, everything is in the image, the
# kernel's ext4 shows the same; by umount, by SIGTERM with dirty pages, by SIGTERM while in use, in the foreground.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4

mkimage a.img 128M

# ---- mount, write, unmount ----
mount_kfs a.img a
grep -E " $SCRATCH/a fuse(bpf)?\.kfs " /proc/mounts | grep -q "^$SCRATCH/a.img " || fail "not in /proc/mounts as image and fuse.kfs"
cp -a "$TOP/daemon" a/daemon
head -c 5M /dev/urandom >a/random
ln -s daemon a/link
mkfifo a/fifo
kwalk a >live.txt
sum=$(sha256sum <a/random)
umount_kfs a
fsck_clean a.img
kmount a.img k ro
same_tree live.txt k
kumount k

# ---- the kernel writes, kfs reads and goes on ----
kmount a.img k
echo kernel >k/by-kernel
kumount k
mount_kfs a.img a
expect_eq "$(cat a/by-kernel)" kernel "file written by the kernel"
expect_eq "$(sha256sum <a/random)" "$sum" "contents after a remount"

# ---- SIGTERM: dirty pages of the kernel are written first ----
pid=$(kfs_pids "$SCRATCH/a")
dd if=/dev/urandom of=a/dirty bs=1M count=20 status=none
sum=$(sha256sum <a/dirty)
kill -TERM "$pid"
eventually 30 all_gone "$pid" || fail "SIGTERM did not end the daemon"
mountpoint -q a && fail "still mounted after SIGTERM"
forget_mount "$SCRATCH/a"
fsck_clean a.img
mount_kfs a.img a
expect_eq "$(sha256sum <a/dirty)" "$sum" "dirty pages at SIGTERM"

# ---- SIGTERM while in use: detached, served until the last user has gone ----
pid=$(kfs_pids "$SCRATCH/a")
exec 5>a/open
echo before >&5
kill -TERM "$pid"
detached() { ! mountpoint -q a; }
eventually 30 detached || fail "not detached"
forget_mount "$SCRATCH/a"
echo after >&5
all_gone "$pid" && fail "the daemon left its user alone"
exec 5>&-
eventually 30 all_gone "$pid" || fail "the daemon outlives its last user"
fsck_clean a.img
mount_kfs a.img a
expect_eq "$(cat a/open)" "$(printf 'before\nafter')" "file written after the detach"

# ---- a second SIGTERM does not wait for users ----
pid=$(kfs_pids "$SCRATCH/a")
exec 5<a/open
kill -TERM "$pid"
eventually 30 detached || fail "not detached"
forget_mount "$SCRATCH/a"
kill -TERM "$pid"
eventually 30 all_gone "$pid" || fail "the second SIGTERM waits"
exec 5<&-
fsck_clean a.img

# ---- in the foreground, logging to stderr; SIGINT as from a terminal ----
mkdir -p f
kfs a.img f -f 2>foreground.log &
pid=$!
MOUNTS+=("kfs $SCRATCH/f")
eventually 30 mountpoint -q f || fail "not mounted in the foreground"
eventually 30 grep -q 'mounted at' foreground.log || fail "the foreground does not log to stderr"
kill -INT "$pid"
status=0
wait "$pid" || status=$?
expect_eq "$status" 0 "exit status of the foreground"
forget_mount "$SCRATCH/f"
fsck_clean a.img

# ---- SIGHUP opens the log anew ----
mount_kfs a.img a
pid=$(kfs_pids "$SCRATCH/a")
mv kfs-a.log old.log
kill -HUP "$pid"
eventually 10 test -e kfs-a.log || fail "SIGHUP did not make a new log"
umount_kfs a
grep -q closed kfs-a.log || fail "the new log is not written"
