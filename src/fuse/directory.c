/* SPDX-License-Identifier: GPL-3.0-only */
/* directory.c: reading directories. An open directory is a list as of the last time it was read from its beginning. */
#include "fuse/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DOTS 2 /* "." and "..", which the engine does not list */

struct listing_entry {
	struct node_attr attr;
	char *name;
};

struct listing {
	size_t count, room;
	struct listing_entry *entry;
};

struct directory {
	/* The kernel reads a descriptor one call at a time, but says so nowhere. */
	pthread_mutex_t mutex; /* guards `list` */
	struct listing *list;  /* NULL until read */
};

static struct directory *directory_of(const struct fuse_file_info *fi)
{
	return (struct directory *)(uintptr_t)fi->fh;
}

static void listing_free(struct listing *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->count; i++)
		free(l->entry[i].name);
	free(l->entry);
	free(l);
}

static int listing_add(void *arg, const char *name, const struct node_attr *attr)
{
	struct listing *l = arg;

	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 32;
		void *grown = reallocarray(l->entry, room, sizeof l->entry[0]);

		if (!grown)
			return -ENOMEM;
		l->entry = grown;
		l->room = room;
	}
	l->entry[l->count].attr = *attr;
	l->entry[l->count].name = strdup(name);
	if (!l->entry[l->count].name)
		return -ENOMEM;
	l->count++;
	return 0;
}

static int listing_read(struct engine *e, uint64_t dir, struct listing **list, struct error *err)
{
	struct listing *l = calloc(1, sizeof *l);
	int rc;

	if (!l)
		return -ENOMEM;
	rc = engine_list(e, dir, listing_add, l, err);
	if (rc < 0) {
		listing_free(l);
		return rc;
	}
	*list = l;
	return 0;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

struct packer {
	struct job *job;
	bool plus;
	char *buf;
	size_t used;
};

/* Adds an entry whose successor is at offset `next`. Returns false when it does not fit. */
static bool pack(struct packer *p, const char *name, const struct fuse_entry_param *e, off_t next)
{
	size_t left = p->job->size - p->used, n;

	if (p->plus)
		n = fuse_add_direntry_plus(p->job->req, p->buf + p->used, left, name, e, next);
	else
		n = fuse_add_direntry(p->job->req, p->buf + p->used, left, name, &e->attr, next);
	if (n > left)
		return false;
	p->used += n;
	return true;
}

static bool pack_dot(struct packer *p, size_t i)
{
	struct fuse_entry_param e = { 0 }; /* ino 0: the kernel looks at the name only */

	e.attr.st_ino = i == 0 ? p->job->id : NODE_ROOT;
	e.attr.st_mode = S_IFDIR;
	return pack(p, i == 0 ? "." : "..", &e, (off_t)i + 1);
}

/* With attributes, these must be as of this request: the kernel takes them for newer than what it knows from before, and an
 * old size would cut off a file that grew since. The list is that new only when it was read just now. */
static bool pack_entry(struct packer *p, const struct listing_entry *l, bool fresh, off_t next)
{
	struct node_attr attr = l->attr;
	struct fuse_entry_param e;

	if (p->plus && !fresh && engine_getattr(p->job->front->engine, attr.id, &attr, NULL) < 0)
		attr = l->attr, attr.nlink = 0;
	attr_to_entry(&attr, &e);
	if (attr.nlink == 0)
		e.ino = 0; /* gone meanwhile, or not readable: a name without a node, which the kernel looks up if it is used */
	return pack(p, l->name, &e, next);
}

static void pack_all(struct packer *p, const struct listing *l, bool fresh)
{
	for (size_t i = (size_t)p->job->offset; i < l->count + DOTS; i++)
		if (i < DOTS ? !pack_dot(p, i) : !pack_entry(p, &l->entry[i - DOTS], fresh, (off_t)i + 1))
			break;
}

static void read_entries(struct job *job, bool plus)
{
	struct directory *d = directory_of(&job->fi);
	struct packer p = { job, plus, NULL, 0 };
	struct listing *list = NULL, *old = NULL;
	struct error err = { 0 };
	bool fresh;
	int rc;

	pthread_mutex_lock(&d->mutex);
	fresh = job->offset == 0 || !d->list;
	pthread_mutex_unlock(&d->mutex);
	p.buf = malloc(job->size ? job->size : 1);
	rc = p.buf ? 0 : -ENOMEM;
	if (rc == 0 && fresh)
		rc = listing_read(job->front->engine, job->id, &list, &err);
	if (rc < 0) {
		job_fail(job, "readdir", rc, &err);
		free(p.buf);
		return;
	}
	pthread_mutex_lock(&d->mutex);
	if (list) {
		old = d->list;
		d->list = list;
	}
	pack_all(&p, d->list, fresh);
	pthread_mutex_unlock(&d->mutex);
	fuse_reply_buf(job->req, p.buf, p.used);
	listing_free(old);
	free(p.buf);
}

static void run_read(struct job *job)
{
	read_entries(job, false);
}

static void run_read_plus(struct job *job)
{
	read_entries(job, true);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void start_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi, job_fn_t *run)
{
	struct job *job;

	if (off < 0 || size > IO_BYTES_MAX) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	job = job_new(req, ino, fi, run);
	if (!job)
		return;
	job->size = size;
	job->offset = off;
	job_start(job, job->front->names);
}

void directory_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	start_read(req, ino, size, off, fi, run_read);
}

void directory_read_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	start_read(req, ino, size, off, fi, run_read_plus);
}

static void directory_free(struct directory *d)
{
	listing_free(d->list);
	pthread_mutex_destroy(&d->mutex);
	free(d);
}

void directory_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct directory *d = calloc(1, sizeof *d);

	(void)ino;
	if (!d) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_init(&d->mutex, NULL);
	fi->fh = (uintptr_t)d;
	if (fuse_reply_open(req, fi) < 0)
		directory_free(d);
}

void directory_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	directory_free(directory_of(fi));
	fuse_reply_err(req, 0);
}

/* Names are in the store by the time their change is answered. */
void directory_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, 0);
}
