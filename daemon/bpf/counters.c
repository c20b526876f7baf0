/* SPDX-License-Identifier: GPL-2.0-only */
/* bpf(2) by hand: two commands of it. */
#include "daemon/bpf/counters.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/bpf/pins.h"

#define PROCESSORS_MAX 8192

#define ANSWER(name)                                                                               \
	{                                                                                          \
#name, offsetof(struct bpf_counters, answers.name)                                 \
	}
#define TABLE(name)                                                                                \
	{                                                                                          \
#name, offsetof(struct bpf_counters, tables.name)                                  \
	}

static const struct {
	const char *name;
	size_t at;
} counters[] = {
	ANSWER(lookup_hits),
	ANSWER(lookup_negative),
	ANSWER(lookup_complete),
	ANSWER(lookup_misses),
	ANSWER(lookup_rcu),
	ANSWER(getattr_hits),
	ANSWER(getattr_misses),
	ANSWER(getattr_rcu),
	ANSWER(xattr_absent),
	ANSWER(xattr_misses),
	ANSWER(extent_hits),
	ANSWER(extent_misses),
	ANSWER(torn_retries),
	ANSWER(torn_upcalls),
	TABLE(entry_slots),
	TABLE(entries_used),
	TABLE(attr_slots),
	TABLE(attrs_used),
	TABLE(bytes),
	TABLE(entry_fills),
	TABLE(attr_fills),
	TABLE(entry_invalidations),
	TABLE(attr_invalidations),
	TABLE(xattr_invalidations),
	TABLE(stale_refusals),
	TABLE(full_refusals),
	TABLE(entry_evictions),
	TABLE(attr_evictions),
	TABLE(directories_completed),
	TABLE(directories_lost),
	TABLE(extent_slots),
	TABLE(extent_slots_used),
	TABLE(extent_fills),
	TABLE(extent_drops),
	TABLE(extent_evictions),
};

static long bpf_call(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int map_open(const char *id, const char *name, int *ret_fd)
{
	union bpf_attr attr;
	char path[256];
	long fd;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", BPF_PIN_ROOT, id, name);
	/* Who may not read the file is told so, and not that it was no map. */
	if (access(path, R_OK))
		return -errno;
	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uint64_t)(uintptr_t)path;
	fd = bpf_call(BPF_OBJ_GET, &attr);
	if (fd < 0)
		return -errno;
	*ret_fd = (int)fd;
	return 0;
}

static int element_read(int fd, uint32_t index, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uint64_t)(uintptr_t)&index;
	attr.value = (uint64_t)(uintptr_t)value;
	return bpf_call(BPF_MAP_LOOKUP_ELEM, &attr) ? -errno : 0;
}

/* The first element of a map. */
static int map_read(const char *id, const char *name, void *value)
{
	_cleanup_close_ int fd = -1;
	int err = map_open(id, name, &fd);

	return err ? err : element_read(fd, 0, value);
}

/* "0-7" or "0,2-3": the kernel gives one value for each up to the last. */
static unsigned processors(void)
{
	FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
	unsigned first, last = 0;
	char text[64] = "";

	if (f && fgets(text, sizeof(text), f)) {
		const char *part = strrchr(text, ',');

		if (sscanf(part ? part + 1 : text, "%u-%u", &first, &last) == 1)
			last = first;
	}
	if (f)
		(void)fclose(f); /* was only read */
	return last < PROCESSORS_MAX ? last + 1 : PROCESSORS_MAX;
}

int counters_read(const char *id, struct bpf_counters *ret_counters)
{
	unsigned count = processors();
	_cleanup_free_ struct kfs_answers *values = calloc(count, sizeof(*values));
	struct bpf_counters c = { .tables = { 0 } };
	uint64_t *sums = (uint64_t *)&c.answers;
	int err;

	if (!values)
		return -ENOMEM;
	err = map_read(id, "kfs_stats", values);
	if (!err)
		err = map_read(id, "kfs_tables", &c.tables);
	if (err)
		return err;
	for (unsigned i = 0; i < count; i++)
		for (size_t k = 0; k < sizeof(*values) / sizeof(uint64_t); k++)
			sums[k] += ((const uint64_t *)&values[i])[k];
	*ret_counters = c;
	return 0;
}

uint64_t counters_avoided(const struct bpf_counters *c)
{
	return c->answers.lookup_hits + c->answers.lookup_negative + c->answers.lookup_complete +
	       c->answers.getattr_hits + c->answers.xattr_absent;
}

const char *counters_at(const struct bpf_counters *c, size_t index, uint64_t *ret_value)
{
	if (index >= ARRAY_SIZE(counters))
		return NULL;
	*ret_value = *(const uint64_t *)((const char *)c + counters[index].at);
	return counters[index].name;
}

/* ---- the kernel's view of a mount's requests ---- */

static const char *const opcode_names[KFS_KERNEL_OPCODES] = {
	[1] = "LOOKUP",	       [2] = "FORGET",	       [3] = "GETATTR",
	[4] = "SETATTR",       [5] = "READLINK",       [6] = "SYMLINK",
	[8] = "MKNOD",	       [9] = "MKDIR",	       [10] = "UNLINK",
	[11] = "RMDIR",	       [12] = "RENAME",	       [13] = "LINK",
	[14] = "OPEN",	       [15] = "READ",	       [16] = "WRITE",
	[17] = "STATFS",       [18] = "RELEASE",       [20] = "FSYNC",
	[21] = "SETXATTR",     [22] = "GETXATTR",      [23] = "LISTXATTR",
	[24] = "REMOVEXATTR",  [25] = "FLUSH",	       [26] = "INIT",
	[27] = "OPENDIR",      [28] = "READDIR",       [29] = "RELEASEDIR",
	[30] = "FSYNCDIR",     [31] = "GETLK",	       [32] = "SETLK",
	[33] = "SETLKW",       [34] = "ACCESS",	       [35] = "CREATE",
	[36] = "INTERRUPT",    [37] = "BMAP",	       [38] = "DESTROY",
	[39] = "IOCTL",	       [40] = "POLL",	       [41] = "NOTIFY_REPLY",
	[42] = "BATCH_FORGET", [43] = "FALLOCATE",     [44] = "READDIRPLUS",
	[45] = "RENAME2",      [46] = "LSEEK",	       [47] = "COPY_FILE_RANGE",
	[48] = "SETUPMAPPING", [49] = "REMOVEMAPPING", [50] = "SYNCFS",
	[51] = "TMPFILE",      [52] = "STATX",	       [53] = "COPY_FILE_RANGE_64",
};

const char *kernel_opcode_name(uint32_t opcode)
{
	return opcode < KFS_KERNEL_OPCODES ? opcode_names[opcode] : NULL;
}

static void sum_requests(struct kfs_kernel_requests *sum, const struct kfs_kernel_requests *one)
{
	sum->requests += one->requests;
	sum->replies += one->replies;
	sum->untimed += one->untimed;
	sum->errors += one->errors;
	sum->ns_total += one->ns_total;
	sum->ns_max = MAX(sum->ns_max, one->ns_max);
	for (unsigned b = 0; b < KFS_KERNEL_BUCKETS; b++)
		sum->bucket[b] += one->bucket[b];
}

static int read_ops(int fd, unsigned count, struct kernel_counters *c)
{
	_cleanup_free_ struct kfs_kernel_requests *values = calloc(count, sizeof(*values));
	int err = values ? 0 : -ENOMEM;

	for (uint32_t opcode = 0; opcode < KFS_KERNEL_OPCODES && !err; opcode++) {
		err = element_read(fd, opcode, values);
		for (unsigned i = 0; i < count && !err; i++)
			sum_requests(&c->ops[opcode], &values[i]);
	}
	return err;
}

static int read_walk(int fd, unsigned count, struct kernel_counters *c)
{
	_cleanup_free_ struct kfs_kernel_walk *values = calloc(count, sizeof(*values));
	uint64_t *sums = (uint64_t *)&c->walk;
	int err = values ? element_read(fd, 0, values) : -ENOMEM;

	for (unsigned i = 0; i < count && !err; i++)
		for (size_t k = 0; k < sizeof(*values) / sizeof(uint64_t); k++)
			sums[k] += ((const uint64_t *)&values[i])[k];
	return err;
}

int kernel_counters_of(const struct kernel_maps *maps, struct kernel_counters *ret_counters)
{
	unsigned count = processors();
	int err;

	memset(ret_counters, 0, sizeof(*ret_counters));
	err = element_read(maps->known, 0, &ret_counters->known);
	if (!err)
		err = read_ops(maps->requests, count, ret_counters);
	return err ? err : read_walk(maps->walk, count, ret_counters);
}

int kernel_counters_read(const char *id, struct kernel_counters *ret_counters)
{
	_cleanup_close_ int requests = -1, walk = -1, known = -1;
	int err = map_open(id, "kfs_requests", &requests);
	struct kernel_maps maps;

	if (!err)
		err = map_open(id, "kfs_walk", &walk);
	if (!err)
		err = map_open(id, "kfs_known", &known);
	if (err)
		return err;
	maps = (struct kernel_maps){ .requests = requests, .walk = walk, .known = known };
	return kernel_counters_of(&maps, ret_counters);
}
