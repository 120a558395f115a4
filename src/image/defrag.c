/* SPDX-License-Identifier: GPL-3.0-only */
/* defrag.c: see defrag.h. */
#include "image/defrag.h"

#include "base/clock.h"
#include "image/private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What has so many times its size fetched for it is scattered. */
#define FACTOR 4
/* Looked at in one step, and judged by itself. */
#define STEP_BYTES ((uint64_t)1 << 20)
#define PART_BYTES ((uint64_t)256 << 10)
/* So much of a part must be here; the rest is fetched again: one that is moved in pieces is as scattered as before. */
#define HERE_PERCENT 50
/* Snapshots are looked for as seldom. */
#define LOOK_NS seconds_ns(60)
/* Ranges as close to each other are one. */
#define GAP ((uint64_t)1 << 20)

void defrag_init(struct defrag *d)
{
	memset(d, 0, sizeof *d);
	pthread_mutex_init(&d->mutex, NULL);
}

void defrag_destroy(struct defrag *d)
{
	pthread_mutex_destroy(&d->mutex);
}

/* ---- what is scattered ---- */

static bool touches(const struct defrag_range *r, uint64_t begin, uint64_t end)
{
	return begin <= r->end + GAP && r->begin <= end + GAP;
}

/* One that does not fit in is met again by the next reader. The mutex is held. */
static void add_range(struct defrag *d, uint64_t begin, uint64_t end)
{
	for (unsigned k = 0; k < d->count; k++) {
		struct defrag_range *r = &d->range[k];

		if (!touches(r, begin, end))
			continue;
		r->begin = begin < r->begin ? begin : r->begin;
		r->end = end > r->end ? end : r->end;
		return;
	}
	if (d->count < DEFRAG_RANGES)
		d->range[d->count++] = (struct defrag_range){ begin, end };
}

void defrag_note(struct image *i, uint64_t begin, uint64_t end, uint64_t fetched)
{
	struct engine *e = i->engine;

	if (fetched < FACTOR * (end - begin) || !atomic_load(&i->log) || e->options.gc_target > 100)
		return;
	pthread_mutex_lock(&i->defrag.mutex);
	add_range(&i->defrag, begin, end);
	pthread_mutex_unlock(&i->defrag.mutex);
	atomic_store(&e->fragmented, true);
}

/* Takes the begin of the first range, and says whether there was one. */
static bool take_some(struct image *i, uint64_t *begin, uint64_t *end)
{
	struct defrag *d = &i->defrag;
	bool any;

	pthread_mutex_lock(&d->mutex);
	any = d->count != 0;
	if (any) {
		struct defrag_range *r = &d->range[0];
		*begin = r->begin;
		*end = r->end - r->begin > STEP_BYTES ? r->begin + STEP_BYTES : r->end;
		r->begin = *end;
		if (r->begin >= r->end)
			memmove(r, r + 1, --d->count * sizeof *r);
		if (d->count)
			atomic_store(&i->engine->fragmented, true);
	}
	pthread_mutex_unlock(&d->mutex);
	return any;
}

/* ---- moving ---- */

struct part {
	struct image *image;
	grain_no_t first;
	size_t count;
	map_entry_t *entries;
	uint8_t *bytes; /* of as many grains as are moved at a time */
};

static uint64_t chunk_of(const struct image *i, map_entry_t entry)
{
	return (uint64_t)map_entry_slot(entry) * i->grain_bytes / CHUNK_BYTES;
}

/* Whether reading the part in order means fetching much more than it has. */
static bool is_scattered(const struct part *p)
{
	map_entry_t last = MAP_ENTRY_NONE;
	uint64_t chunks = 0, grains = 0;

	for (size_t k = 0; k < p->count; k++) {
		map_entry_t entry = p->entries[k];

		if (!entry)
			continue;
		grains++;
		chunks += !last ||
		          map_entry(map_entry_layer(entry), map_entry_segment(entry), 0) !=
		                  map_entry(map_entry_layer(last), map_entry_segment(last), 0) ||
		          chunk_of(p->image, entry) != chunk_of(p->image, last);
		last = entry;
	}
	return chunks * CHUNK_BYTES >= FACTOR * grains * p->image->grain_bytes && grains;
}

/* Whether the grain is one of our own that the store has; *here: its chunk is here, too. */
static bool may_move(const struct image *i, map_entry_t entry, bool *here)
{
	*here = false;
	if (!entry || map_entry_layer(entry))
		return false;
	struct segment *s = segment_pin_known(i->set, map_entry_segment(entry));
	int life = s ? atomic_load(&s->life) : LIFE_UNKNOWN;

	*here = life == LIFE_STORED && atomic_load(&s->chunk) && chunk_of(i, entry) < s->shape.chunks &&
	        segment_chunk_state(s, (uint32_t)chunk_of(i, entry)) != CHUNK_ABSENT;
	if (s)
		segment_unpin(s);
	return life == LIFE_STORED || life == LIFE_UNKNOWN;
}

static bool is_here(const struct part *p)
{
	size_t movable = 0, present = 0;
	bool here;

	for (size_t k = 0; k < p->count; k++)
		if (may_move(p->image, p->entries[k], &here)) {
			movable++;
			present += here;
		}
	return movable && present * 100 >= movable * HERE_PERCENT;
}

/* Grains that lie one behind the other in a segment are read at once. */
static int read_run(const struct part *p, const map_entry_t *entries, size_t count)
{
	struct image *i = p->image;
	int rc = 0;

	for (size_t k = 0, n; !rc && k < count; k += n) {
		segment_no_t number = map_entry_segment(entries[k]);
		for (n = 1;
		     k + n < count && entries[k + n] == entries[k] + n && map_entry_segment(entries[k + n]) == number;
		     n++)
			;
		rc = fetch_read_wait(&i->source, number, map_entry_slot(entries[k]), 0,
		                     p->bytes + (k << i->grain_shift), n << i->grain_shift);
	}
	return rc;
}

static int move_run(const struct part *p, size_t first, size_t count, struct error *err)
{
	const void *data[MOVE_GRAINS_MAX];
	int rc = read_run(p, p->entries + first, count);

	/* What cannot be read is told by who reads it. */
	if (rc)
		return 0;
	for (size_t k = 0; k < count; k++)
		data[k] = p->bytes + (k << p->image->grain_shift);
	rc = image_move_grains(p->image, p->first + first, count, p->entries + first, data, err);
	return rc < 0 ? rc : 0;
}

static int move_part(const struct part *p, size_t most, struct error *err)
{
	bool here;
	int rc = 0;

	for (size_t k = 0, n; !rc && k < p->count; k += n) {
		for (n = 0; n < most && k + n < p->count && may_move(p->image, p->entries[k + n], &here); n++)
			;
		if (n)
			rc = move_run(p, k, n, err);
		else
			n = 1;
	}
	return rc;
}

static int defragment(struct image *i, uint64_t begin, uint64_t end, struct error *err)
{
	size_t at_once = PART_BYTES >> i->grain_shift, most = at_once < MOVE_GRAINS_MAX ? at_once : MOVE_GRAINS_MAX;
	uint64_t size = atomic_load(&i->size);
	struct part p = { .image = i };
	int rc = 0;

	/* Grains of that size are as large as chunks, or larger. */
	if (!at_once || begin >= size)
		return 0;
	grain_no_t last = grain_of(i, (end < size ? end : size) - 1);
	p.entries = malloc(at_once * sizeof *p.entries);
	p.bytes = malloc(most << i->grain_shift);
	if (!p.entries || !p.bytes)
		rc = error_set(err, -ENOMEM, "out of memory");
	for (p.first = grain_of(i, begin); !rc && p.first <= last; p.first += p.count) {
		p.count = last - p.first + 1 < at_once ? (size_t)(last - p.first + 1) : at_once;
		rc = image_look_up_wait(i, p.first, p.count, p.entries, err);
		if (!rc && is_scattered(&p) && is_here(&p))
			rc = move_part(&p, most, err);
	}
	free(p.entries);
	free(p.bytes);
	return rc;
}

static bool has_ranges(struct defrag *d)
{
	pthread_mutex_lock(&d->mutex);
	bool any = d->count != 0;
	pthread_mutex_unlock(&d->mutex);
	return any;
}

static void forget_ranges(struct defrag *d)
{
	pthread_mutex_lock(&d->mutex);
	d->count = 0;
	pthread_mutex_unlock(&d->mutex);
}

/* Whether somebody needs the grains where they are. */
static bool is_held(struct image *i)
{
	struct defrag *d = &i->defrag;
	uint64_t now = clock_monotonic_ns();

	if (!d->looked_ns || now - d->looked_ns > LOOK_NS) {
		d->held = snapshot_any(i->engine->pool, i->id, SNAPSHOTS_FOREIGN, NULL) != 0;
		d->looked_ns = now;
	}
	return d->held;
}

int defrag_step(struct image *i, struct error *err)
{
	const unsigned flags = IMAGE_READ | IMAGE_WRITE;
	struct engine *e = i->engine;
	struct image *opened;
	uint64_t begin, end;

	if (!has_ranges(&i->defrag))
		return 0;
	bool later = atomic_load(&e->unsent) > e->options.dirty_limit / 2 || pthread_mutex_trylock(&i->open_mutex);
	if (later) {
		atomic_store(&e->fragmented, true);
		return 0;
	}
	bool kept = i->policy.history_s != 0;
	pthread_mutex_unlock(&i->open_mutex);
	if (kept || is_held(i)) {
		forget_ranges(&i->defrag);
		return 0;
	}
	/* It must not be handed over meanwhile. */
	int rc = image_open(e, i->id, flags, &opened, err);
	if (rc)
		return rc;
	if (opened == i && take_some(i, &begin, &end))
		rc = defragment(i, begin, end, err);
	image_close(opened, flags);
	return rc ? error_prefix(err, rc, "cannot put image %016llx into the order of its readers",
	                         (unsigned long long)i->id)
	          : 0;
}
