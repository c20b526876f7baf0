#!/usr/bin/env bash
# Large images: sparse, fast, and up to the largest file that this filesystem can hold.
. "$(dirname "$0")/../lib/lib.sh"
need dumpe2fs e2fsck

start=$(date +%s%N)
mkfs.kfs -q large.img 1T
ms=$((($(date +%s%N) - start) / 1000000))
kib=$(du -k large.img | cut -f1)
echo "1 TiB: $ms ms, $kib KiB"
[ "$kib" -lt 65536 ] || fail "1 TiB takes $kib KiB of disk"
if [ -z "${SLOW:-}" ]; then [ "$ms" -lt 2000 ] || fail "1 TiB takes $ms ms"; fi
fsck_clean large.img
if grep -qw ext4 /proc/filesystems && [ "$(id -u)" -eq 0 ]; then
	kmount large.img mnt
	dd if=/dev/zero of=mnt/file bs=1M count=40 status=none
	kumount mnt
	fsck_clean large.img
fi
rm large.img

# More than 2^31 blocks, more than 2^31 inodes' worth of room.
truncate -s 16T probe.img 2>/dev/null || truncate -s $((16 * 1024 * 1024 * 1024 - 4))K probe.img 2>/dev/null ||
	skip "no file of 16 TiB fits here"
rm probe.img
mkfs.kfs -q large.img $((16 * 1024 * 1024 * 1024 - 4))K
dumpe2fs -h large.img 2>/dev/null >super.txt
grep -Eq '^Block count: +4294967295$' super.txt || fail "block count: $(grep '^Block count' super.txt)"
if [ "$(df -k --output=avail . | tail -1)" -gt 4000000 ] && grep -qw ext4 /proc/filesystems && [ "$(id -u)" -eq 0 ]; then
	kmount large.img mnt
	echo hello >mnt/file
	kumount mnt
fi
echo ok
