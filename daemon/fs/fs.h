/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filesystem's operations: the one meaning of each, whatever transport asks.
 *
 * nodeid = generation << 32 | inode number; the root is 1. A session (the host mount,
 * a guest, a control client) may use only nodeids that were handed to it when it is
 * "confined"; others are checked by generation (-ESTALE).
 *
 * Lookup counts: an operation that returns a struct fs_entry with nodeid != 0 raises
 * that nodeid's count in the session by one, under the lock that guards the name;
 * fs_forget() lowers it. An unlinked inode lives until the last count in every
 * session is gone, then it is deleted. Dropping a session forgets everything.
 *
 * Permission checks are the asking kernel's (default_permissions); what the kernel
 * cannot know is done here: setgid inheritance, default ACLs, killpriv on the flags
 * it sends, reserved blocks, immutable and append-only flags, EROFS.
 *
 * Errors: 0 or negative errno; results are written on success only. No lock is held
 * on return. Every function may be called from any thread and may block on I/O.
 * -EROFS after an abort; -EUCLEAN corruption (already logged); -ESTALE unknown nodeid.
 */
#ifndef KFS_FS_FS_H
#define KFS_FS_FS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "daemon/base/util.h"

struct fs;
struct fs_flock;
struct fs_session;
struct inval_bus;
struct store;

struct fs_time {
	int64_t s;
	uint32_t ns;
};

/* Extended attributes that are known not to be there. */
enum { FS_ABSENT_CAPABILITY = 1u << 0, FS_ABSENT_ACL = 1u << 1 };

struct fs_attr {
	uint64_t ino;	       /* what stat shows: the inode number */
	uint64_t size, blocks; /* bytes; 512-byte units */
	struct fs_time atime, mtime, ctime, btime;
	uint32_t mode, nlink, uid, gid, rdev, blksize;
	uint32_t flags;	 /* EXT4_*_FL, for statx attributes */
	uint32_t absent; /* FS_ABSENT_*; a bit that is missing says nothing */
	bool dax;	 /* worth a guest's window: see fs_dax_enable() */
	uint64_t version;
};

struct fs_entry {
	uint64_t nodeid; /* 0 = the name does not exist (a cacheable negative answer) */
	uint64_t generation;
	struct fs_attr attr;
};

/* Who asks. */
struct fs_ctx {
	struct fs_session *session;
	uint32_t uid, gid, pid;
	uint16_t umask;
	bool has_supp_gid; /* CREATE_SUPP_GROUP: the directory's group, if the caller is in it */
	uint32_t supp_gid;
	uint64_t unique; /* for traces and lock waiters */
	/*
	 * Set when the caller was given up on (NULL: never): a change that has not got its inode
	 * by then is not made, for it would come after changes that were asked for later. Lives
	 * until the operation returns.
	 */
	const _Atomic bool *aborted;
	/*
	 * Set to true when an operation that reads has changed what others cache: an access time.
	 * NULL: nobody asks. Lives until the operation returns.
	 */
	bool *touched;
};

struct fs_name {
	const char *name; /* not NUL-terminated; checked by fs: length, '/', NUL */
	uint32_t len;
};

enum fs_atime { FS_ATIME_RELATIME, FS_ATIME_NOATIME, FS_ATIME_STRICT };

struct fs_opts {
	enum fs_atime atime;
	bool nodiratime, lazytime;
	bool posix_acl;			 /* inherit default ACLs on create */
	uint64_t uid_forced, gid_forced; /* reserved for id maps */
};

/* fs takes @store (closed by fs_close) and publishes on @bus (owned by the caller, outlives it). */
MUST_USE int fs_open_store(struct store *store, struct inval_bus *bus, const struct fs_opts *opts,
			   struct fs **ret_fs);
/* All sessions must be closed. Returns the store's close error. */
MUST_USE int fs_close(struct fs *fs);
/* The same, as store_close_print(). */
MUST_USE int fs_close_print(struct fs *fs, uint64_t *ret_print);
void fs_destroy(struct fs *fs); /* as a crash */
struct store *fs_store(struct fs *fs);

struct fs_session_opts {
	const char *name; /* "host", "guest-0": for statistics and messages */
	bool writeback;	  /* the kernel's writeback cache owns size and mtime of written files */
	bool shared;	  /* opens are reported; locks are held here */
	bool confined;	  /* accept only nodeids handed out (guests) */
	bool readonly;
	uint64_t root_nodeid; /* 1, or the shared subdirectory */
	uint64_t nodes_max;   /* cap of handed-out nodeids, 0 = none */
	uint32_t locks_max;   /* cap of locks held, 0 = a large one */
	/*
	 * Its nodeids were handed out by a daemon that was killed: one that a live inode has is
	 * accepted and counted once. Only where the share is the whole image: elsewhere a number
	 * would be a way out of it.
	 */
	bool recovered;
};
MUST_USE int fs_session_open(struct fs *fs, const struct fs_session_opts *opts,
			     struct fs_session **ret_session);
/* Forgets all, releases all locks. No request of it may be running. */
void fs_session_close(struct fs_session *s);

struct fs_session_stats {
	uint64_t nodes, nodes_max; /* handed out and not forgotten; 0 = no cap */
	uint64_t locks, locks_max, lock_waiters;
};
void fs_session_get_stats(const struct fs_session *s, struct fs_session_stats *ret_stats);

/* Names */
MUST_USE int fs_lookup(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name,
		       struct fs_entry *ret_entry);
void fs_forget(struct fs *fs, struct fs_session *s, uint64_t nodeid, uint64_t nlookup);

struct fs_create {
	uint64_t dir;
	struct fs_name name;
	uint32_t mode; /* with S_IFMT: regular, directory, fifo, socket, device */
	uint32_t rdev;
	const char *target; /* symlink: @target_len bytes */
	uint32_t target_len;
	bool excl; /* else an existing regular file is returned (create only) */
};
/* CREATE, MKNOD, MKDIR and SYMLINK are one operation with different modes. -EEXIST. */
MUST_USE int fs_create(struct fs *fs, const struct fs_ctx *ctx, const struct fs_create *req,
		       struct fs_entry *ret_entry);
/* An unnamed file in @dir's filesystem, on the orphan list until linked. */
MUST_USE int fs_tmpfile(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, uint32_t mode,
			struct fs_entry *ret_entry);
MUST_USE int fs_link(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t dir,
		     struct fs_name name, struct fs_entry *ret_entry);
MUST_USE int fs_unlink(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name);
MUST_USE int fs_rmdir(struct fs *fs, const struct fs_ctx *ctx, uint64_t dir, struct fs_name name);
enum { FS_RENAME_NOREPLACE = 1, FS_RENAME_EXCHANGE = 2, FS_RENAME_WHITEOUT = 4 };
struct fs_rename {
	uint64_t dir, newdir;
	struct fs_name name, newname;
	uint32_t flags;
};
MUST_USE int fs_rename(struct fs *fs, const struct fs_ctx *ctx, const struct fs_rename *req);
/* At most PATH_MAX bytes, not NUL-terminated. */
MUST_USE int fs_readlink(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, char *buf,
			 uint32_t size, uint32_t *ret_len);

struct fs_dirent {
	struct fs_name name;
	uint64_t ino, cookie;
	uint32_t dtype;
	const struct fs_entry *entry; /* with plus: counted if @emit takes it; NULL for . and .. */
};
/* > 0: no room, this entry was not taken. */
typedef int (*fs_emit_fn)(void *arg, const struct fs_dirent *d);
/* With @plus each taken entry raises its nodeid's lookup count. */
MUST_USE int fs_readdir(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t cookie,
			bool plus, fs_emit_fn emit, void *arg);

/* Attributes */
MUST_USE int fs_getattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			struct fs_attr *ret_attr);
enum {
	FS_SET_MODE = 1u << 0,
	FS_SET_UID = 1u << 1,
	FS_SET_GID = 1u << 2,
	FS_SET_SIZE = 1u << 3,
	FS_SET_ATIME = 1u << 4,
	FS_SET_MTIME = 1u << 5,
	FS_SET_CTIME = 1u << 6,
	FS_SET_ATIME_NOW = 1u << 7,
	FS_SET_MTIME_NOW = 1u << 8,
	FS_SET_KILL_SUIDGID = 1u << 9, /* killpriv_v2: clear suid/sgid and security.capability */
};
struct fs_setattr {
	uint64_t nodeid;
	uint32_t valid; /* FS_SET_* */
	uint32_t mode, uid, gid;
	uint64_t size;
	struct fs_time atime, mtime, ctime;
};
MUST_USE int fs_setattr(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setattr *req,
			struct fs_attr *ret_attr);
MUST_USE ssize_t fs_getxattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			     const char *name, void *buf, size_t size);
MUST_USE ssize_t fs_listxattr(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, char *buf,
			      size_t size);
struct fs_setxattr {
	uint64_t nodeid;
	const char *name;
	const void *value; /* NULL removes */
	size_t len;
	int flags;	/* XATTR_CREATE, XATTR_REPLACE */
	bool kill_sgid; /* SETXATTR_EXT: an ACL change by one outside the group */
};
MUST_USE int fs_setxattr(struct fs *fs, const struct fs_ctx *ctx, const struct fs_setxattr *req);
/* EXT4_*_FL that users see and may set; generation; project id. */
struct fs_fileattr {
	uint32_t flags;
	uint32_t projid;
	uint32_t generation;
	uint32_t extents;
};
MUST_USE int fs_fileattr_get(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			     struct fs_fileattr *ret_attr);
enum { FS_FILEATTR_FLAGS = 1, FS_FILEATTR_PROJID = 2 };
MUST_USE int fs_fileattr_set(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			     uint32_t valid, const struct fs_fileattr *attr);

/* Contents. share=off serves them without any open. */
MUST_USE int fs_open(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t flags);
void fs_release(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t lock_owner,
		bool flock_unlock);
/*
 * A kernel that may change pages of mapped files without a request says which files it has open for reading and writing:
 * before it is told that one is open, until that is closed, or its session. -ENOMEM.
 */
MUST_USE int fs_mapper_add(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid);
void fs_mapper_del(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid);
/* @session may have changed pages of what @ctx's session knows as @nodeid. */
bool fs_has_mappers(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
		    const struct fs_session *session);
MUST_USE ssize_t fs_read(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			 const struct iovec *iov, int iovcnt, uint64_t off, uint64_t len);
enum {
	FS_WRITE_CACHE = 1u << 0, /* from the kernel's page cache: its size and times rule */
	FS_WRITE_KILL_SUIDGID = 1u << 1,
	FS_WRITE_APPEND = 1u << 2, /* O_APPEND: offset is the size now (shared profile) */
	FS_WRITE_SYNC = 1u << 3,
	FS_WRITE_DSYNC = 1u << 4,
};
struct fs_write {
	uint64_t nodeid;
	const struct iovec *iov;
	int iovcnt;
	uint64_t off, len;
	uint32_t flags;
};
MUST_USE ssize_t fs_write(struct fs *fs, const struct fs_ctx *ctx, const struct fs_write *req);
/* fallocate(2)'s mode bits. */
MUST_USE int fs_fallocate(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint32_t mode,
			  uint64_t off, uint64_t len);
MUST_USE int fs_lseek(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t off,
		      bool want_hole, uint64_t *ret_off);
struct fs_copy {
	uint64_t nodeid_in, off_in, nodeid_out, off_out, len;
};
MUST_USE ssize_t fs_copy_range(struct fs *fs, const struct fs_ctx *ctx, const struct fs_copy *req);
MUST_USE int fs_bmap(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t block,
		     uint32_t block_size, uint64_t *ret_block);
/* Durable on return: data, inode and name (data_only: what is needed to read the data back). */
MUST_USE int fs_fsync(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, bool data_only);
MUST_USE int fs_syncfs(struct fs *fs);

struct fs_statfs {
	uint64_t blocks, bfree, bavail, files, ffree;
	uint32_t bsize, namelen;
};
MUST_USE int fs_statfs(struct fs *fs, struct fs_statfs *ret_st);
MUST_USE int fs_trim(struct fs *fs, uint64_t start, uint64_t len, uint64_t minlen,
		     uint64_t *ret_trimmed);

/* Locks (shared profile). @owner is the asking session's lock owner. */
struct fs_flock {
	uint64_t nodeid, owner;
	uint64_t start, end; /* inclusive; end UINT64_MAX >> 1 = to the end */
	uint32_t type;	     /* F_RDLCK, F_WRLCK, F_UNLCK */
	uint32_t pid;
	bool flock; /* flock(2) rather than POSIX */
};
MUST_USE int fs_getlk(struct fs *fs, const struct fs_ctx *ctx, struct fs_flock *lock);
/*
 * 0 granted; -EAGAIN conflict (@wait NULL); -EDEADLK. With @wait, a conflict parks
 * it: returns -EINPROGRESS and later calls wait->done(wait, 0 | -EINTR | -EDEADLK)
 * exactly once, from whatever thread unlocks, with no lock held.
 */
struct fs_lock_wait {
	void (*done)(struct fs_lock_wait *w, int error);
	uint64_t unique;
	struct fs_session *session;
	struct fs_lock_wait *next; /* fs's own */
	struct fs_flock lock;	   /* fs's own copy */
};
MUST_USE int fs_setlk(struct fs *fs, const struct fs_ctx *ctx, const struct fs_flock *lock,
		      struct fs_lock_wait *wait);
/* INTERRUPT: true when a parked waiter with @unique was found (its done() is called with -EINTR). */
bool fs_lock_interrupt(struct fs *fs, struct fs_session *s, uint64_t unique);
void fs_release_locks(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid, uint64_t owner);

/* Handles for NFS: "." and ".." lookups by nodeid that may not be cached. */
MUST_USE int fs_lookup_parent(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			      struct fs_entry *ret_entry);
MUST_USE int fs_lookup_self(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			    struct fs_entry *ret_entry);

/*
 * What a path of the image names, for whoever compares caches with the store: nothing is published or counted by looking. @fn
 * is called with the directory's and the node's lock held, so that no change of either comes between; it must not call
 * back. It may publish that something is to be forgotten. Its result is returned.
 */
struct fs_peek {
	uint64_t dir, dir_version; /* 0: the root, which has no name */
	struct fs_name name;
	uint64_t nodeid; /* 0: the name does not exist, and what follows is 0 */
	struct fs_attr attr;
	bool has_capability, has_acl;
};
typedef int (*fs_peek_fn)(void *arg, const struct fs_peek *peek);
/* -ENOENT, -ENOTDIR: on the way to the last name. -EINVAL: "." or "..". Symbolic links are not followed. */
MUST_USE int fs_peek(struct fs *fs, const char *path, fs_peek_fn fn, void *arg);

/*
 * A kernel that reads files by itself, from where events of the kind INVAL_FILL_EXTENT say that they are. drain() is
 * called with the inode's lock held, and only takes note: reads of @nodeid that are under way there have to end, and
 * fs_drained() is called then, once, by anybody. An error: it was not taken note of.
 */
struct fs_drain;
struct fs_drainer {
	int (*drain)(struct fs_drainer *drainer, uint64_t nodeid, struct fs_drain *d);
	const struct fs_session *session; /* the kernel's */
};
/* NULL: there is none any more. No request may be running. */
void fs_set_drainer(struct fs *fs, struct fs_drainer *drainer);
void fs_drained(struct fs_drain *d);

/* What tells the image from others, and what only those know who can read it. */
struct fs_identity {
	uint8_t uuid[16];
	uint64_t key[2];
	uint64_t print; /* of the image as it was found: store.h */
	bool untouched; /* nothing was written to it yet */
};
void fs_get_identity(const struct fs *fs, struct fs_identity *ret_identity);
/* The root of @s, as the image has it. */
uint64_t fs_session_root(const struct fs_session *s);

/*
 * A guest's window: the guest reaches bytes of a file in the image itself, without asking (dax.c). What is mapped stays
 * where it is until it is unmapped, whatever anybody does to the file, and file and mapping show the same bytes.
 *
 * NULL: possible from now on. Else why not, and the remedy. Before sessions.
 */
const char *fs_dax_enable(struct fs *fs);
/* The image, for mmap(2); it stays the store's. */
int fs_dax_fd(struct fs *fs);

#define FS_DAX_RANGE (2u << 20) /* what a guest maps at a time, and aligned to */

struct fs_dax_run {
	uint64_t off;	    /* bytes from the range's beginning */
	uint64_t image_off; /* where in the image's descriptor */
	uint64_t len;
};
struct fs_dax_pin;
struct fs_dax_map {
	uint64_t off, len; /* @off aligned to FS_DAX_RANGE, @len at most that and whole pages */
	bool write;	   /* the guest is going to write: times */
	/* Results: */
	struct fs_dax_pin *pin; /* to be given back when nothing of it is mapped any more */
	struct fs_dax_run *run; /* ascending, without gaps; freed by the caller */
	uint32_t count;
};
/*
 * -EINVAL: not such a range, or no regular file. -EOPNOTSUPP: a file whose bytes do not lie in blocks of its own.
 * -ENOSPC: a hole cannot be filled. -EROFS.
 */
MUST_USE int fs_dax_map(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid,
			struct fs_dax_map *map);
/* Frees what was only kept for it. For any thread, without locks. */
void fs_dax_unmap(struct fs_dax_pin *pin);
/* Two mappings with the same one show the same bytes of the same file. */
bool fs_dax_same(const struct fs_dax_pin *a, const struct fs_dax_pin *b);
/* A guest may be changing @nodeid: its pages are not to be cached. */
bool fs_dax_is_mapped(struct fs *fs, const struct fs_ctx *ctx, uint64_t nodeid);

/*
 * A session that moves to another one, here or elsewhere. No request of either may be running.
 * Called with each nodeid that was handed out, as the image has it; its result, if not 0, ends it.
 */
typedef int (*fs_node_fn)(void *arg, uint64_t nodeid, uint32_t count);
MUST_USE int fs_session_each_node(struct fs_session *s, fs_node_fn fn, void *arg);
uint64_t fs_session_nodes(const struct fs_session *s);
/* Handed out @count times. -EINVAL: no inode can have it. -ENFILE, -ENOMEM. */
MUST_USE int fs_session_add_node(struct fs_session *s, uint64_t nodeid, uint32_t count);
/*
 * When it is closed, what it alone knows of and has no name stays in the image, for a session that
 * takes over: an orphan, which whoever opens the image without that session deletes.
 */
void fs_session_keep_deleted(struct fs_session *s, bool keep);
/*
 * Of a store that was opened untouched: those of its orphans that sessions know are theirs from here on. Before they use
 * them. -EUCLEAN: the list of orphans is damaged.
 */
MUST_USE int fs_claim_deleted(struct fs *fs);
/* The first change may come: the image is marked, and orphans that are nobody's are deleted. */
MUST_USE int fs_begin_changes(struct fs *fs);
/* What it has locked; the caller frees the list. */
MUST_USE int fs_session_list_locks(struct fs_session *s, struct fs_flock **ret_list,
				   uint32_t *ret_count);
/* All of it becomes @to's. */
void fs_session_move_locks(struct fs_session *from, struct fs_session *to);
/* Under which number it was saved; 0: it was not. */
void fs_session_set_saved(struct fs_session *s, uint64_t number);
/* The open session that was saved under @number; NULL: none of this image. */
struct fs_session *fs_session_saved(struct fs *fs, uint64_t number);

struct fs_stats {
	uint64_t dax_files, dax_ranges; /* mapped by guests */
	uint64_t nodes, unlinked_open, locks, lock_waiters;
};
void fs_get_stats(struct fs *fs, struct fs_stats *ret_stats);
/* Block every change until fs_thaw(), everything before it durable and home. */
MUST_USE int fs_freeze(struct fs *fs);
void fs_thaw(struct fs *fs);

#endif
