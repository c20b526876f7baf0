/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images changed behind the store's back: superblock, descriptors and blocks patched
 * in place, checksums made right again where the test is about the field itself.
 */
#ifndef TESTS_UNIT_DAEMON_STORE_RAW_H
#define TESTS_UNIT_DAEMON_STORE_RAW_H

#include "tests/unit/daemon/store/img.h"

void raw_read(const struct img *m, void *buf, size_t len, uint64_t off);
void raw_write(const struct img *m, const void *buf, size_t len, uint64_t off);
void raw_read_super(const struct img *m, struct ext4_super_block *sb);
/* With a right checksum when the image has checksums. */
void raw_write_super(const struct img *m, struct ext4_super_block *sb);
/* Descriptor 0..n of an image with 64-byte descriptors and metadata_csum. */
void raw_read_desc(const struct img *m, uint32_t g, struct ext4_group_desc *d);
void raw_write_desc(const struct img *m, uint32_t g, struct ext4_group_desc *d);

/* store_open() with @opts (NULL: defaults); on failure @err tells, on success m->s is set. */
int raw_open(struct img *m, const struct store_opts *opts, struct store_open_error *err);
/* store_open() fails with @code and its text holds @what and @remedy. */
void check_open_fails(struct img *m, int code, const char *what, const char *remedy);

#endif
