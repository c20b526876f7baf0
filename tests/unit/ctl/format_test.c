// SPDX-License-Identifier: GPL-2.0-only
/* Numbers as people read them: three digits, never "1024 MiB" or "1000 ms". */
#include "ctl/format.h"

#include "tests/lib/test.h"

TEST(test_fmt_bytes__three_digits_and_a_unit)
{
	CHECK_STR_EQ(fmt_bytes(0), "0 B");
	CHECK_STR_EQ(fmt_bytes(1023), "1023 B");
	CHECK_STR_EQ(fmt_bytes(1024), "1.0 KiB");
	CHECK_STR_EQ(fmt_bytes(10 << 10), "10 KiB");
	CHECK_STR_EQ(fmt_bytes((1 << 20) - 1), "1.0 MiB");
	CHECK_STR_EQ(fmt_bytes(1536ULL << 20), "1.5 GiB");
	CHECK_STR_EQ(fmt_bytes(UINT64_MAX), "16 EiB");
}

TEST(test_fmt_count__groups_of_three)
{
	CHECK_STR_EQ(fmt_count(0), "0");
	CHECK_STR_EQ(fmt_count(999), "999");
	CHECK_STR_EQ(fmt_count(1000), "1,000");
	CHECK_STR_EQ(fmt_count(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(test_fmt_ns__unit_fits_the_size)
{
	CHECK_STR_EQ(fmt_ns(0), "0");
	CHECK_STR_EQ(fmt_ns(999), "999 ns");
	CHECK_STR_EQ(fmt_ns(4100), "4.1 us");
	CHECK_STR_EQ(fmt_ns(999999), "1.0 ms");
	CHECK_STR_EQ(fmt_ns(12000000), "12 ms");
	CHECK_STR_EQ(fmt_ns(3200000000ULL), "3.2 s");
	CHECK_STR_EQ(fmt_ns(512000000000ULL), "512 s");
}

TEST(test_fmt_age__two_units)
{
	CHECK_STR_EQ(fmt_age(59), "59 s");
	CHECK_STR_EQ(fmt_age(61), "1 min 1 s");
	CHECK_STR_EQ(fmt_age(7980), "2 h 13 min");
	CHECK_STR_EQ(fmt_age(90000), "1 d 1 h");
}

TEST(test_fmt_percent__of_nothing_is_no_number)
{
	CHECK_STR_EQ(fmt_percent(0, 0), "-");
	CHECK_STR_EQ(fmt_percent(999, 1000), "99 %");
	CHECK_STR_EQ(fmt_percent(5, 5), "100 %");
}

TEST(test_fmt__as_many_in_one_call_as_promised)
{
	const char *first = fmt_count(1);
	unsigned int i;

	for (i = 1; i < FMT_TURNS; i++)
		(void)fmt_count(i + 1);
	CHECK_STR_EQ(first, "1");
}

TEST(test_get__wrong_types_are_empty_values)
{
	json_t *o = json_pack("{s:s, s:i, s:b, s:n}", "text", "x", "minus", -1, "yes", 1, "null");

	CHECK_EQ(get_count(o, "text"), 0);
	CHECK_EQ(get_count(o, "minus"), 0);
	CHECK_EQ(get_count(o, "absent"), 0);
	CHECK_EQ(get_count(NULL, "absent"), 0);
	CHECK_STR_EQ(get_text(o, "minus"), "");
	CHECK_STR_EQ(get_text(o, "null"), "");
	CHECK_EQ(get_bool(o, "yes"), true);
	CHECK_EQ(get_bool(o, "text"), false);
	json_decref(o);
}
