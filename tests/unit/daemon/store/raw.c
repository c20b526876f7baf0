// SPDX-License-Identifier: GPL-2.0-only
/* Images changed behind the store's back. */
#include "tests/unit/daemon/store/raw.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/crc.h"
#include "tests/lib/test.h"

#define DESC_SIZE 64u

void raw_read(const struct img *m, void *buf, size_t len, uint64_t off)
{
	int fd = open(m->path, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

void raw_write(const struct img *m, const void *buf, size_t len, uint64_t off)
{
	int fd = open(m->path, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

void raw_read_super(const struct img *m, struct ext4_super_block *sb)
{
	raw_read(m, sb, sizeof(*sb), EXT4_SUPER_OFFSET);
}

void raw_write_super(const struct img *m, struct ext4_super_block *sb)
{
	if (le32_to_cpu(sb->s_feature_ro_compat) & EXT4_FEATURE_RO_COMPAT_METADATA_CSUM)
		sb->s_checksum =
			cpu_to_le32(crc32c(~0u, sb, offsetof(struct ext4_super_block, s_checksum)));
	raw_write(m, sb, sizeof(*sb), EXT4_SUPER_OFFSET);
}

static uint64_t desc_off(const struct img *m, uint32_t g)
{
	struct ext4_super_block sb;
	uint64_t block_size;

	raw_read_super(m, &sb);
	CHECK_EQ(le16_to_cpu(sb.s_desc_size), DESC_SIZE);
	block_size = 1024u << le32_to_cpu(sb.s_log_block_size);
	return (EXT4_SUPER_OFFSET / block_size + 1) * block_size + g * DESC_SIZE;
}

void raw_read_desc(const struct img *m, uint32_t g, struct ext4_group_desc *d)
{
	raw_read(m, d, sizeof(*d), desc_off(m, g));
}

void raw_write_desc(const struct img *m, uint32_t g, struct ext4_group_desc *d)
{
	struct ext4_super_block sb;
	le32 le_g = cpu_to_le32(g);
	uint32_t crc;

	raw_read_super(m, &sb);
	crc = crc32c(~0u, sb.s_uuid, sizeof(sb.s_uuid));
	if (le32_to_cpu(sb.s_feature_incompat) & EXT4_FEATURE_INCOMPAT_CSUM_SEED)
		crc = le32_to_cpu(sb.s_checksum_seed);
	crc = crc32c(crc, &le_g, sizeof(le_g));
	d->bg_checksum = cpu_to_le16(0);
	crc = crc32c(crc, d, sizeof(*d));
	d->bg_checksum = cpu_to_le16((uint16_t)crc);
	raw_write(m, d, sizeof(*d), desc_off(m, g));
}

int raw_open(struct img *m, const struct store_opts *opts, struct store_open_error *err)
{
	static const struct store_opts defaults = { .no_barrier = true };
	struct bdev_open_opts bdev_opts = { 0 };
	struct bdev *b;

	CHECK_OK(bdev_open_file(m->path, &bdev_opts, &b));
	return store_open(b, opts ? opts : &defaults, &m->s, err);
}

void check_open_fails(struct img *m, int code, const char *what, const char *remedy)
{
	struct store_open_error err;
	int ret = raw_open(m, NULL, &err);

	if (ret != code || !strstr(err.what, what) || !strstr(err.remedy, remedy))
		FAIL("wanted %d \"%s\" (%s), got %d \"%s\" (%s)", code, what, remedy, ret,
		     ret ? err.what : "", ret ? err.remedy : "");
}
