#!/bin/bash
# Metadata rates of kfs beside kernel ext4, libfuse's passthrough_ll over ext4, fuse2fs, and nullfuse, which shows what
# the kernel's FUSE leaves to anybody in the rows that send no message (nullfuse.c; only those rows). All are mounted at
# once, on new images each round, and take turns row by row, in changing order: what a shared machine does to one second,
# it does to neighbours in the same row, and each ratio is the median of those of single rounds.
# Words: ROUNDS=9 THREADS=2 FILES=8000 SYSTEMS="ext4 kfs kfs-uring nullfuse passthrough fuse2fs" tests/bench/metadata.sh
# fuse2fs, which takes as long as all others together, joins every third round.
# kfs is served through /dev/fuse, kfs-uring over io_uring, where the kernel has it.
# The bars are DESIGN's: against kernel ext4 for every row (those that send messages: kfs-uring's, the best that there
# is), against fuse2fs and passthrough_ll; and 0.95 of what nullfuse reaches.

. "$(dirname "$0")/../lib/lib.sh"
need_root
need fuse2fs mke2fs
ROUNDS=${ROUNDS:-9} THREADS=${THREADS:-2} FILES=${FILES:-8000}
SYSTEMS=${SYSTEMS:-ext4 kfs kfs-uring nullfuse passthrough fuse2fs}
SLOW_EVERY=3
RESULTS=$BUILD/results
EXAMPLES=/usr/share/doc/libfuse3-dev/examples
PASSTHROUGH=$SCRATCH/passthrough_ll
mkdir -p "$RESULTS" under

build_passthrough() {
	local source=$EXAMPLES/passthrough_ll.c
	[ -e "$source" ] || skip "$source is missing: install libfuse3-dev"
	# Its author's build, from the installed package; nothing of it is kept here.
	# shellcheck disable=SC2046
	gcc -O2 -w -o "$PASSTHROUGH" -x c "$source" -I"$EXAMPLES" $(pkg-config --cflags --libs fuse3)
}

start() {
	local img=img-$1 mnt=mnt-$1
	mkdir -p "$mnt"
	case $1 in
	nullfuse) ;;
	kfs*) mkimage "$SCRATCH/$img" 2G ;;
	*) mkimage_e2 "$SCRATCH/$img" 2G -E lazy_itable_init=0,lazy_journal_init=0 ;;
	esac
	case $1 in
	ext4) mount -t ext4 -o loop "$img" "$mnt" ;;
	kfs) mount_kfs "$img" "$mnt" -o uring=off ;;
	kfs-uring) mount_kfs "$img" "$mnt" -o uring=on ;;
	nullfuse) "$BIN/tests/bench/nullfuse" "$SCRATCH/$mnt" ;;
	fuse2fs) fuse2fs "$img" "$mnt" -o fakeroot,allow_other ;;
	passthrough)
		mount -t ext4 -o loop "$img" under
		"$PASSTHROUGH" -o "source=$SCRATCH/under,cache=always,writeback,allow_other" "$mnt"
		;;
	esac
	eventually 10 mountpoint -q "$mnt" || fail "$1 did not mount"
}

stop() {
	case $1 in
	kfs*) umount_kfs "mnt-$1" && fsck_clean "img-$1" ;;
	passthrough) umount "mnt-$1" && umount under ;;
	*) umount "mnt-$1" ;;
	esac
	# fuse2fs writes after umount(8) has returned: the next round must not race with it.
	[ "$1" != fuse2fs ] || eventually 60 sh -c '! pgrep -x fuse2fs >/dev/null'
}

# What a row left to be written is not written on the next one's clock.
row() { # ROUND SYSTEM PHASE…
	local round=$1 system=$2
	shift 2
	"$BIN/tests/bench/metabench" "$SCRATCH/mnt-$system" "$THREADS" "$FILES" "$@" |
		sed "s/^/$round $system /" >>"$SCRATCH/samples"
	case $* in *create* | rename | unlink) sync -f "mnt-$system" ;; esac
}

takes_part() { # SYSTEM ROUND PHASE…
	case $1 in
	fuse2fs) [ $(($2 % SLOW_EVERY)) = 0 ] ;;
	nullfuse) case $3 in all | stat | negstat | read) ;; *) false ;; esac ;;
	esac
}

# The systems that take part in phases $2… of round $1, each round in another order.
order_of() {
	local round=$1 k system
	local -a systems
	shift
	read -ra systems <<<"$SYSTEMS"
	for ((k = 0; k < ${#systems[@]}; k++)); do
		system=${systems[(k + round) % ${#systems[@]}]}
		if takes_part "$system" "$round" "$@"; then echo "$system"; fi
	done
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
	for system in $(order_of "$r" all); do
		start "$system"
	done
	sync -f .
	for phases in create stat "drop stat1" negstat read readdirstat rename unlink; do
		# shellcheck disable=SC2086 # several words
		for system in $(order_of "$r" $phases); do
			# shellcheck disable=SC2086 # several words
			row "$r" "$system" $phases
		done
	done
	for system in $(order_of "$r" all); do
		stop "$system"
	done
done

# shellcheck disable=SC2086 # several words
python3 - "$SCRATCH/samples" "$RESULTS/bench-metadata.json" $SYSTEMS <<'PY'
import json, statistics, sys
samples, out, systems = sys.argv[1], sys.argv[2], sys.argv[3:]
rates = {}
for line in open(samples):
    round, system, row, value = line.split()
    rates.setdefault((row, system), {})[round] = float(value)
med = {key: statistics.median(values.values()) for key, values in rates.items()}
names = {"create": "create+4KiB", "stat": "warm stat", "stat1": "stat, dentries dropped", "negstat": "warm negative stat",
         "read": "warm open+read+close", "readdirstat": "warm readdir+stat", "rename": "rename", "unlink": "unlink"}
warm = {"stat": 0.8, "negstat": 0.85, "read": 0.8, "readdirstat": 0.6}
cold = {"create": 0.35, "stat1": 0.2, "rename": 0.4, "unlink": 0.4}
own = [s for s in systems if s.startswith("kfs")]
best = own[-1] if own else None

def bar_of(row, system, against):
    """Rows that send messages are judged by the best way to send them."""
    if row in warm:
        return {"ext4": warm[row], "fuse2fs": 4.0, "nullfuse": 0.95}.get(against)
    if system != best:
        return 4.0 if against == "fuse2fs" else None
    return {"ext4": cold[row], "fuse2fs": 10.0, "passthrough": 1.2}.get(against)

rows = []
print(f"{'row':24}" + "".join(f"{s:>14}" for s in systems))
for row, name in names.items():
    print(f"{name:24}" + "".join(f"{format(med[row, s], '.0f') if (row, s) in med else '-':>14}" for s in systems))
    for system in own:
        for against in systems:
            if against in own or (row, against) not in med:
                continue
            bar = bar_of(row, system, against)
            mine, theirs = rates[row, system], rates[row, against]
            ratios = sorted(mine[r] / theirs[r] for r in mine.keys() & theirs.keys())
            ratio = statistics.median(ratios)
            rows.append({"row": name if system == "kfs" else f"{name} ({system})", "value": med[row, system],
                         "unit": "ops/s", "against": against, "ratio": float(f"{ratio:.3f}"), "bar": bar,
                         "lowest": float(f"{ratios[0]:.3f}"), "highest": float(f"{ratios[-1]:.3f}"),
                         "ok": bar is None or ratio >= bar})
print(f"\n{'row':36}{'against':>14}{'ratio':>10}{'lowest':>9}{'highest':>9}{'bar':>8}")
for r in rows:
    print(f"{r['row']:36}{r['against']:>14}{r['ratio']:10.2f}{r['lowest']:9.2f}{r['highest']:9.2f}{r['bar'] or '-':>8}{'' if r['ok'] else '  MISSED'}")
json.dump(rows, open(out, "w"), indent=1)
PY
