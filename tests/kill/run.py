# SPDX-License-Identifier: GPL-2.0-only
"""run.py --kills N --seed S: kill -9 the daemon under load, N times; what was acknowledged as durable has to be there.

Round k has seed S+k, so a failing round runs alone with --kills 1 --seed S+k. The moment of the kill is that of the
seed, the machine's own timing is not: a failing round therefore also keeps its image as the kill left it, and
--recheck FOLDER judges that image again, as often as one likes.

A round formats an image, mounts it, starts some loads (loads.py), kills the daemon, lets the log be replayed by kfs,
e2fsck or the kernel (each fifth round one of the latter), checks every load and has e2fsck judge the image.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import loads

IMAGE_SIZE = "160M"
BUSY_S = 2  # a mount that nobody uses
WAIT_S = 120  # for whatever should take moments: only a hang is longer
# What e2fsck may say of a log it replays: deletion goes on, and totals are not kept exact in the log.
E2FSCK_EXPECTED = re.compile(
    r"recovering journal|[Cc]learing orphaned inode|[Tt]runcating orphaned inode|Setting filesystem|"
    r"(Free|Directories) .*count wrong|clean, |: \d+/\d+ files |"
    # The same of an image whose kernel mount was cut off: e2fsck empties the orphan file it has worked off.
    r"Feature orphan_present is set but orphan file is clean|Orphan file .* is not clean|^CLEARED\.$|^\s*$"
)


class Fault(Exception):
    pass


def run(*words, expect=(0,)):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=WAIT_S, check=False, text=True, errors="replace")
    if done.returncode not in expect:
        raise Fault(f"{' '.join(words)}: exit status {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def is_mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        return any(line.split(" ")[4] == path for line in f)


def users_of(mountpoint):
    """Who has a file or a folder below it open, or mapped: what umount(8) does not say."""
    found = []
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        links = [f"/proc/{pid}/cwd", f"/proc/{pid}/root"]
        for kind in ("fd", "map_files"):
            try:
                links += [f"/proc/{pid}/{kind}/{name}" for name in os.listdir(f"/proc/{pid}/{kind}")]
            except OSError:
                continue  # it has just ended
        for link in links:
            try:
                target = os.readlink(link)
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
                    comm = f.read().strip()
            except OSError:
                continue
            if target.startswith(mountpoint):
                found.append(f"{comm} ({pid}): {link}: {target}")
    return found


def wait_for(what, condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Fault(f"{what}: still not after {WAIT_S} s")
        time.sleep(0.005)


def said_so(log, before):
    """The daemon's word that the mount is there for everybody, in what it said after @before bytes."""
    with open(log, "rb") as f:
        f.seek(before)
        return b": mounted at " in f.read()


class Mount:
    """A daemon in the foreground, so that its process is ours to kill."""

    def __init__(self, image, folder, options, log):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        with open(log, "ab") as out:
            before = out.tell()
            self.daemon = subprocess.Popen(["kfs", "-f", image, folder, "-o", options], stdin=subprocess.DEVNULL,
                                           stdout=out, stderr=out)
        wait_for("mounting", lambda: said_so(log, before) or self.daemon.poll() is not None)
        if self.daemon.poll() is not None:
            with open(log, encoding="utf-8", errors="replace") as f:
                raise Fault(f"kfs does not mount the image: {f.read()[-2000:]}")
        os.stat(folder)

    def kill(self):
        if self.daemon.poll() is not None:
            raise Fault(f"the daemon ended by itself: status {self.daemon.returncode}")
        self.daemon.kill()
        self.daemon.wait()

    def detach(self):
        run("umount", "-l", self.folder)

    def unmount(self):
        """Once in some hundred times the mount is busy for a moment though nobody has anything open: it is said, and no loss."""
        start = time.monotonic()
        while True:
            try:
                run("umount", self.folder)
                break
            except Fault as e:
                users = users_of(self.folder)
                if users or time.monotonic() - start > BUSY_S:
                    self.abandon()
                    raise Fault(f"{e}" + "\n".join(users or ["(nobody has it open)"])) from None
                print(f"note: {self.folder}: busy, and nobody has it open", flush=True)
        try:
            status = self.daemon.wait(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            raise Fault("the daemon outlives its mount") from None
        if status:
            raise Fault(f"the daemon ended with status {status}")

    def abandon(self):
        """After a fault: nothing of this round may stay."""
        self.daemon.kill()
        self.daemon.wait()
        if is_mounted(self.folder):
            subprocess.run(["umount", "-l", self.folder], check=False)


class Round:
    def __init__(self, seed, top):
        rng = random.Random(f"kill {seed}")
        self.seed = seed
        self.dir = os.path.join(top, f"round-{seed}")
        self.image = os.path.join(self.dir, "image")
        self.mountpoint = os.path.join(self.dir, "mnt")
        self.notes = os.path.join(self.dir, "notes")
        self.log = os.path.join(self.dir, "kfs.log")
        self.mkfs = rng.choice([["-b", "4096"], ["-b", "1024", "-J", "size=2"], ["-b", "4096", "-J", "size=4"],
                                ["-b", "2048", "-O", "inline_data"], ["-b", "4096", "-O", "^metadata_csum,^64bit"],
                                ["-b", "1024", "-O", "inline_data", "-I", "256"]])
        chosen = [rng.choice(["share=off", "share=off", "share=on"]),
                  rng.choice(["commit=5", "commit=1"]), rng.choice(["relatime", "lazytime"]),
                  rng.choice(["max_threads=16", "max_threads=2"])]
        self.options = ",".join(chosen + os.environ.get("KFS_OPTS", "").split())
        self.names = sorted(rng.sample(sorted(loads.CLASSES), rng.randint(3, 5)))
        self.delay = rng.choice([rng.uniform(0, 0.1), rng.uniform(0.1, 1.0), rng.uniform(0.5, 1.5)])
        self.replay = {3: "e2fsck", 4: "kernel"}.get(seed % 5, "kfs")

    def describe(self):
        return f"{self.replay} replays, {' '.join(self.mkfs)}, {self.options}, {self.delay:.3f} s of {', '.join(self.names)}"

    def make_loads(self, top):
        return [loads.make(name, top, self.notes, self.seed) for name in self.names]

    def start(self, load):
        pid = os.fork()
        if pid:
            return pid
        with open(os.path.join(self.dir, load.name + ".err"), "w", encoding="utf-8") as err:
            os.dup2(err.fileno(), 2)
            try:
                load.run()
            except Exception as e:  # the mount's death is how it ends
                err.write(f"{type(e).__name__}: {e}\n")
                err.flush()
        os._exit(0)

    def said(self, load):
        with open(os.path.join(self.dir, load.name + ".err"), encoding="utf-8") as f:
            return f.read()

    def work_and_kill(self):
        """Loads run until the daemon dies. None of them may end before."""
        mount = Mount(self.image, self.mountpoint, self.options, self.log)
        work = self.make_loads(self.mountpoint)
        pids = {self.start(load): load for load in work}
        try:
            for load in work:
                wait_for(f"{load.name} to begin",
                         lambda load=load: ["ready"] in load.notes.read() or self.ended_early(pids))
            time.sleep(self.delay)
            self.ended_early(pids)
            mount.kill()
        finally:
            mount.abandon()
            self.end(pids)

    def ended_early(self, pids):
        pid, _ = os.waitpid(-1, os.WNOHANG) if pids else (0, 0)
        if not pid or pid not in pids:
            return False
        load = pids.pop(pid)
        raise Fault(f"{load.name} ended while the daemon lived: {self.said(load)}")

    def end(self, pids):
        """Their calls fail now; one that hangs all the same is a fault, but not left behind."""
        hung = None
        deadline = time.monotonic() + WAIT_S
        for pid, load in pids.items():
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    hung = load.name
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    break
                time.sleep(0.005)
        if hung:
            raise Fault(f"{hung} hangs on the dead mount")

    def check(self, top):
        results, faults = {}, []
        for load in self.make_loads(top):
            try:
                load.check()
            except Exception as e:  # a folder that is not one, a database that is none: all of it is loss
                load.fault(f"cannot be read: {type(e).__name__}: {e}")
            results[load.name] = (load.acknowledged, load.found)
            faults += load.faults
        if faults:
            raise Fault("\n".join(faults[:20]))
        return results

    def check_on_kernel(self):
        run("mount", "-t", "ext4", "-o", "loop", self.image, self.mountpoint)
        try:
            return self.check(self.mountpoint)
        finally:
            run("umount", self.mountpoint)

    def check_on_kfs(self):
        mount = Mount(self.image, self.mountpoint, self.options, self.log)
        try:
            results = self.check(self.mountpoint)
            # The mount is of use, not only to be looked at.
            with open(os.path.join(self.mountpoint, "afterwards"), "wb") as f:
                f.write(b"x" * 100000)
                os.fsync(f.fileno())
        except BaseException:
            mount.abandon()
            raise
        mount.unmount()
        return results

    def replay_by_e2fsck(self):
        said = run("e2fsck", "-fp", self.image, expect=(0, 1))
        odd = [line for line in said.splitlines() if not E2FSCK_EXPECTED.search(line)]
        if odd:
            raise Fault("e2fsck had to mend more than the log:\n" + "\n".join(odd[:20]))

    def judge(self):
        """From the image as the kill left it: replay, look for everything, e2fsck -fn."""
        if self.replay == "kernel":
            results = self.check_on_kernel()
        else:
            if self.replay == "e2fsck":
                self.replay_by_e2fsck()
            results = self.check_on_kfs()
        run("e2fsck", "-fn", self.image)
        return results

    def keep(self):
        subprocess.run(["cp", "--sparse=always", self.image, self.image + ".killed"], check=True)

    def perform(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.notes)
        os.makedirs(self.mountpoint)
        run("mkfs.kfs", "-q", *self.mkfs, self.image, IMAGE_SIZE)
        self.work_and_kill()
        self.keep()
        results = self.judge()
        shutil.rmtree(self.dir)
        return results


def kernel_has_ext4():
    with open("/proc/filesystems", encoding="ascii") as f:
        return os.path.exists("/dev/loop-control") and any(line.split()[-1] == "ext4" for line in f)


def recheck(folder):
    seed = int(folder.rstrip("/").rsplit("-", 1)[1])
    r = Round(seed, os.path.dirname(os.path.abspath(folder)))
    print(f"seed {seed}: {r.describe()}")
    if is_mounted(r.mountpoint):
        print(f"{r.mountpoint} is mounted: unmount it")
        return 1
    subprocess.run(["cp", "--sparse=always", r.image + ".killed", r.image], check=True)
    try:
        print(r.judge())
    except Fault as e:
        print(f"FAILED: {e}")
        return 1
    return 0


def write_results(path, rounds, totals, args, seconds):
    acked = sum(a for a, _ in totals.values())
    found = sum(f for _, f in totals.values())
    rows = [("kill: rounds", rounds, "rounds", args.kills, rounds == args.kills),
            ("kill: acknowledged as durable", acked, "things", None, acked > 0),
            ("kill: of them found after recovery", found, "things", acked, found == acked),
            ("kill: seed", args.seed, "", None, None), ("kill: time", round(seconds, 1), "s", None, None)]
    rows += [(f"kill: {name}: found", f, "things", a, a == f) for name, (a, f) in sorted(totals.items())]
    with open(path, "w", encoding="ascii") as out:
        json.dump([{"row": r, "value": v, "unit": u, "against": against,
                    "ratio": v / against if against and u == "things" else None, "bar": 1 if u == "things" and against else None,
                    "ok": ok, "commit": args.commit} for r, v, u, against, ok in rows], out, indent=1)
        out.write("\n")
    for r, v, u, against, ok in rows:
        print(f"{r:44} {v:>10} {u:7}{f' of {against}' if against is not None else '':14} {'' if ok is None else 'ok' if ok else 'NOT OK'}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kills", type=int, default=20)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--dir", default=".")
    p.add_argument("--json", default="kill.json")
    p.add_argument("--commit", default="unknown")
    p.add_argument("--recheck", metavar="FOLDER")
    args = p.parse_args()
    if args.recheck:
        return recheck(args.recheck)
    kernel = kernel_has_ext4()
    if not kernel:
        print("note: this kernel cannot mount ext4 from a loop device: its rounds are replayed by e2fsck")
    totals, done, status, start = {}, 0, 0, time.monotonic()
    for seed in range(args.seed, args.seed + args.kills):
        r = Round(seed, os.path.abspath(args.dir))
        if r.replay == "kernel" and not kernel:
            r.replay = "e2fsck"
        try:
            results = r.perform()
        except Fault as e:
            print(f"FAILED: seed {seed}: {r.describe()}\n{e}\n"
                  f"again: make kill KILLS=1 SEED={seed}   the same image again: tests/kill/run.py --recheck {r.dir}")
            status = 1
            break
        done += 1
        print(f"seed {seed}: {sum(a for a, _ in results.values())} acknowledged and found: {r.describe()}", flush=True)
        for name, (a, f) in results.items():
            totals[name] = (totals.get(name, (0, 0))[0] + a, totals.get(name, (0, 0))[1] + f)
    write_results(args.json, done, totals, args, time.monotonic() - start)
    return status


if __name__ == "__main__":
    sys.exit(main())
