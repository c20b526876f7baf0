/* SPDX-License-Identifier: GPL-2.0-only */
#include "vhost/roster.h"

#include "daemon/base/stats.h"
#include "vhost/device.h"
#include "vhost/vhost.h"

/* A device's lock is taken below it. */
static struct mutex roster_lock = { .state = 0, .rank = LOCK_CTL };
static struct list devices = { &devices, &devices }; /* [roster_lock] ascending numbers */

void roster_add(struct device *d)
{
	mutex_lock(&roster_lock);
	list_add_tail(&devices, &d->listed);
	mutex_unlock(&roster_lock);
}

void roster_del(struct device *d)
{
	mutex_lock(&roster_lock);
	list_del(&d->listed);
	mutex_unlock(&roster_lock);
	mutex_lock(&d->lock);
	while (d->visitors)
		cond_wait(&d->quiet, &d->lock);
	mutex_unlock(&d->lock);
}

/* The first with a greater number than @last; it stays until it is let go. */
static struct device *hold_next(uint32_t last, struct proto_session **ret_session)
{
	struct device *found = NULL;
	struct list *pos;

	mutex_lock(&roster_lock);
	list_for_each(pos, &devices) {
		struct device *d = list_entry(pos, struct device, listed);

		if (d->opts.number > last && (!found || d->opts.number < found->opts.number))
			found = d;
	}
	if (found) {
		mutex_lock(&found->lock);
		found->visitors++;
		*ret_session = atomic_load(&found->renewing) ? NULL : found->session;
		mutex_unlock(&found->lock);
	}
	mutex_unlock(&roster_lock);
	return found;
}

static void let_go(struct device *d)
{
	mutex_lock(&d->lock);
	d->visitors--;
	cond_wake_all(&d->quiet);
	mutex_unlock(&d->lock);
}

void vhost_visit(vhost_visit_fn fn, void *arg)
{
	struct vhost_guest guest = { .number = 0 };
	struct device *d;

	while ((d = hold_next(guest.number, &guest.session))) {
		guest.number = d->opts.number;
		guest.pid = d->opts.pid;
		guest.age_ns = stats_now_ns() - d->since_ns;
		guest.requests = guest.refused = 0;
		for (uint32_t i = 0; i < DEVICE_QUEUES_MAX; i++) {
			guest.requests += atomic_load(&d->queues[i].requests);
			guest.refused += atomic_load(&d->queues[i].bad);
		}
		fn(arg, &guest);
		let_go(d);
	}
}
