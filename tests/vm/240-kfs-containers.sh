#!/usr/bin/env bash
# Mounts with BPF programs and containers: made inside of one, lent to one, wanted by one that may not.
# timeout: 900

set -eu
export PATH="$BUILD/bin:$PATH"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p /tmp/kfs
cd /tmp/kfs
insmod "$VM_FUSEBPF"
python3 -u "$HERE/kfs_containers.py" "$@"
[ ! -e /sys/fs/bpf/kfs ] || {
	echo "failed: pins are left: $(find /sys/fs/bpf/kfs)"
	exit 1
}
bash "$HERE/unload.sh"
