#!/usr/bin/env bash
# The tools that the other scripts trust, on the kernel's ext4: the walker sees every kind of change, same_tree fails
# on it, fsck_clean fails on a damaged image. A tool that overlooks something would let every other test pass.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
need setfattr setfacl

mkimage_e2 a.img 32M -b 1024
kmount a.img a user_xattr,acl
echo one >a/file
ln a/file a/other
ln -s file a/link
mkdir a/dir
mknod a/dir/null c 1 3
setfattr -n user.colour -v red a/file
setfacl -m u:1234:r a/file
touch -d '2001-02-03 04:05:06.123456789' a/file

kwalk a >before.txt
grep -q 'mtime=981173106.123456789' before.txt || fail "nanoseconds are not in the walk"
grep -q 'dev=1:3' before.txt || fail "the device number is not in the walk"
grep -q 'system.posix_acl_access=' before.txt || fail "the ACL is not in the walk"
grep -q 'user.colour=726564' before.txt || fail "the attribute is not in the walk"
grep -q 'link .*-> file' before.txt || fail "the link's target is not in the walk"
same_tree before.txt a

# changes WHAT COMMAND…: after it the trees differ
changes() {
	local what=$1
	shift
	kwalk a >before.txt
	"$@"
	if (same_tree before.txt a) 2>/dev/null; then fail "the walk does not see: $what"; fi
}
contents() { # same size, same time
	echo two >a/file
	touch -d '2001-02-03 04:05:06.123456789' a/file
}
changes contents contents
changes mode chmod 4711 a/file
changes owner chown 5:6 a/file
changes time touch -d '2001-02-03 04:05:06.123456788' a/file
changes attribute setfattr -n user.colour -v blue a/file
changes acl setfacl -m u:1234:rw a/file
changes link rm a/other
changes target ln -sfn other a/link
changes name mv a/dir/null a/dir/nil
same_tree a a

kumount a
fsck_clean a.img
# The inode bitmap of group 0 says that a used inode is free.
block=$(dumpe2fs a.img 2>/dev/null | sed -n 's/.*Inode bitmap at \([0-9]*\).*/\1/p' | head -n 1)
dd if=/dev/zero of=a.img bs=1024 seek="$block" count=1 conv=notrunc status=none
if (fsck_clean a.img) >/dev/null 2>&1; then fail "fsck_clean does not see a damaged bitmap"; fi
