#!/usr/bin/env bash
# The kernel reads files from their extents in the image by itself: no request, no other byte than the daemon would give.
# timeout: 1800
# vm: --multi
#
# KFS_VM_OPS=N: so many random operations of each differential run. KFS_VM_STORM_S=N: seconds of each storm.

set -eu
export PATH="$BUILD/bin:$PATH"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p /tmp/kfs
cd /tmp/kfs
insmod "$VM_FUSEBPF"
python3 -u "$HERE/kfs_extents.py" "$@"
bash "$HERE/unload.sh"
