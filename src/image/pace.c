/* SPDX-License-Identifier: GPL-3.0-only */
/* pace.c: what is not in the store yet is limited: from half of the limit on writes are slowed towards the rate at which uploads
 * drain, and at the limit they wait (or fail, with on_full=error, once the store is away). Likewise the memory for nodes of maps that
 * were changed and not saved: writes are slowed while it is exceeded.
 */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

#define DRAIN_WINDOW_NS 500000000ull
#define DRAIN_RATE_MIN (1 << 20)
#define DELAY_MAX_NS 1000000000ull
#define MAP_DELAY_MS 100 /* of a write, when nodes take twice of what they may */

void engine_wake_dirty_waiters(struct engine *e)
{
	struct dirty_waiter *w;

	for (;;) {
		pthread_mutex_lock(&e->pace_mutex);
		w = STAILQ_FIRST(&e->dirty_waiters);
		if (w)
			STAILQ_REMOVE_HEAD(&e->dirty_waiters, link);
		pthread_mutex_unlock(&e->pace_mutex);
		if (!w)
			return;
		if (executor_run(e->work, w->wake, w->arg))
			w->wake(w->arg);
		free(w);
	}
}

/* This part of the cache is given back at a time. */
#define ROOM_PART 8

void engine_make_room(struct engine *e)
{
	cache_make_room(e->cache, cache_limit(e->cache) / ROOM_PART);
}

/* Added to what is unsent of an image that has stopped. */
#define UNSENT_LET_GO (INT64_MIN / 2)

/* To the engine's first, which so is never less than the sum of its parts. */
void image_unsent_add(struct image *i, uint64_t bytes)
{
	atomic_fetch_add_explicit(&i->engine->unsent, bytes, memory_order_relaxed);
	if (atomic_fetch_add(&i->unsent, (int64_t)bytes) < 0)
		atomic_fetch_sub(&i->engine->unsent, bytes);
}

void image_unsent_let_go(struct image *i)
{
	int64_t left = atomic_fetch_add(&i->unsent, UNSENT_LET_GO);

	if (left > 0)
		atomic_fetch_sub(&i->engine->unsent, (uint64_t)left);
	else if (left < 0)
		atomic_fetch_sub(&i->unsent, UNSENT_LET_GO); /* it was already */
	engine_wake_dirty_waiters(i->engine);
}

void image_unsent_sent(struct image *i, uint64_t bytes)
{
	struct engine *e = i->engine;
	uint64_t now = clock_monotonic_ns();

	if (atomic_fetch_sub(&i->unsent, (int64_t)bytes) >= 0)
		atomic_fetch_sub(&e->unsent, bytes);
	pthread_mutex_lock(&e->pace_mutex);
	e->drain_bytes += bytes;
	if (now - e->drain_since_ns >= DRAIN_WINDOW_NS) {
		double rate = (double)e->drain_bytes * 1e9 / (double)(now - e->drain_since_ns);
		e->drain_rate = e->drain_rate > 0 ? e->drain_rate * 0.7 + rate * 0.3 : rate;
		e->drain_since_ns = now;
		e->drain_bytes = 0;
	}
	pthread_mutex_unlock(&e->pace_mutex);
	engine_wake_dirty_waiters(e);
}

/* ---- how urgent packing is ---- */

/* Packing gives way to guests altogether, as long as that only costs some lag. */
#define LAG_NS seconds_ns(30)
/* How long after a segment that was filled in a rush packing waits, and for how long there is one: urgency is set less often. */
#define RUSH_HOLD_MS 100
#define RUSH_NS seconds_ns(1)

void engine_set_urgency(struct engine *e)
{
	uint64_t unsent = atomic_load(&e->unsent), now = clock_monotonic_ns();

	if (!unsent)
		e->unsent_since_ns = now;
	bool settling = atomic_load(&e->settling) && now > atomic_load(&e->rush_ns);
	executor_set_urgent(e->packers, atomic_load(&e->waiting) || settling ||
	                                        unsent > e->options.dirty_limit / 8 * 3 ||
	                                        now - e->unsent_since_ns > LAG_NS);
}

void engine_rush(struct engine *e)
{
	executor_hold(e->packers, RUSH_HOLD_MS);
	atomic_store(&e->rush_ns, clock_monotonic_ns() + RUSH_NS);
}

void engine_wait_begin(struct engine *e)
{
	atomic_fetch_add(&e->waiting, 1);
	executor_set_urgent(e->packers, true);
}

void engine_wait_end(struct engine *e)
{
	atomic_fetch_sub(&e->waiting, 1);
}

/* ---- waiting ---- */

/* Whether a write that does not fit fails. A store that answers makes room for it. */
static bool fails_when_full(struct engine *e)
{
	return e->options.on_full == FULL_ERROR && atomic_load(&e->store_away);
}

/* Waits for uploads to make room, for the store to go away, or for the image to stop. */
static int park(struct image *i, job_fn *wake, void *arg)
{
	struct engine *e = i->engine;
	struct dirty_waiter *w = malloc(sizeof *w);

	if (!w)
		return -ENOMEM;
	w->wake = wake;
	w->arg = arg;
	pthread_mutex_lock(&e->pace_mutex);
	STAILQ_INSERT_TAIL(&e->dirty_waiters, w, link);
	pthread_mutex_unlock(&e->pace_mutex);
	/* That may have come to pass in between: then nobody else would wake us. */
	if (atomic_load(&e->unsent) < e->options.dirty_limit || fails_when_full(e) || atomic_load(&e->stopping) ||
	    atomic_load(&i->failed))
		engine_wake_dirty_waiters(e);
	return -EAGAIN;
}

int image_pace(struct image *i, uint64_t len, bool *paced, job_fn *wake, void *arg)
{
	struct engine *e = i->engine;
	uint64_t unsent = atomic_load_explicit(&e->unsent, memory_order_relaxed), half = e->options.dirty_limit / 2;

	if (unsent <= half || e->stopping)
		return 0;
	if (unsent >= e->options.dirty_limit) {
		engine_kick(e);
		return fails_when_full(e) ? -ENOSPC : park(i, wake, arg);
	}
	if (*paced)
		return 0;
	*paced = true;
	/* Writes may go at drain rate / over, where over grows from 0 at half to 1 at the limit. */
	uint64_t now = clock_monotonic_ns(), delay = 0;
	double over = (double)(unsent - half) / (double)(e->options.dirty_limit - half);
	pthread_mutex_lock(&e->pace_mutex);
	double rate = (e->drain_rate > DRAIN_RATE_MIN ? e->drain_rate : DRAIN_RATE_MIN) / over;
	if (e->pace_next_ns < now)
		e->pace_next_ns = now;
	delay = e->pace_next_ns - now;
	if (delay < DELAY_MAX_NS)
		e->pace_next_ns += (uint64_t)((double)len * 1e9 / rate);
	pthread_mutex_unlock(&e->pace_mutex);
	if (delay < 1000000)
		return 0;
	return executor_run_after(e->work, delay / 1000000, wake, arg) ? 0 : -EAGAIN;
}

int engine_pace_map(struct engine *e, bool *paced, job_fn *wake, void *arg)
{
	size_t used = map_budget_used(e->budget), limit = map_budget_limit(e->budget), from = limit + limit / 4;

	if (used <= from || *paced || e->stopping || !map_budget_dirty(e->budget))
		return 0;
	*paced = true;
	size_t over = used - from < limit ? used - from : limit;
	return executor_run_after(e->work, 1 + over * MAP_DELAY_MS / limit, wake, arg) ? 0 : -EAGAIN;
}
