#!/usr/bin/env bash
# Instructions an operation takes with the daemon and its own programs, beside the bars; one that is missed is said. A request
# where the tables have to answer fails:  tests/vm/vm.sh --icount --timeout 1800 bash tests/vm/bench-kfs-bpf.sh

set -eu
export PATH="$BUILD/bin:$PATH"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ -n "$VM_ICOUNT" ] || echo "without --icount these are nanoseconds, not instructions"
mkdir -p /tmp/kfs
cd /tmp/kfs
insmod "$VM_FUSEBPF"
python3 -u "$HERE/kfs_bench.py"
