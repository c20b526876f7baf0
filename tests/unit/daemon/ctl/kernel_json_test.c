// SPDX-License-Identifier: GPL-2.0-only
/* What the kernel counted, as numbers for people. */
#include "daemon/ctl/kernel_json.h"

#include "daemon/proto/session.h"
#include "tests/lib/test.h"

static struct kernel_counters counters;

static json_int_t at(const json_t *o, const char *first, const char *second)
{
	const json_t *part = json_object_get(o, first);

	return json_integer_value(json_object_get(part, second));
}

TEST(opcodes__have_the_names_of_the_dispatcher)
{
	for (uint32_t i = 0; i < KFS_KERNEL_OPCODES; i++) {
		const struct op_def *def = op_def_of(i);

		if (def)
			CHECK_STR_EQ(kernel_opcode_name(i), def->name);
	}
	CHECK(!kernel_opcode_name(KFS_KERNEL_OPCODES));
}

TEST(an_opcode__tells_the_latencies_of_its_buckets)
{
	json_t *o, *lookup;

	counters = (struct kernel_counters){ 0 };
	counters.ops[1] = (struct kfs_kernel_requests){
		.requests = 11, .replies = 10, .errors = 2, .ns_total = 5000, .ns_max = 3000
	};
	counters.ops[1].bucket[7] = 9;
	counters.ops[1].bucket[11] = 1;
	counters.ops[63].requests = 1;
	o = kernel_json_requests(&counters, true);
	lookup = json_object_get(json_object_get(o, "opcodes"), "LOOKUP");
	CHECK_EQ(json_integer_value(json_object_get(lookup, "mean_ns")), 500);
	CHECK_EQ(json_integer_value(json_object_get(lookup, "p50_ns")), 256);
	CHECK_EQ(json_integer_value(json_object_get(lookup, "p99_ns")), 256);
	CHECK_EQ(json_integer_value(json_object_get(lookup, "errors")), 2);
	CHECK_EQ(json_array_size(json_object_get(lookup, "buckets")), KFS_KERNEL_BUCKETS);
	/* An opcode that nobody knows yet has its number; one that did not come is not there. */
	CHECK_EQ(at(json_object_get(o, "opcodes"), "63", "requests"), 1);
	CHECK_EQ(json_object_size(json_object_get(o, "opcodes")), 2);
	json_decref(o);
}

TEST(questions__are_hits_less_what_was_sent)
{
	json_t *o;

	counters = (struct kernel_counters){ .known = { .names = 1, .attributes = 1 } };
	counters.walk.names_valid = 90;
	counters.walk.names_asked = 10;
	counters.walk.names_invalid = 4;
	counters.walk.getattrs = 5;
	counters.walk.permissions = 7;
	counters.ops[1].requests = 14;
	counters.ops[3].requests = 12;
	counters.ops[52].requests = 8;
	o = kernel_json_requests(&counters, false);
	CHECK_EQ(at(o, "names", "asked"), 100);
	CHECK_EQ(at(o, "names", "sent"), 14);
	CHECK_EQ(at(o, "names", "hits"), 86);
	CHECK_EQ(at(o, "names", "invalid"), 4);
	CHECK_EQ(at(o, "attributes", "asked"), 12);
	CHECK_EQ(at(o, "attributes", "sent"), 20);
	CHECK_EQ(at(o, "attributes", "hits"), 0);
	json_decref(o);
}

TEST(questions_that_nobody_counts__are_null_and_not_zero)
{
	json_t *o;

	counters = (struct kernel_counters){ .known = { .names = 1 } };
	o = kernel_json_requests(&counters, false);
	CHECK(json_is_object(json_object_get(o, "names")));
	CHECK(json_is_null(json_object_get(o, "attributes")));
	json_decref(o);
}
