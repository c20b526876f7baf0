// SPDX-License-Identifier: GPL-2.0-only
/*
 * Futex locks in C11 atomics and, in debug builds, the check of their ranks.
 *
 * Invariants
 * (1) Whoever frees a lock whose word says that somebody sleeps first clears
 *     the mark of those it wakes, then wakes them. A sleeper that was about to
 *     sleep on the old word fails the futex comparison and looks again, so no
 *     wake-up is lost.
 * (2) A sleeper that takes the lock after waking marks it as waited for, since
 *     it cannot know whether others sleep. The price is one idle wake-up.
 *
 * The ranks held by a thread live in a thread-local stack; try-locks may be
 * taken out of order because they cannot deadlock.
 */
#include "daemon/base/lock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/base/check.h"
#include "daemon/base/util.h"

#if defined(KFS_SANITIZE) && !defined(KFS_LOCK_DEBUG)
#define KFS_LOCK_DEBUG
#endif

/* Critical sections are tens to hundreds of ns; a sleep and a wake cost several µs. */
#define SPINS_MAX 60

#define FREE 0u
#define HELD 1u
#define WAITED 2u

#define RW_WRITER (1u << 31)
#define RW_WRITERS_SLEEP (1u << 30)
#define RW_READERS_SLEEP (1u << 29)
#define RW_READERS (RW_READERS_SLEEP - 1)
#define RW_HOLDERS (RW_WRITER | RW_READERS)
#define RW_SLEEPERS (RW_WRITERS_SLEEP | RW_READERS_SLEEP)

/* Futex bit sets: whom a wake-up is for. */
#define FOR_READERS 1u
#define FOR_WRITERS 2u

#define COND_WAITED 1u

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

static int futex_wait(_Atomic uint32_t *word, uint32_t expected, const struct timespec *deadline,
		      uint32_t set)
{
	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline, NULL, set) == 0)
		return 0;
	return -errno;
}

static long futex_wake(_Atomic uint32_t *word, int count, uint32_t set)
{
	return syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, count, NULL, NULL, set);
}

/* ---- ranks ---------------------------------------------------------------- */

#ifdef KFS_LOCK_DEBUG
#define RANKS_MAX 64

static _Thread_local uint8_t ranks_held[RANKS_MAX];
static _Thread_local uint32_t ranks_count;

/* @ordered: the lock may be waited for, so its rank must be above all held ones. */
static void rank_note(enum lock_rank rank, bool ordered)
{
	uint32_t i;

	if (rank == LOCK_NONE)
		return;
	CHECK(ranks_count < RANKS_MAX);
	for (i = 0; ordered && i < ranks_count; i++) {
		bool nests = rank == LOCK_INODE && ranks_held[i] == LOCK_INODE;

		CHECK(ranks_held[i] < rank || nests);
	}
	ranks_held[ranks_count++] = (uint8_t)rank;
}

static void rank_forget(enum lock_rank rank)
{
	uint32_t i;

	if (rank == LOCK_NONE)
		return;
	for (i = ranks_count; i > 0 && ranks_held[i - 1] != rank; i--)
		;
	CHECK(i > 0);
	for (; i < ranks_count; i++)
		ranks_held[i - 1] = ranks_held[i];
	ranks_count--;
}

void lock_assert_none_held(void)
{
	CHECK(ranks_count == 0);
}
#else
static inline void rank_note(enum lock_rank rank UNUSED, bool ordered UNUSED)
{
}

static inline void rank_forget(enum lock_rank rank UNUSED)
{
}

void lock_assert_none_held(void)
{
}
#endif

void lock_rank_push(enum lock_rank rank)
{
	rank_note(rank, true);
}

void lock_rank_pop(enum lock_rank rank)
{
	rank_forget(rank);
}

/* ---- mutex ---------------------------------------------------------------- */

void mutex_init(struct mutex *m, enum lock_rank rank)
{
	atomic_init(&m->state, FREE);
	m->rank = rank;
}

static bool mutex_take(struct mutex *m)
{
	uint32_t expected = FREE;

	return atomic_compare_exchange_strong_explicit(&m->state, &expected, HELD,
						       memory_order_acquire, memory_order_relaxed);
}

static void mutex_lock_slow(struct mutex *m)
{
	int spins;

	for (spins = 0; spins < SPINS_MAX; spins++) {
		uint32_t state = atomic_load_explicit(&m->state, memory_order_relaxed);

		if (state == FREE && mutex_take(m))
			return;
		if (state == WAITED)
			break;
		cpu_relax();
	}
	while (atomic_exchange_explicit(&m->state, WAITED, memory_order_acquire) != FREE)
		(void)futex_wait(&m->state, WAITED, NULL, FUTEX_BITSET_MATCH_ANY);
}

void mutex_lock(struct mutex *m)
{
	rank_note(m->rank, true);
	if (!mutex_take(m))
		mutex_lock_slow(m);
}

bool mutex_trylock(struct mutex *m)
{
	if (!mutex_take(m))
		return false;
	rank_note(m->rank, false);
	return true;
}

void mutex_unlock(struct mutex *m)
{
	rank_forget(m->rank);
	if (atomic_exchange_explicit(&m->state, FREE, memory_order_release) == WAITED)
		(void)futex_wake(&m->state, 1, FUTEX_BITSET_MATCH_ANY);
}

/* ---- reader-writer lock --------------------------------------------------- */

void rwlock_init(struct rwlock *l, enum lock_rank rank)
{
	atomic_init(&l->state, 0);
	l->rank = rank;
}

/* Sets @mark unless the word changed from @state meanwhile, then sleeps. */
static void rwlock_sleep(struct rwlock *l, uint32_t state, uint32_t mark, uint32_t set)
{
	if (!(state & mark) &&
	    !atomic_compare_exchange_strong_explicit(&l->state, &state, state | mark,
						     memory_order_relaxed, memory_order_relaxed))
		return;
	(void)futex_wait(&l->state, state | mark, NULL, set);
}

void rwlock_read(struct rwlock *l)
{
	int spins = 0;

	rank_note(l->rank, true);
	for (;;) {
		uint32_t state = atomic_load_explicit(&l->state, memory_order_relaxed);

		if (!(state & (RW_WRITER | RW_WRITERS_SLEEP))) {
			if (atomic_compare_exchange_weak_explicit(&l->state, &state, state + 1,
								  memory_order_acquire,
								  memory_order_relaxed))
				return;
		} else if (spins++ < SPINS_MAX) {
			cpu_relax();
		} else {
			rwlock_sleep(l, state, RW_READERS_SLEEP, FOR_READERS);
		}
	}
}

static bool rwlock_take_write(struct rwlock *l, uint32_t state, uint32_t mark)
{
	return atomic_compare_exchange_strong_explicit(&l->state, &state, state | RW_WRITER | mark,
						       memory_order_acquire, memory_order_relaxed);
}

void rwlock_write(struct rwlock *l)
{
	uint32_t mark = 0;
	int spins = 0;

	rank_note(l->rank, true);
	for (;;) {
		uint32_t state = atomic_load_explicit(&l->state, memory_order_relaxed);

		if (!(state & RW_HOLDERS)) {
			if (rwlock_take_write(l, state, mark))
				return;
		} else if (spins++ < SPINS_MAX) {
			cpu_relax();
		} else {
			rwlock_sleep(l, state, RW_WRITERS_SLEEP, FOR_WRITERS);
			mark = RW_WRITERS_SLEEP; /* invariant (2) */
		}
	}
}

bool rwlock_trywrite(struct rwlock *l)
{
	uint32_t state = atomic_load_explicit(&l->state, memory_order_relaxed);

	if ((state & RW_HOLDERS) || !rwlock_take_write(l, state, 0))
		return false;
	rank_note(l->rank, false);
	return true;
}

/*
 * The lock became free and its word said that somebody sleeps. One writer goes
 * first; readers are woken when no writer slept. Stops as soon as somebody holds
 * the lock again: its unlock comes here.
 */
static void rwlock_wake_sleepers(struct rwlock *l)
{
	for (;;) {
		uint32_t state = atomic_load_explicit(&l->state, memory_order_relaxed);
		uint32_t mark = state & RW_WRITERS_SLEEP ? RW_WRITERS_SLEEP : RW_READERS_SLEEP;

		if ((state & RW_HOLDERS) || !(state & mark))
			return;
		if (!atomic_compare_exchange_strong_explicit(&l->state, &state, state & ~mark,
							     memory_order_relaxed,
							     memory_order_relaxed))
			continue;
		if (mark == RW_READERS_SLEEP) {
			(void)futex_wake(&l->state, INT_MAX, FOR_READERS);
			return;
		}
		if (futex_wake(&l->state, 1, FOR_WRITERS) > 0)
			return; /* sleeping readers wait for that writer's unlock */
	}
}

void rwlock_unread(struct rwlock *l)
{
	uint32_t state = atomic_fetch_sub_explicit(&l->state, 1, memory_order_release) - 1;

	rank_forget(l->rank);
	if (unlikely(!(state & RW_HOLDERS) && (state & RW_SLEEPERS)))
		rwlock_wake_sleepers(l);
}

void rwlock_unwrite(struct rwlock *l)
{
	uint32_t state = atomic_fetch_and_explicit(&l->state, ~RW_WRITER, memory_order_release);

	rank_forget(l->rank);
	if (unlikely(state & RW_SLEEPERS))
		rwlock_wake_sleepers(l);
}

bool rwlock_is_write_locked(const struct rwlock *l)
{
	return atomic_load_explicit(&l->state, memory_order_relaxed) & RW_WRITER;
}

bool rwlock_is_locked(const struct rwlock *l)
{
	return atomic_load_explicit(&l->state, memory_order_relaxed) & RW_HOLDERS;
}

/* ---- condition ------------------------------------------------------------ */

/*
 * The word counts wake-ups in steps of two; its lowest bit says that somebody
 * may be waiting, so that a wake-up without waiters costs no system call. A
 * waiter sets the bit before it lets go of the mutex under which the awaited
 * state changes, hence no waker can miss it.
 */
void cond_init(struct cond *c)
{
	atomic_init(&c->seq, 0);
}

static int cond_wait_common(struct cond *c, struct mutex *m, const struct timespec *deadline)
{
	uint32_t seq = atomic_fetch_or(&c->seq, COND_WAITED) | COND_WAITED;
	int err;

	mutex_unlock(m);
	err = futex_wait(&c->seq, seq, deadline, FUTEX_BITSET_MATCH_ANY);
	mutex_lock(m);
	return err;
}

void cond_wait(struct cond *c, struct mutex *m)
{
	(void)cond_wait_common(c, m, NULL);
}

bool cond_wait_until(struct cond *c, struct mutex *m, const struct timespec *deadline)
{
	return cond_wait_common(c, m, deadline) != -ETIMEDOUT;
}

static void cond_wake(struct cond *c, int count, uint32_t keep)
{
	uint32_t seq = atomic_load(&c->seq);

	do {
		if (!(seq & COND_WAITED))
			return;
	} while (!atomic_compare_exchange_weak(&c->seq, &seq, ((seq & ~COND_WAITED) + 2) | keep));
	(void)futex_wake(&c->seq, count, FUTEX_BITSET_MATCH_ANY);
}

void cond_wake_all(struct cond *c)
{
	cond_wake(c, INT_MAX, 0);
}

void cond_wake_one(struct cond *c)
{
	cond_wake(c, 1, COND_WAITED);
}
