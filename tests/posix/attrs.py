# SPDX-License-Identifier: GPL-2.0-only
"""Modes, owners, sizes, times, extended attributes: who may change them, and what changes with them."""
import os
import stat
import time

import lib
from lib import *


def lchmod_all(kind, name, mode):
    os.chmod(name, mode)


def check_chmod():
    for kind in KINDS:
        if kind == "symlink":
            continue
        make(kind, "n", 0o644)
        for mode in [0o000, 0o111, 0o222, 0o444, 0o755, 0o777, 0o1755, 0o2755, 0o4755, 0o7777]:
            with changes("n", changed="c", kept="ma"):
                os.chmod("n", mode)
            expect(f"{kind} mode", mode_of("n"), mode)
        remove(kind, "n")
    fails("ENOENT", os.chmod, "n", 0o644)
    make("regular", "f")
    os.symlink("f", "l")
    os.chmod("l", 0o600)
    expect("chmod follows a link", (mode_of("f"), mode_of("l")), (0o600, 0o777))


def check_chmod_permissions():
    for kind in ["regular", "dir", "fifo"]:
        make(kind, "n", 0o644)
        with user(USER, GROUP):
            fails("EPERM", os.chmod, "n", 0o600)
        os.chown("n", USER, GROUP)
        with user(USER, GROUP):
            works(os.chmod, "n", 0o600)
        with user(OTHER, OTHER_GROUP):
            fails("EPERM", os.chmod, "n", 0o644)
        remove(kind, "n")


def check_chmod_setgid_outside_group():
    make("regular", "f")
    os.chown("f", USER, OTHER_GROUP)
    with user(USER, GROUP):
        works(os.chmod, "f", 0o2755)
    expect("setgid is refused to one outside the group", mode_of("f"), 0o755)
    with user(USER, GROUP, [OTHER_GROUP]):
        works(os.chmod, "f", 0o2755)
    expect("setgid for a member", mode_of("f"), 0o2755)


def check_chown():
    for kind in KINDS:
        make(kind, "n")
        for uid, gid in [(USER, GROUP), (0, 0), (-1, OTHER_GROUP), (OTHER, -1), (2**32 - 2, 2**32 - 2), (70000, 80000)]:
            st = os.lstat("n")
            os.lchown("n", uid, gid)
            now = os.lstat("n")
            expect(f"{kind} owner", (now.st_uid, now.st_gid), (st.st_uid if uid == -1 else uid, st.st_gid if gid == -1 else gid))
        with changes("n", changed="c", kept="ma"):
            os.lchown("n", USER, GROUP)
        with user(USER, GROUP, [OTHER_GROUP]):
            works(os.lchown, "n", -1, OTHER_GROUP)
            works(os.lchown, "n", USER, GROUP)
            fails("EPERM", os.lchown, "n", OTHER, -1)
            fails("EPERM", os.lchown, "n", -1, 77)
        with user(OTHER, OTHER_GROUP, [GROUP]):
            fails("EPERM", os.lchown, "n", -1, GROUP)
        remove(kind, "n")


def check_chown_clears_suid():
    for mode, after in [(0o4755, 0o755), (0o2755, 0o755), (0o6755, 0o755), (0o2644, 0o2644)]:
        make("regular", "f")
        os.chown("f", USER, GROUP)
        os.chmod("f", mode)
        with user(USER, GROUP, [OTHER_GROUP]):
            os.chown("f", -1, OTHER_GROUP)
        expect(f"{mode:o} after chown", mode_of("f"), after)
        os.unlink("f")
    os.mkdir("d")
    os.chmod("d", 0o6755)
    os.chown("d", USER, GROUP)
    expect("a directory keeps them", mode_of("d"), 0o6755)


def check_write_clears_suid():
    for act in ("write", "truncate", "fallocate"):
        for mode, after in [(0o4755, 0o755), (0o6777, 0o777), (0o2755, 0o755)]:
            make("regular", "f")
            os.chown("f", 0, GROUP)
            with open("f", "wb") as f:
                f.write(b"x" * 100)
            os.chown("f", USER, GROUP)
            os.chmod("f", mode | 0o222)
            after_all = (after | 0o222)
            fd = os.open("f", os.O_RDWR)
            with user(OTHER, OTHER_GROUP):
                if act == "write":
                    os.pwrite(fd, b"y", 0)
                elif act == "truncate":
                    os.ftruncate(fd, 10)
                else:
                    os.posix_fallocate(fd, 0, 200)
            os.close(fd)
            expect(f"{mode:o} after {act} by another", mode_of("f"), after_all)
            os.chmod("f", 0o6755)
            with open("f", "r+b") as f:
                f.write(b"z")
            expect("root keeps them", mode_of("f"), 0o6755)
            os.unlink("f")


def check_truncate():
    make("regular", "f")
    for size in [1, 100, 4095, 4096, 4097, 100000, 3, 0, 1 << 33]:
        with changes("f", changed="mc"):
            os.truncate("f", size)
        expect("size", os.stat("f").st_size, size)
    with open("f", "r+b") as f:
        f.truncate(0)
        f.write(b"a" * 5000)
        f.flush()
        os.ftruncate(f.fileno(), 100)
        os.ftruncate(f.fileno(), 5000)
        expect("zeros after growing", os.pread(f.fileno(), 5000, 0), b"a" * 100 + b"\0" * 4900)
    os.mkdir("d")
    fails("EISDIR", os.truncate, "d", 0)
    fails("ENOENT", os.truncate, "absent", 0)
    fails("EINVAL", os.truncate, "f", -1)
    fails("EFBIG", os.truncate, "f", 1 << 62)
    fd = os.open("f", os.O_RDONLY)
    fails("EINVAL", os.ftruncate, fd, 0)
    os.close(fd)
    os.chmod("f", 0o444)
    with user(USER, GROUP):
        fails("EACCES", os.truncate, "f", 0)
    make("fifo", "p")
    fails("EINVAL", os.truncate, "p", 0)


def check_fallocate():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o644)
    with changes("f", changed="mc"):
        os.posix_fallocate(fd, 0, 4567)
    expect("size", os.fstat(fd).st_size, 4567)
    os.posix_fallocate(fd, 20000, 3456)
    expect("size", os.fstat(fd).st_size, 23456)
    expect("zeros", os.pread(fd, 30000, 0), b"\0" * 23456)
    fails("EINVAL", os.posix_fallocate, fd, 0, 0)
    fails("EINVAL", os.posix_fallocate, fd, -1, 10)
    os.close(fd)
    fd = os.open("f", os.O_RDONLY)
    fails("EBADF", os.posix_fallocate, fd, 0, 10)
    os.close(fd)


def check_utimens():
    ns = lambda s, n=0: s * 10**9 + n
    for kind in KINDS:
        make(kind, "n")
        for a, m in [(ns(1), ns(2)), (ns(2**31 - 1, 999999999), ns(2**31, 1)), (ns(2**32 + 5, 123456789), ns(0)),
                     (ns(-(2**31)), ns(-1, 5)), (ns(15032385534, 7), ns(4294967296))]:
            os.utime("n", ns=(a, m), follow_symlinks=False)
            t = times("n")
            expect(f"{kind} times", (t["a"], t["m"]), (a, m))
        with changes("n", changed="c"):
            os.utime("n", ns=(5, 6), follow_symlinks=False)
        with changes("n", changed="mca"):
            os.utime("n", follow_symlinks=False)
        remove(kind, "n")


def check_utimens_permissions():
    make("regular", "f", 0o666)
    with user(USER, GROUP):
        works(os.utime, "f")
        fails("EPERM", os.utime, "f", (1, 2))
    os.chmod("f", 0o644)
    with user(USER, GROUP):
        fails("EACCES", os.utime, "f")
    os.chown("f", USER, GROUP)
    with user(USER, GROUP):
        works(os.utime, "f", (1, 2))
    fails("ENOENT", os.utime, "absent")


def check_write_and_read_times():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o644)
    with changes("f", changed="mc"):
        os.write(fd, b"data")
        os.fsync(fd)
    with changes("f", kept="mc"):
        os.pread(fd, 4, 0)
    with changes("f", kept="mc"):
        os.write(fd, b"")
    os.close(fd)
    st = times("f")
    later()
    expect("times stay after close", times("f"), st)


def check_xattrs():
    make("regular", "f")
    os.mkdir("d", 0o755)
    for n in ("f", "d"):
        works(os.setxattr, n, "user.a", b"1")
        fails("EEXIST", os.setxattr, n, "user.a", b"2", os.XATTR_CREATE)
        fails("ENODATA", os.setxattr, n, "user.b", b"2", os.XATTR_REPLACE)
        works(os.setxattr, n, "user.empty", b"")
        works(os.setxattr, n, "user.big", b"v" * 2000)
        works(os.setxattr, n, "trusted.t", b"\0\1\2")
        expect("values", [os.getxattr(n, k) for k in ("user.a", "user.empty", "user.big", "trusted.t")],
               [b"1", b"", b"v" * 2000, b"\0\1\2"])
        expect("names", sorted(os.listxattr(n)), ["trusted.t", "user.a", "user.big", "user.empty"])
        with changes(n, changed="c", kept="m"):
            os.setxattr(n, "user.a", b"other")
        with changes(n, changed="c", kept="m"):
            os.removexattr(n, "user.a")
        fails("ENODATA", os.getxattr, n, "user.a")
        fails("ENODATA", os.removexattr, n, "user.a")
        with user(USER, GROUP):
            expect("trusted is hidden", sorted(x for x in os.listxattr(n) if x.startswith("trusted")), [])
            fails("EACCES", os.setxattr, n, "user.a", b"1")
    os.symlink("f", "l")
    fails("EPERM", os.setxattr, "l", "user.a", b"1", follow_symlinks=False)
    works(os.setxattr, "l", "trusted.a", b"1", follow_symlinks=False)
    fails("EOPNOTSUPP", os.setxattr, "f", "nonsense.a", b"1")
    fails("ERANGE", os.setxattr, "f", "user." + "n" * 251, b"1")


def acl(*entries):
    import struct
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


UNDEF = 0xFFFFFFFF
USER_OBJ, USER_T, GROUP_OBJ, GROUP_T, MASK, OTHER_T = 1, 2, 4, 8, 16, 32


def check_acl_access():
    make("regular", "f", 0o600)
    os.setxattr("f", "system.posix_acl_access", acl((USER_OBJ, 6, UNDEF), (USER_T, 4, USER), (GROUP_OBJ, 0, UNDEF),
                                                    (MASK, 4, UNDEF), (OTHER_T, 0, UNDEF)))
    expect("the mask is the group's mode", mode_of("f"), 0o640)
    with user(USER, GROUP):
        works(lambda: os.close(os.open("f", os.O_RDONLY)))
        fails("EACCES", os.open, "f", os.O_WRONLY)
    os.chmod("f", 0o600)
    with user(USER, GROUP):
        fails("EACCES", os.open, "f", os.O_RDONLY)
    expect("chmod changed the mask", os.getxattr("f", "system.posix_acl_access"),
           acl((USER_OBJ, 6, UNDEF), (USER_T, 4, USER), (GROUP_OBJ, 0, UNDEF), (MASK, 0, UNDEF), (OTHER_T, 0, UNDEF)))
    os.setxattr("f", "system.posix_acl_access", acl((USER_OBJ, 7, UNDEF), (GROUP_OBJ, 5, UNDEF), (OTHER_T, 1, UNDEF)))
    expect("a minimal ACL is the mode", (mode_of("f"), os.listxattr("f")), (0o751, []))
    fails("EINVAL", os.setxattr, "f", "system.posix_acl_access", acl((USER_OBJ, 7, UNDEF), (OTHER_T, 1, UNDEF)))
    fails("EACCES", os.setxattr, "f", "system.posix_acl_default", acl((USER_OBJ, 7, UNDEF), (GROUP_OBJ, 5, UNDEF), (OTHER_T, 1, UNDEF)))


def check_acl_default():
    os.mkdir("d")
    default = acl((USER_OBJ, 7, UNDEF), (USER_T, 6, USER), (GROUP_OBJ, 5, UNDEF), (MASK, 7, UNDEF), (OTHER_T, 0, UNDEF))
    os.setxattr("d", "system.posix_acl_default", default)
    os.umask(0o077)
    os.mkdir("d/sub", 0o777)
    make("regular", "d/f", 0o666)
    os.umask(0)
    expect("the default is inherited", os.getxattr("d/sub", "system.posix_acl_default"), default)
    expect("a directory's access ACL", (os.getxattr("d/sub", "system.posix_acl_access"), mode_of("d/sub")), (default, 0o770))
    expect("a file's access ACL", (os.getxattr("d/f", "system.posix_acl_access"), mode_of("d/f")),
           (acl((USER_OBJ, 6, UNDEF), (USER_T, 6, USER), (GROUP_OBJ, 5, UNDEF), (MASK, 6, UNDEF), (OTHER_T, 0, UNDEF)), 0o660))
    os.removexattr("d", "system.posix_acl_default")
    os.umask(0o027)
    make("regular", "d/g", 0o666)
    os.umask(0)
    expect("the umask rules again", mode_of("d/g"), 0o640)


def check_immutable_and_append():
    import fcntl
    import struct
    GET, SET, IMMUTABLE, APPEND = 0x80086601, 0x40086602, 0x10, 0x20
    make("regular", "f")
    fd = os.open("f", os.O_RDWR)

    def set_flag(flag):
        flags = struct.unpack("l", fcntl.ioctl(fd, GET, b"\0" * 8))[0]
        fcntl.ioctl(fd, SET, struct.pack("l", (flags & ~(IMMUTABLE | APPEND)) | flag))

    def open_refused():
        """Without open messages the kernel cannot know; then the write is refused, at the latest by close."""
        if not lib.no_open_messages:
            fails("EPERM", os.open, "f", os.O_WRONLY)
            return

        def write_and_close():
            d = os.open("f", os.O_WRONLY)
            try:
                os.write(d, b"x")
                os.fsync(d)
            finally:
                os.close(d)

        fails("EPERM", write_and_close)

    set_flag(IMMUTABLE)
    for fn, args in [(os.unlink, ("f",)), (os.rename, ("f", "g")), (os.link, ("f", "g")), (os.chmod, ("f", 0o600)),
                     (os.truncate, ("f", 0)), (os.utime, ("f", (1, 2))), (os.setxattr, ("f", "user.a", b"1"))]:
        fails("EPERM", fn, *args)
    open_refused()
    set_flag(APPEND)
    fails("EPERM", os.unlink, "f")
    fails("EPERM", os.truncate, "f", 0)
    if not lib.no_open_messages:
        open_refused()
    works(lambda: os.close(os.open("f", os.O_WRONLY | os.O_APPEND)))
    set_flag(0)
    works(os.unlink, "f")
    os.close(fd)
