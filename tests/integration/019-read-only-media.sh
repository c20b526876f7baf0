#!/usr/bin/env bash
# ro, norecovery, media that cannot be written: nothing is written, a needed replay is done or refused by name.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need losetup

mkimage a.img 32M
mount_kfs a.img a
mkdir a/dir
echo one >a/dir/file
umount_kfs a
sum=$(sha256sum <a.img)

# ---- a write-protected device: refused with the remedy, then ro ----
device=$(losetup -r -f --show a.img)
trap 'losetup -d "$device"; at_exit' EXIT
expect_status 32 kfs "$device" a 2>error.txt
grep -q "^kfs: $device: Read-only file system: mount it with -o ro$" error.txt || fail "$(cat error.txt)"
mount_kfs "$device" a -o ro
expect_eq "$(cat a/dir/file)" one
umount_kfs a
losetup -d "$device"
trap at_exit EXIT
expect_eq "$(sha256sum <a.img)" "$sum" "image after a read-only device"

# ---- dirty journal: ro replays where it can be written, and says what to do where it cannot ----
cp a.img dirty.img
mount_kfs dirty.img a
echo two >a/dir/second
sync a/dir/second
pid=$(kfs_pids "$SCRATCH/a")
kill -KILL "$pid"
eventually 10 all_gone "$pid" || fail "not killed"
umount -i a
forget_mount "$SCRATCH/a"
sum=$(sha256sum <dirty.img)
device=$(losetup -r -f --show dirty.img)
trap 'losetup -d "$device"; at_exit' EXIT
expect_status 32 kfs "$device" a -o ro 2>error.txt
grep -q 'must be replayed.*norecovery' error.txt || fail "$(cat error.txt)"
mount_kfs "$device" a -o ro,norecovery
test -d a/dir
umount_kfs a
losetup -d "$device"
trap at_exit EXIT
mount_kfs dirty.img a -o norecovery
expect_failure touch a/new 2>/dev/null
umount_kfs a
expect_eq "$(sha256sum <dirty.img)" "$sum" "image after norecovery"
mount_kfs dirty.img a -o ro
expect_eq "$(cat a/dir/second)" two "file after the replay"
expect_failure touch a/new 2>/dev/null
umount_kfs a
fsck_clean dirty.img
