#!/usr/bin/env bash
# A guest that moves takes its session along (DEVICE_STATE): nodeids with their counts, locks, a deleted file that is open; to
# another connection of its daemon, and to another daemon of the image. A state that is damaged anywhere, cut off, of another
# image, or whose locks others have meanwhile is refused, and the guest is as if none had come.
. "$(dirname "$0")/../lib/lib.sh"

VFE=$TOOLS/vhost/vfe

serve() { kfs --no-mount "$PWD/$1.img" -o "vhost=$PWD/$1,tag=guests,vhost_queues=2,log=$PWD/$1.log"; }
stop() {
	local pid
	pid=$(kfs_pids "$PWD/$1.img")
	kill -TERM "$pid"
	eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon of $1 does not end"
	fsck_clean "$1.img"
}

mkimage one.img 64M
mkimage two.img 64M
serve one
serve two
"$VFE" one state "$PWD/two"
stop two
grep -q 'state is not taken: it is damaged, or of another image' one.log || fail "damage is not said"
grep -q 'state is not taken: it is not as long as it says' one.log || fail "a state that was cut off is not said"
"$VFE" one save saved
stop one
serve one
"$VFE" one load saved
grep -q 'another user of the image has locked' one.log || fail "whose locks others have is not said"
stop one
if grep -q malformed one.log two.log; then fail "an honest front end was called malformed"; fi
