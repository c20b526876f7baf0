#!/usr/bin/env bash
# What POSIX and Linux promise about names and attributes (tests/posix), on kernel ext4 first, as the judge of the checks
# themselves, then on kfs, in both profiles that are built.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
need python3
chmod 755 .

mkimage_e2 ext4.img 256M -b 4096
kmount ext4.img ext4
python3 "$TOP/tests/posix/run.py" ext4 || fail "kernel ext4 does not pass: the checks are wrong"
kumount ext4
for profile in off on; do
	mkimage img 256M -b 4096
	mount_kfs img m -o "share=$profile"
	words=$([ "$profile" = on ] || echo no-open-messages)
	python3 "$TOP/tests/posix/run.py" m "$words" || fail "share=$profile"
	umount_kfs m
	fsck_clean img
done
