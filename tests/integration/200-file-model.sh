#!/usr/bin/env bash
# timeout: 300
# Random operations on files against a model in memory (mappings, O_DIRECT, O_APPEND, holes, seeks), in both profiles
# and without the writeback cache, two files at a time; then e2fsck, and the kernel reads the same bytes.
# SEEDS and OPS make it longer.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
SEEDS=${SEEDS:-1 2 3 4} OPS=${OPS:-1200}

for words in share=off share=on nowriteback "share=off,clone_fd,max_threads=3"; do
	mkimage a.img 96M
	mount_kfs a.img a -o "$words"
	pids=()
	for seed in $SEEDS; do
		"$TOOLS/filemodel" "a/$seed" "$seed" "$OPS" &
		pids+=($!)
		if [ "${#pids[@]}" -eq 2 ]; then
			for pid in "${pids[@]}"; do wait "$pid" || fail "filemodel on $words: seed one of $SEEDS"; done
			pids=()
		fi
	done
	for pid in "${pids[@]}"; do wait "$pid" || fail "filemodel on $words"; done
	(cd a && sha256sum ./[0-9]*) >sums.txt
	umount_kfs a
	fsck_clean a.img
	kmount a.img k ro
	(cd k && sha256sum --quiet -c ../sums.txt) || fail "the kernel reads other bytes ($words)"
	kumount k
done
