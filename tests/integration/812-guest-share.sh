#!/usr/bin/env bash
# timeout: 300
# What a guest sees and may keep: one directory of the image, which it leaves neither by a name nor by any number; and for how
# long it believes what, with each guest_cache=.
. "$(dirname "$0")/../lib/lib.sh"
. "$LIB/guests.sh"
need debugfs

# number PATH: its inode and generation
number() {
	debugfs -R "stat $1" disk.img 2>/dev/null | sed -n 's/^Inode: \([0-9]*\) .*/\1/p; s/^ *Generation: \([0-9]*\) .*/\1/p' | tr '\n' ' '
}

mkdir -p tree/outside/dir tree/srv/share/in/deep
echo secret >tree/outside/secret
echo inside >tree/srv/share/file
ln -s ../../outside tree/srv/share/way-out
mkimage disk.img 64M -b 4096 -d tree
sum() {
	debugfs -R 'cat /outside/secret' disk.img 2>/dev/null
	for dir in / /outside /outside/dir /srv; do
		debugfs -R "ls -p $dir" disk.img 2>/dev/null | cut -d/ -f2-6
	done
}
before=$(sum)
read -r root _ <<<"$(number /srv/share)"
serve disk.img -o vhost_dir=/srv/share
# shellcheck disable=SC2046 # numbers
"$VFE" s jail "$root" $(number /) $(number /srv) $(number /outside) $(number /outside/secret) $(number /outside/dir)
stop disk.img
expect_eq "$(sum)" "$before" "what lies outside"
debugfs -R 'stat /srv/share/made' disk.img 2>/dev/null | grep -q 'Type: directory' || fail "what the guest made is not in the share"

# What is no directory of the image.
for word in /absent /srv/share/file /srv/share/way-out /srv/../outside; do
	serve disk.img -o "vhost_dir=$word" 2>refused && fail "shared: $word"
	grep -q "^kfs: vhost_dir=$word: " refused || fail "refused with: $(cat refused)"
	expect_eq "$(wc -l <refused)" 1 "lines"
done

# keeps WORDS… LINE: what a guest is told
keeps() {
	local want=${*: -1}
	serve disk.img -o "${*:1:$#-1}"
	expect_eq "$("$VFE" s caching)" "$want
caching: ok" "what a guest keeps with ${*:1:$#-1}"
	stop disk.img
}
sub=vhost_dir=srv/share
keeps "$sub" "entry 1 attr 1 negative 0 file dir"
keeps "$sub,guest_cache=auto" "entry 1 attr 1 negative 0 file dir"
keeps "$sub,guest_cache=never" "entry 0 attr 0 negative 0 file direct dir"
keeps "$sub,guest_cache=metadata" "entry 1 attr 1 negative 0 file direct dir cache keep"
keeps "$sub,guest_cache=always" "entry 1 attr 1 negative 0 file keep dir cache keep"
# Where nobody else can change anything.
keeps "$sub,guest_cache=never,guests_max=1" "entry 0 attr 0 negative 0 file direct dir"
keeps "$sub,guest_cache=metadata,guests_max=1" "entry 86400 attr 86400 negative 86400 file direct dir cache keep"
keeps "$sub,guest_cache=always,guests=ro" "entry 86400 attr 86400 negative 86400 file keep dir cache keep"
keeps "$sub,guest_cache=always,guests_max=1,guest_writeback" \
	"entry 86400 attr 86400 negative 86400 file keep dir cache keep writeback"
for words in guest_writeback guest_writeback,guests_max=2 guest_writeback,guests_max=1,guests=ro \
	guest_writeback,guests_max=1,guest_cache=never; do
	serve disk.img -o "$words" 2>refused && fail "accepted: $words"
	grep -q '^kfs: guest_writeback: ' refused || fail "refused with: $(cat refused)"
done

# One at a time is one at a time.
serve disk.img -o guests_max=1
"$VFE" s script
"$VFE" s jail 2 2>turned-away && fail "two guests are served"
stop disk.img
grep -q 'a guest was turned away: 1 are connected already' kfs.log || fail "nobody was turned away"
