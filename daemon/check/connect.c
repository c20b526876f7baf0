// SPDX-License-Identifier: GPL-2.0-only
/* Pass 3: every directory hangs below the root. Pass 4: everything is named as often as it says. */
#include <stdio.h>

#include "daemon/check/check_priv.h"

/* e2fsck's LINK_MAX for directories; beyond it the count is 1 for "many". */
#define DIR_LINKS_MANY 1u

static bool is_gone(const struct ck *c, const struct ck_dir *d)
{
	const struct ck_state *st = ck_state(c, d->ino);

	return (st->flags & CI_ORPHAN) && !st->links;
}

static void check_dotdot(struct ck *c, const struct ck_dir *d)
{
	uint32_t parent = d->ino == EXT4_ROOT_INO ? EXT4_ROOT_INO : d->parent;
	char path[CK_NAME_BYTES], is[CK_NAME_BYTES], should[CK_NAME_BYTES];

	/* Missing altogether: pass 2 has said so. */
	if (!d->dotdot || d->dotdot == parent)
		return;
	ck_path(c, d->ino, path, sizeof(path));
	ck_path(c, d->dotdot, is, sizeof(is));
	ck_path(c, parent, should, sizeof(should));
	ck_find(c, "dotdot", d->ino, 0, "'..' in %s (%u) is %s (%u), should be %s (%u).", path,
		d->ino, is, d->dotdot, should, parent);
}

static void tell_unconnected(struct ck *c, const struct ck_dir *d)
{
	char was[CK_NAME_BYTES];

	ck_path(c, d->dotdot, was, sizeof(was));
	ck_find(c, "unconnected", d->ino, 0, "Unconnected directory inode %u (was in %s)", d->ino,
		was);
}

/*
 * Climbs to the root or to what is known to reach it. Marked on the way up with 2, which
 * met again is a loop; then all of the way is settled as 1: each is told of once.
 */
static void check_reach(struct ck *c, struct ck_dir *d)
{
	struct ck_dir *at = d;

	while (at && at->ino != EXT4_ROOT_INO && !at->reached) {
		at->reached = 2;
		at = at->parent ? ck_dir(c, at->parent) : NULL;
	}
	if (at && at->ino != EXT4_ROOT_INO && at->reached == 2) {
		char path[CK_NAME_BYTES];

		ck_path(c, at->ino, path, sizeof(path));
		ck_find(c, "loop", at->ino, 0, "Recursively looped directory inode %u (%s)",
			at->ino, path);
	}
	for (at = d; at && at->reached == 2; at = at->parent ? ck_dir(c, at->parent) : NULL)
		at->reached = 1;
}

int ck_pass3(struct ck *c)
{
	const struct ck_state *root = ck_state(c, EXT4_ROOT_INO);
	uint32_t k;
	int ret = 0;

	if (!root || !(root->flags & CI_USED))
		ck_find(c, "root", EXT4_ROOT_INO, 0, "Root inode not allocated.");
	for (k = 0; k < c->dir_count && !ret; k++) {
		struct ck_dir *d = &c->dirs[k];

		ret = ck_tick(c, 3, k, c->dir_count);
		if (is_gone(c, d))
			continue;
		if (d->ino != EXT4_ROOT_INO && !d->parent)
			tell_unconnected(c, d);
		else
			check_dotdot(c, d);
		check_reach(c, d);
	}
	return ret;
}

static void check_links(struct ck *c, uint32_t ino, const struct ck_state *st)
{
	bool many = (st->flags & CI_DIR) && st->links == DIR_LINKS_MANY &&
		    store_has_ro_compat(c->s, EXT4_FEATURE_RO_COMPAT_DIR_NLINK);

	if (st->seen == 0 && (st->flags & CI_EMPTY) && !(st->flags & CI_DIR))
		ck_find(c, "unattached", ino, 0, "Unattached zero-length inode %u.", ino);
	if (st->seen == 0)
		ck_find(c, "unattached", ino, 0, "Unattached inode %u", ino);
	else if (st->links != st->seen && !many)
		ck_find(c, "ref_count", ino, 0, "Inode %u ref count is %u, should be %u.", ino,
			st->links, st->seen);
}

int ck_pass4(struct ck *c)
{
	uint32_t g, k;
	int ret = 0;

	for (g = 0; g < c->s->group_count && !ret; g++) {
		ret = ck_tick(c, 4, g, c->s->group_count);
		for (k = 0; c->states[g] && k < c->s->inodes_per_group; k++) {
			const struct ck_state *st = &c->states[g][k];

			/* Without a name and without links: deleted, when nobody has it open. */
			if (!(st->flags & CI_USED) || (st->flags & (CI_SYSTEM | CI_EA)) ||
			    ((st->flags & CI_ORPHAN) && !st->links))
				continue;
			check_links(c, g * c->s->inodes_per_group + k + 1, st);
		}
	}
	return ret ? ret : ck_pass4_refs(c);
}
