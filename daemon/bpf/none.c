/* SPDX-License-Identifier: GPL-2.0-only */
/* In place of loader.c in a build without libbpf >= 1.4 or clang: everything says so. */
#include "daemon/bpf/bpf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MISSING                                                                                    \
	"this build has no BPF programs: install clang and libbpf >= 1.4 (make deps) and build again"

const char *bpf_missing(void)
{
	return MISSING;
}

int bpf_load(const struct bpf_opts *opts UNUSED, struct bpf **ret_bpf UNUSED, char *why,
	     size_t why_len)
{
	(void)snprintf(why, why_len, MISSING);
	return -EOPNOTSUPP;
}

int bpf_attach(struct bpf *b UNUSED, const char *id UNUSED, char *why, size_t why_len)
{
	(void)snprintf(why, why_len, MISSING);
	return -EOPNOTSUPP;
}

void bpf_free(struct bpf *b UNUSED)
{
}

void bpf_get_state(struct bpf *b UNUSED, struct bpf_state *ret_state)
{
	memset(ret_state, 0, sizeof(*ret_state));
}
