#!/usr/bin/env bash
# kfsctl status and list: the mount is found by every name it has, and what is said agrees with dumpe2fs and stat.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq dumpe2fs
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

field() { # OBJECT-FILE FILTER
	jq -r "$2" "$1"
}

# ---- no mount ----
expect_eq "$(kfsctl list --json | jq length)" 0 "mounts before any"
expect_status 1 kfsctl status 2>error.txt
grep -q '^kfsctl: no mount: there is no kfs mount .*: mount one: kfs IMAGE MOUNTPOINT$' error.txt || fail "$(cat error.txt)"

# ---- one mount, by every name ----
mkimage a.img 64M -L "first one"
mkimage b.img 32M -b 1024
mount_kfs a.img a
mkdir -p a/deep/er
ln -s "$SCRATCH/a/deep" link
ln a.img hard.img
id=$(kfsctl list --json | jq -r '.[0].id')
for target in a a/ a/deep/er ./a/../a/deep "$SCRATCH/a" link a.img "$SCRATCH/a.img" hard.img "$id"; do
	expect_eq "$(kfsctl status --json "$target" | jq -r .image)" "$SCRATCH/a.img" "image of $target"
done
expect_eq "$(cd a/deep && kfsctl status --json | jq -r .image)" "$SCRATCH/a.img" "image of the working directory"
expect_eq "$(cd / && kfsctl status --json | jq -r .image)" "$SCRATCH/a.img" "image of the only mount"
mkdir bound
mount --bind a/deep bound
expect_eq "$(kfsctl status --json bound/er | jq -r .image)" "$SCRATCH/a.img" "image of a bind mount"
umount bound

# ---- what it says ----
kfsctl status --json a >a.json
dumpe2fs -h a.img >dump.txt 2>/dev/null
dump() {
	sed -n "s/^$1:[[:space:]]*//p" dump.txt
}
expect_eq "$(field a.json .mountpoint)" "$SCRATCH/a" mountpoint
expect_eq "$(field a.json .uuid)" "$(dump 'Filesystem UUID')" uuid
expect_eq "$(field a.json .label)" "first one" label
expect_eq "$(field a.json '.features | sort | join(" ")')" "$(dump 'Filesystem features' | tr ' ' '\n' | grep -Ev '^(needs_recovery|orphan_present)$' | sort | paste -sd' ')" features
expect_eq "$(field a.json .space.blocks)" "$(dump 'Block count')" blocks
expect_eq "$(field a.json .space.inodes)" "$(dump 'Inode count')" inodes
expect_eq "$(field a.json .space.inode_bytes)" "$(dump 'Inode size')" "inode size"
expect_eq "$(field a.json .space.blocks_reserved)" "$(dump 'Reserved block count')" "reserved blocks"
expect_eq "$(field a.json .space.block_bytes)" "$(stat -f -c %S a)" "block size"
expect_eq "$(field a.json .space.blocks_usable)" "$(stat -f -c %b a)" "usable blocks"
expect_eq "$(field a.json .space.blocks_free)" "$(stat -f -c %f a)" "free blocks"
expect_eq "$(field a.json .space.blocks_available)" "$(stat -f -c %a a)" "available blocks"
expect_eq "$(field a.json .space.inodes_free)" "$(stat -f -c %d a)" "free inodes"
expect_eq "$(field a.json .journal.present)" true journal
expect_eq "$(field a.json .journal.commit_interval_seconds)" 5 "commit interval"
expect_eq "$(field a.json .journal.error)" null "journal error"
expect_eq "$(field a.json .errors.corruptions)" 0 corruptions
expect_eq "$(field a.json .supervisor_pid)" null supervisor
expect_eq "$(field a.json .recover)" off recover
expect_eq "$(field a.json .tier)" "$(tier_told)" tier
expect_eq "$(field a.json .readonly)" false readonly
expect_eq "$(field a.json .frozen)" false frozen
expect_eq "$(field a.json .owner_uid)" 0 owner
expect_eq "$(readlink "/proc/$(field a.json .worker_pid)/exe")" "$(readlink -f "$BIN/kfs")" "program of worker_pid"
kfsctl status a >a.txt
for word in "$SCRATCH/a.img" "first one" "$(dump 'Filesystem UUID')" "$(tier_told): " 'has_journal' 'none; errors=' 'read-write'; do
	grep -qF -- "$word" a.txt || fail "'$word' is not in: $(cat a.txt)"
done

# ---- several mounts ----
mount_kfs b.img b -o ro
expect_status 1 kfsctl status 2>error.txt </dev/null
grep -q '^kfsctl: no TARGET: more than one mount: ' error.txt || fail "$(cat error.txt)"
grep -qF "$SCRATCH/b.img" error.txt || fail "the mounts are not listed: $(cat error.txt)"
expect_eq "$(cd b && kfsctl status --json | jq -r .image)" "$SCRATCH/b.img" "image of the working directory"
kfsctl status --json b >b.json
expect_eq "$(field b.json .readonly)" true "readonly of a ro mount"
expect_eq "$(field b.json '.readonly_reason | length > 0')" true "its reason"
expect_eq "$(field b.json '.options | index("ro") != null')" true "ro among the options"
kfsctl list >list.txt
grep -Eq "^$id +[0-9]+ +read-write .* $SCRATCH/a +$SCRATCH/a.img\$" list.txt || fail "$(cat list.txt)"
grep -Eq " read-only .* $SCRATCH/b +" list.txt || fail "$(cat list.txt)"
expect_eq "$(kfsctl list --json | jq -r 'map(.state) | sort | join(",")')" read-only,read-write states

# A mount on top of a directory of ours is not ours.
mkdir a/over
mount -t tmpfs none a/over
expect_status 1 kfsctl status a/over 2>error.txt
umount a/over
grep -q 'neither on a kfs mount nor a mounted image or id' error.txt || fail "$(cat error.txt)"

# ---- the other profile ----
umount_kfs b
mount_kfs b.img b -o share=on
expect_eq "$(kfsctl status --json b | jq -r '"\(.share) \(.tier) \(.tier_reason | contains("share=on"))"')" "true $(tier_told) true" "tier of share=on"

# ---- usage ----
kfsctl --help >help.txt
for word in top snapshot restore defrag recover upgrade nonsense; do
	expect_status 2 kfsctl "$word" 2>error.txt
	grep -q "^kfsctl: $word: unknown command" error.txt || fail "$(cat error.txt)"
	if grep -Eq "^  $word" help.txt; then fail "--help offers $word"; fi
done
expect_status 2 kfsctl 2>/dev/null
expect_status 2 kfsctl --nonsense 2>/dev/null
expect_status 2 kfsctl status a b 2>/dev/null
expect_status 2 kfsctl trace maybe 2>/dev/null
expect_status 1 kfsctl status "$SCRATCH/nowhere" 2>/dev/null
expect_status 1 kfsctl status /proc 2>/dev/null
expect_status 1 kfsctl status a >/dev/full 2>/dev/null
expect_eq "$(kfsctl --version | cut -d' ' -f1)" kfsctl version

umount_kfs a
umount_kfs b
expect_eq "$(kfsctl list --json | jq length)" 0 "mounts after all"
expect_eq "$(find "$KFS_RUNTIME_DIR" -type f -o -type s | wc -l)" 0 "files left in the runtime directory"
fsck_clean a.img
fsck_clean b.img
