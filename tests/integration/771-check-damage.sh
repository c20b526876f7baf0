#!/usr/bin/env bash
# timeout: 300
# Kinds of damage, each planted with debugfs (which recomputes checksums) or bytes written: kfs's check of the opened
# image says what e2fsck -fn says of it, word for word. Where the two differ on purpose, the case says how.
. "$(dirname "$0")/../lib/lib.sh"
need mke2fs e2fsck debugfs

# What both say, one line each: e2fsck's without its questions, counts and summary. Where its "no" to a repair makes it
# go on as if it had repaired (types and parents that "should be 0"), it speaks of a state that never was: left out.
theirs() { # IMG
	e2fsck -fn "$1" 2>/dev/null >e2fsck.raw || :
	tr '\t' ' ' <e2fsck.raw | sed -e 's/[A-Z][A-Za-z0-9_/ +-]*? no$//' -e 's/ *$//' -e '/^$/d' |
		sed -e ':a' -e 'N' -e '$!ba' -e 's/\n \((\|Marking\)/ \1/g' -e 's/:\nLogical start/: Logical start/g' |
		sed -e '/^Pass [1-5][BCD]*:/d' -e '/^e2fsck /d' -e '/: \*\*\*\*\*/d' -e '/: [0-9]*\/[0-9]* files/d' \
			-e '/^Running additional passes/d' -e '/inodes containing multiply-claimed/d' -e '/^File .* (inode #/d' \
			-e '/^ *has [0-9]* multiply-claimed/d' -e '/^ *\//d' -e '/^ *<.*> (inode #/d' \
			-e '/^ *<filesystem metadata>/d' -e '/^Multiply-claimed blocks already/d' -e '/should be 0)\.$/d' \
			-e '/should be <The NULL inode>/d' -e 's/ IGNORED\.$//' -e '/^ *IGNORED\.$/d' \
			-e 's/^[BI][a-z]* bitmap differences: Group/Group/' -e '/^One or more block group desc/d' \
			-e '/illegal characters\|incorrect filetype/s/ in [^ ]* (/ in (/' -e 's/  */ /g' -e 's/ *$//' -e '/^$/d' | sort -u
}

ours() { # IMG [words for checkimg]
	local image=$1 status=0
	shift
	cp "$image" ours.img
	"$TOOLS/checkimg" "$@" ours.img >ours.raw || status=$?
	[ "$status" -le 4 ] || fail "checkimg: exit status $status: $(cat ours.raw)"
	sed -e 's/  */ /g' -e 's/ *$//' -e '/illegal characters\|incorrect filetype/s/ in [^ ]* (/ in (/' ours.raw | sort -u
}

kinds=0 bad=0

# damage NAME IMAGE LINE…: the lines are debugfs's, in one session; "!" begins a shell command that gets $image. Words in
# front: "~ERE" lines of both that this case leaves out; "@" damages the image while it is open.
damage() {
	local name=$1 base=$2 image=$PWD/x.img line without='^$' open=''
	shift 2
	cp "$base" "$image"
	: >debugfs.txt
	while :; do
		case ${1:-} in
		~*) without=${1#\~} ;;
		@) open=1 ;;
		*) break ;;
		esac
		shift
	done
	for line; do
		case $line in
		!*) eval "${line#!}" ;;
		*) echo "$line" >>debugfs.txt ;;
		esac
	done
	[ ! -s debugfs.txt ] || debugfs -w -f debugfs.txt "$image" >debugfs.log 2>&1 || fail "$name: debugfs: $(cat debugfs.log)"
	theirs "$image" | grep -Ev "$without" >theirs.txt || :
	if [ "$open" ]; then
		ours "$base" -x "dd if=$image of=ours.img bs=64k conv=notrunc status=none" >ours.all
	else
		ours "$image" >ours.all
	fi
	grep -Ev "$without" ours.all >ours.txt || :
	kinds=$((kinds + 1))
	[ -s theirs.txt ] || [ -s ours.txt ] || { echo "$name: not damaged" && bad=$((bad + 1)); }
	cmp -s theirs.txt ours.txt && return 0
	bad=$((bad + 1))
	echo "== $name: < e2fsck  > kfs"
	diff theirs.txt ours.txt || :
}

# own NAME IMAGE ERE LINE…: kfs alone says it, of an image damaged while it is open.
own() {
	local name=$1 base=$2 want=$3 image=$PWD/x.img line
	shift 3
	cp "$base" "$image"
	for line; do
		case $line in
		!*) eval "${line#!}" ;;
		*) debugfs -w -R "$line" "$image" >debugfs.log 2>&1 || fail "$name: debugfs: $(cat debugfs.log)" ;;
		esac
	done
	ours "$base" -x "dd if=$image of=ours.img bs=64k conv=notrunc status=none" >ours.txt
	kinds=$((kinds + 1))
	grep -Eq "$want" ours.txt && return 0
	bad=$((bad + 1))
	echo "== $name: no '$want' in:" && cat ours.txt
}

# poke OFFSET HEX: bytes into $image, no checksum.
# shellcheck disable=SC2001 # every two digits
poke() { printf '%b' "$(sed 's/../\\x&/g' <<<"$2")" | dd of="$image" bs=1 seek="$1" conv=notrunc status=none; }
ino_of() { debugfs -R "stat $2" "$1" 2>/dev/null | sed -n 's/^Inode: \([0-9]*\) .*/\1/p'; }
block_of() { debugfs -R "bmap $2 $3" "$1" 2>/dev/null; }

mkdir -p tree/d/sub tree/big
for n in $(seq 400); do : >"tree/big/a-name-that-is-long-enough-$n"; done
head -c 40000 /dev/urandom >tree/f
head -c 300000 /dev/urandom >tree/g
echo one >tree/single
echo hello >tree/d/sub/x
ln tree/f tree/d/hard
ln -s target tree/fast
ln -s "$(printf 'y%.0s' $(seq 100))" tree/slow
mkfifo tree/fifo
for n in $(seq 0 2 40); do dd if=tree/g of=tree/sparse bs=1k count=1 seek=$((n * 3)) conv=notrunc status=none; done
mke2fs -q -F -t ext4 -b 1024 -O ^resize_inode -d tree base.img 8M >/dev/null 2>&1
mke2fs -q -F -t ext2 -b 1024 -I 128 -d tree ext2.img 8M >/dev/null 2>&1
debugfs -w -R 'ea_set f user.name value' base.img >/dev/null 2>&1
debugfs -w -R "ea_set g user.long $(printf 'z%.0s' $(seq 300))" base.img >/dev/null 2>&1
e2fsck -fyD base.img >/dev/null 2>&1 || : # gives the directory its index
mke2fs -q -F -t ext4 -O inline_data -I 256 -b 1024 -d tree inline.img 8M >/dev/null 2>&1
mke2fs -q -F -t ext4 -O bigalloc -C 4096 -b 1024 -d tree bigalloc.img 16M >/dev/null 2>&1
mke2fs -q -F -t ext4 -O meta_bg,^resize_inode -b 1024 -g 1024 -d tree metabg.img 8M >/dev/null 2>&1
mke2fs -q -F -t ext4 -b 1024 -d tree resize.img 8M >/dev/null 2>&1
mke2fs -q -F -t ext4 -O mmp -b 1024 -E mmp_update_interval=1 -d tree mmp.img 8M >/dev/null 2>&1
fsck_clean base.img
fsck_clean ext2.img
ours base.img >ours.all
[ ! -s ours.all ] || fail "the sound image has findings: $(cat ours.all)"
f=$(ino_of base.img f)


# shellcheck disable=SC2016 # $image is expanded by eval
{
	damage links_high base.img "sif f links_count 7"
	damage links_low base.img "sif f links_count 1"
	damage dir_links base.img "sif d links_count 9"
	damage dtime base.img "sif f dtime 12345"
	damage size_small base.img "sif g size 1024"
	damage size_dir base.img "sif big size 1024"
	damage size_dir_odd base.img "sif d size 1000"
	damage blocks_count base.img "sif f blocks 2"
	damage mode_none base.img "sif single mode 0"
	damage mode_dir_to_file base.img "sif d/sub mode 0100644"
	damage symlink_size base.img "sif fast size 30"
	damage symlink_slow_size base.img "sif slow size 90"
	damage fifo_size base.img "sif fifo size 5"
	damage file_acl base.img "sif single file_acl 99999999"
	damage index_on_file base.img "~HTREE|LARGE_DIR" "sif f flags 0x81000"
	damage extra_isize base.img "sif f extra_isize 201"
	damage block_free base.img "freeb $(block_of base.img f 3) 2"
	damage block_leak base.img "setb 7000 3"
	damage inode_free base.img "freei <$f>"
	damage inode_leak base.img "seti <900>"
	damage unlinked base.img "unlink f"
	damage unlinked_dir base.img "unlink d"
	damage deleted_inode base.img "clri f"
	damage deleted_dir base.img "clri d"
	damage link_extra base.img "link f g2"
	damage link_dir base.img "link d dir2"
	damage link_root base.img "link / d/rootlink"
	damage link_unused base.img "link <999> ghost"
	damage link_reserved base.img "link <8> journal"
	damage free_blocks_group base.img "set_bg 0 free_blocks_count 5" "set_bg 0 checksum calc"
	damage free_inodes_group base.img "set_bg 0 free_inodes_count 5" "set_bg 0 checksum calc"
	damage used_dirs base.img "set_bg 0 used_dirs_count 99" "set_bg 0 checksum calc"
	damage sb_free_blocks base.img "ssv free_blocks_count 77"
	damage sb_free_inodes base.img "ssv free_inodes_count 77"
	damage extent_block base.img "sif f block[5] 0x7fffffff"
	damage extent_magic base.img "sif f block[0] 0x1234"
	damage extent_len_zero base.img "sif f block[4] 0"
	damage extent_overlap_meta base.img "sif f block[5] 2"
	damage extent_shared base.img "sif f block[5] $(block_of base.img g 0)"
	damage extent_order base.img '!blk=$(debugfs -R "ex sparse" base.img 2>/dev/null | sed -n "s/^ *0\/ *1 .* \([0-9]*\)  *[0-9 ]*$/\1/p")' "sif sparse block[3] 7"
	damage inode_csum base.img '!poke $(($(debugfs -R "imap f" base.img 2>/dev/null | sed -n "s/.*located at block \([0-9]*\), offset \(.*\)/\1*1024+\2/p")+4)) 00000001'
	damage dir_csum base.img '!poke $(($(block_of base.img d 0) * 1024 + 1022)) 55'
	damage dir_rec_len base.img "~ref count|Unconnected" '!poke $(($(block_of base.img d 0) * 1024 + 28)) 0500'
	damage dir_leaf_csum base.img '!poke $(($(block_of base.img big 2) * 1024 + 1022)) 55'
	damage dir_hole base.img "~should be at block|HTREE" "punch big 3 3"
	damage htree_root_csum base.img '!poke $(($(block_of base.img big 0) * 1024 + 1023)) 55'
	damage htree_depth base.img '~has invalid depth|Invalid HTREE|LARGE_DIR|root node is invalid' '!poke $(($(block_of base.img big 0) * 1024 + 30)) 05'
	damage htree_hash base.img '~has bad min|Invalid HTREE' '!poke $(($(block_of base.img big 0) * 1024 + 28)) 07'
	damage htree_limit base.img '!poke $(($(block_of base.img big 0) * 1024 + 32)) 0700'
	damage xattr_csum base.img '!poke $(($(debugfs -R "stat g" base.img 2>/dev/null | sed -n "s/.*File ACL: \([0-9]*\).*/\1/p") * 1024 + 16)) 11223344'
	damage xattr_magic base.img '!poke $(($(debugfs -R "stat g" base.img 2>/dev/null | sed -n "s/.*File ACL: \([0-9]*\).*/\1/p") * 1024 + 3)) 00'
	damage xattr_refs base.img "sif f file_acl $(debugfs -R 'stat g' base.img 2>/dev/null | sed -n 's/.*File ACL: \([0-9]*\).*/\1/p')"
	damage block_bitmap_csum base.img "set_bg 0 block_bitmap_csum 1" "set_bg 0 checksum calc"
	damage inode_bitmap_csum base.img "set_bg 0 inode_bitmap_csum 1" "set_bg 0 checksum calc"
	damage dot_dot base.img '!poke $(($(block_of base.img d 0) * 1024 + 12)) 0b000000'
	damage desc_csum base.img @ "set_bg 0 checksum 0x1234"
	damage dot base.img '!poke $(($(block_of base.img d 0) * 1024)) 0b000000'
	damage ftype base.img '!poke $(($(block_of base.img d 0) * 1024 + 31)) 05'
	damage name_slash base.img '!poke $(($(block_of base.img d 0) * 1024 + 32)) 2f'
	damage ind_illegal ext2.img "sif g block[IND] 0x7ffffff"
	damage ind_direct ext2.img "sif f block[3] 0x7ffffff"
	damage ind_shared ext2.img "sif f block[3] $(block_of ext2.img g 5)"
	damage ind_meta ext2.img "sif f block[3] 5"
	damage ind_links ext2.img "sif f links_count 3"
	damage ind_free ext2.img "freeb $(block_of ext2.img g 20) 4"
	damage inline_entry inline.img "clri d/sub/x"
	damage bigalloc_leak bigalloc.img "setb 4000"
	damage metabg_links metabg.img "sif f links_count 5"
	damage resize_blocks resize.img "sif <7> blocks 2"
	damage reserved_mode base.img "sif <9> mode 0100644" "sif <9> links_count 1"
	damage ind_dirblock ext2.img "sif big block[1] 0"
	# What e2fsck -n does not look at, or stops at.
	own orphan_illegal base.img "Illegal orphaned inode 5 in superblock" "ssv last_orphan 5"
	own orphan_free base.img "Illegal inode 1000 in orphaned inode list" "ssv last_orphan 1000"
	own desc_uninit base.img "Group 0 inode.s. in use but group is marked INODE_UNINIT" "set_bg 0 flags 1" "set_bg 0 checksum calc"
	own inline_size inline.img "i_size is 300, should be 60" "sif d/sub/x size 300"
	own journal_mode base.img "Journal is not regular file" "sif <8> mode 040755"
	own journal_super base.img "Journal superblock is corrupt" '!poke $(($(block_of base.img "<8>" 0) * 1024 + 12)) ff'
	own backup_super metabg.img "Backup superblock in group 1 is corrupt" '!poke $((1025 * 1024 + 56)) 0000'
	own mmp mmp.img "MMP block checksum" '!poke $(($(dumpe2fs -h mmp.img 2>/dev/null | sed -n "s/^MMP block number: *//p") * 1024 + 100)) 55'
}
echo "$kinds kinds of damage"
[ "$bad" -eq 0 ] || fail "$bad of them differ from e2fsck"
