/* SPDX-License-Identifier: GPL-3.0-only */
/* status.c: what an engine and its images can tell about themselves. */
#include "image/private.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const policy_name[] = { [SYNC_LOCAL] = "local", [SYNC_REMOTE] = "remote", [SYNC_NONE] = "none" };

/* The older of two moments, 0 being none. */
static uint64_t older(uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a ? a : b;
	return a < b ? a : b;
}

/* Bytes not in the store, and since when (monotonic; 0: none). */
static uint64_t lag_of(struct image *i, uint64_t *since_ns)
{
	uint64_t bytes = 0;

	*since_ns = 0;
	struct log *log = image_use_log(i);
	if (!log)
		return 0;
	bytes = upload_bytes(i->upload, since_ns) + log_open_bytes(log);
	*since_ns = older(*since_ns, log_oldest_ns(log));
	image_unuse_log(i);
	return bytes;
}

static double seconds_since(uint64_t ns)
{
	return ns ? (double)(clock_monotonic_ns() - ns) / 1e9 : 0;
}

static void status_of(struct image *i, struct image_status *st)
{
	struct engine *e = i->engine;
	uint64_t since;

	*st = (struct image_status){ .id = i->id, .sync = policy_name[e->options.sync] };
	st->size = atomic_load(&i->size);
	st->allocated_bytes = image_allocated(i) << i->grain_shift;
	pthread_mutex_lock(&i->view_mutex);
	st->epoch = i->view.newest_epoch;
	if (st->epoch && !i->view.released)
		snprintf(st->owner, sizeof st->owner, "%s (%016" PRIx64 ")", i->view.owner_name, i->view.owner_host);
	pthread_mutex_unlock(&i->view_mutex);
	struct log *log = image_use_log(i);
	if (log) {
		st->writable_here = !atomic_load(&i->failed);
		st->segment = log_position(log).segment;
		st->stored_segment = upload_stored(i->upload);
		image_unuse_log(i);
	} else {
		st->segment = st->stored_segment = i->stored_end;
	}
	st->lag_bytes = lag_of(i, &since);
	st->lag_seconds = seconds_since(since);
	pthread_mutex_lock(&i->state_mutex);
	snprintf(st->state, sizeof st->state, "%s", i->state[0] ? i->state : "ok");
	snprintf(st->detail, sizeof st->detail, "%s", i->detail);
	st->last_flush = i->last_flush;
	pthread_mutex_unlock(&i->state_mutex);
	pthread_mutex_lock(&e->mutex);
	if (!i->state[0] && e->store_error[0] && st->lag_bytes) {
		snprintf(st->state, sizeof st->state, "store away");
		snprintf(st->detail, sizeof st->detail, "%s", e->store_error);
	}
	pthread_mutex_unlock(&e->mutex);
}

void engine_status(struct engine *e, struct engine_status *st)
{
	const struct counters *c = &e->counters;
	struct store_stats store;
	struct image **images;
	uint64_t oldest = 0, since;
	size_t count = 0;

	*st = (struct engine_status){ 0 };
	snprintf(st->store_url, sizeof st->store_url, "%s", e->pool->store->url);
	memcpy(st->pool_uuid, e->pool->uuid, sizeof st->pool_uuid);
	st->sealed = e->pool->sealed;
	snprintf(st->cache_dir, sizeof st->cache_dir, "%s", e->cache_dir);
	st->cache_size = cache_limit(e->cache);
	st->cache_used = cache_used(e->cache);
	st->dirty_limit = e->options.dirty_limit;
	pthread_mutex_lock(&e->mutex);
	st->store_ok = !e->store_error[0];
	snprintf(st->store_error, sizeof st->store_error, "%s", e->store_error);
	pthread_mutex_unlock(&e->mutex);
	st->reads = atomic_load(&c->reads);
	st->writes = atomic_load(&c->writes);
	st->flushes = atomic_load(&c->flushes);
	st->read_bytes = atomic_load(&c->read_bytes);
	st->write_bytes = atomic_load(&c->write_bytes);
	st->cache_hits = atomic_load(&c->hits);
	st->cache_misses = atomic_load(&c->misses);
	store_get_stats(e->pool->store, &store);
	st->store_puts = store.puts;
	st->store_gets = store.gets;
	st->store_heads = store.heads;
	st->store_lists = store.lists;
	st->store_removes = store.removes;
	st->store_put_bytes = store.bytes_up;
	st->store_get_bytes = store.bytes_down;
	st->retries = store.retries + atomic_load(&c->retries);
	st->hedges = store.hedges;
	st->moved_bytes = atomic_load(&e->counters.moved_bytes);
	st->map_bytes = map_budget_used(e->budget);
	if (images_get_all(e, &images, &count))
		return;
	for (size_t k = 0; k < count; k++) {
		st->lag_bytes += lag_of(images[k], &since);
		oldest = older(oldest, since);
		pthread_mutex_lock(&e->mutex);
		st->images_open += images[k]->refs - images[k]->aheads > 1;
		pthread_mutex_unlock(&e->mutex);
		image_put(images[k]);
	}
	st->lag_seconds = seconds_since(oldest);
	free(images);
}

int engine_image_status(struct engine *e, uint64_t id, struct image_status *st, struct error *err)
{
	struct image *i = image_get(e, id);
	struct log_view view = { 0 };
	struct node_attr attr;
	struct head head;
	int rc;

	if (i) {
		status_of(i, st);
		image_put(i);
		return 0;
	}
	rc = engine_getattr(e, id, &attr, err);
	if (!rc)
		rc = log_view_load(e->pool, id, &view, err);
	if (rc)
		return rc;
	*st = (struct image_status){ .id = id,
		                     .size = attr.size,
		                     .allocated_bytes = attr.allocated_bytes,
		                     .epoch = view.newest_epoch,
		                     .sync = policy_name[e->options.sync],
		                     .state = "ok" };
	if (view.newest_epoch && !view.released)
		snprintf(st->owner, sizeof st->owner, "%s (%016" PRIx64 ")", view.owner_name, view.owner_host);
	if (!head_load(e->pool, id, &head, NULL))
		st->segment = st->stored_segment = head.checkpoint.segment;
	log_view_destroy(&view);
	return 0;
}

int engine_each_image(struct engine *e, int (*each)(void *arg, const struct image_status *status), void *arg)
{
	struct image **images;
	size_t count;
	int rc = images_get_all(e, &images, &count);

	for (size_t k = 0; !rc && k < count; k++) {
		struct image_status st;
		status_of(images[k], &st);
		rc = each(arg, &st);
	}
	for (size_t k = 0; k < count; k++)
		image_put(images[k]);
	free(images);
	return rc;
}
