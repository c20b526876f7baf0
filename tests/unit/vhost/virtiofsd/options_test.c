/* SPDX-License-Identifier: GPL-2.0-only */
/* virtiofsd's words: every one is honoured, told to be ignored, or refused; none is passed over. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ctl/kfsctl.h"
#include "tests/lib/test.h"
#include "vhost/virtiofsd/virtiofsd.h"

static char said[1024];

int complain(const char *what, const char *why, const char *remedy)
{
	(void)snprintf(said, sizeof(said), "%s: %s: %s", what, why, remedy);
	return EXIT_FAILED;
}

int complain_usage(const char *what, const char *why)
{
	complain(what, why, "");
	return EXIT_USAGE;
}

#define WORDS_MAX 16

/* Words, with blanks between them. */
static int parse(const char *line, struct virtiofsd_options *o)
{
	char *copy = strdup(line), *rest = copy, *word;
	char *argv[WORDS_MAX + 1] = { "kfs-virtiofsd" };
	int argc = 1, ret;

	said[0] = 0;
	while ((word = strsep(&rest, " ")) && argc < WORDS_MAX)
		argv[argc++] = word;
	log_init("test", LOG_LEVEL_INFO);
	ret = virtiofsd_parse(argc, argv, o);
	free(copy);
	return ret;
}

static void expect_refusal(const char *line, const char *text)
{
	struct virtiofsd_options o;

	CHECK_EQ(parse(line, &o), EXIT_USAGE);
	if (!strstr(said, text))
		FAIL("'%s' was refused with '%s', not '%s'", line, said, text);
}

TEST(test_options__libvirt)
{
	struct virtiofsd_options o;

	CHECK_EQ(parse("--fd=21 -o source=/srv/data,cache=always,sandbox=chroot,xattr,no_flock,"
		       "no_posix_lock --thread-pool-size=16 -d",
		       &o),
		 EXIT_DONE);
	CHECK_EQ(o.fd, 21);
	CHECK_STR_EQ(o.shared_dir, "/srv/data");
	CHECK_STR_EQ(o.cache, "always");
	CHECK_EQ(o.log_level, LOG_LEVEL_DEBUG);
	CHECK(!o.socket_path && !o.readonly && !o.syslog);
	virtiofsd_options_fini(&o);
	CHECK_EQ(parse("--fd=3 -o source=/a,cache=none,posix_lock,flock", &o), EXIT_DONE);
	CHECK_STR_EQ(o.cache, "never");
	virtiofsd_options_fini(&o);
}

TEST(test_options__kata)
{
	struct virtiofsd_options o;

	CHECK_EQ(parse("--syslog --cache=never --shared-dir=/run/kata/shared --fd=3 "
		       "--thread-pool-size=1 --announce-submounts --inode-file-handles=mandatory",
		       &o),
		 EXIT_DONE);
	CHECK_EQ(o.fd, 3);
	CHECK(o.syslog);
	CHECK_STR_EQ(o.cache, "never");
	CHECK_STR_EQ(o.shared_dir, "/run/kata/shared");
	virtiofsd_options_fini(&o);
}

TEST(test_options__people)
{
	struct virtiofsd_options o;

	CHECK_EQ(parse("--socket-path /run/s --shared-dir /srv --tag=data --readonly "
		       "--socket-group kvm --no-readdirplus --posix-acl=true --log-level error",
		       &o),
		 EXIT_DONE);
	CHECK_STR_EQ(o.socket_path, "/run/s");
	CHECK_STR_EQ(o.socket_group, "kvm");
	CHECK_STR_EQ(o.tag, "data");
	CHECK(o.readonly && o.no_readdirplus);
	CHECK_EQ(o.log_level, LOG_LEVEL_ERROR);
	CHECK_EQ(o.fd, -1);
	virtiofsd_options_fini(&o);
	CHECK_EQ(parse("--print-capabilities", &o), EXIT_DONE);
	CHECK_EQ(o.action, ACTION_CAPABILITIES);
	CHECK_EQ(parse("-V", &o), EXIT_DONE);
	CHECK_EQ(o.action, ACTION_VERSION);
	CHECK_EQ(parse("-h", &o), EXIT_DONE);
	CHECK_EQ(o.action, ACTION_HELP);
}

TEST(test_options__what_cannot_be_is_refused_by_name)
{
	static const char tag_of_37[] = "--shared-dir=a --fd=1 --tag "
					"0123456789012345678901234567890123456";

	expect_refusal("--fd=1", "--shared-dir: is missing");
	expect_refusal("--shared-dir=a", "--socket-path: is missing");
	expect_refusal("--shared-dir=a --fd=1 --socket-path=b", "contradicts");
	expect_refusal("--shared-dir=a --fd=1 --socket-group=b", "--socket-group");
	expect_refusal("--shared-dir=a --fd=1x", "--fd");
	expect_refusal("--shared-dir=a --fd=", "--fd");
	expect_refusal("--shared-dir=a --fd=99999999999999999999", "--fd");
	expect_refusal("--shared-dir=a --fd=-1", "--fd");
	expect_refusal("--shared-dir=a -o source=b --fd=1", "given twice");
	expect_refusal("--shared-dir= --fd=1", "a value is missing");
	expect_refusal(tag_of_37, "36");
	expect_refusal("--shared-dir=a --fd=1 --cache=some", "cache");
	expect_refusal("--shared-dir=a --fd=1 --log-level=loud", "log-level");
	expect_refusal("--shared-dir=a --fd=1 --novelty", "not an option");
	expect_refusal("--shared-dir=a --fd=1 -x", "not an option");
	expect_refusal("--shared-dir=a --fd=1 -o novelty=1", "not an option");
	expect_refusal("--shared-dir=a --fd=1 -o xattr=1", "takes no value");
	expect_refusal("--shared-dir=a --fd=1 -o cache", "wants a value");
	expect_refusal("--shared-dir=a --fd=1 --cache", "wants a value");
	expect_refusal("--shared-dir=a --fd=1 more", "one word too many");
	expect_refusal("--shared-dir=a --fd=1 --xattrmap=:map::user.", "leave it out");
	expect_refusal("--shared-dir=a --fd=1 --translate-uid=x", "leave it out");
	expect_refusal("--shared-dir=a --fd=1 --security-label", "leave it out");
	expect_refusal("--shared-dir=a --fd=1 --migration-mode=find-paths", "live migration");
}

/* What a line writes to the log, which is standard error. */
static void check_logged(const char *line, const char *text, bool wanted)
{
	FILE *file = tmpfile();
	struct virtiofsd_options o;
	char got[4096] = "";
	int saved = dup(2);

	CHECK(file && saved >= 0);
	CHECK_EQ(dup2(fileno(file), 2), 2);
	CHECK_EQ(parse(line, &o), EXIT_DONE);
	CHECK_EQ(dup2(saved, 2), 2);
	CHECK(pread(fileno(file), got, sizeof(got) - 1, 0) >= 0);
	virtiofsd_options_fini(&o);
	(void)close(saved);
	(void)fclose(file);
	if (!strstr(got, text) == wanted)
		FAIL("'%s' is%s in what was logged: '%s'", text, wanted ? " not" : "", got);
}

TEST(test_options__what_is_ignored_is_told_once)
{
	check_logged("--shared-dir=a --fd=1 --sandbox=none", "sandbox: ignored: no path of", true);
	check_logged("--shared-dir=a --fd=1 -o writeback", "writeback: ignored", true);
	check_logged("--shared-dir=a --fd=1 -o flock,flock", "flock: ignored", true);
	check_logged("--shared-dir=a --fd=1 -f", "ignored", false);
	check_logged("--shared-dir=a --fd=1 --sandbox=none --log-level=warn", "ignored", false);
}
