#!/usr/bin/env bash
# timeout: 240
# A front end that lies, seeded (tests/vhost/hostile.c): messages, rings, requests, memory that is cut short. The daemon,
# the host's mount beside it and honest guests go on; the image stays clean. KFS_SEED and KFS_CASES draw others.
. "$(dirname "$0")/../lib/lib.sh"
need_root

SEED=${KFS_SEED:-1} CASES=${KFS_CASES:-2000}

mkimage disk.img 64M
mount_kfs disk.img mnt -o "vhost=$PWD/s,tag=guests,vhost_queues=2,log_level=error"
echo before >mnt/file
"$TOOLS/vhost/vfe" s hostile "$SEED" "$CASES"
expect_eq "$(cat mnt/file)" before "what the host reads"
echo after >mnt/file
kfsctl check mnt
umount_kfs mnt
fsck_clean disk.img
