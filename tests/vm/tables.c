/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tables' writer, see the header. A slot is changed under an odd sequence count; on this processor stores are seen in
 * the order they are made, so keeping the compiler from moving them is enough.
 */
#include "tests/vm/tables.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "daemon/base/siphash.h"

#include "fusebpf.skel.h"

static void write_begin(uint32_t *seq)
{
	*(volatile uint32_t *)seq += 1;
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void write_end(uint32_t *seq)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
	*(volatile uint32_t *)seq += 1;
}

static int print_nothing_below_warning(enum libbpf_print_level level, const char *format,
				       va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static int map_tables(struct tables *tables)
{
	int entries = bpf_map__fd(tables->program->maps.entries);
	int attrs = bpf_map__fd(tables->program->maps.attrs);

	tables->entries = mmap(NULL, PROBE_SLOTS * sizeof(*tables->entries), PROT_READ | PROT_WRITE,
			       MAP_SHARED, entries, 0);
	tables->attrs = mmap(NULL, PROBE_SLOTS * sizeof(*tables->attrs), PROT_READ | PROT_WRITE,
			     MAP_SHARED, attrs, 0);
	if (tables->entries == MAP_FAILED || tables->attrs == MAP_FAILED)
		return -errno;
	return 0;
}

int tables_load(struct tables *tables, int dev_fd, int image_fd)
{
	int ret;

	tables_close(tables);
	libbpf_set_print(print_nothing_below_warning);
	tables->program = probe__open();
	if (!tables->program)
		return -errno;
	tables->program->struct_ops.probe->dev_fd = dev_fd;
	tables->program->struct_ops.probe->image_fd = image_fd;
	if (image_fd < 0) {
		tables->program->struct_ops.probe->extent = NULL;
		bpf_program__set_autoload(tables->program->progs.probe_extent, false);
	}
	ret = probe__load(tables->program);
	return ret ? ret : map_tables(tables);
}

int tables_attach(struct tables *tables)
{
	struct bpf_link *link = bpf_map__attach_struct_ops(tables->program->maps.probe);

	if (!link)
		return -errno;
	tables->program->links.probe = link;
	return 0;
}

void tables_detach(struct tables *tables)
{
	bpf_link__destroy(tables->program->links.probe);
	tables->program->links.probe = NULL;
}

int tables_pin(struct tables *tables, const char *path)
{
	return bpf_link__pin(tables->program->links.probe, path);
}

int tables_stats(struct tables *tables, struct probe_stats *ret_stats)
{
	int processors = libbpf_num_possible_cpus();
	struct probe_stats values[256];
	uint64_t *sums = (uint64_t *)ret_stats;
	uint32_t zero = 0;

	if (!tables->program || processors < 1 || processors > 256)
		return -EINVAL;
	if (bpf_map_lookup_elem(bpf_map__fd(tables->program->maps.stats), &zero, values))
		return -errno;
	memset(ret_stats, 0, sizeof(*ret_stats));
	for (int i = 0; i < processors; i++) {
		for (size_t k = 0; k < sizeof(*ret_stats) / sizeof(uint64_t); k++)
			sums[k] += ((uint64_t *)&values[i])[k];
	}
	return 0;
}

void tables_close(struct tables *tables)
{
	if (tables->entries)
		munmap(tables->entries, PROBE_SLOTS * sizeof(*tables->entries));
	if (tables->attrs)
		munmap(tables->attrs, PROBE_SLOTS * sizeof(*tables->attrs));
	if (tables->program)
		tables_detach(tables);
	probe__destroy(tables->program);
	*tables = (struct tables){ 0 };
}

void tables_set_entry(struct tables *tables, uint64_t parent, const char *name,
		      const struct fuse_bpf_entry *value)
{
	uint64_t hash[2] = { siphash(name, strlen(name), PROBE_KEY_0, PROBE_KEY_1),
			     siphash(name, strlen(name), PROBE_KEY_1, PROBE_KEY_0) };
	uint32_t place = (uint32_t)(hash[0] ^ parent);
	struct probe_entry_slot *free_slot = NULL;

	if (!tables->entries)
		return;
	for (uint32_t step = 0; step < PROBE_STEPS; step++) {
		struct probe_entry_slot *slot =
			&tables->entries[(place + step) & (PROBE_SLOTS - 1)];

		if (slot->used && slot->parent == parent && slot->hash[0] == hash[0] &&
		    slot->hash[1] == hash[1]) {
			free_slot = slot;
			break;
		}
		if (!slot->used && !free_slot)
			free_slot = slot;
	}
	if (!free_slot)
		return;
	write_begin(&free_slot->seq);
	free_slot->used = 1;
	free_slot->parent = parent;
	free_slot->hash[0] = hash[0];
	free_slot->hash[1] = hash[1];
	free_slot->entry = *value;
	write_end(&free_slot->seq);
}

static struct probe_attr_slot *attr_slot(struct tables *tables, uint64_t nodeid, bool or_free)
{
	uint32_t place = (uint32_t)((nodeid * 0x9e3779b97f4a7c15ull) >> 32);
	struct probe_attr_slot *free_slot = NULL;

	for (uint32_t step = 0; tables->attrs && step < PROBE_STEPS; step++) {
		struct probe_attr_slot *slot = &tables->attrs[(place + step) & (PROBE_SLOTS - 1)];

		if (slot->used && slot->nodeid == nodeid)
			return slot;
		if (!slot->used && !free_slot && or_free)
			free_slot = slot;
	}
	return free_slot;
}

void tables_set_attr(struct tables *tables, uint64_t nodeid, uint32_t flags,
		     const struct fuse_bpf_attr *value)
{
	struct probe_attr_slot *slot = attr_slot(tables, nodeid, true);

	if (!slot)
		return;
	write_begin(&slot->seq);
	slot->used = 1;
	slot->nodeid = nodeid;
	slot->flags = flags;
	slot->extent_len = 0;
	slot->attr = *value;
	write_end(&slot->seq);
}

void tables_set_extent(struct tables *tables, uint64_t nodeid, uint64_t phys, uint32_t len)
{
	struct probe_attr_slot *slot = attr_slot(tables, nodeid, false);

	if (!slot)
		return;
	write_begin(&slot->seq);
	slot->extent_phys = phys;
	slot->extent_len = len;
	write_end(&slot->seq);
}

void tables_drop_attr(struct tables *tables, uint64_t nodeid)
{
	struct probe_attr_slot *slot = attr_slot(tables, nodeid, false);

	if (!slot)
		return;
	write_begin(&slot->seq);
	slot->used = 0;
	write_end(&slot->seq);
}
