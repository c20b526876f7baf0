// SPDX-License-Identifier: GPL-2.0-only
/* See view.h. */
#include "tests/crash/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/check.h"
#include "daemon/base/util.h"

#define SECTOR 512u
#define SECTORS_MAX (64u << 10)

struct view_builder {
	struct view_name names[VIEW_NAMES_MAX]; /* .node: index of nodes */
	struct view_node nodes[VIEW_NAMES_MAX];
	uint64_t keys[VIEW_NAMES_MAX];
	uint64_t sectors[SECTORS_MAX];
	uint32_t name_count, node_count, sector_count;
};

uint64_t view_hash(const void *bytes, size_t len, uint64_t seed)
{
	const uint8_t *p = bytes;
	uint64_t h = seed ^ (len * 0x9e3779b97f4a7c15ULL), w;

	for (; len >= sizeof(w); p += sizeof(w), len -= sizeof(w)) {
		memcpy(&w, p, sizeof(w));
		h = (h ^ w) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	w = 0;
	memcpy(&w, p, len);
	h = (h ^ w) * 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 29);
}

uint64_t view_hash_sector(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0 && p[len - 1] == 0)
		len--;
	return len ? view_hash(bytes, len, 0) | 1 : 0;
}

uint64_t view_hash_xattr(const char *name, const void *value, size_t len)
{
	return view_hash(value, len, view_hash(name, strlen(name), 7));
}

bool view_hidden(const char *name, bool in_root)
{
	return in_root && (!strcmp(name, VIEW_HIDDEN_1) || !strcmp(name, VIEW_HIDDEN_2));
}

struct view_builder *view_builder_new(void)
{
	struct view_builder *b = calloc(1, sizeof(*b));

	CHECK(b);
	return b;
}

void view_builder_free(struct view_builder *b)
{
	free(b);
}

void view_begin(struct view_builder *b)
{
	b->name_count = b->node_count = b->sector_count = 0;
}

bool view_name(struct view_builder *b, const char *path, uint64_t key, struct view_node **ret_node)
{
	struct view_name *n = &b->names[b->name_count];
	uint32_t k;

	if (b->name_count == VIEW_NAMES_MAX)
		return false;
	memset(n, 0, sizeof(*n));
	(void)snprintf(n->path, sizeof(n->path), "%s", path); /* cut: see view.h */
	for (k = 0; k < b->node_count && b->keys[k] != key; k++)
		;
	b->name_count++;
	n->node = k;
	*ret_node = &b->nodes[k];
	if (k < b->node_count)
		return false;
	b->keys[k] = key;
	memset(&b->nodes[k], 0, sizeof(b->nodes[k]));
	b->nodes[k].sector_first = b->sector_count;
	b->node_count++;
	return true;
}

void view_bytes(struct view_builder *b, struct view_node *node, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	size_t off;

	for (off = 0; off < len && b->sector_count < SECTORS_MAX; off += SECTOR) {
		b->sectors[b->sector_count++] =
			view_hash_sector(p + off, MIN(len - off, (size_t)SECTOR));
		node->sector_count++;
	}
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct view_name *)a)->path, ((const struct view_name *)b)->path);
}

struct view *view_end(struct view_builder *b)
{
	size_t names_bytes = b->name_count * sizeof(struct view_name);
	size_t nodes_bytes = b->node_count * sizeof(struct view_node);
	size_t bytes = sizeof(struct view) + names_bytes + nodes_bytes + b->sector_count * 8ull;
	struct view *v = calloc(1, bytes);
	uint32_t number[VIEW_NAMES_MAX], next = 0, sector = 0, k;
	struct view_node *nodes;
	uint64_t *sectors;

	CHECK(v);
	memset(number, 0xff, sizeof(number));
	*v = (struct view){ .bytes = (uint32_t)bytes,
			    .names = b->name_count,
			    .nodes = b->node_count,
			    .sectors = b->sector_count };
	qsort(b->names, b->name_count, sizeof(b->names[0]), compare_names);
	nodes = (struct view_node *)((uint8_t *)(v + 1) + names_bytes);
	sectors = (uint64_t *)(void *)((uint8_t *)nodes + nodes_bytes);
	for (k = 0; k < b->name_count; k++) {
		struct view_node *from = &b->nodes[b->names[k].node];

		if (number[b->names[k].node] == UINT32_MAX) {
			nodes[next] = *from;
			nodes[next].sector_first = sector;
			memcpy(sectors + sector, b->sectors + from->sector_first,
			       from->sector_count * 8ull);
			sector += from->sector_count;
			number[b->names[k].node] = next++;
		}
		b->names[k].node = number[b->names[k].node];
	}
	memcpy(v + 1, b->names, names_bytes);
	v->hash = view_hash(v + 1, bytes - sizeof(*v), 1);
	return v;
}

const struct view_name *view_names(const struct view *v)
{
	return (const struct view_name *)(v + 1);
}

const struct view_node *view_nodes(const struct view *v)
{
	return (const struct view_node *)(view_names(v) + v->names);
}

const uint64_t *view_sectors(const struct view *v)
{
	return (const uint64_t *)(const void *)(view_nodes(v) + v->nodes);
}

bool view_equal(const struct view *a, const struct view *b)
{
	return a->bytes == b->bytes && !memcmp(a, b, a->bytes);
}
