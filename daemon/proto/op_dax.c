/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SETUPMAPPING and REMOVEMAPPING: the image's bytes in a guest's window. fs finds and holds them
 * here, on the thread that serves the request; what the transport has to agree on with its front
 * end takes time, and is done elsewhere while the request is parked.
 */
#include "daemon/proto/session.h"

#include <errno.h>
#include <stdlib.h>

/* What one request may name; a kernel sends as many as a page holds. */
#define UNMAPS_MAX 4096

void proto_mapping_free(struct proto_mapping *m)
{
	free(m);
}

void proto_unpin(void *pin)
{
	fs_dax_unmap(pin);
}

bool proto_pins_same(const void *a, const void *b)
{
	return fs_dax_same(a, b);
}

void proto_window_done(struct proto_req *req, int error)
{
	(void)req_reply(req, error, NULL,
			0); /* parked ones cannot be aborted: nothing is dropped */
}

int proto_image_fd(struct fs *fs)
{
	return fs_dax_fd(fs);
}

static struct proto_mapping *mapping_new(const struct fuse_setupmapping_in *in,
					 const struct fs_dax_map *map)
{
	struct proto_mapping *m = malloc(sizeof(*m) + map->count * sizeof(m->run[0]));

	if (!m)
		return NULL;
	*m = (struct proto_mapping){ .moffset = in->moffset,
				     .len = in->len,
				     .write = map->write,
				     .pin = map->pin,
				     .count = map->count };
	for (uint32_t k = 0; k < map->count; k++) {
		m->run[k].off = map->run[k].off;
		m->run[k].image_off = map->run[k].image_off;
		m->run[k].len = map->run[k].len;
	}
	return m;
}

void op_setupmapping(struct op *op)
{
	const struct fuse_setupmapping_in *in = &op->arg.setupmapping;
	struct fs_dax_map map = { .off = in->foffset,
				  .len = in->len,
				  .write = in->flags & FUSE_SETUPMAPPING_FLAG_WRITE };
	struct proto_mapping *m;
	uint64_t end;
	int err;

	if (!op->s->window) {
		op_error(op, -ENOSYS);
		return;
	}
	if (in->flags & ~(uint64_t)(FUSE_SETUPMAPPING_FLAG_WRITE | FUSE_SETUPMAPPING_FLAG_READ) ||
	    add_overflows(in->moffset, in->len, &end)) {
		op_malformed(op);
		return;
	}
	err = fs_dax_map(op->s->fs, &op->ctx, op->nodeid, &map);
	if (err) {
		op_error(op, err);
		return;
	}
	m = mapping_new(in, &map);
	free(map.run);
	if (!m) {
		fs_dax_unmap(map.pin);
		op_error(op, -ENOMEM);
		return;
	}
	op_park(op);
	op->s->ops->map(op->req, m);
}

void op_removemapping(struct op *op)
{
	uint32_t count = op->arg.removemapping.count;
	struct fuse_removemapping_one one;
	struct proto_unmap *list;

	if (!op->s->window) {
		op_error(op, -ENOSYS);
		return;
	}
	if (!count || count > UNMAPS_MAX || op->in.left != count * sizeof(one)) {
		op_malformed(op);
		return;
	}
	list = calloc(count, sizeof(*list));
	if (!list) {
		op_error(op, -ENOMEM);
		return;
	}
	for (uint32_t k = 0; k < count; k++) {
		(void)cursor_copy(&op->in, &one, sizeof(one)); /* the length was checked */
		list[k] = (struct proto_unmap){ .moffset = one.moffset, .len = one.len };
	}
	op_park(op);
	op->s->ops->unmap(op->req, list, count);
}
