#!/usr/bin/env bash
# The integration suite, unchanged, on mounts that BPF programs answer for: nothing but speed tells them from others.
#
# tests/vm/vm.sh --cpus 1 --memory 6G --timeout 7000 bash tests/vm/suite.sh [WORD…]: only scripts whose name begins with one
# of the words. 230-suite-mounts.sh and those after it are "make vm"'s parts of it, each in a guest of its own.
# KFS_VM_OPTS=…: other mount options than bpf=on. KFS_VM_FULL=1: not smaller than elsewhere.
# A script that has nothing to do with such a mount is named below with the reason.
# Without KVM one processor is faster than two where the machine has other things to do: what one program wakes another for
# does not wait for a thread of the machine then.

set -eu
. "$(dirname "${BASH_SOURCE[0]}")/suite_lib.sh"

SKIPPED="
018-user-namespace		a mount in a user namespace is plain FUSE
020-mkfs-as-mke2fs		nothing is mounted
021-mkfs-target			no mount of kfs
022-mkfs-tree			no mount of kfs
023-mkfs-large			no mount of kfs
040-journal-replay		no mount of kfs
041-power-cuts			no mount
051-damaged-images		no mount
060-mutants			compiles
100-operations			no mount
180-uring			rings are /dev/fuse's, programs need the module's device
181-uring-cycles		rings are /dev/fuse's, programs need the module's device
640-fault-sweep			no mount
712-ctl-kernel			is about the stock tier
741-ctl-cache			is about the stock tier; this one is vm/220-kfs-cache's
762-ctl-abort-uring		rings are /dev/fuse's, programs need the module's device
771-check-damage		no mount
800-guests			no mount of the host
820-hostile-guests		no mount of the host
830-guest-in-qemu		a virtual machine in a virtual machine
900-tools			no mount of kfs
"

SMALLER="
050-kill-sweep			KILLS=3
150-churn			SEEDS=1 OPS=800
160-matrix			BLOCK_SIZES=1024 OPS=60
200-file-model			SEEDS=1 OPS=250
620-scale			NAMES=6000
"

# Where the scripts write is memory, not the overlay; the programs are the machine's.
prepare() {
	local build=/tmp/kfs-build
	mkdir -p "$build/bin"
	mount --bind "$BUILD/bin" "$build/bin"
	cp "$BUILD/flags.stamp" "$build"
	export BUILD=$build KFS_OPTS=${KFS_VM_OPTS:-bpf=on} STRETCH=10
	# The system's python3: what stands before it in a developer's path may read hundreds of files to begin.
	export PATH=/usr/sbin:/usr/bin:$PATH
	modprobe -a loop ext4
	insmod "$VM_FUSEBPF"
}

prepare
run_suite "$@"
