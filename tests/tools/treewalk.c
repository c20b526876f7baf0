// SPDX-License-Identifier: GPL-2.0-only
/*
 * Prints a tree as text, one line per object, in an order that depends on names only, so that two trees are equal
 * exactly if the texts are: kind, mode, owner, links, size, times, device, link target, extended attributes (ACLs are
 * among them) and the SHA-256 of the contents. Names of one file share a group ("same=" and the first of the names).
 *
 *	treewalk [--no-times] [--no-owner] [--no-dir-size] [--no-nlink] [--no-xattr] [--ctime] [--blocks] DIR
 *
 * A folder's size and links depend on how the filesystem keeps folders: leave them out (--no-dir-size) where two
 * different filesystems are compared. lost+found at the top is left out. Whatever cannot be read is an error: exit 1.
 *
 * The walk keeps a queue instead of recursing: a tree may be deeper than a stack. Paths are limited to PATH_MAX.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/lib/sha256.h"

#define XATTR_LIST_SIZE 65536
#define READ_SIZE (1u << 20)

struct options {
	bool no_times, no_owner, no_dir_size, no_nlink, no_xattr, ctime, blocks;
};

/* A growing list of strings; owns them. */
struct names {
	char **name;
	size_t count, room;
};

/* Files with several names that were met already: open addressing by device and inode number. */
struct seen {
	uint64_t dev, ino;
	char *path;
};

static struct options options;
static struct seen *seen_table;
static size_t seen_room, seen_count;

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	int error = errno;
	va_list args;

	fflush(stdout);
	fprintf(stderr, "treewalk: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

static void *grown(void *old, size_t count, size_t size)
{
	void *memory = reallocarray(old, count, size);

	if (!memory)
		die("memory");
	return memory;
}

static void names_add(struct names *names, char *name)
{
	if (names->count == names->room) {
		names->room = names->room ? names->room * 2 : 64;
		names->name = grown(names->name, names->room, sizeof(char *));
	}
	names->name[names->count++] = name;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names are bytes: whatever is not plain text is written as \xHH. */
static void print_bytes(const char *bytes, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (isgraph(c) && c != '\\')
			putchar(c);
		else
			printf("\\x%02x", c);
	}
}

static size_t seen_slot(uint64_t dev, uint64_t ino)
{
	size_t slot = (size_t)((ino * 0x9e3779b97f4a7c15ULL) ^ dev) % seen_room;

	while (seen_table[slot].path &&
	       (seen_table[slot].ino != ino || seen_table[slot].dev != dev))
		slot = (slot + 1) % seen_room;
	return slot;
}

static void seen_grow(void)
{
	struct seen *old = seen_table;
	size_t old_room = seen_room, i;

	seen_room = old_room ? old_room * 2 : 1024;
	seen_table = calloc(seen_room, sizeof(*seen_table));
	if (!seen_table)
		die("memory");
	for (i = 0; i < old_room; i++) {
		if (old[i].path)
			seen_table[seen_slot(old[i].dev, old[i].ino)] = old[i];
	}
	free(old);
}

/* The first path under which this inode was met; @path itself if it is new. */
static const char *seen_first(const struct stat *st, const char *path)
{
	size_t slot;

	if (seen_count * 2 >= seen_room)
		seen_grow();
	slot = seen_slot(st->st_dev, st->st_ino);
	if (!seen_table[slot].path) {
		seen_table[slot] = (struct seen){ st->st_dev, st->st_ino, strdup(path) };
		if (!seen_table[slot].path)
			die("memory");
		seen_count++;
	}
	return seen_table[slot].path;
}

static void print_xattr(const char *path, const char *name)
{
	static uint8_t value[XATTR_SIZE_MAX];
	ssize_t len = lgetxattr(path, name, value, sizeof(value));
	ssize_t i;

	if (len < 0)
		die("%s: attribute %s", path, name);
	printf(" %s=", name);
	for (i = 0; i < len; i++)
		printf("%02x", value[i]);
}

static void print_xattrs(const char *path)
{
	static char list[XATTR_LIST_SIZE];
	ssize_t len = llistxattr(path, list, sizeof(list));
	struct names names = { 0 };
	char *name;
	size_t i;

	if (len < 0 && errno == EOPNOTSUPP)
		return;
	if (len < 0)
		die("%s: attributes", path);
	for (name = list; name < list + len; name += strlen(name) + 1)
		names_add(&names, name);
	if (names.count)
		qsort(names.name, names.count, sizeof(char *), compare_names);
	for (i = 0; i < names.count; i++)
		print_xattr(path, names.name[i]);
	free(names.name);
}

static void print_contents(const char *path, const struct stat *st)
{
	static uint8_t buf[READ_SIZE];
	uint8_t digest[SHA256_SIZE];
	struct sha256 hash;
	uint64_t total = 0;
	ssize_t len;
	int fd, i;

	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
	if (fd < 0 && errno == EPERM)
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		die("%s", path);
	sha256_init(&hash);
	while ((len = read(fd, buf, sizeof(buf))) > 0) {
		sha256_update(&hash, buf, (size_t)len);
		total += (uint64_t)len;
	}
	if (len < 0)
		die("%s: read at %" PRIu64, path, total);
	close(fd);
	if (total != (uint64_t)st->st_size) {
		errno = EIO;
		die("%s: size %jd, but %" PRIu64 " bytes were read", path, (intmax_t)st->st_size,
		    total);
	}
	sha256_final(&hash, digest);
	printf(" sha256=");
	for (i = 0; i < SHA256_SIZE; i++)
		printf("%02x", digest[i]);
}

static void print_target(const char *path, const struct stat *st)
{
	char target[PATH_MAX + 1];
	ssize_t len = readlink(path, target, sizeof(target));

	if (len < 0)
		die("%s: symlink", path);
	printf(" -> ");
	print_bytes(target, (size_t)len);
	if (len != st->st_size)
		printf(" (size %jd)", (intmax_t)st->st_size);
}

static char kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return '-';
	case S_IFDIR: return 'd';
	case S_IFLNK: return 'l';
	case S_IFCHR: return 'c';
	case S_IFBLK: return 'b';
	case S_IFIFO: return 'p';
	case S_IFSOCK: return 's';
	default: return '?';
	}
}

static void print_numbers(const struct stat *st)
{
	bool dir = S_ISDIR(st->st_mode);

	printf(" %c%04o", kind_of(st->st_mode), (unsigned int)st->st_mode & 07777u);
	if (!options.no_owner)
		printf(" %u:%u", st->st_uid, st->st_gid);
	if (!options.no_nlink && !(dir && options.no_dir_size))
		printf(" links=%ju", (uintmax_t)st->st_nlink);
	if (!(dir && options.no_dir_size))
		printf(" size=%jd", (intmax_t)st->st_size);
	if (options.blocks)
		printf(" blocks=%jd", (intmax_t)st->st_blocks);
	if (!options.no_times)
		printf(" mtime=%jd.%09ld", (intmax_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	if (options.ctime)
		printf(" ctime=%jd.%09ld", (intmax_t)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf(" dev=%u:%u", major(st->st_rdev), minor(st->st_rdev));
}

static void print_object(const char *path, const struct stat *st)
{
	const char *first = path;

	print_bytes(path, strlen(path));
	print_numbers(st);
	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
		first = seen_first(st, path);
		printf(" same=");
		print_bytes(first, strlen(first));
	}
	if (S_ISLNK(st->st_mode))
		print_target(path, st);
	if (!options.no_xattr)
		print_xattrs(path);
	/* The contents of a file with several names are read once: the group says the rest. */
	if (S_ISREG(st->st_mode) && (first == path || strcmp(first, path) == 0))
		print_contents(path, st);
	putchar('\n');
}

/* Appends the paths below @path, sorted, to the queue. */
static void queue_children(struct names *queue, const char *path)
{
	struct names found = { 0 };
	struct dirent *entry;
	DIR *dir = opendir(path);
	size_t i;

	if (!dir)
		die("%s", path);
	while (errno = 0, entry = readdir(dir)) {
		char *child;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (strcmp(path, ".") == 0 && strcmp(entry->d_name, "lost+found") == 0)
			continue;
		if (asprintf(&child, "%s/%s", path, entry->d_name) < 0)
			die("memory");
		names_add(&found, child);
	}
	if (errno)
		die("%s: readdir", path);
	closedir(dir);
	if (found.count)
		qsort(found.name, found.count, sizeof(char *), compare_names);
	for (i = 0; i < found.count; i++) {
		/* One name listed twice is a damaged folder, which no comparison may hide. */
		if (i && strcmp(found.name[i], found.name[i - 1]) == 0) {
			errno = EUCLEAN;
			die("%s: listed twice", found.name[i]);
		}
		names_add(queue, found.name[i]);
	}
	free(found.name);
}

static void walk(void)
{
	struct names queue = { 0 };
	struct stat st;
	size_t i;

	names_add(&queue, strdup("."));
	for (i = 0; i < queue.count; i++) {
		char *path = queue.name[i];

		if (lstat(path, &st) != 0)
			die("%s", path);
		print_object(path, &st);
		if (S_ISDIR(st.st_mode))
			queue_children(&queue, path);
		free(path);
		queue.name[i] = NULL;
	}
	free(queue.name);
}

static bool take_option(const char *word)
{
	static const struct {
		const char *word;
		bool *flag;
	} table[] = {
		{ "--no-times", &options.no_times },	   { "--no-owner", &options.no_owner },
		{ "--no-dir-size", &options.no_dir_size }, { "--no-nlink", &options.no_nlink },
		{ "--no-xattr", &options.no_xattr },	   { "--ctime", &options.ctime },
		{ "--blocks", &options.blocks },
	};
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (strcmp(word, table[i].word) == 0) {
			*table[i].flag = true;
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	const char *dir = NULL;
	int i;

	for (i = 1; i < argc; i++) {
		if (take_option(argv[i]))
			continue;
		if (argv[i][0] == '-' || dir) {
			fprintf(stderr, "treewalk: unknown word: %s\n", argv[i]);
			return 2;
		}
		dir = argv[i];
	}
	if (!dir) {
		fprintf(stderr, "usage: treewalk [--no-times] [--no-owner] [--no-dir-size] "
				"[--no-nlink] [--no-xattr] [--ctime] [--blocks] DIR\n");
		return 2;
	}
	if (chdir(dir) != 0)
		die("%s", dir);
	walk();
	if (fflush(stdout) != 0)
		die("output");
	return 0;
}
