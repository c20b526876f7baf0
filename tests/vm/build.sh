#!/usr/bin/env bash
# Builds the programs that run in the guest and are no part of "make all", because they need libbpf >= 1.4 and clang's BPF
# target:  tests/vm/build.sh   (BUILD: folder of the build, its libkfs.a and test.a are used)

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
BUILD=${BUILD:-build}
TOOLS=$(kernel-patches/fetch.sh tools)
OBJ=$BUILD/vm/obj
BIN=$BUILD/bin/tests/vm
FLAGS=(-std=gnu17 -D_GNU_SOURCE -I. -Iinclude -I"$OBJ" -isystem "$TOOLS/usr/include" -include daemon/base/banned.h
	-Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wno-unused-result -O2 -g -pthread)

# program NAME [FILE…]: of NAME.c and those
program() {
	local name=$1
	shift
	# shellcheck disable=SC2086 # a compiler may come with words
	${CC:-gcc} "${FLAGS[@]}" -o "$BIN/$name" "tests/vm/$name.c" "$@" \
		"$BUILD/lib/test.a" "$BUILD/lib/libkfs.a" "$TOOLS"/usr/lib/*/libbpf.a -lelf -lz
}

mkdir -p "$OBJ" "$BIN"
clang -g -O2 -target bpf -mcpu=v3 -ffreestanding -Wall -Werror -I. -isystem "$TOOLS/usr/include" \
	-isystem "/usr/include/$(gcc -print-multiarch)" -c tests/vm/fusebpf.bpf.c -o "$OBJ/fusebpf.bpf.o"
# bpftool may be newer than libbpf, whose skeletons have no links of maps; those of programs stay.
"$TOOLS/usr/sbin/bpftool" gen skeleton "$OBJ/fusebpf.bpf.o" name probe | sed '/map->link = /d' >"$OBJ/fusebpf.skel.h"
program fusebpf_test tests/vm/fuse_server.c tests/vm/tables.c
program fusebpf_bench tests/vm/fuse_server.c tests/vm/tables.c
program kfs_bench
