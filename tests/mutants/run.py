# SPDX-License-Identifier: GPL-2.0-only
"""run.py [--quick] [--only WORD,...]: a test of the tests. Breaks kfs on purpose, one place at a time, and wants each caught.

The mutants stand in *.mut beside this file. Each is an edit of one source file, the invariant that it breaks, and the test
program that has to fail. A catcher that passes is tried again with the next seed, as long as its minute lasts: power cuts and
threads are drawn, and what one drawing misses another one meets. Only the changed file is compiled; its object is linked before the build's archives, whose own
member of that name is then not taken. A mutant passes this test when its catcher ends with a failure within CATCH_CPU_S
seconds of processor time. It fails it when the catcher succeeds all that time (the mutant survives), hangs or exceeds it; when its
text is not found in the source exactly once, or does not compile; and when the same catcher, linked the same way, fails
without any mutant.

  mutant NAME             one word
  breaks TEXT             the invariant
  file PATH
  catch PROGRAM [WORD...] below BUILD/bin/tests, with its arguments
  quick                   is part of --quick, which "make test" runs
  <<<<                    text of the file, there exactly once, up to ====, and what takes its place, up to >>>>;
                          once or several times

Lines that begin with # between mutants are comments.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CATCH_CPU_S = 60  # the bar: processor time, so that a busy machine changes nothing
# A catcher that sleeps or hangs uses none: it ends here. Generous, for machines with many other things to do.
CATCH_WALL_S = 300
BUILD_WALL_S = 300
# Faster to compile, and what is tested is the change and not the optimiser.
MUTANT_CFLAGS = ["-w", "-O0", "-U_FORTIFY_SOURCE", '-DKFS_VERSION="mutant"']


class Fault(Exception):
    pass


class Mutant:
    def __init__(self, name, where):
        self.name, self.where = name, where
        self.breaks = self.file = self.catch = ""
        self.quick, self.edits = False, []

    def text(self):
        with open(os.path.join(TOP, self.file), encoding="utf-8") as f:
            text = f.read()
        for old, new in self.edits:
            found = text.count(old)
            if found != 1:
                raise Fault(f"{self.where}: {self.file} holds this text {found} times, not once; the source has changed, "
                            f"so write the mutant anew:\n{old}")
            text = text.replace(old, new)
        return text


def parse(path):
    mutants, lines, at = [], open(path, encoding="utf-8").read().split("\n"), 0

    def until(mark):
        nonlocal at
        begin = at
        while lines[at] != mark:
            at += 1
            if at == len(lines):
                raise Fault(f"{path}:{begin}: no {mark} follows")
        at += 1
        return "".join(line + "\n" for line in lines[begin:at - 1])

    while at < len(lines):
        line, at = lines[at], at + 1
        word, _, rest = line.partition(" ")
        if not line or line.startswith("#"):
            continue
        if word == "mutant":
            mutants.append(Mutant(rest, f"{os.path.relpath(path, TOP)}:{at}"))
        elif word in ("breaks", "file", "catch") and rest and mutants:
            setattr(mutants[-1], word, rest)
        elif line == "quick" and mutants:
            mutants[-1].quick = True
        elif line == "<<<<" and mutants:
            old = until("====")
            mutants[-1].edits.append((old, until(">>>>")))
        else:
            raise Fault(f"{path}:{at}: not understood: {line}")
    for m in mutants:
        if not (m.breaks and m.file and m.catch and m.edits):
            raise Fault(f"{m.where}: {m.name}: lacks breaks, file, catch or an edit")
    return mutants


class Builder:
    """Compiles and links as the Makefile does, from the stamps that it leaves in the build folder."""

    def __init__(self, build):
        self.build = build
        self.flags = self.stamp("flags.stamp")
        self.libs = self.stamp("link.stamp")

    def stamp(self, name):
        with open(os.path.join(self.build, name), encoding="utf-8") as f:
            return shlex.split(f.read())

    def call(self, words):
        done = subprocess.run(words, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=BUILD_WALL_S, check=False, text=True, errors="replace")
        if done.returncode:
            raise Fault(f"{' '.join(words)}:\n{done.stdout[-3000:]}")

    def compile(self, source, obj):
        self.call(self.flags + MUTANT_CFLAGS + ["-c", "-o", obj, source])

    def objects_of(self, program):
        obj = os.path.join(self.build, "obj/tests")
        objects = sorted(glob.glob(f"{obj}/{program}/*.o")) if program == "crash" else [f"{obj}/{program}.o"]
        if not objects or not all(os.path.exists(o) for o in objects):
            raise Fault(f"{program}: there is no such test program in {self.build}")
        return objects

    def link(self, program, first, out):
        lib = os.path.join(self.build, "lib")
        self.call(self.flags + ["-w", "-o", out] + first + self.objects_of(program) +
                  [f"{lib}/test.a", f"{lib}/daemon.a", f"{lib}/libkfs.a"] + self.libs)


class Runner:
    def __init__(self, builder, folder):
        self.builder, self.dir = builder, folder
        self.lock = threading.Lock()
        self.controls = {}

    def run(self, binary, program, args, scratch, seed):
        """Exit status, processor seconds, seconds; status None: it was ended because it took too long."""
        if program == "crash":
            args = ["--dir", scratch, "--seed", str(seed)] + args
        env = dict(os.environ, TMPDIR=scratch, KFS_SEED=str(seed))

        def limits():
            # The processor time of each process; their sum is looked at when they have ended.
            resource.setrlimit(resource.RLIMIT_CPU, (2 * CATCH_CPU_S, 2 * CATCH_CPU_S))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        start = time.monotonic()
        with open(os.path.join(scratch, "log"), "wb") as log:
            p = subprocess.Popen([binary] + args, cwd=scratch, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True, preexec_fn=limits)
            hung = threading.Event()

            def end():
                hung.set()
                os.killpg(p.pid, signal.SIGKILL)

            timer = threading.Timer(CATCH_WALL_S, end)
            timer.start()
            _, status, usage = os.wait4(p.pid, 0)
            timer.cancel()
            p.returncode = os.waitstatus_to_exitcode(status)
        try:
            os.killpg(p.pid, signal.SIGKILL)  # what a test program that crashed may leave
        except ProcessLookupError:
            pass
        cpu = usage.ru_utime + usage.ru_stime
        return None if hung.is_set() else p.returncode, cpu, time.monotonic() - start

    def scratch(self, name):
        path = os.path.join(self.dir, name)
        subprocess.run(["rm", "-rf", path], check=True)
        os.makedirs(path)
        return path

    def log_of(self, scratch):
        with open(os.path.join(scratch, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def control(self, catch, seed):
        """The catcher passes without a mutant, or nothing that it says of one counts."""
        with self.lock:
            once = self.controls.setdefault((catch, seed), threading.Lock())
        with once:
            if isinstance(self.controls.get((catch, seed, "done")), bool):
                return
            program, *args = catch.split()
            scratch = self.scratch(f"unbroken-{seed}-" + catch.replace("/", "_").replace(" ", "_")[:80])
            binary = os.path.join(scratch, "catcher")
            self.builder.link(program, [], binary)
            status, _, _ = self.run(binary, program, args, scratch, seed)
            if status != 0:
                raise Fault(f"{catch}: fails without any mutant (status {status}):\n{self.log_of(scratch)[-3000:]}")
            self.controls[(catch, seed, "done")] = True
            subprocess.run(["rm", "-rf", scratch], check=True)

    def try_mutant(self, m, catch):
        program, *args = catch.split()
        scratch = self.scratch(m.name)
        source, obj, binary = (os.path.join(scratch, n) for n in (os.path.basename(m.file), "mutant.o", "catcher"))
        with open(source, "w", encoding="utf-8") as f:
            f.write(m.text())
        self.builder.compile(source, obj)
        self.builder.link(program, [obj], binary)
        cpu = seconds = 0
        seed, status = 0, 0
        while status == 0 and cpu < CATCH_CPU_S and seconds < CATCH_WALL_S:
            seed += 1
            status, cpu_one, seconds_one = self.run(binary, program, args, scratch, seed)
            cpu, seconds = cpu + cpu_one, seconds + seconds_one
        log = self.log_of(scratch)
        if status is None:
            raise Fault(f"{catch}: hangs: ended after {CATCH_WALL_S} s:\n{log[-1500:]}")
        if status in (0, 77):
            raise Fault(f"SURVIVES {catch} (status {status}, {seed} seeds)")
        if cpu > CATCH_CPU_S:
            raise Fault(f"{catch}: caught after {cpu:.1f} s of processor time, more than {CATCH_CPU_S}")
        self.control(catch, seed)
        subprocess.run(["rm", "-rf", scratch], check=True)
        return cpu, seconds, first_complaint(log)


def first_complaint(log):
    lines = log.split("\n")
    for line in lines:
        if line.startswith("FAIL ") or "crash: FAIL" in line:
            return line.strip()
    for line in lines:
        if "failed" in line or "killed by" in line or "CHECK" in line:
            return line.strip()
    return (lines or [""])[0]


def write_results(path, rows):
    with open(path, "w", encoding="ascii") as out:
        json.dump([{"row": row, "value": value, "unit": unit, "against": against,
                    "ratio": round(value / against, 3) if against else None, "bar": against, "ok": ok}
                   for row, value, unit, against, ok in rows], out, indent=1)
        out.write("\n")


def judge(runner, m, catch):
    try:
        return runner.try_mutant(m, catch), None
    except (Fault, OSError, subprocess.SubprocessError) as e:
        return None, str(e)


def report(m, catch, caught, why):
    if caught:
        print(f"caught  {m.name:44} {caught[0]:6.2f} s  {catch}: {caught[2][:100]}", flush=True)
    else:
        print(f"FAIL    {m.name}: {m.where}: breaks {m.breaks}\n        {why}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.path.join(TOP, "build"))
    p.add_argument("--dir", help="scratch folder (BUILD/tmp/mutants)")
    p.add_argument("--json", help="where the figures go")
    p.add_argument("--only", default="", help="mutants whose name or file holds this, or one of a,b")
    p.add_argument("--quick", action="store_true", help="those of make test")
    p.add_argument("--catcher", help="another catcher than theirs, to find one")
    p.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--list", action="store_true")
    args = p.parse_args()
    try:
        every = [m for path in sorted(glob.glob(os.path.join(TOP, "tests/mutants/*.mut"))) for m in parse(path)]
        doubled = {m.name for m in every if sum(n.name == m.name for n in every) > 1}
        if doubled:
            raise Fault(f"two mutants of one name: {', '.join(sorted(doubled))}")
        for m in every:
            m.text()  # also those that are not tried now have to fit the source
    except Fault as e:
        sys.exit(f"mutants: {e}")
    words = args.only.split(",")
    chosen = [m for m in every if any(w in m.name or w in m.file for w in words) and (m.quick or not args.quick)]
    if args.list:
        for m in chosen:
            print(f"{m.name}: {m.file}: {m.breaks}; {m.catch}")
        return 0
    if not chosen:
        sys.exit(f"mutants: no mutant's name or file holds '{args.only}'")
    build = os.path.abspath(args.build)
    runner = Runner(Builder(build), os.path.abspath(args.dir or os.path.join(build, "tmp/mutants")))
    rows, failed, start = [], [], time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        futures = {pool.submit(judge, runner, m, args.catcher or m.catch): m for m in chosen}
        for future in concurrent.futures.as_completed(futures):
            m, (caught, why) = futures[future], future.result()
            report(m, args.catcher or m.catch, caught, why)
            if not caught:
                failed.append(f"{m.name}: {why.splitlines()[0]}")
            rows.append((f"mutants: {m.name}: caught by {args.catcher or m.catch}",
                         round(caught[0], 2) if caught else None, "s", CATCH_CPU_S if caught else None, bool(caught)))
    rows.sort(key=lambda row: row[0])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    totals = [("mutants: tried", len(chosen), "mutants", None, True),
              ("mutants: caught", len(chosen) - len(failed), "mutants", len(chosen), not failed),
              ("mutants: time", round(time.monotonic() - start, 1), "s", None, None),
              ("mutants: processor time", round(used.ru_utime + used.ru_stime, 1), "s", None, None)]
    if args.json:
        write_results(args.json, totals + rows)
    print(f"{len(chosen)} of {len(every)} mutants tried, {len(chosen) - len(failed)} caught, in {totals[2][1]} s "
          f"({totals[3][1]} s of processor time)")
    for line in failed:
        print(f"not caught: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
