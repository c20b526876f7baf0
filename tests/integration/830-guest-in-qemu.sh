#!/usr/bin/env bash
# timeout: 600
# A real guest: Debian's stock kernel in QEMU (no KVM) mounts by tag through QEMU's vhost-user-fs-pci and works there,
# beside the host's mount; it unmounts and mounts again, and is killed in the middle of a write. Skipped where QEMU or a
# kernel that "make vm" fetched is missing.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
need_root
need qemu-system-x86_64
guest_kernel

# ---- the guest ----

guest_root initrd <<'SH'
at=mount; mount -t virtiofs guests /mnt; cd /mnt
if [ "$job" = killed ]; then
	echo @guest writes
	while :; do dd if=/dev/zero of=endless bs=64k count=100 conv=fsync 2>/dev/null; mkdir -p d/e/f; mv d d2; rm -rf d2; done
fi
at=read; md5sum -c sums
at=copy; cp -a from-host copy; diff -r from-host copy
at=names; for i in $(seq 60); do echo "file $i" >"many-$i"; done; [ "$(ls | grep -c '^many-')" = 60 ]
for i in $(seq 30); do mv "many-$i" "moved-$i"; done; rm many-5?; [ "$(cat moved-27)" = "file 27" ]
at=links; ln -s moved-1 symlink; [ "$(cat symlink)" = "file 1" ]; ln moved-2 hard; [ "$(stat -c %h hard)" = 2 ]
at=modes; chmod 4711 moved-3; chown 12:34 moved-4; [ "$(stat -c %a:%u:%g moved-4)" = 644:12:34 ]; mkfifo fifo; mknod null c 1 3
at=append; for i in $(seq 20); do echo "line $i" >>log; done; [ "$(wc -l <log)" = 20 ]
at=big; dd if=/dev/urandom of=big bs=1M count=8 2>/dev/null; cp big big2; cmp big big2; md5sum big >big.sum
at=truncate; truncate -s 100 big2; [ "$(stat -c %s big2)" = 100 ]
at=deleted; exec 5<>big2; rm big2; echo still here >&5; exec 5>&-
at=df; df /mnt | grep -q guests
at=remount; cd /; umount /mnt; mount -t virtiofs guests /mnt; cd /mnt; md5sum -c big.sum; [ "$(stat -c %a moved-3)" = 4711 ]
at=drop; echo 3 >/proc/sys/vm/drop_caches; md5sum -c big.sum; diff -r from-host copy
at=unmount; cd /; umount /mnt
SH
guest_machine 2 512

# boot JOB [words]: runs until the guest is off
boot() {
	local job=$1
	shift
	timeout -k 5 400 qemu-system-x86_64 "${MACHINE[@]}" -kernel "$VMLINUZ" -initrd initrd -append "$CONSOLE job=$job" \
		-chardev socket,id=guest,path=s -device vhost-user-fs-pci,chardev=guest,tag=guests,queue-size=1024 \
		-chardev "file,id=console,path=$job.log" -serial chardev:console "$@" </dev/null >"$job.qemu" 2>&1
}

# ---- the host ----

mkdir tree
mkdir tree/from-host
for i in 1 2 3 4 5; do head -c $((i * 100000)) /dev/urandom >"tree/from-host/file-$i"; done
(cd tree && md5sum from-host/* >sums)
mkimage disk.img 256M -d tree
mount_kfs disk.img mnt -o "vhost=$PWD/s,tag=guests"

boot works || { cat works.qemu; fail "QEMU failed"; }
said works ok || { tail -n 30 works.log; fail "the guest did not get through"; }
! grep -E 'BUG:|WARNING:|Oops' works.log || fail "the guest's kernel complains"
expect_eq "$(tail -n 1 mnt/log)" "line 20" "what the host reads"
expect_eq "$(stat -c %a:%u:%g mnt/moved-4)" 644:12:34 "what the host sees"
(cd mnt && md5sum -c --quiet big.sum)
diff -r tree/from-host mnt/copy

boot killed -pidfile "$PWD/qemu.pid" &
pid=$!
eventually 200 said killed writes || { tail -n 30 killed.log; fail "the guest does not write"; }
sleep 2
kill -KILL "$(cat qemu.pid)"
wait "$pid" && fail "QEMU ended by itself"
eventually 20 grep -q 'guest 2: disconnected' kfs-mnt.log || fail "nobody noticed that the guest is gone"
rm -rf mnt/endless mnt/d mnt/d2
umount_kfs mnt
fsck_clean disk.img
