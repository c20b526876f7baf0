/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers for people, and reading values out of replies. Exact numbers are in --json; here three digits are enough.
 *
 * The fmt_ functions return one of a few static buffers in turn: a printf may use up to FMT_TURNS of them at once.
 */
#ifndef KFS_CTL_FORMAT_H
#define KFS_CTL_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define FMT_TURNS 12

const char *fmt_bytes(uint64_t bytes);			/* "512 B", "1.5 GiB" */
const char *fmt_count(uint64_t count);			/* "1,234,567" */
const char *fmt_ns(uint64_t ns);			/* "4.1 us", "12 ms", "3.2 s" */
const char *fmt_age(uint64_t seconds);			/* "2 h 13 min" */
const char *fmt_percent(uint64_t part, uint64_t whole); /* "79 %", "-" of nothing */

/* Values of an object; a key that is missing or has another type is 0, false or "". */
uint64_t get_count(const json_t *object, const char *key);
double get_real(const json_t *object, const char *key);
bool get_bool(const json_t *object, const char *key);
const char *get_text(const json_t *object, const char *key);

#endif
