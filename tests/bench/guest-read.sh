#!/bin/bash
# A large file read for the first time, from its beginning to its end, in a guest that has just started (Debian's stock kernel
# in QEMU 11.1 or newer, no KVM): from kfs with a window (DAX) and without, from the two virtiofsds over kernel ext4, and by 9p
# (QEMU's own) from kernel ext4. Each read has a guest of its own, with one device; they take turns in changing order. Each
# ratio is the median of those of single rounds, against the better virtiofsd. The host has the files in its page cache: what
# is measured is the way, not the disk. Emulation is as slow at memory as it is at requests, and copies by "rep movsb" byte
# for byte, which no processor does: the guest is told that its own is not fast at that.
# Words: ROUNDS=9 FILE_MIB=64 tests/bench/guest-read.sh

. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/qemu_guest.sh"
. "$TOP/tests/bench/peers.sh"
need_root
need gcc python3
need_kernel_ext4
ROUNDS=${ROUNDS:-9} FILE_MIB=${FILE_MIB:-64}
RESULTS=$BUILD/results
mkdir -p "$RESULTS" share/nine tree
qemu_with_windows
guest_kernel
find_peers
: >samples
[ "${#SYSTEMS[@]}" -gt 1 ] || skip "there is no virtiofsd to compare with"

# ---- the guest ----

gcc -O2 -static -D_GNU_SOURCE -o read_rate "$TOP/tests/vm/read_rate.c"
export LOGS=share
guest_modules 9p 9pnet_virtio
guest_root share/initrd read_rate <<'SH'
at=modules; for module in $(cat /modules/order); do insmod "/modules/$module"; done
at=$job
case $job in
window) mount -t virtiofs -o dax=always guests /mnt ;;
nine) mount -t 9p -o trans=virtio,msize=524288,cache=loose nine /mnt ;;
*) mount -t virtiofs $job /mnt ;;
esac
echo "@rate $(read_rate whole /mnt/large)"
umount /mnt
SH
guest_machine 1 512 max,erms=off,fsrm=off
cp "$VMLINUZ" share/vmlinuz

# ---- the host ----

# device SYSTEM: DEVICE, its words for QEMU
device() {
	case $1 in
	window) DEVICE=("${WINDOW_DEVICE[@]}") ;;
	nine) DEVICE=(-fsdev "local,id=nine,path=/kfs/nine,security_model=none,readonly=on" -device "virtio-9p-pci,fsdev=nine,mount_tag=nine") ;;
	*) DEVICE=(-chardev "socket,id=$1,path=/kfs/$1.s" -device "vhost-user-fs-pci,chardev=$1,tag=$1") ;;
	esac
}

# measure ROUND SYSTEM: a virtiofsd serves one guest and ends
measure() {
	local round=$1 system=$2 pids=("${PIDS[@]}")
	case $system in
	c | rust) start_peer "$system" "$SCRATCH/share/$system.s" ;;
	esac
	device "$system"
	# QEMU 11.1 sometimes crashes once the guest is off, with any of these devices.
	new_guest "$system" "${DEVICE[@]}" || echo "QEMU ends with status $?: $(tail -n 1 "$system.qemu")"
	said "$system" ok || fail "the guest did not come to its end: $(tail -n 5 "share/$system.log")"
	if [ "${#PIDS[@]}" -gt "${#pids[@]}" ]; then
		eventually 10 all_gone "${PIDS[-1]}" || fail "$system does not end with its guest"
	fi
	PIDS=("${pids[@]}")
	sed -n "s/^.*@rate \([0-9.]*\).*/$round $system \1/p" "share/$system.log" >>samples
}

head -c "${FILE_MIB}M" /dev/urandom >tree/large
export KFS_MKFS_OPTS=
for system in "${SYSTEMS[@]:1}" nine; do
	mkimage "$system.img" 1G
	if [ "$system" = nine ]; then dir=share/nine; else dir=$system.dir; fi
	kmount "$system.img" "$dir"
	cp tree/large "$dir/"
done
for system in window kfs; do
	mkimage "$system.img" 1G -b 4096 -d tree
done
kfs -f --no-mount "$PWD/window.img" -o "vhost=$PWD/share/s,tag=guests,log=$PWD/window.log,dax_window=128M" &
PIDS+=($!)
kfs -f --no-mount "$PWD/kfs.img" -o "vhost=$PWD/share/kfs.s,tag=kfs,log=$PWD/kfs.log" &
PIDS+=($!)
eventually 10 test -S share/s -a -S share/kfs.s || fail "kfs does not listen: $(cat window.log kfs.log)"
order=(window "${SYSTEMS[@]}" nine)
for ((round = 1; round <= ROUNDS; round++)); do
	for system in "${order[@]}"; do measure "$round" "$system"; done
	order=("${order[@]:1}" "${order[0]}")
done
stop_peers
kumount share/nine
fsck_clean nine.img
fsck_clean window.img
check_peers

python3 - samples "$RESULTS/bench-guest-read.json" "${SYSTEMS[@]:1}" <<'PY'
import json, statistics, sys
samples, out, *peers = sys.argv[1:]
names = {"window": ("kfs, mapped", 1.5), "kfs": ("kfs", None), "c": ("virtiofsd, C", None), "rust": ("virtiofsd, Rust", None),
         "nine": ("9p", None)}
rates, rows = {}, []
for line in open(samples):
    round, system, rate = line.split()
    rates.setdefault(system, {})[round] = float(rate)
med = {s: statistics.median(of.values()) for s, of in rates.items()}
best = max(peers, key=med.get)
print(f"{'first read of a file, in a guest':36}{'MiB/s':>8}{'against':>9}{'ratio':>8}{'lowest':>8}{'highest':>8}{'bar':>7}")
for system, (name, bar) in names.items():
    if system not in rates:
        continue
    ratios = sorted(v / rates[best][r] for r, v in rates[system].items())
    ratio = statistics.median(ratios)
    rows.append({"row": f"guest, first read: {name}", "value": med[system], "unit": "MiB/s", "against": best,
                 "ratio": float(f"{ratio:.3f}"), "bar": bar, "ok": not bar or ratio >= bar})
    print(f"{name:36}{med[system]:8.1f}{best:>9}{ratio:8.2f}{ratios[0]:8.2f}{ratios[-1]:8.2f}{bar or '-':>7}"
          f"{'' if rows[-1]['ok'] else '  MISSED'}")
json.dump(rows, open(out, "w"), indent=1)
PY
