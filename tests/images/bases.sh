#!/usr/bin/env bash
# Makes the images that the tables damage: bases.sh FOLDER [NAME…]; without names, all. Only e2fsprogs is asked, and in such a way that two
# runs give the same image: fixed uuid, hash seed and time, files made by debugfs.
#
# Each has a guard behind the filesystem, 64 KiB of 0xa5, that nobody may write to.

set -eu -o pipefail
OUT=$1
shift
mkdir -p "$OUT"
cd "$OUT"
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin" E2FSPROGS_FAKE_TIME=1700000000 MKE2FS_CONFIG=/dev/null
SEED=11111111-2222-3333-4444-555555555555
BLOCKS=8192

fail() {
	echo "bases: $*" >&2
	exit 1
}

run() { # COMMAND…: quiet unless it fails
	"$@" >run.log 2>&1 || { cat run.log >&2; fail "exit status $?: $*"; }
}

# pattern FILE BYTES SEED: text that differs from block to block
pattern() {
	awk -v n="$2" -v seed="$3" 'BEGIN {
		for (at = 0; at < n; at += 32)
			printf "%s", substr(sprintf("%-6s%025d\n", seed, at), 1, n - at)
	}' >"$1"
}

sources() {
	mkdir -p src
	pattern src/small 3000 s
	pattern src/middle 20000 m
	pattern src/large 300000 l
	pattern src/value 700 v
	pattern src/huge 5000 h
	printf 'a value in the inode' >src/short
	pattern src/short60 100 t
	# Every second block is a hole: an extent for each of the others.
	truncate -s 0 src/holes src/deep
	local i
	for ((i = 0; i < 200; i++)); do pattern src/one 1024 "h$i" && dd if=src/one of=src/holes bs=1024 seek=$((i * 2)) conv=notrunc status=none; done
	for ((i = 0; i < 700; i++)); do printf '%01024d' "$i" >src/one && dd if=src/one of=src/deep bs=1024 seek=$((i * 2)) conv=notrunc status=none; done
	: >src/empty
}

# The tree that every base holds. $1: the image; $2: "indexed" with large directories
fill() {
	local long i
	long=$(printf 'n%.0s' {1..240})
	{
		for i in keep keep/sub f d d/small d/small/sub d/small/sub/subsub d/other l x s; do echo "mkdir $i"; done
		echo "cd /keep"; echo "write src/middle one"; echo "write src/small grow"
		echo "symlink fast one"; echo "symlink slow $long"; echo "ea_set one user.kept -f src/short"
		echo "cd /keep/sub"; echo "write src/small two"
		echo "cd /f"
		for i in small large holes deep empty; do echo "write src/$i $i"; done
		echo "write src/small other"
		echo "cd /d/small"
		for i in a b c e; do echo "write src/small $i"; done
		echo "cd /l"; echo "symlink fast target"; echo "symlink slow $long"
		echo "cd /x"
		for i in inode block both one two; do echo "write src/small $i"; done
		echo "ea_set inode user.short -f src/short"
		echo "ea_set block user.value -f src/value"
		echo "ea_set both user.short -f src/short"; echo "ea_set both user.value -f src/value"
		echo "cd /s"; echo "mknod fifo p"; echo "mknod char c 1 3"; echo "mknod block b 7 0"
	} >script
	run debugfs -w -f script "$1"
	if grep -v '^debugfs' run.log | grep -v '^Allocated inode' | grep -q .; then
		cat run.log >&2
		fail "debugfs had something to say of $1"
	fi
	if [ "${2:-}" = indexed ]; then large_directories "$1" "$long"; fi
}

# d/big has one level of index, d/huge two.
large_directories() {
	local i
	{
		echo "mkdir d/big"; echo "mkdir d/huge"
		for ((i = 0; i < 200; i++)); do echo "expand d/huge"; done
		for ((i = 0; i < 6; i++)); do echo "expand d/big"; done
		for ((i = 0; i < 120; i++)); do echo "ln f/other d/big/name-$i-${2:0:60}"; done
		for ((i = 0; i < 560; i++)); do echo "ln f/other d/huge/name-$i-${2:0:230}"; done
		echo "sif f/other links_count 681"
	} >script
	run debugfs -w -f script "$1"
	# Packing the directories makes the index.
	e2fsck -fyD "$1" >run.log 2>&1 || [ $? -eq 1 ] || fail "$1: no index: $(cat run.log)"
}

# make NAME WORDS…: mke2fs with these words
make() {
	local name=$1
	shift
	rm -f "$name.img"
	truncate -s $((BLOCKS * 1024)) "$name.img"
	run mke2fs -q -F -t ext4 -b 1024 -g 4096 -N 512 -I 256 -U "$SEED" -E "hash_seed=$SEED,root_owner=0:0,lazy_itable_init=0,nodiscard${EXTENDED:+,$EXTENDED}" \
		"$@" "$name.img" "$BLOCKS"
}

# The judge must find nothing in what is damaged later.
done_with() {
	local status=0
	e2fsck -fn "$1.img" >run.log 2>&1 || status=$?
	[ "$status" -eq 0 ] || { cat run.log >&2; fail "$1: e2fsck exit status $status"; }
	guard "$1"
}

guard() {
	head -c 65536 /dev/zero | tr '\0' '\245' >>"$1.img"
}

JOURNAL=(-J size=1)
ALL=has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize

# Everything a file system of today has.
base_csum() {
	make csum -O "$ALL,metadata_csum,resize_inode" "${JOURNAL[@]}"
	fill csum.img indexed
	done_with csum
}

# No checksums stand in the way of damage.
base_plain() {
	make plain -O "$ALL,^metadata_csum,resize_inode,uninit_bg" "${JOURNAL[@]}"
	fill plain.img
	done_with plain
}

# No journal: what is damaged meets no log.
base_nolog() {
	make nolog -O "^has_journal,metadata_csum,64bit,extent"
	fill nolog.img
	done_with nolog
}

# As ext3 had it: block maps, no extents, small inodes.
base_ind() {
	make ind -O "none,has_journal,ext_attr,dir_index,filetype,sparse_super,large_file,resize_inode" "${JOURNAL[@]}" -I 128
	fill ind.img
	done_with ind
}

# ext2 revision 0
base_rev0() {
	make rev0 -r 0 -O none -I 128
	done_with rev0
}

base_inline() {
	make inline -O "$ALL,metadata_csum,inline_data" "${JOURNAL[@]}"
	fill inline.img
	run debugfs -w -f <(printf '%s\n' 'mkdir d/tiny' 'cd /x' 'write src/short tiny' 'write src/short60 mid' 'cd /d/tiny' 'write src/empty a' 'write src/empty b') inline.img
	done_with inline
}

base_ea() {
	make ea -O "$ALL,metadata_csum,ea_inode" "${JOURNAL[@]}"
	fill ea.img
	run debugfs -w -f <(printf 'ea_set x/one user.huge -f src/huge\nea_set x/two user.other -f src/large\n') ea.img
	# debugfs does not count the blocks of the values.
	e2fsck -fy ea.img >run.log 2>&1 || [ $? -eq 1 ] || fail "ea: $(cat run.log)"
	done_with ea
}

base_mmp() {
	make mmp -O "$ALL,metadata_csum,mmp" "${JOURNAL[@]}" -E "hash_seed=$SEED,mmp_update_interval=1,lazy_itable_init=0,nodiscard"
	fill mmp.img
	done_with mmp
}

base_orphan() {
	make orphan -O "$ALL,metadata_csum,orphan_file" "${JOURNAL[@]}"
	fill orphan.img
	done_with orphan
}

base_metabg() {
	make metabg -O "$ALL,metadata_csum,meta_bg,^resize_inode" "${JOURNAL[@]}"
	fill metabg.img
	done_with metabg
}

base_bigalloc() {
	make bigalloc -O "$ALL,metadata_csum,bigalloc" -C 4096 "${JOURNAL[@]}"
	fill bigalloc.img
	done_with bigalloc
}

# A log to replay: /keep/one's first block in transactions 1 and 3 with new contents (those that it has already, so
# that the tree is the same with and without replay), f/small's in 1, which transaction 2 revokes.
logged() {
	local one small zero=0
	one=$(debugfs -R 'bmap keep/one 0' "$1.img" 2>/dev/null)
	small=$(debugfs -R 'bmap f/small 0' "$1.img" 2>/dev/null)
	head -c 1024 src/middle >src/log-one
	head -c 1024 src/large >src/log-small
	cat src/log-one src/log-small >src/log-both
	run debugfs -w -f <(printf 'jo %s\njw -b %s,%s src/log-both\njw -r %s\njw -b %s src/log-one\njc\n' "$2" "$one" "$small" "$small" "$one") "$1.img"
	[ "$zero" -eq 0 ]
}

base_log() {
	make log -O "$ALL,metadata_csum" "${JOURNAL[@]}"
	fill log.img
	logged log -c
	guard log
}

base_log1() {
	make log1 -O "$ALL,^metadata_csum" "${JOURNAL[@]}"
	fill log1.img
	logged log1 ""
	guard log1
}

base_fc() {
	make fc -O "$ALL,metadata_csum,fast_commit" -J size=2,fast_commit_size=256
	fill fc.img
	done_with fc
}

sources
if [ $# -eq 0 ]; then set -- csum plain nolog ind rev0 inline ea mmp orphan metabg bigalloc log log1 fc; fi
for base; do "base_$base"; done
rm -rf src script run.log
