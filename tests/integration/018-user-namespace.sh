#!/usr/bin/env bash
# A mount inside a user namespace: somebody who is root only there mounts with mount(2), uses it, unmounts it.
. "$(dirname "$0")/../lib/lib.sh"
need unshare debugfs
[ -r /dev/fuse ] || skip "no /dev/fuse"
unshare -Urm true 2>/dev/null || skip "no user namespaces for this user"

SCRATCH=$SCRATCH/in unshare -Urm --propagation private bash -c '
	. "$1"
	mkimage a.img 32M
	mount_kfs a.img m
	echo inside >m/file
	mkdir m/dir
	expect_eq "$(stat -c %u m/file)" 0 "owner inside"
	expect_eq "$(cat m/file)" inside
	if mknod m/null c 1 3 2>/dev/null; then fail "a device node in a user namespace"; fi
	remount_kfs a.img m
	expect_eq "$(cat m/file)" inside "file after a remount"
	umount_kfs m
	fsck_clean a.img
' sh "$LIB/lib.sh"
expect_eq "$(debugfs -R 'cat /file' in/a.img 2>/dev/null)" inside "file written inside"
