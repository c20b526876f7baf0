/* SPDX-License-Identifier: GPL-2.0-only */
/* What people are shown of the tables is what the tables hold. */
#include "daemon/bpf/peek.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bpf/tables.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "tests/lib/test.h"

#define DIR 7
#define NODE ((uint64_t)9 << 32 | 12)

static struct tables tables;

static void set_up(void)
{
	struct tables_opts opts = { .config = { .key = { 1, 2 } } };

	tables_sizes(1 << 20, &opts.config.entry_sets, &opts.config.attr_sets);
	tables_config_names(&opts.config);
	opts.entries = calloc(opts.config.entry_sets, sizeof(*opts.entries));
	opts.attrs = calloc(opts.config.attr_sets, sizeof(*opts.attrs));
	opts.stats = calloc(1, sizeof(*opts.stats));
	CHECK(opts.entries && opts.attrs && opts.stats);
	tables_init(&tables, &opts);
}

static void tear_down(void)
{
	free(tables.entries);
	free(tables.attrs);
	free(tables.stats);
}

static void name_event(enum inval_kind kind, const char *name, uint64_t child, uint64_t version)
{
	struct inval_event ev = { .kind = kind,
				  .nodeid = DIR,
				  .version = version,
				  .nodeid_child = child,
				  .name = name,
				  .name_len = (uint32_t)strlen(name) };

	tables_event(&tables, &ev);
}

static void fill_attr(uint64_t nodeid, uint64_t size, uint64_t version)
{
	struct fs_attr attr = { .ino = (uint32_t)nodeid,
				.size = size,
				.mode = 0100600,
				.absent = FS_ABSENT_ACL,
				.version = version };
	struct inval_event ev = {
		.kind = INVAL_FILL_ATTR, .nodeid = nodeid, .version = version, .attr = &attr
	};

	tables_event(&tables, &ev);
}

static struct bpf_view look(const char *name, uint64_t nodeid)
{
	struct bpf_question q = {
		.dir = DIR, .name = name, .name_len = (uint32_t)strlen(name), .nodeid = nodeid
	};
	struct bpf_view view;

	tables_peek(&tables, &q, &view);
	return view;
}

TEST(a_name__is_shown_in_each_state)
{
	struct bpf_view v;

	set_up();
	CHECK_EQ(look("a", 0).entry.state, KFS_SLOT_FREE);
	name_event(INVAL_FILL_ENTRY, "a", NODE, 3);
	v = look("a", NODE);
	CHECK_EQ(v.entry.state, KFS_SLOT_KNOWN);
	CHECK_EQ(v.entry.nodeid, NODE);
	CHECK_EQ(v.entry.version, 3u);
	CHECK(!v.entry.used);
	CHECK_EQ(look("b", NODE).entry.state, KFS_SLOT_FREE);
	name_event(INVAL_FILL_ENTRY, "a", 0, 4);
	v = look("a", 0);
	CHECK_EQ(v.entry.state, KFS_SLOT_ABSENT);
	CHECK_EQ(v.entry.nodeid, 0u);
	name_event(INVAL_ENTRY, "a", NODE, 5);
	v = look("a", NODE);
	CHECK_EQ(v.entry.state, KFS_SLOT_UNKNOWN);
	CHECK_EQ(v.entry.version, 5u);
	tear_down();
}

TEST(a_node__is_shown_with_its_attributes_and_flags)
{
	struct bpf_view v;
	struct inval_event doubt = { .kind = INVAL_ATTR, .nodeid = NODE, .version = 8 };
	struct inval_event hold = { .kind = INVAL_HOLD, .nodeid = NODE, .version = 8 };

	set_up();
	CHECK_EQ(look("a", NODE).node.state, KFS_SLOT_FREE);
	fill_attr(NODE, 77, 6);
	v = look("a", NODE);
	CHECK_EQ(v.node.state, KFS_SLOT_KNOWN);
	CHECK_EQ(v.node.version, 6u);
	CHECK_EQ(v.node.attr.size, 77u);
	CHECK_EQ(v.node.flags & (KFS_NO_ACL | KFS_NO_CAPABILITY), (uint32_t)KFS_NO_ACL);
	tables_event(&tables, &doubt);
	v = look("a", NODE);
	CHECK_EQ(v.node.state, KFS_SLOT_UNKNOWN);
	CHECK_EQ(v.node.version, 8u);
	tables_event(&tables, &hold);
	CHECK_EQ(look("a", NODE).node.state, KFS_SLOT_HELD);
	tear_down();
}

TEST(a_directory__is_shown_complete_when_its_listing_was)
{
	struct inval_event begin = { .kind = INVAL_LIST_BEGIN, .nodeid = DIR };
	struct inval_event end = {
		.kind = INVAL_LIST_END, .nodeid = DIR, .len = 5, .nodeid_child = 1
	};

	set_up();
	CHECK(!(look("a", 0).dir.flags & KFS_DIR_COMPLETE));
	tables_event(&tables, &begin);
	CHECK(look("a", 0).dir.flags & KFS_DIR_LISTING);
	name_event(INVAL_FILL_ENTRY, "a", NODE, 3);
	tables_event(&tables, &end);
	CHECK(look("a", 0).dir.flags & KFS_DIR_COMPLETE);
	CHECK(!(look("a", 0).dir.flags & KFS_DIR_LISTING));
	tear_down();
}

TEST(looking__changes_nothing)
{
	struct kfs_table_stats before;

	set_up();
	fill_attr(NODE, 1, 1);
	name_event(INVAL_FILL_ENTRY, "a", NODE, 1);
	before = *tables.stats;
	for (int i = 0; i < 100; i++)
		(void)look(i % 2 ? "a" : "b", NODE + (uint64_t)i); /* only what it leaves counts */
	CHECK_MEM_EQ(tables.stats, &before, sizeof(before));
	CHECK(!look("a", NODE).entry.used && !look("a", NODE).node.used);
	tear_down();
}

static _Atomic bool stop;

/* Size and version are the same number at any moment. */
static void *write_all_the_time(void *arg)
{
	for (uint64_t i = 1; !atomic_load(&stop); i++)
		fill_attr(NODE, i, i);
	return arg;
}

TEST(looking__sees_one_moment)
{
	uint64_t last = 0;
	pthread_t thread;

	set_up();
	fill_attr(NODE, 0, 0);
	atomic_store(&stop, false);
	CHECK_EQ(pthread_create(&thread, NULL, write_all_the_time, NULL), 0);
	for (int i = 0; i < 20000; i++) {
		struct bpf_view v = look("a", NODE);

		CHECK_EQ(v.node.attr.size, v.node.version);
		CHECK(v.node.version >= last);
		last = v.node.version;
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	tear_down();
}
