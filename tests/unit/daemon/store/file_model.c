// SPDX-License-Identifier: GPL-2.0-only
/*
 * The model. Locks are taken as a user of the store would: exclusive for changes,
 * shared for reads. On -ENOSPC the model keeps what the store says it kept: a short
 * write counts, other operations are only allowed to have changed nothing visible.
 */
#include "tests/unit/daemon/store/file_model.h"

#include <errno.h>
#include <string.h>

#include "daemon/store/alloc.h"
#include "tests/lib/test.h"

#define PIECES 3

void file_model_init(struct file_model *m, struct inode *i, uint64_t size_max)
{
	*m = (struct file_model){ .inode = i, .size_max = size_max };
	m->bytes = calloc(1, size_max);
	CHECK(m->bytes);
	m->extents = i->flags & (EXT4_EXTENTS_FL | EXT4_INLINE_DATA_FL);
}

void file_model_fini(struct file_model *m)
{
	free(m->bytes);
}

/* A file that other operations filled the image under may fail so; nothing else may. */
static bool result_ok(struct file_model *m, int r, const char *what)
{
	if (r == -ENOSPC) {
		m->enospc++;
		return false;
	}
	if (r != 0)
		FAIL("%s: %d", what, r);
	return true;
}

void file_model_write(struct file_model *m, uint64_t off, uint64_t len)
{
	uint8_t *buf = malloc(len + 1);
	uint64_t a = test_random_below(len + 1), b = a + test_random_below(len - a + 1);
	struct iovec iov[PIECES];
	struct data_write w = { .iov = iov, .iovcnt = PIECES, .off = off, .len = len, .now_s = 1 };
	ssize_t n;

	CHECK(buf);
	test_random_fill(buf, len);
	iov[0] = (struct iovec){ buf, a };
	iov[1] = (struct iovec){ buf + a, b - a };
	iov[2] = (struct iovec){ buf + b, len - b };
	w.keep_times = test_random_below(2);
	rwlock_write(&m->inode->lock);
	n = data_write(m->inode, &w);
	rwlock_unwrite(&m->inode->lock);
	if (n < 0)
		(void)result_ok(m, (int)n, "data_write");
	if (n > 0) {
		CHECK_LE((uint64_t)n, len);
		memcpy(m->bytes + off, buf, (size_t)n);
		m->size = MAX(m->size, off + (uint64_t)n);
	}
	free(buf);
}

static void model_resize(struct file_model *m, uint64_t size)
{
	if (size < m->size)
		memset(m->bytes + size, 0, m->size - size);
	m->size = size;
}

void file_model_truncate(struct file_model *m, uint64_t size)
{
	int r;

	rwlock_write(&m->inode->lock);
	r = inode_truncate(m->inode, size);
	rwlock_unwrite(&m->inode->lock);
	if (result_ok(m, r, "inode_truncate"))
		model_resize(m, size);
}

static void model_zero(struct file_model *m, uint64_t off, uint64_t len)
{
	uint64_t end = MIN(off + len, m->size);

	if (off < end)
		memset(m->bytes + off, 0, end - off);
}

void file_model_punch(struct file_model *m, uint64_t off, uint64_t len)
{
	int r;

	rwlock_write(&m->inode->lock);
	r = inode_punch(m->inode, off, len);
	rwlock_unwrite(&m->inode->lock);
	CHECK_EQ(r, 0); /* freeing must work on a full image too */
	model_zero(m, off, len);
}

void file_model_zero(struct file_model *m, uint64_t off, uint64_t len, bool keep_size)
{
	int r;

	rwlock_write(&m->inode->lock);
	r = inode_zero_range(m->inode, off, len, keep_size);
	rwlock_unwrite(&m->inode->lock);
	if (!m->extents) {
		CHECK_EQ(r, -EOPNOTSUPP);
		return;
	}
	if (!result_ok(m, r, "inode_zero_range")) {
		/* Part of it is zero now: make it all so, in a way that needs no space. */
		file_model_punch(m, off, len);
		return;
	}
	model_zero(m, off, len);
	if (!keep_size)
		m->size = MAX(m->size, off + len);
}

void file_model_preallocate(struct file_model *m, uint64_t off, uint64_t len, bool keep_size)
{
	int r;

	rwlock_write(&m->inode->lock);
	r = inode_preallocate(m->inode, off, len, keep_size, 0);
	rwlock_unwrite(&m->inode->lock);
	if (!m->extents) {
		CHECK_EQ(r, -EOPNOTSUPP);
		return;
	}
	if (result_ok(m, r, "inode_preallocate") && !keep_size)
		m->size = MAX(m->size, off + len);
}

void file_model_collapse(struct file_model *m, uint64_t off, uint64_t len)
{
	int r;

	rwlock_write(&m->inode->lock);
	r = inode_collapse_range(m->inode, off, len);
	rwlock_unwrite(&m->inode->lock);
	if (off >= m->size || (m->extents && off + len >= m->size)) {
		CHECK_EQ(r, -EINVAL);
		return;
	}
	if (!m->extents) {
		CHECK_EQ(r, -EOPNOTSUPP);
		return;
	}
	CHECK_EQ(r, 0);
	memmove(m->bytes + off, m->bytes + off + len, m->size - off - len);
	model_resize(m, m->size - len);
}

void file_model_insert(struct file_model *m, uint64_t off, uint64_t len)
{
	int r;

	if (m->size + len > m->size_max)
		return;
	rwlock_write(&m->inode->lock);
	r = inode_insert_range(m->inode, off, len);
	rwlock_unwrite(&m->inode->lock);
	if (off >= m->size) {
		CHECK_EQ(r, -EINVAL);
		return;
	}
	if (!m->extents) {
		CHECK_EQ(r, -EOPNOTSUPP);
		return;
	}
	if (!result_ok(m, r, "inode_insert_range")) {
		/* The size may have grown before the blocks could be moved. */
		CHECK(m->inode->size == m->size || m->inode->size == m->size + len);
		m->size = m->inode->size;
		return;
	}
	memmove(m->bytes + off + len, m->bytes + off, m->size - off);
	memset(m->bytes + off, 0, len);
	m->size += len;
}

/* Short ones often: edges of blocks and extents are where mistakes live. */
static void random_range(const struct file_model *m, uint64_t *off, uint64_t *len)
{
	uint64_t bs = m->inode->store->block_size, max = m->size_max;

	if (m->small)
		max = MIN(max, UINT64_C(300));
	*off = test_random_below(max);
	if (m->size > 0 && test_random_below(4) == 0)
		*off = MIN(m->size, max - 1);
	if (test_random_below(3) == 0)
		*off = *off / bs * bs;
	switch (test_random_below(4)) {
	case 0: *len = 1 + test_random_below(bs); break;
	case 1: *len = bs * (1 + test_random_below(4)); break;
	case 2: *len = 1 + test_random_below(20 * bs); break;
	default: *len = 1 + test_random_below(m->small ? 100 : 200 * bs); break;
	}
	*len = MIN(*len, max - *off);
}

static void check_range(struct file_model *m, uint64_t off, uint64_t len)
{
	uint64_t want = off < m->size ? MIN(len, m->size - off) : 0;
	uint8_t *buf = malloc(len + 1);
	struct iovec iov[2] = { { buf, len / 3 }, { buf + len / 3, len - len / 3 } };
	ssize_t n;

	CHECK(buf);
	memset(buf, 0x5a, len);
	rwlock_read(&m->inode->lock);
	n = data_read(m->inode, iov, 2, off, len);
	rwlock_unread(&m->inode->lock);
	CHECK_EQ(n, want);
	if (memcmp(buf, m->bytes + off, want) != 0) {
		uint64_t k = 0;

		while (buf[k] == m->bytes[off + k])
			k++;
		FAIL("byte %llu of %llu (read of %llu at %llu) is %02x, not %02x",
		     (unsigned long long)(off + k), (unsigned long long)m->size,
		     (unsigned long long)len, (unsigned long long)off, buf[k], m->bytes[off + k]);
	}
	free(buf);
}

/* Data and holes alternate up to the end, and holes hold only zeros. */
static void check_seek(struct file_model *m)
{
	uint64_t at = 0, data, hole;
	int r;

	rwlock_read(&m->inode->lock);
	while (at < m->size) {
		r = map_seek(m->inode, at, false, &data);
		if (r == -ENXIO)
			data = m->size;
		else
			CHECK_EQ(r, 0);
		CHECK_GE(data, at);
		for (; at < data; at++)
			CHECK_EQ(m->bytes[at], 0);
		if (at == m->size)
			break;
		CHECK_OK(map_seek(m->inode, at, true, &hole));
		CHECK_GT(hole, at);
		CHECK_LE(hole, m->size);
		at = hole;
	}
	CHECK_ERR(map_seek(m->inode, m->size, false, &data), -ENXIO);
	rwlock_unread(&m->inode->lock);
}

void file_model_check(struct file_model *m)
{
	CHECK_EQ(m->inode->size, m->size);
	check_range(m, 0, m->size_max);
	check_seek(m);
	rwlock_read(&m->inode->lock);
	CHECK_OK(map_verify(m->inode));
	rwlock_unread(&m->inode->lock);
}

void file_model_step(struct file_model *m)
{
	uint64_t bs = m->inode->store->block_size, off, len;
	bool keep = test_random_below(2);

	random_range(m, &off, &len);
	switch (test_random_below(m->small ? 14 : 20)) {
	case 0: file_model_truncate(m, off); break;
	case 1: file_model_truncate(m, m->size / 4 * 3); break;
	case 2:
	case 3: file_model_punch(m, off, len); break;
	case 4: file_model_zero(m, off, len, keep); break;
	case 5: file_model_preallocate(m, off, len, keep); break;
	case 6: check_range(m, off, len); break;
	case 14: file_model_collapse(m, off / bs * bs, (len / bs + 1) * bs); break;
	case 15: file_model_insert(m, off / bs * bs, (len / bs % 50 + 1) * bs); break;
	case 16: balloc_release_resv(m->inode); break;
	default: file_model_write(m, off, len); break;
	}
}
