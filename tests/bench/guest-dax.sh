#!/bin/bash
# What a window (DAX) is worth to a guest: reads of 4 KiB at random places of a file, past the guest's page cache, mapped
# and not mapped, in turns within one guest (Debian's stock kernel in QEMU 11.1 or newer, no KVM). Emulation makes a
# request dearer than memory by another factor than KVM does; and copies by "rep movsb" byte for byte, which no processor does, so
# the guest is told that its own is not fast at that (9 times as fast as by READ with it, 26 to 40 times without).
# Words: ROUNDS=5 MS=2000 tests/bench/guest-dax.sh

. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
need_root
need gcc python3
ROUNDS=${ROUNDS:-5} MS=${MS:-2000}
RESULTS=$BUILD/results
mkdir -p "$RESULTS" share tree
qemu_with_windows
guest_kernel

gcc -O2 -static -D_GNU_SOURCE -o read_rate "$TOP/tests/vm/read_rate.c"
export LOGS=share
guest_root share/initrd read_rate <<SH
for round in \$(seq $ROUNDS); do
	for how in always never; do
		at=\$how; mount -t virtiofs -o dax=\$how guests /mnt; cat /mnt/large >/dev/null
		echo "@row \$round \$how \$(read_rate random /mnt/large $MS)"
		umount /mnt
	done
done
SH
guest_machine 1 512 max,erms=off,fsrm=off
cp "$VMLINUZ" share/vmlinuz
head -c 64M /dev/urandom >tree/large
export KFS_MKFS_OPTS=
mkimage disk.img 256M -b 4096 -d tree
kfs --no-mount "$PWD/disk.img" -o "vhost=$PWD/share/s,tag=guests,log=$PWD/kfs.log,dax_window=128M"
windows_guest reads || fail "QEMU failed: $(tail -n 3 reads.qemu)"
said reads ok || fail "the guest did not come to its end: $(tail -n 5 share/reads.log)"
pid=$(kfs_pids "$PWD/disk.img")
kill -TERM "$pid"
eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon does not end"
fsck_clean disk.img

python3 - share/reads.log "$RESULTS/bench-guest-dax.json" <<'PY'
import json, re, statistics, sys
BAR = 10
rates = {}
for line in open(sys.argv[1], errors="replace"):
    m = re.search(r"@row (\d+) (\w+) (\d+)", line)
    if m:
        rates.setdefault(m[2], {})[m[1]] = int(m[3])
ratios = sorted(rates["always"][r] / rates["never"][r] for r in rates["never"])
ratio, med = statistics.median(ratios), {how: statistics.median(of.values()) for how, of in rates.items()}
ok = ratio >= BAR
print(f"4 KiB random direct reads a second in a guest: mapped {med['always']:.0f}, by READ {med['never']:.0f}; "
      f"ratio {ratio:.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}), bar {BAR}{'' if ok else '  MISSED'}")
json.dump([{"row": "guest, 4 KiB random direct reads, DAX", "value": med["always"], "unit": "ops/s", "against": "READ",
            "ratio": float(f"{ratio:.3f}"), "bar": BAR, "ok": ok}], open(sys.argv[2], "w"), indent=1)
PY
