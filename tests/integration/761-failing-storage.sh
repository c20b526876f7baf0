#!/usr/bin/env bash
# Storage that fails: a read error reaches its caller and nobody else; a write or flush error aborts the journal, every caller
# of fsync is told, changes are refused from then on, kfsctl says why, and what was durable before is there after recovery.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/storage.sh"
need_root
need jq python3 e2fsck
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

# Appends to its own file and fsyncs, until one of them fails; ends with "told ERRNO" and the bytes that were durable.
cat >syncer.py <<'PY'
import errno, os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
durable = 0
while True:
    try:
        os.write(fd, b'x' * 1000)
        os.fsync(fd)
        durable += 1000
        if durable == 10000:
            open(sys.argv[2], 'w').close()
    except OSError as e:
        print('told', errno.errorcode[e.errno], durable)
        break
PY
fsync_fails() {
	python3 -c 'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))' "$1" 2>/dev/null && return 1 || return 0
}
status() {
	timeout 60 kfsctl status --json m | jq -r "$1"
}

mkimage file 64M
storage_start file

# ---- reads ----
mount_kfs storage/image m
seq 100000 >content
cp content m/a
cp content m/b
sync m/a m/b
kfsctl sync m
umount_kfs m
mount_kfs storage/image m
ls -l m/a m/b >/dev/null # what finds them is in memory now
cmp content m/b
storage fail read
expect_failure cat m/a >/dev/null 2>read.txt
grep -q 'Input/output error' read.txt || fail "a failed read: $(cat read.txt)"
storage go read
cmp content m/a || fail "a read error outlives its cause"
expect_eq "$(status '[.readonly, .errors.journal_aborted, .errors.recorded] | map(tostring) | join(" ")')" "false false false" "status after a read error"
umount_kfs m
fsck_clean file

# ---- writes and flushes ----
for kind in write flush; do
	mkimage file.new 64M
	cat file.new >file # the storage has it open
	mount_kfs storage/image m
	cp content m/kept
	sync m/kept m
	syncers=()
	for i in 1 2 3 4; do
		python3 syncer.py "m/log-$i" "$SCRATCH/ready-$kind-$i" >"syncer-$i.txt" 2>&1 &
		syncers+=($!)
	done
	for i in 1 2 3 4; do eventually 60 test -e "ready-$kind-$i" || fail "syncer $i does not get on: $(cat "syncer-$i.txt")"; done
	storage fail "$kind"
	for pid in "${syncers[@]}"; do wait "$pid" || fail "a syncer failed: $(cat syncer-*.txt)"; done
	for i in 1 2 3 4; do
		grep -Eq '^told (EIO|EROFS) [0-9]+$' "syncer-$i.txt" || fail "syncer $i was not told: $(cat "syncer-$i.txt")"
	done
	# All four may have met it in their data, which aborts nothing; the next commit does.
	mkdir m/last 2>mkdir.txt || grep -q 'Read-only file system' mkdir.txt || fail "mkdir before the abort: $(cat mkdir.txt)"
	expect_failure kfsctl sync m 2>/dev/null
	expect_eq "$(status '[.readonly, .errors.journal_aborted] | map(tostring) | join(" ")')" "true true" "status after a failed $kind"
	[ "$(status .readonly_reason)" != null ] || fail "status does not say why it is read-only"
	[ "$(status .journal.error)" != null ] || fail "status does not name the journal's error"
	expect_failure mkdir m/refused 2>mkdir.txt
	grep -q 'Read-only file system' mkdir.txt || fail "mkdir after the abort: $(cat mkdir.txt)"
	cmp content m/kept || fail "reading does not go on"
	# The storage is well again, the filesystem is not: nobody may be told that all is durable now.
	storage go "$kind"
	fsync_fails m/log-1 || fail "fsync succeeds on an aborted filesystem"
	expect_failure mkdir m/refused 2>/dev/null
	grep -Eq 'kfs: .*(abort|journal|read-only)' "$SCRATCH/kfs-m.log" || fail "the log does not tell: $(cat "$SCRATCH/kfs-m.log")"
	umount_kfs m || fail "it does not unmount"
	mount_kfs storage/image m
	cmp content m/kept
	for i in 1 2 3 4; do
		[ "$(stat -c %s "m/log-$i")" -ge "$(awk '{ print $3 }' "syncer-$i.txt")" ] ||
			fail "log-$i has $(stat -c %s "m/log-$i") bytes of $(cat "syncer-$i.txt")"
	done
	umount_kfs m
	# The abort is noted in the image as the kernel notes it; e2fsck takes the note away and finds nothing else.
	e2fsck -fp file >e2fsck.txt 2>&1 || [ $? -eq 1 ] || fail "$(cat e2fsck.txt)"
	fsck_clean file
done

# ---- slow ----
mkimage file.new 64M
cat file.new >file
mount_kfs storage/image m
storage slow all
cp content m/slow
sync m/slow
storage go all
cmp content m/slow
umount_kfs m
storage_stop
fsck_clean file
