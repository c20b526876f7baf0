/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Windows: agreed on only where both sides have one; what a mapping's request may say; requests that are ended by the
 * transport, later; and the host that opens what a guest has mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/inval/inval.h"
#include "daemon/proto/session.h"
#include "daemon/proto/wire.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/proto/fake_fs.h"

#define RANGE (UINT64_C(2) << 20)

static struct {
	unsigned replies, maps, unmaps;
	int error;
	size_t len;
	uint8_t data[256];
	struct proto_req *req;
	struct proto_mapping *mapping;
	struct proto_unmap *list;
	uint32_t count;
} got;
static bool has_window;

static void on_reply(struct proto_req *req, int error, const struct iovec *iov, int count)
{
	(void)req;
	got.replies++;
	got.error = error;
	got.len = count ? iov[0].iov_len : 0;
	if (got.len)
		memcpy(got.data, iov[0].iov_base, MIN(got.len, sizeof(got.data)));
}

static void on_done(struct proto_req *req)
{
	(void)req;
}

static bool on_window(void *transport)
{
	(void)transport;
	return has_window;
}

static void on_map(struct proto_req *req, struct proto_mapping *m)
{
	got.maps++;
	got.req = req;
	got.mapping = m;
}

static void on_unmap(struct proto_req *req, struct proto_unmap *list, uint32_t count)
{
	got.unmaps++;
	got.req = req;
	got.list = list;
	got.count = count;
}

static const struct transport_ops ops = { .name = "vhost",
					  .reply = on_reply,
					  .done = on_done,
					  .window = on_window,
					  .map = on_map,
					  .unmap = on_unmap };
static const struct transport_ops plain_ops = { .name = "dev", .reply = on_reply, .done = on_done };
static const struct fs_session_opts session_opts = { .name = "guest", .root_nodeid = 1 };
static struct proto_session *session;
static struct inval_bus *bus;

static void send(uint32_t opcode, const void *args, size_t len)
{
	static struct proto_req req;
	static uint8_t message[512], buf[4096];
	struct fuse_in_header head = {
		.opcode = opcode, .nodeid = 5, .unique = 10, .len = (uint32_t)(sizeof(head) + len)
	};
	struct iovec in = { .iov_base = message, .iov_len = head.len };

	memcpy(message, &head, sizeof(head));
	memcpy(message + sizeof(head), args, len);
	memset(&got, 0, sizeof(got));
	req = (struct proto_req){ .session = session,
				  .ops = session->ops,
				  .in = &in,
				  .in_count = 1,
				  .out_buf = buf,
				  .out_size = sizeof(buf) };
	proto_dispatch(&req);
	CHECK_EQ(got.replies + got.maps + got.unmaps, 1);
}

static struct fuse_init_out start(const struct transport_ops *transport, bool window,
				  uint32_t offer)
{
	struct proto_opts opts = { .share = true,
				   .guest = transport == &ops,
				   .session = &session_opts };
	struct fuse_init_in in = { .major = 7, .minor = 45, .flags = offer, .flags2 = UINT32_MAX };
	struct fuse_init_out answer;

	log_set_level(LOG_LEVEL_OFF);
	fake_reset();
	has_window = window;
	CHECK_OK(inval_new(&bus));
	CHECK_OK(proto_session_new(NULL, bus, &opts, NULL, transport, &session));
	send(FUSE_INIT, &in, sizeof(in));
	CHECK_OK(got.error);
	memcpy(&answer, got.data, sizeof(answer));
	return answer;
}

static void stop(void)
{
	proto_session_free(session);
	inval_free(bus);
}

static int setup(struct fuse_setupmapping_in in)
{
	send(FUSE_SETUPMAPPING, &in, sizeof(in));
	return got.error;
}

TEST(test_init__a_window_where_both_sides_have_one)
{
	struct fuse_init_out out = start(&ops, true, UINT32_MAX);

	CHECK(out.flags & FUSE_MAP_ALIGNMENT);
	CHECK_EQ(out.map_alignment, 12);
	CHECK(out.flags2 & FUSE_HAS_INODE_DAX >> 32);
	stop();
	out = start(&ops, false, UINT32_MAX);
	CHECK(!(out.flags & FUSE_MAP_ALIGNMENT) && !(out.flags2 & FUSE_HAS_INODE_DAX >> 32));
	CHECK_EQ(setup((struct fuse_setupmapping_in){ .len = RANGE, .flags = 2 }), -ENOSYS);
	stop();
	out = start(&ops, true, UINT32_MAX & ~(uint32_t)FUSE_MAP_ALIGNMENT);
	CHECK(!(out.flags & FUSE_MAP_ALIGNMENT) && !(out.flags2 & FUSE_HAS_INODE_DAX >> 32));
	stop();
	out = start(&plain_ops, true, UINT32_MAX);
	CHECK(!(out.flags & FUSE_MAP_ALIGNMENT) && !(out.flags2 & FUSE_HAS_INODE_DAX >> 32));
	stop();
}

TEST(test_setupmapping__ends_when_the_transport_says_so)
{
	(void)start(&ops, true, UINT32_MAX);
	(void)setup((struct fuse_setupmapping_in){ .fh = UINT64_MAX,
						   .foffset = RANGE,
						   .len = RANGE,
						   .flags = 3,
						   .moffset = 7 * RANGE });
	CHECK_EQ(got.maps, 1);
	CHECK_STR_EQ(fake.call, "dax_map");
	CHECK_EQ(fake.nodeid, 5);
	CHECK_EQ(fake.off, RANGE);
	CHECK(fake.removed); /* to write */
	CHECK_EQ(got.mapping->moffset, 7 * RANGE);
	CHECK_EQ(got.mapping->len, RANGE);
	CHECK_EQ(got.mapping->count, 2);
	CHECK_EQ(got.mapping->run[0].image_off, 8 << 20);
	CHECK_EQ(got.mapping->run[1].off, 4096);
	CHECK_EQ(got.mapping->run[1].len, RANGE - 4096);
	proto_unpin(got.mapping->pin);
	CHECK_STR_EQ(fake.call, "dax_unmap");
	proto_mapping_free(got.mapping);
	proto_window_done(got.req, -EIO);
	CHECK_EQ(got.replies, 1);
	CHECK_EQ(got.error, -EIO);
	stop();
}

TEST(test_setupmapping__refused)
{
	(void)start(&ops, true, UINT32_MAX);
	fake.error = -ENOSPC;
	CHECK_EQ(setup((struct fuse_setupmapping_in){ .len = RANGE, .flags = 2 }), -ENOSPC);
	CHECK_EQ(got.maps, 0);
	fake_reset();
	CHECK_EQ(setup((struct fuse_setupmapping_in){ .len = RANGE, .flags = 8 }), -EINVAL);
	CHECK_EQ(setup((struct fuse_setupmapping_in){ .len = RANGE, .moffset = UINT64_MAX }),
		 -EINVAL);
	CHECK_EQ(fake.calls, 0);
	stop();
}

TEST(test_removemapping__takes_as_many_as_it_says)
{
	struct {
		uint32_t count;
		struct fuse_removemapping_one one[3];
	} __attribute__((packed))
	in = { .count = 3, .one = { { 0, RANGE }, { RANGE, 4096 }, { 9, 8 } } };

	(void)start(&ops, true, UINT32_MAX);
	send(FUSE_REMOVEMAPPING, &in, sizeof(in));
	CHECK_EQ(got.unmaps, 1);
	CHECK_EQ(got.count, 3);
	CHECK_EQ(got.list[1].moffset, RANGE);
	CHECK_EQ(got.list[1].len, 4096);
	CHECK_EQ(got.list[2].moffset, 9);
	free(got.list);
	proto_window_done(got.req, 0);
	CHECK_EQ(got.replies, 1);
	CHECK_OK(got.error);
	for (uint32_t count = 0; count < 6; count += 2) {
		in.count = count;
		send(FUSE_REMOVEMAPPING, &in, sizeof(in));
		CHECK_EQ(got.error, -EINVAL);
	}
	in.count = UINT32_MAX / 16 + 4; /* times 16 is 48 in 32 bits */
	send(FUSE_REMOVEMAPPING, &in, sizeof(in));
	CHECK_EQ(got.error, -EINVAL);
	stop();
}

TEST(test_open__past_the_cache_what_a_guest_has_mapped)
{
	struct fuse_open_in in = { .flags = O_RDWR };
	struct fuse_open_out out;

	(void)start(&plain_ops, false, UINT32_MAX);
	send(FUSE_OPEN, &in, sizeof(in));
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(out.open_flags, FOPEN_KEEP_CACHE);
	fake.mapped = 5;
	send(FUSE_OPEN, &in, sizeof(in));
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(out.open_flags, FOPEN_DIRECT_IO);
	stop();
}

TEST(test_attr__says_what_is_worth_it)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out;

	(void)start(&ops, true, UINT32_MAX);
	send(FUSE_GETATTR, &in, sizeof(in));
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(out.attr.flags, 0);
	fake.attr.dax = true;
	send(FUSE_GETATTR, &in, sizeof(in));
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(out.attr.flags, FUSE_ATTR_DAX);
	stop();
}
