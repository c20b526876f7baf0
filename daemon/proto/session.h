/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside proto: the session, a request being decoded, and how handlers answer.
 *
 * proto_dispatch() fills a struct op on its stack: header and arguments copied and
 * checked, names pointed into the copy, the cursor at what is left (payload). It then
 * calls the opcode's handler, which ends the request by exactly one req_reply*(),
 * req_done() or by parking it. After that neither the handler nor anybody else touches
 * the request: the transport may have reused it.
 *
 * A request may be aborted (inflight.c) while its handler is stuck: its caller was answered
 * by then. The handler need not know, but where an answer hands something over (a counted
 * nodeid, a lock), it takes that back when req_reply() says that nobody got it. What the
 * request changed is told to the kernel's caches by proto_dispatch() (abort.c).
 */
#ifndef KFS_PROTO_SESSION_H
#define KFS_PROTO_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/list.h"
#include "daemon/base/lock.h"
#include "daemon/base/stats.h"
#include "daemon/base/util.h"
#include "daemon/fs/fs.h"
#include "daemon/proto/lost.h"
#include "daemon/proto/proto.h"
#include "daemon/proto/wire.h"

struct notifier;
struct overdue_watch;

#define INFLIGHT_SHARDS 16
/*
 * INTERRUPTs without a request, of one shard: those that overtook theirs, at most one for
 * each thread that reads the device (256 of 16 shards), and those that came too late, which
 * the next ones replace.
 */
#define INTERRUPTS_EARLY_MAX 32
struct inflight_shard {
	struct mutex lock;		      /* LOCK_LEAF */
	struct list reqs;		      /* [lock] requests being served */
	uint64_t early[INTERRUPTS_EARLY_MAX]; /* [lock] ids, 0 = free */
	uint32_t early_next;		      /* [lock] slot to use next */
	uint32_t early_count;		      /* [lock] of early, those that are ids */
} __attribute__((aligned(64)));

struct wire_timeout {
	uint64_t s;
	uint32_t ns;
};

struct proto_session {
	struct fs *fs;			 /* [written once] */
	struct inval_bus *bus;		 /* [written once] */
	void *transport;		 /* [written once] */
	const struct transport_ops *ops; /* [written once] */
	struct proto_opts opts;		 /* [written once] */
	struct fs_session_opts fs_opts;	 /* [written once] what INIT opens the fs session with */
	_Atomic bool negotiating;	 /* [atomic] an INIT is being served, or was granted */
	struct fs_session *fs_session;	 /* [negotiating; written before ready] */
	struct notifier *notifier;	 /* [written once] NULL without a channel */
	_Atomic bool ready;		 /* [atomic] INIT was answered, DESTROY not seen */
	uint32_t max_write;		 /* [written once] bytes */
	/* What INIT agreed on [written before ready; atomic where statistics look earlier]. */
	_Atomic uint32_t major, minor;
	_Atomic uint64_t init_flags;
	bool writeback, setxattr_ext;
	bool window;  /* files may be mapped */
	bool adopted; /* [negotiating; written before ready] it did not begin here */
	struct wire_timeout entry_timeout, attr_timeout, negative_timeout;

	/* Loaded, and not serving yet [no request running]: which saved session it is, its locks. */
	uint64_t arrives_from; /* 0: none */
	struct fs_flock *arriving;
	uint32_t arriving_count;
	struct lost_writes lost;					     /* has its own lock */
	_Atomic uint64_t unknown[PROTO_CHANNELS], malformed[PROTO_CHANNELS]; /* [atomic] */
	_Atomic uint64_t notifies, notify_errors;			     /* [atomic] */
	_Atomic uint64_t aborted;					     /* [atomic] */
	_Atomic uint64_t read_bytes, written_bytes; /* [atomic] of a guest, whose queues are few */
	struct overdue_watch *overdue;		    /* [written once] NULL without a limit */
	struct inflight_shard inflight[INFLIGHT_SHARDS];
	struct stats_latency stats[PROTO_CHANNELS][PROTO_OPCODES];
};

/* A position in a request's iovecs. */
struct cursor {
	const struct iovec *iov;
	int count;
	size_t off;  /* into iov[0] */
	size_t left; /* bytes that belong to the request */
};

/* Copy @len bytes out; false when fewer are left (nothing is taken then). */
bool cursor_copy(struct cursor *c, void *dst, size_t len);
/* The next @len bytes as at most @max iovecs; their number, or -1 when they are not there. */
int cursor_slice(struct cursor *c, size_t len, struct iovec *iov, int max);

/* Longest name the kernel sends; names over NAME_MAX_EXT4 are answered ENAMETOOLONG. */
#define OP_NAME_MAX 1024
#define NAME_MAX_EXT4 255
/* Two names with their NULs, or a name and a symlink's target of PATH_MAX. */
#define OP_TEXT_MAX (OP_NAME_MAX + 1 + 4096 + 1)

struct op {
	struct proto_req *req;
	struct proto_session *s;
	struct fs_ctx ctx;
	uint64_t nodeid;
	uint32_t opcode;
	struct cursor in; /* what follows arguments and names */
	struct fs_name name[2];
	bool late; /* it was answered early, by proto_abort() */
	size_t arg_len;
	union {
		uint8_t bytes[112];
		struct fuse_forget_in forget;
		struct fuse_batch_forget_in batch_forget;
		struct fuse_getattr_in getattr;
		struct fuse_setattr_in setattr;
		struct wire_statx_in statx;
		struct fuse_mknod_in mknod;
		struct fuse_mkdir_in mkdir;
		struct fuse_rename_in rename;
		struct fuse_rename2_in rename2;
		struct fuse_link_in link;
		struct fuse_open_in open;
		struct fuse_create_in create;
		struct fuse_release_in release;
		struct fuse_flush_in flush;
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_fsync_in fsync;
		struct fuse_setxattr_in setxattr;
		struct fuse_getxattr_in getxattr;
		struct fuse_lk_in lk;
		struct fuse_init_in init;
		struct fuse_interrupt_in interrupt;
		struct fuse_bmap_in bmap;
		struct fuse_ioctl_in ioctl;
		struct fuse_fallocate_in fallocate;
		struct fuse_lseek_in lseek;
		struct fuse_copy_file_range_in copy;
		struct fuse_setupmapping_in setupmapping;
		struct fuse_removemapping_in removemapping;
	} arg;
	char text[OP_TEXT_MAX];
};

typedef void (*op_handler)(struct op *op);

enum {
	OP_PAYLOAD = 1u << 0,	 /* bytes may follow arguments and names */
	OP_NO_REPLY = 1u << 1,	 /* ended by req_done(), even when malformed */
	OP_EARLY = 1u << 2,	 /* served before INIT */
	OP_DOT_NAMES = 1u << 3,	 /* "." and ".." are names here (handles for export) */
	OP_SYMLINK = 1u << 4,	 /* the second text is a target, not a name */
	OP_XATTR_NAME = 1u << 5, /* the text is an attribute's name: "/" is allowed */
	OP_CHANGES = 1u << 6,	 /* the inode, or what its names mean */
	OP_NO_ABORT = 1u << 7,	 /* the session's own life depends on its answer */
};

struct op_def {
	const char *name;
	uint16_t arg_size; /* least bytes of the argument structure */
	uint8_t names;
	uint8_t flags;	    /* OP_* */
	op_handler handler; /* NULL: ENOSYS on purpose */
};

const struct op_def *op_def_of(uint32_t opcode);

/*
 * Ending a request. @error is negative; with an error no data is sent. False: it had been
 * aborted, and this answer was dropped.
 */
bool req_reply(struct proto_req *req, int error, const void *data, size_t len);
/* With @len bytes that are in the transport's own place, req->out. */
bool req_reply_filled(struct proto_req *req, size_t len);
void req_done(struct proto_req *req);

static inline void op_error(struct op *op, int error)
{
	(void)req_reply(op->req, error, NULL, 0); /* an error hands nothing over */
}

/* Before its request is parked: another thread may end it from then on. */
static inline void op_park(struct op *op)
{
	op->req->op = NULL;
}
/* It was not parked after all. */
static inline void op_unpark(struct op *op)
{
	op->req->op = op;
}

/* -EOVERFLOW: who asks has no number in the image, so nothing can be theirs. */
MUST_USE int op_check_owner(const struct op *op);
/* The request's content contradicts itself: counted, EINVAL. */
void op_malformed(struct op *op);

/* inflight.c: requests from dispatch to their end. */
void inflight_init(struct proto_session *s);
uint64_t inflight_count(struct proto_session *s, enum proto_channel channel);
void inflight_add(struct proto_req *req);
/* True: it was answered early. Nobody answers it early from now on. */
bool inflight_del(struct proto_req *req);
/* What people call it. */
uint64_t inflight_ino(uint64_t nodeid);
/* An INTERRUPT for @unique came: noted with the request, or until it comes. */
void inflight_interrupt(struct proto_session *s, uint64_t unique);
bool inflight_is_interrupted(struct proto_session *s, uint64_t unique);

/* abort.c: an aborted request has come back; its changes are told to the kernel. */
void abort_came_back(struct op *op);

/* overdue.c: a thread that logs requests older than @limit_s, each once. */
MUST_USE int overdue_new(struct proto_session *s, uint32_t limit_s,
			 struct overdue_watch **ret_watch);
void overdue_free(struct overdue_watch *w);

/* Attributes on the wire. */
void wire_attr(const struct proto_session *s, const struct fs_attr *attr,
	       struct fuse_attr *ret_attr);
void wire_entry(const struct proto_session *s, const struct fs_entry *entry,
		struct fuse_entry_out *ret_out);
struct wire_timeout wire_timeout(double seconds);
void op_reply_attr(struct op *op, const struct fs_attr *attr);

/* A lost write waits to be told, so nobody else may answer for the file's attributes; or it was told. */
void lost_publish(struct proto_session *s, uint64_t nodeid, bool waits);

/* What an open of a file, or of a directory with FOPEN_CACHE_DIR, lets the kernel keep of @flags. */
uint32_t op_open_flags(const struct proto_session *s, uint32_t flags);

/* notify.c: the kernel's caches are told by a thread of their own. */
MUST_USE int notifier_new(struct proto_session *s, struct notifier **ret_notifier);
/* Stops the thread; what is queued is dropped, parked seeks are answered with EINTR. */
void notifier_free(struct notifier *n);
/*
 * Park @req: have the kernel write its dirty pages of holes back, then answer where
 * data or the next hole begins. -ENOMEM: not parked.
 */
struct notify_seek {
	struct proto_req *req;
	struct fs_ctx ctx;
	uint64_t nodeid, off;
	bool want_hole;
};
MUST_USE int notifier_seek(struct notifier *n, const struct notify_seek *seek);
/*
 * Answer @req with success when the kernel has been told to forget @nodeid's attributes.
 * Without a notifier, or without memory, it is answered at once.
 */
#define NOTIFY_REPLY_MAX 16
void notifier_reply(struct notifier *n, struct proto_req *req, uint64_t nodeid, const void *data,
		    size_t len);

/* From now on fs has it wait for reads of blocks that are freed. The fs session is open, no request running. */
void notifier_drains(struct notifier *n);

/*
 * others.c: what others hold of a file. Before [off, off + len) of @nodeid is read or changed where only a request
 * of @op's session says so; len 0: to the end. An error is the request's.
 */
MUST_USE int op_collect(struct op *op, uint64_t nodeid, uint64_t off, uint64_t len);
/*
 * This kernel may have data where the store has a hole. One that came with its state may have files open that we do not
 * know to be mapped.
 */
bool op_hides_data(const struct op *op);
/* Around the life of a description: this kernel may map the file and store into it. */
MUST_USE int op_opened(struct op *op, uint64_t nodeid, uint32_t flags);
void op_closed(struct op *op, uint64_t nodeid, uint32_t flags);

/* See proto_when_notified(). */
bool notifier_wait(struct notifier *n, struct proto_notified *wait);
/*
 * The kernel has written back what it changed of [off, off + len) of @nodeid, and forgotten it, when this returns; len 0: to
 * the end. Nothing held. -ENOMEM: it was not asked.
 */
MUST_USE int notifier_write_back(struct notifier *n, uint64_t nodeid, uint64_t off, uint64_t len);
/* Tell the kernel to forget @nodeid's attributes; without memory it is told to forget all. */
void notifier_forget_attr(struct notifier *n, uint64_t nodeid);
/* The same of its attributes and contents, and of a name. */
void notifier_forget_inode(struct notifier *n, uint64_t nodeid);
void notifier_forget_name(struct notifier *n, uint64_t dir, struct fs_name name);

/* init.c, for sessions that go on after another daemon's: what INIT would have agreed on. */
struct proto_agreed {
	uint32_t minor;
	uint64_t init_flags;
	bool recovered; /* as in fs_session_opts */
};
/* -EBUSY: INIT came. -EINVAL: this session would not have agreed. */
MUST_USE int init_adopt(struct proto_session *s, const struct proto_agreed *agreed);
/* As if it had not been adopted. No request may have come. */
void init_undo(struct proto_session *s);

/* Handlers, by file. */
void op_init(struct op *op);
void op_destroy(struct op *op);

void op_lookup(struct op *op);
void op_forget(struct op *op);
void op_batch_forget(struct op *op);
void op_readlink(struct op *op);
void op_symlink(struct op *op);
void op_mknod(struct op *op);
void op_mkdir(struct op *op);
void op_unlink(struct op *op);
void op_rmdir(struct op *op);
void op_rename(struct op *op);
void op_rename2(struct op *op);
void op_link(struct op *op);
void op_create(struct op *op);
void op_tmpfile(struct op *op);

void op_getattr(struct op *op);
void op_setattr(struct op *op);
void op_statx(struct op *op);
void op_statfs(struct op *op);

void op_opendir(struct op *op);
void op_readdir(struct op *op);
void op_readdirplus(struct op *op);
void op_releasedir(struct op *op);

void op_open(struct op *op);
void op_release(struct op *op);
void op_flush(struct op *op);
void op_read(struct op *op);
void op_write(struct op *op);
void op_fsync(struct op *op);
void op_syncfs(struct op *op);
void op_fallocate(struct op *op);
void op_lseek(struct op *op);
void op_copy_file_range(struct op *op);
void op_bmap(struct op *op);

void op_setxattr(struct op *op);
void op_getxattr(struct op *op);
void op_listxattr(struct op *op);
void op_removexattr(struct op *op);

void op_getlk(struct op *op);
void op_setlk(struct op *op);
void op_interrupt(struct op *op);

void op_ioctl(struct op *op);

void op_setupmapping(struct op *op);
void op_removemapping(struct op *op);

#endif
