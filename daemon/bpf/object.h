/* SPDX-License-Identifier: GPL-2.0-only */
/* The compiled BPF programs, an ELF file in memory; its length is the difference. */
#ifndef KFS_BPF_OBJECT_H
#define KFS_BPF_OBJECT_H

#include <stdint.h>

extern const uint8_t bpf_object_begin[], bpf_object_end[];

#endif
