#!/usr/bin/env bash
# timeout: 300
# What one guest may take, and who sees it: caps of inodes and locks, kfsctl status, stats and abort, lines in the log.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

VFE=$TOOLS/vhost/vfe

mkimage disk.img 64M
mount_kfs disk.img mnt -o "vhost=$PWD/s,vhost_queues=2,tag=shared,guest_nodes=20,guest_locks=8,guests_max=3"
expect_eq "$(kfsctl status --json mnt | jq -c '.guests | [.tag, .directory, .writable, .cache, .timeout_seconds, .guests_max, .connected]')" \
	'["shared","/",true,"auto",1,3,[]]' "status without a guest"
expect_eq "$(kfsctl stats --json mnt | jq -c .guests)" '[]' "stats without a guest"

"$VFE" s limits 20 8 >guest.out &
pid=$!
waits() { grep -q '^waiting$' guest.out; }
eventually 60 waits || fail "the guest does not come to its lock"
# It was offered to the ring; a moment until it is parked.
parked() { [ "$(kfsctl stats --json mnt | jq '.guests[0].lock_waiters')" = 1 ]; }
eventually 60 parked || fail "no lock waits"
expect_eq "$(kfsctl status --json mnt | jq -c ".guests.connected | map([.number, .front_end_pid == $pid, .mounted])")" '[[1,true,true]]' "status"
expect_eq "$(kfsctl stats --json mnt |
	jq -c '.guests[0] | [.nodes, .nodes_max, .locks, .locks_max, .written_bytes, .read_bytes, .malformed, .refused, .in_flight_count]')" \
	'[20,20,7,8,1000,500,0,0,1]' "what the guest holds"
expect_eq "$(kfsctl stats --json mnt | jq -c '.guests[0].opcodes | [.CREATE.requests, .CREATE.errors, .WRITE.requests, .SETLK.errors]')" '[22,1,1,1]' "requests"
expect_eq "$(kfsctl stats --json mnt | jq -r '.guests[0].in_flight[0].opcode')" SETLKW "in flight"
kfsctl status mnt >shown
grep -q 'guests  *read and write of /, tag shared, 1 of 3, cache=auto for 1 s' shown || fail "status: $(cat shown)"
grep -q "guest 1: mounted, front end pid $pid" shown || fail "status: $(cat shown)"
kfsctl stats mnt >shown
grep -q 'knows 20 of 20 nodes, holds 7 of 8 locks, waits for 1' shown || fail "stats: $(cat shown)"

# A request of a guest is the guest's: without its number there is none.
unique=$(kfsctl stats --json mnt | jq '.guests[0].in_flight[0].unique')
kfsctl abort "$unique" mnt 2>refused && fail "a guest's request was aborted without its guest"
kfsctl abort --guest=7 "$unique" mnt 2>refused && fail "a request of a guest that does not exist was aborted"
grep -q 'no such guest' refused || fail "refused with: $(cat refused)"
# Waiting for a lock is not being stuck.
expect_eq "$(kfsctl abort --guest=1 --older=0 mnt)" "nothing to abort" "abort of old ones"
kfsctl abort --guest=1 "$unique" mnt >aborted
grep -q '^aborted: SETLKW of inode' aborted || fail "abort: $(cat aborted)"
wait "$pid" || fail "the guest failed"
grep -q '^ended: Input/output error$' guest.out || fail "the guest: $(cat guest.out)"
gone() { [ "$(kfsctl stats --json mnt | jq '.guests | length')" = 0 ]; }
eventually 60 gone || fail "a guest that has gone is listed"

# A flood of lines is dammed, and others are still heard.
"$VFE" s flood 400
for kind in 'FUSE protocol' ': connected' ': disconnected'; do
	lines=$(grep -c "$kind" kfs-mnt.log)
	[ "$lines" -le 204 ] || fail "$lines lines of '$kind' in the log"
done
lines=$(wc -l <kfs-mnt.log)
[ "$lines" -le 430 ] || fail "$lines lines in the log"
umount_kfs mnt
grep -q 'closed$' kfs-mnt.log || fail "the daemon's own lines are missing"
fsck_clean disk.img
