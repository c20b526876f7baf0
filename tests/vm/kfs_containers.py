"""Mounts and containers, in the guest: called by 240-kfs-containers.sh. Words name single tests."""

import json
import os
import subprocess
import sys

from guest import ZERO, Counted, Mount, check, drop_dentries, plant, reload_module, run

# What container runtimes unshare; not the users, which is said where it is meant.
CONTAINER = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--net", "--ipc", "--uts"]
USERS = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]


def inside(container, script):
    """Runs lines of shell in there; its exit status and what it said."""
    done = subprocess.run([*container, "bash", "-euc", script], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_made_inside(ending):
    print(f"-- mounted inside of a container, which ends {ending}")
    m = Mount("made", None)
    run("mkfs.kfs", "-q", "-F", m.image, "64M")
    code, said = inside(CONTAINER, f"""
        kfs {m.image} {m.dir} -o bpf=on,log=/tmp/kfs/log,{ZERO}
        for i in $(seq 40); do echo $i >{m.dir}/f$i; done
        stat {m.dir}/f* >/dev/null
        sync -f {m.dir}
        before=$(kfsctl stats --json {m.dir})
        echo 2 >/proc/sys/vm/drop_caches
        stat {m.dir}/f* >/dev/null
        [ ! -e {m.dir}/absent ]
        after=$(kfsctl stats --json {m.dir})
        for s in "$before" "$after"; do
            jq -c '[.transports[0].opcodes | .LOOKUP.requests, .GETATTR.requests]' <<<"$s"
        done
        kfsctl status --json {m.dir} | jq -r .tier
        {f"umount {m.dir}" if ending == "unmounted" else ""}
    """)
    lines = said.split()
    check(f"the script in there: {code}: {said}", code == 0 and len(lines) == 3)
    check(f"no request: {lines}", lines[0] == lines[1] and lines[2] == "bpf")
    with open("/proc/self/mounts") as mounts:
        check("nothing of it is seen outside", m.dir not in mounts.read())
    # A daemon that was killed leaves its pins to the next mount.
    m.mount(f"bpf=on,{ZERO}")
    with open(m.path("f40")) as f:
        check("what was written in there is there", f.read() == "40\n")
    m.umount()
    reload_module()


def test_lent():
    print("-- lent to a container with users of its own: answered for it, too, with its rights")
    results = []
    for mode in ("on", "off"):
        m = Mount("lent", f"bpf={mode},{ZERO}")
        names = plant(m, 1, 20)
        os.chown(names[3], 1234, 1234)
        os.chmod(names[3], 0o600)
        os.mkdir(m.path("closed"), 0o700)
        os.chown(m.path("closed"), 1234, 1234)
        os.listdir(m.path("d0"))
        for name in names:
            os.stat(name)
        drop_dentries()
        script = f"""
            mkdir -p inner
            mount --bind {m.dir} inner
            stat -c '%n %s %u' inner/d0/f*
            cat inner/d0/f3 || echo refused
            ls inner/closed || echo refused
            stat inner/closed/absent || echo refused
            echo more >inner/d0/f5
            stat -c %s inner/d0/f5
        """
        if mode == "on":
            with Counted(m, "stat in there"):
                code, said = inside(USERS, "mkdir -p inner; mount --bind " + m.dir + " inner; stat inner/d0/f* >/dev/null")
                check(f"stat: {said}", code == 0)
        code, said = inside(USERS, script)
        check(f"in there: {said}", code == 0 and said.count("refused") == 3)
        check("the host sees what was changed", os.stat(m.path("d0", "f5")).st_size == 5)
        results.append(said)
        m.umount()
    check(f"with BPF: {results[0]} without: {results[1]}", results[0] == results[1])


def test_not_entitled():
    print("-- root of a container's own users: bpf=on is refused with a reason, bpf=auto does without")
    m = Mount("denied", None)
    run("mkfs.kfs", "-q", "-F", m.image, "64M")
    code, said = inside(USERS, f"kfs {m.image} {m.dir} -o bpf=on")
    print(f"   {said.strip()}")
    check(f"refused: {code}: {said}", code == 32 and "not inside a user namespace" in said and said.count("\n") == 1)
    code, said = inside(USERS, f"""
        kfs {m.image} {m.dir} -o bpf=auto
        echo text >{m.dir}/file
        kfsctl status --json {m.dir}
        umount {m.dir}
    """)
    check(f"in there: {code}: {said}", code == 0)
    status = json.loads(said)
    print(f"   {status['tier']}: {status['tier_reason']}")
    check("the stock tier", status["tier"] == "stock")
    run("e2fsck", "-fn", m.image)


def main():
    test_made_inside("unmounted")
    test_made_inside("with its first process")
    test_lent()
    test_not_entitled()


if len(sys.argv) > 1:
    for word in sys.argv[1:]:
        globals()[word]()
else:
    main()
