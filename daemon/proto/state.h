/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's session outside of the daemon (include/kfs/state_format.h). Guests do not know that
 * their daemon was another one: they send no INIT, and go on using their nodeids.
 *
 * A note is kept by a front end while the daemon lives. After a crash the nodeids in use, locks
 * and deleted files that were open are not known any more: see fs_session_opts.recovered.
 */
#ifndef KFS_PROTO_STATE_H
#define KFS_PROTO_STATE_H

#include <stdbool.h>
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

#endif
