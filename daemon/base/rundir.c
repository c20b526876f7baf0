// SPDX-License-Identifier: GPL-2.0-only
/*
 * The register of this host's mounts. See rundir.h.
 *
 * An entry ID.mount holds lines "key=value"; in values, a backslash and a newline are written as \\ and \n. The control
 * socket lies beside it as ID.sock. Files in a directory others may write to are hostile: sizes are capped, links are
 * not followed, and what does not parse is no entry.
 */
#include "daemon/base/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/stat.h>

#include "daemon/base/crc.h"

#define ENTRY_SUFFIX ".mount"
#define SOCKET_SUFFIX ".sock"
/* Three paths, each byte of which may need an escape, and some numbers. */
#define ENTRY_BYTES_MAX (6 * PATH_MAX + 256)
#define ID_TRIES_MAX 64

struct rundir_entry {
	int fd; /* holds the lock */
	char id[RUNDIR_ID_LEN + 1];
	char path[PATH_MAX], socket_path[PATH_MAX];
};

static int path_make(char *path, const char *dir, const char *id, const char *suffix)
{
	int len = snprintf(path, PATH_MAX, "%s/%s%s", dir, id, suffix);

	return len < 0 || len >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- directories ---- */

enum { PLACES_MAX = 5 };

struct places {
	char dir[PLACES_MAX][PATH_MAX];
	unsigned int count;
};

static void place_add(struct places *places, const char *format, const char *parent, uid_t uid)
{
	char *dir = places->dir[places->count];
	int len;

	if (!parent || parent[0] != '/' || places->count == PLACES_MAX)
		return;
	len = snprintf(dir, PATH_MAX, format, parent, (unsigned int)uid);
	if (len > 0 && len < PATH_MAX)
		places->count++;
}

/* Where this user's mounts are registered, best first. */
static void places_own(struct places *places)
{
	uid_t uid = geteuid();

	places->count = 0;
	if (getenv("KFS_RUNTIME_DIR")) {
		place_add(places, "%s", getenv("KFS_RUNTIME_DIR"), 0);
		return;
	}
	if (uid == 0)
		place_add(places, "%s/kfs", "/run", 0);
	place_add(places, "%s/kfs", getenv("XDG_RUNTIME_DIR"), 0);
	place_add(places, "%s/%u/kfs", "/run/user", uid);
	place_add(places, "%s/kfs-%u", "/tmp", uid);
}

/* The directory exists, is ours, and nobody else can put entries there. */
static int dir_ensure(const char *dir)
{
	mode_t mode = geteuid() == 0 ? 0755 : 0700;
	struct stat st;

	if (mkdir(dir, mode) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return -EPERM;
	return access(dir, W_OK | X_OK) < 0 ? -errno : 0;
}

/* ---- registering ---- */

static int lock_entry(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

static bool is_locked(int fd)
{
	/* A read lock is enough to ask: the daemon's is a write lock, and the file is open for reading only. */
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static void write_value(FILE *file, const char *key, const char *value)
{
	fprintf(file, "%s=", key);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", file);
		else if (*value == '\\')
			fputs("\\\\", file);
		else
			fputc(*value, file);
	}
	fputc('\n', file);
}

/* Writes the entry to a file of another name, locked. */
static int entry_write(const struct rundir_what *what, const struct rundir_entry *entry,
		       const char *temporary, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	_cleanup_close_ int copy = -1;
	FILE *file;
	int ret;

	if (unlink(temporary) < 0 && errno != ENOENT)
		return -errno;
	fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	ret = lock_entry(fd);
	if (ret)
		return ret;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	file = copy < 0 ? NULL : fdopen(copy, "w");
	if (!file)
		return -errno;
	copy = -1; /* the stream closes it */
	fprintf(file, "pid=%ld\noffset=%" PRIu64 "\n", (long)getpid(), what->offset);
	write_value(file, "image", what->image);
	if (what->mountpoint)
		write_value(file, "mountpoint", what->mountpoint);
	write_value(file, "socket", entry->socket_path);
	if (fclose(file) != 0)
		return -errno;
	*ret_fd = fd;
	fd = -1;
	return 0;
}

/* True when @path is an entry whose daemon lives. */
static bool entry_alive(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && is_locked(fd);
}

static void id_make(const struct rundir_what *what, uint32_t salt, char *id)
{
	uint32_t hash = crc32c(~salt, what->image, strlen(what->image) + 1);

	hash = crc32c(hash, &what->offset, sizeof(what->offset));
	if (what->mountpoint)
		hash = crc32c(hash, what->mountpoint, strlen(what->mountpoint));
	snprintf(id, RUNDIR_ID_LEN + 1, "%08x", hash);
}

/* Gives the entry a name nobody alive has; -EEXIST: this one is taken. */
static int entry_name(struct rundir_entry *entry, const char *temporary)
{
	if (entry_alive(entry->path))
		return -EEXIST;
	(void)unlink(entry->path); /* a dead daemon's; if it stays, the next call says so */
	if (renameat2(AT_FDCWD, temporary, AT_FDCWD, entry->path, RENAME_NOREPLACE) < 0)
		return -errno;
	return 0;
}

static int register_in(const char *dir, const struct rundir_what *what, struct rundir_entry *entry)
{
	char temporary[PATH_MAX], name[32];
	uint32_t salt;
	int ret;

	ret = dir_ensure(dir);
	if (ret)
		return ret;
	snprintf(name, sizeof(name), "new-%ld", (long)getpid());
	ret = path_make(temporary, dir, name, "");
	for (salt = 0; !ret && salt < ID_TRIES_MAX; salt++) {
		id_make(what, salt, entry->id);
		ret = path_make(entry->path, dir, entry->id, ENTRY_SUFFIX);
		if (!ret)
			ret = path_make(entry->socket_path, dir, entry->id, SOCKET_SUFFIX);
		if (!ret)
			ret = entry_write(what, entry, temporary, &entry->fd);
		if (ret)
			return ret;
		ret = entry_name(entry, temporary);
		if (!ret)
			return 0;
		(void)close(entry->fd); /* only the lock of a file that goes */
		(void)unlink(temporary);
		ret = ret == -EEXIST ? 0 : ret;
	}
	return ret ? ret : -EEXIST;
}

int rundir_register(const struct rundir_what *what, struct rundir_entry **ret_entry)
{
	struct places *places = malloc(sizeof(*places));
	struct rundir_entry *entry = calloc(1, sizeof(*entry));
	int ret = -ENOMEM;
	unsigned int i;

	if (places && entry) {
		places_own(places);
		ret = -ENOENT;
		for (i = 0; i < places->count && ret; i++)
			ret = register_in(places->dir[i], what, entry);
	}
	free(places);
	if (ret) {
		free(entry);
		return ret;
	}
	*ret_entry = entry;
	return 0;
}

const char *rundir_id(const struct rundir_entry *entry)
{
	return entry->id;
}

const char *rundir_socket_path(const struct rundir_entry *entry)
{
	return entry->socket_path;
}

void rundir_unregister(struct rundir_entry *entry)
{
	if (!entry)
		return;
	/* Both may be gone with their directory; the lock's end says the rest. */
	(void)unlink(entry->socket_path);
	(void)unlink(entry->path);
	(void)close(entry->fd);
	free(entry);
}

/* ---- listing ---- */

static void info_fini(struct rundir_info *info)
{
	free(info->image);
	free(info->mountpoint);
	free(info->socket_path);
	free(info->path);
}

/* Undoes write_value() in place. */
static void unescape(char *value)
{
	char *out = value;

	for (; *value; value++) {
		if (value[0] == '\\' && value[1]) {
			value++;
			*out++ = *value == 'n' ? '\n' : *value;
		} else {
			*out++ = *value;
		}
	}
	*out = '\0';
}

static bool number_parse(const char *text, uint64_t max, uint64_t *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return !errno && !*end && *ret_number <= max;
}

static bool take_line(struct rundir_info *info, char *line)
{
	char *value = strchr(line, '=');
	char **text = NULL;
	uint64_t number;

	if (!value)
		return false;
	*value++ = '\0';
	if (strcmp(line, "pid") == 0) {
		if (!number_parse(value, INT_MAX, &number))
			return false;
		info->pid = (pid_t)number;
		return true;
	}
	if (strcmp(line, "offset") == 0)
		return number_parse(value, UINT64_MAX, &info->offset);
	if (strcmp(line, "image") == 0)
		text = &info->image;
	else if (strcmp(line, "mountpoint") == 0)
		text = &info->mountpoint;
	else if (strcmp(line, "socket") == 0)
		text = &info->socket_path;
	else
		return true; /* of a newer daemon */
	unescape(value);
	if (*text || value[0] != '/')
		return false;
	*text = strdup(value);
	return *text != NULL;
}

static bool take_lines(struct rundir_info *info, char *text)
{
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n")))
		if (*line && !take_line(info, line))
			return false;
	return info->pid > 0 && info->image && info->socket_path;
}

/* Reads ID.mount; false when it is no entry. */
static bool entry_read(const char *dir, const char *id, struct rundir_info *info)
{
	char path[PATH_MAX];
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	struct stat st;
	ssize_t len;

	if (path_make(path, dir, id, ENTRY_SUFFIX))
		return false;
	/* Non-blocking: a fifo put here must not hang the reader. */
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > ENTRY_BYTES_MAX)
		return false;
	text = malloc((size_t)st.st_size + 1);
	len = text ? read(fd, text, (size_t)st.st_size) : -1;
	if (len < 0)
		return false;
	text[len] = '\0';
	memcpy(info->id, id, sizeof(info->id));
	info->owner_uid = st.st_uid;
	info->alive = is_locked(fd);
	info->path = strdup(path);
	return info->path && take_lines(info, text);
}

/* "0123abcd.mount" -> the id. */
static bool id_of(const char *name, char *ret_id)
{
	if (strspn(name, "0123456789abcdef") != RUNDIR_ID_LEN ||
	    strcmp(name + RUNDIR_ID_LEN, ENTRY_SUFFIX) != 0)
		return false;
	memcpy(ret_id, name, RUNDIR_ID_LEN);
	ret_id[RUNDIR_ID_LEN] = '\0';
	return true;
}

static bool listed(const struct rundir_list *list, const char *path)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		if (strcmp(list->entries[i].path, path) == 0)
			return true;
	return false;
}

static void list_dir(struct rundir_list *list, const char *dir)
{
	DIR *stream = opendir(dir);
	struct dirent *d;

	if (!stream)
		return;
	while (list->count < RUNDIR_ENTRIES_MAX && (d = readdir(stream))) {
		struct rundir_info info = { .pid = 0 };
		char id[RUNDIR_ID_LEN + 1];

		if (!id_of(d->d_name, id))
			continue;
		if (entry_read(dir, id, &info) && !listed(list, info.path))
			list->entries[list->count++] = info;
		else
			info_fini(&info);
	}
	closedir(stream);
}

/* DIR/NAME/@below for each NAME that begins with @prefix. */
static void list_below(struct rundir_list *list, const char *dir, const char *prefix,
		       const char *below)
{
	DIR *stream = opendir(dir);
	struct dirent *d;

	if (!stream)
		return;
	while ((d = readdir(stream))) {
		char path[PATH_MAX];

		if (d->d_name[0] == '.' || strncmp(d->d_name, prefix, strlen(prefix)) != 0)
			continue;
		if (path_make(path, dir, d->d_name, below) == 0)
			list_dir(list, path);
	}
	closedir(stream);
}

static int by_mountpoint(const void *a, const void *b)
{
	const struct rundir_info *left = a, *right = b;
	int order = strcmp(left->mountpoint ? left->mountpoint : "",
			   right->mountpoint ? right->mountpoint : "");

	return order ? order : strcmp(left->path, right->path);
}

int rundir_list(struct rundir_list *ret_list)
{
	struct rundir_list list = { .entries = calloc(RUNDIR_ENTRIES_MAX, sizeof(*list.entries)) };
	struct places *places = malloc(sizeof(*places));
	unsigned int i;

	if (!list.entries || !places) {
		free(list.entries);
		free(places);
		return -ENOMEM;
	}
	places_own(places);
	for (i = 0; i < places->count; i++)
		list_dir(&list, places->dir[i]);
	free(places);
	if (!getenv("KFS_RUNTIME_DIR")) {
		list_dir(&list, "/run/kfs");
		if (geteuid() == 0) {
			list_below(&list, "/run/user", "", "/kfs");
			list_below(&list, "/tmp", "kfs-", "");
		}
	}
	qsort(list.entries, list.count, sizeof(*list.entries), by_mountpoint);
	*ret_list = list;
	return 0;
}

void rundir_list_fini(struct rundir_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		info_fini(&list->entries[i]);
	free(list->entries);
	*list = (struct rundir_list){ .entries = NULL };
}
