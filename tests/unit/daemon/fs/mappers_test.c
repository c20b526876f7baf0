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
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a));
	CHECK_OK(fs_mapper_add(f.fs, &f.ctx, a));
	CHECK_OK(fs_mapper_add(f.fs, &f.ctx, a));
	CHECK(fs_has_mappers(f.fs, &f.ctx, a));
	CHECK(!fs_has_mappers(f.fs, &f.ctx, b));
	fs_mapper_del(f.fs, &f.ctx, a);
	CHECK(fs_has_mappers(f.fs, &f.ctx, a));
	fs_mapper_del(f.fs, &f.ctx, a);
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a));
	/* One close too many is nobody's. */
	fs_mapper_del(f.fs, &f.ctx, a);
	CHECK(!fs_has_mappers(f.fs, &f.ctx, a));
	CHECK_OK(fs_mapper_add(f.fs, &f.ctx, b));
	fixture_close(&f);
}
