#!/usr/bin/env bash
# The daemon of a mount made by root has dropped what it does not need; noallow_other keeps other users out.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need setpriv
chmod 755 "$SCRATCH"
as_user test -x "$SCRATCH" || skip "ordinary users cannot reach $SCRATCH"

mkimage a.img 64M
mount_kfs a.img a
install -m 640 -g 65534 /dev/null a/group
echo group >a/group
expect_eq "$(as_user cat a/group)" group

pid=$(kfs_pids "$SCRATCH/a")
effective=$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")
# CAP_SYS_ADMIN (21) to unmount, CAP_DAC_READ_SEARCH (2) to get there.
expect_eq "$effective" 0000000000200004 "capabilities of the daemon"
# The thread sanitizer has a thread of its own from before main(): the second oldest.
sanitizer=$(grep -qs fsanitize=thread "$BUILD/flags.stamp" && find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | sort -V | sed -n 2p) || :
for thread in /proc/"$pid"/task/*; do
	[ "$thread" != "$sanitizer" ] || continue
	expect_eq "$(awk '/^CapEff:/ { print $2 }' "$thread/status")" "$effective" "capabilities of $thread"
done

remount_kfs a.img a -o noallow_other
expect_failure as_user cat a/group 2>/dev/null
umount_kfs a
fsck_clean a.img
