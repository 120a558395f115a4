/* SPDX-License-Identifier: GPL-3.0-only */
/* job.c: requests that may block on the store run on an executor. */
#include "fuse/front.h"

#include "base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct job *job_new(fuse_req_t req, fuse_ino_t id, const struct fuse_file_info *fi, job_fn_t *run)
{
	const struct fuse_ctx *caller = fuse_req_ctx(req);
	struct job *job = malloc(sizeof *job);

	if (!job) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	job->front = front_of(req);
	job->req = req;
	job->run = run;
	job->id = id;
	job->has_fi = fi != NULL;
	if (fi)
		job->fi = *fi;
	job->uid = caller->uid;
	job->gid = caller->gid;
	job->name[0] = job->new_name[0] = '\0';
	return job;
}

bool job_name(struct job *job, char to[NAME_BYTES_MAX + 1], const char *name)
{
	size_t len = strlen(name);

	if (len > NAME_BYTES_MAX) {
		fuse_reply_err(job->req, ENAMETOOLONG);
		free(job);
		return false;
	}
	memcpy(to, name, len + 1);
	return true;
}

static void job_run(void *arg)
{
	struct job *job = arg;

	job->run(job);
	free(job);
}

void job_start(struct job *job, struct executor *e)
{
	if (executor_run(e, job_run, job) < 0) {
		fuse_reply_err(job->req, ENOMEM);
		free(job);
	}
}

/* Answers that programs ask for and handle every day. */
static bool is_ordinary(int code)
{
	static const int codes[] = { ENOENT,       EEXIST, ENOTEMPTY, ENOTDIR, EISDIR,
		                     ENAMETOOLONG, EINVAL, ENODATA,   ERANGE,  EROFS };

	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		if (code == codes[i])
			return true;
	return false;
}

void job_fail(struct job *job, const char *what, int rc, const struct error *err)
{
	const char *name = job->name[0] ? job->name : NULL;

	if (!is_ordinary(-rc)) {
		const char *text = err && err->text[0] ? err->text : strerror(-rc);

		if (name)
			report_warning("%s \"%s\": %s", what, name, text);
		else
			report_warning("%s %016" PRIx64 ": %s", what, job->id, text);
	}
	fuse_reply_err(job->req, -rc);
}

void wait_done(void *arg, int64_t result)
{
	struct waiter *w = arg;

	pthread_mutex_lock(&w->mutex);
	w->result = result;
	w->answered = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

int64_t wait_result(struct waiter *w, int64_t returned)
{
	if (returned == -EINPROGRESS) {
		pthread_mutex_lock(&w->mutex);
		while (!w->answered)
			pthread_cond_wait(&w->cond, &w->mutex);
		pthread_mutex_unlock(&w->mutex);
		returned = w->result;
	}
	pthread_mutex_destroy(&w->mutex);
	pthread_cond_destroy(&w->cond);
	return returned;
}
