# shellcheck shell=bash
# What the real-input scripts share: the same work on a kfs mount and on kernel ext4, each on a fresh image, then the two
# trees compared, then what the kernel sees in the image that kfs left. `make real` runs them; they take minutes each.

. "$(dirname "${BASH_SOURCE[0]}")/../lib/lib.sh"
need_kernel_ext4

# both SIZE WORK [words]: WORK is a function that fills the current directory; its wall time on each side is printed.
both() {
	local size=$1 work=$2
	shift 2
	mkimage kfs.img "$size"
	mkimage_e2 ext4.img "$size"
	mount_kfs kfs.img kfs
	kmount ext4.img ext4
	timed ext4 "$work" "$@"
	timed kfs "$work" "$@"
	awk -v w="$work" '$1 == "ext4" { e = $2 } $1 == "kfs" { k = $2 } END {
		printf "%s: kfs %.1f s, ext4 %.1f s, ratio %.2f\n", w, k, e, k / e }' times.txt
	rm times.txt
}

timed() {
	local where=$1 start
	shift
	start=$EPOCHREALTIME
	(cd "$SCRATCH/$where" && "$@") >"$SCRATCH/$where.log" 2>&1 || {
		tail -n 40 "$SCRATCH/$where.log" >&2
		fail "$1 on $where"
	}
	echo "$where $(bc -l <<<"$EPOCHREALTIME - $start")" >>"$SCRATCH/times.txt"
}

# Times of folders are those of the last entry made, and differ between two runs of anything.
without_dir_times() { sed -E '/^[^ ]+ d[0-7]{4} /s/ mtime=[0-9.]*//' "$1"; }

# compare_all [treewalk's words]: kfs against ext4 now; then the image after a clean unmount, as the kernel sees it.
compare_all() {
	kwalk kfs "$@" >kfs-live.txt
	kwalk ext4 "$@" >ext4.txt
	without_dir_times kfs-live.txt >left.txt
	without_dir_times ext4.txt >right.txt
	same_tree left.txt right.txt
	umount_kfs kfs
	fsck_clean kfs.img
	kmount kfs.img seen ro
	same_tree kfs-live.txt seen "$@"
	kumount seen
	kumount ext4
}
