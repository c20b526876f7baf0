#!/bin/busybox sh
# shellcheck shell=dash
# The first program of the guest, in its initramfs: lays out the root, and goes on there. Never returns: the guest is
# switched off.
#
# The root is a file system in memory, with the machine's folders bound into it. They come by 9p under an overlay, which no
# path walk passes under RCU; the tests' mounts, below /mnt, are reached without touching them.

/bin/busybox mkdir -p /bin && /bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

off() {
	echo "guest-init: $*" >/dev/ttyS0
	poweroff -f
}

while read -r module; do
	insmod "/modules/$module" || off "cannot load $module"
done </modules/order

mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 root /lower || off "no root"
mount -t tmpfs -o mode=755,size=70% rw /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work root /overlay || off "no overlay"
mount -t tmpfs -o mode=755 root /new
for entry in /overlay/*; do
	name=${entry##*/}
	case $name in proc | sys | dev | tmp | run | mnt | lost+found) continue ;; esac
	if [ -h "$entry" ]; then
		cp -P "$entry" "/new/$name"
	elif [ -d "$entry" ]; then
		mkdir "/new/$name"
		mount --bind "$entry" "/new/$name"
	fi
done
for dir in proc sys dev; do
	mkdir "/new/$dir"
	mount --move "/$dir" "/new/$dir"
done
mkdir -p /new/tmp /new/run /new/mnt /new/dev/pts /new/dev/shm
chmod 1777 /new/tmp
mount -t tmpfs -o mode=1777 shm /new/dev/shm
mount -t devpts pts /new/dev/pts
ln -s /proc/self/fd /new/dev/fd
mount -t bpf bpf /new/sys/fs/bpf
mount -t tracefs trace /new/sys/kernel/tracing
ip link set lo up
hostname guest

# The kernel finds the console's port by itself, a slow one later than this.
for _ in $(seq 600); do
	[ ! -c /new/dev/hvc0 ] || break
	sleep 0.1
done
[ -c /new/dev/hvc0 ] || off "no /dev/hvc0"

job=$(sed -n 's/.*kfs\.job=\([^ ]*\).*/\1/p' /new/proc/cmdline)
mkdir -p /new/run/vm
cat >/new/run/vm/main.sh <<'MAIN'
stty -F /dev/hvc0 raw -echo
exec </dev/null >/dev/hvc0 2>&1
. "$1"
mkdir -p /lib/modules
mount --bind "$VM_MODULES" /lib/modules
status=0
(run) || status=$?
printf '\n@vm-exit %d\n' "$status"
sleep 0.1
echo o >/proc/sysrq-trigger
# No program can be started any more once the root's device is off, and the first process must not end.
while :; do :; done
MAIN
exec switch_root /new /bin/bash /run/vm/main.sh "$job"
