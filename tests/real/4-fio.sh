#!/usr/bin/env bash
# timeout: 1800
# fio writes, overwrites and verifies through every engine, buffered and direct, then once more after a remount.
. "$(dirname "$0")/lib.sh"
need fio
SIZE=${SIZE:-96m}

verify() { # ENGINE DIRECT
	fio --name="$1-$2" --filename="$1-$2.dat" --ioengine="$1" --direct="$2" --size="$SIZE" --rw=randrw --bs=4k-64k \
		--bsrange=4k-64k --blockalign=4k --iodepth=8 --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_backlog=512 \
		--randrepeat=1 --end_fsync=1 --group_reporting --minimal
}
verify_all() {
	verify psync 0 && verify psync 1 && verify libaio 0 && verify libaio 1 && verify io_uring 0 && verify io_uring 1 &&
		verify mmap 0
}
both 2G verify_all
md5sum kfs/*.dat | sed 's#kfs/##' >sums
remount_kfs kfs.img kfs
(cd kfs && md5sum -c ../sums) || fail "contents after a remount"
umount_kfs kfs
fsck_clean kfs.img
kmount kfs.img seen ro
(cd seen && md5sum -c ../sums) || fail "contents as the kernel reads them"
