// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which mount a word means.
 *
 * In this order: an id; an image, by its path as registered; a path on a mount, by its letters against the kernel's
 * list of mounts; a mount point as registered; the same after resolving symbolic links; an image by device and inode
 * number. Nothing calls into a
 * kfs mount before its letters have been tried, because its daemon may hang and the call with it.
 */
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "ctl/kfsctl.h"
#include "ctl/mounts.h"

/* What a search found: several make an ambiguous word. */
struct found {
	const struct rundir_info *info;
	unsigned int count;
};

const char *mount_name(const struct rundir_info *info)
{
	return info->mountpoint ? info->mountpoint : info->image;
}

static void found_add(struct found *found, const struct rundir_info *info)
{
	found->info = info;
	found->count++;
}

/* Says that @what may mean each of the found ones, or each of all when @only is NULL. */
static int complain_ambiguous(const struct rundir_list *list, const char *what)
{
	size_t i;

	complain(what, "more than one mount", "name one of these by its id or mount point");
	for (i = 0; i < list->count; i++)
		fprintf(stderr, "  %s  %s  %s\n", list->entries[i].id,
			list->entries[i].mountpoint ? list->entries[i].mountpoint : "-",
			list->entries[i].image);
	return EXIT_FAILED;
}

/* The entry of the kernel's mount @m. */
static struct found find_mounted(const struct rundir_list *list, const struct mount *m)
{
	struct found exact = { .count = 0 }, same_image = { .count = 0 };
	size_t i;

	if (!m || strncmp(m->fstype, "fuse", 4) != 0)
		return exact;
	for (i = 0; i < list->count; i++) {
		const struct rundir_info *info = &list->entries[i];

		/* Another user's entry does not speak for this mount, whatever it claims. */
		if (m->has_owner && m->owner_uid != info->owner_uid)
			continue;
		if (info->mountpoint && strcmp(info->mountpoint, m->mountpoint) == 0)
			found_add(&exact, info);
		else if (strcmp(info->image, m->source) == 0)
			found_add(&same_image, info); /* a bind mount, or another name space */
	}
	return exact.count ? exact : same_image;
}

static bool is_mounted(const struct mount_list *mounts, const struct rundir_info *info)
{
	size_t i;

	for (i = 0; i < mounts->count; i++)
		if (info->mountpoint &&
		    strcmp(mounts->mounts[i].mountpoint, info->mountpoint) == 0 &&
		    strncmp(mounts->mounts[i].fstype, "fuse", 4) == 0)
			return true;
	return false;
}

static void info_drop(struct rundir_list *list, size_t at)
{
	struct rundir_list one = { .entries = malloc(sizeof(struct rundir_info)), .count = 1 };

	if (one.entries) {
		one.entries[0] = list->entries[at];
		rundir_list_fini(&one);
	}
	list->count--;
	memmove(list->entries + at, list->entries + at + 1,
		(list->count - at) * sizeof(*list->entries));
}

int mounts_load(struct rundir_list *ret_list)
{
	struct mount_list mounts;
	size_t i = 0;

	if (rundir_list(ret_list))
		return complain("list of mounts", "no memory", "");
	if (mount_list_load(&mounts)) {
		rundir_list_fini(ret_list);
		return complain("/proc/self/mountinfo", "cannot be read", "mount /proc");
	}
	while (i < ret_list->count) {
		if (ret_list->entries[i].alive || is_mounted(&mounts, &ret_list->entries[i]))
			i++;
		else
			info_drop(ret_list, i);
	}
	mount_list_fini(&mounts);
	return EXIT_DONE;
}

static struct found find_id(const struct rundir_list *list, const char *id)
{
	struct found found = { .count = 0 };
	size_t i;

	for (i = 0; i < list->count; i++)
		if (strcmp(list->entries[i].id, id) == 0)
			found_add(&found, &list->entries[i]);
	return found;
}

static struct found find_image(const struct rundir_list *list, const char *path)
{
	struct found found = { .count = 0 };
	size_t i;

	for (i = 0; i < list->count; i++)
		if (strcmp(list->entries[i].image, path) == 0)
			found_add(&found, &list->entries[i]);
	return found;
}

/*
 * A mount that is no longer in the kernel's list, or in another name space: its daemon still lives, perhaps just
 * because it is frozen.
 */
static struct found find_registered(const struct rundir_list *list, const char *path)
{
	struct found found = { .count = 0 };
	size_t i;

	for (i = 0; i < list->count; i++)
		if (list->entries[i].mountpoint && strcmp(list->entries[i].mountpoint, path) == 0)
			found_add(&found, &list->entries[i]);
	return found;
}

/* An image under another name: a hard link, a bind mount. */
static struct found find_same_file(const struct rundir_list *list, const char *path)
{
	struct found found = { .count = 0 };
	struct stat wanted, st;
	size_t i;

	if (stat(path, &wanted) < 0)
		return found;
	for (i = 0; i < list->count; i++)
		if (stat(list->entries[i].image, &st) == 0 && st.st_dev == wanted.st_dev &&
		    st.st_ino == wanted.st_ino)
			found_add(&found, &list->entries[i]);
	return found;
}

static struct found find_path(const struct rundir_list *list, const struct mount_list *mounts,
			      const char *cwd, const char *target)
{
	_cleanup_free_ char *path = path_normalise(cwd, target);
	_cleanup_free_ char *resolved = NULL;
	struct found found = { .count = 0 };

	if (!path)
		return found;
	found = find_image(list, path);
	if (!found.count)
		found = find_mounted(list, mount_list_find(mounts, path));
	if (found.count)
		return found;
	found = find_registered(list, path);
	if (found.count)
		return found;
	resolved = realpath(path, NULL);
	if (!resolved)
		return found;
	found = find_image(list, resolved);
	if (!found.count)
		found = find_mounted(list, mount_list_find(mounts, resolved));
	return found.count ? found : find_same_file(list, resolved);
}

static int find_default(const struct rundir_list *list, struct found found,
			const struct rundir_info **ret_info)
{
	if (found.count == 1)
		*ret_info = found.info;
	else if (list->count == 1)
		*ret_info = &list->entries[0];
	else if (list->count == 0)
		return complain("no mount", "there is no kfs mount on this host that you can see",
				"mount one: kfs IMAGE MOUNTPOINT");
	else
		return complain_ambiguous(list, "no TARGET");
	return EXIT_DONE;
}

int target_find(const struct rundir_list *list, const char *target,
		const struct rundir_info **ret_info)
{
	struct mount_list mounts;
	struct found found;
	char cwd[PATH_MAX];

	/* Deleted or unreachable: there is no mount to find by it. */
	if (!getcwd(cwd, sizeof(cwd)) || cwd[0] != '/')
		snprintf(cwd, sizeof(cwd), "/");
	if (mount_list_load(&mounts))
		return complain("/proc/self/mountinfo", "cannot be read", "mount /proc");
	if (!target) {
		found = find_mounted(list, mount_list_find(&mounts, cwd));
		mount_list_fini(&mounts);
		return find_default(list, found, ret_info);
	}
	found = find_id(list, target);
	if (!found.count)
		found = find_path(list, &mounts, cwd, target);
	mount_list_fini(&mounts);
	if (found.count > 1)
		return complain_ambiguous(list, target);
	if (!found.count)
		return complain(target, "neither on a kfs mount nor a mounted image or id",
				"'kfsctl list' shows what is mounted");
	*ret_info = found.info;
	return EXIT_DONE;
}

int target_find_holder(const struct rundir_list *list, const char *path,
		       const struct rundir_info **ret_info, char **ret_resolved)
{
	_cleanup_free_ char *resolved = NULL;
	struct mount_list mounts;
	struct found found;

	if (mount_list_load(&mounts))
		return complain("/proc/self/mountinfo", "cannot be read", "mount /proc");
	resolved = realpath(path, NULL);
	if (!resolved) {
		int error = errno;

		mount_list_fini(&mounts);
		/* ENOTCONN is what a mount says whose daemon was killed. */
		return complain(path, strerrordesc_np(error),
				error == ENOTCONN ? "unmount it and mount the image again" : "");
	}
	found = find_mounted(list, mount_list_find(&mounts, resolved));
	mount_list_fini(&mounts);
	if (!found.count)
		return complain(path, "is not on a kfs mount",
				"filefrag(8) is for other filesystems");
	if (found.count > 1)
		return complain_ambiguous(list, path);
	*ret_info = found.info;
	*ret_resolved = resolved;
	resolved = NULL;
	return EXIT_DONE;
}

/* @path with the links of all but its last name followed; NULL: it cannot be. */
static char *resolve_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	_cleanup_free_ char *resolved = folder ? realpath(folder, NULL) : NULL;
	char *joined = NULL;

	if (resolved && asprintf(&joined, "%s/%s", resolved[1] ? resolved : "", slash + 1) < 0)
		return NULL;
	return joined;
}

/* Where absolute @path is in the image of @m, which holds it; NULL: no memory. */
static char *inside_of(const struct mount *m, const char *path)
{
	const char *rest = path + (m->mountpoint[1] ? strlen(m->mountpoint) : 0);
	const char *root = m->root[1] ? m->root : "";
	char *inside;

	return asprintf(&inside, "%s%s", root, strcmp(rest, "/") ? rest : "") < 0 ? NULL : inside;
}

/* *ret_inside NULL: the letters lead to no mount, or to several. */
static struct found find_inside(const struct rundir_list *list, const struct mount_list *mounts,
				const char *path, char **ret_inside)
{
	const struct mount *m = mount_list_find(mounts, path);
	struct found found = find_mounted(list, m);

	*ret_inside = found.count == 1 ? inside_of(m, path) : NULL;
	return found;
}

static int find_by_letters(const struct rundir_list *list, const char *path,
			   struct found *ret_found, char **ret_inside)
{
	_cleanup_free_ char *absolute = NULL, *resolved = NULL;
	struct mount_list mounts;
	char cwd[PATH_MAX];

	if (!getcwd(cwd, sizeof(cwd)) || cwd[0] != '/')
		snprintf(cwd, sizeof(cwd), "/");
	if (mount_list_load(&mounts))
		return complain("/proc/self/mountinfo", "cannot be read", "mount /proc");
	absolute = path_normalise(cwd, path);
	if (absolute)
		*ret_found = find_inside(list, &mounts, absolute, ret_inside);
	if (absolute && !ret_found->count)
		resolved = resolve_folder(absolute);
	if (resolved)
		*ret_found = find_inside(list, &mounts, resolved, ret_inside);
	mount_list_fini(&mounts);
	return EXIT_DONE;
}

bool target_is_inside(const struct rundir_list *list, const char *path)
{
	_cleanup_free_ char *inside = NULL;
	struct found found = { .count = 0 };

	return !find_by_letters(list, path, &found, &inside) && inside && *inside;
}

int target_look_inside(const struct rundir_list *list, const char *path,
		       const struct rundir_info **ret_info, char **ret_inside)
{
	struct found found = { .count = 0 };
	char *inside = NULL;

	*ret_info = NULL;
	if (find_by_letters(list, path, &found, &inside))
		return EXIT_FAILED;
	if (!found.count)
		return EXIT_DONE;
	if (found.count > 1)
		return complain_ambiguous(list, path);
	if (!inside)
		return complain(path, "no memory", "");
	*ret_info = found.info;
	*ret_inside = inside;
	return EXIT_DONE;
}

int target_find_inside(const struct rundir_list *list, const char *path,
		       const struct rundir_info **ret_info, char **ret_inside)
{
	int ret = target_look_inside(list, path, ret_info, ret_inside);

	if (!ret && !*ret_info)
		ret = complain(path, "is not on a kfs mount",
			       "'kfsctl list' shows what is mounted");
	return ret;
}
