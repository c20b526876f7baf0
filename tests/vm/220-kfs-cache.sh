#!/usr/bin/env bash
# What people see of a mount with BPF: kfsctl cache show and drop, named fields in bpftool, pins and their end, counters
# while the daemon is stopped.
# timeout: 1200

set -eu
export PATH="$BUILD/bin:$PATH"
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BPFTOOL=$("$HERE/../../kernel-patches/fetch.sh" tools)/usr/sbin/bpftool
OPTIONS=bpf=on,bpf_mb=1,log=/tmp/kfs/log
mkdir -p /tmp/kfs/m
cd /tmp/kfs

say() { echo "-- $*"; }
fail() {
	echo "failed: $*"
	tail -n 20 log 2>/dev/null
	exit 1
}
# shown FILTER PATH: cache show agrees with the store, and with the filter
shown() {
	kfsctl cache show --json "$2" >show.json || fail "cache show $2 disagrees: $(cat show.json)"
	jq -e ".tier == \"bpf\" and .agrees and .differences == [] and ($1)" show.json >/dev/null ||
		fail "$1 is not so: $(jq -c . show.json)"
}
# differs WORDS PATH: it says so, with these words, and the exit status is 1
differs() {
	local status=0
	kfsctl cache show --json "$2" >show.json || status=$?
	[ "$status" -eq 1 ] || fail "exit status $status of a difference"
	jq -e --arg words "$1" '.agrees == false and (.differences | any(contains($words)))' show.json >/dev/null ||
		fail "not '$1': $(jq -c .differences show.json)"
	status=0
	kfsctl cache show "$2" >show.txt || status=$?
	[ "$status" -eq 1 ] || fail "exit status $status of a difference, as text"
	grep -q "^  DIFFERS .*$1" show.txt || fail "$(cat show.txt)"
}
requests() { kfsctl stats --json m | jq "[.transports[].opcodes.$1.requests // 0] | add"; }
eventually() {
	local deadline=$((SECONDS + 20))
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.2
	done
}
gone() { [ ! -e "/proc/$1" ]; }

insmod "$VM_FUSEBPF"
mkfs.kfs -q disk.img 64M
kfs disk.img m -o "$OPTIONS"
mkdir m/d
echo text >m/d/f
ln m/d/f m/d/g
mkdir m/whole
echo x >m/whole/a
umount m
kfs disk.img m -o "$OPTIONS"
id=$(kfsctl status --json m | jq -r .id)
pins=/sys/fs/bpf/kfs/$id

say "cache show: nothing known, then what was asked for, and looking teaches the kernel nothing"
shown '.kernel.name.state == "none" and .kernel.lookup == "asks the daemon"' m/d/f
shown '.kernel.name.state == "none"' m/d/f
stat m/d/f >/dev/null
shown '.kernel.name.state == "known" and .kernel.attributes.state == "known" and .kernel.lookup == "present" and .kernel.getattr == "answered"' m/d/f
shown '.kernel.name.ino == .store.ino and .kernel.attributes.size_bytes == 5 and .kernel.attributes.version <= .store.version' m/d/f
shown '.kernel.name.state == "none" and .kernel.attributes.state == "known"' m/d/g
[ ! -e m/d/absent ]
shown '.kernel.name.state == "absent" and .kernel.lookup == "absent" and (.store.exists | not)' m/d/absent
shown '.kernel.directory.complete == false and .kernel.lookup == "asks the daemon"' m/whole/never
ls -l m/whole >/dev/null
shown '.kernel.directory.complete and .kernel.name.state == "none" and .kernel.lookup == "absent"' m/whole/never
shown '.kernel.lookup == "present"' m/whole/a
chmod 600 m/d/f
shown '.store.mode == "0100600"' m/d/f
setfattr -n security.capability -v 0x0100000200000000000000000000000000000000 m/d/f
shown '.store.has_capability and .kernel.attributes.no_capability == false' m/d/f
kfsctl cache show m/whole/a >show.txt
grep -q '^  it agrees$' show.txt || fail "$(cat show.txt)"
grep -q '^  the kernel *lookup: present; getattr: answered$' show.txt || fail "$(cat show.txt)"

say "cache show tells of a table that lies"
ino=$(stat -c %i m/whole/a)
"$BUILD/bin/tests/bpfpoke" "$pins" size "$ino"
differs 'size: 3 in the kernel, 2 in the store' m/whole/a
kfsctl cache drop m/whole/a
shown '.kernel.attributes.state != "known"' m/whole/a
stat m/whole/a >/dev/null
shown '.kernel.lookup == "present" and .kernel.attributes.size_bytes == 2' m/whole/a
"$BUILD/bin/tests/bpfpoke" "$pins" generation "$ino"
differs 'name: inode' m/whole/a
kfsctl cache drop m/whole/a
stat m/whole/a >/dev/null
shown '.kernel.lookup == "present"' m/whole/a
"$BUILD/bin/tests/bpfpoke" "$pins" absent "$ino"
differs 'name: absent in the kernel' m/whole/a
kfsctl cache drop m/whole/a
stat m/whole/a >/dev/null
shown '.kernel.lookup == "present"' m/whole/a

say "cache drop: of everything"
stat m/d/f m/whole/a >/dev/null
[ "$(kfsctl stats --json m | jq .bpf.entries_used)" -gt 0 ] || fail "no names in the table"
kfsctl cache drop --json m | jq -e .tables >/dev/null || fail "drop knows of no tables"
[ "$(kfsctl stats --json m | jq '.bpf | .entries_used + .attrs_used')" -eq 0 ] || fail "names are left in the table"
shown '.kernel.name.state == "none" and .kernel.attributes.state == "none"' m/d/f
[ "$(cat m/d/f)" = text ] || fail "contents after a drop"

say "bpftool shows named fields of each pinned map, and the programs by their names"
ls m/d m/whole >/dev/null
stat m/d/f m/whole/a >/dev/null
fields() { # MAP FIELD…
	local map=$1 field
	shift
	"$BPFTOOL" map dump pinned "$pins/$map" >"$map.txt"
	for field; do grep -q "\"$field\":" "$map.txt" || fail "$map has no field $field: $(head -c 300 "$map.txt")"; done
}
fields kfs_entries seq state used slot parent hash nodeid version
fields kfs_attrs seq state used slot nodeid version listed flags attr valid ino size mode nlink uid gid mtime ctimensec
fields kfs_stats lookup_hits lookup_negative lookup_complete lookup_misses getattr_hits xattr_absent torn_retries
fields kfs_tables entry_slots entries_used entry_fills stale_refusals attr_evictions directories_completed bytes
grep -q "\"size\": $(stat -c %s m/d/f)," kfs_attrs.txt || fail "the size of a file is not in kfs_attrs"
for pin in "$pins"/*; do
	name=$(basename "$pin")
	case $name in
	kfs_entries | kfs_attrs | kfs_stats | kfs_tables) ;;
	*) if ! "$BPFTOOL" prog show pinned "$pin" | grep -q "name $name "; then
		"$BPFTOOL" map dump pinned "$pin" | grep -q '"[a-z_]*":' || fail "$pin: neither a program of that name nor a map with named fields"
	fi ;;
	esac
done
for name in kfs_lookup kfs_getattr kfs_xattr; do [ -e "$pins/$name" ] || fail "$name is not pinned"; done

say "kfsctl stats tells what was avoided, as text and for Prometheus"
kfsctl stats m >stats.txt
kfsctl metrics m >metrics.txt
for word in 'in the kernel' lookup getattr 'absent xattrs' 'requests avoided' 'tables of' 'directories completed' 'torn reads repeated'; do
	grep -q "$word" stats.txt || fail "'$word' is not in: $(cat stats.txt)"
done
[ "$(sed -n 's/^kfs_bpf_entries_used{.*} //p' metrics.txt)" -gt 0 ] || fail "no names in the metrics: $(grep bpf metrics.txt)"
[ "$(sed -n 's/^kfs_bpf_getattr_hits{.*} //p' metrics.txt)" -gt 0 ] || fail "no hits in the metrics: $(grep bpf metrics.txt)"

say "pins are root's alone"
[ "$(stat -c %a /sys/fs/bpf/kfs) $(stat -c %a "$pins")" = "700 700" ] || fail "modes of folders: $(stat -c %a /sys/fs/bpf/kfs "$pins")"
[ "$(stat -c %a "$pins"/* | sort -u)" = 600 ] || fail "modes of pins: $(stat -c '%a %n' "$pins"/*)"

say "a stopped daemon: watching goes on with the kernel's counters, says so, and comes back"
pid=$(kfsctl status --json m | jq .worker_pid)
: >watch.txt
kfsctl stats --watch=1 --timeout=2 --json m >>watch.txt &
watcher=$!
lines() { [ "$(wc -l <watch.txt)" -ge 1 ]; }
eventually lines || fail "no first line"
kill -STOP "$pid"
silent() { [ "$(grep -c '"daemon_silent":"no answer within 2 s"' watch.txt)" -ge 1 ]; }
eventually silent || fail "it does not tell of a stopped daemon"
kill -CONT "$pid"
count=$(wc -l <watch.txt)
back() { tail -n "+$((count + 1))" watch.txt | grep -q '"transports"'; }
eventually back || fail "it does not come back"
kill "$watcher"
grep '"daemon_silent"' watch.txt | head -n 1 | jq -e '.bpf.lookup_hits >= 0 and .bpf.entries_used > 0' >/dev/null || fail "$(cat watch.txt)"

say "the kernel's own statistics are for mounts without programs: it says so"
if kfsctl stats --kernel=on m 2>err; then fail "--kernel=on of a mount with BPF"; fi
grep -q 'goes through /dev/fusebpf, whose programs count by themselves' err || fail "$(cat err)"

say "killed daemons leave pins; the next mount of the same image, of another, or without BPF takes them away, and says so"
umount m
[ ! -e /sys/fs/bpf/kfs ] || fail "pins are left after unmount"
mkfs.kfs -q other.img 64M
mkdir -p o
after_kill() { # IMAGE DIR OPTIONS: mounted after a daemon of m was killed
	kfs disk.img m -o "$OPTIONS"
	pid=$(kfsctl status --json m | jq .worker_pid)
	sync -f m
	kill -KILL "$pid"
	eventually gone "$pid" || fail "pid $pid lives"
	umount m
	[ -e "$pins/kfs_entries" ] || fail "a killed daemon leaves no pins: then this proves nothing"
	: >log
	kfs "$1" "$2" -o "$3"
	grep -q "$pins: left by a kfs that was killed: removed" log || fail "the log does not tell"
}
after_kill disk.img m "$OPTIONS"
[ "$(stat -c %a "$pins"/* | sort -u)" = 600 ] || fail "the new mount's pins"
shown true m/d/f
umount m
after_kill other.img o "$OPTIONS"
[ ! -e "$pins" ] || fail "another image's mount leaves them"
umount o
after_kill other.img o "bpf=off,log=/tmp/kfs/log"
[ ! -e /sys/fs/bpf/kfs ] || fail "a mount without BPF leaves them"
umount o

say "a living daemon's pins stay, also for a mount with another register"
kfs disk.img m -o "$OPTIONS"
KFS_RUNTIME_DIR=/tmp/kfs/run kfs other.img o -o "$OPTIONS"
[ -e "$pins/kfs_entries" ] || fail "the pins of a living mount were removed"
umount o
[ -e "$pins/kfs_entries" ] || fail "the pins of a living mount were removed at another's unmount"
umount m
e2fsck -fn disk.img >/dev/null 2>&1 || fail "e2fsck"
[ ! -e /sys/fs/bpf/kfs ] || fail "pins are left: $(find /sys/fs/bpf/kfs)"
bash "$HERE/unload.sh"
