#!/usr/bin/env bash
# Part of make COV=1 check: one failing call in each row of the failure sweeps, and more of failing allocations, which
# have most branches.
# timeout: 900
. "$(dirname "$0")/../lib/lib.sh"
need e2fsck mke2fs

export TMPDIR=$SCRATCH
"$TOOLS/fault/sweep-fs" --points 1
"$TOOLS/fault/sweep-fs" --kind alloc --points 12
