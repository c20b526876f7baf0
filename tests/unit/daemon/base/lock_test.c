// SPDX-License-Identifier: GPL-2.0-only
/* Locks under contention: exclusion, no lost wake-up, writers not starved, ranks. */
#include "daemon/base/lock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define THREADS 4
#define ROUNDS 20000

static struct mutex mutex;
static struct rwlock rwlock;
static struct cond cond;
static uint64_t counter;
static uint32_t turn;

static void run_threads(void *(*fn)(void *))
{
	pthread_t threads[THREADS];
	uintptr_t i;

	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, fn, (void *)i), 0);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void *mutex_adder(void *arg)
{
	int i;

	(void)arg;
	for (i = 0; i < ROUNDS; i++) {
		mutex_lock(&mutex);
		counter++;
		mutex_unlock(&mutex);
	}
	return NULL;
}

TEST(test_mutex__excludes)
{
	mutex_init(&mutex, LOCK_LEAF);
	run_threads(mutex_adder);
	CHECK_EQ(counter, THREADS * ROUNDS);
	CHECK(mutex_trylock(&mutex));
	CHECK(!mutex_trylock(&mutex));
	mutex_unlock(&mutex);
}

static uint64_t left, right;

static void *rwlock_mixer(void *arg)
{
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if ((i + (int)(uintptr_t)arg) % 3 == 0) {
			rwlock_write(&rwlock);
			left++;
			if (i % 64 == 0)
				usleep(1); /* so that others really sleep */
			right++;
			rwlock_unwrite(&rwlock);
		} else {
			rwlock_read(&rwlock);
			CHECK_EQ(left, right);
			rwlock_unread(&rwlock);
		}
	}
	return NULL;
}

TEST(test_rwlock__readers_see_whole_writes)
{
	rwlock_init(&rwlock, LOCK_INODE);
	run_threads(rwlock_mixer);
	CHECK_EQ(left, right);
	CHECK(left >= (uint64_t)THREADS * ROUNDS / 3);
	CHECK(!rwlock_is_locked(&rwlock));
}

static _Atomic bool stop_readers;

static void *endless_reader(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop_readers)) {
		rwlock_read(&rwlock);
		usleep(50);
		rwlock_unread(&rwlock);
	}
	return NULL;
}

TEST(test_rwlock_write__is_not_starved_by_readers)
{
	pthread_t threads[THREADS];
	int i;

	rwlock_init(&rwlock, LOCK_INODE);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, endless_reader, NULL), 0);
	for (i = 0; i < 50; i++) {
		rwlock_write(&rwlock);
		CHECK(rwlock_is_write_locked(&rwlock));
		CHECK(!rwlock_trywrite(&rwlock));
		rwlock_unwrite(&rwlock);
	}
	atomic_store(&stop_readers, true);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void *turn_taker(void *arg)
{
	uint32_t me = (uint32_t)(uintptr_t)arg;
	int i;

	for (i = 0; i < ROUNDS / 20; i++) {
		mutex_lock(&mutex);
		while (turn % THREADS != me)
			cond_wait(&cond, &mutex);
		turn++;
		cond_wake_all(&cond);
		mutex_unlock(&mutex);
	}
	return NULL;
}

TEST(test_cond_wait__no_wakeup_is_lost)
{
	mutex_init(&mutex, LOCK_LEAF);
	cond_init(&cond);
	run_threads(turn_taker);
	CHECK_EQ(turn, THREADS * (ROUNDS / 20));
}

TEST(test_cond_wait_until__times_out)
{
	struct timespec deadline;

	mutex_init(&mutex, LOCK_LEAF);
	cond_init(&cond);
	CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &deadline), 0);
	deadline.tv_nsec += 2000000;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_nsec -= 1000000000;
		deadline.tv_sec++;
	}
	mutex_lock(&mutex);
	while (cond_wait_until(&cond, &mutex, &deadline))
		;
	mutex_unlock(&mutex);
}

#if defined(KFS_LOCK_DEBUG) || defined(KFS_SANITIZE)
static bool aborts(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0) {
		CHECK(freopen("/dev/null", "w", stderr) != NULL);
		fn();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void take_wrong_order(void)
{
	struct mutex inner, outer;

	mutex_init(&inner, LOCK_CACHE);
	mutex_init(&outer, LOCK_GROUP);
	mutex_lock(&inner);
	mutex_lock(&outer);
}

static void take_right_order(void)
{
	struct rwlock parent, child;
	struct mutex inner;

	rwlock_init(&parent, LOCK_INODE);
	rwlock_init(&child, LOCK_INODE);
	mutex_init(&inner, LOCK_CACHE);
	rwlock_write(&parent);
	rwlock_write(&child);
	lock_rank_push(LOCK_HANDLE);
	mutex_lock(&inner);
	rwlock_unwrite(&parent);
	mutex_unlock(&inner);
	lock_rank_pop(LOCK_HANDLE);
	rwlock_unwrite(&child);
	lock_assert_none_held();
}

TEST(test_lock_rank__wrong_order_aborts)
{
	CHECK(aborts(take_wrong_order));
	CHECK(!aborts(take_right_order));
}
#endif
