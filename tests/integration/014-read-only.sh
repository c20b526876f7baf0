#!/usr/bin/env bash
# ro: nothing is written, changes are EROFS.
. "$(dirname "$0")/../lib/lib.sh"
need_root

mkimage a.img 32M
mount_kfs a.img a
mkdir a/dir
echo one >a/dir/file
umount_kfs a
sum=$(sha256sum <a.img)

# ---- ro ----
mount_kfs a.img a -o ro
expect_eq "$(cat a/dir/file)" one
ls -laR a >/dev/null
for change in 'touch a/new' 'rm a/dir/file' 'mkdir a/sub' 'chmod 700 a/dir' 'ln -s x a/l' 'truncate -s 0 a/dir/file'; do
	# shellcheck disable=SC2086 # a command and its words
	if LC_ALL=C $change 2>error.txt; then fail "done on a read-only mount: $change"; fi
	grep -q 'Read-only file system' error.txt || fail "$change: $(cat error.txt)"
done
umount_kfs a
expect_eq "$(sha256sum <a.img)" "$sum" "image after a read-only mount"
