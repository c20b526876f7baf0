/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/guests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/fs/fs.h"
#include "daemon/options.h"
#include "daemon/proto/proto.h"
#include "vhost/vhost.h"

#define GUEST_TIMEOUT_S 1.0
/* A million names known to one guest cost 24 MB at most; a kernel with more forgets some first. */
#define GUEST_NODES_MAX (1u << 20)

/* "fd:N"; -1: it is a path. */
static int inherited(const char *text)
{
	char *end;
	long fd;

	if (strncmp(text, "fd:", 3) != 0)
		return -1;
	fd = strtol(text + 3, &end, 10);
	return end == text + 3 || *end || fd < 0 || fd > 1 << 20 ? -2 : (int)fd;
}

int guests_start(struct fs *fs, struct inval_bus *bus, const struct options *o, bool readonly,
		 struct proto_session *host, struct vhost **ret_vhost, char *err, size_t err_len)
{
	static const struct fs_session_opts session = { .name = "guest",
							.shared = true,
							.confined = true,
							.root_nodeid = 1,
							.nodes_max = GUEST_NODES_MAX };
	struct proto_opts proto = {
		.share = true,
		.guest = true,
		.host = host,
		.readonly = readonly || !options_guests_write(o),
		.posix_acl = o->acl != OFF,
		.dirsync = o->dirsync == ON || o->sync == ON,
		.no_readdirplus = o->readdirplus == OFF,
		.entry_timeout = GUEST_TIMEOUT_S,
		.attr_timeout = GUEST_TIMEOUT_S,
		.negative_timeout = 0,
		.session = &session,
	};
	struct vhost_opts opts = {
		.fd = -1,
		.tag = o->tag ? o->tag : "kfs",
		.queues = o->vhost_queues ? (uint32_t)o->vhost_queues : 1,
		.proto = &proto,
		.host = host,
	};

	*ret_vhost = NULL;
	if (!o->vhost)
		return 0;
	opts.fd = inherited(o->vhost);
	if (opts.fd == -2) {
		(void)snprintf(err, err_len, "vhost=%s: not a descriptor: say fd:N", o->vhost);
		return -EINVAL;
	}
	opts.socket = opts.fd < 0 ? o->vhost : NULL;
	return vhost_start(fs, bus, &opts, ret_vhost, err, err_len);
}
