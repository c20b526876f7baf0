/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each test is a guest of its own, which begins with an empty window and leaves by closing its socket. What a front end may
 * do wrong without being hostile has a name, as have the ways in which a mapping and its file could come apart.
 */
#include "tests/vhost/dax.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/vhost/shm.h"

#define ROOT 1
#define PAGE 4096u
#define MIB (UINT64_C(1) << 20)

struct guest {
	struct front f;
	struct shm shm;
};

static uint8_t data[FRONT_DATA_MAX], back[FRONT_DATA_MAX];

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(1 + (at * 31 + (at >> 9) * 5 + (at >> 17)) % 255);
}

/* A guest's kernel that has a window and maps where it is told to. */
static void init(struct front *f)
{
	struct fuse_init_out out = fuse_init_with(f, 0x1ff);

	if (!(out.flags & FUSE_MAP_ALIGNMENT) || out.map_alignment != 12 || !(out.flags2 & 2))
		front_die("INIT: flags %#x %#x, alignment %u", out.flags, out.flags2,
			  out.map_alignment);
}

/* What the front end does not do. */
enum lacks { NOTHING, ANNOUNCES, SLOTS };

static void begin(struct guest *g, const char *socket, enum lacks lacks)
{
	front_connect(&g->f, socket);
	g->f.tables = lacks == SLOTS;
	front_setup(&g->f, true);
	shm_setup(&g->shm, &g->f, lacks == ANNOUNCES);
	init(&g->f);
}

static void end(struct guest *g)
{
	front_close(&g->f);
	shm_close(&g->shm);
}

static uint64_t make(struct guest *g, const char *name, uint64_t size)
{
	struct fuse_entry_out e;

	front_want(fuse_create(&g->f, ROOT, name, 0600, &e), 0, "create");
	for (uint64_t at = 0; at < size; at += sizeof(data)) {
		size_t len = size - at < sizeof(data) ? size - at : sizeof(data);

		for (size_t k = 0; k < len; k++)
			data[k] = pattern(at + k);
		front_want(fuse_write(&g->f, e.nodeid, at, data, len), 0, "write");
	}
	return e.nodeid;
}

static void set_size(struct guest *g, uint64_t nodeid, uint64_t size)
{
	front_want(fuse_truncate(&g->f, nodeid, size), 0, "truncate");
}

static int allocate(struct guest *g, uint64_t nodeid, uint32_t mode, uint64_t off, uint64_t len)
{
	struct fuse_fallocate_in in = { .offset = off, .length = len, .mode = mode };
	struct fuse_message m = {
		.opcode = FUSE_FALLOCATE, .nodeid = nodeid, .args = &in, .arg_len = sizeof(in)
	};

	return fuse_call(&g->f, 1, &m, NULL, NULL);
}

static void sync_all(struct guest *g)
{
	uint64_t padding = 0;
	struct fuse_message m = {
		.opcode = FUSE_SYNCFS, .nodeid = ROOT, .args = &padding, .arg_len = sizeof(padding)
	};

	front_want(fuse_call(&g->f, 1, &m, NULL, NULL), 0, "syncfs");
}

static void map(struct guest *g, uint64_t nodeid, uint64_t off, uint64_t moffset)
{
	front_want(shm_map(&g->shm, nodeid, off, moffset, true), 0, "SETUPMAPPING");
}

/* [off, off + len) of the file are what the window has at @moffset, both read by the guest. */
static void same(struct guest *g, uint64_t nodeid, uint64_t off, uint64_t moffset, uint64_t len)
{
	const uint8_t *at = g->shm.at + moffset;

	for (uint64_t k = 0; k < len; k += sizeof(back)) {
		uint64_t part = len - k < sizeof(back) ? len - k : sizeof(back);
		int64_t got = fuse_read(&g->f, nodeid, off + k, back, part);

		if (got < 0)
			front_die("read: %s", strerror((int)-got));
		for (int64_t b = 0; b < got; b++)
			if (at[k + (uint64_t)b] != back[b])
				front_die("byte %" PRIu64 " is %02x in the window and %02x in the "
					  "file",
					  off + k + (uint64_t)b, at[k + (uint64_t)b], back[b]);
		if (got < (int64_t)part)
			return;
	}
}

static void is_pattern(const uint8_t *at, uint64_t off, uint64_t len)
{
	for (uint64_t k = 0; k < len; k++)
		if (at[k] != pattern(off + k))
			front_die("byte %" PRIu64 " is %02x, wanted %02x", off + k, at[k],
				  pattern(off + k));
}

/* ---- contents ---- */

static void test_contents(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "contents", 5 * MIB);

	(void)mount;
	for (uint64_t k = 0; k < 3; k++)
		map(g, n, k * SHM_RANGE, (3 - k) * SHM_RANGE);
	for (uint64_t k = 0; k < 3; k++)
		is_pattern(g->shm.at + (3 - k) * SHM_RANGE, k * SHM_RANGE, k < 2 ? SHM_RANGE : MIB);
	/* Stores through the window are the file's, writes to the file are in the window. */
	memcpy(g->shm.at + 3 * SHM_RANGE + 100, "stored", 6);
	same(g, n, 0, 3 * SHM_RANGE, SHM_RANGE);
	front_want(fuse_write(&g->f, n, SHM_RANGE + 1, "written", 7), 0, "write");
	if (memcmp(g->shm.at + 2 * SHM_RANGE + 1, "written", 7) != 0)
		front_die("a write is not in the window");
	/* A second mapping of the same, elsewhere; and the first one goes. */
	map(g, n, 0, 0);
	g->shm.at[200] = 1;
	same(g, n, 0, 3 * SHM_RANGE, SHM_RANGE);
	front_want(shm_unmap(&g->shm, 3 * SHM_RANGE), 0, "REMOVEMAPPING");
	same(g, n, 0, 0, SHM_RANGE);
}

/* A kernel reads first, and asks again when it is about to write. */
static void test_upgrade(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "upgrade", 4 * MIB);
	unsigned maps;

	(void)mount;
	front_want(shm_map(&g->shm, n, 0, 0, false), 0, "SETUPMAPPING to read");
	maps = atomic_load(&g->shm.maps);
	front_want(shm_map(&g->shm, n, 0, 0, true), 0, "SETUPMAPPING to write");
	if (atomic_load(&g->shm.maps) != maps)
		front_die("mapped again");
	g->shm.at[5] = 99;
	same(g, n, 0, 0, SHM_RANGE);
	front_want(shm_map(&g->shm, n, SHM_RANGE, 0, true), -EBUSY,
		   "another range at the same place");
	front_want(shm_map(&g->shm, n, 0, PAGE, true), -EBUSY, "over a part of another");
	front_want(shm_map(&g->shm, n, 0, g->shm.size, true), -EINVAL, "outside of the window");
	front_want(shm_map(&g->shm, n, 0, g->shm.size - PAGE, true), -EINVAL, "at its end");
	front_want(shm_map(&g->shm, n, PAGE, SHM_RANGE, true), -EINVAL, "not a range");
	front_want(shm_map(&g->shm, ROOT, 0, SHM_RANGE, true), -EINVAL, "a directory");
	front_want(shm_map(&g->shm, 77, 0, SHM_RANGE, true), -ESTALE, "a nodeid nobody gave");
	front_want(shm_unmap(&g->shm, SHM_RANGE), -EINVAL, "REMOVEMAPPING of nothing");
	front_want(shm_unmap(&g->shm, PAGE), -EINVAL, "REMOVEMAPPING of a part");
	front_want(shm_unmap(&g->shm, 0), 0, "REMOVEMAPPING");
	front_want(shm_unmap(&g->shm, 0), -EINVAL, "REMOVEMAPPING twice");
}

/* Hazard: a file that grows inside its range is not mapped anew by the kernel. */
static void test_growth(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "growth", 40960);
	unsigned maps;

	(void)mount;
	map(g, n, 0, 0);
	maps = atomic_load(&g->shm.maps);
	for (size_t k = 0; k < 400000; k++)
		data[k] = pattern(40960 + k);
	front_want(fuse_write(&g->f, n, 40960, data, 400000), 0, "append");
	is_pattern(g->shm.at, 0, 440960);
	set_size(g, n, 600000);
	same(g, n, 0, 0, SHM_RANGE);
	g->shm.at[599999] = 7;
	front_want(allocate(g, n, 0, 600000, 300000), 0, "fallocate");
	g->shm.at[899999] = 8;
	front_want(fuse_write(&g->f, n, SHM_RANGE + 10, "behind the range", 16), 0, "write");
	g->shm.at[SHM_RANGE - 1] = 9;
	same(g, n, 0, 0, SHM_RANGE);
	if (atomic_load(&g->shm.maps) != maps)
		front_die("mapped again");
}

/* Hazard: blocks that are cut off are reached all the same. */
static void test_truncate(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "truncate", 4 * MIB), other;

	(void)mount;
	map(g, n, 0, 0);
	map(g, n, SHM_RANGE, SHM_RANGE);
	set_size(g, n, 5000);
	same(g, n, 0, 0, SHM_RANGE);
	sync_all(g);
	other = make(g, "truncate-other", 8 * MIB);
	memset(g->shm.at + 2 * PAGE, 0xee, 2 * SHM_RANGE - 2 * PAGE);
	for (uint64_t at = 0; at < 8 * MIB; at += sizeof(back)) {
		if (fuse_read(&g->f, other, at, back, sizeof(back)) != (int64_t)sizeof(back))
			front_die("short read");
		is_pattern(back, at, sizeof(back));
	}
	memset(g->shm.at + 2 * PAGE, 0, 2 * SHM_RANGE - 2 * PAGE);
	set_size(g, n, 3 * MIB);
	same(g, n, 0, 0, SHM_RANGE);
	same(g, n, SHM_RANGE, SHM_RANGE, SHM_RANGE);
	g->shm.at[3 * MIB - 1] = 4;
	same(g, n, SHM_RANGE, SHM_RANGE, SHM_RANGE);
	front_want(shm_unmap(&g->shm, 0), 0, "REMOVEMAPPING");
	front_want(shm_unmap(&g->shm, SHM_RANGE), 0, "REMOVEMAPPING");
}

static void test_punch(struct guest *g, const char *mount)
{
	const uint32_t punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t n = make(g, "punch", 5 * MIB);

	(void)mount;
	map(g, n, 0, 0);
	front_want(allocate(g, n, punch, 10000, 500000), 0, "punch");
	same(g, n, 0, 0, SHM_RANGE);
	front_want(allocate(g, n, FALLOC_FL_ZERO_RANGE, 700000, 70000), 0, "zero range");
	same(g, n, 0, 0, SHM_RANGE);
	if (g->shm.at[10000] || g->shm.at[9999] != pattern(9999) || g->shm.at[769999])
		front_die("punched and zeroed bytes");
	memset(g->shm.at + 20000, 5, 100000);
	same(g, n, 0, 0, SHM_RANGE);
	front_want(allocate(g, n, punch, SHM_RANGE - 3 * PAGE, 9 * PAGE), 0, "punch over the edge");
	same(g, n, 0, 0, SHM_RANGE);
	front_want(allocate(g, n, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE), -EBUSY, "collapse");
	front_want(allocate(g, n, FALLOC_FL_INSERT_RANGE, 0, PAGE), -EBUSY, "insert");
}

static void test_rename(struct guest *g, const char *mount)
{
	struct fuse_rename_in in = { .newdir = ROOT };
	struct fuse_message m = { .opcode = FUSE_RENAME,
				  .nodeid = ROOT,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .text = "rename\0renamed",
				  .text_len = 15 };
	uint64_t n = make(g, "rename", 2 * MIB), over = make(g, "renamed", 2 * MIB);

	(void)mount;
	map(g, n, 0, 0);
	map(g, over, 0, SHM_RANGE);
	front_want(fuse_call(&g->f, 1, &m, NULL, NULL), 0, "rename");
	memset(g->shm.at, 1, SHM_RANGE);
	memset(g->shm.at + SHM_RANGE, 2, SHM_RANGE);
	same(g, n, 0, 0, SHM_RANGE);
	same(g, over, 0, SHM_RANGE, SHM_RANGE);
}

/* Deleted, forgotten, and still mapped: nobody gets the blocks. */
static void test_unlink(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "unlink", 4 * MIB), other;

	(void)mount;
	map(g, n, 0, 0);
	front_want(fuse_names(&g->f, FUSE_UNLINK, ROOT, "unlink"), 0, "unlink");
	same(g, n, 0, 0, SHM_RANGE);
	fuse_forget(&g->f, n, 1);
	sync_all(g);
	other = make(g, "unlink-other", 8 * MIB);
	memset(g->shm.at, 0xee, SHM_RANGE);
	for (uint64_t at = 0; at < 8 * MIB; at += sizeof(back)) {
		if (fuse_read(&g->f, other, at, back, sizeof(back)) != (int64_t)sizeof(back))
			front_die("short read");
		is_pattern(back, at, sizeof(back));
	}
	front_want(shm_unmap(&g->shm, 0), 0, "REMOVEMAPPING");
}

static void test_holes(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "holes", 0);

	(void)mount;
	front_want(allocate(g, n, 0, 0, 500000), 0, "fallocate");
	front_want(fuse_write(&g->f, n, 3 * MIB, "end", 3), 0, "write");
	front_want(fuse_write(&g->f, n, 100000, "middle", 6), 0, "write");
	map(g, n, 0, 0);
	same(g, n, 0, 0, SHM_RANGE);
	g->shm.at[0] = 1;
	g->shm.at[499999] = 2;
	g->shm.at[SHM_RANGE - 1] = 3;
	same(g, n, 0, 0, SHM_RANGE);
}

/* A window smaller than the file, whose ranges are given up for others. */
static void test_reclaim(struct guest *g, const char *mount)
{
	uint64_t places = g->shm.size / SHM_RANGE, n = make(g, "reclaim", 40 * MIB);

	(void)mount;
	for (uint64_t k = 0; k < 60; k++) {
		uint64_t at = k % places * SHM_RANGE, range = k % 20;

		if (k >= places)
			front_want(shm_unmap(&g->shm, at), 0, "REMOVEMAPPING");
		map(g, n, range * SHM_RANGE, at);
		is_pattern(g->shm.at + at, range * SHM_RANGE, SHM_RANGE);
	}
}

/* What is in a file's metadata says whether a kernel in inode mode maps it. */
static void test_flag(struct guest *g, const char *mount)
{
	uint64_t large = make(g, "flag-large", 4 * MIB), small = make(g, "flag-small", MIB);
	struct fuse_entry_out e;
	struct fuse_attr attr;

	(void)mount;
	front_want(fuse_lookup(&g->f, ROOT, "flag-large", &e), 0, "lookup");
	front_want(fuse_getattr(&g->f, large, &attr), 0, "getattr");
	if (!(e.attr.flags & FUSE_ATTR_DAX) || !(attr.flags & FUSE_ATTR_DAX))
		front_die("a large file is not worth a mapping");
	front_want(fuse_getattr(&g->f, small, &attr), 0, "getattr");
	if (attr.flags & FUSE_ATTR_DAX)
		front_die("a small file is worth a mapping");
}

/*
 * Everything at random: what is mapped shows what is read, all the time. Blocks behind a file's end may hold what a guest
 * stored there, so it stores below the end only, as a kernel has it.
 */
struct storm {
	uint64_t nodeid[3];
	struct {
		uint64_t nodeid, off; /* 0: free */
	} place[16];
	unsigned seed;
};

static uint64_t pick(struct storm *s, uint64_t below)
{
	s->seed = s->seed * 1103515245 + 12345;
	return (s->seed >> 8) % below;
}

static uint64_t size_of(struct guest *g, uint64_t nodeid)
{
	struct fuse_attr attr;

	front_want(fuse_getattr(&g->f, nodeid, &attr), 0, "getattr");
	return attr.size;
}

static void storm_map(struct guest *g, struct storm *s)
{
	uint64_t k = pick(s, 16), n = s->nodeid[pick(s, 3)], off = pick(s, 3) * SHM_RANGE;

	if (s->place[k].nodeid) {
		front_want(shm_unmap(&g->shm, k * SHM_RANGE), 0, "REMOVEMAPPING");
		s->place[k].nodeid = 0;
		return;
	}
	if (off >= size_of(g, n))
		return; /* a kernel does not ask */
	map(g, n, off, k * SHM_RANGE);
	s->place[k].nodeid = n;
	s->place[k].off = off;
}

static void storm_store(struct guest *g, struct storm *s)
{
	uint64_t k = pick(s, 16), at = pick(s, SHM_RANGE);

	if (s->place[k].nodeid && s->place[k].off + at < size_of(g, s->place[k].nodeid))
		g->shm.at[k * SHM_RANGE + at] = (uint8_t)s->seed;
}

static void storm_change(struct guest *g, struct storm *s)
{
	const uint32_t punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t n = s->nodeid[pick(s, 3)], off = pick(s, 6 * MIB), len = 1 + pick(s, 300000);

	switch (pick(s, 6)) {
	case 0: set_size(g, n, off); break;
	case 1:
	case 2:
		memset(data, (int)s->seed, len);
		front_want(fuse_write(&g->f, n, off, data, len), 0, "write");
		break;
	case 3: front_want(allocate(g, n, punch, off, len), 0, "punch"); break;
	case 4: front_want(allocate(g, n, FALLOC_FL_ZERO_RANGE, off, len), 0, "zero range"); break;
	default:
		front_want(allocate(g, n, pick(s, 2) ? FALLOC_FL_KEEP_SIZE : 0, off, len), 0,
			   "fallocate");
	}
}

static void storm_look(struct guest *g, const struct storm *s, uint64_t k)
{
	if (s->place[k].nodeid)
		same(g, s->place[k].nodeid, s->place[k].off, k * SHM_RANGE, SHM_RANGE);
}

static void test_storm(struct guest *g, const char *mount)
{
	struct storm s = { .seed = 20 };

	(void)mount;
	for (unsigned k = 0; k < 3; k++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "storm-%u", k);
		s.nodeid[k] = make(g, name, k * UINT64_C(2500000));
	}
	for (int round = 0; round < 1500; round++) {
		switch (pick(&s, 4)) {
		case 0: storm_map(g, &s); break;
		case 1: storm_change(g, &s); break;
		default: storm_store(g, &s);
		}
		if (round % 5 == 0)
			storm_look(g, &s, pick(&s, 16));
	}
	for (uint64_t k = 0; k < 16; k++)
		storm_look(g, &s, k);
}

/* ---- front ends ---- */

/* Until not a byte more goes in. */
static void fill_image(struct guest *g, uint64_t nodeid)
{
	struct fuse_write_in in = { .size = sizeof(data) };
	struct fuse_write_out out;
	struct fuse_message m = { .opcode = FUSE_WRITE,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .data = data,
				  .data_len = sizeof(data),
				  .room = sizeof(out) };
	int err;

	while (!(err = fuse_call(&g->f, 1, &m, &out, NULL)))
		in.offset += out.size;
	front_want(err, -ENOSPC, "filling the image");
}

/*
 * Hazard: more than so many mappings end QEMU. Of files in many pieces some are refused before that; files in one piece
 * never. For a window of 256 ranges.
 */
static void test_cap(struct guest *g, const char *mount)
{
	const uint32_t punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint64_t places = g->shm.size / SHM_RANGE, n = make(g, "cap", 24 * MIB), big, torn;

	(void)mount;
	big = make(g, "cap-big", 0);
	fill_image(g, big);
	/* Free are gaps of eight blocks, and what is kept back for metadata; the file begins in that. */
	for (uint64_t at = 0; at < 24 * MIB; at += 16 * PAGE)
		front_want(allocate(g, n, punch, at, 8 * PAGE), 0, "punch");
	sync_all(g);
	torn = make(g, "cap-torn", 10 * MIB);
	map(g, torn, 4 * SHM_RANGE, 0);
	map(g, torn, 3 * SHM_RANGE, SHM_RANGE);
	if (shm_count(&g->shm) < 128)
		front_die("%u pieces: the file is not torn", shm_count(&g->shm));
	front_want(shm_map(&g->shm, torn, 2 * SHM_RANGE, 2 * SHM_RANGE, true), -ENOSPC,
		   "more pieces than there is room for");
	is_pattern(g->shm.at, 4 * SHM_RANGE, SHM_RANGE);
	is_pattern(g->shm.at + SHM_RANGE, 3 * SHM_RANGE, SHM_RANGE);
	for (uint64_t k = 2; k < places; k++)
		map(g, big, k % 8 * SHM_RANGE, k * SHM_RANGE);
	if (shm_count(&g->shm) > 400)
		front_die("%u pieces", shm_count(&g->shm));
	front_want(fuse_names(&g->f, FUSE_UNLINK, ROOT, "cap-big"), 0, "unlink");
	front_want(fuse_names(&g->f, FUSE_UNLINK, ROOT, "cap-torn"), 0, "unlink");
}

static void test_refusal(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "refusal", 4 * MIB);

	(void)mount;
	atomic_store(&g->shm.refuse, true);
	front_want(shm_map(&g->shm, n, 0, 0, true), -EIO, "a mapping that the front end refuses");
	atomic_store(&g->shm.refuse, false);
	map(g, n, 0, 0);
	same(g, n, 0, 0, SHM_RANGE);
}

/* Hazard: the answer comes before the mapping is there, and before it has gone. */
static void test_late(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "late", 4 * MIB);
	unsigned unmaps;

	(void)mount;
	atomic_store(&g->shm.late_ms, 300);
	map(g, n, 0, 0);
	is_pattern(g->shm.at, 0, SHM_RANGE);
	unmaps = atomic_load(&g->shm.unmaps);
	front_want(shm_unmap(&g->shm, 0), 0, "REMOVEMAPPING");
	if (atomic_load(&g->shm.unmaps) == unmaps)
		front_die("REMOVEMAPPING was answered while it was still mapped");
	map(g, n, SHM_RANGE, 0);
	is_pattern(g->shm.at, SHM_RANGE, SHM_RANGE);
}

static void test_deaf(struct guest *g, const char *mount)
{
	struct fuse_attr attr;
	uint64_t n = make(g, "deaf", 4 * MIB);
	struct timespec from, to;

	(void)mount;
	map(g, n, 0, 0);
	atomic_store(&g->shm.deaf, true);
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	front_want(shm_map(&g->shm, n, SHM_RANGE, SHM_RANGE, true), -EIO,
		   "a mapping without an answer");
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	if (to.tv_sec - from.tv_sec > 15)
		front_die("an answer was waited for too long");
	/* It is not asked again; the rest goes on, and what was mapped stays so. */
	front_want(shm_map(&g->shm, n, SHM_RANGE, SHM_RANGE, true), -EBUSY, "the same again");
	front_want(shm_map(&g->shm, n, SHM_RANGE, 2 * SHM_RANGE, true), -EIO, "another");
	front_want(fuse_getattr(&g->f, n, &attr), 0, "getattr");
	g->shm.at[77] = 1;
	same(g, n, 0, 0, SHM_RANGE);
}

/* Hazard: the front end waits for us while we wait for it. */
static void test_deadlock(struct guest *g, const char *mount)
{
	struct fuse_setupmapping_in in = { .fh = UINT64_MAX, .len = SHM_RANGE, .flags = 3 };
	uint64_t n = make(g, "deadlock", 4 * MIB);
	struct fuse_message m = {
		.opcode = FUSE_SETUPMAPPING, .nodeid = n, .args = &in, .arg_len = sizeof(in)
	};
	struct fuse_out_header out;
	uint16_t base;
	uint32_t len;

	(void)mount;
	atomic_store(&g->shm.plugs_memory, true);
	map(g, n, SHM_RANGE, SHM_RANGE);
	is_pattern(g->shm.at + SHM_RANGE, SHM_RANGE, SHM_RANGE);
	atomic_store(&g->shm.plugs_memory, false);
	/* The machine is paused before it has answered. */
	pthread_mutex_lock(&g->shm.lock);
	front_offer(&g->f, 2, fuse_build(&g->f, 2, &m));
	(void)poll(NULL, 0, 300);
	base = front_stop_queue(&g->f, 2);
	if (base != g->f.queue[2].avail_next)
		front_die("the stopped ring is not where it was");
	if (front_take(&g->f, 2, 0, &len) < 0)
		front_die("a mapping was lost when its ring stopped");
	memcpy(&out, front_at(&g->f, g->f.queue[2].head_gpa + 0x8000), sizeof(out));
	front_want(out.error, -ENOMEM, "a mapping given up");
	front_start_queue(&g->f, 2, base);
	pthread_mutex_unlock(&g->shm.lock);
	/* What was given up is not in the way. */
	map(g, n, 0, 0);
	same(g, n, 0, 0, SHM_RANGE);
}

/* Hazard: memory that a request names may be the window. */
static void test_buffer(struct guest *g, const char *mount)
{
	uint64_t from = make(g, "buffer-from", 4 * MIB), to = make(g, "buffer-to", PAGE);

	(void)mount;
	front_want(shm_write_from(&g->shm, to, SHM_GPA + PAGE), -EIO,
		   "a write from an empty window");
	map(g, from, 0, 0);
	front_want(shm_write_from(&g->shm, to, SHM_GPA + PAGE), 0, "a write from the window");
	if (fuse_read(&g->f, to, 0, back, PAGE) != PAGE)
		front_die("short read");
	is_pattern(back, PAGE, PAGE);
	front_want(shm_unmap(&g->shm, 0), 0, "REMOVEMAPPING");
	front_want(shm_write_from(&g->shm, to, SHM_GPA + PAGE), -EIO,
		   "a write from where the window was");
}

/* ---- lives ---- */

static void test_restart(struct guest *g, const char *mount)
{
	struct fuse_message destroy = { .opcode = FUSE_DESTROY };
	struct fuse_entry_out e;
	uint64_t n = make(g, "restart", 6 * MIB);

	(void)mount;
	for (uint64_t k = 0; k < 3; k++)
		map(g, n, k * SHM_RANGE, k * SHM_RANGE);
	/* Unmounted and mounted: the places are free. */
	front_want(fuse_call(&g->f, 1, &destroy, NULL, NULL), 0, "destroy");
	init(&g->f);
	front_want(fuse_lookup(&g->f, ROOT, "restart", &e), 0, "lookup");
	for (uint64_t k = 0; k < 3; k++)
		map(g, e.nodeid, k * SHM_RANGE, (2 - k) * SHM_RANGE);
	is_pattern(g->shm.at, 2 * SHM_RANGE, SHM_RANGE);
	/* Reset: the front end has unmapped everything by itself. */
	shm_reset(&g->shm);
	init(&g->f);
	front_want(fuse_lookup(&g->f, ROOT, "restart", &e), 0, "lookup");
	for (uint64_t k = 0; k < 3; k++)
		map(g, e.nodeid, k * SHM_RANGE, k * SHM_RANGE);
	is_pattern(g->shm.at, 0, 3 * SHM_RANGE);
	/* And it vanishes with all of that, and a deleted file. */
	front_want(fuse_names(&g->f, FUSE_UNLINK, ROOT, "restart"), 0, "unlink");
}

/* ---- beside the host ---- */

static void host_read(const char *path, uint64_t off, void *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, buf, len, (off_t)off) != (ssize_t)len)
		front_die("%s: %s", path, strerror(errno));
	(void)close(fd);
}

static void test_host(struct guest *g, const char *mount)
{
	uint64_t n = make(g, "host", 4 * MIB);
	char path[4096];
	uint8_t got[64];
	int fd;

	if (!mount || snprintf(path, sizeof(path), "%s/host", mount) >= (int)sizeof(path))
		front_die("host: needs the mount");
	host_read(path, 1000, got, sizeof(got)); /* cached by the host's kernel */
	is_pattern(got, 1000, sizeof(got));
	map(g, n, 0, 0);
	for (int round = 0; round < 100; round++) {
		char text[32];

		(void)snprintf(text, sizeof(text), "round %d", round);
		memcpy(g->shm.at + 1000, text, sizeof(text));
		host_read(path, 1000, got, sizeof(text));
		if (strcmp((char *)got, text) != 0)
			front_die("the host reads '%.31s', the guest stored '%s'", (char *)got,
				  text);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		text[0] = 'R';
		if (fd < 0 || pwrite(fd, text, sizeof(text), 5000) != (ssize_t)sizeof(text))
			front_die("%s: %s", path, strerror(errno));
		(void)close(fd);
		if (memcmp(g->shm.at + 5000, text, sizeof(text)) != 0)
			front_die("the guest does not see what the host wrote");
	}
	/* The host cuts it off and lets it grow again. */
	if (truncate(path, 3000) || truncate(path, (off_t)MIB))
		front_die("%s: %s", path, strerror(errno));
	same(g, n, 0, 0, SHM_RANGE);
	g->shm.at[MIB - 1] = 9;
	host_read(path, MIB - 1, got, 1);
	if (got[0] != 9 || g->shm.at[3000])
		front_die("the host's truncation");
	front_want(shm_unmap(&g->shm, 0), 0, "REMOVEMAPPING");
	host_read(path, 1000, got, 1);
	/* Deleted by the host while it is mapped. */
	map(g, n, 0, 0);
	if (unlink(path))
		front_die("%s: %s", path, strerror(errno));
	g->shm.at[0] = 12;
	same(g, n, 0, 0, SHM_RANGE);
}

static void test_large(struct guest *g, const char *mount)
{
	(void)mount;
	dax_large(&g->f, &g->shm);
}

static const struct {
	const char *name;
	void (*run)(struct guest *g, const char *mount);
	enum lacks lacks;
	bool apart; /* only when asked for by name */
} tests[] = {
	{ .name = "contents", .run = test_contents },
	{ .name = "upgrade", .run = test_upgrade },
	{ .name = "growth", .run = test_growth },
	{ .name = "truncate", .run = test_truncate },
	{ .name = "punch", .run = test_punch },
	{ .name = "rename", .run = test_rename },
	{ .name = "unlink", .run = test_unlink },
	{ .name = "holes", .run = test_holes },
	{ .name = "reclaim", .run = test_reclaim },
	{ .name = "flag", .run = test_flag },
	{ .name = "storm", .run = test_storm },
	{ .name = "refusal", .run = test_refusal },
	{ .name = "late", .run = test_late },
	{ .name = "deadlock", .run = test_deadlock },
	{ .name = "buffer", .run = test_buffer },
	{ .name = "restart", .run = test_restart },
	{ .name = "quiet", .run = test_contents, .lacks = ANNOUNCES, .apart = true },
	{ .name = "quiet-restart", .run = test_restart, .lacks = ANNOUNCES, .apart = true },
	{ .name = "deaf", .run = test_deaf, .apart = true },
	{ .name = "tables-deaf", .run = test_deaf, .lacks = SLOTS, .apart = true },
	{ .name = "large", .run = test_large, .apart = true },
	{ .name = "cap", .run = test_cap, .apart = true },
	{ .name = "host", .run = test_host, .apart = true },
};

void dax(const char *socket, const char *name, const char *mount)
{
	bool tables = strcmp(name, "tables") == 0, all = tables || strcmp(name, "all") == 0;
	bool found = false;
	struct guest *g = calloc(1, sizeof(*g));

	if (!g)
		front_die("out of memory");
	for (size_t k = 0; k < sizeof(tests) / sizeof(tests[0]); k++) {
		if (all ? tests[k].apart : strcmp(name, tests[k].name) != 0)
			continue;
		found = true;
		begin(g, socket, tables ? SLOTS : tests[k].lacks);
		tests[k].run(g, mount);
		end(g);
		printf("dax %s: ok\n", tests[k].name);
	}
	free(g);
	if (!found)
		front_die("dax: there is no test %s", name);
}
