/* SPDX-License-Identifier: GPL-2.0-only */
/* Front ends that lie: messages of the right kind with everything else wrong, torn ones, storms of connections. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/vhost/hostile.h"

#define BYTES_MAX 512u
#define FDS_MAX 20u
#define UVA_LOW UINT64_C(0x7f1000000000)
/* Messages between two looks whether the back end still answers. */
#define SYNC_EVERY 8

/*
 * Fields: i the number of a ring, n of its entries, b its base, e 0 or 1, a a ring's address, g s u o
 * those of a region, c a count of regions, r a ring's number in 64 bits, q d anything in 64 and 32
 * bits, z Z zeros, t 256 bytes of configuration, l k the size and offset of a log or a record, j y (16 bits) its rings and
 * their entries.
 */
static const struct message_row {
	uint32_t request;
	const char *fields;
	uint32_t fds;
} rows[] = {
	{ MSG_GET_FEATURES, "", 0 },
	{ MSG_SET_FEATURES, "q", 0 },
	{ MSG_SET_OWNER, "", 0 },
	{ MSG_RESET_OWNER, "", 0 },
	{ MSG_SET_MEM_TABLE, "czgsuo", 1 },
	{ MSG_SET_MEM_TABLE, "czgsuogsuo", 2 },
	{ MSG_SET_MEM_TABLE, "czgsuogsuogsuogsuogsuogsuogsuogsuo", 8 },
	{ MSG_SET_VRING_NUM, "in", 0 },
	{ MSG_SET_VRING_ADDR, "izaaaZ", 0 },
	{ MSG_SET_VRING_BASE, "ib", 0 },
	{ MSG_GET_VRING_BASE, "iz", 0 },
	{ MSG_SET_VRING_KICK, "r", 1 },
	{ MSG_SET_VRING_CALL, "r", 1 },
	{ MSG_SET_VRING_ERR, "r", 1 },
	{ MSG_GET_PROTOCOL_FEATURES, "", 0 },
	{ MSG_SET_PROTOCOL_FEATURES, "q", 0 },
	{ MSG_GET_QUEUE_NUM, "", 0 },
	{ MSG_SET_VRING_ENABLE, "ie", 0 },
	{ MSG_GET_CONFIG, "zddt", 0 },
	{ MSG_SET_CONFIG, "zddt", 0 },
	{ MSG_RESET_DEVICE, "", 0 },
	{ MSG_GET_MAX_MEM_SLOTS, "", 0 },
	{ MSG_ADD_MEM_REG, "Zgsuo", 1 },
	{ MSG_REM_MEM_REG, "Zgsuo", 0 },
	{ MSG_SET_STATUS, "q", 0 },
	{ MSG_GET_STATUS, "", 0 },
	{ MSG_SET_LOG_BASE, "lk", 1 },
	{ MSG_SET_LOG_FD, "", 1 },
	{ MSG_GET_INFLIGHT_FD, "lkjyz", 0 },
	{ MSG_SET_INFLIGHT_FD, "lkjyz", 1 },
	{ MSG_SET_INFLIGHT_FD, "lkjy", 1 },
	{ MSG_SET_BACKEND_REQ_FD, "", 1 },
	{ MSG_GET_SHMEM_CONFIG, "", 0 },
	{ MSG_SET_DEVICE_STATE_FD, "ez", 1 },
	{ MSG_CHECK_DEVICE_STATE, "", 0 },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct raw {
	struct msg_header head;
	uint8_t bytes[BYTES_MAX];
	uint32_t len; /* of the bytes */
	int fds[FDS_MAX];
	uint32_t fd_count;
};

/* ---- putting together ---- */

static size_t field_size(char field)
{
	return field == 't' ? 256 : strchr("jy", field) ? 2 : strchr("indebcz", field) ? 4 : 8;
}

/* What an honest front end might say, mostly. */
static uint64_t field_value(struct hostile *h, const struct message_row *row, char field)
{
	switch (field) {
	case 'i':
	case 'r': return hostile_below(h, 4);
	case 'n': return UINT64_C(1) << hostile_below(h, 11);
	case 'b': return hostile_below(h, 512);
	case 'e': return hostile_below(h, 2);
	case 'a': return UVA_LOW + hostile_below(h, 16) * 0x1000;
	case 'g': return hostile_below(h, 16) << 22;
	case 's': return (1 + hostile_below(h, 4)) << 20;
	case 'u': return UVA_LOW + (hostile_below(h, 16) << 22);
	case 'o': return hostile_below(h, 4) << 20;
	case 'c': return row->fds;
	case 'q': return hostile_one_in(h, 2) ? UINT64_C(0x174000000) : hostile_odd(h);
	case 'd': return hostile_below(h, 64);
	case 'l': return UINT64_C(0x20000) << hostile_below(h, 4);
	case 'k': return hostile_below(h, 512) * 8;
	case 'j': return hostile_below(h, 8);
	case 'y': return UINT64_C(1) << hostile_below(h, 12);
	default: return 0;
	}
}

static void compose(struct hostile *h, const struct message_row *row, bool odd, struct raw *m)
{
	*m = (struct raw){ .head = { .request = row->request, .flags = MSG_VERSION } };
	for (const char *f = row->fields; *f; f++) {
		bool twist = odd && hostile_one_in(h, 3);
		uint64_t n = twist ? hostile_odd(h) : field_value(h, row, *f);
		size_t size = field_size(*f);

		memcpy(m->bytes + m->len, &n, size < 8 ? size : 8);
		m->len += (uint32_t)size;
	}
	/* A configuration says how long it is. */
	if (strchr(row->fields, 't') && !odd)
		memcpy(m->bytes + 4, &(uint32_t){ 256 }, 4);
	if (strchr(row->fields, 't') && hostile_one_in(h, 2)) {
		m->len = 12 + 40;
		memcpy(m->bytes + 4, &(uint32_t){ 40 }, 4);
	}
	m->head.size = m->len;
	for (; m->fd_count < row->fds; m->fd_count++)
		m->fds[m->fd_count] = hostile_one_in(h, 2) ? h->f.memory_fd : h->f.queue[1].call;
	if (hostile_one_in(h, 2))
		m->head.flags |= MSG_NEED_REPLY;
}

/* Wrong in one way. */
static void twist(struct hostile *h, struct raw *m)
{
	switch (hostile_below(h, 6)) {
	case 0: m->head.size = m->len = (uint32_t)hostile_below(h, BYTES_MAX); break;
	case 1: m->head.size = (uint32_t)hostile_odd(h) | 0x1000; break;
	case 2: m->head.flags = (uint32_t)hostile_odd(h); break;
	case 3: m->head.request = (uint32_t)hostile_odd(h); break;
	case 4: m->head.request = (uint32_t)hostile_below(h, 48); break;
	default:
		m->fd_count = (uint32_t)hostile_below(h, FDS_MAX);
		for (uint32_t i = 0; i < m->fd_count; i++)
			m->fds[i] = h->f.memory_fd;
	}
}

/* Bytes @from .. @to - 1 of header and payload, descriptors with them if @fds. False: nobody reads any more. */
static bool send_part(struct hostile *h, struct raw *m, size_t from, size_t to, bool fds)
{
	uint8_t all[sizeof(m->head) + BYTES_MAX];
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] = { 0 };
	struct iovec iov = { all + from, to - from };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	memcpy(all, &m->head, sizeof(m->head));
	memcpy(all + sizeof(m->head), m->bytes, m->len);
	if (fds && m->fd_count) {
		struct cmsghdr *cmsg;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(m->fd_count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(m->fd_count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), m->fds, m->fd_count * sizeof(int));
	}
	return from == to || sendmsg(h->f.fd, &msg, MSG_NOSIGNAL) == (ssize_t)(to - from);
}

static bool receive_all(struct hostile *h, void *data, size_t len)
{
	for (size_t have = 0; have < len;) {
		struct pollfd p = { .fd = h->f.fd, .events = POLLIN };
		ssize_t got;

		if (poll(&p, 1, FRONT_WAIT_MS) <= 0)
			front_die("the back end does not answer a message");
		got = recv(h->f.fd, (uint8_t *)data + have, len - have, 0);
		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return true;
}

/* Everything sent so far was looked at. False: the connection has ended. */
static bool sync_up(struct hostile *h)
{
	struct msg_header head;
	uint8_t bytes[4096];

	if (!front_send(&h->f, MSG_GET_FEATURES, NULL, 0, NULL, 0))
		goto ended;
	do {
		if (!receive_all(h, &head, sizeof(head)))
			goto ended;
		if (head.flags != (MSG_VERSION | MSG_REPLY) || head.size > sizeof(bytes))
			front_die("a reply of kind %u with flags %#x and %u bytes", head.request,
				  head.flags, head.size);
		if (!receive_all(h, bytes, head.size))
			goto ended;
	} while (head.request != MSG_GET_FEATURES);
	return true;
ended:
	hostile_close(h);
	return false;
}

static enum hostile_stage any_stage(struct hostile *h)
{
	return (enum hostile_stage)hostile_below(h, 4);
}

/* ---- families ---- */

/* Requests that nobody waits for: the rings may be anywhere by now. */
static void shoot_at_random(struct hostile *h)
{
	if (h->f.queue[1].kick < 0 || !h->node[0])
		return;
	hostile_some_bodies(h, 2);
	hostile_offer(h);
	for (uint32_t q = 0; q < FRONT_QUEUES; q++)
		h->shots[q] = 0;
}

void hostile_messages(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++) {
		struct raw m;

		hostile_case(h, n);
		hostile_open(h, any_stage(h));
		compose(h, &rows[hostile_below(h, ROWS)], hostile_one_in(h, 2), &m);
		if (hostile_one_in(h, 6))
			twist(h, &m);
		if (!send_part(h, &m, 0, sizeof(m.head) + m.len, true)) {
			hostile_close(h);
			continue;
		}
		if (hostile_one_in(h, 4))
			shoot_at_random(h);
		if (n % SYNC_EVERY == 0)
			(void)sync_up(h);
		else
			(void)hostile_swallow(h);
	}
}

/* Each message cut at every byte: the rest comes late, or something else, or nothing. */
void hostile_torn(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++) {
		const struct message_row *row = &rows[n % ROWS];
		struct raw m, other;
		size_t len, at;
		bool late;

		hostile_case(h, n);
		hostile_open(h, any_stage(h));
		compose(h, row, false, &m);
		len = sizeof(m.head) + m.len;
		at = (size_t)(n / ROWS % len);
		late = hostile_one_in(h, 3); /* descriptors, too */
		if (!send_part(h, &m, 0, at, !late)) {
			hostile_close(h);
			continue;
		}
		if (hostile_one_in(h, 4))
			(void)poll(NULL, 0, 1);
		switch (hostile_below(h, 4)) {
		case 0: hostile_close(h); break;
		case 1:
			compose(h, &rows[hostile_below(h, ROWS)], true, &other);
			(void)send_part(h, &other, 0, sizeof(other.head) + other.len, true);
			hostile_close(h);
			break;
		default:
			if (send_part(h, &m, at, len, late || !at))
				(void)sync_up(h);
			else
				hostile_close(h);
		}
	}
}

/* Front ends that come and go, sessions that begin and end, with requests under way. */
void hostile_storms(struct hostile *h, uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n < to; n++) {
		enum hostile_stage stage;

		hostile_case(h, n);
		stage = any_stage(h);
		hostile_open(h, stage);
		if (stage >= STAGE_RINGS) {
			hostile_some_sessions(h, 1 + (uint32_t)hostile_below(h, 8));
			hostile_some_bodies(h, (uint32_t)hostile_below(h, 16));
			hostile_some_sessions(h, (uint32_t)hostile_below(h, 3));
			if (hostile_one_in(h, 2))
				hostile_fire(h);
			else
				hostile_offer(h);
		}
		hostile_close(h);
	}
}
