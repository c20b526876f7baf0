#!/usr/bin/env bash
# The operations without FUSE, on every kind of image that can be written: names, contents, attributes, unlinked
# files, full images, crashes; with the usual caches and with tiny ones. e2fsck judges after each run, and after
# recovery from a crash in the middle.
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs e2fsck

cat >names.fsh <<'END'
mkdir /a
mkdir /a/b
create /a/f 600
write /a/f 0 10000 3
check /a/f 0 10000 3
expect EEXIST create /a/f
expect ENOENT rm /a/x
expect EISDIR rm /a/b
expect ENOTDIR rmdir /a/f
ln /a/f /a/b/g
symlink hello/world /a/s
mknod /a/p p
mknod /a/c c 259 70000
mv /a/f /h
mv /h /a/b/g
expect EINVAL mv /a /a/b/c
mkdir /d
mv /a/b /d/b
mv /d/b /a exchange
mv /d/b/c /d/c whiteout
hold /a/g G
rm /a/g
check @G 0 10000 3
drop G
rm /h
tmpfile / T
write @T 0 5000 9
ln @T /linked
drop T
check /linked 0 5000 9
setxattr /linked user.foo bar
bigxattr /linked user.big 700
getxattr /linked user.foo
rmxattr /linked user.foo
expect ENODATA getxattr /linked user.foo
chattr /linked 0x10
expect EPERM rm /linked
chattr /linked 0
chmod /linked 4777
chown /linked 5 6
many /d 700 some-longer-name-
count /d
rmmany /d 690 some-longer-name-
END
cat >contents.fsh <<'END'
create /sparse
write /sparse 10M 100k 4
truncate /sparse 20M
create /copy
copy /sparse 0 /copy 0 20M
check /copy 10M 100k 4
check /copy 0 10M zero
truncate /sparse 5
truncate /sparse 1M
check /sparse 0 1M zero
create /big
write /big 0 6M 8
hold /big B
rm /big
check @B 0 6M 8
drop B
create /fill
fill /fill
expect ENOSPC write /copy 0 30M 1
rm /fill
write /copy 0 1M 1
check /copy 0 1M 1
create /again
fill /again
truncate /again 1M
fsync /again
END
cat >crash.fsh <<'END'
create /kept
write /kept 0 300k 5
fsync /kept
create /lost
write /lost 0 3M 6
tmpfile / T
write @T 0 200k 1
hold /lost L
rm /lost
sync
mkdir /unsynced
write /kept 0 100k 7
recrash
check /kept 102400 200k 5
expect ENOENT stat /lost
many / 200 later
recrash
check /kept 102400 200k 5
mkdir /after
END

# run OPTIONS-OF-FSH SCRIPT: then e2fsck
run() {
	local options=$1 script=$2
	# shellcheck disable=SC2086
	"$TOOLS/fsh" $options image <"$script" >out.txt 2>err.txt || {
		cat err.txt >&2
		fail "$label: $script"
	}
	fsck_clean image
}

while IFS='|' read -r label size words; do
	for options in "" "-b 16 -i 64"; do
		rm -f image
		# shellcheck disable=SC2086
		mkimage_e2 image "$size" $words
		run "$options" names.fsh
		run "$options" contents.fsh
		# Without a journal nothing is promised of a crash.
		case $words in *^has_journal* | *ext2*) ;; *) run "$options" crash.fsh ;; esac
	done
done <<'END'
1 KiB blocks|48M|-t ext4 -b 1024 -J size=4
2 KiB blocks|48M|-t ext4 -b 2048 -J size=4
4 KiB blocks|64M|-t ext4 -b 4096 -J size=4
ext3|48M|-t ext3 -b 1024 -J size=4
ext2|48M|-t ext2 -b 1024
no journal|48M|-t ext4 -b 1024 -O ^has_journal
small inodes, no checksums|48M|-t ext4 -b 1024 -I 128 -O ^metadata_csum,^64bit -J size=4
inline data, attribute inodes|48M|-t ext4 -b 1024 -I 512 -O inline_data,ea_inode -J size=4
orphan file|48M|-t ext4 -b 1024 -O orphan_file -J size=4
descriptor checksums, meta_bg|48M|-t ext4 -b 1024 -O ^metadata_csum,uninit_bg,meta_bg,^resize_inode -J size=4
END
