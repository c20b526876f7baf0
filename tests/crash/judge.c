// SPDX-License-Identifier: GPL-2.0-only
/* See judge.h. */
#include "tests/crash/judge.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/check.h"
#include "daemon/block/bdev.h"
#include "include/kfs/ext4_format.h"
#include "tests/crash/kernel.h"
#include "tests/crash/view.h"
#include "tests/crash/world.h"
#include "tests/lib/record.h"

#define TEXT_MAX 4096
#define IMAGE_FD 3
#define IMAGE_PATH "/proc/self/fd/3"
#define SUPER_SECTOR 2 /* and the next */

/* ---- a table from a hash to a pointer ------------------------------------- */

struct table {
	struct slot {
		uint64_t key;
		void *value;
	} * slots;
	size_t size, count; /* size: a power of two */
};

static struct slot *table_slot(const struct table *t, uint64_t key)
{
	size_t k = (key * 0x9e3779b97f4a7c15ULL >> 20) & (t->size - 1);

	while (t->slots[k].value && t->slots[k].key != key)
		k = (k + 1) & (t->size - 1);
	return &t->slots[k];
}

static void *table_get(const struct table *t, uint64_t key)
{
	return t->size ? table_slot(t, key)->value : NULL;
}

static void table_put(struct table *t, uint64_t key, void *value)
{
	if (t->count * 2 >= t->size) {
		struct table grown = { .size = t->size ? t->size * 2 : 1024, .count = t->count };

		grown.slots = calloc(grown.size, sizeof(*grown.slots));
		CHECK(grown.slots);
		for (size_t k = 0; k < t->size; k++)
			if (t->slots[k].value)
				*table_slot(&grown, t->slots[k].key) = t->slots[k];
		free(t->slots);
		*t = grown;
	}
	*table_slot(t, key) = (struct slot){ .key = key, .value = value };
	t->count++;
}

/* ---- memory as a device --------------------------------------------------- */

struct scratch {
	struct bdev bdev;
	uint8_t *bytes;
};

static int scratch_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	const uint8_t *from = container_of(b, struct scratch, bdev)->bytes + off;

	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
	return 0;
}

static int scratch_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct scratch *s = container_of(b, struct scratch, bdev);

	for (int i = 0; i < iovcnt; i++) {
		memcpy(s->bytes + off, iov[i].iov_base, iov[i].iov_len);
		off += iov[i].iov_len;
	}
	return 0;
}

static int scratch_flush(struct bdev *b UNUSED)
{
	return 0;
}

static int scratch_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	struct scratch *s = container_of(b, struct scratch, bdev);

	memset(s->bytes + off, 0, len);
	return 0;
}

static void scratch_close(struct bdev *b UNUSED)
{
}

static const struct bdev_ops scratch_ops = {
	.readv = scratch_readv,
	.writev = scratch_writev,
	.flush = scratch_flush,
	.discard = scratch_zero,
	.zero = scratch_zero,
	.close = scratch_close,
};

/* ---- the judge ------------------------------------------------------------ */

struct judge {
	const struct base *base;
	struct view_builder *builder;
	struct scratch scratch;
	uint32_t kernel_every;
	int image_fd, output_fd;
	uint8_t *image;	      /* image_fd mapped */
	uint8_t *buffer;      /* for kfs */
	struct table cuts;    /* image hash -> struct verdict */
	struct table clean;   /* hash of a recovered image -> text of e2fsck -fn, "" if silent */
	struct table e2views; /* hash of an image recovered by e2fsck -> struct view */
	struct table views;   /* view hash -> struct view */
	char text[TEXT_MAX], why[TEXT_MAX];
	struct judge_counts counts;
};

static int memory_file(const char *name, uint64_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	return fd;
}

struct judge *judge_new(const struct base *base, struct view_builder *b, uint32_t kernel_every)
{
	struct judge *j = calloc(1, sizeof(*j));

	CHECK(j);
	j->base = base;
	j->builder = b;
	j->kernel_every = base->setting->no_kernel ? 0 : kernel_every;
	j->image_fd = memory_file("kfs-crash", base->size);
	j->output_fd = memory_file("kfs-crash-output", 0);
	j->image = mmap(NULL, base->size, PROT_READ | PROT_WRITE, MAP_SHARED, j->image_fd, 0);
	j->buffer = malloc(base->size);
	CHECK(j->image != MAP_FAILED && j->buffer);
	return j;
}

static void table_free(struct table *t, bool values)
{
	for (size_t k = 0; values && k < t->size; k++)
		free(t->slots[k].value);
	free(t->slots);
}

void judge_free(struct judge *j)
{
	if (!j)
		return;
	(void)munmap(j->image, j->base->size);
	(void)close(j->image_fd);
	(void)close(j->output_fd);
	table_free(&j->cuts, true);
	table_free(&j->clean, true);
	table_free(&j->e2views, false); /* the same views as in the next */
	table_free(&j->views, true);
	free(j->buffer);
	free(j);
}

struct judge_counts *judge_counts(struct judge *j)
{
	return &j->counts;
}

uint64_t image_sector_hash(uint64_t n, const uint8_t *bytes)
{
	return view_hash(bytes, RECORD_SECTOR, n * 0xd6e8feb86659fd93ULL + 11);
}

void image_hash(const struct base *base, struct image *image)
{
	image->home = image->log = 0;
	for (uint64_t n = 0; n < base->size / RECORD_SECTOR; n++) {
		uint64_t h = image_sector_hash(n, image->bytes + n * RECORD_SECTOR);

		*(base->in_log[n] ? &image->log : &image->home) ^= h;
	}
}

static const struct view *keep_view(struct judge *j, struct view *v)
{
	struct view *old = table_get(&j->views, v->hash);

	if (old && view_equal(old, v)) {
		free(v);
		return old;
	}
	table_put(&j->views, v->hash, v);
	return v;
}

static char *keep_text(const char *text)
{
	char *copy = strdup(text);

	CHECK(copy);
	return copy;
}

/*
 * For recovered images: as image_sector_hash(), but what the superblock says of how much
 * was ever written does not count.
 */
static uint64_t recovered_sector_hash(uint64_t n, const uint8_t *bytes)
{
	const size_t first = offsetof(struct ext4_super_block, s_kbytes_written);
	const size_t sum = offsetof(struct ext4_super_block, s_checksum) - RECORD_SECTOR;
	uint8_t copy[RECORD_SECTOR];

	if (n != SUPER_SECTOR && n != SUPER_SECTOR + 1)
		return image_sector_hash(n, bytes);
	memcpy(copy, bytes, sizeof(copy));
	if (n == SUPER_SECTOR)
		memset(copy + first, 0, sizeof(le64));
	else
		memset(copy + sum, 0, sizeof(le32));
	return image_sector_hash(n, copy);
}

/* Hash of @recovered, which was @image, without what lies in the log. */
static uint64_t recovered_hash(struct judge *j, const struct image *image, const uint8_t *recovered)
{
	uint64_t home = image->home;

	for (uint64_t n = 0; n < j->base->size / RECORD_SECTOR; n++) {
		const uint8_t *old = image->bytes + n * RECORD_SECTOR;
		const uint8_t *new = recovered + n *RECORD_SECTOR;
		bool super = n == SUPER_SECTOR || n == SUPER_SECTOR + 1;

		if (!j->base->in_log[n] && (super || memcmp(old, new, RECORD_SECTOR) != 0))
			home ^= image_sector_hash(n, old) ^ recovered_sector_hash(n, new);
	}
	return home;
}

/* ---- e2fsck --------------------------------------------------------------- */

/* Exit status; what it said is in j->text. */
static int run_e2fsck(struct judge *j, const char *option)
{
	static char *const env[] = { "LC_ALL=C", "PATH=/usr/sbin:/sbin:/usr/bin:/bin",
				     "E2FSCK_TIME=2000000000", "E2FSCK_CONFIG=/dev/null", NULL };
	char *const argv[] = { "e2fsck", (char *)(uintptr_t)option, IMAGE_PATH, NULL };
	posix_spawn_file_actions_t actions;
	int status = -1, error;
	ssize_t n;
	pid_t pid;

	CHECK(ftruncate(j->output_fd, 0) == 0);
	CHECK(posix_spawn_file_actions_init(&actions) == 0);
	CHECK(posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) == 0);
	CHECK(posix_spawn_file_actions_adddup2(&actions, j->output_fd, 1) == 0);
	CHECK(posix_spawn_file_actions_adddup2(&actions, j->output_fd, 2) == 0);
	CHECK(posix_spawn_file_actions_adddup2(&actions, j->image_fd, IMAGE_FD) == 0);
	CHECK(lseek(j->output_fd, 0, SEEK_SET) == 0);
	error = posix_spawn(&pid, "/sbin/e2fsck", &actions, NULL, argv, env);
	(void)posix_spawn_file_actions_destroy(&actions); /* cannot fail */
	if (error) {
		(void)snprintf(j->text, sizeof(j->text), "/sbin/e2fsck: %s", strerror(error));
		return 8;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	j->counts.e2fsck_runs++;
	n = pread(j->output_fd, j->text, sizeof(j->text) - 1, 0);
	j->text[MAX(n, (ssize_t)0)] = '\0';
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* A line that e2fsck prints about a good image that had a log to replay. */
static bool line_expected(const char *line)
{
	static const char *const begins[] = {
		"e2fsck 1.",
		"Pass 1: ",
		"Pass 2: ",
		"Pass 3: ",
		"Pass 4: ",
		"Pass 5: ",
		"Clearing orphaned inode ",
		"Truncating orphaned inode ",
		/* The kernel, too, sets the feature for as long as it has the image mounted. */
		"Feature orphan_present is set but orphan file is clean.",
		"Clear? yes",
	};
	static const char *const holds[] = { ": recovering journal",
					     ": ***** FILE SYSTEM WAS MODIFIED", " files (" };

	if (!*line)
		return true;
	for (size_t k = 0; k < ARRAY_SIZE(begins); k++)
		if (!strncmp(line, begins[k], strlen(begins[k])))
			return true;
	for (size_t k = 0; k < ARRAY_SIZE(holds); k++)
		if (strstr(line, holds[k]))
			return true;
	return false;
}

/*
 * e2fsck releases the orphans that the file names, and only afterwards finds that it still names them:
 * of an image that the kernel left so, too.
 */
static bool orphan_file_expected(const char *line, bool released)
{
	return released && !strncmp(line, "Orphan file (inode ", 19) &&
	       strstr(line, " is not clean.");
}

/*
 * The first line of j->text that says something else, or NULL. Where a commit block is torn
 * e2fsck leaves that transaction out, as the rules are, but then trusts the list of orphans
 * no more and mends what they leave: such a run may say what it likes.
 */
static const char *finding(struct judge *j, bool torn_commit)
{
	char *line = j->text;
	bool released = strstr(line, "Clearing orphaned inode ") ||
			strstr(line, "Truncating orphaned inode ");

	if (torn_commit && strstr(line, "was corrupt, replay was aborted"))
		return NULL;
	while (line) {
		char *end = strchr(line, '\n');

		if (end)
			*end = '\0';
		if (!line_expected(line) && !orphan_file_expected(line, released)) {
			if (end)
				*end = '\n';
			return line;
		}
		line = end ? end + 1 : NULL;
	}
	return NULL;
}

/* NULL if e2fsck -fn finds nothing in j->image, whose hash without the log is @key. */
static const char *check_clean(struct judge *j, uint64_t key)
{
	char *text = table_get(&j->clean, key);
	const char *what;
	int status;

	if (!text) {
		status = run_e2fsck(j, "-fn");
		what = finding(j, false);
		if (!what && status)
			what = "exit status is not 0";
		text = keep_text(what ? what : "");
		table_put(&j->clean, key, text);
	}
	return *text ? text : NULL;
}

static void recover_by_e2fsck(struct judge *j, const struct image *image, bool torn_commit,
			      struct verdict *verdict)
{
	uint64_t home;
	const char *what;
	struct world *w;
	struct view *v;
	int status;

	memcpy(j->image, image->bytes, j->base->size);
	status = run_e2fsck(j, "-fy");
	what = finding(j, torn_commit);
	if (what || status > 1) {
		(void)snprintf(j->why, sizeof(j->why), "e2fsck -fy: status %d: %s", status,
			       what ? what : "");
		verdict->e2fsck_why = keep_text(j->why);
		return;
	}
	home = recovered_hash(j, image, j->image);
	what = check_clean(j, home);
	if (what) {
		(void)snprintf(j->why, sizeof(j->why), "e2fsck -fn after e2fsck -fy: %s", what);
		verdict->e2fsck_why = keep_text(j->why);
		return;
	}
	verdict->e2fsck = table_get(&j->e2views, home);
	if (verdict->e2fsck)
		return;
	j->scratch.bytes = j->image;
	bdev_init(&j->scratch.bdev, &scratch_ops, j->base->size);
	if (world_open(&j->scratch.bdev, &(struct world_opts){ .readonly = true }, &w, j->why,
		       sizeof(j->why))) {
		verdict->e2fsck_why = keep_text(j->why);
		return;
	}
	v = world_view(w, j->builder, j->why, sizeof(j->why));
	if (world_close(w) && v)
		(void)snprintf(j->why, sizeof(j->why), "closing a read-only mount failed");
	if (!v) {
		verdict->e2fsck_why = keep_text(j->why);
		return;
	}
	verdict->e2fsck = keep_view(j, v);
	table_put(&j->e2views, home, (void *)(uintptr_t)verdict->e2fsck);
}

/* ---- kfs ------------------------------------------------------------------ */

/* kfs on j->buffer. 0, or the error with a text in j->why. */
static int revive(struct judge *j, struct view **ret_view)
{
	struct world_opts opts = { .discard = j->base->setting->discard };
	struct bdev *b = &j->scratch.bdev;
	struct world *w;
	int error;

	j->scratch.bytes = j->buffer;
	bdev_init(b, &scratch_ops, j->base->size);
	atomic_store(&b->write_bytes, 0);
	clock_reset(99);
	error = world_open(b, &opts, &w, j->why, sizeof(j->why));
	if (error)
		return error;
	*ret_view = world_view(w, j->builder, j->why, sizeof(j->why));
	error = world_close(w);
	if (error && *ret_view) {
		(void)snprintf(j->why, sizeof(j->why), "closing failed: %s", strerror(-error));
		free(*ret_view);
		return error;
	}
	return *ret_view ? 0 : -EIO;
}

/* What kfs has made of @image in j->buffer, and shows as @v. */
static void judge_recovered(struct judge *j, const struct image *image, struct view *v,
			    struct verdict *verdict)
{
	const char *what;
	uint64_t home;

	verdict->kfs = keep_view(j, v);
	home = recovered_hash(j, image, j->buffer);
	if (!table_get(&j->clean, home))
		memcpy(j->image, j->buffer, j->base->size);
	what = check_clean(j, home);
	if (what) {
		(void)snprintf(j->why, sizeof(j->why), "e2fsck -fn: %s", what);
		verdict->kfs_why = keep_text(j->why);
	}
}

static void recover_by_kfs(struct judge *j, const struct image *image, struct verdict *verdict)
{
	struct view *v;

	memcpy(j->buffer, image->bytes, j->base->size);
	if (revive(j, &v))
		verdict->kfs_why = keep_text(j->why);
	else
		judge_recovered(j, image, v, verdict);
}

/* The kernel, too, refuses a torn commit block, but unlike e2fsck it then does not mount. */
static void recover_by_kernel(struct judge *j, const struct image *image, struct verdict *verdict)
{
	const char *what;
	struct view *v;

	memcpy(j->image, image->bytes, j->base->size);
	j->counts.kernel++;
	v = kernel_recover(j->image_fd, j->builder, j->why, sizeof(j->why));
	if (!v) {
		verdict->kernel_why = keep_text(j->why);
		return;
	}
	verdict->kernel = keep_view(j, v);
	what = check_clean(j, recovered_hash(j, image, j->image));
	if (what) {
		(void)snprintf(j->why, sizeof(j->why), "e2fsck -fn after the kernel: %s", what);
		verdict->kernel_why = keep_text(j->why);
	}
}

void judge_rot(struct judge *j, const struct image *image, uint64_t off,
	       struct verdict *ret_verdict)
{
	struct view *v;
	int error;

	*ret_verdict = (struct verdict){ .kfs = NULL };
	memcpy(j->buffer, image->bytes, j->base->size);
	j->buffer[off] ^= 0x10;
	j->counts.rot++;
	error = revive(j, &v);
	if (error == -EBADMSG || error == -EUCLEAN)
		return;
	if (error)
		ret_verdict->kfs_why = keep_text(j->why);
	else
		judge_recovered(j, image, v, ret_verdict);
}

void judge_cut(struct judge *j, const struct image *image, bool torn_commit,
	       struct verdict *ret_verdict)
{
	uint64_t key = image->home ^ (image->log * 3);
	struct verdict *known = table_get(&j->cuts, key);

	j->counts.cuts++;
	if (known) {
		*ret_verdict = *known;
		ret_verdict->seen_before = true;
		return;
	}
	known = calloc(1, sizeof(*known));
	CHECK(known);
	j->counts.distinct++;
	recover_by_kfs(j, image, known);
	recover_by_e2fsck(j, image, torn_commit, known);
	/* Chosen by the image, so that the same are chosen in each run. */
	if (j->kernel_every && !torn_commit && key % j->kernel_every == 0)
		recover_by_kernel(j, image, known);
	table_put(&j->cuts, key, known);
	*ret_verdict = *known;
}
