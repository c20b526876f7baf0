#!/usr/bin/env bash
# The daemon and its BPF programs on a real image: no request where the tables know, every change seen at once.
# timeout: 3600
# vm: --multi
#
# 200-kfs-bpf.sh [core]: core is the part that "make test" runs. KFS_VM_PAIRS=N: not all pairs of operations, which take most
# of the time, but so many; KFS_VM_SEED=N: other ones, and other random changes.

set -eu
export PATH="$BUILD/bin:$PATH"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p /tmp/kfs
cd /tmp/kfs

say() { echo "-- $*"; }
fail() {
	echo "failed: $*"
	tail -n 20 log 2>/dev/null
	exit 1
}

say "without the module: bpf=on says what to do, bpf=auto does without"
mkfs.kfs -q disk.img 64M
mkdir -p m
if kfs disk.img m -o bpf=on 2>err; then fail "bpf=on mounted without the module"; fi
grep -q 'bpf=on: /dev/fusebpf is not there: .*kernel-patches/build.sh' err || fail "no remedy: $(cat err)"
kfs disk.img m
kfsctl status --json m | jq -e '.tier == "stock" and (.tier_reason | test("fusebpf is not there"))' >/dev/null ||
	fail "status does not say why the stock tier runs"
umount m

insmod "$VM_FUSEBPF"
python3 -u "$HERE/kfs_bpf.py" "$@"

say "nothing is left that holds the module"
[ ! -e /sys/fs/bpf/kfs ] || fail "pins are left: $(find /sys/fs/bpf/kfs)"
bash "$HERE/unload.sh"
