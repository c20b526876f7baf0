/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What only guests' sessions do: payload in pieces that are the transport's own, nothing kept that nobody could call back,
 * and answers that wait until another session's kernel was told.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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
	unsigned replies, filled;
	int error;
	size_t len;
	uint8_t data[256];
	bool changes;
} got;
static pthread_mutex_t writing =
	PTHREAD_MUTEX_INITIALIZER; /* the host's device is stuck while this is held */
static _Atomic unsigned notes, told;
static struct fuse_notify_inval_inode_out last_note; /* [writing] */
static struct proto_session *beside;		     /* the next guest's host */

static void on_reply(struct proto_req *req, int error, const struct iovec *iov, int count)
{
	got.replies++;
	got.error = error;
	got.changes = req->changes;
	got.len = count ? iov[0].iov_len : 0;
	if (got.len)
		memcpy(got.data, iov[0].iov_base, MIN(got.len, sizeof(got.data)));
}

static void on_filled(struct proto_req *req, size_t len)
{
	(void)req;
	got.filled++;
	got.error = 0;
	got.len = len;
}

static void on_done(struct proto_req *req)
{
	(void)req;
}

static int on_note(void *transport, const struct iovec *iov, int count)
{
	(void)transport;
	(void)pthread_mutex_lock(&writing);
	if (count > 1 && iov[1].iov_len == sizeof(last_note))
		memcpy(&last_note, iov[1].iov_base, sizeof(last_note));
	atomic_fetch_add(&notes, 1);
	(void)pthread_mutex_unlock(&writing);
	return 0;
}

static const struct transport_ops guest_ops = {
	.name = "vhost", .reply = on_reply, .reply_filled = on_filled, .done = on_done
};
static const struct transport_ops host_ops = {
	.name = "dev", .reply = on_reply, .done = on_done, .notify = on_note
};
static const struct fs_session_opts session_opts = { .name = "guest", .root_nodeid = 1 };
static struct proto_session *session;
static struct inval_bus *bus;
static struct iovec *out;
static int out_count;

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
				  .out = out,
				  .out_count = out_count,
				  .out_buf = buf,
				  .out_size = sizeof(buf) };
	proto_dispatch(&req);
	CHECK_EQ(got.replies + got.filled, 1);
}

static bool held_back; /* the next guest may hold writes back */

static struct fuse_init_out start(bool guest)
{
	struct proto_opts opts = { .share = true,
				   .guest = guest,
				   .guest_writeback = held_back,
				   .host = beside,
				   .session = &session_opts,
				   .entry_timeout = guest ? 1 : -1,
				   .attr_timeout = guest ? 1 : -1 };
	struct fuse_init_in in = {
		.major = 7, .minor = 45, .flags = UINT32_MAX, .flags2 = UINT32_MAX
	};
	struct fuse_init_out answer;

	log_set_level(LOG_LEVEL_OFF);
	fake_reset();
	CHECK_OK(inval_new(&bus));
	CHECK_OK(proto_session_new(NULL, bus, &opts, NULL, guest ? &guest_ops : &host_ops,
				   &session));
	send(FUSE_INIT, &in, sizeof(in));
	CHECK_OK(got.error);
	CHECK_EQ(got.len, sizeof(answer));
	memcpy(&answer, got.data, sizeof(answer));
	return answer;
}

static void stop(void)
{
	proto_session_free(session);
	inval_free(bus);
}

static uint32_t open_flags(void)
{
	struct fuse_open_in in = { .flags = O_RDWR };
	struct fuse_open_out answer;

	send(FUSE_OPEN, &in, sizeof(in));
	CHECK_OK(got.error);
	memcpy(&answer, got.data, sizeof(answer));
	return answer.open_flags;
}

TEST(test_guest__keeps_nothing_that_cannot_be_called_back)
{
	struct fuse_init_out answer = start(true);

	CHECK(answer.flags & FUSE_AUTO_INVAL_DATA);
	CHECK(!(answer.flags & (FUSE_EXPLICIT_INVAL_DATA | FUSE_WRITEBACK_CACHE |
				FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT)));
	CHECK_EQ(open_flags(), 0);
	CHECK(got.changes);
	send(FUSE_OPENDIR, &(struct fuse_open_in){ 0 }, sizeof(struct fuse_open_in));
	CHECK_EQ(((struct fuse_open_out *)(void *)got.data)->open_flags, 0);
	CHECK(!got.changes);
	stop();
	answer = start(false);
	CHECK(answer.flags & FUSE_EXPLICIT_INVAL_DATA);
	CHECK(!(answer.flags & FUSE_AUTO_INVAL_DATA));
	CHECK_EQ(open_flags(), FOPEN_KEEP_CACHE);
	stop();
}

/* Its kernel asks with dirty pages that the store knows nothing of; ENOSYS, and it never asks again. */
TEST(test_guest__that_holds_writes_back_is_told_of_no_holes)
{
	struct fuse_lseek_in seek = { .offset = 100, .whence = SEEK_DATA };

	held_back = true;
	CHECK(start(true).flags & FUSE_WRITEBACK_CACHE);
	held_back = false;
	fake.size = 8192;
	send(FUSE_LSEEK, &seek, sizeof(seek));
	CHECK_EQ(got.error, -ENOSYS);
	stop();
	(void)start(true);
	fake.size = 8192;
	send(FUSE_LSEEK, &seek, sizeof(seek));
	CHECK_OK(got.error);
	stop();
}

static uint64_t attr_valid(uint32_t mode)
{
	struct fuse_attr_out answer;

	fake.attr.mode = mode;
	send(FUSE_GETATTR, &(struct fuse_getattr_in){ 0 }, sizeof(struct fuse_getattr_in));
	CHECK_OK(got.error);
	memcpy(&answer, got.data, sizeof(answer));
	return answer.attr_valid * 1000000000 + answer.attr_valid_nsec;
}

/* A write takes the bits away, and nobody tells its kernel. */
TEST(test_guest__does_not_believe_set_user_id)
{
	(void)start(true);
	CHECK_EQ(attr_valid(S_IFREG | 0755), 1000000000);
	CHECK_EQ(attr_valid(S_IFREG | 04755), 0);
	CHECK_EQ(attr_valid(S_IFREG | 02755), 0);
	CHECK_EQ(attr_valid(S_IFDIR | 02755), 1000000000);
	stop();
	(void)start(false);
	CHECK_GE(attr_valid(S_IFREG | 04755), 1000000000);
	stop();
}

/* What it has stored into a mapping is nowhere else. */
TEST(test_guest__that_may_have_mapped_a_file_is_told_of_no_holes_in_it)
{
	struct fuse_lseek_in seek = { .offset = 100, .whence = SEEK_DATA };
	struct fuse_release_in release = { .flags = O_RDWR };
	struct fuse_lseek_out answer;

	(void)start(true);
	fake.size = fake.attr.size = 8192;
	fake.hole_end = 4096;
	(void)open_flags(); /* for reading and writing */
	send(FUSE_LSEEK, &seek, sizeof(seek));
	CHECK_OK(got.error);
	memcpy(&answer, got.data, sizeof(answer));
	CHECK_EQ(answer.offset, 100);
	seek.whence = SEEK_HOLE;
	send(FUSE_LSEEK, &seek, sizeof(seek));
	memcpy(&answer, got.data, sizeof(answer));
	CHECK_EQ(answer.offset, 8192);
	seek.offset = 8192;
	send(FUSE_LSEEK, &seek, sizeof(seek));
	CHECK_EQ(got.error, -ENXIO);
	send(FUSE_RELEASE, &release, sizeof(release));
	seek = (struct fuse_lseek_in){ .offset = 100, .whence = SEEK_DATA };
	send(FUSE_LSEEK, &seek, sizeof(seek));
	memcpy(&answer, got.data, sizeof(answer));
	CHECK_EQ(answer.offset, 4096);
	stop();
}

TEST(test_guest__read_fills_the_transports_pieces)
{
	struct fuse_read_in in = { .offset = 100, .size = 50 };
	uint8_t place[64];
	struct iovec pieces[3] = { { place, 10 }, { place + 10, 20 }, { place + 30, 34 } };

	(void)start(true);
	memset(place, 0xee, sizeof(place));
	out = pieces;
	out_count = 3;
	send(FUSE_READ, &in, sizeof(in));
	CHECK_EQ(got.filled, 1);
	CHECK_EQ(fake.len, 50);
	CHECK_EQ(fake.off, 100);
	CHECK_LE(got.len, 50);
	/* No more than there is room for. */
	in.size = 4096;
	send(FUSE_READ, &in, sizeof(in));
	CHECK_EQ(fake.len, 64);
	fake.error = -EIO;
	send(FUSE_READ, &in, sizeof(in));
	CHECK_EQ(got.filled, 0);
	CHECK_EQ(got.error, -EIO);
	stop();
}

static unsigned notes_at_call;

static void note_call(void)
{
	notes_at_call = atomic_load(&notes);
}

/* The host's kernel wrote back and forgot [off, off + len) before fs was called. */
static void expect_collected(uint64_t off, uint64_t len)
{
	CHECK_OK(got.error);
	CHECK_EQ(notes_at_call, 1);
	(void)pthread_mutex_lock(&writing);
	CHECK_EQ(last_note.ino, 5);
	CHECK_EQ(last_note.off, off);
	CHECK_EQ(last_note.len, len);
	(void)pthread_mutex_unlock(&writing);
	atomic_store(&notes, 0);
}

TEST(test_guest__changes_what_the_host_may_have_mapped_after_it_was_written_back)
{
	struct {
		struct fuse_write_in in;
		char data[8];
	} write = { .in = { .offset = 5000, .size = 8 } };
	struct fuse_setattr_in cut = { .valid = FATTR_SIZE, .size = 100 };
	struct fuse_fallocate_in punch = { .offset = 4096, .length = 8192, .mode = 3 };
	struct fuse_open_in open = { .flags = O_RDWR };
	struct fuse_release_in release = { .flags = O_RDWR };
	struct proto_session *host, *guest;
	struct inval_bus *host_bus;

	(void)start(false);
	host = session;
	host_bus = bus;
	beside = host;
	(void)start(true);
	beside = NULL;
	guest = session;
	atomic_store(&notes, 0);
	fake.on_call = note_call;
	/* Nobody can have changed it. */
	send(FUSE_WRITE, &write, sizeof(write));
	CHECK_EQ(atomic_load(&notes), 0);
	session = host;
	open.flags = O_WRONLY;
	send(FUSE_OPEN, &open, sizeof(open));
	CHECK_EQ(fake.mappers, 0);
	open.flags = O_RDWR;
	send(FUSE_OPEN, &open, sizeof(open));
	CHECK_EQ(fake.mappers, 1);
	session = guest;
	send(FUSE_WRITE, &write, sizeof(write));
	expect_collected(5000, 8);
	fake.attr.size = 300;
	write.in.flags = O_APPEND;
	send(FUSE_WRITE, &write, sizeof(write));
	expect_collected(300, 8);
	send(FUSE_SETATTR, &cut, sizeof(cut));
	expect_collected(100, 0);
	cut.valid = FATTR_MODE;
	send(FUSE_SETATTR, &cut, sizeof(cut));
	CHECK_EQ(atomic_load(&notes), 0);
	send(FUSE_FALLOCATE, &punch, sizeof(punch));
	expect_collected(4096, 8192);
	punch.mode = FALLOC_FL_COLLAPSE_RANGE;
	send(FUSE_FALLOCATE, &punch, sizeof(punch));
	expect_collected(4096, 0);
	open.flags = O_WRONLY | O_TRUNC;
	send(FUSE_OPEN, &open, sizeof(open));
	expect_collected(0, 0);
	session = host;
	send(FUSE_RELEASE, &release, sizeof(release));
	CHECK_EQ(fake.mappers, 0);
	fake.on_call = NULL;
	session = guest;
	stop();
	session = host;
	bus = host_bus;
	stop();
}

static void on_told(struct proto_notified *wait)
{
	(void)wait;
	atomic_fetch_add(&told, 1);
}

TEST(test_when_notified__after_all_that_was_queued)
{
	struct inval_event ev = { .kind = INVAL_ATTR, .nodeid = 5 };
	struct proto_notified wait[2] = { { .done = on_told }, { .done = on_told } };

	(void)start(false);
	CHECK(!proto_when_notified(session, &wait[0]));
	(void)pthread_mutex_lock(&writing);
	inval_publish(bus, &ev);
	CHECK(proto_when_notified(session, &wait[0]));
	CHECK(proto_when_notified(session, &wait[1]));
	(void)poll(NULL, 0, 20);
	CHECK_EQ(atomic_load(&told), 0);
	(void)pthread_mutex_unlock(&writing);
	for (int i = 0; atomic_load(&told) < 2 && i < 5000; i++)
		(void)poll(NULL, 0, 1);
	CHECK_EQ(atomic_load(&told), 2);
	CHECK_EQ(atomic_load(&notes), 1);
	CHECK(!proto_when_notified(session, &wait[0]));
	stop();
}

TEST(test_when_notified__ends_with_the_session)
{
	struct inval_event ev = { .kind = INVAL_ATTR, .nodeid = 5 };
	struct proto_notified wait = { .done = on_told };

	(void)start(false);
	(void)pthread_mutex_lock(&writing);
	for (int i = 0; i < 10; i++)
		inval_publish(bus, &ev);
	CHECK(proto_when_notified(session, &wait));
	(void)pthread_mutex_unlock(&writing);
	stop();
	CHECK_EQ(atomic_load(&told), 1);
}
