/* SPDX-License-Identifier: GPL-2.0-only */
/* Which files may be mapped and stored into: counted for each description, by whatever name a session has for the file. */
#include "tests/unit/daemon/fs/fixture.h"

TEST(test_mappers__are_there_until_the_last_is_closed)
{
	struct fixture f;
	uint64_t a, b;

	fixture_open(&f, NULL);
	a = make_file(&f, "/a");
	b = make_file(&f, "/b");
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a, f.ctx.session));
	CHECK_OK(fs_mapper_add(f.fs, &f.ctx, a));
	CHECK_OK(fs_mapper_add(f.fs, &f.ctx, a));
	CHECK(fs_has_mappers(f.fs, &f.ctx, a, f.ctx.session));
	CHECK(!fs_has_mappers(f.fs, &f.ctx, b, f.ctx.session));
	fs_mapper_del(f.fs, &f.ctx, a);
	CHECK(fs_has_mappers(f.fs, &f.ctx, a, f.ctx.session));
	fs_mapper_del(f.fs, &f.ctx, a);
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a, f.ctx.session));
	/* One close too many is nobody's. */
	fs_mapper_del(f.fs, &f.ctx, a);
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a, f.ctx.session));
	CHECK_OK(fs_mapper_add(f.fs, &f.ctx, b));
	fixture_close(&f);
}

TEST(test_mappers__are_their_session_s_and_go_with_it)
{
	struct fs_session_opts opts = { .name = "other", .root_nodeid = 1 };
	struct fs_session *other;
	struct fs_ctx ctx;
	struct fixture f;
	uint64_t a;

	fixture_open(&f, NULL);
	a = make_file(&f, "/a");
	CHECK_OK(fs_session_open(f.fs, &opts, &other));
	ctx = f.ctx;
	ctx.session = other;
	CHECK_OK(fs_mapper_add(f.fs, &ctx, a));
	CHECK(fs_has_mappers(f.fs, &f.ctx, a, other));
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a, f.session));
	CHECK_OK(fs_mapper_add(f.fs, &f.ctx, a));
	fs_session_close(other);
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a, other));
	CHECK(fs_has_mappers(f.fs, &f.ctx, a, f.session));
	/* A guest that forgets what it has open does not fill the table. */
	fs_forget(f.fs, f.session, a, UINT64_MAX);
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a, f.session));
	fixture_close(&f);
}
