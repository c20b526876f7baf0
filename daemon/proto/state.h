/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's session outside of the daemon (include/kfs/state_format.h). Guests do not know that
 * their daemon was another one: they send no INIT, and go on using their nodeids.
 *
 * A state goes from the daemon that the guest leaves to the one it comes to, which may be the same:
 * nodeids with their counts, and locks. There are no file handles.
 *
 * A note is kept by a front end while the daemon lives. After a crash the nodeids in use, locks
 * and deleted files that were open are not known any more: see fs_session_opts.recovered.
 */
#ifndef KFS_PROTO_STATE_H
#define KFS_PROTO_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/util.h"

struct proto_session;

struct proto_note {
	uint8_t bytes[88];
};

/* False: INIT was not answered, there is nothing to note. */
bool proto_note_make(const struct proto_session *s, struct proto_note *ret_note);
/*
 * Go on as @note says, in a session that has had no INIT. -ENOENT: the note is empty. -EBADMSG:
 * it is damaged, or of another image. -EOPNOTSUPP: of another version of kfs. -ESTALE: another
 * directory was shared. -EINVAL: options have changed, so that what was agreed cannot be kept.
 */
MUST_USE int proto_note_adopt(struct proto_session *s, const struct proto_note *note);

/*
 * The whole of a session that moves. It may go on if the move fails. No request may be running
 * from the beginning of either call to the end of the move.
 *
 * @write and @read move exactly that many bytes or fail; at the end there is nothing to read:
 * -ENODATA. What comes from outside is checked as the format says, and nothing stays of a state
 * that is refused: errors as above, -EMSGSIZE: it ends early or goes on behind its end, -ENFILE:
 * more than this guest may hold. -EBUSY: the session was used, or (locks) another user of the
 * image has locked what this guest had.
 */
typedef int (*proto_write_fn)(void *arg, const void *data, size_t len);
typedef int (*proto_read_fn)(void *arg, void *data, size_t len);
MUST_USE int proto_state_save(struct proto_session *s, proto_write_fn write, void *arg);
MUST_USE int proto_state_load(struct proto_session *s, proto_read_fn read, void *arg);
/*
 * A session that moves together with its image. @close: frees @s, keeping what it has open
 * (fs_session_keep_deleted()), and closes the image. What follows is written only then: who reads the
 * end may open it. After a failure @s is gone if @close was called, else as before.
 *
 * Such a state is taken by sessions of a store that was opened untouched, and of no other (-EXDEV):
 * the first thing that an ordinary daemon does is to delete what has no name. -EREMCHG: somebody has
 * written to the image since.
 */
struct proto_handover {
	int (*close)(void *arg, uint64_t *ret_print);
	void *arg;
};
MUST_USE int proto_state_hand_over(struct proto_session *s, const struct proto_handover *handover,
				   proto_write_fn write, void *arg);
/* Freeing it deletes nothing, or does again. */
void proto_keep_deleted(struct proto_session *s, bool keep);
/*
 * A loaded session is about to serve: what its origin, if that is a session of this image here,
 * still has locked becomes this one's.
 */
void proto_state_arrive(struct proto_session *s);
/* For people: why a note or a state was refused. */
const char *proto_state_why(int error);

#endif
