/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images whose directories are wired in circles, and names that lead nowhere: every
 * operation answers, from several threads at once, and nothing that is whole suffers.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/daemon/fs/fixture.h"

static void debugfs(const struct fixture *f, const char *request)
{
	if (system("PATH=$PATH:/usr/sbin:/sbin; command -v debugfs >/dev/null"))
		SKIP("debugfs is not installed");
	run_command("PATH=$PATH:/usr/sbin:/sbin; debugfs -w -R '%s' '%s' >/dev/null 2>&1", request,
		    f->image);
}

static int take(void *arg, const struct fs_dirent *d)
{
	struct fixture *f = arg;

	if (d->entry)
		forget(f, d->entry->nodeid);
	return 0;
}

static const char *const paths[] = { "/a",	   "/a/b",	"/a/b/c",     "/a/b/up",
				     "/a/b/c/top", "/a/self",	"/a/b/c/up2", "/x",
				     "/a/f",	   "/a/b/c/f2", "/a/b/up/f" };

static void *wander(void *arg)
{
	struct fixture f = **(struct fixture **)arg;
	uint64_t seed = (uint64_t)(uintptr_t)&f | 1;

	for (uint32_t i = 0; i < 4000; i++) {
		const char *p, *q;
		uint64_t id;

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		p = paths[seed % ARRAY_SIZE(paths)];
		q = paths[(seed >> 8) % ARRAY_SIZE(paths)];
		switch ((seed >> 16) % 7) {
		case 0: (void)try_rename(&f, p, q, 0); break;
		case 1: (void)try_rename(&f, p, q, FS_RENAME_EXCHANGE); break;
		case 2: (void)try_unlink(&f, p); break;
		case 3: (void)try_rmdir(&f, p); break;
		case 4: (void)try_make(&f, p, S_IFREG | 0600); break;
		case 5: (void)try_link(&f, p, q); break;
		default:
			if (try_look(&f, p))
				break;
			if (fs_lookup(f.fs, &f.ctx, 1, name_of("a"), &(struct fs_entry){ 0 }))
				break;
			id = 1;
			(void)fs_readdir(f.fs, &f.ctx, id, 0, true, take, &f);
		}
	}
	return NULL;
}

TEST(test_directory_loops__hang_nobody)
{
	struct fixture f, *fp = &f;
	pthread_t threads[4];

	alarm(120); /* a deadlock ends the test */
	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/a"));
	forget(&f, make_dir(&f, "/a/b"));
	forget(&f, make_dir(&f, "/a/b/c"));
	forget(&f, make_dir(&f, "/x"));
	forget(&f, make_file(&f, "/a/f"));
	fixture_unmount(&f);
	debugfs(&f, "link /a /a/b/up");
	debugfs(&f, "link / /a/b/c/top");
	debugfs(&f, "link /a/b /a/b/c/up2");
	debugfs(&f, "link /a /a/self");
	f.store_opts.errors = ERRORS_CONTINUE;
	fixture_mount(&f);
	CHECK_ERR(try_look(&f, "/a/self"), -EUCLEAN);
	CHECK_ERR(try_look(&f, "/a/b/c/top"),
		  -EUCLEAN); /* a kernel would answer EIO, and forget it */
	CHECK_ERR(try_rename(&f, "/a/b/c/top", "/t", 0), -EUCLEAN);
	CHECK_OK(try_look(&f, "/a/b/up/b/up/b/c"));
	for (int i = 0; i < 4; i++)
		CHECK_OK(pthread_create(&threads[i], NULL, wander, &fp));
	for (int i = 0; i < 4; i++)
		CHECK_OK(pthread_join(threads[i], NULL));
	/* The image is a wreck, as it was: it is only left, not judged. */
	fixture_crash(&f);
	inval_free(f.bus);
}

TEST(test_name_of_unused_inode__is_corruption_and_listed_plainly)
{
	struct fixture f;
	struct fs_entry e;

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/d"));
	forget(&f, make_file(&f, "/d/good"));
	forget(&f, make_file(&f, "/d/bad"));
	fixture_unmount(&f);
	debugfs(&f, "clri /d/bad");
	f.store_opts.errors = ERRORS_CONTINUE;
	fixture_mount(&f);
	CHECK_ERR(try_look(&f, "/d/bad"), -EUCLEAN);
	CHECK_OK(try_look(&f, "/d/good"));
	CHECK_ERR(try_unlink(&f, "/d/bad"), -EUCLEAN);
	CHECK_OK(fs_readdir(f.fs, &f.ctx, look(&f, "/d"), 0, true, take, &f));
	CHECK_OK(try_unlink(&f, "/d/good"));
	CHECK_OK(fs_lookup_self(f.fs, &f.ctx, 1, &e));
	fixture_crash(&f);
	inval_free(f.bus);
}

TEST(test_parent_circle__ends)
{
	struct fixture f;
	struct fs_attr c;
	char request[128];

	fixture_open(&f, NULL);
	forget(&f, make_dir(&f, "/a"));
	forget(&f, make_dir(&f, "/a/b"));
	forget(&f, make_dir(&f, "/a/b/c"));
	forget(&f, make_dir(&f, "/z"));
	c = attr_of(&f, "/a/b/c");
	fixture_unmount(&f);
	/* ".." of a is c: climbing from anywhere below goes round. */
	(void)snprintf(request, sizeof(request), "unlink /a/..");
	debugfs(&f, request);
	(void)snprintf(request, sizeof(request), "link <%lu> /a/..", (unsigned long)c.ino);
	debugfs(&f, request);
	f.store_opts.errors = ERRORS_CONTINUE;
	fixture_mount(&f);
	CHECK_ERR(try_rename(&f, "/z", "/a/b/c/z", 0), -EUCLEAN);
	CHECK_OK(try_look(&f, "/a/b/c"));
	CHECK_OK(try_rename(&f, "/z", "/y", 0));
	fixture_crash(&f);
	inval_free(f.bus);
}
