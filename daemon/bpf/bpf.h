/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's half of kfs: BPF programs attached to the host mount, and the tables that they answer from.
 *
 *	bpf_load(&opts, &bpf, why)	after mounting through the module's device, before requests are served:
 *					loads the programs, maps the tables, subscribes to the bus
 *	bpf_attach(bpf, id, why)	when the mount answers; pins programs and maps at /sys/fs/bpf/kfs/ID/
 *	bpf_free(bpf)			after the transport has ended, before the bus goes; removes the pins
 *
 * Whether the kernel can do it is found out by doing it. A build without libbpf (>= 1.4) has the same functions, which
 * say so. The tables are right whether or not the programs are attached.
 */
#ifndef KFS_BPF_BPF_H
#define KFS_BPF_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"
#include "daemon/bpf/counters.h"
#include "daemon/bpf/peek.h"

struct bpf;
struct inval_bus;

/* The module's device; a mount through it is of type fusebpf. */
#define BPF_DEVICE "/dev/fusebpf"
#define BPF_MB_DEFAULT 64

struct bpf_timeout {
	uint64_t s;
	uint32_t ns;
};

struct bpf_opts {
	int dev_fd;				  /* of the mount; stays the caller's, open */
	uint64_t mib;				  /* memory for the tables */
	struct bpf_timeout entry, negative, attr; /* how long the kernel may keep answers */
	struct inval_bus *bus;
	/* Files' extents, to be read by the kernel from image_fd, in which the store begins at image_off. */
	bool extents;
	int image_fd; /* stays the caller's, open */
	uint64_t image_off;
	bool extents_until_attr; /* as in struct extents_opts */
};

/* NULL if this build can load programs and a mount has a chance; else what is missing and what to do about it. */
const char *bpf_missing(void);
/* On failure @why says why, in words for a person. */
MUST_USE int bpf_load(const struct bpf_opts *opts, struct bpf **ret_bpf, char *why, size_t why_len);
/* NULL if the kernel can read files from the image that @image_fd is; else why not. */
const char *bpf_image_refused(int image_fd);
MUST_USE int bpf_attach(struct bpf *b, const char *id, char *why, size_t why_len);
/* NULL is fine. */
void bpf_free(struct bpf *b);

struct bpf_state {
	bool attached;
	char detached_why[128]; /* empty while attached */
	char pins[64];		/* folder; empty without */
	struct bpf_counters counters;
};
void bpf_get_state(struct bpf *b, struct bpf_state *ret_state);
void bpf_peek(const struct bpf *b, const struct bpf_question *q, struct bpf_view *ret_view);
/* Everything in the tables is forgotten. */
void bpf_clear(struct bpf *b);

#endif
