// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata benchmark: T threads, each with its own directory of N files, run one
 * named phase at a time against any mounted directory and print operations per
 * second. Phases are separate invocations where the caller has to do something in
 * between (dropping dentries), hence the set of files is derived from T and N alone.
 *
 *	metabench DIR THREADS FILES PHASE...
 *
 * Phases: create stat negstat read readdirstat rename unlink drop. Threads start
 * each phase together; the slowest thread ends it. A failing call ends the run
 * with its errno: a benchmark of failures is worse than none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE 4096
#define THREADS_MAX 64
#define WARM_S 0.4 /* warm rounds are short: repeat them for so long */

struct worker {
	pthread_t thread;
	const char *dir;
	unsigned int id, files;
	const struct phase *phase;
	uint64_t ops;
	int error;
};

struct phase {
	const char *name;
	int (*run)(struct worker *w);
	bool warm; /* after a round that is not timed, and as often as fits into WARM_S */
};

static pthread_barrier_t start_line;

static void path_of(const struct worker *w, char *buf, size_t len, const char *prefix,
		    unsigned int i)
{
	snprintf(buf, len, "%s/t%u/%s%06u", w->dir, w->id, prefix, i);
}

static int run_create(struct worker *w)
{
	static const char block[FILE_SIZE] = "kfs";
	char path[512];

	for (unsigned int i = 0; i < w->files; i++) {
		path_of(w, path, sizeof(path), "f", i);
		int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (fd < 0)
			return -errno;
		if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block)) {
			int error = errno ? -errno : -EIO;
			close(fd);
			return error;
		}
		if (close(fd) < 0)
			return -errno;
		w->ops++;
	}
	return 0;
}

static int stat_all(struct worker *w, const char *prefix, bool want)
{
	struct stat st;
	char path[512];

	for (unsigned int i = 0; i < w->files; i++) {
		path_of(w, path, sizeof(path), prefix, i);
		bool there = stat(path, &st) == 0;
		if (there != want || (!there && errno != ENOENT))
			return there ? -EEXIST : -errno;
		if (there && st.st_size != FILE_SIZE)
			return -EBADMSG;
		w->ops++;
	}
	return 0;
}

static int run_stat(struct worker *w)
{
	return stat_all(w, "f", true);
}

static int run_negstat(struct worker *w)
{
	return stat_all(w, "absent", false);
}

static int run_read(struct worker *w)
{
	char path[512], block[FILE_SIZE];

	for (unsigned int i = 0; i < w->files; i++) {
		path_of(w, path, sizeof(path), "f", i);
		int fd = open(path, O_RDONLY);
		if (fd < 0)
			return -errno;
		ssize_t n = read(fd, block, sizeof(block));
		int error = n < 0 ? -errno : n != FILE_SIZE ? -EBADMSG : 0;
		close(fd);
		if (error)
			return error;
		w->ops++;
	}
	return 0;
}

static int run_readdirstat(struct worker *w)
{
	char path[512];
	struct stat st;

	snprintf(path, sizeof(path), "%s/t%u", w->dir, w->id);
	DIR *d = opendir(path);
	if (!d)
		return -errno;
	unsigned int seen = 0;
	int error = 0;
	for (struct dirent *e; !error && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			error = -errno;
		seen++;
		w->ops++;
	}
	closedir(d);
	return error ? error : seen == w->files ? 0 : -EBADMSG;
}

static int run_rename(struct worker *w)
{
	char from[512], to[512];

	for (unsigned int i = 0; i < w->files; i++) {
		path_of(w, from, sizeof(from), "f", i);
		path_of(w, to, sizeof(to), "r", i);
		if (rename(from, to) < 0)
			return -errno;
		w->ops++;
	}
	return 0;
}

static int run_unlink(struct worker *w)
{
	char path[512];

	for (unsigned int i = 0; i < w->files; i++) {
		path_of(w, path, sizeof(path), "r", i);
		if (unlink(path) < 0)
			return -errno;
		w->ops++;
	}
	return 0;
}

/* Dentries and inodes, not data: what a memory-hungry neighbour does to a machine. */
static int drop_dentries(void)
{
	sync();
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, "2", 1);
	int error = n == 1 ? 0 : -errno;
	close(fd);
	return error;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const struct phase phases[] = {
	{ "create", run_create, false }, { "stat1", run_stat, false },
	{ "stat", run_stat, true },	 { "negstat", run_negstat, true },
	{ "read", run_read, true },	 { "readdirstat", run_readdirstat, true },
	{ "rename", run_rename, false }, { "unlink", run_unlink, false },
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	double end;

	if (w->phase->warm)
		w->error = w->phase->run(w);
	w->ops = 0;
	pthread_barrier_wait(&start_line);
	end = now_s() + WARM_S;
	do {
		if (!w->error)
			w->error = w->phase->run(w);
	} while (w->phase->warm && !w->error && now_s() < end);
	return NULL;
}

static int run_phase(const struct phase *phase, const char *dir, unsigned int threads,
		     unsigned int files)
{
	struct worker workers[THREADS_MAX] = { 0 };
	uint64_t ops = 0;
	int error = 0;

	pthread_barrier_init(&start_line, NULL, threads + 1);
	for (unsigned int t = 0; t < threads; t++) {
		workers[t] = (struct worker){ .dir = dir, .id = t, .files = files, .phase = phase };
		if (pthread_create(&workers[t].thread, NULL, worker_main, &workers[t]) != 0)
			return -EAGAIN;
	}
	pthread_barrier_wait(&start_line);
	double start = now_s();
	for (unsigned int t = 0; t < threads; t++) {
		pthread_join(workers[t].thread, NULL);
		ops += workers[t].ops;
		error = workers[t].error ? workers[t].error : error;
	}
	double seconds = now_s() - start;
	pthread_barrier_destroy(&start_line);
	if (!error)
		printf("%s %.0f\n", phase->name, (double)ops / seconds);
	fflush(stdout);
	return error;
}

static int run_named(const char *name, const char *dir, unsigned int threads, unsigned int files)
{
	if (strcmp(name, "drop") == 0)
		return drop_dentries();
	for (size_t p = 0; p < sizeof(phases) / sizeof(phases[0]); p++)
		if (strcmp(name, phases[p].name) == 0)
			return run_phase(&phases[p], dir, threads, files);
	return -EINVAL;
}

static int make_dirs(const char *dir, unsigned int threads)
{
	char path[512];

	for (unsigned int t = 0; t < threads; t++) {
		snprintf(path, sizeof(path), "%s/t%u", dir, t);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: metabench DIR THREADS FILES PHASE...\n");
		return 2;
	}
	unsigned int threads = (unsigned int)strtoul(argv[2], NULL, 10);
	unsigned int files = (unsigned int)strtoul(argv[3], NULL, 10);
	if (threads < 1 || threads > THREADS_MAX || files < 1 || strlen(argv[1]) > 400) {
		fprintf(stderr, "metabench: threads 1..%d, files >= 1, a short path\n",
			THREADS_MAX);
		return 2;
	}
	int error = make_dirs(argv[1], threads);
	for (int i = 4; i < argc && !error; i++) {
		error = run_named(argv[i], argv[1], threads, files);
		if (error)
			fprintf(stderr, "metabench: %s: %s\n", argv[i], strerror(-error));
	}
	return error ? 1 : 0;
}
