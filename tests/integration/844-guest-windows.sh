#!/usr/bin/env bash
# timeout: 600
# Guests with a window into the image (DAX), by a front end of our own that maps what it is told to (tests/vhost/dax.c):
# contents from both sides, and each way in which a mapping and its file could come apart, or a front end and we could wait
# for each other. With nothing mounted, beside the host's mount; a front end that is killed; a daemon that is; what cannot be
# is refused. e2fsck finds nothing after any of it.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/guests.sh"
need e2fsck

# Another size of blocks than 4 KiB is another test's.
export KFS_MKFS_OPTS=

mkimage disk.img 192M -b 4096
serve disk.img -o dax_window=32M
"$VFE" s dax all
# Front ends that announce nothing, and one that stops to answer, whose guest goes on without its window.
"$VFE" s dax quiet
"$VFE" s dax quiet-restart
"$VFE" s dax deaf
grep -q 'guest [0-9]*: its front end was asked to map the image: .*: the window is out of use' kfs.log ||
	fail "nobody was told: $(cat kfs.log)"
stop disk.img
grep -q 'malformed' kfs.log && fail "an honest front end was called malformed"

# The smallest window, much smaller than the file; and what fills the largest.
mkimage disk.img 192M -b 4096
serve disk.img -o dax_window=8M
"$VFE" s dax reclaim
stop disk.img
mkimage small.img 72M -b 4096 -m 0
serve small.img -o dax_window=512M
"$VFE" s dax cap
grep -q 'a file in [0-9]* pieces within 2 MiB cannot be mapped' kfs.log || fail "nobody was told: $(cat kfs.log)"
stop small.img

# Front ends that have no slots to announce memory in: what they do is known by what they do next.
mkimage disk.img 192M -b 4096
serve disk.img -o dax_window=32M
"$VFE" s dax tables
"$VFE" s dax tables-deaf
stop disk.img
grep -q 'malformed' kfs.log && fail "an honest front end was called malformed"

# Windows that are too large for slots, which are not offered then: all of the above, thousands of mappings, and the limit.
mkimage disk.img 192M -b 4096
serve disk.img -o dax_window=8G
"$VFE" s dax all
stop disk.img
mkimage disk.img 192M -b 4096
serve disk.img -o dax_window=8G
"$VFE" s dax large
stop disk.img
grep -q 'a file in 1 pieces within 2 MiB cannot be mapped' kfs.log || fail "nobody was told: $(cat kfs.log)"
mkimage disk.img 192M -b 4096
serve disk.img -o dax_window=2G
"$VFE" s dax large
stop disk.img
grep 'its window' kfs.log | tail -n 1 | grep -q ' 0 refused, 0 failed' ||
	fail "a window whose ranges have their place each: $(cat kfs.log)"

# The daemon is killed with a deleted file mapped: the next one finds a clean filesystem after replay.
mkimage disk.img 192M -b 4096
serve disk.img -o dax_window=32M
"$VFE" s dax restart
pid=$(kfs_pids "$PWD/disk.img")
kill -KILL "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
serve disk.img -o dax_window=32M
"$VFE" s dax truncate
stop disk.img

# Without the word there is no window, and nothing else changes.
serve disk.img
"$VFE" s dax contents 2>refused && fail "a window without dax_window="
grep -q 'no window is offered' refused || fail "refused with: $(cat refused)"
stop disk.img

# What cannot be is refused in one line.
refuse() { # WHAT words…
	local what=$1
	shift
	kfs "$@" 2>refused && fail "accepted: kfs $*"
	expect_eq "$(wc -l <refused)" 1 "lines"
	grep -q -- "$what" refused || fail "refused with: $(cat refused)"
}
mkdir -p mnt
refuse 'needs vhost=' disk.img mnt -o dax_window=32M
refuse 'a power of two' --no-mount disk.img -o vhost=s,dax_window=24M
refuse 'a power of two' --no-mount disk.img -o vhost=s,dax_window=4M
refuse 'a power of two' --no-mount disk.img -o vhost=s,dax_window=6G
refuse 'dax_window' --no-mount disk.img -o vhost=s,dax_window=16G
refuse 'do not keep a guest from writing' --no-mount disk.img -o vhost=s,dax_window=32M,guests=ro
refuse 'do not keep a guest from writing' --no-mount disk.img -o vhost=s,dax_window=32M,ro
mkimage odd.img 32M -b 1024
refuse 'blocks are smaller than pages' --no-mount odd.img -o vhost=s,dax_window=32M
{
	head -c 1024 /dev/zero
	cat disk.img
} >shifted.img
refuse 'offset= is not a multiple' --no-mount shifted.img -o vhost=s,dax_window=32M,offset=1024
fsck_clean disk.img

# Beside the host's mount: shared stores are seen, truncation and deletion by the host.
need_root
mkimage disk.img 192M -b 4096
mount_kfs disk.img mnt -o "vhost=$PWD/s,tag=guests,dax_window=32M"
"$VFE" s dax host "$PWD/mnt"
"$VFE" s dax contents
umount_kfs mnt
fsck_clean disk.img
