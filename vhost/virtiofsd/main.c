/* SPDX-License-Identifier: GPL-2.0-only */
/* kfs-virtiofsd: filesystems of kfs for those who call virtiofsd. See virtiofsd.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl/kfsctl.h"
#include "vhost/virtiofsd/virtiofsd.h"

#ifndef KFS_VERSION
#define KFS_VERSION "unknown"
#endif

static bool to_syslog;

int complain(const char *what, const char *why, const char *remedy)
{
	if (to_syslog)
		log_error("%s: %s%s%s", what, why, *remedy ? ": " : "", remedy);
	fprintf(stderr, "kfs-virtiofsd: %s: %s%s%s\n", what, why, *remedy ? ": " : "", remedy);
	return EXIT_FAILED;
}

int complain_usage(const char *what, const char *why)
{
	complain(what, why, "see 'kfs-virtiofsd --help'");
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	struct virtiofsd_options o;
	int ret;

	log_init("kfs-virtiofsd", LOG_LEVEL_INFO);
	ret = virtiofsd_parse(argc, argv, &o);
	if (ret)
		return ret;
	to_syslog = o.syslog;
	switch (o.action) {
	case ACTION_HELP: virtiofsd_usage(); break;
	case ACTION_VERSION: printf("kfs-virtiofsd %s\n", KFS_VERSION); break;
	/* As the vhost-user specification has it; "separate-options": not behind -o alone. */
	case ACTION_CAPABILITIES:
		printf("{\n  \"type\": \"fs\",\n  \"features\": [\n    \"separate-options\"\n  ]\n}\n");
		break;
	default: ret = virtiofsd_serve(&o); break;
	}
	virtiofsd_options_fini(&o);
	return ret;
}
