#!/usr/bin/env bash
# timeout: 240
# Guests and front ends that lie, by numbered cases (tests/vhost/hostile.h), beside an honest guest and the host's mount,
# which both find what they wrote all the time. The daemon keeps no descriptor, thread or mapping of theirs; the image stays
# clean. "make hostile" runs more of it: KFS_SEED, KFS_CASES, KFS_FIRST and KFS_FAMILY draw others; figures go to KFS_RESULTS.
. "$(dirname "$0")/../lib/lib.sh"
need_root

SEED=${KFS_SEED:-1} CASES=${KFS_CASES:-30000} FIRST=${KFS_FIRST:-0}
VFE=$TOOLS/vhost/vfe

# Sparse: what a guest takes of it takes nothing of the machine, and there is room enough for all. A guest that has a window
# does not move, and the other way round: each of the two has a daemon.
mkimage disk.img 8G
mkimage window.img 8G -b 4096
mount_kfs disk.img mnt -o "vhost=$PWD/s,tag=guests,vhost_queues=2"
mount_kfs window.img wmnt -o "vhost=$PWD/s.window,tag=guests,vhost_queues=2,dax_window=32M"
pids="$(kfs_pids "$PWD/mnt") $(kfs_pids "$PWD/wmnt")"

# What the daemons hold of guests: sockets, pipes and events, threads, mappings. (Workers of the mount come and go.)
holds() {
	local pid
	for pid in $pids; do
		find "/proc/$pid/fd" -mindepth 1 -printf '%l\n' | awk '/^socket:|^pipe:|eventfd|memfd/ { n++ } END { print n + 0 }'
		awk '/^kfs-(guest|vhost|window|state)$/ { n++ } END { print n + 0 }' "/proc/$pid"/task/*/comm
		awk '/memfd:|window.img/ { n++ } END { print n + 0 }' "/proc/$pid/maps"
	done
}
holds_now() { holds | tr '\n' ' '; }
holds_as_before() { [ "$(holds_now)" = "$before" ]; }

before=$(holds_now)

# Pages of a file on this very mount are read by the daemon, which may be waiting for them with a lock held.
truncate -s 1M mnt/memory
"$VFE" s refuses "$PWD/mnt/memory"

"$VFE" s witness "$PWD/mnt" "$PWD/stop" >witness.log 2>&1 &
witness=$!
"$VFE" s.window witness "$PWD/wmnt" "$PWD/stop" >witness2.log 2>&1 &
witness2=$!
eventually 20 grep -q ready witness.log || fail "the honest guest: $(cat witness.log)"
eventually 20 grep -q ready witness2.log || fail "the honest guest beside windows: $(cat witness2.log)"
status=0
"$VFE" s hostile "$SEED" "$CASES" "$FIRST" "${KFS_FAMILY:-}" 2>&1 >hostile.log | tee hostile.err >&2 || status=$?
touch stop
wait "$witness" || fail "the honest guest: $(cat witness.log)"
wait "$witness2" || fail "the honest guest beside windows: $(cat witness2.log)"
if [ "$status" -ne 0 ]; then
	case=$(sed -n 's/.*FAILED: seed [0-9]* case \([0-9]*\).*/\1/p' hostile.err)
	fail "again: make hostile SEED=$SEED CASES=1 FIRST=${case:-$FIRST} FAMILY='${KFS_FAMILY:-}'"
fi
cat hostile.log witness.log witness2.log
eventually 10 holds_as_before || fail "events, threads, mappings: $(holds_now), and before $before"
# 200 lines a minute, and some about them, is what others may have us write.
minutes=$((SECONDS / 60 + 2))
for mnt in mnt wmnt; do
	lines=$(wc -l <"kfs-$mnt.log")
	[ "$lines" -le $((minutes * 250)) ] || fail "$lines lines in the log of $mnt within $minutes minutes"
	kfsctl check "$mnt"
	umount_kfs "$mnt"
done
fsck_clean disk.img
fsck_clean window.img
if [ -n "${KFS_RESULTS:-}" ]; then
	awk -v seed="$SEED" '
		function row(name, value, unit) {
			printf "%s{\"row\": \"%s\", \"value\": %s, \"unit\": \"%s\", \"against\": \"seed %s\", \"ratio\": null, \"bar\": null, \"ok\": true}",
				n++ ? ",\n" : "[\n", name, value, unit, seed
		}
		/^seed / { row("hostile cases", $3, "cases"); row("hostile connections", $5, "connections"); row("hostile rate", $9, "cases/s"); next }
		/^witness: .* rounds/ { row("honest guest and host", $2, "rounds"); row("longest round", $6, "ms"); next }
		/^family / { row("hostile " substr($0, index($0, $3)), $2, "cases") }
		END { print "\n]" }' hostile.log witness.log >"$KFS_RESULTS"
fi
