// SPDX-License-Identifier: GPL-2.0-only
/*
 * A table of block numbers, used for the blocks freed in a transaction and for
 * the revoke records found in recovery. Open addressing, linear probing, never
 * more than half full; so a search ends soon, whatever is in it.
 */
#include "daemon/journal/journal_priv.h"

#include <errno.h>
#include <string.h>

#define TABLE_SIZE_MIN 64u
#define TABLE_SIZE_MAX (1u << 30)

static uint32_t slot_of(const struct revoke_table *t, uint64_t key)
{
	return (uint32_t)((key * 0x9e3779b97f4a7c15ULL) >> 32) & (t->size - 1);
}

/* The entry of @key, or the free one where it belongs. The table is not empty of free ones. */
static uint32_t find_slot(const struct revoke_table *t, uint64_t key)
{
	uint32_t i = slot_of(t, key);

	while (t->entries[i].key != 0 && t->entries[i].key != key)
		i = (i + 1) & (t->size - 1);
	return i;
}

void revoke_table_fini(struct revoke_table *t)
{
	free(t->entries);
	*t = (struct revoke_table){ 0 };
}

void revoke_table_clear(struct revoke_table *t)
{
	if (t->count > 0)
		memset(t->entries, 0, t->size * sizeof(*t->entries));
	t->count = 0;
}

int revoke_table_reserve(struct revoke_table *t, uint32_t more)
{
	struct revoke_table grown = { .size = MAX(t->size, TABLE_SIZE_MIN), .count = t->count };
	uint64_t wanted = ((uint64_t)t->count + more) * 2;
	uint32_t i;

	if (wanted <= t->size)
		return 0;
	while (grown.size < wanted && grown.size < TABLE_SIZE_MAX)
		grown.size *= 2;
	if (grown.size < wanted)
		return -ENOMEM;
	grown.entries = calloc(grown.size, sizeof(*grown.entries));
	if (!grown.entries)
		return -ENOMEM;
	for (i = 0; i < t->size; i++) {
		if (t->entries[i].key)
			grown.entries[find_slot(&grown, t->entries[i].key)] = t->entries[i];
	}
	free(t->entries);
	*t = grown;
	return 0;
}

void revoke_table_set(struct revoke_table *t, uint64_t pblk, uint32_t sequence)
{
	struct revoke_entry *e = &t->entries[find_slot(t, pblk + 1)];

	if (e->key && tid_geq(e->sequence, sequence))
		return;
	if (!e->key)
		t->count++;
	*e = (struct revoke_entry){ .key = pblk + 1, .sequence = sequence };
}

/* Closes the gap: entries after it move up unless that would put them before their own slot. */
void revoke_table_remove(struct revoke_table *t, uint64_t pblk)
{
	uint32_t gap, i;

	if (t->count == 0)
		return;
	gap = find_slot(t, pblk + 1);
	if (!t->entries[gap].key)
		return;
	for (i = (gap + 1) & (t->size - 1); t->entries[i].key; i = (i + 1) & (t->size - 1)) {
		uint32_t home = slot_of(t, t->entries[i].key);

		if (((i - home) & (t->size - 1)) >= ((i - gap) & (t->size - 1))) {
			t->entries[gap] = t->entries[i];
			gap = i;
		}
	}
	t->entries[gap] = (struct revoke_entry){ 0 };
	t->count--;
}

bool revoke_table_find(const struct revoke_table *t, uint64_t pblk, uint32_t *ret_sequence)
{
	const struct revoke_entry *e;

	if (t->count == 0)
		return false;
	e = &t->entries[find_slot(t, pblk + 1)];
	if (!e->key)
		return false;
	*ret_sequence = e->sequence;
	return true;
}
