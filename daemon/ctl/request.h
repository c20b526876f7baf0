/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests as text to a command and back: decoding, checking, calling, encoding. Knows no sockets and no filesystem,
 * so that it can be tested and fuzzed alone.
 *
 * A command fills call->result and returns 0, or returns a negative errno after ctl_fail(). It runs on the client's
 * thread and may block.
 */
#ifndef KFS_CTL_REQUEST_H
#define KFS_CTL_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct ctl_server;
struct frame_fds;

#define CTL_TEXT_MAX 256

struct ctl_call {
	struct ctl_server *server;
	int client_fd;	       /* to notice that the client has gone; -1 = none */
	struct frame_fds *fds; /* as many as the command wants; taken ones become -1 */
	const json_t *args;    /* an object, its keys and their types are checked */
	json_t *result;	       /* an object, empty at first */
	char what[CTL_TEXT_MAX], why[CTL_TEXT_MAX], remedy[CTL_TEXT_MAX];
};

enum ctl_arg_type { CTL_ARG_BOOL, CTL_ARG_COUNT, CTL_ARG_TEXT };

#define CTL_ARGS_MAX 8
struct ctl_arg {
	const char *name; /* NULL ends the list */
	enum ctl_arg_type type;
	bool needed;
};

struct ctl_command {
	const char *name; /* NULL ends the table */
	int (*run)(struct ctl_call *call);
	struct ctl_arg args[CTL_ARGS_MAX];
	unsigned int fds; /* descriptors that come with the request */
};

/* Notes why a command fails and returns @error. @remedy may be "". */
int ctl_fail(struct ctl_call *call, int error, const char *what, const char *why,
	     const char *remedy);

/* A name of the host is bytes and JSON is UTF-8: in text that is not, each byte above 0x7f becomes \xNN. */
json_t *ctl_text(const char *text);

/* An argument's value, or @absent. */
uint64_t ctl_arg_count(const struct ctl_call *call, const char *name, uint64_t absent);
/* NULL: absent. A text has no NUL within. */
const char *ctl_arg_text(const struct ctl_call *call, const char *name);
bool ctl_arg_bool(const struct ctl_call *call, const char *name, bool absent);

/*
 * Runs request @text and encodes the reply: malloc()ed, at most CTL_REPLY_BYTES_MAX bytes. NULL only when memory
 * is short.
 */
char *ctl_answer(const struct ctl_command *commands, struct ctl_server *server, int client_fd,
		 const char *text, size_t len);
/* The same for the server, client and descriptors of @from; those that nobody took stay the caller's. */
char *ctl_answer_fds(const struct ctl_command *commands, const struct ctl_call *from,
		     const char *text, size_t len);
/* An error reply for what cannot even be read. */
char *ctl_refusal(int error, const char *what, const char *why, const char *remedy);

#endif
