// SPDX-License-Identifier: GPL-2.0-only
/* See scene.h. */
#include "tests/fuzz/scene.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define SCENES_MAX 8
#define IMAGE_BYTES_MAX (16u << 20)

static struct scene scenes[SCENES_MAX];
static uint32_t scene_first, scene_count, allowed;
static uint8_t current_flags;
/* [atomic] calls of the device until it fails, and how many fail then */
static _Atomic int64_t calls_left, faults_left;

/* ---- loading -------------------------------------------------------------- */

static void load(struct scene *sc, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	FUZZ_CHECK(fd >= 0 && fstat(fd, &st) == 0);
	FUZZ_CHECK(st.st_size > 0 && st.st_size <= IMAGE_BYTES_MAX);
	sc->size = (uint64_t)st.st_size;
	sc->base = malloc(sc->size);
	sc->bytes = malloc(sc->size);
	FUZZ_CHECK(sc->base && sc->bytes);
	FUZZ_CHECK(pread(fd, sc->base, sc->size, 0) == (ssize_t)sc->size);
	close(fd);
	memcpy(sc->bytes, sc->base, sc->size);
	scene_find_places(sc);
	sc->dirty = calloc(1, sc->size / sc->block_size);
	FUZZ_CHECK(sc->dirty);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

void scene_init(uint32_t kinds)
{
	char names[SCENES_MAX][64];
	uint32_t count = 0;
	DIR *dir = opendir(fuzz_bases_dir());
	const struct dirent *de;

	FUZZ_CHECK(dir);
	while ((de = readdir(dir))) {
		size_t len = strlen(de->d_name);

		if (len < 5 || len >= sizeof(names[0]) || strcmp(de->d_name + len - 4, ".img") != 0)
			continue;
		FUZZ_CHECK(count < SCENES_MAX);
		memcpy(names[count++], de->d_name, len + 1);
	}
	closedir(dir);
	qsort(names, count, sizeof(names[0]), by_name);
	allowed = kinds;
	for (uint32_t i = 0; i < count; i++) {
		struct scene *sc = &scenes[scene_count];
		char path[4096];
		bool wanted = false;

		(void)snprintf(path, sizeof(path), "%s/%s", fuzz_bases_dir(), names[i]);
		(void)snprintf(sc->name, sizeof(sc->name), "%.*s", (int)strlen(names[i]) - 4,
			       names[i]);
		load(sc, path);
		for (uint32_t kind = 0; kind < PLACE_KINDS; kind++)
			wanted |= (kinds & PLACE_BIT(kind)) && scene_places(sc, kind);
		if (wanted) {
			scene_count++;
			continue;
		}
		free(sc->base);
		free(sc->bytes);
		free(sc->dirty);
		memset(sc, 0, sizeof(*sc));
	}
	FUZZ_CHECK(scene_count);
}

uint32_t scene_kinds(void)
{
	return allowed;
}

void scene_only(const char *name)
{
	for (scene_first = 0; strcmp(scenes[scene_first].name, name) != 0; scene_first++)
		FUZZ_CHECK(scene_first < SCENES_MAX - 1);
	scene_count = 1;
}

uint8_t scene_flags(void)
{
	return current_flags;
}

/* ---- edits ---------------------------------------------------------------- */

static const uint64_t special[] = {
	0,	    1,		2,	    3,
	4,	    7,		8,	    11,
	12,	    0x7f,	0x80,	    0xff,
	0x100,	    0x3ff,	0x400,	    0x7fff,
	0x8000,	    0x8001,	0xfffe,	    0xffff,
	0x10000,    0xffffff,	0x7ffffffe, 0x7fffffff,
	0x80000000, 0xfffffffe, 0xffffffff, 0xf30a,
	0xea020000, 0xdeu,	0xc03b3998, 0xffffffffffffffff,
};

/* Relaxed: scene_end() reads the marks when every thread that set one was joined. */
void scene_touch(struct scene *sc, uint64_t off, uint64_t len)
{
	for (uint64_t b = off / sc->block_size; len && b <= (off + len - 1) / sc->block_size; b++)
		atomic_store_explicit(&sc->dirty[b], 1, memory_order_relaxed);
}

static bool is_big_endian(uint32_t kind)
{
	return kind == PLACE_JOURNAL_SUPER || kind == PLACE_LOG;
}

static uint64_t get_number(const uint8_t *at, uint32_t size, bool big)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < size; i++)
		v |= (uint64_t)at[big ? size - 1 - i : i] << (8 * i);
	return v;
}

static void put_number(uint8_t *at, uint32_t size, bool big, uint64_t v)
{
	for (uint32_t i = 0; i < size; i++)
		at[big ? size - 1 - i : i] = (uint8_t)(v >> (8 * i));
}

/* The place that kind and index of an edit name; NULL when this image has none of the kind. */
static const struct place *named_place(const struct scene *sc, uint32_t kind, uint32_t index)
{
	uint32_t count = scene_places(sc, kind % PLACE_KINDS);

	return count ? &sc->places[sc->first[kind % PLACE_KINDS] + index % count] : NULL;
}

static const struct place *edited_place(const struct scene *sc, const struct edit *e)
{
	uint32_t kinds = 0, kind;

	for (kind = 0; kind < PLACE_KINDS; kind++) {
		if ((allowed & PLACE_BIT(kind)) && scene_places(sc, kind))
			kinds++;
	}
	/* A kind that this harness leaves alone stands for one that it does not. */
	kind = e->kind % PLACE_KINDS;
	if (!(allowed & PLACE_BIT(kind)) || !scene_places(sc, kind)) {
		uint32_t skip = e->kind % kinds;

		for (kind = 0;; kind++) {
			if ((allowed & PLACE_BIT(kind)) && scene_places(sc, kind) && !skip--)
				break;
		}
	}
	return named_place(sc, kind, e->place);
}

static void edit_number(const struct scene *sc, const struct place *p, const struct edit *e,
			uint8_t *at, uint32_t size)
{
	const struct place *other = named_place(sc, e->value >> 16, e->value & 0xffff);
	bool big = is_big_endian(p->kind);
	uint64_t v = e->value;

	switch (e->op & ~EDIT_FIELD) {
	case EDIT_ADD: v = get_number(at, size, big) + (uint64_t)(int64_t)(int32_t)e->value; break;
	case EDIT_BLOCK_OF:
		if (!other)
			return;
		v = other->off / sc->block_size;
		break;
	case EDIT_INO_OF:
		if (!other)
			return;
		v = other->ino;
		break;
	case EDIT_SPECIAL: v = special[e->value % (sizeof(special) / sizeof(special[0]))]; break;
	default: break;
	}
	put_number(at, size, big, v);
}

static void edit_bytes(const struct scene *sc, const struct edit *e, uint8_t *at, uint32_t room,
		       const struct place *p)
{
	const struct place *other = named_place(sc, e->value >> 16, e->value & 0xffff);
	uint8_t *bytes = place_bytes(sc, p);
	uint32_t len = e->arg % (room + 1), from = e->value % p->len;
	uint8_t six[6] = { (uint8_t)e->arg,	      (uint8_t)(e->arg >> 8),
			   (uint8_t)e->value,	      (uint8_t)(e->value >> 8),
			   (uint8_t)(e->value >> 16), (uint8_t)(e->value >> 24) };

	switch (e->op & ~EDIT_FIELD) {
	case EDIT_COPY_FROM:
		if (other)
			memmove(at, place_bytes(sc, other) + (at - bytes) % other->len,
				MIN(room, other->len - (uint32_t)(at - bytes) % other->len));
		break;
	case EDIT_FILL: memset(at, (int)e->value, len); break;
	case EDIT_MOVE: memmove(at, bytes + from, MIN(len, p->len - from)); break;
	default: memcpy(at, six, MIN((uint32_t)sizeof(six), room));
	}
}

static void apply(struct scene *sc, const struct edit *e)
{
	static const uint32_t sizes[] = { 1, 2, 4, 8 };
	const struct place *p = edited_place(sc, e);
	uint32_t size = sizes[e->arg & 3], off = e->off % p->len, op = e->op & ~EDIT_FIELD;

	if (e->op & EDIT_FIELD)
		off = place_field(sc, p, e->off, &size);
	if (off >= p->len)
		return;
	size = MIN(size, p->len - off);
	scene_touch(sc, p->off, p->len);
	if (p->ino)
		sc->edited[sc->edited_count++] = p->ino;
	if (op <= EDIT_SPECIAL)
		edit_number(sc, p, e, place_bytes(sc, p) + off, size);
	else
		edit_bytes(sc, e, place_bytes(sc, p) + off, p->len - off, p);
}

bool scene_edited(const struct scene *sc, uint32_t ino)
{
	for (uint32_t i = 0; i < sc->edited_count; i++) {
		if (sc->edited[i] == ino)
			return true;
	}
	return !sc->edited_count;
}

struct scene *scene_begin(struct input *in)
{
	struct scene *sc = &scenes[scene_first + in_u8(in) % scene_count];
	uint32_t edits;

	sc->edited_count = 0;
	current_flags = in_u8(in);
	edits = in_u8(in) % (EDITS_MAX + 1);
	for (uint32_t i = 0; i < edits && in->left; i++) {
		struct edit e;

		e.kind = in_u8(in);
		e.op = in_u8(in);
		e.op = (uint8_t)((e.op & EDIT_FIELD) | (e.op & ~EDIT_FIELD) % EDIT_OPS);
		e.place = in_u16(in);
		e.off = in_u16(in);
		e.arg = in_u16(in);
		e.value = in_u32(in);
		apply(sc, &e);
	}
	if (!(current_flags & SCENE_KEEP_CHECKSUMS))
		scene_seal(sc);
	atomic_store(&faults_left, 0);
	if (current_flags & SCENE_FAULTS) {
		uint16_t when = in_u16(in);

		atomic_store(&calls_left, when & 0x3ff);
		/* A few that pass, or a medium that is gone. */
		atomic_store(&faults_left, when & 0x8000 ? INT64_MAX : 1 + (when >> 12));
	}
	return sc;
}

void scene_end(struct scene *sc)
{
	uint32_t bs = sc->block_size;

	for (uint64_t b = 0; b < sc->size / bs; b++) {
		if (!atomic_load_explicit(&sc->dirty[b], memory_order_relaxed))
			continue;
		memcpy(sc->bytes + b * bs, sc->base + b * bs, bs);
		atomic_store_explicit(&sc->dirty[b], 0, memory_order_relaxed);
	}
}

/* ---- the device ----------------------------------------------------------- */

struct scene_dev {
	struct bdev bdev;
	struct scene *sc;
};

static struct scene *scene_of(struct bdev *b)
{
	return container_of(b, struct scene_dev, bdev)->sc;
}

/* Threads may race for the last call that works: which of them fails is any of them. */
static bool fails(void)
{
	if (!atomic_load(&faults_left) || atomic_fetch_sub(&calls_left, 1) > 0)
		return false;
	atomic_fetch_sub(&faults_left, 1);
	return true;
}

static int dev_readv(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	const uint8_t *from = scene_of(b)->bytes + off;

	if (fails())
		return -EIO;
	for (int i = 0; i < iovcnt; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
	return 0;
}

static int dev_writev(struct bdev *b, const struct iovec *iov, int iovcnt, uint64_t off)
{
	struct scene *sc = scene_of(b);

	if (fails())
		return -EIO;
	for (int i = 0; i < iovcnt; i++) {
		scene_touch(sc, off, iov[i].iov_len);
		memcpy(sc->bytes + off, iov[i].iov_base, iov[i].iov_len);
		off += iov[i].iov_len;
	}
	return 0;
}

static int dev_flush(struct bdev *b UNUSED)
{
	return fails() ? -EIO : 0;
}

static int dev_zero(struct bdev *b, uint64_t off, uint64_t len)
{
	struct scene *sc = scene_of(b);

	scene_touch(sc, off, len);
	memset(sc->bytes + off, 0, len);
	return 0;
}

static void dev_close(struct bdev *b)
{
	free(container_of(b, struct scene_dev, bdev));
}

static const struct bdev_ops dev_ops = {
	.readv = dev_readv,
	.writev = dev_writev,
	.flush = dev_flush,
	.discard = dev_zero,
	.zero = dev_zero,
	.close = dev_close,
};

struct bdev *scene_bdev(struct scene *sc, bool readonly)
{
	struct scene_dev *dev = calloc(1, sizeof(*dev));

	FUZZ_CHECK(dev);
	bdev_init(&dev->bdev, &dev_ops, sc->size);
	dev->sc = sc;
	dev->bdev.readonly = readonly;
	return &dev->bdev;
}
