#!/usr/bin/env bash
# timeout: 900
# Images of mke2fs over block size x features. The kernel fills the image; kfs shows the same tree, changes it; after
# the unmount e2fsck is silent and the kernel shows what kfs showed; then the kernel changes it and kfs reads that.
# What kfs does not write is mounted read-only, and said so; what cannot be read is refused by name.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
OPS=${OPS:-350} BLOCK_SIZES=${BLOCK_SIZES:-1024 2048 4096}
WALK="--no-times --no-dir-size"

# shellcheck disable=SC2086 # WALK is several words
see_same() { # DIR WALKED
	same_tree "$2" "$1" $WALK
}

writable() { # NAME mke2fs words…
	local name=$1
	shift
	echo "writable: $name: $*"
	mkimage_e2 img 64M "$@"
	kmount img k nodev
	mkdir k/a
	"$TOOLS/fschurn" k/a 11 "$OPS" xattr special >/dev/null
	# shellcheck disable=SC2086
	kwalk k $WALK >by-kernel.txt
	kumount k
	mount_kfs img m
	see_same m by-kernel.txt
	mkdir m/b
	"$TOOLS/fschurn" m/a 12 "$OPS" xattr special >/dev/null
	"$TOOLS/fschurn" m/b 13 "$OPS" xattr special >/dev/null
	# shellcheck disable=SC2086
	kwalk m $WALK >by-kfs.txt
	umount_kfs m
	fsck_clean img
	kmount img k nodev
	see_same k by-kfs.txt
	if [ "$name" = nofiletype ]; then
		kumount k
		return
	fi
	"$TOOLS/fschurn" k/b 14 "$OPS" xattr special >/dev/null
	# shellcheck disable=SC2086
	kwalk k $WALK >by-kernel.txt
	kumount k
	mount_kfs img m
	see_same m by-kernel.txt
	umount_kfs m
	fsck_clean img
}

readonly_said() { # NAME FEATURE mke2fs words…
	local name=$1 feature=$2
	shift 2
	echo "read-only: $name: $*"
	mkimage_e2 img 64M "$@"
	if kmount img k 2>/dev/null; then
		mkdir k/a
		"$TOOLS/fschurn" k/a 11 "$OPS" >/dev/null
		# shellcheck disable=SC2086
		kwalk k $WALK >by-kernel.txt
		kumount k
	else
		forget_mount "$SCRATCH/k"
		: >by-kernel.txt
	fi
	md5sum img >before
	mount_kfs img m 2>said.txt
	grep -qi "read-only" said.txt kfs-m.log || fail "$name: read-only was not said"
	grep -q "$feature" said.txt kfs-m.log || fail "$name: $feature was not named"
	expect_failure touch m/new 2>/dev/null
	if [ -s by-kernel.txt ]; then see_same m by-kernel.txt; fi
	umount_kfs m
	md5sum -c --quiet before || fail "$name: a read-only mount wrote"
}

for bs in $BLOCK_SIZES; do
	writable "ext2-$bs" -t ext2 -b "$bs"
	writable "ext3-$bs" -t ext3 -b "$bs"
	writable "ext4-$bs" -b "$bs"
	writable "ext4-orphan_file-$bs" -b "$bs" -O orphan_file,metadata_csum_seed
	writable "no64bit-$bs" -b "$bs" -O ^64bit
	writable "nocsum-$bs" -b "$bs" -O ^metadata_csum
	writable "uninit-$bs" -b "$bs" -O ^metadata_csum,uninit_bg,^64bit
	writable "inline-$bs" -b "$bs" -O inline_data
	writable "large_dir-$bs" -b "$bs" -O large_dir
	writable "ea_inode-$bs" -b "$bs" -O ea_inode
	writable "meta_bg-$bs" -b "$bs" -O meta_bg,^resize_inode
	writable "sparse_super2-$bs" -b "$bs" -O sparse_super2
	writable "nojournal-$bs" -b "$bs" -O ^has_journal
	writable "inode128-$bs" -b "$bs" -I 128
done
# The kernel does not clear a directory block that it takes over from a freed one, and without file types e2fsck
# complains of the bytes left there: here the kernel only reads.
writable nofiletype -t ext2 -O ^filetype,^dir_index
writable noflex -O ^flex_bg
readonly_said bigalloc bigalloc -O bigalloc
readonly_said casefold casefold -O casefold
readonly_said encrypt encrypt -O encrypt
