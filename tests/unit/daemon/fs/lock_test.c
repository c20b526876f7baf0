/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * POSIX and flock locks: ranges against a model of one owner a byte, waiting, deadlock,
 * interruption, and what closing releases.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "tests/unit/daemon/fs/fixture.h"

#define END_MAX (UINT64_MAX >> 1)

struct waiting {
	struct fs_lock_wait wait;
	_Atomic int calls;
	int error;
	uint32_t order;
};

static _Atomic uint32_t wake_order;

static void woken(struct fs_lock_wait *w, int error)
{
	struct waiting *x = container_of(w, struct waiting, wait);

	x->error = error;
	x->order = atomic_fetch_add(&wake_order, 1) + 1;
	atomic_fetch_add(&x->calls, 1);
}

static struct waiting waiting_init(void)
{
	return (struct waiting){ .wait = { .done = woken } };
}

static struct fs_flock range(uint64_t id, uint64_t owner, uint32_t type, uint64_t start,
			     uint64_t end)
{
	return (struct fs_flock){ .nodeid = id,
				  .owner = owner,
				  .type = type,
				  .start = start,
				  .end = end,
				  .pid = (uint32_t)owner };
}

static int lock_range(struct fixture *f, struct fs_flock l, struct waiting *w)
{
	return fs_setlk(f->fs, &f->ctx, &l, w ? &w->wait : NULL);
}

static int lock_whole(struct fixture *f, uint64_t id, uint64_t owner, uint32_t type,
		      struct waiting *w)
{
	struct fs_flock l = { .nodeid = id, .owner = owner, .type = type, .flock = true };

	return fs_setlk(f->fs, &f->ctx, &l, w ? &w->wait : NULL);
}

static void check_no_locks(struct fixture *f)
{
	struct fs_stats st;

	fs_get_stats(f->fs, &st);
	CHECK_EQ(st.locks, 0);
	CHECK_EQ(st.lock_waiters, 0);
}

TEST(test_posix__conflicts_and_getlk)
{
	struct fixture f;
	struct fs_flock l;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	CHECK_OK(lock_range(&f, range(id, 1, F_WRLCK, 10, 19), NULL));
	CHECK_ERR(lock_range(&f, range(id, 2, F_RDLCK, 19, 30), NULL), -EAGAIN);
	CHECK_OK(lock_range(&f, range(id, 2, F_RDLCK, 20, 30), NULL));
	CHECK_OK(lock_range(&f, range(id, 3, F_RDLCK, 25, 40), NULL));
	CHECK_ERR(lock_range(&f, range(id, 3, F_WRLCK, 25, 40), NULL), -EAGAIN);
	l = range(id, 9, F_WRLCK, 0, END_MAX);
	CHECK_OK(fs_getlk(f.fs, &f.ctx, &l));
	CHECK_NE(l.type, F_UNLCK);
	l = range(id, 2, F_WRLCK, 0, 15);
	CHECK_OK(fs_getlk(f.fs, &f.ctx, &l));
	CHECK_EQ(l.type, F_WRLCK);
	CHECK_EQ(l.start, 10);
	CHECK_EQ(l.end, 19);
	CHECK_EQ(l.pid, 1);
	l = range(id, 2, F_RDLCK, 20, 24);
	CHECK_OK(fs_getlk(f.fs, &f.ctx, &l));
	CHECK_EQ(l.type, F_UNLCK);
	CHECK_ERR(lock_range(&f, range(id, 1, F_WRLCK, 5, 4), NULL), -EINVAL);
	CHECK_ERR(lock_range(&f, range(id, 1, F_WRLCK, 5, UINT64_MAX), NULL), -EINVAL);
	CHECK_ERR(lock_range(&f, range(id, 1, 77, 0, 1), NULL), -EINVAL);
	CHECK_ERR(lock_range(&f, range(id + 1, 1, F_WRLCK, 0, 1), NULL), -ESTALE);
	for (uint64_t owner = 1; owner <= 3; owner++)
		fs_release_locks(f.fs, &f.ctx, id, owner);
	check_no_locks(&f);
	forget(&f, id);
	fixture_close(&f);
}

/* Random locking by three owners on 64 bytes; byte by byte the model says what must be so. */
TEST(test_posix__ranges_equal_a_model_of_bytes)
{
	enum { BYTES = 64, OWNERS = 3 };
	static uint32_t model[OWNERS][BYTES];
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	for (int o = 0; o < OWNERS; o++)
		for (int b = 0; b < BYTES; b++)
			model[o][b] = F_UNLCK;
	for (uint32_t round = 0; round < 30000; round++) {
		static const uint32_t types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
		uint32_t owner = (uint32_t)test_random_below(OWNERS);
		uint32_t type = types[test_random_below(3)];
		uint64_t a = test_random_below(BYTES), b = test_random_below(BYTES);
		uint64_t start = MIN(a, b), end = MAX(a, b);
		bool conflict = false;
		struct fs_flock probe;

		for (uint32_t o = 0; o < OWNERS; o++)
			for (uint64_t x = start; o != owner && type != F_UNLCK && x <= end; x++)
				conflict |= model[o][x] == F_WRLCK ||
					    (type == F_WRLCK && model[o][x] == F_RDLCK);
		CHECK_EQ(lock_range(&f, range(id, owner + 1, type, start, end), NULL),
			 conflict ? -EAGAIN : 0);
		for (uint64_t x = start; !conflict && x <= end; x++)
			model[owner][x] = type;
		/* A stranger's view of one byte. */
		a = test_random_below(BYTES);
		probe = range(id, 99, F_WRLCK, a, a);
		CHECK_OK(fs_getlk(f.fs, &f.ctx, &probe));
		conflict = false;
		for (uint32_t o = 0; o < OWNERS; o++)
			conflict |= model[o][a] != F_UNLCK;
		CHECK_EQ(probe.type != F_UNLCK, conflict);
		if (conflict && probe.pid) {
			CHECK_EQ(model[probe.pid - 1][a], probe.type);
			/* It reaches as far as the model says, and no further: neighbours are merged. */
			CHECK(probe.start == 0 ||
			      model[probe.pid - 1][probe.start - 1] != probe.type);
			CHECK(probe.end == BYTES - 1 ||
			      model[probe.pid - 1][probe.end + 1] != probe.type);
		}
	}
	for (uint64_t owner = 1; owner <= OWNERS; owner++)
		fs_release_locks(f.fs, &f.ctx, id, owner);
	check_no_locks(&f);
	forget(&f, id);
	fixture_close(&f);
}

TEST(test_posix__waiters_are_granted_in_order)
{
	struct waiting w[4];
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	atomic_store(&wake_order, 0);
	CHECK_OK(lock_range(&f, range(id, 1, F_WRLCK, 0, END_MAX), NULL));
	for (uint32_t i = 0; i < 4; i++) {
		w[i] = waiting_init();
		f.ctx.unique = 100 + i;
		CHECK_ERR(lock_range(&f, range(id, 10 + i, i == 3 ? F_WRLCK : F_RDLCK, 0, 100),
				     &w[i]),
			  -EINPROGRESS);
	}
	/* Part of it: nobody fits. */
	CHECK_OK(lock_range(&f, range(id, 1, F_UNLCK, 0, 50), NULL));
	CHECK_EQ(w[0].calls, 0);
	CHECK_OK(lock_range(&f, range(id, 1, F_UNLCK, 51, 100), NULL));
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ(w[i].calls, 1);
		CHECK_EQ(w[i].error, 0);
		CHECK_EQ(w[i].order, i + 1);
	}
	CHECK_EQ(w[3].calls, 0); /* a writer, behind three readers */
	for (uint64_t i = 0; i < 3; i++)
		fs_release_locks(f.fs, &f.ctx, id, 10 + i);
	CHECK_EQ(w[3].calls, 1);
	fs_release_locks(f.fs, &f.ctx, id, 13);
	fs_release_locks(f.fs, &f.ctx, id, 1);
	check_no_locks(&f);
	forget(&f, id);
	fixture_close(&f);
}

TEST(test_posix__deadlock_is_refused)
{
	struct waiting w[3] = { waiting_init(), waiting_init(), waiting_init() };
	struct fixture f;
	uint64_t a, b;

	fixture_open(&f, NULL);
	a = make_file(&f, "/a");
	b = make_file(&f, "/b");
	CHECK_OK(lock_range(&f, range(a, 1, F_WRLCK, 0, 9), NULL));
	CHECK_OK(lock_range(&f, range(b, 2, F_WRLCK, 0, 9), NULL));
	CHECK_OK(lock_range(&f, range(b, 3, F_WRLCK, 20, 29), NULL));
	CHECK_ERR(lock_range(&f, range(b, 1, F_WRLCK, 0, 9), &w[0]), -EINPROGRESS);
	CHECK_ERR(lock_range(&f, range(a, 2, F_RDLCK, 0, 0), &w[1]), -EDEADLK);
	CHECK_ERR(lock_range(&f, range(b, 2, F_RDLCK, 20, 20), &w[1]), -EINPROGRESS);
	CHECK_ERR(lock_range(&f, range(a, 3, F_WRLCK, 5, 5), &w[2]), -EDEADLK); /* 3 > 1 > 2 > 3 */
	/* Without waiting it is a plain conflict. */
	CHECK_ERR(lock_range(&f, range(a, 3, F_WRLCK, 5, 5), NULL), -EAGAIN);
	fs_release_locks(f.fs, &f.ctx, b, 3);
	CHECK_EQ(w[1].calls, 1);
	fs_release_locks(f.fs, &f.ctx, b, 2);
	CHECK_EQ(w[0].calls, 1);
	fs_release_locks(f.fs, &f.ctx, b, 1);
	fs_release_locks(f.fs, &f.ctx, a, 1);
	check_no_locks(&f);
	forget(&f, a);
	forget(&f, b);
	fixture_close(&f);
}

TEST(test_posix__deadlock_found_when_the_blocker_changes)
{
	struct waiting w[2] = { waiting_init(), waiting_init() };
	struct fixture f;
	uint64_t a, b;

	fixture_open(&f, NULL);
	a = make_file(&f, "/a");
	b = make_file(&f, "/b");
	CHECK_OK(lock_range(&f, range(a, 1, F_RDLCK, 0, 9), NULL));
	CHECK_OK(lock_range(&f, range(a, 2, F_RDLCK, 0, 9), NULL));
	CHECK_OK(lock_range(&f, range(b, 3, F_WRLCK, 0, 9), NULL));
	CHECK_ERR(lock_range(&f, range(a, 3, F_WRLCK, 0, 9), &w[0]), -EINPROGRESS); /* behind 1 */
	CHECK_ERR(lock_range(&f, range(b, 2, F_WRLCK, 0, 9), &w[1]), -EINPROGRESS); /* behind 3 */
	fs_release_locks(f.fs, &f.ctx, a, 1); /* now 3 is behind 2, which is behind 3 */
	CHECK_EQ(w[0].calls, 1);
	CHECK_EQ(w[0].error, -EDEADLK);
	fs_release_locks(f.fs, &f.ctx, b, 3);
	CHECK_EQ(w[1].calls, 1);
	CHECK_EQ(w[1].error, 0);
	fs_release_locks(f.fs, &f.ctx, a, 2);
	fs_release_locks(f.fs, &f.ctx, b, 2);
	check_no_locks(&f);
	forget(&f, a);
	forget(&f, b);
	fixture_close(&f);
}

TEST(test_interrupt__wakes_the_one_request)
{
	struct waiting w[2] = { waiting_init(), waiting_init() };
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	CHECK_OK(lock_range(&f, range(id, 1, F_WRLCK, 0, 9), NULL));
	f.ctx.unique = 5;
	CHECK_ERR(lock_range(&f, range(id, 2, F_WRLCK, 0, 9), &w[0]), -EINPROGRESS);
	f.ctx.unique = 6;
	CHECK_ERR(lock_range(&f, range(id, 3, F_WRLCK, 0, 9), &w[1]), -EINPROGRESS);
	CHECK(!fs_lock_interrupt(f.fs, f.session, 7));
	CHECK(fs_lock_interrupt(f.fs, f.session, 6));
	CHECK(!fs_lock_interrupt(f.fs, f.session, 6));
	CHECK_EQ(w[1].calls, 1);
	CHECK_EQ(w[1].error, -EINTR);
	CHECK_EQ(w[0].calls, 0);
	fs_release_locks(f.fs, &f.ctx, id, 1);
	CHECK_EQ(w[0].calls, 1);
	fs_release_locks(f.fs, &f.ctx, id, 2);
	check_no_locks(&f);
	forget(&f, id);
	fixture_close(&f);
}

TEST(test_flock__shares_excludes_and_converts)
{
	struct waiting w = waiting_init();
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	CHECK_OK(lock_whole(&f, id, 1, F_RDLCK, NULL));
	CHECK_OK(lock_whole(&f, id, 2, F_RDLCK, NULL));
	CHECK_ERR(lock_whole(&f, id, 3, F_WRLCK, NULL), -EAGAIN);
	/* flock and POSIX locks do not see each other. */
	CHECK_OK(lock_range(&f, range(id, 3, F_WRLCK, 0, END_MAX), NULL));
	fs_release_locks(f.fs, &f.ctx, id, 3);
	/* A failed change of type loses the old lock, as in the kernel. */
	CHECK_ERR(lock_whole(&f, id, 1, F_WRLCK, NULL), -EAGAIN);
	CHECK_OK(lock_whole(&f, id, 2, F_WRLCK, NULL));
	CHECK_ERR(lock_whole(&f, id, 1, F_RDLCK, &w), -EINPROGRESS);
	fs_release(f.fs, &f.ctx, id, 2, true);
	CHECK_EQ(w.calls, 1);
	CHECK_EQ(w.error, 0);
	CHECK_OK(lock_whole(&f, id, 1, F_UNLCK, NULL));
	CHECK_OK(lock_whole(&f, id, 1, F_UNLCK, NULL));
	check_no_locks(&f);
	forget(&f, id);
	fixture_close(&f);
}

TEST(test_session_close__releases_and_answers)
{
	struct fs_session_opts opts = { .name = "second" };
	struct waiting mine = waiting_init(), its = waiting_init();
	struct fs_session *second;
	struct fixture f;
	struct fs_ctx ctx;
	struct fs_flock l;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	CHECK_OK(fs_session_open(f.fs, &opts, &second));
	ctx = (struct fs_ctx){ .session = second };
	l = range(id, 1, F_WRLCK, 0, 9);
	CHECK_OK(fs_setlk(f.fs, &ctx, &l, NULL));
	CHECK_OK(lock_range(&f, range(id, 1, F_WRLCK, 50, 59),
			    NULL)); /* same number, another owner */
	CHECK_ERR(lock_range(&f, range(id, 1, F_WRLCK, 0, 9), NULL), -EAGAIN);
	CHECK_ERR(lock_range(&f, range(id, 2, F_WRLCK, 0, 9), &mine), -EINPROGRESS);
	l = range(id, 2, F_WRLCK, 50, 59);
	CHECK_ERR(fs_setlk(f.fs, &ctx, &l, &its.wait), -EINPROGRESS);
	fs_session_close(second);
	CHECK_EQ(its.calls, 1);
	CHECK_EQ(its.error, -EINTR);
	CHECK_EQ(mine.calls, 1);
	CHECK_EQ(mine.error, 0);
	fs_release_locks(f.fs, &f.ctx, id, 1);
	fs_release_locks(f.fs, &f.ctx, id, 2);
	check_no_locks(&f);
	forget(&f, id);
	fixture_close(&f);
}

/* Threads lock and wait at random; a counter guarded by the lock must not be lost. */
struct crowd {
	struct fixture *f;
	uint64_t id, owner;
	uint64_t *guarded;
};

struct parked {
	struct fs_lock_wait wait;
	struct mutex lock;
	struct cond cond;
	bool done;
	int error;
};

static void unpark(struct fs_lock_wait *w, int error)
{
	struct parked *p = container_of(w, struct parked, wait);

	mutex_lock(&p->lock);
	p->done = true;
	p->error = error;
	cond_wake_all(&p->cond);
	mutex_unlock(&p->lock);
}

static void *crowd_member(void *arg)
{
	struct crowd *c = arg;
	struct fs_ctx ctx = c->f->ctx;

	for (uint32_t i = 0; i < 3000; i++) {
		struct fs_flock l = range(c->id, c->owner, F_WRLCK, 100, 199);
		struct parked p = { .wait.done = unpark };
		int error;

		mutex_init(&p.lock, LOCK_LEAF);
		cond_init(&p.cond);
		ctx.unique = c->owner << 32 | i;
		error = fs_setlk(c->f->fs, &ctx, &l, &p.wait);
		if (error == -EINPROGRESS) {
			mutex_lock(&p.lock);
			while (!p.done)
				cond_wait(&p.cond, &p.lock);
			error = p.error;
			mutex_unlock(&p.lock);
		}
		CHECK_OK(error);
		++*c->guarded; /* plain: only the file lock guards it */
		l.type = F_UNLCK;
		CHECK_OK(fs_setlk(c->f->fs, &ctx, &l, NULL));
	}
	return NULL;
}

TEST(test_posix__excludes_threads)
{
	struct crowd crowd[4];
	pthread_t threads[4];
	uint64_t guarded = 0;
	struct fixture f;
	uint64_t id;

	fixture_open(&f, NULL);
	id = make_file(&f, "/f");
	for (uint32_t i = 0; i < 4; i++) {
		crowd[i] = (struct crowd){ &f, id, i + 1, &guarded };
		CHECK_OK(pthread_create(&threads[i], NULL, crowd_member, &crowd[i]));
	}
	for (uint32_t i = 0; i < 4; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
	CHECK_EQ(guarded, 4 * 3000);
	check_no_locks(&f);
	forget(&f, id);
	fixture_close(&f);
}
