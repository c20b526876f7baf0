// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest's rings and its front end's messages. The input is what lies in the guest's memory (a ring of 8 entries, its
 * descriptors, a table for indirect ones), and what is done: take, walk, put, listen, map anew. Whatever a walk finds is
 * inside the guest's two regions, and a ring is followed for no longer than it has entries. The ring may have a record of
 * what an earlier life took, which says anything, and a log of what is written, around which nothing is. Messages that
 * describe such areas are carried out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "vhost/dirty.h"
#include "vhost/inflight.h"
#include "vhost/memory.h"
#include "vhost/msg.h"
#include "vhost/vring.h"

#define NUM 8u
#define LOW_SIZE 0x4000u
#define HIGH_GPA 0x5000u
#define HIGH_SIZE 0x1000u
#define STEPS_MAX 64
#define RECORD_BYTES (sizeof(struct inflight_head) + NUM * sizeof(struct inflight_desc))
#define LOG_BYTES 64u
#define LOG_OFFSET 16u
#define LOG_CANARY 0xa5

static struct memory memory;
static struct vring_chain chain;
static uint8_t *low, *high, *log_file;
static struct inflight_area record_area;
static struct inflight record;
static struct dirty_log dirty = { .call_fd = -1 };
static uint16_t again[VRING_NUM_MAX];
static int record_fd, log_fd;

/* What a front end shares besides memory. */
static void init_shared(void)
{
	FUZZ_CHECK(inflight_new(1, NUM, &record_area, &record_fd) == 0);
	FUZZ_CHECK(inflight_map(&record, record_fd, &record_area) == 0);
	log_fd = memfd_create("log", MFD_CLOEXEC);
	FUZZ_CHECK(log_fd >= 0 && ftruncate(log_fd, 2 * LOG_OFFSET + LOG_BYTES) == 0);
	log_file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0);
	FUZZ_CHECK(log_file != MAP_FAILED);
	FUZZ_CHECK(dirty_log_map(&dirty, log_fd, LOG_BYTES, LOG_OFFSET) == 0);
	memset(log_file, LOG_CANARY, LOG_OFFSET);
	memset(log_file + LOG_OFFSET + LOG_BYTES, LOG_CANARY, LOG_OFFSET);
}

static void check_log(void)
{
	for (unsigned i = 0; i < LOG_OFFSET; i++)
		FUZZ_CHECK(log_file[i] == LOG_CANARY &&
			   log_file[LOG_OFFSET + LOG_BYTES + i] == LOG_CANARY);
}

static void init(void)
{
	struct memory_share share[2] = {
		{ .gpa = 0, .size = LOW_SIZE, .uva = 0x10000 },
		{ .gpa = HIGH_GPA, .size = HIGH_SIZE, .uva = 0x90000, .offset = LOW_SIZE },
	};
	int fd = memfd_create("guest", MFD_CLOEXEC);
	uint64_t len;

	FUZZ_CHECK(fd >= 0 && ftruncate(fd, LOW_SIZE + HIGH_SIZE) == 0);
	for (unsigned i = 0; i < 2; i++) {
		share[i].fd = fd;
		FUZZ_CHECK(memory_add(&memory, &share[i]) == 0);
	}
	low = memory_at(&memory, 0, 1, &len);
	high = memory_at(&memory, HIGH_GPA, 1, &len);
	init_shared();
}

static void check_chain(int ret)
{
	uint64_t bytes = 0;

	FUZZ_CHECK(ret == 0 || ret == -EPROTO || ret == -EFAULT);
	FUZZ_CHECK(chain.in_count + chain.out_count <= VRING_IOV_MAX);
	for (uint32_t i = 0; i < chain.in_count + chain.out_count; i++) {
		const uint8_t *at = chain.iov[i].iov_base;
		size_t len = chain.iov[i].iov_len;

		FUZZ_CHECK(len > 0);
		FUZZ_CHECK((at >= low && at + len <= low + LOW_SIZE) ||
			   (at >= high && at + len <= high + HIGH_SIZE));
		bytes += len;
	}
	FUZZ_CHECK(bytes == chain.in_len + chain.out_len);
}

static void step(struct vring_dev *v, struct input *in)
{
	uint8_t what = in_u8(in);
	uint16_t head;
	int ret;

	switch (what & 7) {
	case 0:
	case 1:
	case 2:
		ret = vring_take(v, &head);
		FUZZ_CHECK(ret == 0 || ret == 1 || ret == -EPROTO);
		if (ret != 1)
			break;
		FUZZ_CHECK(head < NUM);
		check_chain(vring_walk(v, &memory, head, &chain));
		vring_put(v, head, (uint32_t)chain.out_len);
		(void)vring_needs_call(v);
		break;
	case 3: check_chain(vring_walk(v, &memory, in_u16(in), &chain)); break;
	case 4: vring_ignore_kicks(v); break;
	case 5: (void)vring_listen(v); break;
	case 6: /* the guest writes while it is served, or its front end does */
		if (what & 8)
			record.base[in_u16(in) % RECORD_BYTES] = in_u8(in);
		else
			low[in_u16(in) % LOW_SIZE] = in_u8(in);
		break;
	default: v->avail_next = in_u16(in); FUZZ_CHECK(vring_map(v, &memory) == 0);
	}
}

/* Of a life before this one. */
static void open_record(struct vring_dev *v, struct input *in)
{
	int ret;

	in_bytes(in, record.base, RECORD_BYTES);
	ret = inflight_ring_open(&record, 0, NUM, &v->inflight);
	FUZZ_CHECK(ret == 0 || ret == -EINVAL);
	if (ret)
		return;
	v->again = again;
	ret = vring_recover(v);
	FUZZ_CHECK(ret == 0 || ret == -EPROTO);
	FUZZ_CHECK(v->again_count <= NUM);
}

/* What a message says of an area that is shared, of which there are these two. */
static void share(const struct msg_header *head, const union msg_payload *p)
{
	struct inflight_area area = { .size = p->inflight.size,
				      .offset = p->inflight.offset,
				      .queues = p->inflight.queues,
				      .ring_size = p->inflight.ring_size };
	struct dirty_log log = { .call_fd = -1 };
	struct inflight in = { .base = NULL };

	if (head->request == MSG_SET_INFLIGHT_FD && !inflight_map(&in, record_fd, &area)) {
		FUZZ_CHECK(area.offset + area.size <= record_area.size);
		memcpy(inflight_note(&in), in.base, 8);
	}
	inflight_unmap(&in);
	if (head->request == MSG_SET_LOG_BASE &&
	    !dirty_log_map(&log, log_fd, p->log.size, p->log.offset)) {
		FUZZ_CHECK(p->log.offset + p->log.size <= 2 * LOG_OFFSET + LOG_BYTES);
		dirty_log_mark(&log, (p->log.size * 8 - 1) * DIRTY_PAGE, DIRTY_PAGE);
		FUZZ_CHECK(!log.too_small && log.base[log.size - 1] & 0x80);
		memset(log_file, LOG_CANARY, LOG_OFFSET);
		memset(log_file + LOG_OFFSET + LOG_BYTES, LOG_CANARY, LOG_OFFSET);
	}
	dirty_log_unmap(&log);
}

static void rings(struct input *in)
{
	uint8_t flags = in_u8(in);
	struct vring_dev v = { .num = NUM,
			       .desc_uva = 0x10000,
			       .avail_uva = 0x10000 + 0x80,
			       .used_uva = 0x10000 + 0xc0,
			       .event_idx = flags & 1,
			       .indirect = !(flags & 2) };

	memset(low, 0, LOW_SIZE);
	in_bytes(in, low, NUM * 16);	      /* descriptors */
	in_bytes(in, low + 0x80, 4 + 16 + 2); /* what is available */
	in_bytes(in, low + 0x100, 8 * 16);    /* a table */
	FUZZ_CHECK(vring_map(&v, &memory) == 0);
	if (flags & 4)
		open_record(&v, in);
	if (flags & 8) {
		v.log = &dirty;
		v.log_gpa = in_u64(in);
	}
	for (unsigned i = 0; i < STEPS_MAX && in->left; i++)
		step(&v, in);
	check_log();
}

static void message(struct input *in)
{
	struct msg_header head = { .request = in_u8(in), .flags = in_u8(in), .size = in_u16(in) };
	unsigned fds = in_u8(in) % (MSG_FDS_MAX + 1);
	union msg_payload payload;

	in_bytes(in, &payload, sizeof(payload));
	if (msg_check(&head, &payload, fds))
		return;
	FUZZ_CHECK(msg_name(head.request) && head.size <= sizeof(payload));
	if (head.request == MSG_SET_MEM_TABLE)
		FUZZ_CHECK(payload.table.count == fds && fds <= MSG_TABLE_REGIONS);
	if (head.request == MSG_GET_CONFIG)
		FUZZ_CHECK(payload.config.size <= MSG_CONFIG_MAX);
	share(&head, &payload);
}

static void run(struct input *in)
{
	if (in_u8(in) & 1)
		message(in);
	else
		rings(in);
}

const struct fuzz_harness fuzz_harness = { .init = init, .run = run };
