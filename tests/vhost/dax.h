/* SPDX-License-Identifier: GPL-2.0-only */
/* Files in a guest's window, by a front end and a guest of our own: one test by its name, or all that need no mount. */
#ifndef TESTS_VHOST_DAX_H
#define TESTS_VHOST_DAX_H

struct front;
struct shm;

/* @mount: where the host has the same filesystem; NULL: nowhere. */
void dax(const char *socket, const char *name, const char *mount);
/* One of its tests; of a window whose ranges are free, and more than a guest has slots for. */
void dax_large(struct front *f, struct shm *s);

#endif
