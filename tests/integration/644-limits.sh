#!/usr/bin/env bash
# timeout: 400
# At its limits: 10,000 requests queued behind a stopped daemon, the client killed in the middle of as many, too few file
# descriptors, no more memory. Calls are answered or fail with an errno that says why; the daemon and the image live on.
. "$(dirname "$0")/../lib/lib.sh"
need prlimit mountpoint
need_root
COUNT=10000
if grep -qs fsanitize=thread "$BUILD/flags.stamp"; then
	COUNT=2000
	echo "$COUNT requests instead of 10000: under the thread sanitizer a process has no room for so many threads"
fi

# A client that was just killed may still be on its way out.
umount_after_kill() { # DIR
	local pids
	pids=$(kfs_pids "$PWD/$1")
	eventually 60 umount "$PWD/$1" 2>umount.err || fail "$1 stays busy: $(tail -n 1 umount.err)"
	# shellcheck disable=SC2086 # a list of pids
	eventually "$RELEASE_SECONDS_MAX" all_gone $pids || fail "the daemon (pid $pids) outlives its mount"
	forget_mount "$PWD/$1"
}

# ---- requests ----


connection() {
	echo "/sys/fs/$([ "$(tier_told)" = bpf ] && echo fusebpf || echo fuse)/connections/$(mountpoint -d mnt | cut -d: -f2)/waiting"
}

queued_are() { [ "$(cat "$1")" -ge "$2" ]; }
none_queued() { [ "$(cat "$queue")" = 0 ]; }

# Starts the crowd behind the stopped daemon; returns when all its requests wait.
crowd_waits() { # DIR
	: >crowd.out
	kill -STOP "$pid"
	"$TOOLS/crowd" "$1" "$COUNT" >crowd.out 2>crowd.err &
	crowd=$!
	eventually 60 grep -q ready crowd.out || crowd_failed
	if [ -e "$queue" ]; then
		eventually 60 queued_are "$queue" "$COUNT" || {
			echo "only $(cat "$queue") requests wait" >>crowd.err
			kill -KILL "$crowd"
			crowd_failed
		}
	fi
}

crowd_failed() {
	kill -CONT "$pid"
	wait "$crowd" || :
	if grep -q 'threads, then' crowd.err; then skip "so many threads are not allowed here: $(cat crowd.err)"; fi
	fail "the crowd did not come together: $(cat crowd.err)"
}

mkimage a.img 256M -N 40000
mount_kfs a.img mnt
pid=$(kfs_pids "$PWD/mnt")
queue=$(connection)
for ((k = 0; k < COUNT; k += 100)); do mkdir -p "mnt/one/$k" "mnt/two/$k"; done

crowd_waits mnt/one
kill -CONT "$pid"
wait "$crowd" || fail "not all were answered: $(tail -n 1 crowd.out)"
expect_eq "$(find mnt/one -type f | wc -l)" "$((COUNT / 100))" "files made by the crowd"

crowd_waits mnt/two
kill -KILL "$crowd"
sleep 0.2
kill -CONT "$pid"
wait "$crowd" || :
echo alive >mnt/two/after
sync mnt/two/after
expect_eq "$(cat mnt/two/after)" alive "after the client was killed"
if [ -e "$queue" ]; then eventually 60 none_queued || fail "$(cat "$queue") requests are left over"; fi
umount_after_kill mnt
fsck_clean a.img

# A client killed again and again in the middle of writing and listing.
mount_kfs a.img mnt
for k in 1 2 3 4 5 6; do
	(while :; do
		cp -r /usr/include/linux "mnt/copy$k" 2>/dev/null || :
		ls -lR mnt >/dev/null || :
		rm -rf "mnt/copy$k"
	done) &
	client=$!
	sleep "0.$((k + 2))"
	pkill -KILL -P "$client" || :
	kill -KILL "$client" || :
	wait "$client" 2>/dev/null || :
done
echo alive >mnt/alive
umount_after_kill mnt
fsck_clean a.img

# ---- file descriptors ----

refused=0
for limit in 4 6 8 10 12 16 20 24; do
	mkdir -p mnt
	if (ulimit -n "$limit" && kfs "$PWD/a.img" "$PWD/mnt" -o "log=$PWD/few.log") 2>few.err; then
		MOUNTS+=("kfs $PWD/mnt")
		expect_eq "$(cat mnt/alive)" alive "with $limit descriptors"
		echo "$limit" >mnt/alive2
		kfsctl status mnt >/dev/null 2>&1 || :
		umount_kfs mnt
	else
		refused=$((refused + 1))
		[ -s few.err ] || fail "no word about a mount refused with $limit descriptors"
		mountpoint -q mnt && fail "refused, but mounted"
		[ -z "$(kfs_pids "$PWD/mnt")" ] || fail "refused, but the daemon lives"
	fi
done
echo "mounts refused for want of descriptors: $refused of 8"
fsck_clean a.img

# ---- memory ----

if grep -qs fsanitize "$BUILD/flags.stamp"; then
	echo "no memory: left out, a sanitizer's own allocator ends the process"
	exit 0
fi
mount_kfs a.img mnt -o cache_mb=1
pid=$(kfs_pids "$PWD/mnt")
# What it has, and a little. (The address space would not do: malloc has reserved much of it already.)
data_kib=$(awk '/^VmData:/ { print $2 }' "/proc/$pid/status")
prlimit --pid "$pid" --data=$(((data_kib + 512) * 1024)):
echo before >mnt/before
sync mnt/before
mkdir mnt/many
failed=0
for ((k = 0; k < 60; k++)); do
	(for ((j = 0; j < 200; j++)); do echo "$j" >"mnt/many/a-long-name-to-fill-blocks-$k-$j"; done) 2>>memory.err || :
done
find mnt/many >/dev/null 2>>memory.err || :
find mnt -type f -exec stat {} + >/dev/null 2>>memory.err || :
if grep -vE 'Cannot allocate memory|Read-only file system|Input/output error|No such file' memory.err >other.err; then
	fail "not an errno of too little memory: $(head -n 3 other.err)"
fi
failed=$(wc -l <memory.err)
echo "calls refused for want of memory: $failed"
[ "$failed" -gt 0 ] || fail "there was memory enough: the test tests nothing"
[ -e "/proc/$pid" ] || fail "the daemon died for want of memory"
expect_eq "$(cat mnt/before)" before "reading with little memory"
prlimit --pid "$pid" --data=unlimited:
umount_kfs mnt
mount_kfs a.img mnt
expect_eq "$(cat mnt/before)" before "what was synced with little memory"
umount_kfs mnt
fsck_clean a.img
