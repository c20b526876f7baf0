#!/usr/bin/env bash
# timeout: 900
# A real guest with a window (DAX): Debian's stock kernel in a QEMU that maps what we tell it to (11.1 or newer, from a root
# of its own; no KVM). Its generic vhost-user device stands for a virtio-fs one, for QEMU's own has no window yet. Contents
# by mount -o dax=always and by inode, seen from both sides; what is mapped is read again without a request; growth,
# truncation, rename and deletion while mapped; a window that is smaller than the files; QEMU killed in the middle.
# Skipped where "kernel-patches/fetch.sh qemu" or "make vm" have not fetched QEMU or a kernel.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
need_root
need gcc

qemu_with_windows
guest_kernel

# ---- the guest ----

gcc -O1 -static -o dax_store "$TOP/tests/vm/dax_store.c"
export LOGS=share
mkdir -p share
guest_root share/initrd dax_store <<'SH'
at=mount; mount -t virtiofs -o dax=always guests /mnt; cd /mnt
if [ "$job" = killed ]; then
	echo @guest writes
	while :; do
		for i in $(seq 20); do dax_store big $((i * 300000)) "killed $i" >/dev/null; done
		dd if=big of=copy bs=64k 2>/dev/null; dd if=small of=copy bs=4k conv=notrunc 2>/dev/null; truncate -s 5000 copy; rm copy
	done
fi
at=read; md5sum -c sums
at=again; mkdir mark-1; cat big >/dev/null; md5sum big >/dev/null; mkdir mark-2
at=store; [ "$(dax_store shared 2097150 'from a guest')" = "over an edge" ]
at=grow; cat grow small >/tmp-grow; cat small >>grow; cmp /tmp-grow grow; cat /tmp-grow >>grow; cat /tmp-grow /tmp-grow | tail -c +1 >/dev/null
cat /tmp-grow /tmp-grow >/tmp-twice; cmp /tmp-twice grow; md5sum grow >grow.sum
at=truncate; cp big cut; cmp big cut; truncate -s 10000 cut; truncate -s 3000000 cut; head -c 10000 big >/tmp-cut; head -c 2990000 /dev/zero >>/tmp-cut; cmp /tmp-cut cut; md5sum cut >cut.sum
at=sparse; dd if=/dev/zero of=sparse bs=1 count=1 seek=5000000 2>/dev/null; dax_store sparse 1000000 'in a hole' >/dev/null; [ "$(dd if=sparse bs=1 skip=1000000 count=9 2>/dev/null)" = "in a hole" ]
at=rename; cp big moving; exec 5<>moving; md5sum moving >/dev/null; mv moving moved; dax_store moved 77 renamed >/dev/null; exec 5>&-; [ "$(dd if=moved bs=1 skip=77 count=7 2>/dev/null)" = renamed ]
at=unlink; exec 5<>moved; rm moved; echo still here >&5; exec 5>&-
at=large; cp large copy; cmp large copy; md5sum -c large.sum
at=unmount; cd /; umount /mnt
at=inode; mount -t virtiofs -o dax=inode guests /mnt; cd /mnt; mkdir mark-3; md5sum -c sums; mkdir mark-4; cat big >/dev/null; mkdir mark-5; md5sum -c grow.sum cut.sum
cd /; umount /mnt
at=default; mount -t virtiofs guests /mnt; cd /mnt; md5sum -c sums; cd /; umount /mnt
at=never; mount -t virtiofs -o dax=never guests /mnt; cd /mnt; md5sum -c sums; cd /; umount /mnt
SH
guest_machine 2 512
cp "$VMLINUZ" share/vmlinuz

# requests FROM TO NAME…: how many of these between the two marks; the last of each mark counts
requests() {
	local from=$1 to=$2
	shift 2
	awk -v from="$from" -v to="$to" -v names="$*" '
		BEGIN { n = split(names, list, " "); for (k = 1; k <= n; k++) wanted[list[k]] }
		$0 ~ " MKDIR .* " from "( |$)" { inside = 1; count = 0 }
		$0 ~ " MKDIR .* " to "( |$)" { inside = 0 }
		inside { for (k = 1; k <= NF; k++) if ($k in wanted) { count++; break } }
		END { print count + 0 }' kfs-mnt.log
}

# ---- the host ----

mkdir tree
head -c 8000000 /dev/urandom >tree/big
head -c 70000 /dev/urandom >tree/small
head -c 50000 /dev/urandom >tree/grow
head -c 48M /dev/urandom >tree/large
{
	head -c 2097150 /dev/zero
	printf 'over an edge'
	head -c 1000000 /dev/zero
} >tree/shared
(cd tree && md5sum big small >sums && md5sum large >large.sum)
export KFS_MKFS_OPTS=
mkimage disk.img 512M -b 4096 -d tree
mount_kfs disk.img mnt -o "vhost=$PWD/share/s,tag=guests,dax_window=32M,log_level=trace"

windows_guest works || { cat works.qemu; fail "QEMU failed"; }
said works ok || { tail -n 40 share/works.log; fail "the guest did not get through"; }
! grep -E 'BUG:|WARNING:|Oops' share/works.log || fail "the guest's kernel complains"
expect_eq "$(requests mark-1 mark-2 READ SETUPMAPPING)" 0 "requests for what was mapped"
[ "$(requests mark-3 mark-4 SETUPMAPPING)" -ge 4 ] || fail "by inode, the large file was not mapped"
[ "$(requests mark-3 mark-4 READ)" -ge 1 ] || fail "by inode, the small file was mapped"
expect_eq "$(requests mark-4 mark-5 READ SETUPMAPPING)" 0 "requests for what was mapped by inode"
expect_eq "$(dd if=mnt/shared bs=1 skip=2097150 count=12 2>/dev/null)" "from a guest" "what the host reads"
(cd mnt && md5sum -c --quiet sums large.sum grow.sum cut.sum)
cmp tree/large mnt/copy

windows_guest killed &
pid=$!
eventually 300 said killed writes || { tail -n 30 share/killed.log; fail "the guest does not write"; }
sleep 3
kill -KILL "$(cat share/qemu.pid)"
wait "$pid" && fail "QEMU ended by itself"
eventually 20 grep -q 'guest 2: disconnected' kfs-mnt.log || fail "nobody noticed that the guest is gone"
(cd mnt && md5sum -c --quiet large.sum grow.sum cut.sum)
rm -f mnt/copy
umount_kfs mnt
fsck_clean disk.img
