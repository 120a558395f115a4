/* SPDX-License-Identifier: GPL-3.0-only */
/* names.c: finding, making, renaming and removing names, and their attributes. */
#include "fuse/front.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* What statfs(2) gives as the size of every store: none tells how much it can hold. */
#define STATFS_BYTES (1ull << 50)
#define STATFS_BLOCK 4096u

static void reply_entry(struct job *job, const char *what, int rc, const struct node_attr *attr,
                        const struct error *err)
{
	struct fuse_entry_param e;

	if (rc < 0) {
		job_fail(job, what, rc, err);
		return;
	}
	attr_to_entry(attr, &e);
	fuse_reply_entry(job->req, &e);
}

static void reply_done(struct job *job, const char *what, int rc, const struct error *err)
{
	if (rc < 0)
		job_fail(job, what, rc, err);
	else
		fuse_reply_err(job->req, 0);
}

/* Starts a job about one name in a directory. */
static void start_named(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, job_fn_t *run)
{
	struct job *job = job_new(req, parent, NULL, run);

	if (!job || !job_name(job, job->name, name))
		return;
	job->mode = mode;
	job_start(job, job->front->names);
}

/* ---- names ------------------------------------------------------------------------------------------------------- */

static void run_lookup(struct job *job)
{
	struct error err = { 0 };
	struct node_attr attr;
	int rc = engine_lookup(job->front->engine, job->id, job->name, &attr, &err);

	reply_entry(job, "lookup", rc, &attr, &err);
}

void names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	start_named(req, parent, name, 0, run_lookup);
}

static void run_make(struct job *job)
{
	enum node_type type = S_ISDIR(job->mode) ? NODE_DIRECTORY : NODE_FILE;
	struct error err = { 0 };
	struct node_attr attr;
	int rc = engine_create(job->front->engine, job->id, job->name, type, job->mode & 07777, job->uid, job->gid,
	                       &attr, &err);

	reply_entry(job, "create", rc, &attr, &err);
}

void names_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	start_named(req, parent, name, S_IFDIR | (mode & 07777), run_make);
}

void names_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	(void)rdev;
	if (S_ISREG(mode))
		start_named(req, parent, name, mode, run_make);
	else
		fuse_reply_err(req, EPERM);
}

/* EPERM is what POSIX has for a file system without links. */
void names_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	(void)parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

void names_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	(void)ino;
	(void)new_parent;
	(void)new_name;
	fuse_reply_err(req, EPERM);
}

static void run_unlink(struct job *job)
{
	struct error err = { 0 };

	reply_done(job, "unlink", engine_unlink(job->front->engine, job->id, job->name, &err), &err);
}

void names_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	start_named(req, parent, name, 0, run_unlink);
}

static void run_rmdir(struct job *job)
{
	struct error err = { 0 };

	reply_done(job, "rmdir", engine_rmdir(job->front->engine, job->id, job->name, &err), &err);
}

void names_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	start_named(req, parent, name, 0, run_rmdir);
}

static void run_rename(struct job *job)
{
	struct error err = { 0 };
	int rc = engine_rename(job->front->engine, job->id, job->name, job->new_id, job->new_name,
	                       job->flags & RENAME_NOREPLACE, &err);

	reply_done(job, "rename", rc, &err);
}

void names_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                  unsigned flags)
{
	struct job *job;

	if (flags & ~(unsigned)RENAME_NOREPLACE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	job = job_new(req, parent, NULL, run_rename);
	if (!job || !job_name(job, job->name, name) || !job_name(job, job->new_name, new_name))
		return;
	job->new_id = new_parent;
	job->flags = flags;
	job_start(job, job->front->names);
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static void reply_attr(fuse_req_t req, const struct node_attr *attr)
{
	struct stat st;

	attr_to_stat(attr, &st);
	fuse_reply_attr(req, &st, ATTR_TIMEOUT_S);
}

static void run_getattr(struct job *job)
{
	struct error err = { 0 };
	struct node_attr attr;
	int rc = engine_getattr(job->front->engine, job->id, &attr, &err);

	if (rc < 0)
		job_fail(job, "getattr", rc, &err);
	else
		reply_attr(job->req, &attr);
}

void names_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node_attr attr;
	struct job *job;

	/* The kernel asks between reads and writes of an open file. The engine has the answer at hand then. */
	if (fi && handle_of(fi)->flags & IMAGE_WRITE && engine_getattr(front_of(req)->engine, ino, &attr, NULL) == 0) {
		reply_attr(req, &attr);
		return;
	}
	job = job_new(req, ino, NULL, run_getattr);
	if (job)
		job_start(job, job->front->names);
}

static int set_size(struct image *image, uint64_t size, struct error *err)
{
	struct waiter w = WAITER_INIT;
	int64_t rc = wait_result(&w, image_resize(image, size, wait_done, &w));

	return rc < 0 ? error_set(err, (int)rc, "cannot set the size: %s", strerror((int)-rc)) : 0;
}

static int set_mtime(struct image *image, const struct job *job, struct error *err)
{
	const struct timespec *t = &job->attr.st_mtim;
	struct waiter w = WAITER_INIT;
	uint64_t ns;
	int64_t rc;

	if (job->to_set & FUSE_SET_ATTR_MTIME_NOW)
		ns = clock_wall_ns();
	else
		ns = t->tv_sec < 0 ? 0 : (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
	rc = wait_result(&w, image_set_mtime(image, ns, wait_done, &w));
	return rc < 0 ? error_set(err, (int)rc, "cannot set the time: %s", strerror((int)-rc)) : 0;
}

/* What is in the image's log: size and mtime. Opens the image where the caller has not. */
static int set_in_log(struct job *job, struct error *err)
{
	struct handle *h = job->has_fi && handle_of(&job->fi)->flags & IMAGE_WRITE ? handle_of(&job->fi) : NULL;
	struct image *image = h ? h->image : NULL;
	int rc = 0;

	if (!h)
		rc = image_open(job->front->engine, job->id, IMAGE_WRITE, &image, err);
	if (rc < 0)
		return rc;
	if (job->to_set & FUSE_SET_ATTR_SIZE)
		rc = set_size(image, (uint64_t)job->attr.st_size, err);
	if (rc == 0 && job->to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
		rc = set_mtime(image, job, err);
	if (h)
		atomic_store(&h->written, true);
	else
		image_close(image, IMAGE_WRITE);
	return rc;
}

/* What is in the catalog: mode and owner. `now` is what they are. */
static int set_in_catalog(struct job *job, const struct node_attr *now, struct error *err)
{
	struct node_attr attr = *now;
	unsigned mask = 0;

	if (job->to_set & FUSE_SET_ATTR_MODE) {
		attr.mode = job->attr.st_mode & 07777;
		mask |= ATTR_MODE;
	}
	if (job->to_set & FUSE_SET_ATTR_UID)
		attr.uid = job->attr.st_uid;
	if (job->to_set & FUSE_SET_ATTR_GID)
		attr.gid = job->attr.st_gid;
	if (job->to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		mask |= ATTR_OWNER;
	return mask ? engine_setattr(job->front->engine, job->id, mask, &attr, err) : 0;
}

static void run_setattr(struct job *job)
{
	const int log = FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW;
	struct engine *e = job->front->engine;
	struct error err = { 0 };
	struct node_attr attr;
	int rc = engine_getattr(e, job->id, &attr, &err);

	/* Times of directories and access times are not kept; asking for them is no error, else cp -a would fail. */
	if (rc == 0 && job->to_set & log && attr.type == NODE_FILE)
		rc = set_in_log(job, &err);
	if (rc == 0)
		rc = set_in_catalog(job, &attr, &err);
	if (rc == 0)
		rc = engine_getattr(e, job->id, &attr, &err);
	if (rc < 0)
		job_fail(job, "setattr", rc, &err);
	else
		reply_attr(job->req, &attr);
}

void names_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct job *job = job_new(req, ino, fi, run_setattr);

	if (!job)
		return;
	job->attr = *attr;
	job->to_set = to_set;
	/* A change that opens the image may wait for another host's lease. */
	job_start(job, to_set & (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME) ? job->front->opens : job->front->names);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static int add_allocated(void *arg, const struct image_status *status)
{
	uint64_t *used = arg;

	*used += status->allocated_bytes;
	return 0;
}

static void run_statfs(struct job *job)
{
	struct statvfs st = { 0 };
	uint64_t used = 0;
	int rc = engine_each_image(job->front->engine, add_allocated, &used);

	if (rc < 0) {
		job_fail(job, "statfs", rc, NULL);
		return;
	}
	if (used > STATFS_BYTES)
		used = STATFS_BYTES;
	st.f_bsize = st.f_frsize = STATFS_BLOCK;
	st.f_blocks = STATFS_BYTES / STATFS_BLOCK;
	st.f_bfree = st.f_bavail = (STATFS_BYTES - used) / STATFS_BLOCK;
	st.f_namemax = NAME_BYTES_MAX;
	fuse_reply_statfs(job->req, &st);
}

void names_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct job *job = job_new(req, ino, NULL, run_statfs);

	if (job)
		job_start(job, job->front->names);
}
