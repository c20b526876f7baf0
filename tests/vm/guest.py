"""What the tests and measurements in the guest share: a mount of the daemon with its image, and what it counted."""

import ctypes
import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time

ZERO = "entry_timeout=0,attr_timeout=0,negative_timeout=0"
LONG = "entry_timeout=3600,attr_timeout=3600,negative_timeout=3600"

BENCH = os.path.join(os.environ["BUILD"], "bin/tests/vm/kfs_bench")
# Counting instructions, the guest's clock leaps while it waits for the host.
PATIENCE = None if os.environ.get("VM_ICOUNT") else 120


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        sys.exit(f"failed: {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def check(what, truth):
    if not truth:
        sys.exit(f"failed: {what}")


def bench(*words):
    """Runs kfs_bench; the numbers that it prints."""
    return [float(word) for word in run(BENCH, *map(str, words)).split()]


def wait_for(what, truth):
    for _ in range(600):
        if truth():
            return
        time.sleep(0.05)
    sys.exit(f"failed: {what}")


def reload_module():
    """Fails when something holds it for good."""
    run("bash", os.path.join(os.path.dirname(os.path.abspath(__file__)), "unload.sh"))
    run("insmod", os.environ["VM_FUSEBPF"])


class Mount:
    """Made and mounted; with no options, neither."""

    def __init__(self, name, options, size="64M"):
        self.image, self.dir = f"{name}.img", f"{name}.dir"
        os.makedirs(self.dir, exist_ok=True)
        if options is None:
            return
        run("mkfs.kfs", "-q", "-F", self.image, size)
        self.mount(options)

    def mount(self, options):
        run("kfs", self.image, self.dir, "-o", f"log=/tmp/kfs/log,{options}")

    def status(self):
        return json.loads(run("kfsctl", "status", "--json", self.dir))

    def stats(self):
        return json.loads(run("kfsctl", "stats", "--json", self.dir))

    def requests(self):
        opcodes = self.stats()["transports"][0]["opcodes"]
        return {name: op["requests"] for name, op in opcodes.items()}

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def umount(self):
        """Returns when the image is closed: it can be checked at once."""
        pid = self.status()["worker_pid"]
        run("umount", self.dir)
        run("e2fsck", "-fn", self.image)
        wait_for(f"the daemon of {self.image} ends", lambda: not os.path.exists(f"/proc/{pid}"))


class Counted:
    """No LOOKUP, GETATTR or GETXATTR reaches the daemon inside."""

    def __init__(self, mount, what):
        self.mount, self.what = mount, what

    def __enter__(self):
        self.before = self.mount.requests()

    def __exit__(self, kind, value, trace):
        if kind:
            return
        after = self.mount.requests()
        sent = {
            name: after[name] - self.before.get(name, 0)
            for name in ("LOOKUP", "GETATTR", "GETXATTR", "STATX")
            if after.get(name, 0) != self.before.get(name, 0)
        }
        print(f"   {self.what}: {sent or 'no request'}")
        check(f"{self.what}: {sent}", not sent)


def absent(path):
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    return False


def drop_dentries():
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("2")


def plant(mount, dirs=2, files=40):
    names = []
    for d in range(dirs):
        os.mkdir(mount.path(f"d{d}"))
        for f in range(files):
            with open(mount.path(f"d{d}", f"f{f}"), "w") as file:
                file.write("x" * f)
            names.append(mount.path(f"d{d}", f"f{f}"))
    return names


def child(work, *words):
    """A process that does @work; what it fails at is its exit status."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work(*words)
        os._exit(0)
    except SystemExit as e:
        print(e.code, flush=True)
        os._exit(1)
    except BaseException as e:
        print(f"failed: {e!r}", flush=True)
        os._exit(1)


def end_children(pids):
    """They are still at work, and are ended; one that has ended by itself had failed."""
    for pid in pids:
        check("a process at work has failed", os.waitpid(pid, os.WNOHANG) == (0, 0))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# ---- links of struct_ops, which no tool of the guest's detaches ----

SYS_BPF, BPF_LINK_GET_FD_BY_ID, BPF_LINK_GET_NEXT_ID, BPF_LINK_DETACH = 321, 30, 31, 34


def bpf(command, *words):
    """words: 32-bit members of union bpf_attr. Returns the result and the members, or None."""
    attr = struct.pack(f"{len(words)}I", *words).ljust(64, b"\0")
    memory = ctypes.create_string_buffer(attr, len(attr))
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(SYS_BPF, command, memory, len(attr))
    return None if result < 0 else (result, struct.unpack("16I", memory.raw))


def detach_links():
    """Detaches whatever program is attached, as an administrator may. Returns how many were."""
    link, count = 0, 0
    while found := bpf(BPF_LINK_GET_NEXT_ID, link):
        link = found[1][1]
        opened = bpf(BPF_LINK_GET_FD_BY_ID, link)
        check("a link is opened by its number", opened)
        count += bpf(BPF_LINK_DETACH, opened[0]) is not None
        os.close(opened[0])
    return count


def outcome(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]
