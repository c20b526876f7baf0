#!/usr/bin/env bash
# timeout: 900
# Damaged images under the real daemon: of the tables' cases (051 tries them all without a mount) some of each kind.
# What cannot be mounted is refused with one line that names the image, the thing and the remedy, and not a byte
# changes; what cannot be written is mounted read-only, whoever mounts is told, and not a byte changes; what is damaged
# in places is mounted, the places answer EUCLEAN, the rest works, and the damage can be unmounted.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need mke2fs debugfs e2fsck
mkdir a
bash "$TOP/tests/images/bases.sh" "$SCRATCH/bases" csum ind mmp orphan bigalloc log >bases.log 2>&1 || fail "$(cat bases.log)"

# damaged CASE: the image x.img
damaged() {
	rm -f x.img
	"$TOOLS/images" make -b "$SCRATCH/bases" -o x.img -t "$1" "$TOP"/tests/images/cases/*.txt
}

# refused CASE PATTERN: of what stands behind the image's name
refused() {
	local sum
	damaged "$1"
	sum=$(sha256sum <x.img)
	expect_status 32 kfs "$SCRATCH/x.img" a ${KFS_OPTS:+-o "$KFS_OPTS"} 2>error.txt
	expect_eq "$(wc -l <error.txt)" 1 "$1: lines"
	grep -Eq "^kfs: $SCRATCH/x.img: $2\$" error.txt || fail "$1: $(cat error.txt)"
	! mountpoint -q a || fail "$1 is mounted"
	expect_eq "$(sha256sum <x.img)" "$sum" "$1: the image afterwards"
}

# readonly CASE WHY: mounted, but not as asked for
readonly_mount() {
	local sum
	damaged "$1"
	sum=$(sha256sum <x.img)
	mount_kfs x.img a 2>error.txt
	expect_eq "$(cat error.txt)" "kfs: $SCRATCH/x.img: mounted read-only: $2" "$1: what is said"
	grep -q "x.img: mounted read-only: $2" kfs-a.log || fail "$1: the log says nothing"
	findmnt -no OPTIONS a | grep -Eq '^ro(,|$)' || fail "$1: $(findmnt -no OPTIONS a)"
	cmp a/f/small a/x/one || fail "$1: cannot be read"
	if mkdir a/new 2>error.txt; then fail "$1: a change was done"; fi
	grep -q 'Read-only file system' error.txt || fail "$1: $(cat error.txt)"
	umount_kfs a
	expect_eq "$(sha256sum <x.img)" "$sum" "$1: the image afterwards"
	rm -f kfs-a.log
}

# in_places CASE PATH WORDS: PATH is EUCLEAN, and the log says WORDS of it
in_places() {
	local show=cat status=0
	damaged "$1"
	mount_kfs x.img a 2>error.txt
	expect_eq "$(cat error.txt)" "" "$1: what is said"
	if [ -d "a$2" ]; then show="ls"; fi
	if $show "a$2" >/dev/null 2>error.txt; then fail "$1: $2 can be read"; fi
	grep -q 'Structure needs cleaning$' error.txt || fail "$1: $2: $(cat error.txt)"
	grep -Eq "kfs: $3" kfs-a.log || fail "$1: the log: $(cat kfs-a.log)"
	cmp a/keep/one one || fail "$1: what is whole cannot be read"
	cp one a/new || fail "$1: nothing new can be written"
	umount_kfs a
	rm -f kfs-a.log
	# e2fsck mends it, and finds what was written since.
	e2fsck -fy x.img >fsck.log 2>&1 || status=$?
	[ "$status" -eq 1 ] || fail "$1: e2fsck -fy: exit status $status: $(cat fsck.log)"
	debugfs -R 'dump /new new' x.img 2>/dev/null
	cmp new one || fail "$1: what was written is lost"
}

debugfs -R 'dump /keep/one one' bases/csum.img 2>/dev/null
[ -s one ] || fail "no /keep/one"

# ---- refused ----
backup='run e2fsck -b 4097 -B 1024 IMAGE' check='run e2fsck -f IMAGE'
refused sb-magic 'not an ext4 filesystem: magic 0000, ef53 expected: check the path and offset=; if it was ext4, .*'
refused sb-checksum "superblock: checksum [0-9a-f]*, computed [0-9a-f]*: $backup"
refused sb-uuid-changed "group descriptor 0: checksum [0-9a-f]*, computed [0-9a-f]*: $backup"
refused sb-blocks-twice "image has 8454144 bytes but the filesystem 16777216 .*: restore the missing end of the image, or $check"
refused feature-incompat-compression 'feature compression is not supported: mount it with the system that made it'
refused feature-incompat-40000 'feature incompat_0x40000 is not supported: mount it with the system that made it'
refused feature-incompat-journal-dev 'this is an external journal .*: mount the filesystem that uses this journal'
refused journal-inum-0 'the journal is on another device .*: move the journal inside: tune2fs .*'
refused gd-block-bitmap-over-table "group descriptors: block [0-9]+ holds two kinds of metadata: $check"
refused orphan-file-inum-0 "orphan file: its inode number is impossible: $check"
refused mmp-magic "mmp block: magic is wrong: $check .or tune2fs -f -E clear_mmp IMAGE."
refused mmp-seq-fsck 'e2fsck is at work on it, says its mmp block: wait for it, or, if it was killed, run tune2fs .*'
refused jsb-start-all-ones "journal: journal superblock: s_start 4294967295: $check"
refused jsb-start-without-recover-and-log "journal: holds transactions but needs_recovery is not set: $check"
refused log-tag-all-ones "journal: journal block 2: holds block 18446744073709551615, beyond the image: $check"
refused log-tag-journal-log "journal: journal block 2: holds block [0-9]+, which is the journal's own: $check"

# ---- read-only ----
readonly_mount good-bigalloc 'feature bigalloc is read but not written'
readonly_mount feature-encrypt 'feature encrypt is read but not written'
readonly_mount feature-ro-verity 'feature verity is read but not written'
readonly_mount feature-ro-80000000 'the filesystem has a read-only compatible feature unknown to us'

# In the foreground, where the log is what they see, it is said once. With ro it was asked for: nothing is said.
damaged good-bigalloc
MOUNTS+=("kfs $SCRATCH/a")
kfs -f x.img a ${KFS_OPTS:+-o "$KFS_OPTS"} 2>error.txt &
eventually 60 mountpoint -q a || fail "not mounted in the foreground: $(cat error.txt)"
umount_kfs a
wait $! || fail "in the foreground: exit status $?"
expect_eq "$(grep -c 'mounted read-only' error.txt)" 1 "times that it is said in the foreground"
mount_kfs x.img a -o ro 2>error.txt
expect_eq "$(cat error.txt)" "" "what is said where ro was asked for"
umount_kfs a

# ---- damaged in places ----
in_places extent-magic-leaf /f/holes 'inode [0-9]+, block [0-9]+: extent node: bad magic: unmount and run e2fsck -f'
in_places map-single-itable /f/large 'inode [0-9]+: block map points to a block that no file may have: unmount and run e2fsck -f'
in_places de-rec-len-13 /d/small 'inode [0-9]+, block [0-9]+: directory entry: record length impossible: unmount and run e2fsck -f'
in_places dx-node-limit-0 /d/huge 'inode [0-9]+, block [0-9]+: directory index: limit: unmount and run e2fsck -f'
in_places inode-extra-isize-3 /f/small 'inode [0-9]+.*: unmount and run e2fsck -f'
