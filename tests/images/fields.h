/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names, offsets and sizes of the fields of structures on disk, from the format headers.
 * Arrays and longer fields are reached as @OFFSET:SIZE.
 */
#ifndef TESTS_IMAGES_FIELDS_H
#define TESTS_IMAGES_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field {
	const char *name; /* NULL ends a table */
	uint32_t off, size;
};

extern const struct field fields_super[], fields_desc[], fields_inode[], fields_eh[], fields_ei[],
	fields_ee[], fields_slot[], fields_de[], fields_dxinfo[], fields_dxcl[], fields_dxe[],
	fields_xh[], fields_xih[], fields_xe[], fields_bit[], fields_jsb[], fields_jh[],
	fields_jtag[], fields_mmp[], fields_otail[];

/* Dies if there is none. */
const struct field *field_find(const struct field *table, const char *name);
/* "@OFFSET:SIZE" */
const struct field *field_parse(const char *word, struct field *f);
uint64_t field_get(const uint8_t *p, uint32_t size, bool big_endian);
void field_set(uint8_t *p, uint32_t size, bool big_endian, uint64_t value);

#endif
