#!/bin/busybox sh
# The first program of the guest, in its initramfs: loads what reaches the root, and goes on there with guest.sh's part
# below. Never returns: the guest is switched off.

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
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work root /new || off "no overlay"
for dir in proc sys dev; do
	mkdir -p "/new/$dir"
	mount --move "/$dir" "/new/$dir"
done
mkdir -p /new/tmp /new/run /new/mnt /new/lib/modules /new/dev/pts /new/dev/shm
mount -t tmpfs -o mode=1777 tmp /new/tmp
mount -t tmpfs -o mode=755 run /new/run
mount -t tmpfs -o mode=755 mnt /new/mnt
mount -t tmpfs -o mode=1777 shm /new/dev/shm
mount -t devpts pts /new/dev/pts
mount -t bpf bpf /new/sys/fs/bpf
mount -t tracefs trace /new/sys/kernel/tracing
ip link set lo up
hostname guest

job=$(sed -n 's/.*kfs\.job=\([^ ]*\).*/\1/p' /new/proc/cmdline)
cat >/rw/main.sh <<'MAIN'
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
sleep 10
MAIN
mkdir -p /new/run/vm
cp /rw/main.sh /new/run/vm/main.sh
exec switch_root /new /bin/bash /run/vm/main.sh "$job"
