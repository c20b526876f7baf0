/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line: defaults, groups of words, refusals, fstab's words, mount(8)'s calls. */
#include <errno.h>
#include <string.h>

#include "daemon/fs/fs.h"
#include "daemon/options.h"
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
