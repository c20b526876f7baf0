#!/usr/bin/env bash
# The kernel's statistics on Debian's stock kernel, where functions can be traced, which not every machine allows: questions
# to the dcache and to cached attributes, counted exactly. (What trace points tell is in tests/integration/712-ctl-kernel.sh.)
# timeout: 900

set -eu
export PATH="$BUILD/bin:$PATH"
N=50
mkdir -p /tmp/kfs/m
cd /tmp/kfs

say() { echo "-- $*"; }
fail() {
	echo "failed: $*"
	tail -n 20 log 2>/dev/null
	exit 1
}
mount_it() { kfs disk.img m -o "bpf=off,log=/tmp/kfs/log,$1"; }
# More than one number at once: every call of kfsctl takes its time here.
take() { kfsctl stats --json m | jq -r '[.kernel.names.asked, .kernel.names.sent, .kernel.names.hits, .kernel.attributes.getattrs,
	.kernel.opcodes.LOOKUP.requests // 0, ([.transports[].opcodes.LOOKUP.requests // 0] | add)] | join(" ")'; }
# since BEFORE WANTED WHAT: the difference to now, number by number
since() {
	local was now i got=''
	read -ra was <<<"$1"
	read -ra now <<<"$(take)"
	for ((i = 0; i < ${#now[@]}; i++)); do got+="$((now[i] - was[i])) "; done
	[ "${got% }" = "$2" ] || fail "$3: asked, sent, hits, stats, lookups, lookups at the daemon: $got, wanted $2"
}
files() { python3 -c 'import os, sys
for i in range(int(sys.argv[1])): os.stat(f"m/f{i}")' "$N"; }
absent() { python3 -c 'import os, sys
for i in range(int(sys.argv[1])): assert not os.path.exists(f"m/n{i}")' "$N"; }
eventually() {
	local deadline=$((SECONDS + 30))
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.2
	done
}
# umount(2) does not wait for a stock mount's daemon.
exited() { [ ! -e "/proc/$1" ]; }
umount_it() {
	local pid
	pid=$(kfsctl status --json m | jq .worker_pid)
	umount m
	eventually exited "$pid" || fail "the daemon outlives its mount"
}

mkfs.kfs -q disk.img 64M
mount_it kstats=off
for ((i = 0; i < N; i++)); do : >"m/f$i"; done
umount_it

say "every function is traced"
mount_it kstats=on
kfsctl stats --json m | jq -e '.kernel | .functions_missing == "" and .events_missed == 0 and .names != null and .attributes != null' >/dev/null ||
	fail "$(kfsctl stats --json m | jq -c .kernel)"

say "names that are not cached, cached, absent, absent and cached"
before=$(take)
files
since "$before" "$N $N 0 $N $N $N" "names not cached"
before=$(take)
files
since "$before" "$N 0 $N $N 0 0" "cached names"
before=$(take)
absent
since "$before" "$N $N 0 0 $N $N" "absent names"
before=$(take)
absent
since "$before" "$N 0 $N 0 0 0" "cached absent names"
kfsctl stats m >stats.txt
grep -Eq '^  names +[0-9,]+ +[0-9,]+ +[0-9]+ %' stats.txt || fail "no hit rate in the text: $(cat stats.txt)"
grep -Eq '^  attributes +[0-9,]+ +[0-9,]+ +[0-9]+ %' stats.txt || fail "no hit rate in the text: $(cat stats.txt)"

say "off: nothing is loaded any more; on: from 0"
pid=$(kfsctl status --json m | jq .worker_pid)
programs=$("$BUILD/bin/tests/bpfprogs" --of "$pid")
[ "$(wc -w <<<"$programs")" -ge 6 ] || fail "too few programs: $programs"
# shellcheck disable=SC2086 # a list of numbers
gone() { [ -z "$("$BUILD/bin/tests/bpfprogs" $programs)" ]; }
kfsctl stats --kernel=off m
eventually gone || fail "programs stay loaded"
kfsctl stats --kernel=on m
[ "$(kfsctl stats --json m | jq .kernel.names.asked)" -eq 0 ] || fail "it does not begin at 0"

say "a killed daemon takes its programs along"
programs=$("$BUILD/bin/tests/bpfprogs" --of "$pid")
kill -KILL "$pid"
eventually gone || fail "programs stay loaded after a kill"
umount m

say "names whose time-out is 0: each is asked for"
mount_it kstats=on,entry_timeout=0,negative_timeout=0
files
before=$(take)
files
since "$before" "$N $N 0 $N $N $N" "names without a time-out"
umount_it
[ ! -e /sys/fs/bpf/kfs ] || fail "pins are left: $(find /sys/fs/bpf/kfs)"
