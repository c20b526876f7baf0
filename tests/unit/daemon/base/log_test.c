// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/test.h"

static size_t read_file(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t len;

	CHECK(f != NULL);
	len = fread(text, 1, size - 1, f);
	text[len] = '\0';
	CHECK_EQ(fclose(f), 0);
	return len;
}

TEST(test_log_emit__writes_one_line_per_event_at_its_level)
{
	const char *path = test_path("log");
	char text[4096];

	log_init("kfs", LOG_LEVEL_WARN);
	CHECK_OK(log_set_sink(LOG_SINK_FILE, path));
	log_warn("image: block %d: bad", 7);
	log_info("not shown");
	log_set_level(LOG_LEVEL_INFO);
	log_info("shown");
	read_file(path, text, sizeof(text));
	CHECK(strstr(text, " kfs: image: block 7: bad\n") != NULL);
	CHECK(strstr(text, "not shown") == NULL);
	CHECK(strstr(text, " kfs: shown\n") != NULL);
}

TEST(test_log_emit__cuts_long_lines)
{
	const char *path = test_path("log");
	char text[8192];
	char word[3000];
	size_t len;

	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	log_init("kfs", LOG_LEVEL_INFO);
	CHECK_OK(log_set_sink(LOG_SINK_FILE, path));
	log_error("%s", word);
	log_error("next");
	len = read_file(path, text, sizeof(text));
	CHECK(len < 1200);
	CHECK(strstr(text, "x...\n") != NULL);
	CHECK(strstr(text, "kfs: next\n") != NULL);
}

TEST(test_log_limit_thread__keeps_the_log_short)
{
	static struct log_limit limit = { .about = "guests" };
	const char *path = test_path("log");
	static char text[1 << 16];
	unsigned lines = 0;

	log_init("kfs", LOG_LEVEL_INFO);
	CHECK_OK(log_set_sink(LOG_SINK_FILE, path));
	log_limit_thread(&limit);
	for (unsigned i = 0; i < 3 * LOG_LIMIT_LINES; i++)
		log_warn("line");
	log_error("an error");
	log_limit_thread(NULL);
	log_warn("of others");
	read_file(path, text, sizeof(text));
	for (const char *at = text; (at = strstr(at, "kfs: line\n")); at++)
		lines++;
	/* A new minute may begin meanwhile. */
	CHECK(lines == LOG_LIMIT_LINES || lines == 2 * LOG_LIMIT_LINES);
	CHECK(strstr(text, "too many lines about guests"));
	CHECK(strstr(text, "kfs: an error\n"));
	CHECK(strstr(text, "kfs: of others\n"));
}

TEST(test_log_set_sink__reports_unwritable_file)
{
	CHECK_ERR(log_set_sink(LOG_SINK_FILE, "/nonexistent/log"), -ENOENT);
}

TEST(test_log_level_parse__knows_the_words)
{
	enum log_level level;

	CHECK_OK(log_level_parse("off", &level));
	CHECK_EQ(level, LOG_LEVEL_OFF);
	CHECK_OK(log_level_parse("trace", &level));
	CHECK_EQ(level, LOG_LEVEL_TRACE);
	CHECK_ERR(log_level_parse("loud", &level), -EINVAL);
	CHECK_ERR(log_level_parse("", &level), -EINVAL);
}
