#!/usr/bin/env bash
# Instructions a read takes, by the daemon and from extents:  tests/vm/vm.sh --icount bash tests/vm/bench-extents.sh
# Fails if the daemon was asked, and in the end if a read of 4 KiB from extents costs more than 6.3k.

set -eu
export PATH="$BUILD/bin:$PATH"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p /tmp/kfs
cd /tmp/kfs
insmod "$VM_FUSEBPF"

missed=""

reads() {
	kfsctl stats --json m | jq '.transports[0].opcodes.READ.requests // 0'
}

# row EXTENTS WAY BYTES COUNT: prints instructions a read and READs that the daemon saw.
row() {
	local before cost sent
	before=$(reads)
	cost=$("$BUILD/bin/tests/readcost" m/f "$2" "$3" "$4")
	sent=$(($(reads) - before))
	printf '%-10s %-7s %7d bytes %8d instructions, %5d READs of %d\n' "$1" "$2" "$3" "$cost" "$sent" "$4"
	if [ "$1" = extents ] && [ "$sent" -gt 0 ]; then
		echo "failed: the daemon was asked"
		exit 1
	fi
	if [ "$1 $2 $3" = "extents direct 4096" ] && [ "${VM_ICOUNT:-}" ] && [ "$cost" -gt 6300 ]; then
		missed="failed: more than 6300 instructions a read of 4 KiB"
	fi
}

mkfs.kfs -q -b 4096 disk.img 64M
mkdir -p m
for mode in off on; do
	kfs disk.img m -o "bpf=on,bpf_extents=$mode,noatime"
	if [ $mode = off ]; then
		dd if=/dev/urandom of=m/f bs=1M count=8 conv=fsync status=none
		label=daemon
	else
		label=extents
	fi
	# Every block of the image is in memory, and known.
	dd if=m/f of=/dev/null bs=1M iflag=direct status=none
	row $label direct 4096 2000
	row $label direct 131072 200
	umount m
done
e2fsck -fn disk.img >/dev/null
bash "$HERE/unload.sh"
if [ "$missed" ]; then
	echo "$missed"
	exit 1
fi
