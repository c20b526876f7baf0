/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dax_store FILE OFFSET TEXT: in a guest, through a shared mapping. Says what was there before, which is as long.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t len, off, page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *at;
	int fd;

	if (argc != 4)
		return 2;
	off = strtoull(argv[2], NULL, 0);
	len = strlen(argv[3]);
	fd = open(argv[1], O_RDWR);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	at = mmap(NULL, off % page + len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  (off_t)(off - off % page));
	if (at == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	fwrite(at + off % page, 1, len, stdout);
	memcpy(at + off % page, argv[3], len);
	if (msync(at, off % page + len, MS_SYNC) || close(fd)) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
