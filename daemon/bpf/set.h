/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A set of KFS_WAYS slots (include/kfs/bpf_abi.h), as the daemon writes it.
 *
 * A set's sequence count is its lock, too: a writer makes it odd by compare-and-swap. What is stored while it is odd is
 * stored with release order (PUT), so that nobody sees it under the even count of before; the count becomes even again by
 * a release as well. (On x86 these are plain stores.)
 */
#ifndef KFS_BPF_SET_H
#define KFS_BPF_SET_H

#include <stdint.h>

#define PUT(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELEASE)
/* Of a locked set, or of what only readers change. */
#define GET(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

void set_lock(uint32_t *seq);

static inline void set_unlock(uint32_t *seq)
{
	PUT(*seq, GET(*seq) + 1);
}

/* Where a newcomer may go: a slot of the locked set, or -1: refused. */
int set_choose(const uint8_t *state, uint8_t *used);
/* A number by chance. */
uint32_t set_roll(void);

static inline void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static inline void count_down(uint64_t *counter)
{
	__atomic_fetch_sub(counter, 1, __ATOMIC_RELAXED);
}

#endif
