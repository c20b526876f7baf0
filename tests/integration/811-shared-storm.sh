#!/usr/bin/env bash
# timeout: 300
# One store, three users at once: the host's mount and two guests, at one file and one directory; what one changed the
# others see when it was answered. Files that the host has mapped and stored into while a guest changes them.
. "$(dirname "$0")/../lib/lib.sh"
need_root

VFE=$TOOLS/vhost/vfe
ROUNDS=${ROUNDS:-1500}

mkimage disk.img 128M
mount_kfs disk.img mnt -o "vhost=$PWD/s,vhost_queues=2"
"$VFE" s mapped "$PWD/mnt"
"$VFE" s storm "$ROUNDS" "$PWD/mnt"
umount_kfs mnt
fsck_clean disk.img

# Guests alone.
mkimage disk.img 128M
kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,vhost_queues=2"
"$VFE" s storm "$ROUNDS"
pid=$(kfs_pids "$PWD/disk.img")
kill -TERM "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
fsck_clean disk.img
