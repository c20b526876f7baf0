// SPDX-License-Identifier: GPL-2.0-only
/*
 * kfsctl map: a file's extents, in the form that filefrag -v has made familiar. FUSE has no FIEMAP, so the daemon is
 * asked by inode number.
 *
 * Blocks are allocated when the daemon gets the data. What still waits in the kernel's cache has none, so the file is
 * written back first unless that is not wanted.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "ctl/format.h"
#include "ctl/kfsctl.h"

static int write_back(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	/* Who may not read it may still ask where it lies; the map is then of what was written back so far. */
	if (fd >= 0 && fsync(fd) < 0)
		return complain(path, strerrordesc_np(errno), "--no-sync shows the map as it is");
	return EXIT_DONE;
}

/* All pages of the map in one object. */
static int fetch(const struct words *w, const struct rundir_info *info, uint64_t ino,
		 json_t **ret_map)
{
	json_t *map = NULL, *page, *next;
	uint64_t lblk = 0;
	int ret;

	for (;;) {
		ret = ask(info, "map",
			  json_pack("{s:I, s:I}", "ino", (json_int_t)ino, "lblk", (json_int_t)lblk),
			  w->timeout_ms, &page);
		if (ret)
			break;
		next = json_object_get(page, "next_lblk");
		/* Backwards would never end. */
		if (json_is_integer(next) && get_count(page, "next_lblk") <= lblk) {
			ret = complain(mount_name(info), "the daemon's map goes backwards", "");
			json_decref(page);
			break;
		}
		lblk = get_count(page, "next_lblk");
		next = json_is_integer(next) ? next : NULL;
		if (map) {
			json_array_extend(json_object_get(map, "extents"),
					  json_object_get(page, "extents"));
			json_decref(page);
		} else {
			map = page;
		}
		if (!next) {
			json_object_del(map, "next_lblk");
			*ret_map = map;
			return EXIT_DONE;
		}
	}
	json_decref(map);
	return ret;
}

/* True when @extent begins in image and file where the one before it ends. */
static bool follows(const json_t *before, const json_t *extent)
{
	uint64_t blocks = get_count(before, "blocks");

	return get_count(extent, "lblk") == get_count(before, "lblk") + blocks &&
	       get_count(extent, "pblk") == get_count(before, "pblk") + blocks;
}

static void print_extent(size_t i, const json_t *extent, const json_t *before, bool last)
{
	uint64_t lblk = get_count(extent, "lblk"), pblk = get_count(extent, "pblk");
	uint64_t blocks = get_count(extent, "blocks");
	char expected[24] = "";

	if (before && !follows(before, extent))
		snprintf(expected, sizeof(expected), "%" PRIu64,
			 get_count(before, "pblk") + get_count(extent, "lblk") -
				 get_count(before, "lblk"));
	printf("%4zu: %8" PRIu64 "..%8" PRIu64 ": %10" PRIu64 "..%10" PRIu64 ": %6" PRIu64
	       ": %10s: %s%s%s\n",
	       i, lblk, lblk + blocks - 1, pblk, pblk + blocks - 1, blocks, expected,
	       get_bool(extent, "unwritten") ? "unwritten" : "",
	       get_bool(extent, "unwritten") && last ? "," : "", last ? "last" : "");
}

static void print_map(const char *path, const json_t *map)
{
	const json_t *extents = json_object_get(map, "extents");
	uint64_t size = get_count(map, "size_bytes"), block = get_count(map, "block_bytes");
	size_t count = json_array_size(extents), i, runs = 0;

	printf("%s: inode %" PRIu64 ", %" PRIu64 " bytes (%" PRIu64 " blocks of %" PRIu64
	       " bytes)\n",
	       path, get_count(map, "ino"), size, block ? DIV_ROUND_UP(size, block) : 0, block);
	if (strcmp(get_text(map, "mapping"), "inode") == 0) {
		printf("its contents are in the inode: no blocks\n");
		return;
	}
	if (count)
		printf(" ext:     logical_offset:        physical_offset: length:   expected: flags:\n");
	for (i = 0; i < count; i++) {
		const json_t *extent = json_array_get(extents, i);
		const json_t *before = i ? json_array_get(extents, i - 1) : NULL;

		runs += !before || !follows(before, extent);
		print_extent(i, extent, before, i + 1 == count);
	}
	printf("%zu extent%s, %zu contiguous run%s\n", count, count == 1 ? "" : "s", runs,
	       runs == 1 ? "" : "s");
}

static int map_on(const struct words *w, const struct rundir_info *info, const char *path)
{
	struct stat st;
	json_t *map = NULL;
	int ret;

	if (stat(path, &st) < 0)
		return complain(path, strerrordesc_np(errno), "");
	if (S_ISREG(st.st_mode) && !w->no_sync) {
		ret = write_back(path);
		if (ret)
			return ret;
	}
	ret = fetch(w, info, st.st_ino, &map);
	if (ret)
		return ret;
	if (w->json) {
		json_object_set_new(map, "file", json_string(path));
		ret = print_json(map);
	} else {
		print_map(path, map);
	}
	json_decref(map);
	return ret;
}

int cmd_map(const struct words *w)
{
	const struct rundir_info *info;
	_cleanup_free_ char *path = NULL;
	struct rundir_list list;
	int ret;

	ret = mounts_load(&list);
	if (ret)
		return ret;
	ret = target_find_holder(&list, w->word[0], &info, &path);
	if (!ret)
		ret = map_on(w, info, path);
	rundir_list_fini(&list);
	return ret;
}
