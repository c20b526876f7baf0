#!/usr/bin/env bash
# kfsctl trim gives the space of deleted files back to the host; kfsctl trace turns the log of requests on and off.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

mkimage a.img 64M -b 4096
mount_kfs a.img a

# ---- trim ----
head -c 20000000 /dev/urandom >a/big
sync a/big
used() {
	stat -c %b a.img
}
full=$(used)
empty=$(stat -f -c %f a)
rm a/big
# A large file's blocks are freed in the background, and can be given back when that is committed.
freed() {
	[ "$(stat -f -c %f a)" -ge $((empty + 20000000 / 4096)) ]
}
eventually 20 freed || fail "rm frees nothing"
kfsctl sync a
kfsctl trim --json a >trim.json
jq -e '.trimmed_bytes >= 20000000' trim.json >/dev/null || fail "$(cat trim.json)"
kfsctl sync a
# The journal has grown meanwhile: 1 MiB is left for it.
[ "$(used)" -le $((full - 19000000 / 512)) ] || fail "the image uses $(used) units of 512 bytes, $full before the trim"
kfsctl trim a >trim.txt
grep -Eq '^[0-9.]+ [KMGT]?i?B \([0-9,]+ bytes\) given back$' trim.txt || fail "$(cat trim.txt)"
expect_eq "$(kfsctl trim --json --min=100M a | jq .trimmed_bytes)" 0 "runs of 100 MiB in 64 MiB"
expect_status 1 kfsctl trim --min=1G a 2>error.txt
grep -q 'trim: --min is more than a block group holds' error.txt || fail "$(cat error.txt)"
expect_status 2 kfsctl trim --min=many a 2>/dev/null

# ---- trace ----
log=$SCRATCH/kfs-a.log
lines() {
	grep -c "$1" "$log" || :
}
mkdir a/quiet
expect_eq "$(lines quiet)" 0 "traced without being asked"
kfsctl trace on a
mkdir a/traced
eventually 5 grep -q 'MKDIR.*traced' "$log" || fail "mkdir is not in the log: $(tail -n 3 "$log")"
kfsctl trace off a
mkdir a/after
expect_eq "$(lines after)" 0 "traced after it was turned off"
kfsctl trace --json on a | jq -e .on >/dev/null
kfsctl trace off a

umount_kfs a
fsck_clean a.img
