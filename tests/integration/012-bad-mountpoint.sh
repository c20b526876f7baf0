#!/usr/bin/env bash
# Mount points that are missing, no folder, in use or dead: one line with the remedy, status 32, the image untouched.
. "$(dirname "$0")/../lib/lib.sh"
need_root

mkimage a.img 16M
mkimage b.img 16M
sum=$(sha256sum <b.img)

refused() { # PATTERN kfs's words…
	local pattern=$1
	shift
	expect_status 32 kfs "$@" 2>error.txt
	grep -Eq "^kfs: $pattern" error.txt || fail "kfs $*: $(cat error.txt)"
	expect_eq "$(wc -l <error.txt)" 1 "lines for kfs $*"
	expect_eq "$(sha256sum <b.img)" "$sum" "image after kfs $*"
}

refused "$SCRATCH/none: No such file or directory: create the folder" b.img none
refused "$SCRATCH/b.img: not a folder" b.img b.img
mount_kfs a.img a
refused "$SCRATCH/a: $SCRATCH/a.img .fuse(bpf)?.kfs. is mounted there: unmount it" b.img a
refused "/proc: .* is mounted there" b.img /proc

# ---- over another mount, when told so ----
echo below >a/file
kfs b.img a -o nonempty
MOUNTS+=("kfs $SCRATCH/a")
expect_failure test -e a/file
umount.fuse.kfs a
expect_eq "$(cat a/file)" below "the mount below"
MOUNTS=("kfs $SCRATCH/a")
fsck_clean b.img
sum=$(sha256sum <b.img)

# ---- a dead mount ----
pid=$(kfs_pids "$SCRATCH/a")
kill -KILL "$pid"
eventually 10 all_gone "$pid" || fail "not killed"
refused "$SCRATCH/a: .*unmount it" b.img a
umount.fuse.kfs a
forget_mount "$SCRATCH/a"
mount_kfs a.img a # the journal is replayed
umount_kfs a
fsck_clean a.img
