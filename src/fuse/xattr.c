/* SPDX-License-Identifier: GPL-3.0-only */
/* xattr.c: extended attributes that tell how the pool and its images do, and where the control socket is. They are made up
 * when asked for; none can be set. */
#include "fuse/front.h"

#include "ctl/ctl.h"
#include "ctl/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* getxattr(2) and listxattr(2) ask for the length with a size of 0. */
static void reply_value(fuse_req_t req, const char *value, size_t len, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, len);
}

static int print_status(struct job *job, FILE *out, struct error *err)
{
	struct engine_status engine = { 0 };
	struct image_status image = { 0 };
	struct node_attr attr;
	int rc = engine_getattr(job->front->engine, job->id, &attr, err);

	if (rc < 0)
		return rc;
	if (job->id == NODE_ROOT) {
		engine_status(job->front->engine, &engine);
		status_engine_json(out, &engine);
		return 0;
	}
	if (attr.type == NODE_DIRECTORY)
		return -ENODATA;
	rc = engine_image_status(job->front->engine, job->id, &image, err);
	if (rc == 0)
		status_image_json(out, &image);
	return rc;
}

static void run_status(struct job *job)
{
	struct error err = { 0 };
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int rc = out ? print_status(job, out, &err) : -ENOMEM;

	if (out && fclose(out) != 0 && rc == 0)
		rc = -ENOMEM;
	if (rc < 0)
		job_fail(job, "status of", rc, &err);
	else
		reply_value(job->req, text, len, job->size);
	free(text);
}

static void run_list(struct job *job)
{
	static const char names[] = CTL_XATTR_STATUS "\0" CTL_XATTR_SOCKET; /* the last NUL is the literal's */
	struct error err = { 0 };
	struct node_attr attr;
	size_t len = 0;
	int rc = engine_getattr(job->front->engine, job->id, &attr, &err);

	if (rc < 0) {
		job_fail(job, "listxattr", rc, &err);
		return;
	}
	if (job->id == NODE_ROOT)
		len = sizeof names;
	else if (attr.type == NODE_FILE)
		len = sizeof CTL_XATTR_STATUS;
	reply_value(job->req, names, len, job->size);
}

static void start(fuse_req_t req, fuse_ino_t ino, size_t size, job_fn_t *run)
{
	struct job *job = job_new(req, ino, NULL, run);

	if (!job)
		return;
	job->size = size;
	job_start(job, job->front->names);
}

/* The kernel asks for security.capability at every write through the page cache: other names are answered on the spot. The
 * socket is told for every file, so that a command given any path in the mount finds its daemon. */
void xattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	const char *path;

	if (strncmp(name, "user.garner.", 12) != 0) {
		fuse_reply_err(req, ENODATA);
	} else if (strcmp(name, CTL_XATTR_STATUS) == 0) {
		start(req, ino, size, run_status);
	} else if (strcmp(name, CTL_XATTR_SOCKET) == 0) {
		path = ctl_server_path(front_of(req)->ctl);
		reply_value(req, path, strlen(path), size);
	} else {
		fuse_reply_err(req, ENODATA);
	}
}

void xattr_list(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	start(req, ino, size, run_list);
}

void xattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	(void)ino;
	(void)name;
	(void)value;
	(void)size;
	(void)flags;
	fuse_reply_err(req, ENOTSUP);
}

void xattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino;
	(void)name;
	fuse_reply_err(req, ENOTSUP);
}
