#!/usr/bin/env bash
# run.sh BUILD: every harness under libFuzzer for FUZZ_S seconds (60), JOBS (2) at a time; with FUZZ=WORD those whose name
# holds it. Inputs found are kept in FUZZ_CORPUS (BUILD/corpus), so that the next run goes on from there. Prints and writes
# to build/results/fuzz.json what ran; a crash leaves its input beside the log and fails the run.
#
#   run.sh BUILD merge    instead: cut what was found down to the inputs that add coverage, and put CORPUS_FILES_MAX of
#                         each harness, small and large, into tests/fuzz/corpus

set -euo pipefail
BUILD=${1:?usage: run.sh BUILD [merge]}
cd "$(dirname "$0")/../.."
FUZZ_S=${FUZZ_S:-60}
CORPUS=${FUZZ_CORPUS:-$BUILD/corpus}
LOGS=$BUILD/logs
RESULTS=build/results/fuzz.json
FUZZ_TIMEOUT_S=10
RSS_MB_MAX=2048
INPUT_BYTES_MAX=1024
CORPUS_FILES_MAX=40
CORPUS_INPUT_MAX=400
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1

harnesses() {
	local program name
	for program in "$BUILD"/bin/fuzz/*_fuzz; do
		name=${program##*/}
		name=${name%_fuzz}
		case $name in *"${FUZZ:-}"*) echo "$name" ;; esac
	done
}

fuzz_one() { # NAME
	local name=$1 status=0 TIMEFORMAT='%U %S'
	local -a dictionary=()
	mkdir -p "$CORPUS/$name" "$LOGS/$name"
	if [ -e "tests/fuzz/$name.dict" ]; then dictionary=("-dict=tests/fuzz/$name.dict"); fi
	{
		time "$BUILD/bin/fuzz/${name}_fuzz" "-max_total_time=$FUZZ_S" "-timeout=$FUZZ_TIMEOUT_S" \
			"-rss_limit_mb=$RSS_MB_MAX" "-max_len=$INPUT_BYTES_MAX" "-artifact_prefix=$LOGS/$name/" \
			-print_final_stats=1 "${dictionary[@]}" "$CORPUS/$name" "tests/fuzz/corpus/$name" \
			>"$LOGS/$name.log" 2>&1 </dev/null || status=$?
	} 2>"$LOGS/$name.time"
	echo "$status" >"$LOGS/$name.status"
}

stat_of() { # NAME WORD: the last figure that libFuzzer printed for it
	grep -oE "$2:? *[0-9]+" "$LOGS/$1.log" | tail -n 1 | grep -oE '[0-9]+$' || echo 0
}

# What it had of a processor, which beside other work is less than FUZZ_S.
cpu_s_of() { # NAME
	awk '{ printf "%.0f", $1 + $2 }' "$LOGS/$1.time"
}

row() { # NAME VALUE OK
	printf '\n{"row": "%s", "value": %s, "unit": "1", "against": null, "ratio": null, "bar": null, "ok": %s}' "$@"
}

report() {
	local name status runs features edges cpu_s ok result worst=0 total=0 total_cpu_s=0
	local -a rows=()
	mkdir -p "${RESULTS%/*}"
	printf '%-10s %12s %8s %9s %8s  %s\n' harness executions edges features "cpu s" result
	for name; do
		status=$(cat "$LOGS/$name.status")
		runs=$(stat_of "$name" 'stat::number_of_executed_units')
		# After a crash there are no final figures.
		if [ "$runs" = 0 ]; then runs=$(grep -oE '^#[0-9]+' "$LOGS/$name.log" | tail -n 1 | tr -d '#' || echo 0); fi
		features=$(stat_of "$name" ' ft')
		edges=$(stat_of "$name" ' cov')
		ok=true result=ok
		if [ "$status" != 0 ]; then ok=false worst=1 result="FAILED: $LOGS/$name.log, $LOGS/$name/"; fi
		cpu_s=$(cpu_s_of "$name")
		total=$((total + runs)) total_cpu_s=$((total_cpu_s + cpu_s))
		printf '%-10s %12s %8s %9s %8s  %s\n' "$name" "$runs" "$edges" "$features" "$cpu_s" "$result"
		rows+=("$(row "$name executions" "$runs" "$ok")" "$(row "$name features" "$features" "$ok")")
	done
	(
		IFS=,
		printf '[%s\n]\n' "${rows[*]}" >"$RESULTS"
	)
	echo "$total executions of $# harnesses in $total_cpu_s s of processor time; commit $(git describe --always --dirty 2>/dev/null || echo unknown); $RESULTS"
	return "$worst"
}

# Every so-manieth by size: the small ones alone would be the shallow ones.
merge_one() { # NAME
	local name=$1 target=tests/fuzz/corpus/$1 found files=0 bytes=0 size file number=0 step
	local -a sizes
	found=$(mktemp -d)
	mkdir -p "$target"
	"$BUILD/bin/fuzz/${name}_fuzz" -merge=1 "-timeout=$FUZZ_TIMEOUT_S" "-max_len=$INPUT_BYTES_MAX" \
		"$found" "$target" "$CORPUS/$name" >"$LOGS/$name.merge.log" 2>&1 </dev/null
	# Those that keep a hash for a name are replaced; past crashes stay.
	find "$target" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
	mapfile -t sizes < <(find "$found" -type f -size "-${CORPUS_INPUT_MAX}c" -printf '%s %p\n' | sort -n)
	step=$(((${#sizes[@]} + CORPUS_FILES_MAX - 1) / CORPUS_FILES_MAX))
	while read -r size file; do
		number=$((number + 1))
		[ $((number % step)) -eq 0 ] || continue
		cp "$file" "$target/"
		files=$((files + 1)) bytes=$((bytes + size))
	done < <(printf '%s\n' "${sizes[@]}")
	rm -rf "$found"
	echo "$name: $files inputs, $bytes bytes"
}

mapfile -t names < <(harnesses)
[ "${#names[@]}" -gt 0 ] || { echo "run.sh: no harness's name holds '${FUZZ:-}'" >&2; exit 2; }
mkdir -p "$LOGS"
if [ "${2:-}" = merge ]; then
	for name in "${names[@]}"; do merge_one "$name"; done
	exit
fi
for name in "${names[@]}"; do
	mkdir -p "tests/fuzz/corpus/$name"
	while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-2}" ]; do wait -n; done
	fuzz_one "$name" &
done
wait
report "${names[@]}"
