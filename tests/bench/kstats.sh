#!/bin/bash
# What counting in the kernel (kstats=on) costs: one mount, the programs switched off and on in turns, row by row, so that
# each ratio compares neighbours in time. The ratio is rate on / rate off, the median of those of single rounds.
# Words: ROUNDS=15 THREADS=2 FILES=4000 TRANSPORTS="dev uring" tests/bench/kstats.sh

. "$(dirname "$0")/../lib/lib.sh"
need_root
ROUNDS=${ROUNDS:-15} THREADS=${THREADS:-2} FILES=${FILES:-4000}
TRANSPORTS=${TRANSPORTS:-dev uring}
RESULTS=$BUILD/results
mkdir -p "$RESULTS"

# Names of metabench; "drop" prepares and is not measured.
ROWS=(stat negstat read "drop stat1")

measure() { # TRANSPORT ROUND SWITCH
	local row
	kfsctl stats --kernel="$3" m
	for row in "${ROWS[@]}"; do
		# shellcheck disable=SC2086 # several words
		"$BIN/tests/bench/metabench" "$SCRATCH/m" "$THREADS" "$FILES" $row | sed "s/^/$1 $2 $3 /" >>samples
	done
}

: >samples
for transport in $TRANSPORTS; do
	case $transport in
	dev) words=uring=off ;;
	uring)
		words=uring=on
		[ -e "$URING_SWITCH" ] || continue
		need_uring
		;;
	*) fail "no transport: $transport" ;;
	esac
	mkimage a.img 1G
	mount_kfs a.img m -o "$words"
	"$BIN/tests/bench/metabench" "$SCRATCH/m" "$THREADS" "$FILES" create >/dev/null
	sync -f m
	kfsctl stats --kernel=on m || exit 0 # it said why there is nothing to measure
	missing=$(kfsctl stats --json m | jq -r .kernel.functions_missing)
	[ -z "$missing" ] || echo "not counted here, and so not in the price: $missing"
	for ((r = 0; r < ROUNDS; r++)); do
		if ((r % 2)); then order="on off"; else order="off on"; fi
		for switch in $order; do measure "$transport" "$r" "$switch"; done
	done
	umount_kfs m
	fsck_clean a.img
done

python3 - samples "$RESULTS/bench-kstats.json" <<'PY'
import json, statistics, sys
rates = {}
for line in open(sys.argv[1]):
    transport, round, switch, row, value = line.split()
    rates.setdefault((transport, row), {}).setdefault(round, {})[switch] = float(value)
names = {"stat": "warm stat", "stat1": "stat, dentries dropped", "negstat": "warm negative stat", "read": "warm open+read+close"}
rows = []
print(f"{'row':36}{'off':>12}{'on':>12}{'ratio':>9}{'lowest':>9}{'highest':>9}")
for (transport, row), rounds in rates.items():
    pairs = [r for r in rounds.values() if len(r) == 2]
    ratios = sorted(r["on"] / r["off"] for r in pairs)
    off, on = (statistics.median(r[s] for r in pairs) for s in ("off", "on"))
    name = f"{names[row]} ({transport}), counted"
    ratio = statistics.median(ratios)
    rows.append({"row": name, "value": on, "unit": "ops/s", "against": "not counted", "ratio": float(f"{ratio:.3f}"),
                 "bar": None, "lowest": float(f"{ratios[0]:.3f}"), "highest": float(f"{ratios[-1]:.3f}"), "ok": True})
    print(f"{name:36}{off:12.0f}{on:12.0f}{ratio:9.3f}{ratios[0]:9.3f}{ratios[-1]:9.3f}")
json.dump(rows, open(sys.argv[2], "w"), indent=1)
PY
