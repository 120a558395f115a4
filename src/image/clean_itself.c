/* SPDX-License-Identifier: GPL-3.0-only */
/* clean_itself.c: images that are written here are cleaned when too much of what is stored of them is garbage, and what is read in disk
 * order and lies scattered is put in that order. */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEP_MS 50
/* Less garbage than in so many segments is not worth a look; nor, for a while, is an image of which nothing could be done about what the last look
 * found. */
#define SEGMENTS_MIN 16u
#define AGAIN_NS seconds_ns(60)

void clean_note_stored(struct image *i, uint64_t slots, uint64_t written)
{
	atomic_fetch_add_explicit(&i->clean_state.slots, slots, memory_order_relaxed);
	atomic_fetch_add_explicit(&i->clean_state.written, written, memory_order_relaxed);
}

/* Slots that wait for their upload, without those that packing will leave out, as far as can be told from what it has left out so far. A
 * busy host may let half a minute of them gather. */
static uint64_t waiting_slots(struct image *i)
{
	uint64_t slots = atomic_load(&i->clean_state.slots), written = atomic_load(&i->clean_state.written), bytes = 0;

	struct log *log = image_use_log(i);

	if (log) {
		bytes = upload_bytes(i->upload, NULL) + log_open_bytes(log);
		image_unuse_log(i);
	}
	double part = written ? (double)slots / (double)written : 1;
	return (uint64_t)(part * (double)(bytes >> i->grain_shift));
}

/* By what the last look found, and what was written since. What was stored before this host had the image is not known until then. */
static bool has_too_much(struct image *i)
{
	struct clean_state *s = &i->clean_state;
	uint64_t target = i->engine->options.gc_target, waiting = waiting_slots(i);

	pthread_mutex_lock(&s->mutex);
	uint64_t stored = s->stored + (atomic_load(&s->slots) - s->appended), allocated = image_allocated(i);
	uint64_t live = s->live + allocated - (allocated < s->allocated ? allocated : s->allocated);
	bool looked = s->stored != 0;
	pthread_mutex_unlock(&s->mutex);
	uint64_t least = (uint64_t)SEGMENTS_MIN * i->engine->options.segment_size >> i->grain_shift;
	if (!looked)
		return stored >= least;
	stored += waiting;
	uint64_t garbage = stored > live ? stored - live : 0;
	return garbage >= least && clean_is_too_much(garbage, stored, target);
}

static bool is_worth_it(struct image *i)
{
	struct clean_state *s = &i->clean_state;

	pthread_mutex_lock(&s->mutex);
	bool rests = clock_monotonic_ns() < s->rest_until_ns, again = s->again;
	pthread_mutex_unlock(&s->mutex);
	if (rests)
		return false;
	return again || (i->engine->options.gc_target <= 100 && has_too_much(i)) || clean_is_due(i->engine, i->id);
}

/* Tells of the rounds since the last one after which there was nothing more to do; the mutex is held. */
static void tell(struct image *i, const struct clean_result *r)
{
	struct clean_state *s = &i->clean_state;

	s->removed += r->removed_segments;
	s->moved += r->moved_segments;
	if (s->again)
		return;
	if (s->removed || s->moved)
		report_notice("image %016" PRIx64 ": cleaned: %" PRIu64 " segments deleted, %" PRIu64
		              " emptied, %" PRIu64 " wait for their deletion",
		              i->id, s->removed, s->moved, r->waiting_segments);
	s->removed = s->moved = 0;
}

static void clean_one(struct image *i)
{
	struct engine *e = i->engine;
	struct clean_options options = { 0 };
	struct clean_result result;
	struct error err = { 0 };

	int rc = clean_image(e, i->id, &options, true, NULL, NULL, &result, &err);

	if (rc == -EALREADY)
		return;
	pthread_mutex_lock(&i->clean_state.mutex);
	if (rc || (i->clean_state.stuck && !result.moved_segments && !result.removed_segments))
		i->clean_state.rest_until_ns = clock_monotonic_ns() + AGAIN_NS;
	tell(i, &result);
	pthread_mutex_unlock(&i->clean_state.mutex);
	if (rc && rc != -EINTR)
		report_warning("%s", error_text(&err));
}

static bool is_at_work(struct image *i)
{
	return !engine_is_stopping(i->engine) && atomic_load(&i->log) && !atomic_load(&i->failed) && !i->unlinked;
}

/* Gives the reference back, as the next one. */
static void clean_if_worth_it(struct image *i)
{
	if (is_at_work(i) && is_worth_it(i))
		clean_one(i);
	image_put(i);
}

static void defragment(struct image *i)
{
	struct error err = { 0 };

	if (is_at_work(i) && defrag_step(i, &err))
		report_warning("%s", error_text(&err));
	image_put(i);
}

static void *cleaner(void *arg)
{
	struct engine *e = arg;

	while (!engine_is_stopping(e)) {
		struct timespec pause = { .tv_nsec = STEP_MS * 1000000 };

		nanosleep(&pause, NULL);
		images_each(e, clean_if_worth_it);
		if (atomic_exchange(&e->fragmented, false))
			images_each(e, defragment);
	}
	return NULL;
}

int clean_start(struct engine *e, struct error *err)
{
	int rc = pthread_create(&e->cleaner, NULL, cleaner, e);

	e->cleaner_runs = !rc;
	return rc ? error_set(err, -rc, "cannot start a thread: %s", strerror(rc)) : 0;
}

void clean_stop(struct engine *e)
{
	if (e->cleaner_runs)
		pthread_join(e->cleaner, NULL);
	e->cleaner_runs = false;
}
