/* SPDX-License-Identifier: GPL-3.0-only */
/* readahead.c: streams of reads: who is one, how wide its window is, and when more is asked for. */
#include "image/readahead.h"

#include "base/clock.h"
#include "image/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_MIN (2ull << 20)
#define WINDOW_MAX (32ull << 20)
#define CACHE_PART \
	32 /* of the cache a window may be: what is fetched ahead must not drive out itself before it is read */
#define WINDOW_LEAST (256ull << 10)
#define RUN_MIN 3              /* so many reads in a row make a stream */
#define SLACK (256ull << 10)   /* reads of one stream may come in another order by so much */
#define BATCH_MIN (1ull << 20) /* asked for at a time: a part of the window */
#define BATCH_MAX (4ull << 20)
#define BATCH_PART 8
#define IDLE_AFTER (64ull << 20) /* bytes that were all here */
#define PATCH (2ull << 20)
#define PATCH_APART_NS 4000000u /* misses closer to each other were asked for at once */
#define PATCH_LIFE_NS seconds_ns(60)
#define FULL_FACTOR 4 /* a request takes so many times the quickest: the link is full */

void readahead_init(struct readahead *r)
{
	memset(r, 0, sizeof *r);
	pthread_mutex_init(&r->mutex, NULL);
}

void readahead_destroy(struct readahead *r)
{
	pthread_mutex_destroy(&r->mutex);
}

/* ---- streams ---- */

/* One request for a stream. */
struct stream_fetch {
	struct image *image; /* readahead_begin() */
	uint64_t began_ns;
	uint64_t begin; /* where in the disk */
	uint64_t room;  /* what it may bring */
	bool patch;     /* not of a reader in disk order */
};

static void pump_job(void *arg);

/* Starts the job that looks for more; the mutex is held. */
static void start_pump(struct image *i)
{
	struct readahead *r = &i->readahead;

	if (r->pumping || !readahead_begin(i))
		return;
	if (executor_run(i->engine->prefetch, pump_job, i))
		readahead_end(i);
	else
		r->pumping = true;
}

/* How long a request took tells whether the link is full. The mutex is held. */
static void note_time(struct readahead *r, uint64_t took)
{
	if (!r->quickest_ns || took < r->quickest_ns)
		r->quickest_ns = took;
	else
		r->quickest_ns += r->quickest_ns / 64; /* links change */
	if (took < FULL_FACTOR * r->quickest_ns)
		return;
	for (int k = 0; k < READAHEAD_STREAMS; k++)
		if (r->stream[k].window > WINDOW_MIN)
			r->stream[k].window -= r->stream[k].window / 8;
}

static void stream_fetched(void *arg, uint64_t asked, uint64_t at, int result)
{
	struct stream_fetch *f = arg;
	struct image *i = f->image;
	struct readahead *r = &i->readahead;

	/* A failure is told to who reads it. */
	if (!result && !f->patch && at > f->begin)
		defrag_note(i, f->begin, at, asked);
	pthread_mutex_lock(&r->mutex);
	r->under_way -= f->room;
	if (asked >= BATCH_MIN / 2)
		note_time(r, clock_monotonic_ns() - f->began_ns);
	if (asked)
		start_pump(i);
	pthread_mutex_unlock(&r->mutex);
	free(f);
	readahead_end(i);
}

/* The stream that needs more, or NULL. */
static struct readahead_stream *hungry(struct readahead *r)
{
	struct readahead_stream *best = NULL;

	for (int k = 0; k < READAHEAD_STREAMS; k++) {
		struct readahead_stream *s = &r->stream[k];
		if (s->fetched < s->next)
			s->fetched = s->next;
		if (!s->window || s->idle || s->fetched >= s->next + s->window)
			continue;
		if (!best || s->fetched - s->next < best->fetched - best->next)
			best = s;
	}
	return best;
}

/* What came of asking, from `began` to `at`. */
static void note_asked(struct readahead *r, struct readahead_stream *s, uint64_t began, uint64_t at, uint64_t asked)
{
	/* Its place may have been given to another one meanwhile, or its reader have jumped. */
	if (s->fetched != began)
		return;
	s->fetched = at;
	if (asked) {
		s->present = 0;
		return;
	}
	s->present += at - began;
	if (s->present < IDLE_AFTER && at > began)
		return;
	s->idle = true;
	atomic_fetch_sub(&r->active, 1);
}

/* A patch that was asked for makes room; the mutex is held. */
static void end_patch(struct readahead *r, struct readahead_stream *s)
{
	if (s->run || !s->window || s->idle || s->fetched < s->next + s->window)
		return;
	*s = (struct readahead_stream){ 0 };
	atomic_fetch_sub(&r->active, 1);
}

static uint64_t batch_of(const struct readahead_stream *s)
{
	uint64_t part = s->window / BATCH_PART;

	return part < BATCH_MIN ? BATCH_MIN : part > BATCH_MAX ? BATCH_MAX : part;
}

/* Asks for the next batch of a stream. The mutex is not held. */
static int fetch_batch(struct image *i, uint64_t *at, uint64_t end, uint64_t room, bool patch, uint64_t *asked)
{
	struct stream_fetch *f = malloc(sizeof *f);
	int rc;

	if (!f)
		return -ENOMEM;
	if (!readahead_begin(i)) {
		free(f);
		return -ESHUTDOWN;
	}
	*f = (struct stream_fetch){ i, clock_monotonic_ns(), *at, room, patch };
	rc = readahead_fetch(i, at, end, room, asked, stream_fetched, f);
	if (rc) {
		readahead_end(i);
		free(f);
	}
	return rc;
}

static void pump_job(void *arg)
{
	struct image *i = arg;
	struct readahead *r = &i->readahead;
	struct readahead_stream *s;
	int rc = 0;

	pthread_mutex_lock(&r->mutex);
	while (!rc && r->under_way < WINDOW_MAX && (s = hungry(r))) {
		uint64_t began = s->fetched, at = began, end = s->next + s->window, asked = 0;

		uint64_t room = batch_of(s);
		bool patch = !s->run;

		r->under_way += room;
		pthread_mutex_unlock(&r->mutex);
		rc = fetch_batch(i, &at, end, room, patch, &asked);
		pthread_mutex_lock(&r->mutex);
		if (rc)
			r->under_way -= room;
		else
			note_asked(r, s, began, at, asked);
		end_patch(r, s);
	}
	r->pumping = false;
	pthread_mutex_unlock(&r->mutex);
	readahead_end(i);
}

/* ---- the way ahead ---- */

/* The stream for which it is to be looked further, or NULL: the way is known for as much again as its window. */
static struct readahead_stream *blind(struct readahead *r)
{
	for (int k = 0; k < READAHEAD_STREAMS; k++) {
		struct readahead_stream *s = &r->stream[k];
		if (s->scouted < s->next)
			s->scouted = s->next;
		if (s->run && s->window && !s->idle && s->scouted < s->next + s->window + s->window / 2)
			return s;
	}
	return NULL;
}

static void scout_job(void *arg)
{
	struct image *i = arg;
	struct readahead *r = &i->readahead;
	struct readahead_stream *s;
	int rc = 0;

	pthread_mutex_lock(&r->mutex);
	while (!rc && (s = blind(r))) {
		uint64_t from = s->scouted, end = s->next + 2 * s->window;
		s->scouted = end;
		pthread_mutex_unlock(&r->mutex);
		rc = readahead_find_way(i, from, end);
		pthread_mutex_lock(&r->mutex);
	}
	r->scouting = false;
	pthread_mutex_unlock(&r->mutex);
	readahead_end(i);
}

/* The mutex is held. */
static void start_scout(struct image *i)
{
	struct readahead *r = &i->readahead;

	if (r->scouting || !blind(r) || !readahead_begin(i))
		return;
	if (executor_run(i->engine->prefetch, scout_job, i))
		readahead_end(i);
	else
		r->scouting = true;
}

/* Whether a read at `offset` goes on where the stream's reader is. One that did not miss may be anywhere in what was fetched for
 * it: not all of those are heard of. */
static bool goes_on(const struct readahead_stream *s, uint64_t offset, uint64_t len, bool missed)
{
	uint64_t slack = 4 * len > SLACK ? 4 * len : SLACK;
	uint64_t end = missed || s->fetched < s->next ? s->next : s->fetched;

	return s->run && offset + slack >= s->next && offset <= end + slack;
}

/* A place for another stream: that of the one not used for longest. */
static struct readahead_stream *make_place(struct readahead *r)
{
	struct readahead_stream *oldest = &r->stream[0];

	for (int k = 1; k < READAHEAD_STREAMS; k++)
		if (r->stream[k].used < oldest->used)
			oldest = &r->stream[k];
	if (oldest->window && !oldest->idle)
		atomic_fetch_sub(&r->active, 1);
	return oldest;
}

/* The stream that the read belongs to. Without one, a read that missed begins one. */
static struct readahead_stream *find_stream(struct readahead *r, uint64_t offset, uint64_t len, bool missed)
{
	struct readahead_stream *s;

	for (int k = 0; k < READAHEAD_STREAMS; k++)
		if (goes_on(&r->stream[k], offset, len, missed))
			return &r->stream[k];
	if (!missed)
		return NULL;
	s = make_place(r);
	*s = (struct readahead_stream){ .next = offset };
	return s;
}

/* Whether a read missed in this patch before; else it is noted. */
static bool missed_before(struct readahead *r, uint64_t number)
{
	struct readahead_patch *p = &r->patch[number % READAHEAD_PATCHES];
	uint64_t now = clock_monotonic_ns();

	if (!p->missed_ns || p->number != number || now - p->missed_ns > PATCH_LIFE_NS) {
		*p = (struct readahead_patch){ number, now };
		return false;
	}
	return now - p->missed_ns > PATCH_APART_NS;
}

/* A read that goes on nowhere had to wait. */
static void note_jump(struct image *i, uint64_t offset)
{
	struct readahead *r = &i->readahead;
	uint64_t number = offset / PATCH;

	if (!missed_before(r, number))
		return;
	r->patch[number % READAHEAD_PATCHES].missed_ns = 0;
	struct readahead_stream *s = make_place(r);
	*s = (struct readahead_stream){
		.next = number * PATCH,
		.fetched = number * PATCH,
		.window = PATCH,
		.used = ++r->clock,
	};
	atomic_fetch_add(&r->active, 1);
	start_pump(i);
}

/* A reader had to wait: its stream begins, or its window was too small. */
static void widen(struct image *i, struct readahead_stream *s)
{
	struct readahead *r = &i->readahead;
	uint64_t most = cache_limit(i->engine->cache) / CACHE_PART;

	most = most > WINDOW_MAX ? WINDOW_MAX : most < WINDOW_LEAST ? WINDOW_LEAST : most;
	if (s->run < RUN_MIN)
		return;
	if (!s->window || s->idle) {
		atomic_fetch_add(&r->active, 1);
		s->idle = false;
		s->present = 0;
		s->window = most < WINDOW_MIN ? most : WINDOW_MIN;
		s->fetched = s->next;
	} else {
		s->window = 2 * s->window < most ? 2 * s->window : most;
	}
	if (s->fetched < s->next)
		s->fetched = s->next;
}

void readahead_note(struct image *i, uint64_t offset, uint64_t len, bool missed)
{
	struct readahead *r = &i->readahead;
	struct readahead_stream *s;

	/* Who does not wait for the store does not wait for this either: it is heard of with the next read. */
	if (missed)
		pthread_mutex_lock(&r->mutex);
	else if (pthread_mutex_trylock(&r->mutex))
		return;
	s = find_stream(r, offset, len, missed);
	if (s) {
		bool jumped = missed && !s->run;
		s->used = ++r->clock;
		/* One that goes back, or reads again, does not make it more of a stream. */
		if (offset + len > s->next) {
			s->run++;
			s->next = offset + len;
		}
		if (missed)
			widen(i, s);
		if (jumped)
			note_jump(i, offset);
		if (s->window && !s->idle && s->fetched < s->next + s->window - s->window / 4)
			start_pump(i);
		start_scout(i);
	}
	pthread_mutex_unlock(&r->mutex);
}

/* ---- beginning and end ---- */

bool readahead_begin(struct image *i)
{
	struct engine *e = i->engine;

	pthread_mutex_lock(&e->mutex);
	/* A deleted image goes when nobody has it open. */
	bool go = !e->ahead_stopped && !i->ahead_holds && !(i->unlinked && i->refs == i->aheads);
	if (go) {
		i->refs++;
		i->aheads++;
		e->aheads++;
	}
	pthread_mutex_unlock(&e->mutex);
	return go;
}

void readahead_end(struct image *i)
{
	struct engine *e = i->engine;

	/* At once: without the reference it may be gone. Nobody used it, so it is idle since when it was. */
	pthread_mutex_lock(&e->mutex);
	i->refs--;
	bool last = --i->aheads == 0;
	last |= --e->aheads == 0;
	if (last)
		pthread_cond_broadcast(&e->ahead_ended);
	pthread_mutex_unlock(&e->mutex);
}

void readahead_hold(struct image *i)
{
	struct engine *e = i->engine;

	pthread_mutex_lock(&e->mutex);
	i->ahead_holds++;
	while (i->aheads)
		pthread_cond_wait(&e->ahead_ended, &e->mutex);
	pthread_mutex_unlock(&e->mutex);
}

void readahead_resume(struct image *i)
{
	pthread_mutex_lock(&i->engine->mutex);
	i->ahead_holds--;
	pthread_mutex_unlock(&i->engine->mutex);
}

void readahead_stop(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	e->ahead_stopped = true;
	while (e->aheads)
		pthread_cond_wait(&e->ahead_ended, &e->mutex);
	pthread_mutex_unlock(&e->mutex);
}
