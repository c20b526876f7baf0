/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the decoder makes of hostile requests: extensions, names and pieces of every wrong
 * kind. What it makes of good ones, and of each operation's arguments: dispatch_test.c.
 */
#include <errno.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/proto/session.h"
#include "daemon/proto/wire.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/proto/fake_fs.h"

static struct {
	unsigned ends;
	int error;
} got;

static void on_reply(struct proto_req *req, int error, const struct iovec *iov, int count)
{
	(void)req;
	(void)iov;
	(void)count;
	got.error = error;
	got.ends++;
}

static void on_done(struct proto_req *req)
{
	(void)req;
	got.error = 0;
	got.ends++;
}

static const struct transport_ops ops = { .name = "test", .reply = on_reply, .done = on_done };
static const struct fs_session_opts host = { .name = "host", .root_nodeid = 1 };
static struct proto_session *session;
static uint8_t message[1 << 14];
static size_t message_len;

static void begin(uint32_t opcode, uint32_t ext_words)
{
	struct fuse_in_header head = {
		.opcode = opcode, .nodeid = 1, .unique = 10, .total_extlen = (uint16_t)ext_words
	};

	memcpy(message, &head, sizeof(head));
	message_len = sizeof(head);
}

static void add(const void *data, size_t len)
{
	CHECK_LE(message_len + len, sizeof(message));
	memcpy(message + message_len, data, len);
	message_len += len;
}

static void add_text(const char *text)
{
	add(text, strlen(text) + 1);
}

/* A name of @len bytes. */
static void add_long(size_t len)
{
	static char name[8192];

	memset(name, 'n', len);
	name[len] = 0;
	add_text(name);
}

/* As @count pieces of @message, each of so many bytes. */
static int send_pieces(const size_t *pieces, int count)
{
	static struct proto_req req;
	static struct iovec in[PROTO_IOV_MAX];
	static uint8_t out[1 << 12];
	uint32_t len = (uint32_t)message_len;
	unsigned before = got.ends;
	size_t at = 0;

	memcpy(message, &len, sizeof(len));
	memset(&req, 0, sizeof(req));
	req.session = session;
	req.ops = &ops;
	req.in = in;
	for (req.in_count = 0; req.in_count < count; req.in_count++) {
		in[req.in_count].iov_base = message + at;
		in[req.in_count].iov_len = pieces[req.in_count];
		at += pieces[req.in_count];
	}
	CHECK_EQ(at, message_len);
	req.out_buf = out;
	req.out_size = sizeof(out);
	proto_dispatch(&req);
	CHECK_EQ(got.ends, before + 1);
	return got.error;
}

static int send(void)
{
	return send_pieces(&message_len, 1);
}

static void start(uint64_t flags)
{
	struct fuse_init_in in = { .major = 7,
				   .minor = 40,
				   .flags = (uint32_t)flags | FUSE_INIT_EXT,
				   .flags2 = (uint32_t)(flags >> 32) };
	struct proto_opts opts = { .session = &host };

	log_set_level(LOG_LEVEL_OFF);
	fake_reset();
	CHECK_OK(proto_session_new(NULL, NULL, &opts, NULL, &ops, &session));
	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	CHECK_OK(send());
	CHECK(proto_ready(session));
}

/* ---- extensions ----------------------------------------------------------- */

struct ext {
	uint32_t size, type;
	uint32_t words[40];
};

/* MKDIR with @bytes of @ext at its end. */
static int mkdir_with(const char *name, const struct ext *ext, size_t bytes)
{
	struct fuse_mkdir_in in = { .mode = 0755 };

	memset(&fake.ctx, 0, sizeof(fake.ctx));
	begin(FUSE_MKDIR, (uint32_t)bytes / 8);
	add(&in, sizeof(in));
	add_text(name);
	add(ext, bytes);
	return send();
}

TEST(test_dispatch__extensions_are_bounded)
{
	struct ext ext = { .size = 8, .type = 77 };
	static const char name[] =
		"a name that is longer than what is skipped in one step, which is 64 bytes";

	start(UINT64_MAX);
	CHECK_OK(mkdir_with("dir", &ext, 8)); /* unknown and empty */
	CHECK_OK(mkdir_with(name, &ext, 8));
	CHECK_STR_EQ(fake.name, name);
	ext.size = 168;
	CHECK_OK(mkdir_with("dir", &ext, 168)); /* unknown and long */
	ext.size = 7;				/* less than its own head */
	CHECK_ERR(mkdir_with("dir", &ext, 8), -EINVAL);
	ext.size = 0;
	CHECK_ERR(mkdir_with("dir", &ext, 8), -EINVAL);
	ext.size = 17; /* one byte more than there is */
	CHECK_ERR(mkdir_with("dir", &ext, 16), -EINVAL);
	ext.size = UINT32_MAX;
	CHECK_ERR(mkdir_with("dir", &ext, 16), -EINVAL);
	ext.size = 12; /* four bytes are left: no head */
	CHECK_ERR(mkdir_with("dir", &ext, 16), -EINVAL);
	begin(FUSE_STATFS, 1); /* more extensions than message */
	CHECK_ERR(send(), -EINVAL);
	begin(FUSE_GETATTR, 1); /* no room for the argument beside them */
	add(&ext, 8);
	CHECK_ERR(send(), -EINVAL);
	proto_session_free(session);
}

TEST(test_dispatch__takes_groups_only_where_some_are)
{
	struct ext ext = { .size = 16, .type = WIRE_EXT_GROUPS, .words = { 1, 4711 } };

	start(UINT64_MAX);
	CHECK_OK(mkdir_with("dir", &ext, 16));
	CHECK(fake.ctx.has_supp_gid);
	CHECK_EQ(fake.ctx.supp_gid, 4711);
	ext.words[0] = 0;
	CHECK_OK(mkdir_with("dir", &ext, 16));
	CHECK(!fake.ctx.has_supp_gid);
	ext.words[0] = 3;
	ext.size = 24; /* the first of several counts */
	CHECK_OK(mkdir_with("dir", &ext, 24));
	CHECK(fake.ctx.has_supp_gid);
	CHECK_EQ(fake.ctx.supp_gid, 4711);
	ext.size = 8; /* no count: as if it were not there */
	CHECK_OK(mkdir_with("dir", &ext, 8));
	CHECK(!fake.ctx.has_supp_gid);
	proto_session_free(session);
}

/* ---- names ---------------------------------------------------------------- */

TEST(test_dispatch__symlinks_name_and_target)
{
	start(UINT64_MAX);
	begin(FUSE_SYMLINK, 0);
	add_text("link");
	add_long(4095);
	CHECK_OK(send());
	begin(FUSE_SYMLINK, 0);
	add_text("link");
	add_long(4096);
	CHECK_ERR(send(), -ENAMETOOLONG);
	begin(FUSE_SYMLINK, 0);
	add_long(256);
	add_text("a/target");
	CHECK_ERR(send(), -ENAMETOOLONG); /* the first error, not the last answer */
	begin(FUSE_SYMLINK, 0);
	add_long(256);
	add_long(4096);
	CHECK_ERR(send(), -ENAMETOOLONG);
	begin(FUSE_SYMLINK, 0);
	add_long(256);
	add_text("");
	CHECK_ERR(send(), -EINVAL); /* what no kernel sends comes first */
	begin(FUSE_SYMLINK, 0);
	add_text("link");
	CHECK_ERR(send(), -EINVAL);
	begin(FUSE_SYMLINK, 0);
	add_long(8000); /* more text than there is room for */
	CHECK_ERR(send(), -EINVAL);
	proto_session_free(session);
}

TEST(test_dispatch__dots_are_names_to_look_up_only)
{
	static const struct {
		const char *name;
		int lookup, unlink;
	} cases[] = { { ".", 0, -EINVAL }, { "..", 0, -EINVAL }, { "...", 0, 0 }, { ".a", 0, 0 } };

	start(UINT64_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(FUSE_LOOKUP, 0);
		add_text(cases[i].name);
		CHECK_EQ(send(), cases[i].lookup);
		begin(FUSE_UNLINK, 0);
		add_text(cases[i].name);
		CHECK_EQ(send(), cases[i].unlink);
	}
	proto_session_free(session);
}

TEST(test_dispatch__attribute_names_are_short)
{
	struct fuse_setxattr_in in = { .size = 5 };

	start(UINT64_MAX);
	begin(FUSE_REMOVEXATTR, 0);
	add_long(255);
	CHECK_OK(send());
	begin(FUSE_REMOVEXATTR, 0);
	add_long(256);
	CHECK_ERR(send(), -ERANGE);
	begin(FUSE_SETXATTR, 0);
	add(&in, sizeof(in));
	add_long(255);
	add("value", 5);
	CHECK_OK(send());
	begin(FUSE_SETXATTR, 0); /* no NUL where one has to be: what follows is no value */
	add(&in, sizeof(in));
	add_long(256);
	add("value", 5);
	CHECK_ERR(send(), -EINVAL);
	begin(FUSE_SETXATTR, 0);
	add(&in, sizeof(in));
	add("ab", 2);
	CHECK_ERR(send(), -EINVAL);
	begin(FUSE_SETXATTR, 0);
	add(&in, sizeof(in));
	CHECK_ERR(send(), -EINVAL);
	begin(FUSE_SETXATTR, 0);
	add(&in, sizeof(in));
	add_text("");
	add("value", 5);
	CHECK_ERR(send(), -EINVAL);
	proto_session_free(session);
}

TEST(test_dispatch__temporary_files_need_no_name)
{
	struct fuse_create_in in = { .mode = 0100600 };
	static const char *const names[] = { "", "/", "name" };

	start(UINT64_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		begin(FUSE_TMPFILE, 0);
		add(&in, sizeof(in));
		add_text(names[i]);
		CHECK_NE(send(), -EINVAL);
	}
	begin(FUSE_TMPFILE, 0);
	add(&in, sizeof(in));
	add("abc", 3);
	CHECK_ERR(send(), -EINVAL);
	proto_session_free(session);
}

/* ---- pieces --------------------------------------------------------------- */

/* Pieces of no bytes anywhere, even at the end; one byte a piece in the payload. */
TEST(test_dispatch__pieces_may_be_empty)
{
	struct fuse_write_in in = { .size = 6 };
	size_t head = sizeof(struct fuse_in_header);
	size_t some[] = { 0, head, 0, sizeof(in), 0, 2, 0, 4, 0 };
	size_t many[] = { head + sizeof(in), 1, 1, 1, 1, 1, 1 };

	start(UINT64_MAX);
	begin(FUSE_WRITE, 0);
	add(&in, sizeof(in));
	add("pieces", 6);
	CHECK_OK(send_pieces(some, ARRAY_SIZE(some)));
	CHECK_MEM_EQ(fake.data, "pieces", 6);
	memset(fake.data, 0, sizeof(fake.data));
	CHECK_OK(send_pieces(many, ARRAY_SIZE(many)));
	CHECK_EQ(fake.data_len, 6);
	CHECK_MEM_EQ(fake.data, "pieces", 6);
	proto_session_free(session);
}

TEST(test_cursor__slices_are_bounded)
{
	uint8_t bytes[8];
	struct iovec in[] = { { bytes, 2 }, { bytes + 2, 0 }, { bytes + 2, 2 }, { bytes + 4, 4 } };
	struct cursor c = { .iov = in, .count = 4, .left = 8 }, again = c;
	struct iovec out[3];

	CHECK_EQ(cursor_slice(&c, 9, out, 3), -1);
	CHECK_EQ(cursor_slice(&c, 3, out, 3), 2);
	CHECK_PTR_EQ(out[1].iov_base, bytes + 2);
	CHECK_EQ(out[1].iov_len, 1);
	CHECK_EQ(cursor_slice(&c, 5, out, 3), 2);
	CHECK_EQ(c.left, 0);
	CHECK_EQ(cursor_slice(&c, 0, out, 3), 0);
	CHECK(!cursor_copy(&c, bytes, 1));
	CHECK_EQ(cursor_slice(&again, 8, out, 2), -1); /* three pieces do not fit */
}

/* Malformed or without a handler: nothing to answer, and the transport wants it back all the same. */
TEST(test_dispatch__requests_without_reply_are_ended)
{
	start(UINT64_MAX);
	begin(FUSE_FORGET, 0);
	CHECK_OK(send()); /* malformed, and still nothing to answer */
	begin(FUSE_NOTIFY_REPLY, 0);
	CHECK_OK(send()); /* no handler */
	begin(FUSE_BATCH_FORGET, 0);
	add("x", 1);
	CHECK_OK(send());
	begin(FUSE_INTERRUPT, 0);
	CHECK_OK(send());
	CHECK_EQ(fake.calls, 0);
	proto_session_free(session);
}
