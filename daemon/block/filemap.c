/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/block/filemap.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/base/bustrap.h"
#include "daemon/base/lock.h"

#define WORD_BITS 64u
/* linux/magic.h has neither. */
#define XFS_MAGIC 0x58465342

struct filemap {
	uint8_t *base;
	uint64_t size;
	uint64_t words;
	_Atomic uint64_t *warm; /* [atomic] a bit for each chunk */
	_Atomic uint32_t count; /* [atomic] of those bits, about */
	struct mutex lock;	/* LOCK_LEAF; by who lets go */
};

/* A mapping of a network's or a FUSE filesystem's file may be another cache than read(2)'s. */
static bool is_coherent(int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) || fstatfs(fd, &fs))
		return false;
	if (S_ISBLK(st.st_mode))
		return true;
	switch ((unsigned long)fs.f_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC: return true;
	default: return false;
	}
}

int filemap_new(int fd, uint64_t size, struct filemap **ret_map)
{
	struct filemap *m;
	void *base;

	if (!is_coherent(fd))
		return -EOPNOTSUPP;
	if (!size || size > SIZE_MAX / 2)
		return -EFBIG;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->size = size;
	m->words = size / (FILEMAP_CHUNK * WORD_BITS) + 1;
	m->warm = calloc((size_t)m->words, sizeof(*m->warm));
	base = m->warm ? mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0) :
			 MAP_FAILED;
	if (base == MAP_FAILED) {
		int err = m->warm ? -errno : -ENOMEM;

		free(m->warm);
		free(m);
		return err;
	}
	m->base = base;
	mutex_init(&m->lock, LOCK_LEAF);
	*ret_map = m;
	return 0;
}

void filemap_free(struct filemap *m)
{
	if (!m)
		return;
	(void)munmap(m->base, (size_t)m->size); /* our own mapping */
	free(m->warm);
	free(m);
}

static bool is_warm(struct filemap *m, uint64_t off, uint64_t len)
{
	for (uint64_t c = off / FILEMAP_CHUNK; c <= (off + len - 1) / FILEMAP_CHUNK; c++) {
		/* Relaxed: it decides how to read, not what is read. */
		uint64_t word = atomic_load_explicit(&m->warm[c / WORD_BITS], memory_order_relaxed);

		if (!(word >> (c % WORD_BITS) & 1))
			return false;
	}
	return true;
}

/* Nothing is lost: whoever reads there next maps it in again. */
static void let_go(struct filemap *m)
{
	mutex_lock(&m->lock);
	if (atomic_load(&m->count) >= FILEMAP_WARM_MAX) {
		for (uint64_t i = 0; i < m->words; i++)
			atomic_store_explicit(&m->warm[i], 0, memory_order_relaxed);
		/* A hint, and a valid range. */
		(void)madvise(m->base, (size_t)m->size, MADV_DONTNEED);
		atomic_store(&m->count, 0);
	}
	mutex_unlock(&m->lock);
}

void filemap_note(struct filemap *m, uint64_t off, uint64_t len)
{
	if (!len || off >= m->size || len > m->size - off)
		return;
	for (uint64_t c = off / FILEMAP_CHUNK; c <= (off + len - 1) / FILEMAP_CHUNK; c++) {
		uint64_t bit = UINT64_C(1) << (c % WORD_BITS);

		if (!(atomic_fetch_or(&m->warm[c / WORD_BITS], bit) & bit))
			atomic_fetch_add(&m->count, 1);
	}
	if (atomic_load(&m->count) >= FILEMAP_WARM_MAX)
		let_go(m);
}

bool filemap_read(struct filemap *m, const struct iovec *iov, int iovcnt, uint64_t off,
		  uint64_t len)
{
	if (!len || off >= m->size || len > m->size - off || !bustrap_enabled())
		return false;
	return is_warm(m, off, len) && bustrap_copy(iov, iovcnt, m->base + off);
}
