#!/usr/bin/env bash
# Images that cannot be mounted: one line that names the image, the reason and the remedy; status 32; not a byte
# of the image changes.
. "$(dirname "$0")/../lib/lib.sh"
need dumpe2fs debugfs
mkdir a

# refused IMAGE PATTERN [kfs's words…]
refused() {
	local image=$1 pattern=$2 sum
	shift 2
	sum=$(sha256sum <"$image")
	expect_status 32 kfs "$image" a "$@" 2>error.txt
	grep -Eq "^kfs: $SCRATCH/$image: $pattern" error.txt || fail "$image: $(cat error.txt)"
	expect_eq "$(wc -l <error.txt)" 1 "lines for $image"
	mountpoint -q a && fail "$image is mounted"
	expect_eq "$(sha256sum <"$image")" "$sum" "$image afterwards"
}

poke() { # IMAGE OFFSET OCTAL…
	printf '%b' "${@:3}" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# ---- no image at all ----
expect_status 32 kfs none.img a 2>error.txt
grep -q 'none.img: No such file or directory: make an image with mkfs.kfs$' error.txt || fail "$(cat error.txt)"
mkdir folder
expect_status 32 kfs folder a 2>error.txt
grep -q 'folder: Is a directory: give an image file or a block device$' error.txt || fail "$(cat error.txt)"
mkfifo fifo
expect_status 32 kfs fifo a 2>error.txt
grep -q 'fifo: .*: give an image file or a block device$' error.txt || fail "$(cat error.txt)"

# ---- too short, not ext4 ----
truncate -s 0 empty.img
refused empty.img '.*too short for ext4'
truncate -s 1500 short.img
refused short.img '.*too short for ext4'
truncate -s 4M zero.img
refused zero.img 'not an ext4 filesystem'
head -c 4M /dev/urandom >noise.img
refused noise.img 'not an ext4 filesystem'

# ---- damage: a backup superblock is named ----
mkimage_e2 good.img 64M -b 1024 -O metadata_csum
cp good.img csum.img
poke csum.img $((1024 + 0x78)) 'X'
refused csum.img 'superblock: checksum .*: run e2fsck -b 8193 -B 1024'
cp good.img desc.img
poke desc.img $((2048 + 0x0c)) '\377\377'
refused desc.img '.*(descriptor|group).*: run e2fsck'
cp good.img cut.img
truncate -s 32M cut.img
refused cut.img '.*: .*'

# ---- features nobody knows: refused by name or number; unknown ro_compat is read-only ----
mkimage_e2 old.img 16M -O ^metadata_csum
cp old.img incompat.img
poke incompat.img $((1024 + 0x63)) '\100'
refused incompat.img '.*feature'
cp old.img compat.img
poke compat.img $((1024 + 0x67)) '\100'
if [ "$(id -u)" -eq 0 ]; then
	mount_kfs compat.img a
	expect_failure touch a/file 2>/dev/null
	grep -q 'mounted read-only: ' kfs-a.log || fail "$(cat kfs-a.log)"
	umount_kfs a
fi

# ---- a journal in another place, and a damaged one that is needed ----
cp old.img journal.img
debugfs -w -R 'feature needs_recovery' journal.img >/dev/null 2>&1
block=$(dumpe2fs journal.img 2>/dev/null | awk '/^Journal start/ { print $3 }')
[ -n "$block" ] || fail "no journal in the test's image"
inode_block=$(debugfs -R 'bmap <8> 0' journal.img 2>/dev/null)
size=$(dumpe2fs -h journal.img 2>/dev/null | awk '/^Block size/ { print $3 }')
poke journal.img $((inode_block * size)) 'XXXX'
refused journal.img '.*journal.*: .*e2fsck'
