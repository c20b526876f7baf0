/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checking a mounted image: what e2fsck looks at, in the order e2fsck does, said in its
 * words, while the image is in use. Nothing is ever written; repair is e2fsck's job.
 *
 * All metadata is read through one view (daemon/journal/view.h): the state between two
 * transactions. So there is no state in between to be mistaken for damage, whatever
 * happens meanwhile, and what is found is what a crash at that moment and e2fsck after
 * it would find.
 *
 *	pass 0	superblock, its copies, descriptors, orphans, journal, mmp
 *	pass 1	inodes: fields, checksums, maps, attributes; which blocks are used
 *	pass 2	directories: blocks, entries, indexes
 *	pass 3	every directory hangs below the root
 *	pass 4	link counts, references of attribute blocks and EA inodes
 *	pass 5	bitmaps and counts
 *
 * Memory: a bit for each block of the image, 8 bytes for each inode of a group in use,
 * 16 for each directory, 24 for each shared attribute block, and the view's copies.
 *
 * One check of a store at a time. The store must stay open until check_run() returns.
 */
#ifndef KFS_CHECK_CHECK_H
#define KFS_CHECK_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct store;

#define CHECK_PASSES 6
#define CHECK_COPIES_BYTES_DEFAULT (128ull << 20)
#define CHECK_FINDINGS_DEFAULT 4096u

struct check_opts {
	uint64_t copies_bytes_max;    /* of what changes meanwhile; 0 = default */
	uint64_t rate_bytes;	      /* read per second, at most; 0 = as the device gives */
	uint32_t findings_max;	      /* kept; all are counted; 0 = default */
	bool idle;		      /* lower the calling thread's priority, for good */
	bool (*cancelled)(void *arg); /* asked often; NULL = never */
	void *arg;
};

/* What others may watch. */
struct check_progress {
	_Atomic uint32_t pass, percent; /* [atomic] percent of all passes */
	_Atomic uint32_t restarts;	/* [atomic] because too much changed meanwhile */
	_Atomic uint64_t findings, bytes_read, copies_bytes; /* [atomic] */
};

struct check_finding {
	const char *kind; /* a short static name for programs: "ref_count" */
	char *text;	  /* for people, in e2fsck's words */
	uint32_t ino;	  /* 0 = none */
	uint64_t pblk;	  /* 0 = none */
};

struct check_result {
	struct check_finding *findings;
	uint32_t count;
	uint64_t total; /* more than count when findings_max was reached */
	/* e2fsck's summary. */
	uint64_t inodes_used, dirs, blocks_used;
	uint64_t bytes_read, copies_bytes_max, memory_bytes;
	uint32_t restarts;
	uint64_t duration_ns;
};

/*
 * 0: done, whatever was found. -ECANCELED; -ESTALE: so much changed meanwhile that
 * copies_bytes_max did not suffice, three times; -EROFS: the journal is aborted;
 * -EOPNOTSUPP: its log was not replayed, so the image has no state to check; -EBUSY:
 * a check runs already; -ENOMEM. @ret_result is to be freed in any case.
 */
MUST_USE int check_run(struct store *s, const struct check_opts *opts,
		       struct check_progress *progress, struct check_result *ret_result);
void check_result_fini(struct check_result *r);

#endif
