#!/usr/bin/env bash
# Words that are wrong: one line that names the word and the remedy, exit status 1, nothing written.
. "$(dirname "$0")/../lib/lib.sh"

mkimage a.img 16M
mkdir a
sum=$(sha256sum <a.img)

# refused STATUS PATTERN kfs's words…
refused() {
	local status=$1 pattern=$2
	shift 2
	expect_status "$status" kfs "$@" 2>error.txt >output.txt
	grep -q "^kfs: $pattern" error.txt || fail "kfs $*: $(cat error.txt)"
	expect_eq "$(wc -l <error.txt)" 1 "lines for kfs $*"
	expect_eq "$(wc -c <output.txt)" 0 "output for kfs $*"
	mountpoint -q a && fail "mounted: kfs $*"
	expect_eq "$(sha256sum <a.img)" "$sum" "image after kfs $*"
}

refused 1 'the image is missing: '
refused 1 'the mount point is missing: ' a.img
refused 1 'c: one word too many: ' a.img a c
refused 1 '-q: unknown option: see kfs --help' -q a.img a
refused 1 '-o: options are missing' a.img a -o
refused 1 'nosuch: unknown option: see kfs --help' a.img a -o nosuch
refused 1 'nosuch: unknown option' a.img a -o ro,nosuch,noatime
refused 1 'rw: contradicts ro' a.img a -o ro,rw
refused 1 'relatime: contradicts noatime' a.img a -o noatime -o relatime
refused 1 'errors=panic: contradicts errors=continue' a.img a -o errors=continue,errors=panic
refused 1 'norecovery: contradicts rw: say ro' a.img a -o rw,norecovery
refused 1 'writeback: contradicts share=on' a.img a -o share=on,writeback
refused 1 'strictatime: .*: use relatime' a.img a -o strictatime
refused 1 'commit=soon: not a number' a.img a -o commit=soon
refused 1 'offset=-1: not a number' a.img a -o offset=-1
refused 1 'max_threads=0: not a number from 1' a.img a -o max_threads=0
refused 1 'log_level=loud: not one of off, error' a.img a -o log_level=loud
refused 1 'uring=maybe: unknown option' a.img a -o uring=maybe
[ -e /dev/fusebpf ] || refused 32 'bpf=on: .*\(/dev/fusebpf is not there: load\|this build has no\)' a.img a -o bpf=on
refused 1 'bpf_mb=0: not a number from 1' a.img a -o bpf_mb=0
refused 1 'recover=on: .*not in this build' a.img a -o recover=on
refused 1 'vhost: .*: say share=on, or guests=ro' a.img a -o vhost=/run/s,share=off
refused 1 'snapshot=yesterday: .*not in this build' a.img a -o snapshot=yesterday
refused 1 'data=journal: .*: say data=ordered' a.img a -o data=journal
refused 1 'remount: .*: unmount it and mount it again' a.img a -o remount,ro
refused 1 '--no-mount: needs -o vhost=SOCKET' --no-mount a.img
refused 2 '/no/such/dir/log: No such file' a.img a -o log=/no/such/dir/log

kfs --version | grep -q '^kfs [^ ]' || fail "no version"
kfs --help >help.txt
for word in ro noatime commit= share=on errors=remount-ro log=; do
	grep -q "^  $word" help.txt || fail "--help does not show $word"
done
