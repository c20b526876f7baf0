#!/usr/bin/env bash
# The integration suite, unchanged, on mounts that BPF programs answer for: nothing but speed tells them from others.
#
# tests/vm/vm.sh --timeout 3600 bash tests/vm/suite.sh [WORD…]: only scripts whose name holds one of the words.
# KFS_VM_OPTS=…: other mount options than bpf=on. No part of "make vm": nothing of it has been seen to pass yet.
# A script that has nothing to do with such a mount is named below with the reason. Scripts skip by themselves, too.

set -eu
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# NAME REASON
SKIPPED="
010-bad-options			nothing is mounted
011-bad-image			nothing is mounted
015-ordinary-user		an ordinary user's mount is plain FUSE
018-user-namespace		a mount in a user namespace is plain FUSE
020-mkfs-as-mke2fs		nothing is mounted
021-mkfs-target			nothing is mounted
022-mkfs-tree			nothing is mounted
023-mkfs-large			nothing is mounted
040-journal-replay		no mount of kfs
041-power-cuts			no mount
051-damaged-images		no mount
060-mutants			compiles
100-operations			no mount
180-uring			programs need the module's device
181-uring-cycles		programs need the module's device
640-fault-sweep			no mount
712-ctl-kernel			is about the stock tier
741-ctl-cache			is about the stock tier
762-ctl-abort-uring		programs need the module's device
771-check-damage		no mount
800-guests			no mount of the host
820-hostile-guests		no mount of the host
830-guest-in-qemu		a virtual machine in a virtual machine
900-tools			no mount of kfs
"

reason() {
	awk -v name="$1" '$1 == name { $1 = ""; print substr($0, 2) }' <<<"$SKIPPED"
}

wanted() {
	local name=$1 word
	shift
	[ $# -gt 0 ] || return 0
	for word; do
		case $name in *"$word"*) return 0 ;; esac
	done
	return 1
}

# Where the scripts write is memory, not the overlay; the programs are the machine's.
prepare() {
	local build=/tmp/kfs-build
	mkdir -p "$build/bin"
	mount --bind "$BUILD/bin" "$build/bin"
	cp "$BUILD/flags.stamp" "$build"
	export BUILD=$build KFS_OPTS=${KFS_VM_OPTS:-bpf=on} STRETCH=10
	modprobe -a loop ext4
	insmod "$VM_FUSEBPF"
}

prepare
cd "$TOP"
failed=() count=0
for script in tests/integration/[0-9]*.sh; do
	name=$(basename "$script" .sh)
	wanted "$name" "$@" || continue
	why=$(reason "$name")
	if [ "$why" ]; then
		echo "skip $name: $why"
		continue
	fi
	count=$((count + 1))
	T=integration/$name tests/run.sh integration >/tmp/kfs-suite.log || failed+=("$name")
	grep -E '^(ok|skip|FAIL|    \|) ' /tmp/kfs-suite.log
done
echo "$count run, ${#failed[@]} failed: ${failed[*]}"
[ "$count" -gt 0 ] && [ "${#failed[@]}" -eq 0 ]
