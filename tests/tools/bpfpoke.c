// SPDX-License-Identifier: GPL-2.0-only
/*
 * bpfpoke PINS WHAT INO: falsifies a mount's tables behind the daemon's back, as a bug would:
 *
 *	size		the size of the inode, 1 too large
 *	generation	names of the inode lead to one of another generation
 *	absent		names of the inode are absent
 *
 * Exit status 1: the tables do not know the inode.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "include/kfs/bpf_abi.h"

static int die(const char *what)
{
	fprintf(stderr, "bpfpoke: %s: %s\n", what, strerror(errno));
	return 2;
}

static void *map_table(const char *pins, const char *name, size_t value_size, uint32_t *ret_count)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr attr;
	char path[256];
	void *memory;
	long fd;

	snprintf(path, sizeof(path), "%s/%s", pins, name);
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uint64_t)(uintptr_t)path;
	fd = syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));
	if (fd < 0)
		exit(die(path));
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uint64_t)(uintptr_t)&info;
	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)))
		exit(die(path));
	memory = mmap(NULL, info.max_entries * value_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      (int)fd, 0);
	if (memory == MAP_FAILED)
		exit(die(path));
	*ret_count = info.max_entries;
	return memory;
}

static unsigned poke_attrs(struct kfs_attr_set *sets, uint32_t count, uint32_t ino)
{
	unsigned poked = 0;

	for (uint32_t k = 0; k < count; k++)
		for (uint32_t way = 0; way < KFS_WAYS; way++)
			if (sets[k].state[way] == KFS_SLOT_KNOWN &&
			    (uint32_t)sets[k].slot[way].nodeid == ino) {
				sets[k].slot[way].attr.size++;
				poked++;
			}
	return poked;
}

static unsigned poke_entries(struct kfs_entry_set *sets, uint32_t count, uint32_t ino, bool absent)
{
	unsigned poked = 0;

	for (uint32_t k = 0; k < count; k++)
		for (uint32_t way = 0; way < KFS_WAYS; way++)
			if (sets[k].state[way] == KFS_SLOT_KNOWN &&
			    (uint32_t)sets[k].slot[way].nodeid == ino) {
				if (absent)
					sets[k].state[way] = KFS_SLOT_ABSENT;
				else
					sets[k].slot[way].nodeid += UINT64_C(1) << 32;
				poked++;
			}
	return poked;
}

int main(int argc, char **argv)
{
	unsigned poked;
	uint32_t ino, count;
	void *table;

	if (argc != 4) {
		fprintf(stderr, "usage: bpfpoke PINS size|generation|absent INO\n");
		return 2;
	}
	ino = (uint32_t)strtoul(argv[3], NULL, 10);
	if (!strcmp(argv[2], "size")) {
		table = map_table(argv[1], "kfs_attrs", sizeof(struct kfs_attr_set), &count);
		poked = poke_attrs(table, count, ino);
	} else {
		table = map_table(argv[1], "kfs_entries", sizeof(struct kfs_entry_set), &count);
		poked = poke_entries(table, count, ino, !strcmp(argv[2], "absent"));
	}
	return poked ? 0 : 1;
}
