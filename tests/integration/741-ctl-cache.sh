#!/usr/bin/env bash
# kfsctl cache on the stock tier: there is no table, and it says so; looking leaves no trace; drop makes the kernel ask.
# timeout: 300
. "$(dirname "$0")/../lib/lib.sh"
need_root
need jq
export KFS_RUNTIME_DIR=$SCRATCH/run
mkdir -m 700 "$KFS_RUNTIME_DIR"

mkimage a.img 64M
mount_kfs a.img a
mkdir a/d
echo text >a/d/f
ln -s d a/link
umount_kfs a
mount_kfs a.img a

requests() { kfsctl stats --json a | jq "[.transports[].opcodes.$1.requests // 0] | add"; }
show() { kfsctl cache show --json "$@"; }

# ---- what is known, and that looking asks nothing and fills nothing ----
lookups=$(requests LOOKUP)
show a/d/f >show.json
jq -e '.tier == "stock" and .kernel == null and .agrees == null and .differences == [] and .path == "/d/f" and .file == "a/d/f"' show.json >/dev/null ||
	fail "$(cat show.json)"
jq -e '.store | .exists and .size_bytes == 5 and .mode == "0100644" and .nlink == 1 and .uid == 0' show.json >/dev/null || fail "$(cat show.json)"
jq -e '.timeouts | .entry_seconds > 0 and .attr_seconds > 0 and .negative_seconds > 0' show.json >/dev/null || fail "$(cat show.json)"
show a/d/absent | jq -e '.store.exists == false' >/dev/null || fail "an absent name exists"
show a | jq -e '.store.exists and .store.ino == 2 and .path == ""' >/dev/null || fail "the root: $(show a)"
expect_eq "$(requests LOOKUP)" "$lookups" "lookups that looking made"
(cd a/d && show ../d/./f) | jq -e '.path == "/d/f"' >/dev/null || fail "a relative path"
expect_eq "$(stat -c %i a/d/f)" "$(jq .store.ino show.json)" "the inode number"
kfsctl cache show a/d/f >show.txt
grep -q '^  table *there is none: the stock tier' show.txt || fail "$(cat show.txt)"
grep -q '^  store *inode [0-9]* generation [0-9]*, version [0-9]*: mode 0100644, 1 links, owner 0:0, 5 bytes$' show.txt || fail "$(cat show.txt)"

# ---- a folder of the mount, bound elsewhere; links outside of it ----
own_mounts bash -euc 'mkdir -p bound; mount --bind a/d bound; kfsctl cache show --json bound/f | jq -e ".path == \"/d/f\" and .store.exists"' >/dev/null ||
	fail "a bind mount of a folder"
ln -s a alias
show alias/d/f | jq -e '.path == "/d/f" and .store.exists' >/dev/null || fail "through a link outside of the mount"
expect_status 1 show a/link/f 2>error.txt
grep -q 'is not a directory (symbolic links are not followed)' error.txt || fail "$(cat error.txt)"

# ---- drop: the kernel asks again ----
again() { # what the kernel asks for a name that it was made to forget; the notification has its own thread
	stat a/d/f >/dev/null
	[ "$(requests LOOKUP)" -gt "$lookups" ]
}
stat a/d/f >/dev/null
lookups=$(requests LOOKUP)
stat a/d/f >/dev/null
expect_eq "$(requests LOOKUP)" "$lookups" "lookups of a cached name"
kfsctl cache drop a/d/f
eventually 10 again || fail "a dropped name is still cached"
stat a/d/f >/dev/null
lookups=$(requests LOOKUP)
stat a/d/f >/dev/null
expect_eq "$(requests LOOKUP)" "$lookups" "lookups of a name that is cached again"
# All of it, where the kernel can be told; else it says what to do.
for what in a a.img "$(kfsctl status --json a | jq -r .id)"; do
	lookups=$(requests LOOKUP)
	kfsctl cache drop --json "$what" >drop.json
	jq -e '.tables == false' drop.json >/dev/null || fail "$(cat drop.json)"
	if jq -e .kernel_names_dropped drop.json >/dev/null; then
		eventually 10 again || fail "cache drop $what: names are still cached"
	else
		kfsctl cache drop "$what" 2>error.txt
		grep -q 'this kernel cannot be told to forget all names' error.txt || fail "$(cat error.txt)"
	fi
done
expect_eq "$(cat a/d/f)" text "contents after all that"

# ---- wrong words, wrong paths, wrong users ----
expect_status 2 kfsctl cache 2>/dev/null
expect_status 2 kfsctl cache show 2>error.txt
grep -q 'cache show: a path is missing' error.txt || fail "$(cat error.txt)"
expect_status 2 kfsctl cache look a 2>error.txt
grep -q 'look: cache wants show or drop' error.txt || fail "$(cat error.txt)"
expect_status 2 kfsctl cache show a b 2>/dev/null
expect_status 1 kfsctl cache show /proc/self 2>error.txt
grep -q '/proc/self: is not on a kfs mount' error.txt || fail "$(cat error.txt)"
expect_status 1 kfsctl cache show a/nowhere/f 2>error.txt
grep -q 'a directory on the way does not exist' error.txt || fail "$(cat error.txt)"
expect_status 1 kfsctl cache show "a/d/$(printf 'x%.0s' {1..256})" 2>error.txt
grep -q 'a name is too long' error.txt || fail "$(cat error.txt)"
expect_status 1 kfsctl cache show a/d/$'\xff' 2>error.txt
grep -q 'is not UTF-8' error.txt || fail "$(cat error.txt)"
unset KFS_RUNTIME_DIR
mkimage b.img 16M
mount_kfs b.img b
for words in "show $SCRATCH/b/x" "drop $SCRATCH/b" "drop $SCRATCH/b/x"; do
	# shellcheck disable=SC2086 # several words
	expect_status 1 as_user kfsctl cache $words 2>error.txt
	grep -q 'you may not ask: it belongs to another user' error.txt || fail "cache $words: $(cat error.txt)"
done
umount_kfs b
umount_kfs a
fsck_clean a.img
