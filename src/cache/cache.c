/* SPDX-License-Identifier: GPL-3.0-only */
/* cache.c: accounting, choosing victims, and taking them out of their files.
 *
 * A victim is first marked absent. Its bytes are punched, or its file removed, only while nobody has the segment pinned and
 * no fetch of the chunk is under way; else it stays on a list and is tried again at the next round.
 */
#include "cache/cache.h"

#include "base/report.h"
#include "cache/chunk_queue.h"
#include "cache/fetch.h"
#include "cache/object_heads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64

struct cache {
	struct spare_pool *spares;
	struct executor *executor;
	struct object_heads *heads;
	uint64_t limit;
	_Atomic uint64_t used;
	pthread_mutex_t mutex; /* guards the queues; before segment mutexes */
	struct chunk_queue small, main, pending;
	struct ghosts ghosts;
	pthread_mutex_t round_mutex; /* one round of eviction at a time; before all others */
	_Atomic bool round_queued;
};

/* Whether a queued chunk is neither here nor counted: it is queued anew if it comes back. One that is absent and still held was
 * found damaged: its bytes are to go, too. */
static bool is_over(const struct chunk_ref *ref)
{
	_Atomic uint8_t *states = atomic_load(&ref->segment->chunk);

	return !states || !(atomic_load(&states[ref->chunk]) & (CHUNK_STATE | CHUNK_HELD));
}

struct cache *cache_new(uint64_t limit, struct spare_pool *spares, struct executor *executor)
{
	struct cache *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->limit = limit;
	c->spares = spares;
	c->executor = executor;
	c->small.is_over = c->main.is_over = is_over;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_mutex_init(&c->round_mutex, NULL);
	c->heads = object_heads_new();
	if (!c->heads || ghosts_init(&c->ghosts, limit / CHUNK_BYTES)) {
		cache_free(c);
		return NULL;
	}
	return c;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	chunk_queue_destroy(&c->small);
	chunk_queue_destroy(&c->main);
	chunk_queue_destroy(&c->pending);
	ghosts_destroy(&c->ghosts);
	object_heads_free(c->heads);
	pthread_mutex_destroy(&c->round_mutex);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

struct object_heads *cache_heads(struct cache *c)
{
	return c->heads;
}

uint64_t cache_used(struct cache *c)
{
	return atomic_load(&c->used);
}

uint64_t cache_limit(struct cache *c)
{
	return c->limit;
}

size_t cache_queue_bytes(struct cache *c)
{
	pthread_mutex_lock(&c->mutex);
	size_t places = c->small.capacity + c->main.capacity + c->pending.capacity;
	pthread_mutex_unlock(&c->mutex);
	return places * sizeof(struct chunk_ref);
}

/* ---- counting chunks: each at most once, whatever becomes of it before its bytes are gone ---- */

/* Notes that the chunk's bytes are in use; whether they were not counted before. */
static bool hold(struct segment *s, uint32_t chunk)
{
	return !(atomic_fetch_or(&atomic_load(&s->chunk)[chunk], CHUNK_HELD) & CHUNK_HELD);
}

/* The opposite; whether they were counted. */
static bool let_go(struct segment *s, uint32_t chunk)
{
	return atomic_fetch_and(&atomic_load(&s->chunk)[chunk], (uint8_t)~CHUNK_HELD) & CHUNK_HELD;
}

static bool is_held(const struct segment *s, uint32_t chunk)
{
	return atomic_load(&atomic_load(&s->chunk)[chunk]) & CHUNK_HELD;
}

/* Lets all chunks go: how many bytes that is. */
static uint64_t let_all_go(struct segment *s)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < s->shape.chunks; i++)
		bytes += let_go(s, i) ? CHUNK_BYTES : 0;
	return bytes;
}

/* ---- entering ---- */

static void round_job(void *arg)
{
	struct cache *c = arg;

	atomic_store(&c->round_queued, false);
	cache_make_room(c, 0);
}

static void kick(struct cache *c)
{
	if (atomic_load(&c->used) > c->limit && !atomic_exchange(&c->round_queued, true) &&
	    executor_run(c->executor, round_job, c))
		atomic_store(&c->round_queued, false);
}

void cache_grown(struct cache *c, uint64_t bytes)
{
	atomic_fetch_add(&c->used, bytes);
	kick(c);
}

static void enqueue(struct cache *c, struct segment *s, uint32_t chunk)
{
	struct chunk_ref ref = { s, chunk };

	pthread_mutex_lock(&c->mutex);
	chunk_queue_push(ghosts_take(&c->ghosts, &ref) ? &c->main : &c->small, ref);
	pthread_mutex_unlock(&c->mutex);
}

void cache_segment_stored(struct cache *c, struct segment *s)
{
	uint32_t chunks = s->shape.chunks,
		 used = (uint32_t)(((uint64_t)s->slot_count * s->shape.slot_bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);

	pthread_mutex_lock(&s->mutex);
	struct segment_file *f = atomic_load(&s->file);
	for (uint32_t i = 0; i < used; i++)
		if (hold(s, i))
			atomic_fetch_add(&c->used, CHUNK_BYTES);
	/* A short segment does not keep a whole file's blocks. */
	if (used < chunks && f && !segment_file_punch(f, used, chunks - used)) {
		s->punched = true;
		for (uint32_t i = used; i < chunks; i++)
			if (let_go(s, i))
				atomic_fetch_sub(&c->used, CHUNK_BYTES);
	}
	pthread_mutex_unlock(&s->mutex);
	for (uint32_t i = 0; i < used; i++)
		if (segment_chunk_state(s, i) != CHUNK_ABSENT)
			enqueue(c, s, i);
	kick(c);
}

void cache_segment_found(struct cache *c, struct segment *s)
{
	uint64_t bytes = s->shape.data_offset;

	if (!atomic_load(&s->chunk))
		return;
	for (uint32_t i = 0; i < s->shape.chunks; i++) {
		if (segment_chunk_state(s, i) == CHUNK_ABSENT) {
			s->punched = true;
			continue;
		}
		if (hold(s, i))
			bytes += CHUNK_BYTES;
		if (atomic_load(&s->life) == LIFE_STORED)
			enqueue(c, s, i);
	}
	cache_grown(c, bytes);
}

void cache_file_made(struct cache *c, struct segment *s)
{
	s->punched = true;
	atomic_fetch_add(&c->used, s->shape.data_offset);
}

void cache_chunk_filled(struct cache *c, struct segment *s, uint32_t chunk)
{
	/* It may come back before the bytes of its eviction were given back. */
	bool news = hold(s, chunk);

	enqueue(c, s, chunk);
	cache_grown(c, news ? CHUNK_BYTES : 0);
}

/* ---- leaving ---- */

static _Atomic uint8_t *state_of(const struct chunk_ref *ref)
{
	return &atomic_load(&ref->segment->chunk)[ref->chunk];
}

static unsigned uses_of(const struct chunk_ref *ref)
{
	return atomic_load(state_of(ref)) & CHUNK_USES;
}

static void uses_less(const struct chunk_ref *ref)
{
	_Atomic uint8_t *b = state_of(ref);
	uint8_t v = atomic_load(b);

	while ((v & CHUNK_USES) && !atomic_compare_exchange_weak(b, &v, (uint8_t)(v - CHUNK_USES_ONE)))
		;
}

/* The next victim by S3-FIFO. The mutex is held. Bounded: every step takes an entry out or lowers a count. */
static bool choose(struct cache *c, struct chunk_ref *victim)
{
	struct chunk_ref ref;

	while (c->small.count || c->main.count) {
		bool from_small =
			c->small.count && (c->small.count * 10 > c->small.count + c->main.count || !c->main.count);
		chunk_queue_pop(from_small ? &c->small : &c->main, &ref);
		if (!ref.segment || is_over(&ref))
			continue;
		if (!uses_of(&ref)) {
			if (from_small)
				ghosts_add(&c->ghosts, &ref);
			*victim = ref;
			return true;
		}
		uses_less(&ref);
		if (chunk_queue_push(&c->main, ref)) {
			*victim = ref;
			return true;
		}
	}
	return false;
}

static bool all_absent(const struct segment *s)
{
	for (uint32_t i = 0; i < s->shape.chunks; i++)
		if (segment_chunk_state(s, i) != CHUNK_ABSENT)
			return false;
	return true;
}

/* Removes or recycles the file of a segment of which nothing is present. Its mutex is held; -EBUSY when somebody has it pinned. */
static int drop_file(struct cache *c, struct segment *s, uint64_t *bytes)
{
	char *path = segment_path(s->set, s->number);
	int rc;

	if (!path)
		return -ENOMEM;
	/* Who pins it takes the file without the mutex: either we see the pin, or he sees no file, and waits for the mutex. */
	struct segment_file *f = atomic_exchange(&s->file, NULL);
	if (atomic_load(&s->pins)) {
		atomic_store(&s->file, f);
		free(path);
		return -EBUSY;
	}
	*bytes += s->shape.data_offset + let_all_go(s);
	rc = s->punched ? disk_unlink(segment_set_disk(s->set), path)
	                : spare_give(c->spares, path, s->shape.file_bytes);
	if (rc && rc != -ENOENT)
		report_warning("cache: cannot remove %s: %s", path, strerror(-rc));
	s->local = false;
	segment_file_close(f);
	free(path);
	return 0;
}

/* Takes `count` chunks of one segment, marked absent, out of its file. Returns the bytes given back, or -EBUSY. */
static int64_t take_out(struct cache *c, struct segment *s, const struct chunk_ref *refs, size_t count)
{
	uint64_t bytes = 0;
	int rc = -EBUSY;

	pthread_mutex_lock(&s->mutex);
	if (atomic_load(&s->pins) || s->fetches)
		goto out;
	rc = 0;
	if (!s->local)
		goto out; /* the file went with another batch */
	if (all_absent(s)) {
		rc = drop_file(c, s, &bytes);
		goto out;
	}
	struct segment_file *f = atomic_load(&s->file);
	if (!f) {
		/* Known since the start, and not opened since. */
		char *path = segment_path(s->set, s->number);
		rc = path ? segment_file_open(segment_set_disk(s->set), path, segment_set_pool(s->set),
		                              segment_set_image(s->set), s->number, &f, NULL)
		          : -ENOMEM;
		free(path);
		if (rc) {
			rc = 0; /* damaged or gone: nothing to give back */
			goto out;
		}
		atomic_store(&s->file, f);
	}
	for (size_t i = 0; i < count; i++) {
		if (segment_chunk_state(s, refs[i].chunk) != CHUNK_ABSENT)
			continue; /* fetched again meanwhile */
		if (!is_held(s, refs[i].chunk) || segment_file_punch(f, refs[i].chunk, 1))
			continue;
		s->punched = true;
		bytes += let_go(s, refs[i].chunk) ? CHUNK_BYTES : 0;
	}
out:
	pthread_mutex_unlock(&s->mutex);
	return rc ? rc : (int64_t)bytes;
}

static int by_segment(const void *a, const void *b)
{
	const struct chunk_ref *x = a, *y = b;

	if (x->segment != y->segment)
		return x->segment < y->segment ? -1 : 1;
	return x->chunk < y->chunk ? -1 : x->chunk > y->chunk;
}

/* Takes a batch out of its files, segment by segment; what is busy goes to the pending list. Returns bytes given back. */
static uint64_t take_out_batch(struct cache *c, struct chunk_ref *refs, size_t count)
{
	uint64_t total = 0;

	qsort(refs, count, sizeof *refs, by_segment);
	for (size_t i = 0, n; i < count; i += n) {
		for (n = 1; i + n < count && refs[i + n].segment == refs[i].segment;)
			n++;
		int64_t bytes = take_out(c, refs[i].segment, &refs[i], n);
		if (bytes >= 0) {
			total += (uint64_t)bytes;
			continue;
		}
		pthread_mutex_lock(&c->mutex);
		for (size_t k = 0; k < n; k++)
			chunk_queue_push(&c->pending, refs[i + k]);
		pthread_mutex_unlock(&c->mutex);
	}
	atomic_fetch_sub(&c->used, total);
	return total;
}

/* One round: until at most `target` bytes are in use or nothing more can go. */
static void evict_to(struct cache *c, uint64_t target)
{
	struct chunk_ref refs[BATCH];
	uint64_t busy = 0;
	size_t count;

	pthread_mutex_lock(&c->round_mutex);
	pthread_mutex_lock(&c->mutex);
	size_t old = c->pending.count;
	pthread_mutex_unlock(&c->mutex);
	while (old) {
		pthread_mutex_lock(&c->mutex);
		for (count = 0; count < BATCH && old && chunk_queue_pop(&c->pending, &refs[count]); old--)
			count += refs[count].segment &&
			         segment_chunk_state(refs[count].segment, refs[count].chunk) == CHUNK_ABSENT;
		pthread_mutex_unlock(&c->mutex);
		uint64_t given = take_out_batch(c, refs, count);
		busy += given < count * CHUNK_BYTES ? count * CHUNK_BYTES - given : 0;
	}
	while (atomic_load(&c->used) > target + busy) {
		uint64_t excess = atomic_load(&c->used) - target - busy;

		pthread_mutex_lock(&c->mutex);
		for (count = 0; count < BATCH && count * CHUNK_BYTES < excess && choose(c, &refs[count]); count++)
			segment_chunk_set(refs[count].segment, refs[count].chunk, CHUNK_ABSENT);
		pthread_mutex_unlock(&c->mutex);
		if (!count)
			break;
		uint64_t given = take_out_batch(c, refs, count);
		busy += given < count * CHUNK_BYTES ? count * CHUNK_BYTES - given : 0;
	}
	pthread_mutex_unlock(&c->round_mutex);
}

void cache_make_room(struct cache *c, uint64_t bytes)
{
	evict_to(c, c->limit > bytes ? c->limit - bytes : 0);
	if (atomic_load(&c->used) + bytes > c->limit)
		spare_drop_all(c->spares);
}

void cache_evict_all(struct cache *c)
{
	evict_to(c, 0);
}

/* Subtracts what the segment's file uses. */
static int uncount(void *arg, struct segment *s)
{
	struct cache *c = arg;

	pthread_mutex_lock(&s->mutex);
	if (s->local && atomic_load(&s->chunk))
		atomic_fetch_sub(&c->used, s->shape.data_offset + let_all_go(s));
	pthread_mutex_unlock(&s->mutex);
	return 0;
}

static void forget(struct cache *c, bool (*gone)(const struct segment *s, const void *arg), const void *arg)
{
	pthread_mutex_lock(&c->mutex);
	chunk_queue_forget(&c->small, gone, arg);
	chunk_queue_forget(&c->main, gone, arg);
	chunk_queue_forget(&c->pending, gone, arg);
	pthread_mutex_unlock(&c->mutex);
}

static bool is_it(const struct segment *s, const void *arg)
{
	return s == arg;
}

static bool is_of_set(const struct segment *s, const void *arg)
{
	return s->set == arg;
}

static bool is_taken(const struct segment *s, const void *arg)
{
	(void)arg;
	return s->taken;
}

void cache_forget_segment(struct cache *c, struct segment *s)
{
	pthread_mutex_lock(&c->round_mutex);
	forget(c, is_it, s);
	uncount(c, s);
	pthread_mutex_unlock(&c->round_mutex);
}

static void drop_file_of(struct cache *c, struct segment *s)
{
	if (!s->local || !atomic_load(&s->chunk))
		return;
	/* As if all of it had been chosen: what is in the queues of these chunks is found absent. */
	for (uint32_t i = 0; i < s->shape.chunks; i++)
		segment_chunk_set(s, i, CHUNK_ABSENT);
	int64_t bytes = take_out(c, s, NULL, 0);
	if (bytes > 0)
		atomic_fetch_sub(&c->used, (uint64_t)bytes);
}

void cache_drop_segments(struct cache *c, struct segment_set *set, const segment_no_t *numbers, size_t count)
{
	struct segment **taken = calloc(count, sizeof *taken), *s;
	size_t n = 0;

	/* Nobody else forgets what the store has meanwhile. */
	pthread_mutex_lock(&c->round_mutex);
	for (size_t k = 0; k < count; k++) {
		s = segment_pin_known(set, numbers[k]);
		if (!s)
			continue;
		segment_unpin(s);
		if (atomic_load(&s->life) == LIFE_STORED)
			drop_file_of(c, s);
		/* Without memory for it more is remembered than need be. */
		s = taken ? segment_take(set, numbers[k]) : NULL;
		if (s)
			(taken[n++] = s)->taken = true;
	}
	if (n)
		forget(c, is_taken, NULL);
	pthread_mutex_unlock(&c->round_mutex);
	while (n)
		segment_taken_free(taken[--n]);
	free(taken);
}

void cache_forget_set(struct cache *c, struct segment_set *set)
{
	pthread_mutex_lock(&c->round_mutex);
	forget(c, is_of_set, set);
	segment_set_each(set, uncount, c);
	pthread_mutex_unlock(&c->round_mutex);
}
