// SPDX-License-Identifier: GPL-2.0-only
/*
 * A regular file or a block device as the image.
 *
 * One writer per image: block devices are opened O_EXCL, which the kernel's own
 * mounts respect; files are locked whole by an open-file-description lock, which
 * other kfs processes respect; and a file that backs a loop device is in the
 * hands of that device's users, so it is refused.
 *
 * Zeroing keeps the image's nature: a sparse file gets a hole, a fully
 * allocated one keeps its blocks.
 */
#include "daemon/block/bdev.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "daemon/block/filemap.h"

#define ZEROS_BYTES (256 * 1024)
#define SECTOR_BYTES_MIN 512

struct bdev_file {
	struct bdev bdev;
	bool is_block;		       /* [written once] */
	bool is_sparse;		       /* [written once] a file with holes when it was opened */
	uint32_t sector;	       /* [written once] granularity of BLKZEROOUT and BLKDISCARD */
	_Atomic(struct filemap *) map; /* [atomic] NULL: none */
};

static const uint8_t zeros[ZEROS_BYTES];

static struct bdev_file *to_file(struct bdev *b)
{
	return container_of(b, struct bdev_file, bdev);
}

typedef ssize_t (*transfer_fn)(int fd, const struct iovec *iov, int iovcnt, off_t off);

/*
 * All of @iov, however often the kernel stops early. @skip is what was already
 * moved of the first element.
 */
static int transfer_all(struct bdev *b, transfer_fn transfer, const struct iovec *iov, int iovcnt,
			uint64_t off)
{
	uint64_t pos = b->fd_offset + off;
	size_t skip = 0;

	while (iovcnt > 0) {
		struct iovec rest = { .iov_base = (uint8_t *)iov->iov_base + skip,
				      .iov_len = iov->iov_len - skip };
		ssize_t n;

		if (rest.iov_len == 0) {
			iov++;
			iovcnt--;
			skip = 0;
			continue;
		}
		n = skip ? transfer(b->fd, &rest, 1, (off_t)pos) :
			   transfer(b->fd, iov, MIN(iovcnt, IOV_MAX), (off_t)pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* the file became shorter under us */
		pos += (uint64_t)n;
		for (n += (ssize_t)skip; iovcnt > 0 && (size_t)n >= iov->iov_len; iovcnt--, iov++)
			n -= (ssize_t)iov->iov_len;
		skip = (size_t)n;
	}
	return 0;
}

static int file_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return transfer_all(b, preadv, iov, iovcnt, off);
}

static int file_copyv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct filemap *map = atomic_load(&to_file(b)->map);
	uint64_t len = 0;
	int err;

	if (!map)
		return file_readv(b, iov, iovcnt, off);
	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	if (filemap_read(map, iov, iovcnt, b->fd_offset + off, len))
		return 0;
	err = file_readv(b, iov, iovcnt, off);
	if (!err)
		filemap_note(map, b->fd_offset + off, len);
	return err;
}

static int file_map(struct bdev *b)
{
	struct filemap *map, *none = NULL;
	int err = filemap_new(b->fd, b->fd_offset + b->size, &map);

	if (!err && !atomic_compare_exchange_strong(&to_file(b)->map, &none, map))
		filemap_free(map); /* somebody else's is as good */
	return err;
}

static int file_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	return transfer_all(b, pwritev, iov, iovcnt, off);
}

static int file_flush(struct bdev *b)
{
	while (fdatasync(b->fd) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static ssize_t pwritev_durable(int fd, const struct iovec *iov, int iovcnt, off_t off)
{
	return pwritev2(fd, iov, iovcnt, off, RWF_DSYNC);
}

/* RWF_DSYNC waits for these bytes and the device's cache, not for others' dirty pages. */
static int file_write_durable(struct bdev *b, const void *buf, size_t len, uint64_t off)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };

	return transfer_all(b, pwritev_durable, &iov, 1, off);
}

static int file_fallocate(struct bdev *b, int mode, uint64_t off, uint64_t len)
{
	while (fallocate(b->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)(b->fd_offset + off),
			 (off_t)len) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Rounds the range inwards to sectors; the device knows nothing smaller. */
static int block_range_ioctl(struct bdev *b, unsigned long request, uint64_t from, uint64_t to)
{
	uint64_t range[2] = { from, to - from };

	if (to <= from)
		return 0;
	if (ioctl(b->fd, request, range) < 0)
		return errno == ENOTTY || errno == EINVAL ? -EOPNOTSUPP : -errno;
	return 0;
}

static int file_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	uint64_t sector = to_file(b)->sector;
	uint64_t from = b->fd_offset + off;

	if (to_file(b)->is_block)
		return block_range_ioctl(b, BLKDISCARD, ROUND_UP(from, sector),
					 ROUND_DOWN(from + len, sector));
	return file_fallocate(b, FALLOC_FL_PUNCH_HOLE, off, len);
}

static int write_zeros(struct bdev *b, uint64_t off, uint64_t len)
{
	while (len > 0) {
		struct iovec iov = { .iov_base = (void *)(uintptr_t)zeros,
				     .iov_len = MIN(len, (uint64_t)ZEROS_BYTES) };
		int err = file_writev(b, &iov, 1, off);

		if (err)
			return err;
		off += iov.iov_len;
		len -= iov.iov_len;
	}
	return 0;
}

/* Whole sectors by the device itself, the ends by writing. */
static int block_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	uint64_t sector = to_file(b)->sector;
	uint64_t start = b->fd_offset + off;
	uint64_t end = start + len;
	uint64_t from = ROUND_UP(start, sector);
	uint64_t to = ROUND_DOWN(end, sector);
	int err;

	if (to <= from)
		return write_zeros(b, off, len);
	err = block_range_ioctl(b, BLKZEROOUT, from, to);
	if (err == -EOPNOTSUPP)
		return write_zeros(b, off, len);
	if (!err)
		err = write_zeros(b, off, from - start);
	if (!err)
		err = write_zeros(b, to - b->fd_offset, end - to);
	return err;
}

static int file_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	bool sparse = to_file(b)->is_sparse;
	int err;

	if (to_file(b)->is_block)
		return block_zero(b, off, len);
	err = file_fallocate(b, sparse ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, off, len);
	if (err == -EOPNOTSUPP)
		err = file_fallocate(b, sparse ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE, off,
				     len);
	if (err == -EOPNOTSUPP)
		err = write_zeros(b, off, len);
	return err;
}

static int file_allocate(struct bdev *b, uint64_t off, uint64_t len)
{
	int err;

	if (to_file(b)->is_block)
		return 0;
	err = file_fallocate(b, 0, off, len);
	return err == -EOPNOTSUPP ? 0 : err;
}

static void file_close(struct bdev *b)
{
	filemap_free(atomic_load(&to_file(b)->map));
	(void)close(b->fd); /* whoever needed durability has flushed and seen the result */
	free(to_file(b));
}

static const struct bdev_ops file_ops = {
	.readv = file_readv,
	.copyv = file_copyv,
	.map = file_map,
	.writev = file_writev,
	.flush = file_flush,
	.write_durable = file_write_durable,
	.discard = file_discard,
	.zero = file_zero,
	.allocate = file_allocate,
	.close = file_close,
};

static bool read_line(const char *path, char *line, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (!f)
		return false;
	ok = fgets(line, (int)size, f) != NULL;
	(void)fclose(f); /* only read */
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

/*
 * Does a loop device stand on this file? Read-only loop devices do not disturb
 * a read-only opening.
 */
static bool file_backs_loop(const struct stat *st, bool readonly)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		char path[NAME_MAX + 64];
		char line[PATH_MAX];
		struct stat backing;

		if (strncmp(entry->d_name, "loop", 4) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file",
			       entry->d_name);
		if (!read_line(path, line, sizeof(line)) || stat(line, &backing) < 0 ||
		    backing.st_dev != st->st_dev || backing.st_ino != st->st_ino)
			continue;
		(void)snprintf(path, sizeof(path), "/sys/block/%s/ro", entry->d_name);
		found = !readonly || !read_line(path, line, sizeof(line)) || line[0] != '1';
	}
	if (dir)
		(void)closedir(dir);
	return found;
}

static int lock_file(int fd, const struct stat *st, bool readonly)
{
	struct flock lock = { .l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	return file_backs_loop(st, readonly) ? -EBUSY : 0;
}

static int type_error(mode_t mode)
{
	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	if (S_ISDIR(mode))
		return -EISDIR;
	return S_ISCHR(mode) ? -ENOTBLK : -EINVAL;
}

/* A write-protected device answers EACCES to an opening for writing; say what is meant. */
static int open_error(const char *path, const struct stat *st, int err)
{
	_cleanup_close_ int fd = -1;
	int protected = 0;

	if (err != EACCES || !S_ISBLK(st->st_mode))
		return -err;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, BLKROGET, &protected) == 0 && protected)
		return -EROFS;
	return -err;
}

static int open_fd(const char *path, const struct bdev_open_opts *opts, struct stat *ret_st,
		   int *ret_fd)
{
	int flags = O_CLOEXEC | O_NOCTTY | (opts->readonly ? O_RDONLY : O_RDWR);
	struct stat st;
	int fd, err;

	if (stat(path, &st) < 0)
		return -errno;
	err = type_error(st.st_mode); /* before opening: a FIFO would make us wait */
	if (err)
		return err;
	if (S_ISBLK(st.st_mode) && !opts->nolock)
		flags |= O_EXCL;
	fd = open(path, flags);
	if (fd < 0)
		return open_error(path, &st, errno);
	err = fstat(fd, &st) < 0 ? -errno : type_error(st.st_mode);
	if (!err && S_ISREG(st.st_mode) && !opts->nolock)
		err = lock_file(fd, &st, opts->readonly);
	if (err) {
		(void)close(fd);
		return err;
	}
	/*
	 * When files were read is kept inside the image: moving its own access time is work for nothing, and would
	 * change what is mounted read-only. Only the owner can ask for this; for others it is merely slower.
	 */
	(void)fcntl(fd, F_SETFL, O_NOATIME);
	*ret_st = st;
	*ret_fd = fd;
	return 0;
}

static int measure(struct bdev_file *file, int fd, const struct stat *st, uint64_t *ret_size)
{
	unsigned int sector = 0;

	file->is_block = S_ISBLK(st->st_mode);
	file->sector = SECTOR_BYTES_MIN;
	if (!file->is_block) {
		*ret_size = (uint64_t)st->st_size;
		file->is_sparse = st->st_blocks < st->st_size / 512;
		return 0;
	}
	if (ioctl(fd, BLKGETSIZE64, ret_size) < 0)
		return -errno;
	if (ioctl(fd, BLKSSZGET, &sector) == 0 && sector > SECTOR_BYTES_MIN)
		file->sector = sector;
	return 0;
}

int bdev_open_file(const char *path, const struct bdev_open_opts *opts, struct bdev **ret_bdev)
{
	struct bdev_file *file;
	uint64_t size = 0;
	struct stat st = { 0 };
	int fd = -1;
	int err;

	err = open_fd(path, opts, &st, &fd);
	if (err)
		return err;
	file = calloc(1, sizeof(*file));
	err = file ? measure(file, fd, &st, &size) : -ENOMEM;
	if (!err && opts->offset > size)
		err = -EINVAL;
	if (err) {
		free(file);
		(void)close(fd);
		return err;
	}
	bdev_init(&file->bdev, &file_ops, size - opts->offset);
	file->bdev.readonly = opts->readonly;
	file->bdev.fd = fd;
	file->bdev.fd_offset = opts->offset;
	*ret_bdev = &file->bdev;
	return 0;
}
