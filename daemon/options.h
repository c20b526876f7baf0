/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command line of kfs: words in, decisions out. Nothing is opened here, but paths are
 * resolved, because the daemon leaves the working directory.
 *
 *	options_parse()		what the words say; contradictions and unknown words are refused
 *	options_kernel_words()	the part of it that is mount(2)'s business
 *	options_fini()
 *
 * Every refusal is one line that names the word and what to write instead.
 */
#ifndef KFS_DAEMON_OPTIONS_H
#define KFS_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/log.h"
#include "daemon/base/util.h"
#include "daemon/store/store.h"

/* mount(8)'s exit statuses. */
enum {
	EXIT_OK = 0,
	EXIT_USAGE = 1,
	EXIT_SYSTEM = 2,
	EXIT_INTERNAL = 4,
	EXIT_INTERRUPTED = 8,
	EXIT_MOUNT = 32,
};

/* What a word of three states was set to. */
enum { UNSET = -1, OFF = 0, ON = 1 };

#define VHOST_POLL_DEFAULT_US 50

struct options {
	char *image, *mountpoint; /* absolute, resolved; as given where that failed */
	bool help, version;
	bool foreground;    /* -f, -d */
	bool fake;	    /* mount.fuse.kfs -f: all but the mount */
	bool sloppy;	    /* mount.fuse.kfs -s: unknown words are passed over */
	bool owner_is_root; /* decides what a mount allows */

	int readonly, norecovery, discard, barrier, acl, user_xattr, errors;
	int atime; /* enum fs_atime */
	int diratime, lazytime, sync, dirsync, dev, suid, exec;
	int share, allow_other, readdirplus, writeback, clone_fd, nonempty;
	int uring, bpf, bpf_extents; /* OFF, ON, UNSET = auto */
	int kstats, sandbox;
	uint64_t offset, commit_s, cache_mb, threads_max, max_write, max_readahead, max_background,
		inodes_max, request_timeout_s, bpf_mb;
	double entry_timeout, attr_timeout, negative_timeout; /* < 0: default */
	bool no_mount;					      /* --no-mount: for guests alone */
	int guests_readonly;				      /* ON: guests=ro */
	uint64_t vhost_queues;				      /* 0: default */
	uint64_t guests_max;				      /* 0: default */
	uint64_t guest_nodes, guest_locks;		      /* 0: default */
	int guest_cache;				      /* enum proto_cache, or UNSET */
	int guest_writeback, guest_xattr, guest_acl;
	int vhost_once;			    /* ON: end with the guest */
	int handover, incoming;		    /* ON: guests take the image along; it comes with one */
	uint64_t dax_window;		    /* bytes; 0: none */
	uint64_t vhost_poll_us;		    /* VHOST_POLL_DEFAULT_US: not given */
	char *vhost, *tag;		    /* socket or "fd:N"; NULL: no guests, default */
	char *vhost_dir;		    /* in the image; NULL: all of it */
	bool log_syslog;		    /* log=syslog, though in the foreground */
	char *socket_group;		    /* NULL: nobody else may connect */
	char *guest_uids, *guest_gids;	    /* maps; NULL: none */
	char *log_path, *fsname, *contexts; /* NULL: not given; contexts: "context=...,..." */
	int log_level;			    /* enum log_level */
};

struct options_error {
	char text[512]; /* "what: why: remedy" */
};

/* EXIT_OK or an exit status with @err filled. @helper: mount.fuse.kfs's flags. */
MUST_USE int options_parse(int argc, char **argv, bool helper, struct options *ret_options,
			   struct options_error *err);
void options_fini(struct options *o);
/* For libfuse: "ro,nodev,...". @readonly as effective. Allocated; NULL without memory. */
char *options_kernel_words(const struct options *o, bool readonly);
/* For people: all that differs from the defaults, and what they often ask for. Allocated. */
char *options_describe(const struct options *o, bool readonly);
void options_usage(const char *program);
/* Guests may change the filesystem, as far as these words go. */
bool options_guests_write(const struct options *o);
struct store_opts options_store(const struct options *o);

#endif
