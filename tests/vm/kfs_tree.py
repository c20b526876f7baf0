"""A tree of files with an empty dcache and warm tables, in the guest: called by bench-tree.sh. The same image for everybody."""

import os
import shutil
import time

from guest import Mount, bench, check, drop_dentries, run

FILES, FILES_EACH = int(os.environ.get("KFS_VM_FILES") or 2000), 40
WARM_RUNS = 5
BAR = 0.6
SMALL = "/tmp/kfs/small"


def make_tree(top, files):
    os.makedirs(top)
    names = []
    for i in range(files):
        dir = f"dir-{i // FILES_EACH % 10}/subdirectory-{i // FILES_EACH}"
        os.makedirs(os.path.join(top, dir), exist_ok=True)
        names.append(f"{dir}/file-{i}.c")
        with open(os.path.join(top, names[-1]), "w") as f:
            f.write(f"int value_{i};\n")
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "all")
    with open(top + ".names", "w") as f:
        f.write("".join(name + "\n" for name in names))


def git(top, *words):
    return run("git", "-c", "safe.directory=*", "-c", "core.fsync=none", "-C", top, *words)


def stat_each(top):
    return bench("names", top, (SMALL if top == SMALL else "/tmp/kfs/tree") + ".names")[0]


def timed(work):
    def measured(top):
        start = time.monotonic_ns()
        work(top)
        return time.monotonic_ns() - start
    return measured


WORKS = {
    "stat of each file": stat_each,
    "find -size +100k": timed(lambda top: run("find", top, "-type", "f", "-size", "+100k")),
    "ls -lR": timed(lambda top: run("ls", "-lR", top)),
    "git status": timed(lambda top: check("nothing has changed", not git(top, "status", "--porcelain"))),
}


def measure(top, requests):
    """
    Per work: the guest's nanoseconds, requests sent. Some times each; after the first everything but the dcache is warm. The
    least counts: while nothing runs, as when a page of a program is waited for, the clock goes on to the next timer.
    """
    results = {}
    for name, work in WORKS.items():
        runs = []
        for _ in range(1 + WARM_RUNS):
            drop_dentries()
            work(SMALL)  # the programs themselves
            before = requests()
            spent = work(top)
            runs.append((spent, requests() - before))
        results[name] = min(runs[1:])
    return results


def on_kfs(mode):
    m = Mount(f"tree-{mode}", None)
    shutil.copy("tree.img", m.image)
    m.mount(f"bpf={mode}")
    tier = m.status()["tier"]
    check(f"bpf={mode}: {tier}", tier == ("stock" if mode == "off" else "bpf"))
    results = measure(m.dir, lambda: sum(m.requests().values()))
    m.umount()
    return results


def on_other(name, *command):
    top = f"tree-{name}.dir"
    os.mkdir(top)
    shutil.copy("tree.img", f"tree-{name}.img")
    run(*command, f"tree-{name}.img", top)
    results = measure(top, lambda: 0)
    run("umount", top)
    return results


def main():
    make_tree(SMALL, 10)
    make_tree("tree", FILES)
    run("mkfs.kfs", "-q", "-F", "-d", "tree", "tree.img", f"{64 + FILES // 20}M")
    shutil.rmtree("tree")
    run("modprobe", "-a", "loop", "ext4")
    columns = {"kernel ext4": on_other("ext4", "mount", "-o", "loop"), "bpf=on": on_kfs("on"), "bpf=auto": on_kfs("auto"),
               "bpf=off": on_kfs("off")}
    if shutil.which("fuse2fs"):
        columns["fuse2fs"] = on_other("fuse2fs", "fuse2fs")
    for work in WORKS:
        anchor = columns["kernel ext4"][work][0]
        print(f"{work}, {FILES} files, dcache empty")
        for who, results in columns.items():
            spent, sent = results[work]
            ratio = anchor / spent
            judged = work == "stat of each file" and who == "bpf=on"
            verdict = "" if not judged else f"  bar {BAR}" + ("" if ratio >= BAR else "  MISSED")
            print(f"   {who:12} {spent / (1000 if work == 'stat of each file' else 1000000):10.2f} "
                  f"{'k a file' if work == 'stat of each file' else 'million'}  {ratio:5.2f} of kernel ext4"
                  f"{'' if who in ('kernel ext4', 'fuse2fs') else f', {sent} requests'}{verdict}", flush=True)
    print("a million files in tables of MiB: hits of a hundred in a third pass, MiB they take")
    for mib in 64, 128, 256, 512:
        print(f"   bpf_mb={mib}:", *bench("known", 1000000, mib), flush=True)


main()
