/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mount words are a table. Words that decide the same thing form a group, named by the
 * field they set; two words of a group that disagree are refused rather than letting the
 * later win: on a filesystem, "ro,rw" is a question, not an order. libfuse splits and
 * unescapes the lists.
 */
#define FUSE_USE_VERSION 314
#include "daemon/options.h"

#include <errno.h>
#include <fuse_opt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/fs/fs.h"
#include "daemon/guest_words.h"
#include "daemon/helper.h"
#include "daemon/proto/proto.h"
#include "vhost/vhost.h"

enum word_kind {
	WORD_FLAG,    /* "name": the field becomes value */
	WORD_NUMBER,  /* "name=N" within value..max, with K, M, G, T where units */
	WORD_SECONDS, /* "name=S", fractions allowed */
	WORD_TEXT,    /* "name=TEXT" */
	WORD_CONTEXT, /* "name=LABEL", for the kernel's security module */
	WORD_LEVEL,   /* "name=LEVEL" of the log */
	WORD_IGNORED, /* for mount(8) and its kin; "name" or "name=..." */
	WORD_REFUSED, /* known, but not to be had; help says what to do instead */
};

struct word {
	const char *name; /* as written; valued words without the "=" */
	enum word_kind kind;
	size_t field;
	int64_t value, max;
	bool units;
	const char *help; /* NULL: not shown */
};

#define F(name) offsetof(struct options, name)
#define FLAG(word, field_name, val, text)                                                          \
	{                                                                                          \
		.name = word, .kind = WORD_FLAG, .field = F(field_name), .value = val,             \
		.help = text                                                                       \
	}
#define NUMBER(word, field_name, low, high, text)                                                  \
	{                                                                                          \
		.name = word, .kind = WORD_NUMBER, .field = F(field_name), .value = low,           \
		.max = high, .help = text                                                          \
	}
#define SIZE(word, field_name, low, high, text)                                                    \
	{                                                                                          \
		.name = word, .kind = WORD_NUMBER, .field = F(field_name), .value = low,           \
		.max = high, .units = true, .help = text                                           \
	}
#define SECONDS(word, field_name, text)                                                            \
	{                                                                                          \
		.name = word, .kind = WORD_SECONDS, .field = F(field_name), .help = text           \
	}
#define TEXT(word, field_name, text)                                                               \
	{                                                                                          \
		.name = word, .kind = WORD_TEXT, .field = F(field_name), .help = text              \
	}
#define CONTEXT(word)                                                                              \
	{                                                                                          \
		.name = word, .kind = WORD_CONTEXT, .field = F(contexts)                           \
	}
#define IGNORED(word)                                                                              \
	{                                                                                          \
		.name = word, .kind = WORD_IGNORED                                                 \
	}
#define REFUSED(word, text)                                                                        \
	{                                                                                          \
		.name = word, .kind = WORD_REFUSED, .help = text                                   \
	}

/* Far longer than a busy disk takes, shorter than people wait before they look. */
#define REQUEST_TIMEOUT_DEFAULT_S 60
/* virtio-fs has no room for more. */
#define TAG_MAX 36
#define DAX_WINDOW_MIN (8u << 20)
#define DAX_WINDOW_MAX (UINT64_C(8) << 30)

static const struct word words[] = {
	FLAG("ro", readonly, ON, "read-only; a journal is still replayed"),
	FLAG("rw", readonly, OFF, "read and write (default)"),
	FLAG("norecovery", norecovery, ON, "do not replay the journal; needs ro"),
	FLAG("noload", norecovery, ON, "the same"),
	FLAG("errors=continue", errors, ERRORS_CONTINUE, "on corruption: note it and go on"),
	FLAG("errors=remount-ro", errors, ERRORS_REMOUNT_RO, "on corruption: refuse changes"),
	FLAG("errors=panic", errors, ERRORS_PANIC, "on corruption: end the daemon"),
	NUMBER("commit", commit_s, 0, 300, "seconds between commits (5; 0 = 5)"),
	FLAG("barrier", barrier, ON, "flush the medium at commits (default)"),
	FLAG("barrier=1", barrier, ON, NULL),
	FLAG("nobarrier", barrier, OFF, "do not: a power cut can damage the filesystem"),
	FLAG("barrier=0", barrier, OFF, NULL),
	FLAG("discard", discard, ON, "give freed blocks back to the medium"),
	FLAG("nodiscard", discard, OFF, "keep them (default)"),
	FLAG("acl", acl, ON, "POSIX ACLs (default)"),
	FLAG("noacl", acl, OFF, "without them"),
	FLAG("user_xattr", user_xattr, ON, "user.* attributes (default)"),
	FLAG("nouser_xattr", user_xattr, OFF, "without them"),
	FLAG("relatime", atime, FS_ATIME_RELATIME, "access times as the kernel does (default)"),
	FLAG("atime", atime, FS_ATIME_RELATIME, "the same"),
	FLAG("noatime", atime, FS_ATIME_NOATIME, "never"),
	REFUSED("strictatime", "cached reads never reach the daemon: use relatime"),
	FLAG("nodiratime", diratime, OFF, "not of directories"),
	FLAG("diratime", diratime, ON, NULL),
	FLAG("lazytime", lazytime, ON, "keep times in memory until something else changes"),
	FLAG("nolazytime", lazytime, OFF, NULL),
	FLAG("sync", sync, ON, "every write is durable when it returns"),
	FLAG("async", sync, OFF, "(default)"),
	FLAG("dirsync", dirsync, ON, "every change of names is"),
	FLAG("nodev", dev, OFF, "device nodes do nothing (default for ordinary users)"),
	FLAG("dev", dev, ON, "they do (default for root)"),
	FLAG("nosuid", suid, OFF, "set-user-id bits do nothing (default for ordinary users)"),
	FLAG("suid", suid, ON, "they do (default for root)"),
	FLAG("noexec", exec, OFF, "nothing can be executed"),
	FLAG("exec", exec, ON, "(default)"),
	FLAG("allow_other", allow_other, ON, "every user may use the mount (default for root)"),
	FLAG("noallow_other", allow_other, OFF, "only the one who mounts (else the default)"),
	IGNORED("default_permissions"),
	REFUSED("nodefault_permissions", "the kernel checks permissions for kfs: leave it out"),
	REFUSED("allow_root", "not supported: use allow_other"),
	FLAG("share=on", share, ON, "guests and control commands may write: coherent caches"),
	FLAG("share=off", share, OFF, "the host alone writes: fullest caches (default)"),
	FLAG("readdirplus", readdirplus, ON, "attributes come with listings (default)"),
	FLAG("noreaddirplus", readdirplus, OFF, "they do not"),
	FLAG("writeback", writeback, ON, "the kernel collects writes (default; share=off only)"),
	FLAG("nowriteback", writeback, OFF, "each write goes to the daemon at once"),
	SECONDS("entry_timeout", entry_timeout, "seconds that names are cached (a year)"),
	SECONDS("attr_timeout", attr_timeout, "seconds that attributes are cached (a year)"),
	SECONDS("negative_timeout", negative_timeout, "seconds that absent names are (a year)"),
	NUMBER("max_threads", threads_max, 1, 256, "threads that serve at most (16)"),
	FLAG("clone_fd", clone_fd, ON, "a device descriptor for each thread"),
	FLAG("noclone_fd", clone_fd, OFF, NULL),
	SIZE("max_write", max_write, 4096, 1 << 20, "bytes of the largest request (1M)"),
	SIZE("max_readahead", max_readahead, 0, 1 << 30, "bytes read ahead at most"),
	NUMBER("max_background", max_background, 1, 65535,
	       "requests under way without a caller (64)"),
	NUMBER("request_timeout", request_timeout_s, 0, 86400,
	       "log requests without an answer for so many seconds (60; 0 = never)"),
	NUMBER("cache_mb", cache_mb, 1, 1 << 20, "MiB of metadata cached at most"),
	NUMBER("max_inodes", inodes_max, 16, 1 << 30, "inodes cached at most"),
	SIZE("offset", offset, 0, INT64_MAX, "where in the image the filesystem begins"),
	TEXT("log", log_path, "log to this file, or syslog (the default but with -f)"),
	{ .name = "log_level",
	  .kind = WORD_LEVEL,
	  .field = F(log_level),
	  .help = "off, error, warn, info (default), debug or trace" },
	TEXT("fsname", fsname, "the source shown in /proc/mounts (the image)"),
	FLAG("nonempty", nonempty, ON, "mount over another mount"),
	FLAG("uring=auto", uring, UNSET, "requests over io_uring where possible"),
	FLAG("uring=off", uring, OFF, "through /dev/fuse only"),
	FLAG("uring=on", uring, ON, "over io_uring, or no mount"),
	FLAG("bpf=auto", bpf, UNSET, "answers from inside the kernel where possible (default)"),
	FLAG("bpf=on", bpf, ON, "the same, or no mount; needs root and the module fusebpf"),
	FLAG("bpf", bpf, ON, NULL),
	FLAG("bpf=off", bpf, OFF, "never"),
	FLAG("bpf_extents=auto", bpf_extents, UNSET,
	     "contents too, where that shows no difference"),
	FLAG("bpf_extents=on", bpf_extents, ON, "the same, or no mount"),
	FLAG("bpf_extents=off", bpf_extents, OFF, "never (default)"),
	NUMBER("bpf_mb", bpf_mb, 1, 65536, "MiB of memory for these answers (64)"),
	FLAG("kstats=on", kstats, ON, "count requests and hits in the kernel as well; needs root"),
	FLAG("kstats=off", kstats, OFF, "do not (default); kfsctl can switch it"),
	FLAG("sandbox=auto", sandbox, UNSET,
	     "with vhost=, give up system calls that kfs does not need (default)"),
	FLAG("sandbox=on", sandbox, ON, "the same without guests, too; or fail"),
	FLAG("sandbox=off", sandbox, OFF, "keep them"),
	IGNORED("recover=off"),
	REFUSED("recover", "recovery of a crashed daemon is not in this build: say recover=off"),
	TEXT("vhost", vhost, "serve virtual machines on this Unix socket (or fd:N): virtio-fs"),
	TEXT("tag", tag, "what guests mount it by, at most 36 bytes (kfs)"),
	FLAG("guests=rw", guests_readonly, OFF, "guests write; needs share=on (default)"),
	FLAG("guests=ro", guests_readonly, ON, "guests only read"),
	NUMBER("vhost_queues", vhost_queues, 1, 64, "queues for requests of a guest (1)"),
	TEXT("vhost_dir", vhost_dir, "the directory of the image that guests see (/)"),
	NUMBER("guests_max", guests_max, 1, VHOST_GUESTS_MAX, "guests at a time (16)"),
	NUMBER("guest_nodes", guest_nodes, 16, 1 << 30, "inodes that a guest may know (1048576)"),
	NUMBER("guest_locks", guest_locks, 1, 1 << 18, "locks that a guest may hold (65536)"),
	FLAG("guest_cache=auto", guest_cache, PROTO_CACHE_AUTO,
	     "guests keep contents until the next open (default)"),
	FLAG("guest_cache=never", guest_cache, PROTO_CACHE_NEVER, "they keep nothing"),
	FLAG("guest_cache=metadata", guest_cache, PROTO_CACHE_METADATA, "no contents of files"),
	FLAG("guest_cache=always", guest_cache, PROTO_CACHE_ALWAYS, "contents, too"),
	FLAG("guest_writeback", guest_writeback, ON, "they collect writes; one guest alone"),
	FLAG("guest_nowriteback", guest_writeback, OFF, "they do not (default)"),
	TEXT("socket_group", socket_group, "members of this group may connect, too"),
	FLAG("vhost_once", vhost_once, ON, "end when the guest has gone; needs --no-mount"),
	FLAG("handover", handover, ON, "a guest whose state is saved takes the image along"),
	FLAG("incoming", incoming, ON, "open the image when a guest arrives with it; --no-mount"),
	SIZE("dax_window", dax_window, 0, DAX_WINDOW_MAX,
	     "bytes of files that a guest may map at a time: a power of two, at most 8G (0: none)"),
	NUMBER("vhost_poll", vhost_poll_us, 0, 1000,
	       "microseconds to look for a guest's next request before sleeping, at most (50)"),
	FLAG("guest_xattr", guest_xattr, ON, "guests have extended attributes (default)"),
	FLAG("guest_noxattr", guest_xattr, OFF, "they have none, and no ACLs"),
	FLAG("guest_acl", guest_acl, ON, "guests have POSIX ACLs (default where acl is)"),
	FLAG("guest_noacl", guest_acl, OFF, "they have none"),
	TEXT("guest_translate_uid", guest_uids, "map:GUEST:IMAGE:COUNT[+map:...]: guests' users"),
	TEXT("guest_translate_gid", guest_gids, "the same of groups"),
	REFUSED("snapshot", "snapshots are not in this build: leave it out"),
	IGNORED("data=ordered"),
	REFUSED("data", "data is written in order, before its names: say data=ordered"),
	REFUSED("remount",
		"a mounted kfs cannot change its options: unmount it and mount it again"),
	REFUSED("usrquota", "kfs keeps no quota: leave it out"),
	REFUSED("grpquota", "kfs keeps no quota: leave it out"),
	REFUSED("prjquota", "kfs keeps no quota: leave it out"),
	CONTEXT("context"),
	CONTEXT("fscontext"),
	CONTEXT("defcontext"),
	CONTEXT("rootcontext"),
	/* For mount(8), systemd and libfuse's own helper. */
	IGNORED("defaults"),
	IGNORED("auto"),
	IGNORED("noauto"),
	IGNORED("user"),
	IGNORED("nouser"),
	IGNORED("users"),
	IGNORED("owner"),
	IGNORED("group"),
	IGNORED("_netdev"),
	IGNORED("nofail"),
	IGNORED("comment"),
	IGNORED("uhelper"),
	IGNORED("helper"),
	IGNORED("loop"),
	IGNORED("silent"),
	IGNORED("loud"),
	IGNORED("subtype"),
};

struct parser {
	struct options *o;
	struct options_error *err;
	const char *set_by[sizeof(struct options)];    /* by field offset: the word that set it */
	char *texts[sizeof(words) / sizeof(words[0])]; /* copies that set_by points to */
	size_t text_count;
	unsigned positionals;
	bool helper;
	int status;
};

PRINTF_LIKE(3, 4) static int refuse(struct parser *p, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(p->err->text, sizeof(p->err->text), fmt, ap); /* cut lines stay lines */
	va_end(ap);
	p->status = status;
	return -1;
}

/* ---- one word ---- */

static const struct word *find_word(const char *text)
{
	size_t name_len = strcspn(text, "=");

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(words[i].name, text) && words[i].kind != WORD_NUMBER &&
		    words[i].kind != WORD_SECONDS && words[i].kind != WORD_TEXT)
			return &words[i];
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].kind != WORD_FLAG && strlen(words[i].name) == name_len &&
		    !strncmp(words[i].name, text, name_len))
			return &words[i];
	return NULL;
}

/* Words that mount(8) and systemd keep in fstab for themselves. */
static bool is_foreign(const char *text)
{
	return !strncmp(text, "x-", 2) || !strncmp(text, "X-", 2);
}

static bool parse_number(const char *text, bool units, uint64_t *ret_value)
{
	uint64_t scale = 1;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_value = strtoull(text, &end, 0);
	if (errno)
		return false;
	if (units && *end) {
		switch (*end++) {
		case 's': scale = 512; break;
		case 'k':
		case 'K': scale = 1ULL << 10; break;
		case 'm':
		case 'M': scale = 1ULL << 20; break;
		case 'g':
		case 'G': scale = 1ULL << 30; break;
		case 't':
		case 'T': scale = 1ULL << 40; break;
		default: return false;
		}
	}
	return !*end && !mul_overflows(*ret_value, scale, ret_value);
}

static int set_number(struct parser *p, const struct word *w, const char *text, const char *value)
{
	uint64_t number;

	if (!parse_number(value, w->units, &number) || number < (uint64_t)w->value ||
	    number > (uint64_t)w->max)
		return refuse(p, EXIT_USAGE, "%s: not a number from %" PRId64 " to %" PRId64 "%s",
			      text, w->value, w->max, w->units ? " (K, M, G, T may follow)" : "");
	*(uint64_t *)((char *)p->o + w->field) = number;
	return 0;
}

static int set_seconds(struct parser *p, const struct word *w, const char *text, const char *value)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !(seconds >= 0 && seconds <= 1e9))
		return refuse(p, EXIT_USAGE, "%s: not a number of seconds from 0 to 1000000000",
			      text);
	*(double *)((char *)p->o + w->field) = seconds;
	return 0;
}

static int set_text(struct parser *p, const struct word *w, const char *text, const char *value)
{
	char **field = (char **)((char *)p->o + w->field);

	if (!*value)
		return refuse(p, EXIT_USAGE, "%s: a value is missing", text);
	free(*field);
	*field = strdup(value);
	return *field ? 0 : refuse(p, EXIT_SYSTEM, "%s: out of memory", text);
}

/* Kept as words for the kernel, their commas escaped again. */
static int add_context(struct parser *p, const char *text)
{
	char *old = p->o->contexts, *list = NULL, *escaped = malloc(2 * strlen(text) + 1);
	char *to = escaped;

	for (const char *c = text; escaped && *c; c++) {
		if (*c == ',' || *c == '\\')
			*to++ = '\\';
		*to++ = *c;
	}
	if (escaped)
		*to = 0;
	if (!escaped || asprintf(&list, "%s%s%s", old ? old : "", old ? "," : "", escaped) < 0)
		list = NULL;
	free(escaped);
	if (!list)
		return refuse(p, EXIT_SYSTEM, "%s: out of memory", text);
	free(old);
	p->o->contexts = list;
	return 0;
}

static int check_group(struct parser *p, const struct word *w, const char *text)
{
	const char **slot = &p->set_by[w->field];

	if (*slot && strcmp(*slot, text) != 0 &&
	    (w->kind != WORD_FLAG || *(int *)((char *)p->o + w->field) != (int)w->value))
		return refuse(p, EXIT_USAGE, "%s: contradicts %s: leave one of them out", text,
			      *slot);
	if (*slot)
		return 0;
	if (p->text_count == ARRAY_SIZE(p->texts))
		return refuse(p, EXIT_USAGE, "%s: too many options", text);
	p->texts[p->text_count] = strdup(text);
	*slot = p->texts[p->text_count];
	return p->texts[p->text_count++] ? 0 : refuse(p, EXIT_SYSTEM, "%s: out of memory", text);
}

static int take_word(struct parser *p, const char *text)
{
	const struct word *w = find_word(text);
	const char *value = strchr(text, '=');
	enum log_level level;

	if (is_foreign(text))
		return 0;
	if (!w && p->o->sloppy)
		return 0;
	if (!w)
		return refuse(p, EXIT_USAGE, "%s: unknown option: see kfs --help", text);
	value = value ? value + 1 : "";
	if (w->kind == WORD_IGNORED)
		return 0;
	if (w->kind == WORD_REFUSED)
		return refuse(p, EXIT_USAGE, "%s: %s", text, w->help);
	if (w->kind == WORD_CONTEXT)
		return add_context(p, text);
	if (check_group(p, w, text))
		return -1;
	switch (w->kind) {
	case WORD_FLAG: *(int *)((char *)p->o + w->field) = (int)w->value; return 0;
	case WORD_NUMBER: return set_number(p, w, text, value);
	case WORD_SECONDS: return set_seconds(p, w, text, value);
	case WORD_TEXT: return set_text(p, w, text, value);
	default: break;
	}
	if (log_level_parse(value, &level))
		return refuse(p, EXIT_USAGE, "%s: not one of off, error, warn, info, debug, trace",
			      text);
	p->o->log_level = (int)level;
	return 0;
}

/* ---- the command line ---- */

enum { KEY_HELP, KEY_VERSION, KEY_FOREGROUND, KEY_DEBUG, KEY_NO_MOUNT };

static const struct fuse_opt daemon_opts[] = {
	FUSE_OPT_KEY("-h", KEY_HELP),
	FUSE_OPT_KEY("--help", KEY_HELP),
	FUSE_OPT_KEY("-V", KEY_VERSION),
	FUSE_OPT_KEY("--version", KEY_VERSION),
	FUSE_OPT_KEY("-f", KEY_FOREGROUND),
	FUSE_OPT_KEY("-d", KEY_DEBUG),
	FUSE_OPT_KEY("--no-mount", KEY_NO_MOUNT),
	FUSE_OPT_END,
};

static const struct fuse_opt no_opts[] = { FUSE_OPT_END };

static int take_positional(struct parser *p, const char *text)
{
	char **slot = p->positionals == 0 ? &p->o->image : &p->o->mountpoint;

	if (p->positionals++ >= 2)
		return refuse(p, EXIT_USAGE,
			      "%s: one word too many: kfs IMAGE MOUNTPOINT [-o OPTIONS]", text);
	*slot = strdup(text);
	return *slot ? 0 : refuse(p, EXIT_SYSTEM, "out of memory");
}

static int take_arg(void *data, const char *arg, int key, struct fuse_args *outargs)
{
	struct parser *p = data;

	(void)outargs;
	switch (key) {
	case FUSE_OPT_KEY_NONOPT: return take_positional(p, arg);
	case KEY_HELP: p->o->help = true; return 0;
	case KEY_VERSION: p->o->version = true; return 0;
	case KEY_FOREGROUND: p->o->foreground = true; return 0;
	case KEY_DEBUG:
		p->o->foreground = true;
		p->o->log_level = LOG_LEVEL_TRACE;
		return 0;
	case KEY_NO_MOUNT: p->o->no_mount = true; return 0;
	default: break;
	}
	if (arg[0] == '-')
		return refuse(p, EXIT_USAGE, "%s: unknown option: see kfs --help", arg);
	return *arg ? take_word(p, arg) : 0;
}

/* mount(8) calls "mount.fuse.kfs SPEC DIR [-sfnv] [-N NAMESPACE] [-o WORDS] [-t TYPE]". */
static int take_helper_flags(struct parser *p, struct fuse_args *args, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i];

		if (!strcmp(arg, "-t") && i + 1 < argc) {
			i++; /* known */
		} else if (!strcmp(arg, "-N") && i + 1 < argc) {
			int err = helper_enter_namespace(argv[++i]);

			if (err)
				return refuse(p, EXIT_SYSTEM, "namespace %s: %s", argv[i],
					      strerror(-err));
		} else if (arg[0] == '-' && arg[1] &&
			   strspn(arg + 1, "sfnvrw") == strlen(arg + 1)) {
			p->o->sloppy = p->o->sloppy || strchr(arg, 's');
			p->o->fake = p->o->fake || strchr(arg, 'f');
			if (strchr(arg, 'r') && take_word(p, "ro"))
				return -1;
		} else if (fuse_opt_add_arg(args, arg)) {
			return refuse(p, EXIT_SYSTEM, "out of memory");
		}
	}
	return 0;
}

static int parse_words(struct parser *p, int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int err = fuse_opt_add_arg(&args, argv[0]);

	if (argc > 1 && !strcmp(argv[argc - 1], "-o")) {
		(void)refuse(p, EXIT_USAGE, "-o: options are missing after it");
		err = -1;
	}
	if (!err && p->helper)
		err = take_helper_flags(p, &args, argc, argv);
	for (int i = 1; !err && !p->helper && i < argc; i++)
		err = fuse_opt_add_arg(&args, argv[i]);
	if (!err)
		err = fuse_opt_parse(&args, p, p->helper ? no_opts : daemon_opts, take_arg);
	if (err && !p->status)
		(void)refuse(p, EXIT_SYSTEM, "out of memory");
	fuse_opt_free_args(&args);
	return err;
}

/* ---- what must fit together ---- */

static void resolve(char **path)
{
	char *real = realpath(*path, NULL);

	/* What cannot be resolved is refused later, with a reason. */
	if (!real)
		return;
	free(*path);
	*path = real;
}

static int make_absolute(struct parser *p, char **path)
{
	_cleanup_free_ char *cwd = NULL;
	char *whole;

	if (!*path || **path == '/')
		return 0;
	cwd = getcwd(NULL, 0);
	if (!cwd || asprintf(&whole, "%s/%s", cwd, *path) < 0)
		return refuse(p, EXIT_SYSTEM, "%s: the working directory is gone", *path);
	free(*path);
	*path = whole;
	return 0;
}

/* Machines map windows at powers of two; a guest's kernel divides them into pieces of 2 MiB. */
static int check_window(struct parser *p)
{
	const struct options *o = p->o;

	if (o->dax_window < DAX_WINDOW_MIN || o->dax_window & (o->dax_window - 1))
		return refuse(p, EXIT_USAGE,
			      "dax_window: a power of two from 8M to 8G, or 0 for none");
	if (!options_guests_write(o))
		return refuse(p, EXIT_USAGE,
			      "dax_window: front ends do not keep a guest from writing to what is "
			      "mapped: leave it out, or say guests=rw");
	return 0;
}

/* DESIGN.md decision 5: beside a host mount that caches all it can, nobody else may write. */
static int check_guests(struct parser *p)
{
	struct options *o = p->o;

	char why[256];

	if (!guest_words_fit(o, why, sizeof(why)))
		return refuse(p, EXIT_USAGE, "%s", why);
	if (o->dax_window && check_window(p))
		return -1;
	if (o->no_mount && !o->vhost)
		return refuse(p, EXIT_USAGE, "--no-mount: needs -o vhost=SOCKET: nobody is served");
	if (!o->vhost)
		return 0;
	if (o->tag && strlen(o->tag) > TAG_MAX)
		return refuse(p, EXIT_USAGE, "tag=%s: longer than %d bytes: say a shorter one",
			      o->tag, TAG_MAX);
	if (o->socket_group && !strncmp(o->vhost, "fd:", 3))
		return refuse(p, EXIT_USAGE,
			      "socket_group: a socket that is handed over has its group already");
	if (o->vhost_once == ON && !o->no_mount)
		return refuse(p, EXIT_USAGE,
			      "vhost_once: a mount does not end with a guest: say --no-mount, or "
			      "leave it out");
	if (o->no_mount || !options_guests_write(o))
		return 0;
	if (o->share == OFF)
		return refuse(p, EXIT_USAGE,
			      "vhost: guests that write need share=on beside a mount: say "
			      "share=on, or guests=ro");
	o->share = ON;
	return 0;
}

static int check_whole(struct parser *p)
{
	struct options *o = p->o;

	if (o->help || o->version)
		return 0;
	if (o->no_mount && p->positionals == 2)
		return refuse(p, EXIT_USAGE, "%s: one word too many: --no-mount has no mount point",
			      o->mountpoint);
	if (p->positionals < (o->no_mount ? 1u : 2u))
		return refuse(p, EXIT_USAGE, "%s is missing: kfs IMAGE MOUNTPOINT [-o OPTIONS]",
			      p->positionals ? "the mount point" : "the image");
	if (o->norecovery == ON && o->readonly == OFF)
		return refuse(p, EXIT_USAGE, "norecovery: contradicts rw: say ro");
	if (o->norecovery == ON)
		o->readonly = ON;
	if (check_guests(p))
		return -1;
	if (o->share == ON && o->writeback == ON)
		return refuse(p, EXIT_USAGE,
			      "writeback: contradicts share=on: leave one of them out");
	o->log_syslog = o->log_path && !strcmp(o->log_path, "syslog");
	if (o->log_syslog) {
		free(o->log_path);
		o->log_path = NULL;
	}
	if (make_absolute(p, &o->log_path))
		return -1;
	if (o->vhost && strncmp(o->vhost, "fd:", 3) != 0 && make_absolute(p, &o->vhost))
		return -1;
	resolve(&o->image);
	if (o->no_mount)
		return make_absolute(p, &o->image);
	resolve(&o->mountpoint);
	return make_absolute(p, &o->image) || make_absolute(p, &o->mountpoint) ? -1 : 0;
}

static void set_defaults(struct options *o)
{
	memset(o, 0, sizeof(*o));
	o->readonly = o->norecovery = o->discard = o->barrier = o->acl = o->user_xattr = UNSET;
	o->errors = ERRORS_DEFAULT;
	o->atime = FS_ATIME_RELATIME;
	o->diratime = o->lazytime = o->sync = o->dirsync = o->dev = o->suid = o->exec = UNSET;
	o->share = o->allow_other = o->readdirplus = o->writeback = o->clone_fd = UNSET;
	o->nonempty = o->uring = o->bpf = o->kstats = UNSET;
	o->bpf_extents = OFF; /* until its tests have run for long */
	o->guests_readonly = o->guest_cache = o->guest_writeback = UNSET;
	o->guest_xattr = o->guest_acl = o->sandbox = UNSET;
	o->entry_timeout = o->attr_timeout = o->negative_timeout = -1;
	o->request_timeout_s = REQUEST_TIMEOUT_DEFAULT_S;
	o->vhost_poll_us = VHOST_POLL_DEFAULT_US;
	o->log_level = LOG_LEVEL_INFO;
	o->owner_is_root = geteuid() == 0;
}

int options_parse(int argc, char **argv, bool helper, struct options *ret_options,
		  struct options_error *err)
{
	struct parser *p = calloc(1, sizeof(*p));
	int status;

	set_defaults(ret_options);
	err->text[0] = 0;
	if (!p) {
		(void)snprintf(err->text, sizeof(err->text), "out of memory");
		return EXIT_SYSTEM;
	}
	p->o = ret_options;
	p->err = err;
	p->helper = helper;
	if (!parse_words(p, argc, argv))
		(void)check_whole(p); /* the status says it */
	status = p->status;
	for (size_t i = 0; i < p->text_count; i++)
		free(p->texts[i]);
	free(p);
	if (status)
		options_fini(ret_options);
	return status;
}

void options_fini(struct options *o)
{
	free(o->image);
	free(o->mountpoint);
	free(o->log_path);
	free(o->fsname);
	free(o->contexts);
	free(o->vhost);
	free(o->tag);
	free(o->vhost_dir);
	free(o->socket_group);
	free(o->guest_uids);
	free(o->guest_gids);
	o->image = o->mountpoint = o->log_path = o->fsname = o->contexts = NULL;
	o->vhost = o->tag = o->vhost_dir = o->socket_group = o->guest_uids = o->guest_gids = NULL;
}

/* ---- what follows from it ---- */

char *options_kernel_words(const struct options *o, bool readonly)
{
	bool root = o->owner_is_root;
	bool other = o->allow_other == UNSET ? root : o->allow_other;
	bool suid = o->suid == UNSET ? root : o->suid;
	bool dev = o->dev == UNSET ? root : o->dev;
	char *words_out;

	if (asprintf(&words_out, "default_permissions,%s,%s,%s%s%s%s%s%s%s%s",
		     readonly ? "ro" : "rw", suid ? "suid" : "nosuid", dev ? "dev" : "nodev",
		     other ? ",allow_other" : "", o->exec == OFF ? ",noexec" : "",
		     o->sync == ON ? ",sync" : "", o->dirsync == ON ? ",dirsync" : "",
		     o->atime == FS_ATIME_NOATIME ? ",noatime" : "", o->contexts ? "," : "",
		     o->contexts ? o->contexts : "") < 0)
		return NULL;
	return words_out;
}

char *options_describe(const struct options *o, bool readonly)
{
	static const char *const errors[] = { "", ",errors=continue", ",errors=remount-ro",
					      ",errors=panic" };
	char *text;

	if (asprintf(&text, "%s%s%s%s%s%s,commit=%" PRIu64 "%s%s%s%s%s%s%s", readonly ? "ro" : "rw",
		     o->atime == FS_ATIME_NOATIME ? ",noatime" : ",relatime",
		     o->diratime == OFF ? ",nodiratime" : "", o->lazytime == ON ? ",lazytime" : "",
		     o->norecovery == ON ? ",norecovery" : "", errors[o->errors],
		     o->commit_s ? o->commit_s : 5, o->discard == ON ? ",discard" : "",
		     o->barrier == OFF ? ",nobarrier" : "", o->acl == OFF ? ",noacl" : "",
		     o->user_xattr == OFF ? ",nouser_xattr" : "", o->sync == ON ? ",sync" : "",
		     o->dirsync == ON ? ",dirsync" : "",
		     o->share == ON ? ",share=on" : ",share=off") < 0)
		return NULL;
	return text;
}

bool options_guests_write(const struct options *o)
{
	return o->vhost && o->readonly != ON && o->guests_readonly != ON;
}

struct store_opts options_store(const struct options *o)
{
	return (struct store_opts){
		.readonly = o->readonly == ON,
		.norecovery = o->norecovery == ON,
		.discard = o->discard == ON,
		.no_barrier = o->barrier == OFF,
		.nouser_xattr = o->user_xattr == OFF,
		.noacl = o->acl == OFF,
		.errors = (enum errors_policy)o->errors,
		.commit_interval_ms = (uint32_t)o->commit_s * 1000,
		.cache_mb = (uint32_t)o->cache_mb,
		.inodes_cached_max = o->inodes_max,
	};
}

void options_usage(const char *program)
{
	printf("Usage: %s IMAGE MOUNTPOINT [-o WORD[,WORD...]]\n"
	       "Mounts the ext4 filesystem in IMAGE, a file or a block device, at MOUNTPOINT;\n"
	       "returns when the mount answers.\n\n"
	       "  -o WORD,...     mount options, below\n"
	       "  -f              stay in the foreground, log to stderr\n"
	       "  -d              the same, and print every request and reply\n"
	       "  --no-mount      kfs --no-mount IMAGE -o vhost=SOCKET: for virtual machines alone\n"
	       "  -h, --help      this text\n"
	       "  -V, --version   the version\n\n"
	       "Mount options:\n",
	       program);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		const struct word *w = &words[i];
		const char *unit = w->kind == WORD_FLAG || w->kind == WORD_REFUSED ? "" :
				   w->kind == WORD_SECONDS			   ? "=SECONDS" :
				   w->kind == WORD_LEVEL			   ? "=LEVEL" :
				   w->kind == WORD_TEXT				   ? "=TEXT" :
				   w->units					   ? "=BYTES" :
										     "=N";
		char name[64];

		if (!w->help || w->kind == WORD_REFUSED)
			continue;
		(void)snprintf(name, sizeof(name), "%s%s", w->name, unit);
		printf("  %-26s %s\n", name, w->help);
	}
	printf("\nThe words of fstab (x-*, _netdev, nofail, user, noauto, ...) are accepted. See kfs(8).\n");
}
