#!/usr/bin/env bash
# timeout: 300
# Owners, privileges, attributes and locks between guests and the host: users that are translated, set-user-id bits and
# capabilities that go with a write, ACLs, flock(2); a guest without extended attributes; what SYNCFS has made durable.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need debugfs

VFE=$TOOLS/vhost/vfe

mkimage disk.img 64M
mount_kfs disk.img mnt -o "vhost=$PWD/s,vhost_queues=2"
"$VFE" s privileges "$PWD/mnt"
"$VFE" s flocks "$PWD/mnt"
umount_kfs mnt
fsck_clean disk.img

mount_kfs disk.img mnt -o "vhost=$PWD/s,guest_translate_uid=map:0:100000:1000,guest_translate_gid=map:0:100000:1000"
touch mnt/roots
"$VFE" s owners "$PWD/mnt"
umount_kfs mnt
fsck_clean disk.img

mount_kfs disk.img mnt -o "vhost=$PWD/s,guest_noxattr"
"$VFE" s no-xattrs
umount_kfs mnt
fsck_clean disk.img
for words in guest_translate_uid=map:0:1 guest_translate_gid=map:0:0:5+map:3:9:1 guest_acl,guest_noxattr; do
	kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,$words" 2>refused && fail "accepted: $words"
	grep -q "^kfs: ${words%%[=,]*}" refused || fail "refused with: $(cat refused)"
	expect_eq "$(wc -l <refused)" 1 "lines"
done

# A daemon that dies: what was synced is there. Nothing commits by itself meanwhile, or the test would show nothing.
kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,commit=300"
"$VFE" s durable
pid=$(kfs_pids "$PWD/disk.img")
kill -KILL "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not die"
rm -f s
mount_kfs disk.img mnt
expect_eq "$(cat mnt/durable)" safe "what SYNCFS made durable"
[ ! -e mnt/lost ] || fail "committed without being asked: SYNCFS was not what made it durable"
umount_kfs mnt
fsck_clean disk.img
