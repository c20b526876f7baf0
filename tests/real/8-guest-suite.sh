#!/usr/bin/env bash
# timeout: 7200
# A real guest mounts by tag and runs: the integration suite's scripts, as they are, in Debian's stock kernel (QEMU, no KVM), on
# virtio-fs mounts that kfs serves on this host. tests/vm/guest-suite.sh names those that have nothing to do with such mounts.
# VM_SERIES (6.12) is the guest's kernel, which kernel-patches/fetch.sh brings. GUEST_SCRIPTS='014 2': only what begins so.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need qemu-system-x86_64 busybox cpio python3
"$TOP/kernel-patches/fetch.sh" kernel "${VM_SERIES:-6.12}" || fail "the guest's kernel cannot be fetched"

mkdir shared
# One processor: what one program wakes another for does not wait for a thread of the machine then.
# shellcheck disable=SC2086 # several words
"$TOP/tests/vm/vm.sh" --kernel "${VM_SERIES:-6.12}" --cpus 1 --memory 2G --timeout 7000 --plug "$SCRATCH/shared" \
	bash "$TOP/tests/vm/guest-suite.sh" ${GUEST_SCRIPTS:-} | tee suite.log || fail "some do not pass in the guest"
grep -q ' passed, 0 failed, ' suite.log || fail "the guest does not say how it went"
