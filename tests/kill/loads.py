# SPDX-License-Identifier: GPL-2.0-only
"""Loads whose every acknowledged step can be looked for afterwards.

A load is a class with run() and check(). run() works in its own folder for ever, in a process of its own, until the
mount dies below it. Before a step it notes what it tries, and once fsync(2) (or SQLite's COMMIT) has returned, that the
step is durable. Notes go to a file outside the mount, one line and one write(2) each, so they outlive the daemon.
check() reads the notes and the folder after recovery: what was acknowledged is there and whole; what was tried and not
acknowledged may be there, but only as what was tried, never as something else (another file's old data, say).

Contents are functions of (load, number): nothing about them has to be kept.
"""
import glob
import hashlib
import io
import json
import os
import random
import sqlite3
import subprocess
import tarfile

SECTOR = 512


def bytes_of(label, length):
    """Bytes that no other label has, without a run of zeros that could pass for a hole."""
    block = hashlib.sha256(label.encode()).digest() + label.encode()[:64].ljust(64, b".")
    return (block * (length // len(block) + 1))[:length]


class Notes:
    """What was tried and what was acknowledged, as JSON lines."""

    def __init__(self, path):
        self.path = path
        self.fd = -1

    def note(self, *words):
        if self.fd < 0:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self.fd, json.dumps(words).encode() + b"\n")

    def read(self):
        """All whole lines: the load may have been killed within its last."""
        if not os.path.exists(self.path):
            return []
        with open(self.path, "rb") as f:
            return [json.loads(line) for line in f if line.endswith(b"\n")]


def sync_path(path, data_only=False):
    fd = os.open(path, os.O_RDONLY)
    try:
        (os.fdatasync if data_only else os.fsync)(fd)
    finally:
        os.close(fd)


def write_all(fd, data):
    done = 0
    while done < len(data):
        done += os.write(fd, data[done:])


class Load:
    def __init__(self, name, top, notes, seed):
        self.name = name
        self.dir = os.path.join(top, name)
        self.notes = Notes(os.path.join(notes, name))
        self.rng = random.Random(f"{seed}/{name}")
        self.acknowledged = self.found = 0
        self.faults = []

    def ready(self):
        self.notes.note("ready")

    def fault(self, text):
        self.faults.append(f"{self.name}: {text}")

    def expect(self, ok, text):
        """One acknowledged thing: there, or a fault."""
        self.acknowledged += 1
        if ok:
            self.found += 1
        else:
            self.fault(text)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def content(self, path):
        try:
            with open(path, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return None


class Append(Load):
    """Records at the end of a log, each durable before the next; two of these run beside each other."""

    def record(self, number):
        return bytes_of(f"{self.name}:{number}", random.Random(f"{self.name}{number}").choice([17, 200, 1000, 4096, 9000]))

    def run(self):
        os.mkdir(self.dir)
        sync_path(os.path.dirname(self.dir))
        fd = os.open(self.path("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        sync_path(self.dir)
        self.ready()
        number = 0
        while True:
            count = self.rng.choice([1, 1, 1, 2, 8])
            self.notes.note("try", number + count)
            write_all(fd, b"".join(self.record(n) for n in range(number, number + count)))
            number += count
            (os.fsync if self.rng.random() < 0.5 else os.fdatasync)(fd)
            self.notes.note("ack", number)

    def check(self):
        notes = self.notes.read()
        acked = max([n[1] for n in notes if n[0] == "ack"], default=0)
        tried = max([n[1] for n in notes if n[0] == "try"], default=0)
        data = self.content(self.path("log")) or b""
        at = 0
        for number in range(tried):
            want = self.record(number)
            got = data[at : at + len(want)]
            if number < acked:
                self.expect(got == want, f"record {number} of {acked} acknowledged is not there")
            elif any(g and g != w for g, w in zip(got, want)):
                self.fault(f"record {number}, not acknowledged, holds foreign bytes")
            at += len(want)
        if len(data) > at:
            self.fault(f"the log has {len(data)} bytes, at most {at} were ever written")


class Slots(Load):
    """Overwriting in place: random slots of one file, a few writes between two fsyncs."""

    SLOTS, SIZE = 48, 4096

    def slot(self, slot, version):
        return bytes_of(f"{self.name}:{slot}:{version}", self.SIZE)

    def run(self):
        os.mkdir(self.dir)
        fd = os.open(self.path("slots"), os.O_RDWR | os.O_CREAT)
        write_all(fd, b"".join(self.slot(s, 0) for s in range(self.SLOTS)))
        os.fsync(fd)
        sync_path(self.dir)
        sync_path(os.path.dirname(self.dir))
        self.ready()
        version = 0
        while True:
            written = {}
            for _ in range(self.rng.randint(1, 6)):
                version += 1
                slot = self.rng.randrange(self.SLOTS)
                self.notes.note("try", slot, version)
                os.pwrite(fd, self.slot(slot, version), slot * self.SIZE)
                written[slot] = version
            os.fdatasync(fd)
            self.notes.note("ack", list(written.items()))

    def check(self):
        notes = self.notes.read()
        if ["ready"] not in notes:
            return
        acked = dict.fromkeys(range(self.SLOTS), 0)
        versions = {s: [0] for s in range(self.SLOTS)}
        for note in notes:
            if note[0] == "try":
                versions[note[1]].append(note[2])
            elif note[0] == "ack":
                acked.update(note[1])
        data = self.content(self.path("slots")) or b""
        for slot in range(self.SLOTS):
            allowed = [self.slot(slot, v) for v in versions[slot] if v >= acked[slot]]
            self.expect(self.each_sector(data[slot * self.SIZE : (slot + 1) * self.SIZE], allowed),
                        f"slot {slot}: neither version {acked[slot]} nor a later one")

    def each_sector(self, got, allowed):
        """A write that was not acknowledged may be torn, each of its sectors old or new."""
        return len(got) == self.SIZE and all(
            any(got[at : at + SECTOR] == a[at : at + SECTOR] for a in allowed) for at in range(0, self.SIZE, SECTOR))


class Replace(Load):
    """What editors and package managers do: write anew, fsync, rename over, fsync the folder."""

    def version(self, number):
        return bytes_of(f"{self.name}:{number}", random.Random(f"{self.name}{number}").choice([0, 30, 100, 5000, 70000]))

    def run(self):
        os.mkdir(self.dir)
        sync_path(os.path.dirname(self.dir))
        self.ready()
        number = 0
        while True:
            number += 1
            self.notes.note("try", number)
            fd = os.open(self.path("new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            write_all(fd, self.version(number))
            os.fsync(fd)
            os.close(fd)
            os.rename(self.path("new"), self.path("conf"))
            sync_path(self.dir)
            self.notes.note("ack", number)

    def check(self):
        notes = self.notes.read()
        acked = max([n[1] for n in notes if n[0] == "ack"], default=0)
        tried = max([n[1] for n in notes if n[0] == "try"], default=0)
        data = self.content(self.path("conf"))
        ok = any(data == self.version(n) for n in range(max(acked, 1), tried + 1))
        if acked:
            self.expect(ok, f"conf is neither version {acked} nor {tried}, and it was replaced whole each time")
        elif data is not None and not ok:
            self.fault("conf holds what was never renamed over it")


class Names(Load):
    """Files, links, folders and symlinks made, moved and removed, each durable before the next."""

    FOLDERS = 4

    def run(self):
        os.mkdir(self.dir)
        for folder in range(self.FOLDERS):
            os.mkdir(self.path(f"d{folder}"))
        sync_path(self.dir)
        sync_path(os.path.dirname(self.dir))
        self.ready()
        number, have = 0, []
        while True:
            number += 1
            if len(have) > 60 or (have and self.rng.random() < 0.3):
                have.remove(self.remove(self.rng.choice(have)))
            elif have and self.rng.random() < 0.3:
                old = self.rng.choice(have)
                have.remove(old)
                have.append(self.move(old, f"d{self.rng.randrange(self.FOLDERS)}/m{number}"))
            else:
                have.append(self.make(f"d{self.rng.randrange(self.FOLDERS)}/f{number}"))

    def make(self, name):
        kind = self.rng.choice(["file", "file", "folder", "symlink", "link"])
        path = self.path(name)
        self.notes.note("try", name, kind)
        if kind == "folder":
            os.mkdir(path)
        elif kind == "symlink":
            os.symlink("s" * 200, path)
        else:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            write_all(fd, bytes_of(name, 300))
            os.fsync(fd)
            os.close(fd)
        if kind == "link":
            os.link(path, path + ".hard")
        sync_path(os.path.dirname(path))
        self.notes.note("made", name, kind, name)
        return name, kind, name

    def move(self, old, name):
        self.notes.note("moving", old[0], name)
        os.rename(self.path(old[0]), self.path(name))
        for folder in {os.path.dirname(old[0]), os.path.dirname(name)}:
            sync_path(self.path(folder))
        self.notes.note("gone", old[0])
        self.notes.note("made", name, old[1], old[2])
        return name, old[1], old[2]

    def remove(self, old):
        self.notes.note("removing", old[0])
        (os.rmdir if old[1] == "folder" else os.unlink)(self.path(old[0]))
        sync_path(os.path.dirname(self.path(old[0])))
        self.notes.note("gone", old[0])
        return old

    def is_there(self, name, kind, label):
        path = self.path(name)
        if kind == "folder":
            return os.path.isdir(path) and not os.listdir(path)
        if kind == "symlink":
            return os.path.islink(path) and os.readlink(path) == "s" * 200
        return self.content(path) == bytes_of(label, 300)

    def check(self):
        present, gone, open_ended = {}, set(), None
        for note in self.notes.read():
            if note[0] == "made":
                present[note[1]] = note[2:]
                gone.discard(note[1])
            elif note[0] == "gone":
                present.pop(note[1], None)
                gone.add(note[1])
            open_ended = note if note[0] in ("moving", "removing") else open_ended if note[0] == "gone" else None
        unsure = open_ended[1] if open_ended else None
        if unsure in present:
            kind_label = present.pop(unsure)
            at = [n for n in open_ended[1:] if os.path.lexists(self.path(n))]
            if open_ended[0] == "moving":
                self.expect(len(at) == 1 and self.is_there(at[0], *kind_label), f"{open_ended[1:]}: a rename left {at}")
        for name, (kind, label) in present.items():
            self.expect(self.is_there(name, kind, label), f"{kind} {name} is not there as it was made")
        for name in gone:
            if unsure != name:
                self.expect(not os.path.lexists(self.path(name)), f"{name} is there again")
        for link in glob.glob(self.path("d*", "*.hard")):
            if os.path.basename(link)[1:-5].isdigit() and self.content(link) == b"":
                self.fault(f"{link} is empty, its contents were durable before it was linked")


class Untar(Load):
    """A tree unpacked by tar, again and again; some of its files are then made durable."""

    FILES, KEEP = 150, 2

    def tree_path(self, number):
        return f"a{number % 7}/b{number % 3}/file-{number}"

    def file(self, number):
        return bytes_of(f"{self.name}:{number}", random.Random(number).choice([0, 40, 1000, 4000, 20000]))

    def make_tar(self):
        path = self.notes.path + ".tar"
        with tarfile.open(path, "w") as tar:
            for number in range(self.FILES):
                info = tarfile.TarInfo(self.tree_path(number))
                info.size = len(self.file(number))
                tar.addfile(info, io.BytesIO(self.file(number)))
        return path

    def run(self):
        tar = self.make_tar()
        os.mkdir(self.dir)
        sync_path(os.path.dirname(self.dir))
        self.ready()
        turn = 0
        while True:
            top = self.path(f"t{turn}")
            os.mkdir(top)
            if subprocess.run(["tar", "-xf", tar, "-C", top], stderr=subprocess.DEVNULL, check=False).returncode:
                return
            sync_path(self.dir)
            for number in self.rng.sample(range(self.FILES), 25):
                path = os.path.join(top, self.tree_path(number))
                for _ in range(4):
                    sync_path(path)
                    path = os.path.dirname(path)
                self.notes.note("ack", turn, number)
            turn += 1
            if turn >= self.KEEP:
                self.notes.note("removing", turn - self.KEEP)
                if subprocess.run(["rm", "-rf", self.path(f"t{turn - self.KEEP}")], stderr=subprocess.DEVNULL, check=False).returncode:
                    return

    def check(self):
        notes = self.notes.read()
        removed = {n[1] for n in notes if n[0] == "removing"}
        for turn, number in (n[1:] for n in notes if n[0] == "ack" and n[1] not in removed):
            got = self.content(self.path(f"t{turn}", self.tree_path(number)))
            self.expect(got == self.file(number), f"t{turn}/{self.tree_path(number)} is not as it was made durable")
        for number in range(self.FILES):
            for path in glob.glob(self.path("t*", self.tree_path(number))):
                got = self.content(path)
                if any(g and g != w for g, w in zip(got, self.file(number))):
                    self.fault(f"{path} holds foreign bytes")


class Database(Load):
    """SQLite: rows of one table and a running sum that has to fit them."""

    def __init__(self, name, top, notes, seed):
        super().__init__(name, top, notes, seed)
        # With a rollback journal that is deleted, FULL does not make the deletion durable; EXTRA does.
        self.mode, self.synchronous = {
            "sqlite-wal": ("WAL", "FULL"),
            "sqlite-delete": ("DELETE", "EXTRA"),
            "sqlite-truncate": ("TRUNCATE", "FULL"),
        }[name]

    def payload(self, number):
        return bytes_of(f"{self.name}:{number}", random.Random(number).choice([10, 500, 3000, 15000]))

    def connect(self):
        db = sqlite3.connect(self.path("db"), isolation_level=None, timeout=0)
        db.execute(f"PRAGMA journal_mode={self.mode}")
        db.execute(f"PRAGMA synchronous={self.synchronous}")
        return db

    def run(self):
        os.mkdir(self.dir)
        sync_path(os.path.dirname(self.dir))
        db = self.connect()
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, payload BLOB)")
        db.execute("CREATE TABLE total (sum INTEGER)")
        db.execute("INSERT INTO total VALUES (0)")
        self.ready()
        last = 0
        while True:
            count = self.rng.randint(1, 4)
            self.notes.note("try", last + count)
            db.execute("BEGIN IMMEDIATE")
            for number in range(last + 1, last + count + 1):
                db.execute("INSERT INTO rows VALUES (?, ?)", (number, self.payload(number)))
                db.execute("UPDATE total SET sum = sum + ?", (number,))
            db.execute("COMMIT")
            last += count
            # SQLite leaves the folder's fsync out, without a word, when it cannot open the folder: a mount that died
            # between the unlink of the rollback journal and that open has promised nothing. It answers: it had not.
            os.statvfs(self.dir)
            self.notes.note("ack", last)

    def check(self):
        notes = self.notes.read()
        if ["ready"] not in notes:
            return
        acked = max([n[1] for n in notes if n[0] == "ack"], default=0)
        tried = max([n[1] for n in notes if n[0] == "try"], default=0)
        db = sqlite3.connect(self.path("db"), timeout=5)
        try:
            verdict = db.execute("PRAGMA integrity_check").fetchall()
            rows = dict(db.execute("SELECT id, payload FROM rows"))
            total = db.execute("SELECT sum FROM total").fetchone()
        except sqlite3.Error as e:
            self.acknowledged += acked
            self.fault(f"the database cannot be read: {e}")
            return
        finally:
            db.close()
        if verdict != [("ok",)]:
            self.fault(f"integrity_check: {verdict[:3]}")
        for number in range(1, acked + 1):
            self.expect(rows.get(number) == self.payload(number), f"row {number} of {acked} committed is lost or wrong")
        if total != (sum(rows),) or len(rows) > tried or set(rows) != set(range(1, len(rows) + 1)):
            self.fault(f"{len(rows)} rows and a sum of {total}: a transaction is there in part")


CLASSES = {
    "append-1": Append,
    "append-2": Append,
    "slots": Slots,
    "replace": Replace,
    "names": Names,
    "untar": Untar,
    "sqlite-wal": Database,
    "sqlite-delete": Database,
    "sqlite-truncate": Database,
}


def make(name, top, notes, seed):
    return CLASSES[name](name, top, notes, seed)
