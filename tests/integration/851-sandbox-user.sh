#!/usr/bin/env bash
# An ordinary user's daemon is confined, too, and still unmounts: fusermount3 has privileges that the daemon cannot get any
# more, so a process that was forked before starts it. It ends with the daemon, however that ends.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need setpriv fusermount3 pgrep
! grep -qs fsanitize= "$BUILD/flags.stamp" || skip "a build with sanitizers is not confined"
. "$LIB/fuse_for_all.sh" "$@"

# threads PID FIELD: the values that its threads have, each once
threads() { cat /proc/"$1"/task/*/status | awk -v field="$2:" '$1 == field { print $2 }' | sort -u | paste -sd' '; }

mkimage disk.img 32M -E root_owner=65534:65534
chmod 755 "$SCRATCH"
mkdir -p mine user
chown 65534:65534 disk.img mine user
as_user test -x "$BIN/kfs" || skip "ordinary users cannot reach $BIN"
# mine_pids: the daemon and who waits to unmount
mine_pids() { pgrep -u 65534 -f "$SCRATCH/mine" || :; }
for how in TERM umount KILL; do
	MOUNTS+=("kfs $SCRATCH/mine")
	as_user env "KFS_RUNTIME_DIR=$SCRATCH/user" kfs "$SCRATCH/disk.img" "$SCRATCH/mine" -o "log=$SCRATCH/user/log,sandbox=on"
	pid=$(kfs_pids "$SCRATCH/mine")
	expect_eq "$(threads "$pid" Seccomp)" 2 "Seccomp of the threads"
	expect_eq "$(threads "$pid" NoNewPrivs)" 1 "NoNewPrivs of the threads"
	expect_eq "$(threads "$pid" CapPrm)" 0000000000000000 "CapPrm of the threads"
	helper=$(mine_pids | grep -vx "$pid")
	[ -n "$helper" ] || fail "nobody waits to unmount"
	as_user sh -c "cd '$SCRATCH/mine' && echo x >x$how" || fail "the mount does not work"
	if [ "$how" = umount ]; then as_user fusermount3 -u "$SCRATCH/mine"; else kill -"$how" "$pid"; fi
	# shellcheck disable=SC2086 # a list of pids
	eventually "$RELEASE_SECONDS_MAX" all_gone $pid $helper || fail "after $how: still there: $(mine_pids)"
	if [ "$how" = KILL ]; then umount mine; fi
	grep -q " $SCRATCH/mine " /proc/mounts && fail "after $how: still mounted"
	forget_mount "$SCRATCH/mine"
done
