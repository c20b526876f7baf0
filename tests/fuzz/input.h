/* SPDX-License-Identifier: GPL-2.0-only */
/* The bytes of one input, read from the front. Behind the end all is zero, so that every input means something. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t left;
};

/* Copies what is there, zeros for the rest. */
static inline void in_bytes(struct input *in, void *buf, size_t len)
{
	size_t have = len < in->left ? len : in->left;

	memset(buf, 0, len);
	if (have)
		memcpy(buf, in->at, have);
	in->at += have;
	in->left -= have;
}

static inline uint8_t in_u8(struct input *in)
{
	uint8_t v;

	in_bytes(in, &v, sizeof(v));
	return v;
}

static inline uint16_t in_u16(struct input *in)
{
	uint8_t v[2];

	in_bytes(in, v, sizeof(v));
	return (uint16_t)(v[0] | v[1] << 8);
}

static inline uint32_t in_u32(struct input *in)
{
	uint32_t lo = in_u16(in);

	return lo | (uint32_t)in_u16(in) << 16;
}

static inline uint64_t in_u64(struct input *in)
{
	uint64_t lo = in_u32(in);

	return lo | (uint64_t)in_u32(in) << 32;
}

/* Of the next bytes themselves: at most @max, as many as there are. */
static inline const uint8_t *in_take(struct input *in, size_t max, size_t *ret_len)
{
	const uint8_t *at = in->at;

	*ret_len = max < in->left ? max : in->left;
	in->at += *ret_len;
	in->left -= *ret_len;
	return at;
}

#endif
