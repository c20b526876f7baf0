/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/guests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/fs/fs.h"
#include "daemon/options.h"
#include "daemon/proto/proto.h"
#include "vhost/vhost.h"

#define GUEST_TIMEOUT_S 1.0
/* virtiofsd's. */
#define ALONE_TIMEOUT_S 86400.0
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

/* ---- the words ---- */

/* The first word that is only about guests; NULL: none. */
static const char *first_word(const struct options *o)
{
	return o->tag			   ? "tag" :
	       o->guests_readonly != UNSET ? "guests" :
	       o->vhost_queues		   ? "vhost_queues" :
	       o->vhost_dir		   ? "vhost_dir" :
	       o->guests_max		   ? "guests_max" :
	       o->guest_cache != UNSET	   ? "guest_cache" :
	       o->guest_writeback != UNSET ? "guest_writeback" :
					     NULL;
}

/* Beside one guest nobody changes anything: neither the host nor another guest. */
static bool is_alone(const struct options *o)
{
	return o->no_mount && (o->guests_max == 1 || !options_guests_write(o));
}

bool guests_words_fit(const struct options *o, char *why, size_t why_len)
{
	const char *word = first_word(o);

	*why = 0;
	if (!o->vhost && word)
		(void)snprintf(why, why_len, "%s: needs vhost=SOCKET", word);
	else if (o->guest_writeback == ON && !options_guests_write(o))
		(void)snprintf(why, why_len, "guest_writeback: guests only read: leave it out");
	else if (o->guest_writeback == ON && o->guest_cache == PROTO_CACHE_NEVER)
		(void)snprintf(why, why_len,
			       "guest_writeback: contradicts guest_cache=never: leave one out");
	else if (o->guest_writeback == ON && !is_alone(o))
		(void)snprintf(why, why_len,
			       "guest_writeback: others would not see its writes, and lose theirs: "
			       "say --no-mount and guests_max=1");
	return !*why;
}

/* ---- the shared directory ---- */

struct found_dir {
	uint64_t nodeid;
	uint32_t mode;
};

static int note_found(void *arg, const struct fs_peek *peek)
{
	struct found_dir *found = arg;

	found->nodeid = peek->nodeid;
	found->mode = peek->attr.mode;
	return 0;
}

/* Its nodeid: the directory stays the shared one wherever it is moved. */
static int find_dir(struct fs *fs, const char *path, uint64_t *ret_nodeid, char *err,
		    size_t err_len)
{
	struct found_dir found = { 0 };
	int error = fs_peek(fs, path, note_found, &found);

	if (!error && !found.nodeid)
		error = -ENOENT;
	if (!error && !S_ISDIR(found.mode))
		error = -ENOTDIR;
	if (error == -EINVAL)
		(void)snprintf(err, err_len, "vhost_dir=%s: \".\" and \"..\" are not followed",
			       path);
	else if (error)
		(void)snprintf(err, err_len,
			       "vhost_dir=%s: %s in the image: name a directory of it", path,
			       strerror(-error));
	else
		*ret_nodeid = found.nodeid;
	return error;
}

/* ---- guests ---- */

static double names_valid_s(const struct options *o, enum proto_cache cache, bool readonly)
{
	bool long_ones = cache == PROTO_CACHE_METADATA || cache == PROTO_CACHE_ALWAYS;

	if (cache == PROTO_CACHE_NEVER)
		return 0;
	return long_ones && (readonly || is_alone(o)) ? ALONE_TIMEOUT_S : GUEST_TIMEOUT_S;
}

int guests_start(struct fs *fs, struct inval_bus *bus, const struct options *o, bool readonly,
		 struct proto_session *host, struct vhost **ret_vhost, char *err, size_t err_len)
{
	enum proto_cache cache = o->guest_cache == UNSET ? PROTO_CACHE_AUTO :
							   (enum proto_cache)o->guest_cache;
	double valid_s = names_valid_s(o, cache, readonly);
	struct fs_session_opts session = { .name = "guest",
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
		.cache = cache,
		.guest_writeback = o->guest_writeback == ON,
		.entry_timeout = valid_s,
		.attr_timeout = valid_s,
		/* A name that appears is seen at once. */
		.negative_timeout = valid_s > GUEST_TIMEOUT_S ? valid_s : 0,
		.session = &session,
	};
	struct vhost_opts opts = {
		.fd = -1,
		.tag = o->tag ? o->tag : "kfs",
		.queues = o->vhost_queues ? (uint32_t)o->vhost_queues : 1,
		.guests_max = o->guests_max ? (uint32_t)o->guests_max : VHOST_GUESTS_MAX,
		.proto = &proto,
		.host = host,
	};

	*ret_vhost = NULL;
	if (!o->vhost)
		return 0;
	if (o->vhost_dir && find_dir(fs, o->vhost_dir, &session.root_nodeid, err, err_len))
		return -EINVAL;
	opts.fd = inherited(o->vhost);
	if (opts.fd == -2) {
		(void)snprintf(err, err_len, "vhost=%s: not a descriptor: say fd:N", o->vhost);
		return -EINVAL;
	}
	opts.socket = opts.fd < 0 ? o->vhost : NULL;
	return vhost_start(fs, bus, &opts, ret_vhost, err, err_len);
}
