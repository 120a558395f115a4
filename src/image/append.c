/* SPDX-License-Identifier: GPL-3.0-only */
/* append.c: records of the engine's own: map nodes and checkpoints. They pass through the same log as guests' writes. */
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
