#!/usr/bin/env bash
# timeout: 900
# Limits: many names in one directory, the longest names and links, many links, the largest sparse file, a full disk and
# exhausted inodes with an exact statfs, before and after the rescue.
. "$(dirname "$0")/../lib/lib.sh"
need_root
NAMES=${NAMES:-100000}

mkimage img 2G -N $((NAMES + 20000))
mount_kfs img m
mkdir m/big
python3 - m/big "$NAMES" <<'PY'
import os, sys
top, count = sys.argv[1], int(sys.argv[2])
os.chdir(top)
for i in range(count):
    os.close(os.open(f"name-{i:07d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
PY
expect_eq "$(find m/big -type f | sort -u | wc -l)" "$NAMES" "names listed once each"
remount_kfs img m
expect_eq "$(find m/big -type f | sort -u | wc -l)" "$NAMES" "names listed after a remount"
python3 - m/big "$NAMES" <<'PY'
import os, sys
top, count = sys.argv[1], int(sys.argv[2])
os.chdir(top)
for i in range(0, count, 7):
    os.stat(f"name-{i:07d}")
for i in range(count, count + 1000):
    assert not os.path.exists(f"name-{i:07d}")
# Removing while listing, as rm -r does: every name comes, none comes twice.
seen = set()
for e in os.scandir("."):
    assert e.name not in seen
    seen.add(e.name)
    os.unlink(e.name)
assert len(seen) == count, (len(seen), count)
PY
rmdir m/big

name=$(printf 'n%.0s' {1..255})
echo long >"m/$name"
expect_eq "$(cat "m/$name")" long "255-byte name"
expect_failure touch "m/${name}x" 2>/dev/null
python3 - m <<'PY'
import errno, os, sys
os.chdir(sys.argv[1])
target = "t" * 4095
os.symlink(target, "l4095")
assert os.readlink("l4095") == target
for n in (59, 60, 61, 255, 1000):
    os.symlink("s" * n, f"l{n}")
    assert os.readlink(f"l{n}") == "s" * n
os.close(os.open("many", os.O_CREAT, 0o644))
os.mkdir("links")
made = 1
try:
    while True:
        os.link("many", f"links/{made}")
        made += 1
except OSError as e:
    assert e.errno == errno.EMLINK, e
assert made == 65000 and os.stat("many").st_nlink == 65000, made
fd = os.open("sparse", os.O_CREAT | os.O_RDWR, 0o644)
largest = (2**32 - 1) * 4096
os.pwrite(fd, b"end", largest - 3)
assert os.fstat(fd).st_size == largest
assert os.pread(fd, 10, largest - 3) == b"end"
# HOLES=data: where kfs cannot ask the kernel for dirty pages
data = 0 if os.environ.get("HOLES") == "data" else (largest - 3) // 4096 * 4096
assert os.lseek(fd, 0, os.SEEK_DATA) == data
# The kernel's cache takes the byte (FUSE cannot tell it the limit); fsync must not.
try:
    os.pwrite(fd, b"x", largest)
    os.fsync(fd)
    raise SystemExit("wrote past the largest size")
except OSError as e:
    assert e.errno == errno.EFBIG, e
os.close(fd)
PY
umount_kfs m
fsck_clean img

# A full disk, then exhausted inodes: what statfs says is what there is; removal gives it back.
mkimage img 64M -N 2000
mount_kfs img m
sync_free() { kfsctl sync "$SCRATCH/m" >/dev/null; stat -f -c "$1" m; }
free0=$(sync_free %f) inodes0=$(sync_free %d)
as_id 1234 1234 true
mkdir -m 777 m/u
as_id 1234 1234 dd if=/dev/zero of=m/u/fill bs=64k 2>dd.log && fail "the disk never filled"
grep -q "No space left" dd.log || fail "another error than ENOSPC: $(cat dd.log)"
expect_eq "$(sync_free %a)" 0 "blocks available to users on a full disk"
reserved=$(sync_free %f)
[ "$reserved" -gt 0 ] || fail "a user has eaten the reserve"
echo root >m/root-file || fail "root cannot use the reserve"
remount_kfs img m
expect_eq "$(sync_free %a)" 0 "blocks available after a remount"
rm m/u/fill m/root-file
rmdir m/u
expect_eq "$(sync_free %f)" "$free0" "free blocks after the rescue"
mkdir m/i
python3 - m/i <<'PY'
import errno, os, sys
os.chdir(sys.argv[1])
n = 0
try:
    while True:
        os.close(os.open(str(n), os.O_CREAT, 0o644))
        n += 1
except OSError as e:
    assert e.errno == errno.ENOSPC, e
assert os.statvfs(".").f_ffree == 0, os.statvfs(".")
for i in range(n):
    os.unlink(str(i))
PY
rmdir m/i
expect_eq "$(sync_free %d)" "$inodes0" "free inodes after the rescue"
umount_kfs m
fsck_clean img
kmount img k ro
by_kernel=$(stat -f -c '%b %f %a %c %d' k)
kumount k
mount_kfs img m -o ro
expect_eq "$(stat -f -c '%b %f %a %c %d' m)" "$by_kernel" "statfs beside the kernel's"
umount_kfs m
