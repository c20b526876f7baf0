// SPDX-License-Identifier: GPL-2.0-only
/*
 * The store without FUSE: opens an image and runs commands on it, for tests of the
 * layers below the daemon. Exit 0, or 1 with one line saying what failed.
 *
 *	storetool [-r] [-n] [-d] [-b BUFS] IMAGE [COMMAND...]
 *
 *	-r read-only   -n norecovery   -d discard   -b cap of the buffer cache
 *
 * Commands, in order; PATH is from the root, names are separated by '/':
 *	statfs			print what statfs(2) would say
 *	why			print why the store is read-only, or "writable"
 *	mkdir PATH		create PATH		mknod PATH MAJOR MINOR
 *	files DIR COUNT BYTES	create DIR/f0 ... with contents
 *	dirs DIR COUNT		create DIR/d0 ...
 *	write PATH OFF LEN	pattern bytes		read PATH (checks the pattern)
 *	stream DIR FILES LEN CHUNK   files written side by side in turn
 *	threads DIR N COUNT BYTES    N threads: create, write, unlink every other
 *	truncate PATH SIZE	unlink PATH		orphan PATH (unlink, stay open)
 *	runs PATH		print the number of extents
 *	trim			sync			freeze, thaw
 *	fill PATH CHUNK		write until ENOSPC; prints bytes written
 *	crash			leave at once, as if killed: nothing is written any more
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/log.h"
#include "daemon/store/alloc.h"
#include "daemon/store/dir.h"
#include "daemon/store/inode.h"
#include "daemon/store/map.h"
#include "daemon/store/store.h"

#define PATH_PARTS_MAX 64
#define CHUNK_MAX (4u << 20)
#define THREADS_MAX 16
#define STREAMS_MAX 64

static struct store *store;
static bool crashed;

static _Noreturn void die(int err, const char *fmt, const char *arg)
{
	fprintf(stderr, "storetool: ");
	fprintf(stderr, fmt, arg);
	fprintf(stderr, ": %s\n", strerror(-err));
	exit(1);
}

static struct timespec now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t;
}

/* The byte of file @seed at @off: any shift or stale block shows. */
static uint8_t pattern(uint32_t seed, uint64_t off)
{
	uint64_t x = (off / 8 + 1) * 0x9e3779b97f4a7c15ull ^ seed * 0xbf58476d1ce4e5b9ull;

	return (uint8_t)(x >> (off % 8 * 8));
}

/* ---- steps ---------------------------------------------------------------- */

static int lookup(struct inode *dir, const char *name, struct inode **ret_inode)
{
	struct dir_name n = { .name = name, .len = (uint32_t)strlen(name) };
	uint32_t ino;
	uint8_t ftype;
	int ret;

	rwlock_read(&dir->lock);
	ret = dir_lookup(dir, &n, &ino, &ftype);
	rwlock_unread(&dir->lock);
	return ret ? ret : inode_get(store, ino, ret_inode);
}

/* Walks to the directory of @path; *ret_name is the last part. */
static int walk(const char *path, struct inode **ret_dir, const char **ret_name)
{
	static char copy[4096];
	char *save = NULL, *part, *next;
	struct inode *dir, *child;
	int ret = inode_get(store, EXT4_ROOT_INO, &dir);

	if (ret)
		return ret;
	snprintf(copy, sizeof(copy), "%s", path);
	part = strtok_r(copy, "/", &save);
	if (!part)
		return -EINVAL;
	while ((next = strtok_r(NULL, "/", &save))) {
		ret = lookup(dir, part, &child);
		inode_put(dir);
		if (ret)
			return ret;
		dir = child;
		part = next;
	}
	*ret_dir = dir;
	*ret_name = part;
	return 0;
}

static int open_path(const char *path, struct inode **ret_inode)
{
	struct inode *dir;
	const char *name;
	int ret;

	if (strcmp(path, "/") == 0)
		return inode_get(store, EXT4_ROOT_INO, ret_inode);
	ret = walk(path, &dir, &name);
	if (ret)
		return ret;
	ret = lookup(dir, name, ret_inode);
	inode_put(dir);
	return ret;
}

/* Names a new inode in @dir, both locked. */
static int enter(struct handle *h, struct inode *dir, const char *name, struct inode *i)
{
	struct dir_name n = { .name = name, .len = (uint32_t)strlen(name) };
	bool is_dir = inode_is_dir(i);
	int ret = 0;

	if (is_dir)
		ret = dir_init(h, i, dir->ino);
	i->links = is_dir ? 2 : 1;
	if (!ret)
		ret = inode_write_data(h, i);
	if (!ret)
		ret = dir_add(h, dir, &n, i->ino, ftype_from_mode(i->mode));
	if (!ret && is_dir)
		dir->links++;
	return ret ? ret : inode_write_data(h, dir);
}

static int make_in(struct inode *dir, const char *name, uint16_t mode, uint32_t rdev,
		   struct inode **ret_inode)
{
	struct timespec t = now();
	struct inode_init init = {
		.mode = mode, .rdev = rdev, .now_s = t.tv_sec, .now_ns = (uint32_t)t.tv_nsec
	};
	struct inode *i = NULL;
	struct handle h;
	int ret, stop_ret;

	rwlock_write(&dir->lock);
	init.flags_inherit = dir->flags;
	ret = journal_start(store->journal,
			    CREDITS_NEW_INODE + CREDITS_DIR_ADD + CREDITS_MAP + CREDITS_ORPHAN, &h);
	if (ret) {
		rwlock_unwrite(&dir->lock);
		return ret;
	}
	ret = inode_create(&h, dir, &init, &i);
	if (!ret)
		ret = enter(&h, dir, name, i);
	if (ret && i) { /* give the half-made inode back in handles of its own */
		i->links = 0;
		if (orphan_add(&h, i) || inode_write(&h, i))
			fprintf(stderr, "storetool: %s: left over\n", name);
	}
	stop_ret = journal_stop(&h);
	rwlock_unwrite(&dir->lock);
	if (ret && i) {
		if (inode_delete(i))
			fprintf(stderr, "storetool: %s: not deleted\n", name);
		return ret;
	}
	if (ret)
		return ret;
	rwlock_unwrite(&i->lock);
	if (ret_inode)
		*ret_inode = i;
	else
		inode_put(i);
	return stop_ret;
}

static int make(const char *path, uint16_t mode, uint32_t rdev)
{
	struct inode *dir;
	const char *name;
	int ret = walk(path, &dir, &name);

	if (ret)
		return ret;
	ret = make_in(dir, name, mode, rdev, NULL);
	inode_put(dir);
	return ret;
}

static int write_range(struct inode *i, uint64_t off, uint64_t len)
{
	uint8_t *buf = malloc(CHUNK_MAX);
	struct timespec t = now();
	uint32_t tries = 0;
	ssize_t n = 0;

	if (!buf)
		return -ENOMEM;
	while (len > 0) {
		uint64_t part = MIN(len, (uint64_t)CHUNK_MAX), k;
		struct iovec iov = { .iov_base = buf, .iov_len = part };
		struct data_write w = { .iov = &iov,
					.iovcnt = 1,
					.off = off,
					.len = part,
					.alloc_flags = ALLOC_RESERVED_OK,
					.now_s = t.tv_sec,
					.now_ns = (uint32_t)t.tv_nsec };

		for (k = 0; k < part; k++)
			buf[k] = pattern(i->generation, off + k);
		rwlock_write(&i->lock);
		n = data_write(i, &w);
		rwlock_unwrite(&i->lock);
		if (n == -ENOSPC && balloc_should_retry(store, &tries))
			continue;
		if (n <= 0)
			break;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	free(buf);
	return len == 0 ? 0 : n < 0 ? (int)n : -EIO;
}

/* Zeros are what holes hold; everything else must be the pattern. */
static int check_contents(struct inode *i)
{
	uint8_t *buf = malloc(CHUNK_MAX);
	uint64_t off, k;
	int ret = 0;

	if (!buf)
		return -ENOMEM;
	for (off = 0; off < i->size && !ret; off += CHUNK_MAX) {
		uint64_t part = MIN(i->size - off, (uint64_t)CHUNK_MAX);
		struct iovec iov = { .iov_base = buf, .iov_len = part };
		ssize_t n;

		rwlock_read(&i->lock);
		n = data_read(i, &iov, 1, off, part);
		rwlock_unread(&i->lock);
		if (n != (ssize_t)part)
			ret = n < 0 ? (int)n : -EIO;
		for (k = 0; k < part && !ret; k++) {
			if (buf[k] != 0 && buf[k] != pattern(i->generation, off + k))
				ret = -EILSEQ;
		}
	}
	free(buf);
	return ret;
}

static int unlink_in(struct inode *dir, const char *name, bool stay_open)
{
	struct dir_name n = { .name = name, .len = (uint32_t)strlen(name) };
	struct inode *i;
	struct handle h;
	int ret, stop_ret;
	bool last;

	ret = lookup(dir, name, &i);
	if (ret)
		return ret;
	rwlock_write(&dir->lock);
	rwlock_write(&i->lock);
	ret = journal_start(store->journal, CREDITS_DIR_DEL + CREDITS_ORPHAN + CREDITS_INODE, &h);
	if (ret)
		goto out_unlock;
	ret = dir_remove(&h, dir, &n);
	if (!ret && inode_is_dir(i)) {
		i->links = 1;
		dir->links--;
	}
	if (!ret) {
		i->links--;
		if (i->links == 0)
			ret = orphan_add(&h, i);
	}
	if (!ret)
		ret = inode_write_data(&h, i);
	if (!ret)
		ret = inode_write_data(&h, dir);
	stop_ret = journal_stop(&h);
	ret = ret ? ret : stop_ret;
out_unlock:
	last = i->links == 0 && !stay_open;
	rwlock_unwrite(&dir->lock);
	if (!ret && last)
		return inode_delete(i);
	rwlock_unwrite(&i->lock);
	if (!stay_open)
		inode_put(i);
	return ret;
}

/* ---- commands ------------------------------------------------------------- */

static uint64_t number(const char *word)
{
	char *end;
	uint64_t n = strtoull(word, &end, 0);

	switch (*end) {
	case 'G': n <<= 10; /* fallthrough */
	case 'M': n <<= 10; /* fallthrough */
	case 'K': n <<= 10; break;
	case '\0': break;
	default: die(-EINVAL, "bad number %s", word);
	}
	return n;
}

static int cmd_statfs(char **a)
{
	struct store_statfs st;

	(void)a;
	store_statfs(store, &st);
	printf("blocks %" PRIu64 " free %" PRIu64 " avail %" PRIu64 " files %" PRIu64
	       " ffree %" PRIu64 " bsize %" PRIu32 "\n",
	       st.blocks, st.blocks_free, st.blocks_avail, st.files, st.files_free, st.block_size);
	return 0;
}

static int cmd_why(char **a)
{
	(void)a;
	printf("%s\n", store->readonly ? store->readonly_why : "writable");
	return 0;
}

static int cmd_mkdir(char **a)
{
	return make(a[0], EXT4_S_IFDIR | 0755, 0);
}

static int cmd_create(char **a)
{
	return make(a[0], EXT4_S_IFREG | 0644, 0);
}

static int cmd_mknod(char **a)
{
	uint32_t major = (uint32_t)number(a[1]), minor = (uint32_t)number(a[2]);

	return make(a[0], EXT4_S_IFCHR | 0600,
		    (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12);
}

static int make_files(struct inode *dir, const char *prefix, uint32_t count, uint64_t bytes)
{
	char name[64];
	uint32_t k;
	int ret = 0;

	for (k = 0; k < count && !ret; k++) {
		struct inode *i;

		snprintf(name, sizeof(name), "%s%" PRIu32, prefix, k);
		ret = make_in(dir, name, EXT4_S_IFREG | 0644, 0, &i);
		if (ret)
			return ret;
		ret = write_range(i, 0, bytes);
		inode_put(i);
	}
	return ret;
}

static int cmd_files(char **a)
{
	struct inode *dir;
	int ret = open_path(a[0], &dir);

	if (ret)
		return ret;
	ret = make_files(dir, "f", (uint32_t)number(a[1]), number(a[2]));
	inode_put(dir);
	return ret;
}

static int cmd_dirs(char **a)
{
	uint32_t k, count = (uint32_t)number(a[1]);
	struct inode *dir;
	char name[32];
	int ret = open_path(a[0], &dir);

	if (ret)
		return ret;
	for (k = 0; k < count && !ret; k++) {
		snprintf(name, sizeof(name), "d%" PRIu32, k);
		ret = make_in(dir, name, EXT4_S_IFDIR | 0755, 0, NULL);
	}
	inode_put(dir);
	return ret;
}

static int on_path(const char *path, int (*fn)(struct inode *i, void *arg), void *arg)
{
	struct inode *i;
	int ret = open_path(path, &i);

	if (ret)
		return ret;
	ret = fn(i, arg);
	inode_put(i);
	return ret;
}

static int do_write(struct inode *i, void *arg)
{
	char **a = arg;

	return write_range(i, number(a[1]), number(a[2]));
}

static int cmd_write(char **a)
{
	return on_path(a[0], do_write, a);
}

static int do_read(struct inode *i, void *arg)
{
	(void)arg;
	return check_contents(i);
}

static int cmd_read(char **a)
{
	return on_path(a[0], do_read, a);
}

static int do_truncate(struct inode *i, void *arg)
{
	char **a = arg;
	int ret;

	rwlock_write(&i->lock);
	ret = inode_truncate(i, number(a[1]));
	rwlock_unwrite(&i->lock);
	return ret;
}

static int cmd_truncate(char **a)
{
	return on_path(a[0], do_truncate, a);
}

static int do_runs(struct inode *i, void *arg)
{
	uint32_t runs;
	int ret;

	(void)arg;
	rwlock_read(&i->lock);
	ret = map_count_runs(i, &runs);
	rwlock_unread(&i->lock);
	if (!ret)
		printf("%" PRIu32 "\n", runs);
	return ret;
}

static int cmd_runs(char **a)
{
	return on_path(a[0], do_runs, a);
}

static int unlink_path(const char *path, bool stay_open)
{
	struct inode *dir;
	const char *name;
	int ret = walk(path, &dir, &name);

	if (ret)
		return ret;
	ret = unlink_in(dir, name, stay_open);
	inode_put(dir);
	return ret;
}

static int cmd_unlink(char **a)
{
	return unlink_path(a[0], false);
}

static int cmd_orphan(char **a)
{
	return unlink_path(a[0], true);
}

static int cmd_stream(char **a)
{
	uint32_t files = (uint32_t)number(a[1]), k;
	uint64_t len = number(a[2]), chunk = number(a[3]), off;
	struct inode *dir, *open[STREAMS_MAX];
	char name[32];
	int ret = files > STREAMS_MAX ? -EINVAL : open_path(a[0], &dir);

	if (ret)
		return ret;
	for (k = 0; k < files && !ret; k++) {
		snprintf(name, sizeof(name), "s%" PRIu32, k);
		ret = make_in(dir, name, EXT4_S_IFREG | 0644, 0, &open[k]);
	}
	for (off = 0; off < len && !ret; off += chunk) {
		for (k = 0; k < files && !ret; k++)
			ret = write_range(open[k], off, MIN(chunk, len - off));
	}
	for (k = 0; k < files && !ret; k++)
		inode_put(open[k]);
	inode_put(dir);
	return ret;
}

struct worker {
	pthread_t thread;
	struct inode *dir;
	uint32_t id, count;
	uint64_t bytes;
	int ret;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	char prefix[32], name[64];
	uint32_t k;

	snprintf(prefix, sizeof(prefix), "t%" PRIu32 "-", w->id);
	w->ret = make_files(w->dir, prefix, w->count, w->bytes);
	for (k = 0; k < w->count && !w->ret; k += 2) {
		snprintf(name, sizeof(name), "%s%" PRIu32, prefix, k);
		w->ret = unlink_in(w->dir, name, false);
	}
	return NULL;
}

static int cmd_threads(char **a)
{
	uint32_t n = (uint32_t)number(a[1]), k;
	struct worker w[THREADS_MAX];
	struct inode *dir;
	int ret = n > THREADS_MAX ? -EINVAL : open_path(a[0], &dir);

	if (ret)
		return ret;
	for (k = 0; k < n; k++) {
		w[k] = (struct worker){
			.dir = dir, .id = k, .count = (uint32_t)number(a[2]), .bytes = number(a[3])
		};
		if (pthread_create(&w[k].thread, NULL, work, &w[k]))
			die(-EAGAIN, "thread %s", "");
	}
	for (k = 0; k < n; k++) {
		pthread_join(w[k].thread, NULL);
		ret = ret ? ret : w[k].ret;
	}
	inode_put(dir);
	return ret;
}

static int do_fill(struct inode *i, void *arg)
{
	char **a = arg;
	uint64_t chunk = number(a[1]);
	int ret = 0;

	while (!ret)
		ret = write_range(i, i->size, chunk);
	printf("%" PRIu64 "\n", i->size);
	return ret == -ENOSPC ? 0 : ret;
}

static int cmd_fill(char **a)
{
	return on_path(a[0], do_fill, a);
}

static int cmd_trim(char **a)
{
	uint64_t trimmed;
	int ret = balloc_trim(store, 0, UINT64_MAX, 0, &trimmed);

	(void)a;
	if (!ret)
		printf("%" PRIu64 "\n", trimmed);
	return ret;
}

static int cmd_sync(char **a)
{
	(void)a;
	return store_sync(store);
}

static int cmd_freeze(char **a)
{
	(void)a;
	return store_freeze(store);
}

static int cmd_thaw(char **a)
{
	(void)a;
	return store_thaw(store);
}

static int cmd_crash(char **a)
{
	(void)a;
	crashed = true;
	return 0;
}

static const struct command {
	const char *name;
	int args;
	int (*run)(char **args);
} commands[] = {
	{ "statfs", 0, cmd_statfs }, { "why", 0, cmd_why },	    { "mkdir", 1, cmd_mkdir },
	{ "create", 1, cmd_create }, { "mknod", 3, cmd_mknod },	    { "files", 3, cmd_files },
	{ "dirs", 2, cmd_dirs },     { "write", 3, cmd_write },	    { "read", 1, cmd_read },
	{ "stream", 4, cmd_stream }, { "threads", 4, cmd_threads }, { "truncate", 2, cmd_truncate },
	{ "unlink", 1, cmd_unlink }, { "orphan", 1, cmd_orphan },   { "runs", 1, cmd_runs },
	{ "trim", 0, cmd_trim },     { "sync", 0, cmd_sync },	    { "freeze", 0, cmd_freeze },
	{ "thaw", 0, cmd_thaw },     { "fill", 2, cmd_fill },	    { "crash", 0, cmd_crash },
};

static int run_commands(int argc, char **argv)
{
	int at = 0;

	while (at < argc && !crashed) {
		const struct command *c = NULL;
		size_t k;
		int ret;

		for (k = 0; k < ARRAY_SIZE(commands); k++) {
			if (strcmp(commands[k].name, argv[at]) == 0)
				c = &commands[k];
		}
		if (!c || argc - at - 1 < c->args)
			die(-EINVAL, "%s", argv[at]);
		ret = c->run(argv + at + 1);
		if (ret) {
			fprintf(stderr, "storetool: %s %s: %s\n", argv[at],
				c->args ? argv[at + 1] : "", strerror(-ret));
			return 1;
		}
		at += 1 + c->args;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct store_opts opts = { 0 };
	struct bdev_open_opts bopts = { 0 };
	struct store_open_error err;
	struct bdev *bdev;
	uint32_t cleaned = 0;
	int opt, ret, result;

	while ((opt = getopt(argc, argv, "rndb:")) != -1) {
		switch (opt) {
		case 'r': opts.readonly = true; break;
		case 'n': opts.norecovery = true; break;
		case 'd': opts.discard = true; break;
		case 'b': opts.bufs_max = (uint32_t)number(optarg); break;
		default: return 2;
		}
	}
	if (optind == argc)
		return 2;
	log_init("storetool", LOG_LEVEL_INFO);
	ret = bdev_open_file(argv[optind], &bopts, &bdev);
	if (ret)
		die(ret, "%s", argv[optind]);
	ret = store_open(bdev, &opts, &store, &err);
	if (ret) {
		fprintf(stderr, "storetool: %s: %s: %s\n", argv[optind], err.what, err.remedy);
		return 1;
	}
	ret = store_orphan_cleanup(store, &cleaned);
	if (ret)
		die(ret, "orphans of %s", argv[optind]);
	if (cleaned)
		printf("orphans %" PRIu32 "\n", cleaned);
	result = run_commands(argc - optind - 1, argv + optind + 1);
	fflush(stdout);
	if (crashed)
		_exit(result);
	ret = store_close(store);
	if (ret)
		die(ret, "close %s", argv[optind]);
	return result;
}
