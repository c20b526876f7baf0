/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control server of a daemon: answers kfsctl on the mount's socket (include/kfs/ctl_proto.h).
 *
 *	ctl_server_start(&env, &server)	  when the mount answers
 *	ctl_server_stop(server)		  before the transport and the filesystem are closed
 *
 * It has threads of its own: one that accepts, one for each client. No request of a mount waits for a client, and
 * no client for another: what a client holds up is its own thread, and only until a time-out. It reads statistics
 * of every layer and changes the filesystem only through daemon/fs.
 *
 * Invariants
 * (1) Nothing a client sends is more than an error reply: not a crash, not an unbounded allocation.
 * (2) A client other than root and the mount's owner gets no answer but a refusal.
 * (3) A filesystem frozen through this server is thawed by "thaw", or when the server stops; never by a client
 *     that goes away, because a backup may need it frozen for longer than a connection.
 */
#ifndef KFS_CTL_CTL_H
#define KFS_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/base/util.h"

struct bpf;
struct ctl_server;
struct dev;
struct fs;
struct inval_bus;
struct trace;

/* What all guests have in common. */
struct ctl_guests {
	const char *socket, *tag, *directory, *cache; /* directory: of the image, "/" = all of it */
	bool writable, writeback;
	uint32_t max; /* at a time */
	double timeout_s;
};

/* A virtual machine to serve: include/kfs/ctl_proto.h, share_add. */
struct ctl_share {
	const char *path;
	const char *tag, *cache; /* NULL: the daemon's own */
	bool readonly, no_readdirplus;
	int socket_fd, life_fd; /* given: closed by who serves, also on failure */
};

#define CTL_SHARE_WHY_MAX 512
struct ctl_shared {
	char why[CTL_SHARE_WHY_MAX]; /* on failure: "what: why: remedy" */
};

/* Everything pointed to outlives the server. */
struct ctl_env {
	struct fs *fs;
	struct inval_bus *bus;
	struct dev *dev;	 /* the host mount; NULL without one */
	struct bpf *bpf;	 /* its programs; NULL: the stock tier */
	const char *bpf_why;	 /* why there are none, or they are not attached */
	const char *extents_why; /* why the kernel reads no files by itself; NULL: with BPF it does */
	struct trace *trace;	 /* statistics of the kernel; NULL without a host mount */
	struct ctl_guests guests; /* what guests of vhost= are told; socket NULL: no such word */
	const char *id;		  /* the mount's name among those of this host */
	const char *image;	  /* absolute path */
	const char *mountpoint;	  /* absolute path; NULL without a host mount */
	const char *socket_path;
	const char *version;	 /* of the daemon */
	const char *options;	 /* the effective mount options, comma-separated */
	uid_t owner_uid;	 /* may ask, besides root */
	const char *sandbox_why; /* why it is not confined; empty: it is */
	/* NULL: cannot serve any. Called on a client's thread. */
	int (*share_add)(void *arg, const struct ctl_share *share, struct ctl_shared *ret_shared);
	void *share_arg;
	bool held;  /* as ctl_server_hold() does, from the start */
	bool share; /* the profile: others than the host may write */
	double entry_timeout_s, attr_timeout_s, negative_timeout_s; /* as told to the kernel */
};

/* -EADDRINUSE, -ENAMETOOLONG, ...: the socket could not be made; nothing is left behind. */
MUST_USE int ctl_server_start(const struct ctl_env *env, struct ctl_server **ret_server);
/*
 * Nobody is answered from here on, and no command runs: @env.fs is not used. NULL, or why that cannot be had: a command
 * goes on and on. For one thread at a time; NULL servers have no commands.
 */
MUST_USE const char *ctl_server_hold(struct ctl_server *server);
/* Answers again, about @fs. */
void ctl_server_release(struct ctl_server *server, struct fs *fs);
/* Waits for commands that run, closes all clients, removes the socket. NULL is fine. */
void ctl_server_stop(struct ctl_server *server);

#endif
