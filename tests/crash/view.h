/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A view: what a user sees in a tree, in one block of memory without pointers, so that two
 * can be compared with memcmp() and kept by their hash. Names in order, nodes numbered by
 * their first name; of a file the hash of each sector (0 for zeros).
 *
 * Who reads a tree (through kfs, through the kernel, out of the model) builds one:
 *
 *	view_begin(b)
 *	    if (view_name(b, "/a/f", key, &node))	true: @key was not met before
 *		fill in *node; view_bytes(b, node, bytes, len)
 *	v = view_end(b)		malloc()ed
 *
 * Times, directory sizes, block counts are not seen: no promise is made about them. Below
 * VIEW_HIDDEN_* nothing is seen: lost+found, and what churn() changes without a model.
 */
#ifndef TESTS_CRASH_VIEW_H
#define TESTS_CRASH_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIEW_NAMES_MAX 128
#define VIEW_PATH_MAX 48
#define VIEW_FILE_MAX (4u << 20)
#define VIEW_HIDDEN_1 "lost+found"
#define VIEW_HIDDEN_2 "w"

struct view_node {
	uint32_t mode, nlink;
	uint64_t size;	 /* 0 for a directory */
	uint64_t xattrs; /* sum of view_hash_xattr(); order does not matter */
	uint64_t target;
	uint32_t sector_first, sector_count;
};

struct view_name {
	char path[VIEW_PATH_MAX];
	uint64_t node;
};

struct view {
	uint64_t hash;
	uint32_t bytes; /* of all */
	uint32_t names, nodes, sectors;
};

struct view_builder;

struct view_builder *view_builder_new(void);
void view_builder_free(struct view_builder *b);
void view_begin(struct view_builder *b);
/* The path is cut at VIEW_PATH_MAX; names beyond VIEW_NAMES_MAX are lost (and make a different view). */
bool view_name(struct view_builder *b, const char *path, uint64_t key, struct view_node **ret_node);
void view_bytes(struct view_builder *b, struct view_node *node, const void *bytes, size_t len);
struct view *view_end(struct view_builder *b);

const struct view_name *view_names(const struct view *v);
const struct view_node *view_nodes(const struct view *v);
const uint64_t *view_sectors(const struct view *v);
bool view_equal(const struct view *a, const struct view *b);

uint64_t view_hash(const void *bytes, size_t len, uint64_t seed);
/* Of up to 512 bytes; trailing zeros do not count, all zeros is 0. */
uint64_t view_hash_sector(const void *bytes, size_t len);
uint64_t view_hash_xattr(const char *name, const void *value, size_t len);
bool view_hidden(const char *name, bool in_root);

#endif
