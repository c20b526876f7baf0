#!/usr/bin/env bash
# timeout: 400
# The host's disk runs full under a sparse image: callers get ENOSPC, EIO or EROFS and never success for what is lost; what
# was synced before stays; when there is room again the image mounts, and e2fsck has nothing to say after the replay.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need e2fsck mke2fs losetup
need_kernel_ext4

# A small disk: ext4 of the kernel in a file, without delayed allocation so that no room is noticed at the write.
host_disk() { # SIZE
	mkimage_e2 host.img "$1" -m 0 -O ^has_journal
	kmount host.img host nodelalloc
}

# Takes what is left of the host's disk but for COUNT blocks of 4 KiB.
fill_host() {
	dd if=/dev/zero of=host/filler bs=64k status=none 2>/dev/null || :
	dd if=/dev/zero of=host/filler.rest bs=4k status=none 2>/dev/null || :
	truncate -s "-$(($1 * 4096))" host/filler
}

free_host() { rm -f host/filler host/filler.rest; }

# Writes and syncs files one after the other; those that were synced with success are in kept.txt.
write_files() { # DIR COUNT KIB
	local k
	: >kept.txt
	for ((k = 0; k < $2; k++)); do
		if head -c "$(($3 * 1024))" /dev/zero 2>/dev/null | tr '\0' "$((k % 10))" 2>/dev/null >"$1/f$k" &&
			sync "$1/f$k"; then
			echo "$k" >>kept.txt
		fi
	done 2>errors.txt
}

check_kept() { # DIR KIB
	local k
	while read -r k; do
		head -c "$(($2 * 1024))" /dev/zero | tr '\0' "$((k % 10))" | cmp - "$1/f$k" ||
			fail "f$k was synced and is not what it was"
	done <kept.txt
}

only_honest_errors() {
	grep -vE 'No space left on device|Input/output error|Read-only file system|Structure needs cleaning' errors.txt >other.txt || :
	[ ! -s other.txt ] || fail "not an errno of a full disk: $(head -n 3 other.txt)"
	if grep -q 'Structure needs cleaning' errors.txt; then fail "a full disk passed for corruption"; fi
}

round() { # BLOCKS WORDS…
	local left=$1
	shift
	host_disk 96M
	mkimage host/a.img 512M
	mount_kfs host/a.img mnt -o commit=1 "$@"
	echo before >mnt/before
	sync mnt/before
	fill_host "$left"
	write_files mnt 40 256
	[ "$(wc -l <kept.txt)" -lt 40 ] || fail "the disk is not full: the test tests nothing"
	only_honest_errors
	expect_eq "$(cat mnt/before)" before "reading goes on"
	umount_kfs mnt || :
	free_host
	mount_kfs host/a.img mnt
	expect_eq "$(cat mnt/before)" before "what was synced before"
	check_kept mnt 256
	echo after >mnt/after
	umount_kfs mnt
	judge
	kumount host
}

judge() {
	local status=0
	e2fsck -fn host/a.img >fsck.log 2>&1 || status=$?
	[ "$status" -eq 0 ] && return
	cat fsck.log >&2
	fail "e2fsck -fn: exit status $status"
}

round 0
round 40
round 700
