#!/usr/bin/env bash
# Runs a command inside a virtual machine with a stock Debian kernel, no KVM needed:
#
#   vm.sh [OPTION…] COMMAND [WORD…]
#
#   --kernel SERIES   6.12 (default)
#   --memory SIZE     2G
#   --cpus N          2
#   --icount          count instructions: the guest's clock is 1 ns an instruction, all processors together; repeatable
#   --timeout SECONDS 300
#   --multi           a thread for each processor: true races, and faster on an idle machine; QEMU 7.2 may then run into code
#                     that the guest's kernel is patching (an int3, mostly while it boots)
#   --plug FOLDER     virtio-fs devices for programs in the guest (tests/tools/standin.c, plug.py); FOLDER of this machine
#                     is the guest's, too, to write: "mount -t 9p plug FOLDER". fusebpf is not built
#
# The guest's root is this machine's, read-only by 9p, under an overlay in memory: programs, libraries and this tree are
# where they are here, writes are lost at the end. Modules of the guest's kernel load by modprobe, fusebpf (built first if it
# is not there) by "insmod $VM_FUSEBPF". Standard output and error of the command are printed; the exit status is
# the command's, 124 after the time limit, 125 if the guest died or its kernel complained (its console is then shown).
#
# Environment: BUILD (folder of the build), KFS_CACHE (see kernel-patches/fetch.sh).

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$HERE/../.." && pwd)
BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac

KERNEL=6.12 MEMORY=2G CPUS=2 TIMEOUT=300 PLUG=
ACCEL=(-accel "tcg,thread=single")
while [ $# -gt 0 ]; do
	case $1 in
	--kernel) KERNEL=$2 && shift 2 ;;
	--memory) MEMORY=$2 && shift 2 ;;
	--cpus) CPUS=$2 && shift 2 ;;
	--timeout) TIMEOUT=$2 && shift 2 ;;
	--multi) ACCEL=(-accel "tcg,thread=multi") && shift ;;
	--plug) PLUG=$2 && shift 2 ;;
	--icount)
		ACCEL=(-accel "tcg,thread=single" -icount "shift=0,sleep=off")
		shift
		;;
	--) shift && break ;;
	-*)
		echo "vm: unknown option: $1" >&2
		exit 2
		;;
	*) break ;;
	esac
done
# A kernel that watches itself takes longer over how ACPI routes interrupts than ACPI's interpreter waits, and then has none.
SLOW=
case $KERNEL in *-debug) SLOW="acpi=noirq " ;; esac
[ $# -gt 0 ] || {
	echo "usage: vm.sh [--kernel SERIES] [--memory SIZE] [--cpus N] [--icount] [--multi] [--timeout SECONDS] [--plug FOLDER] COMMAND [WORD…]" >&2
	exit 2
}

die() {
	echo "vm: $*" >&2
	exit 125
}

command -v qemu-system-x86_64 >/dev/null || die "qemu-system-x86_64 is not installed: tests/lib/deps.sh install vm"
command -v busybox >/dev/null || die "busybox is not installed: tests/lib/deps.sh install vm"

KERNEL_DIR=$("$TOP/kernel-patches/fetch.sh" kernel "$KERNEL")
RELEASE=$(cat "$KERNEL_DIR/release")
MODULE_DIR=$BUILD/vm/$KERNEL
if [ "$PLUG" ]; then mkdir -p "$MODULE_DIR"; else "$TOP/kernel-patches/build.sh" module "$MODULE_DIR" "$KERNEL"; fi

# What has to be there before the root is: 9p over virtio, overlayfs, the console; some kernels have virtio built in.
early_modules() {
	modprobe -d "$KERNEL_DIR" -S "$RELEASE" --show-depends -a virtio_pci virtio_console 9p 9pnet_virtio overlay |
		awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# The initramfs holds busybox, those modules and guest-init.sh; it is made again when one of them changes.
make_initramfs() {
	local image=$1 root=$1.root module name
	rm -rf "$root" && mkdir -p "$root"/{bin,modules,proc,sys,dev,lower,rw,overlay,new}
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$HERE/guest-init.sh" "$root/init"
	chmod 755 "$root/init"
	: >"$root/modules/order"
	early_modules >"$image.modules"
	while read -r module; do
		name=$(basename "${module%.xz}")
		case $module in # those of 6.1 are not compressed
		*.xz) xz -dc "$module" >"$root/modules/$name" ;;
		*) cp "$module" "$root/modules/$name" ;;
		esac
		echo "$name" >>"$root/modules/order"
	done <"$image.modules"
	(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet | gzip -1) >"$image.new"
	mv "$image.new" "$image"
	rm -rf "$root"
}

INITRAMFS=$MODULE_DIR/initramfs
if [ ! -e "$INITRAMFS" ] || [ "$HERE/guest-init.sh" -nt "$INITRAMFS" ] || [ "$KERNEL_DIR/release" -nt "$INITRAMFS" ]; then
	make_initramfs "$INITRAMFS"
fi

JOB=$(mktemp -d "$MODULE_DIR/job.XXXXXX")
SOCKETS=
cleanup() {
	rm -rf "$JOB" ${SOCKETS:+"$SOCKETS"}
}
trap cleanup EXIT
{
	printf 'cd %q\n' "$PWD"
	printf 'export BUILD=%q VM_KERNEL=%q VM_ICOUNT=%q PATH=%q\n' "$BUILD" "$RELEASE" "${ACCEL[2]:+1}" "$PATH"
	printf 'export VM_MODULES=%q VM_FUSEBPF=%q VM_PLUG=%q\n' "$KERNEL_DIR/lib/modules" "$MODULE_DIR/fusebpf.ko" "$PLUG"
	printf 'run() {\n'
	printf '%q ' "$@"
	printf '\n}\n'
} >"$JOB/job"

# What --plug is made of: memory that others may map, a second folder, and a network of one address, where each connection
# is a process of plug.py's. The names of sockets are limited to 108 bytes.
PLUGS=()
if [ "$PLUG" ]; then
	SOCKETS=$(mktemp -d /tmp/kfs-plug.XXXXXX)
	printf '#!/bin/sh\nexec python3 %q %q %q %q 2>>%q\n' \
		"$HERE/plug.py" "$SOCKETS/qmp" "$BUILD/bin" "$SOCKETS" "$JOB/plug.log" >"$JOB/plug"
	chmod 755 "$JOB/plug"
	PLUGS=(-object "memory-backend-memfd,id=mem,size=$MEMORY,share=on" -machine "pc,memory-backend=mem"
		-fsdev "local,id=plug,path=$PLUG,security_model=none,multidevs=remap"
		-device "virtio-9p-pci,fsdev=plug,mount_tag=plug" -qmp "unix:$SOCKETS/qmp,server=on,wait=off"
		-netdev "user,id=net,restrict=on,guestfwd=tcp:10.0.2.100:77-cmd:$JOB/plug" -device "virtio-net-pci,netdev=net,romfile=")
fi

status=0
timeout -k 5 "$TIMEOUT" qemu-system-x86_64 "${ACCEL[@]}" -cpu max -smp "$CPUS" -m "$MEMORY" \
	-nodefaults -no-user-config -nographic -no-reboot \
	-kernel "$KERNEL_DIR/boot/vmlinuz-$RELEASE" -initrd "$INITRAMFS" \
	-append "console=ttyS0 quiet loglevel=5 panic=-1 oops=panic nowatchdog no_timer_check rcupdate.rcu_cpu_stall_suppress=1 ${SLOW}kfs.job=$JOB/job" \
	-fsdev "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap" \
	-device virtio-9p-pci,fsdev=root,mount_tag=root \
	-chardev "file,id=console,path=$JOB/console" -serial chardev:console \
	-chardev "file,id=out,path=$JOB/out" -device virtio-serial-pci -device virtconsole,chardev=out \
	"${PLUGS[@]}" </dev/null >"$JOB/qemu" 2>&1 &
QEMU=$!
trap 'kill "$QEMU" 2>/dev/null || :; cleanup' EXIT
trap 'exit 130' INT TERM
# What the guest says is passed on while it says it, but for the last line, which is for us.
: >>"$JOB/out"
tail -n +1 -f --pid="$QEMU" "$JOB/out" 2>/dev/null | sed -u 's/\r//g; /^@vm-exit /d'
wait "$QEMU" || status=$?
trap cleanup EXIT

if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
	tail -n 20 "$JOB/console" >&2
	echo "vm: no end after $TIMEOUT s" >&2
	exit 124
fi
cat "$JOB/qemu" >&2
if [ -s "$JOB/plug.log" ]; then cat "$JOB/plug.log" >&2; fi
complaint='BUG:|WARNING:|Oops|general protection|refcount_t|UBSAN|KASAN|possible circular|suspicious RCU|Kernel panic'
if grep -Eq "$complaint" "$JOB/console" || ! grep -q '^@vm-exit [0-9]*' "$JOB/out"; then
	tail -n 80 "$JOB/console" >&2
	die "the guest's kernel complained, or the guest died (qemu: $status)"
fi
exit "$(tr -d '\r' <"$JOB/out" | sed -n 's/^@vm-exit \([0-9]*\)$/\1/p' | tail -n 1)"
