/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of kfsctl share: the words of the command line, messages, finding a mount, asking its daemon.
 *
 * Functions return EXIT_DONE, EXIT_FAILED or EXIT_USAGE where they end in the exit status, and have said why on
 * standard error by then; standard output holds results only.
 */
#ifndef KFS_CTL_KFSCTL_H
#define KFS_CTL_KFSCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/rundir.h"
#include "daemon/base/util.h"

struct frame_fds;

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* The words after the command's name, options taken out. */
struct words {
	char **word;
	int count;
	bool json;
	uint32_t timeout_ms; /* for an answer; 0 = none */
	bool timeout_given;
	uint32_t watch_s; /* 0 = once */
	bool all, no_sync;
	bool histograms;
	const char *kernel; /* "on", "off"; NULL: leave it */
	bool older_given;
	uint64_t older_s;
	uint64_t guest; /* 0: the host's mount */
	uint64_t min_bytes;
	bool stop, progress;
	uint64_t rate_bytes, memory_bytes;
};

/* "kfsctl: what: why: remedy", the last left out when "". Returns EXIT_FAILED. */
int complain(const char *what, const char *why, const char *remedy);
/* The same for the words themselves, with the hint at --help. Returns EXIT_USAGE. */
int complain_usage(const char *what, const char *why);

/* target.c */

/*
 * The mounts this caller can see. Entries of daemons that are gone and whose mount is gone too are nobody's
 * business and left out.
 */
MUST_USE int mounts_load(struct rundir_list *ret_list);
/*
 * The one mount that @target means: an id, an image, a mount point or a path inside one. NULL: the mount that holds
 * the working directory, else the only one. *ret_info belongs to @list.
 */
MUST_USE int target_find(const struct rundir_list *list, const char *target,
			 const struct rundir_info **ret_info);
/* The mount that file @path lies on; *ret_resolved is its path without symbolic links, owned by the caller. */
MUST_USE int target_find_holder(const struct rundir_list *list, const char *path,
				const struct rundir_info **ret_info, char **ret_resolved);
/*
 * The mount that @path lies on by its letters, and where in its image that is (owned by the caller; "" for its root): the
 * mount is not touched. Only if the letters lead to no kfs mount, symbolic links up to the last name are followed.
 */
MUST_USE int target_find_inside(const struct rundir_list *list, const char *path,
				const struct rundir_info **ret_info, char **ret_inside);
/* The same, but *ret_info is NULL and nothing is said where it lies on no kfs mount. */
MUST_USE int target_look_inside(const struct rundir_list *list, const char *path,
				const struct rundir_info **ret_info, char **ret_inside);
/* Is it a path below a mount's own, by the same rules? Says nothing. */
bool target_is_inside(const struct rundir_list *list, const char *path);
/* How messages name a mount. */
const char *mount_name(const struct rundir_info *info);

/* client.c */

/*
 * Sends @command with @args (taken; NULL = none) to the daemon of @info; *ret_result is owned by the caller.
 * @timeout_ms 0 = wait as long as it takes.
 */
MUST_USE int ask(const struct rundir_info *info, const char *command, json_t *args,
		 uint32_t timeout_ms, json_t **ret_result);
/* Why a question failed, in three parts as messages have them. */
#define WHY_MAX 512
struct failure {
	char what[WHY_MAX], why[WHY_MAX], remedy[WHY_MAX];
};
/* The same without a word on standard error: that is in *ret_failure. */
MUST_USE int ask_quietly(const struct rundir_info *info, const char *command, json_t *args,
			 uint32_t timeout_ms, json_t **ret_result, struct failure *ret_failure);
/* The same with descriptors (struct frame_fds), which stay the caller's; NULL: none. */
MUST_USE int ask_with(const struct rundir_info *info, const char *command, json_t *args,
		      struct frame_fds *fds, json_t **ret_result, struct failure *ret_failure);
/* Finds the mount of @target and asks it. */
MUST_USE int ask_target(const struct words *w, const char *target, const char *command,
			json_t *args, json_t **ret_result);
/* For commands that take as long as the disk does: no time-out unless one was given. */
uint32_t patience_ms(const struct words *w);

/* The commands: each gets its words and returns the exit status. */
int cmd_list(const struct words *w);
int cmd_status(const struct words *w);
int cmd_stats(const struct words *w);
int cmd_metrics(const struct words *w);
int cmd_map(const struct words *w);
int cmd_cache(const struct words *w);
int cmd_check(const struct words *w);
int cmd_sync(const struct words *w);
int cmd_freeze(const struct words *w);
int cmd_thaw(const struct words *w);
int cmd_trim(const struct words *w);
int cmd_trace(const struct words *w);
int cmd_abort(const struct words *w);

/* Prints @json for machines, indented, with a newline. */
int print_json(const json_t *json);

#endif
