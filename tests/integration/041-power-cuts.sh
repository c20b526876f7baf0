#!/usr/bin/env bash
# timeout: 1800
# Power cuts at every write of every single operation (synced in one or two of the three ways), in every setting, and of
# some drawn sequences where logs wrap and images are full. The whole of it: make crash.
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs e2fsck

explore() { # NAME OPTION…
	local name=$1
	shift
	"$TOOLS/crash" --dir "$SCRATCH" --json "$BUILD/results/crash-$name.json" "$@"
}

explore single --lengths 1 --every 2 --subsets 4 --torn 1 --kernel 300
explore heavy --fast --count 10 --subsets 8 --torn 2
explore drawn --lengths any --settings 1k,4k,inline,nocsum,indirect,orphan_file,discard --count 2 --subsets 8 --torn 2 --kernel 0
