#!/usr/bin/env bash
# offset=: a filesystem inside a larger file, as in a partition; nothing outside it is touched.
. "$(dirname "$0")/../lib/lib.sh"
need_root

mkimage part.img 32M
head -c 1M /dev/urandom >head.bin
head -c 1M /dev/urandom >tail.bin
cat head.bin part.img tail.bin >disk.img
expect_status 32 kfs disk.img nowhere 2>/dev/null
mkdir -p a
expect_status 32 kfs disk.img a 2>error.txt
grep -q 'not an ext4 filesystem.*offset=' error.txt || fail "$(cat error.txt)"
mount_kfs disk.img a -o offset=1M
cp -a "$TOP/tests" a/
kwalk a >live.txt
umount_kfs a
mount_kfs disk.img a -o offset=1048576,ro
same_tree live.txt a
umount_kfs a
cmp -n 1048576 head.bin disk.img || fail "bytes before the filesystem changed"
tail -c 1048576 disk.img | cmp - tail.bin || fail "bytes after the filesystem changed"
dd if=disk.img of=out.img bs=1M skip=1 count=32 status=none
fsck_clean out.img
