/* SPDX-License-Identifier: GPL-3.0-only */
/* append.c: records of the engine's own: map nodes, checkpoints, moves. They pass through the same log as guests' writes. */
#include "image/private.h"

#include <errno.h>

static void room_wait_init(struct room_wait *w)
{
	*w = (struct room_wait){ .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
}

static void room_wait_destroy(struct room_wait *w)
{
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mutex);
}

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

/* Reserves a place for one record, waiting for room. */
static int reserve_wait(struct image *i, struct record *r, struct log_append *append)
{
	struct log *log = atomic_load(&i->log);
	int rc;

	do {
		struct room_wait w;
		room_wait_init(&w);
		rc = log_reserve(log, r, 1, append, room_wake, &w);
		if (rc == -EAGAIN)
			room_wait(&w);
		room_wait_destroy(&w);
	} while (rc == -EAGAIN);
	return rc;
}

int image_append_wait(struct image *i, struct record *r, const void *data, segment_no_t *number, uint64_t *sequence)
{
	struct log *log = atomic_load(&i->log);
	struct log_append append;
	int rc = reserve_wait(i, r, &append);

	if (rc)
		return rc;
	*number = append.part[0].segment->number;
	*sequence = append.part[0].sequence + 1;
	image_unsent_add(i, record_has_slot(r->kind) ? i->grain_bytes : 0);
	rc = log_fill(log, &append, r, &data);
	log_complete(log, &append);
	return rc;
}

/* ---- what changes the map ---- */

int image_pace_wait(struct image *i, uint64_t bytes)
{
	bool paced = false;
	int rc;

	do {
		struct room_wait w;
		room_wait_init(&w);
		rc = atomic_load(&i->failed) ? -EIO : image_pace(i, bytes, &paced, room_wake, &w);
		if (rc == -EAGAIN)
			room_wait(&w);
		room_wait_destroy(&w);
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

/* One attempt: 0, an error, or -EAGAIN: `w` is woken when there is room. */
static int append_once(struct image *i, struct record *records, size_t count, const void *const *data, bool anew,
                       append_apply_fn *apply, void *arg, struct room_wait *w)
{
	struct log *log = atomic_load(&i->log);
	struct log_append append;

	pthread_rwlock_rdlock(&i->gate);
	int rc = (anew ? log_reserve_anew : log_reserve)(log, records, count, &append, room_wake, w);
	if (!rc) {
		image_unsent_add(i, slot_bytes(i, records, count));
		rc = log_fill(log, &append, records, data);
		if (!rc)
			apply(arg, &append, records);
		log_complete(log, &append);
	}
	pthread_rwlock_unlock(&i->gate);
	return rc;
}

int image_append_applied(struct image *i, struct record *records, size_t count, const void *const *data,
                         append_apply_fn *apply, void *arg)
{
	int rc;

	do {
		struct room_wait w;
		room_wait_init(&w);
		rc = append_once(i, records, count, data, false, apply, arg, &w);
		if (rc == -EAGAIN)
			room_wait(&w);
		room_wait_destroy(&w);
	} while (rc == -EAGAIN);
	return rc;
}

int image_append_moves(struct image *i, struct record *records, size_t count, const void *const *data)
{
	return image_append_applied(i, records, count, data, apply_moves, i);
}

int image_try_append_moves(struct image *i, struct record *records, size_t count, const void *const *data, bool anew,
                           struct room_wait *w)
{
	room_wait_init(w);
	int rc = append_once(i, records, count, data, anew, apply_moves, i, w);

	if (rc != -EAGAIN)
		room_wait_destroy(w);
	return rc;
}

void image_wait_for_room(struct room_wait *w)
{
	room_wait(w);
	room_wait_destroy(w);
}

void image_lock_grains(struct image *i, struct range_lock *lock, grain_no_t first, grain_no_t last)
{
	struct room_wait w;

	room_wait_init(&w);
	if (!range_lock(&i->locks, lock, first, last, room_wake, &w))
		room_wait(&w);
	room_wait_destroy(&w);
}

/* ---- at a cut ---- */

int image_try_append_at_cut(struct image *i, struct record *r, struct room_wait *w)
{
	struct log *log = atomic_load(&i->log);
	struct log_append append;
	const void *none = NULL;

	room_wait_init(w);
	pthread_rwlock_wrlock(&i->gate);
	int rc = log_reserve(log, r, 1, &append, room_wake, w);
	if (!rc) {
		rc = log_fill(log, &append, r, &none);
		log_complete(log, &append);
	}
	if (rc)
		pthread_rwlock_unlock(&i->gate);
	if (rc != -EAGAIN)
		room_wait_destroy(w);
	return rc;
}
