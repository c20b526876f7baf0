# shellcheck shell=bash
# What every integration script begins with:  . "$(dirname "$0")/../lib/lib.sh"
#
# Gives: BIN (programs), TOOLS (tests' programs), SCRATCH (empty folder of this script, the working directory).
# Whatever was mounted through these functions is unmounted when the script ends, however it ends; an unmount that
# fails then, a daemon that outlives its mount, or a sanitizer's report makes the script fail.
#
# Environment: KFS_OPTS, mount options added to every kfs mount; KFS_MKFS_OPTS, words added to every mkfs.kfs.

set -eu -o pipefail
shopt -s inherit_errexit

LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(cd "$LIB/../.." && pwd)
BUILD=${BUILD:-$TOP/build}
case $BUILD in /*) ;; *) BUILD=$TOP/$BUILD ;; esac
BIN=$BUILD/bin
TOOLS=$BIN/tests
TEST_NAME=$(basename "$0" .sh)
SCRATCH=${SCRATCH:-$BUILD/tmp/$TEST_NAME}
export LC_ALL=C.UTF-8 TZ=UTC PATH="$BIN:$PATH:/usr/sbin:/sbin"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}:log_path=$SCRATCH/sanitizer"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}:log_path=$SCRATCH/sanitizer"
export TSAN_OPTIONS="${TSAN_OPTIONS:-history_size=4}:log_path=$SCRATCH/sanitizer"

rm -rf --one-file-system "$SCRATCH"
mkdir -p "$SCRATCH"
cd "$SCRATCH"

# Mount points in the order they were mounted; "kfs DIR" or "kernel DIR".
MOUNTS=()
RELEASE_SECONDS_MAX=60

fail() {
	echo "fail: $*" >&2
	exit 1
}

skip() {
	echo "skip: $*"
	exit 77
}

need_root() {
	[ "$(id -u)" -eq 0 ] || skip "needs root"
}

# need COMMAND…: the script is skipped where one is not installed.
need() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip "$command is not installed"
	done
}

# kernel_ext4: skips where the kernel cannot mount ext4 from a loop device.
need_kernel_ext4() {
	need_root
	grep -qw ext4 /proc/filesystems || modprobe ext4 2>/dev/null || skip "this kernel has no ext4"
	[ -e /dev/loop-control ] || skip "no loop devices"
}

# need_uring: FUSE over io_uring, switched on until the script ends. Scripts that want it take turns: the switch is the
# machine's, and whoever ends first would switch it off for the others.
URING_SWITCH=/sys/module/fuse/parameters/enable_uring URING_BEFORE=
need_uring() {
	need_root
	need flock
	[ -e "$URING_SWITCH" ] || skip "this kernel has no FUSE over io_uring"
	[ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" -ne 2 ] || skip "io_uring is disabled (sysctl kernel.io_uring_disabled)"
	exec {URING_LOCK}<"$URING_SWITCH"
	flock "$URING_LOCK"
	URING_BEFORE=$(cat "$URING_SWITCH")
	echo Y >"$URING_SWITCH" || skip "$URING_SWITCH cannot be written"
}

# expect_status N COMMAND…: runs it; its exit status is to be N.
expect_status() {
	local want=$1 got=0
	shift
	"$@" || got=$?
	[ "$got" -eq "$want" ] || fail "exit status $got, wanted $want: $*"
}

# expect_failure COMMAND…: any failure but a signal's.
expect_failure() {
	local got=0
	"$@" || got=$?
	[ "$got" -ne 0 ] || fail "succeeded, but should have failed: $*"
	[ "$got" -lt 126 ] || fail "exit status $got, wanted a plain failure: $*"
}

# expect_eq GOT WANTED [WHAT]
expect_eq() {
	[ "$1" = "$2" ] || fail "${3:-value}: got '$1', wanted '$2'"
}

# eventually SECONDS COMMAND…: waits until the command succeeds.
eventually() {
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

# own_mounts COMMAND…: in a mount namespace of its own, whose mounts nobody else sees.
own_mounts() {
	need unshare
	mountpoint -q / || skip "/ is not a mount point (a chroot): no private mount namespace to be had"
	unshare -m --propagation private "$@"
}

# ---- ordinary users ----

# as_id UID GID COMMAND…: with that user and group, no other groups, no capabilities.
as_id() {
	local uid=$1 gid=$2
	shift 2
	setpriv --reuid "$uid" --regid "$gid" --clear-groups --inh-caps=-all -- "$@"
}

# as_user COMMAND…: as nobody, who has an entry in passwd (fusermount3 asks for it).
as_user() {
	as_id 65534 65534 env HOME="$SCRATCH" XDG_RUNTIME_DIR="$SCRATCH" "$@"
}

# ---- images ----

# mkimage IMG SIZE [mkfs.kfs words…]
mkimage() {
	local image=$1 size=$2
	shift 2
	rm -f "$image"
	# shellcheck disable=SC2086 # several words on purpose
	mkfs.kfs -q ${KFS_MKFS_OPTS:-} "$@" "$image" "$size"
}

# mkimage_e2 IMG SIZE [mke2fs words…]
mkimage_e2() {
	local image=$1 size=$2
	shift 2
	need mke2fs
	rm -f "$image"
	truncate -s "$size" "$image"
	case " $* " in
	*" -t "*) mke2fs -q -F "$@" "$image" ;;
	*) mke2fs -q -F -t ext4 "$@" "$image" ;;
	esac
}

# fsck_clean IMG: e2fsck finds nothing to say. An unclean exit prints its words.
fsck_clean() {
	local status=0
	need e2fsck
	e2fsck -fn "$1" >"$SCRATCH/fsck.log" 2>&1 || status=$?
	[ "$status" -eq 0 ] && return
	cat "$SCRATCH/fsck.log" >&2
	fail "e2fsck -fn $1: exit status $status"
}

# ---- mounting ----

# The processes of the kfs daemon that serve this mount point: its program with the folder among its words. Not the one
# that only waits to unmount (daemon/dev/unmounter.h).
kfs_pids() {
	local dir=$1 pid word cmdline comm
	for pid in /proc/[0-9]*; do
		pid=${pid#/proc/}
		# Nothing is started for each process of the machine.
		[ "/proc/$pid/exe" -ef "$BIN/kfs" ] || continue
		read -r comm <"/proc/$pid/comm" || continue
		[ "$comm" != kfs-unmounter ] || continue
		mapfile -d '' cmdline <"/proc/$pid/cmdline" || continue
		for word in "${cmdline[@]}"; do
			[ "$word" = "$dir" ] && echo "$pid" && break
		done
	done 2>/dev/null
	return 0
}

# all_gone PID…: and their files are closed. The first thread of a killed process may be a zombie before the others end.
all_gone() {
	local pid threads
	for pid; do
		[ -e "/proc/$pid" ] || continue
		grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null || [ ! -e "/proc/$pid" ] || return 1
		threads=("/proc/$pid/task"/*)
		[ "${#threads[@]}" -le 1 ] || return 1
	done
}

forget_mount() {
	local kept=() entry
	for entry in "${MOUNTS[@]}"; do
		[ "${entry#* }" = "$1" ] || kept+=("$entry")
	done
	MOUNTS=("${kept[@]}")
}

absolute() {
	case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac
}

# mount_kfs IMG DIR [words for kfs, such as -o ro]: returns when the mount answers. Log: SCRATCH/kfs-<dir>.log
mount_kfs() {
	local image dir log
	image=$(absolute "$1")
	dir=$(absolute "$2")
	log=$SCRATCH/kfs-$(basename "$dir").log
	shift 2
	mkdir -p "$dir"
	MOUNTS+=("kfs $dir")
	if ! kfs "$image" "$dir" -o "log=$log${KFS_OPTS:+,$KFS_OPTS}" "$@"; then
		forget_mount "$dir"
		return 1
	fi
	mountpoint -q "$dir" || fail "kfs returned, but $dir is not a mount point"
}

# tier_told: what kfsctl has to call the tier of a mount by mount_kfs
tier_told() {
	case ,${KFS_OPTS:-}, in *,bpf,* | *,bpf=on,*) echo bpf ;; *) echo stock ;; esac
}

# umount_kfs DIR: returns when the daemon has closed the image.
umount_kfs() {
	local dir pids
	dir=$(absolute "$1")
	pids=$(kfs_pids "$dir")
	if [ "$(id -u)" -eq 0 ]; then umount "$dir"; else fusermount3 -u "$dir"; fi
	# shellcheck disable=SC2086 # a list of pids
	eventually "$RELEASE_SECONDS_MAX" all_gone $pids || fail "the daemon of $dir (pid $pids) outlives its mount"
	forget_mount "$dir"
}

# remount_kfs IMG DIR [words]: unmount, judge, mount again; everything cached is gone.
remount_kfs() {
	umount_kfs "$2"
	fsck_clean "$1"
	mount_kfs "$@"
}

# kmount IMG DIR [options]: the kernel's own ext4
kmount() {
	local dir
	dir=$(absolute "$2")
	need_kernel_ext4
	mkdir -p "$dir"
	mount -t ext4 -o "loop${3:+,$3}" "$1" "$dir" || return
	MOUNTS+=("kernel $dir")
}

# backing_file DEVICE: what a loop device stands for; nothing if it is free, or no loop device
backing_file() { cat "/sys/block/${1#/dev/}/loop/backing_file" 2>/dev/null || :; }
backing_file_is() { [ "$(backing_file "$1")" = "$2" ]; }

# kumount DIR: returns when the kernel is done with the image, which another's copy of the mounts may hold for a moment.
kumount() {
	local dir device image
	dir=$(absolute "$1")
	device=$(findmnt -n -o SOURCE "$dir")
	image=$(backing_file "$device")
	umount "$dir"
	forget_mount "$dir"
	[ -z "$image" ] || eventually "$RELEASE_SECONDS_MAX" eval '! backing_file_is "$device" "$image"' ||
		fail "something keeps $image mounted"
}

# sync_mounts: what was mounted here is written back, and nothing else: sync(2) waits for every filesystem of the
# machine, also for one that is stuck.
sync_mounts() {
	local entry
	for entry in "${MOUNTS[@]}"; do sync -f "${entry#* }"; done
}

# drop_caches: the kernel forgets dentries, inodes and clean pages.
drop_caches() {
	sync_mounts
	echo 3 >/proc/sys/vm/drop_caches
}

# ---- comparing ----

# kwalk DIR [words]: one line per object, everything that has to survive; see tests/tools/treewalk.c
kwalk() {
	local dir=$1
	shift
	"$TOOLS/treewalk" "$@" "$dir"
}

# same_tree A B [treewalk's words]: each is a folder or a file that kwalk wrote.
same_tree() {
	local a=$1 b=$2 left=$1 right=$2
	shift 2
	if [ -d "$a" ]; then left=$SCRATCH/tree-left.txt && kwalk "$a" "$@" >"$left"; fi
	if [ -d "$b" ]; then right=$SCRATCH/tree-right.txt && kwalk "$b" "$@" >"$right"; fi
	[ -s "$left" ] || fail "nothing to compare in $a"
	cmp -s "$left" "$right" && return
	diff "$left" "$right" | head -n 40 >&2 || :
	fail "$a and $b differ"
}

# ---- the end ----

unmount_leftover() {
	local kind=$1 dir=$2
	mountpoint -q "$dir" || return 0
	if [ "$kind" = kfs ]; then
		(umount_kfs "$dir") && return 0
	else
		umount "$dir" && return 0
	fi
	echo "fail: cannot unmount $dir; it is detached" >&2
	umount -f "$dir" 2>/dev/null || umount -l "$dir" || echo "fail: $dir stays mounted" >&2
	return 1
}

# Exit status 0 and 77 become 1 when cleaning up found something.
at_exit() {
	local status=$? bad=0 entry index report
	trap - EXIT HUP INT TERM
	set +e
	cd /
	for ((index = ${#MOUNTS[@]} - 1; index >= 0; index--)); do
		entry=${MOUNTS[index]}
		unmount_leftover "${entry%% *}" "${entry#* }" || bad=1
	done
	[ -z "$URING_BEFORE" ] || echo "$URING_BEFORE" >"$URING_SWITCH"
	for report in "$SCRATCH"/sanitizer.*; do
		[ -e "$report" ] || continue
		echo "fail: a sanitizer reported:" >&2
		head -n 60 "$report" >&2
		bad=1
	done
	if [ "$bad" -ne 0 ] && { [ "$status" -eq 0 ] || [ "$status" -eq 77 ]; }; then status=1; fi
	exit "$status"
}

trap at_exit EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
