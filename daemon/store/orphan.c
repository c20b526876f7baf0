// SPDX-License-Identifier: GPL-2.0-only
/*
 * Orphans: inodes whose deletion or truncation a crash would leave half done. They
 * stand in the orphan file while it has room, else on the list that starts in the
 * superblock and goes on through i_dtime.
 *
 * Invariants
 * (1) The list in memory equals the list on disk, as far as entries were added since
 *     the mount or taken over by the cleanup; the oldest's i_dtime leads on to what
 *     was there before.
 * (2) i_dtime of an inode on the list is written here only, under the lock of its
 *     table buffer; inode_disk_encode() leaves it alone. So a neighbour's link can be
 *     changed without that inode's lock.
 * (3) Cleaning up what a crash left trusts nothing: a number must be in range, marked
 *     in its bitmap and readable; a list that makes no progress is cut off.
 */
#include "daemon/store/orphan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/base/log.h"
#include "daemon/store/inode_disk.h"
#include "daemon/store/map.h"
#include "daemon/store/super.h"

/* ---- the list's links ----------------------------------------------------- */

/* Caller holds the orphan lock. */
static int set_next(struct handle *h, struct store *s, uint32_t ino, uint32_t next)
{
	struct inode_slot slot = inode_slot_of(s, ino);
	struct buf *b;
	uint8_t *raw;
	int ret;

	ret = buf_read(s->cache, slot.pblk, &b);
	if (ret)
		return ret;
	ret = journal_get_write(h, b);
	if (!ret) {
		raw = b->data + slot.off;
		rwlock_write(&b->lock);
		((struct ext4_inode *)(void *)raw)->i_dtime = cpu_to_le32(next);
		inode_disk_set_csum(s, ino, raw);
		journal_dirty(h, b, slot.off, s->inode_size);
		rwlock_unwrite(&b->lock);
	}
	buf_put(b);
	return ret;
}

static int get_next(struct store *s, uint32_t ino, uint32_t *ret_next)
{
	struct inode_slot slot = inode_slot_of(s, ino);
	struct buf *b;
	int ret = buf_read(s->cache, slot.pblk, &b);

	if (ret)
		return ret;
	rwlock_read(&b->lock);
	*ret_next = le32_to_cpu(((struct ext4_inode *)(void *)(b->data + slot.off))->i_dtime);
	rwlock_unread(&b->lock);
	buf_put(b);
	return 0;
}

/* Caller holds the orphan lock. */
static int set_head(struct handle *h, struct store *s, uint32_t ino)
{
	int ret = store_sb_begin(s, h);

	if (ret)
		return ret;
	store_sb(s)->s_last_orphan = cpu_to_le32(ino);
	store_sb_end(s, h);
	s->orphans->head = ino;
	return 0;
}

/* ---- the list in memory; callers hold the orphan lock --------------------- */

static struct orphan_node **node_link(struct orphan_state *st, uint32_t ino)
{
	struct orphan_node **link = &st->buckets[ino % ORPHAN_BUCKETS];

	while (*link && (*link)->ino != ino)
		link = &(*link)->hash_next;
	return link;
}

static void node_insert(struct orphan_state *st, struct orphan_node *n)
{
	n->hash_next = st->buckets[n->ino % ORPHAN_BUCKETS];
	st->buckets[n->ino % ORPHAN_BUCKETS] = n;
	list_add_head(&st->list, &n->link);
}

static void node_remove(struct orphan_state *st, uint32_t ino)
{
	struct orphan_node **link = node_link(st, ino);
	struct orphan_node *n = *link;

	*link = n->hash_next;
	list_del(&n->link);
	free(n);
}

static struct orphan_node *node_new(uint32_t ino)
{
	struct orphan_node *n = calloc(1, sizeof(*n));

	if (n) {
		n->ino = ino;
		list_init(&n->link);
	}
	return n;
}

/* ---- adding and removing -------------------------------------------------- */

static int list_add_inode(struct handle *h, struct inode *i)
{
	struct store *s = i->store;
	struct orphan_state *st = s->orphans;
	struct orphan_node *n = node_new(i->ino);
	int ret;

	if (!n)
		return -ENOMEM;
	i->orphan_pos = 0;
	mutex_lock(&st->lock);
	ret = set_next(h, s, i->ino, st->head);
	if (!ret)
		ret = set_head(h, s, i->ino);
	if (!ret)
		node_insert(st, n);
	mutex_unlock(&st->lock);
	if (ret)
		free(n);
	return ret;
}

int orphan_add(struct handle *h, struct inode *i)
{
	int ret;

	/* As in ext4: without a log nothing is finished by recovery anyway, only by e2fsck. */
	if (!journal_has_log(i->store->journal) || (atomic_load(&i->state) & INODE_ORPHAN))
		return 0;
	ret = orphan_file_add(h, i);
	if (ret == 1)
		ret = list_add_inode(h, i);
	if (!ret)
		atomic_fetch_or(&i->state, INODE_ORPHAN);
	return ret;
}

/* Caller holds the orphan lock. */
static int list_unlink(struct handle *h, struct store *s, struct orphan_node *n)
{
	struct orphan_state *st = s->orphans;
	uint32_t next;
	int ret = get_next(s, n->ino, &next);

	if (ret)
		return ret;
	if (n->link.prev == &st->list)
		ret = set_head(h, s, next);
	else
		ret = set_next(h, s, list_entry(n->link.prev, struct orphan_node, link)->ino, next);
	if (!ret)
		ret = set_next(h, s, n->ino, 0);
	if (!ret)
		node_remove(st, n->ino);
	return ret;
}

int orphan_del(struct handle *h, struct inode *i)
{
	struct store *s = i->store;
	struct orphan_node *n;
	int ret = 0;

	if (!(atomic_load(&i->state) & INODE_ORPHAN))
		return 0;
	if (i->orphan_pos) {
		ret = orphan_file_clear(h, s, i->orphan_pos);
	} else {
		mutex_lock(&s->orphans->lock);
		n = *node_link(s->orphans, i->ino);
		if (n)
			ret = list_unlink(h, s, n);
		mutex_unlock(&s->orphans->lock);
	}
	if (ret)
		return ret;
	i->orphan_pos = 0;
	atomic_fetch_and(&i->state, ~(uint32_t)INODE_ORPHAN);
	return 0;
}

/* ---- opening and closing -------------------------------------------------- */

int orphan_open(struct store *s, struct store_open_error *err)
{
	struct orphan_state *st = calloc(1, sizeof(*st));

	if (!st)
		return store_open_fail(err, -ENOMEM, "free some memory", "no memory");
	s->orphans = st;
	mutex_init(&st->lock, LOCK_ORPHAN);
	list_init(&st->list);
	st->head = le32_to_cpu(store_sb(s)->s_last_orphan);
	if (!store_has_compat(s, EXT4_FEATURE_COMPAT_ORPHAN_FILE) || atomic_load(&s->readonly))
		return 0;
	return orphan_file_open(s, err);
}

void orphan_close(struct store *s)
{
	struct orphan_state *st = s->orphans;

	if (!st)
		return;
	while (!list_empty(&st->list)) {
		struct orphan_node *n = list_entry(st->list.next, struct orphan_node, link);

		list_del(&n->link);
		free(n);
	}
	orphan_file_close(s);
	free(st);
	s->orphans = NULL;
}

/* ---- cleaning up ---------------------------------------------------------- */

/* An inode that a crash left as an orphan, or why it cannot be one. */
static int adopt(struct store *s, uint32_t ino, struct inode **ret_inode)
{
	struct inode *i;
	bool used;
	int ret;

	if (ino < s->first_ino || ino > s->inodes_count)
		return -EUCLEAN;
	ret = ialloc_in_use(s, ino, &used);
	if (ret)
		return ret;
	if (!used)
		return -EUCLEAN;
	ret = inode_get_special(s, ino, &i);
	if (ret)
		return ret == -ESTALE ? -EUCLEAN : ret;
	if (atomic_load(&i->state) & INODE_ORPHAN) { /* named twice */
		inode_put(i);
		return -EUCLEAN;
	}
	*ret_inode = i;
	return 0;
}

/* Take it off without touching it further. Caller holds the lock exclusively. */
static int dismiss(struct inode *i)
{
	struct handle h;
	int ret, stop_ret;

	if (!(atomic_load(&i->state) & INODE_ORPHAN))
		return 0;
	ret = journal_start(i->store->journal, CREDITS_ORPHAN, &h);
	if (ret)
		return ret;
	ret = orphan_del(&h, i);
	stop_ret = journal_stop(&h);
	return ret ? ret : stop_ret;
}

/* Finish what the crash interrupted. Takes the reference. */
static int finish(struct inode *i)
{
	int ret = 0;

	rwlock_write(&i->lock);
	if (i->links == 0)
		return inode_delete(i);
	if (inode_is_reg(i))
		ret = inode_truncate(i, i->size);
	if (!ret)
		ret = dismiss(i);
	rwlock_unwrite(&i->lock);
	inode_put(i);
	return ret;
}

/* The rest of the list cannot be followed: forget it, e2fsck finds the inodes. */
static int cut_list(struct store *s, uint32_t ino)
{
	struct handle h;
	int ret, stop_ret;

	(void)store_corrupt(s, ino, 0, "orphan list: entry is impossible"); /* the mount goes on */
	ret = journal_start(s->journal, CREDITS_SB, &h);
	if (ret)
		return ret;
	mutex_lock(&s->orphans->lock);
	ret = set_head(&h, s, 0);
	mutex_unlock(&s->orphans->lock);
	stop_ret = journal_stop(&h);
	return ret ? ret : stop_ret;
}

static int clean_head(struct store *s, uint32_t ino)
{
	struct orphan_state *st = s->orphans;
	struct orphan_node *n;
	struct inode *i;
	int ret = adopt(s, ino, &i);

	if (ret == -EUCLEAN || ret == -EBADMSG)
		return cut_list(s, ino);
	if (ret)
		return ret;
	n = node_new(ino);
	if (!n) {
		inode_put(i);
		return -ENOMEM;
	}
	mutex_lock(&st->lock);
	node_insert(st, n);
	mutex_unlock(&st->lock);
	i->orphan_pos = 0;
	atomic_fetch_or(&i->state, INODE_ORPHAN);
	return finish(i);
}

/* Kept by store_orphan_claim(): somebody has a reference to it. */
static bool is_claimed(struct store *s, uint32_t ino)
{
	struct inode *i = s->orphans->claimed ? inode_find(s, ino) : NULL;
	bool claimed = i && atomic_load(&i->state) & INODE_ORPHAN;

	if (i)
		inode_put(i);
	return claimed;
}

/* The list is in memory already; what is kept stays between the others. */
static int clean_unclaimed(struct store *s, uint32_t *cleaned)
{
	struct orphan_state *st = s->orphans;
	struct list *pos = st->list.next;
	int ret = 0;

	/* No lock: nobody else is here yet. */
	while (pos != &st->list && !ret) {
		uint32_t ino = list_entry(pos, struct orphan_node, link)->ino;
		struct inode *i;

		pos = pos->next; /* before finish() frees the node */
		if (is_claimed(s, ino))
			continue;
		ret = adopt(s, ino, &i);
		if (ret)
			return ret;
		i->orphan_pos = 0;
		atomic_fetch_or(&i->state, INODE_ORPHAN);
		ret = finish(i);
		(*cleaned)++;
	}
	return ret;
}

static int clean_list(struct store *s, uint32_t *cleaned)
{
	struct orphan_state *st = s->orphans;
	uint32_t ino, last = 0;
	int ret = 0;

	/* Each step removes its entry and clears its link, so a loop ends at its second visit. */
	while (!ret && (ino = st->head) != 0) {
		ret = ino == last ? cut_list(s, ino) : clean_head(s, ino);
		last = ino;
		(*cleaned)++;
	}
	return ret;
}

static int clear_slot(struct store *s, uint32_t pos, uint32_t ino)
{
	struct handle h;
	int ret, stop_ret;

	(void)store_corrupt(s, ino, 0, "orphan file: entry is impossible"); /* the mount goes on */
	ret = journal_start(s->journal, 1, &h);
	if (ret)
		return ret;
	ret = orphan_file_clear(&h, s, pos);
	stop_ret = journal_stop(&h);
	return ret ? ret : stop_ret;
}

static int clean_file(struct store *s, uint32_t *cleaned)
{
	struct orphan_state *st = s->orphans;
	uint32_t pos, end = st->blocks * st->slots;
	struct inode *i;
	int ret = 0;

	for (pos = 1; pos <= end && !ret; pos++) {
		uint32_t ino = orphan_file_slot(s, pos);

		if (!ino || is_claimed(s, ino))
			continue;
		(*cleaned)++;
		ret = adopt(s, ino, &i);
		if (ret == -EUCLEAN || ret == -EBADMSG) {
			ret = clear_slot(s, pos, ino);
			continue;
		}
		if (ret)
			return ret;
		i->orphan_pos = pos;
		atomic_fetch_or(&i->state, INODE_ORPHAN);
		ret = finish(i);
	}
	return ret;
}

int store_orphan_cleanup(struct store *s, uint32_t *ret_cleaned)
{
	int ret;

	*ret_cleaned = 0;
	if (atomic_load(&s->readonly))
		return 0;
	/* As in ext4: on a filesystem with errors freeing blocks may do more harm. */
	if (le16_to_cpu(store_sb(s)->s_state) & EXT4_ERROR_FS) {
		if (s->orphans->head || orphan_file_in_use(s))
			log_warn("the filesystem has errors: orphan inodes are left to e2fsck");
		return 0;
	}
	ret = s->orphans->claimed ? clean_unclaimed(s, ret_cleaned) : clean_list(s, ret_cleaned);
	return ret ? ret : clean_file(s, ret_cleaned);
}

/* ---- keeping some --------------------------------------------------------- */

static int claim_one(struct store *s, uint32_t ino, uint32_t file_pos, store_keep_fn keep,
		     void *arg)
{
	struct inode *i;
	int ret = adopt(s, ino, &i);

	if (ret)
		return ret;
	if (!i->links && keep(arg, i)) {
		i->orphan_pos = file_pos;
		atomic_fetch_or(&i->state, INODE_ORPHAN);
	}
	inode_put(i);
	return 0;
}

static int claim_list(struct store *s, store_keep_fn keep, void *arg)
{
	struct orphan_state *st = s->orphans;
	uint32_t ino = st->head;
	int ret = 0;

	while (ino && !ret) {
		struct orphan_node *n;

		/* It was closed by one who knows how: a loop, or a number of nobody's, is damage. */
		if (*node_link(st, ino))
			return -EUCLEAN;
		n = node_new(ino);
		if (!n)
			return -ENOMEM;
		node_insert(st, n);
		list_del(&n->link);
		list_add_tail(&st->list, &n->link);
		ret = claim_one(s, ino, 0, keep, arg);
		if (!ret)
			ret = get_next(s, ino, &ino);
	}
	return ret;
}

int store_orphan_claim(struct store *s, store_keep_fn keep, void *arg)
{
	struct orphan_state *st = s->orphans;
	uint32_t end = st->blocks * st->slots;
	int ret;

	st->claimed = true;
	ret = claim_list(s, keep, arg);
	for (uint32_t pos = 1; pos <= end && !ret; pos++) {
		uint32_t ino = orphan_file_slot(s, pos);

		if (ino)
			ret = claim_one(s, ino, pos, keep, arg);
	}
	return ret;
}
