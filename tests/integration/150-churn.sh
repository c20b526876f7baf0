#!/usr/bin/env bash
# timeout: 600
# The same seeded operations on kfs and on kernel ext4: every result and both trees are equal; after an unmount e2fsck
# is silent and the kernel sees in kfs's image what kfs showed. SEEDS and OPS make it longer.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
OPS=${OPS:-4000}

churn() { # SEEDS FEATURES… : words for mke2fs
	local seeds=${SEEDS:-$1} seed where
	shift
	mkimage_e2 kfs.img 256M "$@"
	mkimage_e2 ext4.img 256M "$@"
	kmount ext4.img ext4 nodev
	for seed in $seeds; do
		mount_kfs kfs.img kfs -o nodev
		mkdir "kfs/$seed" "ext4/$seed"
		for where in kfs ext4; do
			"$TOOLS/fschurn" "$where/$seed" "$seed" "$OPS" xattr special >"$where.log"
		done
		cmp kfs.log ext4.log || {
			diff kfs.log ext4.log | head -n 20 >&2
			fail "seed $seed on $* differs"
		}
		kwalk kfs --no-times --no-dir-size >live.txt
		same_tree live.txt ext4 --no-times --no-dir-size
		umount_kfs kfs
		fsck_clean kfs.img
		kmount kfs.img seen ro
		same_tree live.txt seen --no-times --no-dir-size
		kumount seen
	done
	kumount ext4
}

churn "1 2 3"
churn "4 5" -b 1024
churn 6 -O inline_data
churn 7 -t ext3
churn 8 -t ext2 -I 128
