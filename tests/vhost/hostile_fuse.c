/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * FUSE requests that lie. One row an opcode: its arguments field by field, names and payload as
 * the protocol has them, so that each can be cut at every byte, filled with anything, or be right
 * in all but a nodeid.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/vhost/hostile.h"

#define HEAD sizeof(struct fuse_in_header)
#define FIELDS_MAX 20
/* Durations of the medium rather than of the daemon: one in so many. */
#define RARE 24
/* Payload inside a slot, and the most behind it. */
#define PAYLOAD_MAX 600u
#define MORE_MAX (1u << 20)

enum row_flag {
	NAMES_1 = 1,
	NAMES_2 = 2,
	PAYLOAD = 4,
	MUTE = 8,	/* has no reply */
	SESSION = 16,	/* ends the session it comes in */
	SELDOM = 32,	/* waits for the medium */
	WAITS = 64,	/* for a lock */
	NO_NODE = 128,	/* the nodeid is not looked at */
	UNSERVED = 256, /* ENOSYS */
	XATTR = 512,	/* the name is one of those */
};

/*
 * Fields: q and d are numbers of 64 and 32 bits, n a nodeid, h a handle, o an offset, L and l
 * lengths, m a mode, f flags, v what SETATTR sets, t a type of lock, w an owner, T a time, s the
 * payload's size, c its count, u a request's unique, z (32 bits) and Z are padding.
 */
static const struct row {
	uint32_t opcode;
	const char *name, *fields;
	uint32_t flags;
} rows[] = {
	{ FUSE_LOOKUP, "LOOKUP", "", NAMES_1 },
	{ FUSE_FORGET, "FORGET", "q", MUTE },
	{ FUSE_GETATTR, "GETATTR", "fzh", 0 },
	{ FUSE_SETATTR, "SETATTR", "vzhowTTTdddmzddz", 0 },
	{ FUSE_READLINK, "READLINK", "", 0 },
	{ FUSE_SYMLINK, "SYMLINK", "", NAMES_2 },
	{ FUSE_MKNOD, "MKNOD", "mddz", NAMES_1 },
	{ FUSE_MKDIR, "MKDIR", "md", NAMES_1 },
	{ FUSE_UNLINK, "UNLINK", "", NAMES_1 },
	{ FUSE_RMDIR, "RMDIR", "", NAMES_1 },
	{ FUSE_RENAME, "RENAME", "n", NAMES_2 },
	{ FUSE_LINK, "LINK", "n", NAMES_1 },
	{ FUSE_OPEN, "OPEN", "ff", 0 },
	{ FUSE_READ, "READ", "holfwfz", 0 },
	{ FUSE_WRITE, "WRITE", "hosfwfz", PAYLOAD },
	{ FUSE_STATFS, "STATFS", "", NO_NODE },
	{ FUSE_RELEASE, "RELEASE", "hffw", NO_NODE },
	{ FUSE_FSYNC, "FSYNC", "hfz", SELDOM },
	{ FUSE_SETXATTR, "SETXATTR", "sffz", XATTR | NAMES_1 | PAYLOAD },
	{ FUSE_GETXATTR, "GETXATTR", "lz", XATTR | NAMES_1 },
	{ FUSE_LISTXATTR, "LISTXATTR", "lz", 0 },
	{ FUSE_REMOVEXATTR, "REMOVEXATTR", "", XATTR | NAMES_1 },
	{ FUSE_FLUSH, "FLUSH", "hzzw", NO_NODE },
	{ FUSE_INIT, "INIT", "dddf", PAYLOAD | SESSION },
	{ FUSE_OPENDIR, "OPENDIR", "ff", 0 },
	{ FUSE_READDIR, "READDIR", "holfwfz", 0 },
	{ FUSE_RELEASEDIR, "RELEASEDIR", "hffw", NO_NODE },
	{ FUSE_FSYNCDIR, "FSYNCDIR", "hfz", SELDOM },
	{ FUSE_GETLK, "GETLK", "hwootdfz", 0 },
	{ FUSE_SETLK, "SETLK", "hwootdfz", 0 },
	{ FUSE_SETLKW, "SETLKW", "hwootdfz", WAITS },
	{ FUSE_ACCESS, "ACCESS", "fz", UNSERVED },
	{ FUSE_CREATE, "CREATE", "fmdf", NAMES_1 },
	{ FUSE_INTERRUPT, "INTERRUPT", "u", MUTE },
	{ FUSE_BMAP, "BMAP", "odz", 0 },
	{ FUSE_DESTROY, "DESTROY", "", SESSION },
	{ FUSE_IOCTL, "IOCTL", "hfdqsl", PAYLOAD },
	{ FUSE_POLL, "POLL", "hqff", UNSERVED },
	{ FUSE_NOTIFY_REPLY, "NOTIFY_REPLY", "", MUTE | PAYLOAD },
	{ FUSE_BATCH_FORGET, "BATCH_FORGET", "cz", MUTE | PAYLOAD },
	{ FUSE_FALLOCATE, "FALLOCATE", "hoLfz", 0 },
	{ FUSE_READDIRPLUS, "READDIRPLUS", "holfwfz", 0 },
	{ FUSE_RENAME2, "RENAME2", "nfz", NAMES_2 },
	{ FUSE_LSEEK, "LSEEK", "hofz", 0 },
	{ FUSE_COPY_FILE_RANGE, "COPY_FILE_RANGE", "honhoLq", 0 },
	{ FUSE_SETUPMAPPING, "SETUPMAPPING", "hoLqo", UNSERVED },
	{ FUSE_REMOVEMAPPING, "REMOVEMAPPING", "c", PAYLOAD | UNSERVED },
	{ FUSE_SYNCFS, "SYNCFS", "Z", NO_NODE | SELDOM },
	{ FUSE_TMPFILE, "TMPFILE", "fmdf", NAMES_1 },
	{ 52, "STATX", "fzhff", 0 },
	{ 53, "COPY_FILE_RANGE_64", "honhoLq", 0 },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* A request as it is put together. */
struct body {
	const struct row *row;
	uint64_t nodeid;
	uint8_t bytes[HOSTILE_IN];
	size_t len, least; /* all of it; without its payload, which may be missing */
};

/* ---- fields ---- */

static bool is_wide(char field)
{
	return strchr("qnhoLwTuZ", field) != NULL;
}

static size_t args_len(const struct row *r)
{
	size_t len = 0;

	for (const char *f = r->fields; *f; f++)
		len += is_wide(*f) ? 8 : 4;
	return len;
}

static uint64_t some_node(struct hostile *h)
{
	return hostile_one_in(h, 8) ? hostile_odd(h) : h->node[hostile_below(h, HOSTILE_NODES)];
}

static uint64_t small_or_odd(struct hostile *h, uint64_t limit)
{
	return hostile_one_in(h, 4) ? hostile_odd(h) : hostile_below(h, limit);
}

static uint64_t field_value(struct hostile *h, char field, size_t payload)
{
	static const uint32_t types[] = { S_IFREG, S_IFDIR, S_IFLNK,  S_IFIFO,
					  S_IFCHR, S_IFBLK, S_IFSOCK, 0 };

	switch (field) {
	case 'n': return some_node(h);
	case 'h': return small_or_odd(h, 3);
	case 'o': return small_or_odd(h, 1 << 20);
	case 'L': return small_or_odd(h, 1 << 20);
	case 'l': return small_or_odd(h, 8192);
	case 'm': return types[hostile_below(h, 8)] | hostile_below(h, 010000);
	case 'f': return hostile_one_in(h, 3) ? hostile_next(h) : 1u << hostile_below(h, 32);
	case 'v': return hostile_one_in(h, 4) ? hostile_next(h) : 1u << hostile_below(h, 12);
	case 't': return small_or_odd(h, 3);
	case 'w': return hostile_below(h, 3);
	case 'T': return small_or_odd(h, UINT64_C(1) << 33);
	case 's': return hostile_one_in(h, 4) ? hostile_odd(h) : payload;
	case 'c': return hostile_one_in(h, 2) ? hostile_odd(h) : payload / 16;
	case 'u': return h->f.unique - 2 * hostile_below(h, 8);
	default: return small_or_odd(h, 16);
	}
}

static void add(struct body *b, const void *data, size_t len)
{
	memcpy(b->bytes + b->len, data, len);
	b->len += len;
}

/* All of a row's fields by @value, which is told the payload's length. */
static void add_args(struct hostile *h, struct body *b, size_t payload,
		     uint64_t (*value)(struct hostile *h, char field, size_t payload))
{
	for (const char *f = b->row->fields; *f; f++) {
		uint64_t n = value(h, *f, payload);

		add(b, &n, is_wide(*f) ? 8 : 4);
	}
}

static void begin(struct body *b, const struct row *r, uint64_t nodeid)
{
	b->row = r;
	b->nodeid = nodeid;
	b->len = HEAD;
}

/* As the arguments' place is known, what is there can be replaced. */
static void set_field(struct body *b, char field, uint64_t value)
{
	size_t at = HEAD;

	for (const char *f = b->row->fields; *f; at += is_wide(*f) ? 8 : 4, f++)
		if (*f == field)
			memcpy(b->bytes + at, &value, is_wide(*f) ? 8 : 4);
}

static void put_head(struct hostile *h, struct body *b, struct shot *s)
{
	struct fuse_in_header head = { .len = (uint32_t)(b->len + s->more_in),
				       .opcode = b->row->opcode,
				       .unique = h->f.unique += 2,
				       .nodeid = b->nodeid,
				       .pid = 1 };

	memcpy(b->bytes, &head, sizeof(head));
	s->unique = head.unique;
	s->what = b->row->name;
}

static struct shot *must_shoot(struct hostile *h, uint32_t queue)
{
	struct shot *s = hostile_shot(h, queue);

	if (s)
		return s;
	hostile_fire(h);
	return hostile_shot(h, queue);
}

static uint32_t any_queue(struct hostile *h)
{
	return (uint32_t)hostile_below(h, FRONT_QUEUES);
}

/* ---- cut at every byte ---- */

static const char cut_names[] = "cut\0off", xattr_name[] = "user.cut";

static size_t names_len(const struct row *r)
{
	if (r->flags & XATTR)
		return sizeof(xattr_name);
	return r->flags & NAMES_2 ? sizeof(cut_names) :
	       r->flags & NAMES_1 ? sizeof(cut_names) / 2 :
				    0;
}

static uint64_t plain_value(struct hostile *h, char field, size_t payload)
{
	switch (field) {
	case 'n': return h->node[1];
	case 's': return payload;
	case 'c': return payload / 16;
	case 'm': return S_IFREG | 0644;
	case 't': return F_UNLCK;
	default: return 0;
	}
}

static void whole(struct hostile *h, struct body *b, const struct row *r)
{
	size_t payload = r->flags & PAYLOAD ? 16 : 0;

	begin(b, r, h->node[1]);
	add_args(h, b, payload, plain_value);
	add(b, r->flags & XATTR ? xattr_name : cut_names, names_len(r));
	b->least = b->len;
	memset(b->bytes + b->len, 0, payload);
	b->len += payload;
}

/* How often a row can be cut: before each of its bytes. */
static size_t cuts_of(const struct row *r)
{
	return HEAD + args_len(r) + names_len(r) + (r->flags & PAYLOAD ? 16 : 0);
}

/* The memory ends there, or the header says so, or it says that there is more than there is. */
enum cut { CUT_BOTH, CUT_MEMORY, CUT_HEADER, CUTS };

static int cut_answer(const struct body *b, enum cut cut, size_t at)
{
	if ((cut != CUT_HEADER && at < HEAD) || b->row->flags & MUTE)
		return HOSTILE_NO_REPLY;
	return cut == CUT_MEMORY || at < b->least ? -EINVAL : HOSTILE_ANY;
}

static void shoot_cut(struct hostile *h, const struct row *r, enum cut cut, uint32_t at)
{
	struct body b;
	struct shot *s = must_shoot(h, any_queue(h));

	whole(h, &b, r);
	s->room = HOSTILE_ROOM_USUAL;
	put_head(h, &b, s);
	s->want = cut_answer(&b, cut, at);
	memcpy(hostile_in(h, s), b.bytes, b.len);
	if (cut != CUT_MEMORY)
		memcpy(hostile_in(h, s), &at, sizeof(at));
	hostile_chain(h, s, cut == CUT_HEADER ? b.len : at);
	/* It was enough for one that is new. */
	if (r->flags & SESSION && s->want == HOSTILE_ANY) {
		hostile_fire(h);
		hostile_close(h);
	}
}

void hostile_truncate(struct hostile *h, uint64_t from, uint64_t to)
{
	size_t total = 0;

	for (size_t i = 0; i < ROWS; i++)
		total += cuts_of(&rows[i]);
	for (uint64_t n = from; n < to; n++) {
		size_t at = (size_t)(n / CUTS % total), row = 0;

		hostile_open(h, STAGE_SESSION);
		hostile_case(h, n);
		for (; at >= cuts_of(&rows[row]); row++)
			at -= cuts_of(&rows[row]);
		shoot_cut(h, &rows[row], (enum cut)(n % CUTS), (uint32_t)at);
	}
	if (h->up)
		hostile_fire(h);
}

/* ---- random bodies ---- */

static void add_name(struct hostile *h, struct body *b)
{
	static const char *const odd[] = { "",
					   ".",
					   "..",
					   "a/b",
					   "/",
					   "lost+found",
					   "user.a",
					   "security.capability",
					   "system.posix_acl_access",
					   "trusted.x" };
	char text[300];
	size_t len;

	switch (hostile_below(h, 16)) {
	case 0:
		len = 1 + hostile_below(h, sizeof(text) - 1);
		for (size_t i = 0; i < len; i++)
			text[i] = (char)hostile_next(h);
		add(b, text, len);
		return;
	case 1:
		len = 250 + hostile_below(h, 10);
		memset(text, 'n', len);
		text[len] = 0;
		add(b, text, len + 1);
		return;
	case 2:
	case 3:
		len = hostile_below(h, sizeof(odd) / sizeof(odd[0]));
		add(b, odd[len], strlen(odd[len]) + 1);
		return;
	default:
		text[0] = (char)('a' + hostile_below(h, HOSTILE_NODES));
		text[1] = 0;
		add(b, text, 1 + !hostile_one_in(h, 32));
	}
}

static void add_payload(struct hostile *h, struct body *b, size_t payload)
{
	while (payload) {
		uint64_t n = hostile_one_in(h, 2) ? some_node(h) : hostile_odd(h);
		size_t part = payload < 8 ? payload : 8;

		add(b, &n, part);
		payload -= part;
	}
}

static const struct row *any_row(struct hostile *h)
{
	for (;;) {
		const struct row *r = &rows[hostile_below(h, ROWS)];

		if (r->flags & SESSION || (r->flags & SELDOM && !hostile_one_in(h, RARE)))
			continue;
		return r;
	}
}

/* What the header says besides the opcode. */
static void twist_head(struct hostile *h, struct shot *s)
{
	struct fuse_in_header head;

	memcpy(&head, hostile_in(h, s), sizeof(head));
	switch (hostile_below(h, 24)) {
	case 0: head.len = (uint32_t)hostile_odd(h); break;
	case 1: head.total_extlen = (uint16_t)hostile_below(h, 64); break;
	case 2: head.uid = (uint32_t)hostile_odd(h); break;
	case 3: head.gid = head.uid = 1000; break;
	case 4: head.opcode = (uint32_t)hostile_odd(h) | 64; break;
	default: return;
	}
	memcpy(hostile_in(h, s), &head, sizeof(head));
}

static void shoot_body(struct hostile *h)
{
	const struct row *r = any_row(h);
	size_t payload = r->flags & PAYLOAD ? hostile_below(h, PAYLOAD_MAX) : 0;
	uint32_t more = hostile_one_in(h, 16) ? (uint32_t)hostile_below(h, MORE_MAX) : 0;
	struct shot *s = must_shoot(h, any_queue(h));
	struct body b;

	s->more_in = r->opcode == FUSE_WRITE ? more : 0;
	s->more_out = r->opcode == FUSE_READ || r->opcode == FUSE_READDIRPLUS ? more : 0;
	s->room = hostile_one_in(h, 4) ? (uint32_t)hostile_below(h, HOSTILE_ROOM) :
					 HOSTILE_ROOM_USUAL;
	if (s->more_out)
		s->room = HOSTILE_ROOM;
	begin(&b, r, some_node(h));
	add_args(h, &b, payload + s->more_in, field_value);
	for (uint32_t i = 0; i < (r->flags & (NAMES_1 | NAMES_2)); i++)
		add_name(h, &b);
	add_payload(h, &b, payload);
	put_head(h, &b, s);
	memcpy(hostile_in(h, s), b.bytes, b.len);
	s->may_wait = r->flags & WAITS;
	twist_head(h, s);
	hostile_chain(h, s, b.len);
}

void hostile_some_bodies(struct hostile *h, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		shoot_body(h);
}

static const struct row *row_of(uint32_t opcode)
{
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].opcode == opcode)
			return &rows[i];
	front_die("opcode %u has no row", opcode);
}

/* The version that the daemon speaks, mostly, and all that it may be offered. */
void hostile_some_sessions(struct hostile *h, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct shot *s = must_shoot(h, any_queue(h));
		uint32_t init[4] = { 7, 41, 1 << 20, 0x7ffffffb };
		struct body b;

		if (hostile_one_in(h, 8))
			init[hostile_below(h, 4)] = (uint32_t)hostile_odd(h);
		begin(&b, row_of(hostile_one_in(h, 3) ? FUSE_DESTROY : FUSE_INIT), 1);
		if (b.row->opcode == FUSE_INIT)
			add(&b, init, sizeof(init));
		s->room = HOSTILE_ROOM_USUAL;
		put_head(h, &b, s);
		memcpy(hostile_in(h, s), b.bytes, b.len);
		hostile_chain(h, s, b.len);
	}
}

void hostile_bodies(struct hostile *h, uint64_t from, uint64_t to)
{
	hostile_open(h, STAGE_SESSION);
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		shoot_body(h);
		if (hostile_one_in(h, 100))
			hostile_fire(h);
	}
	hostile_fire(h);
}

/* ---- nodeids that nobody handed out ---- */

static uint64_t forged_node(struct hostile *h)
{
	uint64_t known = h->node[hostile_below(h, HOSTILE_NODES)], n;

	switch (hostile_below(h, 5)) {
	case 0: n = known + (UINT64_C(1) << (32 + hostile_below(h, 32))); break;
	case 1: n = known + 1 + hostile_below(h, 64); break;
	case 2: n = hostile_next(h); break;
	case 3: n = hostile_below(h, 4096); break;
	default: n = hostile_odd(h); break;
	}
	for (uint32_t i = 0; i < HOSTILE_NODES; i++)
		if (n == h->node[i] || n == 1)
			return UINT64_C(0xfeedfeedfeedfeed);
	return n;
}

/* Right in all but the nodeid, or but the second one. */
static void shoot_forged(struct hostile *h)
{
	const struct row *r = any_row(h);
	bool second = strchr(r->fields, 'n') && hostile_one_in(h, 2);
	struct shot *s = must_shoot(h, any_queue(h));
	struct body b;

	whole(h, &b, r);
	if (second)
		set_field(&b, 'n', forged_node(h));
	else
		b.nodeid = forged_node(h);
	/* Nothing to do is no reason to look at the second. */
	set_field(&b, 'L', 4096);
	set_field(&b, 'l', 200);
	if (r->opcode == FUSE_BMAP)
		set_field(&b, 'd', 4096);
	if (r->opcode == FUSE_LSEEK)
		set_field(&b, 'f', SEEK_DATA);
	s->room = HOSTILE_ROOM_USUAL;
	put_head(h, &b, s);
	s->want = r->flags & MUTE ? HOSTILE_NO_REPLY :
		  r->flags & UNSERVED ? -ENOSYS :
		  r->flags & NO_NODE ? HOSTILE_ANY :
		  second || r->opcode == FUSE_IOCTL ? HOSTILE_FAILS : /* the command is checked first */
				       -ESTALE;
	memcpy(hostile_in(h, s), b.bytes, b.len);
	hostile_chain(h, s, b.len);
}

void hostile_forged(struct hostile *h, uint64_t from, uint64_t to)
{
	hostile_open(h, STAGE_SESSION);
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		shoot_forged(h);
	}
	hostile_fire(h);
}

/* ---- lies about lookups ---- */

/* A case's requests are served in their order; all about one nodeid are on one queue. */
#define SHOTS_MAX 12

static uint32_t queue_of(const struct hostile *h)
{
	return (uint32_t)(h->number % (HOSTILE_NODES - 1) % FRONT_QUEUES);
}

static void shoot(struct hostile *h, struct body *b, int want)
{
	struct shot *s = must_shoot(h, queue_of(h));

	s->room = HOSTILE_ROOM_USUAL;
	s->want = want;
	put_head(h, b, s);
	memcpy(hostile_in(h, s), b->bytes, b->len);
	hostile_chain(h, s, b->len);
}

static void shoot_named(struct hostile *h, uint32_t opcode, uint32_t node, int want)
{
	char name[2] = { (char)('a' + node) };
	struct body b;

	begin(&b, row_of(opcode), h->node[0]);
	add(&b, name, sizeof(name));
	shoot(h, &b, want);
}

static void shoot_forget(struct hostile *h, uint64_t nodeid, uint64_t count)
{
	struct body b;

	begin(&b, row_of(FUSE_FORGET), nodeid);
	add(&b, &count, sizeof(count));
	shoot(h, &b, HOSTILE_NO_REPLY);
}

/* @count entries, of which @there follow: when some are missing, none may count. */
static void shoot_batch(struct hostile *h, uint64_t nodeid, uint32_t count, uint32_t there)
{
	uint32_t head[2] = { count, 0 };
	struct fuse_forget_one one = { .nodeid = nodeid, .nlookup = 1 };
	struct body b;

	begin(&b, row_of(FUSE_BATCH_FORGET), nodeid);
	add(&b, head, sizeof(head));
	for (uint32_t i = 0; i < there; i++)
		add(&b, &one, sizeof(one));
	shoot(h, &b, HOSTILE_NO_REPLY);
}

/* Some lookups, more or fewer forgets, and a question whose answer follows from both. */
static void shoot_lookups(struct hostile *h, const uint64_t *nodes)
{
	uint32_t node = 1 + (uint32_t)(h->number % (HOSTILE_NODES - 1)), there;
	uint64_t id = nodes[node], count = 1, lost;
	struct body b;

	for (uint64_t i = hostile_below(h, 4); i; i--, count++)
		shoot_named(h, FUSE_LOOKUP, node, 0);
	for (uint64_t i = hostile_below(h, 4); i; i--) {
		switch (hostile_below(h, 4)) {
		case 0: lost = hostile_below(h, 4); break;
		case 1: lost = hostile_odd(h); break;
		case 2:
			there = (uint32_t)hostile_below(h, 5);
			shoot_batch(h, id, there, there);
			count -= there < count ? there : count;
			continue;
		default:
			there = (uint32_t)hostile_below(h, 5);
			shoot_batch(h, id, there + 1 + (uint32_t)hostile_odd(h) % 0x7fffffff,
				    there);
			continue;
		}
		shoot_forget(h, id, lost);
		count -= lost < count ? lost : count;
	}
	shoot_forget(h, hostile_one_in(h, 2) ? 1 : forged_node(h), hostile_odd(h));
	whole(h, &b, row_of(FUSE_GETATTR));
	b.nodeid = id;
	shoot(h, &b, count ? 0 : -ESTALE);
	/* As before, for the next one. */
	shoot_forget(h, id, UINT64_MAX);
	shoot_named(h, FUSE_LOOKUP, node, 0);
}

/* Files of their own: nobody deletes them between a lookup and the next. */
void hostile_forgets(struct hostile *h, uint64_t from, uint64_t to)
{
	struct fuse_entry_out dir, e;

	hostile_open(h, STAGE_SESSION);
	(void)fuse_mkdir(&h->f, 1, "forgets", &dir); /* it may be there */
	if (fuse_lookup(&h->f, 1, "forgets", &dir))
		front_die("no folder for forgets");
	h->node[0] = dir.nodeid;
	for (uint32_t i = 1; i < HOSTILE_NODES; i++) {
		char name[2] = { (char)('a' + i) };

		fuse_forget(&h->f, h->node[i], UINT64_MAX);
		if (fuse_lookup(&h->f, dir.nodeid, name, &e) &&
		    fuse_create(&h->f, dir.nodeid, name, 0600, &e))
			front_die("no file for forgets");
		h->node[i] = e.nodeid;
	}
	for (uint64_t n = from; n < to; n++) {
		hostile_case(h, n);
		if (h->shots[queue_of(h)] > HOSTILE_SLOTS - SHOTS_MAX)
			hostile_fire(h);
		shoot_lookups(h, h->node);
	}
	hostile_fire(h);
}
