#!/usr/bin/env bash
# File handles (name_to_handle_at) across eviction and remount: as on kernel ext4.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3

mkimage a.img 64M
mount_kfs a.img a
echo text >a/file
mkdir a/dir

cat >handle.py <<'PY'
import ctypes, os, pickle, sys
libc = ctypes.CDLL(None, use_errno=True)
class Handle(ctypes.Structure):
    _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_ubyte * 128)]
def handle(path):
    h = Handle(bytes=128); mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, path.encode(), ctypes.byref(h), ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), path)
    return bytes(h)
def open_handle(mount, data):
    h = Handle.from_buffer_copy(data)
    fd = libc.open_by_handle_at(mount, ctypes.byref(h), os.O_RDONLY)
    if fd < 0:
        raise OSError(ctypes.get_errno(), 'open_by_handle_at')
    return fd
if sys.argv[1] == 'save':
    pickle.dump([handle(p) for p in ('a/file', 'a/dir/inner', 'a/doomed')], open('handles', 'wb'))
else:
    mount = os.open('a', os.O_RDONLY)
    one, two, doomed = pickle.load(open('handles', 'rb'))
    assert os.read(open_handle(mount, one), 100).startswith(b'text')
    fd = open_handle(mount, two)
    assert os.path.samefile(f'/proc/self/fd/{fd}', 'a/dir/inner')
    try:
        open_handle(mount, doomed)
        raise SystemExit('a handle of a deleted file opens')
    except OSError as e:
        assert e.errno == 116, e
PY
mkdir a/dir/inner
echo doomed >a/doomed
python3 handle.py save
rm a/doomed
sync_mounts
for i in $(seq 30); do echo "$i" >"a/new$i"; done # the inode is used again
drop_caches
python3 handle.py open
remount_kfs a.img a
python3 handle.py open
umount_kfs a
fsck_clean a.img
