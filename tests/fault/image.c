// SPDX-License-Identifier: GPL-2.0-only
/* Images in memory that e2fsck can open by name, and running it. See sweep.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fault/sweep.h"

#define COPY_BYTES (256 << 10)

int image_new(uint64_t size)
{
	/* Not close-on-exec: children open it by its number. */
	int fd = memfd_create("kfs-image", 0);

	CHECK(fd >= 0);
	CHECK(ftruncate(fd, (off_t)size) == 0);
	return fd;
}

void image_path(int fd, char *buf, size_t size)
{
	(void)snprintf(buf, size, "/proc/self/fd/%d", fd);
}

int image_copy(int fd)
{
	static char bytes[COPY_BYTES];
	off_t at = 0, end;
	struct stat st;
	int copy;

	CHECK(fstat(fd, &st) == 0);
	copy = image_new((uint64_t)st.st_size);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		while (at < end) {
			size_t want = (size_t)(end - at);
			ssize_t n = pread(fd, bytes, want < COPY_BYTES ? want : COPY_BYTES, at);

			CHECK(n > 0);
			CHECK(pwrite(copy, bytes, (size_t)n, at) == n);
			at += n;
		}
	}
	CHECK(errno == ENXIO);
	return copy;
}

static void show(int fd)
{
	char bytes[4096];
	ssize_t n;

	(void)lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		(void)write(STDERR_FILENO, bytes, (size_t)n);
}

void run_program(const char *const argv[], int status_max)
{
	int out = memfd_create("output", MFD_CLOEXEC), status = 0;
	pid_t pid = fork();

	CHECK(out >= 0 && pid >= 0);
	if (pid == 0) {
		(void)dup2(out, STDOUT_FILENO);
		(void)dup2(out, STDERR_FILENO);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (!WIFEXITED(status) || WEXITSTATUS(status) > status_max) {
		show(out);
		FAIL("%s %s: status %d", argv[0], argv[1], WEXITSTATUS(status));
	}
	(void)close(out);
}
