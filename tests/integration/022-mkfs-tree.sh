#!/usr/bin/env bash
# -d: a tree of everything ext4 can hold, copied into each form of filesystem; the kernel sees the same tree, and can
# go on working in it.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
need setfattr setfacl python3

mkdir -p src/lost+found src/deep src/subs src/many
cd src
echo hello >file
ln file other
ln -s file link
for length in 59 60 1000; do ln -s "$(head -c "$length" /dev/zero | tr '\0' y)" "link-$length"; done
mknod null c 1 3
mknod wide b 300 70000
mkfifo pipe
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")'
truncate -s 3M sparse
printf x | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
dd if=/dev/urandom of=data bs=1M count=3 status=none
python3 - <<'END'
import os
with open("torn", "wb") as f:
    for i in range(900):
        f.seek(i * 16384)
        f.write(b"%d" % i)
for i in range(3000):
    with open("many/n%d_" % i + "z" * (i % 200), "w") as f:
        f.write(str(i))
open("n" * 255, "w").close()
END
for number in $(seq 100); do mkdir "subs/$number"; done
path=deep
for _ in $(seq 150); do path=$path/0123456789; done
mkdir -p "$path"
setfattr -n user.short -v 1 file
setfattr -n user.long -v "$(head -c 300 /dev/zero | tr '\0' v)" file
setfattr -n user.empty file
setfattr -h -n trusted.link -v there link
setfattr -n trusted.device -v there null
setfattr -n user.found -v there lost+found
setfacl -m u:1234:r,g:55:rwx,d:u:7:x deep
setfacl -m u:77:rw file
chmod 4755 file
chmod 1777 deep
chown -h 70000:80000 link file
touch -d '2001-02-03 04:05:06.123456789' file
touch -d 1955-01-01 pipe
touch -d 2300-05-05 null
touch -h -d 1999-09-09 link
cd ..

# The top directory is not compared: it has the mode and owner that -E says, and the time of formatting.
walk() {
	kwalk "$1" --no-dir-size | grep -v '^\. '
}

# copied TREE [words]: the image holds the tree; the kernel can change it
copied() {
	local tree=$1
	shift
	rm -f image.img
	mkfs.kfs -q -d "$tree" "$@" image.img 100M
	fsck_clean image.img
	kmount image.img mnt
	walk "$tree" >wanted.txt
	walk mnt >got.txt
	diff got.txt wanted.txt | head -n 20
	cmp -s got.txt wanted.txt || fail "$* changes the tree"
	expect_eq "$(stat -c '%a %u %g' mnt)" '755 0 0' 'the top directory'
	[ "$(stat -c %b mnt/sparse)" -lt 64 ] || fail "a hole was filled"
	(cd mnt/many && seq 500 | sed 's/^/new/' | xargs touch && rm -f n1*)
	rm -r mnt/subs mnt/torn
	kumount mnt
	fsck_clean image.img
}

copied src
copied src -b 1024 -I 512
copied src -b 2048 -O inline_data,large_dir
copied src -O ^flex_bg
copied src -O ^resize_inode,meta_bg
copied src -O ^dir_index
copied src -O ^metadata_csum
copied src -O ^metadata_csum,^has_journal
copied src -O ^filetype
copied src -b 1024 -O ^extent,^64bit
copied src -b 1024 -t ext3
setfattr -n user.large -v "$(head -c 3000 /dev/zero | tr '\0' w)" src/data
copied src -b 1024 -O ea_inode
copied src -b 2048 -O ea_inode
expect_failure mkfs.kfs -q -b 1024 -d src absent.img 100M 2>err.txt
grep -q '^mkfs.kfs: data: its attributes do not fit.*ea_inode' err.txt || fail "said '$(cat err.txt)'"
rm src/data

# Inodes of 128 bytes: no fractions of seconds, nothing after 2038, but all the rest.
cp -a src old
find old -exec touch -h -d 2001-02-03 {} +
copied old -I 128
copied old -t ext2 -I 128
expect_failure mkfs.kfs -q -b 1024 -d src absent.img 4M 2>/dev/null
[ ! -e absent.img ] || fail "a tree that does not fit left a file"

# Attributes can be left out; a target inside the tree does not eat itself.
rm -f image.img
mkfs.kfs -q -E no_copy_xattrs,root_owner=12:34,root_perms=1770 -d src image.img 100M
kmount image.img mnt
expect_eq "$(getfattr -d -m - mnt/file 2>/dev/null)" '' 'attributes'
expect_eq "$(stat -c '%a %u %g' mnt)" '1770 12 34' 'the top directory'
kumount mnt
cd src
mkfs.kfs -q -d . inside.img 50M 2>../err.txt
cd ..
fsck_clean src/inside.img
grep -q 'inside.img: is the target itself' err.txt || fail "the target in its own tree is not mentioned"
rm src/inside.img

# Directories of two and three levels of index; names of one file, since only names matter.
mkdir big big/d
python3 - <<'END'
import os
open("big/first", "w").close()
for i in range(48000):
    os.link("big/first", "big/d/%07d" % i + "x" * 220)
END
expect_failure mkfs.kfs -q -b 1024 -d big deep.img 100M 2>err.txt
grep -q 'large_dir' err.txt || fail "a directory too large: said '$(cat err.txt)'"
mkfs.kfs -q -b 1024 -O large_dir -d big deep.img 100M
fsck_clean deep.img
kmount deep.img mnt
expect_eq "$(find mnt/d -type f | wc -l)" 48000 'names in a large directory'
stat "mnt/d/0031234$(head -c 220 /dev/zero | tr '\0' x)" >/dev/null
expect_eq "$(stat -c %h mnt/first)" 48001 'links'
kumount mnt
echo ok
