#!/usr/bin/env bash
# Guests beside the host's mount: what a guest changes the host sees when it is answered (its caches are full of the old),
# and back; locks hold between them, and end with a guest that goes away. Guests that only read leave the host its caches.
. "$(dirname "$0")/../lib/lib.sh"
need_root

VFE=$TOOLS/vhost/vfe

mkimage disk.img 128M
mount_kfs disk.img mnt -o "vhost=$PWD/s,tag=guests,vhost_queues=2"
"$VFE" s script
expect_eq "$(cat mnt/dir/hello)" "hello from a guest" "what the host reads"
"$VFE" s share "$PWD/mnt"
"$VFE" s grow "$PWD/mnt" 100
"$VFE" s locks "$PWD/mnt"
"$VFE" s vanish
umount_kfs mnt
[ ! -e s ] || fail "the socket is left behind"
fsck_clean disk.img

mount_kfs disk.img mnt -o "vhost=$PWD/s,guests=ro"
kfsctl status --json mnt | grep -q '"share": *false' || fail "share=on for guests that only read"
echo from the host >mnt/new
sync -f mnt
"$VFE" s readonly
umount_kfs mnt
fsck_clean disk.img
