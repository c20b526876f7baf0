/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mounting through libfuse3, whose session object is used for nothing else: it parses
 * the options, opens the device and mounts, and knows how to let fusermount3 do it for
 * people who may not.
 *
 * What libfuse and fusermount3 have to say goes to stderr; here it is caught, because
 * one line of ours has to name the reason. Only one mount is attached at a time.
 */
#define FUSE_USE_VERSION 314
#include "daemon/dev/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/mountinfo.h"
#include "daemon/dev/unmounter.h"

struct mount {
	struct fuse_session *se; /* NULL: the module's device */
	int fd;			 /* the module's device, else -1 */
	char *mountpoint;
	bool mounted;	     /* libfuse, if it mounted, has something to undo */
	bool attached;	     /* and it is still there, as far as we know */
	unsigned connection; /* the kernel's number of it, for fusectl */
};

/* ---- catching words ---- */

static char caught[512];

static void catch_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)vsnprintf(caught, sizeof(caught), fmt, ap); /* a cut line is still a line */
}

/* The last line of @text, without its newline and the program's name in front. */
static const char *last_line(char *text)
{
	char *end = text + strlen(text), *start;

	while (end > text && (end[-1] == '\n' || end[-1] == ' '))
		*--end = 0;
	start = strrchr(text, '\n');
	start = start ? start + 1 : text;
	for (size_t i = 0; i < 2; i++) {
		static const char *const names[] = { "fuse: ", "fusermount3: " };

		if (!strncmp(start, names[i], strlen(names[i])))
			start += strlen(names[i]);
	}
	return start;
}

/* libfuse says less than it knows about the usual two reasons. */
static int check_device(void)
{
	const char *remedy = "load the kernel module: modprobe fuse";

	if (!access("/dev/fuse", R_OK | W_OK))
		return 0;
	if (errno == EACCES)
		remedy = "let every user open it: chmod 666 /dev/fuse";
	(void)snprintf(caught, sizeof(caught), "/dev/fuse: %s: %s", strerror(errno), remedy);
	return -EIO;
}

/* fusermount3 writes to descriptor 2: lend it a file for the time being. */
static int session_mount(struct fuse_session *se, const char *mountpoint)
{
	_cleanup_close_ int file = memfd_create("kfs-mount", MFD_CLOEXEC);
	_cleanup_close_ int saved = file < 0 ? -1 : fcntl(2, F_DUPFD_CLOEXEC, 3);
	char text[512] = "";
	ssize_t got;
	int err;

	if (saved >= 0 && dup2(file, 2) < 0)
		return -errno;
	errno = 0;
	err = fuse_session_mount(se, mountpoint);
	if (saved < 0)
		return err ? -EIO : 0;
	(void)dup2(saved, 2); /* a descriptor that was valid before */
	got = pread(file, text, sizeof(text) - 1, 0);
	if (err && got > 0)
		(void)snprintf(caught, sizeof(caught), "%s", text);
	return err ? -EIO : 0;
}

/* ---- attaching ---- */

/* A comma or backslash of a value would end or bend it. */
static char *escape_value(const char *value)
{
	char *text = malloc(2 * strlen(value) + 1), *to = text;

	if (!text)
		return NULL;
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			*to++ = '\\';
		*to++ = *value;
	}
	*to = 0;
	return text;
}

static int new_session(struct mount *m, const struct mount_opts *opts)
{
	static const struct fuse_lowlevel_ops no_ops;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	_cleanup_free_ char *source = escape_value(opts->source);
	_cleanup_free_ char *words = NULL;
	int err = -ENOMEM;

	if (!source || asprintf(&words, "-osubtype=kfs,fsname=%s%s%s", source,
				opts->options && *opts->options ? "," : "",
				opts->options ? opts->options : "") < 0)
		return -ENOMEM;
	if (!fuse_opt_add_arg(&args, "kfs") && !fuse_opt_add_arg(&args, words)) {
		m->se = fuse_session_new(&args, &no_ops, sizeof(no_ops), NULL);
		err = m->se ? 0 : -EINVAL;
	}
	fuse_opt_free_args(&args);
	return err;
}

static int attach_session(struct mount *m, const struct mount_opts *opts)
{
	int err;

	fuse_set_log_func(catch_log);
	err = check_device();
	if (!err)
		err = new_session(m, opts);
	if (!err)
		err = session_mount(m->se, m->mountpoint);
	fuse_set_log_func(NULL);
	return err;
}

/* Words of mount(8) that are flags of mount(2); the rest is for the file system. */
static unsigned long take_flag(const char *word, size_t len)
{
	static const struct {
		const char *word;
		unsigned long flag;
	} flags[] = {
		{ "ro", MS_RDONLY },	   { "nosuid", MS_NOSUID },    { "nodev", MS_NODEV },
		{ "noexec", MS_NOEXEC },   { "sync", MS_SYNCHRONOUS }, { "dirsync", MS_DIRSYNC },
		{ "noatime", MS_NOATIME },
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (strlen(flags[i].word) == len && !strncmp(flags[i].word, word, len))
			return flags[i].flag;
	return 0;
}

static bool is_default(const char *word, size_t len)
{
	return (len == 2 && !strncmp(word, "rw", 2)) || (len == 4 && !strncmp(word, "suid", 4)) ||
	       (len == 3 && !strncmp(word, "dev", 3));
}

/*
 * The kernel takes no fusermount3 for this type, and none is needed: only root may. A comma
 * inside a value is escaped for libfuse, and refused here.
 */
static int mount_device(struct mount *m, const struct mount_opts *opts)
{
	unsigned long flags = 0;
	char data[4096];
	int at = snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u,trusted",
			  m->fd, geteuid(), getegid());

	for (const char *word = opts->options; word && *word;) {
		size_t len = strcspn(word, ",");
		unsigned long flag = take_flag(word, len);

		if (memchr(word, '\\', len))
			return -EINVAL;
		flags |= flag;
		if (len && !flag && !is_default(word, len))
			at += snprintf(data + at, sizeof(data) - (size_t)at, ",%.*s", (int)len,
				       word);
		if (at >= (int)sizeof(data))
			return -E2BIG;
		word += len + (word[len] == ',');
	}
	return mount(opts->source, m->mountpoint, "fusebpf.kfs", flags, data) ? -errno : 0;
}

static const char *device_remedy(int err)
{
	if (err == -EPERM || err == -EACCES)
		return "only root may mount with it, and not inside a user namespace: mount with bpf=off";
	return "load the module: modprobe fusebpf";
}

static int attach_device(struct mount *m, const struct mount_opts *opts)
{
	int err;

	m->fd = open(opts->device, O_RDWR | O_CLOEXEC);
	err = m->fd < 0 ? -errno : mount_device(m, opts);
	if (err)
		(void)snprintf(caught, sizeof(caught), "%s: %s: %s", opts->device, strerror(-err),
			       device_remedy(err));
	return err;
}

/* Is what stands on the mount point this mount? It may have been unmounted, and another be there. */
static bool still_there(const struct mount *m)
{
	struct mountinfo_top top;

	if (!m->attached || mountinfo_find(m->mountpoint, &top))
		return false;
	return !m->connection || (top.major == 0 && top.minor == m->connection);
}

int mount_attach(const struct mount_opts *opts, struct mount **ret_mount, char *err, size_t err_len)
{
	struct mount *m = calloc(1, sizeof(*m));
	struct mountinfo_top top;
	int error = -ENOMEM;

	caught[0] = 0;
	if (!m)
		goto out;
	m->fd = -1;
	m->mountpoint = strdup(opts->mountpoint);
	if (!m->mountpoint)
		goto out;
	error = opts->device ? attach_device(m, opts) : attach_session(m, opts);
	if (error)
		goto out;
	m->mounted = true;
	m->attached = true;
	/* From the table: stat() would ask the daemon, which does not serve yet. */
	if (!mountinfo_find(m->mountpoint, &top) && top.major == 0)
		m->connection = top.minor;
	*ret_mount = m;
	return 0;
out:
	(void)snprintf(err, err_len, "%s", caught[0] ? last_line(caught) : strerror(-error));
	mount_free(m);
	return error;
}

int mount_fd(const struct mount *m)
{
	return m->se ? fuse_session_fd(m->se) : m->fd;
}

/* ---- detaching ---- */

int mount_detach(struct mount *m, bool lazy)
{
	if (!still_there(m))
		return 0;
	if (!umount2(m->mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)))
		return 0;
	if (errno == EPERM)
		return unmounter_run(m->mountpoint, lazy);
	/* Somebody else was faster. */
	return errno == EINVAL || errno == ENOENT ? 0 : -errno;
}

void mount_abort(struct mount *m)
{
	char path[64];
	_cleanup_close_ int fd = -1;

	if (still_there(m) && !umount2(m->mountpoint, UMOUNT_NOFOLLOW | MNT_FORCE | MNT_DETACH))
		return;
	if (!m->connection || !m->attached)
		return;
	(void)snprintf(path, sizeof(path), "/sys/fs/%s/connections/%u/abort",
		       m->se ? "fuse" : "fusebpf", m->connection);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "1", 1) != 1)
		log_debug("%s: %s", path, strerror(errno));
}

void mount_gone(struct mount *m)
{
	m->attached = false;
}

void mount_free(struct mount *m)
{
	if (!m)
		return;
	if (m->se) {
		/* libfuse would start fusermount3 by itself. */
		if (m->mounted && unmounter_waits() && still_there(m) &&
		    unmounter_run(m->mountpoint, true))
			log_debug("%s: stays mounted", m->mountpoint);
		/* Only frees what it holds when the mount is gone: the device tells it. */
		if (m->mounted)
			fuse_session_unmount(m->se);
		fuse_session_destroy(m->se);
	}
	if (m->fd >= 0) {
		if (still_there(m))
			(void)umount2(m->mountpoint,
				      UMOUNT_NOFOLLOW | MNT_DETACH); /* or it is gone */
		(void)close(m->fd); /* the kernel ends what it still has */
	}
	free(m->mountpoint);
	free(m);
}
