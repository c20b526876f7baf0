/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A view: the metadata of the image as it was between two transactions, while
 * everything goes on changing. What a check of a mounted image reads.
 *
 * The moment is one at which no handle is open, so it is a state that a crash could
 * have left, with every operation whole or absent. From then on, whoever declares a
 * change of a buffer first saves what was in it, once per block and view. So reading
 * takes no lock that an operation holds, and an operation pays one copy of a block at
 * most, and an atomic load while there is no view.
 *
 * Only metadata is in a view: blocks that pass the buffer cache and handles. File data
 * is not; its blocks read as what they hold now.
 *
 * Memory: one bit per block of the image, and the saved copies, capped. A view whose
 * cap was reached, or for which no memory was left, is lost: reads fail with -ESTALE,
 * operations go on. Blocks named by journal_view_done() are saved no more.
 */
#ifndef KFS_JOURNAL_VIEW_H
#define KFS_JOURNAL_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct buf;
struct journal;
struct journal_view;

struct journal_view_stats {
	uint64_t copies_bytes, copies_bytes_max, map_bytes;
	bool lost;
};

/*
 * Waits for the moment: at most for the handles that are open, and for the commit of
 * what they did. -EBUSY: there is a view; -EROFS: the journal is aborted; -ENOMEM.
 * The journal must not be closed before the view.
 */
MUST_USE int journal_view_open(struct journal *j, uint64_t copies_bytes_max,
			       struct journal_view **ret_view);
/* NULL is fine. */
void journal_view_close(struct journal_view *v);
/*
 * Blocks [pblk, pblk + count) as they were. Reads around the cache: nothing is
 * inserted, evicted or marked as used. -ESTALE lost, -EUCLEAN past the end, -EIO.
 */
MUST_USE int journal_view_read(struct journal_view *v, uint64_t pblk, uint32_t count, void *buf);
/* These will not be read again. */
void journal_view_done(struct journal_view *v, uint64_t pblk, uint64_t count);
void journal_view_get_stats(const struct journal_view *v, struct journal_view_stats *ret_stats);

/* For who changes a buffer without a handle, before it does: see store_freeze(). */
void journal_view_keep(struct journal *j, struct buf *b);

#endif
