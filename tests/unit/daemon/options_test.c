/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line: defaults, groups of words, refusals, fstab's words, mount(8)'s calls. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/fs/fs.h"
#include "daemon/options.h"
#include "daemon/proto/proto.h"
#include "tests/lib/test.h"

static struct options o;
static struct options_error err;

static int parse(const char *list, bool helper)
{
	char *argv[] = { "kfs", "/", "/tmp", "-o", (char *)(uintptr_t)list, NULL };

	return options_parse(*list ? 5 : 3, argv, helper, &o, &err);
}

static void check_refused(const char *list, const char *word, const char *why)
{
	CHECK_EQ(parse(list, false), EXIT_USAGE);
	if (strncmp(err.text, word, strlen(word)) || !strstr(err.text, why))
		FAIL("%s: refused with '%s'", list, err.text);
}

TEST(test_options_parse__takes_defaults)
{
	char *words;

	CHECK_EQ(parse("", false), EXIT_OK);
	CHECK_STR_EQ(o.image, "/");
	CHECK_STR_EQ(o.mountpoint, "/tmp");
	CHECK_EQ(o.readonly, UNSET);
	CHECK_EQ(o.atime, FS_ATIME_RELATIME);
	o.owner_is_root = true;
	words = options_kernel_words(&o, false);
	CHECK_STR_EQ(words, "default_permissions,rw,suid,dev,allow_other");
	free(words);
	o.owner_is_root = false;
	words = options_kernel_words(&o, true);
	CHECK_STR_EQ(words, "default_permissions,ro,nosuid,nodev");
	free(words);
	options_fini(&o);
}

TEST(test_options_parse__takes_words_with_values)
{
	CHECK_EQ(parse("ro,offset=1M,commit=30,entry_timeout=0.5,errors=remount-ro,noatime,"
		       "max_threads=3,max_write=64K,log_level=debug,log=x.log,nodev,share=on",
		       false),
		 EXIT_OK);
	CHECK_EQ(o.readonly, ON);
	CHECK_EQ(o.offset, 1048576);
	CHECK_EQ(o.commit_s, 30);
	CHECK_EQ(o.entry_timeout * 10, 5);
	CHECK_EQ(o.errors, ERRORS_REMOUNT_RO);
	CHECK_EQ(o.atime, FS_ATIME_NOATIME);
	CHECK_EQ(o.threads_max, 3);
	CHECK_EQ(o.max_write, 65536);
	CHECK_EQ(o.log_level, LOG_LEVEL_DEBUG);
	CHECK_EQ(o.log_path[0], '/');
	CHECK_EQ(o.dev, OFF);
	CHECK_EQ(o.share, ON);
	CHECK_EQ(options_store(&o).commit_interval_ms, 30000);
	options_fini(&o);
}

TEST(test_options_parse__takes_fstab_words)
{
	CHECK_EQ(
		parse("defaults,x-systemd.automount,X-mount.mkdir,_netdev,nofail,noauto,user,"
		      "comment=mine,default_permissions,rw,loop,data=ordered,recover=off,uring=auto",
		      false),
		EXIT_OK);
	CHECK_EQ(o.readonly, OFF);
	CHECK_EQ(o.uring, UNSET);
	options_fini(&o);
}

TEST(test_options_parse__refuses_contradictions)
{
	check_refused("ro,rw", "rw", "contradicts ro");
	check_refused("noatime,relatime", "relatime", "contradicts noatime");
	check_refused("errors=panic,errors=continue", "errors=continue",
		      "contradicts errors=panic");
	check_refused("commit=1,commit=2", "commit=2", "contradicts commit=1");
	check_refused("rw,norecovery", "norecovery", "say ro");
	check_refused("share=on,writeback", "writeback", "contradicts share=on");
	check_refused("nodev,dev", "dev", "contradicts nodev");
	CHECK_EQ(parse("ro,ro,noload,norecovery,commit=1,commit=1", false), EXIT_OK);
	CHECK_EQ(o.norecovery, ON);
	options_fini(&o);
}

TEST(test_options_parse__refuses_what_it_does_not_know)
{
	check_refused("nosuchthing", "nosuchthing", "unknown option");
	check_refused("ro=1", "ro=1", "unknown option");
	check_refused("errors=maybe", "errors=maybe", "unknown option");
	check_refused("strictatime", "strictatime", "use relatime");
	check_refused("uring=maybe", "uring=maybe", "unknown option");
	check_refused("uring=on,uring=off", "uring=off", "contradicts uring=on");
	check_refused("bpf=on,bpf=off", "bpf=off", "contradicts bpf=on");
	check_refused("kstats=on,kstats=off", "kstats=off", "contradicts kstats=on");
	check_refused("bpf_mb=0", "bpf_mb=0", "not a number from 1");
	check_refused("recover=on", "recover=on", "not in this build");
	check_refused("share=off,vhost=/a", "vhost", "say share=on, or guests=ro");
	check_refused("writeback,vhost=/a", "writeback", "contradicts share=on");
	check_refused("tag=a", "tag", "needs vhost=");
	check_refused("vhost=/a,vhost_queues=65", "vhost_queues=65", "not a number from 1 to 64");
	check_refused("vhost_dir=/a", "vhost_dir", "needs vhost=");
	check_refused("guest_cache=always", "guest_cache", "needs vhost=");
	check_refused("vhost=/a,guest_cache=some", "guest_cache=some", "unknown option");
	check_refused("vhost=/a,guest_cache=auto,guest_cache=never", "guest_cache=never",
		      "contradicts guest_cache=auto");
	check_refused("vhost=/a,guests_max=17", "guests_max=17", "not a number from 1 to 16");
	check_refused("vhost=/a,guests_max=1,guest_writeback", "guest_writeback",
		      "say --no-mount and guests_max=1");
	check_refused("vhost_poll=0", "vhost_poll", "needs vhost=");
	check_refused("vhost=/a,vhost_poll=1001", "vhost_poll=1001", "not a number from 0 to 1000");
	check_refused("snapshot=a", "snapshot=a", "not in this build");
	check_refused("data=journal", "data=journal", "say data=ordered");
	check_refused("remount", "remount", "unmount it");
	check_refused("nodefault_permissions", "nodefault_permissions", "leave it out");
}

TEST(test_options_parse__refuses_bad_numbers)
{
	check_refused("commit=", "commit=", "not a number");
	check_refused("commit", "commit", "not a number");
	check_refused("commit=-1", "commit=-1", "not a number");
	check_refused("commit=301", "commit=301", "not a number");
	check_refused("offset=99999999999999999999", "offset=", "not a number");
	check_refused("offset=9E", "offset=9E", "not a number");
	check_refused("entry_timeout=x", "entry_timeout=x", "not a number");
	check_refused("attr_timeout=-1", "attr_timeout=-1", "not a number");
	check_refused("attr_timeout=nan", "attr_timeout=nan", "not a number");
	check_refused("log_level=loud", "log_level=loud", "not one of");
	check_refused("log=", "log=", "a value is missing");
}

TEST(test_options_parse__needs_two_names)
{
	char *none[] = { "kfs", NULL }, *one[] = { "kfs", "a", NULL };
	char *three[] = { "kfs", "a", "b", "c", NULL }, *dash[] = { "kfs", "a", "b", "-q", NULL };
	char *cut[] = { "kfs", "a", "b", "-o", NULL };

	CHECK_EQ(options_parse(1, none, false, &o, &err), EXIT_USAGE);
	CHECK(strstr(err.text, "the image is missing"));
	CHECK_EQ(options_parse(2, one, false, &o, &err), EXIT_USAGE);
	CHECK(strstr(err.text, "the mount point is missing"));
	CHECK_EQ(options_parse(4, three, false, &o, &err), EXIT_USAGE);
	CHECK(strstr(err.text, "one word too many"));
	CHECK_EQ(options_parse(4, dash, false, &o, &err), EXIT_USAGE);
	CHECK(strstr(err.text, "-q: unknown option"));
	CHECK_EQ(options_parse(4, cut, false, &o, &err), EXIT_USAGE);
	CHECK(strstr(err.text, "options are missing"));
}

TEST(test_options_parse__takes_what_mount_calls)
{
	char *argv[] = { "mount.fuse.kfs",	   "/", "/tmp", "-n", "-sv", "-t", "fuse.kfs", "-o",
			 "rw,noexec,what-is-this", NULL };
	char *words;

	CHECK_EQ(options_parse(9, argv, true, &o, &err), EXIT_OK);
	CHECK(o.sloppy);
	CHECK(!o.fake && !o.foreground);
	o.owner_is_root = true;
	words = options_kernel_words(&o, false);
	CHECK_STR_EQ(words, "default_permissions,rw,suid,dev,allow_other,noexec");
	free(words);
	options_fini(&o);
	argv[4] = "-f";
	argv[8] = "rw";
	CHECK_EQ(options_parse(9, argv, true, &o, &err), EXIT_OK);
	CHECK(o.fake);
	options_fini(&o);
}

TEST(test_options_kernel_words__escapes_labels)
{
	char *words;

	CHECK_EQ(parse("context=\"a:b:c0\\,c3\",ro", false), EXIT_OK);
	o.owner_is_root = false;
	words = options_kernel_words(&o, true);
	CHECK_STR_EQ(words, "default_permissions,ro,nosuid,nodev,context=\"a:b:c0\\,c3\"");
	free(words);
	options_fini(&o);
}

/* ---- guests ---- */

/* With no mount beside them, unless @list says nothing of a socket. */
static int parse_guests(const char *list)
{
	char *argv[] = { "kfs", "--no-mount", "/", "-o", (char *)(uintptr_t)list, NULL };

	return options_parse(5, argv, false, &o, &err);
}

/* Refused in one line that begins with the word and says what to do, or what may be said. */
static void check_guests_refused(const char *list, const char *word, const char *remedy)
{
	CHECK_EQ(parse_guests(list), EXIT_USAGE);
	if (strncmp(err.text, word, strlen(word)) || !strstr(err.text, remedy) ||
	    strchr(err.text, '\n'))
		FAIL("%s: refused with '%s'", list, err.text);
}

#define FIELD(name) offsetof(struct options, name)

static const struct taken_number {
	const char *word;
	size_t field;
	uint64_t value;
} taken_numbers[] = {
	{ "vhost_queues=1", FIELD(vhost_queues), 1 },
	{ "vhost_queues=64", FIELD(vhost_queues), 64 },
	{ "guests_max=1", FIELD(guests_max), 1 },
	{ "guests_max=16", FIELD(guests_max), 16 },
	{ "guest_nodes=16", FIELD(guest_nodes), 16 },
	{ "guest_nodes=1073741824", FIELD(guest_nodes), 1 << 30 },
	{ "guest_locks=1", FIELD(guest_locks), 1 },
	{ "guest_locks=262144", FIELD(guest_locks), 1 << 18 },
	{ "vhost_poll=0", FIELD(vhost_poll_us), 0 },
	{ "vhost_poll=1000", FIELD(vhost_poll_us), 1000 },
	{ "dax_window=0", FIELD(dax_window), 0 },
	{ "dax_window=8M", FIELD(dax_window), 8 << 20 },
	{ "dax_window=16384K", FIELD(dax_window), 16 << 20 },
	{ "dax_window=33554432", FIELD(dax_window), 32 << 20 },
	{ "dax_window=512m", FIELD(dax_window), 512 << 20 },
	{ "dax_window=1G", FIELD(dax_window), 1 << 30 },
	{ "dax_window=8G", FIELD(dax_window), UINT64_C(8) << 30 },
};

static const struct taken_flag {
	const char *word;
	size_t field;
	int value;
} taken_flags[] = {
	{ "guests=rw", FIELD(guests_readonly), OFF },
	{ "guests=ro", FIELD(guests_readonly), ON },
	{ "guest_cache=auto", FIELD(guest_cache), PROTO_CACHE_AUTO },
	{ "guest_cache=never", FIELD(guest_cache), PROTO_CACHE_NEVER },
	{ "guest_cache=metadata", FIELD(guest_cache), PROTO_CACHE_METADATA },
	{ "guest_cache=always", FIELD(guest_cache), PROTO_CACHE_ALWAYS },
	{ "guests_max=1,guest_writeback", FIELD(guest_writeback), ON },
	{ "guest_nowriteback", FIELD(guest_writeback), OFF },
	{ "guest_xattr", FIELD(guest_xattr), ON },
	{ "guest_noxattr", FIELD(guest_xattr), OFF },
	{ "guest_acl", FIELD(guest_acl), ON },
	{ "guest_noacl", FIELD(guest_acl), OFF },
	{ "guest_noacl,guest_noxattr", FIELD(guest_acl), OFF },
	{ "vhost_once", FIELD(vhost_once), ON },
	{ "handover", FIELD(handover), ON },
};

static const struct taken_text {
	const char *word;
	size_t field;
	const char *value;
} taken_texts[] = {
	{ "tag=a", FIELD(tag), "a" },
	{ "tag=123456789012345678901234567890123456", FIELD(tag),
	  "123456789012345678901234567890123456" },
	{ "vhost_dir=/", FIELD(vhost_dir), "/" },
	{ "vhost_dir=srv/share", FIELD(vhost_dir), "srv/share" },
	{ "socket_group=kvm", FIELD(socket_group), "kvm" },
	{ "guest_translate_uid=map:0:100000:1", FIELD(guest_uids), "map:0:100000:1" },
	{ "guest_translate_uid=map:0:1:4294967294", FIELD(guest_uids), "map:0:1:4294967294" },
	{ "guest_translate_gid=map:0:5:2+map:2:0:5", FIELD(guest_gids), "map:0:5:2+map:2:0:5" },
};

static void parse_taken(const char *word)
{
	char list[256];

	(void)snprintf(list, sizeof(list), "vhost=/s,%s", word);
	if (parse_guests(list) != EXIT_OK)
		FAIL("%s: refused with '%s'", word, err.text);
	CHECK_STR_EQ(o.vhost, "/s");
}

TEST(test_options_parse__takes_words_about_guests)
{
	for (size_t i = 0; i < ARRAY_SIZE(taken_numbers); i++) {
		parse_taken(taken_numbers[i].word);
		CHECK_EQ(*(uint64_t *)((char *)&o + taken_numbers[i].field),
			 taken_numbers[i].value);
		options_fini(&o);
	}
	for (size_t i = 0; i < ARRAY_SIZE(taken_flags); i++) {
		parse_taken(taken_flags[i].word);
		CHECK_EQ(*(int *)((char *)&o + taken_flags[i].field), taken_flags[i].value);
		options_fini(&o);
	}
	for (size_t i = 0; i < ARRAY_SIZE(taken_texts); i++) {
		parse_taken(taken_texts[i].word);
		CHECK_STR_EQ(*(char **)((char *)&o + taken_texts[i].field), taken_texts[i].value);
		options_fini(&o);
	}
}

TEST(test_options_parse__guests_have_defaults)
{
	CHECK_EQ(parse_guests("vhost=fd:3"), EXIT_OK);
	CHECK_STR_EQ(o.vhost, "fd:3");
	CHECK_EQ(o.guest_cache, UNSET);
	CHECK_EQ(o.dax_window + o.guest_nodes + o.guest_locks + o.guests_max + o.vhost_queues, 0);
	CHECK_EQ(o.vhost_poll_us, VHOST_POLL_DEFAULT_US);
	CHECK(!o.tag && !o.vhost_dir && !o.socket_group && !o.guest_uids && !o.guest_gids);
	options_fini(&o);
}

/* What is about guests, without any. */
TEST(test_options_parse__words_about_guests_need_a_socket)
{
	const char *word;
	char text[64];

#define NEEDS_SOCKET(list)                                                                         \
	do {                                                                                       \
		word = list;                                                                       \
		(void)snprintf(text, sizeof(text), "%.*s:", (int)strcspn(word, "=,"), word);       \
		check_refused(word, text, "needs vhost=SOCKET");                                   \
	} while (0)

	for (size_t i = 0; i < ARRAY_SIZE(taken_numbers); i++)
		if (taken_numbers[i].field != FIELD(dax_window) || taken_numbers[i].value)
			NEEDS_SOCKET(taken_numbers[i].word);
	for (size_t i = 0; i < ARRAY_SIZE(taken_flags); i++)
		if (!strchr(taken_flags[i].word, ','))
			NEEDS_SOCKET(taken_flags[i].word);
	for (size_t i = 0; i < ARRAY_SIZE(taken_texts); i++)
		NEEDS_SOCKET(taken_texts[i].word);
	check_guests_refused("ro", "--no-mount:", "needs -o vhost=SOCKET");
	check_guests_refused("vhost=", "vhost=:", "a value is missing");
}

TEST(test_options_parse__refuses_guests_numbers)
{
	static const char *const limits[][2] = {
		{ "vhost_queues", "from 1 to 64" },
		{ "guests_max", "from 1 to 16" },
		{ "guest_nodes", "from 16 to 1073741824" },
		{ "guest_locks", "from 1 to 262144" },
		{ "vhost_poll", "from 0 to 1000" },
		{ "dax_window", "from 0 to 8589934592" },
	};
	static const char *const bad[] = { "=",	  "=-1", "=x", "=1x", "=99999999999999999999",
					   "= 1", "=4.5" };
	static const char *const outside[] = {
		"vhost_queues=0",	  "vhost_queues=65", "guests_max=0",
		"guests_max=17",	  "guest_nodes=0",   "guest_nodes=15",
		"guest_nodes=1073741825", "guest_nodes=1M",  "guest_locks=0",
		"guest_locks=262145",	  "vhost_poll=1001", "dax_window=16G",
		"dax_window=8193M",	  "dax_window=8E",   "dax_window=18014398509481984K",
	};
	char list[128], word[64];

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
			(void)snprintf(word, sizeof(word), "%s%s", limits[i][0], bad[k]);
			(void)snprintf(list, sizeof(list), "vhost=/s,%s", word);
			check_guests_refused(list, word, limits[i][1]);
		}
	for (size_t k = 0; k < ARRAY_SIZE(outside); k++) {
		(void)snprintf(list, sizeof(list), "vhost=/s,%s", outside[k]);
		check_guests_refused(list, outside[k], "not a number from ");
	}
}

TEST(test_options_parse__refuses_odd_windows)
{
	static const char *const sizes[] = { "4M",   "7M",   "9M", "24M", "8388609",
					     "511M", "513M", "6G", "1",	  "4K" };
	char list[128];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		(void)snprintf(list, sizeof(list), "vhost=/s,dax_window=%s", sizes[i]);
		check_guests_refused(list,
				     "dax_window:", "a power of two from 8M to 8G, or 0 for none");
	}
	check_guests_refused("vhost=/s,dax_window=8M,guests=ro",
			     "dax_window:", "leave it out, or say guests=rw");
	check_guests_refused("vhost=/s,dax_window=8M,ro", "dax_window:", "leave it out");
	check_guests_refused("vhost=/s,dax_window=8M,dax_window=16M",
			     "dax_window=16M:", "contradicts dax_window=8M: leave one of them out");
}

TEST(test_options_parse__refuses_odd_maps)
{
	static const char *const maps[] = {
		"0:0:1",
		"map",
		"map:",
		"map:0",
		"map:0:0",
		"map:0:0:",
		"map:0:0:0",
		"map:a:0:1",
		"map:0:-1:1",
		"map:0:0:1:2",
		"map:0:0:1+",
		"map:0:0:1+0:5:1",
		"map:0:0:5+map:4:9:1",
		"map:0:0:5+map:9:4:1",
		"map:0:0:4294967296",
		"map:4294967295:0:1",
		"map:0:4294967290:6",
		"squash-guest:0:1:1",
	};
	static const char *const words[] = { "guest_translate_uid", "guest_translate_gid" };
	char list[512], begin[128];

	for (size_t w = 0; w < ARRAY_SIZE(words); w++) {
		size_t len;

		for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
			(void)snprintf(list, sizeof(list), "vhost=/s,%s=%s", words[w], maps[i]);
			(void)snprintf(begin, sizeof(begin), "%s=%s:", words[w], maps[i]);
			check_guests_refused(list, begin, "not map:GUEST:IMAGE:COUNT");
		}
		len = (size_t)snprintf(list, sizeof(list), "vhost=/s,%s=map:0:0:1", words[w]);
		for (int i = 1; i < 17; i++)
			len += (size_t)snprintf(list + len, sizeof(list) - len, "+map:%d:%d:1", i,
						i);
		check_guests_refused(list, words[w], "more than 16 ranges: leave some out");
		(void)snprintf(list, sizeof(list), "vhost=/s,%s=", words[w]);
		check_guests_refused(list, words[w], "a value is missing");
	}
}

TEST(test_options_parse__refuses_guests_that_do_not_fit)
{
	check_guests_refused("vhost=/s,tag=1234567890123456789012345678901234567", "tag=1",
			     "longer than 36 bytes: say a shorter one");
	check_guests_refused("vhost=/s,tag=", "tag=:", "a value is missing");
	check_guests_refused("vhost=/s,vhost_dir=", "vhost_dir=:", "a value is missing");
	check_guests_refused("vhost=/s,vhost_dir=/a,vhost_dir=/b",
			     "vhost_dir=/b:", "contradicts vhost_dir=/a");
	check_guests_refused("vhost=fd:3,socket_group=kvm",
			     "socket_group:", "has its group already");
	check_guests_refused("vhost=/s,guests=maybe", "guests=maybe:", "see kfs --help");
	check_guests_refused("vhost=/s,guests=ro,guests=rw", "guests=rw:", "contradicts guests=ro");
	check_guests_refused("vhost=/s,guest_cache=none", "guest_cache=none:", "see kfs --help");
	check_guests_refused("vhost=/s,guest_cache", "guest_cache:", "see kfs --help");
	check_guests_refused("vhost=/s,guest_cache=Never", "guest_cache=Never:", "see kfs --help");
	check_guests_refused("vhost=/s,guest_xattr,guest_noxattr",
			     "guest_noxattr:", "contradicts guest_xattr");
	check_guests_refused("vhost=/s,guest_acl,guest_noacl",
			     "guest_noacl:", "contradicts guest_acl");
	check_guests_refused("vhost=/s,guest_acl,guest_noxattr",
			     "guest_acl: contradicts guest_noxattr:", "leave one out");
	check_guests_refused("vhost=/s,guest_acl,noacl",
			     "guest_acl: contradicts noacl:", "leave one out");
	check_guests_refused("vhost=/s,guest_writeback,guests=ro",
			     "guest_writeback:", "guests only read: leave it out");
	check_guests_refused("vhost=/s,guests_max=1,guest_writeback,guest_cache=never",
			     "guest_writeback: contradicts guest_cache=never:", "leave one out");
	check_guests_refused("vhost=/s,guest_writeback,guests_max=2",
			     "guest_writeback:", "say --no-mount and guests_max=1");
	check_refused("vhost=/s,vhost_once", "vhost_once:", "say --no-mount");
	check_refused("handover", "handover", "needs vhost=");
	check_refused("vhost=/s,incoming", "incoming:", "say --no-mount");
	check_guests_refused("vhost=/s,incoming,ro", "incoming:", "leave it out");
	check_guests_refused("vhost=/s,handover,dax_window=8M",
			     "handover:", "leave dax_window out");
	check_guests_refused("vhost=/s,incoming,vhost_dir=/a", "incoming:", "share all of it");
}

/* Beside a mount, guests that write decide how the mount caches. */
TEST(test_options_parse__guests_that_write_share)
{
	CHECK_EQ(parse("vhost=/s", false), EXIT_OK);
	CHECK_EQ(o.share, ON);
	CHECK(options_guests_write(&o));
	options_fini(&o);
	CHECK_EQ(parse("vhost=/s,guests=ro", false), EXIT_OK);
	CHECK_EQ(o.share, UNSET);
	CHECK(!options_guests_write(&o));
	options_fini(&o);
	CHECK_EQ(parse("vhost=/s,ro", false), EXIT_OK);
	CHECK(!options_guests_write(&o));
	options_fini(&o);
}
