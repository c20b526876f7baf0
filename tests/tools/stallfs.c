/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Storage that hangs, is slow or fails on command: a FUSE filesystem with one file, "image", whose contents are those of
 * a file of the host.
 *
 *	stallfs FILE FIFO STATE MOUNTPOINT	in the foreground, until unmounted; absolute paths
 *	echo 'stall read' > FIFO		go, stall, fail or slow; of read, write, flush or all
 *
 * STATE holds the last command once it is in force. Calls that stall go on when they are told to: "go" does them, "fail"
 * fails them with EIO. Nothing is cached by the kernel, so each access of the image arrives here.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SLOW_NS 20000000L
/* Stalled calls hold a thread of libfuse each. */
#define THREADS_MAX 64

enum kind { KIND_READ, KIND_WRITE, KIND_FLUSH, KINDS };
enum mode { MODE_GO, MODE_STALL, MODE_FAIL, MODE_SLOW, MODES };

static const char *const kind_names[KINDS] = { "read", "write", "flush" };
static const char *const mode_names[MODES] = { "go", "stall", "fail", "slow" };

static int backing = -1;
static const char *fifo_path, *state_path;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum mode modes[KINDS]; /* [lock] */

/* ---- commands ---- */

static int index_of(const char *const *names, int count, const char *word)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(names[i], word))
			return i;
	return -1;
}

static void say_state(const char *line)
{
	char path[4096];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s.new", state_path);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%s\n", line) < 0 || fclose(f) || rename(path, state_path))
		(void)fprintf(stderr, "stallfs: %s: %s\n", state_path, strerror(errno));
}

static void obey(const char *line)
{
	char mode_word[16], kind_word[16], text[64];
	int mode, kind;

	if (sscanf(line, "%15s %15s", mode_word, kind_word) != 2)
		return;
	mode = index_of(mode_names, MODES, mode_word);
	kind = index_of(kind_names, KINDS, kind_word);
	if (mode < 0 || (kind < 0 && strcmp(kind_word, "all") != 0)) {
		(void)fprintf(stderr, "stallfs: unknown command: %s\n", line);
		return;
	}
	(void)pthread_mutex_lock(&lock);
	for (int i = 0; i < KINDS; i++)
		if (kind < 0 || i == kind)
			modes[i] = (enum mode)mode;
	(void)pthread_cond_broadcast(&changed);
	(void)pthread_mutex_unlock(&lock);
	(void)snprintf(text, sizeof(text), "%s %s", mode_word, kind_word);
	say_state(text);
}

static void *command_thread(void *arg)
{
	/* Opened for both, so that it never ends when a writer goes. */
	int fd = open(fifo_path, O_RDWR | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
	char line[128];

	(void)arg;
	if (!f) {
		(void)fprintf(stderr, "stallfs: %s: %s\n", fifo_path, strerror(errno));
		exit(1);
	}
	while (fgets(line, sizeof(line), f))
		obey(line);
	return NULL;
}

/* ---- the filesystem ---- */

/* 0: do it. */
static int gate(enum kind kind)
{
	const struct timespec slow = { .tv_nsec = SLOW_NS };
	enum mode mode;

	(void)pthread_mutex_lock(&lock);
	while (modes[kind] == MODE_STALL)
		(void)pthread_cond_wait(&changed, &lock);
	mode = modes[kind];
	(void)pthread_mutex_unlock(&lock);
	if (mode == MODE_SLOW)
		(void)nanosleep(&slow, NULL); /* cut short: less slow */
	return mode == MODE_FAIL ? -EIO : 0;
}

static void *fs_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	pthread_t thread;

	(void)conn;
	config->direct_io = 1;
	config->nullpath_ok = 0;
	if (pthread_create(&thread, NULL, command_thread, NULL))
		exit(1);
	(void)pthread_detach(thread);
	return NULL;
}

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, "/image") != 0)
		return -ENOENT;
	if (fstat(backing, st))
		return -errno;
	st->st_mode = S_IFREG | 0600;
	return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	return strcmp(path, "/image") ? -ENOENT : 0;
}

static int fs_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	int err = gate(KIND_READ);
	ssize_t got;

	(void)path;
	(void)fi;
	if (err)
		return err;
	got = pread(backing, buf, size, off);
	return got < 0 ? -errno : (int)got;
}

static int fs_write(const char *path, const char *buf, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	int err = gate(KIND_WRITE);
	ssize_t put;

	(void)path;
	(void)fi;
	if (err)
		return err;
	put = pwrite(backing, buf, size, off);
	return put < 0 ? -errno : (int)put;
}

static int fs_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
	int err = gate(KIND_FLUSH);

	(void)path;
	(void)data_only;
	(void)fi;
	if (err)
		return err;
	return fdatasync(backing) ? -errno : 0;
}

static const struct fuse_operations operations = {
	.init = fs_init,
	.getattr = fs_getattr,
	.open = fs_open,
	.read = fs_read,
	.write = fs_write,
	.fsync = fs_fsync,
};

int main(int argc, char **argv)
{
	char threads[32];
	char *words[] = { argv[0], (char *)"-f", (char *)"-o", threads, NULL, NULL };

	if (argc != 5) {
		(void)fprintf(stderr, "usage: stallfs FILE FIFO STATE MOUNTPOINT\n");
		return 2;
	}
	(void)snprintf(threads, sizeof(threads), "fsname=stallfs,max_threads=%d", THREADS_MAX);
	fifo_path = argv[2];
	state_path = argv[3];
	words[4] = argv[4];
	backing = open(argv[1], O_RDWR | O_CLOEXEC);
	if (backing < 0 || (mkfifo(fifo_path, 0600) && errno != EEXIST)) {
		(void)fprintf(stderr, "stallfs: %s: %s\n", backing < 0 ? argv[1] : fifo_path,
			      strerror(errno));
		return 1;
	}
	return fuse_main(5, words, &operations, NULL);
}
