/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a front end says, and what it does to the device.
 *
 * Invariants: (1) A message that is malformed, or of a kind that was not negotiated, ends the
 * connection: what the stream means is not known any more. One that cannot be done is an error
 * for whoever asked for a reply, and a line in the log. (2) Whatever happens here, descriptors
 * that came with a message are closed or kept by exactly one owner. (3) A ring's numbers change
 * only while it is stopped; memory may change any time, with the queues paused.
 */
#include "vhost/conn.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/base/log.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/state.h"
#include "vhost/msg.h"
#include "vhost/stream.h"
#include "vhost/thread.h"
#include "vhost/window.h"

#define BIT(n) (UINT64_C(1) << (n))
#define FEATURES                                                                                   \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |                              \
	 BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VHOST_F_LOG_ALL) | BIT(MSG_DEVICE_F_PROTOCOL))
#define PROTOCOL_FEATURES                                                                          \
	(BIT(MSG_F_MQ) | BIT(MSG_F_REPLY_ACK) | BIT(MSG_F_CONFIG) | BIT(MSG_F_RESET_DEVICE) |      \
	 BIT(MSG_F_CONFIGURE_MEM_SLOTS) | BIT(MSG_F_STATUS) | BIT(MSG_F_INFLIGHT_SHMFD) |          \
	 BIT(MSG_F_LOG_SHMFD) | BIT(MSG_F_GPA_ADDRESSES) | BIT(MSG_F_DEVICE_STATE))

/* Those that a window needs; offered only where there is one. */
#define WINDOW_FEATURES (BIT(MSG_F_BACKEND_REQ) | BIT(MSG_F_BACKEND_SEND_FD) | BIT(MSG_F_SHMEM))

struct conn {
	struct conn_opts opts;
	struct device *dev;
	struct stream stream;
	pthread_t thread;
	_Atomic bool ended;
	/* As negotiated: */
	uint64_t features, protocol;
	uint8_t status;
};

/* ---- features ---- */

static bool any_runs(const struct conn *c)
{
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++)
		if (c->dev->queues[i].running)
			return true;
	return false;
}

static bool is_suspended(const struct conn *c)
{
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++)
		if (c->dev->queues[i].kick_fd >= 0)
			return false;
	return true;
}

static int set_features(struct conn *c, uint64_t features)
{
	bool logs = features & BIT(VHOST_F_LOG_ALL);

	if (features & ~FEATURES)
		return -EOPNOTSUPP;
	/* A guest that begins to move goes on meanwhile. */
	if (any_runs(c)) {
		if ((features ^ c->features) & ~BIT(VHOST_F_LOG_ALL))
			return -EBUSY;
		c->features = features;
		device_pause(c->dev);
		c->dev->logs_all = logs;
		return device_resume(c->dev);
	}
	c->features = features;
	c->dev->logs_all = logs;
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++) {
		struct queue *q = &c->dev->queues[i];

		q->ring.event_idx = features & BIT(VIRTIO_RING_F_EVENT_IDX);
		q->ring.indirect = features & BIT(VIRTIO_RING_F_INDIRECT_DESC);
		/* Without the protocol features there is no message that would enable it. */
		if (!(features & BIT(MSG_DEVICE_F_PROTOCOL)))
			q->enabled = true;
	}
	return 0;
}

/* What a guest has mapped would stay behind: one with a window is not moved. Slots: see window.h. */
static uint64_t protocol_features(const struct conn *c)
{
	uint64_t features = PROTOCOL_FEATURES;

	if (!c->dev->window)
		return features;
	features &= ~BIT(MSG_F_DEVICE_STATE);
	if (window_is_large(c->dev->window))
		features &= ~BIT(MSG_F_CONFIGURE_MEM_SLOTS);
	return features | WINDOW_FEATURES;
}

static int set_protocol_features(struct conn *c, uint64_t features)
{
	if (features & ~protocol_features(c))
		return -EOPNOTSUPP;
	/* The addresses of memory that is known would mean something else. */
	if ((features ^ c->protocol) & BIT(MSG_F_GPA_ADDRESSES) && c->dev->memory.count)
		return -EBUSY;
	c->protocol = features;
	return 0;
}

/* Which protocol feature a request belongs to; -1: none. */
static int feature_of(uint32_t request)
{
	switch (request) {
	case MSG_GET_QUEUE_NUM: return MSG_F_MQ;
	case MSG_SET_LOG_BASE:
	case MSG_SET_LOG_FD: return MSG_F_LOG_SHMFD;
	case MSG_SET_BACKEND_REQ_FD: return MSG_F_BACKEND_REQ;
	case MSG_GET_CONFIG:
	case MSG_SET_CONFIG: return MSG_F_CONFIG;
	case MSG_GET_INFLIGHT_FD:
	case MSG_SET_INFLIGHT_FD: return MSG_F_INFLIGHT_SHMFD;
	case MSG_RESET_DEVICE: return MSG_F_RESET_DEVICE;
	case MSG_GET_MAX_MEM_SLOTS:
	case MSG_ADD_MEM_REG:
	case MSG_REM_MEM_REG: return MSG_F_CONFIGURE_MEM_SLOTS;
	case MSG_GET_STATUS:
	case MSG_SET_STATUS: return MSG_F_STATUS;
	case MSG_GET_SHMEM_CONFIG: return MSG_F_SHMEM;
	case MSG_SET_DEVICE_STATE_FD:
	case MSG_CHECK_DEVICE_STATE: return MSG_F_DEVICE_STATE;
	default: return -1;
	}
}

/* ---- descriptors ---- */

/*
 * Events, pipes and sockets. A file is always ready, so its ring would be looked at all the time;
 * and writing to one may wait for a filesystem that never answers.
 */
static bool is_event(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && (!(st.st_mode & S_IFMT) || S_ISFIFO(st.st_mode) ||
				   S_ISSOCK(st.st_mode)); /* anonymous inodes have no type */
}

/* Pipes and sockets: those alone are never a filesystem's. */
static bool is_channel(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

/* ---- memory ---- */

/* In which addresses rings are named. */
static uint64_t user_address(const struct conn *c, const struct msg_region *r)
{
	return c->protocol & BIT(MSG_F_GPA_ADDRESSES) ? r->gpa : r->uva;
}

static int set_mem_table(struct conn *c, struct message *m)
{
	struct window *w = c->dev->window;
	bool views = w && window_has_view(w);
	int err = 0;

	device_pause(c->dev);
	memory_clear(&c->dev->memory);
	for (uint32_t i = 0; i < m->payload.table.count && !err; i++) {
		const struct msg_region *r = &m->payload.table.region[i];
		struct memory_share share = { .gpa = r->gpa,
					      .size = r->size,
					      .uva = user_address(c, r),
					      .offset = r->offset,
					      .fd = m->fds[i] };

		/* Pieces of the window, which may be others before the next table comes. */
		if (views && window_is_image(w, share.fd))
			window_in_table(w, r);
		else
			err = memory_add(&c->dev->memory, &share);
	}
	if (err)
		memory_clear(&c->dev->memory);
	else if (views)
		window_add_view(w, &c->dev->memory);
	return err ? err : device_resume(c->dev);
}

static int change_slot(struct conn *c, struct message *m)
{
	const struct msg_region *r = &m->payload.slot.region;
	struct memory_share share = {
		.gpa = r->gpa, .size = r->size, .uva = user_address(c, r), .offset = r->offset
	};
	int err, resume_err;

	device_pause(c->dev);
	if (m->head.request == MSG_ADD_MEM_REG) {
		share.fd = m->fds[0];
		share.image = c->dev->window && window_is_image(c->dev->window, share.fd);
		err = memory_add(&c->dev->memory, &share);
		if (!err && share.image)
			window_announced(c->dev->window, &share);
	} else {
		err = memory_remove(&c->dev->memory, share.gpa, share.size, share.uva);
		if (!err && c->dev->window)
			window_taken_back(c->dev->window, r);
	}
	resume_err = device_resume(c->dev);
	return err ? err : resume_err;
}

/*
 * Front ends do not look at the answer: a log that cannot be used ends the connection, or a guest
 * that moves would arrive with pages that are old.
 */
static int set_log_base(struct conn *c, const struct message *m)
{
	uint64_t size = m->payload.log.size;
	int err = -EINVAL, resume_err;

	device_pause(c->dev);
	if (size >= dirty_log_size(memory_end(&c->dev->memory)))
		err = dirty_log_map(&c->dev->log, m->fds[0], size, m->payload.log.offset);
	resume_err = device_resume(c->dev);
	if (!err)
		err = resume_err;
	if (!err)
		return stream_reply_u64(&c->stream, m, 0);
	log_warn("guest %u: a log of %" PRIu64 " bytes for written memory: %s",
		 c->opts.device.number, size, strerror(-err));
	return -EPROTO;
}

static int set_log_fd(struct conn *c, struct message *m)
{
	struct dirty_log *l = &c->dev->log;

	if (!is_event(m->fds[0]))
		return -EINVAL;
	device_pause(c->dev);
	if (l->call_fd >= 0)
		(void)close(l->call_fd); /* an event: nothing to lose */
	l->call_fd = message_take_fd(m, 0);
	return device_resume(c->dev);
}

/* ---- rings ---- */

/* The ring a message is about; NULL: there is none of that number. */
static struct queue *queue_at(struct conn *c, uint64_t index)
{
	return index < DEVICE_QUEUES_MAX ? &c->dev->queues[index] : NULL;
}

/* Of a ring that is at work, whether it is logged may change: a guest begins to move. */
static int set_ring_addr(struct conn *c, struct queue *q, const struct message *m)
{
	struct vring_dev *v = &q->ring;
	bool same = q->has_addr && v->desc_uva == m->payload.addr.desc &&
		    v->avail_uva == m->payload.addr.avail && v->used_uva == m->payload.addr.used;

	if (m->payload.addr.flags & ~BIT(VHOST_VRING_F_LOG))
		return -EOPNOTSUPP;
	if (q->kick_fd >= 0 && !same)
		return -EBUSY;
	queue_pause(q);
	v->desc_uva = m->payload.addr.desc;
	v->avail_uva = m->payload.addr.avail;
	v->used_uva = m->payload.addr.used;
	v->log = m->payload.addr.flags & BIT(VHOST_VRING_F_LOG) ? &c->dev->log : NULL;
	v->log_gpa = m->payload.addr.log;
	q->has_addr = true;
	return queue_resume(q);
}

/* Numbers of a ring that is at work would be believed by half of the code only. */
static int set_ring(struct conn *c, const struct message *m)
{
	struct queue *q = queue_at(c, m->payload.state.index);
	uint32_t num = m->payload.state.num;

	if (!q)
		return -EINVAL;
	if (m->head.request == MSG_SET_VRING_ADDR)
		return set_ring_addr(c, q, m);
	if (q->kick_fd >= 0)
		return -EBUSY;
	switch (m->head.request) {
	case MSG_SET_VRING_NUM:
		if (!num || num > VRING_NUM_MAX || num & (num - 1))
			return -EINVAL;
		q->ring.num = num;
		return 0;
	default: /* MSG_SET_VRING_BASE */
		if (num > UINT16_MAX)
			return -EINVAL;
		q->ring.avail_next = (uint16_t)num;
		return 0;
	}
}

static int set_ring_fd(struct conn *c, struct message *m)
{
	struct queue *q = queue_at(c, m->payload.u64 & MSG_VRING_INDEX_MASK);
	bool none = m->payload.u64 & MSG_VRING_NOFD;
	int *slot;

	if (!q || (!none && !is_event(m->fds[0])))
		return -EINVAL;
	switch (m->head.request) {
	case MSG_SET_VRING_CALL: slot = &q->call_fd; break;
	case MSG_SET_VRING_ERR: slot = &q->err_fd; break;
	default:
		/* Without kicks the ring would have to be looked at all the time. */
		if (none)
			return -EOPNOTSUPP;
		if (!(c->features & BIT(VIRTIO_F_VERSION_1)))
			return -EOPNOTSUPP;
		slot = &q->kick_fd;
		atomic_store(&q->broken, false);
		/* Else it is the queues' to look at. */
		if (is_suspended(c)) {
			handover_arrive(c->dev);
			if (c->dev->session)
				proto_state_arrive(c->dev->session);
		}
	}
	queue_pause(q);
	if (*slot >= 0)
		(void)close(*slot); /* an event: nothing to lose */
	*slot = none ? -1 : message_take_fd(m, 0);
	return queue_resume(q);
}

static int enable_ring(struct conn *c, const struct message *m)
{
	struct queue *q = queue_at(c, m->payload.state.index);

	if (!q || m->payload.state.num > 1)
		return -EINVAL;
	q->enabled = m->payload.state.num;
	if (q->enabled)
		return queue_resume(q);
	queue_pause(q);
	return 0;
}

static int stop_ring(struct queue *q)
{
	int err = queue_drain(q);

	if (q->kick_fd >= 0)
		(void)close(q->kick_fd); /* an event: nothing to lose */
	q->kick_fd = -1;
	q->recorded = false;
	return err;
}

static int stop_all(struct conn *c)
{
	int ret = 0;

	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++) {
		int err = stop_ring(&c->dev->queues[i]);

		ret = err ? err : ret;
	}
	return ret;
}

static int get_base(struct conn *c, const struct message *m)
{
	struct queue *q = queue_at(c, m->payload.state.index);
	uint32_t state[2] = { m->payload.state.index };

	/* The answer would be a lie. */
	if (!q || stop_ring(q))
		return -EPROTO;
	state[1] = q->ring.avail_next;
	return stream_reply(&c->stream, m, state, sizeof(state));
}

/* As after power on, but for memory and what was negotiated. */
static int reset_device(struct conn *c)
{
	int err = stop_all(c);

	/* It begins anew where its image is: what it had is given up by a session of the image. */
	if (c->dev->handover.saved)
		handover_arrive(c->dev);
	for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++) {
		struct queue *q = &c->dev->queues[i];

		q->enabled = q->has_addr = false;
		q->ring.num = q->ring.avail_next = 0;
	}
	if (!err)
		device_renew(c->dev, device_generation(c->dev));
	return err;
}

/* ---- a guest that moves ---- */

static int move_state(struct conn *c, struct message *m)
{
	struct device *d = c->dev;
	bool load = m->payload.transfer.direction == MSG_STATE_LOAD;
	int err = -EINVAL;

	if (!d->transfer.running)
		d->handover.why[0] = '\0';
	if (m->payload.transfer.direction <= MSG_STATE_LOAD &&
	    m->payload.transfer.phase == MSG_STATE_STOPPED && is_channel(m->fds[0]))
		err = is_suspended(c) ? 0 : -EBUSY;
	if (!err && !handover_can(d, load))
		err = -EBUSY;
	if (!err)
		err = transfer_start(&d->transfer, d, load, message_take_fd(m, 0));
	if (err)
		log_warn("guest %u: its state cannot be %s: %s", c->opts.device.number,
			 load ? "loaded" : "saved",
			 err == -EBUSY ? "its rings are not stopped, or it runs already" :
					 strerror(-err));
	return stream_reply_u64(&c->stream, m, MSG_STATE_NOFD | (err ? MSG_STATE_ERROR : 0));
}

static int check_state(struct conn *c, const struct message *m)
{
	struct device *d = c->dev;
	bool loads = transfer_loads(&d->transfer);
	const int stops[2] = { c->stream.stop_fd, c->stream.fd };
	int err = transfer_wait(&d->transfer, stops);

	if (err == -ENOTCONN)
		return err;
	if (err)
		log_warn("guest %u: its state is not %s: %s", c->opts.device.number,
			 loads ? "taken" : "saved",
			 err == -ENXIO	  ? "no transfer is under way" :
			 *d->handover.why ? d->handover.why :
					    proto_state_why(err));
	if (!err && loads && proto_ready(d->session)) {
		atomic_store(&d->used, true);
		log_info("guest %u: arrived, goes on where it was", c->opts.device.number);
	} else if (!err && !loads) {
		log_info("guest %u: saved, it may leave", c->opts.device.number);
	}
	return stream_reply_u64(&c->stream, m, err != 0);
}

/* ---- the record of what is in flight ---- */

static int get_inflight(struct conn *c, const struct message *m)
{
	_cleanup_close_ int fd = -1;
	union msg_payload out = { .inflight = { .queues = m->payload.inflight.queues,
						.ring_size = m->payload.inflight.ring_size } };
	struct inflight_area area;
	int err = inflight_new(out.inflight.queues, out.inflight.ring_size, &area, &fd);

	/* Of no size: the protocol's way to say that there is none. */
	if (err)
		log_warn("guest %u: no record of requests for %u rings of %u: %s",
			 c->opts.device.number, out.inflight.queues, out.inflight.ring_size,
			 strerror(-err));
	else
		out.inflight.size = area.size;
	return stream_reply_fd(&c->stream, m, &out, m->head.size, fd);
}

static int set_inflight(struct conn *c, const struct message *m)
{
	struct inflight_area area = { .size = m->payload.inflight.size,
				      .offset = m->payload.inflight.offset,
				      .queues = m->payload.inflight.queues,
				      .ring_size = m->payload.inflight.ring_size };
	int err;

	if (!is_suspended(c))
		return -EBUSY;
	err = inflight_map(&c->dev->inflight, m->fds[0], &area);
	if (!err)
		device_adopt(c->dev);
	return err;
}

/* ---- configuration ---- */

static int get_config(struct conn *c, const struct message *m)
{
	struct virtio_fs_config config = { .num_request_queues = c->opts.queues };
	union msg_payload out = { .config = { .offset = m->payload.config.offset,
					      .flags = m->payload.config.flags } };
	uint32_t off = m->payload.config.offset, size = m->payload.config.size;

	memcpy(config.tag, c->opts.tag, MIN(strlen(c->opts.tag), sizeof(config.tag)));
	/* Beyond the end: no bytes, which is the protocol's error. */
	if (size > sizeof(config) || off > sizeof(config) - size)
		size = 0;
	out.config.size = size;
	memcpy(out.config.data, (const uint8_t *)&config + off, size);
	return stream_reply(&c->stream, m, &out, (uint32_t)MSG_CONFIG_HEAD + size);
}

/* A front end that asks tells its machine: it is the proof that there is a window. */
static int get_shmem_config(struct conn *c, const struct message *m)
{
	struct msg_shmem_config out = { .count = 1 };
	uint64_t needed = WINDOW_FEATURES | BIT(MSG_F_REPLY_ACK);
	struct window_agreed agreed = { .slots = c->protocol & BIT(MSG_F_CONFIGURE_MEM_SLOTS),
					.barriers = c->protocol & BIT(MSG_F_CONFIG) };
	int err = 0;

	out.size[0] = c->opts.device.window_size;
	if ((c->protocol & needed) == needed)
		err = window_configured(c->dev->window, &agreed);
	if (err)
		log_warn("guest %u: no window: %s", c->opts.device.number,
			 err == -EOPNOTSUPP ?
				 "its front end does not know of configurations that change" :
				 strerror(-err));
	return stream_reply(&c->stream, m, &out, sizeof(out));
}

/* ---- messages ---- */

/* Those with a reply of their own: 0, or why the connection ends. */
static int answer(struct conn *c, struct message *m)
{
	switch (m->head.request) {
	case MSG_GET_FEATURES: return stream_reply_u64(&c->stream, m, FEATURES);
	case MSG_GET_PROTOCOL_FEATURES:
		return stream_reply_u64(&c->stream, m, protocol_features(c));
	case MSG_GET_QUEUE_NUM: return stream_reply_u64(&c->stream, m, DEVICE_QUEUES_MAX);
	case MSG_GET_MAX_MEM_SLOTS: return stream_reply_u64(&c->stream, m, MEMORY_REGIONS_MAX);
	case MSG_GET_STATUS: return stream_reply_u64(&c->stream, m, c->status);
	case MSG_GET_VRING_BASE: return get_base(c, m);
	case MSG_GET_CONFIG: return get_config(c, m);
	case MSG_GET_INFLIGHT_FD: return get_inflight(c, m);
	case MSG_SET_LOG_BASE: return set_log_base(c, m);
	case MSG_GET_SHMEM_CONFIG: return get_shmem_config(c, m);
	case MSG_SET_DEVICE_STATE_FD: return move_state(c, m);
	case MSG_CHECK_DEVICE_STATE: return check_state(c, m);
	default: return -EPROTO;
	}
}

static int set_status(struct conn *c, uint64_t status)
{
	if (status > UINT8_MAX)
		return -EINVAL;
	c->status = (uint8_t)status;
	/* A machine that is paused says 0, too: its session goes on, see before_dispatch(). */
	return status ? 0 : stop_all(c);
}

static int perform(struct conn *c, struct message *m)
{
	switch (m->head.request) {
	case MSG_SET_FEATURES: return set_features(c, m->payload.u64);
	case MSG_SET_PROTOCOL_FEATURES: return set_protocol_features(c, m->payload.u64);
	case MSG_SET_OWNER: return 0;
	case MSG_RESET_OWNER: return stop_all(c);
	case MSG_SET_MEM_TABLE: return set_mem_table(c, m);
	case MSG_ADD_MEM_REG:
	case MSG_REM_MEM_REG: return change_slot(c, m);
	case MSG_SET_VRING_NUM:
	case MSG_SET_VRING_BASE:
	case MSG_SET_VRING_ADDR: return set_ring(c, m);
	case MSG_SET_VRING_KICK:
	case MSG_SET_VRING_CALL:
	case MSG_SET_VRING_ERR: return set_ring_fd(c, m);
	case MSG_SET_VRING_ENABLE: return enable_ring(c, m);
	case MSG_SET_CONFIG: return -EROFS;
	case MSG_SET_INFLIGHT_FD: return set_inflight(c, m);
	case MSG_SET_LOG_FD: return set_log_fd(c, m);
	case MSG_SET_BACKEND_REQ_FD: window_set_fd(c->dev->window, message_take_fd(m, 0)); return 0;
	case MSG_RESET_DEVICE: return reset_device(c);
	case MSG_SET_STATUS: return set_status(c, m->payload.u64);
	default: return -EOPNOTSUPP;
	}
}

static int handle(struct conn *c, struct message *m)
{
	int feature = feature_of(m->head.request), err;

	if (feature >= 0 && !(c->protocol & BIT(feature)))
		return -EPROTO;
	/* Whatever it is: the session is the transfer's until somebody has asked how it went. */
	if (m->head.request != MSG_CHECK_DEVICE_STATE && transfer_cancel(&c->dev->transfer) &&
	    transfer_loads(&c->dev->transfer)) {
		handover_undo(c->dev);
		device_renew(c->dev, device_generation(c->dev));
	}
	if (msg_has_reply(m->head.request))
		return answer(c, m);
	err = perform(c, m);
	if (err == -ETIMEDOUT)
		return err;
	if (err)
		log_warn("guest %u: %s: %s", c->opts.device.number, msg_name(m->head.request),
			 strerror(-err));
	if (m->head.flags & MSG_NEED_REPLY && c->protocol & BIT(MSG_F_REPLY_ACK))
		return stream_reply_u64(&c->stream, m, err != 0);
	return 0;
}

static void say_end(const struct conn *c, const struct message *m, int err)
{
	const char *name = msg_name(m->head.request);
	uint32_t guest = c->opts.device.number;

	if (err == -ENOTCONN)
		log_info("guest %u: disconnected", guest);
	else if (err == -EOPNOTSUPP)
		log_warn("guest %u: disconnected: its front end sent request %u, which kfs does "
			 "not offer",
			 guest, m->head.request);
	else if (err == -ETIMEDOUT)
		log_warn("guest %u: disconnected: requests did not end in time", guest);
	else
		log_warn("guest %u: disconnected: malformed or unexpected message %s (%u bytes, "
			 "%u descriptors)",
			 guest, name ? name : "of unknown kind", m->head.size, m->fd_count);
}

static void *conn_thread(void *arg)
{
	struct conn *c = arg;
	struct message m;
	uint64_t one = 1;
	int err;

	log_limit_thread(&thread_lines);
	log_info("guest %u: connected", c->opts.device.number);
	do {
		err = stream_receive(&c->stream, &m);
		if (!err)
			err = handle(c, &m);
		if (err)
			say_end(c, &m, err);
		message_close_fds(&m);
		if (!err && memory_lost(&c->dev->memory)) {
			log_warn("guest %u: disconnected: its memory was cut short",
				 c->opts.device.number);
			err = -ENOTCONN;
		}
	} while (!err);
	device_free(c->dev);
	(void)shutdown(c->stream.fd, SHUT_RDWR); /* the other end may be gone */
	atomic_store(&c->ended, true);
	if (write(c->opts.ended_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it will be looked at */
	return NULL;
}

int conn_start(int fd, const struct conn_opts *opts, struct conn **ret_conn)
{
	struct conn *c = calloc(1, sizeof(*c));
	int err = -ENOMEM;

	if (!c)
		goto out_close;
	c->opts = *opts;
	c->stream.fd = fd;
	c->stream.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = c->stream.stop_fd < 0 ? -errno : 0;
	if (!err)
		err = device_new(&opts->device, &c->dev);
	if (!err) {
		err = thread_start(&c->thread, "kfs-vhost", conn_thread, c);
		if (err)
			device_free(c->dev);
	}
	if (!err) {
		*ret_conn = c;
		return 0;
	}
	if (c->stream.stop_fd >= 0)
		(void)close(c->stream.stop_fd); /* a counter */
	free(c);
out_close:
	(void)close(fd); /* nothing was said on it */
	return err;
}

bool conn_ended(const struct conn *c)
{
	return atomic_load(&c->ended);
}

void conn_free(struct conn *c)
{
	uint64_t one = 1;

	if (write(c->stream.stop_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd: %s", strerror(errno)); /* full: it is awake */
	thread_join(c->thread);
	(void)close(c->stream.stop_fd); /* a counter */
	(void)close(c->stream.fd);	/* all replies were sent */
	free(c);
}
