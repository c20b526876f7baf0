"""What the tests and measurements in the guest share: a mount of the daemon with its image, and what it counted."""

import errno
import json
import os
import subprocess
import sys
import time

ZERO = "entry_timeout=0,attr_timeout=0,negative_timeout=0"
LONG = "entry_timeout=3600,attr_timeout=3600,negative_timeout=3600"


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    if done.returncode:
        sys.exit(f"failed: {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def check(what, truth):
    if not truth:
        sys.exit(f"failed: {what}")


class Mount:
    def __init__(self, name, options, size="64M"):
        self.image, self.dir = f"{name}.img", f"{name}.dir"
        run("mkfs.kfs", "-q", "-F", self.image, size)
        os.makedirs(self.dir, exist_ok=True)
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
        for _ in range(100):
            if not os.path.exists(f"/proc/{pid}"):
                return
            time.sleep(0.05)
        sys.exit(f"failed: the daemon of {self.image} lives on")


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


def outcome(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]
