#!/usr/bin/env bash
# The failure sweeps: run.sh [words for the programs, such as --all or "--points 20"]. Exit status 1 if a point failed.
#
# Two programs at a time; the rows of all go to BUILD/results/fault.json, equal names added up. A point that fails prints a
# line that runs it alone, at the end; add --verbose to it and it runs in one process, with the daemon's log, for a debugger.

set -eu -o pipefail
BUILD=${BUILD:-build}
mkdir -p "$BUILD/results" "$BUILD/tmp"
export TMPDIR=${TMPDIR:-$BUILD/tmp}
[ $# -gt 0 ] || set -- --all

part() { # NAME PROGRAM WORDS…
	local name=$1 program=$2
	shift 2
	"$BUILD/bin/tests/fault/$program" "$@" --json "$BUILD/results/fault-$name.part" \
		2>"$BUILD/results/fault-$name.err" && return
	touch "$BUILD/results/fault-failed.part"
}

rm -f "$BUILD"/results/fault-*.part "$BUILD"/results/fault-*.err
part fs0 sweep-fs --part 0/2 "$@" &
first=$!
part fs1 sweep-fs --part 1/2 "$@"
part mkfs sweep-mkfs "$@"
wait "$first"
status=0
[ ! -e "$BUILD/results/fault-failed.part" ] || status=1
rm -f "$BUILD/results/fault-failed.part"
jq -s 'add | group_by(.row) | map(.[0] + { value: (map(.value) | add), ok: all(.ok) })' \
	"$BUILD"/results/fault-*.part >"$BUILD/results/fault.json" || status=1
rm -f "$BUILD"/results/fault-*.part
jq -r '.[] | select(.row | startswith("all") or . == "cpu") | "\(.row): \(.value) \(.unit)"' "$BUILD/results/fault.json"
cat "$BUILD"/results/fault-*.err >&2
rm -f "$BUILD"/results/fault-*.err
exit "$status"
