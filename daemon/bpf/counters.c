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

/* The first element of a map. */
static int map_read(const char *id, const char *name, void *value)
{
	_cleanup_close_ int fd = -1;
	union bpf_attr attr;
	uint32_t zero = 0;
	int err = map_open(id, name, &fd);

	if (err)
		return err;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uint64_t)(uintptr_t)&zero;
	attr.value = (uint64_t)(uintptr_t)value;
	return bpf_call(BPF_MAP_LOOKUP_ELEM, &attr) ? -errno : 0;
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
