/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_commit.c: changes of a drive's index, in groups: what waits while a group is under way goes together next.
 *
 * Whoever finds the drive without a group under way makes one of all that wait, and carries it out for all.
 */
#include "node/drive.h"

#include <errno.h>
#include <stdio.h>

void drive_count(struct drive *d, const struct object_meta *meta, int sign)
{
	if (meta->flags & OBJECT_TOMBSTONE)
		atomic_fetch_add(&d->tombstones, sign);
	else
		atomic_fetch_add(&d->objects, sign);
	if (object_has_body(meta))
		atomic_fetch_add(&d->bytes, sign * (int64_t)meta->length);
}

static int sync_directories(struct drive *d, struct drive_ops *group)
{
	bool needed[OBJECT_DIRS] = { false };
	struct drive_op *op;

	TAILQ_FOREACH(op, group, link) {
		struct object_file_id id;
		if (op->kind != DRIVE_PUT)
			continue;
		object_file_id(op->entry.name, &op->entry.meta, &id);
		needed[object_file_dir(&id)] = true;
	}
	int rc = drive_sync_directories(d, needed);
	return rc < 0 ? drive_write_failed(d, rc, "syncing a directory") : 0;
}

static bool durable(const struct drive_ops *group)
{
	const struct drive_op *op;

	TAILQ_FOREACH(op, group, link)
		if (op->durable)
			return true;
	return false;
}

/* What one of the group does to the index. The error is the index's; what only this one is told is in its status. */
static int change(struct drive *d, struct drive_op *op, struct error *err)
{
	struct object_entry confirmed;
	int rc = object_index_get_changing(d->index, op->entry.name, &op->before, err);

	if (rc < 0)
		return rc;
	op->had = rc > 0;
	op->status = 0;
	if (op->kind == DRIVE_PUT)
		return object_index_put(d->index, &op->entry, err);
	if (!op->had || object_version_compare(op->before.meta.version, op->entry.meta.version) != 0) {
		op->status = -ENOENT;
		return 0;
	}
	if (op->kind == DRIVE_REMOVE)
		return object_index_remove(d->index, op->entry.name, err);
	if (op->before.meta.flags & (OBJECT_CONFIRMED | OBJECT_DAMAGED))
		return 0;
	confirmed = op->before;
	confirmed.meta.flags |= OBJECT_CONFIRMED;
	return object_index_put(d->index, &confirmed, err);
}

static void count_change(struct drive *d, const struct drive_op *op)
{
	if (op->status < 0 || op->kind == DRIVE_CONFIRM)
		return;
	if (op->had)
		drive_count(d, &op->before.meta, -1);
	if (op->kind == DRIVE_PUT)
		drive_count(d, &op->entry.meta, 1);
}

static int change_index(struct drive *d, struct drive_ops *group)
{
	struct error err = { 0 };
	struct drive_op *op;
	int rc = object_index_begin(d->index, durable(group), &err);

	if (rc < 0)
		return drive_index_failed(d, rc, &err);
	TAILQ_FOREACH(op, group, link)
		if (rc == 0)
			rc = change(d, op, &err);
	rc = object_index_end(d->index, rc, &err);
	if (rc < 0)
		return drive_index_failed(d, rc, &err);
	TAILQ_FOREACH(op, group, link)
		count_change(d, op);
	atomic_fetch_add(&d->groups, 1);
	return 0;
}

static void carry_out(struct drive *d, struct drive_ops *group)
{
	struct drive_op *op;
	int rc = drive_readable(d) ? sync_directories(d, group) : -EIO;

	if (rc == 0)
		rc = change_index(d, group);
	if (rc < 0)
		TAILQ_FOREACH(op, group, link)
			op->status = rc;
}

int drive_commit(struct drive *d, struct drive_op *op)
{
	op->done = false;
	pthread_mutex_lock(&d->mutex);
	TAILQ_INSERT_TAIL(&d->waiting, op, link);
	while (!op->done) {
		struct drive_ops group = TAILQ_HEAD_INITIALIZER(group);
		struct drive_op *o;

		if (d->busy) {
			pthread_cond_wait(&d->finished, &d->mutex);
			continue;
		}
		d->busy = true;
		TAILQ_CONCAT(&group, &d->waiting, link);
		pthread_mutex_unlock(&d->mutex);
		carry_out(d, &group);
		pthread_mutex_lock(&d->mutex);
		TAILQ_FOREACH(o, &group, link)
			o->done = true;
		d->busy = false;
		pthread_cond_broadcast(&d->finished);
	}
	int status = op->status;
	pthread_mutex_unlock(&d->mutex);
	return status;
}
