/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/vhost/owners.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/vhost/front.h"

#define ROOT 1
#define SHIFT 100000u
#define NOBODY 65534u
#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* As linux/posix_acl_xattr.h has it: owner, user @who, group, mask, others. */
#define ACL_LEN 44u
static void acl_of(uint8_t *acl, uint8_t who)
{
	const uint8_t entries[ACL_LEN] = { 2,	0,   0,	  0,   1,   0,	 6,  0,	  255, 255, 255,
					   255, 2,   0,	  6,   0,   who, 0,  0,	  0,   4,   0,
					   4,	0,   255, 255, 255, 255, 16, 0,	  6,   0,   255,
					   255, 255, 255, 32,  0,   4,	 0,  255, 255, 255, 255 };

	memcpy(acl, entries, ACL_LEN);
}

static struct stat host_stat(const char *dir, const char *name)
{
	char path[4200];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (stat(path, &st))
		front_die("%s: %s", path, strerror(errno));
	return st;
}

static int ask(struct front *f, uint32_t opcode, uint64_t nodeid, const void *args, size_t len,
	       const char *text, size_t text_len)
{
	struct fuse_message m = { .opcode = opcode,
				  .nodeid = nodeid,
				  .args = args,
				  .arg_len = len,
				  .text = text,
				  .text_len = text_len,
				  .room = 4096 };

	return fuse_call(f, 1, &m, NULL, NULL);
}

static int chown_to(struct front *f, uint64_t nodeid, uint32_t uid, uint32_t gid)
{
	struct fuse_setattr_in in = { .valid = FATTR_UID | FATTR_GID, .uid = uid, .gid = gid };

	return ask(f, FUSE_SETATTR, nodeid, &in, sizeof(in), NULL, 0);
}

static int set_xattr(struct front *f, uint64_t nodeid, const char *name, const void *value,
		     size_t len)
{
	struct fuse_setxattr_in in = { .size = (uint32_t)len };
	struct fuse_message m = { .opcode = FUSE_SETXATTR,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .text = name,
				  .text_len = strlen(name) + 1,
				  .data = value,
				  .data_len = len };

	return fuse_call(f, 1, &m, NULL, NULL);
}

static int get_xattr(struct front *f, uint64_t nodeid, const char *name, void *value,
		     size_t *ret_len)
{
	struct fuse_getxattr_in in = { .size = 4096 };
	struct fuse_message m = { .opcode = FUSE_GETXATTR,
				  .nodeid = nodeid,
				  .args = &in,
				  .arg_len = sizeof(in),
				  .text = name,
				  .text_len = strlen(name) + 1,
				  .room = 4096 };

	return fuse_call(f, 1, &m, value, ret_len);
}

/* ---- owners ---- */

static void owned(struct front *f, const char *dir)
{
	struct fuse_entry_out e;
	struct fuse_attr attr;
	struct stat st;

	f->uid = 5;
	f->gid = 6;
	front_want(fuse_create(f, ROOT, "five", 0600, &e), 0, "create");
	if (e.attr.uid != 5 || e.attr.gid != 6)
		front_die("made by 5:6, owned by %u:%u", e.attr.uid, e.attr.gid);
	st = host_stat(dir, "five");
	if (st.st_uid != SHIFT + 5 || st.st_gid != SHIFT + 6)
		front_die("in the image it is %u:%u's", st.st_uid, st.st_gid);
	f->uid = f->gid = 0;
	front_want(chown_to(f, e.nodeid, 7, 999), 0, "chown");
	st = host_stat(dir, "five");
	if (st.st_uid != SHIFT + 7 || st.st_gid != SHIFT + 999)
		front_die("given to 7:999, in the image it is %u:%u's", st.st_uid, st.st_gid);
	front_want(chown_to(f, e.nodeid, 1000, 0), -EINVAL, "chown to a user without a number");
	front_want(chown_to(f, e.nodeid, 0, 5000), -EINVAL, "chown to a group without a number");
	front_want(fuse_getattr(f, e.nodeid, &attr), 0, "getattr");
	if (attr.uid != 7 || attr.gid != 999)
		front_die("after that it is %u:%u's", attr.uid, attr.gid);
	front_want(fuse_lookup(f, ROOT, "roots", &e), 0, "lookup");
	if (e.attr.uid != NOBODY || e.attr.gid != NOBODY)
		front_die("the image's root is %u:%u", e.attr.uid, e.attr.gid);
}

static void makes_nothing(struct front *f)
{
	struct fuse_mknod_in node = { .mode = S_IFREG | 0600 };
	struct fuse_create_in tmp = { .mode = S_IFREG | 0600 };
	struct fuse_rename2_in white = { .newdir = ROOT, .flags = 4 };
	struct fuse_entry_out e;

	front_want(fuse_create(f, ROOT, "new", 0600, &e), -EOVERFLOW, "CREATE");
	front_want(fuse_mkdir(f, ROOT, "new", &e), -EOVERFLOW, "MKDIR");
	front_want(ask(f, FUSE_MKNOD, ROOT, &node, sizeof(node), "new", 4), -EOVERFLOW, "MKNOD");
	front_want(ask(f, FUSE_SYMLINK, ROOT, NULL, 0, "new\0to", 7), -EOVERFLOW, "SYMLINK");
	front_want(ask(f, FUSE_TMPFILE, ROOT, &tmp, sizeof(tmp), "/", 2), -EOVERFLOW, "TMPFILE");
	front_want(ask(f, FUSE_RENAME2, ROOT, &white, sizeof(white), "five\0six", 9), -EOVERFLOW,
		   "RENAME2 that leaves a whiteout");
	front_want(fuse_lookup(f, ROOT, "five", &e), 0, "lookup");
}

static void acl_owners(struct front *f, const char *dir)
{
	uint8_t acl[ACL_LEN], got[4096];
	struct fuse_entry_out e;
	char path[4200];
	size_t len = 0;

	front_want(fuse_lookup(f, ROOT, "five", &e), 0, "lookup");
	acl_of(acl, 5);
	front_want(set_xattr(f, e.nodeid, ACL_ACCESS, acl, sizeof(acl)), 0, "setxattr of an ACL");
	(void)snprintf(path, sizeof(path), "%s/five", dir);
	if (getxattr(path, ACL_ACCESS, got, sizeof(got)) != ACL_LEN)
		front_die("the host reads no ACL: %s", strerror(errno));
	if ((got[16] | got[17] << 8 | got[18] << 16) != (int)SHIFT + 5)
		front_die("the ACL names another user in the image");
	front_want(get_xattr(f, e.nodeid, ACL_ACCESS, got, &len), 0, "getxattr of an ACL");
	if (len != ACL_LEN || memcmp(got, acl, ACL_LEN) != 0)
		front_die("the guest reads another ACL than it wrote");
	acl[17] = 0x20; /* user 8197 */
	front_want(set_xattr(f, e.nodeid, ACL_ACCESS, acl, sizeof(acl)), -EINVAL,
		   "an ACL for a user without a number");
	front_want(set_xattr(f, e.nodeid, "security.capability", acl, 20), -EPERM, "capabilities");
	front_want(set_xattr(f, e.nodeid, "user.a", "b", 1), 0, "another attribute");
}

void owners(const char *socket, const char *dir)
{
	struct front f;

	front_begin(&f, socket);
	owned(&f, dir);
	f.uid = 1000;
	makes_nothing(&f);
	f.uid = 0;
	f.gid = 1000;
	makes_nothing(&f);
	f.gid = 0;
	acl_owners(&f, dir);
	front_close(&f);
}

/* ---- privileges ---- */

static void set_mode(struct front *f, uint64_t nodeid, uint32_t mode)
{
	struct fuse_setattr_in in = { .valid = FATTR_MODE, .mode = S_IFREG | mode };

	front_want(ask(f, FUSE_SETATTR, nodeid, &in, sizeof(in), NULL, 0), 0, "chmod");
}

static void expect_mode(const char *dir, const char *name, uint32_t mode, const char *after)
{
	struct stat st = host_stat(dir, name);

	if ((st.st_mode & 07777) != mode)
		front_die("%s: mode %o after %s, wanted %o", name, st.st_mode & 07777, after, mode);
}

static void killed(struct front *f, const char *dir)
{
	struct fuse_write_in write = { .size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID };
	struct fuse_setattr_in cut = { .valid = FATTR_SIZE | FATTR_KILL_SUIDGID };
	struct fuse_setattr_in give = { .valid = FATTR_UID | FATTR_KILL_SUIDGID, .uid = 3 };
	struct fuse_open_in open = { .flags = O_WRONLY | O_TRUNC,
				     .open_flags = FUSE_OPEN_KILL_SUIDGID };
	uint8_t capability[20] = { 0, 0, 0, 2, 1 };
	struct fuse_message m = { .opcode = FUSE_WRITE,
				  .args = &write,
				  .arg_len = sizeof(write),
				  .data = "x",
				  .data_len = 1,
				  .room = sizeof(struct fuse_write_out) };
	struct fuse_entry_out e;
	size_t len = 0;

	front_want(fuse_create(f, ROOT, "suid", 0755, &e), 0, "create");
	m.nodeid = e.nodeid;
	set_mode(f, e.nodeid, 06755);
	expect_mode(dir, "suid", 06755, "chmod");
	front_want(set_xattr(f, e.nodeid, "security.capability", capability, sizeof(capability)), 0,
		   "capabilities");
	front_want(fuse_call(f, 1, &m, NULL, NULL), 0, "write");
	expect_mode(dir, "suid", 0755, "a write");
	front_want(get_xattr(f, e.nodeid, "security.capability", capability, &len), -ENODATA,
		   "capabilities after a write");
	set_mode(f, e.nodeid, 06755);
	front_want(ask(f, FUSE_SETATTR, e.nodeid, &cut, sizeof(cut), NULL, 0), 0, "truncate");
	expect_mode(dir, "suid", 0755, "truncate");
	set_mode(f, e.nodeid, 06755);
	front_want(ask(f, FUSE_SETATTR, e.nodeid, &give, sizeof(give), NULL, 0), 0, "chown");
	expect_mode(dir, "suid", 0755, "chown");
	set_mode(f, e.nodeid, 06755);
	front_want(ask(f, FUSE_OPEN, e.nodeid, &open, sizeof(open), NULL, 0), 0, "open");
	expect_mode(dir, "suid", 0755, "open with O_TRUNC");
	/* Whom the guest's kernel trusts keeps them. */
	set_mode(f, e.nodeid, 06755);
	write.write_flags = 0;
	front_want(fuse_call(f, 1, &m, NULL, NULL), 0, "write");
	expect_mode(dir, "suid", 06755, "a write by root");
}

static void inherited(struct front *f, const char *dir)
{
	struct fuse_create_in in = { .flags = O_RDWR, .mode = S_IFREG | 0666, .umask = 077 };
	uint8_t acl[ACL_LEN], got[4096];
	struct fuse_entry_out e;
	char path[4200];

	front_want(fuse_mkdir(f, ROOT, "acl", &e), 0, "mkdir");
	acl_of(acl, 9);
	front_want(set_xattr(f, e.nodeid, ACL_DEFAULT, acl, sizeof(acl)), 0, "setxattr of an ACL");
	front_want(ask(f, FUSE_CREATE, e.nodeid, &in, sizeof(in), "file", 5), 0, "create");
	(void)snprintf(path, sizeof(path), "%s/acl/file", dir);
	if (getxattr(path, ACL_ACCESS, got, sizeof(got)) != ACL_LEN ||
	    memcmp(got, acl, ACL_LEN) != 0)
		front_die("the host does not see the inherited ACL");
	/* The umask counts only where nothing is inherited. */
	expect_mode(dir, "acl/file", 0664, "CREATE below a default ACL");
}

void privileges(const char *socket, const char *dir)
{
	struct front f;

	front_begin(&f, socket);
	killed(&f, dir);
	inherited(&f, dir);
	front_close(&f);
}

void no_xattrs(const char *socket)
{
	struct fuse_getxattr_in list = { .size = 100 };
	struct fuse_entry_out e;
	struct front f;
	size_t len;
	uint8_t got[4096];

	front_begin(&f, socket);
	front_want(fuse_create(&f, ROOT, "plain", 0600, &e), 0, "create");
	front_want(set_xattr(&f, e.nodeid, "user.a", "b", 1), -ENOSYS, "SETXATTR");
	front_want(get_xattr(&f, e.nodeid, "user.a", got, &len), -ENOSYS, "GETXATTR");
	front_want(ask(&f, FUSE_LISTXATTR, e.nodeid, &list, sizeof(list), NULL, 0), -ENOSYS,
		   "LISTXATTR");
	front_want(ask(&f, FUSE_REMOVEXATTR, e.nodeid, NULL, 0, "user.a", 7), -ENOSYS,
		   "REMOVEXATTR");
	front_close(&f);
}

/* ---- locks ---- */

static int flock_it(struct front *f, uint64_t nodeid, uint64_t owner, uint32_t type)
{
	struct fuse_lk_in in = { .owner = owner,
				 .lk = { .end = INT64_MAX, .type = type },
				 .lk_flags = FUSE_LK_FLOCK };

	return ask(f, FUSE_SETLK, nodeid, &in, sizeof(in), NULL, 0);
}

void flocks(const char *socket, const char *dir)
{
	struct fuse_release_in release = { .lock_owner = 1,
					   .release_flags = FUSE_RELEASE_FLOCK_UNLOCK };
	struct fuse_entry_out e, e2;
	struct front one, two;
	char path[4200];
	int fd;

	front_begin(&one, socket);
	front_begin(&two, socket);
	front_want(fuse_create(&one, ROOT, "flocked", 0600, &e), 0, "create");
	front_want(fuse_lookup(&two, ROOT, "flocked", &e2), 0, "lookup");
	(void)snprintf(path, sizeof(path), "%s/flocked", dir);
	fd = open(path, O_RDWR);
	if (fd < 0)
		front_die("%s: %s", path, strerror(errno));
	front_want(flock_it(&one, e.nodeid, 1, F_WRLCK), 0, "flock");
	front_want(flock_it(&two, e.nodeid, 1, F_RDLCK), -EAGAIN, "flock of the other guest");
	if (!flock(fd, LOCK_SH | LOCK_NB) || errno != EWOULDBLOCK)
		front_die("the host got a lock that a guest has");
	/* POSIX locks are others. */
	front_want(fuse_setlk(&two, e.nodeid, 1, F_WRLCK, false), 0, "POSIX lock beside it");
	front_want(ask(&one, FUSE_RELEASE, e.nodeid, &release, sizeof(release), NULL, 0), 0,
		   "release");
	if (flock(fd, LOCK_SH | LOCK_NB))
		front_die("the host gets no lock: %s", strerror(errno));
	front_want(flock_it(&one, e.nodeid, 1, F_RDLCK), 0, "shared flock beside the host's");
	front_want(flock_it(&two, e.nodeid, 1, F_WRLCK), -EAGAIN, "flock of what the host has");
	if (close(fd))
		front_die("close: %s", strerror(errno));
	front_close(&one); /* with its lock */
	for (int i = 0; flock_it(&two, e.nodeid, 1, F_WRLCK); i++) {
		if (i > FRONT_WAIT_MS / 10)
			front_die("the flock of a guest that has gone is still held");
		(void)usleep(10000);
	}
	front_close(&two);
}

/* ---- durability ---- */

void durable(const char *socket)
{
	struct fuse_entry_out e;
	uint64_t padding = 0;
	struct front f;

	front_begin(&f, socket);
	front_want(fuse_create(&f, ROOT, "durable", 0600, &e), 0, "create");
	front_want(fuse_write(&f, e.nodeid, 0, "safe", 4), 0, "write");
	front_want(ask(&f, FUSE_SYNCFS, ROOT, &padding, sizeof(padding), NULL, 0), 0, "syncfs");
	front_want(fuse_create(&f, ROOT, "lost", 0600, &e), 0, "create");
	front_close(&f);
}
