#!/usr/bin/env bash
# bases.sh DIR: the images that inputs of the fuzzers edit, made by e2fsprogs and always the same bytes: identifiers, hash
# seed and clock are given. An input names places of them, so what changes here makes saved inputs mean something else.

set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C E2FSPROGS_FAKE_TIME=1700000000
unset E2FSCK_CONFIG DEBUGFS_PAGER PAGER
DIR=${1:?usage: bases.sh DIR}
UUID=01234567-89ab-cdef-0123-456789abcdef
mkdir -p "$DIR"
work=$(mktemp -d "$DIR/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Not the host's taste: everything is said in the options below.
export MKE2FS_CONFIG=$work/mke2fs.conf
{
	echo '[fs_types]'
	printf '\t%s = {\n\t\thash_alg = half_md4\n\t}\n' ext2 ext3 ext4 floppy small
} >"$MKE2FS_CONFIG"

seq -s ' ' 1 20000 >"$work/numbers"
head -c 90000 "$work/numbers" >"$work/text"
head -c 40 "$work/text" >"$work/small"
head -c 120 "$work/text" >"$work/medium"
head -c 700 "$work/text" >"$work/value"
head -c 3000 "$work/text" >"$work/value-large"
long=$(printf 'n%.0s' {1..200})

make_image() { # NAME SIZE OPTION…: empty
	local image=$work/image size=$2
	name=$1
	shift 2
	rm -f "$image"
	mke2fs -q -F -U $UUID -E "hash_seed=$UUID,lazy_itable_init=0,root_owner=0:0,nodiscard" -N 96 "$@" "$image" "$size" >/dev/null
}

change() { # debugfs commands from stdin
	cat >"$work/commands"
	debugfs -w -f "$work/commands" "$work/image" >"$work/debugfs.log" 2>&1
	# debugfs exits 0 whatever happens: an unknown command would leave a poorer image behind.
	if grep -qE 'Unknown request|Usage:|not found|No free|Could not' "$work/debugfs.log"; then
		cat "$work/debugfs.log" >&2
		exit 1
	fi
}

tree() { # NAMES: files, directories, links, attributes; commands for change
	cat <<-COMMANDS
		cd /
		write $work/small small
		write $work/medium medium
		write $work/text text
		mkdir dir
		mkdir dir/sub
		write $work/small dir/sub/file
		symlink fast target
		symlink slow /a/rather/long/target/that/does/not/fit/into/the/inode/because/it/is/longer/than/sixty/bytes
		mknod fifo p
		mknod device c 4 5
		ea_set small user.short value
		ea_set text user.value -f $work/value
		ea_set text trusted.t 1
		ea_set dir security.selinux label
		mkdir many
	COMMANDS
	local i
	for ((i = 0; i < $1; i += 4)); do echo "expand_dir many"; done
	for ((i = 0; i < $1; i++)); do echo "ln <$inode_small> many/$long$i"; done
}

sparse() { # a file whose few blocks hang from every level of a block map
	cp "$work/small" "$work/sparse"
	printf x | dd of="$work/sparse" bs=1k seek=300 conv=notrunc status=none
	printf x | dd of="$work/sparse" bs=1k seek=65900 conv=notrunc status=none
	echo "write $work/sparse sparse"
}

fragment() { # a file of many extents
	local i
	echo "write $work/text holes"
	for ((i = 1; i < 87; i += 2)); do echo "punch holes $i $i"; done
}

# The entries made by ln are not counted, and no directory has an index yet: e2fsck mends both.
finish() {
	local status=0
	e2fsck -fyD "$work/image" >"$work/e2fsck.log" 2>&1 || status=$?
	if [ "$status" -gt 1 ]; then
		cat "$work/e2fsck.log" >&2
		exit 1
	fi
	if [ "$#" -gt 0 ]; then printf '%s\n' "$@" | change; fi
	mv -f "$work/image" "$DIR/$name.img"
}

inode_small=12
make_image ext2 1M -t ext2 -b 1024 -I 128 -O none,filetype,ext_attr,sparse_super
{ tree 20; sparse; } | change
finish

# Three groups, block maps, an index, descriptors with the older checksum, an orphan that recovery deletes.
make_image ext3 3M -t ext3 -b 1024 -g 1024 -J size=1 -O none,has_journal,ext_attr,dir_index,filetype,uninit_bg,sparse_super
{ tree 20; echo "write $work/text gone"; sparse; } | change
finish 'unlink gone' 'sif <23> links_count 0' 'ssv last_orphan 23'

# What mke2fs makes today; the index has two levels.
make_image ext4 3M -t ext4 -b 1024 -I 256 -J size=1 \
	-O none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum
{ tree 520; fragment; } | change
finish

# Newer features; contents inside the inode, values in inodes of their own.
inode_small=13
make_image inline 3M -t ext4 -b 1024 -I 256 -J size=1 \
	-O none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,metadata_csum_seed,inline_data,ea_inode,orphan_file,large_dir
{ tree 20; echo "ea_set medium user.large -f $work/value-large"; } | change
finish

# Larger blocks, no journal, groups without a flex group, meta_bg, mmp.
inode_small=12
make_image block4k 2M -t ext4 -b 4096 -I 256 -g 256 \
	-O none,ext_attr,dir_index,filetype,extent,meta_bg,sparse_super,large_file,extra_isize,metadata_csum
{ tree 40; fragment; } | change
finish
