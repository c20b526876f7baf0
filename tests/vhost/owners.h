/* SPDX-License-Identifier: GPL-2.0-only */
/* Whose files are a guest's, and what goes with that. */
#ifndef TESTS_VHOST_OWNERS_H
#define TESTS_VHOST_OWNERS_H

/* @dir is the host's mount. */

/* With guest_translate_{uid,gid}=map:0:100000:1000. "roots" is the image root's. */
void owners(const char *socket, const char *dir);
/* Privileges that go, ACLs that are inherited, seen by both at once. */
void privileges(const char *socket, const char *dir);
/* With guest_noxattr. */
void no_xattrs(const char *socket);
/* flock(2) between two guests and the host. */
void flocks(const char *socket, const char *dir);
/* Makes "durable", which SYNCFS makes so, and "lost", which nothing does. */
void durable(const char *socket);

#endif
