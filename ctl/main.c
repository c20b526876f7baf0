// SPDX-License-Identifier: GPL-2.0-only
/*
 * kfsctl: looks inside the mounts of this host and tells them what to do. The words of the command line are taken
 * apart here; the commands are in cmd_*.c.
 */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>

#include "ctl/kfsctl.h"
#include "include/kfs/ctl_proto.h"

#ifndef KFS_VERSION
#define KFS_VERSION "unknown"
#endif

#define TIMEOUT_SECONDS_MAX 86400
#define WATCH_SECONDS_MAX 86400
#define OLDER_SECONDS_MAX 86400

/* Options that only some commands take. */
enum {
	OPT_WATCH = 1u << 0,
	OPT_ALL = 1u << 1,
	OPT_NO_SYNC = 1u << 2,
	OPT_MIN = 1u << 3,
	OPT_OLDER = 1u << 4,
	OPT_CHECK = 1u << 5,
	OPT_STATS = 1u << 6,
};

struct command {
	const char *name, *usage, *help;
	int (*run)(const struct words *w);
	int words_min, words_max;
	unsigned int options;
};

static const struct command commands[] = {
	{ "list", "list", "every mount of this host", cmd_list, 0, 0, 0 },
	{ "status", "status [TARGET]", "what is mounted, how, and how it fares", cmd_status, 0, 1,
	  0 },
	{ "stats", "stats [--watch[=SECONDS]] [--histograms] [TARGET]",
	  "requests, caches, journal, allocator", cmd_stats, 0, 1, OPT_WATCH | OPT_STATS },
	{ "metrics", "metrics [--all | TARGET]", "the same numbers, as Prometheus reads them",
	  cmd_metrics, 0, 1, OPT_ALL },
	{ "map", "map [--no-sync] FILE", "where a file's blocks lie in the image", cmd_map, 1, 1,
	  OPT_NO_SYNC },
	{ "cache", "cache show PATH | drop [PATH]",
	  "what the kernel would answer by itself; forget it", cmd_cache, 1, 2, 0 },
	{ "check", "check [--stop] [--progress] [--rate=BYTES] [TARGET]",
	  "verify the image while it is in use", cmd_check, 0, 1, OPT_CHECK },
	{ "sync", "sync [TARGET]", "return when everything so far is durable", cmd_sync, 0, 1, 0 },
	{ "freeze", "freeze [TARGET]", "stop all changes until thaw; the image can be copied",
	  cmd_freeze, 0, 1, 0 },
	{ "thaw", "thaw [TARGET]", "let changes go on", cmd_thaw, 0, 1, 0 },
	{ "trim", "trim [--min=BYTES] [TARGET]", "give free space back to the medium", cmd_trim, 0,
	  1, OPT_MIN },
	{ "abort", "abort [--guest=N] UNIQUE|--older=SECONDS [TARGET]",
	  "give callers of stuck requests an error", cmd_abort, 0, 2, OPT_OLDER },
	{ "trace", "trace on|off [TARGET]", "one log line for each request and reply", cmd_trace, 1,
	  2, 0 },
};

int complain(const char *what, const char *why, const char *remedy)
{
	fprintf(stderr, "kfsctl: %s: %s%s%s\n", what, why, *remedy ? ": " : "", remedy);
	return EXIT_FAILED;
}

int complain_usage(const char *what, const char *why)
{
	complain(what, why, "see 'kfsctl --help'");
	return EXIT_USAGE;
}

int print_json(const json_t *json)
{
	if (json_dumpf(json, stdout, JSON_INDENT(2)) || putchar('\n') == EOF)
		return complain("standard output", "cannot be written", "");
	return EXIT_DONE;
}

static void print_help(void)
{
	size_t i;

	printf("Usage: kfsctl COMMAND [WORDS...] [TARGET]\n"
	       "Look inside kfs mounts and tell them what to do.\n\n"
	       "Commands:\n");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-42s %s\n", commands[i].usage, commands[i].help);
	printf("\nTARGET is a mount point, any path inside one, an image, or an id of 'kfsctl list'.\n"
	       "Without it: the mount that holds the working directory, else the only one.\n\n"
	       "Options:\n"
	       "  -j, --json                           print JSON with stable keys and exact numbers\n"
	       "      --timeout=SECONDS                wait so long for an answer (default 10; 0: for\n"
	       "                                       ever, the default of sync, freeze, thaw, trim, check)\n"
	       "  -w, --watch[=SECONDS]                stats: again and again (default 2)\n"
	       "      --histograms                     stats: latencies in powers of two\n"
	       "      --kernel=on|off                  stats: count in the kernel, too, or no more\n"
	       "      --all                            metrics: of all mounts\n"
	       "      --no-sync                        map: do not write the file back first\n"
	       "      --older=SECONDS                  abort: all that are older, locks excepted\n"
	       "      --guest=N                        abort: a request of that virtual machine\n"
	       "      --min=BYTES                      trim: only free runs of at least so much\n"
	       "      --rate=BYTES, --memory=BYTES     check: read at most so much a second; hold at\n"
	       "                                       most so much of what changes (default 128M)\n"
	       "      --progress, -C 0; --stop         check: draw a bar; end the one that runs\n"
	       "  -h, --help                           this text\n"
	       "  -V, --version                        the version\n\n"
	       "Exit status: 0 done, 1 failed, 2 wrong usage. More in kfsctl(8).\n");
}

static const struct command *command_find(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static bool number_parse(const char *text, uint64_t max, uint64_t *ret_number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return !errno && !*end && *ret_number <= max;
}

/* Bytes with an optional K, M, G or T, as mkfs takes them. */
static bool bytes_parse(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1] & ~0x20) : NULL;
	char digits[24];
	uint64_t factor = 1, number;

	if (unit && *unit) {
		factor = 1ULL << (10 * (unit - units + 1));
		len--;
	}
	if (len >= sizeof(digits))
		return false;
	memcpy(digits, text, len);
	digits[len] = '\0';
	return number_parse(digits, INT64_MAX, &number) &&
	       !mul_overflows(number, factor, ret_bytes) && *ret_bytes <= INT64_MAX;
}

static int seconds_parse(const char *option, const char *text, uint64_t max, uint64_t *ret_seconds)
{
	if (number_parse(text, max, ret_seconds))
		return EXIT_DONE;
	return complain_usage(option, "wants a whole number of seconds, at most 86400");
}

enum {
	KEY_TIMEOUT = 256,
	KEY_ALL,
	KEY_NO_SYNC,
	KEY_MIN,
	KEY_OLDER,
	KEY_GUEST,
	KEY_RATE,
	KEY_MEMORY,
	KEY_STOP,
	KEY_KERNEL,
	KEY_HISTOGRAMS
};

static const struct option long_options[] = {
	{ "json", no_argument, NULL, 'j' },
	{ "watch", optional_argument, NULL, 'w' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "timeout", required_argument, NULL, KEY_TIMEOUT },
	{ "all", no_argument, NULL, KEY_ALL },
	{ "no-sync", no_argument, NULL, KEY_NO_SYNC },
	{ "min", required_argument, NULL, KEY_MIN },
	{ "older", required_argument, NULL, KEY_OLDER },
	{ "guest", required_argument, NULL, KEY_GUEST },
	{ "rate", required_argument, NULL, KEY_RATE },
	{ "memory", required_argument, NULL, KEY_MEMORY },
	{ "stop", no_argument, NULL, KEY_STOP },
	{ "kernel", required_argument, NULL, KEY_KERNEL },
	{ "histograms", no_argument, NULL, KEY_HISTOGRAMS },
	{ "progress", no_argument, NULL, 'C' },
	{ NULL, 0, NULL, 0 },
};

/* What the options were besides their values in struct words. */
struct seen {
	bool help, version;
	unsigned int special; /* OPT_* */
};

static int check_option_take(int key, struct words *w, const char *word)
{
	uint64_t *bytes = key == KEY_RATE ? &w->rate_bytes : &w->memory_bytes;

	if (key == KEY_STOP) {
		w->stop = true;
	} else if (key == 'C') {
		/* e2fsck's -C takes a descriptor; 0 is the bar. */
		if (optarg && strcmp(optarg, "0") != 0)
			return complain_usage("-C", "wants 0");
		w->progress = true;
	} else if (!bytes_parse(optarg, bytes) || !*bytes) {
		return complain_usage(word, "wants bytes, such as 4096 or 1M");
	}
	return EXIT_DONE;
}

static int option_take(int key, struct words *w, struct seen *seen, const char *word)
{
	uint64_t number;

	switch (key) {
	case 'j': w->json = true; return EXIT_DONE;
	case 'h': seen->help = true; return EXIT_DONE;
	case 'V': seen->version = true; return EXIT_DONE;
	case 'w':
		seen->special |= OPT_WATCH;
		w->watch_s = 2;
		if (!optarg)
			return EXIT_DONE;
		if (seconds_parse("--watch", optarg, WATCH_SECONDS_MAX, &number))
			return EXIT_USAGE;
		if (!number)
			return complain_usage("--watch", "wants at least 1 second");
		w->watch_s = (uint32_t)number;
		return EXIT_DONE;
	case KEY_TIMEOUT:
		if (seconds_parse("--timeout", optarg, TIMEOUT_SECONDS_MAX, &number))
			return EXIT_USAGE;
		w->timeout_ms = (uint32_t)number * 1000;
		w->timeout_given = true;
		return EXIT_DONE;
	case KEY_ALL:
		seen->special |= OPT_ALL;
		w->all = true;
		return EXIT_DONE;
	case KEY_NO_SYNC:
		seen->special |= OPT_NO_SYNC;
		w->no_sync = true;
		return EXIT_DONE;
	case KEY_MIN:
		seen->special |= OPT_MIN;
		if (bytes_parse(optarg, &w->min_bytes))
			return EXIT_DONE;
		return complain_usage("--min", "wants bytes, such as 4096 or 1M");
	case KEY_OLDER:
		seen->special |= OPT_OLDER;
		w->older_given = true;
		return seconds_parse("--older", optarg, OLDER_SECONDS_MAX, &w->older_s);
	case KEY_GUEST:
		seen->special |= OPT_OLDER;
		if (number_parse(optarg, UINT32_MAX, &w->guest) && w->guest)
			return EXIT_DONE;
		return complain_usage("--guest", "wants the number of a guest: see kfsctl status");
	case KEY_HISTOGRAMS:
		seen->special |= OPT_STATS;
		w->histograms = true;
		return EXIT_DONE;
	case KEY_KERNEL:
		seen->special |= OPT_STATS;
		w->kernel = optarg;
		if (!strcmp(optarg, "on") || !strcmp(optarg, "off"))
			return EXIT_DONE;
		return complain_usage("--kernel", "wants on or off");
	case 'C':
	case KEY_RATE:
	case KEY_MEMORY:
	case KEY_STOP: seen->special |= OPT_CHECK; return check_option_take(key, w, word);
	case ':': return complain_usage(word, "wants a value");
	default: return complain_usage(word, "unknown option, or a value it does not take");
	}
}

/* Takes the options out; what is left are command and words. */
static int options_parse(int argc, char **argv, struct words *w, struct seen *seen)
{
	opterr = 0;
	for (;;) {
		int at = optind, key, ret;

		key = getopt_long(argc, argv, ":jw::hVC:", long_options, NULL);
		if (key < 0)
			return EXIT_DONE;
		/* getopt moves words; the offending one is the one just passed. */
		ret = option_take(key, w, seen, argv[optind > at ? optind - 1 : at]);
		if (ret)
			return ret;
	}
}

/* Output that could not be written is a failure, also when only the last flush finds out. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout))
		return complain("standard output", "cannot be written", "");
	return status;
}

static int command_run(const struct command *command, struct words *w, const struct seen *seen)
{
	if (seen->help) {
		printf("Usage: kfsctl %s\n%s. More in kfsctl(8).\n", command->usage, command->help);
		return EXIT_DONE;
	}
	if (seen->special & ~command->options)
		return complain_usage(command->name, "an option belongs to another command");
	if (w->count < command->words_min)
		return complain_usage(command->name, "a word is missing");
	if (w->count > command->words_max)
		return complain_usage(w->word[command->words_max], "one word too many");
	return command->run(w);
}

int main(int argc, char **argv)
{
	struct words w = { .timeout_ms = CTL_REQUEST_MS };
	struct seen seen = { .help = false };
	const struct command *command;
	int ret;

	/* A closed pipe (| head) is an error of write(), said like any other. */
	signal(SIGPIPE, SIG_IGN);
	setlocale(LC_CTYPE, "");
	ret = options_parse(argc, argv, &w, &seen);
	if (ret)
		return ret;
	if (seen.version) {
		printf("kfsctl %s\n", KFS_VERSION);
		return finish(EXIT_DONE);
	}
	if (optind == argc && seen.help) {
		print_help();
		return finish(EXIT_DONE);
	}
	if (optind == argc)
		return complain_usage("no command", "nothing to do");
	command = command_find(argv[optind]);
	if (!command)
		return complain_usage(argv[optind], "unknown command");
	w.word = argv + optind + 1;
	w.count = argc - optind - 1;
	return finish(command_run(command, &w, &seen));
}
