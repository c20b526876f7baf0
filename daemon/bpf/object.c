/* SPDX-License-Identifier: GPL-2.0-only */
/* The compiled programs (bpf/kfs.bpf.c) as bytes of this one. */
#include "daemon/bpf/object.h"

__asm__(".section .rodata.kfs_bpf, \"a\"\n"
	".balign 8\n"
	".globl bpf_object_begin\n"
	"bpf_object_begin:\n"
	".incbin \"" KFS_BPF_OBJECT "\"\n"
	".globl bpf_object_end\n"
	"bpf_object_end:\n"
	".byte 0\n"
	".previous\n");
