/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether somebody listens at a path is asked by connecting. Two daemons that start at the same moment with the same
 * path are kept apart by the image, which only one of them gets.
 */
#include "vhost/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "vhost/vhost.h"

/* Nobody answers at a path that is a socket: it is in the way. */
static int clear_path(const struct sockaddr_un *addr)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(addr->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	if (!connect(fd, (const struct sockaddr *)(const void *)addr, sizeof(*addr)) ||
	    errno != ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(addr->sun_path) ? -errno : 0;
}

/* Its folder is whoever's who named it: nobody else replaces the socket between these calls. */
static int give_to_group(const char *path, gid_t group)
{
	if (group == LISTEN_NO_GROUP)
		return 0;
	if (lchown(path, (uid_t)-1, group))
		return -errno;
	return chmod(path, 0660) ? -errno : 0;
}

int listen_open(const char *path, gid_t group, int *ret_fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = -1;
	int err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path));
	err = clear_path(&addr);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The path gets this mode when it is made. */
	if (fd < 0 || fchmod(fd, 0600))
		return -errno;
	if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	err = give_to_group(path, group);
	if (!err && listen(fd, VHOST_GUESTS_MAX))
		err = -errno;
	if (err) {
		(void)unlink(path); /* ours, and of no use */
		return err;
	}
	*ret_fd = fd;
	fd = -1;
	return 0;
}

static int socket_option(int fd, int option, int *ret_value)
{
	socklen_t len = sizeof(*ret_value);

	return getsockopt(fd, SOL_SOCKET, option, ret_value, &len) ? -errno : 0;
}

int listen_check(int fd, bool *ret_listens)
{
	int listening = 0, domain = 0, type = 0, flags;
	struct sockaddr_un peer;
	socklen_t len = sizeof(peer);
	int err = socket_option(fd, SO_ACCEPTCONN, &listening);

	if (!err)
		err = socket_option(fd, SO_DOMAIN, &domain);
	if (!err)
		err = socket_option(fd, SO_TYPE, &type);
	if (err)
		return err;
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return -EINVAL;
	if (!listening && getpeername(fd, (struct sockaddr *)&peer, &len))
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
		return -errno;
	*ret_listens = listening;
	return 0;
}

int listen_group(const char *name, gid_t *ret_group)
{
	const struct group *group = getgrnam(name);
	unsigned long number;
	char *end;

	if (group) {
		*ret_group = group->gr_gid;
		return 0;
	}
	errno = 0;
	number = strtoul(name, &end, 10);
	if (*name < '0' || *name > '9' || *end || errno || number >= LISTEN_NO_GROUP)
		return -ENOENT;
	*ret_group = (gid_t)number;
	return 0;
}

void listen_join(const char *group)
{
	gid_t groups[NGROUPS_MAX + 1], gid;
	int count = getgroups(NGROUPS_MAX, groups);

	if (count < 0 || listen_group(group, &gid))
		return;
	groups[count] = gid;
	(void)setgroups((size_t)count + 1, groups); /* whether it was enough shows later */
}

const char *listen_why(int error)
{
	switch (error) {
	case -EADDRINUSE: return "another program listens there: end it, or name another socket";
	case -EEXIST: return "there is a file that is no socket: remove it, or name another path";
	case -ENAMETOOLONG: return "the path is too long for a socket: name a shorter one";
	case -EPERM: return "it cannot be given to that group: be a member, or root";
	case -ENOTSOCK:
	case -EINVAL: return "not a listening Unix socket";
	default: return strerrordesc_np(-error);
	}
}
