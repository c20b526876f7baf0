// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which blocks are used, by what the trees say, and which by more than one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/check/check_priv.h"
#include "daemon/store/super.h"

/* Blocks claimed twice whose owners are told; an image with more has one great damage. */
#define DUPS_MAX (1u << 16)
/* Ranges named in one finding. */
#define DUP_RANGES_MAX 64

static uint64_t bit_of(const struct ck *c, uint64_t pblk)
{
	return (pblk - c->s->first_data_block) >> c->s->cluster_bits;
}

bool ck_pblk_ok(const struct ck *c, uint64_t pblk, uint64_t count)
{
	return pblk > 0 && pblk >= c->s->first_data_block && pblk < c->s->blocks_count &&
	       count <= c->s->blocks_count - pblk;
}

bool ck_used(const struct ck *c, uint64_t bit)
{
	return c->used[bit / 8] >> (bit % 8) & 1;
}

static void use(struct ck *c, uint64_t bit)
{
	c->used[bit / 8] |= (uint8_t)(1u << (bit % 8));
}

int ck_mark_fixed(struct ck *c, uint64_t pblk, uint64_t count)
{
	uint64_t bit;

	/* Block 0 may be fixed metadata, though nobody can point to it. */
	if (count == 0 || pblk + count <= c->s->first_data_block ||
	    pblk + count > c->s->blocks_count)
		return 0;
	for (bit = bit_of(c, pblk); bit <= bit_of(c, pblk + count - 1); bit++)
		use(c, bit);
	return 0;
}

/* By another inode, or by the filesystem's own metadata. */
static int claimed_twice(struct ck *c, uint64_t bit)
{
	struct ck_ref *ref;

	if (c->dups.count >= DUPS_MAX) {
		c->dups_full = true;
		return 0;
	}
	return ck_ref_add(&c->dups, bit + 1, &ref);
}

int ck_mark(struct ck *c, const struct ck_run *run)
{
	uint64_t bit = bit_of(c, run->pblk) + run->joins;
	uint64_t end = bit_of(c, run->pblk + run->count - 1);
	int ret = 0;

	for (; bit <= end && !ret; bit++) {
		if (ck_used(c, bit))
			ret = claimed_twice(c, bit);
		else
			use(c, bit);
	}
	return ret;
}

/* ---- owners --------------------------------------------------------------- */

struct owners {
	char text[4096];
	size_t len;
	uint32_t ranges;
	uint64_t first, last; /* the range that grows; first 0 = none */
};

static void tell_range(struct owners *o)
{
	size_t room = sizeof(o->text) - o->len;

	if (!o->first)
		return;
	if (o->ranges++ >= DUP_RANGES_MAX)
		return;
	if (o->ranges == DUP_RANGES_MAX)
		snprintf(o->text + o->len, room, " ...");
	else if (o->first == o->last)
		snprintf(o->text + o->len, room, " %llu", (unsigned long long)o->first);
	else
		snprintf(o->text + o->len, room, " %llu--%llu", (unsigned long long)o->first,
			 (unsigned long long)o->last);
	o->len = strlen(o->text);
}

static void note(struct owners *o, uint64_t pblk)
{
	if (o->first && o->last + 1 == pblk) {
		o->last = pblk;
		return;
	}
	tell_range(o);
	o->first = o->last = pblk;
}

static int look(struct ck_walk *w, const struct ck_run *run)
{
	uint64_t k;

	for (k = 0; k < run->count; k++) {
		if (ck_ref_find(&w->c->dups, bit_of(w->c, run->pblk + k) + 1))
			note(w->arg, run->pblk + k);
	}
	return 0;
}

static int owner(struct ck *c, const struct ck_ino *i)
{
	struct owners o = { 0 };
	struct ck_walk w = { .c = c, .i = i, .quiet = true, .run = look, .node = look, .arg = &o };
	struct ck_state *st = ck_state(c, i->ino);
	int ret = 0;

	if (!st || !(st->flags & CI_USED))
		return 0;
	if (ck_has_map(c, i))
		ret = ck_walk_map(&w);
	if (i->file_acl && ck_pblk_ok(c, i->file_acl, 1))
		(void)look(&w, &(struct ck_run){ .pblk = i->file_acl, .count = 1 }); /* is 0 */
	tell_range(&o);
	if (o.ranges)
		ck_find(c, "multiply_claimed", i->ino, 0,
			"Multiply-claimed block(s) in inode %u:%s", i->ino, o.text);
	return ret;
}

int ck_pass1b(struct ck *c)
{
	if (c->dups_full)
		ck_find(c, "multiply_claimed", 0, 0,
			"More than %u blocks are claimed by more than one inode", DUPS_MAX);
	return ck_each_inode(c, 1, owner);
}
