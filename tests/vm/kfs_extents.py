"""Reads answered from extents, in the guest: called by 210-kfs-extents.sh. Words name single tests."""

import ctypes
import errno
import json
import mmap
import os
import random
import signal
import stat
import subprocess
import sys
import time

KEEP, PUNCH, ZERO = 1, 2, 16
KIB, MIB = 1 << 10, 1 << 20
OPS = int(os.environ.get("KFS_VM_OPS", "400"))
STORM_S = float(os.environ.get("KFS_VM_STORM_S", "20"))
# Where the machine is busy with other things a storm lasts until so much was done.
STORM_READS, STORM_ROUNDS = 200, 200
libc = ctypes.CDLL(None, use_errno=True)


def check(what, truth):
    if not truth:
        sys.exit(f"failed: {what}")


def run(*words, fails=False):
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    if (done.returncode != 0) != fails:
        sys.exit(f"failed: {' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Mount:
    """An image of its own, mounted with extents unless the options say otherwise."""

    def __init__(self, name, options, size="64M", mkfs=(), image=None):
        self.image, self.dir = image or f"{name}.img", f"{name}.dir"
        if not image:
            run("mkfs.kfs", "-q", "-F", *mkfs, self.image, size)
        os.makedirs(self.dir, exist_ok=True)
        self.mount(options)

    def mount(self, options):
        self.offset = 0
        for word in options.split(","):
            if word.startswith("offset="):
                self.offset = int(word[7:])
        extents = "" if "bpf_extents=" in options else "bpf_extents=auto,"
        run("kfs", self.image, self.dir, "-o", f"bpf=on,{extents}log=/tmp/kfs/log,{options}")

    def status(self):
        return json.loads(run("kfsctl", "status", "--json", self.dir))

    def stats(self):
        return json.loads(run("kfsctl", "stats", "--json", self.dir))

    def bpf(self, name):
        return self.stats()["bpf"][name]

    def reads(self):
        return self.stats()["transports"][0]["opcodes"].get("READ", {"requests": 0})["requests"]

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def umount(self):
        pid = self.status()["worker_pid"]
        run("umount", self.dir)
        if not self.offset:
            run("e2fsck", "-fn", self.image)
        for _ in range(200):
            if not os.path.exists(f"/proc/{pid}"):
                return
            time.sleep(0.05)
        sys.exit(f"failed: the daemon of {self.image} lives on")


def drop_caches():
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("1")


def pattern(count, seed=1):
    return random.Random(seed).randbytes(count)


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def get(path, direct=False):
    fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
    parts = []
    while part := os.read(fd, 128 * KIB):
        parts.append(part)
    os.close(fd)
    return b"".join(parts)


def get_mapped(path):
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        return m[:]


def fallocate(fd, mode, off, length):
    if libc.fallocate(fd, mode, ctypes.c_long(off), ctypes.c_long(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def warm(mount, path, data):
    """The first read moves the access time, the second tells where the bytes are."""
    for _ in range(3):
        drop_caches()
        check("what was written", get(path) == data)


# ---- no request ---------------------------------------------------------------------------------------------------------


def read_all_ways(m, label, size):
    path = m.path("f")
    data = pattern(size)
    put(path, data)
    warm(m, path, data)
    before, hits = m.reads(), m.bpf("extent_hits")
    drop_caches()
    check("through the cache", get(path) == data)
    drop_caches()
    check("mapped", get_mapped(path) == data)
    drop_caches()
    check("direct", get(path, direct=True) == data)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    rng = random.Random(2)
    for _ in range(200):
        at, n = rng.randrange(size + 100), rng.randrange(1, 9000)
        check("a piece, at any offset", os.pread(fd, n, at) == data[at : at + n])
    os.close(fd)
    sent = m.reads() - before
    print(f"   {label}: {sent} READs, {m.bpf('extent_hits') - hits} ranges from the table")
    check(f"{label}: no READ", sent == 0)
    check(f"{label}: the table was asked", m.bpf("extent_hits") > hits)


def test_no_request():
    print("-- no READ where the table knows")
    for options in ("", "noatime", "nowriteback", "share=on"):
        m = Mount("quiet", options)
        check("status", m.status()["extents"])
        read_all_ways(m, options or "default", 3 * MIB + 123)
        m.umount()
        m.mount("ro" if not options else f"ro,{options}")
        data = pattern(3 * MIB + 123)
        warm(m, m.path("f"), data)
        before = m.reads()
        drop_caches()
        check("read-only", get(m.path("f")) == data and m.reads() == before)
        m.umount()


def test_images():
    print("-- blocks of 4 KiB, a block device, an offset in the image; no extents on a stacked file system")
    m = Mount("large", "", mkfs=("-b", "4096"))
    read_all_ways(m, "4 KiB", 5 * MIB + 1)
    m.umount()
    run("modprobe", "loop")
    loop = run("losetup", "-f", "--show", "large.img").strip()
    m = Mount("device", "", image=loop)
    check("status", m.status()["extents"])
    read_all_ways(m, "block device", 2 * MIB)
    m.umount()
    run("losetup", "-d", loop)
    with open("large.img", "rb") as f, open("shifted.img", "wb") as to:
        to.seek(3 * MIB + 512)
        to.write(f.read())
    m = Mount("shifted", f"offset={3 * MIB + 512}", image="shifted.img")
    read_all_ways(m, "offset", 2 * MIB)
    m.umount()
    for name in ("low", "up", "work", "over"):
        os.makedirs(name, exist_ok=True)
    run("mount", "-t", "tmpfs", "none", "up")
    os.mkdir("up/up")
    os.mkdir("up/work")
    run("mount", "-t", "overlay", "-o", "lowerdir=low,upperdir=up/up,workdir=up/work", "none", "over")
    run("mkfs.kfs", "-q", "over/x.img", "16M")
    m = Mount("stacked", "", image="over/x.img")
    why = m.status()
    check("the reason is said", not why["extents"] and "stacked" in why["extents_reason"])
    m.umount()
    said = run("kfs", "over/x.img", "stacked.dir", "-o", "bpf_extents=on", fails=True)
    check("bpf_extents=on says why not", "bpf_extents=on" in said and "stacked" in said)
    run("umount", "over")
    run("umount", "up")
    m = Mount("off", "bpf_extents=off")
    put(m.path("f"), pattern(MIB))
    warm(m, m.path("f"), pattern(MIB))
    check("off", m.bpf("extent_hits") == 0 and "off" in m.status()["extents_reason"])
    m.umount()


def test_not_told():
    print("-- holes, preallocated blocks, what lies behind the end, contents inside the inode")
    m = Mount("odd", "noatime", mkfs=("-b", "4096", "-O", "inline_data"))
    path = m.path("f")
    with open(path, "wb") as f:
        f.write(pattern(10000))
        f.seek(40960)
        f.write(pattern(5000, 2))
        os.fsync(f.fileno())
        fallocate(f.fileno(), 0, 81920, 8192)
    want = pattern(10000) + bytes(30960) + pattern(5000, 2)
    want += bytes(81920 + 8192 - len(want))
    warm(m, path, want)
    check("direct", get(path, direct=True) == want)
    # The file ends inside a block of the image that holds other bytes behind it.
    for size in (9000, 8999, 4097):
        os.truncate(path, size)
        warm(m, path, want[:size])
        os.truncate(path, size + 9000)
        drop_caches()
        check("zeroes behind the old end", get(path) == want[:size] + bytes(9000))
        check("direct, too", get(path, direct=True) == want[:size] + bytes(9000))
        with open(path, "r+b") as f:
            f.write(want[:size])
    put(m.path("small"), b"inside the inode")
    warm(m, m.path("small"), b"inside the inode")
    m.umount()


# ---- access times -------------------------------------------------------------------------------------------------------


def access_times(extents):
    """Whether each of a row of reads moved the access time."""
    moved = []
    m = Mount(f"atime-{extents}", f"bpf_extents={extents}")
    path = m.path("f")
    put(path, pattern(100 * KIB))

    def read():
        time.sleep(0.02)
        drop_caches()
        before = os.stat(path).st_atime_ns
        get(path)
        moved.append(os.stat(path).st_atime_ns != before)

    for _ in range(3):
        read()
    time.sleep(0.02)
    with open(path, "r+b") as f:
        f.write(b"new")
    os.sync()
    for _ in range(3):
        read()
    os.chmod(path, 0o600)
    for _ in range(3):
        read()
    for age in (2 * 86400, 86400 - 2):
        os.utime(path, ns=(time.time_ns() - age * 10**9, time.time_ns() - 3 * 86400 * 10**9))
        os.chmod(path, 0o644)
        for _ in range(3):
            read()
    # A day after it was read last, which is now or in two seconds.
    os.utime(path, ns=(time.time_ns() - (86400 - 3) * 10**9, 0))
    past = os.stat(path)
    hits = m.bpf("extent_hits")
    m.umount()
    return moved, past.st_atime_ns > 0, hits


def test_access_times():
    print("-- access times move as without extents")
    on, _, hits = access_times("on")
    off, _, none = access_times("off")
    print(f"   moved: {on}; {hits} ranges from the table")
    check(f"with extents {on}, without {off}", on == off)
    check("some reads were from extents, and none without them", hits > 0 and none == 0)
    check("some moved, some did not", True in on and False in on)


# ---- dirty pages --------------------------------------------------------------------------------------------------------


def test_dirty_pages():
    print("-- what is dirty in the page cache wins; seeks for holes do not wait for themselves")
    for options in ("noatime", "noatime,nowriteback", "noatime,share=on"):
        m = Mount("dirty", options, mkfs=("-b", "4096"))
        path = m.path("f")
        data = bytearray(pattern(256 * KIB))
        put(path, bytes(data))
        warm(m, path, bytes(data))
        fd, raw = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY | os.O_DIRECT)
        rng = random.Random(3)
        with mmap.mmap(fd, len(data)) as mapped:
            for k in range(60):
                at, n = rng.randrange(len(data) - 5000), rng.randrange(1, 5000)
                piece = pattern(n, k)
                if k % 2:
                    mapped[at : at + n] = piece
                else:
                    os.pwrite(fd, piece, at)
                data[at : at + n] = piece
                check(f"direct read of what is dirty ({options})", os.pread(raw, n + 2, at) == data[at : at + n + 2])
                if k % 5 == 0:
                    drop_caches()
                check("cached read", os.pread(fd, n + 2, at) == data[at : at + n + 2])
                check("no hole", os.lseek(fd, 0, os.SEEK_HOLE) == len(data))
        os.ftruncate(fd, MIB)
        os.pwrite(fd, b"x" * 5000, 700 * KIB)
        check("data behind the hole", os.lseek(fd, 300 * KIB, os.SEEK_DATA) == 700 * KIB)
        check("hole", os.lseek(fd, 0, os.SEEK_HOLE) == 256 * KIB)
        os.close(fd)
        os.close(raw)
        check("all of it", get(path, direct=True)[: len(data)] == data)
        m.umount()


# ---- differential: the same operations with and without -----------------------------------------------------------------


class Side:
    def __init__(self, mount):
        self.mount, self.fds = mount, {}

    def fd(self, name, flags=0):
        key = (name, flags)
        if key not in self.fds:
            self.fds[key] = os.open(self.mount.path(name), os.O_RDWR | os.O_CREAT | flags, 0o644)
        return self.fds[key]

    def forget(self, name=None):
        for key in [k for k in self.fds if name in (None, k[0])]:
            os.close(self.fds.pop(key))

    def do(self, op):
        try:
            return self.step(*op)
        except OSError as e:
            return errno.errorcode[e.errno]

    def step(self, kind, name, at, n, seed, other):
        if kind == "write":
            return os.pwrite(self.fd(name), pattern(n, seed), at)
        if kind == "direct_write":
            return os.pwrite(self.fd(name, os.O_DIRECT), pattern(n, seed), at)
        if kind == "map":
            fd = self.fd(name)
            end = os.fstat(fd).st_size
            if end > at:
                with mmap.mmap(fd, end) as m:
                    n = min(n, end - at)
                    m[at : at + n] = pattern(n, seed)
            return end
        if kind == "truncate":
            return os.ftruncate(self.fd(name), at)
        if kind == "open_truncate":
            return os.close(os.open(self.mount.path(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644))
        if kind in ("punch", "zero", "allocate", "allocate_keep"):
            mode = {"punch": PUNCH | KEEP, "zero": ZERO, "allocate": 0, "allocate_keep": KEEP}[kind]
            return fallocate(self.fd(name), mode, at, n)
        if kind == "copy":
            return os.copy_file_range(self.fd(other), self.fd(name), n, at, at)
        if kind == "rename":
            os.rename(self.mount.path(name), self.mount.path(other))
            self.forget(name)
            return self.forget(other)
        if kind == "unlink":
            os.unlink(self.mount.path(name))
            return self.forget(name) if seed % 2 else None
        if kind == "fsync":
            return os.fsync(self.fd(name))
        if kind == "close":
            return self.forget(name)
        if kind == "read":
            return os.pread(self.fd(name), n, at)
        if kind == "direct_read":
            return os.pread(self.fd(name, os.O_DIRECT), n, at)
        return get(self.mount.path(name), direct=seed % 2 == 0)


KINDS = (
    ["write"] * 6 + ["direct_write"] * 2 + ["map"] * 2 + ["truncate"] * 2 + ["open_truncate", "punch", "punch", "zero"]
    + ["allocate", "allocate_keep", "copy", "copy", "rename", "unlink", "fsync", "close"] + ["read"] * 8
    + ["direct_read"] * 8 + ["all"] * 3 + ["drop"] * 4
)


def differential(options, seed, mkfs):
    on = Side(Mount("on", f"bpf_extents=on,{options}", mkfs=mkfs))
    off = Side(Mount("off", f"bpf_extents=off,{options}", mkfs=mkfs))
    rng = random.Random(seed)
    for count in range(OPS):
        kind = rng.choice(KINDS)
        if kind == "drop":
            os.sync()
            drop_caches()
            continue
        limit = rng.choice((5000, 100 * KIB, MIB))
        op = (kind, f"f{rng.randrange(4)}", rng.randrange(limit), rng.randrange(1, 64 * KIB), rng.getrandbits(30),
              f"f{rng.randrange(4)}")
        a, b = on.do(op), off.do(op)
        if a != b:
            same = isinstance(a, bytes) and isinstance(b, bytes)
            where = next((k for k in range(min(len(a), len(b))) if a[k] != b[k]), -1) if same else (a, b)
            sys.exit(f"failed: seed {seed}, {options}, operation {count} {op}: differs at {where}")
    for side in (on, off):
        side.forget()
    os.sync()
    drop_caches()
    names = sorted(set(os.listdir(on.mount.dir)) - {"lost+found"})
    check("the same names", names == sorted(set(os.listdir(off.mount.dir)) - {"lost+found"}))
    for direct in (False, True):
        for name in names:
            check(f"the same contents of {name}",
                  get(on.mount.path(name), direct) == get(off.mount.path(name), direct))
    bpf = on.mount.stats()["bpf"]
    print(f"   {options or 'default'}, seed {seed}: {OPS} operations; " +
          ", ".join(f"{k} {bpf[k]}" for k in ("extent_hits", "extent_misses", "extent_fills", "extent_drops")))
    check("extents were used", bpf["extent_hits"] > 0 and bpf["extent_drops"] > 0)
    whole = {name: get(on.mount.path(name)) for name in names}
    on.mount.umount()
    off.mount.umount()
    on.mount.mount("bpf_extents=off")
    for name in names:
        check(f"{name} after mounting again", get(on.mount.path(name)) == whole[name])
    on.mount.umount()


def test_differential():
    print("-- random operations, with extents and without")
    differential("noatime", 11, ("-b", "4096"))
    differential("", 12, ())
    differential("noatime,nowriteback", 13, ("-b", "1024"))
    differential("noatime,share=on", 14, ("-b", "4096", "-O", "^extent,^64bit"))
    differential("noatime,discard", 15, ("-b", "1024", "-O", "inline_data"))


# ---- storm: blocks go from file to file while they are read ------------------------------------------------------------


def byte_of(k):
    return bytes([k + 1])


def storm_reader(m, files, seed, until):
    rng = random.Random(seed)
    reads = 0
    while time.monotonic() < until or reads < STORM_READS:
        k = rng.randrange(files)
        direct = rng.random() < 0.6
        try:
            fd = os.open(m.path(f"f{k}"), os.O_RDONLY | (os.O_DIRECT if direct else 0))
        except FileNotFoundError:
            continue
        for _ in range(rng.randrange(1, 8)):
            if not direct and rng.random() < 0.5:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            data = os.pread(fd, rng.choice((4096, 65536, MIB)), rng.randrange(0, 512 * KIB))
            foreign = data.strip(byte_of(k)).strip(b"\0").replace(byte_of(k), b"").replace(b"\0", b"")
            if foreign:
                print(f"failed: f{k} (direct {direct}) has bytes {sorted(set(foreign))[:5]}", flush=True)
                os._exit(1)
            reads += 1
        os.close(fd)
    os._exit(0)


def storm_writer(m, files, seed, until):
    rng = random.Random(seed)
    rounds = 0
    while time.monotonic() < until or rounds < STORM_ROUNDS:
        rounds += 1
        k = rng.randrange(files)
        path = m.path(f"f{k}")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            size = rng.choice((20, 100, 400)) * KIB
            what = rng.random()
            if what < 0.25:
                os.unlink(path)
            elif what < 0.5:
                os.ftruncate(fd, rng.randrange(size))
            elif what < 0.6:
                fallocate(fd, PUNCH | KEEP, rng.randrange(size), rng.randrange(1, size))
            elif what < 0.65:
                fallocate(fd, ZERO, rng.randrange(size), rng.randrange(1, size))
            elif what < 0.75:
                hole = os.open(m.path("hole"), os.O_RDONLY)
                os.copy_file_range(hole, fd, rng.randrange(1, size), 0, rng.randrange(size))
                os.close(hole)
            elif what < 0.8:
                os.rename(path, m.path("gone"))
            os.pwrite(fd, byte_of(k) * rng.randrange(1, size), rng.randrange(size))
            if rng.random() < 0.3:
                os.fsync(fd)
            os.close(fd)
        except FileNotFoundError:
            pass
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
    os._exit(0)


def storm(options, seed):
    files = 12
    m = Mount("storm", f"commit=1,{options}", "16M", mkfs=("-b", "1024", "-J", "size=1"))
    with open(m.path("hole"), "wb") as f:
        f.truncate(MIB)
    until = time.monotonic() + STORM_S
    children = []
    for n in range(5):
        pid = os.fork()
        if pid == 0:
            (storm_reader if n < 3 else storm_writer)(m, files, seed + n, until)
        children.append(pid)
    for pid in children:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        check(f"storm of {options or 'default'}: a process ended with {code}", code == 0)
    stats = m.stats()
    bpf = stats["bpf"]
    print(f"   {options or 'default'}: " + ", ".join(
        f"{k} {bpf[k]}" for k in ("extent_hits", "extent_misses", "extent_fills", "extent_drops")) +
        f", {stats['invalidations']['map']} maps changed, {stats['allocator']['blocks_freed']} blocks freed")
    check("extents were used and taken back", bpf["extent_hits"] > 0 and bpf["extent_drops"] > 0)
    m.umount()


def test_storm():
    print("-- readers beside writers that free and reuse blocks: no foreign byte")
    storm("noatime", 100)
    storm("noatime,discard", 200)
    storm("", 300)
    storm("noatime,share=on", 400)


# ---- lives and ends -----------------------------------------------------------------------------------------------------


def test_unlinked():
    print("-- a file that was deleted while open keeps its blocks until it is closed")
    m = Mount("unlinked", "noatime,commit=1", "16M", mkfs=("-b", "1024"))
    data = pattern(2 * MIB)
    put(m.path("f"), data)
    warm(m, m.path("f"), data)
    fd = os.open(m.path("f"), os.O_RDONLY | os.O_DIRECT)
    os.unlink(m.path("f"))
    for k in range(3):
        try:
            put(m.path(f"other{k}"), bytes([k]) * (4 * MIB))
        except OSError as e:
            check("only room may be missing", e.errno == errno.ENOSPC)
        check("its contents", os.pread(fd, len(data), 0) == data)
    os.close(fd)
    os.sync()
    m.umount()


def test_many_files():
    print("-- more files than the table holds")
    m = Mount("many", "noatime,bpf_mb=1", "64M", mkfs=("-b", "1024"))
    count = 900
    for k in range(count):
        with open(m.path(f"f{k}"), "wb") as f:
            f.write(b"%d." % k * 200)
    os.sync()
    for _ in range(2):
        drop_caches()
        for k in range(count):
            check(f"f{k}", get(m.path(f"f{k}"), direct=True) == b"%d." % k * 200)
    bpf = m.stats()["bpf"]
    rate = bpf["extent_hits"] / (bpf["extent_hits"] + bpf["extent_misses"])
    print(f"   {bpf['extent_slots_used']} of {bpf['extent_slots']} windows, hit rate {rate:.2f}, "
          f"{bpf['extent_evictions']} evicted")
    check("some are answered, some are not", 0.02 < rate < 0.95 and bpf["extent_evictions"] > 0)
    m.umount()


def test_killed_daemon():
    print("-- a killed daemon: nothing is read any more, and the image is free")
    m = Mount("killed", "noatime")
    data = pattern(MIB)
    put(m.path("f"), data)
    warm(m, m.path("f"), data)
    fd = os.open(m.path("f"), os.O_RDONLY | os.O_DIRECT)
    os.sync()
    os.kill(m.status()["worker_pid"], signal.SIGKILL)
    code = 0
    for _ in range(200):
        try:
            os.pread(fd, 4096, 0)
        except OSError as e:
            code = e.errno
            break
        time.sleep(0.05)
    check("direct reads fail", code in (errno.ENOTCONN, errno.ECONNABORTED))
    os.close(fd)
    run("umount", m.dir)
    m.mount("noatime")
    check("what was there is there", get(m.path("f")) == data)
    m.umount()


def main():
    test_no_request()
    test_images()
    test_not_told()
    test_access_times()
    test_dirty_pages()
    test_unlinked()
    test_many_files()
    test_killed_daemon()
    test_differential()
    test_storm()


if len(sys.argv) > 1:
    for word in sys.argv[1:]:
        globals()[word]()
else:
    main()
