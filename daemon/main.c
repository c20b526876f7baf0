/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kfs: puts the layers together and takes them apart again.
 *
 * Order up: words, background, image, privileges, store, bus, operations, mount. The
 * mount answers; then the register, the control socket, and the caller is told. Order
 * down is the reverse, and the image is closed whatever else went wrong.
 *
 * Signals are blocked in every thread and taken by one that does nothing else: SIGTERM and
 * SIGINT unmount, SIGHUP opens the log file anew.
 */
#include <cap-ng.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/log.h"
#include "daemon/base/rundir.h"
#include "daemon/block/bdev.h"
#include "daemon/bpf/bpf.h"
#include "daemon/bpf/pins.h"
#include "daemon/bpf/trace.h"
#include "daemon/ctl/ctl.h"
#include "daemon/daemonize.h"
#include "daemon/dev/dev.h"
#include "daemon/dev/unmounter.h"
#include "daemon/fs/fs.h"
#include "daemon/guest_words.h"
#include "daemon/guests.h"
#include "daemon/helper.h"
#include "daemon/image.h"
#include "daemon/inval/inval.h"
#include "daemon/options.h"
#include "daemon/precheck.h"
#include "daemon/proto/proto.h"
#include "daemon/sandbox.h"
#include "daemon/store/store.h"
#include "vhost/listen.h"

#define TIMEOUT_SHOWN_S 31536000.0 /* what proto takes for "default" */

struct daemon_ctx {
	struct options o;
	bool readonly; /* as effective */
	bool refused;  /* mounted, but not to stay */
	char *description, *kernel_words;
	char said[1024];     /* what who mounts is told when the mount answers */
	struct store *store; /* NULL once fs has it */
	struct inval_bus *bus;
	struct fs *fs;
	struct dev *dev;	 /* NULL: --no-mount */
	struct guests *guests;	 /* NULL: not yet */
	struct image *image;	 /* what guests take along; NULL: it stays */
	const char *device;	 /* the module's; NULL: /dev/fuse */
	struct bpf *bpf;	 /* NULL: the stock tier */
	char bpf_why[512];	 /* why it is that; or why it would be */
	const char *extents_why; /* why the kernel does not read files by itself; NULL: it does */
	char pins_id[16];	 /* of its pins, and the mount's */
	struct trace *trace;	 /* NULL without a mount */
	char sandbox_why[256];	 /* why it is not confined; empty: it is */
	int umount_fd;		 /* what umount(2) waits for, or -1 */
	struct rundir_entry *entry;
	struct ctl_server *ctl;
	sigset_t signals;
	pthread_t signal_thread;
	bool signal_thread_runs;
};

static int fail(int status, const char *what, const char *why)
{
	char line[1024];

	(void)snprintf(line, sizeof(line), "%s%s%s", what, *why ? ": " : "", why);
	log_debug("%s", line);
	daemonize_failed(status, line);
	return status;
}

/* ---- signals ---- */

static void reopen_log(const struct daemon_ctx *c)
{
	int err = c->o.log_path ? log_set_sink(LOG_SINK_FILE, c->o.log_path) : 0;

	if (err)
		log_error("%s: %s: the log goes on in the old file", c->o.log_path, strerror(-err));
}

static void *signal_loop(void *arg)
{
	struct daemon_ctx *c = arg;

	for (;;) {
		int sig = 0;

		if (sigwait(&c->signals, &sig))
			continue;
		switch (sig) {
		case SIGUSR1: return NULL; /* from stop_signals() */
		case SIGHUP: reopen_log(c); break;
		default:
			if (c->o.no_mount) {
				log_info("%s: signal %d: closing", c->o.image, sig);
				return NULL;
			}
			log_info("%s: signal %d: unmounting", c->o.mountpoint, sig);
			dev_stop(c->dev);
		}
	}
}

/* Before any thread, so that all of them inherit it. */
static void block_signals(struct daemon_ctx *c)
{
	/* Valid signals and sets: none of these can fail. */
	(void)sigemptyset(&c->signals);
	(void)sigaddset(&c->signals, SIGTERM);
	(void)sigaddset(&c->signals, SIGINT);
	(void)sigaddset(&c->signals, SIGHUP);
	(void)sigaddset(&c->signals, SIGUSR1);
	(void)pthread_sigmask(SIG_BLOCK, &c->signals, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static void start_signals(struct daemon_ctx *c)
{
	int err = pthread_create(&c->signal_thread, NULL, signal_loop, c);

	c->signal_thread_runs = !err;
	if (err)
		log_warn("no thread for signals: %s: unmount with umount", strerror(err));
}

static void stop_signals(struct daemon_ctx *c)
{
	if (!c->signal_thread_runs)
		return;
	(void)pthread_kill(c->signal_thread, SIGUSR1); /* it runs: it waits for just this */
	(void)pthread_join(c->signal_thread, NULL);
	c->signal_thread_runs = false;
}

/* ---- up ---- */

static enum log_sink log_sink_of(const struct daemon_ctx *c)
{
	bool to_stderr = c->o.foreground && !c->o.log_syslog;

	return c->o.log_path ? LOG_SINK_FILE : to_stderr ? LOG_SINK_STDERR : LOG_SINK_SYSLOG;
}

static int start_log(const struct daemon_ctx *c)
{
	enum log_sink sink = log_sink_of(c);
	int err;

	log_init("kfs", (enum log_level)c->o.log_level);
	err = log_set_sink(sink, c->o.log_path);
	if (err)
		return fail(EXIT_SYSTEM, c->o.log_path, strerror(-err));
	return EXIT_OK;
}

/*
 * What is left to a mount: mounting and unmounting, programs in the kernel, and the way to a mount
 * point in a private folder. To guests alone nothing: their ids and modes live in the image. The
 * image, the log and the device are open; nothing else of the host is touched.
 */
static void drop_privileges(const struct options *o)
{
	capng_type_t sets = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;

	if (geteuid() != 0)
		return;
	if (o->socket_group)
		listen_join(o->socket_group);
	capng_clear(CAPNG_SELECT_BOTH);
	if ((!o->no_mount &&
	     capng_updatev(CAPNG_ADD, sets, CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, -1)) ||
	    capng_apply(CAPNG_SELECT_BOTH))
		log_debug("capabilities are kept: %s", strerror(errno));
}

/*
 * errors=panic, from any thread with any lock: what the kernel does to a machine. Nothing is
 * flushed or committed; the mount point answers ENOTCONN.
 */
static void on_panic(void *arg)
{
	(void)arg;
	_exit(EXIT_SYSTEM);
}

static int open_store(struct daemon_ctx *c, bool bdev_readonly, int *ret_error,
		      struct store_open_error *err)
{
	struct bdev_open_opts how = { .readonly = bdev_readonly, .offset = c->o.offset };
	struct store_opts opts = options_store(&c->o);
	struct bdev *bdev;
	char why[512];

	opts.panic = on_panic;
	*ret_error = bdev_open_file(c->o.image, &how, &bdev);
	if (*ret_error == -EBUSY && precheck_wait_for_loop(c->o.image))
		*ret_error = bdev_open_file(c->o.image, &how, &bdev);
	if (*ret_error) {
		precheck_image_error(c->o.image, *ret_error, c->o.readonly == ON, why, sizeof(why));
		return fail(EXIT_MOUNT, why, "");
	}
	drop_privileges(&c->o);
	*ret_error = store_open(bdev, &opts, &c->store, err);
	return EXIT_OK;
}

/* Against what was asked for: whoever mounts is told, not the log alone. */
PRINTF_LIKE(2, 3) static void say(struct daemon_ctx *c, const char *fmt, ...)
{
	size_t len = strlen(c->said);
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap); /* cut lines stay lines */
	va_end(ap);
	log_warn("%s", line);
	/* The log is what they see. */
	if (log_sink_of(c) != LOG_SINK_STDERR)
		(void)snprintf(c->said + len, sizeof(c->said) - len, "%s%s", len ? "; " : "", line);
}

static void warn_readonly(struct daemon_ctx *c)
{
	say(c, "%s: mounted read-only: %s", c->o.image,
	    c->store->readonly_why ? c->store->readonly_why : "the store says so");
}

static int open_image(struct daemon_ctx *c)
{
	bool readonly = c->o.readonly == ON;
	struct store_open_error err = { 0 };
	char why[1024];
	int error, status;

	status = open_store(c, readonly, &error, &err);
	if (status)
		return status;
	/* As ext4 does: a read-only mount still replays the journal, where the medium lets it. */
	if (error == -EROFS && readonly && c->o.norecovery != ON && !access(c->o.image, W_OK)) {
		status = open_store(c, false, &error, &err);
		if (status)
			return status;
	}
	if (error) {
		(void)snprintf(why, sizeof(why), "%s: %s%s%s", c->o.image, err.what,
			       *err.remedy ? ": " : "", err.remedy);
		return fail(EXIT_MOUNT, why, "");
	}
	c->readonly = atomic_load(&c->store->readonly);
	if (c->readonly && !readonly)
		warn_readonly(c);
	return EXIT_OK;
}

static int clean_orphans(struct daemon_ctx *c)
{
	uint32_t cleaned = 0;
	int err = c->readonly ? 0 : store_orphan_cleanup(c->store, &cleaned);

	if (err)
		return fail(EXIT_MOUNT, c->o.image,
			    "files deleted before a crash cannot be removed: run e2fsck -f");
	if (cleaned)
		log_info("%s: %" PRIu32 " deleted files of before a crash removed", c->o.image,
			 cleaned);
	return EXIT_OK;
}

static struct fs_opts fs_opts(const struct options *o)
{
	return (struct fs_opts){
		.atime = (enum fs_atime)o->atime,
		.nodiratime = o->diratime == OFF,
		.lazytime = o->lazytime == ON,
		.posix_acl = o->acl != OFF,
	};
}

static int open_fs(struct daemon_ctx *c)
{
	struct fs_opts opts = fs_opts(&c->o);
	int err = inval_new(&c->bus);

	if (!err)
		err = fs_open_store(c->store, c->bus, &opts, &c->fs);
	if (err)
		return fail(EXIT_SYSTEM, c->o.image, strerror(-err));
	c->store = NULL; /* fs's from now on */
	return EXIT_OK;
}

/* ---- answers inside the kernel ---- */

static struct bpf_timeout bpf_timeout(double seconds)
{
	double s = seconds < 0 ? TIMEOUT_SHOWN_S : seconds;
	uint64_t whole = (uint64_t)s; /* options allow 0 to 1e9 */

	return (struct bpf_timeout){ .s = whole, .ns = (uint32_t)((s - (double)whole) * 1e9) };
}

/* The word that demands it. */
static const char *bpf_demand(const struct daemon_ctx *c)
{
	return c->o.bpf == ON ? "bpf=on" : "bpf_extents=on";
}

/* False: the mount fails, for BPF was demanded. */
static bool bpf_may_fail(struct daemon_ctx *c)
{
	if (c->o.bpf == ON || c->o.bpf_extents == ON)
		return false;
	log_info("%s: BPF is not used: %s", c->o.mountpoint, c->bpf_why);
	return true;
}

/* Whether the mount goes through the module's device. */
static int choose_tier(struct daemon_ctx *c)
{
	const char *missing = bpf_missing();

	if (c->o.bpf == OFF && c->o.bpf_extents == ON)
		return fail(EXIT_MOUNT, "bpf_extents=on", "contradicts bpf=off: leave one out");
	if (c->o.bpf == OFF) {
		(void)snprintf(c->bpf_why, sizeof(c->bpf_why), "bpf=off");
		return EXIT_OK;
	}
	if (!missing) {
		c->device = BPF_DEVICE;
		return EXIT_OK;
	}
	(void)snprintf(c->bpf_why, sizeof(c->bpf_why), "%s", missing);
	return bpf_may_fail(c) ? EXIT_OK : fail(EXIT_MOUNT, bpf_demand(c), missing);
}

/* Why the kernel is not to read files by itself; NULL: it may. */
static const char *extents_refused(const struct daemon_ctx *c)
{
	if (c->o.bpf_extents == OFF)
		return "bpf_extents=off";
	return bpf_image_refused(fs_store(c->fs)->bdev->fd);
}

static int load_bpf(struct daemon_ctx *c)
{
	const struct bdev *image = fs_store(c->fs)->bdev;
	struct bpf_opts opts = {
		.dev_fd = dev_fd(c->dev),
		.mib = c->o.bpf_mb ? c->o.bpf_mb : BPF_MB_DEFAULT,
		.entry = bpf_timeout(c->o.entry_timeout),
		.negative = bpf_timeout(c->o.negative_timeout),
		.attr = bpf_timeout(c->o.attr_timeout),
		.bus = c->bus,
		.image_fd = image->fd,
		.image_off = image->fd_offset,
		.extents_until_attr = c->o.atime == FS_ATIME_RELATIME && !c->readonly,
	};

	c->extents_why = extents_refused(c);
	opts.extents = !c->extents_why;
	if (c->extents_why && c->o.bpf_extents == ON)
		return fail(EXIT_MOUNT, "bpf_extents=on", c->extents_why);
	if (!bpf_load(&opts, &c->bpf, c->bpf_why, sizeof(c->bpf_why)) || bpf_may_fail(c))
		return EXIT_OK;
	return fail(EXIT_MOUNT, bpf_demand(c), c->bpf_why);
}

/* False: the mount is not to stay. */
static bool attach_bpf(struct daemon_ctx *c)
{
	if (!c->bpf)
		return true;
	if (!bpf_attach(c->bpf, c->pins_id, c->bpf_why, sizeof(c->bpf_why)))
		return true;
	if (bpf_may_fail(c))
		return true;
	(void)fail(EXIT_MOUNT, bpf_demand(c), c->bpf_why);
	return false;
}

/* Statistics are no reason to do without the mount. */
static void start_trace(struct daemon_ctx *c)
{
	struct trace_opts opts = { .mountpoint = c->o.mountpoint,
				   .id = c->pins_id,
				   .device = c->device };
	char why[512] = "no memory";

	if (trace_new(&opts, &c->trace) || c->o.kstats != ON ||
	    !trace_switch(c->trace, true, why, sizeof(why)))
		return;
	say(c, "%s: kstats=on: not counted: %s", c->o.mountpoint, why);
}

/* ---- confinement ---- */

/* A program that instruments itself does more than the list knows of. */
static const char *sandbox_refused(const struct daemon_ctx *c)
{
#ifdef KFS_SANITIZE
	if (c->o.sandbox != ON)
		return "a build with sanitizers";
#endif
	if (c->o.sandbox == UNSET && !c->o.vhost)
		return "mounts without guests are confined by sandbox=on only";
	return c->o.sandbox == OFF ? "sandbox=off" : NULL;
}

/* False: the mount fails, for it was demanded. */
static bool confine(struct daemon_ctx *c)
{
	const struct sandbox_needs needs = {
		.mount = c->dev,
		.uring = c->dev && c->o.uring != OFF,
		.bpf = c->dev && c->o.owner_is_root,
	};
	const char *refused = sandbox_refused(c);

	if (refused) {
		(void)snprintf(c->sandbox_why, sizeof(c->sandbox_why), "%s", refused);
		return true;
	}
	if (!sandbox_enter(&needs, c->sandbox_why, sizeof(c->sandbox_why)))
		return true;
	if (c->o.sandbox == ON) {
		(void)fail(EXIT_MOUNT, "sandbox=on", c->sandbox_why);
		return false;
	}
	log_warn("%s: not confined: %s", c->o.image, c->sandbox_why);
	return true;
}

/* An ordinary user unmounts by a program that nobody can start any more then. */
static int start_unmounter(const struct daemon_ctx *c)
{
	int err = 0;

	if (!c->o.no_mount && !c->o.fake && !c->o.owner_is_root && !sandbox_refused(c))
		err = unmounter_start(c->o.mountpoint);
	return err ? fail(EXIT_SYSTEM, "fork", strerror(-err)) : EXIT_OK;
}

/* Guests or a mount are served: tell everybody who waits for it. */
static void announce(struct daemon_ctx *c)
{
	struct rundir_what what = { .image = c->o.image,
				    .offset = c->o.offset,
				    .mountpoint = c->o.mountpoint };
	int err = rundir_register(&what, &c->entry);

	(void)snprintf(c->pins_id, sizeof(c->pins_id), "pid-%d", (int)getpid());
	if (c->entry)
		(void)snprintf(c->pins_id, sizeof(c->pins_id), "%s", rundir_id(c->entry));
	pins_sweep();
	if (!attach_bpf(c)) {
		c->refused = true;
		dev_stop(c->dev);
		return;
	}
	if (c->dev)
		start_trace(c);
	if (err) {
		log_warn("no runtime directory: %s: kfsctl will not find this mount",
			 strerror(-err));
	} else {
		struct ctl_env env = {
			.fs = c->fs,
			.bus = c->bus,
			.dev = c->dev,
			.bpf = c->bpf,
			.bpf_why = c->bpf_why,
			.trace = c->trace,
			.extents_why = c->extents_why,
			.guests = guest_words_told(&c->o, c->readonly),
			.id = rundir_id(c->entry),
			.image = c->o.image,
			.mountpoint = c->o.mountpoint,
			.socket_path = rundir_socket_path(c->entry),
			.version = KFS_VERSION,
			.options = c->description,
			.owner_uid = geteuid(),
			.sandbox_why = c->sandbox_why,
			.share_add = guests_share_add,
			.share_arg = c->guests,
			.share = c->o.share == ON,
			.held = c->image,
			.entry_timeout_s = c->o.entry_timeout < 0 ? TIMEOUT_SHOWN_S :
								    c->o.entry_timeout,
			.attr_timeout_s = c->o.attr_timeout < 0 ? TIMEOUT_SHOWN_S :
								  c->o.attr_timeout,
			.negative_timeout_s = c->o.negative_timeout < 0 ? TIMEOUT_SHOWN_S :
									  c->o.negative_timeout,
		};

		err = ctl_server_start(&env, &c->ctl);
		if (!err)
			image_attach_ctl(c->image, c->ctl);
		if (err)
			log_warn("%s: %s: kfsctl cannot talk to this mount", env.socket_path,
				 strerror(-err));
	}
	if (!confine(c)) {
		c->refused = true;
		if (c->dev)
			dev_stop(c->dev);
		return;
	}
	if (c->o.vhost)
		log_info("%s: guests may connect to %s", c->o.image, c->o.vhost);
	if (c->dev)
		log_info("%s: mounted at %s: %s", c->o.image, c->o.mountpoint, c->description);
	daemonize_ready(c->said);
}

/* The mount answers, or never will (on dev_run()'s thread). */
static void on_ready(void *arg, int error)
{
	struct daemon_ctx *c = arg;

	if (!error)
		announce(c);
	else
		(void)fail(EXIT_MOUNT, c->o.mountpoint,
			   error == -EPROTO ?
				   "the kernel's FUSE protocol is too old: Linux 5.4 is needed" :
				   strerror(-error));
}

static int mount_it(struct daemon_ctx *c)
{
	struct fs_session_opts session = { .name = "host",
					   .root_nodeid = 1,
					   .readonly = c->readonly };
	struct proto_opts proto = {
		.share = c->o.share == ON,
		.readonly = c->readonly,
		.posix_acl = c->o.acl != OFF,
		.dirsync = c->o.dirsync == ON || c->o.sync == ON,
		.no_readdirplus = c->o.readdirplus == OFF,
		.no_writeback = c->o.writeback == OFF,
		.drains = c->device != NULL,
		.max_write = (uint32_t)c->o.max_write,
		.max_readahead = (uint32_t)c->o.max_readahead,
		.max_background = (uint32_t)c->o.max_background,
		.request_timeout_s = (uint32_t)c->o.request_timeout_s,
		.entry_timeout = c->o.entry_timeout,
		.attr_timeout = c->o.attr_timeout,
		.negative_timeout = c->o.negative_timeout,
		.session = &session,
	};
	struct dev_opts dev = {
		.mountpoint = c->o.mountpoint,
		.source = c->o.fsname ? c->o.fsname : c->o.image,
		.threads_max = (uint32_t)c->o.threads_max,
		.clone_fd = c->o.clone_fd == ON,
		.device = c->device,
		.uring = c->o.uring == ON  ? DEV_URING_ON :
			 c->o.uring == OFF ? DEV_URING_OFF :
					     DEV_URING_AUTO,
		.proto = &proto,
		.on_ready = on_ready,
		.on_ready_arg = c,
	};
	char why[512];
	int err;

	c->kernel_words = options_kernel_words(&c->o, c->readonly);
	c->description = options_describe(&c->o, c->readonly);
	if (!c->kernel_words || !c->description)
		return fail(EXIT_SYSTEM, c->o.mountpoint, "out of memory");
	dev.mount_options = c->kernel_words;
	err = dev_mount(c->fs, c->bus, &dev, &c->dev, why, sizeof(why));
	if (err && dev.device && c->o.bpf != ON && c->o.bpf_extents != ON) {
		(void)snprintf(c->bpf_why, sizeof(c->bpf_why), "%s", why);
		log_info("%s: BPF is not used: %s", c->o.mountpoint, why);
		dev.device = NULL;
		err = dev_mount(c->fs, c->bus, &dev, &c->dev, why, sizeof(why));
	}
	if (err)
		return fail(EXIT_MOUNT, c->o.mountpoint, why);
	c->device = dev.device;
	return dev.device ? load_bpf(c) : EXIT_OK;
}

static int start_guests(struct daemon_ctx *c)
{
	struct guests_env env = {
		.fs = c->fs,
		.image = image_ops(c->image),
		.bus = c->bus,
		.o = &c->o,
		.readonly = c->readonly,
		.host = c->dev ? dev_session(c->dev) : NULL,
	};
	char why[512];

	if (guests_start(&env, &c->guests, why, sizeof(why)))
		return fail(EXIT_MOUNT, why, "");
	image_attach(c->image, c->guests);
	return EXIT_OK;
}

static int open_all(struct daemon_ctx *c)
{
	int status = open_image(c);

	if (!status)
		status = clean_orphans(c);
	if (!status)
		status = open_fs(c);
	return status;
}

/* What is open already, or will be opened for a guest, is the guests' to take along. */
static int lend_image(struct daemon_ctx *c)
{
	struct image_opts opts = { .o = &c->o, .fs_opts = fs_opts(&c->o), .panic = on_panic };
	int err = 0;

	if (c->o.handover != ON && c->o.incoming != ON)
		return EXIT_OK;
	if (!c->bus)
		err = inval_new(&c->bus);
	opts.bus = c->bus;
	opts.fs = c->fs;
	if (!err)
		err = image_new(&opts, &c->image);
	return err ? fail(EXIT_MOUNT, c->o.image, strerror(-err)) : EXIT_OK;
}

/* No mount point, no kernel to ask: the guests are all there is. */
static int bring_up_unmounted(struct daemon_ctx *c)
{
	int status = start_log(c);

	(void)snprintf(c->bpf_why, sizeof(c->bpf_why), "there is no mount");
	c->description = options_describe(&c->o, c->o.readonly == ON);
	if (!status && !c->description)
		status = fail(EXIT_SYSTEM, c->o.image, "out of memory");
	if (c->o.incoming == ON)
		drop_privileges(&c->o);
	else if (!status)
		status = open_all(c);
	if (!status)
		status = lend_image(c);
	if (!status)
		status = start_guests(c);
	return status;
}

static int bring_up(struct daemon_ctx *c)
{
	char why[512];
	int status = start_log(c);

	if (!status && precheck_mountpoint(c->o.mountpoint, c->o.nonempty == ON, why, sizeof(why)))
		status = fail(EXIT_MOUNT, why, "");
	if (!status)
		status = choose_tier(c);
	/* A mount for show opens nothing: replaying a journal would be a real change. */
	if (status || c->o.fake)
		return status;
	status = open_all(c);
	if (!status)
		status = mount_it(c);
	if (!status)
		status = lend_image(c);
	if (!status)
		status = start_guests(c);
	return status;
}

/* ---- down ---- */

static int take_down(struct daemon_ctx *c)
{
	bool served = c->guests;
	int err = 0;

	image_attach_ctl(c->image, NULL);
	ctl_server_stop(c->ctl);
	stop_signals(c);
	guests_stop(c->guests);
	if (c->image)
		c->fs = image_take(c->image);
	c->umount_fd = dev_take_umount(c->dev);
	dev_free(c->dev);
	unmounter_stop();
	bpf_free(c->bpf);
	trace_free(c->trace);
	if (c->fs)
		err = fs_close(c->fs);
	else if (c->store)
		err = store_close(c->store);
	if (c->bus)
		inval_free(c->bus);
	if (err)
		log_error("%s: closing: %s: run e2fsck -f", c->o.image, strerror(-err));
	else if (c->fs && (c->dev || served))
		log_info("%s: closed", c->o.image);
	/* The last thing: umount.fuse.kfs waits for it. */
	rundir_unregister(c->entry);
	if (c->umount_fd >= 0)
		(void)close(c->umount_fd); /* umount(2) returns */
	return err;
}

static int run(struct daemon_ctx *c)
{
	int status, err;

	err = daemonize_start(c->o.foreground);
	if (err)
		return fail(EXIT_SYSTEM, "fork", strerror(-err));
	block_signals(c);
	status = start_unmounter(c);
	if (!status)
		status = c->o.no_mount ? bring_up_unmounted(c) : bring_up(c);
	if (!status && c->o.no_mount) {
		announce(c);
		if (!c->refused)
			(void)signal_loop(c);
	} else if (!status && c->o.fake) {
		daemonize_ready("");
	} else if (!status) {
		start_signals(c);
		err = dev_run(c->dev);
		if (err) {
			log_error("%s: the mount ended: %s", c->o.mountpoint, strerror(-err));
			status = EXIT_MOUNT;
		}
	}
	if (!status && c->refused)
		status = EXIT_MOUNT;
	if (take_down(c) && !status)
		status = EXIT_SYSTEM;
	free(c->kernel_words);
	free(c->description);
	return status;
}

static const char *program_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? program_name(argv[0]) : "kfs";
	bool helper = !strcmp(name, "mount.fuse.kfs");
	struct daemon_ctx c = { 0 };
	struct options_error err;
	int status;

	if (!strcmp(name, "umount.fuse.kfs"))
		return umount_helper_main(argc, argv);
	status = options_parse(argc, argv, helper, &c.o, &err);
	if (status) {
		fprintf(stderr, "kfs: %s\n", err.text);
		return status;
	}
	if (c.o.help)
		options_usage(name);
	else if (c.o.version)
		printf("kfs %s\n", KFS_VERSION);
	else
		status = run(&c);
	options_fini(&c.o);
	return status;
}
