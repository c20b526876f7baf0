#!/usr/bin/env bash
# chattr and lsattr, versions, project ids, birth times, O_TMPFILE, copy_file_range: as on
# kernel ext4. BIRTH=none: the kernel's FUSE cannot ask for birth times (before 6.6).
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3 chattr lsattr

mkimage a.img 64M
mount_kfs a.img a
echo text >a/file
mkdir a/dir

# ---- flags: shown, obeyed, kept ----
# FUSE has no word for them: without a message at open a write is refused when it is written back, at fsync or close.
refused() { # COMMAND…: fails, whatever it says
	if "$@" 2>/dev/null; then fail "done to a file whose flags forbid it: $*"; fi
}
chattr +i a/file
refused python3 -c 'import os; fd = os.open("a/file", os.O_WRONLY | os.O_APPEND); os.write(fd, b"x"); os.fsync(fd)'
refused rm -f a/file
refused truncate -s 0 a/file
refused chmod 600 a/file
refused ln a/file a/hard
chattr -i a/file
remount_kfs a.img a -o share=on
expect_eq "$(cat a/file)" text "an immutable file"
chattr +i a/file
refused sh -c 'echo x >>a/file'
chattr -i +a a/file
echo more >>a/file
refused sh -c 'echo x >a/file'
refused rm -f a/file
chattr -a a/file
chattr +d +A a/file a/dir
remount_kfs a.img a
expect_eq "$(lsattr -d a/file | tr -d -- '-' | awk '{ print $1 }' | tr -d e)" dA "flags after a remount"
expect_eq "$(debugfs -R 'stat /file' a.img 2>/dev/null | grep -o 'Flags: 0x[0-9a-f]*')" "Flags: 0x800c0" "flags on disk"

# ---- flags are their owner's, whatever number is asked with ----
chmod 644 a/file
before=$(lsattr -d a/file)
python3 - <<'PY'
import array, errno, fcntl, os
os.setgroups([])
os.setgid(1000)
os.setuid(1000)
fd = os.open('a/file', os.O_RDONLY)
for number in [0x40086602, 0x40046602]:
    for flags in [0x80010, 0x80040, 0x80000]:
        try:
            fcntl.ioctl(fd, number, array.array('L', [flags]), True)
            raise SystemExit(f'ioctl {number:#x} gave a stranger\'s file the flags {flags:#x}')
        except OSError as e:
            assert e.errno in (errno.EPERM, errno.EACCES, errno.ENOTTY), e
PY
expect_eq "$(lsattr -d a/file)" "$before" "flags after a stranger asked for others"

# ---- versions ----
version=$(lsattr -v a/file | awk '{ print $1 }')
expect_eq "$version" "$(debugfs -R 'stat /file' a.img 2>/dev/null | sed -n 's/.*Generation: \([0-9]*\).*/\1/p')" version
expect_failure chattr -v 12345 a/file 2>/dev/null

# ---- birth time ----
birth=$(stat -c %W a/file)
if [ "${BIRTH:-}" = none ]; then
	expect_eq "$birth" 0 "a birth time that the kernel cannot ask for"
else
	[ "$birth" -gt 1600000000 ] || fail "birth time $birth"
fi

python3 - <<'PY'
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)

# an unnamed file that gets a name
fd = os.open('a', os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(fd, b'unnamed')
follow = 0x400
assert libc.linkat(-100, f'/proc/self/fd/{fd}'.encode(), -100, b'a/named', follow) == 0, ctypes.get_errno()
os.close(fd)
assert open('a/named', 'rb').read() == b'unnamed'
fd = os.open('a', os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(fd, b'x' * 100000)
os.close(fd)

# copies inside the filesystem
with open('a/source', 'wb') as f:
    f.write(os.urandom(3000000))
src = os.open('a/source', os.O_RDONLY)
dst = os.open('a/copy', os.O_RDWR | os.O_CREAT)
left = 3000000
while left:
    done = os.copy_file_range(src, dst, left)
    assert done > 0
    left -= done
assert open('a/source', 'rb').read() == open('a/copy', 'rb').read()
PY
umount_kfs a
fsck_clean a.img
