// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mutation that knows edits: adds, changes, repeats and removes whole ones, and leaves the rest of the input to the
 * generic mutation. Everything is drawn from the seed given, so a run repeats.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scene.h"

#include "daemon/base/util.h"

/* xorshift32; any state but 0. */
static uint32_t draw(uint32_t *state)
{
	uint32_t x = *state ? *state : 1;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

static uint32_t below(uint32_t *state, uint32_t limit)
{
	return draw(state) % limit;
}

static uint8_t pick_kind(uint32_t *state)
{
	uint32_t kind;

	do
		kind = below(state, PLACE_KINDS);
	while (!(fuzz_harness.kinds & PLACE_BIT(kind)));
	return (uint8_t)kind;
}

static uint8_t pick_op(uint32_t *state)
{
	/* Numbers in fields are most of what goes wrong. */
	if (below(state, 4))
		return (uint8_t)(EDIT_FIELD | below(state, EDIT_SPECIAL + 1));
	return (uint8_t)(below(state, EDIT_OPS) | (below(state, 2) ? EDIT_FIELD : 0));
}

static uint32_t pick_value(uint32_t *state, uint8_t op)
{
	switch (op & ~EDIT_FIELD) {
	case EDIT_BLOCK_OF:
	case EDIT_INO_OF:
	case EDIT_COPY_FROM: return below(state, PLACE_KINDS) << 16 | below(state, 64);
	case EDIT_ADD: return below(state, 2) ? 1 + below(state, 8) : -1 - below(state, 8);
	default: return below(state, 2) ? below(state, 64) : draw(state) >> below(state, 32);
	}
}

static void put_edit(uint8_t *at, const struct edit *e)
{
	at[0] = e->kind;
	at[1] = e->op;
	at[2] = (uint8_t)e->place;
	at[3] = (uint8_t)(e->place >> 8);
	at[4] = (uint8_t)e->off;
	at[5] = (uint8_t)(e->off >> 8);
	at[6] = (uint8_t)e->arg;
	at[7] = (uint8_t)(e->arg >> 8);
	for (uint32_t i = 0; i < 4; i++)
		at[8 + i] = (uint8_t)(e->value >> (8 * i));
}

static void new_edit(uint8_t *at, uint32_t *state)
{
	struct edit e = { .kind = pick_kind(state), .op = pick_op(state) };

	e.place = (uint16_t)below(state, 64);
	/* Low field numbers are headers and first entries. */
	e.off = (uint16_t)(below(state, 4) ? below(state, 48) : below(state, 4096));
	e.arg = (uint16_t)(below(state, 2) ? below(state, 16) : draw(state));
	e.value = pick_value(state, e.op);
	put_edit(at, &e);
}

static void change_edit(uint8_t *at, uint32_t *state)
{
	uint32_t value;

	switch (below(state, 5)) {
	case 0: at[1] = pick_op(state); break;
	case 1: at[2] = (uint8_t)below(state, 64); break;
	case 2: at[4] = (uint8_t)(at[4] + below(state, 9) - 4); break;
	case 3: at[6 + below(state, 2)] ^= (uint8_t)(1u << below(state, 8)); break;
	default:
		value = pick_value(state, at[1]);
		for (uint32_t i = 0; i < 4; i++)
			at[8 + i] = (uint8_t)(value >> (8 * i));
	}
}

static uint32_t edits_in(const uint8_t *data, size_t size)
{
	uint32_t edits = data[2] % (EDITS_MAX + 1);

	return MIN(edits, (uint32_t)((size - SCENE_HEADER_SIZE) / EDIT_SIZE));
}

/* Room for one more edit in front of number @at, what follows moved away. */
static size_t open_gap(uint8_t *data, size_t size, uint32_t at)
{
	uint8_t *gap = data + SCENE_HEADER_SIZE + (size_t)at * EDIT_SIZE;

	memmove(gap + EDIT_SIZE, gap, size - (size_t)(gap - data));
	return size + EDIT_SIZE;
}

static size_t mutate_edits(uint8_t *data, size_t size, size_t size_max, uint32_t *state)
{
	uint32_t edits = edits_in(data, size), at;
	uint8_t *first = data + SCENE_HEADER_SIZE;

	data[2] = (uint8_t)edits;
	switch (edits ? below(state, 8) : 0) {
	case 0:
	case 1:
	case 2: /* a new one */
	case 3: /* one again */
		if (edits >= EDITS_MAX || size + EDIT_SIZE > size_max)
			break;
		at = below(state, edits + 1);
		size = open_gap(data, size, at);
		data[2]++;
		if (edits && below(state, 4) == 0)
			memmove(first + (size_t)at * EDIT_SIZE,
				first + (size_t)below(state, edits) * EDIT_SIZE, EDIT_SIZE);
		else
			new_edit(first + (size_t)at * EDIT_SIZE, state);
		break;
	case 4: /* one fewer */
		at = below(state, edits);
		first += (size_t)at * EDIT_SIZE;
		memmove(first, first + EDIT_SIZE, size - (size_t)(first - data) - EDIT_SIZE);
		size -= EDIT_SIZE;
		data[2]--;
		break;
	default: change_edit(first + (size_t)below(state, edits) * EDIT_SIZE, state);
	}
	return size;
}

static size_t mutate_tail(uint8_t *data, size_t size, size_t size_max, uint32_t *state)
{
	size_t from = SCENE_HEADER_SIZE + (size_t)edits_in(data, size) * EDIT_SIZE;

	/* Another base, other flags. */
	if (below(state, 8) == 0) {
		data[below(state, 2)] = (uint8_t)draw(state);
		return size;
	}
	return from + LLVMFuzzerMutate(data + from, size - from, size_max - from);
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t size_max, uint32_t seed)
{
	uint32_t state = seed * 2654435761u + 1;

	if (!fuzz_harness.kinds || size_max < SCENE_HEADER_SIZE + EDIT_SIZE)
		return LLVMFuzzerMutate(data, size, size_max);
	if (size < SCENE_HEADER_SIZE) {
		memset(data + size, 0, SCENE_HEADER_SIZE - size);
		data[0] = (uint8_t)draw(&state);
		size = SCENE_HEADER_SIZE;
	}
	switch (below(&state, 8)) {
	case 0: return LLVMFuzzerMutate(data, size, size_max);
	case 1:
	case 2: return mutate_tail(data, size, size_max, &state);
	default: return mutate_edits(data, size, size_max, &state);
	}
}
