#!/usr/bin/env bash
# One writer per image: a second kfs, the kernel, a loop device; each refusal names who holds the image and where.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
need losetup

mkimage a.img 32M
mkdir -p b

refused() { # PATTERN kfs's words…
	local pattern=$1
	shift
	expect_status 32 kfs "$@" 2>error.txt
	grep -Eq "^kfs: $pattern" error.txt || fail "kfs $*: $(cat error.txt)"
	expect_eq "$(wc -l <error.txt)" 1 "lines for kfs $*"
}

# ---- by us ----
mount_kfs a.img a
pid=$(kfs_pids "$SCRATCH/a")
refused "$SCRATCH/a.img: mounted at $SCRATCH/a by kfs, pid $pid: unmount that first" a.img b
refused "$SCRATCH/a.img: mounted at $SCRATCH/a by kfs" a.img b -o ro
ln -s a.img link.img
refused "$SCRATCH/a.img: mounted at" link.img b
echo still >a/works
umount_kfs a

# ---- two readers are fine, a writer beside them is not ----
mount_kfs a.img a -o ro
mount_kfs a.img b -o ro
expect_eq "$(cat a/works b/works | sort -u)" still
mkdir -p c
refused "$SCRATCH/a.img: mounted at $SCRATCH/[ab] by kfs" a.img c
umount_kfs a
umount_kfs b

# ---- by the kernel, as a file and as a device ----
sum=$(sha256sum <a.img)
device=$(losetup -f --show a.img)
refused "$SCRATCH/a.img: in use as $device: detach it" a.img b || { losetup -d "$device"; exit 1; }
mkdir -p k
mount "$device" k
MOUNTS+=("kernel $SCRATCH/k")
losetup -d "$device" # when it is unmounted
refused "$SCRATCH/a.img: mounted at $SCRATCH/k by the kernel: unmount that first" a.img b
refused "$device: mounted at $SCRATCH/k by the kernel: unmount that first" "$device" b
kumount k

# ---- a block device of its own ----
device=$(losetup -f --show a.img)
trap 'losetup -d "$device"; at_exit' EXIT
mount_kfs "$device" b
expect_eq "$(cat b/works)" still
expect_failure mount -t ext4 "$device" k 2>/dev/null
echo device >b/file
umount_kfs b
fsck_clean a.img
[ "$sum" != "$(sha256sum <a.img)" ] || fail "nothing was written through the device"

# ---- two images side by side ----
mkimage b.img 32M
losetup -d "$device"
trap at_exit EXIT
mount_kfs a.img a
mount_kfs b.img b
echo a >a/who
echo b >b/who
expect_eq "$(cat a/who b/who)" "$(printf 'a\nb')"
expect_eq "$(stat -c %d a)" "$(stat -c %d a/who)"
[ "$(stat -c %d a)" != "$(stat -c %d b)" ] || fail "two mounts have one device number"
umount_kfs a
umount_kfs b
fsck_clean a.img
fsck_clean b.img

# umount(8) returns before the loop device of a kernel mount is gone: a mount right after it waits for that.
mkimage loop.img 32M
for _ in 1 2 3 4 5 6 7 8; do
	kmount loop.img k
	kumount k
	mount_kfs loop.img m
	umount_kfs m
done
fsck_clean loop.img
