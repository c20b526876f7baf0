#!/usr/bin/env bash
# Builds a kernel that watches itself (debug.config: KASAN, lockdep and more) from Debian's sources, for the virtual machine:
#
#   debug.sh [SERIES]     6.12 unless said otherwise; then: make vm KERNEL=6.12-debug
#
# The series is applied and, before all else, compiled as CONFIG_FUSE_BPF in the tree; the kernel itself is without it, for the
# tests load the module. All stays in the cache (see fetch.sh), 3 GB of it. Building takes an hour of two idle processors, and
# goes on where it was when it is called again. JOBS (2), NICE (15), CC.

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SERIES=${1:-6.12}
JOBS=${JOBS:-2}
NICE=${NICE:-15}

say() { echo "debug: $*" >&2; }
die() {
	say "$*"
	exit 1
}

need() {
	local tool
	for tool in gcc make bc flex bison pahole perl; do
		command -v "$tool" >/dev/null || die "$tool is not installed"
	done
	for tool in libelf.h openssl/ssl.h; do
		echo "#include <$tool>" | gcc -E - >/dev/null 2>&1 || die "$tool is missing: apt-get install libelf-dev libssl-dev"
	done
}

kmake() {
	nice -n "$NICE" make -s -C "$TREE" -j"$JOBS" ${CC:+CC="$CC"} "$@" >>"$LOG" 2>&1 || {
		tail -n 20 "$LOG" >&2
		die "make $* failed, see $LOG"
	}
}

patch_tree() {
	local patch
	[ ! -e "$TREE/.patched" ] || return 0
	for patch in "$HERE/$SERIES"/*.patch; do
		patch -d "$TREE" -p1 -s -f --no-backup-if-mismatch <"$patch" || die "${patch##*/} does not apply"
	done
	touch "$TREE/.patched"
}

# configure y|n: with CONFIG_FUSE_BPF or without. Every line of debug.config has to be heeded.
configure() {
	local line
	kmake tinyconfig
	sed "s/^# CONFIG_FUSE_BPF is not set/CONFIG_FUSE_BPF=$1/" "$HERE/debug.config" >"$TREE/.fragment"
	(cd "$TREE" && scripts/kconfig/merge_config.sh -m .config .fragment >>"$LOG")
	kmake olddefconfig
	while read -r line; do
		grep -qxF "$line" "$TREE/.config" || die "this kernel does not take $line"
	done < <(grep '^CONFIG_.*=[^n]' "$TREE/.fragment")
}

install_kernel() {
	local release
	release=$(make -s -C "$TREE" kernelrelease)
	rm -rf "$DIR.new" && mkdir -p "$DIR.new/boot" "$DIR.new/usr/src"
	kmake INSTALL_MOD_PATH="$DIR.new" modules_install
	cp "$TREE/arch/x86/boot/bzImage" "$DIR.new/boot/vmlinuz-$release"
	ln -s "$TREE" "$DIR.new/usr/src/linux-headers-$release"
	echo "$release" >"$DIR.new/release"
	touch "$DIR.new/.complete"
	rm -rf "$DIR" && mv "$DIR.new" "$DIR"
}

[ -d "$HERE/$SERIES" ] || die "no series for $SERIES"
need
TREE=$("$HERE/fetch.sh" tree "$SERIES")
DIR=$("$HERE/fetch.sh" cache)/kernel-$SERIES-debug
LOG=$TREE/build.log
: >"$LOG"
patch_tree
if [ ! -e "$TREE/.in-tree" ]; then
	say "CONFIG_FUSE_BPF in the tree"
	configure y
	kmake fs/fuse/
	[ -e "$TREE/fs/fuse/bpf.o" ] || die "fs/fuse/bpf.o was not built"
	touch "$TREE/.in-tree"
fi
say "the kernel, see $LOG"
configure n
kmake bzImage modules
install_kernel
echo "$DIR"
