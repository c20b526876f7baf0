/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long a queue's thread looks for the next request before it sleeps. Waking it costs the guest
 * more than a few microseconds of looking; an idle guest is to cost nothing.
 *
 * The window follows what came: it grows while requests come within the longest that is allowed,
 * and shrinks to nothing when they do not, so a guest that has gone idle costs one window and less
 * each time. Looking includes giving the processor to whoever else wants it, which may be the very
 * guest; when that takes long, others do, and there is no looking for a while, longer each time.
 *
 *	pace_look()	how long to look now, 0: not at all
 *	pace_crowded()	the processor is somebody else's
 *	pace_found()	the look was worth it
 *	pace_came()	there is something to do, so long after the last was done
 *
 * One thread. Times are nanoseconds of stats_now_ns().
 */
#ifndef KFS_VHOST_PACE_H
#define KFS_VHOST_PACE_H

#include <stdint.h>

#define PACE_WINDOW_MIN_NS UINT64_C(4000)
/* Between two looks: no guest takes so long to let us look again without having gone idle. */
#define PACE_CROWDED_NS UINT64_C(100000)
#define PACE_PAUSE_MIN_NS UINT64_C(10000000)
#define PACE_PAUSE_MAX_NS UINT64_C(1000000000)

struct pace {
	uint64_t longest_ns; /* [written once] 0: never looks */
	uint64_t window_ns;
	uint64_t pause_ns, pause_end; /* the last one's length; until when there is none */
};

void pace_init(struct pace *p, uint64_t longest_ns);
uint64_t pace_look(const struct pace *p, uint64_t now);
void pace_crowded(struct pace *p, uint64_t now);
void pace_found(struct pace *p);
void pace_came(struct pace *p, uint64_t after_ns);

#endif
