# shellcheck shell=bash
# Real guests, beside lib.sh: Debian's stock kernel in QEMU (no KVM), with a root of one program and a script.
#
#	guest_kernel		KERNEL_DIR and VMLINUZ, which "make vm" fetched; else the test is skipped
#	guest_root IMAGE	writes the initial root file system; what the guest does comes on standard input
#	guest_modules NAME…	puts modules of the kernel into it, before; their order stands in /modules/order
#	guest_machine SMP MIB [CPU]	MACHINE: words for any QEMU that has vhost-user devices
#	qemu_with_windows	QEMU_ROOT, where "fetch.sh qemu" put one that has windows; else the test is skipped
#	new_guest JOB [WORD…]	runs a guest in that QEMU until it is off: share/initrd, share/vmlinuz, and more words for QEMU,
#				which knows "share" as /kfs; its own words go to JOB.qemu, its number to share/qemu.pid; ended
#				after GUEST_SECONDS (600)
#	windows_guest JOB	the same with a device that may have a window, at share/s
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

guest_modules() {
	local module name
	mkdir -p root/modules
	modprobe -d "$KERNEL_DIR" -S "$(cat "$KERNEL_DIR/release")" --show-depends -a "$@" |
		awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >modules.list
	while read -r module; do
		name=$(basename "${module%.xz}")
		case $module in
		*.xz) xz -dc "$module" >"root/modules/$name" ;;
		*) cp "$module" root/modules/ ;;
		esac
		echo "$name"
	done <modules.list >root/modules/order
}

# One thread for all processors: with more, QEMU 7.2 may run into code that the guest's kernel is patching (an int3 while it boots).
guest_machine() {
	# shellcheck disable=SC2034 # for those who call this
	MACHINE=(-accel "tcg,thread=single" -machine "q35,memory-backend=mem" -cpu "${3:-max}" -smp "$1" -m "$2"
		-object "memory-backend-memfd,id=mem,size=$2M,share=on" -nodefaults -no-user-config -nographic -no-reboot)
	# shellcheck disable=SC2034
	CONSOLE="console=ttyS0 quiet panic=-1 no_timer_check"
}

qemu_with_windows() {
	QEMU_ROOT=${KFS_CACHE:-/var/cache/kfs}/qemu
	[ -e "$QEMU_ROOT/.complete" ] || skip "no QEMU with windows in $QEMU_ROOT: kernel-patches/fetch.sh qemu fetches one"
}

# What it sees is its own root; the folder "share" is /kfs in there, in a mount namespace of its own.
new_guest() {
	local job=$1
	shift
	cat >qemu.sh <<-'SH'
		set -e
		root=$1 share=$2
		shift 2
		mount --rbind "$share" "$root/kfs"
		mount -t proc proc "$root/proc"
		mount --bind /dev "$root/dev"
		exec chroot "$root" qemu-system-x86_64 "$@"
	SH
	timeout -k 5 "${GUEST_SECONDS:-600}" unshare -m --propagation private bash qemu.sh "$QEMU_ROOT" "$PWD/share" \
		"${MACHINE[@]}" -kernel /kfs/vmlinuz -initrd /kfs/initrd -append "$CONSOLE nosoftlockup mitigations=off job=$job" \
		-chardev "file,id=console,path=/kfs/$job.log" -serial chardev:console -pidfile /kfs/qemu.pid "$@" </dev/null >"$job.qemu" 2>&1
}

# QEMU's generic vhost-user device stands for a virtio-fs one, for QEMU's own has no window yet.
WINDOW_DEVICE=(-chardev "socket,id=guest,path=/kfs/s"
	-device "vhost-user-test-device-pci,chardev=guest,virtio-id=26,num_vqs=2,vq_size=1024,config_size=40")
windows_guest() { new_guest "$1" "${WINDOW_DEVICE[@]}"; }

said() { grep -q "@guest $2" "${LOGS:-.}/$1.log" 2>/dev/null; }
