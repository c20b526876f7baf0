/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The FUSE wire protocol, once, for every transport. A transport gathers a request
 * into iovecs (header, arguments, payload), calls proto_dispatch(), and gets its
 * reply through its own ops. Protocol 7.31 .. 7.45, Linux Documentation/filesystems/fuse.
 *
 * A request belongs to the transport; proto owns it from proto_dispatch() until
 * it called reply (exactly once, on any thread, perhaps after dispatch returned: parked
 * lock waits) or, for a request that was answered early, done. FORGET, BATCH_FORGET, NOTIFY_REPLY and INTERRUPT are never replied: done()
 * is called instead. Memory that in[] and out_buf describe is used only until
 * proto_dispatch() returns, out[] until reply_filled(); a parked request needs its struct proto_req alone.
 *
 * Headers and arguments are copied out of the transport's memory once and checked
 * (lengths, NUL termination, nodeid) before a handler sees them; payload stays where
 * it is and is handed to fs as iovecs.
 */
#ifndef KFS_PROTO_PROTO_H
#define KFS_PROTO_PROTO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "daemon/base/list.h"
#include "daemon/base/stats.h"
#include "daemon/base/util.h"
#include "daemon/fs/fs.h"
#include "daemon/proto/idmap.h"

struct fs;
struct fs_session;
struct inval_bus;
struct op;
struct proto_session;
struct proto_mapping;
struct proto_req;
struct proto_unmap;

/* A session's requests may come by several ways; each has counters of its own. */
enum proto_channel { PROTO_CHANNEL_MAIN, PROTO_CHANNEL_URING, PROTO_CHANNELS };

struct transport_ops {
	const char *name;	    /* "dev", "uring", "vhost" */
	enum proto_channel channel; /* which counters its requests go to */
	/* Send header + @iov; error < 0 sends the header alone. Ends the request. */
	void (*reply)(struct proto_req *req, int error, const struct iovec *iov, int iovcnt);
	/* The reply's payload is in the first @len bytes of out[]. NULL: out[] is never offered. */
	void (*reply_filled)(struct proto_req *req, size_t len);
	/* A request without a reply is done with. */
	void (*done)(struct proto_req *req);
	/*
	 * Answer @req with @error before it ends: its caller goes on, while the thread that
	 * serves it stays where it is, and keeps its buffers until done() ends it. Called with
	 * the in-flight shard's lock, so it must not block. An error: it could not be done, for
	 * want of memory or of a thread. NULL: requests cannot be aborted, because their buffers
	 * belong to somebody else once they are answered (a guest).
	 */
	int (*answer_early)(struct proto_req *req, int error);
	/* DESTROY came. True: it is not to be answered. NULL: it is. */
	bool (*destroyed)(void *transport);
	/*
	 * A window that the transport maps the image into, for whom fs_dax_enable() was asked. window() tells whether
	 * there is one; asked at INIT. The others take a request, which may be answered on any thread, later, and what
	 * comes with it: map() the mapping, unmap() the list (malloc). NULL: there never is one.
	 */
	bool (*window)(void *transport);
	void (*map)(struct proto_req *req, struct proto_mapping *m);
	void (*unmap)(struct proto_req *req, struct proto_unmap *list, uint32_t count);
	/* Unsolicited message to the kernel (header included). NULL where there is no such channel. */
	int (*notify)(void *transport, const struct iovec *iov, int iovcnt);
};

/* Pieces of a request (a guest's memory is scattered), and of a reply. */
#define PROTO_IOV_MAX 1024
#define PROTO_REPLY_IOV_MAX 4

/* The transport embeds this in its own request. */
struct proto_req {
	struct proto_session *session;
	const struct transport_ops *ops;
	const struct iovec *in; /* the whole request, header first */
	int in_count;
	/*
	 * Where the payload of READ's reply belongs, if the transport has a place for it: the
	 * image is read into it and nothing is copied. NULL: out_buf is used.
	 */
	const struct iovec *out;
	int out_count;
	/*
	 * Room for a reply's payload that the transport offers (aligned, outside the
	 * request): handlers of READ, READDIR, ... fill it and reply from it.
	 */
	void *out_buf;
	uint32_t out_size;
	uint64_t start_ns; /* proto's: for latency */
	uint32_t opcode;   /* proto's, after the header was copied */
	uint64_t unique, nodeid;
	struct op *op;	      /* proto's: while its handler may look at it; NULL once parked */
	_Atomic bool aborted; /* proto's: [atomic; set under in-flight shard lock] answered early */
	_Atomic bool unwanted; /* proto's: [atomic] a lock that ends with EIO, not EINTR */
	bool changes;	       /* proto's: it may change what others cache */
	bool interrupted;      /* proto's: [in-flight shard lock] */
	bool overdue;	       /* proto's: [in-flight shard lock] it was logged */
	struct list inflight;  /* proto's: [in-flight shard lock] */
};

/*
 * What a guest's kernel may keep of what it was told; as virtiofsd has it. Time-outs are beside it. AUTO: pages of a file
 * until it is opened again; NEVER: none; METADATA: no pages of files, but listings; ALWAYS: both, for as long as
 * attributes say that nothing has changed.
 */
enum proto_cache { PROTO_CACHE_AUTO, PROTO_CACHE_NEVER, PROTO_CACHE_METADATA, PROTO_CACHE_ALWAYS };

struct proto_opts {
	bool share; /* DESIGN.md decision 5: false = host is the only writer */
	/* A kernel that cannot be notified: it looks again at each open and when time is up. */
	bool guest;
	/* A guest's: the mount whose kernel writes back what it holds of a file before the guest changes it; NULL: none. */
	struct proto_session *host;
	enum proto_cache cache;	 /* a guest's */
	struct idmap uids, gids; /* a guest's */
	bool no_xattr;
	bool guest_writeback; /* its kernel may hold writes back: nobody else changes anything */
	bool readonly;
	bool posix_acl;
	bool dirsync; /* a change of names is durable before it is answered */
	bool no_readdirplus, no_writeback;
	bool drains; /* the kernel may read files by itself (struct fs_drainer) */
	bool uring;  /* the transport can take requests from rings, if the kernel offers that */
	uint32_t max_write, max_readahead; /* bytes; 0 = defaults (1 MiB) */
	uint32_t max_background, congestion_threshold;
	uint32_t request_timeout_s; /* log requests that are older, once each; 0 = never */
	double entry_timeout, attr_timeout, negative_timeout; /* < 0 = the profile's default */
	const struct fs_session_opts *session;		      /* name, root, confinement, caps */
};

/* The fs session is opened at INIT and closed by proto_session_free(). */
MUST_USE int proto_session_new(struct fs *fs, struct inval_bus *bus, const struct proto_opts *opts,
			       void *transport, const struct transport_ops *ops,
			       struct proto_session **ret_session);
/* No request may be running. */
void proto_session_free(struct proto_session *s);

void proto_dispatch(struct proto_req *req);
/* True after INIT was answered with success; false again after DESTROY. */
bool proto_ready(const struct proto_session *s);
/* Largest request and reply this session can see, for buffers. */
uint32_t proto_max_request(const struct proto_session *s);

/* Bytes of the image that belong at @moffset + off in the window; all are multiples of the page size. */
struct proto_mapping {
	uint64_t moffset, len;
	bool write;
	void *pin; /* the image keeps them there until proto_unpin() */
	uint32_t count;
	struct {
		uint64_t off, image_off, len;
	} run[]; /* ascending, without gaps; together at most @len */
};
struct proto_unmap {
	uint64_t moffset, len;
};
/* Frees @m; its pin is somebody's, or NULL. */
void proto_mapping_free(struct proto_mapping *m);
/* Nothing of it can be reached through the window any more. No lock held. */
void proto_unpin(void *pin);
/* The same bytes of the same file. */
bool proto_pins_same(const void *a, const void *b);
/* Ends a request that map() or unmap() took. */
void proto_window_done(struct proto_req *req, int error);
/* The image's descriptor, the store's. */
int proto_image_fd(struct fs *fs);

#define PROTO_OPCODES 64
struct proto_stats {
	struct {
		const char *name; /* NULL = unused opcode */
		struct stats_op op;
	} ops[PROTO_OPCODES];
	uint64_t unknown, malformed, in_flight, notifies, notify_errors;
	uint64_t aborted;		    /* requests answered by proto_abort(), ever */
	uint32_t major, minor;		    /* negotiated */
	uint64_t init_flags;		    /* as answered */
	uint64_t read_bytes, written_bytes; /* of files; a guest's only */
	struct fs_session_stats fs;	    /* zeros before INIT */
};
void proto_get_stats(struct proto_session *s, struct proto_stats *ret_stats);
/* Of requests that came through @channel only. */
void proto_get_channel_stats(struct proto_session *s, enum proto_channel channel,
			     struct proto_stats *ret_stats);
/* INIT was answered, and requests come through rings from now on. */
bool proto_uses_uring(const struct proto_session *s);

/* Requests being served now, oldest first. */
struct proto_inflight {
	uint64_t unique, nodeid, age_ns;
	uint32_t opcode;
	enum proto_channel channel;
	bool aborted;	/* its caller has gone on, its thread has not */
	bool abortable; /* a caller waits for it, and not for a lock that others hold */
};
uint32_t proto_list_inflight(struct proto_session *s, struct proto_inflight *list, uint32_t max);

/*
 * A change that this session's kernel did not ask for is to be answered when that kernel has
 * been told of it. True: @wait->done(@wait) is called once every notification queued so far has
 * been written, on the notifier's thread, with no lock held. False: none is under way.
 */
struct proto_notified {
	struct list link; /* proto's */
	uint64_t ticket;  /* proto's */
	void (*done)(struct proto_notified *wait);
};
bool proto_when_notified(struct proto_session *s, struct proto_notified *wait);

/*
 * Give the caller of request @unique EIO, now. A lock that waits is taken out of the queue.
 * Anything else is stuck below us and stays so; when it comes back, its answer is dropped,
 * what it did nevertheless is told to the kernel's caches, and what it had not begun is not
 * done. EIO and not EINTR: programs and language runtimes repeat what EINTR ended, and for
 * locks the kernel turns EINTR into a restart that only a signal can handle.
 *
 * -ENOENT: no such request, or it was answered just now. -EALREADY. -EOPNOTSUPP: nobody
 * waits for its answer (FORGET, INIT, ...), or the transport cannot. -ENOMEM, -EAGAIN: not
 * for the moment.
 */
MUST_USE int proto_abort(struct proto_session *s, uint64_t unique);

#endif
