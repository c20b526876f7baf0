# SPDX-License-Identifier: GPL-2.0-only
"""What POSIX and Linux promise about names and attributes, as checks on one directory.

Each check is a plain function named check_*; run.py calls them in fresh directories as root and counts assertions. A
failed assertion is printed with its place and the run goes on, so that one run shows all that is wrong. Users are
changed within the process (effective ids and groups), as a server would.
"""
import contextlib
import errno
import os
import socket
import stat
import sys
import time
import traceback

KINDS = ["regular", "dir", "fifo", "block", "char", "socket", "symlink"]
NAME_MAX = 255
PATH_MAX = 4096
USER, GROUP = 65534, 65533
OTHER, OTHER_GROUP = 65532, 65531

counts = {"ok": 0, "failed": 0}
current = "?"
no_open_messages = False  # the mount hears of no open(2): what that forbids is refused by the write


def expect(what, got, want):
    if got == want:
        counts["ok"] += 1
        return True
    counts["failed"] += 1
    line = next(f for f in reversed(traceback.extract_stack()[:-1]) if not f.filename.endswith("lib.py"))
    print(f"FAIL {current} {os.path.basename(line.filename)}:{line.lineno}: {what}: got {got!r}, wanted {want!r}")
    return False


def call(fn, *args, **kw):
    """The call's errno name, or 'ok'."""
    try:
        fn(*args, **kw)
        return "ok"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e.errno)).replace("ENOTSUP", "EOPNOTSUPP")


def fails(want, fn, *args, **kw):
    return expect(f"{fn.__name__}{args}"[:100], call(fn, *args, **kw), want)


def works(fn, *args, **kw):
    return fails("ok", fn, *args, **kw)


@contextlib.contextmanager
def user(uid, gid=None, groups=()):
    gid = uid if gid is None else gid
    os.setgroups(list(groups))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([0])


def make(kind, name, mode=0o644):
    if kind == "regular":
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    elif kind == "dir":
        os.mkdir(name, mode)
    elif kind == "fifo":
        os.mkfifo(name, mode)
    elif kind == "block":
        os.mknod(name, mode | stat.S_IFBLK, os.makedev(3001, 2))
    elif kind == "char":
        os.mknod(name, mode | stat.S_IFCHR, os.makedev(3001, 2))
    elif kind == "socket":
        s = socket.socket(socket.AF_UNIX)
        s.bind(name)
        s.close()
        os.chmod(name, mode)
    elif kind == "symlink":
        os.symlink("target-of-" + os.path.basename(name), name)


def remove(kind, name):
    (os.rmdir if kind == "dir" else os.unlink)(name)


IS = {"regular": stat.S_ISREG, "dir": stat.S_ISDIR, "fifo": stat.S_ISFIFO, "block": stat.S_ISBLK,
      "char": stat.S_ISCHR, "socket": stat.S_ISSOCK, "symlink": stat.S_ISLNK}


def is_kind(kind, name):
    return expect(f"{name} is a {kind}", IS[kind](os.lstat(name).st_mode), True)


def mode_of(name):
    return stat.S_IMODE(os.lstat(name).st_mode)


def later():
    """Let the clock tick past the granularity of the kernel's coarse time."""
    time.sleep(0.011)


def times(name):
    st = os.lstat(name)
    return {"a": st.st_atime_ns, "m": st.st_mtime_ns, "c": st.st_ctime_ns}


@contextlib.contextmanager
def changes(names, *, changed="", kept=""):
    """The times named by letters ("mc") must move on, or stay, for each of the names."""
    names = [names] if isinstance(names, str) else names
    before = {n: times(n) for n in names}
    later()
    yield
    for n in names:
        after = times(n)
        for t in changed:
            expect(f"{t}time of {n} moved on", after[t] > before[n][t], True)
        for t in kept:
            expect(f"{t}time of {n} stayed", after[t] == before[n][t], True)


def run(module, top):
    global current
    for name, fn in sorted(vars(module).items()):
        if not name.startswith("check_"):
            continue
        current = f"{module.__name__}.{name[6:]}"
        where = os.path.join(top, current)
        os.mkdir(where, 0o755)
        os.chdir(where)
        os.umask(0)
        try:
            fn()
        except Exception:  # a check that cannot go on is a failure of its own
            counts["failed"] += 1
            print(f"FAIL {current}: stopped by")
            traceback.print_exc(file=sys.stdout)
        finally:
            os.seteuid(0)
            os.setegid(0)
        os.chdir(top)


def deep_path(length):
    """A relative path of exactly this many bytes, whose directories exist."""
    part = "p" * 200
    path = ""
    while len(path) + len(part) + 1 < length - 1:
        path += part + "/"
    os.makedirs(path, exist_ok=True)
    return path + "x" * (length - len(path))
