/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the back end: the devices that there are, for who looks at them from other threads. A device is on the list from its
 * making to its freeing, which waits for those who look: vhost_visit().
 */
#ifndef KFS_VHOST_ROSTER_H
#define KFS_VHOST_ROSTER_H

struct device;

void roster_add(struct device *d);
/* Nobody looks at it any more when this returns. */
void roster_del(struct device *d);

#endif
