#!/usr/bin/env bash
# Which targets and words mkfs.kfs refuses, in one line that names the thing, without touching anything.
. "$(dirname "$0")/../lib/lib.sh"
need blkid

# refused PATTERN COMMAND…: exit status 1, one line, which matches
refused() {
	local pattern=$1
	shift
	expect_status 1 "$@" 2>err.txt >/dev/null
	expect_eq "$(wc -l <err.txt)" 1 "lines said by $*"
	grep -Eq "^mkfs\.kfs: .*$pattern" err.txt || fail "$*: said '$(cat err.txt)', wanted '$pattern'"
}

refused 'no image or device' mkfs.kfs
refused 'no size was given' mkfs.kfs new.img
refused '2 MiB at least' mkfs.kfs new.img 1M
refused '16 TiB at most' mkfs.kfs new.img 17T
refused 'is a directory' mkfs.kfs . 10M
refused 'neither a file nor a block device' mkfs.kfs /dev/null 10M
refused 'not a size' mkfs.kfs new.img 10Q
refused 'one word too many' mkfs.kfs new.img 10M 20M
refused 'block sizes' mkfs.kfs -b 8192 new.img 10M
refused 'no such option' mkfs.kfs -Z new.img 10M
refused 'no such word' mkfs.kfs -E nonsense new.img 10M
refused '-O nonsense' mkfs.kfs -O nonsense new.img 10M
for feature in bigalloc quota casefold encrypt verity fast_commit journal_dev project; do
	refused "-O $feature: this feature cannot be written" mkfs.kfs -O "$feature" new.img 10M
done
refused '-J device=/dev/x: external journals' mkfs.kfs -J device=/dev/x new.img 10M
refused 'resize_inode exclude each other' mkfs.kfs -O meta_bg new.img 10M
refused 'raise -i or lower -N' mkfs.kfs -N 1000000 new.img 10M
refused 'half of the filesystem' mkfs.kfs -J size=9 new.img 10M
refused '-d absent: No such file' mkfs.kfs -d absent new.img 10M
[ ! -e new.img ] || fail "a refused formatting left a file"

# What was created for a formatting that fails is removed again: more data, more files than there is room for.
mkdir full
dd if=/dev/urandom of=full/data bs=1M count=12 status=none
refused 'full: give a larger SIZE' mkfs.kfs -q -d full new.img 10M
rm full/data
for name in $(seq 30); do : >"full/$name"; done
refused 'inodes are used' mkfs.kfs -q -N 16 -d full new.img 10M
[ ! -e new.img ] || fail "a failed formatting left a file"

# A target that holds something is kept without -F.
mkfs.kfs -q -L old held.img 10M
cp held.img before.img
refused 'ext4.*use -F' mkfs.kfs held.img
refused 'ext4.*use -F' mkfs.kfs held.img 20M
cmp held.img before.img || fail "a refused target was changed"
truncate -s 64M table.img
printf '\200\000\002\000\203\000\000\000\000\010\000\000\000\100\000\000' |
	dd of=table.img bs=1 seek=446 conv=notrunc status=none
printf '\125\252' | dd of=table.img bs=1 seek=510 conv=notrunc status=none
refused 'partition table of type dos' mkfs.kfs table.img
mkfs.kfs -q -F table.img
expect_eq "$(blkid -p -o value -s PTTYPE table.img)" '' 'partition table after -F'
fsck_clean table.img

# With -F: smaller, larger, and what another kind of filesystem left at the end or inside is gone.
mkfs.kfs -q -F -L new held.img 20M
expect_eq "$(stat -c %s held.img)" $((20 << 20)) 'size of a file that had to grow'
expect_eq "$(blkid -p -o value -s LABEL held.img)" new label
fsck_clean held.img
mkfs.kfs -q -F held.img 5M
expect_eq "$(stat -c %s held.img)" $((20 << 20)) 'size of a file that was larger'
fsck_clean held.img

# Old contents do not shine through, whether they are discarded or overwritten.
for words in '' '-E nodiscard' '-E nodiscard,lazy_itable_init=0' '-E nodiscard -O ^metadata_csum'; do
	head -c 32M /dev/zero | tr '\0' '\377' >dirty.img
	# shellcheck disable=SC2086 # several words on purpose
	mkfs.kfs -q $words dirty.img
	fsck_clean dirty.img
done

# -n writes nothing, neither into a file that is there nor by creating one.
cp held.img before.img
mkfs.kfs -n held.img >shown.txt
cmp held.img before.img || fail "-n wrote"
grep -q '^Features: has_journal' shown.txt || fail "-n does not show the features"
mkfs.kfs -n new.img 5G | grep -q 'Superblock backups stored on blocks' || fail "-n does not show the backups"
[ ! -e new.img ] || fail "-n created a file"

# offset=: the bytes before it are none of ours.
head -c 33M /dev/zero | tr '\0' x >offset.img
mkfs.kfs -q -E offset=1M offset.img 31M
expect_eq "$(head -c 1M offset.img | tr -d x | wc -c)" 0 'bytes changed before the offset'
expect_eq "$(tail -c 1M offset.img | tr -d x | wc -c)" 0 'bytes changed behind the end'
dd if=offset.img of=inner.img bs=1M skip=1 count=31 status=none
fsck_clean inner.img
mkfs.kfs --version | grep -q '^mkfs.kfs' || fail "--version"
mkfs.kfs --help | grep -q '^Usage' || fail "--help"

# In use: attached to a loop device, mounted by the kernel; even -F does not help.
need_kernel_ext4
kmount held.img mnt
cp held.img before.img
refused 'in use' mkfs.kfs -F held.img
device=$(losetup -j held.img | cut -d: -f1)
refused 'in use' mkfs.kfs -F "$device"
kumount mnt
device=$(losetup -f --show table.img)
# shellcheck disable=SC2064 # the device of now
trap "losetup -d $device; at_exit" EXIT
refused 'in use' mkfs.kfs -F table.img
refused 'ext4.*use -F' mkfs.kfs "$device"
refused 'has only' mkfs.kfs -F "$device" 65M
mkfs.kfs -q -F "$device"
e2fsck -fn "$device" >/dev/null 2>&1 || fail "e2fsck of a device"
mkfs.kfs -q -F -E lazy_itable_init=0 "$device" 16M
e2fsck -fn "$device" >/dev/null 2>&1 || fail "e2fsck of a device"
echo ok
