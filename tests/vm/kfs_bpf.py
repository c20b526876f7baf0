"""The daemon on the module, in the guest: called by 200-kfs-bpf.sh. Each test mounts an image of its own."""

import errno
import itertools
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time

from guest import (LONG, ZERO, Counted, Mount, absent, check, child, detach_links, drop_dentries, end_children, outcome,
                   plant, reload_module, run, wait_for)


def test_no_request(timeouts, label):
    print(f"-- no request where the tables know, timeouts {label}")
    m = Mount("quiet", f"bpf=on,{timeouts}")
    names = plant(m)
    m.umount()
    m.mount(f"bpf=on,{timeouts}")
    check("tier is bpf", m.status()["tier"] == "bpf")
    for d in range(2):
        for entry in os.scandir(m.path(f"d{d}")):
            entry.stat()
    with Counted(m, "stat of everything listed"):
        for name in names:
            os.stat(name)
    with Counted(m, "stat after the dentries are dropped"):
        drop_dentries()
        for i, name in enumerate(names):
            check(name, os.stat(name).st_size == i % 40)
    with Counted(m, "names never asked for in a listed directory"):
        for i in range(200):
            check("absent", absent(m.path("d0", f"never{i}")))
    check("absent", absent(m.path("nothing")))
    with Counted(m, "an absent name, again"):
        for _ in range(20):
            check("absent", absent(m.path("nothing")))
    drop_dentries()
    with Counted(m, "an absent name, dentries dropped"):
        check("absent", absent(m.path("nothing")))
    os.mkdir(m.path("new"))
    with Counted(m, "names in a new directory"):
        check("absent", absent(m.path("new", "a")) and absent(m.path("new", "b" * 255)))
    bpf = m.stats()["bpf"]
    print("   " + ", ".join(f"{k} {v}" for k, v in bpf.items() if v and k != "attached"))
    check("whole directories were seen", bpf["directories_completed"] >= 3)
    m.umount()


def test_changes_need_no_request():
    """What a change made known is not asked for again: neither by who made it, nor by another process."""
    print("-- no request after changes, timeouts 0")
    m = Mount("changed", f"bpf=on,{ZERO}")
    names = plant(m)

    def look(what, present, missing):
        os.listdir(m.dir)
        with Counted(m, f"stat after {what}"):
            for path in present:
                os.stat(path)
                run("stat", path)
            for path in missing:
                check(f"{path} is absent", absent(path))

    old, new = names[3], m.path("d1", "moved")
    look("create", [old], [])
    os.rename(old, new)
    look("rename", [new], [old])
    os.link(new, old)
    look("link", [old, new], [])
    os.unlink(new)
    look("unlink", [old], [new])
    os.chmod(old, 0o600)
    look("chmod", [old], [])
    os.mkdir(m.path("d0", "sub"))
    look("mkdir", [m.path("d0", "sub")], [m.path("d0", "sub", "nothing")])
    os.rmdir(m.path("d0", "sub"))
    look("rmdir", [], [m.path("d0", "sub")])
    os.rename(old, names[5])
    look("replacing rename", [names[5]], [old])
    os.symlink("x", m.path("d0", "link"))
    with Counted(m, "lstat after symlink"):
        os.lstat(m.path("d0", "link"))
    m.umount()


def test_forget():
    """An answer of the programs hands out nothing: the daemon gets back what its replies gave, and no more."""
    print("-- lookups and forgets balance")
    m = Mount("forget", f"bpf=on,{ZERO}")

    def known():
        return m.stats()["caches"]["nodes"]["count"]

    def given_back():
        os.sync()
        drop_dentries()
        return known() == 0

    names = plant(m)
    check("files that were made are known", known() >= len(names))
    wait_for("all are given back", given_back)
    with Counted(m, "stat of what was given back"):
        for name in names:
            os.stat(name)
    check("answers hand out nothing", known() == 0)
    fds = [os.open(name, os.O_RDONLY) for name in names[:5]]
    check("what is only opened neither", known() == 0)
    for name in names[:3]:
        os.unlink(name)
    os.rename(names[7], names[3])
    check(f"victims are looked up first: {known()}", known() >= 4)
    check("and live on", [os.fstat(fd).st_nlink for fd in fds] == [0, 0, 0, 0, 1])
    check("with their contents", [len(os.read(fd, 100)) for fd in fds] == list(range(5)))
    for fd in fds:
        os.close(fd)
    for turn in range(3):
        for name in names[10:]:
            os.listdir(m.path("d1"))
            os.stat(name)
        check("a listing hands out what it names", known() > 0)
        wait_for("all are given back", given_back)
    m.umount()


# ---- differential: the same operations here and there, every observable result the same ---------------------------------


def seen(path):
    """What anybody can see of a name, but for numbers that differ between images."""
    s = outcome(lambda: os.lstat(path))
    if isinstance(s, str):
        return s
    xattrs = outcome(lambda: sorted(os.listxattr(path, follow_symlinks=False)))
    what = (s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, int(s.st_mtime) if s.st_mtime < 10**9 else "now")
    return what + (tuple(xattrs) if isinstance(xattrs, list) else xattrs,)


NAMES = ["a", "b", "c/a", "c/b", "c"]


def op_create(p, q):
    return os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))


def op_append(p, q):
    fd = os.open(p, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
    try:
        return os.write(fd, b"0123456789")
    finally:
        os.close(fd)


OPS = {
    "create": op_create,
    "mkdir": lambda p, q: os.mkdir(p),
    "symlink": lambda p, q: os.symlink("target", p),
    "mknod": lambda p, q: os.mknod(p, stat.S_IFIFO | 0o600),
    "link": lambda p, q: os.link(p, q),
    "unlink": lambda p, q: os.unlink(p),
    "rmdir": lambda p, q: os.rmdir(p),
    "rename": lambda p, q: os.rename(p, q),
    "chmod": lambda p, q: os.chmod(p, 0o4711),
    "chown": lambda p, q: os.chown(p, 5, 6, follow_symlinks=False),
    "utime": lambda p, q: os.utime(p, (1234, 5678), follow_symlinks=False),
    "truncate": lambda p, q: os.truncate(p, 5000),
    "append": op_append,
    "setxattr": lambda p, q: os.setxattr(p, "user.x", b"value"),
    "removexattr": lambda p, q: os.removexattr(p, "user.x"),
    "list": lambda p, q: sorted(os.listdir(p)),
    "capability": lambda p, q: os.setxattr(p, "security.capability", b"\1\0\0\2" + bytes(16)),
}


class Other:
    """A second process that looks: its questions come from another task's walk."""

    def __init__(self, roots):
        self.ask_fd, answer = os.pipe()
        wait, self.go_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            while os.read(wait, 1) == b"g":
                text = json.dumps([[seen(os.path.join(r, n)) for n in NAMES] for r in roots])
                os.write(answer, text.encode().ljust(4096))
            os._exit(0)

    def look(self):
        os.write(self.go_fd, b"g")
        data = b""
        while len(data) < 4096:
            data += os.read(self.ask_fd, 4096 - len(data))
        return json.loads(data)

    def end(self):
        os.write(self.go_fd, b"e")
        os.waitpid(self.pid, 0)


def compare(mounts, other, did):
    mine = [[seen(m.path(n)) for n in NAMES] for m in mounts]
    theirs = other.look()
    for i in range(len(NAMES)):
        check(f"{did}: {NAMES[i]} is {mine[0][i]} with BPF, {mine[1][i]} without", mine[0][i] == mine[1][i])
        check(f"{did}: another process sees {NAMES[i]} as {theirs[0][i]}", theirs[0][i] == theirs[1][i])


def perform(mounts, op, p, q):
    results = [outcome(lambda: OPS[op](m.path(p), m.path(q))) for m in mounts]
    check(f"{op} {p} {q}: {results[0]} with BPF, {results[1]} without", results[0] == results[1])


def clean(mount):
    for name in os.listdir(mount.dir):
        if name == "lost+found":
            continue
        path = mount.path(name)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)


def test_differential(timeouts, label, seed, rounds, pairs):
    print(f"-- {pairs} pairs of operations with BPF and without, timeouts {label}; then {rounds} at random, seed {seed}")
    began = time.monotonic()
    mounts = [Mount("with", f"bpf=on,bpf_mb=1,{timeouts}"), Mount("without", f"bpf=off,{timeouts}")]
    other = Other([m.dir for m in mounts])
    dice = random.Random(seed)
    every = list(itertools.product(OPS, repeat=2))
    for first, second in dice.sample(every, pairs):
        for m in mounts:
            clean(m)
            os.mkdir(m.path("c"))
            with open(m.path("a"), "w") as f:
                f.write("contents")
        compare(mounts, other, "start")
        perform(mounts, first, "a", "c/b")
        compare(mounts, other, first)
        perform(mounts, second, "c/b" if first in ("link", "rename") else "a", "b")
        compare(mounts, other, f"{first}, {second}")
    print(f"   pairs: {time.monotonic() - began:.0f} s")
    for _ in range(rounds):
        op, p, q = dice.choice(list(OPS)), dice.choice(NAMES), dice.choice(NAMES)
        perform(mounts, op, p, q)
        compare(mounts, other, f"{op} {p} {q}")
    other.end()
    print(f"   all: {time.monotonic() - began:.0f} s")
    for m in mounts:
        m.umount()


# ---- readers against writers ------------------------------------------------------------------------------------------


def storm_write(path):
    """Owner and group are equal at any moment, and only grow. (Times and sizes of files are the kernel's own while it
    caches writes.)"""
    i = 0
    while True:
        i += 1
        os.chown(path, i, i)
        if i % 7 == 0:
            os.rename(path, path + ".other")
            os.rename(path + ".other", path)


def storm_read(path, seconds, answer_fd):
    last, answers, apart, old = (0, 0), 0, 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(50):
            try:
                s = os.stat(path)
            except FileNotFoundError:
                continue
            apart += s.st_uid != s.st_gid
            old += s.st_uid < last[0] or s.st_gid < last[1]
            last = s.st_uid, s.st_gid
            answers += 1
    os.write(answer_fd, json.dumps([answers, apart, old]).encode().ljust(100))


def storm(m, seconds):
    """Two readers, a writer, one file: how many stats there were, how many mixed two changes, how many went back."""
    path = m.path("f")
    open(path, "w").close()
    read_fd, write_fd = os.pipe()
    readers = [child(storm_read, path, seconds, write_fd) for _ in range(2)]
    writer = child(storm_write, path)
    for pid in readers:
        check("a reader ended well", os.waitpid(pid, 0)[1] == 0)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    results = [json.loads(os.read(read_fd, 100)) for _ in readers]
    os.close(read_fd)
    os.close(write_fd)
    return [sum(column) for column in zip(*results)]


def test_storm_zero(seconds):
    print("-- readers against writers, timeouts 0: every answer is a whole one of the tables'")
    m = Mount("storm", f"bpf=on,{ZERO},noatime")
    answers, apart, old = storm(m, seconds)
    bpf = m.stats()["bpf"]
    print(f"   {answers} stats, {apart} mixed, {old} old; {bpf['lookup_hits']} lookups, {bpf['getattr_hits']} getattrs answered, "
          f"{bpf['attr_fills']} fills, {bpf['torn_retries']} torn reads repeated")
    check("no stat was mixed or old", answers and not apart and not old)
    check("the programs answered", bpf["getattr_hits"] + bpf["lookup_hits"] > answers // 2)
    m.umount()


def test_storm_long(seconds):
    """With timeouts a stat is answered by the kernel's inode, whose fields FUSE stores one by one under a lock that stat
    does not take: owner and group may be of two changes. So it is with every FUSE mount; what BPF adds to it is found by
    comparing: none may be old, and where some are mixed, they have to be mixed without programs, too."""
    print("-- readers against writers, timeouts long: nothing old, and mixed only what the kernel's FUSE mixes by itself")
    m = Mount("storm", f"bpf=on,{LONG},noatime")
    answers, apart, old = storm(m, seconds)
    m.umount()
    print(f"   with BPF: {answers} stats, {apart} mixed, {old} old")
    check("no stat was old", answers and not old)
    plain_answers, plain_apart = 0, 0
    for turn in range(20 if apart else 1):
        m = Mount("storm", f"bpf=off,{LONG},noatime")
        more, mixed, old = storm(m, seconds)
        m.umount()
        plain_answers, plain_apart = plain_answers + more, plain_apart + mixed
        check("no stat was old without BPF", not old)
        if plain_apart or not apart:
            break
    print(f"   without:  {plain_answers} stats, {plain_apart} mixed")
    check(f"{apart} of {answers} stats mixed, but none of {plain_answers} without BPF", not apart or plain_apart)


# ---- the daemon's fates ---------------------------------------------------------------------------------------------


def test_stopped_daemon():
    print("-- a stopped daemon: the kernel answers on, counters are read")
    m = Mount("stopped", f"bpf=on,{ZERO}")
    names = plant(m, 1, 10)
    for name in names:
        os.stat(name)
    pid = m.status()["worker_pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = subprocess.run(["timeout", "20", "stat", *names], capture_output=True)
        check("stat answers while the daemon is stopped", done.returncode == 0)
        shown = json.loads(run("kfsctl", "stats", "--timeout=1", "--json", m.dir))
        check("kfsctl stats reads the pinned counters", shown["bpf"]["getattr_hits"] > 0)
        check("it says that the daemon is silent", "daemon_silent" in shown)
    finally:
        os.kill(pid, signal.SIGCONT)
    m.umount()


def test_killed_daemon():
    print("-- a killed daemon: no stale answer, pins go with the next mount")
    m = Mount("killed", f"bpf=on,{ZERO}")
    names = plant(m, 1, 10)
    status = m.status()
    os.sync()  # reaches the daemon: the mount is trusted
    os.kill(status["worker_pid"], signal.SIGKILL)
    wait_for("a dead daemon's mount answers nothing", lambda: outcome(lambda: os.stat(names[0])) == "ENOTCONN")
    check("its pins are still there", os.path.isdir(status["bpf_pins"]))
    run("umount", m.dir)
    next_one = Mount("next", f"bpf=on,{ZERO}")
    check("the next mount removed them", not os.path.isdir(status["bpf_pins"]))
    pins = next_one.status()["bpf_pins"]
    check("pins are root's alone", all(os.stat(f"{pins}/{p}").st_mode & 0o777 == 0o600 for p in os.listdir(pins)))
    next_one.umount()
    check("pins are gone", not os.path.isdir(pins))
    m.mount(f"bpf=on,{ZERO}")
    check("what was there is there", os.stat(names[9]).st_size == 9)
    m.umount()


def test_small_table():
    print("-- more files than the tables hold")
    m = Mount("small", f"bpf=on,bpf_mb=1,{ZERO}", "256M")
    count = 7000
    os.mkdir(m.path("d"))
    for i in range(count):
        os.close(os.open(m.path("d", f"f{i}"), os.O_CREAT | os.O_WRONLY))
    for _ in range(2):
        for i in range(count):
            os.stat(m.path("d", f"f{i}"))
    bpf = m.stats()["bpf"]
    rate = bpf["lookup_hits"] / (bpf["lookup_hits"] + bpf["lookup_misses"])
    print(f"   {bpf['entries_used']} of {bpf['entry_slots']} names, hit rate of lookups {rate:.2f}")
    check("some are answered, some are not", 0.2 < rate < 0.95)
    check("a directory that does not fit is not whole", not absent(m.path("d", f"f{count - 1}")))
    m.umount()


def test_two_mounts():
    print("-- two mounts: each has its own tables")
    a, b = Mount("one", f"bpf=on,{ZERO}"), Mount("two", f"bpf=on,{ZERO}")
    for m, text in ((a, "x"), (b, "yy")):
        with open(m.path("same"), "w") as f:
            f.write(text)
    for _ in range(3):
        check("their own sizes", os.stat(a.path("same")).st_size == 1 and os.stat(b.path("same")).st_size == 2)
    a.umount()
    check("the other lives on", os.stat(b.path("same")).st_size == 2 and b.stats()["bpf"]["attached"])
    b.umount()


def stat_for_ever(names, may_fail):
    while True:
        for i, name in enumerate(names):
            try:
                check(name, os.stat(name).st_size == i % 40)
            except OSError as e:
                check(f"{name}: {e}", errno.errorcode[e.errno] in may_fail)
                os._exit(0)


def churn_for_ever(mount):
    """Names come and go, and each is seen at once."""
    i = 0
    while True:
        i += 1
        path = mount.path(f"churn{i % 5}")
        os.mkdir(path)
        check("made", stat.S_ISDIR(os.stat(path).st_mode))
        os.rmdir(path)
        check("removed", absent(path))


def test_detach_under_load():
    print("-- programs detached under load: the daemon answers on, status says it")
    for turn in range(3):
        m = Mount("detached", f"bpf=on,{ZERO}")
        names = plant(m, 2, 40)
        children = [child(stat_for_ever, names, ()), child(churn_for_ever, m)]
        time.sleep(0.3)
        check("a program is attached", m.stats()["bpf"]["attached"] and detach_links() == 1)
        status = m.status()
        check(f"status says that it is not any more: {status['tier']}, {status['tier_reason']}",
              not m.stats()["bpf"]["attached"] and "detached" in status["tier_reason"])
        before = m.stats()["bpf"]["getattr_hits"]
        sent = m.requests().get("GETATTR", 0)
        time.sleep(0.3)
        check("nothing is answered by programs", m.stats()["bpf"]["getattr_hits"] == before)
        check("the daemon is asked", m.requests()["GETATTR"] > sent)
        end_children(children)
        m.umount()


def test_rmmod_while_in_use():
    print("-- the module cannot be unloaded while a mount uses it, and the mount does not notice")
    m = Mount("busy", f"bpf=on,{ZERO}")
    names = plant(m, 2, 40)
    children = [child(stat_for_ever, names, ()), child(churn_for_ever, m)]
    for _ in range(10):
        done = subprocess.run(["rmmod", "fusebpf"], capture_output=True, text=True)
        check(f"rmmod is refused: {done.stderr}", done.returncode != 0 and "in use" in done.stderr)
        time.sleep(0.05)
    check("programs are attached", m.stats()["bpf"]["attached"])
    end_children(children)
    m.umount()


def test_kill_under_load():
    print("-- daemons killed under load: callers get an error, the image is mounted again, the module is let go")
    for turn in range(3):
        m = Mount("shot", f"bpf=on,{ZERO}")
        names = plant(m, 2, 40)
        os.sync()
        readers = [child(stat_for_ever, names, ("ENOTCONN", "ECONNABORTED", "ENOENT")) for _ in range(2)]
        time.sleep(0.2)
        pid = m.status()["worker_pid"]
        os.kill(pid, signal.SIGKILL)
        for reader in readers:
            check("a reader ended with the mount", os.waitpid(reader, 0)[1] == 0)
        run("umount", m.dir)
        wait_for(f"the daemon {pid} is gone", lambda: not os.path.exists(f"/proc/{pid}"))
        m.mount(f"bpf=on,{ZERO}")
        for i, name in enumerate(names):
            check("what was there is there", os.stat(name).st_size == i % 40)
        m.umount()
    reload_module()


def test_two_mounts_under_load():
    print("-- two mounts under load, one after the other unmounted")
    mounts = [Mount(name, f"bpf=on,{ZERO}") for name in ("one", "two")]
    children = [[child(stat_for_ever, plant(m, 1, 40), ()), child(churn_for_ever, m)] for m in mounts]
    time.sleep(0.5)
    for m, pids in zip(mounts, children):
        check("the programs answer", m.stats()["bpf"]["getattr_hits"] > 0)
        end_children(pids)
        m.umount()


def test_all(seed):
    test_no_request(ZERO, "0")
    test_no_request(LONG, "long")
    test_changes_need_no_request()
    test_forget()
    fates()
    every = len(OPS) ** 2
    pairs = int(os.environ.get("KFS_VM_PAIRS", every))
    test_differential(ZERO, "0", seed, 400, pairs)
    test_differential(LONG, "long", seed + 1, 400, pairs)
    test_storm_zero(30)
    test_storm_long(30)
    test_small_table()


def test_core(seed):
    """The part of it that "make test" has time for."""
    test_no_request(ZERO, "0")
    test_changes_need_no_request()
    test_forget()
    fates()
    test_differential(ZERO, "0", seed, 30, 24)
    test_differential(LONG, "long", seed + 1, 30, 12)
    test_storm_zero(5)
    test_storm_long(5)


def fates():
    test_stopped_daemon()
    test_killed_daemon()
    test_two_mounts()
    test_two_mounts_under_load()
    test_detach_under_load()
    test_kill_under_load()
    test_rmmod_while_in_use()


def main():
    seed = int(os.environ.get("KFS_VM_SEED") or 1)
    for word in sys.argv[1:] or ["all"]:
        {"all": test_all, "core": test_core, "forget": lambda _: test_forget()}[word](seed)


main()
