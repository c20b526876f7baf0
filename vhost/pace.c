/* SPDX-License-Identifier: GPL-2.0-only */
#include "vhost/pace.h"

#include "daemon/base/util.h"

void pace_init(struct pace *p, uint64_t longest_ns)
{
	*p = (struct pace){ .longest_ns = longest_ns };
}

uint64_t pace_look(const struct pace *p, uint64_t now)
{
	return now < p->pause_end ? 0 : p->window_ns;
}

void pace_crowded(struct pace *p, uint64_t now)
{
	p->pause_ns = MIN(MAX(p->pause_ns * 2, PACE_PAUSE_MIN_NS), PACE_PAUSE_MAX_NS);
	p->pause_end = now + p->pause_ns;
}

/* What the processor was like is forgotten slowly: one that is shared costs a time slice to find out. */
void pace_found(struct pace *p)
{
	p->pause_ns -= p->pause_ns / 64;
}

void pace_came(struct pace *p, uint64_t after_ns)
{
	if (after_ns <= p->longest_ns) {
		p->window_ns = MIN(MAX(p->window_ns * 2, PACE_WINDOW_MIN_NS), p->longest_ns);
		return;
	}
	p->window_ns /= 2;
	if (p->window_ns < PACE_WINDOW_MIN_NS)
		p->window_ns = 0;
}
