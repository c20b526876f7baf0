// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checks of an open image while threads change it: none may find anything. (What they do
 * find is tests/integration/771-check-damage.sh's.)
 */
#include "daemon/check/check.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/stats.h"
#include "daemon/journal/view.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/fs/fixture.h"

#define THREADS 3
/* As many as fit, on a slow machine or under a sanitizer at least some. */
#define CHECKS_MIN 3
#define CHECKS_MAX 60
#define STORM_NS 3000000000ULL
#define MIB (1u << 20)

struct worker {
	struct fixture *f;
	uint64_t seed;
	uint32_t id;
};

static _Atomic bool stop;

static uint32_t draw(struct worker *w, uint32_t below)
{
	w->seed = w->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(w->seed >> 33) % below;
}

static void path(struct worker *w, char *buf, size_t size)
{
	static const char *const dirs[] = { "", "/d0", "/d1", "/d0/sub", "/d1/sub" };

	snprintf(buf, size, "%s/name-%u-%.*s", dirs[draw(w, ARRAY_SIZE(dirs))], draw(w, 60),
		 (int)draw(w, 150),
		 "long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-"
		 "long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-");
}

/* Written, then cut short or removed while it is still known. */
static void one_file(struct worker *w, const char *name)
{
	static const char data[20000] = "x";
	uint64_t node;

	if (try_make(w->f, name, S_IFREG | 0644))
		return;
	if (try_look(w->f, name))
		return;
	node = look(w->f, name);
	(void)write_node(w->f, node, data, 1 + draw(w, sizeof(data)), draw(w, 4) * 100000);
	if (draw(w, 2))
		(void)try_unlink(w->f, name);
	(void)write_node(w->f, node, data, 100, 5000);
	forget(w->f, node);
}

static void *churn(void *arg)
{
	struct worker *w = arg;
	char a[400], b[400];

	while (!atomic_load(&stop)) {
		path(w, a, sizeof(a));
		path(w, b, sizeof(b));
		switch (draw(w, 8)) {
		case 0: (void)try_make(w->f, a, S_IFDIR | 0755); break;
		case 1: (void)try_rmdir(w->f, a); break;
		case 2: (void)try_rename(w->f, a, b, 0); break;
		case 3: (void)try_link(w->f, a, b); break;
		case 4: (void)try_unlink(w->f, a); break;
		case 5: (void)try_make(w->f, a, S_IFREG | 0600); break;
		default:
			/* One thread only: it looks a name up that others could take away. */
			if (w->id == 0) {
				snprintf(a, sizeof(a), "/own/f%u", draw(w, 20));
				one_file(w, a);
			}
		}
	}
	return NULL;
}

static void check_clean(struct store *s, const struct check_opts *opts)
{
	struct check_progress progress = { 0 };
	struct check_result r;

	CHECK_OK(check_run(s, opts, &progress, &r));
	if (r.total)
		FAIL("%llu findings, the first: %s", (unsigned long long)r.total,
		     r.count ? r.findings[0].text : "?");
	CHECK_GT(r.inodes_used, 0);
	CHECK_EQ(atomic_load(&progress.percent), 100);
	check_result_fini(&r);
}

static void storm(const char *options)
{
	const struct check_opts opts = { .copies_bytes_max = 64 * MIB };
	struct fixture f = { 0 };
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	uint64_t end;
	uint32_t k;

	f.store_opts.commit_interval_ms = 20;
	fixture_open(&f, options);
	for (k = 0; k < 4; k++) {
		static const char *const dirs[] = { "/d0", "/d1", "/d0/sub", "/d1/sub" };

		forget(&f, make_dir(&f, dirs[k]));
	}
	forget(&f, make_dir(&f, "/own"));
	atomic_store(&stop, false);
	end = stats_now_ns() + STORM_NS;
	for (k = 0; k < THREADS; k++) {
		workers[k] = (struct worker){ .f = &f, .seed = 11 + k, .id = k };
		CHECK_EQ(pthread_create(&threads[k], NULL, churn, &workers[k]), 0);
	}
	for (k = 0; k < CHECKS_MAX && (k < CHECKS_MIN || stats_now_ns() < end); k++)
		check_clean(fs_store(f.fs), &opts);
	atomic_store(&stop, true);
	for (k = 0; k < THREADS; k++)
		pthread_join(threads[k], NULL);
	check_clean(fs_store(f.fs), &opts);
	fixture_close(&f);
}

TEST(test_check__finds_nothing_while_ext4_changes)
{
	storm(NULL);
}

TEST(test_check__finds_nothing_while_inline_data_changes)
{
	storm("-b 1024 -I 256 -O inline_data,orphan_file 8M");
}

TEST(test_check__finds_nothing_while_ext3_changes)
{
	storm("-b 1024 -O ^extent,^metadata_csum,^64bit,^flex_bg,^huge_file,^dir_nlink 8M");
}

TEST(test_check__finds_nothing_while_ext2_changes)
{
	storm("-b 1024 -I 128 -O ^has_journal,^extent,^metadata_csum,^64bit,^flex_bg,^huge_file 8M");
}

static bool always(void *arg)
{
	(*(uint32_t *)arg)++;
	return true;
}

TEST(test_check__can_be_cancelled)
{
	struct check_progress progress = { 0 };
	struct fixture f = { 0 };
	struct check_result r;
	uint32_t asked = 0;
	const struct check_opts opts = { .cancelled = always, .arg = &asked };

	fixture_open(&f, NULL);
	CHECK_ERR(check_run(fs_store(f.fs), &opts, &progress, &r), -ECANCELED);
	CHECK_EQ(asked, 1);
	check_result_fini(&r);
	fixture_close(&f);
}

TEST(test_check__one_at_a_time)
{
	const struct check_opts opts = { 0 };
	struct check_progress progress = { 0 };
	struct journal_view *v;
	struct fixture f = { 0 };
	struct check_result r;

	fixture_open(&f, NULL);
	CHECK_OK(journal_view_open(fs_store(f.fs)->journal, MIB, &v));
	CHECK_ERR(check_run(fs_store(f.fs), &opts, &progress, &r), -EBUSY);
	check_result_fini(&r);
	journal_view_close(v);
	check_clean(fs_store(f.fs), &opts);
	fixture_close(&f);
}
