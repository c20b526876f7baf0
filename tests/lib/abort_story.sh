# shellcheck shell=bash
# abort_story.sh on|off: storage that hangs, as a mount sees it whose requests come over io_uring, or do not. For 760 and 762,
# after lib.sh and storage.sh.
ABORT_URING=$1
need_root
need jq python3 flock taskset
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

# in_flight FILTER: of the mount's requests, by jq
in_flight() {
	timeout 60 kfsctl stats --json m | jq -r "[.transports[].in_flight[] | select(.opcode != \"FORGET\")] | $1"
}
# stuck N FILTER: so many requests of that kind are in flight
stuck() {
	[ "$(in_flight "map(select($2)) | length")" -ge "$1" ]
}
abort_all() {
	timeout 60 kfsctl abort --older=0 m >>abort.txt
}
ended() {
	! kill -0 "$1" 2>/dev/null
}
# aborted_until_ended PID…: those that queued behind the aborted get stuck next.
all_ended() {
	local pid
	abort_all
	for pid; do ended "$pid" || return 1; done
}

mkimage file 64M
storage_start file
mount_kfs storage/image m -o uring="$ABORT_URING",request_timeout=1,max_threads=4
log=$SCRATCH/kfs-m.log
python3 -c 'import os; os.write(1, os.urandom(1 << 20))' >content
cp content m/content
dd if=content of=m/other bs=64k count=1 status=none
kfsctl sync m
sync m/content m/other

# ---- reading: all threads stuck ----
storage stall read
readers=()
for i in 1 2 3 4 5 6; do
	# All on one processor: io_uring has threads for each.
	taskset -c 0 dd if=m/content of=/dev/null bs=4k count=1 skip=$((i * 10)) iflag=direct 2>"reader-$i.txt" &
	readers+=($!)
done
eventually 60 stuck 4 '.opcode == "READ" and .aborted == false' || fail "no stuck reads: $(in_flight .)"
expect_eq "$(timeout 60 kfsctl status --json m | jq -r .readonly)" false "status while all threads are stuck"
ino=$(stat -c %i m/content)
expect_eq "$(in_flight "map(select(.ino == $ino and .age_ns > 0 and .generation >= 0 and .unique > 0)) | length > 0")" true "inode, age and number of a stuck read"
said() {
	grep -q "READ of inode $ino) has had no answer for [0-9]* s: .*kfsctl abort" "$log"
}
eventually 60 said || fail "the log does not tell: $(cat "$log")"
long_ago() {
	timeout 60 kfsctl stats m | grep -q "in flight: READ of inode $ino for [0-9.]* s (unique [0-9]*)"
}
eventually 60 long_ago || fail "$(kfsctl stats m)"

# One of them, by its number.
first=$(in_flight 'map(select(.opcode == "READ"))[0].unique')
timeout 60 kfsctl abort "$first" m >one.txt
grep -q "^aborted: READ of inode $ino after .* (unique $first)$" one.txt || fail "$(cat one.txt)"
one_ended() {
	[ "$(cat reader-*.txt | grep -c 'Input/output error')" -eq 1 ]
}
eventually 60 one_ended || fail "the caller of the aborted read: $(cat reader-*.txt)"
expect_failure timeout 60 kfsctl abort "$first" m 2>again.txt
grep -q 'aborted before' again.txt || fail "$(cat again.txt)"
expect_failure timeout 60 kfsctl abort 999999999 m 2>again.txt
grep -q 'no such request' again.txt || fail "$(cat again.txt)"
expect_eq "$(in_flight "map(select(.unique == $first and .aborted)) | length")" 1 "the aborted one is still shown"

# The others, however many queue behind.
eventually 60 all_ended "${readers[@]}" || fail "readers hang: $(in_flight .)"
for pid in "${readers[@]}"; do expect_failure wait "$pid"; done
expect_eq "$(cat reader-*.txt | grep -c 'Input/output error')" 6 "readers with an error"
# More threads are stuck than the mount may have; requests that need no storage go on.
expect_eq "$(in_flight 'map(select(.aborted)) | length')" 6 "stuck threads"
timeout 60 touch m/made-meanwhile
timeout 60 test ! -e m/absent-meanwhile
timeout 60 setfattr -n user.a -v b m/made-meanwhile
storage go read
none_in_flight() {
	[ "$(in_flight length)" -eq 0 ]
}
eventually 60 none_in_flight || fail "still in flight: $(in_flight .)"
expect_eq "$(kfsctl stats --json m | jq '[.transports[].aborted] | add')" 6 "aborted requests counted"
expect_eq "$(grep -c 'has had no answer' "$log")" "$(grep 'has had no answer' "$log" | sed 's/.*request \([0-9]*\) .*/\1/' | sort -u | wc -l)" "lines for each request"
cmp content m/content

# ---- writing: what is stuck is done late, what waits behind it is not done ----
for letter in a b c; do head -c 4096 /dev/zero | tr '\0' "$letter" >"block-$letter"; done
storage stall write
dd if=block-a of=m/content bs=4k count=1 conv=notrunc oflag=direct 2>writer-a.txt &
writer_a=$!
eventually 60 stuck 1 '.opcode == "WRITE" and .aborted == false' || fail "no stuck write: $(in_flight .)"
eventually 60 all_ended "$writer_a" || fail "the writer hangs"
expect_failure wait "$writer_a"
# Its thread holds the inode; the next one waits for it, and is given up, too.
dd if=block-b of=m/content bs=4k count=1 conv=notrunc oflag=direct 2>writer-b.txt &
writer_b=$!
eventually 60 stuck 1 '.opcode == "WRITE" and .aborted == false' || fail "no second stuck write: $(in_flight .)"
eventually 60 all_ended "$writer_b" || fail "the second writer hangs"
expect_failure wait "$writer_b"
grep -q 'Input/output error' writer-a.txt writer-b.txt || fail "$(cat writer-a.txt writer-b.txt)"
storage go write
eventually 60 none_in_flight || fail "still in flight: $(in_flight .)"
cmp -n 4096 block-a m/content || fail "a write that was aborted before it began overtook the one before it"
dd if=block-c of=m/content bs=4k count=1 conv=notrunc,fsync oflag=direct status=none
cmp -n 4096 block-c m/content

# ---- fsync ----
storage stall flush
echo more >>m/other
python3 -c 'import os; os.fsync(os.open("m/other", os.O_RDONLY))' 2>fsync.txt &
syncer=$!
eventually 60 stuck 1 '.opcode == "FSYNC"' || fail "no stuck fsync: $(in_flight .)"
eventually 60 all_ended "$syncer" || fail "fsync hangs"
expect_failure wait "$syncer"
grep -q 'Input/output error' fsync.txt || fail "$(cat fsync.txt)"
storage go flush
eventually 60 none_in_flight || fail "still in flight: $(in_flight .)"
sync m/other

# ---- a change that is made after its caller was given an error is seen all the same ----
umount_kfs m
mount_kfs storage/image m -o uring="$ABORT_URING",request_timeout=1,dirsync
timeout 60 test ! -e m/late
storage stall flush
mkdir m/late 2>mkdir.txt &
maker=$!
eventually 60 stuck 1 '.opcode == "MKDIR"' || fail "no stuck mkdir: $(in_flight .)"
eventually 60 all_ended "$maker" || fail "mkdir hangs"
expect_failure wait "$maker"
storage go flush
eventually 60 none_in_flight || fail "still in flight: $(in_flight .)"
eventually 60 test -d m/late || fail "the kernel still believes that there is no such folder"
rmdir m/late
umount_kfs m

# ---- a lock that waits; --older leaves it alone ----
mount_kfs storage/image m -o uring="$ABORT_URING",share=on
: >m/lock
exec 8>m/lock
flock 8
# Not flock(1), which opens the file once more after EIO and tries again.
python3 -c 'import fcntl; fcntl.flock(open("m/lock", "r+"), fcntl.LOCK_EX)' 2>waiter.txt &
waiter=$!
eventually 60 stuck 1 '.opcode == "SETLKW"' || fail "no waiting lock: $(in_flight .)"
abort_all
expect_eq "$(in_flight 'map(select(.opcode == "SETLKW")) | length')" 1 "a waiting lock after --older"
timeout 60 kfsctl abort --json "$(in_flight 'map(select(.opcode == "SETLKW"))[0].unique')" m >lock.json
expect_eq "$(jq -r '.aborted[0].opcode' lock.json)" SETLKW "the aborted lock"
eventually 60 ended "$waiter" || fail "the waiter hangs"
expect_failure wait "$waiter"
grep -q 'Input/output error' waiter.txt || fail "$(cat waiter.txt)"
expect_eq "$(kfsctl stats --json m | jq '.locks.waiting, .locks.held' | paste -sd' ')" "0 1" "locks waited for and held"
exec 8>&-
timeout 60 flock m/lock true

# ---- usage ----
expect_status 2 kfsctl abort 2>/dev/null
expect_status 2 kfsctl abort x m 2>/dev/null
expect_status 2 kfsctl abort --older=1 5 m 2>/dev/null
expect_status 2 kfsctl status --older=1 m 2>/dev/null
umount_kfs m
storage_stop
fsck_clean file
