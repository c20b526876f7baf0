/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The test's FUSE server, see the header. One process, one loop over the device and the command socket. The tree is two
 * arrays: nodes, and names that point at nodes. A node without names lives until its last reference is forgotten; using
 * it afterwards sets "stale".
 */
#include "tests/vm/fuse_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/siphash.h"
#include "daemon/proto/wire.h"
#include "tests/vm/tables.h"

#define NODES_MAX 4096u
#define NAMES_MAX 8192u
#define NAME_BUCKETS 4096u
#define REQUEST_MAX (FUSE_MIN_READ_BUFFER + 1024 * 1024)
#define COMMAND_SECONDS_MAX 120

struct node {
	bool used;
	uint32_t generation;
	uint32_t nlink;
	uint64_t lookups;
	uint64_t size;
	uint64_t change; /* grows with each change; also the times */
	uint32_t mode, uid, gid;
	uint32_t no_xattrs; /* PROBE_NO_* */
	bool moved;	    /* its extent is another's now */
};

struct name {
	bool used;
	uint64_t parent;
	uint32_t node;
	uint32_t next; /* in the bucket; 0 ends */
	char text[256];
};

struct message {
	int command;
	int64_t arg;
};

static struct node nodes[NODES_MAX];
static struct name names[NAMES_MAX];
static uint32_t buckets[NAME_BUCKETS];
static struct server_shared *shared;
static struct server_options options;
static struct tables tables;
static int device = -1;
static int attach_fd = -1;
static int image = -1;
static uint64_t changes;
static char *held_init;
static bool initialised; /* INIT has come, and been answered unless it is held */
static char request[REQUEST_MAX];

/* ---- the tree ------------------------------------------------------------------------------------------------------ */

static uint64_t nodeid_of(uint32_t index)
{
	return index == FUSE_ROOT_ID ? FUSE_ROOT_ID :
				       (uint64_t)nodes[index].generation << 32 | index;
}

/* 0 if it is gone. The root is index 1. */
static uint32_t node_of(uint64_t nodeid)
{
	uint32_t index = (uint32_t)nodeid;

	if (index == 0 || index >= NODES_MAX || !nodes[index].used || nodeid_of(index) != nodeid) {
		shared->stale = true;
		return 0;
	}
	return index;
}

static uint32_t bucket_of(uint64_t parent, const char *text)
{
	return (uint32_t)siphash(text, strlen(text), parent, 1) % NAME_BUCKETS;
}

static uint32_t name_find(uint64_t parent, const char *text)
{
	uint32_t at = buckets[bucket_of(parent, text)];

	while (at && (names[at].parent != parent || strcmp(names[at].text, text) != 0))
		at = names[at].next;
	return at;
}

static void fill_attr(uint32_t index, struct fuse_attr *attr)
{
	const struct node *node = &nodes[index];

	*attr = (struct fuse_attr){
		.ino = index,
		.size = node->size,
		.blocks = (node->size + 511) / 512,
		.atime = node->change,
		.mtime = node->change,
		.ctime = node->change,
		.mode = node->mode,
		.nlink = node->nlink,
		.uid = node->uid,
		.gid = node->gid,
		.blksize = 4096,
	};
}

static void publish_node(uint32_t index)
{
	struct fuse_bpf_attr value = {
		.valid = shared->attr_valid,
		.flags = FUSE_BPF_ATTR_BTIME,
		.btime_sec = 1000 + index,
	};
	struct fuse_attr attr;

	if (!shared->publish)
		return;
	fill_attr(index, &attr);
	memcpy(&value.ino, &attr, sizeof(attr));
	tables_set_attr(&tables, nodeid_of(index),
			nodes[index].no_xattrs | (image >= 0 ? PROBE_HOLE : 0), &value);
	if (image >= 0 && S_ISREG(nodes[index].mode) && !nodes[index].moved)
		tables_set_extent(&tables, nodeid_of(index),
				  (uint64_t)(NODES_MAX - index) * SERVER_EXTENT, SERVER_EXTENT);
}

static void publish_name(uint64_t parent, const char *text, uint32_t index)
{
	struct fuse_bpf_entry value = {
		.nodeid = index ? nodeid_of(index) : 0,
		.generation = index ? nodes[index].generation : 0,
		.valid = shared->entry_valid,
	};

	if (shared->publish)
		tables_set_entry(&tables, parent, text, &value);
}

static void publish_all(void)
{
	for (uint32_t i = 1; i < NODES_MAX; i++) {
		if (nodes[i].used)
			publish_node(i);
	}
	for (uint32_t i = 1; i < NAMES_MAX; i++) {
		if (names[i].used)
			publish_name(names[i].parent, names[i].text, names[i].node);
	}
}

static void changed(uint32_t index)
{
	nodes[index].change = ++changes;
	publish_node(index);
}

static uint32_t node_new(uint32_t mode)
{
	for (uint32_t i = FUSE_ROOT_ID; i < NODES_MAX; i++) {
		if (nodes[i].used)
			continue;
		nodes[i] = (struct node){
			.used = true,
			.generation = nodes[i].generation + 1,
			.mode = mode,
			.uid = options.uid,
			.no_xattrs = PROBE_NO_CAPABILITY | PROBE_NO_ACL,
		};
		nodes[i].change = ++changes;
		return i;
	}
	return 0;
}

static void node_drop_if_unused(uint32_t index)
{
	if (index == FUSE_ROOT_ID || nodes[index].nlink > 0 || nodes[index].lookups > 0)
		return;
	tables_drop_attr(&tables, nodeid_of(index));
	nodes[index].used = false;
}

static int name_add(uint64_t parent, const char *text, uint32_t index)
{
	for (uint32_t i = 1; i < NAMES_MAX; i++) {
		uint32_t *bucket = &buckets[bucket_of(parent, text)];

		if (names[i].used)
			continue;
		names[i] = (struct name){
			.used = true, .parent = parent, .node = index, .next = *bucket
		};
		snprintf(names[i].text, sizeof(names[i].text), "%s", text);
		*bucket = i;
		nodes[index].nlink++;
		changed(index);
		publish_name(parent, text, index);
		return 0;
	}
	return -ENOSPC;
}

static void name_remove(uint32_t at)
{
	uint32_t *link = &buckets[bucket_of(names[at].parent, names[at].text)];
	uint32_t index = names[at].node;

	while (*link != at)
		link = &names[*link].next;
	*link = names[at].next;
	names[at].used = false;
	publish_name(names[at].parent, names[at].text, 0);
	nodes[index].nlink--;
	changed(index);
	node_drop_if_unused(index);
}

/* Extents lie in the image the other way round, so that nothing is right by chance. */
static int fill_extent(uint32_t index)
{
	static char data[SERVER_EXTENT];

	for (uint32_t i = 0; i < SERVER_EXTENT; i++)
		data[i] = nodes[index].moved ? 0 : server_byte(index, i, true);
	return pwrite(image, data, sizeof(data), (off_t)(NODES_MAX - index) * SERVER_EXTENT) ==
			       sizeof(data) ?
		       0 :
		       -EIO;
}

static int open_image(void)
{
	image = open(options.image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (image < 0)
		return -errno;
	for (uint32_t i = 1; i < NODES_MAX; i++) {
		if (nodes[i].used && S_ISREG(nodes[i].mode) && fill_extent(i))
			return -EIO;
	}
	return 0;
}

static void plant_tree(void)
{
	char text[32];

	node_new(S_IFDIR | 0755);
	nodes[FUSE_ROOT_ID].nlink = 1;
	for (unsigned d = 0; d < options.dirs; d++) {
		uint32_t dir = node_new(S_IFDIR | 0755);

		snprintf(text, sizeof(text), "d%u", d);
		name_add(FUSE_ROOT_ID, text, dir);
		for (unsigned f = 0; f < options.files_each; f++) {
			uint32_t file = node_new(S_IFREG | 0644);

			nodes[file].size = options.image ? 3 * SERVER_EXTENT + 1000 + f : 1000 + f;
			snprintf(text, sizeof(text), "f%u", f);
			name_add(nodeid_of(dir), text, file);
		}
	}
}

/* ---- replies ------------------------------------------------------------------------------------------------------- */

static void reply(const struct fuse_in_header *in, int error, const void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + (error ? 0 : len)),
		.error = error,
		.unique = in->unique,
	};
	struct iovec iov[] = { { &out, sizeof(out) }, { (void *)data, len } };

	/* ENOENT: the request was interrupted. Nothing to be done about any of it here. */
	(void)!writev(device, iov, error ? 1 : 2);
}

static void reply_entry(const struct fuse_in_header *in, uint32_t index)
{
	struct fuse_entry_out out = {
		.nodeid = nodeid_of(index),
		.generation = nodes[index].generation,
		.entry_valid = shared->entry_valid,
		.attr_valid = shared->attr_valid,
	};

	fill_attr(index, &out.attr);
	nodes[index].lookups++;
	shared->lookups++;
	reply(in, 0, &out, sizeof(out));
}

static void reply_attr(const struct fuse_in_header *in, uint32_t index)
{
	struct fuse_attr_out out = { .attr_valid = shared->attr_valid };

	fill_attr(index, &out.attr);
	reply(in, 0, &out, sizeof(out));
}

static void op_init(const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_init_in *init = arg;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = init->minor < FUSE_KERNEL_MINOR_VERSION ? init->minor :
								   FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = init->max_readahead,
		.flags = init->flags & (FUSE_ASYNC_READ | FUSE_PARALLEL_DIROPS | FUSE_BIG_WRITES |
					FUSE_MAX_PAGES),
		.max_background = 16,
		.congestion_threshold = 12,
		.max_write = 128 * 1024,
		.time_gran = 1,
		.max_pages = 32,
	};

	reply(in, 0, &out, sizeof(out));
}

static void op_lookup(const struct fuse_in_header *in, const void *arg)
{
	uint32_t at = name_find(in->nodeid, arg);
	struct fuse_entry_out none = { .entry_valid = shared->entry_valid };

	if (at)
		reply_entry(in, names[at].node);
	else if (shared->entry_valid)
		reply(in, 0, &none, sizeof(none));
	else
		reply(in, -ENOENT, NULL, 0);
	if (!at)
		publish_name(in->nodeid, arg, 0);
}

static void forget(uint64_t nodeid, uint64_t count)
{
	uint32_t index = node_of(nodeid);

	shared->forgotten += count;
	if (!index || nodes[index].lookups < count) {
		shared->forget_underflow = true;
		return;
	}
	nodes[index].lookups -= count;
	node_drop_if_unused(index);
}

static void op_batch_forget(const void *arg)
{
	const struct fuse_batch_forget_in *batch = arg;
	const struct fuse_forget_one *one = (const void *)(batch + 1);

	for (uint32_t i = 0; i < batch->count; i++)
		forget(one[i].nodeid, one[i].nlookup);
}

static void op_setattr(const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_setattr_in *set = arg;
	uint32_t index = node_of(in->nodeid);

	if (!index) {
		reply(in, -ESTALE, NULL, 0);
		return;
	}
	if (set->valid & FATTR_MODE)
		nodes[index].mode = (nodes[index].mode & S_IFMT) | (set->mode & 07777);
	if (set->valid & FATTR_UID)
		nodes[index].uid = set->uid;
	if (set->valid & FATTR_GID)
		nodes[index].gid = set->gid;
	if (set->valid & FATTR_SIZE)
		nodes[index].size = set->size;
	changed(index);
	reply_attr(in, index);
}

static void make(const struct fuse_in_header *in, const char *text, uint32_t mode)
{
	uint32_t index;

	if (name_find(in->nodeid, text)) {
		reply(in, -EEXIST, NULL, 0);
		return;
	}
	index = node_new(mode);
	if (!index || name_add(in->nodeid, text, index))
		reply(in, -ENOSPC, NULL, 0);
	else
		reply_entry(in, index);
}

static void op_link(const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_link_in *link = arg;
	const char *text = (const char *)(link + 1);
	uint32_t index = node_of(link->oldnodeid);

	if (!index)
		reply(in, -ESTALE, NULL, 0);
	else if (name_find(in->nodeid, text))
		reply(in, -EEXIST, NULL, 0);
	else if (name_add(in->nodeid, text, index))
		reply(in, -ENOSPC, NULL, 0);
	else
		reply_entry(in, index);
}

static void op_unlink(const struct fuse_in_header *in, const void *arg)
{
	uint32_t at = name_find(in->nodeid, arg);

	if (at)
		name_remove(at);
	reply(in, at ? 0 : -ENOENT, NULL, 0);
}

static void op_rename(const struct fuse_in_header *in, uint64_t newdir, const char *text)
{
	const char *new_text = text + strlen(text) + 1;
	uint32_t at = name_find(in->nodeid, text);
	uint32_t target = name_find(newdir, new_text);
	uint32_t index;

	if (!at) {
		reply(in, -ENOENT, NULL, 0);
		return;
	}
	index = names[at].node;
	if (target)
		name_remove(target);
	/* The new name first: the node never has none. */
	if (name_add(newdir, new_text, index)) {
		reply(in, -ENOSPC, NULL, 0);
		return;
	}
	name_remove(name_find(in->nodeid, text));
	reply(in, 0, NULL, 0);
}

static void op_write(const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_write_in *write_in = arg;
	struct fuse_write_out out = { .size = write_in->size };
	uint32_t index = node_of(in->nodeid);

	if (!index) {
		reply(in, -ESTALE, NULL, 0);
		return;
	}
	if (write_in->offset + write_in->size > nodes[index].size)
		nodes[index].size = write_in->offset + write_in->size;
	changed(index);
	reply(in, 0, &out, sizeof(out));
}

static void op_statx(const struct fuse_in_header *in)
{
	uint32_t index = node_of(in->nodeid);
	struct fuse_attr attr;
	struct wire_statx_out out = { .attr_valid = shared->attr_valid };

	if (!index) {
		reply(in, -ESTALE, NULL, 0);
		return;
	}
	fill_attr(index, &attr);
	out.stat = (typeof(out.stat)){
		.mask = STATX_BASIC_STATS | STATX_BTIME,
		.blksize = attr.blksize,
		.nlink = attr.nlink,
		.uid = attr.uid,
		.gid = attr.gid,
		.mode = (uint16_t)attr.mode,
		.ino = attr.ino,
		.size = attr.size,
		.blocks = attr.blocks,
		.atime = { .tv_sec = (int64_t)attr.atime },
		.btime = { .tv_sec = 1000 + index },
		.ctime = { .tv_sec = (int64_t)attr.ctime },
		.mtime = { .tv_sec = (int64_t)attr.mtime },
	};
	reply(in, 0, &out, sizeof(out));
}

/* The file's contents: bytes that tell where they are. */
static void op_read(const struct fuse_in_header *in, const void *arg)
{
	const struct fuse_read_in *read_in = arg;
	static char data[1024 * 1024];
	uint32_t index = node_of(in->nodeid);
	size_t len = read_in->size < sizeof(data) ? read_in->size : sizeof(data);

	if (!index || read_in->offset >= nodes[index].size) {
		reply(in, index ? 0 : -ESTALE, data, 0);
		return;
	}
	if (read_in->offset + len > nodes[index].size)
		len = nodes[index].size - read_in->offset;
	for (size_t i = 0; i < len; i++)
		data[i] = server_byte(index, read_in->offset + i, image >= 0);
	reply(in, 0, data, len);
}

static void op_destroy(const struct fuse_in_header *in)
{
	usleep(shared->destroy_delay_ms * 1000);
	shared->destroyed = true;
	reply(in, 0, NULL, 0);
}

static void serve_attributes(const struct fuse_in_header *in, const void *arg)
{
	uint32_t index;

	switch (in->opcode) {
	case FUSE_SETATTR: op_setattr(in, arg); return;
	case WIRE_STATX: op_statx(in); return;
	case FUSE_GETATTR:
		index = node_of(in->nodeid);
		if (index)
			reply_attr(in, index);
		else
			reply(in, -ESTALE, NULL, 0);
		return;
	default: reply(in, -ENODATA, NULL, 0); return;
	}
}

static void serve_names(const struct fuse_in_header *in, const void *arg)
{
	switch (in->opcode) {
	case FUSE_LOOKUP: op_lookup(in, arg); return;
	case FUSE_MKNOD:
		make(in, (const char *)arg + sizeof(struct fuse_mknod_in),
		     ((const struct fuse_mknod_in *)arg)->mode);
		return;
	case FUSE_MKDIR:
		make(in, (const char *)arg + sizeof(struct fuse_mkdir_in),
		     S_IFDIR | ((const struct fuse_mkdir_in *)arg)->mode);
		return;
	case FUSE_LINK: op_link(in, arg); return;
	case FUSE_UNLINK:
	case FUSE_RMDIR: op_unlink(in, arg); return;
	case FUSE_RENAME:
		op_rename(in, ((const struct fuse_rename_in *)arg)->newdir,
			  (const char *)arg + sizeof(struct fuse_rename_in));
		return;
	default: reply(in, -EINVAL, NULL, 0); return;
	}
}

static void serve(const struct fuse_in_header *in, const void *arg)
{
	struct fuse_open_out open_out = { .open_flags = options.direct_io ? FOPEN_DIRECT_IO : 0 };
	static const struct fuse_statfs_out statfs_out = { .st.bsize = 4096, .st.namelen = 255 };

	if (in->opcode < SERVER_OPCODES)
		shared->requests[in->opcode]++;
	switch (in->opcode) {
	case FUSE_INIT: op_init(in, arg); return;
	case FUSE_FORGET: forget(in->nodeid, ((const struct fuse_forget_in *)arg)->nlookup); return;
	case FUSE_BATCH_FORGET: op_batch_forget(arg); return;
	case FUSE_INTERRUPT: return;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		reply(in, node_of(in->nodeid) ? 0 : -ESTALE, &open_out, sizeof(open_out));
		return;
	case FUSE_STATFS: reply(in, 0, &statfs_out, sizeof(statfs_out)); return;
	case FUSE_READ: op_read(in, arg); return;
	case FUSE_WRITE: op_write(in, arg); return;
	case FUSE_DESTROY: op_destroy(in); return;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_FLUSH:
	case FUSE_SYNCFS:
	case FUSE_READDIR: reply(in, 0, NULL, 0); return;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
	case WIRE_STATX:
	case FUSE_GETXATTR: serve_attributes(in, arg); return;
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_LINK:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME: serve_names(in, arg); return;
	default: reply(in, -ENOSYS, NULL, 0); return;
	}
}

/* ---- commands ------------------------------------------------------------------------------------------------------ */

/* Each time another value, but size and times agree: a reader that sees them differ has seen two at once. */
static void storm(int64_t count)
{
	uint32_t index =
		names[name_find(nodeid_of(names[name_find(FUSE_ROOT_ID, "d0")].node), "f0")].node;

	while (count-- > 0) {
		nodes[index].change = ++changes;
		nodes[index].size = nodes[index].change;
		publish_node(index);
	}
}

static int move(uint32_t index)
{
	struct fuse_notify_inval_inode_out inval = { .ino = nodeid_of(index), .off = 0, .len = -1 };
	struct fuse_out_header out = { .len = sizeof(out) + sizeof(inval),
				       .error = FUSE_NOTIFY_INVAL_INODE };
	struct iovec iov[] = { { &out, sizeof(out) }, { &inval, sizeof(inval) } };

	tables_set_extent(&tables, nodeid_of(index), 0, 0);
	nodes[index].moved = true;
	if (writev(device, iov, 2) < 0 && errno != ENOENT)
		return -errno;
	return fill_extent(index);
}

static int attach(void)
{
	int ret = tables_load(&tables, attach_fd >= 0 ? attach_fd : device, image);

	if (ret)
		return ret;
	publish_all();
	return tables_attach(&tables);
}

static int carry_out(const struct message *message)
{
	switch ((enum server_command)message->command) {
	case SERVER_ATTACH: return attach();
	case SERVER_ATTACH_SECOND: return tables_attach(&tables);
	case SERVER_DETACH: tables_detach(&tables); return 0;
	case SERVER_PIN: return tables_pin(&tables, "/sys/fs/bpf/probe");
	case SERVER_INIT:
		options.hold_init = false;
		if (held_init)
			serve((void *)held_init, held_init + sizeof(struct fuse_in_header));
		return 0;
	case SERVER_STORM: storm(message->arg); return 0;
	case SERVER_DEV_FD: attach_fd = (int)message->arg; return 0;
	case SERVER_MOVE: return move((uint32_t)message->arg);
	case SERVER_STATS: return tables_stats(&tables, &shared->stats);
	}
	return -EINVAL;
}

static int read_command(int commands)
{
	struct message message;
	int ret;

	if (read(commands, &message, sizeof(message)) != sizeof(message))
		return -EPIPE;
	ret = carry_out(&message);
	return write(commands, &ret, sizeof(ret)) == sizeof(ret) ? 0 : -EPIPE;
}

/* 0, or the errno that ends the server. */
static int read_request(void)
{
	ssize_t got = read(device, request, sizeof(request));
	const struct fuse_in_header *in = (const void *)request;

	if (got < 0)
		return errno == EINTR || errno == EAGAIN || errno == ENOENT ? 0 : -errno;
	initialised = true;
	if (in->opcode == FUSE_INIT && options.hold_init) {
		held_init = malloc((size_t)got);
		if (held_init)
			memcpy(held_init, request, (size_t)got);
		return 0;
	}
	serve(in, in + 1);
	return 0;
}

static void loop(int commands)
{
	struct pollfd fds[] = { { .fd = device, .events = POLLIN },
				{ .fd = commands, .events = POLLIN } };

	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[1].revents && read_command(commands))
			fds[1].fd = -1;
		if (fds[0].revents && read_request())
			return;
	}
}

static int mount_it(void)
{
	char data[256];

	device = open(options.device, O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -errno;
	snprintf(data, sizeof(data), "fd=%d,rootmode=40755,user_id=0,group_id=0,%s", device,
		 options.mount_options);
	if (mount("probe", options.dir, options.type, MS_NOSUID | MS_NODEV, data))
		return -errno;
	return 0;
}

static _Noreturn void child(int commands)
{
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	plant_tree();
	ret = options.image ? open_image() : 0;
	if (ret == 0)
		ret = mount_it();
	/* INIT is the first request: with it answered the caller may attach. */
	while (ret == 0 && !initialised)
		ret = read_request();
	if (write(commands, &ret, sizeof(ret)) == sizeof(ret) && ret == 0)
		loop(commands);
	tables_close(&tables);
	_exit(0);
}

/* ---- the test's side ----------------------------------------------------------------------------------------------- */

static int answer(struct server *server)
{
	struct pollfd fd = { .fd = server->commands, .events = POLLIN };
	int ret = -EPIPE;

	if (poll(&fd, 1, COMMAND_SECONDS_MAX * 1000) != 1)
		return -ETIMEDOUT;
	return read(server->commands, &ret, sizeof(ret)) == sizeof(ret) ? ret : -EPIPE;
}

int server_start(struct server *server, const struct server_options *wanted)
{
	int pair[2];

	options = *wanted;
	if (!options.device)
		options.device = "/dev/fusebpf";
	if (!options.type)
		options.type = "fusebpf.probe";
	if (!options.mount_options)
		options.mount_options = "default_permissions,allow_other,trusted";
	if (!options.dirs)
		options.dirs = 2;
	if (!options.files_each)
		options.files_each = 10;
	snprintf(server->dir, sizeof(server->dir), "%s", options.dir);
	mkdir(server->dir, 0755);
	server->shared = mmap(NULL, sizeof(*server->shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (server->shared == MAP_FAILED ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	shared = server->shared;
	shared->publish = true;
	server->commands = pair[0];
	server->pid = fork();
	if (server->pid == 0) {
		close(pair[0]);
		child(pair[1]);
	}
	close(pair[1]);
	return answer(server);
}

int server_command(struct server *server, enum server_command command, int64_t arg)
{
	struct message message = { .command = command, .arg = arg };

	if (write(server->commands, &message, sizeof(message)) != sizeof(message))
		return -errno;
	return answer(server);
}

struct probe_stats server_stats(struct server *server)
{
	if (server_command(server, SERVER_STATS, 0))
		return (struct probe_stats){ 0 };
	return server->shared->stats;
}

void server_kill(struct server *server)
{
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	server->pid = -1;
}

void server_stop(struct server *server)
{
	umount2(server->dir, 0);
	close(server->commands);
	if (server->pid > 0)
		waitpid(server->pid, NULL, 0);
	server->pid = -1;
}

uint64_t server_requests(const struct server *server, unsigned opcode)
{
	return server->shared->requests[opcode];
}

void server_reset_counts(struct server *server)
{
	for (unsigned i = 0; i < SERVER_OPCODES; i++)
		server->shared->requests[i] = 0;
	server->shared->lookups = 0;
	server->shared->forgotten = 0;
}
