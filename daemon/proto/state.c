/* SPDX-License-Identifier: GPL-2.0-only */
/* Nothing of a note or a state is used before the seal that covers it was found good. */
#include "daemon/proto/state.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "daemon/base/siphash.h"
#include "daemon/proto/session.h"
#include "include/kfs/state_format.h"

static_assert(sizeof(struct proto_note) == sizeof(struct state_head), "a note is a head");

static uint64_t head_seal(const struct state_head *h, const struct fs_identity *id)
{
	return siphash(h, offsetof(struct state_head, seal), id->key[0], id->key[1]);
}

/* What INIT agreed on; the caller adds what else there is, and the seal. */
static void fill_head(const struct proto_session *s, enum state_kind kind,
		      const struct fs_identity *id, struct state_head *h)
{
	memset(h, 0, sizeof(*h));
	h->magic = cpu_to_le32(STATE_MAGIC);
	h->version = cpu_to_le16(STATE_VERSION);
	h->kind = cpu_to_le16((uint16_t)kind);
	memcpy(h->uuid, id->uuid, sizeof(h->uuid));
	h->root_nodeid = cpu_to_le64(fs_session_root(s->fs_session));
	h->init_flags = cpu_to_le64(s->init_flags);
	h->minor = cpu_to_le32(s->minor);
	h->max_write = cpu_to_le32(s->max_write);
	h->flags = cpu_to_le32(s->opts.readonly ? STATE_F_READONLY : 0);
}

static int check_head(const struct state_head *h, enum state_kind kind,
		      const struct fs_identity *id)
{
	if (le32_to_cpu(h->magic) != STATE_MAGIC)
		return -EBADMSG;
	if (le16_to_cpu(h->version) != STATE_VERSION)
		return -EOPNOTSUPP;
	if (le16_to_cpu(h->kind) != kind || memcmp(h->uuid, id->uuid, sizeof(h->uuid)) != 0 ||
	    le64_to_cpu(h->seal) != head_seal(h, id))
		return -EBADMSG;
	return 0;
}

static int adopt_head(struct proto_session *s, const struct state_head *h, bool recovered)
{
	struct proto_agreed agreed = { .minor = le32_to_cpu(h->minor),
				       .init_flags = le64_to_cpu(h->init_flags),
				       .recovered = recovered };
	int err;

	if (le32_to_cpu(h->max_write) != s->max_write ||
	    (le32_to_cpu(h->flags) & STATE_F_READONLY) != (s->opts.readonly ? STATE_F_READONLY : 0))
		return -EINVAL;
	err = init_adopt(s, &agreed);
	if (err)
		return err;
	if (fs_session_root(s->fs_session) == le64_to_cpu(h->root_nodeid))
		return 0;
	init_undo(s);
	return -ESTALE;
}

bool proto_note_make(const struct proto_session *s, struct proto_note *ret_note)
{
	struct fs_identity id;
	struct state_head h;

	if (!proto_ready(s))
		return false;
	fs_get_identity(s->fs, &id);
	fill_head(s, STATE_NOTE, &id, &h);
	h.seal = cpu_to_le64(head_seal(&h, &id));
	memcpy(ret_note->bytes, &h, sizeof(h));
	return true;
}

int proto_note_adopt(struct proto_session *s, const struct proto_note *note)
{
	static const struct state_head none;
	struct fs_identity id;
	struct state_head h;
	int err;

	memcpy(&h, note->bytes, sizeof(h));
	if (!memcmp(&h, &none, sizeof(h)))
		return -ENOENT;
	fs_get_identity(s->fs, &id);
	err = check_head(&h, STATE_NOTE, &id);
	return err ? err : adopt_head(s, &h, true);
}
