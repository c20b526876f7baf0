#!/usr/bin/env bash
# A test of the tests: kfs broken on purpose in one place at a time (a barrier removed, a revoke ignored, a checksum not
# verified, ...), and each time the unit tests or the power cuts have to notice. All of it: make mutants.
# timeout: 900
. "$(dirname "$0")/../lib/lib.sh"
need python3 mke2fs e2fsck
if grep -qs -e -fsanitize -e --coverage "$BUILD/flags.stamp"; then
	skip "sanitizers and coverage slow the catchers down, and say nothing more of them"
fi
mkdir -p "$BUILD/results"
python3 "$TOP/tests/mutants/run.py" --quick --build "$BUILD" --dir "$SCRATCH/mutants" --json "$BUILD/results/mutants.json" ||
	fail "a deliberately broken kfs passes the tests"
