/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lies about a window. Against a daemon that has one: its socket is the other's name with ".window" behind it.
 *
 * "mappings" are a guest's, beside a front end that does what it is asked and dies of what it must not be asked (shm.h). What
 * each request is answered follows from the ones before it, and what is mapped in the end is what was answered. In "mapped
 * races" the files change at the same moment: what is mapped shows what is read. "false fronts" are front ends that do not
 * do what they are asked.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/vhost/hostile.h"
#include "tests/vhost/hostile_window.h"

#define PAGE 4096u
#define MIB (UINT64_C(1) << 20)
#define FILES 3u
#define FILE_SIZE (5 * MIB + 1234)
/* Behind a file's end, and further, is no matter of the window. */
#define OFF_SURE (64 * MIB)
/* Beyond so many pieces some are refused: files may be in several. */
#define MAPPED_SURE 60u
#define MAPPED_MAX 512u
#define UNMAPS_MAX 8u

struct mapped {
	uint64_t moffset, len, node, off;
};

/* What the guest has mapped, by the answers that it got. */
static struct model {
	struct window w;
	struct mapped mapped[MAPPED_MAX];
	uint32_t count;
	uint64_t file[FILES], dir;
} model;

static uint8_t pattern(uint32_t file, uint64_t at)
{
	return (uint8_t)(1 + (at * 31 + (at >> 9) * 5 + (at >> 17) + file) % 255);
}

/* ---- guests ---- */

static uint64_t make_dir(struct hostile *h, const char *name)
{
	struct fuse_entry_out e;

	(void)fuse_mkdir(&h->f, 1, name, &e); /* it may be there */
	if (fuse_lookup(&h->f, 1, name, &e))
		front_die("no folder %s", name);
	return e.nodeid;
}

static uint64_t make_file(struct hostile *h, uint64_t dir, uint32_t index, uint64_t size)
{
	static uint8_t data[FRONT_DATA_MAX];
	char name[2] = { (char)('a' + index) };
	struct fuse_entry_out e;

	if (fuse_lookup(&h->f, dir, name, &e) && fuse_create(&h->f, dir, name, 0600, &e))
		front_die("no file to map");
	for (uint64_t at = e.attr.size; at < size; at += sizeof(data)) {
		size_t len = size - at < sizeof(data) ? size - at : sizeof(data);

		for (size_t k = 0; k < len; k++)
			data[k] = pattern(index, at + k);
		if (fuse_write(&h->f, e.nodeid, at, data, len))
			front_die("no room for a file to map");
	}
	return e.nodeid;
}

static void begin(struct hostile *h, const char *folder, uint64_t size)
{
	window_open(h, &model.w);
	model.count = 0;
	model.dir = make_dir(h, folder);
	for (uint32_t i = 0; i < FILES; i++)
		model.file[i] = make_file(h, model.dir, i, size);
}

/* ---- requests ---- */

static struct shot *shoot(struct hostile *h, uint32_t queue, const struct fuse_message *m, int want)
{
	struct shot *s = hostile_ask(h, queue, m);

	s->want = want;
	return s;
}

static struct shot *shoot_map(struct hostile *h, uint64_t node,
			      const struct fuse_setupmapping_in *in, int want)
{
	struct fuse_message m = {
		.opcode = FUSE_SETUPMAPPING, .nodeid = node, .args = in, .arg_len = sizeof(*in)
	};
	struct shot *s = shoot(h, 1, &m, want);

	s->what = "SETUPMAPPING";
	return s;
}

static struct shot *shoot_unmap(struct hostile *h, const struct fuse_removemapping_one *list,
				uint32_t there, uint32_t count, int want)
{
	struct fuse_message m = { .opcode = FUSE_REMOVEMAPPING,
				  .nodeid = 1,
				  .args = &count,
				  .arg_len = sizeof(count),
				  .text = list,
				  .text_len = there * sizeof(*list) };
	struct shot *s = shoot(h, 1, &m, want);

	s->what = "REMOVEMAPPING";
	return s;
}

static int answer_of(struct hostile *h, const struct shot *s)
{
	struct fuse_out_header head;

	memcpy(&head, front_at(&h->f, hostile_out_gpa(s)), sizeof(head));
	return head.error;
}

/* ---- what is mapped ---- */

static const struct mapped *find_overlap(uint64_t moffset, uint64_t len)
{
	for (uint32_t i = 0; i < model.count; i++) {
		const struct mapped *m = &model.mapped[i];

		if (moffset < m->moffset + m->len && m->moffset < moffset + len)
			return m;
	}
	return NULL;
}

static void note_map(uint64_t node, const struct fuse_setupmapping_in *in)
{
	/* The same again. */
	if (find_overlap(in->moffset, in->len))
		return;
	if (model.count == MAPPED_MAX)
		front_die("more was mapped than any window may have");
	model.mapped[model.count++] = (struct mapped){
		.moffset = in->moffset, .len = in->len, .node = node, .off = in->foffset
	};
}

/* What of the list is mapped like that is so no more; false: something was not. */
static bool note_unmap(const struct fuse_removemapping_one *list, uint32_t count)
{
	bool gone[UNMAPS_MAX] = { false };

	for (uint32_t i = 0; i < model.count;) {
		const struct mapped *m = &model.mapped[i];
		bool hit = false;

		for (uint32_t k = 0; k < count; k++)
			if (list[k].moffset == m->moffset && list[k].len == m->len)
				gone[k] = hit = true;
		if (hit)
			model.mapped[i] = model.mapped[--model.count];
		else
			i++;
	}
	for (uint32_t k = 0; k < count; k++)
		if (!gone[k])
			return false;
	return true;
}

static bool is_file(uint64_t node)
{
	for (uint32_t i = 0; i < FILES; i++)
		if (node == model.file[i])
			return true;
	return false;
}

/* In the order in which it is looked at. */
static int expect_map(uint64_t node, const struct fuse_setupmapping_in *in)
{
	uint64_t size = model.w.shm.size;
	const struct mapped *over;

	if (in->flags & ~UINT64_C(3) || in->moffset + in->len < in->moffset)
		return -EINVAL;
	if (node != 1 && node != model.dir && !is_file(node))
		return -ESTALE;
	if (in->foffset % SHM_RANGE || !in->len || in->len > SHM_RANGE || in->len % PAGE ||
	    !is_file(node))
		return -EINVAL;
	if (in->foffset > OFF_SURE)
		return HOSTILE_ANY;
	if (in->moffset % PAGE || in->len > size || in->moffset > size - in->len)
		return -EINVAL;
	over = find_overlap(in->moffset, in->len);
	if (over)
		return over->moffset == in->moffset && over->len == in->len && over->node == node &&
				       over->off == in->foffset ?
			       0 :
			       -EBUSY;
	if (!front_has_slots(model.w.shm.f) && in->moffset % SHM_RANGE)
		return -EINVAL;
	return model.count < MAPPED_SURE ? 0 : HOSTILE_ANY;
}

/* The front end has what was answered, piece by piece. */
static void compare(struct hostile *h)
{
	uint64_t wanted = 0, got = 0;

	h->judged = true;
	pthread_mutex_lock(&model.w.shm.lock);
	for (uint32_t i = 0; i < model.count; i++)
		wanted += model.mapped[i].len;
	for (unsigned k = 0; k < model.w.shm.count; k++) {
		const struct shm_map *p = &model.w.shm.map[k];
		const struct mapped *m = find_overlap(p->off, p->len);

		if (!m || p->off < m->moffset || p->off + p->len > m->moffset + m->len)
			front_die("%#llx bytes at %#llx are mapped, which nobody asked for",
				  (unsigned long long)p->len, (unsigned long long)p->off);
		got += p->len;
	}
	pthread_mutex_unlock(&model.w.shm.lock);
	if (got != wanted)
		front_die("%llu bytes are mapped, %llu were answered", (unsigned long long)got,
			  (unsigned long long)wanted);
	h->judged = false;
}

/* ---- mappings ---- */

static uint64_t some_node(struct hostile *h)
{
	switch (hostile_below(h, 12)) {
	case 0: return 1;
	case 1: return model.dir;
	case 2: return hostile_odd(h) | UINT64_C(0xfeed) << 32;
	case 3: return model.file[0] + (UINT64_C(1) << (32 + hostile_below(h, 32)));
	default: return model.file[hostile_below(h, FILES)];
	}
}

static uint64_t some_len(struct hostile *h)
{
	uint64_t n = hostile_below(h, 12);

	return n == 0 ? hostile_odd(h) :
	       n == 1 ? 0 :
	       n == 2 ? SHM_RANGE + PAGE :
	       n < 5  ? (1 + hostile_below(h, SHM_RANGE / PAGE)) * PAGE :
	       n == 5 ? 1 + hostile_below(h, SHM_RANGE) :
			SHM_RANGE;
}

static uint64_t some_place(struct hostile *h)
{
	uint64_t size = model.w.shm.size, n = hostile_below(h, 16);

	return n == 0 ? hostile_odd(h) :
	       n == 1 ? size - hostile_below(h, 4) * PAGE :
	       n == 2 ? UINT64_MAX - hostile_below(h, 4) * SHM_RANGE + 1 :
	       n == 3 ? hostile_below(h, size) :
	       n < 6  ? hostile_below(h, size / PAGE) * PAGE :
			hostile_below(h, size / SHM_RANGE) * SHM_RANGE;
}

/* A request whose answer is not foreseen has to be back before the next one is thought of. */
static void shoot_mapping(struct hostile *h)
{
	struct fuse_setupmapping_in in = {
		.fh = UINT64_MAX,
		.foffset = hostile_one_in(h, 10) ? hostile_odd(h) : hostile_below(h, 4) * SHM_RANGE,
		.len = some_len(h),
		.flags = hostile_one_in(h, 10) ? hostile_odd(h) : 1 + hostile_below(h, 3),
		.moffset = some_place(h),
	};
	uint64_t node = some_node(h);
	int want = expect_map(node, &in);
	struct shot *s = shoot_map(h, node, &in, want);

	if (want == HOSTILE_ANY) {
		hostile_fire(h);
		want = answer_of(h, s);
	}
	if (!want)
		note_map(node, &in);
}

/* Small ones, until there is room for no more. */
static void shoot_many(struct hostile *h)
{
	uint64_t from = hostile_below(h, model.w.shm.size / SHM_RANGE) * SHM_RANGE;

	for (uint64_t i = 0; i < SHM_RANGE / PAGE; i++) {
		struct fuse_setupmapping_in in = {
			.foffset = 0, .len = PAGE, .flags = 3, .moffset = from + i * PAGE
		};
		int want = expect_map(model.file[0], &in);
		struct shot *s = shoot_map(h, model.file[0], &in, want);

		if (want == HOSTILE_ANY) {
			hostile_fire(h);
			want = answer_of(h, s);
			if (want == -ENOSPC)
				return;
		}
		if (!want)
			note_map(model.file[0], &in);
	}
}

static void shoot_removal(struct hostile *h)
{
	struct fuse_removemapping_one list[UNMAPS_MAX];
	uint32_t count = 1 + (uint32_t)hostile_below(h, UNMAPS_MAX);
	uint32_t said = hostile_one_in(h, 6) ? (uint32_t)hostile_odd(h) : count;

	for (uint32_t k = 0; k < count; k++) {
		list[k] = (struct fuse_removemapping_one){ .moffset = some_place(h),
							   .len = some_len(h) };
		if (model.count && !hostile_one_in(h, 4)) {
			const struct mapped *m = &model.mapped[hostile_below(h, model.count)];

			list[k].moffset = m->moffset;
			list[k].len = m->len;
		}
	}
	(void)shoot_unmap(h, list, count, said,
			  said == count && note_unmap(list, count) ? 0 : -EINVAL);
}

static void shoot_removal_of_all(struct hostile *h)
{
	while (model.count) {
		struct fuse_removemapping_one list[UNMAPS_MAX];
		uint32_t count = 0;

		for (; count < UNMAPS_MAX && count < model.count; count++)
			list[count] = (struct fuse_removemapping_one){
				.moffset = model.mapped[count].moffset,
				.len = model.mapped[count].len
			};
		(void)note_unmap(list, count);
		(void)shoot_unmap(h, list, count, count, 0);
	}
}

static uint32_t file_of(uint64_t node)
{
	uint32_t i = 0;

	while (model.file[i] != node)
		i++;
	return i;
}

static void look(struct hostile *h)
{
	const struct mapped *m;
	uint64_t at;
	uint8_t want;

	compare(h);
	if (!model.count)
		return;
	m = &model.mapped[hostile_below(h, model.count)];
	at = hostile_below(h, m->len);
	want = m->off + at < FILE_SIZE ? pattern(file_of(m->node), m->off + at) : 0;
	if (model.w.shm.at[m->moffset + at] != want)
		front_die("byte %llu of the file is %02x in the window, wanted %02x",
			  (unsigned long long)(m->off + at), model.w.shm.at[m->moffset + at], want);
}

void hostile_mappings(struct hostile *h, uint64_t from, uint64_t to)
{
	begin(h, "mappings", FILE_SIZE);
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		switch (hostile_below(h, 64)) {
		case 0: shoot_many(h); break;
		case 1:
		case 2: shoot_removal_of_all(h); break;
		default:
			if (hostile_one_in(h, 3))
				shoot_removal(h);
			else
				shoot_mapping(h);
		}
		if (n % 16 == 15) {
			hostile_fire(h);
			look(h);
		}
	}
	hostile_fire(h);
	look(h);
	window_close(h, &model.w);
}

/* ---- races ---- */

static void shoot_size(struct hostile *h, uint64_t node)
{
	struct fuse_setattr_in in = { .valid = FATTR_SIZE, .size = hostile_below(h, 7 * MIB) };
	struct fuse_message m = {
		.opcode = FUSE_SETATTR, .nodeid = node, .args = &in, .arg_len = sizeof(in)
	};

	(void)shoot(h, 2, &m, HOSTILE_ANY);
}

static void shoot_fallocate(struct hostile *h, uint64_t node)
{
	static const uint32_t modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  FALLOC_FL_ZERO_RANGE,
					  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
					  FALLOC_FL_KEEP_SIZE };
	struct fuse_fallocate_in in = { .offset = hostile_below(h, 6 * MIB),
					.length = 1 + hostile_below(h, 300000),
					.mode = modes[hostile_below(h, 5)] };
	struct fuse_message m = {
		.opcode = FUSE_FALLOCATE, .nodeid = node, .args = &in, .arg_len = sizeof(in)
	};

	(void)shoot(h, 2, &m, HOSTILE_ANY);
}

static void shoot_write(struct hostile *h, uint64_t node)
{
	uint8_t data[1024];
	struct fuse_write_in in = { .offset = hostile_below(h, 6 * MIB),
				    .size = 1 + (uint32_t)hostile_below(h, sizeof(data)) };
	struct fuse_message m = { .opcode = FUSE_WRITE,
				  .nodeid = node,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .text = data,
				  .text_len = in.size };

	memset(data, (int)hostile_next(h), sizeof(data));
	(void)shoot(h, 2, &m, HOSTILE_ANY);
}

/* The file goes, and with a FORGET all that the guest knows of it; what is mapped stays. */
static void shoot_end(struct hostile *h, uint32_t file)
{
	char name[2] = { (char)('a' + file) };
	struct fuse_forget_in in = { .nlookup = UINT64_MAX };
	struct fuse_message unlink = {
		.opcode = FUSE_UNLINK, .nodeid = model.dir, .text = name, .text_len = sizeof(name)
	};
	struct fuse_message forget = { .opcode = FUSE_FORGET,
				       .nodeid = model.file[file],
				       .args = &in,
				       .arg_len = sizeof(in),
				       .no_reply = true };

	if (hostile_one_in(h, 2))
		(void)shoot(h, 2, &unlink, HOSTILE_ANY);
	if (hostile_one_in(h, 2))
		(void)shoot(h, 0, &forget, HOSTILE_NO_REPLY);
}

static void shoot_change(struct hostile *h)
{
	uint32_t file = (uint32_t)hostile_below(h, FILES);
	uint64_t node = model.file[file];

	switch (hostile_below(h, 8)) {
	case 0:
	case 1: shoot_size(h, node); break;
	case 2:
	case 3: shoot_fallocate(h, node); break;
	case 4: shoot_end(h, file); break;
	default: shoot_write(h, node);
	}
}

/* At places of whole ranges, so that the answers alone tell what is mapped. */
#define RACES_MAX 8u
/* Bytes that are compared after each; all are in the end. */
#define LOOK (64 * UINT64_C(1024))

struct race {
	bool map;
	uint64_t node;
	struct fuse_setupmapping_in in;
	const struct shot *shot;
};

static void shoot_race(struct hostile *h, struct race *r)
{
	struct fuse_removemapping_one one = { .len = SHM_RANGE };

	r->map = !hostile_one_in(h, 3);
	r->node = model.file[hostile_below(h, FILES)];
	r->in = (struct fuse_setupmapping_in){ .foffset = hostile_below(h, 3) * SHM_RANGE,
					       .len = SHM_RANGE,
					       .flags = 3,
					       .moffset = hostile_below(h, 8) * SHM_RANGE };
	one.moffset = r->in.moffset;
	r->shot = r->map ? shoot_map(h, r->node, &r->in, HOSTILE_ANY) :
			   shoot_unmap(h, &one, 1, 1, HOSTILE_ANY);
}

static void note_race(struct hostile *h, const struct race *r)
{
	struct fuse_removemapping_one one = { .moffset = r->in.moffset, .len = SHM_RANGE };

	if (answer_of(h, r->shot))
		return;
	if (r->map)
		note_map(r->node, &r->in);
	else if (!note_unmap(&one, 1))
		front_die("REMOVEMAPPING of what was not mapped succeeds");
}

/* @len bytes from @from of a mapping, below the end of a file that is still known. */
static void want_same(struct hostile *h, const struct mapped *m, uint64_t from, uint64_t len)
{
	static uint8_t back[FRONT_DATA_MAX];
	const uint8_t *at = model.w.shm.at + m->moffset;

	for (uint64_t k = from; k < from + len; k += sizeof(back)) {
		size_t part = from + len - k < sizeof(back) ? from + len - k : sizeof(back);
		int64_t got = fuse_read(&h->f, m->node, m->off + k, back, part);

		if (got < 0 && got != -ESTALE)
			front_die("READ: %lld", (long long)got);
		for (int64_t b = 0; b < got; b++)
			if (at[k + (uint64_t)b] != back[b])
				front_die("byte %llu is %02x in the window and %02x in the file",
					  (unsigned long long)(m->off + k + (uint64_t)b),
					  at[k + (uint64_t)b], back[b]);
		if (got < (int64_t)part)
			return;
	}
}

static void run_race(struct hostile *h)
{
	struct race race[RACES_MAX];
	uint32_t count = 1 + (uint32_t)hostile_below(h, RACES_MAX);

	for (uint32_t i = 0; i < count; i++)
		shoot_race(h, &race[i]);
	for (uint64_t i = 1 + hostile_below(h, 8); i; i--)
		shoot_change(h);
	hostile_fire(h);
	for (uint32_t i = 0; i < count; i++)
		note_race(h, &race[i]);
	compare(h);
	h->judged = true;
	if (model.count)
		want_same(h, &model.mapped[hostile_below(h, model.count)],
			  hostile_below(h, SHM_RANGE / LOOK) * LOOK, LOOK);
	h->judged = false;
	for (uint32_t i = 0; i < FILES; i++)
		model.file[i] = make_file(h, model.dir, i, 0);
}

void hostile_mapped_races(struct hostile *h, uint64_t from, uint64_t to)
{
	begin(h, "races", 3 * MIB);
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		run_race(h);
	}
	for (uint32_t i = 0; i < model.count; i++)
		want_same(h, &model.mapped[i], 0, SHM_RANGE);
	window_close(h, &model.w);
}
