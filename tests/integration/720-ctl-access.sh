#!/usr/bin/env bash
# Who may ask: root everybody, an ordinary user only the daemons of their own mounts. And what a killed daemon leaves.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq fusermount3 setpriv
. "$LIB/fuse_for_all.sh" "$@"
as_user test -x "$SCRATCH" -a -x "$BIN/kfs" || skip "an ordinary user cannot reach $SCRATCH"

mkdir -m 700 user user/run user/mnt
mkimage user/own.img 16M
chown -R 65534:65534 user
as_owner() {
	as_user env XDG_RUNTIME_DIR="$SCRATCH/user/run" "$@"
}
as_other() {
	as_id 65533 65533 env XDG_RUNTIME_DIR=/nonexistent "$@"
}

# ---- an ordinary user's own mount ----
as_owner kfs "$SCRATCH/user/own.img" "$SCRATCH/user/mnt" -o "log=$SCRATCH/user/kfs.log"
MOUNTS+=("kfs $SCRATCH/user/mnt")
expect_eq "$(as_owner kfsctl status --json "$SCRATCH/user/mnt" | jq -r '"\(.owner_uid) \(.image)"')" "65534 $SCRATCH/user/own.img" "own mount"
as_owner kfsctl sync "$SCRATCH/user/mnt"
state_of() { # MOUNTPOINT: as kfsctl list of the owner has it
	as_owner kfsctl list --json | jq -r --arg dir "$1" '.[] | select(.mountpoint == $dir) | .state'
}
expect_eq "$(state_of "$SCRATCH/user/mnt")" read-write "own mount in the list"
socket=$(find user/run -name '*.sock')
expect_eq "$(stat -c '%a %u' "$socket")" "600 65534" "mode of the socket"
# Root finds it where the owner put it, although it may not enter the mount.
expect_eq "$(XDG_RUNTIME_DIR=$SCRATCH/user/run kfsctl status --json "$SCRATCH/user/mnt" | jq .owner_uid)" 65534 "status asked by root"

# ---- root's mount, asked by others ----
mkimage root.img 16M
mount_kfs root.img m
expect_eq "$(kfsctl status --json m | jq .owner_uid)" 0 "owner of root's mount"
entry=$(grep -lxF "mountpoint=$SCRATCH/m" /run/kfs/*.mount)
expect_eq "$(stat -c '%a %u' "${entry%.mount}.sock")" "600 0" "mode of root's socket"
for who in as_owner as_other; do
	expect_status 1 $who kfsctl status "$SCRATCH/m" 2>error.txt
	grep -qx "kfsctl: $SCRATCH/m: you may not ask: it belongs to another user: ask as root or as uid 0" error.txt || fail "$(cat error.txt)"
	expect_status 1 $who kfsctl freeze "$SCRATCH/m" 2>/dev/null
done
expect_eq "$(state_of "$SCRATCH/m")" "not yours" "root's mount in the list"
# The server itself refuses too, should the socket's mode be loosened.
chmod 666 "${entry%.mount}.sock"
expect_status 1 as_other kfsctl thaw "$SCRATCH/m" 2>error.txt
grep -q 'this mount belongs to another user: ask as its owner or as root' error.txt || fail "$(cat error.txt)"
expect_eq "$(kfsctl status --json m | jq .frozen)" false "frozen by nobody"

# ---- a killed daemon ----
pid=$(kfsctl status --json m | jq .worker_pid)
kill -KILL "$pid"
eventually 10 test ! -e "/proc/$pid" || fail "pid $pid lives"
for command in status stats sync freeze; do
	expect_status 1 timeout 10 kfsctl "$command" "$SCRATCH/m" 2>error.txt
	grep -qx "kfsctl: $SCRATCH/m: its daemon (pid $pid) is gone: 'umount $SCRATCH/m', then mount the image again" error.txt || fail "$(cat error.txt)"
done
kfsctl list >list.txt
grep -q " dead .* $SCRATCH/m " list.txt || fail "$(cat list.txt)"
umount "$SCRATCH/m"
forget_mount "$SCRATCH/m"
if kfsctl list | grep -qF " $SCRATCH/m "; then fail "listed, but neither mounted nor alive"; fi
# The next mount takes the same id, and the old socket's place.
mount_kfs root.img m
expect_eq "$(grep -lxF "mountpoint=$SCRATCH/m" /run/kfs/*.mount)" "$entry" "entry of the same mount"
kfsctl status m >/dev/null
umount_kfs m
[ ! -e "$entry" ] || fail "$entry is left"
fsck_clean root.img
# ---- a private mount's end: root cannot even look at it, so the kernel's table is asked ----
pid=$(kfs_pids "$SCRATCH/user/mnt")
as_owner fusermount3 -u "$SCRATCH/user/mnt"
if grep -qF " $SCRATCH/user/mnt " /proc/mounts; then fail "the user's mount is left"; fi
forget_mount "$SCRATCH/user/mnt"
eventually 30 all_gone "$pid" || fail "the daemon outlives its mount"
expect_eq "$(find user/run -type f -o -type s | wc -l)" 0 "files left in the user's runtime directory"
fsck_clean user/own.img
