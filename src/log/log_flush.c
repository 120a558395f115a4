/* SPDX-License-Identifier: GPL-3.0-only */
/* log_flush.c: group-committed flush: one leader syncs for all who wait. */
#include "log/log_private.h"

#include <errno.h>
#include <stdlib.h>

#define SEGMENTS_PER_ROUND 64
/* A flush of no more records than these is expected to be followed by another such. */
#define EAGER_RECORDS 4

/* Takes the answered flushes out of the list. */
static void answered(struct log *l, int64_t result, struct flush **list)
{
	struct flush *f, *next;

	for (f = TAILQ_FIRST(&l->flushes); f; f = next) {
		next = TAILQ_NEXT(f, link);
		if (!result && f->target > l->synced_sequence)
			continue;
		TAILQ_REMOVE(&l->flushes, f, link);
		if (f->result) {
			*f->result = result;
			continue; /* it lives on its leader's stack */
		}
		f->target = (uint64_t)result;
		f->link.tqe_next = *list;
		*list = f;
	}
}

static void call_answered(struct flush *list)
{
	while (list) {
		struct flush *f = list;

		list = f->link.tqe_next;
		f->done(f->arg, (int64_t)f->target);
		free(f);
	}
}

/* Syncs everything below `target`, which has been completed. The mutex is held, and let go of for the syncs. */
static int sync_up_to(struct log *l, uint64_t target)
{
	struct segment *segments[SEGMENTS_PER_ROUND];
	struct log_filled filled[SEGMENTS_PER_ROUND];
	bool complete[SEGMENTS_PER_ROUND], stream[SEGMENTS_PER_ROUND];
	segment_no_t done = 0; /* segments up to this one are dealt with */
	struct closing *c;
	bool last;

	do {
		size_t n = 0;
		last = true;
		TAILQ_FOREACH(c, &l->closing, link) {
			if (c->synced || c->segment->number <= done)
				continue;
			if (n == SEGMENTS_PER_ROUND) {
				last = false;
				break;
			}
			complete[n] = atomic_load(&c->segment->filling) == 0;
			segments[n++] = c->segment;
		}
		if (last && l->open && n < SEGMENTS_PER_ROUND) {
			complete[n] = false;
			segments[n++] = l->open;
		} else if (l->open) {
			last = false;
		}
		for (size_t i = 0; i < n; i++) {
			filled[i] = log_filled(l, segments[i]);
			stream[i] = log_is_stream(l, segments[i], filled[i].slots);
			atomic_fetch_add(&segments[i]->pins, 1);
		}
		pthread_mutex_unlock(&l->mutex);
		int rc = 0;
		for (size_t i = 0; i < n; i++) {
			if (!rc)
				rc = segment_write_out(segments[i], filled[i].slots, filled[i].records, stream[i]);
			if (!rc)
				rc = segment_sync(segments[i]);
			done = segments[i]->number;
			segment_unpin(segments[i]);
		}
		pthread_mutex_lock(&l->mutex);
		if (rc)
			return rc;
		/* Those that were closed and complete before their sync need no other. */
		TAILQ_FOREACH(c, &l->closing, link)
			for (size_t i = 0; i < n; i++)
				if (segments[i] == c->segment && complete[i])
					c->synced = true;
	} while (!last);
	l->synced_sequence = target;
	return 0;
}

/* One round: a sync for all who wait now. */
static void round_of(struct log *l)
{
	struct flush *list = NULL;
	uint64_t target = l->next_sequence;
	int rc;

	l->frontier_waiters++;
	while (log_frontier(l) < target && !l->failed)
		pthread_cond_wait(&l->changed, &l->mutex);
	l->frontier_waiters--;
	l->eager = target - l->synced_sequence <= EAGER_RECORDS;
	rc = l->failed ? -EIO : sync_up_to(l, target);
	if (rc && !l->failed) {
		pthread_mutex_unlock(&l->mutex);
		log_fail(l, rc, "a sync of the log failed");
		pthread_mutex_lock(&l->mutex);
	}
	answered(l, rc || l->failed ? -EIO : 0, &list);
	pthread_mutex_unlock(&l->mutex);
	call_answered(list);
	pthread_mutex_lock(&l->mutex);
}

/* Goes on leading for those who came while the first leader synced. */
static void lead_job(void *arg)
{
	struct log *l = arg;

	pthread_mutex_lock(&l->mutex);
	while (!TAILQ_EMPTY(&l->flushes))
		round_of(l);
	l->syncing = false;
	pthread_mutex_unlock(&l->mutex);
	log_job_end(l);
}

/* The leader's round is over: goes on leading elsewhere for those who came meanwhile. */
static void end_leading(struct log *l)
{
	if (!TAILQ_EMPTY(&l->flushes) && log_job_start(l, lead_job, 0))
		return;
	while (!TAILQ_EMPTY(&l->flushes))
		round_of(l);
	l->syncing = false;
}

int64_t log_flush(struct log *l, log_done_fn *done, void *arg)
{
	int64_t result = 0;

	pthread_mutex_lock(&l->mutex);
	if (l->failed) {
		result = -EIO;
	} else if (l->synced_sequence >= l->next_sequence) {
		result = 0;
	} else if (l->syncing) {
		struct flush *f = malloc(sizeof *f);
		if (f) {
			*f = (struct flush){ .target = l->next_sequence, .done = done, .arg = arg };
			TAILQ_INSERT_TAIL(&l->flushes, f, link);
		}
		result = f ? -EINPROGRESS : -ENOMEM;
	} else {
		struct flush own = { .target = l->next_sequence, .result = &result };
		l->syncing = true;
		TAILQ_INSERT_TAIL(&l->flushes, &own, link);
		round_of(l);
		end_leading(l);
	}
	pthread_mutex_unlock(&l->mutex);
	return result;
}

struct flush_wait {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
	int64_t result;
};

static void wake_flush(void *arg, int64_t result)
{
	struct flush_wait *w = arg;

	pthread_mutex_lock(&w->mutex);
	w->result = result;
	w->done = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
}

int log_flush_wait(struct log *l)
{
	struct flush_wait w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	int64_t result = log_flush(l, wake_flush, &w);

	if (result == -EINPROGRESS) {
		pthread_mutex_lock(&w.mutex);
		while (!w.done)
			pthread_cond_wait(&w.cond, &w.mutex);
		pthread_mutex_unlock(&w.mutex);
		result = w.result;
	}
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.mutex);
	return (int)result;
}
