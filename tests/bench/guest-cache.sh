#!/bin/bash
# What guest_cache= costs, in requests: a guest (Debian's stock kernel in QEMU, no KVM) does the same work with each, and
# the daemon counts what it is asked. Requests without a reply (FORGET) are left out. Counts, not times: they hold on a busy
# machine, except that "again at once" has to be within the second that names are believed for.
# Words: MODES="auto always" tests/bench/guest-cache.sh

. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
need qemu-system-x86_64 python3
MODES=${MODES:-never auto metadata always alone writeback}
RESULTS=$BUILD/results
mkdir -p "$RESULTS"
guest_kernel

guest_root initrd <<'SH'
at=mount; mount -t virtiofs guests /mnt; cd /mnt
phase() { at=$1; ! test -e "/mnt/@$1"; }
phase list; ls -lR tree >/dev/null
phase list-again; ls -lR tree >/dev/null
sleep 2
phase list-later; ls -lR tree >/dev/null
phase read; for f in tree/*/*; do read -r line <$f; done
phase read-again; for f in tree/*/*; do read -r line <$f; done
phase stat; for i in $(seq 100); do test -s tree/1/1; done
phase absent; for i in $(seq 100); do ! test -e tree/absent; done
phase append; for i in $(seq 100); do echo "line $i" >>log; done
phase write; for i in $(seq 1000); do echo "line $i"; done >whole
phase create; for i in $(seq 100); do : >"new-$i"; done
phase end
cd /; umount /mnt
SH
guest_machine 1 256
for d in 1 2 3 4 5 6; do
	mkdir -p "tree/tree/$d"
	for f in 1 2 3 4 5 6 7 8 9 10; do printf 'file %s\n%4000s' "$f" x >"tree/tree/$d/$f"; done
done

for mode in $MODES; do
	case $mode in
	alone) words=guest_cache=always,guests_max=1 ;;
	writeback) words=guest_cache=always,guests_max=1,guest_writeback ;;
	*) words=guest_cache=$mode ;;
	esac
	mkimage disk.img 64M -d tree
	kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/s,tag=guests,log=$PWD/$mode.trace,log_level=trace,$words"
	timeout -k 5 300 qemu-system-x86_64 "${MACHINE[@]}" -kernel "$VMLINUZ" -initrd initrd -append "$CONSOLE" \
		-chardev socket,id=guest,path=s -device vhost-user-fs-pci,chardev=guest,tag=guests,queue-size=1024 \
		-chardev "file,id=console,path=$mode.log" -serial chardev:console </dev/null >"$mode.qemu" 2>&1 ||
		fail "QEMU failed: $(tail -n 3 "$mode.qemu")"
	said "$mode" ok || fail "$mode: the guest did not come to its end: $(tail -n 3 "$mode.log")"
	pid=$(kfs_pids "$PWD/disk.img")
	kill -TERM "$pid"
	eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
	fsck_clean disk.img
done

python3 - "$RESULTS/bench-guest-cache.json" "$MODES" <<'PY'
import json, re, sys
modes = sys.argv[2].split()
request = re.compile(r'#\d+ ([A-Z_0-9]+) node \d+ uid \d+ pid \d+ ?(\S*)')
counts, order = {}, []
for mode in modes:
    phase = None
    for line in open(mode + '.trace', errors='replace'):
        m = request.search(line)
        if not m or 'FORGET' in m[1]:
            continue
        if m[2].startswith('@'):
            phase = m[2][1:]
            if phase not in order:
                order.append(phase)
        elif phase:
            counts[phase, mode] = counts.get((phase, mode), 0) + 1
    assert phase == 'end', f'{mode}: the guest did not come to its end'
order.remove('end')
print(f"{'requests':14}" + ''.join(f'{m:>11}' for m in modes))
rows = []
for phase in order:
    print(f'{phase:14}' + ''.join(f'{counts.get((phase, m), 0):11}' for m in modes))
    rows += [{'row': f'{phase}, guest_cache={m}', 'value': counts.get((phase, m), 0), 'unit': 'requests', 'against': None,
              'ratio': None, 'bar': None, 'ok': True} for m in modes]
json.dump(rows, open(sys.argv[1], 'w'), indent=1)
PY
