/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tables answer: what was filled, never what was doubted, and nothing torn. */
#include "daemon/bpf/tables.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/lock.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/bpf/answers.h"

#define DIR 7
#define GEN(id) ((uint64_t)9 << 32 | (id))

static struct kfs_answers counts;

static void event(struct tables *t, enum inval_kind kind, uint64_t nodeid, uint64_t version)
{
	struct inval_event ev = { .kind = kind, .nodeid = nodeid, .version = version };

	tables_event(t, &ev);
}

static void name_event(struct tables *t, enum inval_kind kind, const char *name, uint64_t child,
		       uint64_t version)
{
	struct inval_event ev = { .kind = kind,
				  .nodeid = DIR,
				  .version = version,
				  .name = name,
				  .name_len = (uint32_t)strlen(name),
				  .nodeid_child = child };

	tables_event(t, &ev);
}

static void fill_name(struct tables *t, const char *name, uint64_t child, uint64_t version)
{
	name_event(t, INVAL_FILL_ENTRY, name, child, version);
}

static void fill_attr(struct tables *t, uint64_t nodeid, uint64_t version, uint64_t size)
{
	struct fs_attr attr = { .ino = (uint32_t)nodeid,
				.size = size,
				.blocks = size,
				.atime = { (int64_t)size, 0 },
				.mtime = { (int64_t)size, 0 },
				.btime = { (int64_t)size, 0 },
				.mode = 0100644,
				.nlink = 1,
				.absent = FS_ABSENT_CAPABILITY,
				.version = version };
	struct inval_event ev = {
		.kind = INVAL_FILL_ATTR, .nodeid = nodeid, .version = version, .attr = &attr
	};

	tables_event(t, &ev);
}

/* The nodeid; 0 absent; -1 ask the daemon. */
static int64_t ask(const struct tables *t, const char *name)
{
	struct answers_name n = { DIR, name, (uint32_t)strlen(name) };
	struct fuse_bpf_entry entry;
	struct fuse_bpf_attr attr;

	if (answers_lookup(t, &counts, &n, &entry, &attr) != FUSE_BPF_ANSWERED)
		return -1;
	return (int64_t)entry.nodeid;
}

/* The size; -1 ask the daemon. */
static int64_t ask_size(const struct tables *t, uint64_t nodeid)
{
	struct fuse_bpf_attr attr;

	if (answers_getattr(t, &counts, nodeid, &attr) != FUSE_BPF_ANSWERED)
		return -1;
	return (int64_t)attr.size;
}

static void list(struct tables *t, uint64_t from, uint64_t to, bool begin, bool last)
{
	struct inval_event ev = { .kind = begin ? INVAL_LIST_BEGIN : INVAL_LIST_END,
				  .nodeid = DIR,
				  .off = from,
				  .len = to,
				  .nodeid_child = last };

	tables_event(t, &ev);
}

TEST(test_lookup__answers_what_was_filled)
{
	struct tables *t = answers_tables_new(64, 64);
	struct answers_name n = { DIR, "file", 4 };
	struct fuse_bpf_entry entry;
	struct fuse_bpf_attr attr;

	CHECK_EQ(ask(t, "file"), -1);
	fill_name(t, "file", GEN(20), 1);
	CHECK_EQ(ask(t, "file"), -1); /* without attributes there is no answer */
	fill_attr(t, GEN(20), 5, 123);
	CHECK_EQ(answers_lookup(t, &counts, &n, &entry, &attr), FUSE_BPF_ANSWERED);
	CHECK_EQ(entry.nodeid, GEN(20));
	CHECK_EQ(entry.generation, 9);
	CHECK_EQ(entry.valid, 1);
	CHECK_EQ(attr.valid, 3);
	CHECK_EQ(attr.size, 123);
	CHECK_EQ(attr.ino, 20);
	CHECK_EQ(attr.flags, FUSE_BPF_ATTR_BTIME);
	CHECK_EQ(ask_size(t, GEN(20)), 123);
	CHECK_EQ(ask_size(t, (uint64_t)8 << 32 | 20), -1); /* another generation */
	fill_name(t, "nothing", 0, 1);
	CHECK_EQ(ask(t, "nothing"), 0);
	answers_tables_free(t);
}

TEST(test_lookup__tells_names_of_every_length_apart)
{
	struct tables *t = answers_tables_new(256, 256);
	char name[257];

	memset(name, 'n', sizeof(name));
	for (uint32_t len = 1; len <= 255; len++) {
		name[len] = 0;
		fill_name(t, name, GEN(100 + len), 1);
		fill_attr(t, GEN(100 + len), 1, len);
		name[len] = 'n';
	}
	for (uint32_t len = 1; len <= 255; len++) {
		name[len] = 0;
		CHECK_EQ(ask(t, name), (int64_t)GEN(100 + len));
		name[len] = 'n';
	}
	/* Too long to exist: the daemon has an error of its own for it. */
	name[256] = 0;
	list(t, 0, 10, true, true);
	list(t, 0, 10, false, true);
	CHECK_EQ(ask(t, "other"), 0);
	CHECK_EQ(ask(t, name), -1);
	CHECK_EQ(ask(t, "."), -1);
	CHECK_EQ(ask(t, ".."), -1);
	answers_tables_free(t);
}

/* Short names stand in the table as they are: they must not crowd into few sets because they differ in few bits. */
TEST(test_short_names__spread_over_the_sets)
{
	static const char *const patterns[] = { "%u",	    "f%u",     "%08u",
						"file%07u", "%010u.o", "a%05u.c" };
	char name[32];

	for (size_t p = 0; p < ARRAY_SIZE(patterns); p++) {
		struct tables *t = answers_tables_new(1024, 16);
		uint32_t found = 0, half = 1024 * KFS_WAYS / 2;

		for (uint32_t i = 0; i < half; i++) {
			(void)snprintf(name, sizeof(name), patterns[p], i);
			fill_name(t, name, 0, 1);
		}
		for (uint32_t i = 0; i < half; i++) {
			(void)snprintf(name, sizeof(name), patterns[p], i);
			found += ask(t, name) == 0;
		}
		printf("     %s: %u of %u names in a table twice as large\n", patterns[p], found,
		       half);
		CHECK_GT(found, half * 9 / 10);
		answers_tables_free(t);
	}
}

TEST(test_short_name__is_not_taken_for_a_longer_one)
{
	struct tables *t = answers_tables_new(64, 64);

	fill_attr(t, GEN(20), 1, 1);
	fill_attr(t, GEN(21), 1, 2);
	fill_name(t, "fifteen-letters", GEN(20), 1);
	fill_name(t, "fifteen-letters!", GEN(21), 1);
	CHECK_EQ(ask(t, "fifteen-letters"), GEN(20));
	CHECK_EQ(ask(t, "fifteen-letters!"), GEN(21));
	CHECK_EQ(ask(t, "fifteen-letter"), -1);
	CHECK_EQ(ask(t, "fifteen-letters?"), -1);
	/* Resolved by the daemon, whatever the table says. */
	fill_name(t, ".", GEN(20), 1);
	fill_name(t, "..", GEN(20), 1);
	fill_name(t, ".x", GEN(20), 1);
	CHECK_EQ(ask(t, "."), -1);
	CHECK_EQ(ask(t, ".."), -1);
	CHECK_EQ(ask(t, ".x"), GEN(20));
	answers_tables_free(t);
}

TEST(test_invalidation__wins_over_a_late_fill)
{
	struct tables *t = answers_tables_new(64, 64);

	fill_attr(t, GEN(20), 5, 1);
	fill_name(t, "a", GEN(20), 5);
	CHECK_EQ(ask(t, "a"), (int64_t)GEN(20));
	name_event(t, INVAL_ENTRY, "a", 0, 6);
	CHECK_EQ(ask(t, "a"), -1);
	fill_name(t, "a", GEN(20), 5);
	CHECK_EQ(ask(t, "a"), -1);
	CHECK_EQ(t->stats->stale_refusals, 1);
	fill_name(t, "a", 0, 6);
	CHECK_EQ(ask(t, "a"), 0);
	event(t, INVAL_ATTR, GEN(20), 7);
	CHECK_EQ(ask_size(t, GEN(20)), -1);
	fill_attr(t, GEN(20), 6, 2);
	CHECK_EQ(ask_size(t, GEN(20)), -1);
	fill_attr(t, GEN(20), 7, 3);
	CHECK_EQ(ask_size(t, GEN(20)), 3);
	event(t, INVAL_INODE_GONE, GEN(20), 8);
	CHECK_EQ(ask_size(t, GEN(20)), -1);
	answers_tables_free(t);
}

TEST(test_xattr__is_absent_until_something_was_set)
{
	struct tables *t = answers_tables_new(64, 64);

	fill_attr(t, GEN(20), 5, 1);
	CHECK_EQ(answers_xattr(t, &counts, GEN(20), FUSE_BPF_XATTR_CAPABILITY), FUSE_BPF_ANSWERED);
	CHECK_EQ(answers_xattr(t, &counts, GEN(20), FUSE_BPF_XATTR_ACL_ACCESS), FUSE_BPF_UPCALL);
	CHECK_EQ(answers_xattr(t, &counts, GEN(20), FUSE_BPF_XATTR_OTHER), FUSE_BPF_UPCALL);
	/* Attributes that are not known any more say nothing about extended ones. */
	event(t, INVAL_ATTR, GEN(20), 6);
	CHECK_EQ(answers_xattr(t, &counts, GEN(20), FUSE_BPF_XATTR_CAPABILITY), FUSE_BPF_ANSWERED);
	event(t, INVAL_XATTR, GEN(20), 7);
	CHECK_EQ(answers_xattr(t, &counts, GEN(20), FUSE_BPF_XATTR_CAPABILITY), FUSE_BPF_UPCALL);
	answers_tables_free(t);
}

TEST(test_hold__makes_the_daemon_be_asked)
{
	struct tables *t = answers_tables_new(64, 64);

	fill_attr(t, GEN(20), 5, 1);
	event(t, INVAL_HOLD, GEN(20), 0);
	CHECK_EQ(ask_size(t, GEN(20)), -1);
	fill_attr(t, GEN(20), 6, 2);
	CHECK_EQ(ask_size(t, GEN(20)), -1);
	event(t, INVAL_RELEASE, GEN(20), 0);
	CHECK_EQ(ask_size(t, GEN(20)), -1);
	fill_attr(t, GEN(20), 6, 2);
	CHECK_EQ(ask_size(t, GEN(20)), 2);
	answers_tables_free(t);
}

/* ---- whole directories ---- */

TEST(test_directory__is_complete_when_listed_without_a_gap)
{
	struct tables *t = answers_tables_new(64, 64);

	list(t, 0, 10, true, false);
	fill_name(t, "a", GEN(20), 1);
	list(t, 0, 10, false, false);
	CHECK_EQ(ask(t, "b"), -1);
	list(t, 20, 30, true, true); /* what is between 10 and 20 is missing */
	list(t, 20, 30, false, true);
	CHECK_EQ(ask(t, "b"), -1);
	list(t, 10, 30, true, true);
	fill_name(t, "c", GEN(21), 1);
	list(t, 10, 30, false, true);
	CHECK_EQ(ask(t, "b"), 0);
	CHECK_EQ(ask(t, "a"), -1); /* it is there, its attributes are not known */
	/* A change keeps it complete: the name in doubt is asked for, others are not. */
	name_event(t, INVAL_ENTRY, "d", GEN(22), 2);
	CHECK_EQ(ask(t, "d"), -1);
	CHECK_EQ(ask(t, "b"), 0);
	event(t, INVAL_ATTR, DIR, 2);
	CHECK_EQ(ask(t, "b"), 0);
	event(t, INVAL_ALL, 0, 0);
	CHECK_EQ(ask(t, "b"), -1);
	answers_tables_free(t);
}

/* Which of many names are known. The first @count of them exist. */
static uint32_t count_answers(const struct tables *t, uint32_t count, uint32_t *ret_wrong)
{
	uint32_t known = 0;
	char name[16];

	*ret_wrong = 0;
	for (uint32_t i = 0; i < 2 * count; i++) {
		int64_t got;

		(void)snprintf(name, sizeof(name), "n%u", i);
		got = ask(t, name);
		if (got >= 0 && got != (i < count ? (int64_t)GEN(1000 + i) : 0))
			++*ret_wrong;
		known += got >= 0;
	}
	return known;
}

TEST(test_directory__too_large_for_the_table_is_never_complete)
{
	struct tables *t = answers_tables_new(4, 64);
	char name[16];
	uint32_t wrong;

	list(t, 0, 1, true, true);
	for (uint32_t i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		fill_name(t, name, GEN(1000 + i), 1);
		fill_attr(t, GEN(1000 + i), 1, i);
	}
	list(t, 0, 1, false, true);
	CHECK_GT(count_answers(t, 100, &wrong), 10);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(t->stats->directories_completed, 0);
	CHECK_GT(t->stats->full_refusals + t->stats->entry_evictions, 60);
	answers_tables_free(t);
}

TEST(test_directory__loses_completeness_with_a_name)
{
	struct tables *t = answers_tables_new(1, 64);
	char name[16];
	uint32_t wrong;

	list(t, 0, 1, true, true);
	for (uint32_t i = 0; i < 6; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		fill_name(t, name, GEN(1000 + i), 1);
		fill_attr(t, GEN(1000 + i), 1, i);
	}
	list(t, 0, 1, false, true);
	CHECK_EQ(ask(t, "other"), 0);
	/* Names that do not exist, until some of those that do have no place. */
	for (uint32_t i = 0; i < 1000 && ask(t, "other") == 0; i++) {
		(void)snprintf(name, sizeof(name), "x%u", i);
		fill_name(t, name, 0, 1);
		(void)ask(t, name); /* used, like the others */
		count_answers(t, 6, &wrong);
		CHECK_EQ(wrong, 0);
	}
	CHECK_EQ(ask(t, "other"), -1);
	CHECK_EQ(t->stats->directories_lost, 1);
	answers_tables_free(t);
}

static void *begin_thread(void *t)
{
	list(t, 0, 1, true, true);
	return NULL;
}

TEST(test_listing__during_which_a_name_is_lost_completes_nothing)
{
	struct tables *t = answers_tables_new(1, 64);
	pthread_t other;
	char name[16];

	list(t, 0, 1, true, true);
	for (uint32_t i = 0; i < 9; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		fill_name(t, name, GEN(1000 + i), 1);
	}
	/* Another listing begins meanwhile: this one's loss must not be taken for its success. */
	CHECK_OK(pthread_create(&other, NULL, begin_thread, t));
	CHECK_OK(pthread_join(other, NULL));
	list(t, 0, 1, false, true);
	CHECK_EQ(t->stats->directories_completed, 0);
	CHECK_EQ(ask(t, "other"), -1);
	for (uint32_t i = 0; i < 9; i++) {
		(void)snprintf(name, sizeof(name), "n%u", i);
		CHECK_NE(ask(t, name), 0);
	}
	answers_tables_free(t);
}

/* ---- working sets larger than the table ---- */

/* In percent, when a working set is asked for in turn, again and again. */
static int hit_rate(uint32_t table_slots, uint32_t working_set)
{
	struct tables *t = answers_tables_new(8, table_slots / KFS_WAYS);
	uint32_t hits = 0, asked = 0;

	for (uint32_t round = 0; round < 30; round++) {
		for (uint32_t i = 0; i < working_set; i++) {
			bool hit = ask_size(t, GEN(1000 + i)) >= 0;

			hits += round >= 10 && hit;
			asked += round >= 10;
			if (!hit)
				fill_attr(t, GEN(1000 + i), 1, i);
		}
	}
	answers_tables_free(t);
	return (int)(100 * (uint64_t)hits / asked);
}

TEST(test_hit_rate__falls_with_the_working_set_and_not_off_a_cliff)
{
	static const int least[] = { 95, 60, 30, 15, 7 }; /* percent */
	static const uint32_t percent[] = { 75, 120, 200, 400, 800 };

	for (size_t i = 0; i < ARRAY_SIZE(percent); i++) {
		int rate = hit_rate(4096, 4096 * percent[i] / 100);

		printf("     working set %3u %% of the table, in turn: %d %% hits\n", percent[i],
		       rate);
		CHECK_GE(rate, least[i]);
	}
}

/* ---- threads ---- */

#define STORM_NODES 64
#ifdef KFS_SANITIZE
#define STORM_ROUNDS 20000
#else
#define STORM_ROUNDS 200000
#endif

struct storm {
	struct tables *t;
	_Atomic bool over;
	_Atomic uint64_t newest[STORM_NODES]; /* [atomic] of each node, published */
	struct mutex lock[STORM_NODES];	      /* what an inode's lock is to the bus */
};

static void *storm_write(void *arg)
{
	struct storm *s = arg;
	uint32_t x = 1;
	char name[16];

	for (uint32_t i = 0; i < STORM_ROUNDS; i++) {
		uint32_t node;
		uint64_t version;

		x = x * 1664525 + 1013904223;
		node = (x >> 16) % STORM_NODES;
		mutex_lock(&s->lock[node]);
		version = atomic_load(&s->newest[node]) + 1;
		(void)snprintf(name, sizeof(name), "n%u", node);
		event(s->t, INVAL_ATTR, GEN(1000 + node), version);
		name_event(s->t, INVAL_ENTRY, name, 0, version);
		if (x & 1)
			fill_attr(s->t, GEN(1000 + node), version, version);
		fill_name(s->t, name, x & 2 ? GEN(1000 + node) : 0, version);
		atomic_store(&s->newest[node], version);
		mutex_unlock(&s->lock[node]);
	}
	return NULL;
}

static uint64_t check_answer(const struct fuse_bpf_attr *attr, uint64_t nodeid, uint64_t oldest)
{
	CHECK_EQ(attr->ino, (uint32_t)nodeid);
	CHECK_EQ(attr->blocks, attr->size);
	CHECK_EQ(attr->atime, attr->size);
	CHECK_EQ(attr->mtime, attr->size);
	CHECK_EQ((uint64_t)attr->btime_sec, attr->size);
	CHECK_GE(attr->size, oldest);
	return 1;
}

static void *storm_read(void *arg)
{
	struct storm *s = arg;
	struct kfs_answers mine = { 0 };
	uint64_t answers = 0;
	uint32_t x = 99;
	char text[16];

	/* In the end all is known: whoever had no turn before has it then. */
	while (!atomic_load(&s->over) || answers < 100) {
		uint32_t node = ((x = x * 1664525 + 1013904223) >> 16) % STORM_NODES;
		uint64_t id = GEN(1000 + node), oldest = atomic_load(&s->newest[node]);
		struct answers_name name = { DIR, text, 0 };
		struct fuse_bpf_entry entry;
		struct fuse_bpf_attr attr;

		if (answers_getattr(s->t, &mine, id, &attr) == FUSE_BPF_ANSWERED)
			answers += check_answer(&attr, id, oldest);
		name.len = (uint32_t)snprintf(text, sizeof(text), "n%u", node);
		if (answers_lookup(s->t, &mine, &name, &entry, &attr) == FUSE_BPF_ANSWERED &&
		    entry.nodeid) {
			CHECK_EQ(entry.nodeid, id);
			answers += check_answer(&attr, id, oldest);
		}
	}
	return NULL;
}

/* Few sets, so that writers meet each other and readers meet writers. */
TEST(test_storm__shows_nothing_torn_nothing_old)
{
	static struct storm s;
	pthread_t writers[2], readers[2];

	s.t = answers_tables_new(16, 16);
	for (uint32_t i = 0; i < STORM_NODES; i++)
		mutex_init(&s.lock[i], LOCK_INODE);
	for (int i = 0; i < 2; i++) {
		CHECK_OK(pthread_create(&readers[i], NULL, storm_read, &s));
		CHECK_OK(pthread_create(&writers[i], NULL, storm_write, &s));
	}
	for (int i = 0; i < 2; i++)
		CHECK_OK(pthread_join(writers[i], NULL));
	for (uint32_t node = 0; node < STORM_NODES; node++)
		fill_attr(s.t, GEN(1000 + node), UINT64_MAX, atomic_load(&s.newest[node]));
	atomic_store(&s.over, true);
	for (int i = 0; i < 2; i++)
		CHECK_OK(pthread_join(readers[i], NULL));
	answers_tables_free(s.t);
}
