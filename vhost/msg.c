/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each request's size is fixed or, for tables and configurations, bounded and told by a count
 * inside; both are checked before anybody looks at the rest.
 */
#include "vhost/msg.h"

#include <errno.h>

/* How many descriptors come along. */
enum msg_fds { FDS_NONE, FDS_ONE, FDS_ONE_AT_MOST, FDS_RING, FDS_TABLE };

struct msg_def {
	const char *name;
	uint16_t size_min, size_max;
	uint8_t fds; /* enum msg_fds */
	bool reply;
};

#define SIZE(n) .size_min = (n), .size_max = (n)
#define U64 SIZE(sizeof(uint64_t))
#define STATE SIZE(2 * sizeof(uint32_t))
#define SLOT SIZE(sizeof(uint64_t) + sizeof(struct msg_region))
#define INFLIGHT .size_min = MSG_INFLIGHT_MIN, .size_max = MSG_INFLIGHT_MAX
#define CONFIG .size_min = MSG_CONFIG_HEAD, .size_max = MSG_CONFIG_HEAD + MSG_CONFIG_MAX

static const struct msg_def defs[MSG_REQUESTS] = {
	[MSG_GET_FEATURES] = { .name = "GET_FEATURES", SIZE(0), .reply = true },
	[MSG_SET_FEATURES] = { .name = "SET_FEATURES", U64 },
	[MSG_SET_OWNER] = { .name = "SET_OWNER", SIZE(0) },
	[MSG_RESET_OWNER] = { .name = "RESET_OWNER", SIZE(0) },
	[MSG_SET_MEM_TABLE] = { .name = "SET_MEM_TABLE",
				.size_min = 8,
				.size_max = 8 + MSG_TABLE_REGIONS * sizeof(struct msg_region),
				.fds = FDS_TABLE },
	[MSG_SET_LOG_BASE] = { .name = "SET_LOG_BASE", SIZE(16), .fds = FDS_ONE, .reply = true },
	[MSG_SET_LOG_FD] = { .name = "SET_LOG_FD", SIZE(0), .fds = FDS_ONE },
	[MSG_SET_VRING_NUM] = { .name = "SET_VRING_NUM", STATE },
	[MSG_SET_VRING_ADDR] = { .name = "SET_VRING_ADDR", SIZE(40) },
	[MSG_SET_VRING_BASE] = { .name = "SET_VRING_BASE", STATE },
	[MSG_GET_VRING_BASE] = { .name = "GET_VRING_BASE", STATE, .reply = true },
	[MSG_SET_VRING_KICK] = { .name = "SET_VRING_KICK", U64, .fds = FDS_RING },
	[MSG_SET_VRING_CALL] = { .name = "SET_VRING_CALL", U64, .fds = FDS_RING },
	[MSG_SET_VRING_ERR] = { .name = "SET_VRING_ERR", U64, .fds = FDS_RING },
	[MSG_GET_PROTOCOL_FEATURES] = { .name = "GET_PROTOCOL_FEATURES", SIZE(0), .reply = true },
	[MSG_SET_PROTOCOL_FEATURES] = { .name = "SET_PROTOCOL_FEATURES", U64 },
	[MSG_GET_QUEUE_NUM] = { .name = "GET_QUEUE_NUM", SIZE(0), .reply = true },
	[MSG_SET_VRING_ENABLE] = { .name = "SET_VRING_ENABLE", STATE },
	[MSG_SET_BACKEND_REQ_FD] = { .name = "SET_BACKEND_REQ_FD", SIZE(0), .fds = FDS_ONE },
	[MSG_GET_CONFIG] = { .name = "GET_CONFIG", CONFIG, .reply = true },
	[MSG_SET_CONFIG] = { .name = "SET_CONFIG", CONFIG },
	[MSG_GET_INFLIGHT_FD] = { .name = "GET_INFLIGHT_FD", INFLIGHT, .reply = true },
	[MSG_SET_INFLIGHT_FD] = { .name = "SET_INFLIGHT_FD", INFLIGHT, .fds = FDS_ONE },
	[MSG_RESET_DEVICE] = { .name = "RESET_DEVICE", SIZE(0) },
	[MSG_GET_MAX_MEM_SLOTS] = { .name = "GET_MAX_MEM_SLOTS", SIZE(0), .reply = true },
	[MSG_ADD_MEM_REG] = { .name = "ADD_MEM_REG", SLOT, .fds = FDS_ONE },
	/* Some front ends send the region's descriptor along. */
	[MSG_REM_MEM_REG] = { .name = "REM_MEM_REG", SLOT, .fds = FDS_ONE_AT_MOST },
	[MSG_SET_DEVICE_STATE_FD] = { .name = "SET_DEVICE_STATE_FD",
				      STATE,
				      .fds = FDS_ONE,
				      .reply = true },
	[MSG_CHECK_DEVICE_STATE] = { .name = "CHECK_DEVICE_STATE", SIZE(0), .reply = true },
	[MSG_SET_STATUS] = { .name = "SET_STATUS", U64 },
	[MSG_GET_STATUS] = { .name = "GET_STATUS", SIZE(0), .reply = true },
	[MSG_GET_SHMEM_CONFIG] = { .name = "GET_SHMEM_CONFIG", SIZE(0), .reply = true },
};

static const struct msg_def *def_of(uint32_t request)
{
	return request < MSG_REQUESTS && defs[request].name ? &defs[request] : NULL;
}

const char *msg_name(uint32_t request)
{
	const struct msg_def *def = def_of(request);

	return def ? def->name : NULL;
}

bool msg_has_reply(uint32_t request)
{
	const struct msg_def *def = def_of(request);

	return def && def->reply;
}

int msg_check_header(const struct msg_header *head)
{
	const struct msg_def *def = def_of(head->request);

	if ((head->flags & MSG_VERSION_MASK) != MSG_VERSION || head->flags & MSG_REPLY)
		return -EPROTO;
	if (!def)
		return head->size > sizeof(union msg_payload) ? -EPROTO : -EOPNOTSUPP;
	return head->size < def->size_min || head->size > def->size_max ? -EPROTO : 0;
}

static bool table_fits(const struct msg_header *head, const union msg_payload *payload,
		       unsigned fds)
{
	uint32_t count = payload->table.count;

	return count <= MSG_TABLE_REGIONS && count == fds &&
	       head->size == 8 + count * sizeof(struct msg_region);
}

static bool fds_fit(const struct msg_header *head, const union msg_payload *payload, unsigned fds)
{
	switch (def_of(head->request)->fds) {
	case FDS_ONE: return fds == 1;
	case FDS_ONE_AT_MOST: return fds <= 1;
	case FDS_RING: return fds == (payload->u64 & MSG_VRING_NOFD ? 0 : 1);
	case FDS_TABLE: return table_fits(head, payload, fds);
	default: return fds == 0;
	}
}

int msg_check(const struct msg_header *head, const union msg_payload *payload, unsigned fds)
{
	int err = msg_check_header(head);

	if (err)
		return err;
	if (!fds_fit(head, payload, fds))
		return -EPROTO;
	switch (head->request) {
	case MSG_SET_VRING_KICK:
	case MSG_SET_VRING_CALL:
	case MSG_SET_VRING_ERR:
		if (payload->u64 & ~(uint64_t)(MSG_VRING_INDEX_MASK | MSG_VRING_NOFD))
			return -EPROTO;
		break;
	case MSG_GET_CONFIG:
	case MSG_SET_CONFIG:
		if (payload->config.size != head->size - MSG_CONFIG_HEAD)
			return -EPROTO;
		break;
	case MSG_GET_INFLIGHT_FD:
	case MSG_SET_INFLIGHT_FD:
		if (head->size != MSG_INFLIGHT_MIN && head->size != MSG_INFLIGHT_MAX)
			return -EPROTO;
		break;
	default: break;
	}
	return 0;
}
