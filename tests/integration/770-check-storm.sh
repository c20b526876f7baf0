#!/usr/bin/env bash
# timeout: 300
# Checks in a loop while everything changes: fschurn, renames, deletions of open files, truncation, a full image, freeze.
# None may find anything, on any kind of image; e2fsck agrees at the end. STORM_SECONDS makes it longer.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need mke2fs e2fsck
STORM_SECONDS=${STORM_SECONDS:-3}
checks=0

churn() { # DIR SEED
	while [ ! -e stop ]; do
		rm -rf "$1"
		mkdir "$1"
		"$TOOLS/fschurn" "$1" "$2" 400 xattr special >/dev/null || :
	done
}

# Deep trees made, moved and removed; files deleted and truncated while open.
trees() {
	local n=0
	while [ ! -e stop ]; do
		n=$((n + 1))
		mkdir -p "mnt/t/$((n % 3))/a/b" "mnt/t/x$n" || :
		for name in a b c d e f g h i j; do echo "$n" >"mnt/t/x$n/a-rather-long-name-to-fill-a-block-$name" || :; done
		mv "mnt/t/x$n" "mnt/t/$((n % 3))/a/b/" || :
		exec 5>>"mnt/t/open" || :
		dd if=/dev/zero of=mnt/t/open bs=64k count=8 status=none || :
		rm -f mnt/t/open
		exec 5>&- || :
		truncate -s 3M mnt/t/size || :
		truncate -s 5000 mnt/t/size || :
		fallocate -l 300k mnt/t/size || :
		fallocate -p -o 8192 -l 100k mnt/t/size || :
		[ $((n % 8)) -ne 0 ] || rm -rf "mnt/t/$((n % 3))"
	done 2>/dev/null
}

# Until nothing is left, then free again.
full() {
	while [ ! -e stop ]; do
		fallocate -l 20M mnt/full || :
		dd if=/dev/zero of=mnt/full2 bs=128k status=none || :
		for n in 1 2 3 4 5 6 7 8; do echo x >"mnt/none$n" || :; done
		rm -f mnt/full* mnt/none*
		kfsctl sync mnt || :
	done 2>/dev/null
}

freezes() {
	while [ ! -e stop ]; do
		kfsctl freeze mnt && kfsctl thaw mnt
		sleep 0.3
	done >/dev/null 2>&1 || :
}

storm() { # words for mke2fs
	local end pids=() pid
	rm -f stop
	mkimage_e2 img 32M "$@"
	mount_kfs img mnt
	mkdir mnt/t
	churn mnt/c 11 & pids+=($!)
	trees & pids+=($!)
	full & pids+=($!)
	freezes & pids+=($!)
	end=$((SECONDS + STORM_SECONDS))
	while [ "$SECONDS" -lt "$end" ]; do
		kfsctl check mnt >check.log 2>&1 || {
			cat check.log >&2
			: >stop
			wait
			fail "a check of a sound image ($*) found something"
		}
		checks=$((checks + 1))
	done
	: >stop
	echo "$checks checks so far, after $*"
	for pid in "${pids[@]}"; do wait "$pid" || :; done
	expect_status 0 kfsctl check mnt >check.log
	umount_kfs mnt
	fsck_clean img
}

storm
storm -b 1024
storm -O inline_data,ea_inode,orphan_file -I 256
storm -t ext2 -b 1024 -I 128
storm -t ext3
storm -b 1024 -O meta_bg,^resize_inode,uninit_bg,^metadata_csum
echo "$checks checks"
