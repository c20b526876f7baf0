#!/usr/bin/env bash
# timeout: 900
# A real guest with a window that is larger than QEMU's memory slots allow (vhost/window.h), and files that are larger than
# that, so that its kernel has to give ranges up: contents through mappings and by read(2), requests whose buffers lie in the
# window, an unmount that gives all of it up. 1 GiB of window here, for each mapping takes QEMU the longer the more there are:
# KFS_WINDOW=8G KFS_WINDOW_MIB=9600 is the largest, for which it takes most of an hour, and as much of the disk.
# Skipped where "kernel-patches/fetch.sh qemu" or "make vm" have not fetched QEMU or a kernel.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
need_root
need gcc

qemu_with_windows
guest_kernel

window=${KFS_WINDOW:-1G}
mib=${KFS_WINDOW_MIB:-1100}
export GUEST_SECONDS=$((300 + mib / 3))
files=4

# ---- the guest ----

gcc -O1 -static -o dax_pages "$TOP/tests/vm/dax_pages.c"
export LOGS=share
mkdir -p share
guest_root share/initrd dax_pages <<'SH'
at=mount; mount -t virtiofs -o dax=always guests /mnt; cd /mnt
at=check; for i in 1 2 3 4; do dax_pages check file$i $i; echo "checked $i at $(cut -d' ' -f1 /proc/uptime)"; done
at=append; dax_pages append file3 10481664 20480 grown; dax_pages append file1 4096 4096 grown; dax_pages append file2 0 1048576 grown
dd if=file3 bs=512 skip=20472 count=40 2>/dev/null >/tmp-grown; dd if=file1 bs=4096 skip=1 count=1 2>/dev/null >>/tmp-grown
dd if=file2 bs=64k count=16 2>/dev/null >>/tmp-grown; cmp /tmp-grown grown
at=read; for i in 4 1; do dax_pages read file$i $i; done; echo "read at $(cut -d' ' -f1 /proc/uptime)"
at=unmount; cd /; umount /mnt
at=inode; mount -t virtiofs -o dax=inode guests /mnt; cd /mnt; dax_pages check file1 1
at=fetch; dax_pages fetch small 2093056 16384 target; dd if=target bs=512 skip=4088 count=32 2>/dev/null >/tmp-target; cmp /tmp-target small
at=unmount; cd /; umount /mnt
SH
guest_machine 2 1024
cp "$VMLINUZ" share/vmlinuz

# ---- the host ----

mkdir tree
head -c 16384 /dev/urandom >tree/small
head -c 4M /dev/zero >tree/target
export KFS_MKFS_OPTS=
mkimage disk.img "$((mib + mib / 10 + 200))M" -b 4096 -d tree
mount_kfs disk.img mnt -o "vhost=$PWD/share/s,tag=guests,dax_window=$window"
for ((i = 1; i <= files; i++)); do ./dax_pages write "mnt/file$i" $((mib / files)) "$i"; done

windows_guest large || { tail -n 20 large.qemu; tail -n 20 share/large.log; fail "QEMU failed"; }
said large ok || { tail -n 40 share/large.log; tail -n 5 large.qemu; fail "the guest did not get through"; }
! grep -E 'BUG:|WARNING:|Oops' share/large.log || fail "the guest's kernel complains"
grep 'its window:' kfs-mnt.log
grep -q 'its window: [1-9][0-9]* mapped, [1-9][0-9]* unmapped, 0 refused, 0 failed' kfs-mnt.log || fail "some was refused"
grep -E 'checked|read at' share/large.log
cmp <(dd if=mnt/target bs=512 skip=4088 count=32 2>/dev/null) mnt/small
for ((i = 1; i <= files; i++)); do ./dax_pages check "mnt/file$i" "$i"; done
umount_kfs mnt
fsck_clean disk.img
