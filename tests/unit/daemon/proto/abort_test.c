/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests that are given up: INTERRUPT at every moment of a lock's life.
 */
#include <errno.h>
#include <fcntl.h>
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
	uint8_t message[MESSAGE_MAX], out[MESSAGE_MAX];
	size_t len;
	unsigned replies, dones;
	int error;
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

static const struct transport_ops ops = { .name = "test", .reply = on_reply, .done = on_done };

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
	s->req.ops = &ops;
	s->req.in[0] = (struct iovec){ .iov_base = s->message, .iov_len = head.len };
	s->req.in_count = 1;
	s->req.out_buf = s->out;
	s->req.out_size = sizeof(s->out);
	proto_dispatch(&s->req);
}

static void start(bool share)
{
	struct proto_opts opts = { .share = share,
				   .session = &host,
				   .entry_timeout = -1,
				   .attr_timeout = -1,
				   .negative_timeout = -1 };
	struct fuse_init_in in = {
		.major = 7, .minor = 45, .flags = UINT32_MAX, .flags2 = UINT32_MAX
	};

	log_set_level(LOG_LEVEL_OFF);
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
