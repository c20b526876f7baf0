/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loading and attaching the tracing programs. Those on trace points are one object and go together or not at all. Those on
 * functions (bpf/walk.bpf.c) are optional, each for itself, and use the maps of the first object.
 * A program's section names its function, which is looked up in the kernel's type information first, for arguments differ
 * between kernels and a missing name is better than a verifier's word.
 */
#include "daemon/bpf/trace.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/lock.h"
#include "daemon/base/log.h"
#include "daemon/base/mountinfo.h"
#include "daemon/bpf/libbpf_log.h"
#include "daemon/bpf/object.h"
#include "daemon/bpf/pins.h"

#define PROGRAMS_MAX 12
/* fuse_dentry_revalidate(directory, name, entry, flags); before Linux 6.14 without the first two. */
#define REVALIDATE "fuse_dentry_revalidate"
#define REVALIDATE_ARGS_NEW 4

/* The first ones are what the programs on functions use, too. */
#define MAPS_COMMON 3
static const char *const map_names[] = { "kfs_requests", "kfs_walk", "kfs_starts", "kfs_known" };

/* A program that is attached. */
struct traced {
	struct bpf_object *object; /* to be closed with it; NULL: another one's */
	struct bpf_program *program;
	struct bpf_link *link;
};

struct trace {
	struct trace_opts opts; /* [written once] */
	struct mutex lock;
	struct bpf_object *object;	    /* [lock] NULL: off */
	struct traced traced[PROGRAMS_MAX]; /* [lock] */
	unsigned count;			    /* [lock] */
	struct pins pins;		    /* [lock] */
	char missing[TRACE_MISSING_MAX];    /* [lock] */
};

int trace_new(const struct trace_opts *opts, struct trace **ret_trace)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->opts = *opts;
	mutex_init(&t->lock, LOCK_CTL);
	*ret_trace = t;
	return 0;
}

/* ---- what this kernel has ---- */

struct types {
	struct btf *base, *fuse; /* the same where FUSE is built in */
};

static int types_load(struct types *ret_types, char *why, size_t why_len)
{
	struct types t = { .base = btf__load_vmlinux_btf() };
	int err;

	t.fuse = t.base;
	if (t.base && !access("/sys/kernel/btf/fuse", R_OK))
		t.fuse = btf__load_module_btf("fuse", t.base);
	if (t.fuse) {
		*ret_types = t;
		return 0;
	}
	err = -errno;
	btf__free(t.base);
	(void)snprintf(why, why_len,
		       "no type information of the kernel's FUSE (/sys/kernel/btf): %s: a kernel "
		       "built with CONFIG_DEBUG_INFO_BTF is needed",
		       strerror(-err));
	return err;
}

static void types_free(struct types *t)
{
	if (t->fuse != t->base)
		btf__free(t->fuse);
	btf__free(t->base);
}

/* The trace point, or the function, that the program's section names after a slash. */
static const char *target_of(const struct bpf_program *program)
{
	const char *slash = strchr(bpf_program__section_name(program), '/');

	return slash ? slash + 1 : "";
}

static bool has_trace_point(const struct types *t, const char *name)
{
	char type[64];

	(void)snprintf(type, sizeof(type), "btf_trace_%s", name);
	return btf__find_by_name_kind(t->fuse, type, BTF_KIND_TYPEDEF) > 0;
}

/* How many arguments the function takes; -1: it is not there. */
static int args_of(const struct types *t, const char *name)
{
	int id = btf__find_by_name_kind(t->fuse, name, BTF_KIND_FUNC);
	const struct btf_type *type = id > 0 ? btf__type_by_id(t->fuse, (uint32_t)id) : NULL;

	type = type ? btf__type_by_id(t->fuse, type->type) : NULL;
	return type ? (int)btf_vlen(type) : -1;
}

/* Of two programs for one function the other one is meant. */
static bool is_for_other_args(const struct bpf_program *program, int args)
{
	bool two = strstr(bpf_program__name(program), "_two") != NULL;

	return !strcmp(target_of(program), REVALIDATE) && two != (args < REVALIDATE_ARGS_NEW);
}

static void note_missing(struct trace *t, const char *name, const char *why)
{
	size_t len = strlen(t->missing);

	(void)snprintf(t->missing + len, sizeof(t->missing) - len, "%s%s (%s)", len ? ", " : "",
		       name, why);
}

/* ---- on ---- */

static int set_device(struct trace *t, struct bpf_object *object, char *why, size_t why_len)
{
	struct mountinfo_top top;
	struct bpf_map *map;
	int err = mountinfo_find(t->opts.mountpoint, &top);

	if (err) {
		(void)snprintf(why, why_len, "%s: is not in /proc/self/mountinfo: %s",
			       t->opts.mountpoint, strerror(-err));
		return err;
	}
	bpf_object__for_each_map(map, object)
	{
		size_t size = 0;
		struct kfs_trace_config *config = strstr(bpf_map__name(map), ".rodata") ?
							  bpf_map__initial_value(map, &size) :
							  NULL;

		if (!config || size < sizeof(*config))
			continue;
		/* As the kernel's MKDEV(): FUSE's devices have no name, their major is 0. */
		config->dev = top.major << 20 | top.minor;
		return 0;
	}
	(void)snprintf(why, why_len, "the programs have no place for the device");
	return -EINVAL;
}

static int attach(struct trace *t, struct bpf_object *own, struct bpf_program *program)
{
	struct traced *p = &t->traced[t->count];

	if (t->count == PROGRAMS_MAX)
		return -E2BIG;
	p->link = bpf_program__attach(program);
	if (!p->link)
		return -errno;
	p->object = own;
	p->program = program;
	t->count++;
	return 0;
}

static int start_trace_points(struct trace *t, const struct types *types, char *why, size_t why_len)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "kfs_trace");
	struct bpf_program *program;
	int err;

	libbpf_log_begin();
	t->object = bpf_object__open_mem(trace_bpf_begin, (size_t)(trace_bpf_end - trace_bpf_begin),
					 &opts);
	err = t->object ? set_device(t, t->object, why, why_len) : -errno;
	if (err && t->object)
		return err;
	if (!err)
		bpf_object__for_each_program(program, t->object)
		{
			if (has_trace_point(types, target_of(program)))
				continue;
			(void)snprintf(why, why_len,
				       "this kernel's FUSE has no trace point %s: Linux 6.12 or "
				       "newer is needed",
				       target_of(program));
			return -EOPNOTSUPP;
		}
	if (!err)
		err = bpf_object__load(t->object);
	if (!err)
		bpf_object__for_each_program(program, t->object) if (!err)
			err = attach(t, NULL, program);
	if (err)
		libbpf_log_explain(why, why_len,
				   err == -EPERM ?
					   "loading the tracing programs needs root (CAP_BPF, "
					   "CAP_PERFMON)" :
					   "loading the tracing programs",
				   err);
	return err;
}

static struct bpf_object *open_walk(void)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "kfs_walk");

	return bpf_object__open_mem(walk_bpf_begin, (size_t)(walk_bpf_end - walk_bpf_begin), &opts);
}

static void detach_to(struct trace *t, unsigned count)
{
	while (t->count > count) {
		struct traced *p = &t->traced[--t->count];

		(void)bpf_link__destroy(p->link); /* closing is all it is */
		bpf_object__close(p->object);
	}
}

/* What is to be loaded of @object, with the maps that are there. Takes @object; on failure nothing of it is attached. */
static int load_walk(struct trace *t, struct bpf_object *object)
{
	unsigned before = t->count;
	struct bpf_program *program;
	char why[256];
	int err = 0;

	for (size_t i = 0; i < MAPS_COMMON && !err; i++)
		err = bpf_map__reuse_fd(
			bpf_object__find_map_by_name(object, map_names[i]),
			bpf_map__fd(bpf_object__find_map_by_name(t->object, map_names[i])));
	if (!err)
		err = set_device(t, object, why, sizeof(why));
	if (!err)
		err = bpf_object__load(object);
	bpf_object__for_each_program(program, object) if (!err && bpf_program__autoload(program))
		err = attach(t, t->count == before ? object : NULL, program);
	if (!err && t->count > before)
		return 0;
	if (t->count == before)
		bpf_object__close(object); /* else the first one's entry has it */
	detach_to(t, before);
	return err;
}

/* Is the program one for this kernel? If its function is not there, that is noted. */
static bool fits(struct trace *t, const struct types *types, const struct bpf_program *program)
{
	const char *target = target_of(program);
	int args = args_of(types, target);

	if (args >= 0)
		return !is_for_other_args(program, args);
	/* Without rings in this kernel there is nothing to miss. */
	if (!strstr(target, "uring") && !strstr(t->missing, target))
		note_missing(t, target, "not in this kernel");
	return false;
}

/* Where FUSE is a module, another one may have functions of the same names (kernel-patches/). */
static void aim_at_module(struct bpf_program *program)
{
	char target[128];

	(void)snprintf(target, sizeof(target), "fuse:%s", target_of(program));
	/* It was found there; if it cannot be aimed at, loading says so. */
	(void)bpf_program__set_attach_target(program, 0, target);
}

/* The programs of which @only is one, or all that fit; the flag of a program that is not loaded yet can be set. */
static void choose(struct trace *t, const struct types *types, struct bpf_object *object,
		   const char *only)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		bool it = only ? !strcmp(bpf_program__name(program), only) :
				 fits(t, types, program);

		(void)bpf_program__set_autoload(program, it);
		if (it && types->fuse != types->base)
			aim_at_module(program);
	}
}

/* All of bpf/walk.bpf.c at once, which saves time; where that fails, each program by itself, and what fails is noted. */
static void start_functions(struct trace *t, const struct types *types)
{
	struct bpf_object *list = open_walk(), *object;
	struct bpf_program *program;
	int err;

	t->missing[0] = 0;
	if (!list) {
		note_missing(t, "functions", strerror(errno));
		return;
	}
	choose(t, types, list, NULL);
	object = open_walk();
	if (object) {
		choose(t, types, object, NULL);
		if (!load_walk(t, object))
			goto out_close;
	}
	bpf_object__for_each_program(program, list)
	{
		if (!bpf_program__autoload(program))
			continue;
		object = open_walk();
		if (object)
			choose(t, types, object, bpf_program__name(program));
		err = object ? load_walk(t, object) : -errno;
		if (err)
			note_missing(t, target_of(program), strerror(-err));
	}
out_close:
	bpf_object__close(list);
}

/* Caller holds the lock. */
static void switch_off(struct trace *t)
{
	pins_close(&t->pins);
	detach_to(t, 0);
	bpf_object__close(t->object);
	t->object = NULL;
}

static int map_fd(struct trace *t, const char *name)
{
	return bpf_map__fd(bpf_object__find_map_by_name(t->object, name));
}

/* Without pins kfsctl needs the daemon. */
static void pin(struct trace *t)
{
	int err = pins_open(t->opts.id, &t->pins);

	for (size_t i = 0; i < ARRAY_SIZE(map_names) && !err; i++)
		err = pins_add(&t->pins, map_names[i], map_fd(t, map_names[i]));
	if (!err)
		return;
	log_info("%s/%s: %s: the kernel's statistics are shown by the daemon only (is a BPF file "
		 "system mounted at /sys/fs/bpf?)",
		 BPF_PIN_ROOT, t->opts.id, strerror(-err));
	pins_close(&t->pins);
}

static bool is_traced(const struct trace *t, const char *function)
{
	for (unsigned i = 0; i < t->count; i++)
		if (!strcmp(target_of(t->traced[i].program), function))
			return true;
	return false;
}

static int tell_known(struct trace *t)
{
	struct kfs_kernel_known known = {
		.names = is_traced(t, REVALIDATE) && is_traced(t, "fuse_lookup"),
		.attributes = is_traced(t, "fuse_getattr") && is_traced(t, "fuse_permission"),
	};
	uint32_t zero = 0;

	return bpf_map_update_elem(map_fd(t, "kfs_known"), &zero, &known, BPF_ANY) ? -errno : 0;
}

static int switch_on(struct trace *t, char *why, size_t why_len)
{
	struct types types = { NULL, NULL };
	int err;

	if (t->opts.device) {
		(void)snprintf(why, why_len,
			       "the mount goes through %s, whose programs count by themselves",
			       t->opts.device);
		return -EOPNOTSUPP;
	}
	err = types_load(&types, why, why_len);
	if (err)
		return err;
	err = start_trace_points(t, &types, why, why_len);
	if (!err) {
		start_functions(t, &types);
		err = tell_known(t);
		if (err)
			(void)snprintf(why, why_len, "kfs_known: %s", strerror(-err));
	}
	types_free(&types);
	if (err)
		switch_off(t);
	else
		pin(t);
	return err;
}

int trace_switch(struct trace *t, bool on, char *why, size_t why_len)
{
	char missing[TRACE_MISSING_MAX] = "";
	bool was;
	int err = 0;

	mutex_lock(&t->lock);
	was = t->object != NULL;
	if (on && !was) {
		err = switch_on(t, why, why_len);
		memcpy(missing, t->missing, sizeof(missing));
	} else if (!on && was) {
		switch_off(t);
	}
	mutex_unlock(&t->lock);
	if (err || on == was)
		return err;
	log_info("%s: statistics of the kernel are %s", t->opts.mountpoint, on ? "on" : "off");
	if (*missing)
		log_warn("%s: statistics of the kernel: not counted: %s", t->opts.mountpoint,
			 missing);
	return 0;
}

void trace_free(struct trace *t)
{
	if (!t)
		return;
	if (t->object)
		switch_off(t);
	free(t);
}

/* ---- what they counted ---- */

static uint64_t missed(const struct trace *t)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->count; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof(info);

		if (!bpf_prog_get_info_by_fd(bpf_program__fd(t->traced[i].program), &info, &len))
			sum += info.recursion_misses;
	}
	return sum;
}

int trace_get_state(struct trace *t, struct trace_state *ret_state)
{
	struct kernel_maps maps;
	int err = 0;

	memset(ret_state, 0, sizeof(*ret_state));
	mutex_lock(&t->lock);
	if (t->object) {
		ret_state->on = true;
		memcpy(ret_state->missing, t->missing, sizeof(t->missing));
		ret_state->missed = missed(t);
		maps = (struct kernel_maps){ .requests = map_fd(t, "kfs_requests"),
					     .walk = map_fd(t, "kfs_walk"),
					     .known = map_fd(t, "kfs_known") };
		err = kernel_counters_of(&maps, &ret_state->counters);
	}
	mutex_unlock(&t->lock);
	return err;
}
