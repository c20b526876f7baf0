#!/usr/bin/env bash
# What the kernel has seen once it does not ask for again: warm stat, names that are absent, open + read + close, listings
# and symlinks send no request at all. The rates of these rows are therefore the kernel's own (see make bench); this is
# the part of them that kfs answers for.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3 jq
FILES=400 ACTS=${ACTS:-stat,absent,read,access,list,link} # some: on mounts where the others have to ask

mkimage a.img 64M
mount_kfs a.img a
python3 - a "$FILES" <<'PY'
import os, sys
os.chdir(sys.argv[1])
os.mkdir("d")
for n in range(int(sys.argv[2])):
    with open(f"d/f{n}", "wb") as f:
        f.write(b"x" * 4096)
os.symlink("d/f0", "link")
PY
remount_kfs a.img a

cat >work.py <<'PY'
import os, sys
top, files, act = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.chdir(top)
for n in range(files):
    if act == "stat":
        os.stat(f"d/f{n}")
    elif act == "absent":
        assert not os.path.lexists(f"d/absent{n}")
    elif act == "read":
        fd = os.open(f"d/f{n}", os.O_RDONLY)
        assert len(os.read(fd, 8192)) == 4096
        os.close(fd)
    elif act == "access":
        assert os.access(f"d/f{n}", os.R_OK)
if act == "list":
    assert len(os.listdir("d")) == files
    assert all(e.stat().st_size == 4096 for e in os.scandir("d"))
elif act == "link":
    assert os.readlink("link") == "d/f0" and os.stat("link").st_size == 4096
PY

# By image: naming the mount point would make the kernel ask for its attributes.
requests() {
	kfsctl stats --json "$SCRATCH/a.img" | jq '[(.transports[], .guests[]).opcodes[].requests] | add'
}

# Once without a request is enough: somebody else on this machine may drop caches at any time.
quiet_pass() { # ACT
	local before after
	# The first listing of a directory fills the cache that the second one is served from.
	python3 work.py a "$FILES" "$1"
	for _ in 1 2 3 4 5; do
		python3 work.py a "$FILES" "$1"
		before=$(requests)
		[ "$before" -gt 0 ] || fail "no request was counted at all"
		python3 work.py a "$FILES" "$1"
		after=$(requests)
		[ "$after" -ne "$before" ] || return 0
		echo "$1: $((after - before)) requests"
	done
	fail "every warm pass of $1 sends requests"
}

for act in ${ACTS//,/ }; do
	quiet_pass "$act"
done

# Tables of BPF programs know what the kernel has forgotten. (Forgetting is told, too, some time.)
questions() {
	kfsctl stats --json "$SCRATCH/a.img" | jq '[(.transports[], .guests[]).opcodes | (.LOOKUP, .GETATTR) | .requests // 0] | add'
}
if [ "$(tier_told)" = bpf ]; then
	drop_caches
	before=$(questions)
	python3 work.py a "$FILES" stat
	[ "$(questions)" -lt $((before + FILES / 10)) ] || fail "tables that know $FILES files left $(($(questions) - before)) questions"
	kfsctl cache drop "$SCRATCH/a.img" >/dev/null
fi

# The count is a count: what is not cached is asked for.
drop_caches
before=$(questions)
python3 work.py a "$FILES" stat
[ "$(questions)" -ge $((before + FILES)) ] || fail "with caches dropped, $FILES files were answered by $(($(questions) - before)) questions"
umount_kfs a
fsck_clean a.img
