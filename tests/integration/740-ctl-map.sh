#!/usr/bin/env bash
# kfsctl map says what debugfs finds in the image: contiguous, sparse, unwritten, inline and very fragmented files.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq debugfs python3
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

mkimage a.img 128M -b 4096
mount_kfs a.img a

dd if=/dev/zero of=a/plain bs=4k count=100 status=none
truncate -s 10M a/hole
printf x | dd of=a/hole bs=4k seek=500 conv=notrunc status=none
fallocate -l 64k a/prealloc
: >a/empty
ln -s plain a/short
# Every second block: more extents than fit in one reply.
python3 - a/pieces <<-'PY'
	import os, sys
	fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
	for i in range(6000):
	    os.pwrite(fd, b"x", i * 8192)
	os.close(fd)
PY

for name in plain hole prealloc empty pieces; do
	kfsctl map --json "a/$name" >"$name.json"
done
expect_eq "$(jq -r '"\(.size_bytes) \(.block_bytes) \(.mapping)"' plain.json)" "409600 4096 extents" "plain file"
expect_eq "$(jq '[.extents[].blocks] | add' plain.json)" 100 "blocks of the plain file"
expect_eq "$(jq -c '[.extents[] | [.lblk, .blocks]]' hole.json)" '[[500,1]]' "extents of the sparse file"
expect_eq "$(jq '.extents | length > 0 and all(.unwritten)' prealloc.json)" true "unwritten extents"
expect_eq "$(jq '.extents | length' empty.json)" 0 "extents of an empty file"
expect_eq "$(jq '.extents | length' pieces.json)" 6000 "extents of the fragmented file"
expect_eq "$(jq -c '[.extents[].lblk] == [range(0; 12000; 2)]' pieces.json)" true "their places"
expect_eq "$(jq .ino plain.json)" "$(stat -c %i a/plain)" "inode number"
expect_eq "$(kfsctl map --json a/short | jq .ino)" "$(stat -c %i a/plain)" "a link is followed"
expect_eq "$(cd a && kfsctl map --json plain | jq .ino)" "$(stat -c %i a/plain)" "a relative name"
kfsctl map a >/dev/null

kfsctl map a/hole >hole.txt
grep -Eq '^ +0: +500\.\. +500: +[0-9]+\.\. +[0-9]+: +1: +: last$' hole.txt || fail "$(cat hole.txt)"
grep -qx '1 extent, 1 contiguous run' hole.txt || fail "$(cat hole.txt)"

expect_status 1 kfsctl map /etc/passwd 2>error.txt
grep -q 'is not on a kfs mount' error.txt || fail "$(cat error.txt)"
expect_status 1 kfsctl map a/absent 2>error.txt
grep -q '^kfsctl: a/absent: No such file' error.txt || fail "$(cat error.txt)"

umount_kfs a
# Both as "first-last in the file, first-last in the image, length"; debugfs lists "LEVEL ENTRIES a - b c - d LENGTH FLAGS".
for name in plain hole prealloc pieces; do
	jq -r '.extents[] | "\(.lblk) \(.lblk + .blocks - 1) \(.pblk) \(.pblk + .blocks - 1) \(.blocks)"' "$name.json" >got.txt
	debugfs -R "ex -l $name" a.img 2>/dev/null |
		sed -nE 's|^.*/ *[0-9]+ +([0-9]+) - +([0-9]+) +([0-9]+) - +([0-9]+) +([0-9]+).*|\1 \2 \3 \4 \5|p' >want.txt
	cmp got.txt want.txt || fail "$name: debugfs sees other extents"
done
fsck_clean a.img
