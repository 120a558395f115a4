/* SPDX-License-Identifier: GPL-3.0-only */
/* object_read.c: reads of objects, verified; and what becomes of a copy that is damaged.
 *
 * A file is found by the index, and may have been replaced before it is opened: then the index is asked again. A file that is open
 * stays readable, and never changes.
 */
#include "node/object_store_private.h"

#include "base/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 100 /* an object that is replaced faster than it can be opened */

/* ---- one copy ---- */

static int check_is_it(const struct object_header *h, const struct object_entry *entry, struct error *err)
{
	const struct object_meta *a = &h->entry.meta, *b = &entry->meta;

	if (strcmp(h->entry.name, entry->name) == 0 && object_version_compare(a->version, b->version) == 0 &&
	    a->length == b->length && ((a->flags ^ b->flags) & OBJECT_FLAGS_FILE) == 0 &&
	    memcmp(a->digest, b->digest, OBJECT_DIGEST_BYTES) == 0)
		return 0;
	return error_set(err, -EBADMSG, "object file: it is not the object that the index tells of");
}

/* Opens the file of the entry and reads its header. Returns the descriptor. -ENOENT: it is not there. */
static int open_copy(struct drive *d, const struct object_entry *entry, struct object_header *h, struct error *err)
{
	char path[DRIVE_FILE_PATH];
	int fd, rc;

	drive_object_path(d, entry->name, &entry->meta, path);
	fd = disk_open(d->disk, path, O_RDONLY, 0);
	if (fd < 0)
		return error_set(err, fd, "object file: %s", strerror(-fd));
	rc = object_file_read_header(d->disk, fd, h, err);
	if (rc == 0)
		rc = check_is_it(h, entry, err);
	if (rc == 0)
		return fd;
	disk_close(d->disk, fd);
	return rc;
}

/* Whether the error may pass, and says nothing of the copy. */
static bool says_nothing(int rc)
{
	return rc == -ENOMEM || rc == -ENOBUFS || rc == -EMFILE || rc == -ENFILE || rc == -EINTR;
}

/* A copy could not be read: whether it is the drive or the copy, it counts as damaged. */
static int read_failed(struct drive *d, int rc)
{
	if (rc == -EBADMSG || says_nothing(rc))
		return rc;
	drive_read_failed(d);
	return drive_readable(d) ? -EBADMSG : -EIO;
}

struct range {
	uint64_t offset;
	size_t len;
	bool sums; /* verify these too */
	uint8_t *bytes;
	object_admit_fn *admit; /* or NULL */
	void *admit_arg;
};

/* Cuts the range at the end of the body, and makes room for it. */
static int fit(struct range *r, uint64_t length, bool wanted)
{
	if (r->offset > length)
		r->offset = length;
	if (r->len > length - r->offset)
		r->len = (size_t)(length - r->offset);
	r->bytes = NULL;
	if (wanted && r->len && r->admit && !r->admit(r->admit_arg, r->len))
		return -ENOBUFS;
	r->bytes = wanted && r->len ? malloc(r->len) : NULL;
	return wanted && r->len && !r->bytes ? -ENOMEM : 0;
}

/* Reads what is wanted of one copy. -ENOENT: there is no file. */
static int read_copy(struct drive *d, const struct object_entry *entry, struct range *r, bool wanted)
{
	struct object_header h;
	struct error err = { 0 };
	int fd = open_copy(d, entry, &h, &err), rc;

	if (fd < 0)
		return fd == -ENOENT ? fd : read_failed(d, fd);
	rc = fit(r, entry->meta.length, wanted);
	if (r->sums)
		disk_drop_pages(fd); /* what the drive has counts, not what was read before */
	if (rc == 0 && r->len == entry->meta.length)
		rc = object_file_read_all(d->disk, fd, &h, r->bytes, r->sums, &err);
	else if (rc == 0)
		rc = object_file_read_range(d->disk, fd, &h, r->offset, r->len, r->bytes, &err);
	if (r->sums)
		disk_drop_pages(fd);
	disk_close(d->disk, fd);
	if (rc == 0)
		return 0;
	free(r->bytes);
	r->bytes = NULL;
	return read_failed(d, rc);
}

/* ---- a damaged copy ---- */

/* With the lane: the copy is what the index tells of, and damaged. A file that says so takes its place, so that its version is not
 * forgotten; then it is moved aside. */
static void move_aside(struct object_store *s, struct drive *d, const struct object_entry *entry)
{
	struct drive_op op = { .kind = DRIVE_PUT, .entry = *entry };
	char path[DRIVE_FILE_PATH];

	op.entry.meta.flags = (entry->meta.flags & OBJECT_FLAGS_FILE) | OBJECT_DAMAGED;
	if (entry->meta.flags & OBJECT_TOMBSTONE) {
		/* All of a tombstone is in the index: its file is made anew. */
		drive_object_path(d, entry->name, &entry->meta, path);
		drive_quarantine(d, path);
		op.entry.meta.flags = entry->meta.flags & OBJECT_FLAGS_FILE;
	}
	if (atomic_load(&d->state) != DRIVE_OK || drive_place_bare(d, &op.entry) < 0 || drive_commit(d, &op) < 0)
		return;
	atomic_fetch_add(&s->damaged, 1);
	report_warning("drive %s: the copy of %s was damaged, and is in the directory quarantine now", d->path,
	               entry->name);
	if (entry->meta.flags & OBJECT_TOMBSTONE)
		return;
	drive_object_path(d, entry->name, &entry->meta, path);
	drive_quarantine(d, path);
}

struct aside {
	struct object_store *s;
	struct drive *drive;
	struct object_entry entry;
	struct lane_wait wait;
	pthread_mutex_t mutex; /* guards done */
	pthread_cond_t cond;
	bool done;
};

static void aside_with_lane(void *arg)
{
	struct aside *a = arg;
	struct object_store *s = a->s;
	struct lookup found;

	if (store_lookup(s, a->entry.name, &found) == 0 && found.drive == a->drive &&
	    object_version_compare(found.entry.meta.version, a->entry.meta.version) == 0 &&
	    ((found.entry.meta.flags ^ a->entry.meta.flags) & OBJECT_FLAGS_FILE) == 0)
		move_aside(s, a->drive, &found.entry);
	lane_leave(s, a->entry.name);
	pthread_mutex_lock(&a->mutex);
	a->done = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mutex);
}

/* Waits for the lane, and until it is done: on a reader's or the scrub's thread, which no holder of a lane waits for. */
static void put_aside(struct object_store *s, struct drive *d, const struct object_entry *entry)
{
	struct aside a = { .s = s, .drive = d, .entry = *entry };

	a.wait.go = aside_with_lane;
	a.wait.arg = &a;
	pthread_mutex_init(&a.mutex, NULL);
	pthread_cond_init(&a.cond, NULL);
	if (lane_enter(s, entry->name, &a.wait))
		aside_with_lane(&a);
	pthread_mutex_lock(&a.mutex);
	while (!a.done)
		pthread_cond_wait(&a.cond, &a.mutex);
	pthread_mutex_unlock(&a.mutex);
	pthread_cond_destroy(&a.cond);
	pthread_mutex_destroy(&a.mutex);
}

/* ---- reading ---- */

/* The current copy, as it is found in the index. -ENOENT when there is none that has a body; -EBADMSG when it is known as damaged. */
static int find_copy(struct object_store *s, const char *name, struct lookup *found)
{
	int rc = store_lookup(s, name, found);

	if (rc < 0)
		return rc;
	if (!found->drive)
		return -ENOENT;
	return found->entry.meta.flags & OBJECT_DAMAGED ? -EBADMSG : 0;
}

static bool same_copy(const struct lookup *a, const struct lookup *b)
{
	return a->drive == b->drive && object_version_compare(a->entry.meta.version, b->entry.meta.version) == 0 &&
	       ((a->entry.meta.flags ^ b->entry.meta.flags) & OBJECT_FLAGS_FILE) == 0;
}

/* Reads the current copy. One that has no file is asked for again: when it is still the current one, it is damaged. */
static int read_current(struct object_store *s, const char *name, struct range *r, bool wanted, bool tombstones,
                        struct object_meta *meta)
{
	struct lookup found, before = { 0 };
	const struct range asked = *r;

	for (int i = 0; i < TRIES; i++) {
		int rc = find_copy(s, name, &found);
		if (rc == 0 || rc == -EBADMSG)
			*meta = found.entry.meta;
		if (rc == 0 && found.entry.meta.flags & OBJECT_TOMBSTONE && !tombstones)
			rc = -ENOENT;
		if (rc < 0)
			return rc;
		*r = asked;
		rc = read_copy(found.drive, &found.entry, r, wanted);
		if (rc == -ENOENT && !same_copy(&found, &before)) {
			before = found;
			continue;
		}
		if (rc != -EBADMSG && rc != -ENOENT)
			return rc;
		put_aside(s, found.drive, &found.entry);
		return -EBADMSG;
	}
	return -EBUSY;
}

static int read_admitted(struct object_store *s, const char *name, struct range *r, struct object_meta *meta,
                         void **bytes, size_t *got)
{
	int rc = read_current(s, name, r, true, false, meta);

	*bytes = rc == 0 ? r->bytes : NULL;
	*got = rc == 0 ? r->len : 0;
	return rc;
}

int store_read(struct object_store *s, const char *name, uint64_t offset, size_t len, struct object_meta *meta,
               void **bytes, size_t *got)
{
	struct range r = { .offset = offset, .len = len };

	return read_admitted(s, name, &r, meta, bytes, got);
}

int store_verify(struct object_store *s, const char *name, struct object_meta *meta)
{
	struct range r = { .offset = 0, .len = SIZE_MAX, .sums = true };

	return read_current(s, name, &r, false, true, meta);
}

struct read_job {
	struct object_store *s;
	object_admit_fn *admit;
	object_read_fn *done;
	void *arg;
	uint64_t offset;
	size_t len;
	char name[OBJECT_NAME_MAX + 1];
};

static void read_run(void *arg)
{
	struct read_job *job = arg;
	struct object_store *s = job->s;
	struct object_meta meta = { 0 };
	void *bytes;
	size_t got;
	struct range r = { .offset = job->offset, .len = job->len, .admit = job->admit, .admit_arg = job->arg };
	int rc = read_admitted(s, job->name, &r, &meta, &bytes, &got);

	if (rc == 0)
		atomic_fetch_add(&s->reads, 1);
	job->done(job->arg, rc, rc == 0 || rc == -EBADMSG ? &meta : NULL, bytes, got);
	free(job);
	store_leave(s);
}

void object_store_read(struct object_store *s, const char *name, uint64_t offset, size_t len, object_read_fn *done,
                       void *arg)
{
	object_store_read_admitted(s, name, offset, len, NULL, done, arg);
}

void object_store_read_admitted(struct object_store *s, const char *name, uint64_t offset, size_t len,
                                object_admit_fn *admit, object_read_fn *done, void *arg)
{
	struct read_job *job = object_name_valid(name) ? malloc(sizeof *job) : NULL;

	if (!job) {
		done(arg, object_name_valid(name) ? -ENOMEM : -EINVAL, NULL, NULL, 0);
		return;
	}
	*job = (struct read_job){ .s = s, .admit = admit, .done = done, .arg = arg, .offset = offset, .len = len };
	memcpy(job->name, name, strlen(name) + 1);
	store_enter(s);
	store_run(s->readers, read_run, job);
}
