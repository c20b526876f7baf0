#!/usr/bin/env bash
# What size costs: formatting 1 TiB, mounting it half full and with a journal to replay, a million names in one
# directory, and the daemon's memory per cached inode. Bars from DESIGN, section 6.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3
NAMES=${NAMES:-1000000}
RESULTS=$BUILD/results
mkdir -p "$RESULTS"
ROWS=$SCRATCH/rows
: >"$ROWS"

row() { # NAME VALUE UNIT BAR : smaller is better
	awk -v n="$1" -v v="$2" -v u="$3" -v b="$4" 'BEGIN {
		ok = b == "" || v + 0 <= b + 0
		printf "%-52s %12.3f %-6s %10s  %s\n", n, v, u, b == "" ? "" : "bar " b, ok ? "" : "MISSED"
		printf "{\"row\": \"%s\", \"value\": %s, \"unit\": \"%s\", \"against\": null, \"ratio\": null, \"bar\": %s, \"ok\": %s}\n", \
			n, v, u, b == "" ? "null" : b, ok ? "true" : "false" >>"'"$ROWS"'"
	}'
}
seconds() { # COMMAND… : its wall time
	local start=$EPOCHREALTIME
	"$@" >&2
	awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'
}
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }

row "mkfs of 1 TiB" "$(seconds mkimage big 1T)" s 2
row "host disk used by it" "$(($(stat -c %b big) / 2048))" MiB 64
mount_kfs big m
# Half full: unwritten extents cost the image metadata only.
python3 - m <<'PY'
import os, sys
for n in range(512):
    fd = os.open(f"{sys.argv[1]}/f{n}", os.O_CREAT | os.O_RDWR, 0o644)
    os.posix_fallocate(fd, 0, 1 << 30)
    os.close(fd)
PY
umount_kfs m
drop_caches
row "mount of a half-full 1 TiB image" "$(seconds mount_kfs big m)" s 1
umount_kfs m
# A journal that is full to its last block: copies of blocks of the inode tables of all groups, most of which the
# sparse image has no room for yet, which is the slowest case.
python3 - big 262144 >blocks <<'PY'
import re, subprocess, sys
text = subprocess.run(["dumpe2fs", sys.argv[1]], capture_output=True, text=True, check=True).stdout
tables = [range(int(a), int(b) + 1) for a, b in re.findall(r"Inode table at (\d+)-(\d+)", text)]
step, at = sum(map(len, tables)) // int(sys.argv[2]), 0
for table in tables:
    for block in table:
        if at % step == 0:
            print(block)
        at += 1
PY
"$TOOLS/jtool" fill big blocks >fill.out
# The kernel replays a copy of the same log.
cp --sparse=always big kernel.img
drop_caches
row "mount with a full journal to replay" "$(seconds mount_kfs big m)" s 10
row "blocks replayed by it" "$(sed -n 's/.*transactions, \([0-9]*\) blocks.*/\1/p' kfs-m.log | tail -n 1)" blocks ""
umount_kfs m
fsck_clean big
row "the same, kernel ext4" "$(seconds kmount kernel.img k)" s ""
kumount k
rm kernel.img
rm big

mkimage img 4G -N $((NAMES + 50000))
mount_kfs img m
pid=$(kfs_pids "$SCRATCH/m")
mkdir m/big
before=$(rss_kib "$pid")
cat >names.py <<'PY'
import os, sys
act, top, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.chdir(top)
if act == "create":
    for i in range(count):
        os.close(os.open(f"name-{i:07d}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
elif act == "stat":
    for i in range(count):
        os.stat(f"name-{i:07d}")
elif act == "list":
    assert sum(1 for _ in os.scandir(".")) == count
elif act == "remove":
    for i in range(count):
        os.unlink(f"name-{i:07d}")
PY
row "create $NAMES names in one directory" "$(seconds python3 names.py create m/big "$NAMES")" s ""
row "stat each" "$(seconds python3 names.py stat m/big "$NAMES")" s ""
row "memory for $NAMES cached inodes" "$((($(rss_kib "$pid") - before) / 1024))" MiB 300
kfsctl stats m | grep -E 'inodes|nodes|buffers'
row "list" "$(seconds python3 names.py list m/big "$NAMES")" s ""
row "remove each" "$(seconds python3 names.py remove m/big "$NAMES")" s ""
rmdir m/big
umount_kfs m
fsck_clean img
(echo '['; paste -sd, "$ROWS"; echo ']') >"$RESULTS/bench-scale.json"
