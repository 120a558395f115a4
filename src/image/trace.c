/* SPDX-License-Identifier: GPL-3.0-only */
/* trace.c: boot traces: recorded without a lock, kept as a small object, and fetched ahead run by run. */
#include "image/trace.h"

#include "base/clock.h"
#include "image/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PLACES (4 * TRACE_UNITS) /* of the set; a power of two */
#define BATCH (1u << 20)         /* asked for at a time */
#define NEWS 10                  /* one in so many units */
#define COLD 2                   /* less than one in so many bytes of the image is here */

/* ---- runs of units, as text: "first" or "first+count", hexadecimal, parted by blanks ---- */

/* The run that begins with units[0]. */
static struct trace_run first_run(const uint32_t *units, size_t count)
{
	struct trace_run run = { units[0], 1 };

	while (run.count < count && units[run.count] == run.first + run.count)
		run.count++;
	return run;
}

struct fields *trace_encode(const uint32_t *units, size_t count)
{
	char *text = calloc(1, TRACE_TEXT_MAX + 1), word[24];
	struct fields *f = text ? fields_new() : NULL;
	size_t length = 0;

	for (size_t k = 0; f && k < count;) {
		struct trace_run run = first_run(units + k, count - k);
		int n = snprintf(word, sizeof word, run.count > 1 ? "%s%" PRIx32 "+%" PRIx32 : "%s%" PRIx32,
		                 k ? " " : "", run.first, run.count);
		if (length + (size_t)n > TRACE_TEXT_MAX)
			break;
		memcpy(text + length, word, (size_t)n + 1);
		length += (size_t)n;
		k += run.count;
	}
	if (f) {
		fields_add_u64(f, "unit", TRACE_UNIT_BYTES);
		fields_add_text(f, "runs", text);
	}
	free(text);
	return f;
}

/* Reads lower-case hexadecimal digits that are no more than `most`; moves *text. */
static int read_hex(const char **text, uint32_t most, uint32_t *value)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t n = 0;
	const char *digit, *at = *text;

	for (; *at && (digit = strchr(digits, *at)); at++) {
		n = n << 4 | (uint64_t)(digit - digits);
		if (n > most)
			return -EBADMSG;
	}
	if (at == *text)
		return -EBADMSG;
	*text = at;
	*value = (uint32_t)n;
	return 0;
}

/* One run; moves *text behind it and behind the blank before the next one. */
static int read_run(const char **text, uint32_t room, struct trace_run *run)
{
	int rc = read_hex(text, TRACE_UNIT_MAX, &run->first);

	run->count = 1;
	if (!rc && **text == '+') {
		(*text)++;
		rc = read_hex(text, room, &run->count);
	}
	if (rc || !run->count || run->count > room || run->count - 1 > TRACE_UNIT_MAX - run->first)
		return -EBADMSG;
	if (!**text)
		return 0;
	return *(*text)++ == ' ' && **text ? 0 : -EBADMSG;
}

int trace_decode(const struct fields *f, struct trace_run **runs, size_t *count)
{
	const char *text = fields_text(f, "runs", 0);
	struct trace_run *list;
	uint32_t room = TRACE_UNITS;
	size_t n = 1, k = 0;
	uint64_t unit;
	int rc = 0;

	if (fields_u64(f, "unit", &unit) || unit != TRACE_UNIT_BYTES || !text || !*text)
		return -EBADMSG;
	for (const char *p = text; *p && n < TRACE_UNITS; p++)
		n += *p == ' ';
	list = calloc(n, sizeof *list);
	if (!list)
		return -ENOMEM;
	for (; !rc && *text; k++) {
		rc = k < n ? read_run(&text, room, &list[k]) : -EBADMSG;
		room -= rc ? 0 : list[k].count;
	}
	if (rc) {
		free(list);
		return rc;
	}
	*runs = list;
	*count = k;
	return 0;
}

/* ---- whether it is worth keeping ---- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

bool trace_is_news(const uint32_t *units, size_t count, bool whole, const struct trace_run *old, size_t old_count)
{
	size_t common = 0, old_units = 0;
	uint32_t *sorted;

	if (count < TRACE_UNITS_MIN)
		return false;
	sorted = old ? malloc(count * sizeof *sorted) : NULL;
	if (!sorted)
		return true;
	memcpy(sorted, units, count * sizeof *sorted);
	qsort(sorted, count, sizeof *sorted, by_number);
	for (size_t k = 0; k < old_count; k++) {
		old_units += old[k].count;
		for (uint32_t n = 0; n < old[k].count; n++) {
			uint32_t unit = old[k].first + n;
			common += bsearch(&unit, sorted, count, sizeof *sorted, by_number) != NULL;
		}
	}
	free(sorted);
	/* A trace from elsewhere may name a unit twice. */
	common = common < count ? common : count;
	return count - common > count / NEWS || (whole && old_units - common > old_units / NEWS);
}

/* ---- the object ---- */

int trace_load(struct pool *p, uint64_t image, struct trace_run **runs, size_t *count, struct error *err)
{
	char key[STORE_KEY_MAX + 1];
	struct fields *f;
	int rc;

	rc = image_get_object(p, image, "trace", OBJECT_TRACE, key, &f, err);
	if (rc)
		return rc;
	rc = trace_decode(f, runs, count);
	fields_free(f);
	if (rc == -ENOMEM)
		error_set(err, rc, "out of memory");
	else if (rc)
		error_set(err, rc, "%s: a field is missing or damaged", key);
	return rc;
}

static int trace_put(struct pool *p, uint64_t image, const uint32_t *units, size_t count, struct error *err)
{
	struct fields *f = trace_encode(units, count);
	int rc;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	rc = image_put_object(p, image, "trace", OBJECT_TRACE, f, err);
	fields_free(f);
	return rc;
}

/* ---- recording ---- */

struct trace_recording {
	_Atomic uint64_t begun_ns; /* when there was enough to be kept; 0: not yet */
	_Atomic uint32_t count;    /* may pass TRACE_UNITS by the number of threads */
	uint32_t order[TRACE_UNITS];
	_Atomic uint32_t set[PLACES]; /* unit + 1, or 0 */
};

/* Adds the unit; whether it was not there. */
static bool set_add(struct trace_recording *r, uint32_t unit)
{
	uint32_t at = unit * 2654435769u >> 16, seen;

	for (unsigned tries = 0; tries < PLACES; tries++, at++) {
		_Atomic uint32_t *place = &r->set[at % PLACES];
		seen = atomic_load_explicit(place, memory_order_relaxed);
		if (!seen && atomic_compare_exchange_strong(place, &seen, unit + 1))
			return true;
		if (seen == unit + 1)
			return false;
	}
	return false;
}

/* False when there is no room for more. */
static bool note_unit(struct trace *t, struct trace_recording *r, uint32_t unit)
{
	uint32_t n = atomic_load_explicit(&r->count, memory_order_relaxed);

	if (n < TRACE_UNITS) {
		if (!set_add(r, unit))
			return true;
		n = atomic_fetch_add(&r->count, 1);
	}
	if (n < TRACE_UNITS)
		r->order[n] = unit;
	if (n + 1 == TRACE_UNITS_MIN)
		atomic_store(&r->begun_ns, clock_monotonic_ns());
	if (n + 1 >= TRACE_UNITS)
		atomic_store(&t->listening, false);
	return n + 1 < TRACE_UNITS;
}

void trace_note(struct trace *t, uint64_t offset, uint64_t len)
{
	uint64_t unit = offset / TRACE_UNIT_BYTES, last = (offset + len - 1) / TRACE_UNIT_BYTES;

	atomic_fetch_add(&t->users, 1);
	struct trace_recording *r = atomic_load(&t->recording);
	while (r && unit <= last && unit <= TRACE_UNIT_MAX && note_unit(t, r, (uint32_t)unit))
		unit++;
	atomic_fetch_sub(&t->users, 1);
}

/* Ends the recording; the caller frees it. */
static struct trace_recording *take_recording(struct trace *t)
{
	struct timespec pause = { .tv_nsec = 1000000 };

	atomic_store(&t->listening, false);
	struct trace_recording *r = atomic_exchange(&t->recording, NULL);
	while (r && atomic_load(&t->users))
		nanosleep(&pause, NULL);
	return r;
}

void trace_destroy(struct trace *t)
{
	free(take_recording(t));
}

static void begin_recording(struct trace *t)
{
	struct trace_recording *r = calloc(1, sizeof *r);

	if (!r)
		return;
	atomic_store(&t->recording, r);
	atomic_store(&t->listening, true);
}

static bool time_is_up(struct trace_recording *r)
{
	uint64_t begun = atomic_load(&r->begun_ns);

	return begun && clock_monotonic_ns() - begun > seconds_ns(TRACE_SECONDS);
}

/* A trace is but a hint, and still not one to be put where a new owner's is, or where the image was deleted. */
static int save(struct image *i, const uint32_t *units, size_t count, bool whole, struct error *err)
{
	struct pool *p = i->engine->pool;
	struct trace_run *old = NULL;
	size_t old_count = 0;
	int rc = trace_load(p, i->id, &old, &old_count, err);

	if (rc == -ENOENT || rc == -EBADMSG)
		rc = 0;
	if (!rc && trace_is_news(units, count, whole, old, old_count)) {
		rc = image_entitled(i);
		rc = rc ? error_set(err, rc, "the image is not ours") : trace_put(p, i->id, units, count, err);
	}
	free(old);
	return rc;
}

/* Keeps what was recorded if this host may. */
static void end_recording(struct image *i)
{
	struct trace_recording *r = atomic_load(&i->trace.recording);
	struct error err = { 0 };
	int rc = 0;

	if (!r)
		return;
	bool whole = !trace_listens(&i->trace) || time_is_up(r);
	/* Nobody else takes it: open_mutex is held. */
	(void)take_recording(&i->trace);
	uint32_t count = atomic_load(&r->count);
	count = count < TRACE_UNITS ? count : TRACE_UNITS;
	if (count >= TRACE_UNITS_MIN && atomic_load(&i->log) && !atomic_load(&i->failed))
		rc = save(i, r->order, count, whole, &err);
	if (rc)
		report_debug("image %016" PRIx64 ": the boot trace is not kept: %s", i->id, error_text(&err));
	free(r);
}

static bool store_answers(struct engine *e)
{
	pthread_mutex_lock(&e->mutex);
	bool answers = !e->store_error[0];
	pthread_mutex_unlock(&e->mutex);
	return answers;
}

void trace_tend(struct image *i)
{
	struct trace_recording *r = atomic_load(&i->trace.recording);

	if (!r || (trace_listens(&i->trace) && !time_is_up(r)))
		return;
	/* Other images are not to wait for this one's trace. */
	if (store_answers(i->engine))
		end_recording(i);
}

void trace_before_release(struct image *i)
{
	struct trace_recording *r = atomic_load(&i->trace.recording);

	/* Somebody only looked at it: the guest may be still to come. */
	if (r && atomic_load(&r->count) >= TRACE_UNITS_MIN)
		end_recording(i);
}

/* ---- using: a job asks for what is next until enough is under way, and goes on when that has come ---- */

struct replay {
	struct image *image;
	struct trace_run *runs; /* of the job; NULL: not loaded yet; likewise what follows */
	size_t run_count, next; /* of the runs */
	uint64_t at, end;       /* of the disk: what is left of the run before `next` */
	uint64_t left;          /* bytes that may still be asked for */

	pthread_mutex_t mutex; /* guards what follows */
	unsigned refs;         /* the job, and every request; each with a readahead_begin() */
	int64_t under_way;     /* bytes; less than none while what came at once is not yet counted */
	bool parked;           /* the job waits for requests to come */
	bool ended;            /* the store does not answer */
};

static void replay_job(void *arg);

static void replay_put(struct replay *p)
{
	struct image *i = p->image;

	pthread_mutex_lock(&p->mutex);
	bool last = --p->refs == 0;
	pthread_mutex_unlock(&p->mutex);
	if (last) {
		pthread_mutex_destroy(&p->mutex);
		free(p->runs);
		free(p);
	}
	readahead_end(i);
}

static void replay_fetched(void *arg, uint64_t asked, uint64_t at, int result)
{
	struct replay *p = arg;

	(void)at;
	pthread_mutex_lock(&p->mutex);
	p->under_way -= (int64_t)asked;
	p->ended |= result == -ETIMEDOUT;
	bool go = p->parked && p->under_way <= TRACE_WINDOW / 2;
	if (go)
		p->parked = false;
	pthread_mutex_unlock(&p->mutex);
	if (go && executor_run(p->image->engine->prefetch, replay_job, p))
		replay_put(p);
	replay_put(p);
}

/* Asks for some of [at, end). 0, or an error: there is no going on. */
static int replay_ask(struct replay *p)
{
	struct image *i = p->image;
	uint64_t began = p->at, asked, room = p->left < BATCH ? p->left : BATCH;
	int rc;

	if (!readahead_begin(i))
		return -ESHUTDOWN;
	pthread_mutex_lock(&p->mutex);
	p->refs++;
	pthread_mutex_unlock(&p->mutex);
	rc = readahead_fetch(i, &p->at, p->end, room, &asked, replay_fetched, p);
	if (rc) {
		replay_put(p);
		return rc;
	}
	pthread_mutex_lock(&p->mutex);
	p->under_way += (int64_t)asked;
	pthread_mutex_unlock(&p->mutex);
	p->left -= asked < p->left ? asked : p->left;
	return p->at == began ? -EIO : 0;
}

/* Whether anything is left to be asked for: sets [at, end). */
static bool replay_next(struct replay *p)
{
	uint64_t size = atomic_load(&p->image->size);

	while (p->left && p->at >= p->end && p->next < p->run_count) {
		const struct trace_run *run = &p->runs[p->next++];
		p->at = (uint64_t)run->first * TRACE_UNIT_BYTES;
		p->end = p->at + (uint64_t)run->count * TRACE_UNIT_BYTES;
		p->end = p->end < size ? p->end : size;
	}
	return p->left && p->at < p->end;
}

/* Whether enough is under way: then the job goes on when some of it has come. */
static bool replay_park(struct replay *p, bool *ended)
{
	pthread_mutex_lock(&p->mutex);
	*ended = p->ended;
	p->parked = !p->ended && p->under_way >= TRACE_WINDOW;
	bool parked = p->parked;
	pthread_mutex_unlock(&p->mutex);
	return parked;
}

static int replay_load(struct replay *p)
{
	struct image *i = p->image;
	struct error err = { 0 };
	int rc = trace_load(i->engine->pool, i->id, &p->runs, &p->run_count, &err);

	if (rc == -EBADMSG || rc == -EPROTONOSUPPORT)
		report_warning("image %016" PRIx64 ": %s; the boot trace is not used", i->id, error_text(&err));
	else if (rc && rc != -ENOENT)
		report_debug("image %016" PRIx64 ": %s; the boot trace is not used", i->id, error_text(&err));
	return rc;
}

static void replay_job(void *arg)
{
	struct replay *p = arg;
	int rc = p->runs ? 0 : replay_load(p);
	bool ended = false;

	while (!rc && !ended && replay_next(p) && !atomic_load(&p->image->failed)) {
		if (replay_park(p, &ended))
			return;
		if (!ended)
			rc = replay_ask(p);
	}
	replay_put(p);
}

static int count_here(void *arg, struct segment *s)
{
	uint64_t *bytes = arg;

	if (atomic_load(&s->chunk))
		for (uint32_t c = 0; c < s->shape.chunks; c++)
			*bytes += segment_chunk_state(s, c) == CHUNK_ABSENT ? 0 : CHUNK_BYTES;
	return 0;
}

static bool is_cold(struct image *i)
{
	uint64_t here = 0;

	segment_set_each(i->set, count_here, &here);
	return here < (grain_map_allocated(i->map) << i->grain_shift) / COLD;
}

/* As much as may come without driving out itself, or what is in use. */
static uint64_t room_in_cache(struct cache *c)
{
	uint64_t limit = cache_limit(c), used = cache_used(c), free_room = used < limit ? (limit - used) / 2 : 0;

	return free_room > limit / 16 ? free_room : limit / 16;
}

static void begin_replay(struct image *i)
{
	struct replay *p = calloc(1, sizeof *p);

	if (!p)
		return;
	if (!readahead_begin(i)) {
		free(p);
		return;
	}
	p->image = i;
	p->left = room_in_cache(i->engine->cache);
	p->refs = 1;
	pthread_mutex_init(&p->mutex, NULL);
	if (executor_run(i->engine->prefetch, replay_job, p))
		replay_put(p);
}

void trace_image_loaded(struct image *i)
{
	const struct engine_options *o = &i->engine->options;

	if (!o->boot_trace)
		return;
	if (!o->read_only && !atomic_load(&i->trace.recording))
		begin_recording(&i->trace);
	if (is_cold(i))
		begin_replay(i);
}
