/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * FUSE over io_uring. The kernel has one queue for each possible processor and puts a
 * request into the queue of the processor that its caller runs on. Each queue is served by
 * threads bound to that processor, so that caller and server change places without waking
 * another one.
 *
 * Invariants: (1) A thread owns one ring and one entry; nobody else submits to that ring.
 * It commits a reply and fetches the next request with the same system call. Hence a
 * request in an entry is never behind a slow one of the same thread; it takes another
 * thread, and the queue grows (pool.h). (2) A request that is not answered when
 * proto_dispatch() returns is parked: its thread sleeps until it is, since the entry can
 * be committed only then, and the queue gets another thread at once. What answers parked
 * requests may itself need a request served. (3) A thread waits in the kernel for its ring,
 * or for its parked request, and nowhere else; both waits end when the connection does,
 * and uring_stop() interrupts both until the thread has gone: it does not rely on the
 * kernel to end commands that were registered while the connection was torn down.
 * (4) Memory of an entry is the kernel's until the ring is closed, or until another thread
 * takes its place: a request that is aborted while its thread is stuck is answered by a new
 * one, through a ring of its own (the kernel takes a commit from any), and that one goes on
 * with the entry, while the stuck thread keeps the pages of its request and ends with it.
 * (5) The kernel hands a queue's waiting requests out when a reply is committed there, and
 * not when an entry is registered (Linux 6.14 .. 6.18, fuse_uring_do_register). When all
 * other entries of a queue are parked, or stuck in slow storage, what came before the new
 * one was there would wait as long. So whoever parks a request, or registers an entry, has
 * the kernel ask something of that queue (fetch_waiting()): the reply to that is the commit
 * that is missing.
 *
 * Threads of a queue are used last in, first out by the kernel: those that a burst needed
 * cost nothing later.
 */
#include "daemon/dev/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/check.h"
#include "daemon/base/log.h"
#include "daemon/dev/dev_priv.h"
#include "daemon/dev/mount.h"
#include "daemon/dev/uring_entry.h"
#include "daemon/dev/uring_probe.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/wire.h"

/* One submission is under way at a time; the kernel rounds up anyway. */
#define RING_SIZE 2
#define THREADS_DEFAULT 16
#define RETRY_MS 10
/* Besides those: threads whose request is parked, of all queues. */
#define PARKED_MAX 4096u
/* NOTIFY_RETRIEVE numbers its answer: even, and far above the kernel's own; bit 63 is RESEND. */
#define FETCH_UNIQUE (1ull << 62)

enum req_state { REQ_SERVED, REQ_PARKED, REQ_ENDED, REQ_ORPHANED };
enum uring_state { URING_PREPARING, URING_SERVING, URING_NEVER };

struct uring_req {
	struct proto_req req;
	struct iovec in[URING_ENTRY_PIECES];
	struct uring_entry entry;
	struct queue *queue;
	struct server *owner;
	uint64_t commit_id;
	_Atomic int state; /* [atomic] enum req_state */
	bool taken;	   /* [queue lock until it ended] answered early, its entry is another's */
};

struct server {
	struct list link; /* [queue lock] */
	struct queue *queue;
	struct uring_req *r;
	struct io_uring ring; /* [its thread] */
	pthread_t thread;
	_Atomic uint64_t node; /* [atomic] of its last request that may have been about a file */
	bool takes_over;       /* [written once] its entry was a stuck thread's */
	bool stuck;	       /* [queue lock] it has no entry any more */
	bool fixed;	       /* [its thread] the ring has the device as its file 0 */
	_Atomic bool gone;     /* [atomic] the thread does nothing any more */
};

struct queue {
	struct uring *uring;
	uint16_t qid;
	struct pool pool;
	struct mutex lock;	/* LOCK_LEAF */
	struct cond ended;	/* [lock] a parked request was answered */
	struct list servers;	/* [lock] */
	uint32_t threads;	/* [lock] all, and of these: */
	uint32_t parked, stuck; /* [lock] */
} __attribute__((aligned(64)));

struct uring {
	struct dev *dev;
	uint32_t threads_max; /* [written once] of one queue, parked ones apart */
	cpu_set_t allowed;    /* [written once] processors that we may run on */
	unsigned queue_count; /* [written once] */
	struct queue *queues;
	struct mutex lock;	 /* LOCK_LEAF */
	struct cond changed;	 /* [lock] state, opened */
	enum uring_state state;	 /* [lock] */
	unsigned opened, failed; /* [lock] first threads of the queues */
	int error;		 /* [lock] of the first that failed */
	_Atomic bool quit;	 /* [atomic] */
	/*
	 * LOCK_LEAF: rings are mapped and unmapped under it. liburing does that past libc, and
	 * the thread sanitizer has to see that who gets an address again comes after.
	 */
	struct mutex mapping;
	_Atomic uint32_t threads, parked;
	_Atomic uint64_t fetches; /* [atomic] numbers them */
};

static _Thread_local const struct server *this_server;

/* ---- the transport ---- */

static void req_free(struct uring_req *r)
{
	if (!r)
		return;
	uring_entry_unmap(&r->entry);
	free(r);
}

static void end_request(struct uring_req *r)
{
	struct queue *q = r->queue;
	int before;

	if (likely(this_server == r->owner)) {
		/* Inside proto_dispatch(), on the thread that called it. */
		atomic_store_explicit(&r->state, REQ_ENDED, memory_order_relaxed);
		return;
	}
	mutex_lock(&q->lock);
	before = atomic_exchange(&r->state, REQ_ENDED);
	if (before == REQ_PARKED)
		cond_wake_all(&q->ended);
	mutex_unlock(&q->lock);
	if (before == REQ_ORPHANED)
		req_free(r);
}

static void uring_reply(struct proto_req *req, int error, const struct iovec *data, int count)
{
	struct uring_req *r = container_of(req, struct uring_req, req);

	uring_entry_reply(&r->entry, req->unique, error, data, count);
	end_request(r);
}

/* What has no reply does not come through a ring; if it did, its caller would not wait. */
static void uring_done(struct proto_req *req)
{
	uring_reply(req, 0, NULL, 0);
}

static int uring_answer_early(struct proto_req *req, int error);

static const struct transport_ops uring_ops = {
	.name = "uring",
	.channel = PROTO_CHANNEL_URING,
	.reply = uring_reply,
	.done = uring_done,
	.answer_early = uring_answer_early,
	.destroyed = dev_destroyed,
	.notify = dev_notify,
};

/* ---- one ring ---- */

static bool is_over(struct uring *u)
{
	return atomic_load(&u->quit) || dev_is_over(u->dev);
}

/* @memory: header and payload of an entry that is registered; else NULL. */
static void prepare(struct server *s, uint32_t command, uint64_t commit_id,
		    const struct iovec *memory)
{
	struct wire_uring_cmd cmd = { .commit_id = commit_id, .qid = s->queue->qid };
	struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);

	CHECK(sqe); /* one command at a time: there is room */
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = s->fixed ? 0 : mount_fd(s->queue->uring->dev->mount);
	sqe->flags = s->fixed ? IOSQE_FIXED_FILE : 0;
	sqe->cmd_op = command;
	sqe->addr = (uint64_t)(uintptr_t)memory;
	sqe->len = memory ? 2 : 0;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
}

static bool connection_ended(int result)
{
	return result == -ENOTCONN || result == -ECONNABORTED || result == -ECANCELED ||
	       result == -ENODEV;
}

/*
 * The kernel would wait for an answer, or for a ring, that never comes. Nothing of this is
 * expected: an error for everybody is better than a hang.
 */
static void give_up(struct uring *u, const char *what, int result)
{
	int none = 0;

	if (connection_ended(result))
		return;
	log_error("io_uring: %s: %s: the mount is given up", what, strerror(-result));
	(void)atomic_compare_exchange_strong(&u->dev->error, &none, result); /* the first stays */
	mount_abort(u->dev->mount);
}

/* Submit what is prepared and wait for its result; false when it is over. */
static bool submit_and_wait(struct server *s, int *ret_result)
{
	struct uring *u = s->queue->uring;
	struct io_uring_cqe *cqe;

	for (;;) {
		int ret = io_uring_submit_and_wait(&s->ring, 1);

		if (is_over(u))
			return false;
		if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY) {
			give_up(u, "waiting for a request", ret);
			return false;
		}
		if (!io_uring_peek_cqe(&s->ring, &cqe)) {
			*ret_result = cqe->res;
			io_uring_cqe_seen(&s->ring, cqe);
			return true;
		}
	}
}

/* ---- one thread ---- */

/* The calling thread, from now on. Returns 0 or -errno. */
static int run_on(unsigned cpu)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	return -pthread_setaffinity_np(pthread_self(), sizeof(here), &here);
}

/* What its thread last served, if that is number @index of the queue; counts @index down. */
static uint64_t node_of_queue(struct queue *q, unsigned *index)
{
	struct list *pos;
	uint64_t node = 0;

	mutex_lock(&q->lock);
	list_for_each(pos, &q->servers) {
		const struct server *s = list_entry(pos, struct server, link);

		node = atomic_load_explicit(&s->node, memory_order_relaxed);
		if (node && !(*index)--)
			break;
		node = 0;
	}
	mutex_unlock(&q->lock);
	return node;
}

/* Node number @index that the kernel may know, those of @first before others; 0: there are not so many. */
static uint64_t some_node(struct queue *first, unsigned index)
{
	struct uring *u = first->uring;
	uint64_t node = node_of_queue(first, &index);

	for (unsigned i = 0; !node && i < u->queue_count; i++)
		if (&u->queues[i] != first)
			node = node_of_queue(&u->queues[i], &index);
	return node;
}

/* NOTIFY_RETRIEVE of nothing: the kernel asks for the answer in the queue of this processor. */
static int ask_for_nothing(struct uring *u, uint64_t node)
{
	struct fuse_notify_retrieve_out out = {
		.notify_unique = FETCH_UNIQUE + 2 * atomic_fetch_add(&u->fetches, 1),
		.nodeid = node,
	};
	struct fuse_out_header head = { .len = sizeof(head) + sizeof(out),
					.error = FUSE_NOTIFY_RETRIEVE };
	struct iovec iov[2] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = &out, .iov_len = sizeof(out) },
	};

	return dev_notify(u->dev, iov, ARRAY_SIZE(iov));
}

/*
 * Invariant 5. The kernel takes regular files that it knows: any that was asked about. ENOENT:
 * it has forgotten this one. EINVAL: a folder. Where it knows no file, what waits behind stuck
 * requests waits for these.
 */
static void fetch_waiting(struct queue *q)
{
	struct uring *u = q->uring;
	bool stays = CPU_ISSET(q->qid, &u->allowed);
	uint64_t node;
	int err = -ENOENT;

	if (!stays && run_on(q->qid))
		return; /* it is offline: nobody is there to wait */
	for (unsigned i = 0; err && (node = some_node(q, i)); i++)
		err = ask_for_nothing(u, node);
	if (!stays)
		(void)pthread_setaffinity_np(pthread_self(), sizeof(u->allowed), &u->allowed);
}

static int ring_open(struct server *s)
{
	struct uring *u = s->queue->uring;
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 |
						   IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN };
	int err;

	mutex_lock(&u->mapping);
	err = io_uring_queue_init_params(RING_SIZE, &s->ring, &params);
	mutex_unlock(&u->mapping);
	if (!err && CPU_ISSET(s->queue->qid, &u->allowed))
		(void)run_on(s->queue->qid); /* offline: then the thread runs where it can */
	return err;
}

static struct uring_req *req_new(struct server *s)
{
	struct uring_req *r = calloc(1, sizeof(*r));

	if (r) {
		r->owner = s;
		r->queue = s->queue;
	}
	return r;
}

static int server_open(struct server *s)
{
	int err;

	s->r = req_new(s);
	if (!s->r)
		return -ENOMEM;
	err = uring_entry_map(&s->r->entry, DEV_PAYLOAD_SIZE);
	if (!err)
		err = ring_open(s);
	if (err) {
		req_free(s->r);
		s->r = NULL;
	}
	return err;
}

/* Whoever started this thread holds the lock until the entry is ours, or stays where it was. */
static int take_place(struct server *s)
{
	bool there;
	int err;

	mutex_lock(&s->queue->lock);
	there = s->r->entry.kernel;
	mutex_unlock(&s->queue->lock);
	if (!there)
		return -ECANCELED;
	/* Memory may come back: nobody else can answer. */
	while ((err = ring_open(s)) && !is_over(s->queue->uring))
		(void)poll(NULL, 0, RETRY_MS);
	return err;
}

MUST_USE static int grow_queue(struct queue *q);

/*
 * The request is answered later, by whoever can; false: it is over, or it was answered early,
 * and the request is theirs.
 */
static bool wait_parked(struct server *s)
{
	struct queue *q = s->queue;
	struct uring *u = q->uring;
	struct uring_req *r = s->r;
	int parked = REQ_PARKED, err = 0;
	bool last;

	atomic_fetch_add(&u->parked, 1);
	mutex_lock(&q->lock);
	q->parked++;
	last = q->parked == q->threads;
	mutex_unlock(&q->lock);
	if (atomic_load(&q->pool.idle) <= 0)
		err = grow_queue(q);
	else
		fetch_waiting(q);
	if (err && last && !is_over(u))
		log_warn("io_uring: every thread of a queue waits, and there is no other: %s: the "
			 "queue's requests wait, too",
			 strerror(-err));
	else if (err)
		log_debug("no thread in place of a waiting one: %s", strerror(-err));
	mutex_lock(&q->lock);
	while (atomic_load(&r->state) == REQ_PARKED && !r->taken && !is_over(u))
		cond_wait(&q->ended, &q->lock);
	q->parked--;
	mutex_unlock(&q->lock);
	atomic_fetch_sub(&u->parked, 1);
	return !atomic_compare_exchange_strong(&r->state, &parked, REQ_ORPHANED);
}

/* Requests whose node is a folder for certain. */
#define FOLDER_OPCODES                                                                             \
	(1ull << FUSE_LOOKUP | 1ull << FUSE_SYMLINK | 1ull << FUSE_MKNOD | 1ull << FUSE_MKDIR |    \
	 1ull << FUSE_UNLINK | 1ull << FUSE_RMDIR | 1ull << FUSE_RENAME | 1ull << FUSE_RENAME2 |   \
	 1ull << FUSE_LINK | 1ull << FUSE_CREATE | 1ull << FUSE_OPENDIR | 1ull << FUSE_READDIR |   \
	 1ull << FUSE_READDIRPLUS | 1ull << FUSE_RELEASEDIR | 1ull << FUSE_FSYNCDIR)

static void note_node(struct server *s, const struct fuse_in_header *in)
{
	if (in->nodeid > FUSE_ROOT_ID && in->opcode < 64 && !(FOLDER_OPCODES >> in->opcode & 1))
		atomic_store_explicit(&s->node, in->nodeid, memory_order_relaxed);
}

/* False: the thread ends; without s->r the request stays behind, and its memory with it. */
static bool serve(struct server *s)
{
	struct uring_req *r = s->r;
	int served = REQ_SERVED;

	r->commit_id = r->entry.head->ring_ent_in_out.commit_id;
	note_node(s, &r->entry.head->in);
	atomic_store_explicit(&r->state, REQ_SERVED, memory_order_relaxed);
	r->req.session = s->queue->uring->dev->session;
	r->req.ops = &uring_ops;
	r->req.in_count = uring_entry_request(&r->entry, r->in);
	r->req.in = r->in;
	r->req.out_buf = r->entry.payload;
	r->req.out_size = DEV_PAYLOAD_SIZE;
	proto_dispatch(&r->req);
	if (unlikely(atomic_load(&r->state) != REQ_ENDED) &&
	    atomic_compare_exchange_strong(&r->state, &served, REQ_PARKED) && !wait_parked(s)) {
		s->r = NULL;
		return false;
	}
	/* Of a request that has ended nobody takes the entry. */
	return !r->taken;
}

static void server_loop(struct server *s)
{
	struct queue *q = s->queue;
	bool registered = s->takes_over;
	int fd = mount_fd(q->uring->dev->mount), result;
	struct iovec memory[2];

	/* Both save looking a descriptor up at each request; neither is needed. */
	(void)io_uring_register_ring_fd(&s->ring);
	s->fixed = !io_uring_register_files(&s->ring, &fd, 1);
	uring_entry_for_kernel(&s->r->entry, memory);
	if (s->takes_over) {
		prepare(s, WIRE_URING_COMMIT_AND_FETCH, s->r->commit_id, NULL);
	} else {
		prepare(s, WIRE_URING_REGISTER, 0, memory);
		if (io_uring_submit(&s->ring) == 1)
			fetch_waiting(q);
	}
	for (;;) {
		pool_wait(&q->pool);
		if (!submit_and_wait(s, &result)) {
			pool_leave(&q->pool);
			return;
		}
		if (result)
			break;
		pool_took(&q->pool);
		if (!serve(s))
			return;
		prepare(s, WIRE_URING_COMMIT_AND_FETCH, s->r->commit_id, NULL);
		registered = true;
	}
	pool_leave(&q->pool);
	if (registered)
		give_up(q->uring, "answering a request", result);
	else if (!connection_ended(result))
		/* The kernel goes on without this entry, and without rings if it is of the first. */
		log_warn("io_uring: registering: %s", strerror(-result));
}

/* The first thread of each queue: is all that INIT will promise there? */
static bool report_opened(struct uring *u, int err)
{
	bool go;

	mutex_lock(&u->lock);
	if (u->state == URING_PREPARING) {
		u->opened += !err;
		u->failed += !!err;
		u->error = u->error ? u->error : err;
		cond_wake_all(&u->changed);
	}
	while (!err && u->state == URING_PREPARING)
		cond_wait(&u->changed, &u->lock);
	go = !err && u->state == URING_SERVING;
	mutex_unlock(&u->lock);
	return go;
}

static void *server_thread(void *arg)
{
	struct server *s = arg;
	struct uring *u = s->queue->uring;
	bool opened;
	int err;

	(void)pthread_setname_np(pthread_self(), "kfs-uring"); /* for people who look */
	this_server = s;
	err = s->takes_over ? take_place(s) : server_open(s);
	opened = !err;
	if (report_opened(u, err))
		server_loop(s);
	else if (err)
		log_debug("io_uring: no ring: %s", strerror(-err));
	if (opened) {
		mutex_lock(&u->mapping);
		io_uring_queue_exit(&s->ring);
		mutex_unlock(&u->mapping);
	}
	req_free(s->r);
	s->r = NULL;
	mutex_lock(&s->queue->lock);
	s->queue->threads--;
	s->queue->stuck -= s->stuck;
	mutex_unlock(&s->queue->lock);
	atomic_store(&s->gone, true);
	atomic_fetch_sub(&u->threads, 1);
	return NULL;
}

/* ---- threads ---- */

/* Join those that have ended, or all. */
static void reap(struct queue *q, bool all)
{
	struct list *pos, *next;
	struct list ended;

	list_init(&ended);
	mutex_lock(&q->lock);
	list_for_each_safe(pos, next, &q->servers) {
		struct server *s = list_entry(pos, struct server, link);

		if (all || atomic_load(&s->gone)) {
			list_del(&s->link);
			list_add_tail(&ended, &s->link);
		}
	}
	mutex_unlock(&q->lock);
	while (!list_empty(&ended)) {
		struct server *s = list_entry(ended.next, struct server, link);

		(void)pthread_join(s->thread, NULL); /* started by us, joined once */
		list_del(&s->link);
		free(s);
	}
}

static struct server *server_new(struct queue *q)
{
	struct server *s = calloc(1, sizeof(*s));

	if (s)
		s->queue = q;
	return s;
}

/* Caller holds the queue's lock. */
static int start_locked(struct server *s)
{
	struct queue *q = s->queue;
	struct uring *u = q->uring;
	int err;

	if (q->parked + q->stuck > PARKED_MAX || is_over(u))
		return -EAGAIN;
	q->threads++;
	atomic_fetch_add(&u->threads, 1);
	list_add_tail(&q->servers, &s->link);
	err = dev_thread_start(&s->thread, server_thread, s);
	if (err) {
		list_del(&s->link);
		q->threads--;
		atomic_fetch_sub(&u->threads, 1);
	}
	return err;
}

static int grow_queue(struct queue *q)
{
	struct server *s;
	int err = -EAGAIN;

	reap(q, false);
	s = server_new(q);
	if (!s)
		return -ENOMEM;
	mutex_lock(&q->lock);
	if (q->threads - q->parked - q->stuck < q->uring->threads_max)
		err = start_locked(s);
	mutex_unlock(&q->lock);
	if (err)
		free(s);
	return err;
}

/* Caller holds the lock of the queue. On failure nothing has changed, but that @s may run, and end. */
static int take_over_locked(struct server *s, struct uring_req *r, int error)
{
	int err = start_locked(s);

	if (err) {
		req_free(s->r);
		free(s);
		return err;
	}
	err = uring_entry_take_over(&s->r->entry, &r->entry);
	if (err)
		return err;
	s->r->commit_id = r->commit_id;
	uring_entry_reply(&s->r->entry, r->req.unique, error, NULL, 0);
	r->taken = true;
	r->owner->stuck = true;
	r->queue->stuck++;
	cond_wake_all(&r->queue->ended); /* its thread, if it is parked */
	return 0;
}

/* The request has not ended: the caller's lock sees to that. */
static int uring_answer_early(struct proto_req *req, int error)
{
	struct uring_req *r = container_of(req, struct uring_req, req);
	struct server *s = server_new(r->queue);
	int err;

	if (!s)
		return -ENOMEM;
	s->takes_over = true;
	s->r = req_new(s);
	if (!s->r) {
		free(s);
		return -ENOMEM;
	}
	mutex_lock(&r->queue->lock);
	err = take_over_locked(s, r, error);
	mutex_unlock(&r->queue->lock);
	return err;
}

static void grow(struct pool *p)
{
	int err = grow_queue(container_of(p, struct queue, pool));

	if (err)
		log_debug("no further thread: %s", strerror(-err));
}

bool uring_look(struct uring *u)
{
	bool watching = false;

	for (unsigned i = 0; i < u->queue_count; i++)
		watching |= pool_look(&u->queues[i].pool);
	return watching;
}

/* ---- life ---- */

/* Of each queue the first thread; all have their rings, or it is a failure. */
static int open_queues(struct uring *u, char *why, size_t why_len)
{
	unsigned started = 0;
	int err = 0;

	for (; started < u->queue_count && !err; started++)
		err = grow_queue(&u->queues[started]);
	mutex_lock(&u->lock);
	while (!err && u->opened + u->failed < u->queue_count)
		cond_wait(&u->changed, &u->lock);
	err = err ? err : u->error;
	mutex_unlock(&u->lock);
	if (err)
		(void)snprintf(why, why_len, "io_uring: %s%s", strerror(-err),
			       err == -EPERM ? ": see sysctl kernel.io_uring_disabled" : "");
	return err;
}

int uring_new(struct dev *d, uint32_t threads_max, struct uring **ret_uring, char *why,
	      size_t why_len)
{
	unsigned cpus;
	struct uring *u;
	int err = uring_check_kernel(&cpus, why, why_len);

	if (err)
		return err;
	u = calloc(1, sizeof(*u));
	if (u)
		u->queues = aligned_alloc(64, cpus * sizeof(*u->queues));
	if (!u || !u->queues) {
		free(u);
		(void)snprintf(why, why_len, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	memset(u->queues, 0, cpus * sizeof(*u->queues));
	u->dev = d;
	u->threads_max = threads_max ? threads_max : THREADS_DEFAULT;
	u->queue_count = cpus;
	mutex_init(&u->lock, LOCK_LEAF);
	mutex_init(&u->mapping, LOCK_LEAF);
	cond_init(&u->changed);
	err = uring_check_processors(cpus, &u->allowed, why, why_len);
	if (err) {
		free(u->queues);
		free(u);
		return err;
	}
	for (unsigned i = 0; i < cpus; i++) {
		struct queue *q = &u->queues[i];

		q->uring = u;
		q->qid = (uint16_t)i;
		pool_init(&q->pool, d->busy_event, grow);
		mutex_init(&q->lock, LOCK_LEAF);
		cond_init(&q->ended);
		list_init(&q->servers);
	}
	err = open_queues(u, why, why_len);
	if (err) {
		uring_stop(u);
		uring_free(u);
		return err;
	}
	*ret_uring = u;
	return 0;
}

void uring_begin(struct uring *u, bool agreed)
{
	mutex_lock(&u->lock);
	if (u->state == URING_PREPARING)
		u->state = agreed ? URING_SERVING : URING_NEVER;
	cond_wake_all(&u->changed);
	mutex_unlock(&u->lock);
}

static void kick(struct queue *q)
{
	struct list *pos;

	mutex_lock(&q->lock);
	cond_wake_all(&q->ended);
	list_for_each(pos, &q->servers) {
		struct server *s = list_entry(pos, struct server, link);

		(void)pthread_kill(s->thread, DEV_KICK_SIGNAL); /* not joined yet: valid */
	}
	mutex_unlock(&q->lock);
}

void uring_stop(struct uring *u)
{
	uring_begin(u, false);
	atomic_store(&u->quit, true);
	/* Once at least: whoever has a queue's lock after that starts no thread any more. */
	for (;;) {
		for (unsigned i = 0; i < u->queue_count; i++)
			kick(&u->queues[i]);
		if (!atomic_load(&u->threads))
			break;
		(void)poll(NULL, 0, DEV_KICK_MS);
	}
	for (unsigned i = 0; i < u->queue_count; i++)
		reap(&u->queues[i], true);
}

void uring_free(struct uring *u)
{
	if (!u)
		return;
	for (unsigned i = 0; i < u->queue_count; i++)
		CHECK(list_empty(&u->queues[i].servers));
	free(u->queues);
	free(u);
}

void uring_get_stats(struct uring *u, struct uring_stats *ret_stats)
{
	*ret_stats = (struct uring_stats){
		.queues = u->queue_count,
		.threads = atomic_load(&u->threads),
		.threads_max = u->threads_max * u->queue_count,
		.parked = atomic_load(&u->parked),
	};
}
