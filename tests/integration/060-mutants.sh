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
# Their scratch folders have long names in a tree that has one: a socket in them needs a short one all the same.
long=$SCRATCH/$(printf '%0107d' 0)
mkdir "$long"
for program in vhost/guest_test daemon/ctl/server_test; do
	TMPDIR=$long "$BUILD/bin/tests/unit/$program" >"$SCRATCH/log" || fail "$program fails in a folder whose name is long: $(cat "$SCRATCH/log")"
done
python3 "$TOP/tests/mutants/run.py" --quick --build "$BUILD" --dir "$SCRATCH/mutants" --json "$BUILD/results/mutants.json" ||
	fail "a deliberately broken kfs passes the tests"
