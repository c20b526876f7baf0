/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests that are given up: INTERRUPT at every moment of a lock's life, and proto_abort()
 * while a request is stuck in fs. fs is "stuck" where its stand-in calls fake.on_call.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/inval/inval.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/wire.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/proto/fake_fs.h"

#define MESSAGE_MAX 4096

/* A request as a transport holds it, and what became of it. */
struct sent {
	struct proto_req req;
	struct iovec in;
	uint8_t message[MESSAGE_MAX], out[MESSAGE_MAX];
	size_t len;
	unsigned replies, dones, early;
	int error, early_error;
};

static void on_reply(struct proto_req *req, int error, const struct iovec *iov, int count)
{
	struct sent *s = container_of(req, struct sent, req);

	(void)iov;
	(void)count;
	s->replies++;
	s->error = error;
}

static void on_done(struct proto_req *req)
{
	container_of(req, struct sent, req)->dones++;
}

static int refuse_early; /* what the transport says to it */

static int on_early(struct proto_req *req, int error)
{
	struct sent *s = container_of(req, struct sent, req);

	CHECK_EQ(s->replies + s->dones, 0);
	if (refuse_early)
		return refuse_early;
	s->early++;
	s->early_error = error;
	return 0;
}

/* What the kernel was told to forget: the notifier's threads write it, stop() waits for that. */
static struct {
	uint64_t nodeid;
	int64_t off;
	char name[32];
} notes[16];
static _Atomic unsigned notes_count;
static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;

static int on_notify(void *transport, const struct iovec *iov, int count)
{
	const struct fuse_out_header *head = iov[0].iov_base;
	unsigned i;

	(void)transport;
	CHECK_OK(pthread_mutex_lock(&notes_lock));
	i = atomic_load(&notes_count);
	CHECK(i < ARRAY_SIZE(notes));
	memcpy(&notes[i].nodeid, iov[1].iov_base, sizeof(notes[i].nodeid));
	if (head->error == FUSE_NOTIFY_INVAL_INODE)
		notes[i].off = ((const struct fuse_notify_inval_inode_out *)iov[1].iov_base)->off;
	if (count > 2)
		memcpy(notes[i].name, iov[2].iov_base, iov[2].iov_len);
	atomic_store(&notes_count, i + 1);
	CHECK_OK(pthread_mutex_unlock(&notes_lock));
	return 0;
}

static const struct transport_ops ops = { .name = "test",
					  .reply = on_reply,
					  .done = on_done,
					  .answer_early = on_early,
					  .notify = on_notify };
/* A transport whose buffers go back to somebody with the answer. */
static const struct transport_ops ops_without_early = { .name = "guest",
							.reply = on_reply,
							.done = on_done };
static const struct transport_ops *use_ops = &ops;

static struct proto_session *session;
static struct inval_bus *bus;
static struct sent first, second;
static const struct fs_session_opts host = { .name = "host", .root_nodeid = 1 };

static void send(struct sent *s, uint32_t opcode, uint64_t unique, const void *args, size_t len)
{
	struct fuse_in_header head = { .opcode = opcode,
				       .nodeid = 4,
				       .unique = unique,
				       .len = (uint32_t)(sizeof(head) + len) };

	memset(s, 0, sizeof(*s));
	memcpy(s->message, &head, sizeof(head));
	memcpy(s->message + sizeof(head), args, len);
	s->req.session = session;
	s->req.ops = use_ops;
	s->in = (struct iovec){ .iov_base = s->message, .iov_len = head.len };
	s->req.in = &s->in;
	s->req.in_count = 1;
	s->req.out_buf = s->out;
	s->req.out_size = sizeof(s->out);
	proto_dispatch(&s->req);
}

static void start(bool share)
{
	struct proto_opts opts = { .share = share,
				   .drains = true,
				   .session = &host,
				   .entry_timeout = -1,
				   .attr_timeout = -1,
				   .negative_timeout = -1 };
	struct fuse_init_in in = {
		.major = 7, .minor = 45, .flags = UINT32_MAX, .flags2 = UINT32_MAX
	};

	log_set_level(LOG_LEVEL_OFF);
	memset(notes, 0, sizeof(notes));
	atomic_store(&notes_count, 0);
	fake_reset();
	CHECK_OK(inval_new(&bus));
	CHECK_OK(proto_session_new(NULL, bus, &opts, NULL, &ops, &session));
	send(&first, FUSE_INIT, 2, &in, sizeof(in));
	CHECK(proto_ready(session));
}

static void stop(void)
{
	struct proto_stats stats;

	proto_get_stats(session, &stats);
	CHECK_EQ(stats.in_flight, 0);
	proto_session_free(session);
	inval_free(bus);
}

static void send_setlkw(struct sent *s, uint64_t unique)
{
	struct fuse_lk_in in = { .owner = 3, .lk = { .end = 100, .type = F_WRLCK } };

	send(s, FUSE_SETLKW, unique, &in, sizeof(in));
}

static void send_interrupt(struct sent *s, uint64_t unique)
{
	struct fuse_interrupt_in in = { .unique = unique };

	send(s, FUSE_INTERRUPT, unique | 1, &in, sizeof(in));
	CHECK_EQ(s->dones, 1);
	CHECK_EQ(s->replies, 0);
}

/* ---- INTERRUPT ---- */

TEST(test_interrupt__ends_a_parked_lock)
{
	start(true);
	fake.park = true;
	send_setlkw(&first, 10);
	CHECK_EQ(first.replies, 0);
	send_interrupt(&second, 10);
	CHECK_EQ(first.replies, 1);
	CHECK_EQ(first.error, -EINTR);
	stop();
}

TEST(test_interrupt__is_kept_for_a_lock_that_it_overtook)
{
	start(true);
	fake.park = true;
	send_interrupt(&second, 10);
	send_setlkw(&first, 10);
	CHECK_EQ(first.replies, 1);
	CHECK_EQ(first.error, -EINTR);
	/* It is used up: the same number would be another request. */
	send_setlkw(&first, 10);
	CHECK_EQ(first.replies, 0);
	send_interrupt(&second, 10);
	CHECK_EQ(first.error, -EINTR);
	stop();
}

TEST(test_interrupt__is_kept_while_others_come_too_late)
{
	start(true);
	fake.park = true;
	send_interrupt(&second, 10);
	for (uint64_t unique = 12; unique < 400; unique += 2)
		send_interrupt(&second, unique);
	send_setlkw(&first, 10);
	CHECK_EQ(first.error, -EINTR);
	stop();
}

static void interrupt_first(void)
{
	fake.on_call = NULL;
	send_interrupt(&second, 10);
	CHECK_EQ(first.replies, 0);
}

TEST(test_interrupt__finds_a_lock_that_is_about_to_wait)
{
	start(true);
	fake.park = true;
	fake.on_call = interrupt_first; /* dispatched, not parked */
	send_setlkw(&first, 10);
	CHECK_EQ(first.replies, 1);
	CHECK_EQ(first.error, -EINTR);
	stop();
}

TEST(test_interrupt__leaves_a_granted_lock_granted)
{
	start(true);
	send_interrupt(&second, 10);
	send_setlkw(&first, 10);
	CHECK_EQ(first.replies, 1);
	CHECK_EQ(first.error, 0);
	stop();
}

/* ---- proto_abort() ---- */

static void abort_first(void)
{
	fake.on_call = NULL;
	CHECK(!atomic_load(fake.ctx.aborted));
	refuse_early = -EAGAIN;
	CHECK_EQ(proto_abort(session, 10), -EAGAIN);
	CHECK(!atomic_load(fake.ctx.aborted));
	refuse_early = 0;
	CHECK_OK(proto_abort(session, 10));
	CHECK(atomic_load(fake.ctx.aborted));
	CHECK_EQ(first.early, 1);
	CHECK_EQ(first.early_error, -EIO);
	CHECK_EQ(proto_abort(session, 10), -EALREADY);
}

/* The request ended without an answer of its own. */
static void check_dropped(void)
{
	CHECK_EQ(first.early, 1);
	CHECK_EQ(first.replies, 0);
	CHECK_EQ(first.dones, 1);
	CHECK_EQ(proto_abort(session, 10), -ENOENT);
}

static void send_getattr(struct sent *s, uint64_t unique)
{
	struct fuse_getattr_in in = { .getattr_flags = 0 };

	send(s, FUSE_GETATTR, unique, &in, sizeof(in));
}

TEST(test_abort__answers_at_once_and_drops_the_late_answer)
{
	struct proto_stats stats;

	start(false);
	fake.on_call = abort_first;
	send_getattr(&first, 10);
	check_dropped();
	proto_get_stats(session, &stats);
	CHECK_EQ(stats.aborted, 1);
	/* The next one with the same memory is a request like any other. */
	send_getattr(&first, 12);
	CHECK_EQ(first.replies, 1);
	CHECK_EQ(first.early, 0);
	stop();
}

static void list_and_abort(void)
{
	struct proto_inflight list[4];

	CHECK_EQ(proto_list_inflight(session, list, 4), 1);
	CHECK_EQ(list[0].unique, 10);
	CHECK(list[0].abortable && !list[0].aborted);
	abort_first();
	CHECK_EQ(proto_list_inflight(session, list, 4), 1);
	CHECK(!list[0].abortable && list[0].aborted);
}

TEST(test_abort__leaves_the_stuck_request_in_the_list)
{
	start(false);
	fake.on_call = list_and_abort;
	send_getattr(&first, 10);
	check_dropped();
	stop();
}

TEST(test_abort__gives_a_lookup_back)
{
	start(false);
	fake.on_call = abort_first;
	send(&first, FUSE_LOOKUP, 10, "name", 5);
	check_dropped();
	CHECK_EQ(fake.forgotten, 1);
	CHECK_EQ(fake.nodeid, 42);
	stop();
}

TEST(test_abort__gives_the_lookups_of_a_listing_back)
{
	struct fuse_read_in in = { .size = MESSAGE_MAX };

	start(false);
	fake.entries = 7; /* of which 2 carry no entry */
	fake.on_call = abort_first;
	send(&first, FUSE_READDIRPLUS, 10, &in, sizeof(in));
	check_dropped();
	CHECK_EQ(fake.forgotten, 5);
	stop();
}

static void wait_notes(unsigned count)
{
	while (atomic_load(&notes_count) < count)
		(void)sched_yield();
}

static bool is_noted(uint64_t nodeid, const char *name)
{
	for (unsigned k = 0; k < atomic_load(&notes_count); k++)
		if (notes[k].nodeid == nodeid && !strcmp(notes[k].name, name))
			return true;
	return false;
}

TEST(test_abort__tells_the_kernel_of_a_change_that_was_made_all_the_same)
{
	struct {
		struct fuse_rename_in in;
		char names[8];
	} rename = { .in = { .newdir = 9 }, .names = "old\0new" };

	start(false);
	fake.on_call = abort_first;
	send(&first, FUSE_RENAME, 10, &rename, sizeof(rename));
	check_dropped();
	wait_notes(4);
	/* What is forgotten of a node whole comes by a lane of its own, in any order to the rest. */
	CHECK(is_noted(4, ""));
	CHECK(is_noted(4, "old"));
	CHECK(is_noted(9, "new"));
	CHECK(is_noted(9, ""));
	stop();
}

TEST(test_drain__is_over_when_the_kernel_was_told_of_a_range)
{
	struct fs_drain *drain = (struct fs_drain *)&first; /* fs's; not looked into */

	start(false);
	CHECK(fake.drainer);
	CHECK_PTR_EQ(fake.drainer->session, &fake);
	CHECK_OK(fake.drainer->drain(fake.drainer, 33, drain));
	while (!atomic_load(&fake.drained))
		(void)sched_yield();
	CHECK_EQ(atomic_load(&notes_count), 1);
	CHECK_EQ(notes[0].nodeid, 33);
	/* A range, or the kernel waits for nothing; behind every page, or it drops some. */
	CHECK(notes[0].off > INT64_C(1) << 60);
	/* Those of the session's end are not forgotten. */
	CHECK_OK(fake.drainer->drain(fake.drainer, 34, drain));
	stop();
	CHECK_EQ(atomic_load(&fake.drained), 2);
	CHECK_PTR_EQ(fake.drainer, NULL);
}

TEST(test_abort__ends_a_lock_that_waits)
{
	start(true);
	fake.park = true;
	send_setlkw(&first, 10);
	CHECK_OK(proto_abort(session, 10));
	CHECK_EQ(first.replies, 1);
	CHECK_EQ(first.error, -EIO); /* EINTR would be repeated */
	CHECK_EQ(first.early, 0);
	CHECK_EQ(proto_abort(session, 10), -ENOENT);
	stop();
}

TEST(test_abort__ends_a_lock_that_is_stuck_before_it_waits)
{
	start(true);
	fake.park = true;
	fake.on_call = abort_first;
	send_setlkw(&first, 10);
	check_dropped();
	CHECK(!fake.waiting);
	stop();
}

TEST(test_abort__takes_a_lock_back_that_nobody_knows_of)
{
	start(true);
	fake.on_call = abort_first;
	send_setlkw(&first, 10);
	check_dropped();
	CHECK_EQ(fake.calls, 2);
	CHECK_EQ(fake.lock.type, F_UNLCK);
	CHECK_EQ(fake.lock.end, 100);
	stop();
}

static void fail_to_abort(void)
{
	CHECK_EQ(proto_abort(session, 10), -EOPNOTSUPP);
}

TEST(test_abort__refuses_what_nobody_waits_for)
{
	struct fuse_forget_in in = { .nlookup = 1 };
	struct fuse_getattr_in getattr = { .getattr_flags = 0 };

	start(false);
	fake.on_call = fail_to_abort;
	send(&first, FUSE_FORGET, 10, &in, sizeof(in));
	CHECK_EQ(first.dones, 1);
	use_ops = &ops_without_early;
	send(&first, FUSE_GETATTR, 10, &getattr, sizeof(getattr));
	use_ops = &ops;
	CHECK_EQ(first.replies, 1);
	CHECK_EQ(proto_abort(session, 10), -ENOENT);
	stop();
}
