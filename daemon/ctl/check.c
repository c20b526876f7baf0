// SPDX-License-Identifier: GPL-2.0-only
/*
 * The check command: runs daemon/check on a thread of its own, whose priority is lowered
 * for good, and answers when it is done. The client's thread waits meanwhile, and stops
 * the check when its client has gone, when the server stops, or when somebody asks for
 * it with check_stop. One check at a time; anybody may look at its progress.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "daemon/base/log.h"
#include "daemon/base/stats.h"
#include "daemon/check/check.h"
#include "daemon/ctl/server.h"
#include "daemon/fs/fs.h"
#include "daemon/store/store.h"
#include "include/kfs/ctl_proto.h"

/* Between two looks at the client and the stop flags. */
#define WAIT_MS 50
/* What a finding costs in JSON beside its text, and the most that all may: half of a reply. */
#define FINDING_BYTES 120u
#define FINDINGS_BYTES_MAX (CTL_REPLY_BYTES_MAX / 2)

struct job {
	struct ctl_server *server;
	struct store *store;
	struct check_opts opts;
	struct check_result result;
	_Atomic bool stop, done; /* [atomic] */
	int ret;		 /* [written before done] */
};

static bool job_cancelled(void *arg)
{
	struct job *job = arg;

	return atomic_load(&job->stop) || atomic_load(&job->server->check.stop);
}

static void *job_main(void *arg)
{
	struct job *job = arg;

	job->ret = check_run(job->store, &job->opts, &job->server->check.progress, &job->result);
	atomic_store(&job->done, true);
	return NULL;
}

/* Has the client closed its end, or is the server stopping? */
static bool is_unwanted(const struct ctl_call *call)
{
	struct pollfd fds[2] = { { .fd = call->server->stop_fd, .events = POLLIN },
				 { .fd = call->client_fd, .events = POLLRDHUP } };

	if (poll(fds, 2, WAIT_MS) <= 0)
		return false;
	return fds[0].revents || (fds[1].revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static int run_job(struct ctl_call *call, struct job *job)
{
	pthread_t thread;
	int ret = -pthread_create(&thread, NULL, job_main, job);

	if (ret)
		return ret;
	while (!atomic_load(&job->done)) {
		if (is_unwanted(call))
			atomic_store(&job->stop, true);
	}
	pthread_join(thread, NULL);
	return job->ret;
}

static bool claim(struct ctl_server *server)
{
	bool mine;

	mutex_lock(&server->work);
	mine = !server->check.running && !server->stopping;
	if (mine) {
		server->check.running = true;
		server->check.started_ns = stats_now_ns();
		atomic_store(&server->check.stop, false);
		server->check.progress = (struct check_progress){ 0 };
	}
	mutex_unlock(&server->work);
	return mine;
}

static void release(struct ctl_server *server, const struct job *job, int ret)
{
	mutex_lock(&server->work);
	server->check.running = false;
	if (!ret) {
		server->check.last_at = time(NULL);
		server->check.last_findings = job->result.total;
	}
	mutex_unlock(&server->work);
}

static const char *state_name(int ret, const struct check_result *r)
{
	if (ret == -ECANCELED)
		return "cancelled";
	if (ret)
		return "incomplete";
	return r->total ? "damaged" : "clean";
}

/* In the order found, as many as fit the reply. */
static json_t *findings(const struct check_result *r)
{
	json_t *list = json_array();
	size_t bytes = 0;
	uint32_t k;

	for (k = 0; k < r->count; k++) {
		const struct check_finding *f = &r->findings[k];
		json_t *o;

		bytes += strlen(f->text) * 2 + FINDING_BYTES;
		if (bytes > FINDINGS_BYTES_MAX)
			break;
		o = json_object();
		ctl_put(o, "kind", json_string(f->kind));
		ctl_put(o, "text", ctl_text(f->text));
		if (f->ino)
			ctl_put_count(o, "ino", f->ino);
		if (f->pblk)
			ctl_put_count(o, "block", f->pblk);
		(void)json_array_append_new(list, o); /* memory: "found" counts it still */
	}
	return list;
}

static const char *why_incomplete(int ret)
{
	switch (ret) {
	case 0: return "";
	case -ECANCELED: return "it was stopped";
	case -ESTALE: return "too much changed meanwhile: give it more memory (--memory=)";
	case -EROFS: return "the journal is aborted: unmount and run e2fsck";
	case -EOPNOTSUPP: return "the journal was not replayed (norecovery)";
	default: return strerrordesc_np(-ret);
	}
}

static void describe(struct ctl_call *call, const struct job *job, int ret)
{
	const struct check_result *r = &job->result;
	const struct store *s = job->store;
	json_t *o = call->result;

	ctl_put(o, "state", json_string(state_name(ret, r)));
	ctl_put(o, "why", json_string(why_incomplete(ret)));
	ctl_put_count(o, "found", r->total);
	ctl_put(o, "findings", findings(r));
	ctl_put(o, "image", ctl_text(call->server->env.image));
	ctl_put_count(o, "inodes_used", r->inodes_used);
	ctl_put_count(o, "inodes", s->inodes_count);
	ctl_put_count(o, "directories", r->dirs);
	ctl_put_count(o, "blocks_used", r->blocks_used);
	ctl_put_count(o, "blocks", s->blocks_count);
	ctl_put_count(o, "read_bytes", r->bytes_read);
	ctl_put_count(o, "memory_bytes", r->memory_bytes + r->copies_bytes_max);
	ctl_put_count(o, "copies_bytes", r->copies_bytes_max);
	ctl_put_count(o, "restarts", r->restarts);
	ctl_put_count(o, "duration_ns", r->duration_ns);
}

int ctl_check(struct ctl_call *call)
{
	struct ctl_server *server = call->server;
	struct job job = { .server = server, .store = fs_store(server->env.fs) };
	int ret;

	job.opts = (struct check_opts){
		.copies_bytes_max = ctl_arg_count(call, "memory_bytes", 0),
		.rate_bytes = ctl_arg_count(call, "rate_bytes", 0),
		.idle = true,
		.cancelled = job_cancelled,
		.arg = &job,
	};
	if (!claim(server))
		return ctl_fail(call, -EBUSY, "check", "another one runs, or the mount is ending",
				"kfsctl check --stop");
	ret = run_job(call, &job);
	release(server, &job, ret);
	if (job.result.total)
		log_error("%s: a check found %llu problems: unmount and run e2fsck -f",
			  server->env.image, (unsigned long long)job.result.total);
	describe(call, &job, ret);
	check_result_fini(&job.result);
	return 0;
}

int ctl_check_stop(struct ctl_call *call)
{
	struct ctl_server *server = call->server;
	bool running;

	mutex_lock(&server->work);
	running = server->check.running;
	if (running)
		atomic_store(&server->check.stop, true);
	mutex_unlock(&server->work);
	if (!running)
		return ctl_fail(call, -EINVAL, "check", "none runs", "");
	return 0;
}

json_t *ctl_check_progress(struct ctl_server *server)
{
	struct check_progress *p = &server->check.progress;
	json_t *o = json_object();

	mutex_lock(&server->work);
	ctl_put(o, "running", json_boolean(server->check.running));
	if (server->check.running) {
		ctl_put_count(o, "pass", atomic_load(&p->pass));
		ctl_put_count(o, "percent", atomic_load(&p->percent));
		ctl_put_count(o, "found", atomic_load(&p->findings));
		ctl_put_count(o, "read_bytes", atomic_load(&p->bytes_read));
		ctl_put_count(o, "copies_bytes", atomic_load(&p->copies_bytes));
		ctl_put_count(o, "restarts", atomic_load(&p->restarts));
		ctl_put_count(o, "age_ns", stats_now_ns() - server->check.started_ns);
	}
	if (server->check.last_at) {
		ctl_put_count(o, "last_unix_seconds", (uint64_t)server->check.last_at);
		ctl_put_count(o, "last_found", server->check.last_findings);
	}
	mutex_unlock(&server->work);
	return o;
}

int ctl_check_status(struct ctl_call *call)
{
	json_t *progress = ctl_check_progress(call->server);

	(void)json_object_update(call->result, progress); /* memory: keys are absent then */
	json_decref(progress);
	return 0;
}
