/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A mount's folder of pinned maps and programs, /sys/fs/bpf/kfs/ID: for bpftool, and for kfsctl, which reads counters
 * there while the daemon hangs. Root's alone: 0700, what is in it 0600.
 *
 *	pins_sweep()			folders of daemons that were killed are removed, and the log says so
 *	pins_open(id, &pins)		makes the folder; sweeps first
 *	pins_add(&pins, name, fd)	a map or a program
 *	pins_close(&pins)		all of it goes
 *
 * The folder is locked by its daemon while that lives: dead is a fact of the kernel. Needs bpf(2), not libbpf. Not for
 * two threads with one struct pins.
 */
#ifndef KFS_BPF_PINS_H
#define KFS_BPF_PINS_H

#include "daemon/base/util.h"

/* Where pins are: a folder for each mount, named by its id. */
#define BPF_PIN_ROOT "/sys/fs/bpf/kfs"

struct pins {
	char dir[64]; /* empty: there is none */
	int fd;	      /* locked */
};

void pins_sweep(void);
/* -EEXIST: a living daemon has it. Other errors are the kernel's: no BPF file system is mounted, not root, ... */
MUST_USE int pins_open(const char *id, struct pins *ret_pins);
MUST_USE int pins_add(struct pins *pins, const char *name, int fd);
/* Zeroed is fine, and so is twice. */
void pins_close(struct pins *pins);

#endif
