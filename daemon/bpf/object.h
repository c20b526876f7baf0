/* SPDX-License-Identifier: GPL-2.0-only */
/* The compiled BPF programs, ELF files in memory; the length of each is the difference. */
#ifndef KFS_BPF_OBJECT_H
#define KFS_BPF_OBJECT_H

#include <stdint.h>

extern const uint8_t kfs_bpf_begin[], kfs_bpf_end[];	 /* bpf/kfs.bpf.c */
extern const uint8_t trace_bpf_begin[], trace_bpf_end[]; /* bpf/trace.bpf.c */
extern const uint8_t walk_bpf_begin[], walk_bpf_end[];	 /* bpf/walk.bpf.c */

#endif
