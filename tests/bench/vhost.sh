#!/bin/bash
# What guests' requests cost: kfs beside the two virtiofsds, C (QEMU 7.2's) and Rust (1.14), each pinned to a processor,
# with a front end of our own in the guest's place (vhostbench.c). kfs serves an image; the others a folder of kernel
# ext4, loop-mounted from an image of the same kind in the same folder. All have a journal, and files are opened.
# All are up at once and take turns of milliseconds, row by row in changing order: what a shared machine does to one, it
# does to its neighbours; each ratio is the median of those of single rounds, against the better of the two.
# Words: ROUNDS=9 SLICE_MS=30 LAYOUTS="one two" FILE_MIB=64 ONLY=row POLL=us tests/bench/vhost.sh
# Layouts: one, the front end and the back ends on one processor; two, the back ends on another than the front end.
# Who is absent is left out, with a line.

. "$(dirname "$0")/../lib/lib.sh"
. "$TOP/tests/bench/peers.sh"
need_root
need taskset nproc
need_kernel_ext4
ROUNDS=${ROUNDS:-9} SLICE_MS=${SLICE_MS:-30} LAYOUTS=${LAYOUTS:-one two} ONLY=${ONLY:-}
FILE_MIB=${FILE_MIB:-64}
FRONT_CPU=1 OTHER_CPU=0
[ "$(nproc)" -ge 2 ] || FRONT_CPU=0
RESULTS=$BUILD/results
mkdir -p "$RESULTS"

# In the foreground, as they are: sessions of their own would be scheduled as groups of their own.
start_kfs() {
	mkimage kfs.img 2G
	kfs -f --no-mount "$SCRATCH/kfs.img" -o "vhost=$SCRATCH/kfs.s,log=$SCRATCH/kfs.log${POLL:+,vhost_poll=$POLL}" &
	PIDS+=($!)
	eventually 10 test -S kfs.s || fail "kfs does not listen: $(cat kfs.log)"
}

start() {
	if [ "$1" = kfs ]; then
		start_kfs
	else
		mkimage "$1.img" 2G
		kmount "$1.img" "$1.dir"
		start_peer "$1" "$SCRATCH/$1.s"
	fi
}

run_layout() { # NAME CPU-OF-BACK-ENDS
	local system words=()
	for system in "${SYSTEMS[@]}"; do
		start "$system"
		words+=("$system=$SCRATCH/$system.s")
	done
	for pid in "${PIDS[@]}"; do taskset -apc "$2" "$pid" >/dev/null; done
	"$BIN/tests/bench/vhostbench" --rounds "$ROUNDS" --slice "$SLICE_MS" --cpu "$FRONT_CPU" --file "$FILE_MIB" ${ONLY:+--only "$ONLY"} "${words[@]}" |
		sed "s/^/$1 /" >>samples
	stop_peers
	check_peers
}

find_peers
: >samples
echo "load before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
for layout in $LAYOUTS; do
	case $layout in
	one) run_layout one "$FRONT_CPU" ;;
	two) run_layout two "$OTHER_CPU" ;;
	*) fail "LAYOUTS: $layout: say one or two" ;;
	esac
done
echo "load after: $(cut -d ' ' -f 1-3 /proc/loadavg)"

python3 - samples "$RESULTS/bench-vhost.json" "${SYSTEMS[@]}" <<'PY'
import json, statistics, sys
samples, out, systems = sys.argv[1], sys.argv[2], sys.argv[3:]
names = {"nothing": ("an unknown request", None), "getattr": ("GETATTR", 1.2), "getattr-32": ("GETATTR, depth 32", None), "lookup": ("LOOKUP, present", 1.4),
         "lookup-absent": ("LOOKUP, absent", 1.4), "open": ("OPEN+RELEASE", 1.4), "read-4k": ("READ 4K", 1.25),
         "read-4k-32": ("READ 4K, depth 32", 2), "read-128k": ("READ 128K", 1.5), "create": ("CREATE+RELEASE", 1.8),
         "unlink": ("UNLINK", 1.2), "forget": ("FORGET of what was unlinked", None)}
# How many answers one operation waits for, one after the other. What kfs takes for so many requests that it knows nothing
# about is what a back end that does nothing would take: its ratio is the ceiling, below which copying comes on top.
answers = {"getattr": 1, "lookup": 1, "lookup-absent": 1, "open": 2, "read-4k": 1, "read-128k": 1, "create": 2, "unlink": 1}
rates = {}
for line in open(samples):
    layout, round, system, row, value = line.split()
    rates.setdefault((layout, row), {}).setdefault(system, {})[round] = float(value)
peers = [s for s in systems if s != "kfs"]
rows = []
print(f"{'processors: row':36}" + "".join(f"{s:>10}" for s in systems) + f"{'against':>9}{'ratio':>8}{'lowest':>8}{'highest':>8}{'ceiling':>9}{'bar':>7}")
for (layout, row), of in rates.items():
    name, bar = names[row]
    med = {s: statistics.median(of[s].values()) for s in systems}
    best = max(peers, key=med.get) if peers else None
    ratios = sorted(v / of[best][r] for r, v in of["kfs"].items()) if best else []
    ratio = statistics.median(ratios) if best else None
    nothing = rates.get((layout, "nothing"), {}).get("kfs", {})
    ceilings = [v / answers[row] / of[best][r] for r, v in nothing.items()] if best and row in answers else []
    ceiling = statistics.median(ceilings) if ceilings else None
    rows.append({"row": f"{name} ({layout})", "value": med["kfs"], "unit": "ops/s", "against": best, "ratio": ratio and float(f"{ratio:.3f}"),
                 "bar": bar if best else None, "lowest": best and float(f"{ratios[0]:.3f}"), "highest": best and float(f"{ratios[-1]:.3f}"),
                 "ceiling": ceiling and float(f"{ceiling:.3f}"),
                 "peers": {s: med[s] for s in peers}, "ok": bar is None or best is None or ratio >= bar})
    text = f"{ratio:8.2f}{ratios[0]:8.2f}{ratios[-1]:8.2f}" if best else f"{'-':>8}" * 3
    print(f"{layout + ': ' + name:36}" + "".join(f"{med[s]:10.0f}" for s in systems) +
          f"{best or '-':>9}{text}{f'{ceiling:.2f}' if ceiling else '-':>9}{bar or '-':>7}{'' if rows[-1]['ok'] else '  MISSED'}")
json.dump(rows, open(out, "w"), indent=1)
PY
