/* SPDX-License-Identifier: GPL-2.0-only */
/* A store opened over a scene, without fs above it: for harnesses of one structure. */
#ifndef TESTS_FUZZ_STORERIG_H
#define TESTS_FUZZ_STORERIG_H

#include "daemon/store/inode.h"
#include "tests/fuzz/scene.h"

/* NULL: the image was refused. */
struct store *storerig_open(struct scene *sc);
void storerig_close(struct store *s);
/* Inode @ino, locked exclusively; NULL when it cannot be had. */
struct inode *storerig_inode(struct store *s, uint32_t ino);
void storerig_put(struct inode *i);
/* False: the journal is aborted or the store is read-only. */
bool storerig_start(struct store *s, struct handle *h);

#endif
