#!/usr/bin/env bash
# Three readers of one log agree: ours, e2fsck and the kernel. The log was written by debugfs, or by our journal
# whose process died after some number of writes; on images of several features, with logs of 1024 blocks that wrap.
. "$(dirname "$0")/../lib/lib.sh"

need mke2fs debugfs e2fsck python3

VICTIM_BLOCKS=600

# make_image NAME FEATURE-OPTIONS…: an image with the file /victim, whose blocks are listed in NAME.blocks.
make_image() {
	local name=$1 block_size
	shift
	rm -rf tree "$name"
	mkdir tree
	block_size=$(sed -n 's/.*-b \([0-9]*\).*/\1/p' <<<"$*")
	head -c $((VICTIM_BLOCKS * block_size)) /dev/urandom >tree/victim
	truncate -s 16M "$name"
	mke2fs -q -F -J size=$((block_size * 1024 / 1048576)) -d tree "$@" "$name"
	debugfs -R 'blocks /victim' "$name" 2>/dev/null | tr ' ' '\n' | sed '/^$/d' >"$name.blocks"
	[ "$(wc -l <"$name.blocks")" -ge "$VICTIM_BLOCKS" ] || fail "$name: /victim has too few blocks"
}

victim_of() {
	debugfs -R 'dump /victim victim.out' "$1" 2>/dev/null
	sha256sum <victim.out
}

kernel_replays=no
if [ "$(id -u)" -eq 0 ] && grep -qw ext4 /proc/filesystems && [ -e /dev/loop-control ]; then
	kernel_replays=yes
	mkdir mnt
fi

# compare NAME WHAT: replays copies of the image in each way; what is in /victim afterwards must be the same.
compare() {
	local name=$1 what=$2 ours theirs status=0
	cp --sparse=always "$name" ours
	cp --sparse=always "$name" theirs
	"$TOOLS/jtool" recover ours >recover.out || fail "$what: jtool recover failed"
	e2fsck -fy theirs >e2fsck.out 2>&1 || status=$?
	[ "$status" -le 1 ] || fail "$what: e2fsck says $status: $(cat e2fsck.out)"
	grep -q 'recovering journal' e2fsck.out || fail "$what: e2fsck replayed nothing: $(cat e2fsck.out)"
	echo "$what: $(cat recover.out)"
	ours=$(victim_of ours)
	theirs=$(victim_of theirs)
	[ "$ours" = "$theirs" ] || fail "$what: we replay another contents than e2fsck ($(cat recover.out))"
	# Only the flag that recovery is needed is left to mend, and that is the store's.
	status=0
	e2fsck -fy ours >e2fsck.out 2>&1 || status=$?
	[ "$status" -le 1 ] || fail "$what: e2fsck after our replay says $status: $(cat e2fsck.out)"
	[ "$(victim_of ours)" = "$theirs" ] || fail "$what: e2fsck replayed something after us"
	e2fsck -fn ours >e2fsck.out 2>&1 || fail "$what: not clean: $(cat e2fsck.out)"
	if [ "$kernel_replays" = yes ]; then
		cp --sparse=always "$name" kernel
		mount -t ext4 -o loop kernel mnt || fail "$what: the kernel cannot mount: $(dmesg | tail -3)"
		umount mnt
		[ "$(victim_of kernel)" = "$theirs" ] || fail "$what: the kernel replays other contents"
	fi
}

# by_debugfs NAME JO-OPTIONS LAST: two transactions, and a third that revokes blocks of the first, or lacks its commit
# block. (Not both: debugfs writes over the commit block of one that revokes when it goes on after it. And not with
# checksums v1, which debugfs takes over revoke blocks too, other than jbd2.)
by_debugfs() {
	local name=$1 block_size last
	local -a b
	mapfile -t b <"$name.blocks"
	block_size=$(dumpe2fs -h "$name" 2>/dev/null | sed -n 's/^Block size: *//p')
	head -c $((90 * block_size)) /dev/urandom >data1
	head -c $((3 * block_size)) /dev/urandom >data2
	# A block that looks like the log's own.
	printf '\xc0\x3b\x39\x98' | dd of=data2 conv=notrunc status=none
	case $3 in
	revoke) last="-r ${b[102]},${b[103]}" ;;
	uncommitted) last=-c ;;
	esac
	debugfs -w "$name" >debugfs.out 2>&1 <<-END || fail "$name: debugfs: $(cat debugfs.out)"
		jo $2
		jw -b $(IFS=,; echo "${b[*]:100:90}") data1
		jw -b ${b[200]},${b[101]},${b[202]} data2
		jw -b ${b[200]},${b[301]},${b[302]} $last data2
		jc
	END
}

declare -A images=(
	[default4k]='-t ext4 -b 4096'
	[default1k]='-t ext4 -b 1024 -O ^resize_inode'
	[no64bit]='-t ext4 -b 4096 -O ^64bit'
	[nocsum]='-t ext4 -b 1024 -O ^metadata_csum'
	[ext3]='-t ext3 -b 1024 -O ^64bit,^metadata_csum'
)
for kind in default4k default1k no64bit nocsum ext3; do
	while read -r last counts version; do
		# shellcheck disable=SC2086 # the options are words
		make_image image ${images[$kind]}
		by_debugfs image "$version" "$last"
		compare image "$kind, debugfs $version, $last"
		grep -q "^transactions ${counts//,/ }\$" recover.out || fail "$kind: debugfs wrote another log"
	done <<-'END'
		revoke 3,blocks,94,revoked,2
		uncommitted 2,blocks,93,revoked,0 -c -v 2
		uncommitted 2,blocks,93,revoked,0 -c -v 3
	END
done

for kind in default4k default1k no64bit nocsum ext3; do
	# shellcheck disable=SC2086 # the options are words
	make_image image ${images[$kind]}
	for writes in 9 100 ''; do
		cp --sparse=always image died
		# shellcheck disable=SC2086 # empty means no limit
		"$TOOLS/jtool" write died image.blocks 150 "7$writes" $writes || fail "$kind: jtool write failed"
		compare died "$kind, ours after ${writes:-all} writes"
	done
done
# Full to the last block, the same blocks again and again; what is at home is lost, the log has it.
for kind in default4k default1k; do
	# shellcheck disable=SC2086 # the options are words
	make_image full ${images[$kind]}
	before=$(victim_of full)
	"$TOOLS/jtool" fill full full.blocks >fill.out || fail "$kind: jtool fill failed"
	python3 - full full.blocks "$(dumpe2fs -h full 2>/dev/null | sed -n 's/^Block size: *//p')" <<-'PY'
		import sys
		size = int(sys.argv[3])
		with open(sys.argv[1], "r+b") as image:
		    for block in open(sys.argv[2]):
		        image.seek(int(block) * size)
		        image.write(b"\0" * size)
	PY
	[ "$(victim_of full)" != "$before" ] || fail "$kind: the blocks at home were not overwritten"
	compare full "$kind, full log, $(cat fill.out)"
	expect_eq "$(victim_of ours)" "$before" "$kind: contents after the replay of a full log"
done
echo "all replays agree (the kernel's: $kernel_replays)"
