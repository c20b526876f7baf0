#!/usr/bin/env bash
# `make run`: one image, formatted, mounted, used, unmounted and judged, each step shown as the command a person
# would type. Leaves nothing mounted and no process behind, however it ends.

set -eu -o pipefail
cd "$(dirname "$0")/../.."
SOURCE=$PWD/daemon
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
HERE=$BUILD/run
IMAGE=$HERE/disk.img
MOUNT=$HERE/mnt
export PATH="$BUILD/bin:$PATH:/usr/sbin:/sbin"

unmount() {
	# umount(2) does not wait for a FUSE daemon; this helper returns when the image is closed.
	if [ -x "$BUILD/bin/umount.fuse.kfs" ]; then umount.fuse.kfs "$MOUNT"; else umount "$MOUNT"; fi
}

at_exit() {
	local status=$?
	trap - EXIT
	if mountpoint -q "$MOUNT"; then
		unmount || { echo "kfs: cannot unmount $MOUNT: busy" >&2; status=1; }
	fi
	exit "$status"
}

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
# Shows the command with paths below the working folder shortened, then runs it.
step() {
	local words="$*"
	printf '$ %s\n' "${words//$HERE\//}"
	"$@"
}

[ -c /dev/fuse ] || modprobe fuse 2>/dev/null || { echo "kfs: /dev/fuse is missing: load the kernel module fuse" >&2; exit 1; }
if mkdir -p "$HERE" && mountpoint -q "$MOUNT"; then echo "kfs: $MOUNT is mounted already: umount it" >&2; exit 1; fi
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -f "$IMAGE"
mkdir -p "$MOUNT"
cd "$HERE"

say "A 256 MiB ext4 image"
step mkfs.kfs -q "$IMAGE" 256M
say "Mount it: kfs returns when the mount answers"
step kfs "$IMAGE" "$MOUNT"
step df -hT "$MOUNT"
say "Use it"
step mkdir -p "$MOUNT/letters/2024"
step cp -r "$SOURCE" "$MOUNT/source"
printf '$ echo hello > mnt/letters/2024/first.txt\n'
echo hello >"$MOUNT/letters/2024/first.txt"
step ln -s letters/2024/first.txt "$MOUNT/first"
step cat "$MOUNT/first"
step ls -l "$MOUNT"
step diff -r "$SOURCE" "$MOUNT/source"
say "What the daemon says of itself"
step kfsctl status "$MOUNT"
step kfsctl stats "$MOUNT"
say "Unmount: everything is in the image when this returns"
step unmount
say "e2fsck is the judge"
step e2fsck -fn "$IMAGE"
say "Done. The image is $IMAGE: mount it again with kfs, or with the kernel: mount -o loop"
