// SPDX-License-Identifier: GPL-2.0-only
/*
 * Of names and attributes only sums are known: how many questions there were, and how many requests were sent for them. A
 * question that sends two requests (a cached name that no longer holds is looked up anew) makes the hits fewer than they
 * were, never more.
 */
#include "daemon/ctl/kernel_json.h"

#include "daemon/base/stats.h"

#define OP_LOOKUP 1
#define OP_GETATTR 3
#define OP_STATX 52

_Static_assert(KFS_KERNEL_BUCKETS == STATS_BUCKETS, "one meaning of a bucket");

static void put(json_t *object, const char *key, uint64_t count)
{
	(void)json_object_set_new(object, key, json_integer((json_int_t)count)); /* absent then */
}

json_t *kernel_json_bpf(const struct bpf_counters *c)
{
	json_t *o = json_object();
	const char *name;
	uint64_t value;

	put(o, "upcalls_avoided", counters_avoided(c));
	for (size_t i = 0; (name = counters_at(c, i, &value)); i++)
		put(o, name, value);
	return o;
}

static json_t *opcode(const struct kfs_kernel_requests *r, bool histograms)
{
	struct stats_op op = { .requests = r->replies, .ns_max = r->ns_max };
	json_t *o = json_object(), *buckets;

	for (unsigned int b = 0; b < STATS_BUCKETS; b++)
		op.bucket[b] = r->bucket[b];
	put(o, "requests", r->requests);
	put(o, "replies", r->replies);
	put(o, "untimed", r->untimed);
	put(o, "errors", r->errors);
	put(o, "total_ns", r->ns_total);
	put(o, "mean_ns", r->replies ? r->ns_total / r->replies : 0);
	put(o, "p50_ns", MIN(stats_quantile(&op, 0.5), r->ns_max));
	put(o, "p99_ns", MIN(stats_quantile(&op, 0.99), r->ns_max));
	put(o, "max_ns", r->ns_max);
	if (!histograms)
		return o;
	buckets = json_array();
	for (unsigned int b = 0; b < STATS_BUCKETS; b++)
		(void)json_array_append_new(buckets,
					    json_integer((json_int_t)r->bucket[b])); /* short */
	(void)json_object_set_new(o, "buckets", buckets); /* absent then */
	return o;
}

static json_t *questions(uint64_t asked, uint64_t sent)
{
	json_t *o = json_object();

	put(o, "asked", asked);
	put(o, "sent", sent);
	put(o, "hits", asked > sent ? asked - sent : 0);
	return o;
}

json_t *kernel_json_requests(const struct kernel_counters *c, bool histograms)
{
	json_t *o = json_object(), *opcodes = json_object();
	json_t *names = json_null(), *attrs = json_null();
	const struct kfs_kernel_walk *w = &c->walk;

	for (uint32_t i = 0; i < KFS_KERNEL_OPCODES; i++) {
		const char *name = kernel_opcode_name(i);
		char number[16];

		if (!c->ops[i].requests)
			continue;
		(void)snprintf(number, sizeof(number), "%u", i);
		(void)json_object_set_new(opcodes, name ? name : number,
					  opcode(&c->ops[i], histograms)); /* absent then */
	}
	(void)json_object_set_new(o, "opcodes", opcodes); /* absent then */
	if (c->known.names) {
		names = questions(w->names_valid + w->names_asked, c->ops[OP_LOOKUP].requests);
		put(names, "invalid", w->names_invalid);
	}
	(void)json_object_set_new(o, "names", names); /* absent then */
	if (c->known.attributes) {
		attrs = questions(w->getattrs + w->permissions,
				  c->ops[OP_GETATTR].requests + c->ops[OP_STATX].requests);
		put(attrs, "getattrs", w->getattrs);
		put(attrs, "permissions", w->permissions);
	}
	(void)json_object_set_new(o, "attributes", attrs); /* absent then */
	return o;
}
