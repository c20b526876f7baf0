/* SPDX-License-Identifier: GPL-2.0-only */
/* See judge.h. */
#include "tests/images/judge.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/images/image.h"

#define E2FSCK_SECONDS 120
/* With some of e2fsprogs' own images e2fsck -fn does not end; other verdicts take milliseconds. */
#define E2FSCK_CPU_SECONDS 3
#define E2FSCK_UNUSABLE 8 /* e2fsck(8): operational error */

/* Words after which a line says nothing of damage, or says again what another line said. */
static const char *const silent[] = {
	"e2fsck ",
	"Illegal block number passed",
	"Pass ",
	"Fix? no",
	"Clear? no",
	"*****",
	"Warning!  ",
	"contains a file system with errors",
	"files (",
	"has been mounted",
	"skipping journal recovery",
	"Relocate? no",
	"inodes used",
	"blocks used",
	"MMP interval",
};

static bool is_silent(const char *line)
{
	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
		if (strstr(line, silent[i]))
			return true;
	return false;
}

/* Numbers become N; whatever is quoted or in brackets goes. */
static void normalise(const char *line, char *text)
{
	size_t at = 0;
	int depth = 0;
	char *end;

	for (const char *c = line; *c && *c != '\n' && at + 2 < KIND_LEN; c++) {
		depth += *c == '(';
		if (depth == 0 && isdigit((unsigned char)*c)) {
			if (at == 0 || text[at - 1] != 'N')
				text[at++] = 'N';
		} else if (depth == 0) {
			text[at++] = *c;
		}
		depth -= *c == ')' && depth > 0;
		if (*c == '?')
			break;
	}
	text[at] = '\0';
	/* "Block bitmap differences:  +12 +(14--17)": that there are some. */
	end = strstr(text, "bitmap differences:");
	if (end)
		end[19] = '\0';
	end = strstr(text, "Multiply-claimed block");
	if (end)
		end[22] = '\0';
	/* "Entry 'name' in /some/dir (12) ...": where it is means nothing. */
	end = strrchr(text, '/');
	end = end ? strchr(end, ' ') : NULL;
	if (!strncmp(text, "Entry '", 7) && end)
		memmove(text + 6, end, strlen(end) + 1);
}

static void note(struct verdict *v, const char *line)
{
	char text[KIND_LEN];
	uint32_t i = 0;

	if (is_silent(line))
		return;
	normalise(line, text);
	if (strspn(text, " N-") == strlen(text))
		return;
	while (i < v->count && strcmp(v->kinds[i].text, text))
		i++;
	if (i == KINDS_MAX)
		return;
	if (i == v->count)
		memcpy(v->kinds[v->count++].text, text, KIND_LEN);
	v->kinds[i].times++;
}

static int run(const char *log, const char *const *words)
{
	const struct rlimit cpu = { E2FSCK_CPU_SECONDS, E2FSCK_CPU_SECONDS };
	int status;
	pid_t pid = fork();

	if (pid < 0)
		image_die("fork failed");
	if (pid == 0) {
		int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

		if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			_exit(127);
		alarm(E2FSCK_SECONDS);
		(void)setrlimit(RLIMIT_CPU, &cpu);
		execvp(words[0], (char *const *)words);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	return status;
}

void judge(const char *image, const char *log, struct verdict *v)
{
	const char *const words[] = { "e2fsck", "-fn", image, NULL };
	int status = run(log, words);
	FILE *file = fopen(log, "r");
	char line[1024];

	memset(v, 0, sizeof(*v));
	v->killed = !WIFEXITED(status);
	v->status = v->killed ? -1 : WEXITSTATUS(status);
	if (v->status == 127)
		image_die("e2fsck is not installed");
	v->unusable = v->status & E2FSCK_UNUSABLE;
	while (file && fgets(line, sizeof(line), file)) {
		/* A prompt's answer may be followed by the next complaint on one line. */
		note(v, line);
		if (strstr(line, "e2fsck: aborted") || strstr(line, "cannot continue"))
			v->unusable = true;
	}
	if (file)
		(void)fclose(file); /* read only */
}

bool judge_replay(const char *image, const char *log)
{
	const char *const words[] = { "e2fsck", "-y", "-E", "journal_only", image, NULL };
	int status = run(log, words);

	return WIFEXITED(status) && WEXITSTATUS(status) < 4;
}

bool judge_is_whole(const struct verdict *v)
{
	return !v->unusable && !v->killed;
}

static uint32_t times_of(const struct verdict *v, const char *text)
{
	for (uint32_t i = 0; i < v->count; i++)
		if (!strcmp(v->kinds[i].text, text))
			return v->kinds[i].times;
	return 0;
}

bool judge_not_worse(const struct verdict *before, const struct verdict *after, FILE *out)
{
	bool good = true;

	if (after->killed) {
		fprintf(out, "e2fsck crashes, or does not end with it any more\n");
		good = false;
	}
	if (after->unusable) {
		fprintf(out, "e2fsck cannot go on with it any more\n");
		good = false;
	}
	for (uint32_t i = 0; i < after->count; i++) {
		uint32_t old = times_of(before, after->kinds[i].text);

		if (after->kinds[i].times <= old)
			continue;
		fprintf(out, "e2fsck says newly (%u times, before %u): %s\n", after->kinds[i].times,
			old, after->kinds[i].text);
		good = false;
	}
	return good;
}
