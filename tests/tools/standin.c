/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * standin: in a guest, what stands in the place of kfs and kfsctl, so that scripts which mount with
 * kfs run there on virtio-fs: the daemon is on the host. tests/vm/plug.py is the other end.
 *
 * As kfs IMAGE DIR [-f] [-o WORDS]: has the host serve the image and plug a device in, mounts it,
 * and goes on in the background as the daemon would, with the same words, until DIR is unmounted:
 * then has the device pulled and the daemon ended by SIGTERM, and ends when the image is closed.
 * SIGTERM unmounts. Killed, its connection breaks: the host pulls the device and kills the daemon.
 * As kfsctl: the host's kfsctl, where a mount point of ours is replaced by its image.
 *
 * Exit status and words on stderr are the daemon's. A word that has no meaning here is refused.
 *
 * The request is "BYTES\n" and that many bytes of words, each with its 0; the reply lines
 * "err BYTES" and "out BYTES" with those bytes after them, "tag TAG rw|ro", "exit STATUS".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daemon/base/util.h"

/* Where vm.sh has QEMU forward to plug.py. */
#define HOST_ADDRESS "10.0.2.100"
#define HOST_PORT 77

#define REGISTRY "/run/kfs-standin" /* by the number of the mount's device: its image */

#define WORDS_MAX 64
#define OPTIONS_MAX 2048
#define TAG_WAIT_MS 120000

enum exits { EXIT_WORDS = 1, EXIT_SYSTEM = 2, EXIT_MOUNTING = 32 };

struct request {
	const char *words[WORDS_MAX];
	size_t count;
};

struct mounting {
	const char *image, *dir;
	char options[OPTIONS_MAX]; /* the daemon's */
	unsigned long flags;	   /* mount(2)'s */
	bool shared, cache_said, cache_never, nowriteback, foreground;
};

PRINTF_LIKE(2, 3) static _Noreturn void die(int status, const char *fmt, ...)
{
	va_list ap;

	(void)fflush(stdout);
	(void)fputs("standin: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	exit(status);
}

/* ---- the host ---- */

static FILE *host_open(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(HOST_PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	FILE *host;

	(void)inet_pton(AF_INET, HOST_ADDRESS, &to.sin_addr); /* a constant */
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die(EXIT_SYSTEM, "the host cannot be reached: %s", strerror(errno));
	host = fdopen(fd, "r+");
	if (!host)
		die(EXIT_SYSTEM, "out of memory");
	return host;
}

static void add(struct request *r, const char *word)
{
	if (r->count == WORDS_MAX)
		die(EXIT_WORDS, "too many words");
	r->words[r->count++] = word;
}

static void host_send(FILE *host, const struct request *r)
{
	size_t bytes = 0;

	for (size_t i = 0; i < r->count; i++)
		bytes += strlen(r->words[i]) + 1;
	(void)fprintf(host, "%zu\n", bytes);
	for (size_t i = 0; i < r->count; i++)
		(void)fwrite(r->words[i], 1, strlen(r->words[i]) + 1, host);
	if (fflush(host))
		die(EXIT_SYSTEM, "the host does not listen: %s", strerror(errno));
	/* A stream that was written is read from here on: the standard wants it said. */
	(void)fseek(host, 0, SEEK_CUR);
}

static void pass_on(FILE *host, FILE *to, size_t bytes)
{
	char buf[4096];

	while (bytes) {
		size_t n = fread(buf, 1, bytes < sizeof(buf) ? bytes : sizeof(buf), host);

		if (!n)
			die(EXIT_SYSTEM, "the host broke off");
		(void)fwrite(buf, 1, n, to);
		bytes -= n;
	}
	(void)fflush(to);
}

/* True: served, @tag (37 bytes) and @readonly are set. False: it is over, *ret_status is what with. */
static bool host_reply(FILE *host, char *tag, bool *readonly, int *ret_status)
{
	char line[128], mode[4] = "";
	size_t bytes;

	while (fgets(line, sizeof(line), host)) {
		if (sscanf(line, "err %zu", &bytes) == 1)
			pass_on(host, stderr, bytes);
		else if (sscanf(line, "out %zu", &bytes) == 1)
			pass_on(host, stdout, bytes);
		else if (sscanf(line, "exit %d", ret_status) == 1)
			return false;
		else if (tag && sscanf(line, "tag %36s %3s", tag, mode) == 2) {
			*readonly = !strcmp(mode, "ro");
			return true;
		} else {
			break;
		}
	}
	die(EXIT_SYSTEM, "the host broke off");
}

/* The beginning of every request: what to do, where, with which folder of control sockets. */
static void begin(struct request *r, const char *what, char *cwd, size_t cwd_len)
{
	const char *run = getenv("KFS_RUNTIME_DIR");

	if (!getcwd(cwd, cwd_len))
		die(EXIT_SYSTEM, "no working directory: %s", strerror(errno));
	add(r, what);
	add(r, cwd);
	add(r, run ? run : "");
}

/* ---- words ---- */

static void for_daemon(struct mounting *m, const char *word)
{
	size_t len = strlen(m->options);
	int n = snprintf(m->options + len, sizeof(m->options) - len, "%s%s", len ? "," : "", word);

	if (n < 0 || (size_t)n >= sizeof(m->options) - len)
		die(EXIT_WORDS, "too many options");
}

/* What mount(2) does; of ro and noatime the daemon is told, too. */
static bool for_mount(struct mounting *m, const char *word)
{
	static const struct {
		const char *word;
		unsigned long flag;
		bool told;
	} flags[] = {
		{ "ro", MS_RDONLY, true },
		{ "norecovery", MS_RDONLY, true },
		{ "noload", MS_RDONLY, true },
		{ "nodev", MS_NODEV, false },
		{ "nosuid", MS_NOSUID, false },
		{ "noexec", MS_NOEXEC, false },
		{ "dev", 0, false },
		{ "suid", 0, false },
		{ "exec", 0, false },
		{ "rw", 0, false },
		{ "allow_other", 0, false },
		{ "default_permissions", 0, false },
		/* About /dev/fuse, which is not there: no guest can tell. */
		{ "clone_fd", 0, false },
		{ "noclone_fd", 0, false },
		{ "uring=auto", 0, false },
		{ "uring=off", 0, false },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		if (strcmp(word, flags[i].word) != 0)
			continue;
		m->flags |= flags[i].flag;
		if (flags[i].told)
			for_daemon(m, word);
		return true;
	}
	return false;
}

/* What a mount of the host's could keep, and a guest's cannot. */
static bool without_meaning(const char *word)
{
	static const char *const words[] = { "noallow_other", "nonempty", "fsname=", "bpf",
					     "kstats=",	      "uring=",	  "vhost",   "tag=" };

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!strncmp(word, words[i], strlen(words[i])))
			return true;
	}
	return false;
}

static void take_option(struct mounting *m, const char *word)
{
	if (!*word || for_mount(m, word))
		return;
	if (without_meaning(word))
		die(EXIT_WORDS, "%s: a guest's mount has no place for it", word);
	if (!strcmp(word, "share=on") || !strcmp(word, "share=off"))
		m->shared = !strcmp(word, "share=on");
	else if (!strcmp(word, "nowriteback"))
		m->nowriteback = true;
	else if (!strcmp(word, "writeback"))
		m->nowriteback = false;
	else
		for_daemon(m, word);
	m->cache_said |= !strncmp(word, "guest_cache=", strlen("guest_cache="));
	m->cache_never |= !strcmp(word, "guest_cache=never");
}

static void take_options(struct mounting *m, const char *text)
{
	char *copy = strdup(text), *rest = copy, *word;

	if (!copy)
		die(EXIT_SYSTEM, "out of memory");
	while ((word = strsep(&rest, ",")))
		take_option(m, word);
	free(copy);
}

/*
 * The host mount's two profiles, as guests have them. share=off, the default: nobody else changes
 * anything, so the guest keeps what it has seen, and collects writes.
 */
static void add_profile(struct mounting *m)
{
	if (m->shared)
		return;
	for_daemon(m, "guests_max=1");
	if (!m->cache_said)
		for_daemon(m, "guest_cache=always");
	if (!m->nowriteback && !m->cache_never && !(m->flags & MS_RDONLY))
		for_daemon(m, "guest_writeback");
}

static void parse(int argc, char **argv, struct mounting *m)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];

		if (!strcmp(word, "-f"))
			m->foreground = true;
		else if (!strcmp(word, "-o") && i + 1 < argc)
			take_options(m, argv[++i]);
		else if (*word == '-')
			die(EXIT_WORDS, "%s: not in a guest", word);
		else if (!m->image)
			m->image = word;
		else if (!m->dir)
			m->dir = word;
		else
			die(EXIT_WORDS, "%s: one word too many", word);
	}
	if (!m->dir)
		die(EXIT_WORDS, "only for IMAGE DIR [-f] [-o WORDS]");
	add_profile(m);
}

/* ---- a mount's life ---- */

/* The guest may need a moment to find the device. */
static void mount_tag(const struct mounting *m, const char *tag, bool readonly)
{
	unsigned long flags = m->flags | (readonly ? MS_RDONLY : 0);

	for (int ms = 0; mount(tag, m->dir, "virtiofs", flags, NULL); ms += 20) {
		if (errno != EINVAL || ms >= TAG_WAIT_MS)
			die(EXIT_MOUNTING, "mount -t virtiofs %s %s: %s", tag, m->dir,
			    strerror(errno));
		(void)poll(NULL, 0, 20);
	}
}

static void registry_path(char *path, size_t len, dev_t dev)
{
	(void)snprintf(path, len, REGISTRY "/%u", minor(dev)); /* short */
}

static void registry_add(const struct mounting *m, dev_t dev)
{
	char path[64], *image = realpath(m->image, NULL);
	FILE *file;

	registry_path(path, sizeof(path), dev);
	(void)mkdir(REGISTRY, 0755); /* it may be there */
	file = fopen(path, "we");
	if (!image || !file || fputs(image, file) < 0 || fclose(file))
		die(EXIT_SYSTEM, "%s: %s", path, strerror(errno));
	free(image);
}

/* Is the file system anywhere in our namespace? */
static bool mounted(dev_t dev)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	unsigned int major_of, minor_of;
	char line[4096];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%*d %*d %u:%u", &major_of, &minor_of) == 2 &&
			makedev(major_of, minor_of) == dev;
	if (file)
		(void)fclose(file);
	return found;
}

/* Returns when it is unmounted (open files may still hold it: the host knows), or the host's daemon has ended. */
static void wait_for_end(const struct mounting *m, dev_t dev, int host, int signals)
{
	struct pollfd fds[] = { { .fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC),
				  .events = POLLPRI },
				{ .fd = signals, .events = POLLIN },
				{ .fd = host, .events = POLLIN } };
	struct signalfd_siginfo info;

	while (mounted(dev)) {
		(void)poll(fds, 3, -1);
		if (fds[2].revents)
			return;
		if (fds[1].revents && read(signals, &info, sizeof(info)) > 0 && umount2(m->dir, 0))
			(void)umount2(m->dir, MNT_DETACH); /* in use: served until it is not */
	}
}

static _Noreturn void stay(const struct mounting *m, dev_t dev, FILE *host, int signals)
{
	char path[64];
	int status = EXIT_SYSTEM;

	wait_for_end(m, dev, fileno(host), signals);
	registry_path(path, sizeof(path), dev);
	(void)unlink(path);
	(void)fseek(host, 0, SEEK_CUR);
	(void)fputs("end\n", host);
	(void)fflush(host); /* a host that has gone is seen below */
	(void)fseek(host, 0, SEEK_CUR);
	(void)host_reply(host, NULL, NULL, &status);
	exit(status);
}

static void into_background(void)
{
	pid_t pid = fork();
	int null;

	if (pid < 0)
		die(EXIT_SYSTEM, "no process: %s", strerror(errno));
	if (pid)
		_exit(0);
	(void)setsid();
	null = open("/dev/null", O_RDWR);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		(void)dup2(null, fd);
	if (null > 2)
		(void)close(null);
}

static int as_kfs(int argc, char **argv)
{
	struct mounting m = { .image = NULL };
	struct request r = { .count = 0 };
	char cwd[PATH_MAX], tag[37];
	bool readonly = false;
	int status, signals;
	struct stat st;
	sigset_t set;
	FILE *host;

	parse(argc, argv, &m);
	if (stat(m.dir, &st) || !S_ISDIR(st.st_mode))
		die(EXIT_MOUNTING, "%s: not a directory", m.dir);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);

	host = host_open();
	begin(&r, "serve", cwd, sizeof(cwd));
	add(&r, m.image);
	add(&r, m.options);
	host_send(host, &r);
	if (!host_reply(host, tag, &readonly, &status))
		return status;
	mount_tag(&m, tag, readonly);
	if (stat(m.dir, &st))
		die(EXIT_MOUNTING, "%s: %s", m.dir, strerror(errno));
	registry_add(&m, st.st_dev);
	if (!m.foreground)
		into_background();
	if (chdir("/"))
		return EXIT_SYSTEM;
	stay(&m, st.st_dev, host, signals);
}

/* ---- kfsctl ---- */

/* A mount point of ours becomes its image; the host knows nothing of what is below. */
static const char *target(const char *word, char *image, size_t image_len)
{
	char path[64], above[PATH_MAX];
	struct stat st, st_above;
	FILE *file;

	if (*word == '-' || stat(word, &st))
		return word;
	registry_path(path, sizeof(path), st.st_dev);
	file = fopen(path, "re");
	if (!file)
		return word;
	(void)snprintf(above, sizeof(above), "%s/..", word); /* cut, it is not there */
	if (!S_ISDIR(st.st_mode) || stat(above, &st_above) || st_above.st_dev == st.st_dev)
		die(EXIT_WORDS, "%s: the host does not see what is inside of a guest's mount",
		    word);
	if (!fgets(image, (int)image_len, file))
		die(EXIT_SYSTEM, "%s: nothing in it", path);
	(void)fclose(file);
	return image;
}

static int as_kfsctl(int argc, char **argv)
{
	struct request r = { .count = 0 };
	char cwd[PATH_MAX], image[PATH_MAX];
	bool replaced = false;
	FILE *host = host_open();
	int status;

	begin(&r, "ctl", cwd, sizeof(cwd));
	for (int i = 1; i < argc; i++) {
		const char *word = replaced ? argv[i] : target(argv[i], image, sizeof(image));

		replaced |= word == image;
		add(&r, word);
	}
	host_send(host, &r);
	(void)host_reply(host, NULL, NULL, &status);
	return status;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');

	name = name ? name + 1 : argv[0];
	return !strcmp(name, "kfsctl") ? as_kfsctl(argc, argv) : as_kfs(argc, argv);
}
