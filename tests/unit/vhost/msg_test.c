/* SPDX-License-Identifier: GPL-2.0-only */
/* Which messages are taken: every size and every number of descriptors but the right ones is refused. */
#include <errno.h>
#include <string.h>

#include "tests/lib/test.h"
#include "vhost/msg.h"

static struct msg_header head_of(uint32_t request, uint32_t size)
{
	return (struct msg_header){ .request = request, .flags = MSG_VERSION, .size = size };
}

/* The only size that @request takes; tests of tables and configurations have their own. */
static uint32_t size_of(uint32_t request)
{
	switch (request) {
	case MSG_SET_FEATURES:
	case MSG_SET_PROTOCOL_FEATURES:
	case MSG_SET_VRING_NUM:
	case MSG_SET_VRING_BASE:
	case MSG_GET_VRING_BASE:
	case MSG_SET_VRING_KICK:
	case MSG_SET_VRING_CALL:
	case MSG_SET_VRING_ERR:
	case MSG_SET_VRING_ENABLE:
	case MSG_SET_DEVICE_STATE_FD:
	case MSG_SET_STATUS: return 8;
	case MSG_SET_LOG_BASE: return 16;
	case MSG_SET_VRING_ADDR:
	case MSG_ADD_MEM_REG:
	case MSG_REM_MEM_REG: return 40;
	default: return 0;
	}
}

static bool has_one_size(uint32_t request)
{
	return request != MSG_SET_MEM_TABLE && request != MSG_GET_CONFIG &&
	       request != MSG_SET_CONFIG && request != MSG_GET_INFLIGHT_FD &&
	       request != MSG_SET_INFLIGHT_FD;
}

static unsigned fds_of(uint32_t request)
{
	return request == MSG_SET_VRING_KICK || request == MSG_SET_VRING_CALL ||
	       request == MSG_SET_VRING_ERR || request == MSG_ADD_MEM_REG ||
	       request == MSG_SET_INFLIGHT_FD || request == MSG_SET_LOG_BASE ||
	       request == MSG_SET_LOG_FD || request == MSG_SET_BACKEND_REQ_FD ||
	       request == MSG_SET_DEVICE_STATE_FD;
}

TEST(test_msg_check__takes_the_right_size_only)
{
	union msg_payload payload = { .u64 = 0 };
	unsigned known = 0;

	for (uint32_t request = 0; request < 2 * MSG_REQUESTS; request++) {
		if (!msg_name(request)) {
			struct msg_header head = head_of(request, 0);

			CHECK_ERR(msg_check(&head, &payload, 0), -EOPNOTSUPP);
			continue;
		}
		known++;
		for (uint32_t size = 0; has_one_size(request) && size < 600; size++) {
			struct msg_header head = head_of(request, size);
			int want = size == size_of(request) ? 0 : -EPROTO;

			CHECK_ERR(msg_check(&head, &payload, fds_of(request)), want);
		}
	}
	CHECK_EQ(known, 32);
}

TEST(test_msg_check__counts_descriptors)
{
	union msg_payload payload = { .u64 = 0 };

	for (uint32_t request = 1; request < MSG_REQUESTS; request++) {
		struct msg_header head = head_of(request, size_of(request));

		if (!msg_name(request) || !has_one_size(request))
			continue;
		for (unsigned fds = 0; fds <= MSG_FDS_MAX; fds++) {
			bool right = fds == fds_of(request) ||
				     (request == MSG_REM_MEM_REG && fds == 1);

			CHECK_ERR(msg_check(&head, &payload, fds), right ? 0 : -EPROTO);
		}
	}
}

TEST(test_msg_check__ring_without_descriptor_says_so)
{
	struct msg_header head = head_of(MSG_SET_VRING_CALL, 8);
	union msg_payload payload = { .u64 = 3 | MSG_VRING_NOFD };

	CHECK_OK(msg_check(&head, &payload, 0));
	CHECK_ERR(msg_check(&head, &payload, 1), -EPROTO);
	payload.u64 = 3 | 1u << 9;
	CHECK_ERR(msg_check(&head, &payload, 1), -EPROTO);
	payload.u64 = 3 | 1ull << 40;
	CHECK_ERR(msg_check(&head, &payload, 1), -EPROTO);
}

TEST(test_msg_check__memory_table_has_as_many_regions_as_it_says)
{
	union msg_payload payload;

	memset(&payload, 0, sizeof(payload));
	for (uint32_t count = 0; count < 300; count++)
		for (uint32_t regions = 0; regions <= MSG_TABLE_REGIONS; regions++) {
			struct msg_header head = head_of(MSG_SET_MEM_TABLE, 8 + regions * 32);
			bool right = count == regions;

			payload.table.count = count;
			CHECK_ERR(msg_check(&head, &payload, regions), right ? 0 : -EPROTO);
			CHECK_ERR(msg_check(&head, &payload, regions + 1), -EPROTO);
		}
	payload.table.count = 0xffffffff;
	CHECK_ERR(msg_check(&(struct msg_header){ MSG_SET_MEM_TABLE, MSG_VERSION, 8 }, &payload, 0),
		  -EPROTO);
}

TEST(test_msg_check__configuration_is_as_long_as_it_says)
{
	union msg_payload payload;

	memset(&payload, 0, sizeof(payload));
	for (uint32_t size = 0; size < 400; size++)
		for (uint32_t said = 0; said < 300; said += 43) {
			struct msg_header head = head_of(MSG_GET_CONFIG, size);
			bool right = size == 12 + said && said <= MSG_CONFIG_MAX;

			payload.config.size = said;
			CHECK_ERR(msg_check(&head, &payload, 0), right ? 0 : -EPROTO);
		}
}

TEST(test_msg_check__inflight_has_its_padding_or_has_none)
{
	union msg_payload payload = { .u64 = 0 };

	for (uint32_t size = 0; size < 64; size++) {
		struct msg_header set = head_of(MSG_SET_INFLIGHT_FD, size);
		struct msg_header get = head_of(MSG_GET_INFLIGHT_FD, size);
		int want = size == 20 || size == 24 ? 0 : -EPROTO;

		CHECK_ERR(msg_check(&set, &payload, 1), want);
		CHECK_ERR(msg_check(&set, &payload, 0), -EPROTO);
		CHECK_ERR(msg_check(&get, &payload, 0), want);
	}
}

TEST(test_msg_check__header_must_be_one)
{
	struct msg_header head = head_of(MSG_GET_FEATURES, 0);

	CHECK_OK(msg_check_header(&head));
	head.flags = MSG_VERSION | MSG_NEED_REPLY;
	CHECK_OK(msg_check_header(&head));
	head.flags = MSG_VERSION | MSG_REPLY;
	CHECK_ERR(msg_check_header(&head), -EPROTO);
	head.flags = 2;
	CHECK_ERR(msg_check_header(&head), -EPROTO);
	head = head_of(99, 0xffffffff);
	CHECK_ERR(msg_check_header(&head), -EPROTO);
}
