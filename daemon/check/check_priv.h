/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the passes share. One thread runs a check, so nothing here has a lock.
 *
 * Functions return 0 or what ends the whole check (cancelled, view lost, no memory).
 * What is wrong with the image is a finding, and the check goes on as well as it can.
 */
#ifndef KFS_CHECK_CHECK_PRIV_H
#define KFS_CHECK_CHECK_PRIV_H

#include "daemon/check/check.h"
#include "daemon/journal/view.h"
#include "daemon/store/store.h"

/* Nodes on the way to a leaf of a map, and one block of contents. */
#define CK_LEVELS (EXT4_MAX_EXTENT_DEPTH + 1)
/* Blocks of the inode tables and directories read at once. */
#define CK_READ_BLOCKS 32u
#define CK_NAME_BYTES 1024u

enum {
	CI_USED = 1u << 0,
	CI_ORPHAN = 1u << 1, /* on the list or in the file: deleted or truncated later */
	CI_DIR = 1u << 2,
	CI_EA = 1u << 3,
	CI_SYSTEM = 1u << 4, /* has no name: journal, orphan file, quota */
	CI_NOMAP = 1u << 5,  /* its map is broken: contents are not looked at */
	CI_BAD = 1u << 6,    /* ck->bad has what is to be told when its name is known */
	CI_EMPTY = 1u << 7,  /* no contents */
};

/* What e2fsck tells of an inode together with its path. */
enum {
	CB_MODE = 1u << 0,
	CB_SYMLINK = 1u << 1,
	CB_FILE_ACL = 1u << 2,
};

struct ck_state {
	uint8_t flags;	/* CI_* */
	uint8_t ftype;	/* EXT4_FT_* */
	uint16_t links; /* as the inode says */
	uint32_t seen;	/* entries that name it */
};

struct ck_dir {
	uint32_t ino, parent, dotdot;
	uint32_t reached; /* pass 3: 1 = hangs below the root, 2 = being looked at */
};

/* An attribute block, or an EA inode: how often it is referred to. */
struct ck_ref {
	uint64_t key; /* pblk or ino; 0 = free */
	uint32_t stored, seen;
};

struct ck_refs {
	struct ck_ref *table;
	uint32_t size, count;
};

struct ck_group {
	uint64_t block_bitmap, inode_bitmap, inode_table; /* as the mount uses them */
	uint32_t free_blocks, free_inodes, dirs, unused;
	uint32_t block_csum, inode_csum;
	uint32_t dirs_seen, inodes_seen;
	uint16_t flags;
};

struct ck {
	struct store *s;
	const struct check_opts *opts;
	struct check_progress *progress;
	struct check_result *result;
	struct journal_view *view;
	struct ext4_super_block sb;
	struct ck_group *groups;
	struct ck_state **states; /* per group, NULL: none in use */
	struct ck_dir *dirs;	  /* ascending ino */
	uint32_t dir_count, dir_room;
	uint8_t *used; /* a bit per cluster */
	uint64_t bits; /* clusters, from the first data block on */
	struct ck_refs blocks, eas, dups, bad;
	bool dups_full;
	uint8_t *levels[CK_LEVELS]; /* a block each */
	uint8_t *itable, *data;	    /* CK_READ_BLOCKS blocks each */
	uint8_t *attr;		    /* a block */
	uint64_t started_ns, paid_bytes;
	uint32_t findings_max;
};

/* An inode as it lies in the view. */
struct ck_ino {
	uint32_t ino;
	uint8_t *raw;		    /* inode_size bytes */
	const struct ext4_inode *d; /* the same */
	uint16_t mode, links;
	uint32_t flags, extra, seed;
	uint64_t size, sectors, file_acl;
};

/* check.c */
MUST_USE int ck_read(struct ck *c, uint64_t pblk, uint32_t count, void *buf);
void ck_done(struct ck *c, uint64_t pblk, uint64_t count);
/* Time for a break: cancelled, too fast? @at of @of is how far this pass has come. */
MUST_USE int ck_tick(struct ck *c, uint32_t pass, uint64_t at, uint64_t of);
MUST_USE int ck_alloc_group(struct ck *c, uint32_t g);
/* NULL: nothing of its group is in use. */
struct ck_state *ck_state(const struct ck *c, uint32_t ino);
struct ck_dir *ck_dir(const struct ck *c, uint32_t ino);
MUST_USE int ck_dir_add(struct ck *c, uint32_t ino);

/* report.c */
void ck_find(struct ck *c, const char *kind, uint32_t ino, uint64_t pblk, const char *fmt, ...)
	PRINTF_LIKE(5, 6);
/* A name as e2fsck prints it: what is not printable in ^X or M-X. */
void ck_name(const char *name, uint32_t len, char *buf, size_t size);
/* "/a/b" or "???". Reads directories of the view. */
void ck_path(struct ck *c, uint32_t ino, char *buf, size_t size);
MUST_USE int ck_ref_add(struct ck_refs *r, uint64_t key, struct ck_ref **ret_ref);
struct ck_ref *ck_ref_find(const struct ck_refs *r, uint64_t key);

/* super.c */
MUST_USE int ck_pass0(struct ck *c);
/* The inode waits for its deletion. */
MUST_USE int ck_orphan(struct ck *c, uint32_t ino);
/* Fixed metadata of the groups; not the journal, which is an inode. */
bool ck_is_fixed(const struct ck *c, uint64_t pblk);

/* blocks.c */
bool ck_used(const struct ck *c, uint64_t bit);
/* Blocks of an inode. Says so if they are somebody else's, too. */
struct ck_run {
	uint64_t lblk, pblk, count;
	bool joins; /* begins in the cluster in which the run before it ends */
	bool unwritten;
};
MUST_USE int ck_mark(struct ck *c, const struct ck_run *run);
/* May an inode point there at all? */
bool ck_pblk_ok(const struct ck *c, uint64_t pblk, uint64_t count);
MUST_USE int ck_mark_fixed(struct ck *c, uint64_t pblk, uint64_t count);
/* Who claims the blocks that more than one claims? */
MUST_USE int ck_pass1b(struct ck *c);

/* inode.c */
void ck_ino_decode(const struct ck *c, uint32_t ino, uint8_t *raw, struct ck_ino *ret_i);
/* Reads one inode into @raw. */
MUST_USE int ck_ino_read(struct ck *c, uint32_t ino, uint8_t *raw, struct ck_ino *ret_i);
bool ck_has_map(const struct ck *c, const struct ck_ino *i);
MUST_USE int ck_bad(struct ck *c, uint32_t ino, uint32_t what);
MUST_USE int ck_each_inode(struct ck *c, uint32_t pass,
			   int (*fn)(struct ck *c, const struct ck_ino *i));
MUST_USE int ck_pass1(struct ck *c);

/* map.c */
struct ck_walk {
	struct ck *c;
	const struct ck_ino *i;
	bool quiet; /* pass 1 has said what is wrong */
	/* Data blocks in order; blocks of the map. */
	int (*run)(struct ck_walk *w, const struct ck_run *run);
	int (*node)(struct ck_walk *w, const struct ck_run *run);
	void *arg;
	/* Results. */
	uint64_t blocks;	    /* data and map */
	int64_t last, last_written; /* lblk, -1: none */
	uint64_t last_cluster;
	bool broken;
	uint32_t illegal;
};
MUST_USE int ck_walk_map(struct ck_walk *w);

/* xattr.c: *ret_inline: bytes of inline data behind i_block, -1: no such attribute. */
MUST_USE int ck_xattrs(struct ck *c, const struct ck_ino *i, int64_t *ret_inline);
/* Where the inode's tail holds @ret_len bytes of inline data. NULL: nowhere. */
uint8_t *ck_inline_tail(const struct ck *c, const struct ck_ino *i, uint32_t *ret_len);
MUST_USE int ck_pass4_refs(struct ck *c);

/* dir.c */
MUST_USE int ck_pass2(struct ck *c);
/* Calls @fn for each entry in use; 1 from it ends the walk. Says nothing. */
struct ext4_dir_entry_2;
MUST_USE int ck_each_entry(struct ck *c, const struct ck_ino *i,
			   int (*fn)(void *arg, const struct ext4_dir_entry_2 *de), void *arg);
/* A directory's blocks: where each lies, 0 = a hole. */
struct ck_dmap {
	uint64_t *pblk;
	uint32_t count, room;
	bool broken;
};
MUST_USE int ck_dmap_load(struct ck *c, const struct ck_ino *i, struct ck_dmap *ret_m);

/* htree.c */
enum { CK_LEAF, CK_INDEX };
struct ck_hblock {
	uint32_t low, high; /* hashes its names may have: [low, high), both even */
	uint8_t refs, kind; /* CK_LEAF, CK_INDEX */
	bool more;	    /* the leaf after it continues with the hash @high */
	bool told;
};
struct ck_htree {
	const struct ck_dmap *map;
	uint8_t version;
	uint8_t levels; /* index levels below the root */
	bool usable;
	struct ck_hblock *b;
};
/* b is to be freed. Not usable: there is no index, or it is too broken to compare with. */
MUST_USE int ck_htree_load(struct ck *c, const struct ck_ino *i, const struct ck_dmap *m,
			   struct ck_htree *ret_h);
void ck_htree_name(struct ck *c, const struct ck_ino *i, struct ck_htree *h, uint32_t lblk,
		   const struct ext4_dir_entry_2 *de);
void ck_htree_end(struct ck *c, const struct ck_ino *i, const struct ck_htree *h);

/* connect.c */
MUST_USE int ck_pass3(struct ck *c);
MUST_USE int ck_pass4(struct ck *c);

/* groups.c */
MUST_USE int ck_pass5(struct ck *c);

#endif
