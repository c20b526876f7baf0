#!/usr/bin/env bash
# Part of make COV=1 check: workloads and cuts, few of each, over logs that wrap, full images and every setting.
# timeout: 900
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs e2fsck

"$TOOLS/crash" --dir "$SCRATCH" --fast --count 4 --subsets 2 --torn 1 --jobs 2
"$TOOLS/crash" --dir "$SCRATCH" --lengths 1 --every 23 --subsets 1 --torn 1 --kernel 0 --jobs 2
"$TOOLS/crash" --dir "$SCRATCH" --lengths any --count 1 --subsets 2 --torn 1 --kernel 0 --jobs 2
