#!/usr/bin/env bash
# A mount made by root behaves as a kernel mount: all users, permissions by the kernel, set-user-id programs, device
# nodes, programs; nosuid, nodev and noexec take that away.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need setpriv
chmod 755 "$SCRATCH"
as_user test -x "$SCRATCH" || skip "ordinary users cannot reach $SCRATCH"

mkimage a.img 64M
mount_kfs a.img a
cp "$(command -v id)" a/id
chmod 4755 a/id
mknod -m 666 a/zero c 1 5
mkdir -m 1777 a/tmp
mkdir -m 700 a/private
echo secret >a/private/file
install -m 640 -g 65534 /dev/null a/group
echo group >a/group

expect_eq "$(as_user a/id -u)" 0 "user of a set-user-id program"
expect_eq "$(head -c 4 a/zero | od -An -tx1)" " 00 00 00 00" "device node"
expect_eq "$(as_user cat a/group)" group
expect_failure as_user cat a/private/file 2>/dev/null
# shellcheck disable=SC2016 # expanded by the inner shell
expect_failure as_user sh -c 'echo x >>"$1"' sh a/group 2>/dev/null
# shellcheck disable=SC2016
as_user sh -c 'echo mine >"$1"' sh a/tmp/file
expect_eq "$(stat -c %u a/tmp/file)" 65534
expect_failure as_id 1000 1000 rm -f a/tmp/file 2>/dev/null # sticky
# Writing takes the set-user-id bit away, as it does on ext4; root keeps it.
cp a/id a/victim
chown 65534:65534 a/victim
chmod 6755 a/victim
# shellcheck disable=SC2016
as_user sh -c 'echo x >>"$1"' sh a/victim
expect_eq "$(stat -c %a a/victim)" 755 "mode after a write by its owner"

remount_kfs a.img a -o nosuid,nodev
expect_eq "$(as_user a/id -u)" 65534 "user of a set-user-id program under nosuid"
expect_failure head -c 4 a/zero 2>/dev/null
remount_kfs a.img a -o noexec
if a/id 2>/dev/null; then fail "executed under noexec"; fi
expect_eq "$(cat a/private/file)" secret
umount_kfs a
fsck_clean a.img
