/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/front.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096u
#define BIT(n) (UINT64_C(1) << (n))
#define UVA_LOW UINT64_C(0x7f1000000000)
#define UVA_HIGH UINT64_C(0x7f2000000000)

void front_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "front: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

uint8_t *front_at(struct front *f, uint64_t gpa)
{
	if (gpa >= FRONT_HIGH_GPA)
		return f->memory + FRONT_LOW + (gpa - FRONT_HIGH_GPA);
	return f->memory + gpa;
}

/* ---- messages ---- */

static void connect_to(struct front *f, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(addr.sun_path))
		front_die("%s: too long", path);
	memcpy(addr.sun_path, path, strlen(path));
	f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->fd < 0 || connect(f->fd, (struct sockaddr *)&addr, sizeof(addr)))
		front_die("connect %s: %s", path, strerror(errno));
}

void front_reconnect(struct front *f, const char *path)
{
	(void)close(f->fd);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++) {
		(void)close(f->queue[i].kick);
		(void)close(f->queue[i].call);
		f->queue[i].kick = f->queue[i].call = -1;
	}
	connect_to(f, path);
}

void front_connect(struct front *f, const char *path)
{
	memset(f, 0, sizeof(*f));
	connect_to(f, path);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		f->queue[i].kick = f->queue[i].call = -1;
	f->memory_fd = memfd_create("guest", MFD_CLOEXEC);
	if (f->memory_fd < 0 || ftruncate(f->memory_fd, FRONT_LOW + FRONT_HIGH))
		front_die("memory: %s", strerror(errno));
	f->memory = mmap(NULL, FRONT_LOW + FRONT_HIGH, PROT_READ | PROT_WRITE, MAP_SHARED,
			 f->memory_fd, 0);
	if (f->memory == MAP_FAILED)
		front_die("memory: %s", strerror(errno));
}

bool front_send(struct front *f, uint32_t request, const void *payload, uint32_t size,
		const int *fds, unsigned count)
{
	struct msg_header head = { .request = request & 0xffffu,
				   .flags = MSG_VERSION | (request >> 16),
				   .size = size };
	char control[CMSG_SPACE(16 * sizeof(int))] = { 0 };
	struct iovec iov[2] = { { &head, sizeof(head) }, { (void *)(uintptr_t)payload, size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = size ? 2 : 1 };

	if (count) {
		struct cmsghdr *cmsg;

		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	}
	return sendmsg(f->fd, &msg, MSG_NOSIGNAL) == (ssize_t)(sizeof(head) + size);
}

static bool receive_all(struct front *f, void *data, size_t len, int *ret_fd)
{
	for (size_t have = 0; have < len;) {
		char control[CMSG_SPACE(sizeof(int))];
		struct pollfd p = { .fd = f->fd, .events = POLLIN };
		struct iovec iov = { (uint8_t *)data + have, len - have };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		ssize_t got;

		if (poll(&p, 1, FRONT_WAIT_MS) <= 0)
			front_die("no reply to a message");
		got = recvmsg(f->fd, &msg, MSG_CMSG_CLOEXEC);
		if (got <= 0)
			return false;
		if (CMSG_FIRSTHDR(&msg))
			memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
		have += (size_t)got;
	}
	return true;
}

int front_receive(struct front *f, uint32_t request, void *payload, uint32_t room)
{
	int fd, got = front_receive_fd(f, request, payload, room, &fd);

	if (fd >= 0)
		front_die("%s: a descriptor that was not asked for", msg_name(request));
	return got;
}

int front_receive_fd(struct front *f, uint32_t request, void *payload, uint32_t room, int *ret_fd)
{
	struct msg_header head;

	*ret_fd = -1;
	if (!receive_all(f, &head, sizeof(head), ret_fd))
		return -1;
	if (head.request != request || head.flags != (MSG_VERSION | MSG_REPLY) || head.size > room)
		front_die("reply %u flags %#x size %u to request %u", head.request, head.flags,
			  head.size, request);
	return receive_all(f, payload, head.size, ret_fd) ? (int)head.size : -1;
}

int front_tell(struct front *f, uint32_t request, const void *payload, uint32_t size,
	       const int *fds, unsigned count)
{
	uint64_t ack = 0;

	if (!front_send(f, request | MSG_NEED_REPLY << 16, payload, size, fds, count))
		return -1;
	if (front_receive(f, request, &ack, sizeof(ack)) != sizeof(ack))
		return -1;
	return ack != 0;
}

void front_settle(struct front *f)
{
	for (uint32_t i = 0; i < f->owed; i++) {
		uint64_t ack = 1;

		if (front_receive(f, f->owed_request[i], &ack, sizeof(ack)) != sizeof(ack) || ack)
			front_die("%s: refused", msg_name(f->owed_request[i]));
	}
	f->owed = 0;
}

static void must_tell(struct front *f, uint32_t request, const void *payload, uint32_t size, int fd)
{
	int ret;

	if (f->hurry) {
		if (f->owed == FRONT_OWED)
			front_settle(f);
		if (!front_send(f, request | MSG_NEED_REPLY << 16, payload, size, &fd, fd >= 0))
			front_die("%s: disconnected", msg_name(request));
		f->owed_request[f->owed++] = request;
		return;
	}
	ret = front_tell(f, request, payload, size, &fd, fd >= 0);
	if (ret)
		front_die("%s: %s", msg_name(request), ret < 0 ? "disconnected" : "refused");
}

void front_must(struct front *f, uint32_t request, const void *payload, uint32_t size, int fd)
{
	must_tell(f, request, payload, size, fd);
}

static uint64_t must_get(struct front *f, uint32_t request)
{
	uint64_t value = 0;

	if (!front_send(f, request, NULL, 0, NULL, 0) ||
	    front_receive(f, request, &value, sizeof(value)) != sizeof(value))
		front_die("%s: no answer", msg_name(request));
	return value;
}

/* ---- setting up ---- */

/* As the front end names it. */
static uint64_t address_of(const struct front *f, uint64_t gpa)
{
	if (f->by_gpa)
		return gpa;
	return gpa >= FRONT_HIGH_GPA ? UVA_HIGH + (gpa - FRONT_HIGH_GPA) : UVA_LOW + gpa;
}

static struct msg_region low_memory(struct front *f)
{
	return (struct msg_region){ .gpa = 0, .size = FRONT_LOW, .uva = address_of(f, 0) };
}

static struct msg_region high_memory(struct front *f)
{
	return (struct msg_region){ .gpa = FRONT_HIGH_GPA,
				    .size = FRONT_HIGH,
				    .uva = address_of(f, FRONT_HIGH_GPA),
				    .offset = FRONT_LOW };
}

void front_share_memory(struct front *f, bool slots)
{
	union msg_payload p;

	memset(&p, 0, sizeof(p));
	if (slots) {
		p.slot.region = high_memory(f);
		must_tell(f, MSG_ADD_MEM_REG, &p, 40, f->memory_fd);
		p.slot.region = low_memory(f);
		must_tell(f, MSG_ADD_MEM_REG, &p, 40, f->memory_fd);
		return;
	}
	front_settle(f);
	if (front_share_table(f, NULL, 0, -1))
		front_die("SET_MEM_TABLE failed");
}

struct table {
	union msg_payload p;
	int fds[MSG_TABLE_REGIONS];
	uint32_t size;
};

static struct table table_of(struct front *f, const struct msg_region *more, uint32_t count, int fd)
{
	struct table t = { .fds = { f->memory_fd, f->memory_fd } };

	memset(&t.p, 0, sizeof(t.p));
	t.p.table.region[0] = low_memory(f);
	t.p.table.region[1] = high_memory(f);
	t.p.table.count = 2 + count;
	for (uint32_t i = 0; i < count; i++) {
		t.p.table.region[2 + i] = more[i];
		t.fds[2 + i] = fd;
	}
	t.size = 8 + t.p.table.count * (uint32_t)sizeof(struct msg_region);
	return t;
}

int front_share_table(struct front *f, const struct msg_region *more, uint32_t count, int fd)
{
	struct table t = table_of(f, more, count, fd);

	return front_tell(f, MSG_SET_MEM_TABLE, &t.p, t.size, t.fds, t.p.table.count);
}

bool front_send_table(struct front *f, const struct msg_region *more, uint32_t count, int fd)
{
	struct table t = table_of(f, more, count, fd);

	return front_send(f, MSG_SET_MEM_TABLE, &t.p, t.size, t.fds, t.p.table.count);
}

bool front_has_slots(const struct front *f)
{
	return f->protocol & BIT(MSG_F_CONFIGURE_MEM_SLOTS);
}

static void set_ring_addr(struct front *f, uint32_t index)
{
	uint64_t gpa = f->queue[index].ring_gpa;
	union msg_payload p;

	memset(&p, 0, sizeof(p));
	p.addr.index = index;
	p.addr.flags = f->logs;
	p.addr.desc = address_of(f, gpa);
	p.addr.avail = address_of(f, gpa + 0x4000);
	p.addr.used = address_of(f, gpa + 0x8000);
	p.addr.log = gpa + 0x8000;
	must_tell(f, MSG_SET_VRING_ADDR, &p, 40, -1);
}

void front_log(struct front *f, bool logs)
{
	uint64_t features = f->features | (logs ? BIT(VHOST_F_LOG_ALL) : 0);

	f->logs = logs;
	must_tell(f, MSG_SET_FEATURES, &features, sizeof(features), -1);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		set_ring_addr(f, i);
}

void front_start_queue(struct front *f, uint32_t index, uint16_t base)
{
	struct front_queue *q = &f->queue[index];
	uint64_t number = index;
	uint32_t state[2] = { index, FRONT_NUM };

	q->ring_gpa = index * FRONT_RING;
	q->desc = (void *)front_at(f, q->ring_gpa);
	q->avail = (void *)front_at(f, q->ring_gpa + 0x4000);
	q->used = (void *)front_at(f, q->ring_gpa + 0x8000);
	q->table_gpa = q->ring_gpa + 0xa000;
	q->head_gpa = 0x100000 + index * 0x10000;
	q->data_gpa = FRONT_HIGH_GPA + index * 4 * FRONT_DATA_MAX;
	q->out_gpa = q->data_gpa + 2 * FRONT_DATA_MAX;
	q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must_tell(f, MSG_SET_VRING_NUM, state, sizeof(state), -1);
	state[1] = base;
	must_tell(f, MSG_SET_VRING_BASE, state, sizeof(state), -1);
	set_ring_addr(f, index);
	must_tell(f, MSG_SET_VRING_CALL, &number, sizeof(number), q->call);
	must_tell(f, MSG_SET_VRING_KICK, &number, sizeof(number), q->kick);
	state[1] = 1;
	must_tell(f, MSG_SET_VRING_ENABLE, state, sizeof(state), -1);
}

uint16_t front_stop_queue(struct front *f, uint32_t index)
{
	uint32_t state[2] = { index, 0 };

	if (!front_send(f, MSG_GET_VRING_BASE, state, sizeof(state), NULL, 0) ||
	    front_receive(f, MSG_GET_VRING_BASE, state, sizeof(state)) != sizeof(state) ||
	    state[0] != index)
		front_die("GET_VRING_BASE");
	(void)close(f->queue[index].kick);
	(void)close(f->queue[index].call);
	f->queue[index].kick = f->queue[index].call = -1;
	return (uint16_t)state[1];
}

void front_negotiate(struct front *f, bool slots)
{
	uint64_t features = must_get(f, MSG_GET_FEATURES), protocol;

	if (!(features & BIT(MSG_DEVICE_F_PROTOCOL)) || !(features & BIT(32)))
		front_die("features %#llx", (unsigned long long)features);
	features &= ~BIT(VHOST_F_LOG_ALL); /* until the guest moves */
	f->features = features;
	protocol = must_get(f, MSG_GET_PROTOCOL_FEATURES);
	if (!f->by_gpa)
		protocol &= ~BIT(MSG_F_GPA_ADDRESSES);
	if (f->tables)
		protocol &= ~BIT(MSG_F_CONFIGURE_MEM_SLOTS);
	if (!front_send(f, MSG_SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), NULL, 0))
		front_die("SET_PROTOCOL_FEATURES");
	f->protocol = protocol;
	must_tell(f, MSG_SET_OWNER, NULL, 0, -1);
	must_tell(f, MSG_SET_FEATURES, &features, sizeof(features), -1);
	front_settle(f);
	if (must_get(f, MSG_GET_QUEUE_NUM) < FRONT_QUEUES)
		front_die("too few queues");
	front_share_memory(f, slots && front_has_slots(f));
}

void front_setup(struct front *f, bool slots)
{
	front_negotiate(f, slots);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++)
		front_start_queue(f, i, 0);
	front_settle(f);
}

void front_close(struct front *f)
{
	(void)close(f->fd);
	for (uint32_t i = 0; i < FRONT_QUEUES; i++) {
		if (f->queue[i].kick >= 0)
			(void)close(f->queue[i].kick);
		if (f->queue[i].call >= 0)
			(void)close(f->queue[i].call);
	}
	(void)munmap(f->memory, FRONT_LOW + FRONT_HIGH);
	(void)close(f->memory_fd);
}

/* ---- rings ---- */

void front_offer(struct front *f, uint32_t index, uint16_t head)
{
	struct front_queue *q = &f->queue[index];
	uint64_t one = 1;

	q->avail[2 + q->avail_next % FRONT_NUM] = head;
	q->avail_next++;
	__atomic_store_n(&q->avail[1], q->avail_next, __ATOMIC_SEQ_CST);
	if (write(q->kick, &one, sizeof(one)) != sizeof(one))
		front_die("kick: %s", strerror(errno));
}

int front_take(struct front *f, uint32_t index, int wait_ms, uint32_t *ret_len)
{
	struct front_queue *q = &f->queue[index];
	uint32_t elem[2];

	/* Called for every one: the event is where the next will be. */
	q->avail[2 + FRONT_NUM] = q->used_seen;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (__atomic_load_n(&q->used[1], __ATOMIC_SEQ_CST) == q->used_seen) {
		struct pollfd p = { .fd = q->call, .events = POLLIN };
		uint64_t count;

		if (poll(&p, 1, wait_ms) <= 0)
			return -1;
		if (read(q->call, &count, sizeof(count)) < 0 && errno != EAGAIN)
			front_die("call: %s", strerror(errno));
	}
	memcpy(elem, &q->used[2 + (q->used_seen % FRONT_NUM) * 4], sizeof(elem));
	q->used_seen++;
	*ret_len = elem[1];
	return (int)elem[0];
}

/* ---- FUSE ---- */

struct builder {
	struct vring_desc *desc;
	uint16_t count;
};

static void add(struct builder *b, uint64_t gpa, size_t len, uint16_t flags)
{
	if (b->count)
		b->desc[b->count - 1].flags |= VRING_DESC_F_NEXT;
	b->desc[b->count] = (struct vring_desc){
		.addr = gpa, .len = (uint32_t)len, .flags = flags, .next = (uint16_t)(b->count + 1)
	};
	b->count++;
}

/* Pages in falling order: neighbours in the request are none in memory. */
static uint64_t page_at(uint64_t gpa, size_t len, size_t off)
{
	size_t pages = (len + PAGE - 1) / PAGE;

	return gpa + (pages - 1 - off / PAGE) * PAGE;
}

static void add_pages(struct front *f, struct builder *b, uint64_t gpa, const void *data,
		      size_t len, uint16_t flags)
{
	for (size_t off = 0; off < len; off += PAGE) {
		size_t part = len - off < PAGE ? len - off : PAGE;
		uint64_t at = page_at(gpa, len, off);

		if (data)
			memcpy(front_at(f, at), (const uint8_t *)data + off, part);
		add(b, at, part, flags);
	}
}

uint16_t fuse_build(struct front *f, uint32_t index, const struct fuse_message *m)
{
	struct front_queue *q = &f->queue[index];
	size_t head_len = sizeof(struct fuse_in_header);
	struct fuse_in_header head = { .opcode = m->opcode,
				       .unique = f->unique += 2,
				       .nodeid = m->nodeid,
				       .uid = f->uid,
				       .gid = f->gid,
				       .pid = 4711 };
	struct builder b = { .desc = q->indirect ? (void *)front_at(f, q->table_gpa) : q->desc };
	uint8_t *at = front_at(f, q->head_gpa);

	if (q->indirect || m->data_len + m->room > 200 * PAGE)
		b.desc = (void *)front_at(f, q->table_gpa);
	head.len = (uint32_t)(head_len + m->arg_len + m->text_len + m->data_len);
	memcpy(at, &head, head_len);
	if (m->arg_len)
		memcpy(at + 64, m->args, m->arg_len);
	if (m->text_len)
		memcpy(at + 256, m->text, m->text_len);
	add(&b, q->head_gpa, head_len, 0);
	if (m->arg_len)
		add(&b, q->head_gpa + 64, m->arg_len, 0);
	if (m->text_len)
		add(&b, q->head_gpa + 256, m->text_len, 0);
	add_pages(f, &b, q->data_gpa, m->data, m->data_len, 0);
	if (!m->no_reply) {
		add(&b, q->head_gpa + 0x8000, sizeof(struct fuse_out_header), VRING_DESC_F_WRITE);
		add_pages(f, &b, q->out_gpa, NULL, m->room, VRING_DESC_F_WRITE);
	}
	if (b.desc != q->desc) {
		q->desc[7] = (struct vring_desc){ .addr = q->table_gpa,
						  .len = b.count * 16u,
						  .flags = VRING_DESC_F_INDIRECT };
	}
	return b.desc != q->desc ? 7 : 0;
}

int fuse_call(struct front *f, uint32_t index, const struct fuse_message *m, void *ret_data,
	      size_t *ret_len)
{
	struct front_queue *q = &f->queue[index];
	uint16_t head = fuse_build(f, index, m);
	struct fuse_out_header out;
	uint32_t written = 0;
	size_t len;
	int got;

	q->indirect = !q->indirect;
	front_offer(f, index, head);
	got = front_take(f, index, FRONT_WAIT_MS, &written);
	if (got != head)
		front_die("opcode %u: chain %d came back, wanted %u", m->opcode, got, head);
	if (m->no_reply) {
		if (written)
			front_die("opcode %u: %u bytes of reply", m->opcode, written);
		return 0;
	}
	memcpy(&out, front_at(f, q->head_gpa + 0x8000), sizeof(out));
	if (out.unique != f->unique || out.len != written || out.error > 0 ||
	    written < sizeof(out) || written > sizeof(out) + m->room)
		front_die("opcode %u: reply of %u bytes says len %u unique %llu error %d",
			  m->opcode, written, out.len, (unsigned long long)out.unique, out.error);
	len = written - sizeof(out);
	for (size_t off = 0; ret_data && off < len; off += PAGE)
		memcpy((uint8_t *)ret_data + off, front_at(f, page_at(q->out_gpa, m->room, off)),
		       len - off < PAGE ? len - off : PAGE);
	if (ret_len)
		*ret_len = len;
	return out.error;
}

struct fuse_init_out fuse_init_with(struct front *f, uint32_t flags2)
{
	struct fuse_init_in in = { .major = 7,
				   .minor = 41,
				   .max_readahead = 1 << 20,
				   .flags = 0x7ffffffb,
				   .flags2 = flags2 };
	struct fuse_init_out out;
	struct fuse_message m = {
		.opcode = FUSE_INIT, .args = &in, .arg_len = sizeof(in), .room = sizeof(out)
	};
	size_t len;
	int err = fuse_call(f, 1, &m, &out, &len);

	if (err || len != sizeof(out) || out.major != 7 || out.max_write != FRONT_DATA_MAX)
		front_die("INIT: error %d, %zu bytes, version %u.%u, max_write %u", err, len,
			  out.major, out.minor, out.max_write);
	return out;
}

void fuse_init(struct front *f)
{
	struct fuse_init_out out = fuse_init_with(f, 0x1fd);

	/* No guest may cache what it cannot be told of. */
	if (out.flags & FUSE_WRITEBACK_CACHE || out.flags & FUSE_NO_OPEN_SUPPORT ||
	    !(out.flags & FUSE_AUTO_INVAL_DATA))
		front_die("INIT: flags %#x", out.flags);
}

static int call_entry(struct front *f, uint32_t opcode, uint64_t dir, const void *args,
		      size_t arg_len, const char *name, struct fuse_entry_out *ret)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	struct fuse_message m = { .opcode = opcode,
				  .nodeid = dir,
				  .args = args,
				  .arg_len = arg_len,
				  .text = name,
				  .text_len = strlen(name) + 1,
				  .room = opcode == FUSE_CREATE ? sizeof(out) : sizeof(out.entry) };
	size_t len;
	int err = fuse_call(f, 1 + f->unique / 2 % 2, &m, &out, &len);

	if (err)
		return err;
	if (len != m.room || !out.entry.nodeid || out.entry.entry_valid > 1 ||
	    out.entry.attr_valid > 1)
		front_die("opcode %u %s: %zu bytes, nodeid %llu, valid for %llu s", opcode, name,
			  len, (unsigned long long)out.entry.nodeid,
			  (unsigned long long)out.entry.entry_valid);
	*ret = out.entry;
	return 0;
}

int fuse_lookup(struct front *f, uint64_t dir, const char *name, struct fuse_entry_out *ret)
{
	return call_entry(f, FUSE_LOOKUP, dir, NULL, 0, name, ret);
}

int fuse_create(struct front *f, uint64_t dir, const char *name, uint32_t mode,
		struct fuse_entry_out *ret)
{
	struct fuse_create_in in = { .flags = 2 /* O_RDWR */, .mode = 0100000 | mode };

	return call_entry(f, FUSE_CREATE, dir, &in, sizeof(in), name, ret);
}

int fuse_mkdir(struct front *f, uint64_t dir, const char *name, struct fuse_entry_out *ret)
{
	struct fuse_mkdir_in in = { .mode = 0755 };

	return call_entry(f, FUSE_MKDIR, dir, &in, sizeof(in), name, ret);
}

int fuse_names(struct front *f, uint32_t opcode, uint64_t dir, const char *name)
{
	struct fuse_message m = {
		.opcode = opcode, .nodeid = dir, .text = name, .text_len = strlen(name) + 1
	};

	return fuse_call(f, 2, &m, NULL, NULL);
}

int fuse_write(struct front *f, uint64_t nodeid, uint64_t off, const void *data, size_t len)
{
	struct fuse_write_in in = { .offset = off, .size = (uint32_t)len };
	struct fuse_write_out out;
	struct fuse_message m = { .opcode = FUSE_WRITE,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .data = data,
				  .data_len = len,
				  .room = sizeof(out) };
	int err = fuse_call(f, 1, &m, &out, NULL);

	if (!err && out.size != len)
		front_die("WRITE: %u of %zu bytes", out.size, len);
	return err;
}

int64_t fuse_read(struct front *f, uint64_t nodeid, uint64_t off, void *data, size_t len)
{
	struct fuse_read_in in = { .offset = off, .size = (uint32_t)len };
	struct fuse_message m = { .opcode = FUSE_READ,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .room = len };
	size_t got = 0;
	int err = fuse_call(f, 2, &m, data, &got);

	return err ? err : (int64_t)got;
}

int fuse_getattr(struct front *f, uint64_t nodeid, struct fuse_attr *ret)
{
	struct fuse_getattr_in in = { 0 };
	struct fuse_attr_out out;
	struct fuse_message m = { .opcode = FUSE_GETATTR,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .room = sizeof(out) };
	int err = fuse_call(f, 1, &m, &out, NULL);

	if (!err)
		*ret = out.attr;
	return err;
}

void fuse_forget(struct front *f, uint64_t nodeid, uint64_t count)
{
	struct fuse_forget_in in = { .nlookup = count };
	struct fuse_message m = { .opcode = FUSE_FORGET,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .no_reply = true };

	(void)fuse_call(f, 0, &m, NULL, NULL);
}

int fuse_setlk(struct front *f, uint64_t nodeid, uint64_t owner, uint32_t type, bool wait)
{
	struct fuse_lk_in in = { .owner = owner,
				 .lk = { .end = INT64_MAX, .type = type, .pid = 4711 } };
	struct fuse_message m = { .opcode = wait ? FUSE_SETLKW : FUSE_SETLK,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in) };

	return fuse_call(f, 1, &m, NULL, NULL);
}

int fuse_truncate(struct front *f, uint64_t nodeid, uint64_t size)
{
	struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = size };
	struct fuse_message m = { .opcode = FUSE_SETATTR,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .room = sizeof(struct fuse_attr_out) };

	return fuse_call(f, 1, &m, NULL, NULL);
}

void front_want(int got, int wanted, const char *what)
{
	if (got != wanted)
		front_die("%s: %s, wanted %s", what, got ? strerror(-got) : "success",
			  wanted ? strerror(-wanted) : "success");
}

void front_begin(struct front *f, const char *socket)
{
	front_connect(f, socket);
	front_setup(f, false);
	fuse_init(f);
}
