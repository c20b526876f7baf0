#!/usr/bin/env bash
# The integration suite in a guest, on virtio-fs mounts by tag: each is served by a kfs of the host's, through a device that is
# plugged in for it. What stands in kfs's place in the guest is tests/tools/standin.c; its mounts have two profiles as the host's
# do: share=off (the default) is a guest alone, with guest_cache=always and guest_writeback, share=on one with what kfs gives guests.
#
# tests/vm/vm.sh --plug FOLDER --cpus 1 bash tests/vm/guest-suite.sh [WORD…]: only scripts whose name begins with one of the
# words. FOLDER is where they write. KFS_GUEST_OPTS=…: more mount options, as guest_cache=never. KFS_VM_FULL=1: not smaller than
# elsewhere. tests/real/8-guest-suite.sh runs it.

set -eu
. "$(dirname "${BASH_SOURCE[0]}")/suite_lib.sh"

SKIPPED="
000-mount			is about the daemon's signals and log; a guest's mount is another's
001-umount-waits		umount.fuse.kfs is for FUSE mounts
002-mount-helper		mount.fuse.kfs is for FUSE mounts
003-root-daemon			is about the daemon's process and allow_other, which no virtio-fs mount is without
010-bad-options			nothing is mounted
011-bad-image			nothing is mounted
012-bad-mountpoint		a mount point of the host
013-one-writer			is about mounts and loop devices of the host
015-ordinary-user		guests' users cannot mount virtio-fs
017-offset			is about the image
018-user-namespace		virtio-fs cannot be mounted in a user namespace
019-read-only-media		the devices would be the guest's
020-mkfs-as-mke2fs		nothing is mounted
021-mkfs-target			no mount of kfs
022-mkfs-tree			no mount of kfs
023-mkfs-large			no mount of kfs
040-journal-replay		no mount of kfs
041-power-cuts			no mount
050-kill-sweep			QEMU's device does not come back when its daemon was killed, and the guest waits for ever
051-damaged-images		no mount
052-damaged-mounts		what damages images maps them, and the guest has them by 9p without a cache
060-mutants			compiles
100-operations			no mount
180-uring			rings are /dev/fuse's
181-uring-cycles		rings are /dev/fuse's
311-file-handles		a guest's session takes only nodeids that it was handed, and a handle is one
312-fitrim			a guest may not: the space is the host's
500-shared-locks		the kernel's virtio-fs does not pass interrupts on: who waits for a lock cannot be interrupted
640-fault-sweep			no mount
641-errors-policy		errors=panic: QEMU's device does not come back when its daemon has ended, and the guest waits for ever
642-full-host			the small disk is one of the guest's
643-ctl-clients			kfsctl is the host's
644-limits			is about the daemon's process
700-ctl-status			kfsctl is the host's
710-ctl-stats			kfsctl is the host's
712-ctl-kernel			is about the host's kernel
720-ctl-access			kfsctl is the host's
730-ctl-freeze			kfsctl is the host's
740-ctl-map			kfsctl is the host's
741-ctl-cache			kfsctl is the host's
750-ctl-trim-trace		kfsctl is the host's
760-ctl-abort			kfsctl is the host's
761-failing-storage		the failing storage is a FUSE mount of the guest's
762-ctl-abort-uring		rings are /dev/fuse's
770-check-storm			kfsctl is the host's
771-check-damage		no mount
772-check-ctl			kfsctl is the host's
800-guests			no mount
810-guests-and-host		is about the host's mount
811-shared-storm		is about the host's mount
812-guest-share			is about the host's mount
813-guest-limits		is about the host's mount
814-guest-owners		is about the host's mount
820-hostile-guests		no mount
830-guest-in-qemu		a virtual machine in a virtual machine
840-guest-takeover		no mount
841-guest-log			no mount
842-guest-state			no mount
843-guest-migrates		a virtual machine in a virtual machine
844-guest-windows		no mount
845-guest-window-in-qemu	a virtual machine in a virtual machine
846-guest-handover		no mount
847-guest-large-window		a virtual machine in a virtual machine
850-sandbox			is about the daemon's process
851-sandbox-user		is about the daemon's process
860-virtiofsd			is about the host's mount
900-tools			no mount of kfs
"

SMALLER="
150-churn			SEEDS=1 OPS=800
160-matrix			BLOCK_SIZES=1024 OPS=60
200-file-model			SEEDS=1 OPS=250
620-scale			NAMES=6000
"

# What a guest's kernel cannot do: be asked for dirty pages before holes are sought; be told that a time changed by an ioctl (until
# its own time is over); be told, while it holds writes back, that the image is full, before fsync or close; open and close without
# a request, for opens are the daemon's where there are guests; 6.1: ask for a birth time.
WORDS="
210-cached-data			HOLES=data
220-attr-coherence		UNTOLD=chattr
230-warm-caches			ACTS=stat,absent,access,link
620-scale			HOLES=data KFS_OPTS=nowriteback
"
case $(uname -r) in
6.1.*) WORDS+="310-ioctl-statx			BIRTH=none
" ;;
esac

# Where the scripts write is the host's, so that it is one image for both.
prepare() {
	local build=$VM_PLUG/build
	modprobe -a loop ext4 virtio_net
	ip link set eth0 up
	ip addr add 10.0.2.15/24 dev eth0
	mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=262144 plug "$VM_PLUG"
	mkdir -p "$build/bin"
	mount --bind "$BUILD/bin" "$build/bin"
	mount --bind "$BUILD/bin/tests/standin" "$build/bin/kfs"
	mount --bind "$BUILD/bin/tests/standin" "$build/bin/kfsctl"
	cp "$BUILD/flags.stamp" "$build"
	export BUILD=$build KFS_OPTS=${KFS_GUEST_OPTS:-} STRETCH=10
	# The system's python3: what stands before it in a developer's path may read hundreds of files to begin.
	export PATH=/usr/sbin:/usr/bin:$PATH
}

# A guest's clock drifts.
before_each() { python3 "$TOP/tests/vm/set_clock.py" "$VM_PLUG"; }

prepare
run_suite "$@"
