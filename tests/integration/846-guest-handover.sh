#!/usr/bin/env bash
# A guest that moves takes its image along, from a daemon that closes it to one that waits for it, and back: written bytes,
# locks, a deleted file that is open. In between the image is closed, and e2fsck finds nothing but the orphan. A guest that
# does not get there has its image back. With other users, or anything but the right state, the image stays as it is.
. "$(dirname "$0")/../lib/lib.sh"

VFE=$TOOLS/vhost/vfe

# serve SOCKET IMAGE [words]
serve() {
	WORDS[$1]="vhost=$PWD/$1,tag=guests,vhost_queues=2,guests_max=2,log=$PWD/$1.log${3:+,$3}"
	kfs --no-mount "$PWD/$2" -o "${WORDS[$1]}"
}
declare -A WORDS
stop() {
	local pid
	pid=$(kfs_pids "${WORDS[$1]}")
	[ -n "$pid" ] || fail "the daemon of $1 has ended"
	kill -TERM "$pid"
	eventually "$RELEASE_SECONDS_MAX" all_gone "$pid" || fail "the daemon of $1 does not end"
}
has() { grep -q "$2" "$1.log" || { cat "$1.log" >&2; fail "$1.log does not say: $2"; }; }

# What the front end asks while it moves.
cat >look <<SH
#!/usr/bin/env bash
set -eu
cd "$PWD"
recovers() { dumpe2fs -h "\$IMAGE" 2>/dev/null | grep -q needs_recovery; }
case \$1 in
closed)
	if recovers; then exit 1; fi
	sha256sum <"\$IMAGE" >sum
	cp --sparse=always "\$IMAGE" copy.img
	status=0
	e2fsck -fy copy.img >fsck.out 2>&1 || status=\$?
	[ \$status -le 1 ] || { cat fsck.out; exit 1; }
	grep -q "Clearing orphaned inode" fsck.out || { cat fsck.out; exit 1; }
	if grep -q "Fix? yes" fsck.out; then cat fsck.out; exit 1; fi
	e2fsck -fn copy.img >fsck.out 2>&1
	;;
unchanged) sha256sum <"\$IMAGE" | cmp - sum ;;
open) recovers ;;
esac
SH
chmod +x look

for features in "^orphan_file" orphan_file; do
	rm -f -- *.img *.log
	mke2fs -q -t ext4 -O "$features" disk.img 64M || { echo "not tried: this mke2fs does not know orphan_file"; continue; }
	serve a disk.img handover
	serve b disk.img handover,incoming
	IMAGE=disk.img "$VFE" a handover "$PWD/b" "$PWD/look"
	has a 'cannot be handed over: guest [0-9]* (pid [0-9]*) uses it, too'
	has a 'its image is closed'
	has a 'has its image back'
	has a 'cannot be had back'
	has a 'opened for a guest that has arrived'
	has b 'damaged, or of another image'
	has b 'somebody else has written to the image'
	has b 'did not arrive with a state'
	has b 'its image is closed'
	stop b
	stop a
	fsck_clean disk.img
	if grep -q malformed a.log b.log; then fail "an honest front end was called malformed"; fi
done

# ---- daemons that it is not for ----

mkimage disk.img 64M
mkimage other.img 64M
cp --sparse=always disk.img stale.img
cp --sparse=always disk.img opened.img
serve a disk.img handover
serve other other.img incoming
serve stale stale.img incoming
serve opened opened.img
for there in other stale opened; do
	cp --sparse=always $there.img before.img
	"$VFE" a handover-elsewhere "$PWD/$there"
	[ $there = opened ] || cmp before.img $there.img
	stop $there
done
has other 'damaged, or of another image'
has stale 'somebody else has written to the image'
has opened 'only a daemon that was started with incoming'

# An image that somebody has, one that cannot be read, and one that was not closed.
serve busy stale.img incoming
mkdir -p m
mount_kfs stale.img m
"$VFE" a handover-elsewhere "$PWD/busy"
has busy "mounted at $PWD/m by kfs"
kill -KILL "$(kfs_pids "$PWD/m")"
umount m
forget_mount "$PWD/m"
cp --sparse=always stale.img before.img
"$VFE" a handover-elsewhere "$PWD/busy"
has busy 'not closed by who had it last'
cmp before.img stale.img
stop busy
expect_status 32 kfs --no-mount "$PWD/none.img" -o "vhost=$PWD/none,incoming" 2>error.txt
grep -q 'No such file' error.txt || fail "$(cat error.txt)"
stop a
fsck_clean disk.img

# ---- an image that stays ----

mount_kfs disk.img m -o "vhost=$PWD/s,tag=guests,handover"
"$VFE" s handover-refused
umount_kfs m
grep -q "cannot be handed over: it is mounted at $PWD/m" kfs-m.log || fail "the mount is not named"
fsck_clean disk.img
mke2fs -q -t ext2 ext2.img 64M
serve plain ext2.img handover
"$VFE" plain handover-refused
has plain 'cannot be handed over: the image has no journal'
stop plain
