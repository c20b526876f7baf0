#!/usr/bin/env bash
# timeout: 300
# Where data lands: a streamed 1 GiB file on an empty image has at most 16 extents, each of eight files written at once
# at most 64, as the kernel counts them; nearly all their 2 MiB units are one piece at a multiple of 2 MiB; and what was
# written is what the kernel reads.
. "$(dirname "$0")/../lib/lib.sh"
need_kernel_ext4
need filefrag

extents() { filefrag "$1" | sed 's/.*: \([0-9]*\) extents\? found/\1/'; }

# Of the whole 2 MiB units of FILE, how many in a hundred are one piece that begins at a multiple of 2 MiB.
units_aligned() { # FILE
	filefrag -b4096 -e "$1" | tr -d ':.' | awk '
		$1 ~ /^[0-9]+$/ && NF >= 6 {
			first = $2; last = $3; at = $4
			if (last_end != "" && first == last_end && at == last_at) { first = begin; at = begin_at }
			begin = first; begin_at = at; last_end = last + 1; last_at = at + last_end - first
			if ((at - first) % 512 == 0)
				for (u = int((first + 511) / 512); (u + 1) * 512 <= last_end; u++) good[u]
		}
		END { printf "%d", length(good) * 100 / int(last_end / 512) }'
}

mkimage img 3G -b 4096
mount_kfs img m
head -c 1G /dev/zero | tr '\0' 'k' | dd of=m/stream bs=1M status=none
umount_kfs m
fsck_clean img
kmount img k ro
n=$(extents k/stream)
echo "a streamed 1 GiB file: $n extents"
[ "$n" -le 16 ] || fail "a streamed 1 GiB file has $n extents"
aligned=$(units_aligned k/stream)
echo "a streamed 1 GiB file: $aligned of 100 units aligned"
[ "$aligned" -ge 98 ] || fail "of the 2 MiB units of a streamed file only $aligned in 100 are aligned"
expect_eq "$(tr -d k <k/stream | wc -c) $(stat -c %s k/stream)" "0 1073741824" "contents"
kumount k

mkimage img 3G -b 4096
mount_kfs img m
python3 - m <<'PY'
import os, sys, threading
top, each, chunk = sys.argv[1], 160 << 20, 1 << 16

def writer(n):
    fd = os.open(f"{top}/f{n}", os.O_CREAT | os.O_WRONLY, 0o644)
    data = bytes([65 + n]) * chunk
    for _ in range(each // chunk):
        os.write(fd, data)
    os.close(fd)

threads = [threading.Thread(target=writer, args=(n,)) for n in range(8)]
for t in threads:
    t.start()
for t in threads:
    t.join()
PY
umount_kfs m
fsck_clean img
kmount img k ro
for n in 0 1 2 3 4 5 6 7; do
	count=$(extents "k/f$n")
	aligned=$(units_aligned "k/f$n")
	echo "f$n of eight at once: $count extents, $aligned of 100 units aligned"
	[ "$count" -le 64 ] || fail "f$n has $count extents"
	[ "$aligned" -ge 90 ] || fail "of the 2 MiB units of f$n only $aligned in 100 are aligned"
done
