/* SPDX-License-Identifier: GPL-3.0-only */
/* sweep.c: what nothing leads to is noted, waits, and goes. Here, and nowhere else, objects of a living log are deleted.
 *
 * Beside segments that nothing needs any more these are objects that were never part of the log: uploads of a host that was fenced.
 * What waits is remembered only in memory: after a restart its time begins anew.
 */
#include "image/private.h"

#include "base/clock.h"
#include "image/clean.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Where listings may lag, what nothing needs waits for so long in any case. */
#define LISTING_LAG_NS seconds_ns(60)

/* An object that is to go. */
struct waiting {
	segment_no_t number;
	uint64_t epoch, bytes;
	uint64_t since_ns;
};

/* Those of one image. */
struct garbage {
	struct waiting *list; /* in the order of listing: of numbers, then of epochs */
	size_t count;
};

/* ---- what waits ---- */

static void garbage_free(struct garbage *g)
{
	if (g)
		free(g->list);
	free(g);
}

void clean_forget(struct engine *e, uint64_t image)
{
	pthread_mutex_lock(&e->mutex);
	struct garbage *g = hash_remove(e->garbage, image);
	pthread_mutex_unlock(&e->mutex);
	garbage_free(g);
}

void clean_forget_all(struct engine *e)
{
	size_t cursor = 0;
	struct garbage *g;
	uint64_t id;

	while (e->garbage && (g = hash_next(e->garbage, &cursor, &id)))
		garbage_free(g);
	hash_free(e->garbage);
}

/* Where a listing may lag, what a clone has begun to hold may not be listed yet. */
static uint64_t grace_ns(struct engine *e, bool at_once)
{
	uint64_t grace = at_once ? 0 : e->options.gc_grace_ms * 1000000;
	bool lags = !(e->pool->store->capabilities & STORE_LIST_CONSISTENT);

	return lags && grace < LISTING_LAG_NS ? LISTING_LAG_NS : grace;
}

bool clean_is_due(struct engine *e, uint64_t image)
{
	uint64_t now = clock_monotonic_ns(), grace = grace_ns(e, false);
	bool due = false;

	pthread_mutex_lock(&e->mutex);
	const struct garbage *g = hash_get(e->garbage, image);
	for (size_t k = 0; g && k < g->count && !due; k++)
		due = now - g->list[k].since_ns >= grace;
	pthread_mutex_unlock(&e->mutex);
	return due;
}

/* In the order of a listing. */
static int compare(const struct waiting *a, const struct waiting *b)
{
	if (a->number != b->number)
		return a->number < b->number ? -1 : 1;
	return a->epoch < b->epoch ? -1 : a->epoch > b->epoch;
}

/* Since when each of them has been waiting, by what was noted last time: both lists are sorted. Returns how many are new. */
static size_t keep_times(struct garbage *g, const struct garbage *old, uint64_t now)
{
	size_t k = 0, fresh = 0;

	for (size_t n = 0; n < g->count; n++) {
		while (old && k < old->count && compare(&old->list[k], &g->list[n]) < 0)
			k++;
		bool known = old && k < old->count && !compare(&old->list[k], &g->list[n]);
		g->list[n].since_ns = known ? old->list[k].since_ns : now;
		fresh += !known;
	}
	return fresh;
}

/* ---- finding ---- */

static uint64_t epoch_of(struct image *i, segment_no_t number)
{
	pthread_mutex_lock(&i->view_mutex);
	uint64_t epoch = log_view_epoch_of(&i->view, number);
	pthread_mutex_unlock(&i->view_mutex);
	return epoch;
}

/* Whether nothing needs the object. One of a newer epoch is none of our business: we are fenced, and about to find out. */
static bool is_garbage(struct clean *c, const struct stored_segment *s, bool *orphan)
{
	uint64_t epoch = epoch_of(c->image, s->number);

	*orphan = s->epoch != epoch && s->epoch < c->image->epoch;
	if (s->epoch != epoch)
		return *orphan;
	return s->number < c->floor && live_is_garbage(&c->live, s->number);
}

static struct garbage *find(struct clean *c)
{
	struct clean_result *r = c->result;
	struct garbage *g = calloc(1, sizeof *g);

	if (g)
		g->list = malloc((c->stored_count + 1) * sizeof *g->list);
	if (!g || !g->list) {
		free(g);
		return NULL;
	}
	for (size_t k = 0; k < c->stored_count; k++) {
		const struct stored_segment *s = &c->stored[k];
		bool orphan;
		if (!is_garbage(c, s, &orphan))
			continue;
		r->orphans += orphan;
		g->list[g->count++] = (struct waiting){ .number = s->number, .epoch = s->epoch, .bytes = s->bytes };
	}
	/* A store lists in the order of keys, which is this one. */
	return g;
}

/* ---- deleting ---- */

static int announce(struct clean *c)
{
	struct image *i = c->image;
	struct pool *p = i->engine->pool;
	struct cleaned said = { i->epoch, c->segment, c->checkpoint.root, c->segment }, read = { 0 };
	int rc = image_entitled(i);

	if (c->history.from && c->history.segment < c->segment)
		said.oldest = c->history.segment ? c->history.segment : 1;
	if (rc)
		return error_set(c->err, rc, "the image is not ours any more, or the store cannot tell");
	rc = cleaned_save(p, i->id, &said, c->err);
	if (!rc)
		rc = cleaned_load(p, i->id, &read, c->err);
	if (!rc && (read.epoch != said.epoch || read.segment != said.segment || read.root != said.root))
		rc = error_set(c->err, -EAGAIN,
		               "the store does not give back what was written just now: nothing is deleted");
	return rc;
}

/* Whether the snapshots are those that were marked, or of later moments. 0 or -EAGAIN. */
static int check_roots(struct clean *c)
{
	struct kept_root *now;
	size_t count;
	int rc = clean_find_roots(c, &now, &count);

	if (rc)
		return rc;
	for (size_t k = 0; !rc && k < count; k++) {
		bool known = now[k].segment > c->segment;
		for (size_t n = 0; n < c->root_count && !known; n++)
			known = now[k].id == c->roots[n].id && now[k].root == c->roots[n].root;
		if (!known)
			rc = -EAGAIN;
	}
	free(now);
	return rc;
}

/* The local copies are of no more use. One that somebody reads just now stays until the cache needs its place. */
static void drop_local(struct clean *c, const struct waiting *list, size_t count)
{
	struct image *i = c->image;
	segment_no_t *numbers = malloc(count * sizeof *numbers);
	size_t n = 0;

	for (size_t k = 0; numbers && k < count; k++)
		if (list[k].epoch == epoch_of(i, list[k].number))
			numbers[n++] = list[k].number;
	if (n)
		cache_drop_segments(i->engine->cache, i->set, numbers, n);
	free(numbers);
}

static int remove_batch(struct clean *c, const struct waiting *list, size_t count)
{
	struct image *i = c->image;
	char(*text)[STORE_KEY_MAX + 1] = malloc(count * sizeof *text);
	const char **keys = malloc(count * sizeof *keys);
	int rc = text && keys ? 0 : error_set(c->err, -ENOMEM, "out of memory");

	for (size_t k = 0; !rc && k < count; k++) {
		segment_key_format(i->id, list[k].number, list[k].epoch, text[k]);
		keys[k] = text[k];
	}
	/* The last look: whoever has taken over since may need any of these. */
	if (!rc && (rc = image_entitled(i)))
		error_set(c->err, rc, "the image is not ours any more, or the store cannot tell");
	if (!rc)
		rc = store_remove_many_wait(i->engine->pool->store, keys, count, c->err);
	if (!rc)
		drop_local(c, list, count);
	free(keys);
	free(text);
	return rc;
}

/* Takes what is due out of the list and deletes it. */
static int remove_due(struct clean *c, struct garbage *g, uint64_t now)
{
	uint64_t grace = grace_ns(c->image->engine, c->options.now);
	struct waiting *due = malloc((g->count + 1) * sizeof *due);
	size_t count = 0, left = 0, done = 0;
	int rc = due ? 0 : error_set(c->err, -ENOMEM, "out of memory");

	for (size_t k = 0; !rc && k < g->count; k++)
		if (now - g->list[k].since_ns >= grace)
			due[count++] = g->list[k];
		else
			g->list[left++] = g->list[k];
	if (!rc)
		g->count = left;
	if (!rc && count)
		rc = check_roots(c);
	while (!rc && done < count) {
		size_t n = count - done < STORE_REMOVE_MANY_MAX ? count - done : STORE_REMOVE_MANY_MAX;
		if (!clean_goes_on(c, CLEAN_DELETE, done, count))
			rc = -EINTR;
		else
			rc = remove_batch(c, due + done, n);
		for (size_t k = done; !rc && k < done + n; k++) {
			c->result->removed_segments++;
			c->result->removed_bytes += due[k].bytes;
		}
		done += n;
	}
	free(due);
	return rc;
}

int clean_sweep(struct clean *c)
{
	struct engine *e = c->image->engine;
	struct clean_result *r = c->result;
	uint64_t now = clock_monotonic_ns();

	r->orphans = 0;
	struct garbage *g = find(c), *old;
	if (!g)
		return error_set(c->err, -ENOMEM, "out of memory");
	pthread_mutex_lock(&e->mutex);
	old = hash_get(e->garbage, c->image->id);
	size_t fresh = keep_times(g, old, now);
	pthread_mutex_unlock(&e->mutex);
	int rc = fresh ? announce(c) : 0;
	if (!rc)
		rc = remove_due(c, g, now);
	r->waiting_segments = g->count;
	r->waiting_bytes = 0;
	for (size_t k = 0; k < g->count; k++)
		r->waiting_bytes += g->list[k].bytes;
	if (rc) {
		/* What was noted before goes on waiting. */
		garbage_free(g);
		return rc;
	}
	pthread_mutex_lock(&e->mutex);
	old = hash_remove(e->garbage, c->image->id);
	if (g->count && !hash_put(e->garbage, c->image->id, g))
		g = NULL;
	pthread_mutex_unlock(&e->mutex);
	garbage_free(old);
	garbage_free(g);
	return 0;
}
