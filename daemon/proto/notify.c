/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The notifier: tells this session's kernel what others changed.
 *
 * Invariants: (1) A notification is written by the notifier's own thread with no lock
 * held: the kernel takes its folder and page locks in there and may first write dirty
 * pages back, which needs our workers. (2) What this session's own requests changed is
 * never notified: the kernel knows, and holds those very locks while it waits for us.
 * (3) The bus's callback only copies and queues; it is called with the store's locks.
 * (4) The queue is bounded. When it overflows, single names are not known any more: the
 * kernel is told that nothing holds (INC_EPOCH), or, where it cannot be told, the log is.
 *
 * Requests whose answer has to follow a notification (seeks; writes that took the
 * set-user-id bit away) are parked and answered by a thread of the notifier's.
 *
 * (5) A notification about a range of a file may have to wait there for reads of the file
 * and, behind them, for a truncation or fallocate(2) whose answer is parked. So these have
 * a lane, with a thread, of their own, in which nothing is parked: LANE_RANGES. A seek's
 * notifications are not of that kind: while it waits, the kernel lets nobody truncate.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/inval/inval.h"

#define QUEUE_MAX 65536
/* A seek looks again after each flush; a file written all the time must not hold it for ever. */
#define SEEK_ROUNDS_MAX 64

enum job_kind {
	JOB_INODE,
	JOB_ENTRY,
	JOB_DELETE,
	JOB_EPOCH,
	JOB_SEEK,
	JOB_REPLY,
	JOB_DRAIN,
	JOB_WRITE_BACK
};
/* A byte of no file: a notification about it waits for reads, and drops no page. */
#define DRAIN_OFF (INT64_MAX & ~INT64_C(0xffff))
#define DRAIN_LEN 4096
#define DRAIN_TRIES_MAX 10

/* On the waiting thread's stack. */
struct write_back {
	struct mutex lock; /* LOCK_LEAF */
	struct cond ended;
	bool done; /* [lock] */
};

struct job {
	struct list link;
	enum job_kind kind;
	uint64_t nodeid, child;
	int64_t off, len;
	struct notify_seek seek;
	struct proto_req *req;	   /* JOB_REPLY, its answer in name */
	struct fs_drain *drain;	   /* JOB_DRAIN */
	struct write_back *waiter; /* JOB_WRITE_BACK */
	uint32_t name_len;
	char name[];
};

enum { LANE_NAMES, LANE_RANGES, LANES };

struct lane {
	struct notifier *n; /* [written once] */
	pthread_t thread;
	bool started;	   /* [written once] */
	struct mutex lock; /* LOCK_LEAF */
	struct cond work;
	struct list jobs;  /* [lock] */
	uint32_t queued;   /* [lock] */
	struct list waits; /* [lock] struct proto_notified, ascending tickets */
	uint64_t taken;	   /* [lock] jobs ever queued */
	uint64_t written;  /* [lock] of those, done with */
	bool overflowed;   /* [lock] jobs were dropped since the last JOB_EPOCH */
	bool stopping;	   /* [lock] */
};

struct notifier {
	struct proto_session *s;
	struct inval_subscriber sub;
	struct fs_drainer drainer;
	struct lane lanes[LANES];
};

/* ---- writing ---- */

static int write_note(struct notifier *n, int32_t code, struct iovec *iov, int count)
{
	struct fuse_out_header head = { .error = code, .len = sizeof(head) };
	int err;

	for (int i = 1; i < count; i++)
		head.len += (uint32_t)iov[i].iov_len;
	iov[0] = (struct iovec){ .iov_base = &head, .iov_len = sizeof(head) };
	err = n->s->ops->notify(n->s->transport, iov, count);
	atomic_fetch_add(&n->s->notifies, 1);
	/* ENOENT: the kernel does not hold it. ENOTEMPTY, EBUSY: a folder that is in use stays. */
	if (err && err != -ENOENT && err != -ENOTEMPTY && err != -EBUSY && err != -ENODEV)
		atomic_fetch_add(&n->s->notify_errors, 1);
	return err;
}

static int note_inode(struct notifier *n, uint64_t nodeid, int64_t off, int64_t len)
{
	struct fuse_notify_inval_inode_out out = { .ino = nodeid, .off = off, .len = len };
	struct iovec iov[2] = { [1] = { .iov_base = &out, .iov_len = sizeof(out) } };

	return write_note(n, FUSE_NOTIFY_INVAL_INODE, iov, 2);
}

/* The name goes with its NUL, which the length does not count. */
static int note_entry(struct notifier *n, struct job *job)
{
	struct fuse_notify_inval_entry_out out = { .parent = job->nodeid,
						   .namelen = job->name_len };
	struct iovec iov[3] = {
		[1] = { .iov_base = &out, .iov_len = sizeof(out) },
		[2] = { .iov_base = job->name, .iov_len = job->name_len + 1 },
	};

	return write_note(n, FUSE_NOTIFY_INVAL_ENTRY, iov, 3);
}

static int note_delete(struct notifier *n, struct job *job)
{
	struct fuse_notify_delete_out out = { .parent = job->nodeid,
					      .child = job->child,
					      .namelen = job->name_len };
	struct iovec iov[3] = {
		[1] = { .iov_base = &out, .iov_len = sizeof(out) },
		[2] = { .iov_base = job->name, .iov_len = job->name_len + 1 },
	};

	return write_note(n, FUSE_NOTIFY_DELETE, iov, 3);
}

static int note_epoch(struct notifier *n)
{
	struct iovec iov[1];
	int err = -EOPNOTSUPP;

	if (n->s->minor >= WIRE_MINOR_INC_EPOCH)
		err = write_note(n, WIRE_NOTIFY_INC_EPOCH, iov, 1);
	if (err)
		log_warn("names cached by the kernel may be old: it cannot be told that all "
			 "changed: unmount and mount again");
	return err;
}

/* ---- seeks ---- */

/*
 * Only in what the store takes for a hole can dirty pages change its answer: between the
 * offset and the data found, or between the hole found and the next data. Only there the
 * kernel is made to write, and pages of data stay cached. A length of 0 is "to the end":
 * the kernel's size may be beyond the store's.
 */
static int seek_data(struct notifier *n, const struct notify_seek *seek, uint64_t *ret_off)
{
	uint64_t data = 0;
	int err = fs_lseek(n->s->fs, &seek->ctx, seek->nodeid, seek->off, false, &data);

	if (err && err != -ENXIO)
		return err;
	if (err || data > seek->off)
		(void)note_inode(n, seek->nodeid, (int64_t)seek->off,
				 err ? 0 : (int64_t)(data - seek->off));
	return fs_lseek(n->s->fs, &seek->ctx, seek->nodeid, seek->off, false, ret_off);
}

static int seek_hole(struct notifier *n, const struct notify_seek *seek, uint64_t *ret_off)
{
	uint64_t last = UINT64_MAX, hole = seek->off, data;
	int err = 0;

	for (unsigned round = 0; round < SEEK_ROUNDS_MAX; round++) {
		err = fs_lseek(n->s->fs, &seek->ctx, seek->nodeid, seek->off, true, &hole);
		if (err && err != -ENXIO)
			return err;
		if (err)
			hole = seek->off;
		if (hole == last)
			break;
		last = hole;
		if (fs_lseek(n->s->fs, &seek->ctx, seek->nodeid, hole, false, &data))
			data = hole;
		(void)note_inode(n, seek->nodeid, (int64_t)hole, (int64_t)(data - hole));
	}
	if (!err)
		*ret_off = hole;
	return err;
}

static void run_seek(struct notifier *n, const struct notify_seek *seek, bool stopping)
{
	struct fuse_lseek_out out = { 0 };
	int err = -EINTR;

	if (!stopping)
		err = seek->want_hole ? seek_hole(n, seek, &out.offset) :
					seek_data(n, seek, &out.offset);
	req_reply(seek->req, err, &out, sizeof(out));
}

/* ---- the thread ---- */

/*
 * Stopping, or not ready: the connection is at its end, the kernel learns nothing more from us, and we write nothing more.
 * An error other than those says that the reads were not waited for; then what they may read stays in use.
 */
static void run_drain(struct notifier *n, struct job *job, bool stopping)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	int err = 0;

	for (unsigned tries = 0; tries < DRAIN_TRIES_MAX; tries++) {
		if (tries)
			(void)nanosleep(&pause, NULL); /* a shorter one will do, too */
		err = stopping || !atomic_load(&n->s->ready) ?
			      0 :
			      note_inode(n, job->nodeid, DRAIN_OFF, DRAIN_LEN);
		/* A file that the kernel does not hold is read by nobody. */
		if (!err || err == -ENOENT || err == -ENODEV || err == -ENOTCONN) {
			fs_drained(job->drain);
			return;
		}
	}
	log_error("blocks that were freed stay in use until the next mount: the kernel does not "
		  "say whether it still reads them: %s",
		  strerror(-err));
}

static void run_write_back(struct notifier *n, struct job *job, bool stopping)
{
	struct write_back *w = job->waiter;

	/* A kernel that does not hold the file, or that is gone, has nothing to write. */
	if (!stopping && atomic_load(&n->s->ready))
		(void)note_inode(n, job->nodeid, job->off, job->len);
	mutex_lock(&w->lock);
	w->done = true;
	cond_wake_all(&w->ended);
	mutex_unlock(&w->lock); /* the last look at it: its thread may return */
}

static void run_job(struct notifier *n, struct job *job, bool stopping)
{
	if (job->kind == JOB_WRITE_BACK) {
		run_write_back(n, job, stopping);
		return;
	}
	if (job->kind == JOB_DRAIN) {
		run_drain(n, job, stopping);
		return;
	}
	if (job->kind == JOB_SEEK) {
		run_seek(n, &job->seek, stopping);
		return;
	}
	if (job->kind == JOB_REPLY) {
		if (!stopping)
			(void)note_inode(n, job->nodeid, -1,
					 0); /* counted; the answer is right anyway */
		req_reply(job->req, 0, job->name, job->name_len);
		return;
	}
	if (stopping || !atomic_load(&n->s->ready))
		return;
	/* Counted in write_note(); a kernel that does not hold the thing has nothing to forget. */
	switch (job->kind) {
	case JOB_INODE: (void)note_inode(n, job->nodeid, job->off, job->len); break;
	case JOB_ENTRY: (void)note_entry(n, job); break;
	case JOB_DELETE: (void)note_delete(n, job); break;
	case JOB_EPOCH: (void)note_epoch(n); break;
	case JOB_SEEK:
	case JOB_DRAIN:
	case JOB_WRITE_BACK:
	case JOB_REPLY: break;
	}
}

/* From lane number @first on. False: nothing is under way there. */
static bool wait_from(struct notifier *n, size_t first, struct proto_notified *wait)
{
	bool waits = false;

	for (size_t k = first; k < LANES && !waits; k++) {
		struct lane *lane = &n->lanes[k];

		mutex_lock(&lane->lock);
		waits = lane->taken != lane->written || lane->overflowed;
		if (waits) {
			wait->ticket = lane->taken;
			list_add_tail(&lane->waits, &wait->link);
		}
		mutex_unlock(&lane->lock);
	}
	return waits;
}

/* One lane after the other. Caller holds the lane's lock, which is given up meanwhile. */
static void complete_waits(struct lane *lane)
{
	while (!list_empty(&lane->waits)) {
		struct proto_notified *wait =
			list_entry(lane->waits.next, struct proto_notified, link);

		if (wait->ticket > lane->written || lane->overflowed)
			return;
		list_del(&wait->link);
		mutex_unlock(&lane->lock);
		if (!wait_from(lane->n, (size_t)(lane - lane->n->lanes) + 1, wait))
			wait->done(wait);
		mutex_lock(&lane->lock);
	}
}

static void *lane_thread(void *arg)
{
	struct lane *lane = arg;
	struct notifier *n = lane->n;

	/* For people who look. */
	(void)pthread_setname_np(pthread_self(),
				 lane == &n->lanes[LANE_NAMES] ? "kfs-notify" : "kfs-ranges");
	mutex_lock(&lane->lock);
	for (;;) {
		struct job *job;
		bool stopping;

		while (list_empty(&lane->jobs) && !lane->overflowed && !lane->stopping)
			cond_wait(&lane->work, &lane->lock);
		stopping = lane->stopping;
		if (list_empty(&lane->jobs)) {
			bool epoch = lane->overflowed && !stopping;

			lane->overflowed = false;
			mutex_unlock(&lane->lock);
			if (epoch)
				(void)note_epoch(n); /* it logged what it could not do */
			mutex_lock(&lane->lock);
			complete_waits(lane);
			if (!stopping)
				continue;
			mutex_unlock(&lane->lock);
			return NULL;
		}
		job = list_entry(lane->jobs.next, struct job, link);
		list_del(&job->link);
		lane->queued--;
		mutex_unlock(&lane->lock);
		run_job(n, job, stopping);
		free(job);
		mutex_lock(&lane->lock);
		lane->written++;
		complete_waits(lane);
	}
}

static struct lane *lane_of(struct notifier *n, const struct job *job)
{
	bool range = job && (job->kind == JOB_DRAIN || job->kind == JOB_WRITE_BACK ||
			     (job->kind == JOB_INODE && job->off >= 0));

	return &n->lanes[range ? LANE_RANGES : LANE_NAMES];
}

/* False: no room, or no memory. */
static bool enqueue(struct notifier *n, struct job *job)
{
	struct lane *lane = lane_of(n, job);
	bool taken = false;

	mutex_lock(&lane->lock);
	if (job && lane->queued < QUEUE_MAX && !lane->stopping) {
		list_add_tail(&lane->jobs, &job->link);
		lane->queued++;
		lane->taken++;
		taken = true;
	}
	cond_wake_one(&lane->work);
	mutex_unlock(&lane->lock);
	return taken;
}

static void enqueue_or_overflow(struct notifier *n, struct job *job)
{
	struct lane *lane = lane_of(n, job);

	if (enqueue(n, job))
		return;
	free(job);
	mutex_lock(&lane->lock);
	lane->overflowed = true;
	cond_wake_one(&lane->work);
	mutex_unlock(&lane->lock);
}

/* With the inode's lock held. */
static int on_drain(struct fs_drainer *drainer, uint64_t nodeid, struct fs_drain *d)
{
	struct notifier *n = container_of(drainer, struct notifier, drainer);
	struct job *job = calloc(1, sizeof(*job) + 1);

	if (!job)
		return -ENOMEM;
	job->kind = JOB_DRAIN;
	job->nodeid = nodeid;
	job->drain = d;
	if (enqueue(n, job))
		return 0;
	free(job);
	return -ENOMEM;
}

void notifier_drains(struct notifier *n)
{
	n->drainer = (struct fs_drainer){ .drain = on_drain, .session = n->s->fs_session };
	fs_set_drainer(n->s->fs, &n->drainer);
}

static bool kind_of(const struct inval_event *ev, enum job_kind *ret_kind)
{
	switch (ev->kind) {
	case INVAL_ATTR:
	case INVAL_XATTR:
	case INVAL_DATA: *ret_kind = JOB_INODE; return true;
	case INVAL_ENTRY: *ret_kind = JOB_ENTRY; return true;
	case INVAL_DELETE: *ret_kind = ev->nodeid_child ? JOB_DELETE : JOB_ENTRY; return true;
	case INVAL_ALL: *ret_kind = JOB_EPOCH; return true;
	default: return false;
	}
}

/* On the changing thread, with the store's locks held: copy and queue. */
static void on_event(struct inval_subscriber *sub, const struct inval_event *ev)
{
	struct notifier *n = container_of(sub, struct notifier, sub);
	enum job_kind kind;
	struct job *job;

	if (!atomic_load_explicit(&n->s->ready, memory_order_acquire) ||
	    (ev->origin && ev->origin == n->s->fs_session) || !kind_of(ev, &kind))
		return;
	job = calloc(1, sizeof(*job) + ev->name_len + 1);
	if (job) {
		job->kind = kind;
		job->nodeid = ev->nodeid;
		job->child = ev->nodeid_child;
		job->off = ev->kind == INVAL_DATA ? (int64_t)ev->off : -1;
		job->len = (int64_t)ev->len;
		job->name_len = ev->name_len;
		if (ev->name_len)
			memcpy(job->name, ev->name, ev->name_len);
	}
	enqueue_or_overflow(n, job);
}

int notifier_seek(struct notifier *n, const struct notify_seek *seek)
{
	struct job *job = calloc(1, sizeof(*job) + 1);

	if (!job)
		return -ENOMEM;
	job->kind = JOB_SEEK;
	job->seek = *seek;
	if (enqueue(n, job))
		return 0;
	free(job);
	return -ENOMEM;
}

void notifier_reply(struct notifier *n, struct proto_req *req, uint64_t nodeid, const void *data,
		    size_t len)
{
	struct job *job = n ? calloc(1, sizeof(*job) + NOTIFY_REPLY_MAX) : NULL;

	CHECK(len <= NOTIFY_REPLY_MAX);
	if (job) {
		job->kind = JOB_REPLY;
		job->nodeid = nodeid;
		job->req = req;
		job->name_len = (uint32_t)len;
		if (len)
			memcpy(job->name, data, len);
		if (enqueue(n, job))
			return;
		free(job);
	}
	req_reply(req, 0, data, len);
}

int notifier_write_back(struct notifier *n, uint64_t nodeid, uint64_t off, uint64_t len)
{
	struct job *job = calloc(1, sizeof(*job) + 1);
	struct write_back w = { .done = false };

	if (!job)
		return -ENOMEM;
	mutex_init(&w.lock, LOCK_LEAF);
	cond_init(&w.ended);
	job->kind = JOB_WRITE_BACK;
	job->nodeid = nodeid;
	job->off = (int64_t)off;
	job->len = (int64_t)len;
	job->waiter = &w;
	if (!enqueue(n, job)) {
		free(job);
		return -ENOMEM;
	}
	mutex_lock(&w.lock);
	while (!w.done)
		cond_wait(&w.ended, &w.lock);
	mutex_unlock(&w.lock);
	return 0;
}

bool notifier_wait(struct notifier *n, struct proto_notified *wait)
{
	return wait_from(n, 0, wait);
}

void notifier_forget_attr(struct notifier *n, uint64_t nodeid)
{
	struct job *job = calloc(1, sizeof(*job) + 1);

	if (job) {
		job->kind = JOB_INODE;
		job->nodeid = nodeid;
		job->off = -1;
	}
	enqueue_or_overflow(n, job);
}

void notifier_forget_inode(struct notifier *n, uint64_t nodeid)
{
	struct job *job = calloc(1, sizeof(*job) + 1);

	/* From 0 to the end. */
	if (job) {
		job->kind = JOB_INODE;
		job->nodeid = nodeid;
	}
	enqueue_or_overflow(n, job);
}

void notifier_forget_name(struct notifier *n, uint64_t dir, struct fs_name name)
{
	struct job *job = calloc(1, sizeof(*job) + name.len + 1);

	if (job) {
		job->kind = JOB_ENTRY;
		job->nodeid = dir;
		job->name_len = name.len;
		memcpy(job->name, name.name, name.len);
	}
	enqueue_or_overflow(n, job);
}

static int lane_start(struct notifier *n, struct lane *lane)
{
	int err;

	lane->n = n;
	mutex_init(&lane->lock, LOCK_LEAF);
	cond_init(&lane->work);
	list_init(&lane->jobs);
	list_init(&lane->waits);
	err = pthread_create(&lane->thread, NULL, lane_thread, lane);
	lane->started = !err;
	return -err;
}

static void lane_stop(struct lane *lane)
{
	if (!lane->started)
		return;
	mutex_lock(&lane->lock);
	lane->stopping = true;
	cond_wake_all(&lane->work);
	mutex_unlock(&lane->lock);
	(void)pthread_join(lane->thread, NULL); /* started by us, joined once */
	CHECK(list_empty(&lane->jobs));
	CHECK(list_empty(&lane->waits));
}

int notifier_new(struct proto_session *s, struct notifier **ret_notifier)
{
	struct notifier *n = calloc(1, sizeof(*n));
	int err = 0;

	if (!n)
		return -ENOMEM;
	n->s = s;
	n->sub = (struct inval_subscriber){
		.name = "notify",
		.kinds = 1u << INVAL_ATTR | 1u << INVAL_XATTR | 1u << INVAL_DATA |
			 1u << INVAL_ENTRY | 1u << INVAL_DELETE | 1u << INVAL_ALL,
		.notify = on_event,
	};
	for (unsigned k = 0; k < LANES && !err; k++)
		err = lane_start(n, &n->lanes[k]);
	if (err) {
		for (unsigned k = 0; k < LANES; k++)
			lane_stop(&n->lanes[k]);
		free(n);
		return err;
	}
	if (s->bus)
		inval_subscribe(s->bus, &n->sub);
	*ret_notifier = n;
	return 0;
}

void notifier_free(struct notifier *n)
{
	if (!n)
		return;
	if (n->s->bus)
		inval_unsubscribe(n->s->bus, &n->sub);
	if (n->drainer.drain)
		fs_set_drainer(n->s->fs, NULL);
	for (unsigned k = 0; k < LANES; k++)
		lane_stop(&n->lanes[k]);
	free(n);
}
