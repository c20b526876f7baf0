/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Building directories. The whole directory is laid out in memory, then written along its
 * runs; checksums depend on the inode, not on where a block comes to lie.
 *
 * A hash tree has its root in block 0, then the leaves in hash order, then the index nodes,
 * lowest level first. Leaves are left a fifth free, so that the first names added later do
 * not split each of them.
 */
#include "mkfs/dir.h"

#include "mkfs/mkfs.h"
#include "mkfs/say.h"

#include "daemon/base/check.h"
#include "daemon/base/crc.h"
#include "daemon/block/bdev.h"
#include "daemon/store/dirhash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEAF_FILL_PERCENT 80
#define DX_LEVELS_MAX 3

int dir_add(struct dir *d, const char *name, uint32_t ino, uint8_t file_type)
{
	size_t len = strlen(name);

	CHECK(len > 0 && len <= EXT4_NAME_LEN);
	if (d->count == d->room) {
		size_t room = d->room ? d->room * 2 : 32;
		struct dir_name *names = reallocarray(d->names, room, sizeof(*names));

		if (!names)
			return fail(-ENOMEM, "directory");
		d->names = names;
		d->room = room;
	}
	if (d->pool_room - d->pool_len < len) {
		size_t room = d->pool_room * 2 + 1024;
		char *pool = realloc(d->pool, room);

		if (!pool)
			return fail(-ENOMEM, "directory");
		d->pool = pool;
		d->pool_room = room;
	}
	memcpy(d->pool + d->pool_len, name, len);
	d->names[d->count++] = (struct dir_name){
		.name_at = d->pool_len,
		.ino = ino,
		.name_len = (uint8_t)len,
		.file_type = file_type,
	};
	d->pool_len += len;
	return 0;
}

void dir_fini(struct dir *d)
{
	free(d->names);
	free(d->pool);
	*d = (struct dir){ 0 };
}

/* ---- blocks in memory ---- */

struct image {
	struct mkfs *m;
	const struct dir *d;
	uint8_t *data;
	uint32_t blocks, room;
	uint32_t block_size;
	uint32_t usable;  /* of a leaf, without its checksum */
	uint32_t fill;	  /* where a leaf counts as full */
	uint32_t at;	  /* in the leaf being filled: end of its entries */
	uint32_t last_at; /* where its last entry begins */
	bool csum, filetype;
	uint32_t seed;
};

static uint8_t *block_data(const struct image *im, uint32_t block)
{
	return im->data + (size_t)block * im->block_size;
}

static int block_new(struct image *im, uint32_t *ret_block)
{
	if (im->blocks == im->room) {
		uint32_t room = im->room ? im->room * 2 : 4;
		uint8_t *data = reallocarray(im->data, room, im->block_size);

		if (!data)
			return fail(-ENOMEM, "directory");
		im->data = data;
		im->room = room;
	}
	memset(block_data(im, im->blocks), 0, im->block_size);
	*ret_block = im->blocks++;
	return 0;
}

static void entry_put(struct image *im, uint8_t *where, const char *name, const struct dir_name *n,
		      uint32_t rec_len)
{
	struct ext4_dir_entry_2 *e = (void *)where;

	e->inode = cpu_to_le32(n->ino);
	e->rec_len = cpu_to_le16((uint16_t)rec_len);
	e->name_len = n->name_len;
	e->file_type = im->filetype ? n->file_type : 0;
	memcpy(e->name, name, n->name_len);
}

/* The last entry takes the rest of the block; an empty block is one unused entry. */
static void leaf_close(struct image *im)
{
	uint8_t *block = block_data(im, im->blocks - 1);
	struct ext4_dir_entry_2 *e = (void *)(block + im->last_at);

	e->rec_len = cpu_to_le16((uint16_t)(im->usable - im->last_at));
	if (im->csum) {
		struct ext4_dir_entry_tail *t = (void *)(block + im->usable);

		t->det_rec_len = cpu_to_le16(sizeof(*t));
		t->det_reserved_ft = EXT4_FT_DIR_CSUM;
		t->det_checksum = cpu_to_le32(crc32c(im->seed, block, im->usable));
	}
}

static int leaf_open(struct image *im)
{
	uint32_t block;

	im->at = im->last_at = 0;
	return block_new(im, &block);
}

static bool leaf_has_room(const struct image *im, uint32_t name_len)
{
	return im->at + EXT4_DIR_REC_LEN(name_len) <= im->fill;
}

static void leaf_put(struct image *im, const char *name, const struct dir_name *n)
{
	uint32_t len = EXT4_DIR_REC_LEN(n->name_len);

	CHECK(im->at + len <= im->usable);
	entry_put(im, block_data(im, im->blocks - 1) + im->at, name, n, len);
	im->last_at = im->at;
	im->at += len;
}

static int linear_put(struct image *im, const char *name, const struct dir_name *n)
{
	if (!leaf_has_room(im, n->name_len)) {
		int r;

		leaf_close(im);
		r = leaf_open(im);
		if (r < 0)
			return r;
	}
	leaf_put(im, name, n);
	return 0;
}

static struct dir_name dot_name(const struct image *im)
{
	return (struct dir_name){ .ino = im->d->ino, .name_len = 1, .file_type = EXT4_FT_DIR };
}

static struct dir_name dotdot_name(const struct image *im)
{
	return (struct dir_name){ .ino = im->d->parent, .name_len = 2, .file_type = EXT4_FT_DIR };
}

static int linear_build(struct image *im)
{
	const struct dir *d = im->d;
	struct dir_name dot = dot_name(im), dotdot = dotdot_name(im);
	int r = leaf_open(im);

	if (r == 0)
		r = linear_put(im, ".", &dot);
	if (r == 0)
		r = linear_put(im, "..", &dotdot);
	for (size_t i = 0; r == 0 && i < d->count; i++)
		r = linear_put(im, d->pool + d->names[i].name_at, &d->names[i]);
	if (r < 0)
		return r;
	leaf_close(im);
	while (im->blocks < d->blocks_min) {
		r = leaf_open(im);
		if (r < 0)
			return r;
		leaf_close(im);
	}
	return 0;
}

/* ---- hash trees ---- */

struct hashed {
	struct dir_hash hash;
	uint32_t index; /* in dir.names */
};

/* One level of the index: what its parent's entries will say. */
struct level {
	struct dx_point {
		uint32_t hash;
		uint32_t block;
	} * points;
	size_t count;
};

static int hashed_compare(const void *left, const void *right)
{
	const struct hashed *a = left, *b = right;

	if (a->hash.major != b->hash.major)
		return a->hash.major < b->hash.major ? -1 : 1;
	if (a->hash.minor != b->hash.minor)
		return a->hash.minor < b->hash.minor ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

static struct hashed *names_hash(const struct image *im)
{
	const struct dir *d = im->d;
	struct hashed *v = calloc(d->count, sizeof(*v));
	uint32_t seed[4];
	le32 words[4];

	if (!v)
		return NULL;
	memcpy(words, im->m->hash_seed, sizeof(words));
	for (int i = 0; i < 4; i++)
		seed[i] = le32_to_cpu(words[i]);
	for (size_t i = 0; i < d->count; i++) {
		v[i].index = (uint32_t)i;
		v[i].hash = dirhash(DX_HASH_HALF_MD4, seed, d->pool + d->names[i].name_at,
				    d->names[i].name_len);
	}
	qsort(v, d->count, sizeof(*v), hashed_compare);
	return v;
}

static int leaves_build(struct image *im, const struct hashed *v, struct level *leaves)
{
	const struct dir *d = im->d;
	int r = 0;

	/* No more leaves than names. */
	leaves->points = calloc(d->count, sizeof(*leaves->points));
	if (!leaves->points)
		return fail(-ENOMEM, "directory index");
	for (size_t i = 0; r == 0 && i < d->count; i++) {
		const struct dir_name *n = &d->names[v[i].index];
		/* Bit 0 tells a search that names of this hash lie in the leaf before, too. */
		uint32_t continued = i && v[i].hash.major == v[i - 1].hash.major;

		if (leaves->count == 0 || !leaf_has_room(im, n->name_len)) {
			if (leaves->count)
				leaf_close(im);
			r = leaf_open(im);
			if (r < 0)
				return r;
			leaves->points[leaves->count++] = (struct dx_point){
				.hash = v[i].hash.major | continued,
				.block = im->blocks - 1,
			};
		}
		leaf_put(im, d->pool + n->name_at, n);
	}
	leaf_close(im);
	return r;
}

static uint32_t dx_limit(const struct image *im, uint32_t entries_at)
{
	uint32_t room = im->block_size - entries_at;

	if (im->csum)
		room -= (uint32_t)sizeof(struct dx_tail);
	return room / (uint32_t)sizeof(struct dx_entry);
}

static void dx_fill(const struct image *im, uint32_t block, uint32_t entries_at,
		    const struct dx_point *points, uint32_t count)
{
	uint8_t *data = block_data(im, block);
	struct dx_entry *e = (void *)(data + entries_at);
	struct dx_countlimit *cl = (void *)e;
	uint32_t limit = dx_limit(im, entries_at), crc;
	struct dx_tail *tail = (void *)(e + limit);

	CHECK(count > 0 && count <= limit);
	for (uint32_t i = 0; i < count; i++) {
		e[i].hash = cpu_to_le32(points[i].hash);
		e[i].block = cpu_to_le32(points[i].block);
	}
	cl->limit = cpu_to_le16((uint16_t)limit);
	cl->count = cpu_to_le16((uint16_t)count);
	if (!im->csum)
		return;
	crc = crc32c(im->seed, data, entries_at + count * sizeof(*e));
	tail->dt_checksum = cpu_to_le32(crc32c(crc, tail, sizeof(*tail)));
}

static int nodes_build(struct image *im, const struct level *below, struct level *above)
{
	uint32_t entries_at = sizeof(struct dx_node), limit = dx_limit(im, entries_at);

	above->points = calloc(DIV_ROUND_UP(below->count, limit), sizeof(*above->points));
	if (!above->points)
		return fail(-ENOMEM, "directory index");
	for (size_t at = 0; at < below->count; at += limit) {
		uint32_t count = (uint32_t)MIN((size_t)limit, below->count - at), block;
		int r = block_new(im, &block);
		struct dx_node *node;

		if (r < 0)
			return r;
		node = (void *)block_data(im, block);
		node->fake.rec_len = cpu_to_le16((uint16_t)im->block_size);
		dx_fill(im, block, entries_at, below->points + at, count);
		above->points[above->count++] = (struct dx_point){
			.hash = below->points[at].hash,
			.block = block,
		};
	}
	return 0;
}

static void root_build(struct image *im, const struct level *top, uint32_t levels)
{
	struct dir_name dot = dot_name(im), dotdot = dotdot_name(im);
	struct dx_root *root = (void *)im->data;

	entry_put(im, im->data, ".", &dot, 12);
	entry_put(im, im->data + 12, "..", &dotdot, im->block_size - 12);
	root->info.hash_version = DX_HASH_HALF_MD4;
	root->info.info_length = sizeof(root->info);
	root->info.indirect_levels = (uint8_t)levels;
	dx_fill(im, 0, sizeof(*root), top->points, (uint32_t)top->count);
}

static int htree_build(struct image *im)
{
	bool large = feature_incompat(&im->m->geo.features, EXT4_FEATURE_INCOMPAT_LARGEDIR);
	uint32_t levels_max = large ? DX_LEVELS_MAX : DX_LEVELS_MAX - 1, depth = 0, root;
	struct level levels[DX_LEVELS_MAX] = { 0 };
	struct hashed *v = names_hash(im);
	int r = v ? block_new(im, &root) : fail(-ENOMEM, "directory index");

	im->fill = im->usable * LEAF_FILL_PERCENT / 100;
	/* The longest name fits even so: 264 of 80 % of 1012 bytes. */
	if (r == 0)
		r = leaves_build(im, v, &levels[0]);
	while (r == 0 && levels[depth].count > dx_limit(im, sizeof(struct dx_root))) {
		if (depth + 1 == levels_max)
			r = fail(-ENOSPC,
				 "a directory of %zu names is too large: use larger "
				 "blocks (-b) or -O large_dir",
				 im->d->count);
		else
			r = nodes_build(im, &levels[depth], &levels[depth + 1]);
		depth++;
	}
	if (r == 0)
		root_build(im, &levels[depth], depth);
	for (uint32_t i = 0; i < ARRAY_SIZE(levels); i++)
		free(levels[i].points);
	free(v);
	return r;
}

/* ---- to disk ---- */

static bool fits_one_block(const struct image *im)
{
	uint64_t bytes = EXT4_DIR_REC_LEN(1) + EXT4_DIR_REC_LEN(2);

	for (size_t i = 0; i < im->d->count; i++) {
		bytes += EXT4_DIR_REC_LEN(im->d->names[i].name_len);
		if (bytes > im->usable)
			return false;
	}
	return true;
}

static int image_write(struct image *im, struct inode_image *img)
{
	struct mkfs *m = im->m;
	struct runs runs = { 0 };
	int r = runs_alloc(m, &runs, 0, im->blocks, &m->data_goal);

	for (size_t i = 0; r == 0 && i < runs.count; i++) {
		r = bdev_write(m->bdev, block_data(im, runs.v[i].lblk),
			       (size_t)runs.v[i].len * im->block_size,
			       runs.v[i].pblk * im->block_size);
		if (r < 0)
			r = fail(r, "writing directory %u", im->d->ino);
	}
	if (r == 0) {
		inode_set_size(m, img, (uint64_t)im->blocks * im->block_size);
		r = mapping_write(m, im->d->ino, img, &runs);
	}
	runs_fini(&runs);
	return r;
}

int dir_write(struct mkfs *m, const struct dir *d, struct inode_image *img)
{
	const struct features *f = &m->geo.features;
	struct image im = {
		.m = m,
		.d = d,
		.block_size = m->geo.block_size,
		.csum = features_csum(f),
		.filetype = feature_incompat(f, EXT4_FEATURE_INCOMPAT_FILETYPE),
		.seed = inode_csum_seed(m, d->ino, 0),
	};
	int r;

	im.usable = im.block_size;
	if (im.csum)
		im.usable -= (uint32_t)sizeof(struct ext4_dir_entry_tail);
	im.fill = im.usable;
	if (!feature_compat(f, EXT4_FEATURE_COMPAT_DIR_INDEX) || fits_one_block(&im)) {
		r = linear_build(&im);
	} else {
		r = htree_build(&im);
		img->inode.i_flags = cpu_to_le32(le32_to_cpu(img->inode.i_flags) | EXT4_INDEX_FL);
	}
	if (r == 0)
		r = image_write(&im, img);
	free(im.data);
	return r;
}
