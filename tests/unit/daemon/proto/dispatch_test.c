/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The decoder against a transport and a filesystem that only remember: what is decoded,
 * what is refused before fs hears of it, and that each request is ended exactly once.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/inval/inval.h"
#include "daemon/proto/session.h"
#include "daemon/proto/wire.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/proto/fake_fs.h"

static struct {
	_Atomic unsigned replies;
	unsigned dones;
	_Atomic unsigned notes; /* counted when the note is there */
	int error;
	size_t len;
	uint8_t data[1 << 16];
	struct {
		int code;
		uint64_t nodeid;
		int64_t off, len;
		char name[64];
	} note[16];
	void (*on_note)(unsigned index);
} got;

static void on_reply(struct proto_req *req, int error, const struct iovec *iov, int count)
{
	(void)req;
	got.error = error;
	got.len = 0;
	for (int i = 0; i < count; i++) {
		memcpy(got.data + got.len, iov[i].iov_base, iov[i].iov_len);
		got.len += iov[i].iov_len;
	}
	atomic_fetch_add(&got.replies, 1);
}

static void on_done(struct proto_req *req)
{
	(void)req;
	got.dones++;
}

static int on_notify(void *transport, const struct iovec *iov, int count)
{
	const struct fuse_out_header *head = iov[0].iov_base;
	unsigned i = got.notes;

	(void)transport;
	if (i < 16) {
		got.note[i].code = head->error;
		if (count > 1)
			memcpy(&got.note[i].nodeid, iov[1].iov_base, 8);
		if (head->error == FUSE_NOTIFY_INVAL_INODE) {
			const struct fuse_notify_inval_inode_out *out = iov[1].iov_base;

			got.note[i].off = out->off;
			got.note[i].len = out->len;
		}
		if (count > 2)
			memcpy(got.note[i].name, iov[2].iov_base, iov[2].iov_len);
	}
	if (got.on_note)
		got.on_note(i);
	got.notes++;
	return 0;
}

static const struct transport_ops ops = { .name = "test", .reply = on_reply, .done = on_done };
static const struct transport_ops notify_ops = {
	.name = "test", .reply = on_reply, .done = on_done, .notify = on_notify
};

static struct proto_session *session;
static struct inval_bus *bus;
static uint8_t out_buf[1 << 16];
static uint8_t message[1 << 16];
static size_t message_len;
static unsigned iov_split; /* cut the message into pieces of so many bytes */
/* A parked request keeps its own: the next one must not lie on it. */
static struct proto_req reqs[2], *req = &reqs[0];

static void begin(uint32_t opcode, uint64_t nodeid)
{
	struct fuse_in_header head = {
		.opcode = opcode, .nodeid = nodeid, .unique = 10, .uid = 1000, .gid = 100, .pid = 7
	};

	memcpy(message, &head, sizeof(head));
	message_len = sizeof(head);
}

static void add(const void *data, size_t len)
{
	if (len)
		memcpy(message + message_len, data, len);
	message_len += len;
}

static void add_text(const char *text)
{
	add(text, strlen(text) + 1);
}

static void send_len(size_t header_len)
{
	static struct iovec in[PROTO_IOV_MAX];
	uint32_t len = (uint32_t)header_len;
	size_t at = 0;

	if (message_len >= 4)
		memcpy(message, &len, 4);
	memset(req, 0, sizeof(*req));
	req->session = session;
	req->ops = &notify_ops;
	while (at < message_len && req->in_count < PROTO_IOV_MAX) {
		size_t part = message_len - at;

		if (iov_split && part > iov_split && req->in_count < PROTO_IOV_MAX - 1)
			part = iov_split;
		in[req->in_count].iov_base = message + at;
		in[req->in_count++].iov_len = part;
		at += part;
	}
	req->in = in;
	req->out_buf = out_buf;
	req->out_size = sizeof(out_buf);
	proto_dispatch(req);
}

static void send(void)
{
	send_len(message_len);
}

static void send_init(uint32_t minor, uint64_t flags)
{
	struct fuse_init_in in = { .major = 7,
				   .minor = minor,
				   .max_readahead = 1 << 17,
				   .flags = (uint32_t)flags | FUSE_INIT_EXT,
				   .flags2 = (uint32_t)(flags >> 32) };

	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	send();
}

/* What INIT logs is not what is tested. */
__attribute__((constructor)) static void be_quiet(void)
{
	log_set_level(LOG_LEVEL_OFF);
}

static const struct fs_session_opts host = { .name = "host", .root_nodeid = 1 };

static void start_with(const struct proto_opts *opts, const struct transport_ops *with)
{
	fake_reset();
	CHECK_OK(inval_new(&bus));
	CHECK_OK(proto_session_new(NULL, bus, opts, NULL, with, &session));
	send_init(45, UINT64_MAX);
	CHECK_EQ(got.error, 0);
	CHECK(proto_ready(session));
}

static void start(bool share)
{
	struct proto_opts opts = { .share = share,
				   .posix_acl = true,
				   .session = &host,
				   .entry_timeout = -1,
				   .attr_timeout = -1,
				   .negative_timeout = -1 };

	start_with(&opts, &notify_ops);
}

static void stop(void)
{
	struct proto_stats stats;

	proto_get_stats(session, &stats);
	CHECK_EQ(stats.in_flight, 0);
	proto_session_free(session);
	inval_free(bus);
	CHECK_EQ(fake.sessions, 0);
}

static void expect_reply(int error)
{
	unsigned before = got.replies + got.dones;

	send();
	CHECK_EQ(got.replies + got.dones, before + 1);
	CHECK_EQ(got.error, error);
}

/* Each opcode once with nothing but zeros for arguments and names, everything logged. */
TEST(test_dispatch__traces_any_request)
{
	static const char names[] = "a\0b";

	start(true);
	CHECK_OK(log_set_sink(LOG_SINK_FILE, "/dev/null"));
	log_set_level(LOG_LEVEL_TRACE);
	for (uint32_t opcode = 1; opcode < PROTO_OPCODES; opcode++) {
		static const uint8_t zeros[128];
		const struct op_def *def = op_def_of(opcode);
		unsigned before = got.replies + got.dones;

		if (!def || opcode == FUSE_INIT || opcode == FUSE_DESTROY)
			continue;
		begin(opcode, 1);
		add(zeros, def->arg_size);
		add(names, def->names == 2 ? 4 : def->names * 2u);
		send();
		CHECK_EQ(got.replies + got.dones, before + 1);
	}
	log_set_level(LOG_LEVEL_OFF);
	stop();
}

TEST(test_init__agrees_on_the_writeback_profile)
{
	struct fuse_init_out out;
	uint64_t flags;

	start(false);
	memcpy(&out, got.data, sizeof(out));
	flags = out.flags | (uint64_t)out.flags2 << 32;
	CHECK_EQ(got.len, sizeof(out));
	CHECK_EQ(out.major, 7);
	CHECK_EQ(out.max_write, 1 << 20);
	CHECK_EQ(out.max_pages, 256);
	CHECK_EQ(out.time_gran, 1);
	CHECK_EQ(out.max_readahead, 1 << 17);
	CHECK(flags & FUSE_WRITEBACK_CACHE);
	CHECK(flags & FUSE_POSIX_ACL);
	CHECK(flags & FUSE_CREATE_SUPP_GROUP);
	CHECK(flags & FUSE_HANDLE_KILLPRIV_V2);
	CHECK(!(flags & (FUSE_ATOMIC_O_TRUNC | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
			 FUSE_EXPLICIT_INVAL_DATA | FUSE_SECURITY_CTX | FUSE_NO_EXPORT_SUPPORT)));
	CHECK(fake.session.writeback && !fake.session.shared);
	stop();
}

TEST(test_init__agrees_on_the_shared_profile)
{
	struct fuse_init_out out;

	start(true);
	memcpy(&out, got.data, sizeof(out));
	CHECK(!(out.flags & FUSE_WRITEBACK_CACHE));
	CHECK(out.flags & FUSE_EXPLICIT_INVAL_DATA);
	CHECK(out.flags & FUSE_POSIX_LOCKS);
	CHECK(out.flags & FUSE_FLOCK_LOCKS);
	CHECK(out.flags & FUSE_ATOMIC_O_TRUNC);
	CHECK(fake.session.shared && !fake.session.writeback);
	stop();
}

TEST(test_init__agrees_on_nothing_that_was_not_offered)
{
	struct proto_opts opts = { .session = &host };
	struct fuse_init_out out;

	fake_reset();
	CHECK_OK(proto_session_new(NULL, NULL, &opts, NULL, &ops, &session));
	send_init(31, FUSE_ASYNC_READ);
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(out.flags & ~FUSE_INIT_EXT, FUSE_ASYNC_READ);
	CHECK_EQ(out.flags2, 0);
	CHECK(!fake.session.writeback);
	send_init(31, 0); /* a second one */
	CHECK_EQ(got.error, -EBUSY);
	proto_session_free(session);
}

TEST(test_init__refuses_old_kernels_and_waits_for_newer_majors)
{
	struct proto_opts opts = { .session = &host };
	struct fuse_init_in in = { .major = 8, .minor = 1 };
	struct fuse_init_out out;

	fake_reset();
	CHECK_OK(proto_session_new(NULL, NULL, &opts, NULL, &ops, &session));
	send_init(30, UINT64_MAX);
	CHECK_EQ(got.error, -EPROTO);
	CHECK(!proto_ready(session));
	begin(FUSE_INIT, 0);
	add(&in, sizeof(in));
	send();
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(got.error, 0);
	CHECK_EQ(out.major, 7);
	CHECK(!proto_ready(session));
	begin(FUSE_GETATTR, 1);
	add(&(struct fuse_getattr_in){ 0 }, sizeof(struct fuse_getattr_in));
	expect_reply(-EIO); /* nothing is served before INIT */
	CHECK_EQ(fake.calls, 0);
	proto_session_free(session);
}

TEST(test_lookup__passes_the_name_and_fills_the_entry)
{
	struct fuse_entry_out out;

	start(false);
	begin(FUSE_LOOKUP, 9);
	add_text("hello");
	expect_reply(0);
	CHECK_STR_EQ(fake.call, "lookup");
	CHECK_EQ(fake.nodeid, 9);
	CHECK_STR_EQ(fake.name, "hello");
	CHECK_EQ(fake.ctx.uid, 1000);
	CHECK_EQ(fake.ctx.gid, 100);
	CHECK_EQ(fake.ctx.pid, 7);
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(out.nodeid, 42);
	CHECK_EQ(out.generation, 7);
	CHECK_GE(out.entry_valid, 86400);
	CHECK_GE(out.attr_valid, 86400);
	begin(FUSE_LOOKUP, 9);
	add_text(".");
	expect_reply(0);
	CHECK_STR_EQ(fake.call, "lookup_self");
	begin(FUSE_LOOKUP, 9);
	add_text("..");
	expect_reply(0);
	CHECK_STR_EQ(fake.call, "lookup_parent");
	stop();
}

TEST(test_lookup__makes_absence_cacheable)
{
	struct fuse_entry_out out;

	start(false);
	fake.error = -ENOENT;
	begin(FUSE_LOOKUP, 1);
	add_text("none");
	expect_reply(0);
	memcpy(&out, got.data, sizeof(out));
	CHECK_EQ(out.nodeid, 0);
	CHECK_GE(out.entry_valid, 86400);
	stop();
}

TEST(test_lookup__answers_absence_plainly_without_negative_timeout)
{
	struct proto_opts opts = { .session = &host, .negative_timeout = 0 };

	start_with(&opts, &notify_ops);
	fake.entry.nodeid = 0;
	begin(FUSE_LOOKUP, 1);
	add_text("none");
	expect_reply(-ENOENT);
	stop();
}

/* Requests whose content contradicts itself never reach fs. */
static void expect_malformed(void)
{
	struct proto_stats before, after;
	unsigned calls = fake.calls;

	proto_get_stats(session, &before);
	expect_reply(-EINVAL);
	proto_get_stats(session, &after);
	CHECK_EQ(fake.calls, calls);
	CHECK_EQ(after.malformed, before.malformed + 1);
}

TEST(test_dispatch__refuses_malformed_names)
{
	start(false);
	begin(FUSE_LOOKUP, 1);
	expect_malformed(); /* no name */
	begin(FUSE_LOOKUP, 1);
	add("abc", 3);
	expect_malformed(); /* no NUL */
	begin(FUSE_LOOKUP, 1);
	add_text("");
	expect_malformed();
	begin(FUSE_LOOKUP, 1);
	add_text("a/b");
	expect_malformed();
	begin(FUSE_LOOKUP, 1);
	add_text("a");
	add_text("b");
	expect_malformed(); /* more than was asked for */
	begin(FUSE_UNLINK, 1);
	add_text("..");
	expect_malformed();
	begin(FUSE_RENAME, 1);
	add(&(struct fuse_rename_in){ .newdir = 2 }, 8);
	add_text("one");
	expect_malformed(); /* the second is missing */
	stop();
}

TEST(test_dispatch__answers_long_names_as_too_long)
{
	char name[600];

	start(false);
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	begin(FUSE_LOOKUP, 1);
	add_text(name);
	expect_reply(-ENAMETOOLONG);
	name[255] = 0;
	begin(FUSE_LOOKUP, 1);
	add_text(name);
	expect_reply(0);
	CHECK_EQ(strlen(fake.name), 255);
	stop();
}

TEST(test_dispatch__refuses_wrong_lengths)
{
	struct fuse_batch_forget_in none = { .count = 0 };
	static struct proto_stats stats;
	uint64_t malformed;

	start(false);
	begin(FUSE_GETATTR, 1);
	expect_malformed(); /* no argument */
	begin(FUSE_STATFS, 1);
	add("x", 1);
	expect_malformed(); /* one byte too many */
	begin(FUSE_STATFS, 1);
	send_len(message_len + 1); /* the header promises more than came */
	CHECK_EQ(got.error, -EINVAL);
	proto_get_stats(session, &stats);
	malformed = stats.malformed;
	begin(FUSE_BATCH_FORGET, 0);
	add(&none, sizeof(none));
	send_len(message_len + 1); /* also where anything may follow */
	proto_get_stats(session, &stats);
	CHECK_EQ(stats.malformed, malformed + 1);
	begin(FUSE_STATFS, 1);
	send_len(39); /* and less than a header */
	CHECK_EQ(got.error, -EINVAL);
	message_len = 10; /* not even a header came */
	send();
	CHECK_EQ(got.error, -EINVAL);
	stop();
}

TEST(test_dispatch__survives_every_truncation_of_every_opcode)
{
	uint8_t body[256];

	start(false);
	for (uint32_t opcode = 0; opcode < 70; opcode++) {
		if (opcode == FUSE_INIT || opcode == FUSE_DESTROY)
			continue;
		for (size_t len = 0; len <= 200; len++) {
			unsigned ended = got.replies + got.dones;

			for (size_t i = 0; i < len; i++)
				body[i] = (uint8_t)test_random();
			begin(opcode, 1);
			add(body, len);
			send();
			/* A parked seek ends a moment later. */
			for (int i = 0; i < 1000 && got.replies + got.dones == ended; i++)
				(void)poll(NULL, 0, 1);
			CHECK_EQ(got.replies + got.dones, ended + 1);
		}
	}
	stop();
}

TEST(test_dispatch__answers_unknown_opcodes_with_enosys)
{
	struct proto_stats stats;

	start(false);
	begin(63, 1);
	expect_reply(-ENOSYS);
	begin(4096, 1);
	expect_reply(-ENOSYS);
	proto_get_stats(session, &stats);
	CHECK_EQ(stats.unknown, 2);
	begin(FUSE_ACCESS, 1);
	add(&(struct fuse_access_in){ 0 }, sizeof(struct fuse_access_in));
	expect_reply(-ENOSYS);
	begin(FUSE_POLL, 1);
	add(&(struct fuse_poll_in){ 0 }, sizeof(struct fuse_poll_in));
	expect_reply(-ENOSYS);
	stop();
}

TEST(test_dispatch__reads_scattered_requests)
{
	struct fuse_mknod_in in = { .mode = S_IFREG | 0640, .umask = 022 };

	start(false);
	for (iov_split = 1; iov_split < 20; iov_split += 3) {
		begin(FUSE_MKNOD, 3);
		add(&in, sizeof(in));
		add_text("scattered");
		expect_reply(0);
		CHECK_STR_EQ(fake.name, "scattered");
		CHECK_EQ(fake.create.mode, S_IFREG | 0640);
		CHECK_EQ(fake.ctx.umask, 022);
		CHECK(fake.create.excl);
	}
	iov_split = 0;
	stop();
}

TEST(test_dispatch__takes_the_supplementary_group)
{
	struct fuse_mkdir_in in = { .mode = 0755, .umask = 0 };
	struct {
		struct fuse_ext_header head;
		uint32_t count, gid;
	} ext = { { .size = 16, .type = WIRE_EXT_GROUPS }, 1, 4711 };
	uint16_t words = sizeof(ext) / 8;

	start(false);
	begin(FUSE_MKDIR, 1);
	memcpy(message + offsetof(struct fuse_in_header, total_extlen), &words, 2);
	add(&in, sizeof(in));
	add_text("dir");
	add(&ext, sizeof(ext));
	expect_reply(0);
	CHECK_STR_EQ(fake.name, "dir");
	CHECK(fake.ctx.has_supp_gid);
	CHECK_EQ(fake.ctx.supp_gid, 4711);
	/* An extension that claims more than there is. */
	ext.head.size = 64;
	message_len = sizeof(struct fuse_in_header);
	add(&in, sizeof(in));
	add_text("dir");
	add(&ext, sizeof(ext));
	expect_malformed();
	words = 100;
	memcpy(message + offsetof(struct fuse_in_header, total_extlen), &words, 2);
	expect_malformed();
	stop();
}

TEST(test_open__is_refused_once_and_for_all_without_sharing)
{
	static const uint32_t opcodes[] = { FUSE_OPEN, FUSE_OPENDIR };

	start(false);
	for (size_t i = 0; i < 2; i++) {
		begin(opcodes[i], 1);
		add(&(struct fuse_open_in){ 0 }, sizeof(struct fuse_open_in));
		expect_reply(-ENOSYS);
	}
	begin(FUSE_FLUSH, 1);
	add(&(struct fuse_flush_in){ 0 }, sizeof(struct fuse_flush_in));
	expect_reply(-ENOSYS);
	begin(FUSE_CREATE, 1);
	add(&(struct fuse_create_in){ 0 }, sizeof(struct fuse_create_in));
	add_text("a");
	expect_reply(-ENOSYS);
	begin(FUSE_RELEASE, 1);
	add(&(struct fuse_release_in){ 0 }, sizeof(struct fuse_release_in));
	expect_reply(0);
	CHECK_EQ(fake.calls, 0);
	stop();
}

TEST(test_open__truncates_with_sharing)
{
	start(true);
	begin(FUSE_OPEN, 8);
	add(&(struct fuse_open_in){ .flags = O_TRUNC | O_WRONLY,
				    .open_flags = FUSE_OPEN_KILL_SUIDGID },
	    sizeof(struct fuse_open_in));
	expect_reply(0);
	CHECK_STR_EQ(fake.call, "setattr");
	CHECK_EQ(fake.setattr.valid, FS_SET_SIZE | FS_SET_KILL_SUIDGID);
	CHECK_EQ(fake.setattr.size, 0);
	stop();
}

TEST(test_create__gives_the_lookup_back_when_opening_fails)
{
	start(true);
	begin(FUSE_CREATE, 1);
	add(&(struct fuse_create_in){ .mode = S_IFREG | 0644, .flags = O_EXCL },
	    sizeof(struct fuse_create_in));
	add_text("new");
	expect_reply(0);
	CHECK(fake.create.excl);
	CHECK_EQ(got.len, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
	CHECK_EQ(fake.forgotten, 0);
	stop();
}

TEST(test_setattr__maps_each_bit)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE | FATTR_SIZE | FATTR_MTIME |
					       FATTR_MTIME_NOW | FATTR_ATIME | FATTR_CTIME |
					       FATTR_KILL_SUIDGID | FATTR_FH | FATTR_LOCKOWNER,
				      .mode = 0600,
				      .size = 12345,
				      .atime = (uint64_t)-5,
				      .atimensec = 999999999,
				      .ctime = 7,
				      .ctimensec = 8 };

	start(false);
	begin(FUSE_SETATTR, 6);
	add(&in, sizeof(in));
	expect_reply(0);
	CHECK_EQ(fake.setattr.valid, FS_SET_MODE | FS_SET_SIZE | FS_SET_MTIME_NOW | FS_SET_ATIME |
					     FS_SET_CTIME | FS_SET_KILL_SUIDGID);
	CHECK_EQ(fake.setattr.size, 12345);
	CHECK_EQ(fake.setattr.atime.s, -5);
	CHECK_EQ(fake.setattr.atime.ns, 999999999);
	CHECK_EQ(fake.setattr.ctime.s, 7);
	CHECK_EQ(got.len, sizeof(struct fuse_attr_out));
	in.atimensec = 1000000000;
	begin(FUSE_SETATTR, 6);
	add(&in, sizeof(in));
	expect_malformed();
	stop();
}

TEST(test_write__hands_the_payload_on_uncopied)
{
	struct fuse_write_in in = {
		.offset = 4096, .size = 5, .write_flags = FUSE_WRITE_CACHE, .flags = O_SYNC
	};

	start(false);
	begin(FUSE_WRITE, 6);
	add(&in, sizeof(in));
	add("hello", 5);
	expect_reply(0);
	CHECK_EQ(fake.write.off, 4096);
	CHECK_EQ(fake.write.flags, FS_WRITE_CACHE);
	CHECK_EQ(fake.data_len, 5);
	CHECK_MEM_EQ(fake.data, "hello", 5);
	CHECK_EQ(((struct fuse_write_out *)(void *)got.data)->size, 5);
	in.write_flags = FUSE_WRITE_KILL_SUIDGID;
	in.size = 6; /* more than follows */
	begin(FUSE_WRITE, 6);
	add(&in, sizeof(in));
	add("hello", 5);
	expect_malformed();
	in.size = 5;
	begin(FUSE_WRITE, 6);
	add(&in, sizeof(in));
	add("hello", 5);
	expect_reply(0);
	CHECK_EQ(fake.write.flags, FS_WRITE_KILL_SUIDGID | FS_WRITE_SYNC);
	in.offset = UINT64_MAX - 2;
	begin(FUSE_WRITE, 6);
	add(&in, sizeof(in));
	add("hello", 5);
	expect_malformed();
	stop();
}

static void wait_replies(unsigned count)
{
	for (int i = 0; i < 5000 && got.replies < count; i++)
		(void)poll(NULL, 0, 1);
	CHECK_EQ(got.replies, count);
}

TEST(test_write__tells_the_kernel_that_the_mode_changed)
{
	struct fuse_write_in in = { .size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID };
	unsigned replies;

	start(false);
	fake.attr.mode = S_IFREG | 04755;
	for (int i = 0; i < 2; i++) {
		replies = got.replies;
		begin(FUSE_WRITE, 6);
		add(&in, sizeof(in));
		add("x", 1);
		send();
		wait_replies(replies + 1);
		CHECK_EQ(((struct fuse_write_out *)(void *)got.data)->size, 1);
		CHECK_EQ(got.notes, 1); /* of the first only: the second finds no such bit */
		fake.attr.mode = S_IFREG | 0755;
	}
	CHECK_EQ(got.note[0].code, FUSE_NOTIFY_INVAL_INODE);
	CHECK_EQ(got.note[0].nodeid, 6);
	CHECK_EQ(got.note[0].off, -1);
	stop();
}

TEST(test_read__is_capped_by_the_buffer)
{
	struct fuse_read_in in = { .offset = 100, .size = 1 << 30 };

	start(false);
	begin(FUSE_READ, 6);
	add(&in, sizeof(in));
	expect_reply(0);
	CHECK_EQ(fake.len, sizeof(out_buf));
	CHECK_EQ(got.len, sizeof(out_buf));
	in.offset = UINT64_MAX - 5;
	begin(FUSE_READ, 6);
	add(&in, sizeof(in));
	expect_malformed();
	stop();
}

TEST(test_readdir__packs_whole_entries)
{
	struct fuse_read_in in = { .size = 200 };
	const struct fuse_dirent *d = (void *)got.data;

	start(false);
	fake.entries = 100;
	begin(FUSE_READDIR, 1);
	add(&in, sizeof(in));
	expect_reply(0);
	CHECK_EQ(fake.len, 200 / 32);
	CHECK_EQ(got.len, 192);
	CHECK_EQ(d->ino, 100);
	CHECK_EQ(d->off, 1);
	CHECK_EQ(d->namelen, 5);
	CHECK_MEM_EQ(d->name, "name0", 5);
	stop();
}

TEST(test_readdirplus__leaves_dots_without_entry)
{
	struct fuse_read_in in = { .size = 4096 };
	const struct fuse_direntplus *d = (void *)got.data;

	start(false);
	fake.entries = 4;
	begin(FUSE_READDIRPLUS, 1);
	add(&in, sizeof(in));
	expect_reply(0);
	CHECK_EQ(got.len, 4 * 160);
	CHECK_EQ(d->entry_out.nodeid, 0);
	CHECK_EQ(d->entry_out.entry_valid, 0);
	d = (void *)(got.data + 2 * 160);
	CHECK_EQ(d->entry_out.nodeid, 42);
	CHECK_MEM_EQ(d->dirent.name, "name2", 5);
	stop();
}

TEST(test_readdir__gives_what_it_has_before_an_error)
{
	struct fuse_read_in in = { .size = 4096 };

	start(false);
	fake.entries = 3;
	fake.error = -EUCLEAN;
	begin(FUSE_READDIR, 1);
	add(&in, sizeof(in));
	expect_reply(0);
	CHECK_EQ(got.len, 96);
	in.offset = 3;
	begin(FUSE_READDIR, 1);
	add(&in, sizeof(in));
	expect_reply(-EUCLEAN);
	stop();
}

TEST(test_setxattr__takes_both_forms)
{
	struct fuse_setxattr_in in = { .size = 5 };
	struct proto_opts opts = { .session = &host };

	start(false);
	begin(FUSE_SETXATTR, 1);
	add(&in, sizeof(in));
	add_text("user.x");
	add("value", 5);
	expect_reply(0);
	CHECK_STR_EQ(fake.name, "user.x");
	CHECK_MEM_EQ(fake.data, "value", 5);
	CHECK(!fake.removed);
	begin(FUSE_REMOVEXATTR, 1);
	add_text("user.x");
	expect_reply(0);
	CHECK(fake.removed);
	in.size = 6;
	begin(FUSE_SETXATTR, 1);
	add(&in, sizeof(in));
	add_text("user.x");
	add("value", 5);
	expect_malformed();
	stop();
	/* Without the extension the structure is half as long. */
	fake_reset();
	CHECK_OK(proto_session_new(NULL, NULL, &opts, NULL, &ops, &session));
	send_init(31, 0);
	in.size = 5;
	begin(FUSE_SETXATTR, 1);
	add(&in, FUSE_COMPAT_SETXATTR_IN_SIZE);
	add_text("user.y");
	add("value", 5);
	expect_reply(0);
	CHECK_STR_EQ(fake.name, "user.y");
	proto_session_free(session);
}

TEST(test_getxattr__asks_for_size_or_value)
{
	struct fuse_getxattr_in in = { .size = 0 };

	start(false);
	fake.data_len = 3;
	memcpy(fake.data, "abc", 3);
	begin(FUSE_GETXATTR, 1);
	add(&in, sizeof(in));
	add_text("user.a");
	expect_reply(0);
	CHECK_EQ(((struct fuse_getxattr_out *)(void *)got.data)->size, 3);
	in.size = 100;
	begin(FUSE_GETXATTR, 1);
	add(&in, sizeof(in));
	add_text("user.a");
	expect_reply(0);
	CHECK_EQ(got.len, 3);
	CHECK_MEM_EQ(got.data, "abc", 3);
	in.size = 2;
	begin(FUSE_GETXATTR, 1);
	add(&in, sizeof(in));
	add_text("user.a");
	expect_reply(-ERANGE);
	stop();
}

TEST(test_forget__is_never_replied)
{
	struct fuse_forget_one ones[3] = { { 5, 2 }, { 6, 3 }, { 7, 4 } };
	struct fuse_batch_forget_in in = { .count = 3 };
	unsigned replies;

	start(false);
	replies = got.replies;
	begin(FUSE_FORGET, 5);
	add(&(struct fuse_forget_in){ .nlookup = 5 }, 8);
	send();
	CHECK_EQ(fake.forgotten, 5);
	begin(FUSE_BATCH_FORGET, 0);
	add(&in, sizeof(in));
	add(ones, sizeof(ones));
	send();
	CHECK_EQ(fake.forgotten, 5 + 2 + 3 + 4);
	in.count = 4; /* more than follow */
	begin(FUSE_BATCH_FORGET, 0);
	add(&in, sizeof(in));
	add(ones, sizeof(ones));
	send();
	CHECK_EQ(fake.forgotten, 5 + 2 + 3 + 4);
	CHECK_EQ(got.replies, replies);
	CHECK_EQ(got.dones, 3);
	stop();
}

static void send_ioctl(uint32_t cmd, const void *in_data, uint32_t in_size, uint32_t out_size)
{
	struct fuse_ioctl_in in = { .cmd = cmd, .in_size = in_size, .out_size = out_size };

	begin(FUSE_IOCTL, 9);
	add(&in, sizeof(in));
	add(in_data, in_size);
	send();
}

TEST(test_ioctl__answers_in_the_size_that_was_asked_for)
{
	uint32_t flags = FS_APPEND_FL;
	struct fsxattr fsx = { .fsx_xflags = FS_XFLAG_NOATIME, .fsx_projid = 3 };
	struct fstrim_range range = { .len = 1000 };
	const size_t head = sizeof(struct fuse_ioctl_out);
	unsigned replies;

	start(false);
	fake.fileattr = (struct fs_fileattr){ .flags = FS_IMMUTABLE_FL, .generation = 77 };
	send_ioctl(FS_IOC_GETFLAGS, NULL, 0, 4);
	CHECK_EQ(got.len, head + 4);
	send_ioctl(FS_IOC_GETFLAGS, NULL, 0, 8);
	CHECK_EQ(got.len, head + 8);
	CHECK_EQ(got.data[head], FS_IMMUTABLE_FL);
	send_ioctl(_IOR('v', 1, long), NULL, 0, 8);
	CHECK_EQ(got.len, head + 4); /* lsattr passes an int */
	CHECK_EQ(got.data[head], 77);
	send_ioctl(FS_IOC_FSGETXATTR, NULL, 0, sizeof(fsx));
	CHECK_EQ(got.len, head + sizeof(fsx));
	/* Answered when the kernel was told that it does not know the inode's times any more. */
	replies = atomic_load(&got.replies);
	send_ioctl(FS_IOC_SETFLAGS, &flags, 4, 0);
	wait_replies(replies + 1);
	CHECK_EQ(got.error, 0);
	CHECK_EQ(got.len, head);
	CHECK_EQ(got.note[0].nodeid, 9);
	CHECK_EQ(got.note[0].off, -1);
	CHECK_EQ(fake.fileattr.flags, FS_APPEND_FL);
	send_ioctl(FS_IOC_FSSETXATTR, &fsx, sizeof(fsx), 0);
	wait_replies(replies + 2);
	CHECK_EQ(got.note[1].nodeid, 9);
	CHECK_EQ(fake.fileattr.flags, FS_NOATIME_FL);
	CHECK_EQ(fake.fileattr_valid, FS_FILEATTR_FLAGS | FS_FILEATTR_PROJID);
	send_ioctl(_IOW('v', 2, long), &flags, 4, 0);
	CHECK_EQ(got.error, -ENOTTY); /* the generation is part of every handle */
	send_ioctl(FITRIM, &range, sizeof(range), sizeof(range));
	CHECK_EQ(got.error, -EPERM); /* root only */
	send_ioctl(FS_IOC_SETFLAGS, &flags, 2, 0);
	CHECK_EQ(got.error, -EINVAL);
	stop();
}

static void send_setlkw(void)
{
	struct fuse_lk_in in = { .owner = 3, .lk = { .end = 100, .type = F_WRLCK } };

	begin(FUSE_SETLKW, 4);
	add(&in, sizeof(in));
	send();
}

TEST(test_setlkw__is_parked_and_granted_later)
{
	struct fs_lock_wait *wait;
	struct proto_inflight list[4];
	unsigned replies;

	start(true);
	fake.park = true;
	replies = got.replies;
	send_setlkw();
	CHECK_EQ(got.replies, replies);
	CHECK_EQ(proto_list_inflight(session, list, 4), 1);
	CHECK_EQ(list[0].opcode, FUSE_SETLKW);
	CHECK_EQ(list[0].unique, 10);
	wait = fake.waiting;
	fake.waiting = NULL;
	wait->done(wait, 0);
	CHECK_EQ(got.replies, replies + 1);
	CHECK_EQ(got.error, 0);
	stop();
}

TEST(test_interrupt__ends_a_parked_lock_only)
{
	struct fuse_interrupt_in in = { .unique = 10 };
	struct proto_req *first = req;
	unsigned replies;

	start(true);
	fake.park = true;
	replies = got.replies;
	send_setlkw();
	req = &reqs[1];
	begin(FUSE_INTERRUPT, 0);
	add(&in, sizeof(in));
	message[8] = 11; /* its own id: that of the request, marked */
	send();
	CHECK_EQ(got.error, -EINTR);
	CHECK_EQ(got.replies, replies + 1);
	CHECK_EQ(got.dones, 1);
	/* Nobody waits any more: nothing to answer. */
	send();
	CHECK_EQ(got.replies, replies + 1);
	CHECK_EQ(got.dones, 2);
	req = first;
	stop();
}

TEST(test_setlk__without_sharing_is_the_kernel_s_business)
{
	start(false);
	begin(FUSE_SETLK, 4);
	add(&(struct fuse_lk_in){ 0 }, sizeof(struct fuse_lk_in));
	expect_reply(-ENOSYS);
	stop();
	start(true);
	begin(FUSE_SETLK, 4);
	add(&(struct fuse_lk_in){ .lk = { .start = 5, .end = 4, .type = F_WRLCK } },
	    sizeof(struct fuse_lk_in));
	expect_malformed();
	stop();
}

static void send_seek(uint64_t off, uint32_t whence)
{
	struct fuse_lseek_in in = { .offset = off, .whence = whence };
	unsigned before = got.replies;

	begin(FUSE_LSEEK, 4);
	add(&in, sizeof(in));
	send();
	wait_replies(before + 1);
}

static uint64_t seek_result(void)
{
	uint64_t off;

	memcpy(&off, got.data, 8);
	return off;
}

/* The kernel writes a page at 4096 back that the store does not know yet. */
static void write_back(unsigned index)
{
	(void)index;
	if (got.note[got.notes].off <= 4096) {
		fake.size = 8192;
		fake.hole = 0;
		fake.hole_end = 4096;
	}
}

TEST(test_lseek__sees_data_that_only_the_kernel_has)
{
	start(false);
	got.on_note = write_back;
	send_seek(0, SEEK_DATA); /* an empty file for the store */
	CHECK_EQ(got.error, 0);
	CHECK_EQ(seek_result(), 4096);
	CHECK_EQ(got.note[0].code, FUSE_NOTIFY_INVAL_INODE);
	CHECK_EQ(got.note[0].nodeid, 4);
	CHECK_EQ(got.note[0].off, 0);
	CHECK_EQ(got.note[0].len, 0);
	send_seek(4096, SEEK_HOLE);
	CHECK_EQ(got.error, 0);
	CHECK_EQ(seek_result(), 8192);
	send_seek(8192, SEEK_DATA);
	CHECK_EQ(got.error, -ENXIO);
	stop();
}

TEST(test_lseek__leaves_pages_of_data_alone)
{
	start(false);
	fake.size = 100000;
	fake.hole = 40960;
	fake.hole_end = 81920;
	send_seek(0, SEEK_DATA);
	CHECK_EQ(seek_result(), 0);
	CHECK_EQ(got.notes, 0);
	send_seek(0, SEEK_HOLE);
	CHECK_EQ(seek_result(), 40960);
	CHECK_EQ(got.notes, 1);
	CHECK_EQ(got.note[0].off, 40960);
	CHECK_EQ(got.note[0].len, 40960);
	stop();
}

TEST(test_lseek__asks_the_store_alone_without_a_channel)
{
	struct proto_opts opts = { .session = &host, .share = true };

	start_with(&opts, &ops);
	fake.size = 8192;
	send_seek(100, SEEK_DATA);
	CHECK_EQ(seek_result(), 100);
	CHECK_EQ(got.notes, 0);
	begin(FUSE_LSEEK, 4);
	add(&(struct fuse_lseek_in){ .whence = SEEK_END }, sizeof(struct fuse_lseek_in));
	expect_reply(-EINVAL);
	stop();
}

static void wait_notes(unsigned count)
{
	for (int i = 0; i < 5000 && got.notes < count; i++)
		(void)poll(NULL, 0, 1);
	CHECK_EQ(got.notes, count);
}

TEST(test_notify__tells_the_kernel_what_others_did)
{
	int other;
	struct inval_event ev = {
		.kind = INVAL_ENTRY, .nodeid = 3, .name = "gone", .name_len = 4, .origin = &other
	};

	start(true);
	inval_publish(bus, &ev);
	wait_notes(1);
	CHECK_EQ(got.note[0].code, FUSE_NOTIFY_INVAL_ENTRY);
	CHECK_EQ(got.note[0].nodeid, 3);
	CHECK_STR_EQ(got.note[0].name, "gone");
	ev = (struct inval_event){ .kind = INVAL_DATA, .nodeid = 5, .off = 8192, .len = 10 };
	inval_publish(bus, &ev);
	wait_notes(2); /* ranges have a thread of their own */
	ev = (struct inval_event){ .kind = INVAL_ATTR, .nodeid = 6 };
	inval_publish(bus, &ev);
	ev = (struct inval_event){
		.kind = INVAL_DELETE, .nodeid = 7, .nodeid_child = 8, .name = "x", .name_len = 1
	};
	inval_publish(bus, &ev);
	ev = (struct inval_event){ .kind = INVAL_ALL };
	inval_publish(bus, &ev);
	wait_notes(5);
	CHECK_EQ(got.note[1].off, 8192);
	CHECK_EQ(got.note[1].len, 10);
	CHECK_EQ(got.note[2].off, -1);
	CHECK_EQ(got.note[3].code, FUSE_NOTIFY_DELETE);
	CHECK_EQ(got.note[4].code, WIRE_NOTIFY_INC_EPOCH);
	stop();
}

TEST(test_notify__is_silent_about_own_changes)
{
	struct inval_event ev = { .kind = INVAL_ATTR, .nodeid = 3, .origin = &fake };
	struct inval_event other = { .kind = INVAL_ATTR, .nodeid = 4 };

	start(true);
	inval_publish(bus, &ev);
	inval_publish(bus, &other);
	wait_notes(1);
	CHECK_EQ(got.note[0].nodeid, 4);
	stop();
}

/* A lost write of a node that no kernel has: refused like any other. */
TEST(test_write__of_node_0_is_an_error)
{
	struct fuse_write_in in = { .size = 5, .write_flags = FUSE_WRITE_CACHE };

	start(false);
	fake.error = -ESTALE;
	begin(FUSE_WRITE, 0);
	add(&in, sizeof(in));
	add("hello", 5);
	expect_reply(-ESTALE);
	stop();
}

TEST(test_stats__count_requests_and_errors_of_each_opcode)
{
	struct proto_stats stats;

	start(false);
	begin(FUSE_STATFS, 1);
	expect_reply(0);
	fake.error = -EIO;
	begin(FUSE_STATFS, 1);
	expect_reply(-EIO);
	proto_get_stats(session, &stats);
	CHECK_STR_EQ(stats.ops[FUSE_STATFS].name, "STATFS");
	CHECK_EQ(stats.ops[FUSE_STATFS].op.requests, 2);
	CHECK_EQ(stats.ops[FUSE_STATFS].op.errors, 1);
	CHECK(!stats.ops[63].name);
	CHECK_EQ(stats.minor, 45);
	CHECK_EQ(proto_max_request(session), (1 << 20) + 4096);
	stop();
}

TEST(test_copy_file_range__counts_in_32_bits_or_64)
{
	struct fuse_copy_file_range_in in = { .nodeid_out = 2, .len = UINT64_C(1) << 33 };
	uint64_t copied;

	start(false);
	begin(FUSE_COPY_FILE_RANGE, 1);
	add(&in, sizeof(in));
	expect_reply(0);
	CHECK_EQ(got.len, sizeof(struct fuse_write_out));
	CHECK_EQ(fake.copy.len, UINT32_MAX & ~4095u);
	begin(WIRE_COPY_FILE_RANGE_64, 1);
	add(&in, sizeof(in));
	expect_reply(0);
	memcpy(&copied, got.data, 8);
	CHECK_EQ(copied, UINT64_C(1) << 33);
	stop();
}

TEST(test_destroy__ends_the_session)
{
	start(false);
	begin(FUSE_DESTROY, 0);
	expect_reply(0);
	CHECK(!proto_ready(session));
	begin(FUSE_STATFS, 1);
	expect_reply(-EIO);
	stop();
}
