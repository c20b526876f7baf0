/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/shm.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIT(n) (UINT64_C(1) << (n))
#define PAGE 4096u

static void hide(struct shm *s, uint64_t off, uint64_t len)
{
	if (mmap(s->at + off, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		front_die("window: %s", strerror(errno));
}

/* All of the guest's memory, as QEMU tells of it: or not at all. */
static void share_table(struct shm *s)
{
	struct msg_region region[MSG_TABLE_REGIONS];

	if (s->count > MSG_TABLE_REGIONS - 2)
		return;
	for (unsigned k = 0; k < s->count; k++)
		region[k] = (struct msg_region){ .gpa = SHM_GPA + s->map[k].off,
						 .size = s->map[k].len,
						 .uva = SHM_UVA + s->map[k].off,
						 .offset = s->map[k].fd_offset };
	if (front_share_table(s->f, region, s->count, s->count ? s->map[0].fd : -1) > 0)
		front_die("a table with pieces of the window was refused");
}

static void announce(struct shm *s, const struct shm_map *m, uint32_t request)
{
	struct {
		uint64_t padding;
		struct msg_region region;
	} slot = { .region = { .gpa = SHM_GPA + m->off,
			       .size = m->len,
			       .uva = SHM_UVA + m->off,
			       .offset = m->fd_offset } };
	bool add = request == MSG_ADD_MEM_REG;
	int ret;

	if (atomic_load(&s->quiet))
		return;
	if (!front_has_slots(s->f)) {
		share_table(s);
		return;
	}
	ret = front_tell(s->f, request, &slot, sizeof(slot), &m->fd, add ? 1 : 0);
	if (ret > 0)
		front_die("%s of a piece of the window was refused", msg_name(request));
}

/* Memory that is plugged in and out again, while the back end waits for us. */
static void plug(struct shm *s)
{
	struct {
		uint64_t padding;
		struct msg_region region;
	} slot = { .region = { .gpa = UINT64_C(1) << 40,
			       .size = FRONT_LOW,
			       .uva = UINT64_C(0x7f8000000000),
			       .offset = 0 } };

	if (!front_has_slots(s->f))
		share_table(s);
	else if (front_tell(s->f, MSG_ADD_MEM_REG, &slot, sizeof(slot), &s->f->memory_fd, 1) ||
		 front_tell(s->f, MSG_REM_MEM_REG, &slot, sizeof(slot), NULL, 0))
		front_die("memory cannot be plugged in while the window changes");
}

static void check(const struct shm *s, const struct msg_shmem *m)
{
	if (m->region || m->len == 0 || m->len % PAGE || m->shm_offset % PAGE ||
	    m->fd_offset % PAGE || m->shm_offset > s->size || m->len > s->size - m->shm_offset)
		front_die("a piece of the window: region %u offset %#llx length %#llx of the image "
			  "at %#llx",
			  m->region, (unsigned long long)m->shm_offset, (unsigned long long)m->len,
			  (unsigned long long)m->fd_offset);
}

static uint64_t do_map(struct shm *s, const struct msg_shmem *m, int fd, struct shm_map *ret_map)
{
	check(s, m);
	if (fd < 0 || !(m->flags & MSG_SHMEM_RW))
		front_die("SHMEM_MAP: descriptor %d flags %#llx", fd, (unsigned long long)m->flags);
	for (unsigned k = 0; k < s->count; k++)
		if (m->shm_offset < s->map[k].off + s->map[k].len &&
		    s->map[k].off < m->shm_offset + m->len)
			front_die("SHMEM_MAP over what is mapped at %#llx",
				  (unsigned long long)s->map[k].off);
	if (s->count == (front_has_slots(s->f) ? SHM_SLOTS_MAX : SHM_MAPS_MAX))
		front_die("too many mappings: QEMU would have aborted");
	if (atomic_load(&s->refuse))
		return 1;
	*ret_map = (struct shm_map){
		.off = m->shm_offset, .len = m->len, .fd_offset = m->fd_offset, .fd = fd
	};
	s->map[s->count++] = *ret_map;
	return 0;
}

static uint64_t do_unmap(struct shm *s, const struct msg_shmem *m, struct shm_map *ret_map)
{
	check(s, m);
	for (unsigned k = 0; k < s->count; k++) {
		if (s->map[k].off != m->shm_offset || s->map[k].len != m->len)
			continue;
		*ret_map = s->map[k];
		s->map[k] = s->map[--s->count];
		return 0;
	}
	atomic_fetch_add(&s->failed_unmaps, 1);
	return 1;
}

/* What was answered becomes true. */
static void commit(struct shm *s, uint32_t request, const struct shm_map *m)
{
	if (atomic_load(&s->late_ms))
		(void)poll(NULL, 0, (int)atomic_load(&s->late_ms));
	if (request == MSG_BACKEND_SHMEM_MAP) {
		if (mmap(s->at + m->off, m->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 m->fd, (off_t)m->fd_offset) == MAP_FAILED)
			front_die("mapping the image: %s", strerror(errno));
		atomic_fetch_add(&s->maps, 1);
		announce(s, m, MSG_ADD_MEM_REG);
	} else {
		hide(s, m->off, m->len);
		atomic_fetch_add(&s->unmaps, 1);
		announce(s, m, MSG_REM_MEM_REG);
		(void)close(m->fd);
	}
}

static void serve(struct shm *s, const struct msg_header *head, const struct msg_shmem *m, int fd)
{
	struct {
		struct msg_header head;
		uint64_t value;
	} __attribute__((packed)) answer = {
		.head = { .request = head->request, .flags = MSG_VERSION | MSG_REPLY, .size = 8 }
	};
	bool asks = head->request == MSG_BACKEND_CONFIG_CHANGE;
	struct shm_map map = { .fd = -1 };

	if (head->size != (asks ? 0 : sizeof(*m)) || head->flags != (MSG_VERSION | MSG_NEED_REPLY))
		front_die("back end's request %u: size %u flags %#x", head->request, head->size,
			  head->flags);
	pthread_mutex_lock(&s->lock);
	if (atomic_load(&s->plugs_memory))
		plug(s);
	if (head->request == MSG_BACKEND_SHMEM_MAP)
		answer.value = do_map(s, m, fd, &map);
	else if (head->request == MSG_BACKEND_SHMEM_UNMAP)
		answer.value = do_unmap(s, m, &map);
	else if (asks) /* whatever it is answered */
		answer.value = atomic_fetch_add(&s->barriers, 1) % 2;
	else
		front_die("back end's request %u", head->request);
	if (send(s->fd, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer) && !asks &&
	    !answer.value)
		commit(s, head->request, &map);
	else if (fd >= 0)
		(void)close(fd);
	pthread_mutex_unlock(&s->lock);
}

/* A request's header, with the descriptor that comes along. */
static bool receive_head(struct shm *s, struct msg_header *head, int *ret_fd)
{
	struct iovec iov = { head, sizeof(*head) };
	char control[CMSG_SPACE(sizeof(int))];
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *cmsg;

	*ret_fd = -1;
	if (recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof(*head))
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg)
		memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(*ret_fd));
	return true;
}

static void *thread(void *arg)
{
	struct shm *s = arg;
	struct msg_header head;
	int fd;

	while (receive_head(s, &head, &fd)) {
		struct msg_shmem shmem = { .len = 0 };
		size_t len = head.size < sizeof(shmem) ? head.size : sizeof(shmem);

		if (len && recv(s->fd, &shmem, len, MSG_WAITALL) != (ssize_t)len)
			break;
		if (!atomic_load(&s->deaf))
			serve(s, &head, &shmem, fd);
		else if (fd >= 0)
			(void)close(fd);
	}
	return NULL;
}

void shm_setup(struct shm *s, struct front *f, bool quiet)
{
	uint64_t needed = BIT(MSG_F_BACKEND_REQ) | BIT(MSG_F_BACKEND_SEND_FD) | BIT(MSG_F_SHMEM);
	struct msg_shmem_config config;
	int pair[2];

	memset(s, 0, sizeof(*s));
	s->f = f;
	atomic_store(&s->quiet, quiet);
	(void)pthread_mutex_init(&s->lock, NULL);
	if ((f->protocol & needed) != needed)
		front_die("no window is offered: features %#llx", (unsigned long long)f->protocol);
	if (!front_send(f, MSG_GET_SHMEM_CONFIG, NULL, 0, NULL, 0) ||
	    front_receive(f, MSG_GET_SHMEM_CONFIG, &config, sizeof(config)) != sizeof(config) ||
	    config.count != 1 || config.size[1])
		front_die("GET_SHMEM_CONFIG");
	s->size = config.size[0];
	s->at = mmap(NULL, s->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->at == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		front_die("window: %s", strerror(errno));
	s->fd = pair[0];
	if (front_tell(f, MSG_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1))
		front_die("SET_BACKEND_REQ_FD was refused");
	(void)close(pair[1]);
	if (pthread_create(&s->thread, NULL, thread, s))
		front_die("window: no thread");
}

void shm_reset(struct shm *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->count) {
		const struct shm_map *m = &s->map[--s->count];

		hide(s, m->off, m->len);
		announce(s, m, MSG_REM_MEM_REG);
		(void)close(m->fd);
	}
	pthread_mutex_unlock(&s->lock);
}

void shm_close(struct shm *s)
{
	(void)shutdown(s->fd, SHUT_RDWR);
	(void)pthread_join(s->thread, NULL);
	(void)close(s->fd);
	for (unsigned k = 0; k < s->count; k++)
		(void)close(s->map[k].fd);
	(void)munmap(s->at, s->size);
}

unsigned shm_count(struct shm *s)
{
	unsigned count;

	pthread_mutex_lock(&s->lock);
	count = s->count;
	pthread_mutex_unlock(&s->lock);
	return count;
}

/*
 * What is mapped when the answer comes is so through the back end, which the thread sanitizer does not see. Not without it:
 * an answer that comes too early would be waited for.
 */
static void order(struct shm *s)
{
#ifdef __SANITIZE_THREAD__
	pthread_mutex_lock(&s->lock);
	pthread_mutex_unlock(&s->lock);
#else
	(void)s;
#endif
}

int shm_map(struct shm *s, uint64_t nodeid, uint64_t off, uint64_t moffset, bool write)
{
	struct fuse_setupmapping_in in = { .fh = UINT64_MAX,
					   .foffset = off,
					   .len = SHM_RANGE,
					   .flags = FUSE_SETUPMAPPING_FLAG_READ |
						    (write ? FUSE_SETUPMAPPING_FLAG_WRITE : 0),
					   .moffset = moffset };
	struct fuse_message m = {
		.opcode = FUSE_SETUPMAPPING, .nodeid = nodeid, .args = &in, .arg_len = sizeof(in)
	};
	int err;

	err = fuse_call(s->f, 1, &m, NULL, NULL);
	order(s);
	return err;
}

int shm_unmap(struct shm *s, uint64_t moffset)
{
	struct {
		uint32_t count;
		struct fuse_removemapping_one one;
	} __attribute__((packed))
	in = { .count = 1, .one = { .moffset = moffset, .len = SHM_RANGE } };
	struct fuse_message m = {
		.opcode = FUSE_REMOVEMAPPING, .nodeid = 1, .args = &in, .arg_len = sizeof(in)
	};
	int err;

	err = fuse_call(s->f, 1, &m, NULL, NULL);
	order(s);
	return err;
}

int shm_write_from(struct shm *s, uint64_t nodeid, uint64_t gpa)
{
	static uint8_t data[PAGE];
	struct fuse_write_in in = { .size = PAGE };
	struct fuse_message m = { .opcode = FUSE_WRITE,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .data = data,
				  .data_len = PAGE,
				  .room = sizeof(struct fuse_write_out) };
	struct front_queue *q = &s->f->queue[1];
	struct fuse_out_header out;
	uint16_t head;
	uint32_t len;

	q->indirect = false;
	head = fuse_build(s->f, 1, &m);
	q->desc[2].addr = gpa; /* after header and arguments */
	front_offer(s->f, 1, head);
	if (front_take(s->f, 1, FRONT_WAIT_MS, &len) != head)
		front_die("no answer to a write from the window");
	memcpy(&out, front_at(s->f, q->head_gpa + 0x8000), sizeof(out));
	return out.error;
}
