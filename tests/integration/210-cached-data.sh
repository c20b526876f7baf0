#!/usr/bin/env bash
# What the kernel caches and what the daemon knows agree where they meet: O_TRUNC and reads with caches dropped, holes
# sought while pages are dirty (HOLES=data: where kfs cannot ask for those, they are data), appends by two processes, sizes and times after a remount, unlinked open files.
. "$(dirname "$0")/../lib/lib.sh"
need_root
need python3

judge() { # mount words
	local words=$1
	mkimage a.img 64M
	mount_kfs a.img a -o "$words"

	# O_TRUNC, nothing cached
	head -c 300000 /dev/urandom >a/old
	drop_caches
	echo new >a/old
	drop_caches
	expect_eq "$(cat a/old)" new "file after O_TRUNC ($words)"
	expect_eq "$(stat -c %s a/old)" 4 "size after O_TRUNC"
	# shellcheck disable=SC2188 # the truncation is what is tested
	>a/old
	drop_caches
	expect_eq "$(stat -c %s a/old)" 0 "size after an empty O_TRUNC"

	# holes while pages are dirty: cp asks for them
	python3 - a/sparse <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'x' * 5000, 1 << 20)
exact = os.environ.get('HOLES') != 'data'
assert os.lseek(fd, 0, os.SEEK_DATA) == (1 << 20 if exact else 0), os.lseek(fd, 0, os.SEEK_DATA)
assert os.lseek(fd, 1 << 20, os.SEEK_HOLE) >= (1 << 20) + 5000
os.ftruncate(fd, 4 << 20)
if exact:
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    try:
        os.lseek(fd, 3 << 20, os.SEEK_DATA)
        raise SystemExit('data behind the data')
    except OSError:
        pass
os.pwrite(fd, b'y' * 10, 3 << 20)
import subprocess
subprocess.run(['cp', '--sparse=auto', sys.argv[1], sys.argv[1] + '.copy'], check=True)
with open(sys.argv[1], 'rb') as one, open(sys.argv[1] + '.copy', 'rb') as two:
    assert one.read() == two.read(), 'cp lost data'
PY

	# two processes append: no line is lost or torn
	: >a/log
	for who in A B; do
		python3 -c '
import os, sys
fd = os.open("a/log", os.O_WRONLY | os.O_APPEND)
for i in range(2000):
    os.write(fd, (sys.argv[1] * 20 + "\n").encode())' "$who" &
	done
	wait
	expect_eq "$(sort a/log | uniq -c | awk '{ print $1, $2 }' | tr '\n' ' ')" \
		"2000 AAAAAAAAAAAAAAAAAAAA 2000 BBBBBBBBBBBBBBBBBBBB " "lines of two appenders ($words)"

	# an unlinked open file lives on, and is gone afterwards
	exec 5<>a/gone
	echo still here >&5
	rm a/gone
	drop_caches
	expect_eq "$(cat /proc/self/fd/5)" "still here" "unlinked open file"
	exec 5>&-

	# rename over an open file
	echo first >a/name
	exec 5<a/name
	echo second >a/other
	mv a/other a/name
	expect_eq "$(cat <&5)" first "file renamed over while open"
	expect_eq "$(cat a/name)" second
	exec 5<&-

	# times and sizes survive
	touch -d '2001-02-03 04:05:06.123456789' a/name
	echo more >>a/log
	kwalk a >live.txt
	remount_kfs a.img a -o "$words"
	same_tree live.txt a
	umount_kfs a
	fsck_clean a.img
}

judge share=off
judge share=on
