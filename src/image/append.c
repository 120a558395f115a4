/* SPDX-License-Identifier: GPL-3.0-only */
/* append.c: records of the engine's own: map nodes, checkpoints, moves. They pass through the same log as guests' writes. */
#include "image/private.h"

#include <errno.h>

struct room_wait {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool woken;
};

static void room_wake(void *arg)
{
	struct room_wait *w = arg;

	pthread_mutex_lock(&w->mutex);
	w->woken = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

static void room_wait(struct room_wait *w)
{
	pthread_mutex_lock(&w->mutex);
	while (!w->woken)
		pthread_cond_wait(&w->cond, &w->mutex);
	pthread_mutex_unlock(&w->mutex);
}

/* Reserves a place for one record, waiting for room. With `gate`, that is closed when this returns 0, and open while it waits. */
static int reserve_wait(struct image *i, struct record *r, struct log_append *append, bool gate)
{
	struct log *log = atomic_load(&i->log);
	int rc;

	do {
		struct room_wait w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
		if (gate)
			pthread_rwlock_wrlock(&i->gate);
		rc = log_reserve(log, r, 1, append, room_wake, &w);
		if (gate && rc)
			pthread_rwlock_unlock(&i->gate);
		if (rc == -EAGAIN)
			room_wait(&w);
		pthread_cond_destroy(&w.cond);
		pthread_mutex_destroy(&w.mutex);
	} while (rc == -EAGAIN);
	return rc;
}

int image_append_wait(struct image *i, struct record *r, const void *data, segment_no_t *number, uint64_t *sequence)
{
	struct log *log = atomic_load(&i->log);
	struct log_append append;
	int rc = reserve_wait(i, r, &append, false);

	if (rc)
		return rc;
	*number = append.part[0].segment->number;
	*sequence = append.part[0].sequence + 1;
	rc = log_fill(log, &append, r, &data);
	log_complete(log, &append);
	engine_unsent_add(i->engine, record_has_slot(r->kind) ? i->grain_bytes : 0);
	return rc;
}

/* ---- what changes the map ---- */

int image_pace_wait(struct image *i, uint64_t bytes)
{
	bool paced = false;
	int rc;

	do {
		struct room_wait w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
		rc = atomic_load(&i->failed) ? -EIO : engine_pace(i->engine, bytes, &paced, room_wake, &w);
		if (rc == -EAGAIN)
			room_wait(&w);
		pthread_cond_destroy(&w.cond);
		pthread_mutex_destroy(&w.mutex);
	} while (rc == -EAGAIN);
	return rc;
}

/* Points the map at the new places. */
static void apply_moves(void *arg, const struct log_append *append, const struct record *records)
{
	struct image *i = arg;

	for (unsigned p = 0; p < append->parts; p++) {
		const struct log_part *part = &append->part[p];
		for (size_t k = part->first; k < part->first + part->count; k++) {
			map_entry_t entry = map_entry(0, part->segment->number, records[k].slot);
			grain_map_update(i->map, records[k].value, 1, &entry);
		}
	}
}

/* So many of them have slots. */
static uint64_t slot_bytes(const struct image *i, const struct record *records, size_t count)
{
	uint64_t slots = 0;

	for (size_t k = 0; k < count; k++)
		slots += record_has_slot(records[k].kind);
	return slots << i->grain_shift;
}

int image_append_applied(struct image *i, struct record *records, size_t count, const void *const *data,
                         append_apply_fn *apply, void *arg)
{
	struct log *log = atomic_load(&i->log);
	struct log_append append;
	int rc;

	do {
		struct room_wait w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
		pthread_rwlock_rdlock(&i->gate);
		rc = log_reserve(log, records, count, &append, room_wake, &w);
		if (!rc) {
			rc = log_fill(log, &append, records, data);
			if (!rc)
				apply(arg, &append, records);
			log_complete(log, &append);
			engine_unsent_add(i->engine, slot_bytes(i, records, count));
		}
		pthread_rwlock_unlock(&i->gate);
		if (rc == -EAGAIN)
			room_wait(&w);
		pthread_cond_destroy(&w.cond);
		pthread_mutex_destroy(&w.mutex);
	} while (rc == -EAGAIN);
	return rc;
}

int image_append_moves(struct image *i, struct record *records, size_t count, const void *const *data)
{
	int rc = image_pace_wait(i, (uint64_t)count << i->grain_shift);

	return rc ? rc : image_append_applied(i, records, count, data, apply_moves, i);
}

void image_lock_grains(struct image *i, struct range_lock *lock, grain_no_t first, grain_no_t last)
{
	struct room_wait w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

	if (!range_lock(&i->locks, lock, first, last, room_wake, &w))
		room_wait(&w);
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.mutex);
}

/* ---- at a cut ---- */

int image_append_at_cut(struct image *i, struct record *r)
{
	struct log *log = atomic_load(&i->log);
	struct log_append append;
	const void *none = NULL;
	int rc = reserve_wait(i, r, &append, true);

	if (rc)
		return rc;
	rc = log_fill(log, &append, r, &none);
	log_complete(log, &append);
	if (rc)
		pthread_rwlock_unlock(&i->gate);
	return rc;
}
