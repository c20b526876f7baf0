// SPDX-License-Identifier: GPL-2.0-only
/*
 * mkfs.kfs with calls that fail: whatever it says is true. Success is a clean filesystem;
 * after a failure there is none, neither the old one nor half of a new one; a file that it
 * had created is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "mkfs/mkfs.h"
#include "mkfs/options.h"
#include "tests/fault/sweep.h"
#include "tests/fault/wrap.h"

#define IMAGE_BYTES (8u << 20)

struct mkfs_case {
	const char *name;
	bool over; /* an old filesystem in a file; else a new file */
	bool tree; /* -d */
	const char *words[8];
};

static const struct mkfs_case cases[] = {
	{ "mkfs-new", false, false, { "-b", "1024" } },
	{ "mkfs-over", true, false, { "-E", "nodiscard,lazy_itable_init=0", "-O", "mmp" } },
	{ "mkfs-over-discard", true, false, { "-b", "2048" } },
	{ "mkfs-ext2", true, false, { "-b", "1024", "-t", "ext2" } },
	{ "mkfs-tree", false, true, { "-b", "1024" } },
};

static char folder[256]; /* of the parent: source tree, new files */
static pid_t folder_owner;
static int old_image = -1;

/* ---- before ---------------------------------------------------------------------- */

static void folder_remove(void)
{
	const char *const argv[] = { "rm", "-rf", folder, NULL };

	if (getpid() == folder_owner)
		run_program(argv, 0);
}

static void in_folder(char *buf, size_t size, const char *name)
{
	CHECK_LT(snprintf(buf, size, "%s/%s", folder, name), size);
}

static void source_file(const char *name, size_t bytes, off_t at)
{
	static char data[200000];
	char path[512];
	int fd;

	in_folder(path, sizeof(path), name);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	memset(data, 'x', sizeof(data));
	CHECK(fd >= 0 && pwrite(fd, data, bytes, at) == (ssize_t)bytes);
	/* Where the folder's filesystem has none, there is one thing less to copy. */
	(void)fsetxattr(fd, "user.one", data, 300, 0);
	(void)close(fd);
}

static void source_make(void)
{
	char path[512], other[512];

	for (int k = 0; k < 3; k++) {
		in_folder(path, sizeof(path), (const char *[]){ "src", "src/d", "src/d/e" }[k]);
		CHECK(mkdir(path, 0755) == 0);
	}
	source_file("src/small", 100, 0);
	source_file("src/d/large", 200000, 0);
	source_file("src/d/sparse", 3000, 5 << 20);
	for (int k = 0; k < 40; k++) {
		char name[128];

		(void)snprintf(name, sizeof(name), "src/d/e/%080d", k);
		source_file(name, 10, 0);
	}
	in_folder(path, sizeof(path), "src/link");
	CHECK(symlink("target", path) == 0);
	in_folder(path, sizeof(path), "src/longlink");
	CHECK(symlink("a/target/of/more/than/sixty/bytes/that/needs/a/block/of/its/own/in/the/image",
		      path) == 0);
	in_folder(path, sizeof(path), "src/hard");
	in_folder(other, sizeof(other), "src/small");
	CHECK(link(other, path) == 0);
}

static void mkfs_prepare(const struct load *load)
{
	const char *parent = getenv("TMPDIR");
	const char *argv[] = { "mke2fs", "-q", "-F",  "-t", "ext4", "-b",
			       "1024",	 "-L", "old", NULL, NULL };
	char path[64];

	(void)load;
	if (folder_owner)
		return;
	(void)snprintf(folder, sizeof(folder), "%s/kfs-fault-XXXXXX", parent ? parent : "/tmp");
	CHECK(mkdtemp(folder));
	folder_owner = getpid();
	CHECK(atexit(folder_remove) == 0);
	source_make();
	old_image = image_new(IMAGE_BYTES);
	image_path(old_image, path, sizeof(path));
	argv[9] = path;
	run_program(argv, 0);
}

/* ---- a point ---------------------------------------------------------------------- */

/* mkfs says what went wrong on stderr, thousands of times. */
static int run_silently(const struct mkfs_options *o)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), own = dup(STDERR_FILENO);
	int error;

	CHECK(null >= 0 && own >= 0 && dup2(null, STDERR_FILENO) >= 0);
	error = mkfs_run(o);
	fflush(stderr);
	CHECK(dup2(own, STDERR_FILENO) >= 0);
	(void)close(own);
	(void)close(null);
	return error;
}

static void e2fsck(const char *path)
{
	const char *const argv[] = { "e2fsck", "-fn", path, NULL };

	run_program(argv, 0);
}

/* Either untouched, or nothing that anybody would mount. */
static void check_nothing(const char *path)
{
	struct ext4_super_block sb;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK(pread(fd, &sb, sizeof(sb), EXT4_SUPER_OFFSET) == (ssize_t)sizeof(sb));
	(void)close(fd);
	if (le16_to_cpu(sb.s_magic) != EXT4_SUPER_MAGIC)
		return;
	if (strcmp(sb.s_volume_name, "old") != 0)
		FAIL("mkfs failed, and left a filesystem that can be mounted");
	e2fsck(path);
}

static void mkfs_point(const struct load *load, const struct point *point)
{
	const struct mkfs_case *c = load->arg;
	char path[512], source[512];
	char *argv[16] = { (char *)"mkfs.kfs", (char *)"-q", (char *)"-F" };
	struct mkfs_options o;
	int argc = 3, error;

	in_folder(path, sizeof(path), "new");
	if (c->over)
		image_path(image_copy(old_image), path, sizeof(path));
	for (size_t k = 0; c->words[k]; k++)
		argv[argc++] = (char *)(uintptr_t)c->words[k];
	if (c->tree) {
		in_folder(source, sizeof(source), "src");
		argv[argc++] = (char *)"-d";
		argv[argc++] = source;
	}
	argv[argc++] = path;
	if (!c->over)
		argv[argc++] = (char *)"8M";
	CHECK_EQ(options_parse(argc, argv, &o), OPTIONS_RUN);
	wrap_syscalls(true);
	fault_plan(&point->plan);
	error = run_silently(&o);
	fault_stop();
	wrap_syscalls(false);
	if (!error) {
		e2fsck(path);
	} else {
		/* Nothing is wrong with a short or an interrupted call. */
		CHECK(fault_fired() && point->plan.kind != FAULT_SHORT &&
		      point->plan.kind != FAULT_INTR);
		if (c->over)
			check_nothing(path);
		else
			CHECK(access(path, F_OK) < 0 && errno == ENOENT);
	}
	if (!c->over)
		(void)unlink(path);
}

size_t loads(struct load *first, size_t max)
{
	CHECK_LE(ARRAY_SIZE(cases), max);
	for (size_t k = 0; k < ARRAY_SIZE(cases); k++)
		first[k] = (struct load){
			.name = cases[k].name,
			.kinds = 1u << FAULT_ALLOC | 1u << FAULT_READ | 1u << FAULT_WRITE |
				 1u << FAULT_FLUSH | 1u << FAULT_ZERO | 1u << FAULT_SHORT |
				 1u << FAULT_INTR,
			.prepare = mkfs_prepare,
			.run = mkfs_point,
			.arg = &cases[k],
		};
	return ARRAY_SIZE(cases);
}
