#!/bin/bash
# Metadata rates of kfs beside kernel ext4, libfuse's passthrough_ll over ext4, and fuse2fs: one run, interleaved
# rounds, medians, ratios (timings of different runs cannot be compared on shared machines).
# Words: ROUNDS=3 THREADS=2 FILES=8000 SYSTEMS="ext4 kfs kfs-uring passthrough fuse2fs" tests/bench/metadata.sh
# kfs is served through /dev/fuse, kfs-uring over io_uring, where the kernel has it.
# The bars are DESIGN's: against kernel ext4 for every row (those that send messages: kfs-uring's, the best that there
# is), against fuse2fs and passthrough_ll.

. "$(dirname "$0")/../lib/lib.sh"
need_root
need fuse2fs mke2fs
ROUNDS=${ROUNDS:-3} THREADS=${THREADS:-2} FILES=${FILES:-8000}
SYSTEMS=${SYSTEMS:-ext4 kfs kfs-uring passthrough fuse2fs}
RESULTS=$BUILD/results
EXAMPLES=/usr/share/doc/libfuse3-dev/examples
PASSTHROUGH=$SCRATCH/passthrough_ll
mkdir -p "$RESULTS" mnt under

build_passthrough() {
	local source=$EXAMPLES/passthrough_ll.c
	[ -e "$source" ] || skip "$source is missing: install libfuse3-dev"
	# Its author's build, from the installed package; nothing of it is kept here.
	# shellcheck disable=SC2046
	gcc -O2 -w -o "$PASSTHROUGH" -x c "$source" -I"$EXAMPLES" $(pkg-config --cflags --libs fuse3)
}

image_for() {
	rm -f "$SCRATCH/img"
	case $1 in
	kfs*) mkimage "$SCRATCH/img" 2G ;;
	*) mkimage_e2 "$SCRATCH/img" 2G ;;
	esac
}

start() {
	image_for "$1"
	case $1 in
	ext4) mount -t ext4 -o loop img mnt ;;
	kfs) mount_kfs img mnt -o uring=off ;;
	kfs-uring) mount_kfs img mnt -o uring=on ;;
	fuse2fs) fuse2fs img mnt -o fakeroot,allow_other ;;
	passthrough)
		mount -t ext4 -o loop img under
		"$PASSTHROUGH" -o "source=$SCRATCH/under,cache=always,writeback,allow_other" mnt
		;;
	esac
	eventually 10 mountpoint -q mnt || fail "$1 did not mount"
}

stop() {
	case $1 in
	kfs*) umount_kfs mnt ;;
	passthrough) umount mnt && umount under ;;
	*) umount mnt ;;
	esac
	# fuse2fs writes after umount(8) has returned: the next round must not race with it.
	[ "$1" != fuse2fs ] || eventually 60 sh -c '! pgrep -x fuse2fs >/dev/null'
}

round() {
	start "$1"
	"$BIN/tests/bench/metabench" "$SCRATCH/mnt" "$THREADS" "$FILES" create stat drop stat1 negstat read readdirstat \
		rename unlink | sed "s/^/$1 /" >>"$SCRATCH/samples"
	stop "$1"
	case $1 in kfs*) fsck_clean img ;; esac
}

if [[ " $SYSTEMS " == *" kfs-uring "* ]]; then
	if [ -e "$URING_SWITCH" ]; then
		need_uring
	else
		echo "no kfs-uring: this kernel has no FUSE over io_uring"
		SYSTEMS=${SYSTEMS/kfs-uring/}
	fi
fi
[[ " $SYSTEMS " != *" passthrough "* ]] || build_passthrough
: >samples
for ((r = 0; r < ROUNDS; r++)); do
	for system in $SYSTEMS; do
		round "$system"
	done
done

# shellcheck disable=SC2086 # several words
python3 - "$SCRATCH/samples" "$RESULTS/bench-metadata.json" $SYSTEMS <<'PY'
import json, statistics, sys
samples, out, systems = sys.argv[1], sys.argv[2], sys.argv[3:]
rates = {}
for line in open(samples):
    system, row, value = line.split()
    rates.setdefault((row, system), []).append(float(value))
med = {key: statistics.median(values) for key, values in rates.items()}
names = {"create": "create+4KiB", "stat": "warm stat", "stat1": "stat, dentries dropped", "negstat": "warm negative stat",
         "read": "warm open+read+close", "readdirstat": "warm readdir+stat", "rename": "rename", "unlink": "unlink"}
warm = {"stat": 0.8, "negstat": 0.85, "read": 0.8, "readdirstat": 0.6}
cold = {"create": 0.35, "stat1": 0.2, "rename": 0.4, "unlink": 0.4}
own = [s for s in systems if s.startswith("kfs")]
best = own[-1] if own else None

def bar_of(row, system, against):
    """Rows that send messages are judged by the best way to send them."""
    if row in warm:
        return {"ext4": warm[row], "fuse2fs": 4.0}.get(against)
    if system != best:
        return 4.0 if against == "fuse2fs" else None
    return {"ext4": cold[row], "fuse2fs": 10.0, "passthrough": 1.2}.get(against)

rows = []
print(f"{'row':24}" + "".join(f"{s:>14}" for s in systems))
for row, name in names.items():
    print(f"{name:24}" + "".join(f"{med.get((row, s), 0):14.0f}" for s in systems))
    for system in own:
        for against in systems:
            if against in own or (row, against) not in med:
                continue
            bar = bar_of(row, system, against)
            ratio = med[row, system] / med[row, against]
            rows.append({"row": name if system == "kfs" else f"{name} ({system})", "value": med[row, system],
                         "unit": "ops/s", "against": against, "ratio": round(ratio, 3), "bar": bar,
                         "ok": bar is None or ratio >= bar})
print(f"\n{'row':36}{'against':>14}{'ratio':>10}{'bar':>8}")
for r in rows:
    print(f"{r['row']:36}{r['against']:>14}{r['ratio']:10.2f}{r['bar'] or '-':>8}{'' if r['ok'] else '  MISSED'}")
json.dump(rows, open(out, "w"), indent=1)
PY
