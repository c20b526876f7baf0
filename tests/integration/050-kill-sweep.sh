#!/usr/bin/env bash
# kill -9 of the daemon under load, 20 times (make kill: as often as one likes): what fsync, fdatasync and SQLite's COMMIT
# had acknowledged is there after replay by kfs, e2fsck or the kernel, and e2fsck has nothing to say. KILLS and SEED as in
# make kill; a failing round says how to run it alone.
# timeout: 600
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3 e2fsck tar

mkdir -p "$BUILD/results"
python3 "$TOP/tests/kill/run.py" --kills "${KILLS:-20}" --seed "${SEED:-1}" --dir "$SCRATCH" \
	--commit "$(git -C "$TOP" describe --always --dirty 2>/dev/null || echo unknown)" --json "$BUILD/results/kill.json" ||
	fail "what was acknowledged is not there, or the image is not clean"
