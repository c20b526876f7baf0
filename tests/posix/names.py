# SPDX-License-Identifier: GPL-2.0-only
"""Making, linking, renaming and removing names of every kind."""
import ctypes
import errno
import os
import stat

from lib import *

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def makers():
    return {
        "open": lambda n: os.close(os.open(n, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)),
        "mkdir": lambda n: os.mkdir(n, 0o755),
        "mkfifo": lambda n: os.mkfifo(n, 0o644),
        "mknod": lambda n: os.mknod(n, stat.S_IFCHR | 0o600, os.makedev(3001, 1)),
        "symlink": lambda n: os.symlink("t", n),
        "link": lambda n: os.link(source, n),
    }


source = None


def for_makers():
    global source
    source = os.path.abspath("source")
    os.close(os.open(source, os.O_CREAT, 0o644))
    for label, fn in makers().items():
        fn.__name__ = label
        yield label, fn


def link_descriptor(fd, name):
    if libc.linkat(-100, b"/proc/self/fd/%d" % fd, -100, os.fsencode(name), 0x400) != 0:
        raise OSError(ctypes.get_errno(), "linkat")


def check_create_modes_and_umask():
    for kind in ["regular", "dir", "fifo", "block", "char"]:
        for mode in [0o000, 0o111, 0o151, 0o644, 0o755, 0o777] + ([] if kind == "dir" else [0o6755]):
            for umask in [0o000, 0o022, 0o077, 0o177, 0o777]:
                os.umask(umask)
                make(kind, "n", mode)
                os.umask(0)
                expect(f"{kind} {mode:o} under {umask:o}", mode_of("n"), mode & ~umask)
                is_kind(kind, "n")
                remove(kind, "n")


def check_create_owner_and_group():
    os.mkdir("plain", 0o777)
    os.mkdir("setgid", 0o777)
    os.chown("setgid", 0, OTHER_GROUP)
    os.chmod("setgid", 0o2777)
    for kind in ["regular", "dir", "fifo", "socket", "symlink"]:
        with user(USER, GROUP):
            make(kind, "plain/n", 0o777)
            make(kind, "setgid/n", 0o777)
        st = os.lstat("plain/n")
        expect(f"{kind} owner", (st.st_uid, st.st_gid), (USER, GROUP))
        st = os.lstat("setgid/n")
        expect(f"{kind} owner in a setgid directory", (st.st_uid, st.st_gid), (USER, OTHER_GROUP))
        if kind != "symlink":
            expect(f"{kind} inherits setgid", bool(st.st_mode & stat.S_ISGID), kind == "dir")
        remove(kind, "plain/n")
        remove(kind, "setgid/n")


def check_create_times():
    os.mkdir("d")
    for label, fn in for_makers():
        with changes("d", changed="mc"):
            fn("d/n")
        st = times("d/n")
        d = times("d")
        if label != "link":
            expect(f"{label}: times of the new file", st["m"] == st["c"] and st["m"] <= d["m"], True)
        (os.rmdir if label == "mkdir" else os.unlink)("d/n")


def check_create_errors():
    long_name = "n" * NAME_MAX
    os.close(os.open("file", os.O_CREAT, 0o644))
    os.symlink("loop-b", "loop-a")
    os.symlink("loop-a", "loop-b")
    os.mkdir("closed", 0o755)
    os.mkdir("nosearch", 0o666)
    os.chown("nosearch", USER, GROUP)
    for label, fn in for_makers():
        fails("ENOTDIR", fn, "file/n")
        fails("ENOENT", fn, "absent/n")
        fails("ELOOP", fn, "loop-a/n")
        fails("ENAMETOOLONG", fn, long_name + "n")
        works(fn, long_name)
        is_dir = label == "mkdir"
        fails("EEXIST", fn, long_name)
        (os.rmdir if is_dir else os.unlink)(long_name)
        fails("ENAMETOOLONG", fn, "a/" * (PATH_MAX // 2) + "n")
        for kind in KINDS:
            make(kind, "there")
            fails("EEXIST", fn, "there")
            remove(kind, "there")
        with user(USER, GROUP):
            if label not in ("mknod", "link"):
                fails("EACCES", fn, "closed/n")
                fails("EACCES", fn, "nosearch/n")
            elif label == "mknod":
                fails("EPERM" if os.access("closed", os.W_OK, effective_ids=True) else "EACCES", fn, "closed/n")
        fails("ENOENT", fn, "")


def check_deepest_path():
    path = deep_path(PATH_MAX - 1)
    works(lambda p: os.close(os.open(p, os.O_CREAT, 0o644)), path)
    expect("stat of the longest path", call(os.stat, path), "ok")
    works(os.unlink, path)
    fails("ENAMETOOLONG", os.stat, path + "y")


def check_mknod_permissions():
    os.chmod(".", 0o777)
    with user(USER, GROUP):
        works(os.mkfifo, "fifo")
        works(os.mknod, "regular", stat.S_IFREG | 0o644)
        works(os.mknod, "socket", stat.S_IFSOCK | 0o644)
        fails("EPERM", os.mknod, "char", stat.S_IFCHR | 0o644, os.makedev(3001, 1))
        fails("EPERM", os.mknod, "block", stat.S_IFBLK | 0o644, os.makedev(3001, 1))
    for major, minor in [(1, 3), (255, 255), (256, 0), (4095, 1048575), (0, 0), (0, 256)]:
        os.mknod("dev", stat.S_IFBLK | 0o600, os.makedev(major, minor))
        st = os.lstat("dev")
        expect("device number", (os.major(st.st_rdev), os.minor(st.st_rdev)), (major, minor))
        os.unlink("dev")


def check_link_counts_and_times():
    os.mkdir("d")
    for kind in KINDS:
        if kind == "dir":
            continue
        make(kind, "a")
        with changes("a", changed="c", kept="m"), changes("d", changed="mc"):
            os.link("a", "d/b", follow_symlinks=False)
        expect("link count", (os.lstat("a").st_nlink, os.lstat("d/b").st_ino), (2, os.lstat("a").st_ino))
        with changes("a", changed="c", kept="m"), changes("d", changed="mc"):
            os.unlink("d/b")
        expect("link count", os.lstat("a").st_nlink, 1)
        os.unlink("a")


def check_link_errors():
    os.mkdir("d")
    fails("EPERM", os.link, "d", "e")
    fails("ENOENT", os.link, "absent", "e")
    make("regular", "a")
    fails("EEXIST", os.link, "a", "d")
    fails("EEXIST", os.link, "a", "a")
    os.chmod("d", 0o755)
    os.chown("a", USER, GROUP)
    with user(USER, GROUP):
        fails("EACCES", os.link, "a", "d/a")
    fails("EXDEV", os.link, "/proc/version", "v")


def check_unlink():
    for kind in KINDS:
        make(kind, "n")
        fails("EISDIR" if kind == "dir" else "ok", os.unlink, "n")
        if kind == "dir":
            os.rmdir("n")
        fails("ENOENT", os.lstat, "n")
    fails("ENOENT", os.unlink, "n")
    make("regular", "f")
    fails("ENOTDIR", os.unlink, "f/x")
    fails("ENAMETOOLONG", os.unlink, "n" * (NAME_MAX + 1))
    os.mkdir("d", 0o755)
    make("regular", "d/f")
    with user(USER, GROUP):
        fails("EACCES", os.unlink, "d/f")
    fd = os.open("f", os.O_RDWR)
    os.write(fd, b"still here")
    os.unlink("f")
    expect("links of an unlinked open file", os.fstat(fd).st_nlink, 0)
    expect("contents of an unlinked open file", os.pread(fd, 100, 0), b"still here")
    os.ftruncate(fd, 5)
    expect("size of an unlinked open file", os.fstat(fd).st_size, 5)
    fails("ENOENT", link_descriptor, fd, "back")
    os.close(fd)


def check_sticky():
    for dir_owner in (0, USER, OTHER):
        os.mkdir("s", 0o1777)
        os.chown("s", dir_owner, -1)
        for kind in KINDS:
            for owner in (0, USER, OTHER):
                make(kind, "s/n")
                os.lchown("s/n", owner, -1)
                may = USER in (owner, dir_owner)
                fn = os.rmdir if kind == "dir" else os.unlink
                with user(USER, GROUP):
                    if kind == "dir" and owner != USER:
                        expect("rename out of a sticky directory", call(os.rename, "s/n", "s/m"), "ok" if may else "EPERM")
                        if may:
                            os.rename("s/m", "s/n")
                    fails("ok" if may else "EPERM", fn, "s/n")
                if not may:
                    fn("s/n")
        os.rmdir("s")


def check_rmdir():
    for kind in KINDS:
        if kind == "dir":
            continue
        make(kind, "n")
        fails("ENOTDIR", os.rmdir, "n")
        os.mkdir("d")
        os.rename("n", "d/n")
        fails("ENOTEMPTY", os.rmdir, "d")
        remove(kind, "d/n")
        works(os.rmdir, "d")
    os.mkdir("d")
    before = os.stat(".").st_nlink
    fails("EINVAL", os.rmdir, "d/.")
    fails("ENOTEMPTY", os.rmdir, "d/..")
    with changes(".", changed="mc"):
        os.rmdir("d")
    expect("links of the parent", os.stat(".").st_nlink, before - 1)
    fails("ENOENT", os.rmdir, "d")
    os.mkdir("d", 0o755)
    os.mkdir("d/e", 0o777)
    with user(USER, GROUP):
        fails("EACCES", os.rmdir, "d/e")
    fd = os.open("d/e", os.O_RDONLY)
    os.rmdir("d/e")
    expect("listing of a removed directory", os.listdir(fd), [])
    expect("links of a removed directory", os.fstat(fd).st_nlink, 0)
    fails("ENOENT", os.mkdir, "x", dir_fd=fd)
    os.close(fd)


def check_tmpfile():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"unnamed")
    expect("links of an unnamed file", os.fstat(fd).st_nlink, 0)
    works(link_descriptor, fd, "named")
    expect("the same file", (os.stat("named").st_ino, os.stat("named").st_nlink), (os.fstat(fd).st_ino, 1))
    expect("its contents", open("named", "rb").read(), b"unnamed")
    os.close(fd)
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o640)
    fails("ENOENT", link_descriptor, fd, "never")
    os.close(fd)


def check_symlink_targets():
    for n in [1, 2, 58, 59, 60, 61, 100, 255, 1000, 4095]:
        target = ("s%d-" % n + "x" * n)[:n]
        os.symlink(target, "l")
        expect("readlink", os.readlink("l"), target)
        expect("size", os.lstat("l").st_size, n)
        os.unlink("l")
    fails("ENAMETOOLONG", os.symlink, "x" * 4096, "l")
    fails("ENOENT", os.symlink, "", "l")
    make("regular", "f")
    fails("EINVAL", os.readlink, "f")
    os.symlink("f", "l")
    expect("through a link", os.stat("l").st_ino, os.stat("f").st_ino)


def check_rename_kinds():
    allowed = lambda a, b: (a == "dir") == (b == "dir")
    for a in KINDS:
        make(a, "a")
        ino = os.lstat("a").st_ino
        with changes(".", changed="mc"), changes("a", kept="m"):
            os.rename("a", "b")
            os.link("b", "a", follow_symlinks=False) if a != "dir" else os.rename("b", "a")
        if a != "dir":
            os.unlink("b")
        expect("same inode", os.lstat("a").st_ino, ino)
        for b in KINDS:
            make(b, "b")
            want = "ok" if allowed(a, b) else "ENOTDIR" if a == "dir" else "EISDIR"
            fails(want, os.rename, "a", "b")
            if want == "ok":
                expect("the moved one", os.lstat("b").st_ino, ino)
                is_kind(a, "b")
                os.rename("b", "a")
            else:
                remove(b, "b")
        remove(a, "a")


def check_rename_directories():
    os.makedirs("a/b/c")
    fails("EINVAL", os.rename, "a", "a/b")
    fails("EINVAL", os.rename, "a", "a/b/c/d")
    fails("ENOTEMPTY", os.rename, "a/b/c", "a")
    os.mkdir("x")
    links = os.stat("x").st_nlink
    os.rename("a/b", "x/b")
    expect("links", (os.stat("a").st_nlink, os.stat("x").st_nlink), (2, links + 1))
    expect("..", os.stat("x/b/..").st_ino, os.stat("x").st_ino)
    os.mkdir("x/empty")
    os.rename("a", "x/empty")
    expect("links after replacing", os.stat("x").st_nlink, links + 2)
    make("regular", "x/b/f")
    os.mkdir("y")
    fails("ENOTEMPTY", os.rename, "y", "x/b")
    fails("EBUSY", os.rename, "x/.", "z")
    fails("EBUSY", os.rename, "x/..", "z")
    fails("ENOENT", os.rename, "absent", "z")
    fails("ENOTDIR", os.rename, "x/b/f/q", "z")
    fails("ENAMETOOLONG", os.rename, "x", "n" * (NAME_MAX + 1))
    works(os.rename, "x", "x")


def check_rename_permissions():
    os.mkdir("from", 0o755)
    os.mkdir("to", 0o777)
    make("regular", "from/f")
    with user(USER, GROUP):
        fails("EACCES", os.rename, "from/f", "to/f")
    os.chmod("from", 0o777)
    with user(USER, GROUP):
        works(os.rename, "from/f", "to/f")
    os.mkdir("from/d", 0o755)
    with user(USER, GROUP):
        # Moving a directory changes its "..": that needs write permission on it.
        fails("EACCES", os.rename, "from/d", "to/d")
        works(os.rename, "from/d", "from/e")


def check_rename_same_file():
    make("regular", "a")
    os.link("a", "b")
    works(os.rename, "a", "b")
    expect("both names stay", os.stat("a").st_nlink, 2)


def check_rename_over_open():
    make("regular", "old")
    fd = os.open("old", os.O_RDWR)
    os.write(fd, b"old contents")
    make("regular", "new")
    os.rename("new", "old")
    expect("links of the replaced file", os.fstat(fd).st_nlink, 0)
    expect("its contents", os.pread(fd, 100, 0), b"old contents")
    os.close(fd)


def check_rename_flags():
    make("regular", "a")
    make("symlink", "b")
    fails("EEXIST", renameat2, "a", "b", NOREPLACE)
    works(renameat2, "a", "c", NOREPLACE)
    a, b = os.lstat("c").st_ino, os.lstat("b").st_ino
    works(renameat2, "c", "b", EXCHANGE)
    expect("exchanged", (os.lstat("c").st_ino, os.lstat("b").st_ino), (b, a))
    fails("ENOENT", renameat2, "c", "absent", EXCHANGE)
    os.makedirs("d/sub")
    make("regular", "d2")
    works(renameat2, "d/sub", "d2", EXCHANGE)
    is_kind("dir", "d2")
    is_kind("regular", "d/sub")
    expect("links of d", os.stat("d").st_nlink, 2)
    expect("..", os.stat("d2/..").st_ino, os.stat(".").st_ino)
    fails("EINVAL", renameat2, "c", "b", EXCHANGE | NOREPLACE)
    fails("EINVAL", renameat2, "d", "d/sub/x", EXCHANGE) if os.path.isdir("d/sub") else None
    works(renameat2, "c", "moved", WHITEOUT)
    st = os.lstat("c")
    expect("a whiteout", (stat.S_ISCHR(st.st_mode), st.st_rdev), (True, 0))


def check_open_errors():
    make("regular", "f", 0o644)
    make("dir", "d", 0o755)
    make("symlink", "dangling")
    o = lambda n, fl, m=0o644: os.close(os.open(n, fl, m))
    o.__name__ = "open"
    fails("EISDIR", o, "d", os.O_WRONLY)
    fails("EISDIR", o, "d", os.O_RDWR)
    fails("EISDIR", o, "d", os.O_CREAT | os.O_WRONLY)
    fails("ENOENT", o, "dangling", os.O_RDONLY)
    fails("ELOOP", o, "dangling", os.O_RDONLY | os.O_NOFOLLOW)
    fails("ENOTDIR", o, "f", os.O_RDONLY | os.O_DIRECTORY)
    fails("EEXIST", o, "dangling", os.O_CREAT | os.O_EXCL)
    make("fifo", "p")
    fails("ENXIO", o, "p", os.O_WRONLY | os.O_NONBLOCK)
    os.chown("f", USER, GROUP)
    for mode, bits in [(0o400, "r"), (0o200, "w"), (0o600, "rw"), (0o000, "")]:
        os.chmod("f", mode)
        with user(USER, OTHER_GROUP):
            fails("ok" if "r" in bits else "EACCES", o, "f", os.O_RDONLY)
            fails("ok" if "w" in bits else "EACCES", o, "f", os.O_WRONLY)
            fails("ok" if bits == "rw" else "EACCES", o, "f", os.O_RDWR)
            fails("ok" if "w" in bits else "EACCES", o, "f", os.O_WRONLY | os.O_TRUNC)
    os.chmod("f", 0o060)
    with user(OTHER, GROUP):
        works(o, "f", os.O_RDWR)
    with user(OTHER, OTHER_GROUP, [GROUP]):
        works(o, "f", os.O_RDWR)
    with user(USER, GROUP):
        fails("EACCES", o, "f", os.O_RDWR)
    os.chmod("f", 0o006)
    with user(OTHER, OTHER_GROUP):
        works(o, "f", os.O_RDWR)


def check_open_trunc_and_append():
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o644)
    os.write(fd, b"0123456789")
    with changes("f", changed="mc"):
        os.close(os.open("f", os.O_WRONLY | os.O_TRUNC))
    expect("size", os.fstat(fd).st_size, 0)
    with changes("f", kept="mc"):
        os.close(os.open("f", os.O_RDONLY))
    a, b = (os.open("f", os.O_WRONLY | os.O_APPEND) for _ in range(2))
    for i in range(20):
        os.write((a, b)[i % 2], b"%02d\n" % i)
    expect("two appenders", os.pread(fd, 1000, 0), b"".join(b"%02d\n" % i for i in range(20)))
    for d in (a, b, fd):
        os.close(d)
