/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files that open and close the store share: geometry decoding, feature
 * policy, raw access to the superblock, the errors met. For daemon/store, and
 * daemon/check, which only looks.
 */
#ifndef KFS_STORE_SUPER_H
#define KFS_STORE_SUPER_H

#include "daemon/store/store.h"

#define CORRUPT_SEEN_MAX 256
#define ERROR_FUNC_LEN 32

/* One error for the superblock's first/last error fields. */
struct error_record {
	int64_t time;
	uint32_t ino;
	uint64_t pblk;
	char what[ERROR_FUNC_LEN];
};

struct super_state {
	struct mutex lock; /* LOCK_LEAF: the fields below unless marked */
	struct error_record first_error, last_error;
	uint32_t errors_new;		 /* not yet in the superblock */
	uint64_t seen[CORRUPT_SEEN_MAX]; /* hashes of places already reported */
	uint32_t seen_next;
	uint16_t state_at_mount; /* [written once] s_state to restore at a clean close */
	uint32_t mtime_ours;	 /* [written once] s_mtime and s_mnt_count as we wrote them: */
	uint16_t mnt_count_ours; /* [written once] others on the medium are somebody else's */
	bool has_log; /* [written once] journal_has_log(), still known when the journal is gone */
	bool marked;  /* [written once] mount marks are on the medium; close removes them */
	uint64_t kbytes_at_mount; /* [written once] s_kbytes_written at mount */
	uint64_t bytes_at_mount;  /* [written once] bdev->write_bytes then */
};

/* store_error.c */

/* Fills @err; returns @code. @remedy NULL: backup superblock or plain e2fsck, by geometry. */
int store_open_fail(struct store_open_error *err, int code, const char *remedy, const char *fmt,
		    ...) PRINTF_LIKE(4, 5);
/* Errors met since the last fold: are there any, and move them into @sb. */
bool super_errors_pending(struct store *s);
void super_fold_errors(struct store *s, struct ext4_super_block *sb);
/* From now on changes are refused; the first reason given stays. */
void store_set_readonly(struct store *s, const char *why);

/* super.c */

uint32_t super_csum(const struct ext4_super_block *sb);
/* Recompute s_checksum if the features want one. */
void super_set_csum(struct ext4_super_block *sb);
MUST_USE int super_state_new(struct store *s);
void super_state_free(struct store *s);
/* Pin the superblock's buffer. */
MUST_USE int super_pin(struct store *s, struct store_open_error *err);
/* Mount marks: straight to the medium, before the first and after the last transaction. */
MUST_USE int super_mark_mounted(struct store *s);
MUST_USE int super_mark_closed(struct store *s);
/* Replay is done and nobody will write: needs_recovery goes from the medium. */
MUST_USE int super_clear_recover(struct store *s);
/* The journal is aborted: mark the medium's superblock as having errors, as well as can be done. */
void super_mark_aborted(struct store *s);
/* With errors=panic met: the end, if the store's owner has a way (store_opts.panic). */
void store_panic(struct store *s);
/* -EROFS when somebody else wrote the superblock on the medium. */
MUST_USE int super_check_foreign(struct store *s);

/* geometry.c */

/* Decode and validate every field a later calculation uses; fills @s. No I/O. */
MUST_USE int geometry_decode(struct store *s, const struct ext4_super_block *sb,
			     struct store_open_error *err);
/* "e2fsck -b N -B SIZE IMAGE" for this geometry, as far as it can be believed. */
void geometry_backup_remedy(const struct ext4_super_block *sb, uint64_t image_size, char *buf,
			    size_t len);
/* The same once the geometry is decoded. */
void geometry_backup_remedy_of(const struct store *s, char *buf, size_t len);
bool geometry_has_super(const struct store *s, uint32_t g);
/* Blocks of descriptors in group @g. */
uint32_t geometry_gdt_blocks(const struct store *s, uint32_t g);
/* Superblock copy + descriptors + blocks reserved for more, at the start of group @g. */
uint32_t geometry_base_meta(const struct store *s, uint32_t g);
/* Where descriptor block @i lies. */
uint64_t geometry_desc_pblk(const struct store *s, uint32_t i);
/* Blocks in group @g: all but the last are full. */
uint32_t geometry_group_blocks(const struct store *s, uint32_t g);
/* Blocks that statfs does not count, journal excepted, as ext4 computes it. */
uint64_t geometry_overhead(const struct store *s);

/* features.c */

/* Refuse by name what cannot be mounted; set s->readonly and readonly_why for what cannot be written. */
MUST_USE int features_check(struct store *s, struct store_open_error *err);

/* journal_find.c */

/* Locate the log's blocks through the journal's inode, with nothing but the raw image valid. */
MUST_USE int journal_find(struct store *s, struct store_open_error *err);
/* struct journal_map's lookup; @arg is the store. */
uint64_t journal_map_lookup(void *arg, uint32_t lblk);

/* zones.c */

/* Needs the groups' descriptors; -EUCLEAN when two pieces overlap. */
MUST_USE int zones_build(struct store *s, struct store_open_error *err);
void zones_free(struct store *s);
/* Does [pblk, pblk + count) touch fixed metadata? */
bool zones_overlap(const struct store *s, uint64_t pblk, uint64_t count);
/* Call @fn for each piece of fixed metadata inside group @g: bits [first, first + count). */
void zones_in_group(const struct store *s, uint32_t g,
		    void (*fn)(void *arg, uint32_t first, uint32_t count), void *arg);

#endif
