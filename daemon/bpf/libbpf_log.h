/* SPDX-License-Identifier: GPL-2.0-only */
/* What libbpf says goes to the debug log; its first complaint is kept for whoever explains a failure. By thread. */
#ifndef KFS_BPF_LIBBPF_LOG_H
#define KFS_BPF_LIBBPF_LOG_H

#include <stddef.h>

/* Before the calls that may fail. */
void libbpf_log_begin(void);
/* "@what: strerror(-err): the first complaint since". */
void libbpf_log_explain(char *why, size_t why_len, const char *what, int err);

#endif
