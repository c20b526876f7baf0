#!/usr/bin/env bash
# The two commands of the README on a machine with nothing installed: a minimal Debian 12 made by debootstrap, entered
# with a clean checkout of HEAD, in a mount namespace of its own whose / it is. Shows an install step that is missing.
#
#   bare-machine.sh [TARGET…]      default: run test; T= and J= are passed on
#
# The folder lies below BUILD and is removed at the end; what it is unpacked from is kept (debian_root.sh). Root only.

set -eu -o pipefail
cd "$(dirname "$0")/../.."
TOP=$PWD
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
BARE=$BUILD/bare
LOG=$BUILD/results/bare.log

die() {
	echo "bare-machine: $*" >&2
	exit 1
}

[ "$(id -u)" -eq 0 ] || die "needs root"
for tool in git unshare pivot_root; do
	command -v "$tool" >/dev/null || die "$tool is not installed: apt-get install git util-linux"
done
[ "$#" -gt 0 ] || set -- run test

# Runs in the new mount namespace: makes BARE its root, then the targets.
enter() {
	local target
	mount --bind "$BARE" "$BARE"
	for target in dev sys; do mount --rbind "/$target" "$BARE/$target"; done
	mount -t proc proc "$BARE/proc"
	cd "$BARE"
	pivot_root . mnt
	umount -l /mnt
	cd /
	# The one thing that "make run" itself needs.
	# shellcheck disable=SC2016 # the inner shell's words
	exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true T="${T:-}" J="${J:-}" \
		DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 sh -ec '
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends make >/dev/null
		cd /srv/kfs
		for target; do
			echo "== make $target"
			make "$target"
		done' sh "$@" </dev/null
}

if [ "$1" = --enter ]; then
	shift
	enter "$@"
fi

mkdir -p "$BUILD/results"
rm -rf --one-file-system "$BARE"
BASE=$("$TOP/tests/lib/debian_root.sh" bare "$BUILD")
mkdir -p "$BARE"
trap 'rm -rf --one-file-system "$BARE"' EXIT
tar -C "$BARE" -xf "$BASE"
git clone -q --no-hardlinks "$TOP" "$BARE/srv/kfs"
for file in /etc/resolv.conf /etc/hosts; do cp -L "$file" "$BARE$file"; done
status=0
BUILD=$BUILD unshare -m --propagation private bash "$TOP/tests/lib/bare-machine.sh" --enter "$@" 2>&1 | tee "$LOG" || status=$?
[ "$status" -eq 0 ] || die "failed (exit status $status): $LOG"
echo "bare-machine: passed: $*"
