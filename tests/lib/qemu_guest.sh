# shellcheck shell=bash
# Real guests, beside lib.sh: Debian's stock kernel in QEMU (no KVM), with a root of one program and a script.
#
#	guest_kernel		KERNEL_DIR and VMLINUZ, which "make vm" fetched; else the test is skipped
#	guest_root IMAGE	writes the initial root file system; what the guest does comes on standard input
#	guest_machine SMP MIB	MACHINE: words for any QEMU that has vhost-user devices
#	said JOB WORDS		the guest has said so, in JOB.log in the folder LOGS (.)

guest_kernel() {
	need busybox cpio
	KERNEL_DIR=${KFS_CACHE:-/var/cache/kfs}/kernel-${VM_SERIES:-6.12}
	[ -e "$KERNEL_DIR/release" ] || skip "no kernel in $KERNEL_DIR: make vm fetches one"
	VMLINUZ=$KERNEL_DIR/boot/vmlinuz-$(cat "$KERNEL_DIR/release")
	export VMLINUZ
}

# guest_root IMAGE [PROGRAM…]: with these programs beside busybox. The script sets "at" to what it is about, so that a
# command that fails can be named, and finds what "job=" on the kernel's command line says in $job. When it has come to
# its end the guest says "@guest ok" and is off.
guest_root() {
	local image=$1
	shift
	mkdir -p root/{bin,proc,sys,dev,mnt}
	cp "$(command -v busybox)" "$@" root/bin/
	{
		cat <<-'SH'
			#!/bin/busybox sh
			/bin/busybox --install -s /bin
			mount -t proc proc /proc
			mount -t sysfs sys /sys
			mount -t devtmpfs dev /dev
			job=$(sed -n 's/.*job=\([a-z]*\).*/\1/p' /proc/cmdline)
			set -e
			trap 'echo "@guest failed in line $at"; dmesg | tail -n 20; poweroff -f' EXIT
		SH
		cat
		cat <<-'SH'
			trap - EXIT
			echo @guest ok
			poweroff -f
		SH
	} >root/init
	chmod 755 root/init
	(cd root && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$image"
}

guest_machine() {
	# shellcheck disable=SC2034 # for those who call this
	MACHINE=(-accel "tcg,thread=multi" -machine "q35,memory-backend=mem" -cpu max -smp "$1" -m "$2"
		-object "memory-backend-memfd,id=mem,size=$2M,share=on" -nodefaults -no-user-config -nographic -no-reboot)
	# shellcheck disable=SC2034
	CONSOLE="console=ttyS0 quiet panic=-1 no_timer_check"
}

said() { grep -q "@guest $2" "${LOGS:-.}/$1.log" 2>/dev/null; }
