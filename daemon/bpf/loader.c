/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loading, attaching, pinning: libbpf does it. The object is opened once; sizes, keys and time-outs are set before it is
 * loaded, and the device's descriptor in the struct_ops, which the kernel reads when it is attached.
 *
 * Pins are for people and for kfsctl, which reads counters through them while we hang. The link is not pinned: when we
 * die, the programs go with us.
 */
#include "daemon/bpf/bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "daemon/base/log.h"
#include "daemon/bpf/extents.h"
#include "daemon/bpf/libbpf_log.h"
#include "daemon/bpf/object.h"
#include "daemon/bpf/pins.h"
#include "daemon/bpf/tables.h"
#include "daemon/inval/inval.h"

#define PROCESSORS_MAX 4096
/* Of the memory for tables that of extents gets one part in so many. */
#define EXTENTS_SHARE 8

static const char *const map_names[] = { "kfs_entries", "kfs_attrs", "kfs_extents", "kfs_stats",
					 "kfs_tables" };
/* Not loaded without extents: the last. */
static const char *const program_names[] = { "kfs_lookup", "kfs_getattr", "kfs_xattr",
					     "kfs_extent" };

struct bpf {
	struct inval_subscriber sub;
	struct inval_bus *bus;
	struct bpf_object *object;
	struct bpf_link *link;
	struct tables tables;
	struct inval_subscriber extents_sub;
	struct extents extents;
	bool has_extents;
	void *entries, *attrs, *extent_sets, *stats; /* mapped; NULL until then */
	size_t entries_size, attrs_size, extents_size;
	struct pins pins;
};

/* As bpf/kernel_types.h has it; libbpf puts programs' pointers where the kernel has functions. */
struct ops_values {
	void *programs[4];
	int32_t dev_fd, image_fd;
	uint32_t flags;
};

const char *bpf_missing(void)
{
	if (access(BPF_DEVICE, F_OK))
		return BPF_DEVICE
			" is not there: load the kernel module (modprobe fusebpf), or build "
			"and install it first (kernel-patches/build.sh install)";
	if (access(BPF_DEVICE, R_OK | W_OK))
		return BPF_DEVICE " cannot be opened: only root may mount with BPF";
	return NULL;
}

/* ---- loading ---- */

static void on_event(struct inval_subscriber *sub, const struct inval_event *ev)
{
	tables_event(&container_of(sub, struct bpf, sub)->tables, ev);
}

static void on_extents_event(struct inval_subscriber *sub, const struct inval_event *ev)
{
	extents_event(&container_of(sub, struct bpf, extents_sub)->extents, ev);
}

static struct bpf_map *find_map(struct bpf *b, const char *name)
{
	return bpf_object__find_map_by_name(b->object, name);
}

static int set_config(struct bpf *b, const struct kfs_config *config)
{
	struct bpf_map *rodata = NULL, *map, *ops = find_map(b, "kfs_ops");
	size_t size = 0;
	void *value;

	bpf_object__for_each_map(map, b->object)
	{
		if (strstr(bpf_map__name(map), ".rodata"))
			rodata = map;
	}
	value = rodata ? bpf_map__initial_value(rodata, &size) : NULL;
	if (!value || size < sizeof(*config) || !ops)
		return -EINVAL;
	memcpy(value, config, sizeof(*config));
	if (bpf_map__set_max_entries(find_map(b, "kfs_entries"), config->entry_sets) ||
	    bpf_map__set_max_entries(find_map(b, "kfs_attrs"), config->attr_sets) ||
	    bpf_map__set_max_entries(find_map(b, "kfs_extents"), config->extent_sets))
		return -EINVAL;
	return 0;
}

static struct bpf_program *find_program(struct bpf *b, const char *name)
{
	return bpf_object__find_program_by_name(b->object, name);
}

static int set_ops(struct bpf *b, const struct bpf_opts *opts)
{
	size_t size = 0;
	struct ops_values *ops = bpf_map__initial_value(find_map(b, "kfs_ops"), &size);

	if (!ops || size < sizeof(*ops))
		return -EINVAL;
	ops->dev_fd = opts->dev_fd;
	if (opts->extents) {
		ops->image_fd = opts->image_fd;
		return 0;
	}
	ops->programs[ARRAY_SIZE(ops->programs) - 1] = NULL;
	return bpf_program__set_autoload(find_program(b, "kfs_extent"), false);
}

static int map_memory(struct bpf *b, const char *name, size_t size, void **ret_memory)
{
	int fd = bpf_map__fd(find_map(b, name));
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret_memory = p;
	return 0;
}

static size_t whole_pages(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return ROUND_UP(size, page);
}

static int map_all(struct bpf *b, const struct kfs_config *config)
{
	int err;

	b->entries_size = whole_pages(config->entry_sets * sizeof(struct kfs_entry_set));
	b->attrs_size = whole_pages(config->attr_sets * sizeof(struct kfs_attr_set));
	err = map_memory(b, "kfs_entries", b->entries_size, &b->entries);
	if (!err)
		err = map_memory(b, "kfs_attrs", b->attrs_size, &b->attrs);
	b->extents_size = whole_pages(config->extent_sets * sizeof(struct kfs_extent_set));
	if (!err)
		err = map_memory(b, "kfs_extents", b->extents_size, &b->extent_sets);
	if (!err)
		err = map_memory(b, "kfs_tables", whole_pages(sizeof(struct kfs_table_stats)),
				 &b->stats);
	return err;
}

static int load_object(struct bpf *b, const struct bpf_opts *opts, const struct kfs_config *config)
{
	LIBBPF_OPTS(bpf_object_open_opts, open_opts, .object_name = "kfs");
	int err;

	b->object = bpf_object__open_mem(kfs_bpf_begin, (size_t)(kfs_bpf_end - kfs_bpf_begin),
					 &open_opts);
	if (!b->object)
		return -errno;
	err = set_config(b, config);
	if (!err)
		err = set_ops(b, opts);
	if (!err)
		err = bpf_object__load(b->object);
	if (!err)
		err = map_all(b, config);
	return err;
}

static int make_config(const struct bpf_opts *opts, struct kfs_config *config)
{
	*config = (struct kfs_config){
		.entry_valid = opts->entry.s,
		.entry_valid_nsec = opts->entry.ns,
		.negative_valid = opts->negative.s,
		.negative_valid_nsec = opts->negative.ns,
	};
	if (getrandom(config->key, sizeof(config->key), 0) != sizeof(config->key))
		return -EIO;
	config->extent_sets = extents_sets(opts->extents ? (opts->mib << 20) / EXTENTS_SHARE : 0);
	tables_sizes((opts->mib << 20) - config->extent_sets * sizeof(struct kfs_extent_set),
		     &config->entry_sets, &config->attr_sets);
	tables_config_names(config);
	return 0;
}

static void start_extents(struct bpf *b, const struct bpf_opts *opts, uint32_t sets)
{
	struct extents_opts extents = {
		.sets = b->extent_sets,
		.stats = b->stats,
		.count = sets,
		.image_off = opts->image_off,
		.until_attr = opts->extents_until_attr,
	};

	extents_init(&b->extents, &extents);
	b->extents_sub = (struct inval_subscriber){ .name = "bpf-extents",
						    .kinds = EXTENTS_KINDS,
						    .notify = on_extents_event };
	b->has_extents = true;
	inval_subscribe(b->bus, &b->extents_sub);
}

int bpf_load(const struct bpf_opts *opts, struct bpf **ret_bpf, char *why, size_t why_len)
{
	struct bpf *b = calloc(1, sizeof(*b));
	struct tables_opts tables;
	int err;

	libbpf_log_begin();
	if (!b) {
		(void)snprintf(why, why_len, "out of memory");
		return -ENOMEM;
	}
	tables = (struct tables_opts){ .attr_valid = opts->attr.s,
				       .attr_valid_nsec = opts->attr.ns };
	err = make_config(opts, &tables.config);
	if (!err)
		err = load_object(b, opts, &tables.config);
	if (err) {
		libbpf_log_explain(why, why_len, "loading the BPF programs", err);
		bpf_free(b);
		return err;
	}
	tables.entries = b->entries;
	tables.attrs = b->attrs;
	tables.stats = b->stats;
	tables_init(&b->tables, &tables);
	b->bus = opts->bus;
	b->sub = (struct inval_subscriber){ .name = "bpf",
					    .kinds = TABLES_KINDS,
					    .notify = on_event };
	inval_subscribe(b->bus, &b->sub);
	if (opts->extents)
		start_extents(b, opts, tables.config.extent_sets);
	*ret_bpf = b;
	return 0;
}

const char *bpf_image_refused(int image_fd)
{
	struct statfs fs;
	struct stat st;

	if (image_fd < 0 || fstat(image_fd, &st) || fstatfs(image_fd, &fs))
		return "the image is no file";
	if (S_ISBLK(st.st_mode))
		return NULL;
	switch (fs.f_type) {
	case FUSE_SUPER_MAGIC: return "the image lies on a FUSE file system";
	case OVERLAYFS_SUPER_MAGIC:
	case ECRYPTFS_SUPER_MAGIC: return "the image lies on a stacked file system";
	default: return NULL;
	}
}

/* ---- pins ---- */

static int pin_all(struct bpf *b)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(map_names) && !err; i++)
		err = pins_add(&b->pins, map_names[i], bpf_map__fd(find_map(b, map_names[i])));
	for (size_t i = 0; i < ARRAY_SIZE(program_names) - !b->has_extents && !err; i++)
		err = pins_add(&b->pins, program_names[i],
			       bpf_program__fd(find_program(b, program_names[i])));
	return err;
}

/* A mount without pins works; kfsctl and bpftool have less to look at. */
static void pin(struct bpf *b, const char *id)
{
	int err = pins_open(id, &b->pins);

	if (!err)
		err = pin_all(b);
	if (!err)
		return;
	log_warn("%s/%s: %s: counters are shown by the daemon only", BPF_PIN_ROOT, id,
		 strerror(-err));
	pins_close(&b->pins);
}

/* ---- the rest of life ---- */

int bpf_attach(struct bpf *b, const char *id, char *why, size_t why_len)
{
	libbpf_log_begin();
	b->link = bpf_map__attach_struct_ops(find_map(b, "kfs_ops"));
	if (!b->link) {
		int err = -errno;

		libbpf_log_explain(why, why_len, "attaching the BPF programs", err);
		return err;
	}
	pin(b, id);
	return 0;
}

static void unmap(void *memory, size_t size)
{
	if (memory)
		(void)munmap(memory, size); /* our own mapping */
}

void bpf_free(struct bpf *b)
{
	if (!b)
		return;
	if (b->bus)
		inval_unsubscribe(b->bus, &b->sub);
	if (b->has_extents)
		inval_unsubscribe(b->bus, &b->extents_sub);
	if (b->link)
		(void)bpf_link__destroy(b->link); /* closing is all it is */
	pins_close(&b->pins);
	unmap(b->entries, b->entries_size);
	unmap(b->attrs, b->attrs_size);
	unmap(b->extent_sets, b->extents_size);
	unmap(b->stats, whole_pages(sizeof(struct kfs_table_stats)));
	bpf_object__close(b->object);
	free(b);
}

static void sum_answers(struct bpf *b, struct kfs_answers *ret_answers)
{
	int processors = libbpf_num_possible_cpus();
	_cleanup_free_ struct kfs_answers *values = NULL;
	uint64_t *sums = (uint64_t *)ret_answers;
	uint32_t zero = 0;

	if (processors < 1 || processors > PROCESSORS_MAX)
		return;
	values = calloc((size_t)processors, sizeof(*values));
	if (!values || bpf_map_lookup_elem(bpf_map__fd(find_map(b, "kfs_stats")), &zero, values))
		return;
	for (int i = 0; i < processors; i++)
		for (size_t k = 0; k < sizeof(*values) / sizeof(uint64_t); k++)
			sums[k] += ((const uint64_t *)&values[i])[k];
}

static void tables_stats(const struct kfs_table_stats *from, struct kfs_table_stats *to)
{
	const uint64_t *words = (const uint64_t *)from;

	for (size_t k = 0; k < sizeof(*to) / sizeof(uint64_t); k++)
		((uint64_t *)to)[k] = __atomic_load_n(&words[k], __ATOMIC_RELAXED);
}

void bpf_get_state(struct bpf *b, struct bpf_state *ret_state)
{
	struct pollfd fd = { .fd = b->link ? bpf_link__fd(b->link) : -1, .events = POLLIN };

	memset(ret_state, 0, sizeof(*ret_state));
	sum_answers(b, &ret_state->counters.answers);
	tables_stats(b->stats, &ret_state->counters.tables);
	(void)snprintf(ret_state->pins, sizeof(ret_state->pins), "%s", b->pins.dir);
	if (!b->link)
		(void)snprintf(ret_state->detached_why, sizeof(ret_state->detached_why),
			       "never attached");
	else if (poll(&fd, 1, 0) > 0 && (fd.revents & POLLHUP))
		(void)snprintf(ret_state->detached_why, sizeof(ret_state->detached_why),
			       "detached by the kernel: the connection was aborted or unmounted");
	else
		ret_state->attached = true;
}

void bpf_peek(const struct bpf *b, const struct bpf_question *q, struct bpf_view *ret_view)
{
	tables_peek(&b->tables, q, ret_view);
}

void bpf_clear(struct bpf *b)
{
	tables_clear(&b->tables);
}
