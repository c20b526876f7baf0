// SPDX-License-Identifier: GPL-2.0-only
/* Numbers for people, and reading values out of replies. See format.h. */
#include "ctl/format.h"

#include <inttypes.h>

#include "daemon/base/util.h"

#define FMT_BYTES 48

static char *turn(void)
{
	static char buffers[FMT_TURNS][FMT_BYTES];
	static unsigned int next;

	return buffers[next++ % FMT_TURNS];
}

/* At most three digits and one decimal: 9.7, 42, 128. */
static const char *scaled(double value, const char *unit)
{
	char *text = turn();

	snprintf(text, FMT_BYTES, value < 9.95 ? "%.1f %s" : "%.0f %s", value, unit);
	return text;
}

const char *fmt_bytes(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned int unit = 0;

	if (bytes < 1024) {
		char *text = turn();

		snprintf(text, FMT_BYTES, "%" PRIu64 " B", bytes);
		return text;
	}
	/* 1023.6 would be printed as 1024: it belongs to the next unit already. */
	while (value >= 1023.5 && unit + 1 < ARRAY_SIZE(units)) {
		value /= 1024;
		unit++;
	}
	return scaled(value, units[unit]);
}

const char *fmt_count(uint64_t count)
{
	char digits[24], *text = turn();
	size_t len, i, at = 0;

	len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count);
	for (i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			text[at++] = ',';
		text[at++] = digits[i];
	}
	text[at] = '\0';
	return text;
}

const char *fmt_ns(uint64_t ns)
{
	double value = (double)ns;

	if (ns == 0)
		return "0";
	if (value < 999.5) {
		char *text = turn();

		snprintf(text, FMT_BYTES, "%" PRIu64 " ns", ns);
		return text;
	}
	if (value < 999.5e3)
		return scaled(value / 1e3, "us");
	if (value < 999.5e6)
		return scaled(value / 1e6, "ms");
	return scaled(value / 1e9, "s");
}

const char *fmt_age(uint64_t seconds)
{
	char *text = turn();
	uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;

	if (days)
		snprintf(text, FMT_BYTES, "%" PRIu64 " d %" PRIu64 " h", days, hours % 24);
	else if (hours)
		snprintf(text, FMT_BYTES, "%" PRIu64 " h %" PRIu64 " min", hours, minutes % 60);
	else if (minutes)
		snprintf(text, FMT_BYTES, "%" PRIu64 " min %" PRIu64 " s", minutes, seconds % 60);
	else
		snprintf(text, FMT_BYTES, "%" PRIu64 " s", seconds);
	return text;
}

const char *fmt_percent(uint64_t part, uint64_t whole)
{
	char *text = turn();

	if (whole == 0)
		return "-";
	/* Down, so that 100 % means all of it. */
	snprintf(text, FMT_BYTES, "%u %%", (unsigned int)((double)part / (double)whole * 100));
	return text;
}

uint64_t get_count(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value < 0 ? 0 : (uint64_t)value;
}

double get_real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

bool get_bool(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

const char *get_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}
