// SPDX-License-Identifier: GPL-2.0-only
/*
 * cache_show and cache_drop: what the kernel would answer for a path by itself, whether that agrees with the store, and
 * making it forget.
 *
 * Store and tables are looked at while the directory's and the node's lock are held, so that a change is in both or in
 * neither. Looking leaves no trace in either (fs_peek()). What the kernel's own dcache holds cannot be asked for; it is
 * bounded by the time-outs, which are shown.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#include "daemon/bpf/bpf.h"
#include "daemon/ctl/server.h"
#include "daemon/dev/dev.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "daemon/proto/proto.h"
#include "daemon/store/inode.h"

/* Of FUSE's protocol: from here on the kernel can be told that every cached name may be old. */
#define MINOR_EPOCH 44

struct show {
	struct ctl_call *call;
	struct bpf *bpf; /* NULL: there are no tables */
	json_t *differences;
};

PRINTF_LIKE(2, 3) static void differs(struct show *show, const char *fmt, ...)
{
	char text[CTL_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap); /* numbers: it fits */
	va_end(ap);
	(void)json_array_append_new(show->differences, json_string(text)); /* short if memory is */
}

/* ---- as JSON ---- */

static uint64_t ino_of(uint64_t nodeid)
{
	return nodeid == 1 ? EXT4_ROOT_INO : (uint32_t)nodeid;
}

static void put_node(json_t *o, uint64_t nodeid)
{
	ctl_put_count(o, "ino", ino_of(nodeid));
	/* A nodeid is both in one number, too large for JSON's integers. */
	ctl_put_count(o, "generation", nodeid >> 32);
}

static json_t *time_of(int64_t s, uint32_t ns)
{
	return json_sprintf("%" PRId64 ".%09u", s, ns);
}

static json_t *store_side(const struct fs_peek *p)
{
	const struct fs_attr *a = &p->attr;
	json_t *o = json_object();

	ctl_put(o, "exists", json_boolean(p->nodeid));
	if (p->dir)
		ctl_put_count(o, "directory_version", p->dir_version);
	if (!p->nodeid)
		return o;
	put_node(o, p->nodeid);
	ctl_put_count(o, "version", a->version);
	ctl_put(o, "mode", json_sprintf("0%o", a->mode));
	ctl_put_count(o, "nlink", a->nlink);
	ctl_put_count(o, "uid", a->uid);
	ctl_put_count(o, "gid", a->gid);
	ctl_put_count(o, "size_bytes", a->size);
	ctl_put(o, "mtime", time_of(a->mtime.s, a->mtime.ns));
	ctl_put(o, "ctime", time_of(a->ctime.s, a->ctime.ns));
	ctl_put(o, "has_capability", json_boolean(p->has_capability));
	ctl_put(o, "has_acl", json_boolean(p->has_acl));
	return o;
}

static const char *state_name(uint8_t state)
{
	static const char *const names[] = { [KFS_SLOT_FREE] = "none",
					     [KFS_SLOT_UNKNOWN] = "unknown",
					     [KFS_SLOT_KNOWN] = "known",
					     [KFS_SLOT_ABSENT] = "absent",
					     [KFS_SLOT_HELD] = "held" };

	return state < ARRAY_SIZE(names) ? names[state] : "invalid";
}

static json_t *entry_side(const struct bpf_entry_view *e)
{
	json_t *o = json_object();

	ctl_put(o, "state", json_string(state_name(e->state)));
	if (e->state == KFS_SLOT_FREE)
		return o;
	if (e->state == KFS_SLOT_KNOWN)
		put_node(o, e->nodeid);
	ctl_put_count(o, "version", e->version);
	ctl_put(o, "used", json_boolean(e->used));
	return o;
}

static json_t *node_side(const struct bpf_node_view *n)
{
	json_t *o = json_object();

	ctl_put(o, "state", json_string(state_name(n->state)));
	if (n->state == KFS_SLOT_FREE)
		return o;
	ctl_put_count(o, "version", n->version);
	ctl_put(o, "used", json_boolean(n->used));
	ctl_put(o, "no_capability", json_boolean(n->flags & KFS_NO_CAPABILITY));
	ctl_put(o, "no_acl", json_boolean(n->flags & KFS_NO_ACL));
	if (n->state == KFS_SLOT_KNOWN) {
		ctl_put(o, "mode", json_sprintf("0%o", n->attr.mode));
		ctl_put_count(o, "size_bytes", n->attr.size);
	}
	return o;
}

static json_t *dir_side(const struct bpf_node_view *d)
{
	json_t *o = json_object();

	ctl_put(o, "complete", json_boolean(d->flags & KFS_DIR_COMPLETE));
	ctl_put(o, "being_listed", json_boolean(d->flags & KFS_DIR_LISTING));
	ctl_put_count(o, "version", d->version);
	return o;
}

/* ---- does it agree? ---- */

static bool says_absent(const struct bpf_view *v)
{
	return v->entry.state == KFS_SLOT_ABSENT ||
	       (v->entry.state == KFS_SLOT_FREE && (v->dir.flags & KFS_DIR_COMPLETE));
}

static void judge_entry(struct show *show, const struct fs_peek *p, const struct bpf_view *v)
{
	if (says_absent(v) && p->nodeid)
		differs(show, "name: absent in the kernel, inode %" PRIu64 " in the store",
			ino_of(p->nodeid));
	if (v->entry.state == KFS_SLOT_KNOWN && v->entry.nodeid != p->nodeid)
		differs(show,
			"name: inode %" PRIu64 " generation %" PRIu64
			" in the kernel, inode %" PRIu64 " generation %" PRIu64 " in the store",
			ino_of(v->entry.nodeid), v->entry.nodeid >> 32,
			p->nodeid ? ino_of(p->nodeid) : 0, p->nodeid >> 32);
	if (v->entry.state != KFS_SLOT_FREE && v->entry.version > p->dir_version)
		differs(show, "name: version %" PRIu64 " in the kernel, %" PRIu64 " in the store",
			v->entry.version, p->dir_version);
}

static void judge_number(struct show *show, const char *what, uint64_t kernel, uint64_t store)
{
	if (kernel != store)
		differs(show, "%s: %" PRIu64 " in the kernel, %" PRIu64 " in the store", what,
			kernel, store);
}

static void judge_attr(struct show *show, const struct fs_attr *a, const struct fuse_bpf_attr *k)
{
	judge_number(show, "ino", k->ino, a->ino);
	judge_number(show, "size", k->size, a->size);
	judge_number(show, "blocks", k->blocks, a->blocks);
	judge_number(show, "mode", k->mode, a->mode);
	judge_number(show, "nlink", k->nlink, a->nlink);
	judge_number(show, "uid", k->uid, a->uid);
	judge_number(show, "gid", k->gid, a->gid);
	judge_number(show, "rdev", k->rdev, a->rdev);
	judge_number(show, "blksize", k->blksize, a->blksize);
	judge_number(show, "atime", k->atime, (uint64_t)a->atime.s);
	judge_number(show, "atime's nanoseconds", k->atimensec, a->atime.ns);
	judge_number(show, "mtime", k->mtime, (uint64_t)a->mtime.s);
	judge_number(show, "mtime's nanoseconds", k->mtimensec, a->mtime.ns);
	judge_number(show, "ctime", k->ctime, (uint64_t)a->ctime.s);
	judge_number(show, "ctime's nanoseconds", k->ctimensec, a->ctime.ns);
	if (!(k->flags & FUSE_BPF_ATTR_BTIME))
		return;
	judge_number(show, "btime", (uint64_t)k->btime_sec, (uint64_t)a->btime.s);
	judge_number(show, "btime's nanoseconds", k->btime_nsec, a->btime.ns);
}

static void judge_node(struct show *show, const struct fs_peek *p, const struct bpf_node_view *n)
{
	if (!p->nodeid || n->state == KFS_SLOT_FREE)
		return;
	if (n->state == KFS_SLOT_KNOWN)
		judge_attr(show, &p->attr, &n->attr);
	if (n->version > p->attr.version)
		differs(show,
			"attributes: version %" PRIu64 " in the kernel, %" PRIu64 " in the store",
			n->version, p->attr.version);
	if ((n->flags & KFS_NO_CAPABILITY) && p->has_capability)
		differs(show, "security.capability: absent in the kernel, there in the store");
	if ((n->flags & KFS_NO_ACL) && p->has_acl)
		differs(show, "POSIX ACL: absent in the kernel, there in the store");
}

/* What a lookup and a stat would get, as the programs decide it. */
static void put_answers(json_t *o, const struct bpf_view *v)
{
	bool present = v->entry.state == KFS_SLOT_KNOWN && v->node.state == KFS_SLOT_KNOWN;

	ctl_put(o, "lookup",
		json_string(present	   ? "present" :
			    says_absent(v) ? "absent" :
					     "asks the daemon"));
	ctl_put(o, "getattr",
		json_string(v->node.state == KFS_SLOT_KNOWN ? "answered" : "asks the daemon"));
}

static int show_it(void *arg, const struct fs_peek *p)
{
	struct show *show = arg;
	json_t *o = show->call->result, *kernel;
	struct bpf_question q = {
		.dir = p->dir, .name = p->name.name, .name_len = p->name.len, .nodeid = p->nodeid
	};
	struct bpf_view v;

	ctl_put(o, "store", store_side(p));
	if (!show->bpf)
		return 0;
	bpf_peek(show->bpf, &q, &v);
	judge_entry(show, p, &v);
	judge_node(show, p, &v.node);
	kernel = json_object();
	if (p->dir) {
		ctl_put(kernel, "name", entry_side(&v.entry));
		ctl_put(kernel, "directory", dir_side(&v.dir));
	}
	ctl_put(kernel, "attributes", node_side(&v.node));
	put_answers(kernel, &v);
	ctl_put(o, "kernel", kernel);
	return 0;
}

static int fail_path(struct ctl_call *call, int error)
{
	return ctl_fail(call, error, "cache",
			error == -EINVAL  ? "\".\" and \"..\" are no names of a path here" :
			error == -ENOENT  ? "a directory on the way does not exist" :
			error == -ENOTDIR ? "what is on the way is not a directory (symbolic links "
					    "are not followed)" :
			error == -ENAMETOOLONG ? "a name is too long" :
						 "the store cannot read it: see the log",
			"");
}

int ctl_cache_show(struct ctl_call *call)
{
	const struct ctl_env *env = &call->server->env;
	const char *path = ctl_arg_text(call, "path");
	struct bpf_state state = { 0 };
	struct show show = { .call = call, .differences = json_array() };
	json_t *o = call->result;
	int error;

	if (env->bpf)
		bpf_get_state(env->bpf, &state);
	if (state.attached)
		show.bpf = env->bpf;
	ctl_put(o, "path", ctl_text(path));
	ctl_put(o, "tier", json_string(state.attached ? "bpf" : "stock"));
	ctl_put(o, "kernel", json_null());
	ctl_put(o, "timeouts", ctl_timeouts(env));
	error = fs_peek(env->fs, path, show_it, &show);
	ctl_put(o, "agrees",
		show.bpf ? json_boolean(!json_array_size(show.differences)) : json_null());
	ctl_put(o, "differences", show.differences);
	return error ? fail_path(call, error) : 0;
}

/* ---- forgetting ---- */

static void forget(struct inval_bus *bus, struct inval_event ev, enum inval_kind kind)
{
	ev.kind = kind;
	inval_publish(bus, &ev);
}

/* As if others had changed it: tables and kernel are told. */
static int drop_it(void *arg, const struct fs_peek *p)
{
	struct inval_event name = { .nodeid = p->dir,
				    .version = p->dir_version,
				    .nodeid_child = p->nodeid,
				    .name = p->name.name,
				    .name_len = p->name.len };
	struct inval_event node = { .nodeid = p->nodeid, .version = p->attr.version };

	if (p->dir)
		forget(arg, name, INVAL_ENTRY);
	if (p->nodeid) {
		forget(arg, node, INVAL_ATTR);
		forget(arg, node, INVAL_XATTR);
	}
	return 0;
}

/* Can the kernel be told at once that nothing holds? */
static bool has_epoch(struct dev *dev)
{
	struct proto_stats *stats = calloc(1, sizeof(*stats));
	bool has = false;

	if (dev && stats) {
		proto_get_stats(dev_session(dev), stats);
		has = stats->minor >= MINOR_EPOCH;
	}
	free(stats);
	return has;
}

static void drop_all(struct ctl_call *call)
{
	const struct ctl_env *env = &call->server->env;
	struct inval_event all = { .kind = INVAL_ALL };
	bool told = has_epoch(env->dev);

	if (told)
		inval_publish(env->bus, &all);
	else if (env->bpf)
		bpf_clear(env->bpf);
	ctl_put(call->result, "kernel_names_dropped", json_boolean(told));
}

int ctl_cache_drop(struct ctl_call *call)
{
	const struct ctl_env *env = &call->server->env;
	const char *path = ctl_arg_text(call, "path");
	int error = path ? fs_peek(env->fs, path, drop_it, env->bus) : 0;

	if (error)
		return fail_path(call, error);
	if (path)
		ctl_put(call->result, "kernel_names_dropped", json_true());
	else
		drop_all(call);
	ctl_put(call->result, "tables", json_boolean(env->bpf));
	return 0;
}
