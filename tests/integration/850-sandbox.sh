#!/usr/bin/env bash
# What a daemon that serves has given up: system calls that it does not need, for every thread; for guests alone every
# capability, too. And that everything works without them: guests, mounts of root, the control commands, a log that is opened anew, unmounting by a signal. What the list holds back is in the unit test of it.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq setpriv
! grep -qs fsanitize= "$BUILD/flags.stamp" || skip "a build with sanitizers is not confined"

VFE=$TOOLS/vhost/vfe
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -p "$KFS_RUNTIME_DIR"

# threads PID FIELD: the values that its threads have, each once
threads() { cat /proc/"$1"/task/*/status | awk -v field="$2:" '$1 == field { print $2 }' | sort -u | paste -sd' '; }
confined() { # PID
	expect_eq "$(threads "$1" Seccomp)" 2 "Seccomp of the threads"
	expect_eq "$(threads "$1" NoNewPrivs)" 1 "NoNewPrivs of the threads"
}
capabilities() { # PID VALUE
	local set
	for set in CapEff CapPrm CapBnd; do expect_eq "$(threads "$1" $set)" "$2" "$set of the threads"; done
	for set in CapInh CapAmb; do expect_eq "$(threads "$1" $set)" 0000000000000000 "$set of the threads"; done
}

# ---- guests alone: nothing is left ----

mkimage disk.img 128M
kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,socket_group=1234,tag=guests,vhost_queues=2,log=$PWD/kfs.log,sandbox=on"
pid=$(kfs_pids "$PWD/disk.img")
expect_eq "$(stat -c '%F %a %g' s)" "socket 660 1234" "the socket"
confined "$pid"
capabilities "$pid" 0000000000000000
"$VFE" s script
"$VFE" s restart
"$VFE" s vanish
kfs-virtiofsd --shared-dir disk.img --socket-path s2 2>launch.err &
launcher=$!
eventually 20 grep -qs 'a guest may connect' launch.err || fail "$(cat launch.err)"
"$VFE" s2 vanish
wait "$launcher"
kfsctl status --json disk.img >status.json
expect_eq "$(jq -r '.sandbox, .sandbox_off_reason' status.json | paste -sd' ')" "true null" "status"
confined "$pid"
capabilities "$pid" 0000000000000000
mv kfs.log old.log
kill -HUP "$pid"
eventually 10 test -e kfs.log || fail "the log was not opened anew"
"$VFE" s vanish
eventually 10 grep -q 'connected' kfs.log || fail "nothing is said in the new log"
kill -TERM "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
[ ! -e s ] || fail "the socket is left behind"
fsck_clean disk.img

# ---- a mount of root's ----

mount_kfs disk.img mnt -o "share=on,vhost=$PWD/s,vhost_queues=2,sandbox=on"
pid=$(kfs_pids "$PWD/mnt")
confined "$pid"
capabilities "$pid" 0000000000200004 # CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH: to unmount
"$VFE" s share "$PWD/mnt"
seq 100000 >mnt/file
truncate -s 50M mnt/file
fallocate -p -o 4096 -l 8192 mnt/file
mkdir mnt/d
mv mnt/file mnt/d/moved
ln -s moved mnt/d/link
sync -f mnt
for command in "status mnt" "stats mnt" "metrics mnt" "map mnt/d/moved" "sync mnt" "freeze mnt" "thaw mnt" "trim mnt" \
	"check mnt" "trace on mnt" "trace off mnt" "cache drop mnt"; do
	# shellcheck disable=SC2086 # several words on purpose
	kfsctl $command >out 2>&1 || grep -q 'bpf\|BPF\|kernel' out || fail "kfsctl $command: $(cat out)"
done
confined "$pid"
kill -TERM "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
mountpoint -q mnt && fail "still mounted"
fsck_clean disk.img

mount_kfs disk.img mnt -o "share=on,vhost=$PWD/s"
confined "$(kfs_pids "$PWD/mnt")"
umount_kfs mnt
mount_kfs disk.img mnt
expect_eq "$(kfsctl status --json mnt | jq -r .sandbox_off_reason)" "mounts without guests are confined by sandbox=on only" "status"
umount_kfs mnt
mount_kfs disk.img mnt -o sandbox=off
pid=$(kfs_pids "$PWD/mnt")
expect_eq "$(threads "$pid" Seccomp)" 0 "Seccomp of the threads"
expect_eq "$(kfsctl status --json mnt | jq -r '.sandbox, .sandbox_off_reason' | paste -sd' ')" "false sandbox=off" "status"
umount_kfs mnt
