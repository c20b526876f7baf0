#!/usr/bin/env bash
# A tree of files whose dentries are gone, on kernel ext4, kfs with and without programs, and fuse2fs: what stat, find, ls and
# git cost, in instructions, and how many requests they send. Then how much of a million files tables of some sizes know:
#	tests/vm/vm.sh --icount --memory 4G --timeout 3600 bash tests/vm/bench-tree.sh
# KFS_VM_FILES=N: so many files, 2000 unless said otherwise (by "env KFS_VM_FILES=N bash ...").

set -eu
export PATH="$BUILD/bin:$PATH"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -n "$VM_ICOUNT" ] || echo "without --icount these are nanoseconds, not instructions"
mkdir -p /tmp/kfs
cd /tmp/kfs
insmod "$VM_FUSEBPF"
python3 -u "$HERE/kfs_tree.py"
