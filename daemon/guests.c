/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/guests.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/lock.h"
#include "daemon/base/log.h"
#include "daemon/block/bdev.h"
#include "daemon/ctl/ctl.h"
#include "daemon/fs/fs.h"
#include "daemon/guest_words.h"
#include "daemon/options.h"
#include "daemon/proto/proto.h"
#include "daemon/store/store.h"
#include "include/kfs/ctl_proto.h"
#include "vhost/listen.h"
#include "vhost/vhost.h"

/* A million names known to one guest cost 24 MB at most; a kernel with more forgets some first. */
#define GUEST_NODES_MAX (1u << 20)
/* 100 bytes each. */
#define GUEST_LOCKS_MAX (1u << 16)

#define GUESTS_SHARES_MAX 64

static_assert(VHOST_LIFE_GONE == CTL_SHARE_GONE && VHOST_LIFE_STOPPED == CTL_SHARE_STOPPED,
	      "words of the control protocol");

struct share {
	bool taken;	     /* [lock] in use, or about to be */
	struct vhost *vhost; /* [lock] NULL: not yet */
};

struct guests {
	struct guests_env env;	 /* [written once] */
	struct vhost *fixed;	 /* [written once] vhost=; NULL: none */
	_Atomic uint32_t served; /* [atomic] sockets that have not ended */
	struct mutex lock;	 /* LOCK_LEAF */
	struct share shares[GUESTS_SHARES_MAX];
};

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

/* Without it guests are served as well, at a system call for each read. */
static void map_image(struct fs *fs)
{
	int err = fs ? bdev_map(fs_store(fs)->bdev) : 0;

	if (err)
		log_info(
			"the image is not mapped into memory: %s: guests' reads go by system calls",
			strerror(-err));
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

/* Its nodeid: the directory stays the shared one wherever it is moved. -EINVAL: "." and ".." are not followed. */
static int find_dir(struct fs *fs, const char *path, uint64_t *ret_nodeid)
{
	struct found_dir found = { 0 };
	int error = fs_peek(fs, path, note_found, &found);

	if (!error && !found.nodeid)
		error = -ENOENT;
	if (!error && !S_ISDIR(found.mode))
		error = -ENOTDIR;
	if (!error)
		*ret_nodeid = found.nodeid;
	return error;
}

static const char *dir_error(int error)
{
	return error == -EINVAL ? "\".\" and \"..\" are not followed" : strerror(-error);
}

/* ---- guests ---- */

/* What a guest sees and does, whichever socket it comes through. */
struct guest {
	struct fs_session_opts session;
	struct proto_opts proto;
};

static void guest_init(struct guest *guest, const struct guests_env *env, enum proto_cache cache,
		       bool readonly)
{
	const struct options *o = env->o;
	double valid_s = guest_words_valid_s(o, cache, env->readonly);

	guest->session = (struct fs_session_opts){
		.name = "guest",
		.shared = true,
		.confined = true,
		.root_nodeid = 1,
		.nodes_max = o->guest_nodes ? o->guest_nodes : GUEST_NODES_MAX,
		.locks_max = o->guest_locks ? (uint32_t)o->guest_locks : GUEST_LOCKS_MAX,
	};
	guest->proto = (struct proto_opts){
		.share = true,
		.guest = true,
		.host = env->host,
		.readonly = env->readonly || readonly,
		.posix_acl = o->acl != OFF && o->guest_acl != OFF && o->guest_xattr != OFF,
		.no_xattr = o->guest_xattr == OFF,
		.dirsync = o->dirsync == ON || o->sync == ON,
		.no_readdirplus = o->readdirplus == OFF,
		.cache = cache,
		.entry_timeout = valid_s,
		.attr_timeout = valid_s,
		/* A name that appears is seen at once. */
		.negative_timeout = valid_s > GUEST_WORDS_TIMEOUT_S ? valid_s : 0,
		.session = &guest->session,
	};
}

/* With once: the last one has gone, and there is no mount to go on for. */
static void on_end(void *arg)
{
	struct guests *g = arg;

	if (atomic_fetch_sub(&g->served, 1) == 1 && g->env.o->vhost_once == ON)
		(void)kill(getpid(), SIGTERM); /* as if somebody had ended us: it is us */
}

static struct vhost_opts vhost_opts(struct guests *g, const struct proto_opts *proto)
{
	const struct options *o = g->env.o;

	return (struct vhost_opts){
		.group = LISTEN_NO_GROUP,
		.fd = -1,
		.life_fd = -1,
		.tag = guest_words_tag(o),
		.queues = o->vhost_queues ? (uint32_t)o->vhost_queues : 1,
		.guests_max = o->guests_max ? (uint32_t)o->guests_max : VHOST_GUESTS_MAX,
		.window_size = o->dax_window,
		.poll_us = (uint32_t)o->vhost_poll_us,
		.proto = proto,
		.host = g->env.host,
		.image = g->env.image,
		.on_end = on_end,
		.on_end_arg = g,
	};
}

/* The socket of the command line. */
static int serve_fixed(struct guests *g, char *err, size_t err_len)
{
	const struct options *o = g->env.o;
	struct vhost_opts opts;
	struct guest guest;
	const char *why;
	int ret = 0;

	guest_init(&guest, &g->env, guest_words_cache(o), !options_guests_write(o));
	guest.proto.guest_writeback = o->guest_writeback == ON;
	if (!guest_words_maps(o, &guest.proto, err, err_len))
		return -EINVAL;
	if (o->vhost_dir)
		ret = find_dir(g->env.fs, o->vhost_dir, &guest.session.root_nodeid);
	if (ret) {
		(void)snprintf(err, err_len, "vhost_dir=%s: %s: name a directory of the image",
			       o->vhost_dir, dir_error(ret));
		return ret;
	}
	opts = vhost_opts(g, &guest.proto);
	opts.fd = inherited(o->vhost);
	if (opts.fd == -2) {
		(void)snprintf(err, err_len, "vhost=%s: not a descriptor: say fd:N", o->vhost);
		return -EINVAL;
	}
	why = o->dax_window ? fs_dax_enable(g->env.fs) : NULL;
	if (why) {
		(void)snprintf(err, err_len, "dax_window: %s", why);
		return -EINVAL;
	}
	opts.socket = opts.fd < 0 ? o->vhost : NULL;
	opts.once = o->vhost_once == ON;
	if (o->socket_group && listen_group(o->socket_group, &opts.group)) {
		(void)snprintf(err, err_len, "socket_group=%s: there is no such group",
			       o->socket_group);
		return -ENOENT;
	}
	map_image(g->env.fs);
	atomic_fetch_add(&g->served, 1);
	ret = vhost_start(g->env.fs, g->env.bus, &opts, &g->fixed, err, err_len);
	if (ret)
		atomic_fetch_sub(&g->served, 1);
	return ret;
}

int guests_start(const struct guests_env *env, struct guests **ret_guests, char *err,
		 size_t err_len)
{
	struct guests *g = calloc(1, sizeof(*g));
	int ret;

	if (!g) {
		(void)snprintf(err, err_len, "guests: out of memory");
		return -ENOMEM;
	}
	g->env = *env;
	mutex_init(&g->lock, LOCK_LEAF);
	ret = env->o->vhost ? serve_fixed(g, err, err_len) : 0;
	if (ret)
		free(g);
	else
		*ret_guests = g;
	return ret;
}

void guests_set_fs(struct guests *g, struct fs *fs)
{
	g->env.fs = fs;
	map_image(fs);
}

void guests_stop(struct guests *g)
{
	if (!g)
		return;
	/* Nobody adds one any more: the control server has ended. */
	for (size_t i = 0; i < GUESTS_SHARES_MAX; i++)
		vhost_stop(g->shares[i].vhost);
	vhost_stop(g->fixed);
	free(g);
}

/* ---- shares that come and go ---- */

/* Frees what has ended; a slot of the caller's, or NULL: all are in use. */
static struct share *take_slot(struct guests *g)
{
	struct vhost *over[GUESTS_SHARES_MAX];
	struct share *slot = NULL;
	size_t count = 0;

	mutex_lock(&g->lock);
	for (size_t i = 0; i < GUESTS_SHARES_MAX; i++) {
		struct share *s = &g->shares[i];

		if (s->vhost && vhost_ended(s->vhost)) {
			over[count++] = s->vhost;
			*s = (struct share){ .taken = false };
		}
		if (!slot && !s->taken)
			slot = s;
	}
	if (slot)
		slot->taken = true;
	mutex_unlock(&g->lock);
	for (size_t i = 0; i < count; i++)
		vhost_stop(over[i]);
	return slot;
}

static void settle(struct guests *g, struct share *slot, struct vhost *v)
{
	mutex_lock(&g->lock);
	slot->vhost = v;
	slot->taken = v;
	mutex_unlock(&g->lock);
}

PRINTF_LIKE(3, 4)
static int refuse(struct ctl_shared *ret, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(ret->why, sizeof(ret->why), fmt, ap); /* cut lines stay lines */
	va_end(ap);
	return error;
}

static int share_root(const struct guests *g, const struct ctl_share *share, struct guest *guest,
		      struct ctl_shared *ret)
{
	int error = *share->path ? find_dir(g->env.fs, share->path, &guest->session.root_nodeid) :
				   0;

	return error ? refuse(ret, error, "%s: %s: name a directory of the filesystem", share->path,
			      dir_error(error)) :
		       0;
}

static int share_cache(const struct ctl_share *share, enum proto_cache *ret_cache,
		       struct ctl_shared *ret)
{
	if (guest_words_cache_named(share->cache ? share->cache : "auto", ret_cache))
		return 0;
	return refuse(ret, -EINVAL, "cache=%s: say never, auto, metadata or always", share->cache);
}

/* DESIGN.md decision 5. */
static int share_writes(const struct guests *g, const struct ctl_share *share,
			struct ctl_shared *ret)
{
	const struct options *o = g->env.o;

	if (o->guest_writeback == ON || (o->vhost && !share->readonly && guest_words_alone(o)))
		return refuse(ret, -EBUSY,
			      "the guest of %s counts on nobody else's changes: start kfs without "
			      "guest_writeback, guests=ro and guests_max=1",
			      o->vhost);
	if (share->readonly || g->env.readonly || !g->env.host || o->share == ON)
		return 0;
	return refuse(ret, -EROFS,
		      "a guest that writes needs a mount with share=on beside it: mount with -o "
		      "share=on, or share with --readonly");
}

static int share_tag(const struct ctl_share *share, struct ctl_shared *ret)
{
	if (!share->tag || (*share->tag && strlen(share->tag) <= VHOST_TAG_MAX))
		return 0;
	return refuse(ret, -EINVAL, "tag %s: not of 1 to %d bytes", share->tag, VHOST_TAG_MAX);
}

/* The other end is who asked: nothing else than a socket tells when it has gone. */
static int share_life(const struct ctl_share *share, struct ctl_shared *ret)
{
	bool listens = true;

	if (!listen_check(share->life_fd, &listens) && !listens)
		return 0;
	return refuse(ret, -EINVAL, "the second descriptor is not a connected Unix socket");
}

static int serve_share(struct guests *g, const struct ctl_share *share, struct guest *guest,
		       struct share *slot, struct ctl_shared *ret)
{
	struct vhost_opts opts = vhost_opts(g, &guest->proto);
	struct vhost *v = NULL;
	int err;

	guest->proto.no_readdirplus |= share->no_readdirplus;
	(void)guest_words_maps(g->env.o, &guest->proto, ret->why,
			       sizeof(ret->why)); /* as for vhost= */
	opts.fd = share->socket_fd;
	opts.life_fd = share->life_fd;
	/* What a guest has mapped nobody keeps it from writing. */
	if (guest->proto.readonly)
		opts.window_size = 0;
	opts.once = true;
	if (share->tag)
		opts.tag = share->tag;
	map_image(g->env.fs);
	atomic_fetch_add(&g->served, 1);
	err = vhost_start(g->env.fs, g->env.bus, &opts, &v, ret->why, sizeof(ret->why));
	if (err)
		atomic_fetch_sub(&g->served, 1);
	settle(g, slot, v);
	return err;
}

int guests_share_add(void *arg, const struct ctl_share *share, struct ctl_shared *ret_shared)
{
	struct guests *g = arg;
	struct share *slot = NULL;
	enum proto_cache cache = PROTO_CACHE_AUTO;
	struct guest guest;
	int err = share_cache(share, &cache, ret_shared);

	if (!err) {
		guest_init(&guest, &g->env, cache, share->readonly);
		err = share_root(g, share, &guest, ret_shared);
	}
	if (!err)
		err = share_tag(share, ret_shared);
	if (!err)
		err = share_writes(g, share, ret_shared);
	if (!err)
		err = share_life(share, ret_shared);
	if (!err) {
		slot = take_slot(g);
		if (!slot)
			err = refuse(ret_shared, -EBUSY, "%d guests are served already",
				     GUESTS_SHARES_MAX);
	}
	if (slot)
		return serve_share(g, share, &guest, slot, ret_shared);
	(void)close(share->socket_fd); /* nothing was said on it */
	(void)close(share->life_fd);
	return err;
}
