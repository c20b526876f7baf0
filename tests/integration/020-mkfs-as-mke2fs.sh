#!/usr/bin/env bash
# The same words and sizes give the superblock that mke2fs makes with its stock configuration: features, geometry,
# counts of free blocks and inodes, policies. e2fsck finds nothing to say about any of them.
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs dumpe2fs e2fsck

# mke2fs.conf as e2fsprogs ships it since 1.47.1; Debian 12's leaves out the two newest features.
cat >mke2fs.conf <<'END'
[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext3 = {
		features = has_journal
	}
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,metadata_csum_seed,64bit,dir_nlink,extra_isize,orphan_file
	}
	small = {
		blocksize = 1024
		inode_ratio = 4096
	}
	floppy = {
		blocksize = 1024
		inode_ratio = 8192
	}
	big = {
		inode_ratio = 32768
	}
	huge = {
		inode_ratio = 65536
	}
END
export MKE2FS_CONFIG=$PWD/mke2fs.conf SOURCE_DATE_EPOCH=1700000000 E2FSPROGS_FAKE_TIME=1700000000
SEED=hash_seed=22345678-1234-1234-1234-123456789abc
SAME=(-U 12345678-1234-1234-1234-123456789abc)

truncate -s 8M probe.img
mke2fs -q -F -t ext4 probe.img 2>/dev/null || skip "this mke2fs does not know the newest features"

# What neither depends on the clock nor counts what was written.
superblock() {
	dumpe2fs -h "$1" 2>/dev/null | grep -Ev '^(Lifetime writes|Checksum|Last write time|Filesystem created|Last checked)'
}

# same SIZE [-t TYPE] [words]: made twice and compared
same() {
	local size=$1 type=ext4 extended=$SEED
	shift
	if [ "${1:-}" = -t ]; then
		type=$2
		shift 2
	fi
	if [ "${1:-}" = -E ]; then
		extended=$SEED,$2
		shift 2
	fi
	rm -f ours.img theirs.img
	truncate -s "$size" theirs.img
	mke2fs -q -F -t "$type" "${SAME[@]}" -E "$extended" "$@" theirs.img "$size" >/dev/null 2>&1 ||
		fail "mke2fs $size -t $type $*"
	mkfs.kfs -q -t "$type" "${SAME[@]}" -E "$extended" "$@" ours.img "$size" || fail "mkfs.kfs $size -t $type $*"
	fsck_clean ours.img
	superblock theirs.img >theirs.txt
	superblock ours.img >ours.txt
	[ -s theirs.txt ] || fail "dumpe2fs says nothing"
	diff ours.txt theirs.txt || fail "size $size -t $type $* (-E $extended)"
}

for size in 2M 3M 8M 64M 100M 129M 500M 511M 512M 1G 3G 5G 40G 200G; do
	same "$size"
done
for size in 40M 700M; do
	for bytes in 1024 2048 4096; do same "$size" -b "$bytes"; done
	same "$size" -t ext2
	same "$size" -t ext3 -b 4096
	same "$size" -t ext2 -I 128 -b 1024
	same "$size" -I 128
	same "$size" -I 512 -i 8192
	same "$size" -N 5000 -m 1.5
	same "$size" -m 0 -L label -M /mnt/there -e remount-ro
	same "$size" -J size=8
	same "$size" -G 4
	same "$size" -g 4096
	same "$size" -E lazy_itable_init=0
	same "$size" -E stride=4,stripe_width=8
	same "$size" -E root_owner=3:4
	for features in ^has_journal ^metadata_csum ^metadata_csum,uninit_bg ^metadata_csum,^64bit ^extent,^64bit \
		^resize_inode meta_bg,^resize_inode ^flex_bg ^flex_bg,^resize_inode,meta_bg ^sparse_super,^resize_inode \
		sparse_super2 large_dir ea_inode ^filetype ^dir_index ^orphan_file ^huge_file ^large_file ^ext_attr \
		^extra_isize none; do
		same "$size" -O "$features"
	done
done
same 40M -E num_backup_sb=1 -O sparse_super2
same 40M -E num_backup_sb=0 -O sparse_super2

# These are ours alone: mke2fs puts the root into its inode, and names its own image in the mmp block.
for features in inline_data mmp mmp,^metadata_csum; do
	rm -f ours.img
	mkfs.kfs -q -O "$features" ours.img 40M
	fsck_clean ours.img
done

# The same words and the same clock give the same bytes.
for image in a.img b.img; do mkfs.kfs -q "${SAME[@]}" -E "$SEED" "$image" 40M; done
cmp a.img b.img || fail "two images from the same input differ"
echo ok
