#!/usr/bin/env bash
# timeout: 300
# errors=continue, remount-ro and panic do what kfs(8) says when a directory block turns out to be corrupt, by option and
# by superblock; the error is in the superblock afterwards, and the image is repaired by e2fsck without loss elsewhere.
. "$(dirname "$0")/../lib/lib.sh"
need debugfs dumpe2fs e2fsck tune2fs jq
need_root

# An image whose directory /bad has a block of nonsense, and /good/file is whole.
broken_image() { # IMG
	local block
	mkimage "$1" 32M -b 1024
	mount_kfs "$1" mnt
	mkdir mnt/good mnt/bad
	echo whole >mnt/good/file
	touch mnt/bad/name
	umount_kfs mnt
	block=$(debugfs -R "blocks /bad" "$1" 2>/dev/null | tr -d ' \n')
	printf "%01024d" 7 | dd of="$1" bs=1024 seek="$block" count=1 iflag=fullblock conv=notrunc status=none
}

meet_it() {
	local said
	if said=$(ls mnt/bad 2>&1); then fail "a corrupt directory was listed"; fi
	case $said in *"Structure needs cleaning"*) ;; *) fail "the error is not EUCLEAN: $said" ;; esac
}

judge() { # IMG
	dumpe2fs -h "$1" 2>/dev/null | grep -q '^Filesystem state:.*errors' || fail "$1 does not say that it has errors"
	[ "$(dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^FS Error count: *//p')" -ge 1 ] || fail "$1 counts no error"
	expect_status 1 e2fsck -fy "$1" >fsck.log
	fsck_clean "$1"
	expect_eq "$(debugfs -R 'cat /good/file' "$1" 2>/dev/null)" whole "a file elsewhere"
}

goes_on() { # WORDS…
	broken_image a.img
	mount_kfs a.img mnt "$@"
	meet_it
	echo more >mnt/good/more || fail "errors=continue refuses changes"
	umount_kfs mnt
	judge a.img
}

stops() {
	broken_image a.img
	mount_kfs a.img mnt "$@"
	echo before >mnt/good/before
	meet_it
	if (echo more >mnt/good/more) 2>said; then fail "errors=remount-ro takes changes"; fi
	grep -q 'Read-only file system' said || fail "not EROFS: $(cat said)"
	expect_eq "$(cat mnt/good/file)" whole "reading after remount-ro"
	umount_kfs mnt
	judge a.img
	expect_eq "$(debugfs -R 'cat /good/before' a.img 2>/dev/null)" before "what was written before"
}

ends() {
	local pid said
	broken_image a.img
	mount_kfs a.img mnt "$@"
	echo synced >mnt/good/synced
	sync mnt/good/synced
	pid=$(kfs_pids "$PWD/mnt")
	[ -n "$pid" ] || fail "no daemon"
	if said=$(ls mnt/bad 2>&1); then fail "a corrupt directory was listed"; fi
	eventually 30 all_gone "$pid" || fail "errors=panic, and the daemon lives on"
	if said=$(ls mnt/good 2>&1); then fail "who serves the mount?"; fi
	case $said in *"not connected"*) ;; *) fail "not ENOTCONN: $said" ;; esac
	grep -q 'errors=panic: the daemon ends' kfs-mnt.log || fail "the log does not say why"
	umount mnt
	forget_mount "$PWD/mnt"
	judge a.img
	expect_eq "$(debugfs -R 'cat /good/synced' a.img 2>/dev/null)" synced "what was synced"
	# And the next mount is not refused.
	mount_kfs a.img mnt "$@"
	echo again >mnt/good/again
	umount_kfs mnt
	fsck_clean a.img
}

goes_on -o errors=continue
goes_on # the superblock's default
stops -o errors=remount-ro
ends -o errors=panic
# By the superblock alone.
mkimage a.img 32M
tune2fs -e panic a.img >/dev/null
mount_kfs a.img mnt
expect_eq "$(kfsctl status --json mnt | jq -r .errors.policy)" panic "policy"
umount_kfs mnt
