// SPDX-License-Identifier: GPL-2.0-only
/*
 * bpfprogs ID...: prints those of these BPF programs that are loaded. bpfprogs --of PID: those that the process has open.
 * For root. Exit status 0, or 2 when it cannot look.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int print_loaded(const char *id)
{
	union bpf_attr attr;
	long fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_id = (uint32_t)strtoul(id, NULL, 10);
	fd = syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
	if (fd < 0 && errno != ENOENT) {
		perror("bpfprogs");
		return 2;
	}
	if (fd >= 0) {
		printf("%s\n", id);
		close((int)fd);
	}
	return 0;
}

static void print_one(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[256], id[32];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "prog_id: %31s", id) == 1)
			printf("%s\n", id);
	if (f)
		fclose(f);
}

static int print_open(const char *pid)
{
	char path[320];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	dir = opendir(path);
	if (!dir) {
		perror(path);
		return 2;
	}
	while ((e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%.20s/fdinfo/%s", pid, e->d_name);
		if (e->d_name[0] != '.')
			print_one(path);
	}
	closedir(dir);
	return 0;
}

int main(int argc, char **argv)
{
	int ret = 0;

	if (argc == 3 && !strcmp(argv[1], "--of"))
		return print_open(argv[2]);
	for (int i = 1; i < argc && !ret; i++)
		ret = print_loaded(argv[i]);
	return ret;
}
