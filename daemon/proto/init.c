/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * INIT: what this session and the kernel agree on, once and for all.
 *
 * Two profiles, because the kernel lets a mount cache either much or coherently.
 * share=off: nobody else changes the store behind this kernel, so it may keep dirty
 * pages, sizes and times itself (writeback cache), open without asking, lock by itself
 * and believe everything for very long. share=on: written through, opens and locks come
 * and believe everything for very long. share=on: written through, opens and locks come
 * here, page caches are dropped only when the notifier says so. A guest's kernel has no way
 * to be notified: it drops a file's pages at open (enum proto_cache), and when size or mtime have changed.
 *
 * Never both: zero-message open and FUSE_ATOMIC_O_TRUNC. The kernel would leave the
 * truncation to an OPEN that is never sent, and the old contents would stay.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"

/* Nobody changes anything unannounced: a year is "until told otherwise". */
#define TIMEOUT_DEFAULT_S 31536000.0
/* The kernel adds it to jiffies; larger values would gain nothing and could wrap. */
#define TIMEOUT_MAX_S 1e9

/* Enough asynchronous requests to keep every worker and the disk busy. */
#define BACKGROUND_DEFAULT 64
#define BACKGROUND_MAX 65535

struct wire_timeout wire_timeout(double seconds)
{
	double s = seconds < 0 ? 0 : seconds > TIMEOUT_MAX_S ? TIMEOUT_MAX_S : seconds;
	uint64_t whole = (uint64_t)s; /* s >= 0: cut is rounded down */

	return (struct wire_timeout){ .s = whole, .ns = (uint32_t)((s - (double)whole) * 1e9) };
}

static struct wire_timeout timeout_or_default(double seconds)
{
	return wire_timeout(seconds < 0 ? TIMEOUT_DEFAULT_S : seconds);
}

/* The bits this session wants; the kernel's offer is the other half. */
static uint64_t wanted_flags(const struct proto_opts *opts)
{
	uint64_t flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_EXPORT_SUPPORT |
			 FUSE_HAS_IOCTL_DIR | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
			 FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2 |
			 FUSE_SETXATTR_EXT | FUSE_INIT_EXT | FUSE_CREATE_SUPP_GROUP |
			 FUSE_DIRECT_IO_ALLOW_MMAP;

	if (opts->posix_acl)
		flags |= FUSE_POSIX_ACL | FUSE_DONT_MASK;
	if (opts->uring)
		flags |= FUSE_OVER_IO_URING;
	if (!opts->no_readdirplus)
		flags |= FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;
	if (opts->share)
		return flags | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_ATOMIC_O_TRUNC |
		       (opts->guest ? FUSE_AUTO_INVAL_DATA : FUSE_EXPLICIT_INVAL_DATA) |
		       (opts->guest_writeback ? FUSE_WRITEBACK_CACHE : 0);
	flags |= FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT;
	if (!opts->no_writeback)
		flags |= FUSE_WRITEBACK_CACHE;
	return flags;
}

static uint64_t offered_flags(struct op *op, struct fuse_init_in *in)
{
	uint64_t offer;
	uint8_t *bytes = (uint8_t *)in;
	size_t more = MIN(op->in.left, sizeof(*in) - 16);

	memset(in, 0, sizeof(*in));
	memcpy(bytes, op->arg.bytes, 16);
	(void)cursor_copy(&op->in, bytes + 16, more); /* cannot fail: at most what is left */
	offer = in->flags;
	if (in->flags & FUSE_INIT_EXT)
		offer |= (uint64_t)in->flags2 << 32;
	return offer;
}

static int open_session(struct proto_session *s)
{
	struct fs_session_opts opts = s->fs_opts;

	opts.writeback = s->writeback;
	opts.shared = s->opts.share;
	opts.readonly = opts.readonly || s->opts.readonly;
	return fs_session_open(s->fs, &opts, &s->fs_session);
}

/*
 * A kernel offers to be told an alignment if its device has a window. Whether its files are
 * mapped always or where we say so is its mount's decision.
 */
static uint64_t window_flags(const struct proto_session *s, uint64_t offer)
{
	if (!s->ops->window || !(offer & FUSE_MAP_ALIGNMENT) || !s->ops->window(s->transport))
		return 0;
	return FUSE_MAP_ALIGNMENT | FUSE_HAS_INODE_DAX;
}

static void agree(struct proto_session *s, uint32_t minor, uint64_t offer)
{
	uint64_t flags = (wanted_flags(&s->opts) | window_flags(s, offer)) & offer;

	s->init_flags = flags;
	s->major = WIRE_MAJOR;
	s->minor = MIN(minor, WIRE_MINOR_MAX);
	s->writeback = flags & FUSE_WRITEBACK_CACHE;
	s->setxattr_ext = flags & FUSE_SETXATTR_EXT;
	s->window = flags & FUSE_MAP_ALIGNMENT;
	s->entry_timeout = timeout_or_default(s->opts.entry_timeout);
	s->attr_timeout = timeout_or_default(s->opts.attr_timeout);
	s->negative_timeout = timeout_or_default(s->opts.negative_timeout);
}

static void fill_reply(const struct proto_session *s, const struct fuse_init_in *in,
		       struct fuse_init_out *out)
{
	uint32_t background = s->opts.max_background ? s->opts.max_background : BACKGROUND_DEFAULT;
	uint32_t congestion = s->opts.congestion_threshold;
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);

	background = MIN(background, (uint32_t)BACKGROUND_MAX);
	if (!congestion || congestion > background)
		congestion = background - background / 4;
	memset(out, 0, sizeof(*out));
	out->major = WIRE_MAJOR;
	out->minor = WIRE_MINOR_MAX;
	out->max_readahead = in->max_readahead;
	if (s->opts.max_readahead)
		out->max_readahead = MIN(in->max_readahead, s->opts.max_readahead);
	out->flags = (uint32_t)s->init_flags;
	out->flags2 = (uint32_t)(s->init_flags >> 32);
	out->max_background = (uint16_t)background;
	out->congestion_threshold = (uint16_t)congestion;
	out->max_write = s->max_write;
	out->time_gran = 1;
	out->max_pages = (uint16_t)DIV_ROUND_UP(s->max_write, page);
	if (s->window)
		out->map_alignment = (uint16_t)__builtin_ctz(page);
}

static int negotiate(struct op *op, struct fuse_init_out *out)
{
	struct proto_session *s = op->s;
	struct fuse_init_in in;
	uint64_t offer = offered_flags(op, &in);
	int err;

	s->major = in.major;
	s->minor = in.minor;
	if (in.major < WIRE_MAJOR || (in.major == WIRE_MAJOR && in.minor < WIRE_MINOR_MIN)) {
		/* A guest may ask as often as it likes. */
		log_at_(s->opts.guest ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR,
			"the kernel speaks FUSE protocol %u.%u, kfs needs %u.%u: "
			"use Linux 5.4 or newer",
			in.major, in.minor, WIRE_MAJOR, WIRE_MINOR_MIN);
		return -EPROTO;
	}
	/* A newer major: say ours, the kernel asks again in it. */
	if (in.major > WIRE_MAJOR) {
		memset(out, 0, sizeof(*out));
		out->major = WIRE_MAJOR;
		out->minor = WIRE_MINOR_MAX;
		return 0;
	}
	agree(s, in.minor, offer);
	err = open_session(s);
	if (err) {
		log_at_(s->opts.guest ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR,
			"cannot open a session: %s", strerror(-err));
		return err;
	}
	if (s->opts.drains && s->notifier)
		notifier_drains(s->notifier);
	fill_reply(s, &in, out);
	log_info("%s: FUSE protocol %u.%u, profile share=%s, flags %#" PRIx64, s->ops->name,
		 s->major, s->minor, s->opts.share ? "on" : "off", s->init_flags);
	atomic_store(&s->ready, true);
	return 0;
}

int init_adopt(struct proto_session *s, const struct proto_agreed *agreed)
{
	int err;

	if (agreed->minor < WIRE_MINOR_MIN || agreed->minor > WIRE_MINOR_MAX ||
	    agreed->init_flags & ~wanted_flags(&s->opts))
		return -EINVAL;
	if (atomic_exchange(&s->negotiating, true))
		return -EBUSY;
	agree(s, agreed->minor, agreed->init_flags);
	s->fs_opts.recovered = agreed->recovered;
	s->adopted = true;
	err = open_session(s);
	if (err) {
		s->fs_opts.recovered = s->adopted = false;
		atomic_store(&s->negotiating, false);
		return err;
	}
	atomic_store(&s->ready, true);
	return 0;
}

void init_undo(struct proto_session *s)
{
	atomic_store(&s->ready, false);
	fs_session_close(s->fs_session);
	s->fs_session = NULL;
	s->fs_opts.recovered = s->adopted = false;
	atomic_store(&s->negotiating, false);
}

/* No lock: opening the fs session takes locks of its own. One INIT is served, ever. */
void op_init(struct op *op)
{
	struct fuse_init_out out;
	int err = -EBUSY;

	if (!atomic_exchange(&op->s->negotiating, true)) {
		err = negotiate(op, &out);
		/* Refused, or asked for another version: the next one may be better. */
		if (!op->s->fs_session)
			atomic_store(&op->s->negotiating, false);
	}
	req_reply(op->req, err, &out, sizeof(out));
}

/*
 * The last request of a mount whose kernel sends it; plain mounts just close the device. The
 * transport may leave it without an answer: then umount(2) waits until the device is closed.
 */
void op_destroy(struct op *op)
{
	const struct transport_ops *ops = op->s->ops;

	atomic_store(&op->s->ready, false);
	if (ops->destroyed && ops->destroyed(op->s->transport))
		req_done(op->req);
	else
		req_reply(op->req, 0, NULL, 0);
}
