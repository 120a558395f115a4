/* SPDX-License-Identifier: GPL-3.0-only */
/* maintain.c: what happens by itself: sealing by age, saving, checkpoints, hand-over of idle images, deleting, leases. */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICK_MS 250
/* Spares are written ahead of need only while the log grows slower than this, in bytes per second. */
#define QUIET_RATE (64u << 20)
#define REFILL_MOST 4 /* at a time */
#define PULSE_NS 200000000u
#define FLUSHED_NS seconds_ns(10)
#define IDLE_RELEASE_MS 5000

void engine_kick(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	e->tick_wanted = true;
	pthread_cond_signal(&e->tick);
	pthread_mutex_unlock(&e->mutex);
}

/* Waits for the next tick. False when the engine stops. */
static bool next_tick(struct engine *e, uint64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&e->mutex);
	while (!e->stopping && !e->tick_wanted && pthread_cond_timedwait(&e->tick, &e->mutex, &until) != ETIMEDOUT)
		;
	e->tick_wanted = false;
	bool goes_on = !e->stopping;
	pthread_mutex_unlock(&e->mutex);
	return goes_on;
}

static void say(const struct error *err)
{
	report_warning("%s", error_text(err));
}

/* Saving and checkpoints of one image that is open for writing. */
static void keep_up(struct image *i)
{
	struct engine *e = i->engine;
	struct error err = { 0 };
	size_t dirty = grain_map_dirty(i->map);
	uint64_t now = clock_monotonic_ns();
	int rc = 0;

	image_look_at_policy(i);
	if (!i->saved_ns)
		i->saved_ns = now;
	segment_no_t since = i->saved.checkpoint.segment;
	if (log_position(atomic_load(&i->log)).segment > since + CHECKPOINT_SEGMENTS)
		rc = image_checkpoint(i, &err);
	else if (map_budget_dirty(e->budget) > map_budget_limit(e->budget) / 4 ||
	         (dirty && now - i->saved_ns > SAVE_INTERVAL_NS))
		rc = image_save(i, &err);
	/* garner.db has to grow: room in the cache is room for it. */
	if (rc == -ENOSPC)
		engine_make_room(e);
	if (!rc)
		rc = image_update_head(i, &err);
	if (rc && !atomic_load(&i->failed))
		say(&err);
}

static bool is_idle(struct image *i, uint64_t for_ns)
{
	pthread_mutex_lock(&i->engine->mutex);
	bool idle = !i->writers && clock_monotonic_ns() - i->idle_since_ns > for_ns;
	pthread_mutex_unlock(&i->engine->mutex);
	return idle;
}

/* One image's turn. Gives the reference back. */
static void tend(struct image *i)
{
	struct engine *e = i->engine;
	struct error err = { 0 };

	/* Somebody is opening it, perhaps waiting for another host: its turn comes again. */
	if (pthread_mutex_trylock(&i->open_mutex)) {
		image_put(i);
		return;
	}
	trace_tend(i);
	image_follow(i);
	if (atomic_load(&i->log))
		log_tend(atomic_load(&i->log), e->options.seal_after_ms * 1000000);
	if (atomic_load(&i->log) && !atomic_load(&i->failed)) {
		keep_up(i);
		/* Idle, and all but a checkpoint is in the store: hand it over. */
		if (is_idle(i, e->options.seal_after_ms * 1000000) && !upload_bytes(i->upload, NULL) &&
		    !log_open_bytes(atomic_load(&i->log))) {
			int rc = image_release(i, clock_monotonic_ns() + IDLE_RELEASE_MS * 1000000ull, false, &err);
			if (rc && rc != -EAGAIN)
				say(&err);
		}
	}
	pthread_mutex_unlock(&i->open_mutex);
	if (!atomic_load(&i->log) && is_idle(i, 0) && image_unload(i, false))
		return;
	image_put(i);
}

/* What the spares are made for: how much was written and flushed before the last look. */
struct pulse {
	uint64_t bytes, flushes, ns;
	uint64_t flushed_ns; /* when a flush was last seen */
};

/* Makes written spares when guests flush, and otherwise leave time for it: in these a flush writes nothing but the data. */
static void refill_spares(struct engine *e, struct image **images, size_t count, struct pulse *p)
{
	uint64_t bytes = atomic_load(&e->counters.write_bytes), flushes = atomic_load(&e->counters.flushes);
	uint64_t now = clock_monotonic_ns(), file_bytes = 0;
	double rate = (double)(bytes - p->bytes) * 1e9 / (double)(now - p->ns + 1);

	if (now - p->ns < PULSE_NS)
		return;
	if (flushes != p->flushes)
		p->flushed_ns = now;
	*p = (struct pulse){ bytes, flushes, now, p->flushed_ns };
	if (rate >= QUIET_RATE || !p->flushed_ns || now - p->flushed_ns > FLUSHED_NS)
		return;
	for (size_t k = 0; k < count && !file_bytes; k++) {
		struct log *log = image_use_log(images[k]);
		if (log) {
			file_bytes = log_file_bytes(log);
			image_unuse_log(images[k]);
		}
	}
	for (int n = 0; n < REFILL_MOST && file_bytes && cache_used(e->cache) < cache_limit(e->cache); n++)
		if (spare_refill(e->spares, file_bytes) != 1)
			break;
}

static void *maintenance(void *arg)
{
	struct engine *e = arg;
	struct pulse pulse = { .ns = clock_monotonic_ns() };

	while (next_tick(e, TICK_MS)) {
		struct image **images;
		size_t count;

		if (!e->options.read_only)
			engine_delete_now(e, false);
		engine_set_urgency(e);
		if (images_get_all(e, &images, &count))
			continue;
		refill_spares(e, images, count, &pulse);
		for (size_t k = 0; k < count; k++)
			image_put(images[k]);
		free(images);
		images_each(e, tend);
	}
	return NULL;
}

/* ---- leases ---- */

int engine_renew_lease(struct engine *e, struct error *err)
{
	pthread_mutex_lock(&e->lease_mutex);
	int rc = lease_renew(e->pool, &e->host, ++e->lease_counter, e->options.lease_ms, err);
	pthread_mutex_unlock(&e->lease_mutex);
	engine_store_state(e, rc ? err : NULL);
	return rc;
}

/* An owner that finds a newer epoch stops at once. Gives the reference back. */
static void look_for_newer_epoch(struct image *i)
{
	if (image_use_log(i)) {
		if (!atomic_load(&i->failed))
			image_entitled(i);
		image_unuse_log(i);
	}
	image_put(i);
}

static bool owns_any(struct engine *e)
{
	size_t cursor = 0;
	struct image *i;
	uint64_t id;
	bool any = false;

	pthread_mutex_lock(&e->mutex);
	while (!any && (i = hash_next(e->images, &cursor, &id)))
		any = atomic_load(&i->log) != NULL;
	pthread_mutex_unlock(&e->mutex);
	return any;
}

static void *heartbeat(void *arg)
{
	struct engine *e = arg;
	uint64_t next = 0;

	while (!e->stop_waiting) {
		struct timespec pause = { .tv_nsec = 100000000 };

		nanosleep(&pause, NULL);
		if (clock_monotonic_ns() < next || !owns_any(e))
			continue;
		struct error err = { 0 };
		if (!engine_renew_lease(e, &err))
			images_each(e, look_for_newer_epoch);
		next = clock_monotonic_ns() + e->options.lease_ms * 1000000 / 3;
	}
	return NULL;
}

int engine_start_threads(struct engine *e, struct error *err)
{
	int rc = 0;

	/* Another run of this host may have left a lease: its counter must not be met again by chance. */
	e->lease_counter = (uint64_t)randombytes_random() << 32;
	rc = pthread_create(&e->maintenance, NULL, maintenance, e);
	e->maintenance_runs = !rc;
	if (!rc && !e->options.read_only) {
		rc = pthread_create(&e->heartbeat, NULL, heartbeat, e);
		e->heartbeat_runs = !rc;
	}
	if (!rc && !e->options.read_only)
		return clean_start(e, err);
	return rc ? error_set(err, -rc, "cannot start a thread: %s", strerror(rc)) : 0;
}

void engine_stop_threads(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	e->stopping = true;
	pthread_cond_signal(&e->tick);
	pthread_mutex_unlock(&e->mutex);
	engine_wake_dirty_waiters(e);
	clean_stop(e);
	if (e->maintenance_runs)
		pthread_join(e->maintenance, NULL);
	e->maintenance_runs = false;
}
