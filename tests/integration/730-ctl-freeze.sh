#!/usr/bin/env bash
# kfsctl sync makes things durable, freeze makes the image a clean one, and thaw lets changes go on.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq debugfs
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

mkimage a.img 64M
mount_kfs a.img a

# ---- sync: names are in the image, by its journal ----
mkdir a/before
kfsctl sync a
cp a.img copy.img
e2fsck -fy copy.img >fsck-copy.log 2>&1 || [ $? -le 1 ] || fail "e2fsck of the copy: $(cat fsck-copy.log)"
debugfs -R 'stat before' copy.img 2>/dev/null | grep -q 'Type: directory' || fail "a synced directory is not in the image"
kfsctl sync --json a | jq -e '.duration_ns >= 0' >/dev/null

# ---- freeze ----
head -c 3000000 /dev/urandom >a/file
sync a/file
kfsctl freeze a
expect_eq "$(kfsctl status --json a | jq .frozen)" true frozen
expect_eq "$(kfsctl list --json | jq -r '.[0].state')" frozen "state of a frozen mount"
expect_status 1 kfsctl freeze a 2>error.txt
grep -q 'it is frozen already: kfsctl thaw$' error.txt || fail "$(cat error.txt)"
expect_status 1 kfsctl trim a 2>error.txt
grep -q 'trim: the filesystem is frozen: kfsctl thaw$' error.txt || fail "$(cat error.txt)"
cat a/file >/dev/null
stat a/before >/dev/null
mkdir a/after &
changer=$!
sleep 0.5
[ -e "/proc/$changer" ] || fail "mkdir went through a frozen filesystem"
cp a.img copy.img
expect_eq "$(kfsctl stats --json a | jq -r '.transports[-1].in_flight[].opcode' | head -n 1)" MKDIR "the waiting request"
kfsctl stats --json a | jq -e '.transports[-1].in_flight[0].age_ns > 100000000' >/dev/null || fail "its age is not shown"
fsck_clean copy.img
cp a/file file.expected

kfsctl thaw a
wait "$changer"
[ -d a/after ] || fail "the change that waited was lost"
expect_eq "$(kfsctl status --json a | jq .frozen)" false "frozen after thaw"
expect_status 1 kfsctl thaw a 2>error.txt
grep -q 'thaw: it is not frozen$' error.txt || fail "$(cat error.txt)"

# The copy is a whole filesystem: another mount of ours shows the file.
mount_kfs copy.img c
cmp file.expected c/file
[ ! -e c/after ] || fail "a change after the freeze is in the copy"
umount_kfs c

umount_kfs a
fsck_clean a.img

# ---- unmounted while frozen: with nothing to write back it just ends ----
mount_kfs a.img a
mkdir a/last
sync -f a
kfsctl freeze a
umount_kfs a
fsck_clean a.img
mount_kfs a.img a
[ -d a/last ] || fail "a directory of before the freeze is gone"
# A killed daemon of a frozen filesystem leaves a clean image.
kfsctl freeze a
pid=$(kfsctl status --json a | jq .worker_pid)
kill -KILL "$pid"
eventually 10 all_gone "$pid" || fail "pid $pid lives"
umount a
forget_mount "$SCRATCH/a"
fsck_clean a.img

# ---- detached while a change waits: the daemon lives until the thaw, which still finds it ----
mount_kfs a.img a
kfsctl freeze a
mkdir a/waits &
changer=$!
pid=$(kfsctl status --json a | jq .worker_pid)
waits() {
	[ "$(kfsctl stats --json a.img | jq '.transports[-1].in_flight | length')" -gt 0 ]
}
eventually 10 waits || fail "no request waits"
umount -l a
forget_mount "$SCRATCH/a"
expect_eq "$(kfsctl list --json | jq -r '.[0].state')" frozen "state of a detached, frozen mount"
kfsctl thaw "$SCRATCH/a"
wait "$changer"
eventually 30 all_gone "$pid" || fail "the daemon outlives the thaw"
fsck_clean a.img
