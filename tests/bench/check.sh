#!/usr/bin/env bash
# What a check of a mounted image costs: FILES files (a million) in directories of 1,000; time and memory of the check
# when the image is idle and when it is worked on, beside e2fsck -fn of the unmounted image; and the rate of that work with
# and without a check, in turn in one run.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3 jq e2fsck
FILES=${FILES:-1000000}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-5}
RESULTS=$BUILD/results
mkdir -p "$RESULTS"
ROWS=$SCRATCH/rows
: >"$ROWS"

row() { # NAME VALUE UNIT BAR RATIO : smaller is better, for a ratio larger
	awk -v n="$1" -v v="$2" -v u="$3" -v b="$4" -v ratio="${5:-}" 'BEGIN {
		ok = b == "" || (ratio != "" ? ratio + 0 >= b + 0 : v + 0 <= b + 0)
		printf "%-52s %12.3f %-6s %10s  %s\n", n, v, u, b == "" ? "" : "bar " b, ok ? "" : "MISSED"
		printf "{\"row\": \"%s\", \"value\": %s, \"unit\": \"%s\", \"against\": %s, \"ratio\": %s, \"bar\": %s, \"ok\": %s}\n", \
			n, v, u, ratio == "" ? "null" : "\"no check\"", ratio == "" ? "null" : ratio, b == "" ? "null" : b, \
			ok ? "true" : "false" >>"'"$ROWS"'"
	}'
}
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }
peak_kib() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }
per() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'; }

mkimage img $((FILES / 250 + 512))M -N $((FILES + FILES / 100 + 10000))
mount_kfs img m
pid=$(kfs_pids "$SCRATCH/m")
cat >fill.py <<'PY'
import os, sys
first, last, top = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for d in range(first, last):
    path = f"{top}/d{d}"
    os.mkdir(path)
    for n in range(1000):
        fd = os.open(f"{path}/a-file-{n}", os.O_CREAT | os.O_WRONLY, 0o644)
        if n % 8 == 0:
            os.write(fd, b"x" * 100)
        os.close(fd)
PY
half=$((FILES / 2000))
python3 fill.py 0 "$half" m &
python3 fill.py "$half" $((FILES / 1000)) m
wait $!
kfsctl sync m

# The work: names made, written, moved and removed, everywhere; prints operations a second.
cat >work.py <<'PY'
import os, random, sys, time
top, seconds, dirs = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
random.seed(5)
end, ops, n = time.monotonic() + seconds, 0, 0
while time.monotonic() < end:
    path = f"{top}/d{random.randrange(dirs)}/w{n}"
    n += 1
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, b"y" * 4096)
    os.close(fd)
    os.rename(path, path + "x")
    os.unlink(path + "x")
    ops += 3
print(ops / seconds)
PY
work() { python3 work.py m "$SECONDS_EACH" $((FILES / 1000)); }
check() { kfsctl check --json m >"$1" || [ $? -eq 8 ] || fail "the check found something: $(head -c 2000 "$1")"; }

before=$(rss_kib "$pid")
check idle.json
[ "$(jq -r .state idle.json)" = clean ] || fail "not clean: $(head -c 2000 idle.json)"
row "check of $FILES files, idle" "$(per "$(jq .duration_ns idle.json)" 1000000000)" s ""
row "its own account of memory" "$(per "$(jq .memory_bytes idle.json)" 1048576)" MiB ""
row "daemon's peak beyond what it had" "$(per $(($(peak_kib "$pid") - before)) 1024)" MiB ""
row "metadata read" "$(per "$(jq .read_bytes idle.json)" 1048576)" MiB ""

alone=0 beside=0
for _ in $(seq "$ROUNDS"); do
	rate=$(work)
	alone=$(awk -v a="$alone" -v b="$rate" 'BEGIN { print a + b }')
	(while [ ! -e enough ]; do check busy.json; done) &
	checker=$!
	rate=$(work)
	: >enough
	wait "$checker"
	rm enough
	beside=$(awk -v a="$beside" -v b="$rate" 'BEGIN { print a + b }')
done
row "work without a check" "$(per "$alone" "$ROUNDS")" ops/s ""
row "work beside checks in a loop" "$(per "$beside" "$ROUNDS")" ops/s 0.5 "$(per "$beside" "$alone")"
row "check beside work" "$(per "$(jq .duration_ns busy.json)" 1000000000)" s ""
row "copies of what changed meanwhile" "$(per "$(jq .copies_bytes busy.json)" 1048576)" MiB ""
row "restarts of the last one" "$(jq .restarts busy.json)" "" ""
umount_kfs m
start=$EPOCHREALTIME
fsck_clean img
row "e2fsck -fn of the same image" "$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')" s ""
jq -s . "$ROWS" >"$RESULTS/check.json"
rm img
