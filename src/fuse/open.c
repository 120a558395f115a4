/* SPDX-License-Identifier: GPL-3.0-only */
/* open.c: opening, creating and releasing files; which of them may keep the kernel's page cache. */
#include "fuse/front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* ---- the page cache ---------------------------------------------------------------------------------------------- */

/* Counts a handle in. Sets `*keep_cache`: whether what the kernel has of this image in its page cache is still true, which
 * it is unless somebody wrote around it. (What another host wrote shows as a new mtime or size, and makes the kernel drop
 * its pages by itself.) */
static int opened_enter(struct front *f, uint64_t id, struct handle *h, bool *keep_cache)
{
	bool writes_direct = h->direct && h->flags & IMAGE_WRITE;
	struct opened *fresh = calloc(1, sizeof *fresh), *o;
	int rc = fresh ? 0 : -ENOMEM;

	pthread_mutex_lock(&f->mutex);
	o = hash_get(f->opened, id);
	if (!o && fresh) {
		rc = hash_put(f->opened, id, fresh);
		if (rc == 0) {
			o = fresh;
			o->id = id;
			fresh = NULL;
		}
	}
	if (o) {
		rc = 0;
		h->opened = o;
		o->handles++;
		*keep_cache = !o->direct_writers && !o->direct_written;
		if (writes_direct) {
			o->direct_writers++;
			o->direct_written = true;
		} else if (!h->direct && !o->direct_writers) {
			o->direct_written = false; /* this open drops the pages */
		}
		TAILQ_INSERT_TAIL(&f->handles, h, link);
	}
	pthread_mutex_unlock(&f->mutex);
	free(fresh);
	return rc;
}

static void opened_leave(struct front *f, struct handle *h)
{
	struct opened *o = h->opened;
	bool last;

	pthread_mutex_lock(&f->mutex);
	TAILQ_REMOVE(&f->handles, h, link);
	if (h->direct && h->flags & IMAGE_WRITE)
		o->direct_writers--;
	last = --o->handles == 0 && !o->direct_written;
	if (last)
		hash_remove(f->opened, o->id);
	pthread_mutex_unlock(&f->mutex);
	if (last)
		free(o);
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

static void handle_close(struct front *f, struct handle *h)
{
	if (h->opened)
		opened_leave(f, h);
	image_close(h->image, h->flags);
	free(h);
}

static int truncate_image(struct image *image, struct error *err)
{
	struct waiter w = WAITER_INIT;
	int64_t rc = wait_result(&w, image_resize(image, 0, wait_done, &w));

	return rc < 0 ? error_set(err, (int)rc, "cannot cut to size 0: %s", strerror((int)-rc)) : 0;
}

/* Opens image `id` as open(2) flags say. May wait for the store and for another host's lease. */
static int handle_open(struct front *f, uint64_t id, int open_flags, struct handle **handle, bool *keep_cache,
                       struct error *err)
{
	struct handle *h = calloc(1, sizeof *h);
	int mode = open_flags & O_ACCMODE, rc;

	if (!h)
		return -ENOMEM;
	h->flags = mode == O_RDONLY ? IMAGE_READ : mode == O_WRONLY ? IMAGE_WRITE : IMAGE_READ | IMAGE_WRITE;
	h->direct = open_flags & O_DIRECT;
	h->sync = open_flags & (O_SYNC | O_DSYNC);
	rc = image_open(f->engine, id, h->flags, &h->image, err);
	if (rc < 0) {
		free(h);
		return rc;
	}
	if (open_flags & O_TRUNC && h->flags & IMAGE_WRITE) {
		rc = truncate_image(h->image, err);
		atomic_store(&h->written, true);
	}
	if (rc == 0)
		rc = opened_enter(f, id, h, keep_cache);
	if (rc < 0) {
		handle_close(f, h);
		return rc;
	}
	*handle = h;
	return 0;
}

void handles_end(struct front *f)
{
	struct handle *h;
	struct opened *o;
	size_t cursor = 0;
	uint64_t id;

	while ((h = TAILQ_FIRST(&f->handles)))
		handle_close(f, h);
	while ((o = hash_next(f->opened, &cursor, &id))) {
		hash_remove(f->opened, id);
		free(o);
	}
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void run_open(struct job *job)
{
	struct error err = { 0 };
	struct handle *h;
	bool keep_cache;
	int rc = handle_open(job->front, job->id, job->fi.flags, &h, &keep_cache, &err);

	/* What the kernel was told of an image that was not open may be older than what opening found. */
	if (rc == 0)
		fuse_lowlevel_notify_inval_inode(job->front->session, job->id, -1, 0);
	if (rc < 0)
		job_fail(job, "open", rc, &err);
	else if (reply_open(job->req, h, keep_cache) < 0)
		handle_close(job->front, h); /* interrupted: no release will come */
}

void open_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct job *job = job_new(req, ino, fi, run_open);

	if (job)
		job_start(job, job->front->opens);
}

static void run_create(struct job *job)
{
	struct error err = { 0 };
	struct node_attr attr;
	struct handle *h;
	bool keep_cache;
	int rc;

	rc = engine_create(job->front->engine, job->id, job->name, NODE_FILE, job->mode & 07777, job->uid, job->gid,
	                   &attr, &err);
	/* Another host was faster. ESTALE makes the kernel look again and open what is there, with its permissions checked. */
	if (rc == -EEXIST && !(job->fi.flags & O_EXCL)) {
		fuse_reply_err(job->req, ESTALE);
		return;
	}
	if (rc == 0)
		rc = handle_open(job->front, attr.id, job->fi.flags & ~O_TRUNC, &h, &keep_cache, &err);
	if (rc < 0)
		job_fail(job, "create", rc, &err);
	else if (reply_create(job->req, &attr, h, keep_cache) < 0)
		handle_close(job->front, h);
}

void open_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct job *job = job_new(req, parent, fi, run_create);

	if (!job || !job_name(job, job->name, name))
		return;
	job->mode = mode;
	job_start(job, job->front->opens);
}

void open_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	handle_close(front_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}
