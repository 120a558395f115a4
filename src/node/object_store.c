/* SPDX-License-Identifier: GPL-3.0-only */
/* object_store.c: the objects of one storage node: its drives together, lookups, lanes, and what is visible. */
#include "node/object_store_private.h"

#include "base/bytes.h"
#include "base/report.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- operations ---- */

void store_enter(struct object_store *s)
{
	pthread_mutex_lock(&s->mutex);
	s->under_way++;
	pthread_mutex_unlock(&s->mutex);
}

void store_leave(struct object_store *s)
{
	pthread_mutex_lock(&s->mutex);
	assert(s->under_way > 0);
	if (--s->under_way == 0)
		pthread_cond_broadcast(&s->quiet);
	pthread_mutex_unlock(&s->mutex);
}

void store_run(struct executor *e, job_fn *job, void *arg)
{
	if (executor_run(e, job, arg) < 0)
		job(arg);
}

static struct lane *lane_of(struct object_store *s, const char *name)
{
	uint8_t hash[OBJECT_HASH_BYTES];

	object_name_hash(name, hash);
	return &s->lanes[get_le64(hash) % OBJECT_LANES];
}

bool lane_enter(struct object_store *s, const char *name, struct lane_wait *wait)
{
	struct lane *lane = lane_of(s, name);

	pthread_mutex_lock(&s->mutex);
	bool mine = !lane->taken;
	if (mine)
		lane->taken = true;
	else
		STAILQ_INSERT_TAIL(&lane->waiting, wait, link);
	pthread_mutex_unlock(&s->mutex);
	return mine;
}

void lane_leave(struct object_store *s, const char *name)
{
	struct lane *lane = lane_of(s, name);
	struct lane_wait *next;

	pthread_mutex_lock(&s->mutex);
	assert(lane->taken);
	next = STAILQ_FIRST(&lane->waiting);
	if (next)
		STAILQ_REMOVE_HEAD(&lane->waiting, link);
	else
		lane->taken = false;
	pthread_mutex_unlock(&s->mutex);
	if (next)
		store_run(s->changers, next->go, next->arg);
}

/* ---- which drives there are ---- */

/* Writes the list to every drive that works. A drive that fails at that is found out about again with the list locked: by
 * its state only, so that the next list leaves it out. */
static int write_list(struct object_store *s)
{
	int written = 0, rc = -EIO;

	for (size_t i = 0; i < s->drive_count; i++) {
		struct drive *d = &s->drive[i];
		if (!d->index || atomic_load(&d->state) != DRIVE_OK)
			continue;
		int one = drive_list_write(d->disk, d->path, &s->list);
		if (one < 0)
			rc = one;
		else
			written++;
	}
	return written ? 0 : rc;
}

void store_lost(struct object_store *s, const char *drive_out)
{
	/* First of all: an answer that lacks something must not count as a vote. Of a drive that failed, it has grown already. */
	if (!drive_out)
		atomic_fetch_add(&s->loss, 1);
	pthread_mutex_lock(&s->list_mutex);
	if (drive_out)
		drive_list_set(&s->list, drive_out, true);
	s->list.state = OBJECT_STORE_LOST;
	s->list.generation++;
	if (write_list(s) < 0)
		report_error("no drive of this node can keep that it lost data: it is not known after the next start");
	pthread_mutex_unlock(&s->list_mutex);
}

static void watch_drive(void *arg, struct drive *d, enum drive_state state)
{
	/* After a damaged index its objects are there again at the next start, which finds the damage by itself. */
	if (state == DRIVE_FAILED)
		store_lost(arg, d->id);
}

void store_watch_drives(struct object_store *s)
{
	for (size_t i = 0; i < s->drive_count; i++) {
		s->drive[i].watch = watch_drive;
		s->drive[i].watch_arg = s;
		s->drive[i].loss = &s->loss;
	}
}

enum object_store_state object_store_state(struct object_store *s, uint64_t *loss)
{
	uint64_t number = atomic_load(&s->loss);

	if (loss)
		*loss = number;
	if (number == atomic_load(&s->recovered))
		return OBJECT_STORE_COMPLETE;
	return s->is_new && number == 1 ? OBJECT_STORE_NEW : OBJECT_STORE_LOST;
}

int object_store_recovered(struct object_store *s, uint64_t loss)
{
	enum object_store_state before;
	int rc = -EAGAIN;

	for (size_t i = 0; i < s->drive_count; i++)
		if (atomic_load(&s->drive[i].state) == DRIVE_INDEX_DAMAGED)
			return -EAGAIN; /* it comes back as it was, and what was pulled may have gone elsewhere */
	pthread_mutex_lock(&s->list_mutex);
	if (atomic_load(&s->loss) == loss) {
		before = s->list.state;
		s->list.state = OBJECT_STORE_COMPLETE;
		s->list.generation++;
		rc = write_list(s);
		if (rc == 0)
			atomic_store(&s->recovered, loss);
		else
			s->list.state = before;
	}
	pthread_mutex_unlock(&s->list_mutex);
	/* A loss meanwhile is a higher number, and writes the list again after this. */
	return rc == 0 && atomic_load(&s->loss) != loss ? -EAGAIN : rc;
}

struct object_version object_store_floor(struct object_store *s)
{
	struct object_version floor;

	pthread_mutex_lock(&s->floor_mutex);
	floor = s->floor;
	pthread_mutex_unlock(&s->floor_mutex);
	return floor;
}

int object_store_raise_floor(struct object_store *s, struct object_version floor)
{
	int rc = 0;

	pthread_mutex_lock(&s->list_mutex);
	if (object_version_compare(floor, s->list.floor) > 0) {
		struct object_version before = s->list.floor;
		s->list.floor = floor;
		s->list.generation++;
		rc = write_list(s);
		if (rc < 0)
			s->list.floor = before;
	}
	if (rc == 0) {
		pthread_mutex_lock(&s->floor_mutex);
		s->floor = s->list.floor;
		pthread_mutex_unlock(&s->floor_mutex);
	}
	pthread_mutex_unlock(&s->list_mutex);
	return rc;
}

const char *object_store_node_dir(struct object_store *s)
{
	return s->node_dir;
}

/* ---- looking ---- */

static void take_entry(struct lookup *found, struct drive *d, const struct object_entry *entry)
{
	if (!found->drive || object_precedence(&entry->meta, &found->entry.meta) > 0) {
		if (found->drive) {
			found->other[found->count].drive = found->drive;
			found->other[found->count++].entry = found->entry;
		}
		found->drive = d;
		found->entry = *entry;
	} else {
		found->other[found->count].drive = d;
		found->other[found->count++].entry = *entry;
	}
}

static int look_at_drives(struct object_store *s, const char *name, struct lookup *found)
{
	bool any = false;

	found->drive = NULL;
	found->count = 0;
	for (size_t i = 0; i < s->drive_count; i++) {
		struct drive *d = &s->drive[i];
		struct object_entry entry;
		struct error err = { 0 };
		int rc = drive_readable(d) ? object_index_get(d->index, name, &entry, &err) : 0;
		if (rc < 0) {
			rc = drive_index_failed(d, rc, &err);
			if (drive_readable(d)) /* memory was short: nothing is known */
				return rc;
			continue;
		}
		any |= drive_readable(d);
		if (rc > 0)
			take_entry(found, d, &entry);
	}
	return any ? 0 : -EIO;
}

int store_lookup(struct object_store *s, const char *name, struct lookup *found)
{
	uint64_t moves;
	int rc;

	do {
		moves = atomic_load(&s->moves);
		rc = look_at_drives(s, name, found);
	} while (rc == 0 && atomic_load(&s->moves) != moves);
	return rc;
}

struct look_job {
	struct object_store *s;
	object_look_fn *done;
	void *arg;
	char name[OBJECT_NAME_MAX + 1];
};

static void look_run(void *arg)
{
	struct look_job *job = arg;
	struct object_store *s = job->s;
	struct lookup found;
	int rc = store_lookup(s, job->name, &found);

	if (rc == 0 && !found.drive)
		rc = -ENOENT;
	job->done(job->arg, rc, rc == 0 ? &found.entry.meta : NULL);
	free(job);
	store_leave(s);
}

void object_store_look(struct object_store *s, const char *name, object_look_fn *done, void *arg)
{
	struct look_job *job = object_name_valid(name) ? malloc(sizeof *job) : NULL;

	if (!job) {
		done(arg, object_name_valid(name) ? -ENOMEM : -EINVAL, NULL);
		return;
	}
	*job = (struct look_job){ .s = s, .done = done, .arg = arg };
	memcpy(job->name, name, strlen(name) + 1);
	store_enter(s);
	store_run(s->lookers, look_run, job);
}

/* ---- placing ---- */

uint32_t store_drive_bit(const struct object_store *s, const struct drive *d)
{
	return UINT32_C(1) << (d - s->drive);
}

/* -ln(x) of x in (0, 1), near enough to share out objects by: without libm. */
static double minus_ln(double x)
{
	int halvings = 0;
	double z, power, sum = 0;

	while (x < 0.5) {
		x *= 2;
		halvings++;
	}
	z = power = (x - 1) / (x + 1); /* the series of the area tangent: |z| <= 1/3 */
	for (int i = 1; i < 24; i += 2) {
		sum += power / i;
		power *= z * z;
	}
	return halvings * 0.6931471805599453 - 2 * sum;
}

/* The drive with the highest score takes the object: a drive more or less moves no object between the others. */
static double score(struct drive *d, const char *name)
{
	uint8_t seed[8], hash[16];
	crypto_generichash_state state;
	double weight = (double)(atomic_load(&d->capacity) >> 20) + 1;

	put_le64(seed, d->seed);
	crypto_generichash_init(&state, NULL, 0, sizeof hash);
	crypto_generichash_update(&state, seed, sizeof seed);
	crypto_generichash_update(&state, (const uint8_t *)name, strlen(name));
	crypto_generichash_final(&state, hash, sizeof hash);
	double unit = ((double)(get_le64(hash) >> 11) + 0.5) / 9007199254740992.0;
	return weight / minus_ln(unit);
}

struct drive *store_place(struct object_store *s, const char *name, uint64_t bytes, bool tombstone, uint32_t tried,
                          int *rc)
{
	struct drive *best = NULL;
	double best_score = 0;

	*rc = -EIO;
	for (size_t i = 0; i < s->drive_count; i++) {
		struct drive *d = &s->drive[i];
		int state = atomic_load(&d->state);
		if (state == DRIVE_READ_ONLY && *rc == -EIO)
			*rc = -EROFS;
		if (tried & store_drive_bit(s, d))
			continue;
		if (!drive_takes(d, bytes, tombstone)) {
			if (state == DRIVE_OK)
				*rc = -ENOSPC;
			continue;
		}
		double its = s->drive_count > 1 ? score(d, name) : 1;
		if (!best || its > best_score) {
			best = d;
			best_score = its;
		}
	}
	return best;
}

bool object_store_takes(struct object_store *s, uint64_t bytes)
{
	for (size_t i = 0; i < s->drive_count; i++)
		if (drive_takes(&s->drive[i], bytes, false))
			return true;
	return false;
}

/* ---- confirm ---- */

struct done_job {
	struct object_store *s;
	object_done_fn *done;
	void *arg;
	struct lane_wait wait;
	struct drive_op op;
};

static struct done_job *done_job_new(struct object_store *s, const char *name, struct object_version version,
                                     object_done_fn *done, void *arg)
{
	struct done_job *job = object_name_valid(name) ? calloc(1, sizeof *job) : NULL;

	if (!job) {
		if (done)
			done(arg, object_name_valid(name) ? -ENOMEM : -EINVAL);
		return NULL;
	}
	job->s = s;
	job->done = done;
	job->arg = arg;
	memcpy(job->op.entry.name, name, strlen(name) + 1);
	job->op.entry.meta.version = version;
	store_enter(s);
	return job;
}

static void done_job_end(struct done_job *job, int rc)
{
	struct object_store *s = job->s;

	if (job->done)
		job->done(job->arg, rc);
	free(job);
	store_leave(s);
}

static void confirm_run(void *arg)
{
	struct done_job *job = arg;
	struct lookup found;
	int rc = store_lookup(job->s, job->op.entry.name, &found);

	if (rc == 0 &&
	    (!found.drive || object_version_compare(found.entry.meta.version, job->op.entry.meta.version) != 0))
		rc = -ENOENT;
	if (rc == 0 && !(found.entry.meta.flags & OBJECT_CONFIRMED)) {
		job->op.kind = DRIVE_CONFIRM;
		rc = drive_commit(found.drive, &job->op);
	}
	done_job_end(job, rc);
}

void object_store_confirm(struct object_store *s, const char *name, struct object_version version, object_done_fn *done,
                          void *arg)
{
	struct done_job *job = done_job_new(s, name, version, done, arg);

	if (job)
		store_run(s->changers, confirm_run, job);
}

/* ---- forget ---- */

/* Whether every drive is there and can be changed: another may have an older version. */
static bool all_writable(struct object_store *s)
{
	for (size_t i = 0; i < s->drive_count; i++)
		if (atomic_load(&s->drive[i].state) != DRIVE_OK)
			return false;
	return true;
}

/* First the row, durably, then the file: a row without a file would count as damage. */
static int forget_on(struct done_job *job, struct drive *d, const struct object_entry *entry)
{
	char path[DRIVE_FILE_PATH];
	int rc;

	job->op.kind = DRIVE_REMOVE;
	job->op.durable = true;
	job->op.entry = *entry;
	rc = drive_commit(d, &job->op);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	drive_unlink_object(d, entry->name, &entry->meta);
	drive_object_path(d, entry->name, &entry->meta, path);
	*strrchr(path, '/') = '\0';
	rc = disk_sync_dir(d->disk, path);
	return rc < 0 ? drive_write_failed(d, rc, "syncing a directory") : 0;
}

/* With the lane. */
static void forget_run(void *arg)
{
	struct done_job *job = arg;
	struct object_store *s = job->s;
	struct object_entry wanted = job->op.entry;
	struct lookup found;
	int rc = all_writable(s) ? store_lookup(s, wanted.name, &found) : -EROFS;

	if (rc == 0 && (!found.drive || object_version_compare(found.entry.meta.version, wanted.meta.version) != 0))
		rc = -ENOENT;
	if (rc == 0 && found.entry.meta.flags & OBJECT_TOMBSTONE)
		rc = object_store_raise_floor(s, wanted.meta.version);
	/* What is older first, so that it does not come to light. */
	for (size_t i = 0; rc == 0 && i < found.count; i++)
		rc = forget_on(job, found.other[i].drive, &found.other[i].entry);
	if (rc == 0)
		rc = forget_on(job, found.drive, &found.entry);
	lane_leave(s, wanted.name);
	done_job_end(job, rc);
}

static void forget_begin(void *arg)
{
	struct done_job *job = arg;

	if (lane_enter(job->s, job->op.entry.name, &job->wait))
		forget_run(job);
}

void object_store_forget(struct object_store *s, const char *name, struct object_version version, object_done_fn *done,
                         void *arg)
{
	struct done_job *job = done_job_new(s, name, version, done, arg);

	if (!job)
		return;
	job->wait.go = forget_run;
	job->wait.arg = job;
	store_run(s->changers, forget_begin, job);
}

/* ---- what is visible ---- */

static uint64_t not_negative(int64_t n)
{
	return n > 0 ? (uint64_t)n : 0;
}

static void drive_stats(struct drive *d, struct object_drive_stats *out)
{
	out->path = d->path;
	out->state = drive_state_text(d);
	out->takes_new = drive_takes(d, 0, false);
	out->objects = not_negative(atomic_load(&d->objects));
	out->tombstones = not_negative(atomic_load(&d->tombstones));
	out->bytes = not_negative(atomic_load(&d->bytes));
	out->free_bytes = drive_free_bytes(d);
	out->capacity_bytes = atomic_load(&d->capacity);
	out->quarantined = atomic_load(&d->quarantined);
}

void object_store_stats(struct object_store *s, struct object_store_stats *stats)
{
	memset(stats, 0, sizeof *stats);
	stats->drive_count = s->drive_count;
	for (size_t i = 0; i < s->drive_count; i++) {
		drive_stats(&s->drive[i], &stats->drive[i]);
		stats->objects += stats->drive[i].objects;
		stats->tombstones += stats->drive[i].tombstones;
		stats->bytes += stats->drive[i].bytes;
		stats->groups += atomic_load(&s->drive[i].groups);
	}
	stats->puts = atomic_load(&s->puts);
	stats->reads = atomic_load(&s->reads);
	stats->damaged = atomic_load(&s->damaged);
	stats->puts_waiting = atomic_load(&s->puts_waiting);
}
