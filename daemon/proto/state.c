/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A head is used when its own seal was found good. What follows goes into a session that serves
 * nobody until the last seal was; if it was not, the session is closed again.
 */
#include "daemon/proto/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/base/log.h"
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
	h->flags = cpu_to_le32((s->opts.readonly ? STATE_F_READONLY : 0) |
			       (s->fs_opts.recovered ? STATE_F_RECOVERED : 0));
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

const char *proto_state_why(int error)
{
	switch (error) {
	case -EBADMSG: return "it is damaged, or of another image";
	case -EMSGSIZE: return "it is not as long as it says";
	case -EOPNOTSUPP: return "it is of another version of kfs";
	case -ESTALE: return "another directory was shared";
	case -EINVAL: return "options differ: share with the same ones";
	case -EXDEV:
		return "it came with its image: only a daemon that was started with incoming takes "
		       "it";
	case -EREMCHG: return "somebody else has written to the image since it was handed over";
	case -ENFILE: return "the guest held more files than one may here";
	case -EBUSY:
		return "another user of the image has locked the same files, or the guest runs already";
	default: return strerror(-error);
	}
}

/* ---- the whole ---- */

/* Locks of one guest: as many as fs lets one session have. */
#define LOCKS_MAX (1u << 18)

struct saver {
	proto_write_fn write;
	void *arg;
	struct fs_identity id;
	uint64_t seal, nodes;
	const struct proto_handover *handover; /* NULL: the image stays */
};

static uint64_t next_seal(const struct fs_identity *id, uint64_t seal, const void *data, size_t len)
{
	uint8_t text[sizeof(le64) + sizeof(struct state_lock)];
	le64 before = cpu_to_le64(seal);

	memcpy(text, &before, sizeof(before));
	memcpy(text + sizeof(before), data, len);
	return siphash(text, sizeof(before) + len, id->key[0], id->key[1]);
}

static int save_record(struct saver *v, const void *data, size_t len)
{
	v->seal = next_seal(&v->id, v->seal, data, len);
	return v->write(v->arg, data, len);
}

static int save_node(void *arg, uint64_t nodeid, uint32_t count)
{
	struct saver *v = arg;
	struct state_node node = { .nodeid = cpu_to_le64(nodeid), .count = cpu_to_le32(count) };

	v->nodes++;
	return save_record(v, &node, sizeof(node));
}

static int save_lock(struct saver *v, const struct fs_flock *l)
{
	struct state_lock lock = { .nodeid = cpu_to_le64(l->nodeid),
				   .owner = cpu_to_le64(l->owner),
				   .start = cpu_to_le64(l->start),
				   .end = cpu_to_le64(l->end),
				   .type = cpu_to_le32(l->type == F_WRLCK),
				   .pid = cpu_to_le32(l->pid),
				   .flock = cpu_to_le32(l->flock) };

	return save_record(v, &lock, sizeof(lock));
}

static int save_head(struct saver *v, struct state_head *h)
{
	v->seal = head_seal(h, &v->id);
	h->seal = cpu_to_le64(v->seal);
	return v->write(v->arg, h, sizeof(*h));
}

static int hand_over(struct saver *v)
{
	struct state_image image = { .reserved = cpu_to_le64(0) };
	uint64_t print = 0;
	int err = v->handover->close(v->handover->arg, &print);

	image.print = cpu_to_le64(print);
	return err ? err : save_record(v, &image, sizeof(image));
}

static int save_end(struct saver *v)
{
	int err = v->handover ? hand_over(v) : 0;
	le64 seal = cpu_to_le64(next_seal(&v->id, v->seal, "end", 3));

	return err ? err : v->write(v->arg, &seal, sizeof(seal));
}

static int save_mounted(struct proto_session *s, struct saver *v, struct state_head *h)
{
	struct fs_flock *locks;
	uint64_t number = 0;
	uint32_t count;
	int err;

	fill_head(s, STATE_WHOLE, &v->id, h);
	if (v->handover)
		h->flags = cpu_to_le32(le32_to_cpu(h->flags) | STATE_F_HANDED);
	err = fs_session_list_locks(s->fs_session, &locks, &count);
	if (err)
		return err;
	if (getrandom(&number, sizeof(number), 0) != sizeof(number) || !number)
		number = 1 | (uint64_t)(uintptr_t)s; /* a number that only this session has here */
	fs_session_set_saved(s->fs_session, number);
	h->session = cpu_to_le64(number);
	h->nodes = cpu_to_le64(fs_session_nodes(s->fs_session));
	h->locks = cpu_to_le64(count);
	err = save_head(v, h);
	if (!err)
		err = fs_session_each_node(s->fs_session, save_node, v);
	for (uint32_t i = 0; i < count && !err; i++)
		err = save_lock(v, &locks[i]);
	free(locks);
	return err ? err : save_end(v);
}

static int save(struct proto_session *s, const struct proto_handover *handover,
		proto_write_fn write, void *arg)
{
	struct saver v = { .write = write, .arg = arg, .handover = handover };
	struct state_head h;
	int err;

	fs_get_identity(s->fs, &v.id);
	if (proto_ready(s))
		return save_mounted(s, &v, &h);
	memset(&h, 0, sizeof(h));
	h.magic = cpu_to_le32(STATE_MAGIC);
	h.version = cpu_to_le16(STATE_VERSION);
	h.kind = cpu_to_le16(STATE_WHOLE);
	memcpy(h.uuid, v.id.uuid, sizeof(h.uuid));
	h.flags = cpu_to_le32(handover ? STATE_F_HANDED : 0);
	err = save_head(&v, &h);
	return err ? err : save_end(&v);
}

int proto_state_save(struct proto_session *s, proto_write_fn write, void *arg)
{
	return save(s, NULL, write, arg);
}

int proto_state_hand_over(struct proto_session *s, const struct proto_handover *handover,
			  proto_write_fn write, void *arg)
{
	return save(s, handover, write, arg);
}

void proto_keep_deleted(struct proto_session *s, bool keep)
{
	if (s->fs_session)
		fs_session_keep_deleted(s->fs_session, keep);
}

struct loader {
	proto_read_fn read;
	void *arg;
	struct fs_identity id;
	uint64_t seal;
	bool handed;
};

/* The end, where something was to be: it was cut off. */
static int load_bytes(struct loader *v, void *data, size_t len)
{
	int err = v->read(v->arg, data, len);

	return err == -ENODATA ? -EMSGSIZE : err;
}

static int load_record(struct loader *v, void *data, size_t len)
{
	int err = load_bytes(v, data, len);

	if (!err)
		v->seal = next_seal(&v->id, v->seal, data, len);
	return err;
}

static int load_nodes(struct proto_session *s, struct loader *v, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		struct state_node node;
		int err = load_record(v, &node, sizeof(node));

		if (!err)
			err = fs_session_add_node(s->fs_session, le64_to_cpu(node.nodeid),
						  le32_to_cpu(node.count));
		if (err)
			return err == -EINVAL ? -EBADMSG : err;
	}
	return 0;
}

static int load_locks(struct loader *v, struct fs_flock *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct state_lock lock;
		int err = load_record(v, &lock, sizeof(lock));

		if (err)
			return err;
		if (le32_to_cpu(lock.type) > 1 || le32_to_cpu(lock.flock) > 1)
			return -EBADMSG;
		list[i] = (struct fs_flock){ .nodeid = le64_to_cpu(lock.nodeid),
					     .owner = le64_to_cpu(lock.owner),
					     .start = le64_to_cpu(lock.start),
					     .end = le64_to_cpu(lock.end),
					     .type = le32_to_cpu(lock.type) ? F_WRLCK : F_RDLCK,
					     .pid = le32_to_cpu(lock.pid),
					     .flock = le32_to_cpu(lock.flock) };
	}
	return 0;
}

static int load_end(struct loader *v)
{
	struct state_image image = { .print = cpu_to_le64(v->id.print) };
	int err = v->handed ? load_record(v, &image, sizeof(image)) : 0;
	uint64_t want = next_seal(&v->id, v->seal, "end", 3);
	uint8_t more;
	le64 seal;

	if (!err)
		err = load_bytes(v, &seal, sizeof(seal));
	if (!err && le64_to_cpu(seal) != want)
		err = -EBADMSG;
	if (err)
		return err;
	err = v->read(v->arg, &more, 1);
	if (!err)
		return -EMSGSIZE;
	if (err != -ENODATA)
		return err;
	return le64_to_cpu(image.print) == v->id.print ? 0 : -EREMCHG;
}

static int take_locks(struct proto_session *s, const struct fs_flock *list, uint32_t count)
{
	struct fs_ctx ctx = { .session = s->fs_session };

	for (uint32_t i = 0; i < count; i++) {
		int err = fs_setlk(s->fs, &ctx, &list[i], NULL);

		if (err)
			return err == -EAGAIN ? -EBUSY : err;
	}
	return 0;
}

static int load_mounted(struct proto_session *s, struct loader *v, const struct state_head *h)
{
	_cleanup_free_ struct fs_flock *locks = NULL;
	uint64_t count = le64_to_cpu(h->locks), number = le64_to_cpu(h->session);
	int err;

	if (count > LOCKS_MAX)
		return -ENFILE;
	locks = calloc(count + 1, sizeof(*locks));
	if (!locks)
		return -ENOMEM;
	err = load_nodes(s, v, le64_to_cpu(h->nodes));
	if (!err)
		err = load_locks(v, locks, (uint32_t)count);
	if (!err)
		err = load_end(v);
	if (!err && v->id.untouched)
		err = fs_claim_deleted(s->fs);
	/* Here already: they are the guest's, whichever of its sessions has them. */
	if (!err && !fs_session_saved(s->fs, number))
		err = take_locks(s, locks, (uint32_t)count);
	if (err || !fs_session_saved(s->fs, number))
		return err;
	s->arrives_from = number;
	s->arriving = locks;
	s->arriving_count = (uint32_t)count;
	locks = NULL;
	return 0;
}

int proto_state_load(struct proto_session *s, proto_read_fn read, void *arg)
{
	struct loader v = { .read = read, .arg = arg };
	struct state_head h;
	int err;

	fs_get_identity(s->fs, &v.id);
	err = load_bytes(&v, &h, sizeof(h));
	if (!err)
		err = check_head(&h, STATE_WHOLE, &v.id);
	if (err)
		return err;
	v.seal = le64_to_cpu(h.seal);
	v.handed = le32_to_cpu(h.flags) & STATE_F_HANDED;
	if (v.handed && !v.id.untouched)
		return -EXDEV;
	if (!le32_to_cpu(h.minor))
		return load_end(&v);
	err = adopt_head(s, &h, le32_to_cpu(h.flags) & STATE_F_RECOVERED);
	if (err)
		return err;
	fs_session_keep_deleted(s->fs_session, v.id.untouched);
	err = load_mounted(s, &v, &h);
	if (err)
		init_undo(s);
	return err;
}

void proto_state_arrive(struct proto_session *s)
{
	struct fs_session *from;

	if (!s->arrives_from)
		return;
	from = fs_session_saved(s->fs, s->arrives_from);
	s->arrives_from = 0;
	if (from) {
		fs_session_set_saved(from, 0);
		fs_session_move_locks(from, s->fs_session);
	} else if (take_locks(s, s->arriving, s->arriving_count)) {
		log_warn("a guest has arrived without all of its locks: its old session ended "
			 "early, and somebody else was faster");
	}
	free(s->arriving);
	s->arriving = NULL;
}
