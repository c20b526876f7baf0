#!/usr/bin/env bash
# mount(8) and fstab: the helpers in /sbin are found, options are passed on, the fake and sloppy flags work, and
# umount(8) waits. In a mount namespace of its own, so that the machine's /sbin stays as it is.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need unshare

if [ "${1:-}" != inside ]; then
	mkdir layer
	status=0
	layer=$SCRATCH/layer
	SCRATCH=$SCRATCH/inside own_mounts \
		bash "$TOP/tests/integration/$TEST_NAME.sh" inside "$layer" || status=$?
	exit "$status"
fi
layer=$2
sbin=$(readlink -f /sbin)
mount -t tmpfs none "$layer"
mkdir "$layer/upper" "$layer/work"
mount -t overlay -o "lowerdir=$sbin,upperdir=$layer/upper,workdir=$layer/work" none "$sbin" 2>/dev/null ||
	skip "no overlay filesystem to lay over $sbin"
ln -sf "$BIN/kfs" /sbin/mount.fuse.kfs
ln -sf "$BIN/kfs" /sbin/umount.fuse.kfs

mkimage a.img 64M
mkdir a

# ---- mount(8) ----
mount -t fuse.kfs -o "noatime,nodev,x-test.word,_netdev,nofail,log=$SCRATCH/a.log" a.img a
MOUNTS+=("kfs $SCRATCH/a")
findmnt -no OPTIONS a | grep -q 'nodev.*noatime' || fail "options: $(findmnt -no OPTIONS a)"
findmnt -no FSTYPE a | grep -Exq 'fuse(bpf)?\.kfs' || fail "type: $(findmnt -no FSTYPE a)"
echo one >a/file
pid=$(kfs_pids "$SCRATCH/a")
umount a
grep -q 'a.img: closed$' a.log || fail "umount(8) did not wait for the daemon"
eventually 30 all_gone "$pid" || fail "the daemon outlives its mount"
forget_mount "$SCRATCH/a"
fsck_clean a.img

# ---- read-only, by mount's own flag ----
mount -r -t fuse.kfs a.img a
MOUNTS+=("kfs $SCRATCH/a")
expect_failure touch a/other 2>/dev/null
expect_eq "$(cat a/file)" one
umount a
forget_mount "$SCRATCH/a"

# ---- fstab ----
echo "$SCRATCH/a.img $SCRATCH/a fuse.kfs noauto,defaults,noexec,x-systemd.device-timeout=1 0 0" >fstab
mount -T fstab "$SCRATCH/a"
MOUNTS+=("kfs $SCRATCH/a")
findmnt -no OPTIONS a | grep -q noexec || fail "noexec is lost"
umount a
forget_mount "$SCRATCH/a"

# ---- fake: nothing is mounted, nothing is written; sloppy: unknown words pass ----
sum=$(sha256sum <a.img)
mount -f -t fuse.kfs a.img a
mountpoint -q a && fail "mount -f mounted"
expect_eq "$(sha256sum <a.img)" "$sum" "image after mount -f"
expect_status 1 mount -t fuse.kfs -o what-is-this a.img a 2>error.txt
grep -q 'kfs: what-is-this: unknown option' error.txt || fail "$(cat error.txt)"
mount -s -t fuse.kfs -o what-is-this a.img a
MOUNTS+=("kfs $SCRATCH/a")
umount a
forget_mount "$SCRATCH/a"
expect_status 32 mount -t fuse.kfs no.img a 2>error.txt
grep -q '^kfs: .*/no.img: No such file or directory: make an image with mkfs.kfs$' error.txt || fail "$(cat error.txt)"
fsck_clean a.img
