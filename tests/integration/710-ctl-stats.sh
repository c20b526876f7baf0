#!/usr/bin/env bash
# kfsctl stats and metrics count what was done: requests by opcode, commits, blocks, bytes.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

mkimage a.img 64M
mount_kfs a.img a

# count FILTER: a number of stats --json now
count() {
	kfsctl stats --json a | jq -r "($1) // 0"
}
# at_least BEFORE MORE FILTER WHAT
at_least() {
	local now
	now=$(count "$3")
	[ "$now" -ge $(($1 + $2)) ] || fail "$4: $now, wanted at least $1 + $2"
}

# ---- requests ----
lookups='[.transports[].opcodes.LOOKUP.requests // 0] | add'
before=$(count "$lookups")
for i in $(seq 200); do [ ! -e "a/absent-$i" ] || fail "absent-$i exists"; done
at_least "$before" 200 "$lookups" "lookups of 200 absent names"
expect_eq "$(kfsctl stats --json a | jq -r '.transports[0] | [.name, (.threads >= 1), (.in_flight | type), .malformed, .unknown] | map(tostring) | join(" ")')" \
	"dev true array 0 0" "the transport"

# Through the device or a ring: the last transport is the one that is used.
mkdirs='.transports[-1].opcodes.MKDIR'
for i in $(seq 10); do mkdir "a/d$i"; done
expect_eq "$(count "$mkdirs.requests")" 10 "mkdir requests"
expect_eq "$(count "$mkdirs.errors")" 0 "mkdir errors"
rmdirs='.transports[-1].opcodes.RMDIR'
touch a/d1/file
expect_failure rmdir a/d1 2>/dev/null
expect_eq "$(count "$rmdirs.errors")" 1 "rmdir errors"
expect_eq "$(kfsctl stats --json a | jq "$mkdirs | .p50_ns > 0 and .p99_ns >= .p50_ns and .max_ns >= .mean_ns and .mean_ns > 0")" true "latencies of mkdir"

# ---- journal, allocator, image ----
commits=$(count .journal.commits)
blocks=$(count .allocator.blocks_allocated)
written=$(count .image_io.written_bytes)
flushes=$(count .image_io.flushes)
dd if=/dev/zero of=a/big bs=1M count=4 conv=fsync status=none
at_least "$commits" 1 .journal.commits "commits after an fsync"
at_least "$blocks" 1024 .allocator.blocks_allocated "blocks allocated for 4 MiB"
at_least "$written" $((4 << 20)) .image_io.written_bytes "bytes written for 4 MiB"
at_least "$flushes" 1 .image_io.flushes "flushes after an fsync"
freed=$(count .allocator.blocks_freed)
rm a/big
# A large file is deleted in the background.
gone() {
	[ "$(count .allocator.blocks_freed)" -ge $((freed + 1024)) ]
}
eventually 20 gone || fail "rm frees no blocks"
expect_eq "$(kfsctl stats --json a | jq '[.caches.buffers, .caches.inodes] | all(.hits > 0 and .count > 0 and .count_max >= .count)')" true caches

# ---- text ----
kfsctl stats a >stats.txt
for word in 'transport dev: protocol 7' LOOKUP MKDIR 'p99' buffers inodes 'commits' 'allocations' 'flushes'; do
	grep -qF -- "$word" stats.txt || fail "'$word' is not in: $(cat stats.txt)"
done
timeout 20 kfsctl stats --watch=1 --json a >watch.txt &
watcher=$!
sleep 2.5
kill "$watcher"
wait "$watcher" 2>/dev/null || :
[ "$(head -n 2 watch.txt | jq -s 'length')" -eq 2 ] || fail "--watch --json gave: $(head -c 300 watch.txt)"

# ---- metrics ----
kfsctl metrics a >metrics.txt
bad=$(grep -Ev '^(# (HELP|TYPE) kfs_[a-z_]+ .+|kfs_[a-z_]+\{[^}]*\} [0-9.e+-]+|kfs_[a-z_]+\{[^}]*\} [0-9.]+e[+-][0-9]+)$' metrics.txt || :)
[ -z "$bad" ] || fail "not the Prometheus format: $bad"
expect_eq "$(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' metrics.txt | sort | uniq -d)" "" "metrics described twice"
sample() {
	awk -v want="$1" 'index($0, want) { print $NF }' metrics.txt
}
expect_eq "$(sample 'kfs_fuse_requests_total{'"$(grep -o 'id="[^"]*",mountpoint="[^"]*"' metrics.txt | head -n 1)"',transport="'"$(kfsctl status --json a | jq -r .transport)"'",opcode="MKDIR"}')" 10 "mkdirs in metrics"
expect_eq "$(grep -c '_bucket{.*opcode="MKDIR",le="+Inf"} 10$' metrics.txt)" 1 "the last bucket of mkdir"
# Buckets are cumulative: sorted as they stand.
grep '_bucket{.*opcode="MKDIR"' metrics.txt | awk '{ print $NF }' | sort -nc || fail "buckets of mkdir fall"
grep -q '^kfs_up{.*} 1$' metrics.txt || fail "kfs_up is not 1"
grep -q "^kfs_info{.*tier=\"$(tier_told)\".*} 1\$" metrics.txt || fail "kfs_info lacks the tier"

# All mounts in one text, also one that does not answer.
mkimage b.img 16M
mount_kfs b.img b
pid=$(kfsctl status --json b | jq .worker_pid)
kill -STOP "$pid"
kfsctl metrics --all --timeout=1 >metrics.txt
kfsctl list --timeout=1 >list.txt
kill -CONT "$pid"
expect_eq "$(grep '^kfs_up{' metrics.txt | sed 's/{.*}//' | sort | paste -sd,)" "kfs_up 0,kfs_up 1" "kfs_up of both"
grep -q 'no answer' list.txt || fail "$(cat list.txt)"
expect_eq "$(grep -c '^kfs_uptime_seconds{' metrics.txt)" 1 "mounts with numbers"
umount_kfs b
umount_kfs a
fsck_clean a.img
