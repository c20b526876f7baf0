// SPDX-License-Identifier: GPL-2.0-only
/* kfsctl status: a page about one mount, its most important lines first. */
#include <inttypes.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <time.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"

#define LABEL_WIDTH 14
#define LINE_WIDTH_DEFAULT 80

static void label(const char *name)
{
	printf("  %-*s", LABEL_WIDTH, name);
}

static int line_width(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 40)
		return size.ws_col;
	return LINE_WIDTH_DEFAULT;
}

/* The next word of a wrapped line: on this line if it fits, else under the label. */
static void print_word(const char *word, int width, int *column)
{
	int len = (int)strlen(word);
	bool first = *column == LABEL_WIDTH + 2;

	if (!first && *column + 1 + len > width) {
		printf("\n  %-*s", LABEL_WIDTH, "");
		*column = LABEL_WIDTH + 2;
	} else if (!first) {
		putchar(' ');
		(*column)++;
	}
	fputs(word, stdout);
	*column += len;
}

static void print_words(const char *name, const json_t *words)
{
	int width = line_width(), column = LABEL_WIDTH + 2;
	const json_t *word;
	size_t i;

	label(name);
	json_array_foreach((json_t *)words, i, word)
		print_word(json_is_string(word) ? json_string_value(word) : "", width, &column);
	if (json_array_size(words) == 0)
		fputs("none", stdout);
	putchar('\n');
}

static void print_wrapped(const char *name, const char *text)
{
	int width = line_width(), column = LABEL_WIDTH + 2;
	_cleanup_free_ char *copy = strdup(text);
	char *word, *rest = copy;

	label(name);
	while ((word = strsep(&rest, " ")))
		print_word(word, width, &column);
	putchar('\n');
}

static void print_tier(const json_t *o)
{
	char text[512];

	snprintf(text, sizeof(text), "%s: %s", get_text(o, "tier"), get_text(o, "tier_reason"));
	print_wrapped("tier", text);
	snprintf(text, sizeof(text), "%s: %s",
		 json_is_true(json_object_get(o, "extents")) ? "on" : "off",
		 get_text(o, "extents_reason"));
	print_wrapped("extents", text);
}

static void print_transport(const json_t *o)
{
	const char *name = get_text(o, "transport");
	char text[512];

	if (!*name)
		return;
	snprintf(text, sizeof(text), "%s: %s",
		 strcmp(name, "uring") == 0 ? "FUSE over io_uring" : "/dev/fuse",
		 get_text(o, "transport_reason"));
	print_wrapped("transport", text);
}

static void print_mounted(const json_t *o)
{
	uid_t uid = (uid_t)get_count(o, "owner_uid");
	const struct passwd *owner = getpwuid(uid);

	label("mounted");
	printf("%s ago, %s%s, pid %" PRIu64 ", by ", fmt_age(get_count(o, "uptime_seconds")),
	       get_bool(o, "readonly") ? "read-only" : "read-write",
	       get_bool(o, "frozen") ? ", frozen (changes wait for 'kfsctl thaw')" : "",
	       get_count(o, "worker_pid"));
	if (owner)
		printf("%s\n", owner->pw_name);
	else
		printf("uid %u\n", (unsigned int)uid);
	if (get_bool(o, "readonly")) {
		print_wrapped("  because", get_text(o, "readonly_reason"));
	}
}

static void print_space(const json_t *o)
{
	const json_t *space = json_object_get(o, "space");

	label("space");
	printf("%s, %s free (%s), %s for users; blocks of %" PRIu64 " bytes\n",
	       fmt_bytes(get_count(space, "usable_bytes")),
	       fmt_bytes(get_count(space, "free_bytes")),
	       fmt_percent(get_count(space, "free_bytes"), get_count(space, "usable_bytes")),
	       fmt_bytes(get_count(space, "available_bytes")), get_count(space, "block_bytes"));
	label("inodes");
	printf("%s, %s free (%s), of %" PRIu64 " bytes\n", fmt_count(get_count(space, "inodes")),
	       fmt_count(get_count(space, "inodes_free")),
	       fmt_percent(get_count(space, "inodes_free"), get_count(space, "inodes")),
	       get_count(space, "inode_bytes"));
	label("groups");
	printf("%s of %s blocks and %s inodes\n", fmt_count(get_count(space, "groups")),
	       fmt_count(get_count(space, "blocks_per_group")),
	       fmt_count(get_count(space, "inodes_per_group")));
}

static void print_journal(const json_t *o)
{
	const json_t *journal = json_object_get(o, "journal");

	label("journal");
	if (get_bool(journal, "present"))
		printf("%s, %s free; ", fmt_bytes(get_count(journal, "bytes")),
		       fmt_bytes(get_count(journal, "free_bytes")));
	else
		printf("none: a crash needs e2fsck; ");
	printf("transaction %" PRIu64 " runs, %" PRIu64 " committed; every %" PRIu64 " s%s\n",
	       get_count(journal, "tid_running"), get_count(journal, "tid_committed"),
	       get_count(journal, "commit_interval_seconds"),
	       get_bool(journal, "barrier") ? "" : "; nobarrier: a power cut may lose it");
}

static void print_errors(const json_t *o)
{
	const json_t *errors = json_object_get(o, "errors");
	const json_t *journal = json_object_get(o, "journal");
	uint64_t corruptions = get_count(errors, "corruptions");
	bool any = corruptions || get_bool(errors, "recorded");

	label("errors");
	if (any)
		printf("%s corruptions met: unmount and run e2fsck; ", fmt_count(corruptions));
	if (get_bool(errors, "journal_aborted")) {
		printf("the journal is aborted (%s): unmount, see the medium, run e2fsck; ",
		       get_text(journal, "error"));
		any = true;
	}
	if (get_bool(errors, "foreign_write")) {
		printf("another program wrote to the image; ");
		any = true;
	}
	printf("%serrors=%s\n", any ? "" : "none; ", get_text(errors, "policy"));
}

static void print_check(const json_t *o)
{
	const json_t *check = json_object_get(o, "check");
	time_t last = (time_t)get_count(check, "last_unix_seconds");
	char when[32];

	if (get_bool(check, "running")) {
		label("check");
		printf("runs, pass %" PRIu64 ", %" PRIu64 " %%, %" PRIu64 " found so far\n",
		       get_count(check, "pass"), get_count(check, "percent"),
		       get_count(check, "found"));
	} else if (last) {
		struct tm tm;

		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&last, &tm));
		label("check");
		printf("%s, %s found\n", when, fmt_count(get_count(check, "last_found")));
	}
}

/* A year stands for "no limit": the kernel is told when something changes. */
static void print_timeout(const char *what, double seconds, const char *end)
{
	if (seconds >= 31536000)
		printf("%s until changed%s", what, end);
	else
		printf("%s %g s%s", what, seconds, end);
}

static void print_guests(const json_t *o)
{
	const json_t *guests = json_object_get(o, "guests"), *list, *g;
	size_t i;

	if (!json_is_object(guests))
		return;
	list = json_object_get(guests, "connected");
	label("guests");
	printf("%s of %s, tag %s, %s of %s, cache=%s for %g s%s, at %s\n",
	       get_bool(guests, "writable") ? "read and write" : "read",
	       get_text(guests, "directory"), get_text(guests, "tag"),
	       fmt_count(json_array_size(list)), fmt_count(get_count(guests, "guests_max")),
	       get_text(guests, "cache"), get_real(guests, "timeout_seconds"),
	       get_bool(guests, "writeback") ? ", writeback" : "", get_text(guests, "socket"));
	json_array_foreach((json_t *)list, i, g)
	{
		label("");
		printf("guest %" PRIu64 ": %s, front end pid %" PRIu64 ", for %s\n",
		       get_count(g, "number"), get_bool(g, "mounted") ? "mounted" : "not mounted",
		       get_count(g, "front_end_pid"), fmt_age(get_count(g, "connected_seconds")));
	}
}

static void print_status(const json_t *o)
{
	const char *mountpoint = get_text(o, "mountpoint");
	const char *volume = get_text(o, "label");
	const json_t *timeouts = json_object_get(o, "timeouts");

	printf("%s\n", *mountpoint ? mountpoint : get_text(o, "image"));
	label("image");
	printf("%s\n", get_text(o, "image"));
	label("id");
	printf("%s\n", get_text(o, "id"));
	label("volume");
	printf("%s, uuid %s\n", *volume ? volume : "no label", get_text(o, "uuid"));
	print_mounted(o);
	print_tier(o);
	print_transport(o);
	print_guests(o);
	label("timeouts");
	print_timeout("names", get_real(timeouts, "entry_seconds"), ", ");
	print_timeout("attributes", get_real(timeouts, "attr_seconds"), ", ");
	print_timeout("absent names", get_real(timeouts, "negative_seconds"), "\n");
	label("recover");
	printf("%s\n", get_text(o, "recover"));
	print_words("options", json_object_get(o, "options"));
	print_words("features", json_object_get(o, "features"));
	print_space(o);
	print_journal(o);
	print_errors(o);
	print_check(o);
	label("version");
	printf("%s\n", get_text(o, "version"));
}

int cmd_status(const struct words *w)
{
	json_t *result;
	int ret;

	ret = ask_target(w, w->count ? w->word[0] : NULL, "status", NULL, &result);
	if (ret)
		return ret;
	if (w->json)
		ret = print_json(result);
	else
		print_status(result);
	json_decref(result);
	return ret;
}
