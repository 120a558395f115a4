/* SPDX-License-Identifier: GPL-3.0-only */
/* object_open.c: opening a storage node's drives together, and closing them. */
#include "node/object_store_private.h"

#include "base/report.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRITERS 4u
#define CHANGERS 16u /* each waits for a sync, which the disk does for several at once */
#define READERS 6u
#define LOOKERS 2u
#define THREADS_MAX 64u

struct opening {
	const struct object_store_options *options;
	struct object_store *s;
	struct drive_found *found;
	bool lost; /* something is missing that was once acknowledged */
	struct error *err;
};

/* ---- which directories there are ---- */

/* Whether the drive itself is broken, rather than what was asked of us. */
static bool is_drives_fault(int rc)
{
	return rc == -EIO || rc == -EROFS || rc == -ENOSPC || rc == -EDQUOT || rc == -ENXIO || rc == -ENODEV ||
	       rc == -ESTALE || rc == -EUCLEAN;
}

static int look_at_directories(struct opening *o)
{
	const struct object_store_options *options = o->options;

	for (size_t i = 0; i < options->drive_count; i++) {
		struct drive *d = &o->s->drive[i];
		int rc = drive_lock(d, o->s->disk, options->drives[i], o->err);
		o->s->drive_count = i + 1;
		if (rc < 0 && !is_drives_fault(rc))
			return rc;
		bool unusable = rc < 0;
		rc = drive_set_look(o->s->disk, options->drives[i], &o->found[i], o->err);
		if (rc < 0)
			return rc;
		o->found[i].unusable |= unusable;
		if (o->found[i].unusable)
			atomic_store(&d->state, DRIVE_FAILED);
	}
	return 0;
}

/* An empty directory becomes a drive. */
static int make_drive(struct opening *o, size_t i)
{
	struct drive_identity id = { .node = o->options->node_id };
	uint8_t random[DRIVE_ID_BYTES];

	randombytes_buf(random, sizeof random);
	sodium_bin2hex(id.drive, sizeof id.drive, random, sizeof random);
	snprintf(id.cluster, sizeof id.cluster, "%s", o->options->cluster_id);
	int rc = drive_identity_write(o->s->disk, o->options->drives[i], &id);
	if (rc < 0)
		return error_set(o->err, rc, "%s: %s", o->options->drives[i], strerror(-rc));
	o->found[i].id = id;
	o->found[i].empty = false;
	drive_list_set(&o->s->list, id.drive, false);
	return 0;
}

static int write_lists(struct opening *o)
{
	size_t written = 0;
	int rc = -EIO;

	for (size_t i = 0; i < o->s->drive_count; i++) {
		struct drive *d = &o->s->drive[i];
		if (atomic_load(&d->state) != DRIVE_OK)
			continue;
		rc = drive_list_write(o->s->disk, d->path, &o->s->list);
		if (rc == 0)
			written++;
		else
			error_set(o->err, rc, "%s: %s", d->path, strerror(-rc));
	}
	return written ? 0 : rc;
}

/* Decides which drives there are, and writes it down, before any of them holds an object. */
static int settle_drives(struct opening *o)
{
	const struct object_store_options *options = o->options;
	bool changed;
	int rc = drive_set_decide(o->found, options->drive_count, options->cluster_id, options->node_id, &o->s->list,
	                          &changed, o->err);

	for (size_t i = 0; rc == 0 && i < options->drive_count; i++) {
		if (!o->found[i].empty || o->found[i].unusable)
			continue;
		rc = make_drive(o, i);
		if (is_drives_fault(rc) && options->drive_count > 1) {
			atomic_store(&o->s->drive[i].state, DRIVE_FAILED);
			rc = 0;
		}
	}
	if (rc == 0 && changed)
		rc = write_lists(o);
	return rc;
}

/* ---- the drives ---- */

static int open_one(struct opening *o, size_t i)
{
	struct drive *d = &o->s->drive[i];
	struct drive_check check;
	int rc = drive_open(d, o->found[i].id.drive, o->options->reserve, &check, o->err);

	if (rc == 0 && atomic_load(&d->state) == DRIVE_FAILED)
		rc = error_set(o->err, -EIO, "drive %s fails", d->path);
	if (rc == 0 && check.damaged)
		o->lost = true;
	return rc;
}

static int open_drives(struct opening *o)
{
	struct object_store *s = o->s;
	uint32_t out = 0;
	size_t good = 0;

	for (size_t i = 0; i < s->drive_count; i++) {
		if (atomic_load(&s->drive[i].state) == DRIVE_FAILED)
			continue;
		int rc = open_one(o, i);
		if (rc < 0 && !is_drives_fault(rc))
			return rc;
		if (rc < 0) {
			report_error("drive %s is out of use: %s", s->drive[i].path, error_text(o->err));
			atomic_store(&s->drive[i].state, DRIVE_FAILED);
			out |= UINT32_C(1) << i;
		}
		good += rc == 0;
	}
	if (!good)
		return o->err && o->err->code ? o->err->code : -EIO;
	for (size_t i = 0; i < s->drive_count; i++)
		if (out & UINT32_C(1) << i) {
			atomic_fetch_add(&s->loss, 1);
			store_lost(s, o->found[i].id.drive);
		}
	return 0;
}

static void choose_node_dir(struct object_store *s)
{
	for (size_t i = 0; i < s->drive_count; i++)
		if (atomic_load(&s->drive[i].state) == DRIVE_OK) {
			snprintf(s->node_dir, sizeof s->node_dir, "%s/node", s->drive[i].path);
			return;
		}
}

/* ---- open and close ---- */

static int start_threads(struct object_store *s, unsigned threads)
{
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	s->writers = executor_new("obj-write", threads ? threads : WRITERS, false);
	s->changers = executor_new("obj-change", threads ? threads : CHANGERS, false);
	s->readers = executor_new("obj-read", threads ? threads : READERS, false);
	s->lookers = executor_new("obj-look", LOOKERS, false);
	s->scanners = executor_new("obj-scan", 1, false);
	return s->writers && s->changers && s->readers && s->lookers && s->scanners ? 0 : -EAGAIN;
}

static struct object_store *make_store(const struct object_store_options *options)
{
	struct object_store *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->drive = calloc(options->drive_count, sizeof *s->drive);
	if (!s->drive) {
		free(s);
		return NULL;
	}
	s->disk = options->disk ? options->disk : disk_posix();
	pthread_mutex_init(&s->mutex, NULL);
	pthread_mutex_init(&s->list_mutex, NULL);
	pthread_mutex_init(&s->floor_mutex, NULL);
	body_buffers_init(&s->buffers);
	pthread_cond_init(&s->quiet, NULL);
	for (size_t i = 0; i < OBJECT_LANES; i++)
		STAILQ_INIT(&s->lanes[i].waiting);
	return s;
}

static int check_options(const struct object_store_options *options, struct error *err)
{
	const char *id = options->cluster_id;

	if (options->drive_count < 1 || options->drive_count > OBJECT_STORE_DRIVES_MAX)
		return error_set(err, -EINVAL, "a storage node has 1 to %u drives", OBJECT_STORE_DRIVES_MAX);
	if (strlen(id) != OBJECT_CLUSTER_ID_TEXT - 1 || strspn(id, "0123456789abcdef") != OBJECT_CLUSTER_ID_TEXT - 1)
		return error_set(err, -EINVAL, "the id of a cluster is %u hex digits", OBJECT_CLUSTER_ID_TEXT - 1);
	if (options->node_id < 1 || options->node_id > UINT16_MAX)
		return error_set(err, -EINVAL, "the id of a node is 1 to %u", UINT16_MAX);
	return sodium_init() < 0 ? error_set(err, -ENOSYS, "libsodium cannot be used") : 0;
}

static int open_all(struct opening *o)
{
	struct object_store *s = o->s;
	int rc = look_at_directories(o);

	if (rc == 0)
		rc = settle_drives(o);
	if (rc < 0)
		return rc;
	s->floor = s->list.floor;
	atomic_store(&s->loss, 1);
	atomic_store(&s->recovered, s->list.state == OBJECT_STORE_COMPLETE);
	s->is_new = s->list.state == OBJECT_STORE_NEW;
	rc = open_drives(o);
	if (rc < 0)
		return rc;
	if (o->lost)
		store_lost(s, NULL);
	choose_node_dir(s);
	store_watch_drives(s);
	return start_threads(s, o->options->threads);
}

int object_store_open(const struct object_store_options *options, struct object_store **store, struct error *err)
{
	struct error own = { 0 };
	struct opening o = { .options = options, .err = err ? err : &own };
	int rc = check_options(options, err);

	if (rc < 0)
		return rc;
	o.s = make_store(options);
	o.found = calloc(options->drive_count, sizeof *o.found);
	rc = o.s && o.found ? open_all(&o) : -ENOMEM;
	free(o.found);
	if (rc < 0) {
		object_store_close(o.s);
		return rc;
	}
	if (err)
		*err = (struct error){ 0 };
	*store = o.s;
	return 0;
}

void object_store_close(struct object_store *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->mutex);
	while (s->under_way)
		pthread_cond_wait(&s->quiet, &s->mutex);
	pthread_mutex_unlock(&s->mutex);
	executor_free(s->scanners);
	executor_free(s->lookers);
	executor_free(s->readers);
	executor_free(s->writers);
	executor_free(s->changers);
	body_buffers_free(&s->buffers);
	for (size_t i = 0; i < s->drive_count; i++)
		drive_close(&s->drive[i]);
	pthread_cond_destroy(&s->quiet);
	pthread_mutex_destroy(&s->floor_mutex);
	pthread_mutex_destroy(&s->list_mutex);
	pthread_mutex_destroy(&s->mutex);
	free(s->drive);
	free(s);
}
