/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Invariants: (1) Opening and closing are one thread's: CLAIMED and OPENING are left by who entered
 * them. (2) While the image is not open, the control server asks nobody about it.
 */
#include "daemon/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/lock.h"
#include "daemon/base/log.h"
#include "daemon/block/bdev.h"
#include "daemon/ctl/ctl.h"
#include "daemon/guests.h"
#include "daemon/options.h"
#include "daemon/precheck.h"
#include "daemon/store/store.h"
#include "vhost/vhost.h"

enum image_state { IMAGE_OPEN, IMAGE_CLAIMED, IMAGE_CLOSED, IMAGE_OPENING, IMAGE_UNTOUCHED };

struct image {
	struct image_opts opts; /* [written once], but for fs */
	struct vhost_image ops; /* [written once] */
	struct guests *guests;	/* [lock] NULL: not started yet */
	struct ctl_server *ctl; /* [lock] NULL: none */
	struct mutex lock;	/* LOCK_CTL */
	enum image_state state; /* [lock] */
	uint32_t users;		/* [lock] guests that are served */
	struct fs *fs;		/* [lock; who opens or closes] */
};

static void set_state(struct image *i, enum image_state state, int users)
{
	mutex_lock(&i->lock);
	i->state = state;
	i->users += (uint32_t)users;
	mutex_unlock(&i->lock);
}

static struct fs *enter(void *arg)
{
	struct image *i = arg;
	struct fs *fs = NULL;

	mutex_lock(&i->lock);
	if (i->state == IMAGE_OPEN) {
		i->users++;
		fs = i->fs;
	}
	mutex_unlock(&i->lock);
	return fs;
}

static void leave(void *arg)
{
	struct image *i = arg;

	mutex_lock(&i->lock);
	i->users--;
	mutex_unlock(&i->lock);
}

/* ---- giving it away ---- */

struct others {
	uint32_t number, other; /* of the guest; of another one, 0: none was found */
	int32_t pid;
};

static void note_other(void *arg, const struct vhost_guest *guest)
{
	struct others *o = arg;

	if (guest->number == o->number || o->other)
		return;
	o->other = guest->number;
	o->pid = guest->pid;
}

/* What keeps a store that nobody else uses from being handed over; NULL: nothing. */
static const char *unfit(struct fs *fs)
{
	struct store *s = fs_store(fs);

	if (atomic_load(&s->readonly))
		return "the image is read-only: another kfs may have it beside this one";
	if (atomic_load(&s->error_state) || le16_to_cpu(store_sb(s)->s_state) & EXT4_ERROR_FS)
		return "the filesystem has errors: unmount it in the guest and run e2fsck -f";
	if (!journal_has_log(s->journal))
		return "the image has no journal";
	return s->mmp ? "the image has multiple mount protection" : NULL;
}

static int claim_alone(struct image *i, uint32_t number, char *why, size_t why_len)
{
	struct others others = { .number = number };
	bool alone;

	mutex_lock(&i->lock);
	alone = i->state == IMAGE_OPEN && i->users == 1;
	if (alone)
		i->state = IMAGE_CLAIMED;
	mutex_unlock(&i->lock);
	if (alone)
		return 0;
	vhost_visit(note_other, &others);
	if (!others.other) {
		(void)snprintf(why, why_len,
			       "the image cannot be handed over: another guest used it just now");
		return -EBUSY;
	}
	(void)snprintf(why, why_len,
		       "the image cannot be handed over: guest %u (pid %d) uses it, too: "
		       "disconnect it first",
		       others.other, others.pid);
	return -EBUSY;
}

/* With the lock: the server does not end meanwhile. */
static const char *hold_commands(struct image *i)
{
	const char *why;

	mutex_lock(&i->lock);
	why = ctl_server_hold(i->ctl);
	mutex_unlock(&i->lock);
	return why;
}

/* The store is open, and who asks about it is answered. */
static void set_open(struct image *i)
{
	mutex_lock(&i->lock);
	i->state = IMAGE_OPEN;
	ctl_server_release(i->ctl, i->fs);
	mutex_unlock(&i->lock);
}

static int claim(void *arg, uint32_t number, char *why, size_t why_len)
{
	struct image *i = arg;
	const char *reason;
	int err;

	if (!i->opts.o->no_mount) {
		(void)snprintf(why, why_len,
			       "the image cannot be handed over: it is mounted at %s: serve with "
			       "--no-mount",
			       i->opts.o->mountpoint);
		return -EBUSY;
	}
	err = claim_alone(i, number, why, why_len);
	if (err)
		return err;
	reason = unfit(i->fs);
	if (!reason)
		reason = hold_commands(i);
	if (!reason)
		return 0;
	set_state(i, IMAGE_OPEN, 0);
	(void)snprintf(why, why_len, "the image cannot be handed over: %s", reason);
	return -EBUSY;
}

static void unclaim(void *arg)
{
	set_open(arg);
}

static int close_image(void *arg, uint64_t *ret_print)
{
	struct image *i = arg;
	int err = fs_close_print(i->fs, ret_print);

	i->fs = NULL;
	set_state(i, IMAGE_CLOSED, -1);
	if (err)
		log_error("%s: closing: %s: run e2fsck -f", i->opts.o->image, strerror(-err));
	else
		log_info("%s: closed", i->opts.o->image);
	return err;
}

/* ---- getting it ---- */

static int open_store(struct image *i, struct store **ret_store, char *why, size_t why_len)
{
	const struct options *o = i->opts.o;
	struct bdev_open_opts how = { .offset = o->offset };
	struct store_opts opts = options_store(o);
	struct store_open_error err;
	struct bdev *bdev;
	int error = bdev_open_file(o->image, &how, &bdev);

	if (error) {
		precheck_image_error(o->image, error, false, why, why_len);
		return error;
	}
	opts.untouched = true;
	opts.panic = i->opts.panic;
	error = store_open(bdev, &opts, ret_store, &err);
	if (error)
		(void)snprintf(why, why_len, "%s: %s%s%s", o->image, err.what,
			       *err.remedy ? ": " : "", err.remedy);
	return error;
}

static int open_image(void *arg, struct fs **ret_fs, char *why, size_t why_len)
{
	struct image *i = arg;
	struct store *store = NULL;
	bool closed;
	int err;

	mutex_lock(&i->lock);
	closed = i->state == IMAGE_CLOSED;
	if (closed)
		i->state = IMAGE_OPENING;
	mutex_unlock(&i->lock);
	if (!closed) {
		(void)snprintf(why, why_len, "%s: another guest of this daemon has it",
			       i->opts.o->image);
		return -EADDRINUSE;
	}
	err = open_store(i, &store, why, why_len);
	if (!err) {
		err = fs_open_store(store, i->opts.bus, &i->opts.fs_opts, &i->fs);
		if (err)
			store_destroy(store);
	}
	set_state(i, err ? IMAGE_CLOSED : IMAGE_UNTOUCHED, !err);
	if (!err)
		*ret_fs = i->fs;
	return err;
}

static int begin(void *arg, char *why, size_t why_len)
{
	struct image *i = arg;
	struct guests *guests;
	int err;

	mutex_lock(&i->lock);
	guests = i->guests;
	mutex_unlock(&i->lock);
	/* The socket is there a moment earlier. */
	if (!guests) {
		(void)snprintf(why, why_len, "%s: the daemon is starting: try again",
			       i->opts.o->image);
		return -EAGAIN;
	}
	err = fs_begin_changes(i->fs);
	if (err) {
		(void)snprintf(why, why_len, "%s: %s", i->opts.o->image, strerror(-err));
		return err;
	}
	guests_set_fs(guests, i->fs);
	set_open(i);
	log_info("%s: opened for a guest that has arrived", i->opts.o->image);
	return 0;
}

static void drop(void *arg)
{
	struct image *i = arg;
	struct fs_identity id;

	fs_get_identity(i->fs, &id);
	if (id.untouched) {
		fs_destroy(i->fs);
	} else {
		int err = fs_close(i->fs);

		if (err)
			log_error("%s: closing: %s: run e2fsck -f", i->opts.o->image,
				  strerror(-err));
	}
	i->fs = NULL;
	set_state(i, IMAGE_CLOSED, -1);
}

/* ---- life ---- */

/* With the rights that are left: it will have to be opened with them. */
static int check_rights(const struct options *o)
{
	int fd = open(o->image, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	(void)close(fd); /* nothing was written */
	return 0;
}

int image_new(const struct image_opts *opts, struct image **ret_image)
{
	struct image *i;
	int err = check_rights(opts->o);

	if (err)
		return err;
	i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->opts = *opts;
	i->fs = opts->fs;
	i->state = opts->fs ? IMAGE_OPEN : IMAGE_CLOSED;
	mutex_init(&i->lock, LOCK_CTL);
	i->ops = (struct vhost_image){
		.arg = i,
		.hands_over = opts->o->handover == ON,
		.enter = enter,
		.leave = leave,
		.claim = claim,
		.unclaim = unclaim,
		.close = close_image,
		.open = open_image,
		.begin = begin,
		.drop = drop,
	};
	*ret_image = i;
	return 0;
}

void image_attach(struct image *i, struct guests *guests)
{
	if (!i)
		return;
	mutex_lock(&i->lock);
	i->guests = guests;
	mutex_unlock(&i->lock);
}

void image_attach_ctl(struct image *i, struct ctl_server *ctl)
{
	if (!i)
		return;
	mutex_lock(&i->lock);
	i->ctl = ctl;
	if (i->state == IMAGE_OPEN)
		ctl_server_release(ctl, i->fs);
	mutex_unlock(&i->lock);
}

const struct vhost_image *image_ops(struct image *i)
{
	return i ? &i->ops : NULL;
}

struct fs *image_take(struct image *i)
{
	struct fs *fs = i->fs;

	free(i);
	return fs;
}
