#!/usr/bin/env bash
# Part of make COV=1 check: one failing call in each row of the failure sweeps, and more of failing allocations, which
# have most branches.
# timeout: 900
. "$(dirname "$0")/../lib/lib.sh"
need e2fsck mke2fs

export TMPDIR=$SCRATCH
"$TOOLS/fault/sweep-fs" --points 1
# Not attrs: where deleting a file with EA inodes fails, e2fsck -fp clears the orphan and then stops at its EA inodes.
for load in replay replay-orphanfile names htree inline indirect orphanfile; do
	"$TOOLS/fault/sweep-fs" --load "$load" --kind alloc --points 25
done
