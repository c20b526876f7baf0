/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What kfs_bench.py and kfs_tree.py measure: calls on a mount, and what a change costs to publish to the tables. Prints
 * nanoseconds of the guest's clock an operation, which under "vm.sh --icount" are instructions of all processors.
 *
 *	kfs_bench stat DIR PATTERN COUNT ROUNDS ERRNO
 *		for each round: stat of PATTERN, in which %u is the number of the file, in DIR; each has to end with ERRNO
 *	kfs_bench names DIR FILE
 *		stat of each line of FILE in DIR, once
 *	kfs_bench publish
 *		two numbers: an attribute, a name
 *	kfs_bench known COUNT MIB
 *		two numbers: how many of a hundred of COUNT files tables of that size answer in the third pass over them, each
 *		miss filled; the MiB they take
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/bpf/tables.h"
#include "daemon/fs/fs.h"
#include "daemon/inval/inval.h"
#include "tests/unit/daemon/bpf/answers.h"

#define NAMES_MAX 4096u
#define PUBLISHED 4000u
#define TABLE_BYTES (64u << 20)

struct publisher {
	struct inval_subscriber sub;
	struct inval_bus *bus;
	struct tables tables;
};

static char names[NAMES_MAX][64];

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "kfs_bench: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static unsigned number(const char *text, unsigned max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || value > max)
		die(text, EINVAL);
	return (unsigned)value;
}

static void stat_names(char **argv)
{
	unsigned count = number(argv[2], NAMES_MAX), rounds = number(argv[3], 1000000);
	int want = (int)number(argv[4], 4095);
	uint64_t start;
	struct stat st;

	if (chdir(argv[0]))
		die(argv[0], errno);
	for (unsigned i = 0; i < count; i++) {
		const char *mark = strstr(argv[1], "%u");

		if (!mark)
			die(argv[1], EINVAL);
		(void)snprintf(names[i], sizeof(names[i]), "%.*s%u%s", (int)(mark - argv[1]),
			       argv[1], i, mark + 2);
	}
	start = now();
	for (unsigned k = 0; k < rounds; k++)
		for (unsigned i = 0; i < count; i++)
			if ((stat(names[i], &st) ? errno : 0) != want)
				die(names[i], errno);
	printf("%.1f\n", (double)(now() - start) / count / rounds);
}

static void stat_lines(const char *dir, const char *file)
{
	FILE *f = fopen(file, "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	uint64_t count = 0, spent = 0, start;
	struct stat st;

	if (!f)
		die(file, errno);
	if (chdir(dir))
		die(dir, errno);
	while ((len = getline(&line, &size, f)) > 0) {
		line[len - 1] = 0;
		start = now();
		if (stat(line, &st))
			die(line, errno);
		spent += now() - start;
		count++;
	}
	free(line);
	(void)fclose(f); /* was only read */
	if (!count)
		die(file, ENODATA);
	printf("%.1f\n", (double)spent / (double)count);
}

static void on_event(struct inval_subscriber *sub, const struct inval_event *ev)
{
	tables_event(&container_of(sub, struct publisher, sub)->tables, ev);
}

static void *memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap", errno);
	return p;
}

static void publisher_init(struct publisher *p, uint64_t bytes)
{
	struct tables_opts opts = { .config = {
					    .key = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 } } };
	int ret = inval_new(&p->bus);

	if (ret)
		die("inval_new", -ret);
	tables_config_names(&opts.config);
	tables_sizes(bytes, &opts.config.entry_sets, &opts.config.attr_sets);
	opts.entries = memory(opts.config.entry_sets * sizeof(struct kfs_entry_set));
	opts.attrs = memory(opts.config.attr_sets * sizeof(struct kfs_attr_set));
	opts.stats = memory(sizeof(struct kfs_table_stats));
	tables_init(&p->tables, &opts);
	p->sub = (struct inval_subscriber){ .name = "bench",
					    .kinds = TABLES_KINDS,
					    .notify = on_event };
	inval_subscribe(p->bus, &p->sub);
}

static void publish_attrs(struct publisher *p, uint64_t version)
{
	struct fs_attr attr = {
		.mode = S_IFREG | 0644, .nlink = 1, .blksize = 4096, .version = version
	};

	for (unsigned i = 0; i < PUBLISHED; i++) {
		attr.ino = 12 + i;
		attr.size = i;
		inval_publish(p->bus, &(struct inval_event){ .kind = INVAL_FILL_ATTR,
							     .nodeid = 1ull << 32 | attr.ino,
							     .version = version,
							     .attr = &attr });
	}
}

static void publish_names(struct publisher *p, uint64_t version)
{
	for (unsigned i = 0; i < PUBLISHED; i++)
		inval_publish(p->bus,
			      &(struct inval_event){ .kind = INVAL_FILL_ENTRY,
						     .nodeid = 2,
						     .version = version,
						     .nodeid_child = 1ull << 32 | (12 + i),
						     .name = names[i],
						     .name_len = (uint32_t)strlen(names[i]) });
}

/* Of what the tables have already: that is what a change of a file costs. The first round makes the slots. */
static void publish(void)
{
	static struct publisher p;
	uint64_t start, attrs;

	for (unsigned i = 0; i < PUBLISHED; i++)
		(void)snprintf(names[i], sizeof(names[i]), "f%u", i);
	publisher_init(&p, TABLE_BYTES);
	publish_attrs(&p, 1);
	publish_names(&p, 1);
	start = now();
	publish_attrs(&p, 2);
	attrs = now() - start;
	start = now();
	publish_names(&p, 2);
	printf("%.1f %.1f\n", (double)attrs / PUBLISHED, (double)(now() - start) / PUBLISHED);
	inval_unsubscribe(p.bus, &p.sub);
	inval_free(p.bus);
}

static void fill_file(struct publisher *p, const char *name, uint64_t nodeid)
{
	struct fs_attr attr = { .ino = nodeid, .mode = S_IFREG | 0644, .nlink = 1, .blksize = 4096 };

	inval_publish(p->bus, &(struct inval_event){
				      .kind = INVAL_FILL_ATTR, .nodeid = nodeid, .attr = &attr });
	inval_publish(p->bus, &(struct inval_event){ .kind = INVAL_FILL_ENTRY,
						     .nodeid = 2 + nodeid % 1000,
						     .nodeid_child = nodeid,
						     .name = name,
						     .name_len = (uint32_t)strlen(name) });
}

/* As a mount does: what the tables do not answer, the daemon does, and fills it. */
static void known(unsigned count, unsigned mib)
{
	static struct publisher p;
	static struct kfs_answers counts;
	struct fuse_bpf_entry entry;
	struct fuse_bpf_attr attr;
	uint64_t hits = 0;
	char name[32];

	publisher_init(&p, (uint64_t)mib << 20);
	for (unsigned round = 0; round < 3; round++) {
		hits = 0;
		for (unsigned i = 0; i < count; i++) {
			uint64_t nodeid = 5000 + (uint64_t)i;
			struct answers_name n = { .parent = 2 + nodeid % 1000, .name = name };

			n.len = (uint32_t)snprintf(name, sizeof(name), "file-%u.c", i);
			if (answers_lookup(&p.tables, &counts, &n, &entry, &attr) ==
			    FUSE_BPF_ANSWERED)
				hits++;
			else
				fill_file(&p, name, nodeid);
		}
	}
	printf("%.1f %.1f\n", 100.0 * (double)hits / count,
	       (double)p.tables.stats->bytes / (1 << 20));
	inval_unsubscribe(p.bus, &p.sub);
	inval_free(p.bus);
}

int main(int argc, char **argv)
{
	if (argc == 7 && !strcmp(argv[1], "stat")) {
		stat_names(argv + 2);
	} else if (argc == 4 && !strcmp(argv[1], "names")) {
		stat_lines(argv[2], argv[3]);
	} else if (argc == 2 && !strcmp(argv[1], "publish")) {
		publish();
	} else if (argc == 4 && !strcmp(argv[1], "known")) {
		known(number(argv[2], 100000000), number(argv[3], 65536));
	} else {
		fprintf(stderr,
			"usage: kfs_bench stat DIR PATTERN COUNT ROUNDS ERRNO | names DIR FILE | publish |"
			" known COUNT MIB\n");
		return 2;
	}
	return fflush(stdout) ? 1 : 0;
}
