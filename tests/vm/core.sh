#!/usr/bin/env bash
# What "make test" runs of "make vm", on the machine itself: builds the module for Debian's 6.12, boots that kernel, and there
# the daemon answers from BPF programs. The packages of the kernel are fetched at the first time (kernel-patches/fetch.sh).
# timeout: 1800

set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
TOP=$PWD
BUILD=${BUILD:-$TOP/build}
SERIES=6.12
export BUILD

skip() {
	echo "skip: $*"
	exit 77
}

fail() {
	echo "fail: $*" >&2
	exit 1
}

# The guest's daemon is that of this build: sanitizers would make it too slow there, and their reports would be lost.
if grep -Eqs -e '-fsanitize=|--coverage' "$BUILD/flags.stamp"; then skip "the guest runs the plain build only"; fi
command -v dpkg-query apt-get >/dev/null || skip "not a Debian system: no kernel to fetch"
if ! missing=$(tests/lib/deps.sh check vm); then
	[ "$(id -u)" -eq 0 ] || skip "$missing"
	fail "$missing"
fi
kernel-patches/fetch.sh tools >/dev/null || fail "libbpf and bpftool cannot be fetched"
kernel-patches/fetch.sh kernel "$SERIES" >/dev/null || fail "the kernel $SERIES cannot be fetched"
kernel-patches/fetch.sh source "$SERIES" >/dev/null || fail "the sources of the kernel $SERIES cannot be fetched"
tests/vm/build.sh
exec tests/vm/vm.sh --kernel "$SERIES" --timeout 1700 bash -ec '
	bash tests/vm/200-kfs-bpf.sh core
	bash tests/vm/100-fusebpf.sh'
