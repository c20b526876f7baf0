// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sequences of FUSE messages to the dispatcher, over a filesystem in memory, both profiles. Node ids come from earlier
 * answers mostly, as a kernel's would, and lengths are right mostly. Each request is ended exactly once: at once, or
 * when the session ends. Where files can be mapped there is a window of a few places: what a mapping shows is inside of
 * the image, and stays so until it is given up.
 */
#include <stdlib.h>

#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/wire.h"
#include "daemon/store/store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

#define MESSAGES_MAX 48
#define BODY_MAX 600
#define NODES_MAX 32
#define PIECES_MAX 16
#define OUT_SIZE (1u << 16)
#define MAPPINGS_MAX 4

struct message {
	struct proto_req req;
	struct iovec in[PIECES_MAX];
	uint8_t bytes[sizeof(struct fuse_in_header) + BODY_MAX];
	_Atomic uint32_t ended;
};

static struct message messages[MESSAGES_MAX];
static uint8_t out_buf[OUT_SIZE];
static uint64_t nodes[NODES_MAX];
static uint32_t node_count;
static struct proto_mapping *mappings[MAPPINGS_MAX];
static uint64_t window_bytes; /* of the image that may be mapped; 0: no window */

static struct message *message_of(struct proto_req *req)
{
	return container_of(req, struct message, req);
}

static bool makes_entry(uint32_t opcode)
{
	return opcode == FUSE_LOOKUP || opcode == FUSE_CREATE || opcode == FUSE_MKNOD ||
	       opcode == FUSE_MKDIR || opcode == FUSE_SYMLINK || opcode == FUSE_LINK ||
	       opcode == FUSE_TMPFILE;
}

static void on_reply(struct proto_req *req, int error, const struct iovec *iov, int iovcnt)
{
	size_t total = 0;

	FUZZ_CHECK(atomic_fetch_add(&message_of(req)->ended, 1) == 0);
	FUZZ_CHECK(error <= 0 && error > -4096);
	FUZZ_CHECK(!error || !iovcnt || !iov[0].iov_len);
	for (int i = 0; i < iovcnt; i++) {
		/* A sanitizer reads all that a kernel would. */
		for (size_t k = 0; k < iov[i].iov_len; k += 64)
			total += ((const volatile uint8_t *)iov[i].iov_base)[k] & 0;
		total += iov[i].iov_len;
	}
	FUZZ_CHECK(total <= OUT_SIZE);
	if (!error && makes_entry(req->opcode) && total >= 8 && node_count < NODES_MAX)
		memcpy(&nodes[node_count++], iov[0].iov_base, 8);
}

static void on_done(struct proto_req *req)
{
	FUZZ_CHECK(atomic_fetch_add(&message_of(req)->ended, 1) == 0);
}

static int on_notify(void *transport, const struct iovec *iov, int iovcnt)
{
	(void)transport;
	FUZZ_CHECK(iovcnt >= 1 && iov[0].iov_len == sizeof(struct fuse_out_header));
	return 0;
}

/* ---- a window ---- */

static bool on_window(void *transport)
{
	(void)transport;
	return window_bytes;
}

static void give_up(uint32_t place)
{
	if (!mappings[place])
		return;
	proto_unpin(mappings[place]->pin);
	proto_mapping_free(mappings[place]);
	mappings[place] = NULL;
}

static void on_map(struct proto_req *req, struct proto_mapping *m)
{
	uint32_t place = (uint32_t)(m->moffset >> 21) % MAPPINGS_MAX;
	uint64_t at = 0;

	FUZZ_CHECK(m->count && m->len);
	for (uint32_t i = 0; i < m->count; i++) {
		FUZZ_CHECK(m->run[i].off == at && m->run[i].len);
		FUZZ_CHECK(m->run[i].image_off < window_bytes &&
			   m->run[i].len <= window_bytes - m->run[i].image_off);
		at += m->run[i].len;
	}
	FUZZ_CHECK(at <= m->len);
	give_up(place);
	mappings[place] = m;
	proto_window_done(req, 0);
}

static void on_unmap(struct proto_req *req, struct proto_unmap *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		give_up((uint32_t)(list[i].moffset >> 21) % MAPPINGS_MAX);
	free(list);
	proto_window_done(req, 0);
}

static const struct transport_ops ops = {
	.name = "fuzz",
	.reply = on_reply,
	.done = on_done,
	.notify = on_notify,
	.window = on_window,
	.map = on_map,
	.unmap = on_unmap,
};

/* As fs_dax_enable() says, but for the image, which is a file there. */
static void set_window(const struct store *s, uint64_t bytes)
{
	bool may = s->block_size % 4096 == 0 &&
		   store_has_incompat(s, EXT4_FEATURE_INCOMPAT_EXTENTS) && !s->readonly;

	window_bytes = may ? bytes : 0;
}

/* ---- messages ---- */

static void dispatch(struct proto_session *s, struct message *m, size_t len, uint32_t split)
{
	size_t at = 0;

	m->req = (struct proto_req){
		.session = s, .ops = &ops, .in = m->in, .out_buf = out_buf, .out_size = OUT_SIZE
	};
	while (at < len) {
		size_t part = len - at;

		if (split && part > split && m->req.in_count < PIECES_MAX - 1)
			part = split;
		m->in[m->req.in_count].iov_base = m->bytes + at;
		m->in[m->req.in_count++].iov_len = part;
		at += part;
	}
	proto_dispatch(&m->req);
}

static void send_init(struct proto_session *s, struct input *in)
{
	struct message *m = &messages[0];
	uint8_t n = in_u8(in);
	struct fuse_init_in init = { .major = 7,
				     .minor = n & 0x80 ? n & 0x7f : 45,
				     .max_readahead = 1 << 17,
				     .flags = n & 1 ? in_u32(in) : UINT32_MAX,
				     .flags2 = UINT32_MAX };
	struct fuse_in_header head = { .opcode = FUSE_INIT, .unique = 2 };

	head.len = sizeof(head) + sizeof(init);
	memcpy(m->bytes, &head, sizeof(head));
	memcpy(m->bytes + sizeof(head), &init, sizeof(init));
	dispatch(s, m, head.len, 0);
	FUZZ_CHECK(atomic_load(&m->ended) == 1);
}

/* One message: opcode, how, node, body. The body is the input's own bytes: libFuzzer grows it by what it compares. */
static void send_message(struct proto_session *s, struct input *in, uint32_t index)
{
	struct message *m = &messages[index];
	uint8_t opcode = in_u8(in), how = in_u8(in), node = in_u8(in);
	size_t body_len = (how & 0x10 ? in_u8(in) : 0) * 2 + in_u8(in) % 112, len;
	struct fuse_in_header head = { .opcode = opcode % 64u, .unique = (index + 2) * 2u };

	head.nodeid = node_count ? nodes[node % node_count] : 1;
	if (how & 1)
		head.nodeid = in_u64(in);
	if (how & 2)
		head.uid = 1000;
	if (how & 4)
		head.total_extlen = in_u8(in);
	if (opcode >= 240) /* no such thing */
		head.opcode = (uint32_t)opcode << 8;
	body_len = body_len > BODY_MAX ? BODY_MAX : body_len;
	in_bytes(in, m->bytes + sizeof(head), body_len);
	/* Names end in their NUL unless the input objects. */
	if (!(how & 8) && body_len)
		m->bytes[sizeof(head) + body_len - 1] = 0;
	len = sizeof(head) + body_len;
	head.len = how & 0x20 ? in_u32(in) : (uint32_t)len;
	memcpy(m->bytes, &head, sizeof(head));
	if (how & 0x40)
		len = len - in_u8(in) % len;
	/* Cloned descriptors and time-outs reuse no id that is parked. */
	dispatch(s, m, len, how & 0x80 ? 1 + in_u8(in) : 0);
}

/* Waits for a commit or a notification are other threads' to end; a lock's wait ends with the session. */
static void serve(struct fs *fs, struct inval_bus *bus, struct input *in)
{
	struct fs_session_opts session = { .name = "fuzz", .root_nodeid = 1 };
	struct proto_opts opts = { .share = scene_flags() & SCENE_SHARED,
				   .readonly = scene_flags() & SCENE_READONLY,
				   .posix_acl = true,
				   .session = &session,
				   .entry_timeout = -1,
				   .attr_timeout = -1,
				   .negative_timeout = -1 };
	struct proto_session *s;
	struct proto_stats stats;
	uint32_t sent = 1;

	FUZZ_CHECK(proto_session_new(fs, bus, &opts, NULL, &ops, &s) == 0);
	nodes[0] = 1;
	node_count = 1;
	for (uint32_t i = 0; i < MESSAGES_MAX; i++)
		atomic_store(&messages[i].ended, 0);
	send_init(s, in);
	while (in->left && sent < MESSAGES_MAX) {
		send_message(s, in, sent);
		sent++;
	}
	proto_get_stats(s, &stats);
	proto_session_free(s);
	for (uint32_t i = 0; i < MAPPINGS_MAX; i++)
		give_up(i);
	for (uint32_t i = 0; i < sent; i++)
		FUZZ_CHECK(atomic_load(&messages[i].ended) == 1);
}

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);
	struct store_opts opts = rig_store_opts();
	struct fs_opts fs_opts = { .atime = FS_ATIME_RELATIME, .posix_acl = true };
	struct store_open_error err;
	struct inval_bus *bus;
	struct store *store;
	struct fs *fs;

	if (!store_open(scene_bdev(sc, opts.readonly), &opts, &store, &err)) {
		FUZZ_CHECK(inval_new(&bus) == 0);
		FUZZ_CHECK(fs_open_store(store, bus, &fs_opts, &fs) == 0);
		set_window(store, sc->size);
		serve(fs, bus, in);
		if (scene_flags() & SCENE_CRASH)
			fs_destroy(fs);
		else
			(void)!fs_close(fs);
		inval_free(bus);
	}
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = { .run = run, .kinds = PLACE_BIT(PLACE_INODE) };
