/* SPDX-License-Identifier: GPL-3.0-only */
/* gather.c: grains are appended to the log again, as moves: a run of them, or many from anywhere that are to lie together.
 *
 * A grain is moved under its lock, and only if the map still points at the old place: whatever was written meanwhile wins, in the map
 * and in the log alike.
 *
 * Of those that are gathered many locks are held at a time. Waiting for one while holding others could wait forever, in whatever order they
 * are taken: a guest's request for a range waits as a whole behind a grain that is locked here, and is itself in the way of what is asked for
 * later in that range. So none is waited for: what is not free at once is being written by somebody, is most likely garbage in a moment, and
 * is moved alone afterwards, under one lock. Whatever may take long comes before the locks: bytes are read, map nodes are loaded and pinned, it is
 * waited for a turn among those who write. While there is no room in the log they are given back.
 */
#include "image/private.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- a run ---- */

/* Where the grains of a pinned range are now. A leaf that was not there when it was pinned may have no parent in memory: then it is not
 * there yet. */
static void look_up(struct image *i, grain_no_t first, size_t count, map_entry_t *now)
{
	struct map_need need;

	if (grain_map_lookup(i->map, first, count, now, &need))
		memset(now, 0, count * sizeof *now);
}

/* Those of a run of grains that are still where they were; the range is locked and pinned. Returns how many. */
static int append_run(struct image *i, grain_no_t first, size_t count, const map_entry_t *old, const void *const *data)
{
	struct record records[MOVE_GRAINS_MAX];
	const void *moved[MOVE_GRAINS_MAX];
	map_entry_t now[MOVE_GRAINS_MAX];
	uint64_t time_ns = clock_wall_ns();
	size_t n = 0;

	look_up(i, first, count, now);
	for (size_t k = 0; k < count; k++) {
		if (now[k] != old[k])
			continue;
		moved[n] = data[k];
		records[n++] =
			(struct record){ .kind = RECORD_MOVE, .value = first + k, .count = 1, .time_ns = time_ns };
	}
	int rc = n ? image_append_moves(i, records, n, moved) : 0;
	if (rc)
		return rc;
	atomic_fetch_add_explicit(&i->engine->counters.moved_bytes, n << i->grain_shift, memory_order_relaxed);
	return (int)n;
}

static int cannot_append(struct image *i, int rc, struct error *err)
{
	if (atomic_load(&i->failed))
		return error_set(err, rc, "the image has stopped: see garner status");
	if (rc == -ENOSPC && !atomic_load(&i->engine->store_away))
		return error_set(err, rc, "there is no room on the local disk");
	if (rc == -ENOSPC)
		return error_set(err, rc,
		                 "as much as dirty_limit allows waits for its upload, and the store does not answer");
	return error_set(err, rc, "cannot append to the log: %s", strerror(-rc));
}

int image_move_grains(struct image *i, grain_no_t first, size_t count, const map_entry_t *old, const void *const *data,
                      struct error *err)
{
	struct range_lock lock;
	int rc = image_pin_wait(i, first, count, true, err);

	if (rc)
		return rc;
	rc = image_pace_wait(i, (uint64_t)count << i->grain_shift);
	if (!rc) {
		image_lock_grains(i, &lock, first, first + count - 1);
		rc = append_run(i, first, count, old, data);
		range_unlock(&i->locks, &lock);
	}
	grain_map_unpin(i->map, first, count);
	return rc < 0 ? cannot_append(i, rc, err) : rc;
}

/* ---- many ---- */

struct run {
	size_t at, count; /* of the gathered ones */
	bool held;        /* its lock */
	struct range_lock lock;
};

struct gathering {
	struct image *image;
	const struct gathered *grains;
	size_t count, runs;
	struct run run[GATHERED_MAX];
	size_t moved;
	struct record records[GATHERED_MAX];
	const void *data[GATHERED_MAX];
	map_entry_t now[GATHERED_MAX];
};

static void find_runs(struct gathering *g)
{
	for (size_t k = 0, n; k < g->count; k += n) {
		for (n = 1; k + n < g->count && g->grains[k + n].grain == g->grains[k].grain + n; n++)
			;
		g->run[g->runs++] = (struct run){ .at = k, .count = n };
	}
}

static void unpin(struct gathering *g, size_t runs)
{
	for (size_t k = 0; k < runs; k++)
		grain_map_unpin(g->image->map, g->grains[g->run[k].at].grain, g->run[k].count);
}

static int pin(struct gathering *g, struct error *err)
{
	for (size_t k = 0; k < g->runs; k++) {
		const struct run *r = &g->run[k];
		int rc = image_pin_wait(g->image, g->grains[r->at].grain, r->count, true, err);
		if (rc) {
			unpin(g, k);
			return rc;
		}
	}
	return 0;
}

static void lock_free_ones(struct gathering *g)
{
	for (size_t k = 0; k < g->runs; k++) {
		struct run *r = &g->run[k];
		grain_no_t first = g->grains[r->at].grain;
		r->held = range_lock_try(&g->image->locks, &r->lock, first, first + r->count - 1);
	}
}

static void unlock(struct gathering *g)
{
	for (size_t k = 0; k < g->runs; k++)
		if (g->run[k].held)
			range_unlock(&g->image->locks, &g->run[k].lock);
}

/* Records of those that are locked, and still where they were. */
static void make_records(struct gathering *g)
{
	uint64_t time_ns = clock_wall_ns();

	g->moved = 0;
	for (size_t k = 0; k < g->runs; k++) {
		const struct run *r = &g->run[k];
		if (!r->held)
			continue;
		look_up(g->image, g->grains[r->at].grain, r->count, g->now);
		for (size_t n = 0; n < r->count; n++) {
			const struct gathered *grain = &g->grains[r->at + n];
			if (g->now[n] != grain->old)
				continue;
			g->data[g->moved] = grain->data;
			g->records[g->moved++] = (struct record){
				.kind = RECORD_MOVE, .value = grain->grain, .count = 1, .time_ns = time_ns
			};
		}
	}
}

/* All that nobody is at. They are pinned. */
static int append_together(struct gathering *g, bool anew)
{
	struct room_wait w;
	int rc;

	do {
		lock_free_ones(g);
		make_records(g);
		rc = 0;
		if (g->moved)
			rc = image_try_append_moves(g->image, g->records, g->moved, g->data, anew, &w);
		unlock(g);
		if (rc == -EAGAIN)
			image_wait_for_room(&w);
	} while (rc == -EAGAIN);
	if (rc)
		return rc;
	atomic_fetch_add_explicit(&g->image->engine->counters.moved_bytes, g->moved << g->image->grain_shift,
	                          memory_order_relaxed);
	return 0;
}

/* Those that somebody was at. */
static int append_alone(struct gathering *g, const struct run *r, struct error *err)
{
	map_entry_t old[MOVE_GRAINS_MAX];
	const void *data[MOVE_GRAINS_MAX];

	for (size_t at = r->at, end = r->at + r->count, n; at < end; at += n) {
		for (n = 0; at + n < end && n < MOVE_GRAINS_MAX; n++) {
			old[n] = g->grains[at + n].old;
			data[n] = g->grains[at + n].data;
		}
		int rc = image_move_grains(g->image, g->grains[at].grain, n, old, data, err);
		if (rc < 0)
			return rc;
		g->moved += (size_t)rc;
	}
	return 0;
}

int image_move_gathered(struct image *i, const struct gathered *grains, size_t count, bool anew, struct error *err)
{
	assert(count <= GATHERED_MAX && count << i->grain_shift <= GATHERED_BYTES_MAX);
	struct gathering *g = malloc(sizeof *g);
	if (!g)
		return error_set(err, -ENOMEM, "out of memory");
	g->image = i;
	g->grains = grains;
	g->count = count;
	g->runs = g->moved = 0;
	find_runs(g);
	int rc = pin(g, err);
	if (!rc) {
		rc = image_pace_wait(i, (uint64_t)count << i->grain_shift);
		if (!rc)
			rc = append_together(g, anew);
		if (rc)
			cannot_append(i, rc, err);
		unpin(g, g->runs);
	}
	for (size_t k = 0; !rc && k < g->runs; k++)
		if (!g->run[k].held)
			rc = append_alone(g, &g->run[k], err);
	rc = rc ? rc : (int)g->moved;
	free(g);
	return rc;
}
