// SPDX-License-Identifier: GPL-2.0-only
/* See ops.h. */
#include "tests/crash/ops.h"

#include <stdio.h>
#include <string.h>

#include "daemon/base/util.h"

const char *const op_names[] = {
	[OP_CREATE] = "create",
	[OP_MKDIR] = "mkdir",
	[OP_SYMLINK] = "symlink",
	[OP_WRITE] = "write",
	[OP_APPEND] = "append",
	[OP_CACHED] = "cached-write",
	[OP_TRUNCATE] = "truncate",
	[OP_FALLOCATE] = "fallocate",
	[OP_KEEP] = "fallocate-keep",
	[OP_ZERO] = "zero-range",
	[OP_PUNCH] = "punch",
	[OP_LINK] = "link",
	[OP_UNLINK] = "unlink",
	[OP_RMDIR] = "rmdir",
	[OP_RENAME] = "rename",
	[OP_EXCHANGE] = "exchange",
	[OP_SETXATTR] = "setxattr",
	[OP_CHMOD] = "chmod",
	[OP_FILL] = "fill",
	[OP_HOLD] = "hold",
	[OP_CHURN] = "churn",
	[OP_FSYNC] = "fsync",
	[OP_FDATASYNC] = "fdatasync",
	[OP_SYNC] = "sync",
	[OP_CHECKPOINT] = "checkpoint",
};

static const struct op list[] = {
	{ OP_CREATE, "/a/n", "", 0, 0 },
	{ OP_CREATE, "/n", "", 0, 0 },
	{ OP_MKDIR, "/d", "", 0, 0 },
	{ OP_MKDIR, "/a/d", "", 0, 0 },
	{ OP_SYMLINK, "/a/y", "", 0, 20 },
	{ OP_SYMLINK, "/b/y", "", 0, 300 },
	{ OP_APPEND, "/a/f", "", 0, 3000 },
	{ OP_APPEND, "/a/g", "", 0, 100 },
	{ OP_APPEND, "/a/n", "", 0, 5000 },
	{ OP_WRITE, "/a/f", "", 1000, 5000 },
	{ OP_WRITE, "/b/h", "", 40000, 2000 },
	{ OP_WRITE, "/a/g", "", 0, 700 },
	{ OP_WRITE, "/b/e", "", 0, 50 },
	{ OP_WRITE, "/b/e", "", 1024, 5000 },
	{ OP_CACHED, "/a/f", "", 4096, 4096 },
	{ OP_CACHED, "/c", "", 8192, 8192 },
	{ OP_CACHED, "/b/e", "", 0, 30 },
	{ OP_TRUNCATE, "/a/f", "", 0, 0 },
	{ OP_TRUNCATE, "/a/f", "", 4500, 0 },
	{ OP_TRUNCATE, "/c", "", 30000, 0 },
	{ OP_TRUNCATE, "/a/g", "", 10, 0 },
	{ OP_FALLOCATE, "/b/e", "", 0, 16384 },
	{ OP_KEEP, "/a/f", "", 8192, 20000 },
	{ OP_ZERO, "/a/f", "", 2000, 6000 },
	{ OP_ZERO, "/c", "", 4096, 16384 },
	{ OP_PUNCH, "/a/f", "", 4096, 4096 },
	{ OP_PUNCH, "/c", "", 1000, 3000 },
	{ OP_LINK, "/a/f", "/b/l", 0, 0 },
	{ OP_LINK, "/a/g", "/l", 0, 0 },
	{ OP_UNLINK, "/a/f", "", 0, 0 },
	{ OP_UNLINK, "/a/g", "", 0, 0 },
	{ OP_UNLINK, "/c", "", 0, 0 },
	{ OP_UNLINK, "/z", "", 0, 0 },
	{ OP_RMDIR, "/b/s", "", 0, 0 },
	{ OP_RMDIR, "/d", "", 0, 0 },
	{ OP_RENAME, "/a/g", "/a/n", 0, 0 },
	{ OP_RENAME, "/a/g", "/b/n", 0, 0 },
	{ OP_RENAME, "/a/g", "/b/e", 0, 0 },
	{ OP_RENAME, "/a/f", "/c", 0, 0 },
	{ OP_RENAME, "/b/s", "/a/s", 0, 0 },
	{ OP_RENAME, "/a", "/b/s", 0, 0 },
	{ OP_RENAME, "/a", "/b/a", 0, 0 },
	{ OP_EXCHANGE, "/a/g", "/c", 0, 0 },
	{ OP_EXCHANGE, "/a/g", "/b/s", 0, 0 },
	{ OP_EXCHANGE, "/a", "/b", 0, 0 },
	{ OP_SETXATTR, "/a/g", "x", 0, 30 },
	{ OP_SETXATTR, "/a/f", "x", 0, 400 },
	{ OP_SETXATTR, "/c", "x", 0, 0 },
	{ OP_SETXATTR, "/a", "y", 0, 200 },
	{ OP_CHMOD, "/a/g", "", 0600, 0 },
	{ OP_FILL, "/b/e", "", 0, 0 },
	{ OP_HOLD, "/c", "", 0, 0 },
	{ OP_HOLD, "/a/g", "", 0, 0 },
	{ OP_FSYNC, "/a/f", "", 0, 0 },
	{ OP_FSYNC, "/a/g", "", 0, 0 },
	{ OP_FSYNC, "/a", "", 0, 0 },
	{ OP_FSYNC, "/b", "", 0, 0 },
	{ OP_FDATASYNC, "/a/f", "", 0, 0 },
	{ OP_FDATASYNC, "/b/e", "", 0, 0 },
	{ OP_FDATASYNC, "/c", "", 0, 0 },
	{ OP_SYNC, "", "", 0, 0 },
	{ OP_CHECKPOINT, "", "", 0, 0 },
};
#define LIST ARRAY_SIZE(list)

uint32_t ops_setup(struct op *ops, bool full)
{
	static const struct op setup[] = {
		{ OP_MKDIR, "/a", "", 0, 0 },
		{ OP_MKDIR, "/b", "", 0, 0 },
		{ OP_MKDIR, "/b/s", "", 0, 0 },
		{ OP_CREATE, "/a/f", "", 0, 0 },
		{ OP_WRITE, "/a/f", "", 0, 9000 },
		{ OP_LINK, "/a/f", "/b/h", 0, 0 },
		{ OP_CREATE, "/a/g", "", 0, 0 },
		{ OP_WRITE, "/a/g", "", 0, 600 },
		{ OP_SYNC, "", "", 0, 0 },
		{ OP_CREATE, "/b/e", "", 0, 0 },
		{ OP_CREATE, "/c", "", 0, 0 },
		{ OP_WRITE, "/c", "", 0, 9000 },
		{ OP_SETXATTR, "/c", "x", 0, 40 },
		{ OP_SYMLINK, "/z", "", 0, 200 },
		{ OP_SYNC, "", "", 0, 0 },
		/* Leaves copies of old directories and data in the log and in free blocks. */
		{ OP_MKDIR, "/t", "", 0, 0 },
		{ OP_CREATE, "/t/t", "", 0, 0 },
		{ OP_WRITE, "/t/t", "", 0, 60000 },
		{ OP_SYNC, "", "", 0, 0 },
		{ OP_UNLINK, "/t/t", "", 0, 0 },
		{ OP_RMDIR, "/t", "", 0, 0 },
		{ OP_SYNC, "", "", 0, 0 },
	};
	static const struct op filler[] = {
		{ OP_CREATE, "/x", "", 0, 0 },
		{ OP_FILL, "/x", "", 0, 0 },
		{ OP_SYNC, "", "", 0, 0 },
	};
	uint32_t count = ARRAY_SIZE(setup);

	memcpy(ops, setup, sizeof(setup));
	if (full) {
		memcpy(ops + count, filler, sizeof(filler));
		count += ARRAY_SIZE(filler);
	}
	return count;
}

uint64_t ops_exhaustive(uint32_t length_max)
{
	uint64_t one = LIST * OPS_SYNC_KINDS;

	return length_max < 1 ? 0 : length_max == 1 ? one : one + LIST * one;
}

/* ---- what is drawn -------------------------------------------------------- */

struct dice {
	uint64_t state;
};

static uint32_t below(struct dice *d, uint32_t limit)
{
	uint64_t z = (d->state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)((z ^ (z >> 31)) >> 16) % limit;
}

static void draw_name(struct dice *d, char *name)
{
	static const char *const pool[] = { "/a/f", "/a/g", "/b/h", "/b/e", "/c",   "/a/n",
					    "/n",   "/b/n", "/d/n", "/a/d", "/d/m", "/b/s/n" };

	(void)snprintf(name, 16, "%s", pool[below(d, ARRAY_SIZE(pool))]);
}

static bool takes_range(enum op_kind kind)
{
	return kind >= OP_WRITE && kind <= OP_PUNCH;
}

static void draw_op(struct dice *d, bool heavy, struct op *op)
{
	uint32_t fate = below(d, 100);

	if (heavy && fate < 30) {
		static const struct op often[] = { { OP_CHURN, "", "", 0, 0 },
						   { OP_FILL, "/b/e", "", 0, 0 },
						   { OP_SYNC, "", "", 0, 0 },
						   { OP_TRUNCATE, "/b/e", "", 0, 0 },
						   { OP_CHURN, "", "", 0, 0 } };

		*op = often[below(d, ARRAY_SIZE(often))];
		return;
	}
	*op = list[below(d, LIST)];
	if (op->a[0] && below(d, 2) && op->kind != OP_EXCHANGE)
		draw_name(d, op->a);
	if (op->b[0] == '/' && below(d, 3) == 0)
		draw_name(d, op->b);
	if (takes_range(op->kind) && below(d, 2)) {
		op->off = below(d, 20000);
		op->len = 1 + below(d, 12000);
		if (op->kind == OP_CACHED)
			op->off &= ~4095u;
	}
}

/* What to sync after @op so that it is durable. */
static void add_sync(struct workload *w, const struct op *op)
{
	struct op sync = { .kind = OP_FSYNC };

	if (op->kind >= OP_FSYNC || op->kind == OP_HOLD || op->kind == OP_CHURN)
		return;
	if (op->kind == OP_UNLINK || op->kind == OP_RMDIR || op->kind == OP_MKDIR ||
	    op->kind == OP_SYMLINK) {
		const char *slash = strrchr(op->a, '/');

		(void)snprintf(sync.a, sizeof(sync.a), "%.*s", (int)(slash - op->a), op->a);
		if (!sync.a[0])
			(void)snprintf(sync.a, sizeof(sync.a), "/");
	} else if (op->kind == OP_RENAME || op->kind == OP_LINK) {
		memcpy(sync.a, op->b, sizeof(sync.a));
	} else {
		memcpy(sync.a, op->a, sizeof(sync.a));
	}
	w->ops[w->count++] = sync;
}

static void add(struct workload *w, const struct op *op, enum ops_sync sync, bool last)
{
	w->ops[w->count++] = *op;
	if (sync == OPS_SYNC_EACH || (sync == OPS_SYNC_LAST && last))
		add_sync(w, op);
	if (sync == OPS_SYNC_ALL && last)
		w->ops[w->count++] = (struct op){ .kind = OP_SYNC };
}

/*
 * A metadata block becomes data while the log still holds it: without its revoke record
 * recovery would write over the data.
 */
static void add_reuse(struct workload *w)
{
	static const struct op reuse[] = {
		{ OP_MKDIR, "/d", "", 0, 0 },  { OP_SYNC, "", "", 0, 0 },
		{ OP_RMDIR, "/d", "", 0, 0 },  { OP_SYNC, "", "", 0, 0 },
		{ OP_FILL, "/b/e", "", 0, 0 }, { OP_SYNC, "", "", 0, 0 },
	};

	memcpy(&w->ops[w->count], reuse, sizeof(reuse));
	w->count += ARRAY_SIZE(reuse);
}

static void draw_workload(uint64_t number, uint64_t seed, bool heavy, struct workload *w)
{
	struct dice d = { .state = seed * 0x2545f4914f6cdd1dULL + number * 0x9e3779b97f4a7c15ULL };
	uint32_t length = 3 + below(&d, 10), k;
	bool each = below(&d, 3) == 0;
	struct op op;

	w->churns = heavy ? below(&d, 24) : 0;
	for (k = 0; k < length; k++) {
		if (heavy && w->count <= OPS_LENGTH_MAX / 2 && below(&d, 8) == 0)
			add_reuse(w);
		draw_op(&d, heavy, &op);
		add(w, &op, each ? OPS_SYNC_EACH : OPS_SYNC_LAST, k + 1 == length);
	}
}

void ops_workload(uint64_t number, uint64_t seed, bool heavy, struct workload *ret_w)
{
	enum ops_sync sync = number % OPS_SYNC_KINDS;
	uint64_t n = number / OPS_SYNC_KINDS;

	memset(ret_w, 0, sizeof(*ret_w));
	if (number >= ops_exhaustive(2)) {
		draw_workload(number, seed, heavy, ret_w);
	} else if (n < LIST) {
		add(ret_w, &list[n], sync, true);
	} else {
		n -= LIST;
		add(ret_w, &list[n / LIST], sync, false);
		add(ret_w, &list[n % LIST], sync, true);
	}
}

void op_print(const struct op *op, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s%s%s%s%s", op_names[op->kind], op->a[0] ? " " : "", op->a,
		       op->b[0] ? " " : "", op->b);
	if (op->off || op->len) {
		size_t used = strlen(buf);

		(void)snprintf(buf + used, size - used, " %u+%u", op->off, op->len);
	}
}
