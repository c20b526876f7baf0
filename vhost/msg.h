/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The vhost-user protocol's messages: numbers, layouts, and what each may carry. Pure: no
 * sockets, no state. What a front end sends is hostile; a message that msg_check() accepts has
 * the size and the number of descriptors that its kind must have.
 *
 * Values and layouts are the protocol's (QEMU's interop/vhost-user); all integers are in the
 * machine's order.
 */
#ifndef KFS_VHOST_MSG_H
#define KFS_VHOST_MSG_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

enum msg_request {
	MSG_GET_FEATURES = 1,
	MSG_SET_FEATURES = 2,
	MSG_SET_OWNER = 3,
	MSG_RESET_OWNER = 4,
	MSG_SET_MEM_TABLE = 5,
	MSG_SET_LOG_BASE = 6,
	MSG_SET_LOG_FD = 7,
	MSG_SET_VRING_NUM = 8,
	MSG_SET_VRING_ADDR = 9,
	MSG_SET_VRING_BASE = 10,
	MSG_GET_VRING_BASE = 11,
	MSG_SET_VRING_KICK = 12,
	MSG_SET_VRING_CALL = 13,
	MSG_SET_VRING_ERR = 14,
	MSG_GET_PROTOCOL_FEATURES = 15,
	MSG_SET_PROTOCOL_FEATURES = 16,
	MSG_GET_QUEUE_NUM = 17,
	MSG_SET_VRING_ENABLE = 18,
	MSG_SET_BACKEND_REQ_FD = 21,
	MSG_GET_CONFIG = 24,
	MSG_SET_CONFIG = 25,
	MSG_GET_INFLIGHT_FD = 31,
	MSG_SET_INFLIGHT_FD = 32,
	MSG_RESET_DEVICE = 34,
	MSG_GET_MAX_MEM_SLOTS = 36,
	MSG_ADD_MEM_REG = 37,
	MSG_REM_MEM_REG = 38,
	MSG_SET_STATUS = 39,
	MSG_GET_STATUS = 40,
	MSG_SET_DEVICE_STATE_FD = 42,
	MSG_CHECK_DEVICE_STATE = 43,
	MSG_GET_SHMEM_CONFIG = 44,
	MSG_REQUESTS = 45
};

/* The other way, on the socket that SET_BACKEND_REQ_FD brought. */
enum msg_backend_request {
	MSG_BACKEND_CONFIG_CHANGE = 2,
	MSG_BACKEND_SHMEM_MAP = 9, /* with one descriptor */
	MSG_BACKEND_SHMEM_UNMAP = 10,
};

/* Bits of struct msg_header.flags. */
enum {
	MSG_VERSION_MASK = 3,
	MSG_VERSION = 1,
	MSG_REPLY = 1 << 2,
	MSG_NEED_REPLY = 1 << 3,
};

/* Protocol features, by bit number. */
enum {
	MSG_F_MQ = 0,
	MSG_F_LOG_SHMFD = 1,
	MSG_F_REPLY_ACK = 3,
	MSG_F_BACKEND_REQ = 5,
	MSG_F_CONFIG = 9,
	MSG_F_BACKEND_SEND_FD = 10,
	MSG_F_INFLIGHT_SHMFD = 12,
	MSG_F_RESET_DEVICE = 13,
	MSG_F_CONFIGURE_MEM_SLOTS = 15,
	MSG_F_STATUS = 16,
	MSG_F_DEVICE_STATE = 19,
	MSG_F_GPA_ADDRESSES = 21,
	MSG_F_SHMEM = 22,
};

/* A feature of the device: the front end knows the protocol features. */
#define MSG_DEVICE_F_PROTOCOL 30

/* Regions in one SET_MEM_TABLE, and descriptors beside one message. */
#define MSG_TABLE_REGIONS 8
#define MSG_FDS_MAX 8
#define MSG_CONFIG_MAX 256
/* SET_VRING_KICK, _CALL, _ERR: the ring's number, and "there is no descriptor". */
#define MSG_VRING_INDEX_MASK 0xffu
#define MSG_VRING_NOFD (1u << 8)

/* SET_DEVICE_STATE_FD: its words, and its answer. */
enum { MSG_STATE_SAVE = 0, MSG_STATE_LOAD = 1 };
#define MSG_STATE_STOPPED 0u
#define MSG_STATE_ERROR 1u
#define MSG_STATE_NOFD (1u << 8)

struct msg_header {
	uint32_t request, flags, size;
};

struct msg_region {
	uint64_t gpa, size, uva, offset;
};

/* Of one shared memory region in the guest's address space; virtio-fs' window is region 0. */
#define MSG_SHMEM_REGIONS 256
struct msg_shmem_config {
	uint32_t count, padding;
	uint64_t size[MSG_SHMEM_REGIONS];
};

struct msg_shmem {
	uint8_t region, padding[7];
	uint64_t fd_offset, shm_offset, len;
	uint64_t flags; /* MSG_SHMEM_RW */
};
#define MSG_SHMEM_RW 1u

union msg_payload {
	uint64_t u64;
	struct {
		uint32_t index, num;
	} state;
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr;
	struct {
		uint32_t count, padding;
		struct msg_region region[MSG_TABLE_REGIONS];
	} table;
	struct {
		uint64_t padding;
		struct msg_region region;
	} slot;
	struct {
		uint64_t size, offset;
	} log;
	struct {
		uint32_t direction, phase;
	} transfer;
	struct {
		uint64_t size, offset;
		uint16_t queues, ring_size;
	} inflight;
	struct {
		uint32_t offset, size, flags;
		uint8_t data[MSG_CONFIG_MAX];
	} config;
};

#define MSG_CONFIG_HEAD offsetof(union msg_payload, config.data)
/* Front ends send the structure with its padding, or as the protocol lists its fields. */
#define MSG_INFLIGHT_MIN 20u
#define MSG_INFLIGHT_MAX 24u

static_assert(sizeof(struct msg_header) == 12, "vhost-user header");
static_assert(sizeof(struct msg_region) == 32, "vhost-user memory region");
static_assert(offsetof(union msg_payload, table.region) == 8, "vhost-user memory table");
static_assert(offsetof(union msg_payload, addr.log) == 32, "vhost-user vring address");
static_assert(sizeof(((union msg_payload *)NULL)->inflight) == MSG_INFLIGHT_MAX, "inflight");
static_assert(sizeof(struct msg_shmem_config) == 2056, "vhost-user shared memory configuration");
static_assert(sizeof(struct msg_shmem) == 40, "vhost-user SHMEM_MAP");
static_assert(offsetof(struct msg_shmem, fd_offset) == 8, "vhost-user SHMEM_MAP");
static_assert(MSG_CONFIG_HEAD == 12, "vhost-user device configuration");

/* "SET_MEM_TABLE"; NULL for what is not served. */
const char *msg_name(uint32_t request);
/* The sender waits for a payload of this message's own, whatever its flags say. */
bool msg_has_reply(uint32_t request);
/*
 * Before the payload is read: -EPROTO for a header that is none or a size that its kind cannot
 * have (the stream is lost), -EOPNOTSUPP for a request that is not served.
 */
MUST_USE int msg_check_header(const struct msg_header *head);
/* With the payload of head->size bytes and @fds descriptors: -EPROTO. */
MUST_USE int msg_check(const struct msg_header *head, const union msg_payload *payload,
		       unsigned fds);

#endif
