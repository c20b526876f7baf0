#!/usr/bin/env bash
# timeout: 600
# FUSE over io_uring ends as it should, again and again, under load: after each way to end a mount the daemon is gone,
# with the status that this way has; what it leaves is clean, or is replayed and clean then. CYCLES makes it longer.
. "$(dirname "$0")/../lib/lib.sh"
need_uring
need jq
CYCLES=${CYCLES:-42} GONE_SECONDS_MAX=60
mkimage a.img 256M
mkdir a
loads=()

# Names, contents, big cached writes and direct ones, listings; whatever fails when the mount ends is no news.
start_load() { # SEED
	mkdir -p "a/$1"
	# A session each: it can be ended with all its children.
	# A daemon killed under its mapping gives it SIGBUS, which is no finding of a sanitizer's.
	ASAN_OPTIONS="$ASAN_OPTIONS:handle_sigbus=0" TSAN_OPTIONS="$TSAN_OPTIONS:handle_sigbus=0" \
		setsid "$TOOLS/fschurn" "a/$1" "$1" 1000000 xattr >/dev/null 2>&1 &
	loads+=($!)
	# shellcheck disable=SC2016 # expanded by the inner shell
	setsid bash -c 'cd "$1" || exit; while dd if=/dev/zero of=big bs=1M count=8 conv=notrunc &&
		dd if=/dev/zero of=direct bs=64k count=32 oflag=direct && sync big && ls -lR . && rm -f big; do :; done' \
		load "a/$1" >/dev/null 2>&1 &
	loads+=($!)
}

stop_load() {
	local pid
	for pid in "${loads[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || :; done
	for pid in "${loads[@]}"; do wait "$pid" 2>/dev/null || :; done
	loads=()
}

start_daemon() {
	kfs a.img a -f -o "uring=on,log=$SCRATCH/kfs.log${KFS_OPTS:+,$KFS_OPTS}$1" &
	daemon=$!
	eventually 30 mountpoint -q a || fail "cycle $cycle: not mounted"
	MOUNTS+=("kfs $SCRATCH/a")
	# In the foreground the mount is there before the control socket is.
	eventually 30 eval 'kfsctl status --json a >status.json 2>/dev/null' || fail "cycle $cycle: no status"
	[ "$(jq -r .transport status.json)" = uring ] || fail "cycle $cycle: not over io_uring: $(cat status.json)"
}

# The daemon is gone in time, with this status.
ended() { # STATUS
	local status=0
	eventually "$GONE_SECONDS_MAX" all_gone "$daemon" || {
		cat "/proc/$daemon/task"/*/{comm,wchan} 2>/dev/null
		fail "cycle $cycle ($way): the daemon outlives its mount"
	}
	wait "$daemon" || status=$?
	expect_eq "$status" "$1" "cycle $cycle ($way): the daemon's status"
	forget_mount "$SCRATCH/a"
}

connection() {
	mountpoint -d a | cut -d: -f2
}

end_by() {
	case $way in
	unmount)
		stop_load
		# A child of a load may still be dying.
		eventually 30 umount a 2>/dev/null || umount a
		ended 0
		;;
	lazy)
		umount -l a
		stop_load
		ended 0
		;;
	term)
		kill -TERM "$daemon"
		sleep 0.05
		stop_load
		ended 0
		;;
	term-twice)
		kill -TERM "$daemon"
		sleep 0.02
		kill -TERM "$daemon"
		ended 0
		stop_load
		;;
	abort)
		echo 1 >"/sys/fs/fuse/connections/$(connection)/abort"
		ended 0
		stop_load
		umount -l a 2>/dev/null || :
		;;
	force)
		umount -f a 2>/dev/null || umount -l -f a
		stop_load
		ended 0
		;;
	kill)
		kill -KILL "$daemon"
		ended 137
		stop_load
		umount -l a
		;;
	esac
	! mountpoint -q a || fail "cycle $cycle ($way): still mounted"
}

mountpoint -q /sys/fs/fuse/connections || mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null ||
	skip "no fusectl: connections cannot be aborted"
ways=(unmount lazy term term-twice abort force kill)
for ((cycle = 1; cycle <= CYCLES; cycle++)); do
	way=${ways[cycle % ${#ways[@]}]}
	words=
	[ $((cycle % 3)) -ne 0 ] || words=,share=on
	start_daemon "$words"
	start_load "$((cycle % 4))1"
	start_load "$((cycle % 4))2"
	# From before the first request to the middle of the work.
	sleep "0.$((cycle * 7 % 5))"
	end_by
	[ "$way" = kill ] || fsck_clean a.img
	[ $((cycle % 8)) -ne 0 ] || mkimage a.img 256M
done
way=last
start_daemon ""
umount a
ended 0
fsck_clean a.img
! grep -E "error:|outlives|CHECK" kfs.log || fail "the log is not clean"
