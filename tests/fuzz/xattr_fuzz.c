// SPDX-License-Identifier: GPL-2.0-only
/* Attributes in the inode, in their block and in inodes of their own; POSIX ACLs made from them. */
#include <errno.h>
#include <stdlib.h>

#include "daemon/store/xattr.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/storerig.h"

#define OPERATIONS_MAX 10

static char names[70000], value[70000];

static void look(struct inode *i)
{
	ssize_t len = xattr_list(i, names, sizeof(names));

	FUZZ_CHECK(len <= (ssize_t)sizeof(names));
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		FUZZ_CHECK(memchr(names + at, 0, (size_t)(len - at)));
		FUZZ_CHECK(xattr_get(i, names + at, value, sizeof(value)) <=
			   (ssize_t)sizeof(value));
	}
	for (uint32_t is_default = 0; is_default < 2; is_default++) {
		struct acl *acl = NULL;

		if (!acl_get(i, is_default, &acl))
			free(acl);
	}
}

static const char *const known[] = { "user.short",
				     "user.value",
				     "user.large",
				     "trusted.t",
				     "security.selinux",
				     "system.posix_acl_access",
				     "system.posix_acl_default",
				     "user.new" };

static void operate(struct inode *i, struct input *in)
{
	struct store *s = i->store;
	uint8_t op = in_u8(in);
	struct xattr_set x = { .name = known[op % 8], .flags = in_u8(in) & 3 };
	uint16_t mode = i->mode;
	struct handle h;
	int error;

	x.len = in_u16(in) % 4000;
	x.value = op & 0x40 ? NULL : value;
	if (!x.value)
		x.len = 0;
	in_bytes(in, value, MIN(x.len, (size_t)64));
	if (atomic_load(&s->readonly) ||
	    journal_start(s->journal, CREDITS_INODE + xattr_credits(s, x.len), &h))
		return;
	if (op & 0x80)
		error = acl_chmod(&h, i, in_u16(in) & 0777);
	else if (op % 8 == 5 || op % 8 == 6)
		error = acl_set_wire(&h, i, op % 8 == 6, value, x.len, &mode);
	else
		error = xattr_set(&h, i, &x);
	if (!error)
		error = inode_write(&h, i);
	(void)journal_stop(&h);
	if (!error && !(op & 0x80) && op % 8 != 5 && op % 8 != 6 && x.value &&
	    !(scene_flags() & SCENE_FAULTS))
		FUZZ_CHECK(xattr_get(i, x.name, NULL, 0) == (ssize_t)x.len);
}

static void run(struct input *in)
{
	struct scene *sc = scene_begin(in);
	struct store *s = storerig_open(sc);

	for (uint32_t p = sc->first[PLACE_INODE]; s && p < sc->first[PLACE_INODE + 1]; p++) {
		struct inode *i;

		if (!scene_edited(sc, sc->places[p].ino))
			continue;
		i = storerig_inode(s, sc->places[p].ino);
		if (!i)
			continue;
		look(i);
		for (uint32_t n = 0; n < OPERATIONS_MAX && in->left; n++)
			operate(i, in);
		storerig_put(i);
	}
	if (s)
		storerig_close(s);
	scene_end(sc);
}

const struct fuzz_harness fuzz_harness = {
	.run = run,
	.kinds = PLACE_BIT(PLACE_XATTR) | PLACE_BIT(PLACE_INODE),
};
