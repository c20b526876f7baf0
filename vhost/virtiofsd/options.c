/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words of virtiofsd, of the Rust program and of the older one in C: what libvirt, Kata Containers and people pass.
 *
 * Each word is honoured, or ignored because kfs needs it not, which is said once in the log, or refused with what to
 * write instead. A word in none of these lists is unknown: nothing is passed over in silence.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ctl/kfsctl.h"
#include "vhost/virtiofsd/virtiofsd.h"

enum key {
	KEY_SHARED_DIR = 256,
	KEY_SOCKET_PATH,
	KEY_SOCKET_GROUP,
	KEY_FD,
	KEY_TAG,
	KEY_CACHE,
	KEY_READONLY,
	KEY_NO_READDIRPLUS,
	KEY_READDIRPLUS,
	KEY_LOG_LEVEL,
	KEY_SYSLOG,
	KEY_DEBUG,
	KEY_DAEMONIZE,
	KEY_CAPABILITIES,
	KEY_QUIET, /* nothing to do, and nothing to say */
	KEY_IGNORED,
	KEY_REFUSED,
};

enum takes { NONE, VALUE, MAYBE };

struct word {
	const char *name;
	enum key key;
	enum takes takes;
	bool both;	  /* also in a list behind -o */
	const char *text; /* honoured: help; ignored: why; refused: why and what instead */
};

#define NO_HOST_PATH "no path of this host is opened for guests"
#define LOCKS "locks always hold, between guests and the host, too"

static const struct word words[] = {
	{ "shared-dir", KEY_SHARED_DIR, VALUE, false, "PATH: a mount point of kfs, or an image" },
	{ "source", KEY_SHARED_DIR, VALUE, true, NULL },
	{ "socket-path", KEY_SOCKET_PATH, VALUE, false, "PATH: listen there" },
	{ "vhost_user_socket", KEY_SOCKET_PATH, VALUE, true, NULL },
	{ "socket-group", KEY_SOCKET_GROUP, VALUE, false, "GROUP: whose members may connect, too" },
	{ "fd", KEY_FD, VALUE, false, "N: a socket that was handed over, listening or connected" },
	{ "tag", KEY_TAG, VALUE, false, "TAG: what the guest mounts by, if its front end asks" },
	{ "cache", KEY_CACHE, VALUE, true, "MODE: what the guest believes: auto (default), ..." },
	{ "readonly", KEY_READONLY, NONE, true, "the guest only reads" },
	{ "no-readdirplus", KEY_NO_READDIRPLUS, NONE, false, "listings without attributes" },
	{ "no_readdirplus", KEY_NO_READDIRPLUS, NONE, true, NULL },
	{ "readdirplus", KEY_READDIRPLUS, NONE, true, NULL },
	{ "log-level", KEY_LOG_LEVEL, VALUE, false, "LEVEL: off, error, warn, info, debug, trace" },
	{ "log_level", KEY_LOG_LEVEL, VALUE, true, NULL },
	{ "syslog", KEY_SYSLOG, NONE, false, "messages to syslog" },
	{ "debug", KEY_DEBUG, NONE, true, NULL },
	{ "daemonize", KEY_DAEMONIZE, NONE, false, "return when the socket is served" },
	{ "print-capabilities", KEY_CAPABILITIES, NONE, false, "for libvirt, as JSON" },
	{ "foreground", KEY_QUIET, NONE, true, NULL },

	{ "thread-pool-size", KEY_IGNORED, VALUE, false, "each queue has a thread" },
	{ "thread_pool_size", KEY_IGNORED, VALUE, true, "each queue has a thread" },
	{ "sandbox", KEY_IGNORED, VALUE, true, NO_HOST_PATH },
	{ "chroot", KEY_IGNORED, NONE, true, NO_HOST_PATH },
	{ "no_chroot", KEY_IGNORED, NONE, true, NO_HOST_PATH },
	{ "seccomp", KEY_IGNORED, VALUE, false, "kfs confines itself: see sandbox= in kfs(8)" },
	{ "modcaps", KEY_IGNORED, VALUE, true, "kfs keeps no capability to serve guests" },
	{ "rlimit-nofile", KEY_IGNORED, VALUE, false, "guests' files take no descriptors" },
	{ "inode-file-handles", KEY_IGNORED, VALUE, false, NO_HOST_PATH },
	{ "announce-submounts", KEY_IGNORED, NONE, true, "an image has none" },
	{ "announce_submounts", KEY_IGNORED, NONE, true, "an image has none" },
	{ "no-announce-submounts", KEY_IGNORED, NONE, false, "an image has none" },
	{ "no_announce_submounts", KEY_IGNORED, NONE, true, "an image has none" },
	{ "xattr", KEY_IGNORED, NONE, true, "the mount has them, unless it says nouser_xattr" },
	{ "no_xattr", KEY_IGNORED, NONE, true, "the guest has what the mount has: nouser_xattr" },
	{ "posix-acl", KEY_IGNORED, MAYBE, false, "the mount has them, unless it says noacl" },
	{ "posix_acl", KEY_IGNORED, NONE, true, "the mount has them, unless it says noacl" },
	{ "no_posix_acl", KEY_IGNORED, NONE, true, "the guest has what the mount has: noacl" },
	{ "killpriv-v2", KEY_IGNORED, NONE, false, "set-user-id bits are always cleared in time" },
	{ "no-killpriv-v2", KEY_IGNORED, NONE, false,
	  "set-user-id bits are always cleared in time" },
	{ "killpriv_v2", KEY_IGNORED, NONE, true, "set-user-id bits are always cleared in time" },
	{ "no_killpriv_v2", KEY_IGNORED, NONE, true,
	  "set-user-id bits are always cleared in time" },
	{ "flock", KEY_IGNORED, NONE, true, LOCKS },
	{ "no_flock", KEY_IGNORED, NONE, true, LOCKS },
	{ "posix_lock", KEY_IGNORED, NONE, true, LOCKS },
	{ "no_posix_lock", KEY_IGNORED, NONE, true, LOCKS },
	{ "writeback", KEY_IGNORED, NONE, true, "others write, too: each write is sent at once" },
	{ "no_writeback", KEY_IGNORED, NONE, true, "each write is sent at once" },
	{ "allow-direct-io", KEY_IGNORED, NONE, false, "the guest's O_DIRECT is its own" },
	{ "allow_direct_io", KEY_IGNORED, NONE, true, "the guest's O_DIRECT is its own" },
	{ "no_allow_direct_io", KEY_IGNORED, NONE, true, "the guest's O_DIRECT is its own" },
	{ "allow-mmap", KEY_IGNORED, NONE, false, "the guest may map what it caches" },
	{ "preserve-noatime", KEY_IGNORED, NONE, false, "access times are as the mount has them" },
	{ "timeout", KEY_IGNORED, VALUE, true, "cache= decides" },

	{ "xattrmap", KEY_REFUSED, VALUE, true,
	  "attributes keep their names, as nothing of this host reads them: leave it out" },
	{ "security-label", KEY_REFUSED, MAYBE, false,
	  "guests cannot give labels to new files: leave it out" },
	{ "security_label", KEY_REFUSED, NONE, true,
	  "guests cannot give labels to new files: leave it out" },
	{ "uid-map", KEY_REFUSED, VALUE, false, "ids are as in the image: leave it out" },
	{ "gid-map", KEY_REFUSED, VALUE, false, "ids are as in the image: leave it out" },
	{ "translate-uid", KEY_REFUSED, VALUE, false, "ids are as in the image: leave it out" },
	{ "translate-gid", KEY_REFUSED, VALUE, false, "ids are as in the image: leave it out" },
	{ "migration-mode", KEY_REFUSED, VALUE, false,
	  "live migration is not in this build: leave it out" },
	{ "migration-on-error", KEY_REFUSED, VALUE, false,
	  "live migration is not in this build: leave it out" },
	{ "migration-verify-handles", KEY_REFUSED, NONE, false,
	  "live migration is not in this build: leave it out" },
	{ "migration-confirm-paths", KEY_REFUSED, NONE, false,
	  "live migration is not in this build: leave it out" },
};

static int set_text(char **slot, const char *name, const char *value)
{
	char *copy;

	if (!*value)
		return complain_usage(name, "a value is missing");
	if (*slot && strcmp(*slot, value) != 0)
		return complain_usage(name, "is given twice");
	copy = strdup(value);
	if (!copy)
		return complain(name, "no memory", "");
	free(*slot);
	*slot = copy;
	return EXIT_DONE;
}

static int set_fd(struct virtiofsd_options *o, const char *value)
{
	char *end;
	unsigned long fd;

	errno = 0;
	fd = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || fd > 1u << 20)
		return complain_usage("--fd", "wants the number of a descriptor");
	o->fd = (int)fd;
	return EXIT_DONE;
}

/* The older program's "none" is "never". */
static int set_cache(struct virtiofsd_options *o, const char *value)
{
	static const char *const modes[] = { "auto", "always", "never", "metadata" };

	if (!strcmp(value, "none"))
		value = "never";
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(value, modes[i]))
			return set_text(&o->cache, "cache", value);
	return complain_usage("cache", "wants auto, always, metadata, never or none");
}

static int set_level(struct virtiofsd_options *o, const char *value)
{
	/* The older program's words for two of them. */
	if (!strcmp(value, "err"))
		value = "error";
	if (!log_level_parse(value, &o->log_level))
		return EXIT_DONE;
	return complain_usage("log-level", "wants off, error, warn, info, debug or trace");
}

static int honour(struct virtiofsd_options *o, const struct word *w, const char *value)
{
	switch (w->key) {
	case KEY_SHARED_DIR: return set_text(&o->shared_dir, w->name, value);
	case KEY_SOCKET_PATH: return set_text(&o->socket_path, w->name, value);
	case KEY_SOCKET_GROUP: return set_text(&o->socket_group, w->name, value);
	case KEY_TAG: return set_text(&o->tag, w->name, value);
	case KEY_FD: return set_fd(o, value);
	case KEY_CACHE: return set_cache(o, value);
	case KEY_LOG_LEVEL: return set_level(o, value);
	case KEY_READONLY: o->readonly = true; break;
	case KEY_NO_READDIRPLUS: o->no_readdirplus = true; break;
	case KEY_READDIRPLUS: o->no_readdirplus = false; break;
	case KEY_SYSLOG: o->syslog = true; break;
	case KEY_DEBUG: o->log_level = LOG_LEVEL_DEBUG; break;
	case KEY_DAEMONIZE: o->daemonize = true; break;
	case KEY_CAPABILITIES: o->action = ACTION_CAPABILITIES; break;
	default: break;
	}
	return EXIT_DONE;
}

/* Ignored words are told when it is known where messages go. */
struct notes {
	const struct word *word[ARRAY_SIZE(words)];
	size_t count;
};

static int take(struct virtiofsd_options *o, struct notes *notes, const struct word *w,
		const char *value)
{
	if (w->key == KEY_REFUSED) {
		(void)complain(w->name, w->text, "");
		return EXIT_USAGE;
	}
	if (w->key != KEY_IGNORED)
		return honour(o, w, value ? value : "");
	for (size_t i = 0; i < notes->count; i++)
		if (notes->word[i] == w)
			return EXIT_DONE;
	notes->word[notes->count++] = w;
	return EXIT_DONE;
}

/* One word of a list behind -o. */
static int take_listed(struct virtiofsd_options *o, struct notes *notes, char *word)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = 0;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const struct word *w = &words[i];

		if (!w->both || strcmp(w->name, word) != 0)
			continue;
		if ((w->takes == VALUE && !value) || (w->takes == NONE && value))
			return complain_usage(word, value ? "takes no value" : "wants a value");
		return take(o, notes, w, value);
	}
	return complain_usage(word, "not an option of virtiofsd's -o");
}

static int take_list(struct virtiofsd_options *o, struct notes *notes, const char *list)
{
	_cleanup_free_ char *copy = strdup(list);
	char *word, *rest = copy;
	int ret = EXIT_DONE;

	if (!copy)
		return complain("-o", "no memory", "");
	while (!ret && (word = strsep(&rest, ",")))
		if (*word)
			ret = take_listed(o, notes, word);
	return ret;
}

static int take_option(struct virtiofsd_options *o, struct notes *notes, int key, char **argv)
{
	switch (key) {
	case 'o': return take_list(o, notes, optarg);
	case 'd': o->log_level = LOG_LEVEL_DEBUG; return EXIT_DONE;
	case 'f': return EXIT_DONE;
	case 'V': o->action = ACTION_VERSION; return EXIT_DONE;
	case 'h': o->action = ACTION_HELP; return EXIT_DONE;
	case ':': return complain_usage(argv[optind - 1], "wants a value");
	case '?': return complain_usage(argv[optind - 1], "not an option of virtiofsd");
	default: return take(o, notes, &words[key - KEY_REFUSED - 1], optarg);
	}
}

static int take_all(struct virtiofsd_options *o, struct notes *notes, int argc, char **argv)
{
	struct option list[ARRAY_SIZE(words) + 3] = {
		[ARRAY_SIZE(words)] = { "help", no_argument, NULL, 'h' },
		[ARRAY_SIZE(words) + 1] = { "version", no_argument, NULL, 'V' },
	};
	int key, ret = EXIT_DONE;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		list[i] = (struct option){ words[i].name,
					   words[i].takes == VALUE ? required_argument :
					   words[i].takes == MAYBE ? optional_argument :
								     no_argument,
					   NULL, KEY_REFUSED + 1 + (int)i };
	opterr = 0;
	optind = 0;
	while (!ret && (key = getopt_long(argc, argv, "+:o:dfVh", list, NULL)) != -1)
		ret = take_option(o, notes, key, argv);
	if (!ret && optind < argc)
		ret = complain_usage(argv[optind], "one word too many");
	return ret;
}

static int check(const struct virtiofsd_options *o)
{
	if (!o->shared_dir)
		return complain_usage("--shared-dir", "is missing: what is to be shared?");
	if (!o->socket_path && o->fd < 0)
		return complain_usage("--socket-path", "is missing, and so is --fd");
	if (o->socket_path && o->fd >= 0)
		return complain_usage("--fd", "contradicts --socket-path: leave one of them out");
	if (o->socket_group && o->fd >= 0)
		return complain_usage("--socket-group",
				      "a socket that is handed over has its group already");
	if (o->tag && strlen(o->tag) > VIRTIOFSD_TAG_MAX)
		return complain_usage("--tag", "is longer than 36 bytes");
	return EXIT_DONE;
}

static int set_log(const struct virtiofsd_options *o, const struct notes *notes)
{
	log_set_level(o->log_level);
	if (o->syslog && log_set_sink(LOG_SINK_SYSLOG, NULL))
		return complain("syslog", "cannot be used", "");
	for (size_t i = 0; i < notes->count; i++)
		log_info("%s: ignored: %s", notes->word[i]->name, notes->word[i]->text);
	return EXIT_DONE;
}

int virtiofsd_parse(int argc, char **argv, struct virtiofsd_options *ret_options)
{
	struct virtiofsd_options *o = ret_options;
	struct notes notes = { .count = 0 };
	int ret;

	*o = (struct virtiofsd_options){ .fd = -1, .log_level = LOG_LEVEL_INFO };
	ret = take_all(o, &notes, argc, argv);
	if (!ret && o->action == ACTION_SERVE)
		ret = check(o);
	if (!ret && o->action == ACTION_SERVE)
		ret = set_log(o, &notes);
	if (ret)
		virtiofsd_options_fini(o);
	return ret;
}

void virtiofsd_options_fini(struct virtiofsd_options *o)
{
	free(o->shared_dir);
	free(o->socket_path);
	free(o->socket_group);
	free(o->tag);
	free(o->cache);
	*o = (struct virtiofsd_options){ .fd = -1 };
}

void virtiofsd_usage(void)
{
	printf("Usage: kfs-virtiofsd --shared-dir=PATH --socket-path=PATH|--fd=N [OPTIONS]\n"
	       "Serves one virtual machine from a filesystem of kfs, with virtiofsd's options;\n"
	       "ends when the machine has gone.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].key < KEY_QUIET && words[i].text)
			printf("  --%-20s %s\n", words[i].name, words[i].text);
	printf("  -o WORD,...            the older form: source=PATH,cache=MODE,...\n"
	       "  -d, -f                 debug messages; stay in the foreground (always so)\n"
	       "  -h, --help             this text\n"
	       "  -V, --version          the version\n\n"
	       "See kfs-virtiofsd(8) for the options that are ignored or refused, and why.\n");
}
