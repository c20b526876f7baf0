/* SPDX-License-Identifier: GPL-2.0-only */
/* See trial.h. */
#include "tests/images/trial.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/crc.h"
#include "tests/images/image.h"
#include "tests/images/judge.h"
#include "tests/images/patch.h"
#include "tests/images/tour.h"

/* A step takes milliseconds; a busy machine, sanitizers and mmp's waiting (twice 11 s) stretch that. */
#define STEP_SECONDS_MAX 120
#define MEMORY_KIB_MAX (512 * 1024)
/* Behind the filesystem: nobody may write there. */
#define GUARD_BYTES 65536
#define GUARD_BYTE 0xa5
#define REPORT_LINES_MAX 8192
/* The first tell what is wrong; the rest is in the files that stay. */
#define WRONG_LINES_MAX 12

/* What one step said. */
struct report {
	char *text;
	char *lines[REPORT_LINES_MAX];
	uint32_t count;
	bool crashed;
};

struct trial {
	const struct trial_dirs *dirs;
	const struct a_case *c;
	FILE *out;
	struct trial_result result;
	char image[PATH_MAX], log[PATH_MAX], stderr_path[PATH_MAX];
	struct verdict before;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct trial *t, const char *fmt, ...)
{
	va_list args;

	if (t->result.wrong++ >= WRONG_LINES_MAX)
		return;
	va_start(args, fmt);
	fprintf(t->out, "    ");
	(void)vfprintf(t->out, fmt, args);
	fputc('\n', t->out);
	va_end(args);
}

/* ---- files ---------------------------------------------------------------- */

static void copy_range(int in, int out, off_t at, off_t end)
{
	while (at < end) {
		off_t to = at;
		ssize_t n = copy_file_range(in, &at, out, &to, (size_t)(end - at), 0);

		if (n <= 0)
			image_die("copying: %s", strerror(errno));
	}
}

/* Only what is not a hole: most of an image is. */
static void copy_file(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;
	off_t at = 0;

	if (in < 0 || out < 0 || fstat(in, &st) || ftruncate(out, st.st_size))
		image_die("%s: cannot be copied to %s: %s", from, to, strerror(errno));
	while (at < st.st_size) {
		off_t data = lseek(in, at, SEEK_DATA), hole;

		if (data < 0)
			break;
		hole = lseek(in, data, SEEK_HOLE);
		copy_range(in, out, data, hole);
		at = hole;
	}
	(void)close(in);
	if (close(out))
		image_die("%s: %s", to, strerror(errno));
}

static uint8_t *load(const char *path, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint8_t *data;
	size_t at = 0;

	if (fd < 0 || fstat(fd, &st))
		image_die("%s: %s", path, strerror(errno));
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		image_die("no memory");
	while (at < (size_t)st.st_size) {
		ssize_t n = read(fd, data + at, (size_t)st.st_size - at);

		if (n <= 0)
			image_die("%s: %s", path, strerror(errno));
		at += (size_t)n;
	}
	data[at] = 0;
	(void)close(fd);
	*ret_size = at;
	return data;
}

static uint32_t sum(const char *path)
{
	size_t size;
	uint8_t *data = load(path, &size);
	uint32_t crc = crc32c(~0u, data, size);

	free(data);
	return crc;
}

/* Images from elsewhere have none yet. */
static void add_guard(const char *path)
{
	static uint8_t guard[GUARD_BYTES];
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

	memset(guard, GUARD_BYTE, sizeof(guard));
	if (fd < 0 || write(fd, guard, sizeof(guard)) != (ssize_t)sizeof(guard) || close(fd))
		image_die("%s: %s", path, strerror(errno));
}

void trial_make(const struct trial_dirs *dirs, const struct a_case *c, const char *path)
{
	char base[PATH_MAX];
	struct image m;

	(void)snprintf(base, sizeof(base), "%s%s%s", dirs->bases, c->base[0] == '/' ? "" : "/",
		       c->base);
	copy_file(base, path);
	if (c->base[0] == '/')
		add_guard(path);
	if (!c->damage[0])
		return;
	image_open(&m, path);
	patch_apply(&m, c->damage);
	image_close(&m);
}

static bool guard_is_whole(const char *path)
{
	uint8_t guard[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool whole = fd >= 0;
	struct stat st;

	if (!whole || fstat(fd, &st))
		image_die("%s: %s", path, strerror(errno));
	for (off_t at = st.st_size - GUARD_BYTES; whole && at < st.st_size; at += sizeof(guard)) {
		whole = pread(fd, guard, sizeof(guard), at) == sizeof(guard);
		for (size_t i = 0; whole && i < sizeof(guard); i++)
			whole = guard[i] == GUARD_BYTE;
	}
	(void)close(fd);
	return whole;
}

/* ---- steps ---------------------------------------------------------------- */

static void limit(void)
{
#ifndef KFS_SANITIZE
	struct rlimit memory = { (rlim_t)2 << 30, (rlim_t)2 << 30 };

	(void)setrlimit(RLIMIT_AS, &memory); /* a bound that the parent checks more finely */
#endif
	alarm(STEP_SECONDS_MAX);
}

static void step_child(const struct trial *t, enum tour_kind kind)
{
	FILE *out = fopen(t->log, "w");
	int fd = open(t->stderr_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (!out || fd < 0 || dup2(fd, 2) < 0)
		_exit(127);
	limit();
	tour(t->image, kind, out);
	if (fclose(out))
		_exit(127);
	/* Not _exit(): the leak sanitizer looks at the end. */
	exit(0);
}

static void split_lines(struct report *r)
{
	char *save = NULL;

	for (char *line = strtok_r(r->text, "\n", &save); line && r->count < REPORT_LINES_MAX;
	     line = strtok_r(NULL, "\n", &save))
		r->lines[r->count++] = line;
}

static void show_stderr(const struct trial *t)
{
	FILE *file = fopen(t->stderr_path, "r");
	char line[512];

	for (int i = 0; file && i < 40 && fgets(line, sizeof(line), file); i++)
		fprintf(t->out, "      | %s", line);
	if (file)
		(void)fclose(file); /* read only */
}

static void end_step(struct trial *t, struct report *r, const char *what, int status)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
		wrong(t, "%s: hangs", what);
		t->result.hangs++;
	} else if (WIFSIGNALED(status)) {
		wrong(t, "%s: killed by %s", what, strsignal(WTERMSIG(status)));
		t->result.crashes++;
	} else if (WEXITSTATUS(status)) {
		wrong(t, "%s: exit status %d", what, WEXITSTATUS(status));
		t->result.crashes++;
	} else {
		return;
	}
	r->crashed = true;
	show_stderr(t);
}

static struct report *step(struct trial *t, enum tour_kind kind, const char *what)
{
	struct report *r = calloc(1, sizeof(*r));
	struct rusage usage;
	int status;
	size_t size;
	pid_t pid;

	(void)unlink(t->log);
	(void)fflush(t->out); /* the child must not write it again */
	pid = fork();
	if (!r || pid < 0)
		image_die("no memory");
	if (pid == 0)
		step_child(t, kind);
	while (wait4(pid, &status, 0, &usage) < 0)
		;
	t->result.cpu_s += (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
			   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	end_step(t, r, what, status);
#ifndef KFS_SANITIZE
	if (usage.ru_maxrss > MEMORY_KIB_MAX)
		wrong(t, "%s: %ld KiB of memory", what, usage.ru_maxrss);
#endif
	if (!guard_is_whole(t->image))
		wrong(t, "%s: bytes behind the filesystem were written", what);
	if (access(t->log, R_OK) == 0) {
		r->text = (char *)load(t->log, &size);
		split_lines(r);
	}
	return r;
}

static void report_free(struct report *r)
{
	free(r->text);
	free(r);
}

/* ---- what a report must say ----------------------------------------------- */

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static const char *line_of(const struct report *r, const char *with)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (starts(r->lines[i], with))
			return r->lines[i];
	return NULL;
}

static enum trial_end end_of(const struct report *r)
{
	if (line_of(r, "mounted rw"))
		return TRIAL_RW;
	return line_of(r, "mounted ro") ? TRIAL_RO : TRIAL_REFUSED;
}

/* Is the path of this "! PATH ..." or "= PATH ..." line @path, or below it? */
static bool is_below(const char *line, const char *path)
{
	size_t len = strlen(path);

	if (!strcmp(path, "/"))
		return true;
	return starts(line + 2, path) && (line[2 + len] == '/' || line[2 + len] == ' ');
}

static bool among(const struct a_case *c, const char *word, const char *line)
{
	const char *path;

	for (uint32_t i = 0; (path = case_value(c, word, i)); i++)
		if (is_below(line, path))
			return true;
	return false;
}

static bool is_corruption(const char *line)
{
	const char *error = strrchr(line, ' ') + 1;

	return !strcmp(error, "EUCLEAN") || !strcmp(error, "EBADMSG");
}

/* Errors of changes are told of these paths. */
static bool is_change(const char *line)
{
	return starts(line, "! /new") || starts(line, "! /keep/grow") || strstr(line, " sync ") ||
	       strstr(line, " orphans ");
}

static void check_errors(struct trial *t, const struct report *r, const char *what)
{
	const struct a_case *c = t->c;
	const char *path;

	if (case_has(c, "any"))
		return;
	for (uint32_t i = 0; i < r->count; i++) {
		const char *line = r->lines[i];
		bool fine;

		if (!starts(line, "! "))
			continue;
		fine = among(c, "maybe", line) || (among(c, "bad", line) && is_corruption(line)) ||
		       (is_change(line) && (case_has(c, "nowrite") || end_of(r) == TRIAL_RO));
		if (!fine)
			wrong(t, "%s: %s", what, line);
	}
	for (uint32_t n = 0; (path = case_value(c, "bad", n)); n++) {
		bool found = false;

		for (uint32_t i = 0; i < r->count && !found; i++)
			found = starts(r->lines[i], "! ") && is_below(r->lines[i], path) &&
				is_corruption(r->lines[i]);
		if (!found)
			wrong(t, "%s: %s should have been found corrupt", what, path);
	}
	for (uint32_t n = 0; (path = case_value(c, "gone", n)); n++)
		for (uint32_t i = 0; i < r->count; i++)
			if ((starts(r->lines[i], "= ") || starts(r->lines[i], "! ")) &&
			    is_below(r->lines[i], path))
				wrong(t, "%s: should not be there: %s", what, r->lines[i]);
}

static void check_end(struct trial *t, const struct report *r)
{
	static const char *const names[TRIAL_ENDS] = { "refused", "ro", "rw" };
	const char *refused = case_value(t->c, "refused", 0);
	const char *said = line_of(r, "refused ");

	t->result.end = end_of(r);
	if (case_has(t->c, "any") || r->crashed)
		return;
	if (!r->count) {
		wrong(t, "use: said nothing");
		return;
	}
	if (refused && t->result.end == TRIAL_REFUSED && !(said && strstr(said, refused)))
		wrong(t, "refused with other words: %s", said);
	if (refused ? t->result.end != TRIAL_REFUSED : !case_has(t->c, names[t->result.end]))
		wrong(t, "it ends %s: %s", names[t->result.end], r->lines[0]);
}

/* What lies in /keep is the same in every step. */
static void check_keep(struct trial *t, const struct report *first, const struct report *later,
		       const char *what)
{
	if (case_has(t->c, "nokeep") || end_of(first) == TRIAL_REFUSED || first->crashed ||
	    later->crashed)
		return;
	if (end_of(later) == TRIAL_REFUSED) {
		wrong(t, "%s: %s", what, later->count ? later->lines[0] : "said nothing");
		return;
	}
	for (uint32_t i = 0; i < first->count; i++) {
		bool found = false;

		if (!starts(first->lines[i], "= /keep/") || starts(first->lines[i], "= /keep/grow"))
			continue;
		for (uint32_t k = 0; k < later->count && !found; k++)
			found = !strcmp(first->lines[i], later->lines[k]);
		if (!found)
			wrong(t, "%s: changed or lost: %s", what, first->lines[i] + 2);
	}
}

/* ---- the verdicts --------------------------------------------------------- */

static bool needs_replay(const char *path)
{
	struct ext4_super_block sb;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool got = fd >= 0 && pread(fd, &sb, sizeof(sb), EXT4_SUPER_OFFSET) == sizeof(sb);

	if (fd >= 0)
		(void)close(fd);
	return got && (le32_to_cpu(sb.s_feature_incompat) & EXT4_FEATURE_INCOMPAT_RECOVER);
}

static void judge_before(struct trial *t)
{
	char copy[PATH_MAX + 8];

	if (!needs_replay(t->image)) {
		judge(t->image, t->log, &t->before);
		return;
	}
	(void)snprintf(copy, sizeof(copy), "%s.judged", t->image);
	copy_file(t->image, copy);
	t->before.replayed = judge_replay(copy, t->log);
	judge(copy, t->log, &t->before);
	(void)unlink(copy);
}

static void judge_after(struct trial *t)
{
	struct verdict *after = calloc(1, sizeof(*after));
	char *said = NULL, *save = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&said, &size);

	if (!after || !out)
		image_die("no memory");
	judge(t->image, t->log, after);
	(void)judge_not_worse(&t->before, after, out);
	(void)fclose(out); /* memory */
	for (char *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *text;
		bool fine = false;

		for (uint32_t i = 0; (text = case_value(t->c, "worse", i)) && !fine; i++)
			fine = strstr(line, text);
		if (!fine)
			wrong(t, "after use: %s", line);
	}
	free(said);
	free(after);
}

/* ---- a trial -------------------------------------------------------------- */

const struct a_case trial_anything = { .name = "anything",
				       .base = "",
				       .damage = "",
				       .words = { "any" },
				       .word_count = 1,
				       .file = "",
				       .line = 0 };

static void try_changes(struct trial *t, const struct report *first)
{
	struct report *r = step(t, TOUR_USE, "use");

	check_end(t, r);
	if (t->result.end != TRIAL_REFUSED) {
		check_errors(t, r, "use");
		check_keep(t, first, r, "use");
	}
	if (t->result.end == TRIAL_RW) {
		struct report *again;

		if (judge_is_whole(&t->before))
			judge_after(t);
		else
			t->result.unjudged = true;
		again = step(t, TOUR_LOOK, "look after use");
		check_keep(t, first, again, "look after use");
		report_free(again);
		again = step(t, TOUR_ABUSE, "abuse");
		report_free(again);
		again = step(t, TOUR_LOOK, "look after abuse");
		check_keep(t, first, again, "look after abuse");
		report_free(again);
	}
	report_free(r);
}

struct trial_result trial(const struct trial_dirs *dirs, const struct a_case *c, FILE *out)
{
	struct trial t = { .dirs = dirs, .c = c, .out = out };
	struct report *first;
	bool replay;
	uint32_t old;

	(void)snprintf(t.image, sizeof(t.image), "%s/%s.img", dirs->work, c->name);
	(void)snprintf(t.log, sizeof(t.log), "%s/%s.log", dirs->work, c->name);
	(void)snprintf(t.stderr_path, sizeof(t.stderr_path), "%s/%s.err", dirs->work, c->name);
	trial_make(dirs, c, t.image);
	replay = needs_replay(t.image);
	judge_before(&t);
	old = sum(t.image);
	first = step(&t, TOUR_LOOK, "look");
	if (end_of(first) != TRIAL_REFUSED)
		check_errors(&t, first, "look");
	if (!replay && sum(t.image) != old)
		wrong(&t, "look: the image changed");
	if (replay)
		trial_make(dirs, c, t.image);
	try_changes(&t, first);
	if (t.result.end != TRIAL_RW && !replay && sum(t.image) != old)
		wrong(&t, "%s, but the image changed",
		      t.result.end == TRIAL_RO ? "read-only" : "refused");
	report_free(first);
	if (!t.result.wrong) {
		(void)unlink(t.image);
		(void)unlink(t.log);
		(void)unlink(t.stderr_path);
	}
	return t.result;
}
