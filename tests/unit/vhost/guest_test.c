/* SPDX-License-Identifier: GPL-2.0-only */
/* A back end with a front end in one process: what takes a session, rings and memory to be seen. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/proto/proto.h"
#include "tests/lib/test.h"
#include "tests/unit/daemon/fs/fixture.h"
#include "tests/vhost/front.h"
#include "tests/vhost/shm.h"
#include "vhost/listen.h"
#include "vhost/vhost.h"

#define PAGE 4096u
#define LOG_BYTES ((FRONT_HIGH_GPA + FRONT_HIGH) / PAGE / 8)
#define ROOM (64 * PAGE)
#define SHORT 100u

static struct fixture fixture;
static struct fs_session_opts session = { .name = "guest",
					  .shared = true,
					  .confined = true,
					  .root_nodeid = 1,
					  .nodes_max = 1000,
					  .locks_max = 1000 };
static const struct proto_opts proto = { .share = true,
					 .guest = true,
					 .cache = PROTO_CACHE_AUTO,
					 .entry_timeout = 1,
					 .attr_timeout = 1,
					 .session = &session };
static struct vhost *back_end;
static const char *path;

static void start(const char *mkfs_words, uint64_t window_size)
{
	struct vhost_opts opts = { .group = LISTEN_NO_GROUP,
				   .fd = -1,
				   .life_fd = -1,
				   .tag = "test",
				   .queues = 2,
				   .guests_max = 2,
				   .window_size = window_size,
				   .proto = &proto };
	char err[256] = "";

	fixture_open(&fixture, mkfs_words);
	if (window_size && fs_dax_enable(fixture.fs))
		FAIL("%s", fs_dax_enable(fixture.fs));
	path = test_socket_path("socket");
	opts.socket = path;
	if (vhost_start(fixture.fs, fixture.bus, &opts, &back_end, err, sizeof(err)))
		FAIL("%s", err);
}

static void stop(void)
{
	vhost_stop(back_end);
	fixture_close(&fixture);
}

/* ---- the log ---- */

static uint8_t *start_log(struct front *f)
{
	uint64_t payload[2] = { LOG_BYTES, 0 }, answer = 1;
	int fd = memfd_create("log", MFD_CLOEXEC);
	uint8_t *at;

	CHECK_EQ(ftruncate(fd, LOG_BYTES), 0);
	at = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	CHECK(front_send(f, MSG_SET_LOG_BASE, payload, sizeof(payload), &fd, 1));
	CHECK_EQ(front_receive(f, MSG_SET_LOG_BASE, &answer, sizeof(answer)), sizeof(answer));
	CHECK_EQ(answer, 0);
	(void)close(fd);
	front_log(f, true);
	return at;
}

static uint32_t marked(const uint8_t *log, uint64_t gpa, uint32_t pages)
{
	uint32_t count = 0;

	for (uint64_t page = gpa / PAGE; page < gpa / PAGE + pages; page++)
		count += log[page / 8] >> page % 8 & 1;
	return count;
}

static int look_with_room(struct front *f, const char *name, size_t room)
{
	struct fuse_message m = { .opcode = FUSE_LOOKUP,
				  .nodeid = 1,
				  .text = name,
				  .text_len = strlen(name) + 1,
				  .room = room };

	return fuse_call(f, 2, &m, NULL, NULL);
}

/* A file that shrinks while it is read leaves bytes behind what the reply counts. */
TEST(test_guest__read_marks_all_of_its_room)
{
	static uint8_t data[ROOM];
	struct fuse_entry_out e;
	struct front f;
	uint8_t *log;

	start(NULL, 0);
	front_begin(&f, path);
	front_want(fuse_create(&f, 1, "short", 0600, &e), 0, "create");
	front_want(fuse_write(&f, e.nodeid, 0, data, SHORT), 0, "write");
	log = start_log(&f);
	CHECK_EQ(fuse_read(&f, e.nodeid, 0, data, ROOM), SHORT);
	/* READs go by queue 2. */
	CHECK_EQ(marked(log, f.queue[2].out_gpa, ROOM / PAGE), ROOM / PAGE);
	CHECK_EQ(marked(log, f.queue[2].out_gpa + ROOM, 4), 0);
	CHECK_EQ(marked(log, f.queue[2].data_gpa, 16), 0);
	/* Other replies are as long as they say. */
	memset(log, 0, LOG_BYTES);
	front_want(fuse_lookup(&f, 1, "short", &e), 0, "lookup");
	CHECK_EQ(marked(log, f.queue[2].out_gpa, 16) + marked(log, f.queue[1].out_gpa, 16), 1);
	memset(log, 0, LOG_BYTES);
	/* One that fails may have been written to before. */
	front_want(look_with_room(&f, "absent", 4 * PAGE), -ENOENT, "lookup");
	CHECK_EQ(marked(log, f.queue[2].out_gpa, 16), 4);
	(void)munmap(log, LOG_BYTES);
	front_close(&f);
	stop();
}

/* ---- windows ---- */

#define WINDOW (UINT64_C(8) << 20)
#define ROUNDS 150

/* A front end that announces nothing, and says so: mappings are there when they are answered. */
static void start_window(struct front *f, struct shm *s, uint64_t *ret_files)
{
	uint64_t protocol;

	front_connect(f, path);
	front_setup(f, true);
	protocol = f->protocol & ~(UINT64_C(1) << MSG_F_CONFIGURE_MEM_SLOTS);
	CHECK(front_send(f, MSG_SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), NULL, 0));
	shm_setup(s, f, true);
	(void)fuse_init_with(f, 0x1ff);
	for (int i = 0; i < 2; i++) {
		struct fuse_entry_out e;

		front_want(fuse_create(f, 1, i ? "two" : "one", 0600, &e), 0, "create");
		front_want(fuse_truncate(f, e.nodeid, SHM_RANGE), 0, "truncate");
		ret_files[i] = e.nodeid;
	}
}

/* The answer to a mapping whose ring is stopped a moment after it was offered. */
static int map_and_stop(struct front *f, uint64_t file, uint64_t spins)
{
	struct fuse_setupmapping_in in = { .fh = UINT64_MAX, .len = SHM_RANGE, .flags = 3 };
	struct fuse_message m = {
		.opcode = FUSE_SETUPMAPPING, .nodeid = file, .args = &in, .arg_len = sizeof(in)
	};
	struct fuse_out_header out;
	uint16_t base;
	uint32_t len;

	front_offer(f, 2, fuse_build(f, 2, &m));
	for (volatile uint64_t i = 0; i < spins; i++)
		;
	base = front_stop_queue(f, 2);
	front_start_queue(f, 2, base);
	CHECK(front_take(f, 2, FRONT_WAIT_MS, &len) >= 0);
	memcpy(&out, front_at(f, f->queue[2].head_gpa + 0x8000), sizeof(out));
	return out.error;
}

/* However late: a guest that was told that it has failed has the place for another mapping. */
TEST(test_guest__a_mapping_given_up_is_not_in_the_way)
{
	static struct front f;
	static struct shm shm;
	uint64_t files[2];
	unsigned given_up = 0, mapped = 0;
	uint64_t spins = 100000;

	start("-b 4096 64M", WINDOW);
	start_window(&f, &shm, files);
	for (int i = 0; i < ROUNDS; i++) {
		int error = map_and_stop(&f, files[0], test_random_below(spins));

		given_up += error != 0;
		mapped += !error;
		/* About as long as it takes. */
		spins = error ? spins + spins / 16 : spins - spins / 16;
		if (error)
			CHECK_EQ(error, -ENOMEM);
		else
			front_want(shm_unmap(&shm, 0), 0, "REMOVEMAPPING");
		front_want(shm_map(&shm, files[1], 0, 0, true), 0, "SETUPMAPPING");
		front_want(shm_unmap(&shm, 0), 0, "REMOVEMAPPING");
	}
	CHECK(mapped > 0);
	CHECK_EQ(given_up + mapped, ROUNDS);
	front_close(&f);
	shm_close(&shm);
	CHECK_EQ(shm.count, 0);
	stop();
}
