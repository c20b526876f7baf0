/* SPDX-License-Identifier: GPL-2.0-only */
#include "daemon/proto/idmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static bool take_number(const char **text, char after, uint32_t *ret_number)
{
	unsigned long long number;
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	errno = 0;
	number = strtoull(*text, &end, 10);
	if (errno || number > UINT32_MAX || (after && *end != after))
		return false;
	*text = end + (after ? 1 : 0);
	*ret_number = (uint32_t)number;
	return true;
}

static bool overlap(uint32_t a, uint32_t b, const struct idmap_range *x,
		    const struct idmap_range *y)
{
	return a - b < y->count || b - a < x->count;
}

static int add_range(struct idmap *m, const struct idmap_range *r)
{
	if (m->count == IDMAP_RANGES_MAX)
		return -E2BIG;
	/* The last number is nobody's. */
	if (!r->count || r->count > IDMAP_NONE - r->guest || r->count > IDMAP_NONE - r->image)
		return -EINVAL;
	for (uint32_t i = 0; i < m->count; i++)
		if (overlap(r->guest, m->range[i].guest, r, &m->range[i]) ||
		    overlap(r->image, m->range[i].image, r, &m->range[i]))
			return -EINVAL;
	m->range[m->count++] = *r;
	return 0;
}

int idmap_parse(const char *text, struct idmap *ret_map)
{
	static const char word[] = "map:";
	struct idmap m = { .count = 0 };

	for (;;) {
		struct idmap_range r;
		int err;

		if (strncmp(text, word, sizeof(word) - 1) != 0)
			return -EINVAL;
		text += sizeof(word) - 1;
		if (!take_number(&text, ':', &r.guest) || !take_number(&text, ':', &r.image) ||
		    !take_number(&text, 0, &r.count))
			return -EINVAL;
		err = add_range(&m, &r);
		if (err)
			return err;
		if (!*text)
			break;
		if (*text++ != '+')
			return -EINVAL;
	}
	*ret_map = m;
	return 0;
}

uint32_t idmap_to_image(const struct idmap *m, uint32_t id)
{
	if (likely(!m->count))
		return id;
	for (uint32_t i = 0; i < m->count; i++)
		if (id - m->range[i].guest < m->range[i].count)
			return id - m->range[i].guest + m->range[i].image;
	return IDMAP_NONE;
}

uint32_t idmap_to_guest(const struct idmap *m, uint32_t id)
{
	if (likely(!m->count))
		return id;
	for (uint32_t i = 0; i < m->count; i++)
		if (id - m->range[i].image < m->range[i].count)
			return id - m->range[i].image + m->range[i].guest;
	return IDMAP_NOBODY;
}

/* ---- ACLs ---- */

#define ACL_HEAD 4u /* a version */
#define ACL_ENTRY 8u
#define ACL_ENTRY_ID 4u
#define ACL_USER 0x02
#define ACL_GROUP 0x08

/* The map of the entry at @at; NULL: it names nobody. */
static const struct idmap *map_of(const struct idmap *uids, const struct idmap *gids,
				  const uint8_t *at)
{
	unsigned tag = at[0] | (unsigned)at[1] << 8;

	return tag == ACL_USER ? uids : tag == ACL_GROUP ? gids : NULL;
}

static uint32_t get_id(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_id(uint8_t *at, uint32_t id)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(id >> 8 * i);
}

/* What is no ACL is for others to refuse. */
int idmap_acl_to_image(const struct idmap *uids, const struct idmap *gids, void *value, size_t len)
{
	uint8_t *bytes = value;

	for (size_t at = ACL_HEAD; at + ACL_ENTRY <= len; at += ACL_ENTRY) {
		const struct idmap *m = map_of(uids, gids, bytes + at);
		uint32_t id = m ? idmap_to_image(m, get_id(bytes + at + ACL_ENTRY_ID)) : 0;

		if (m && id == IDMAP_NONE)
			return -EINVAL;
		if (m)
			put_id(bytes + at + ACL_ENTRY_ID, id);
	}
	return 0;
}

void idmap_acl_to_guest(const struct idmap *uids, const struct idmap *gids, void *value, size_t len)
{
	uint8_t *bytes = value;

	for (size_t at = ACL_HEAD; at + ACL_ENTRY <= len; at += ACL_ENTRY) {
		const struct idmap *m = map_of(uids, gids, bytes + at);

		if (m)
			put_id(bytes + at + ACL_ENTRY_ID,
			       idmap_to_guest(m, get_id(bytes + at + ACL_ENTRY_ID)));
	}
}
