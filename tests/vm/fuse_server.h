/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A FUSE server for tests of the kernel's side: a tree in memory, served from a child process over the raw device, with a
 * BPF program that answers in its place. Single-threaded and plain, so that what it counts can be trusted.
 *
 *	struct server server;
 *	CHECK_OK(server_start(&server, &(struct server_options){ .dir = "/mnt/a" }));
 *	CHECK_OK(server_command(&server, SERVER_ATTACH, 0));
 *	... use /mnt/a ...
 *	server_stop(&server);
 *
 * The tree at the start: directories d0, d1, … with files f0, f1, … (server_options); what is made is added. Everything
 * known is published while "publish" is set, before the reply that makes it so.
 */
#ifndef KFS_TESTS_FUSE_SERVER_H
#define KFS_TESTS_FUSE_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/vm/fusebpf_abi.h"

#define SERVER_OPCODES 64
#define SERVER_EXTENT 65536u

/* What is in a file: bytes that tell where they are. */
static inline char server_byte(uint64_t ino, uint64_t pos, bool with_hole)
{
	if (with_hole && pos >= SERVER_EXTENT && pos < 2 * SERVER_EXTENT)
		return 0;
	return (char)(pos * 31 + (pos >> 12) + ino);
}

/* What the test and its server share while both run. */
struct server_shared {
	_Atomic uint64_t requests[SERVER_OPCODES];
	_Atomic uint64_t lookups;   /* references handed out by replies */
	_Atomic uint64_t forgotten; /* and given back by FORGET */
	_Atomic bool forget_underflow;
	_Atomic bool stale;	      /* a nodeid was used after the server had dropped it */
	_Atomic uint64_t entry_valid; /* seconds, in replies and in the tables */
	_Atomic uint64_t attr_valid;
	_Atomic bool publish;
	_Atomic uint32_t destroy_delay_ms;
	_Atomic bool destroyed;	  /* DESTROY has been answered */
	struct probe_stats stats; /* written by SERVER_STATS */
};

struct server_options {
	const char *dir;
	const char *device;	   /* default /dev/fusebpf */
	const char *type;	   /* default fusebpf.probe */
	const char *mount_options; /* default "default_permissions,allow_other,trusted" */
	unsigned dirs, files_each; /* default 2, 10 */
	uint32_t uid;		   /* owner of the files */
	const char *
		image; /* files' first SERVER_EXTENT bytes lie in it, the same number after them is a hole */
	bool direct_io; /* files are opened with FOPEN_DIRECT_IO */
	bool hold_init; /* INIT is answered at SERVER_INIT only */
};

enum server_command {
	SERVER_ATTACH,	      /* loads the program first if need be */
	SERVER_ATTACH_SECOND, /* the same program once more */
	SERVER_DETACH,
	SERVER_PIN, /* pins the link at /sys/fs/bpf/probe */
	SERVER_INIT,
	SERVER_STORM, /* publishes the first file's attributes ARG times, size and times all equal */
	SERVER_DEV_FD, /* ARG is the descriptor that the next ATTACH names */
	SERVER_MOVE, /* gives file ARG's blocks to another: unpublish, notify, overwrite with zeroes */
	SERVER_STATS, /* sums the program's counters up into the shared part */
};

struct server {
	pid_t pid;
	int commands;
	char dir[256];
	struct server_shared *shared;
};

/* 0 or a negative errno, that of mount(2) for instance. */
int server_start(struct server *server, const struct server_options *options);
/* Carried out between two requests. 0 or a negative errno. */
int server_command(struct server *server, enum server_command command, int64_t arg);
/* Sums of the program's counters over the processors; needs a loaded program. */
struct probe_stats server_stats(struct server *server);
void server_kill(struct server *server);
/* Unmounts and waits for the end of the child. */
void server_stop(struct server *server);

uint64_t server_requests(const struct server *server, unsigned opcode);
void server_reset_counts(struct server *server);

#endif
