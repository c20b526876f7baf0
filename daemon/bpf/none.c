/* SPDX-License-Identifier: GPL-2.0-only */
/* In place of loader.c and trace.c in a build without libbpf >= 1.4 or clang: everything says so. */
#include "daemon/bpf/bpf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bpf/trace.h"

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

const char *bpf_image_refused(int image_fd UNUSED)
{
	return MISSING;
}

void bpf_free(struct bpf *b UNUSED)
{
}

void bpf_get_state(struct bpf *b UNUSED, struct bpf_state *ret_state)
{
	memset(ret_state, 0, sizeof(*ret_state));
}

void bpf_peek(const struct bpf *b UNUSED, const struct bpf_question *q UNUSED,
	      struct bpf_view *ret_view)
{
	memset(ret_view, 0, sizeof(*ret_view));
}

void bpf_clear(struct bpf *b UNUSED)
{
}

/* Nothing is ever on, so there is nothing to keep. */
struct trace {
	char unused;
};

int trace_new(const struct trace_opts *opts UNUSED, struct trace **ret_trace)
{
	*ret_trace = calloc(1, sizeof(**ret_trace));
	return *ret_trace ? 0 : -ENOMEM;
}

int trace_switch(struct trace *t UNUSED, bool on, char *why, size_t why_len)
{
	if (!on)
		return 0;
	(void)snprintf(why, why_len, MISSING);
	return -EOPNOTSUPP;
}

void trace_free(struct trace *t)
{
	free(t);
}

int trace_get_state(struct trace *t UNUSED, struct trace_state *ret_state)
{
	memset(ret_state, 0, sizeof(*ret_state));
	return 0;
}
