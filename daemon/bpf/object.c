/* SPDX-License-Identifier: GPL-2.0-only */
/* The compiled programs (bpf/) as bytes of this one. */
#include "daemon/bpf/object.h"

#define OBJECT(name)                                                                               \
	__asm__(".section .rodata." #name ", \"a\"\n"                                              \
		".balign 8\n"                                                                      \
		".globl " #name "_begin\n" #name "_begin:\n"                                       \
		".incbin \"" KFS_BPF_OBJECTS "/" #name ".o\"\n"                                    \
		".globl " #name "_end\n" #name "_end:\n"                                           \
		".byte 0\n"                                                                        \
		".previous\n")

OBJECT(kfs_bpf);
OBJECT(trace_bpf);
OBJECT(walk_bpf);
