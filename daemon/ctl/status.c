// SPDX-License-Identifier: GPL-2.0-only
/*
 * The status command: what is mounted, how, and how it fares.
 *
 * Takes no lock of the filesystem: it answers while a request hangs. Numbers are read one by one, so they belong to
 * moments close together, not to one moment.
 */
#include "daemon/ctl/server.h"

#include <stdio.h>

#include "daemon/bpf/bpf.h"
#include "daemon/dev/dev.h"
#include "daemon/fs/fs.h"
#include "daemon/store/store.h"

#define FEATURE_NAMES_MAX 1024
#define COMMIT_INTERVAL_DEFAULT_MS 5000 /* what the journal takes 0 for */

static void put_text(json_t *object, const char *key, const char *text)
{
	ctl_put(object, key, text && *text ? ctl_text(text) : json_null());
}

/* "a,b,c" as an array. */
static json_t *comma_list(const char *text)
{
	json_t *list = json_array();

	while (text && *text) {
		size_t len = strcspn(text, ",");

		if (len)
			(void)json_array_append_new(
				list, json_stringn(text, len)); /* absent if memory is short */
		text += len + (text[len] == ',');
	}
	return list;
}

static void put_uuid(json_t *object, const uint8_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	char text[37];
	unsigned int i, at = 0;

	for (i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		text[at++] = digits[uuid[i] >> 4];
		text[at++] = digits[uuid[i] & 15];
	}
	text[at] = '\0';
	ctl_put(object, "uuid", json_string(text));
}

static json_t *features(const struct store *s)
{
	char names[FEATURE_NAMES_MAX];

	store_feature_names(s->feature_compat, s->feature_incompat, s->feature_ro_compat, names,
			    sizeof(names));
	return comma_list(names);
}

static json_t *space(struct fs *fs, const struct store *s)
{
	json_t *o = json_object();
	struct fs_statfs st;

	if (fs_statfs(fs, &st))
		return o;
	ctl_put_count(o, "block_bytes", s->block_size);
	ctl_put_count(o, "blocks", s->blocks_count);
	ctl_put_count(o, "blocks_usable", st.blocks);
	ctl_put_count(o, "blocks_free", st.bfree);
	ctl_put_count(o, "blocks_available", st.bavail);
	ctl_put_count(o, "blocks_reserved", s->reserved_blocks);
	ctl_put_count(o, "usable_bytes", st.blocks * st.bsize);
	ctl_put_count(o, "free_bytes", st.bfree * st.bsize);
	ctl_put_count(o, "available_bytes", st.bavail * st.bsize);
	ctl_put_count(o, "inode_bytes", s->inode_size);
	ctl_put_count(o, "inodes", st.files);
	ctl_put_count(o, "inodes_free", st.ffree);
	ctl_put_count(o, "groups", s->group_count);
	ctl_put_count(o, "blocks_per_group", s->blocks_per_group);
	ctl_put_count(o, "inodes_per_group", s->inodes_per_group);
	return o;
}

static json_t *journal(const struct store *s)
{
	uint32_t interval_ms = s->opts.commit_interval_ms;
	struct journal_stats stats;
	json_t *o = json_object();

	ctl_put(o, "present", json_boolean(journal_has_log(s->journal)));
	ctl_put_count(o, "commit_interval_seconds",
		      (interval_ms ? interval_ms : COMMIT_INTERVAL_DEFAULT_MS) / 1000);
	ctl_put(o, "barrier", json_boolean(!s->opts.no_barrier));
	journal_get_stats(s->journal, &stats);
	if (journal_has_log(s->journal)) {
		ctl_put_count(o, "ino", s->journal_ino);
		ctl_put_count(o, "blocks", stats.log_blocks);
		ctl_put_count(o, "blocks_free", stats.log_blocks_free);
		ctl_put_count(o, "bytes", stats.log_blocks * s->block_size);
		ctl_put_count(o, "free_bytes", stats.log_blocks_free * s->block_size);
	}
	ctl_put_count(o, "tid_running", stats.tid_running);
	ctl_put_count(o, "tid_committed", stats.tid_committed);
	put_text(o, "error", stats.abort_error ? strerrorname_np(-stats.abort_error) : NULL);
	return o;
}

static json_t *errors(const struct store *s)
{
	static const char *const policies[] = { [ERRORS_DEFAULT] = "continue",
						[ERRORS_CONTINUE] = "continue",
						[ERRORS_REMOUNT_RO] = "remount-ro",
						[ERRORS_PANIC] = "panic" };
	uint32_t state = atomic_load(&s->error_state);
	json_t *o = json_object();

	ctl_put_count(o, "corruptions", atomic_load(&s->corruptions));
	ctl_put(o, "recorded", json_boolean(state & STORE_ERR_CORRUPT));
	ctl_put(o, "journal_aborted", json_boolean(state & STORE_ERR_ABORTED));
	ctl_put(o, "foreign_write", json_boolean(state & STORE_ERR_FOREIGN));
	ctl_put(o, "policy", json_string(policies[s->opts.errors]));
	return o;
}

json_t *ctl_timeouts(const struct ctl_env *env)
{
	json_t *o = json_object();

	ctl_put(o, "entry_seconds", json_real(env->entry_timeout_s));
	ctl_put(o, "attr_seconds", json_real(env->attr_timeout_s));
	ctl_put(o, "negative_seconds", json_real(env->negative_timeout_s));
	return o;
}

/* Which tier of caching runs, and why it is this one. */
static void put_tier(json_t *o, const struct ctl_env *env)
{
	const char *profile = env->share ? "share=on: others may write, so short timeouts "
					   "and write-through, with exact invalidation" :
					   "share=off: the host is the only writer, so long "
					   "timeouts and the writeback cache";
	struct bpf_state state = { 0 };
	char reason[1024];

	if (env->bpf)
		bpf_get_state(env->bpf, &state);
	if (state.attached)
		(void)snprintf(reason, sizeof(reason), "BPF programs answer from tables; %s",
			       profile);
	else
		(void)snprintf(reason, sizeof(reason), "no BPF: %s; %s",
			       *state.detached_why ? state.detached_why :
			       env->bpf_why	   ? env->bpf_why :
						     "not looked for",
			       profile);
	ctl_put(o, "tier", json_string(state.attached ? "bpf" : "stock"));
	ctl_put(o, "tier_reason", ctl_text(reason));
	ctl_put(o, "extents", json_boolean(state.attached && !env->extents_why));
	put_text(o, "extents_reason",
		 !state.attached  ? "no BPF" :
		 env->extents_why ? env->extents_why :
				    "the kernel reads files from the image by itself");
	ctl_put(o, "bpf_pins", *state.pins ? ctl_text(state.pins) : json_null());
	ctl_put(o, "timeouts", ctl_timeouts(env));
	ctl_put(o, "share", json_boolean(env->share));
	ctl_put(o, "recover", json_string("off"));
}

/* How the kernel's requests come, and why that way. */
static void put_transport(json_t *o, const struct ctl_env *env)
{
	struct dev_stats stats;

	if (!env->dev)
		return;
	dev_get_stats(env->dev, &stats);
	ctl_put(o, "transport", json_string(stats.uring ? "uring" : "dev"));
	ctl_put(o, "transport_reason", json_string(stats.why));
}

int ctl_status(struct ctl_call *call)
{
	struct ctl_server *server = call->server;
	const struct ctl_env *env = &server->env;
	struct store *s = fs_store(env->fs);
	bool readonly = atomic_load(&s->readonly);
	json_t *o = call->result;

	ctl_put(o, "id", ctl_text(env->id));
	ctl_put(o, "image", ctl_text(env->image));
	put_text(o, "mountpoint", env->mountpoint);
	put_uuid(o, s->uuid);
	put_text(o, "label", s->label);
	ctl_put(o, "version", ctl_text(env->version));
	ctl_put_count(o, "worker_pid", (uint64_t)getpid());
	ctl_put(o, "supervisor_pid", json_null());
	ctl_put_count(o, "owner_uid", env->owner_uid);
	ctl_put_count(o, "uptime_seconds", ctl_uptime_seconds(server));
	ctl_put_count(o, "started_unix_seconds", (uint64_t)server->started_at);
	ctl_put(o, "readonly", json_boolean(readonly));
	put_text(o, "readonly_reason",
		 !readonly	 ? NULL :
		 s->readonly_why ? s->readonly_why :
				   "mounted read-only (ro)");
	ctl_put(o, "frozen", json_boolean(ctl_is_frozen(server)));
	ctl_put(o, "check", ctl_check_progress(server));
	put_tier(o, env);
	put_transport(o, env);
	ctl_put(o, "guests", ctl_guests_status(env));
	ctl_put(o, "sandbox", json_boolean(!env->sandbox_why || !*env->sandbox_why));
	put_text(o, "sandbox_off_reason", env->sandbox_why);
	ctl_put(o, "options", comma_list(env->options));
	ctl_put(o, "features", features(s));
	ctl_put(o, "space", space(env->fs, s));
	ctl_put(o, "journal", journal(s));
	ctl_put(o, "errors", errors(s));
	return 0;
}
