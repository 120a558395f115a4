/* SPDX-License-Identifier: GPL-3.0-only */
/* own.c: becoming the writer of an image, being it, and handing it over. See epoch.h for the rule. */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

bool image_stop(struct image *i, const char *state, int error, const char *detail)
{
	pthread_mutex_lock(&i->state_mutex);
	bool first = !atomic_load(&i->failed);
	if (first) {
		snprintf(i->state, sizeof i->state, "%s", state);
		snprintf(i->detail, sizeof i->detail, "%s", detail);
		atomic_store(&i->failed, error);
	}
	pthread_mutex_unlock(&i->state_mutex);
	image_unsent_let_go(i);
	/* What a flush waits for may never come to be uploaded. */
	if (first && image_use_log(i)) {
		upload_refuse(i->upload);
		image_unuse_log(i);
	}
	return first;
}

void image_fail(struct image *i, const char *state, int error, const char *format, ...)
{
	char detail[sizeof i->detail];
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
	if (image_stop(i, state, error, detail))
		report_error("image %016" PRIx64 " has stopped (%s): %s", i->id, state, detail);
}

/* ---- hooks of log and upload ---- */

/* A segment of which so much was filled at such a rate was written in a rush. */
#define RUSH_PERCENT 50
#define RUSH_BYTES_PER_MS ((uint64_t)200 << 10)

/* For a stream this part of the cache is made ready for writing ahead of need. */
#define AHEAD_OF_CACHE 32

static void on_grown(void *arg, uint64_t bytes)
{
	struct image *i = arg;

	cache_grown(i->engine->cache, bytes);
}

void image_segment_dropped(void *arg, struct segment *s)
{
	struct image *i = arg;

	cache_forget_segment(i->engine->cache, s);
}

static void on_need_space(void *arg)
{
	struct image *i = arg;

	engine_make_room(i->engine);
}

static bool was_rush(const struct segment *s)
{
	uint64_t bytes = (uint64_t)s->slot_count * s->shape.slot_bytes, ns = s->closed_ns - s->opened_ns;

	return s->slot_count * 100ull >= s->shape.slots * (uint64_t)RUSH_PERCENT &&
	       bytes > RUSH_BYTES_PER_MS * ns / 1000000;
}

static void on_complete(void *arg, struct segment *s)
{
	struct image *i = arg;

	if (was_rush(s))
		engine_rush(i->engine);
	if (upload_segment(i->upload, s))
		image_fail(i, "failed", -ENOMEM, "out of memory");
}

static void on_sealed(void *arg, struct segment *s)
{
	struct image *i = arg;

	upload_sealed(i->upload, s);
}

static void on_failed(void *arg, int error, const char *text)
{
	struct image *i = arg;

	image_fail(i, "failed", error, "%s; what is not in the store is kept in %s", text, segment_set_dir(i->set));
}

static void on_stored(void *arg, struct segment *s)
{
	struct image *i = arg;

	uint32_t kept = atomic_load(&s->stored_slots);
	clean_note_stored(i, kept ? kept : s->slot_count, s->slot_count);
	image_unsent_sent(i, (uint64_t)s->slot_count * s->shape.slot_bytes);
}

static void on_tidy(void *arg, struct segment *s)
{
	struct image *i = arg;

	cache_segment_stored(i->engine->cache, s);
}

static void on_store_state(void *arg, const struct error *err)
{
	struct image *i = arg;

	if (err)
		atomic_fetch_add_explicit(&i->engine->counters.retries, 1, memory_order_relaxed);
	engine_store_state(i->engine, err);
}

/* ---- acquiring ---- */

static int start_log(struct image *i, struct error *err)
{
	struct engine *e = i->engine;
	struct log_options lo = {
		.set = i->set,
		.spares = e->spares,
		.stages = e->stages,
		.executor = e->work,
		.ahead = (unsigned)(e->options.cache_size / AHEAD_OF_CACHE / e->options.segment_size),
		.grain_bytes = i->grain_bytes,
		.segment_bytes = e->options.segment_size,
		.epoch = i->epoch,
		.error_when_full = e->options.on_full == FULL_ERROR,
		.keep_all = i->policy.history_s != 0,
		.hooks = { .grown = on_grown,
		           .dropped = image_segment_dropped,
		           .need_space = on_need_space,
		           .complete = on_complete,
		           .sealed = on_sealed,
		           .failed = on_failed },
		.arg = i,
		.next = i->last + 1,
		.image_size = i->end_size,
		.checkpoint = i->end_checkpoint,
	};
	struct upload_options uo = {
		.store = e->pool->store,
		.executor = e->packers,
		.set = i->set,
		.key = i->source.key,
		.epoch = i->epoch,
		.unconditional = !(e->pool->store->capabilities & (STORE_CREATE_ONLY | STORE_READ_LATEST)),
		.window = e->options.uploads,
		.compression = e->options.compression,
		.stored = i->stored_end,
		.hooks = { .stored = on_stored, .tidy = on_tidy, .store_state = on_store_state, .failed = on_failed },
		.arg = i,
	};

	memcpy(lo.prev_digest, i->end_digest, sizeof lo.prev_digest);
	struct log *log = log_new(&lo);
	i->upload = upload_new(&uo);
	sodium_memzero(&uo.key, sizeof uo.key);
	if (!log || !i->upload) {
		log_free(log);
		upload_free(i->upload);
		i->upload = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	atomic_store(&i->unsent, 0);
	int rc = disk_make_path(e->disk, segment_set_dir(i->set));
	for (segment_no_t n = i->stored_end + 1; !rc && n <= i->last; n++) {
		struct segment *s = segment_pin_known(i->set, n);
		s->opened_ns = clock_monotonic_ns();
		image_unsent_add(i, (uint64_t)s->slot_count * s->shape.slot_bytes);
		rc = upload_segment(i->upload, s);
		segment_unpin(s);
	}
	i->clean_sequence = 0;
	i->made_count = 0;
	/* Another host may have let go of it meanwhile. */
	i->shared = (struct image_shared){ 0 };
	atomic_store(&i->log, log);
	if (!rc)
		return 0;
	/* What is queued may lack a segment: nothing may come after it. */
	image_fail(i, "failed", rc, "cannot begin the log: %s; what is not in the store is kept in %s", strerror(-rc),
	           segment_set_dir(i->set));
	return error_set(err, rc, "cannot begin the log: %s", strerror(-rc));
}

/* One that cannot be read may ask for history. */
static int load_policy(struct image *i, struct error *err)
{
	int rc = policy_load(i->engine->pool, i->id, &i->policy, err);

	i->policy_looked_ns = clock_monotonic_ns();
	if (rc != -EBADMSG)
		return rc;
	report_warning("%s; until it is set anew (garner history --keep) all history is kept", error_text(err));
	i->policy.history_s = HISTORY_MAX_S;
	return 0;
}

int image_acquire(struct image *i, bool force, struct error *err)
{
	struct engine *e = i->engine;
	struct log_view view = { 0 };
	int rc = log_view_load(e->pool, i->id, &view, err);

	if (rc)
		return rc;
	bool ours = !view.newest_epoch || view.owner_host == e->host.id;
	if (!ours && !view.released && !force)
		rc = lease_wait_expired(e->pool, &view, &e->stop_waiting, err);
	/* Our own lease must be good before others can see us as the owner. */
	if (!rc)
		rc = engine_renew_lease(e, err);
	if (!rc)
		rc = load_policy(i, err);
	if (!rc)
		rc = epoch_claim_patiently(e->pool, i->id, &e->host, &view, &e->stop_waiting, err);
	if (!rc)
		rc = image_same_log(i, &view, err);
	if (rc) {
		log_view_destroy(&view);
		return rc;
	}
	pthread_mutex_lock(&i->view_mutex);
	log_view_destroy(&i->view);
	i->view = view;
	i->epoch = view.newest_epoch;
	pthread_mutex_unlock(&i->view_mutex);
	/* Not whose the epoch was: an earlier claim of ours may have got no further, and another host's term be the newest. */
	bool goes_on = !force && view.writer_host == e->host.id;
	rc = image_load(i, goes_on, err);
	if (rc)
		return rc;
	/* Only now that the end is known does the term begin; the view is changed where readers cannot look meanwhile. */
	struct log_view copy = i->view;
	copy.terms = calloc(i->view.term_count + 1, sizeof *copy.terms);
	if (!copy.terms)
		return error_set(err, -ENOMEM, "out of memory");
	if (i->view.term_count)
		memcpy(copy.terms, i->view.terms, i->view.term_count * sizeof *copy.terms);
	rc = epoch_begin_term(e->pool, i->id, &copy, i->stored_end + 1, err);
	pthread_mutex_lock(&i->view_mutex);
	struct log_view old = i->view;
	i->view = copy;
	pthread_mutex_unlock(&i->view_mutex);
	log_view_destroy(&old);
	if (rc)
		return rc;
	if (!goes_on)
		i->last = i->stored_end;
	return start_log(i, err);
}

/* ---- being the owner ---- */

void image_fenced(struct image *i)
{
	image_fail(i, "fenced", -EIO, "another host has taken over; what was not uploaded is kept in %s",
	           segment_set_dir(i->set));
}

/* Looking costs one round trip; it is always right, whatever became of our lease meanwhile, or whoever forced a takeover. */
int image_entitled(struct image *i)
{
	struct engine *e = i->engine;
	struct error err = { 0 };

	if (atomic_load(&i->failed))
		return -EIO;
	int rc = epoch_superseded(e->pool, i->id, i->epoch, &err);
	if (rc == 1)
		image_fenced(i);
	else if (rc < 0)
		report_warning("image %016" PRIx64 ": cannot see whether it is still ours: %s", i->id,
		               error_text(&err));
	return rc ? -EIO : 0;
}

/* ---- handing over ---- */

struct upload_sync {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned refs;
	bool done;
	int result;
};

static void upload_sync_put(struct upload_sync *w)
{
	pthread_mutex_lock(&w->mutex);
	bool last = --w->refs == 0;
	pthread_mutex_unlock(&w->mutex);
	if (!last)
		return;
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->mutex);
	free(w);
}

static void upload_synced(void *arg, int result)
{
	struct upload_sync *w = arg;

	pthread_mutex_lock(&w->mutex);
	w->done = true;
	w->result = result;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mutex);
	upload_sync_put(w);
}

/* Waits until everything up to `number` is stored: 0, -ETIMEDOUT at the deadline, -EIO. */
static int wait_stored(struct upload *u, segment_no_t number, uint64_t deadline_ns)
{
	struct upload_sync *w = calloc(1, sizeof *w);
	int rc = 0;

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->mutex, NULL);
	clock_cond_init(&w->cond);
	w->refs = 2;
	rc = upload_wait(u, number, upload_synced, w);
	if (rc)
		w->refs = 1;
	pthread_mutex_lock(&w->mutex);
	while (!rc && !w->done) {
		uint64_t now = clock_monotonic_ns(), left = now < deadline_ns ? deadline_ns - now : 0;
		struct timespec ts;
		if (!left) {
			rc = -ETIMEDOUT;
			break;
		}
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_sec += (time_t)(left / 1000000000u);
		ts.tv_nsec += (long)(left % 1000000000u);
		ts.tv_sec += ts.tv_nsec / 1000000000;
		ts.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&w->cond, &w->mutex, &ts);
	}
	if (!rc)
		rc = w->result;
	pthread_mutex_unlock(&w->mutex);
	upload_sync_put(w);
	return rc;
}

/* Takes log and upload away once no operation uses them. */
static void stop_log(struct image *i)
{
	struct log *log = atomic_exchange(&i->log, NULL);
	struct timespec pause = { .tv_nsec = 1000000 };

	/* Flushes that wait for the store use them, too. What is sealed from here on is queued, and stays in its file. */
	upload_stop(i->upload);
	while (atomic_load(&i->users))
		nanosleep(&pause, NULL);
	log_drain(log);
	i->last = log_position(log).segment - 1;
	image_unsent_let_go(i);
	i->stored_end = upload_stored(i->upload);
	i->end_epoch = log_view_epoch_of(&i->view, i->last);
	i->position = (struct log_position){ i->last + 1, 0 };
	log_free(log);
	upload_free(i->upload);
	i->upload = NULL;
}

bool image_changed(struct image *i)
{
	return i->ahead || log_sequence(atomic_load(&i->log)) != i->clean_sequence;
}

int image_release(struct image *i, uint64_t deadline_ns, bool leave, struct error *err)
{
	struct log *log = atomic_load(&i->log);
	int rc = 0;

	if (!log)
		return 0;
	bool failed = atomic_load(&i->failed) != 0;
	if (!failed) {
		rc = image_changed(i) ? image_checkpoint(i, err) : 0;
		segment_no_t last = log_close_segment(log);
		engine_wait_begin(i->engine);
		/* What comes into the store makes room for it. */
		if (rc == -ENOSPC && leave && !wait_stored(i->upload, last ? last : i->last, deadline_ns)) {
			engine_make_room(i->engine);
			log_room_was_made(log);
			rc = image_checkpoint(i, err);
			last = log_close_segment(log);
		}
		if (!rc)
			rc = wait_stored(i->upload, last ? last : i->last, deadline_ns);
		engine_wait_end(i->engine);
		if (!rc)
			rc = image_update_head(i, err);
		if (!rc)
			trace_before_release(i);
		/* Nobody writes: SQLite gets the map as of the very end, so that the next opening replays nothing. */
		if (!rc)
			rc = image_save(i, err);
		failed = atomic_load(&i->failed) != 0;
	}
	if (rc && !failed && !leave)
		return rc == -ETIMEDOUT ? -EAGAIN : rc;
	stop_log(i);
	if (!rc && !failed)
		return epoch_release(i->engine->pool, i->id, &i->engine->host, &i->view, i->stored_end, err);
	return error_set(err, -EAGAIN, "image %016" PRIx64 ": data that is not in the store is kept in %s", i->id,
	                 segment_set_dir(i->set));
}
