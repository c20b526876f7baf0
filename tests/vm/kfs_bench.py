"""Instructions an operation of the daemon and its programs takes, in the guest: called by bench-kfs-bpf.sh."""

import errno
import os

from guest import LONG, ZERO, Mount, bench, check, drop_dentries

DIRS, FILES, ROUNDS = 2, 500, 4
LONG_NAME = "name-that-is-hashed-as-a-whole"
SENT = ("LOOKUP", "GETATTR", "GETXATTR", "STATX", "READDIR", "READDIRPLUS")


def add(what, value, bar, requests=None):
    missed = bar is not None and value / 1000 > bar
    sent = "" if requests is None else f"{requests:8.2f} requests"
    print(f"{what:52} {value / 1000:8.2f}k {'' if bar is None else f'bar {bar}k':>10} {sent}{'  MISSED' if missed else ''}",
          flush=True)


def sent(mount):
    requests = mount.requests()
    return sum(requests.get(name, 0) for name in SENT)


def row(mount, what, pattern, bar, error=0, rounds=ROUNDS):
    """Names of one directory, none twice in a round: of each the first question, or with warm dentries the later ones."""
    before = sent(mount)
    value = bench("stat", mount.dir, pattern, FILES, rounds, error)[0]
    requests = (sent(mount) - before) / FILES / rounds
    add(what, value, bar, requests)
    check(f"{what}: {requests} requests an operation", bar is None or requests == 0)


def grow(mount):
    for d in range(DIRS):
        os.mkdir(mount.path(f"d{d}"))
        for f in range(FILES):
            os.close(os.open(mount.path(f"d{d}", f"f{f}"), os.O_CREAT | os.O_WRONLY, 0o644))
    for f in range(FILES):
        os.link(mount.path("d0", f"f{f}"), mount.path("d0", f"{LONG_NAME}{f}"))


def ask(mount):
    """What the daemon has answered once is in the tables; d1 is listed whole, d0 is not."""
    for f in range(FILES):
        os.stat(mount.path("d0", f"f{f}"))
        os.stat(mount.path("d0", f"{LONG_NAME}{f}"))
        check("absent", not os.path.exists(mount.path("d0", f"none{f}")))
    for entry in os.scandir(mount.path("d1")):
        entry.stat()


def forget(mount, ask_again=("d0", "d1")):
    drop_dentries()
    for name in ask_again:
        os.stat(mount.path(name))


def measure(mode, bars):
    with_bpf = mode != "off"
    who = "BPF" if with_bpf else "daemon"

    m = Mount(f"zero-{mode}", f"bpf={mode},{ZERO}")
    grow(m)
    m.umount()
    m.mount(f"bpf={mode},{ZERO}")
    ask(m)
    row(m, f"stat, timeout 0: {who}", "d0/f%u", bars.get("stat"))
    row(m, f"stat, timeout 0, name of 30 bytes: {who}", f"d0/{LONG_NAME}%u", None)
    row(m, f"ENOENT, timeout 0: {who}", "d0/none%u", bars.get("absent"), errno.ENOENT)
    m.umount()

    m = Mount(f"long-{mode}", f"bpf={mode},{LONG}")
    grow(m)
    m.umount()
    m.mount(f"bpf={mode},{LONG}")
    ask(m)
    forget(m)
    row(m, f"first stat, timeout 1 h: {who}", "d0/f%u", bars.get("first"), rounds=1)
    row(m, f"stat, dcache hit: {who}", "d0/f%u", None)
    row(m, f"first ENOENT of a name asked before, 1 h: {who}", "d0/none%u", bars.get("first-absent"), errno.ENOENT, rounds=1)
    row(m, f"ENOENT, dcache hit: {who}", "d0/none%u", None, errno.ENOENT)
    row(m, f"a name never asked for, whole directory, 1 h: {who}", "d1/never%u", bars.get("never"), errno.ENOENT, rounds=1)
    m.umount()


def main():
    measure("on", {"stat": 8.0, "absent": 6.0, "first": 9.5, "never": 9.5})
    attr, name = bench("publish")
    add("publishing an attribute", attr, 0.3)
    add("publishing a name", name, 0.8)
    measure("off", {})


main()
