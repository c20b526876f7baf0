#!/usr/bin/env bash
# A bounded part of the failure sweeps (make fault does all of them): some of the allocations, reads, writes, flushes,
# discards and threads of each workload fail, once and for good.
# timeout: 600
. "$(dirname "$0")/../lib/lib.sh"

need e2fsck mke2fs jq
points=3
# Sanitizers make each point ten times as dear; their reports matter, not the number.
case $BUILD in *san-*) points=1 ;; esac
BUILD=$BUILD TMPDIR=$SCRATCH "$TOP/tests/fault/run.sh" --points "$points"
# Each of its links has one allocation after which its block once had no owner: a few points would miss them all.
TMPDIR=$SCRATCH "$BIN/tests/fault/sweep-fs" --points 40 --load symlinks-long --kind alloc --errno ENOMEM
