/* SPDX-License-Identifier: GPL-3.0-only */
/* clean.c: one cleaning of an image from end to end. See clean.h for the rules. */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* So often it is tried again when something came in between; and so many rounds of moving are made at a time. */
#define TRIES 20
#define ROUNDS 1000
#define TRIES_TO_LOOK 3
#define PAUSE_MS 20
/* More than such a part of dirty_limit is behind. */
#define BEHIND_PART 8
/* A round takes so long beside guests, less when in that time more than such a part of what is stored would be added to it: that is what is
 * stored above the target when the round ends. */
#define ROUND_NS 1000000000u
#define ROUND_NS_MIN 250000000u
#define GROWTH_PART 32
/* And by itself looking takes no more than such a part of the time: in a big image that reads many nodes. */
#define LOOK_PART 8
/* By itself it is looked so seldom for what is held and need not be. */
#define HOLDS_NS seconds_ns(60)

static void pause_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

/* ---- a checkpoint in the store ---- */

struct going_on {
	struct clean *clean;
};

static bool flush_progress(void *arg, uint64_t left)
{
	struct going_on *g = arg;

	return clean_goes_on(g->clean, CLEAN_SETTLE, left, 0);
}

/* Where everything after the checkpoint begins, and what comes before it as far as the chain of digests needs it. */
static void take_checkpoint(struct clean *c, segment_no_t segment, const struct checkpoint *body)
{
	segment_no_t cut = body->position.segment < segment ? body->position.segment : segment;

	c->checkpoint = *body;
	c->segment = segment;
	c->floor = cut ? cut - 1 : 0;
}

/* The newest checkpoint, made if need be, or a later one; the open_mutex is held. 1: it is not in the store yet. */
static int newest_checkpoint(struct clean *c, bool *fresh, segment_no_t *made)
{
	struct image *i = c->image;
	struct checkpoint body;
	int rc = 0;

	if (!atomic_load(&i->log) || atomic_load(&i->failed))
		return error_set(c->err, -EIO, "the image has stopped: see garner status");
	/* One is enough: guests go on writing. */
	if (*fresh || (!*made && (image_changed(i) || !i->saved.checkpoint.segment))) {
		rc = image_checkpoint(i, c->err);
		*fresh = false;
		*made = i->saved.checkpoint.segment;
		if (!rc)
			(void)log_close_segment(atomic_load(&i->log));
		return rc ? rc : 1;
	}
	const struct map_state *st = &i->saved;
	/* Guests that write much have others made before it is there. */
	if (upload_stored(i->upload) < st->checkpoint.segment)
		st = *made ? image_stored_checkpoint(i) : NULL;
	if (!st || st->checkpoint.segment < *made)
		return 1;
	segment_no_t segment = st->checkpoint.segment;
	rc = image_read_checkpoint(i, segment, &body, c->err);
	if (rc)
		return rc;
	/* The map here was loaded from an older one: what it leads to besides is written anew by a checkpoint. */
	*fresh = body.root != st->checkpoint_root;
	/* The checkpoints of these are older, and have no names yet. */
	if (*fresh || atomic_load(&i->moments))
		return 1;
	rc = image_update_head(i, c->err);
	if (!rc)
		take_checkpoint(c, segment, &body);
	return rc;
}

/* While so much waits for its upload that a checkpoint made now would be in the store much later: the newest that is there, made here and not
 * looked at yet; the open_mutex is held. What the map in memory leads to besides came after it. 1: there is none now. */
static int stored_checkpoint(struct clean *c)
{
	struct image *i = c->image;
	struct checkpoint body;

	if (!atomic_load(&i->log) || atomic_load(&i->failed))
		return error_set(c->err, -EIO, "the image has stopped: see garner status");
	const struct map_state *st = image_stored_checkpoint(i);
	/* The checkpoints of snapshots that are being made may be older, and have no names yet. */
	if (!st || st->checkpoint.segment <= i->clean_state.checkpoint || atomic_load(&i->moments))
		return 1;
	int rc = image_update_head(i, c->err);
	if (!rc)
		rc = image_read_checkpoint(i, st->checkpoint.segment, &body, c->err);
	if (!rc && body.root != st->checkpoint_root)
		rc = error_set(c->err, -EIO, "segment %" PRIu64 " holds another checkpoint than was written there",
		               st->checkpoint.segment);
	if (!rc)
		take_checkpoint(c, st->checkpoint.segment, &body);
	return rc;
}

static bool is_behind(const struct clean *c)
{
	const struct engine *e = c->image->engine;

	return c->by_itself && atomic_load(&e->unsent) > e->options.dirty_limit / BEHIND_PART;
}

/* Nobody waits for this image: others have their turns first. */
static int not_now(struct clean *c)
{
	return error_set(c->err, -EALREADY, "there is nothing new of it to be looked at yet");
}

/* 1: uploads have caught up. */
static int settle_behind(struct clean *c)
{
	if (!is_behind(c))
		return 1;
	pthread_mutex_lock(&c->image->open_mutex);
	int rc = stored_checkpoint(c);
	pthread_mutex_unlock(&c->image->open_mutex);
	return rc == 1 ? not_now(c) : rc;
}

static int check_head(struct clean *c)
{
	struct image *i = c->image;
	struct head head;
	int rc = head_load(i->engine->pool, i->id, &head, c->err);

	if (!rc && (head.epoch != i->epoch || head.checkpoint.segment < c->segment)) {
		/* Of an epoch of ours that came before: nothing was written since. */
		bool same = head.checkpoint.segment == c->segment;
		rc = same ? 0 : error_set(c->err, -EAGAIN, "the store does not give back the head that was written");
	}
	return rc;
}

static int settle(struct clean *c, bool fresh)
{
	struct image *i = c->image;
	struct going_on g = { c };
	segment_no_t made = 0; /* where */
	int rc = settle_behind(c);

	for (int k = 0; rc == 1 && k < TRIES * 50;) {
		if (!clean_goes_on(c, CLEAN_SETTLE, 0, 0))
			return -EINTR;
		pthread_mutex_lock(&i->open_mutex);
		rc = newest_checkpoint(c, &fresh, &made);
		bool stored =
			rc == 1 && !atomic_load(&i->failed) && upload_stored(i->upload) >= i->saved.checkpoint.segment;
		pthread_mutex_unlock(&i->open_mutex);
		if (rc == 1 && c->by_itself && atomic_load(&i->moments))
			return not_now(c);
		k += stored || !c->by_itself;
		/* A snapshot is being made; or nobody waits for this cleaning, and a rush of guests comes first. */
		if (rc == 1 && ((stored && !fresh) || c->by_itself))
			pause_ms(PAUSE_MS);
		else if (rc == 1 && (rc = engine_flush(i->engine, i->id, flush_progress, &g, c->err)) == 0)
			rc = 1;
	}
	if (rc == 1)
		rc = error_set(c->err, -EAGAIN, "no checkpoint stays the newest for long enough: try again");
	return rc ? rc : check_head(c);
}

/* ---- rounds ---- */

static void round_end(struct clean *c)
{
	live_destroy(&c->live);
	free(c->roots);
	free(c->stored);
	c->roots = NULL;
	c->stored = NULL;
	c->root_count = c->stored_count = 0;
}

/* Reads the checkpoint's and the snapshots' maps, and what is stored. */
static int look(struct clean *c)
{
	int rc = clean_find_roots(c, &c->roots, &c->root_count);

	if (!rc)
		rc = clean_mark(c);
	if (!rc)
		rc = clean_list(c);
	return rc;
}

uint64_t clean_slots_of(struct clean *c, const struct stored_segment *s)
{
	struct segment *known = segment_pin_known(c->image->set, s->number);
	uint64_t slots = 0;

	if (known && atomic_load(&known->life) == LIFE_STORED)
		slots = atomic_load(&known->stored_slots) ? atomic_load(&known->stored_slots) : known->slot_count;

	if (known)
		segment_unpin(known);
	return slots ? slots : c->image->engine->options.segment_size / c->image->grain_bytes;
}

/* By how much was added since the last look. */
static uint64_t length_of_round(struct clean_state *s, uint64_t stored)
{
	uint64_t now = clock_monotonic_ns(), slots = atomic_load(&s->slots);
	double in_ns = s->looked_ns ? (double)(now - s->looked_ns) : ROUND_NS,
	       added = (double)(slots - s->appended) + 1;
	double ns = (double)stored / GROWTH_PART / added * in_ns;

	s->looked_ns = now;
	s->appended = slots;
	return ns < ROUND_NS_MIN ? ROUND_NS_MIN : ns < ROUND_NS ? (uint64_t)ns : ROUND_NS;
}

/* How much of the garbage in segments that are still needed is too much, in slots. */
static void set_wanted(struct clean *c)
{
	struct image *i = c->image;
	uint64_t stored = 0, live = 0, target = i->engine->options.gc_target;

	for (size_t k = 0; k < c->stored_count; k++) {
		segment_no_t number = c->stored[k].number;
		if ((number < c->floor && live_is_garbage(&c->live, number)) || clean_is_emptied(c, number))
			continue;
		uint64_t slots = clean_slots_of(c, &c->stored[k]), needed = live_union(&c->live, number);
		stored += slots;
		bool whole = number >= c->floor || live_is_kept(&c->live, number);
		live += !whole && needed < slots ? needed : slots;
	}
	uint64_t allowed = clean_allowed(stored, target);
	uint64_t garbage = stored - live;
	c->wanted = !c->by_itself ? UINT64_MAX : clean_is_too_much(garbage, stored, target) ? garbage - allowed : 0;
	c->pressure = clean_pressure(garbage, allowed);
	pthread_mutex_lock(&i->clean_state.mutex);
	i->clean_state.stored = stored;
	i->clean_state.live = live;
	i->clean_state.allocated = c->checkpoint.allocated;
	c->round_ns = length_of_round(&i->clean_state, stored);
	pthread_mutex_unlock(&i->clean_state.mutex);
}

static void count_stored(struct clean *c)
{
	c->result->segments = c->stored_count;
	c->result->bytes = 0;
	for (size_t k = 0; k < c->stored_count; k++)
		c->result->bytes += c->stored[k].bytes;
}

/* One round. Returns how many segments were emptied, or an error. */
static int64_t run_round(struct clean *c, bool first, bool fresh)
{
	int64_t rc = 0;

	c->began_ns = clock_monotonic_ns();
	for (int k = 0; k < TRIES; k++) {
		_Atomic unsigned *settling = &c->image->engine->settling;
		atomic_fetch_add(settling, c->by_itself);
		rc = settle(c, fresh);
		atomic_fetch_sub(settling, c->by_itself);
		uint64_t settled_ns = clock_monotonic_ns();
		if (!rc)
			rc = look(c);
		c->look_ns = clock_monotonic_ns() - settled_ns;
		if (!rc)
			clean_forget_emptied(c);
		if (!rc && first && !k)
			count_stored(c);
		if (!rc)
			rc = clean_sweep(c);
		if (rc != -EAGAIN)
			break;
		round_end(c);
		pause_ms(PAUSE_MS * (unsigned)(k + 1));
	}
	if (!rc) {
		set_wanted(c);
		rc = clean_move(c);
	}
	pthread_mutex_lock(&c->image->clean_state.mutex);
	c->image->clean_state.stuck = !rc && c->wanted;
	pthread_mutex_unlock(&c->image->clean_state.mutex);
	round_end(c);
	return rc;
}

/* Rounds until nothing is to be won. */
static int run(struct clean *c)
{
	int64_t rc = clean_holds(c);

	rc = rc ? rc : 1;
	for (int k = 0; rc > 0 && k < ROUNDS; k++)
		rc = run_round(c, !k, k > 0);
	return rc < 0 ? (int)rc : 0;
}

/* One round: under guests that never pause there is always something to be won, and other images want their turns. */
static int run_turn(struct clean *c)
{
	struct clean_state *s = &c->image->clean_state;
	uint64_t now = clock_monotonic_ns();
	bool hold = !s->held_ns || now - s->held_ns > HOLDS_NS;
	int64_t rc = hold ? clean_holds(c) : 0;

	if (!rc && hold)
		s->held_ns = now;
	pthread_mutex_lock(&s->mutex);
	bool again = s->again;
	pthread_mutex_unlock(&s->mutex);
	if (!rc)
		rc = run_round(c, true, again);
	uint64_t looking = c->look_ns * LOOK_PART, round = looking > c->round_ns ? looking : c->round_ns;
	pthread_mutex_lock(&s->mutex);
	if (rc == -EALREADY) {
		s->rest_until_ns = c->began_ns + ROUND_NS_MIN;
	} else {
		s->again = rc > 0;
		s->rest_until_ns = c->began_ns + (rc > 0 ? round : looking);
	}
	pthread_mutex_unlock(&s->mutex);
	return rc < 0 ? (int)rc : 0;
}

/* ---- without changing anything ---- */

/* The newest checkpoint in the store; none: nothing is known to be garbage. */
static int look_once(struct clean *c)
{
	struct image *i = c->image;
	struct checkpoint body = { .root = MAP_ENTRY_NONE };
	segment_no_t segment;
	int rc = 0;

	pthread_mutex_lock(&i->open_mutex);
	/* After a hand-over it is that of this host's own time. */
	if (!atomic_load(&i->log))
		segment = i->saved.checkpoint.segment > i->end_checkpoint.segment &&
		                          i->saved.checkpoint.segment <= i->stored_end
		                  ? i->saved.checkpoint.segment
		                  : i->end_checkpoint.segment;
	else if (upload_stored(i->upload) >= i->saved.checkpoint.segment)
		segment = i->saved.checkpoint.segment;
	else
		segment = i->head_checkpoint.segment;
	if (segment)
		rc = image_read_checkpoint(i, segment, &body, c->err);
	pthread_mutex_unlock(&i->open_mutex);
	if (!rc)
		take_checkpoint(c, segment, &body);
	return rc ? rc : look(c);
}

/* A cleaning may go on meanwhile, and take what an older checkpoint leads to. */
static int look_only(struct clean *c)
{
	int rc = look_once(c);

	for (int k = 1; rc == -EIO && k < TRIES_TO_LOOK; k++) {
		round_end(c);
		rc = look_once(c);
	}
	return rc;
}

static int dry_run(struct clean *c)
{
	struct clean_result *r = c->result;
	int rc = look_only(c);

	if (!rc)
		count_stored(c);
	for (size_t k = 0; !rc && k < c->stored_count; k++)
		if (c->stored[k].number < c->floor && live_is_garbage(&c->live, c->stored[k].number)) {
			r->removed_segments++;
			r->removed_bytes += c->stored[k].bytes;
		}
	c->wanted = UINT64_MAX;
	if (!rc)
		rc = clean_would_move(c, &r->moved_segments, &r->moved_bytes);
	round_end(c);
	return rc;
}

/* ---- the calls ---- */

int clean_image(struct engine *e, uint64_t id, const struct clean_options *options, bool by_itself,
                clean_progress_fn *progress, void *arg, struct clean_result *result, struct error *err)
{
	unsigned how = options->dry_run ? IMAGE_READ : IMAGE_READ | IMAGE_WRITE;
	struct clean c = { .options = *options,
		           .by_itself = by_itself,
		           .result = result,
		           .progress = progress,
		           .arg = arg,
		           .err = err };

	memset(result, 0, sizeof *result);
	int rc = image_open(e, id, how, &c.image, err);
	if (rc)
		return rc;
	if (c.image->snapshot) {
		image_close(c.image, how);
		return error_set(err, -EINVAL, "a snapshot is not cleaned: its image is");
	}
	if (options->dry_run) {
		rc = dry_run(&c);
	} else if (!by_itself) {
		pthread_mutex_lock(&c.image->clean_mutex);
		rc = run(&c);
		pthread_mutex_unlock(&c.image->clean_mutex);
	} else if (!pthread_mutex_trylock(&c.image->clean_mutex)) {
		rc = run_turn(&c);
		pthread_mutex_unlock(&c.image->clean_mutex);
	} else {
		rc = error_set(err, -EALREADY, "it is being cleaned");
	}
	image_close(c.image, how);
	if (rc == -EINTR)
		return error_set(err, rc, "stopped; what was done is done");
	return rc ? error_prefix(err, rc, "cannot clean image %016" PRIx64, id) : 0;
}

int engine_clean(struct engine *e, uint64_t id, const struct clean_options *options, clean_progress_fn *progress,
                 void *arg, struct clean_result *result, struct error *err)
{
	return clean_image(e, id, options, false, progress, arg, result, err);
}

/* ---- space ---- */

int engine_space(struct engine *e, uint64_t id, struct image_space *space, struct error *err)
{
	struct clean_options options = { .dry_run = true };
	struct clean_result result = { 0 };
	struct clean c = { .options = options, .result = &result, .err = err };
	struct node_attr attr = { 0 };

	memset(space, 0, sizeof *space);
	int rc = image_open(e, id, IMAGE_READ, &c.image, err);
	if (rc)
		return rc;
	if (c.image->snapshot) {
		image_close(c.image, IMAGE_READ);
		return error_set(err, -EINVAL, "a snapshot takes no space of its own: see its image");
	}
	rc = look_only(&c);
	if (!rc)
		rc = clean_measure(&c, space);
	if (c.checkpoint.allocated > c.own)
		space->shared = (c.checkpoint.allocated - c.own) << c.image->grain_shift;
	round_end(&c);
	image_stat(c.image, &attr);
	space->logical = attr.size;
	space->allocated = attr.allocated_bytes;
	image_close(c.image, IMAGE_READ);
	return rc ? error_prefix(err, rc, "cannot tell what image %016" PRIx64 " takes", id) : 0;
}
