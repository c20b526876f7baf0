#!/usr/bin/env python3
"""On the host, for one connection of a guest's (tests/tools/standin.c) on standard input and output: serves an image to
the guest through a virtio-fs device that is plugged in for it, or runs kfsctl.

    plug.py QMP-SOCKET BIN FOLDER       QEMU's monitor, the folder of kfs, a folder with a short name for sockets

The device and the daemon live as long as the connection. Ended by the guest's word, the device is pulled and the daemon
gets SIGTERM; when the connection breaks, the device is pulled and the daemon killed. In this order, for a guest never gets
over requests that a device has taken and does not answer.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

MONITOR, BIN, FOLDER = sys.argv[1:4]
KFS, KFSCTL = os.path.join(BIN, "kfs"), os.path.join(BIN, "kfsctl")
# The guest has one slow processor, and may be busy.
PATIENCE = 180
WORDS_MAX = 1 << 20


class Failed(Exception):
    pass


class Monitor:
    """One connection at a time: others wait in the socket's queue."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(MONITOR)
        self.lines = self.socket.makefile("r")
        self.events = []
        self.read()
        self.run("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def read(self):
        line = self.lines.readline()
        if not line:
            raise Failed("QEMU's monitor is gone")
        return json.loads(line)

    def run(self, command, **words):
        self.socket.sendall(json.dumps({"execute": command, "arguments": words}).encode() + b"\n")
        while "return" not in (said := self.read()):
            if "error" in said:
                raise Failed(f"{command}: {said['error']['desc']}")
            self.events.append(said)

    def wait_deleted(self, device):
        while not any(e.get("event") == "DEVICE_DELETED" and e["data"].get("device") == device for e in self.events):
            self.events.append(self.read())


def send(head, body=b""):
    sys.stdout.buffer.write(head.encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def relay(name, text):
    if text:
        send(f"{name} {len(text)}", text)


def run(words, cwd, runtime):
    """Its output goes to files: a daemon may keep what it was started with open."""
    env = dict(os.environ)
    if runtime:
        env["KFS_RUNTIME_DIR"] = runtime
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = subprocess.run(words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err).returncode
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


def daemon_of(path):
    """The process of kfs that has @path among its options."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read()
            if path.encode() in words and os.path.samefile(f"/proc/{pid}/exe", KFS):
                return int(pid)
        except OSError:
            continue
    raise Failed(f"no daemon serves {path}")


def ends(pidfd):
    return bool(select.select([pidfd], [], [], PATIENCE)[0])


class Served:
    def __init__(self, image, options, cwd, runtime):
        self.image, self.cwd, self.runtime = image, cwd, runtime
        self.name = f"kfs{os.getpid()}"
        self.path = os.path.join(FOLDER, self.name)
        self.plugged = self.pidfd = None
        words = ",".join(filter(None, [f"vhost={self.path}", f"tag={self.name}", options]))
        self.status, out, err = run([KFS, "--no-mount", image, "-o", words], cwd, runtime)
        relay("out", out)
        relay("err", err)
        self.mode = "ro" if b": mounted read-only: " in err else "rw"
        if not self.status:
            self.pidfd = os.pidfd_open(daemon_of(self.path))

    def plug(self):
        address = {"type": "unix", "data": {"path": self.path}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        with Monitor() as monitor:
            monitor.run("chardev-add", id=self.name, backend=backend)
            words = {"driver": "vhost-user-fs-pci", "id": f"{self.name}-fs", "chardev": self.name, "tag": self.name}
            monitor.run("device_add", **words, **{"queue-size": 1024})
            self.plugged = True

    def pull(self):
        with Monitor() as monitor:
            monitor.run("device_del", id=f"{self.name}-fs")
            monitor.wait_deleted(f"{self.name}-fs")
            monitor.run("chardev-remove", id=self.name)

    def wait_unmounted(self):
        """Files that are open in the guest may hold it longer than its mount point does."""
        while True:
            status, out, err = run([KFSCTL, "status", "--json", self.image], self.cwd, self.runtime)
            if status:
                raise Failed(err.decode())
            if not any(guest["mounted"] for guest in json.loads(out)["guests"]["connected"]):
                return
            time.sleep(0.05)

    def end(self, number):
        try:
            if self.plugged:
                self.pull()
        finally:
            signal.pidfd_send_signal(self.pidfd, number)
            if not ends(self.pidfd):
                raise Failed(f"the daemon at {self.path} does not end")


def serve(cwd, runtime, image, options):
    served = Served(image, options, cwd, runtime)
    if served.status:
        return served.status
    number = signal.SIGKILL
    try:
        served.plug()
        send(f"tag {served.name} {served.mode}")
        if sys.stdin.buffer.readline() == b"end\n":
            served.wait_unmounted()
            number = signal.SIGTERM
    finally:
        try:
            served.end(number)
        except ProcessLookupError:
            raise Failed("the daemon had ended before") from None
    return 0


def ctl(cwd, runtime, *words):
    status, out, err = run([KFSCTL, *words], cwd, runtime)
    relay("out", out)
    relay("err", err)
    return status


def main():
    size = int(sys.stdin.buffer.readline())
    if size > WORDS_MAX:
        raise Failed("too many words")
    what, *words = [word.decode() for word in sys.stdin.buffer.read(size).split(b"\0")[:-1]]
    send(f"exit {serve(*words) if what == 'serve' else ctl(*words)}")


try:
    main()
except (Failed, OSError) as e:
    relay("err", f"plug: {e}\n".encode())
    send("exit 2")
