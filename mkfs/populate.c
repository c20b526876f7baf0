/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The root directory, lost+found, and with -d a copy of a tree: modes, owners, times,
 * attributes, hard links, holes and device nodes.
 *
 * Directories wait in a queue, the root first. One is read, its names are given inodes, its
 * files are copied, and it is written out whole; its subdirectories join the queue. A waiting
 * directory is opened anew along its parents, so neither the depth of the tree nor the length
 * of its paths meets a limit of ours.
 *
 * The source may change meanwhile: what is read is copied, a file that became shorter is
 * filled with zeros, both are said. Nothing read from it is trusted to stay.
 */
#include "mkfs/mkfs.h"

#include "mkfs/dir.h"
#include "mkfs/options.h"
#include "mkfs/say.h"
#include "mkfs/xattr.h"

#include "daemon/base/check.h"
#include "daemon/block/bdev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define COPY_BYTES (1u << 20)
#define SYMLINK_MAX_BYTES 4096
#define LINKS_BUCKETS_MIN 1024
#define LOST_FOUND_BYTES 16384u /* room made in advance, in direct blocks only */

/* A directory of the new filesystem, waiting or done. */
struct node {
	struct node *parent, *next;
	struct stat st; /* what it is to look like, unless it is the root */
	uint32_t ino;
	bool has_source;
	char name[];
};

/* A file with several names: where it was copied to. */
struct link_entry {
	dev_t dev;
	ino_t ino;
	uint32_t new_ino; /* 0: free slot */
};

struct links {
	struct link_entry *v;
	size_t count, room; /* room: a power of two */
};

struct copy {
	struct mkfs *m;
	struct node *queue_head, **queue_tail;
	struct links links;
	uint8_t *buffer;
	struct progress progress;
	uint64_t files;
	struct stat target; /* the image itself may lie in the tree: it is left out */
	bool target_known;
};

/* ---- names and links ---- */

static int node_add(struct copy *c, struct node *parent, const char *name, uint32_t ino,
		    const struct stat *st)
{
	size_t len = strlen(name);
	struct node *n = calloc(1, sizeof(*n) + len + 1);

	if (!n)
		return fail(-ENOMEM, "%s", name);
	memcpy(n->name, name, len);
	n->parent = parent;
	n->ino = ino;
	if (st) {
		n->st = *st;
		n->has_source = true;
	}
	*c->queue_tail = n;
	c->queue_tail = &n->next;
	return 0;
}

static struct link_entry *links_slot(const struct links *l, dev_t dev, ino_t ino)
{
	size_t i = (size_t)((ino ^ ((uint64_t)dev << 32)) * UINT64_C(0x9e3779b97f4a7c15) >> 20);

	for (;; i++) {
		struct link_entry *e = &l->v[i & (l->room - 1)];

		if (!e->new_ino || (e->dev == dev && e->ino == ino))
			return e;
	}
}

static int links_grow(struct links *l)
{
	struct links larger = { .room = l->room ? l->room * 2 : LINKS_BUCKETS_MIN };

	larger.v = calloc(larger.room, sizeof(*larger.v));
	if (!larger.v)
		return fail(-ENOMEM, "hard links");
	for (size_t i = 0; i < l->room; i++)
		if (l->v[i].new_ino)
			*links_slot(&larger, l->v[i].dev, l->v[i].ino) = l->v[i];
	larger.count = l->count;
	free(l->v);
	*l = larger;
	return 0;
}

static int links_remember(struct links *l, const struct stat *st, uint32_t new_ino)
{
	int r = 0;

	if ((l->count + 1) * 2 > l->room)
		r = links_grow(l);
	if (r < 0)
		return r;
	*links_slot(l, st->st_dev, st->st_ino) =
		(struct link_entry){ st->st_dev, st->st_ino, new_ino };
	l->count++;
	return 0;
}

static uint32_t links_find(const struct links *l, const struct stat *st)
{
	return l->room ? links_slot(l, st->st_dev, st->st_ino)->new_ino : 0;
}

static int link_count(struct mkfs *m, uint32_t ino, const char *name)
{
	struct inode_image img = { 0 };
	uint32_t links;
	int r = inode_read(m, ino, &img);

	if (r < 0)
		return r;
	links = le16_to_cpu(img.inode.i_links_count);
	if (links >= EXT4_LINK_MAX)
		return refuse("%s: has more than %u links, ext4 holds no more", name,
			      EXT4_LINK_MAX);
	img.inode.i_links_count = cpu_to_le16((uint16_t)(links + 1));
	return inode_write(m, ino, &img);
}

/* ---- files ---- */

static uint8_t file_type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return EXT4_FT_REG_FILE;
	case S_IFDIR: return EXT4_FT_DIR;
	case S_IFCHR: return EXT4_FT_CHRDEV;
	case S_IFBLK: return EXT4_FT_BLKDEV;
	case S_IFIFO: return EXT4_FT_FIFO;
	case S_IFSOCK: return EXT4_FT_SOCK;
	case S_IFLNK: return EXT4_FT_SYMLINK;
	default: return EXT4_FT_UNKNOWN;
	}
}

static void image_of_stat(const struct mkfs *m, struct inode_image *img, const struct stat *st,
			  uint32_t links)
{
	inode_init(m, img, st->st_mode, links);
	inode_set_owner(img, st->st_uid, st->st_gid);
	inode_set_times(m, img, &st->st_atim, &st->st_mtim, &st->st_ctim);
}

/* Fill the buffer from @offset; the rest, past the end of the file, with zeros. */
static int source_read(struct copy *c, int fd, const char *name, uint64_t offset, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, c->buffer + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(-errno, "%s: reading", name);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	memset(c->buffer + done, 0, len - done);
	return 0;
}

/* Blocks [from, to) of the file: allocate, read, write. */
static int blocks_copy(struct copy *c, int fd, const char *name, uint32_t from, uint32_t to,
		       struct runs *runs)
{
	struct mkfs *m = c->m;
	uint32_t bs = m->geo.block_size;

	while (from < to) {
		uint32_t count = MIN(to - from, COPY_BYTES / bs);
		struct runs piece = { 0 };
		int r = runs_alloc(m, &piece, from, count, &m->data_goal);

		if (r == 0)
			r = source_read(c, fd, name, (uint64_t)from * bs, (size_t)count * bs);
		for (size_t i = 0; r == 0 && i < piece.count; i++) {
			const struct run *run = &piece.v[i];

			r = bdev_write(m->bdev, c->buffer + (size_t)(run->lblk - from) * bs,
				       (size_t)run->len * bs, run->pblk * bs);
			r = r < 0 ? fail(r, "%s: writing", m->opts->target) :
				    runs_add(runs, run->lblk, run->pblk, run->len);
		}
		runs_fini(&piece);
		if (r < 0)
			return r;
		from += count;
	}
	return 0;
}

/* The next stretch of data at or after @from, in bytes; false: none before @size. */
static bool data_find(int fd, uint64_t from, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
	off_t start = lseek(fd, (off_t)from, SEEK_DATA), end;

	if (start < 0 && errno == ENXIO)
		return false;
	if (start < 0) {
		/* The source's filesystem cannot tell: all of it is data. */
		*ret_start = from;
		*ret_end = size;
		return true;
	}
	end = lseek(fd, start, SEEK_HOLE);
	*ret_start = (uint64_t)start;
	*ret_end = end < 0 ? size : MIN((uint64_t)end, size);
	return *ret_start < *ret_end;
}

static int file_copy(struct copy *c, int fd, const char *name, uint32_t ino,
		     struct inode_image *img)
{
	uint32_t bs = c->m->geo.block_size;
	struct runs runs = { 0 };
	uint64_t start, end, next = 0, size;
	struct stat now;
	int r = 0;

	if (fstat(fd, &now) < 0)
		return fail(-errno, "%s", name);
	size = (uint64_t)now.st_size;
	if (size / bs >= EXT_MAX_BLOCKS)
		return refuse("%s: %llu bytes are more than a file can have with blocks of %u",
			      name, (unsigned long long)size, bs);
	while (r == 0 && next < size && data_find(fd, next, size, &start, &end)) {
		uint64_t from = MAX(start / bs, DIV_ROUND_UP(next, (uint64_t)bs));
		uint64_t to = DIV_ROUND_UP(end, (uint64_t)bs);

		if (from < to)
			r = blocks_copy(c, fd, name, (uint32_t)from, (uint32_t)to, &runs);
		next = end;
	}
	if (r == 0) {
		inode_set_size(c->m, img, size);
		r = mapping_write(c->m, ino, img, &runs);
	}
	runs_fini(&runs);
	return r;
}

static int regular_make(struct copy *c, int dir_fd, const char *name, uint32_t ino,
			struct inode_image *img)
{
	_cleanup_close_ int fd =
		openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return fail(-errno, "%s", name);
	return file_copy(c, fd, name, ino, img);
}

static int symlink_make(struct copy *c, int dir_fd, const char *name, uint32_t ino,
			struct inode_image *img)
{
	uint32_t bs = c->m->geo.block_size;
	char *text = (char *)c->buffer;
	ssize_t len = readlinkat(dir_fd, name, text, SYMLINK_MAX_BYTES);
	struct runs runs = { 0 };
	int r;

	if (len < 0)
		return fail(-errno, "%s: reading the link", name);
	if ((uint32_t)len >= bs || len >= SYMLINK_MAX_BYTES)
		return refuse("%s: a link of %zd bytes does not fit in a block of %u", name, len,
			      bs);
	inode_set_size(c->m, img, (uint64_t)len);
	if (len < EXT4_N_BLOCKS_BYTES) {
		memcpy(img->inode.i_block, text, (size_t)len);
		return 0;
	}
	memset(text + len, 0, bs - (uint32_t)len);
	r = runs_alloc(c->m, &runs, 0, 1, &c->m->data_goal);
	if (r == 0)
		r = write_block(c->m, runs.v[0].pblk, text);
	if (r == 0)
		r = mapping_write(c->m, ino, img, &runs);
	runs_fini(&runs);
	return r;
}

/* Small numbers in the old 16-bit form, which every ext2 reader knows, others in the new one. */
static void device_set(struct inode_image *img, dev_t dev)
{
	uint32_t maj = major(dev), min = minor(dev);

	if (maj < 256 && min < 256)
		img->inode.i_block[0] = cpu_to_le32(maj << 8 | min);
	else
		img->inode.i_block[1] = cpu_to_le32((min & 0xff) | maj << 8 | (min & ~0xffu) << 12);
}

static int attributes_copy(struct copy *c, int dir_fd, const char *name, struct inode_image *img)
{
	char path[64 + EXT4_NAME_LEN];
	struct xattrs x = { 0 };
	int r;

	if (!c->m->opts->copy_xattrs)
		return 0;
	/* No system call reads attributes of a name in an open directory: take this way there. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir_fd, name);
	r = xattrs_read(&x, -1, path);
	if (r == 0)
		r = xattrs_write(c->m, name, img, &x);
	xattrs_fini(&x);
	return r;
}

static int file_make(struct copy *c, int dir_fd, const char *name, const struct stat *st,
		     uint32_t *ret_ino)
{
	struct inode_image img;
	int r = inode_alloc(c->m, false, ret_ino);

	if (r < 0)
		return r;
	image_of_stat(c->m, &img, st, 1);
	if (S_ISREG(st->st_mode))
		r = regular_make(c, dir_fd, name, *ret_ino, &img);
	else if (S_ISLNK(st->st_mode))
		r = symlink_make(c, dir_fd, name, *ret_ino, &img);
	else if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		device_set(&img, st->st_rdev);
	if (r == 0)
		r = attributes_copy(c, dir_fd, name, &img);
	if (r == 0)
		r = inode_write(c->m, *ret_ino, &img);
	if (r == 0 && st->st_nlink > 1)
		r = links_remember(&c->links, st, *ret_ino);
	return r;
}

/* ---- directories ---- */

/* One name of a source directory. */
static int name_copy(struct copy *c, struct node *node, int dir_fd, const char *name, struct dir *d,
		     uint32_t *subdirs)
{
	struct mkfs *m = c->m;
	struct stat st;
	uint32_t ino;
	int r = 0;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(-errno, "%s", name);
	if (c->target_known && st.st_dev == c->target.st_dev && st.st_ino == c->target.st_ino) {
		warn("%s: is the target itself, left out", name);
		return 0;
	}
	progress_at(&c->progress, ++c->files);
	if (S_ISDIR(st.st_mode)) {
		bool is_lost = node->ino == EXT4_ROOT_INO && !strcmp(name, "lost+found");

		if (is_lost)
			ino = m->lost_found_ino;
		else
			r = inode_alloc(m, true, &ino);
		if (r == 0)
			r = node_add(c, node, name, ino, &st);
		(*subdirs)++;
	} else {
		ino = st.st_nlink > 1 ? links_find(&c->links, &st) : 0;
		r = ino ? link_count(m, ino, name) : file_make(c, dir_fd, name, &st, &ino);
	}
	return r < 0 ? r : dir_add(d, name, ino, file_type_of(st.st_mode));
}

static int compare_strings(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

static void names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* All names of @fd but "." and "..", sorted, so that equal trees give equal images. */
static int names_read(int fd, const char *what, char ***ret_names, size_t *ret_count)
{
	size_t count = 0, room = 0;
	char **names = NULL;
	int own = dup(fd), r = 0;
	DIR *dir = own < 0 ? NULL : fdopendir(own);
	struct dirent *e;

	if (!dir) {
		r = fail(-errno, "%s", what);
		if (own >= 0)
			(void)close(own); /* nothing was written through it */
		return r;
	}
	while (r == 0 && (errno = 0, e = readdir(dir))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (count == room) {
			char **v = reallocarray(names, room * 2 + 64, sizeof(*v));

			if (!v) {
				r = -ENOMEM;
				break;
			}
			names = v;
			room = room * 2 + 64;
		}
		names[count] = strdup(e->d_name);
		r = names[count] ? 0 : -ENOMEM;
		count += r == 0;
	}
	if (r == 0 && errno)
		r = -errno;
	(void)closedir(dir); /* only read */
	if (r < 0) {
		names_free(names, count);
		return fail(r, "%s: reading the directory", what);
	}
	if (count)
		qsort(names, count, sizeof(*names), compare_strings);
	*ret_names = names;
	*ret_count = count;
	return 0;
}

/* Open @node's source by walking down from the top. */
static int node_open(const struct copy *c, const struct node *node, int *ret_fd)
{
	size_t depth = 0;
	_cleanup_free_ const struct node **way = NULL;
	int fd = fcntl(c->m->source_fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return fail(-errno, "%s", c->m->opts->source_dir);
	for (const struct node *n = node; n->parent; n = n->parent)
		depth++;
	way = calloc(depth + 1, sizeof(const struct node *));
	if (!way) {
		(void)close(fd); /* nothing was written through it */
		return fail(-ENOMEM, "%s", node->name);
	}
	for (const struct node *n = node; n->parent; n = n->parent)
		way[--depth] = n;
	for (size_t i = 0; way[i]; i++) {
		int below =
			openat(fd, way[i]->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int err = errno;

		(void)close(fd); /* nothing was written through it */
		if (below < 0)
			return fail(-err, "%s", way[i]->name);
		fd = below;
	}
	*ret_fd = fd;
	return 0;
}

static int source_copy(struct copy *c, struct node *node, struct dir *d, struct xattrs *x,
		       uint32_t *subdirs)
{
	_cleanup_close_ int fd = -1;
	char **names = NULL;
	size_t count = 0;
	int r = node_open(c, node, &fd);

	if (r == 0 && c->m->opts->copy_xattrs)
		r = xattrs_read(x, fd, node->parent ? node->name : c->m->opts->source_dir);
	if (r == 0)
		r = names_read(fd, node->name, &names, &count);
	for (size_t i = 0; r == 0 && i < count; i++)
		r = name_copy(c, node, fd, names[i], d, subdirs);
	names_free(names, count);
	return r;
}

static void node_image(const struct mkfs *m, const struct node *node, struct inode_image *img)
{
	if (node->ino == EXT4_ROOT_INO) {
		inode_init(m, img, EXT4_S_IFDIR | m->opts->root_mode, 0);
		inode_set_owner(img, m->opts->root_uid, m->opts->root_gid);
	} else if (node->has_source) {
		image_of_stat(m, img, &node->st, 0);
	} else {
		inode_init(m, img, EXT4_S_IFDIR | 0700, 0);
	}
}

/* The root always gets a lost+found, whether the source has one or not. */
static int lost_found_add(struct copy *c, struct node *root, struct dir *d, uint32_t *subdirs)
{
	static const char name[] = "lost+found";
	int r;

	for (size_t i = 0; i < d->count; i++)
		if (d->names[i].ino == c->m->lost_found_ino)
			return 0;
	for (size_t i = 0; i < d->count; i++)
		if (d->names[i].name_len == strlen(name) &&
		    !memcmp(d->pool + d->names[i].name_at, name, strlen(name)))
			return refuse("%s/%s: is not a directory", c->m->opts->source_dir, name);
	r = node_add(c, root, name, c->m->lost_found_ino, NULL);
	if (r < 0)
		return r;
	(*subdirs)++;
	return dir_add(d, name, c->m->lost_found_ino, EXT4_FT_DIR);
}

static int links_set(const struct mkfs *m, struct inode_image *img, uint32_t subdirs,
		     const char *name)
{
	uint64_t links = 2 + (uint64_t)subdirs;

	if (links >= EXT4_LINK_MAX) {
		if (!feature_ro(&m->geo.features, EXT4_FEATURE_RO_COMPAT_DIR_NLINK))
			return refuse("%s: has %u subdirectories: add -O dir_nlink", name, subdirs);
		links = 1; /* too many to count */
	}
	img->inode.i_links_count = cpu_to_le16((uint16_t)links);
	return 0;
}

static int node_make(struct copy *c, struct node *node)
{
	struct mkfs *m = c->m;
	bool is_root = node->ino == EXT4_ROOT_INO;
	struct dir d = { .ino = node->ino, .parent = node->parent ? node->parent->ino : node->ino };
	struct inode_image img;
	struct xattrs x = { 0 };
	uint32_t subdirs = 0;
	int r = 0;

	node_image(m, node, &img);
	if (node->ino == m->lost_found_ino)
		d.blocks_min =
			MIN(LOST_FOUND_BYTES / m->geo.block_size, (uint32_t)EXT4_NDIR_BLOCKS);
	if (node->has_source)
		r = source_copy(c, node, &d, &x, &subdirs);
	if (r == 0 && is_root)
		r = lost_found_add(c, node, &d, &subdirs);
	if (r == 0)
		r = links_set(m, &img, subdirs, node->name);
	if (r == 0)
		r = dir_write(m, &d, &img);
	if (r == 0)
		r = xattrs_write(m, node->name, &img, &x);
	if (r == 0)
		r = inode_write(m, node->ino, &img);
	xattrs_fini(&x);
	dir_fini(&d);
	return r;
}

int populate(struct mkfs *m)
{
	struct copy c = { .m = m, .queue_tail = &c.queue_head, .buffer = malloc(COPY_BYTES) };
	struct stat st;
	bool has_source = m->source_fd >= 0;
	int r = c.buffer ? 0 : fail(-ENOMEM, "%s", m->opts->target);

	c.target_known = fstat(m->bdev->fd, &c.target) == 0;
	if (r == 0 && has_source && fstat(m->source_fd, &st) < 0)
		r = fail(-errno, "%s", m->opts->source_dir);
	if (r == 0)
		r = node_add(&c, NULL, "/", EXT4_ROOT_INO, has_source ? &st : NULL);
	progress_start(&c.progress, has_source && !m->opts->quiet, "Copying", "files", 0);
	for (struct node *n = c.queue_head; r == 0 && n; n = n->next)
		r = node_make(&c, n);
	progress_end(&c.progress);
	while (c.queue_head) {
		struct node *next = c.queue_head->next;

		free(c.queue_head);
		c.queue_head = next;
	}
	free(c.links.v);
	free(c.buffer);
	return r;
}
