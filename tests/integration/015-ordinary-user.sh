#!/usr/bin/env bash
# An ordinary user's mount: made and ended without root, private, nosuid and nodev whatever the image says.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need fusermount3 setpriv
. "$LIB/fuse_for_all.sh" "$@"

mkimage a.img 32M -E root_owner=65534:65534
mount_kfs a.img a
cp "$(command -v id)" a/id
chown 0:0 a/id
chmod 4755 a/id
mknod -m 666 a/null c 1 3
umount_kfs a

chmod 755 "$SCRATCH"
mkdir -p mine
chown 65534:65534 a.img mine "$SCRATCH"
# Every folder above must let the user through.
as_user test -x "$BIN/kfs" || skip "ordinary users cannot reach $BIN"

MOUNTS+=("kfs $SCRATCH/mine")
as_user kfs "$SCRATCH/a.img" "$SCRATCH/mine" -o "log=$SCRATCH/user.log"
# stat() is refused to root as well: the table is asked.
mounted() { grep -q " $SCRATCH/mine fuse.kfs " /proc/mounts; }
mounted || fail "not mounted"
grep " $SCRATCH/mine fuse.kfs " /proc/mounts >line.txt || fail "not of type fuse.kfs"
for word in nosuid nodev; do
	grep -q "$word" line.txt || fail "no $word for an ordinary user: $(cat line.txt)"
done
grep -q allow_other line.txt && fail "a user's mount is not private: $(cat line.txt)"
# shellcheck disable=SC2016 # expanded by the inner shell
as_user sh -c 'echo mine >"$1/file" && cat "$1/file"' sh "$SCRATCH/mine" | grep -q mine || fail "the user cannot use it"
expect_eq "$(as_user "$SCRATCH/mine/id" -u)" 65534 "user of a set-user-id program"
# shellcheck disable=SC2016
expect_failure as_user sh -c 'echo x >"$1/null"' sh "$SCRATCH/mine" 2>/dev/null
# Not even root sees it.
expect_failure ls mine 2>/dev/null

pid=$(kfs_pids "$SCRATCH/mine")
expect_eq "$(awk '/^Uid:/ { print $2, $3 }' "/proc/$pid/status")" "65534 65534" "user of the daemon"
as_user fusermount3 -u "$SCRATCH/mine"
eventually 30 all_gone "$pid" || fail "the daemon outlives its mount"
fsck_clean a.img

# ---- the user's own SIGTERM unmounts; umount.fuse.kfs works for users ----
as_user kfs "$SCRATCH/a.img" "$SCRATCH/mine" -o "log=$SCRATCH/user.log"
pid=$(kfs_pids "$SCRATCH/mine")
kill -TERM "$pid"
eventually 30 all_gone "$pid" || fail "SIGTERM did not end the daemon"
mounted && fail "still mounted after SIGTERM"
as_user kfs "$SCRATCH/a.img" "$SCRATCH/mine" -o "log=$SCRATCH/user.log"
pid=$(kfs_pids "$SCRATCH/mine")
as_user umount.fuse.kfs "$SCRATCH/mine"
expect_eq "$(tail -n 1 user.log | grep -c 'a.img: closed$')" 1 "image closed when umount.fuse.kfs returned"
eventually 30 all_gone "$pid" || fail "the daemon outlives its mount"
forget_mount "$SCRATCH/mine"
fsck_clean a.img

# ---- refusals: another's mount point, allow_other without fuse.conf, another's image ----
mkdir -p theirs
expect_status 32 as_user kfs "$SCRATCH/a.img" "$SCRATCH/theirs" 2>error.txt
expect_eq "$(wc -l <error.txt)" 1 "lines of a refusal by fusermount3"
grep -q "^kfs: $SCRATCH/theirs: " error.txt || fail "$(cat error.txt)"
# What was refused has let go of the image.
for ((i = 0; i < 20; i++)); do
	expect_status 32 as_user kfs "$SCRATCH/a.img" "$SCRATCH/theirs" 2>error.txt
	grep -q "^kfs: $SCRATCH/theirs: " error.txt || fail "at the next try: $(cat error.txt)"
done
if ! grep -qs '^user_allow_other' /etc/fuse.conf; then
	expect_status 32 as_user kfs "$SCRATCH/a.img" "$SCRATCH/mine" -o allow_other 2>error.txt
	grep -q "^kfs: $SCRATCH/mine: .*user_allow_other" error.txt || fail "$(cat error.txt)"
fi
mkimage b.img 16M
chmod 600 b.img
expect_status 32 as_user kfs "$SCRATCH/b.img" "$SCRATCH/mine" 2>error.txt
grep -q "^kfs: $SCRATCH/b.img: Permission denied" error.txt || fail "$(cat error.txt)"
