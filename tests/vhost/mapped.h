/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest changes files that the host has mapped. */
#ifndef TESTS_VHOST_MAPPED_H
#define TESTS_VHOST_MAPPED_H

struct front;

/* @dir is the host's mount of what @f, which has had its INIT, shares. */
void mapped(struct front *f, const char *dir);

#endif
