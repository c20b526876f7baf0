#!/usr/bin/env bash
# FITRIM gives the image's space back.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need fstrim

mkimage a.img 64M
mount_kfs a.img a
head -c 30M /dev/urandom >a/big
sync a/big
rm a/big
sync a
before=$(stat -c %b a.img)
fstrim a
after=$(stat -c %b a.img)
[ "$after" -lt "$((before - 40000))" ] || fail "the image has $after of $before blocks after fstrim"
umount_kfs a
fsck_clean a.img
