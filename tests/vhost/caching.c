/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/caching.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "tests/vhost/front.h"

#define ROOT 1

static struct fuse_entry_out entry(struct front *f, const char *name, int wanted)
{
	struct fuse_entry_out e = { 0 };
	struct fuse_message m = { .opcode = FUSE_LOOKUP,
				  .nodeid = ROOT,
				  .text = name,
				  .text_len = strlen(name) + 1,
				  .room = sizeof(e) };
	int err = fuse_call(f, 1, &m, &e, NULL);

	if (err && err != wanted)
		front_die("lookup of %s: %s", name, strerror(-err));
	return e;
}

static uint32_t open_flags(struct front *f, uint32_t opcode, uint64_t nodeid)
{
	struct fuse_open_in in = { .flags = O_RDONLY };
	struct fuse_open_out out = { 0 };
	struct fuse_message m = { .opcode = opcode,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .room = sizeof(out) };
	int err = fuse_call(f, 1, &m, &out, NULL);

	if (err)
		front_die("open: %s", strerror(-err));
	return out.open_flags;
}

void caching(const char *socket)
{
	struct fuse_init_in in = { .major = 7,
				   .minor = 41,
				   .max_readahead = 1 << 20,
				   .flags = 0x7ffffffb,
				   .flags2 = 0x1fd };
	struct fuse_init_out init = { 0 };
	struct fuse_message m = {
		.opcode = FUSE_INIT, .args = &in, .arg_len = sizeof(in), .room = sizeof(init)
	};
	struct fuse_entry_out file, absent;
	uint32_t file_flags, dir_flags;
	struct front f;
	int err;

	front_connect(&f, socket);
	front_setup(&f, false);
	err = fuse_call(&f, 1, &m, &init, NULL);
	if (err)
		front_die("INIT: %s", strerror(-err));
	file = entry(&f, "file", 0);
	absent = entry(&f, "absent", -ENOENT);
	file_flags = open_flags(&f, FUSE_OPEN, file.nodeid);
	dir_flags = open_flags(&f, FUSE_OPENDIR, ROOT);
	printf("entry %llu attr %llu negative %llu file%s%s dir%s%s%s\n",
	       (unsigned long long)file.entry_valid, (unsigned long long)file.attr_valid,
	       (unsigned long long)absent.entry_valid,
	       file_flags & FOPEN_DIRECT_IO ? " direct" : "",
	       file_flags & FOPEN_KEEP_CACHE ? " keep" : "",
	       dir_flags & FOPEN_CACHE_DIR ? " cache" : "",
	       dir_flags & FOPEN_KEEP_CACHE ? " keep" : "",
	       init.flags & FUSE_WRITEBACK_CACHE ? " writeback" : "");
	front_close(&f);
}
