/* SPDX-License-Identifier: GPL-3.0-only */
/* share.c: copying a range between images by copying where the map says that it is.
 *
 * The moment of the source is held like a clone's, and its log becomes a layer of the target. Leaves of the map that lie in the range as a
 * whole, and that the target does not have yet, are taken over as they are; of the others, and where the two ranges do not lie alike,
 * the entries are. The log has no records of that: a checkpoint follows at once, whose record says so, and the range is locked until it
 * is on the local disk. The log begins a new segment before, so that whoever replays that checkpoint's segment from its
 * start meets nothing older in the range.
 */
#include "image/private.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* At a time: where entries are copied one by one that makes so many dirty nodes. */
#define SHARE_GRAINS_MAX ((uint64_t)1 << 20)

struct share {
	struct image *from, *to;
	struct image *moment; /* of the source: it does not change */
	grain_no_t first, to_first;
	uint64_t count;
	unsigned layer; /* of the target: the source's log */
};

/* ---- the map ----------------------------------------------------------------------------------------------------- */

/* Calls a function of the map until it has what it needs. */
#define WITH_NODES(rc, image, need, err, call) \
	while ((rc = (call)) == -EAGAIN && !(rc = image_load_node_wait(image, need, err)))

static map_entry_t taken_over(const struct share *s, map_entry_t e)
{
	return e == MAP_ENTRY_NONE ? e : map_entry_deeper(e, s->layer);
}

/* A leaf that the target does not have becomes the source's own. 1: it has it, so entries must be copied. */
static int graft_leaf(struct share *s, grain_no_t at, grain_no_t to, const map_entry_t *entries, struct error *err)
{
	struct map_need need;
	map_entry_t address;
	uint64_t grains = 0;
	int rc;

	WITH_NODES(rc, s->moment, &need, err, grain_map_leaf(s->moment->map, at, &address, &need));
	if (rc || address == MAP_ENTRY_LOCAL)
		return rc ? rc : 1;
	for (size_t k = 0; k < MAP_FANOUT; k++)
		grains += entries[k] != MAP_ENTRY_NONE;
	WITH_NODES(rc, s->to, &need, err, grain_map_graft(s->to->map, to, taken_over(s, address), grains, &need));
	return rc == -EEXIST ? 1 : rc;
}

static int copy_entries(struct share *s, grain_no_t to, size_t count, map_entry_t *entries, struct error *err)
{
	struct grain_map *map = s->to->map;
	bool any = false;
	int rc;

	for (size_t k = 0; k < count; k++) {
		any |= entries[k] != MAP_ENTRY_NONE;
		entries[k] = taken_over(s, entries[k]);
	}
	rc = image_pin_wait(s->to, to, count, !any, err);
	if (rc)
		return rc;
	if (any)
		grain_map_update(map, to, count, entries);
	else
		grain_map_clear(map, to, count);
	grain_map_unpin(map, to, count);
	return 0;
}

/* Part of one leaf of the source, or all of it. */
static int share_leaf(struct share *s, grain_no_t at, grain_no_t to, size_t count, struct error *err)
{
	map_entry_t entries[MAP_FANOUT];
	struct map_need need;
	int rc;

	WITH_NODES(rc, s->moment, &need, err, grain_map_lookup(s->moment->map, at, count, entries, &need));
	if (!rc && count == MAP_FANOUT && to % MAP_FANOUT == 0) {
		rc = graft_leaf(s, at, to, entries, err);
		if (rc <= 0)
			return rc;
		rc = 0;
	}
	return rc ? rc : copy_entries(s, to, count, entries, err);
}

static int share_map(struct share *s, struct error *err)
{
	int rc = 0;

	for (uint64_t k = 0; k < s->count && !rc;) {
		grain_no_t at = s->first + k;
		uint64_t n = MAP_FANOUT - at % MAP_FANOUT;
		rc = share_leaf(s, at, s->to_first + k, (size_t)(n < s->count - k ? n : s->count - k), err);
		k += n;
	}
	return rc;
}

/* ---- the moment -------------------------------------------------------------------------------------------------- */

/* Whether the moment that was shared last is still what the source is. */
static bool still_so(struct image *from, const struct snapshot *held)
{
	bool so;

	if (from->snapshot)
		return held->image == from->snapshot->image && held->segment == from->snapshot->segment &&
		       held->root == from->snapshot->root;
	pthread_mutex_lock(&from->open_mutex);
	so = held->image == from->id && atomic_load(&from->log) && !atomic_load(&from->failed) &&
	     !image_changed(from) && held->segment == from->saved.checkpoint.segment &&
	     held->root == from->saved.checkpoint_root;
	pthread_mutex_unlock(&from->open_mutex);
	return so;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

/* The target's open_mutex is held, and its range locked. */
static int share_locked(struct share *s, struct error *err)
{
	struct image *to = s->to;
	int rc;

	log_close_segment(atomic_load(&to->log));
	to->remapped = true;
	rc = share_map(s, err);
	atomic_store(&to->mtime_ns, clock_wall_ns());
	/* What was done of it is in memory, and must get into the log, too. */
	int end = image_checkpoint(to, rc ? NULL : err);
	return rc ? rc : end;
}

/* Likewise, before that. */
static int share_moment(struct share *s, struct error *err)
{
	struct image *to = s->to;
	struct engine *e = to->engine;
	struct range_lock lock;
	int rc = snapshot_remember(e, &to->shared);

	if (!rc)
		rc = image_open(e, to->shared.info.id, IMAGE_READ, &s->moment, err);
	if (rc)
		return rc;
	image_lock_grains(to, &lock, s->to_first, s->to_first + s->count - 1);
	rc = share_locked(s, err);
	range_unlock(&to->locks, &lock);
	image_close(s->moment, IMAGE_READ);
	snapshot_forget(e, to->shared.info.id);
	return rc;
}

/* A moment of the source, held for the target: that of the last time, if it is the same. */
static int take_moment(struct share *s, uint64_t *hold, struct snapshot *held, struct error *err)
{
	struct engine *e = s->to->engine;
	int rc;

	*hold = 0;
	if (s->to->shared_layer && still_so(s->from, &s->to->shared))
		return 0;
	/* Who hold each other could never be deleted. */
	rc = layer_reaches(e->pool, s->from->log_id, s->to->id, err);
	if (rc)
		return rc < 0 ? rc : error_set(err, -ELOOP, "the source is a clone of the target");
	return moment_hold(e, s->from->id, s->from->snapshot, s->to->id, hold, held, err);
}

static int add_layers(struct share *s, uint64_t hold, const struct snapshot *held, struct error *err)
{
	struct image *to = s->to;
	unsigned layer;
	int rc = image_layers_add(to, held, hold, &layer, err);

	if (!rc) {
		to->shared = *held;
		to->shared_layer = layer;
	} else if (rc != -ETIMEDOUT && rc != -EIO) { /* else the list may be there all the same */
		moment_let_go(to->engine, held);
	}
	return rc;
}

/* Whether a moment can be had without taking the image from somebody. */
static bool has_moments(struct image *from)
{
	bool free;

	if (from->snapshot || atomic_load(&from->log))
		return true;
	pthread_mutex_lock(&from->view_mutex);
	free = !from->view.newest_epoch || from->view.released || from->view.owner_host == from->engine->host.id;
	pthread_mutex_unlock(&from->view_mutex);
	return free;
}

bool image_can_share(struct image *from, uint64_t offset, const struct image *to, uint64_t to_offset, uint64_t len)
{
	uint64_t part = from->grain_bytes - 1;

	return from != to && from->engine == to->engine && from->grain_bytes == to->grain_bytes &&
	       len >= from->engine->options.share_min && len >= from->grain_bytes && atomic_load(&to->log) &&
	       !((offset | to_offset) & part) && has_moments(from);
}

int64_t image_share(struct image *from, uint64_t offset, struct image *to, uint64_t to_offset, uint64_t len,
                    struct error *err)
{
	struct share s = {
		.from = from,
		.to = to,
		.first = grain_of(from, offset),
		.to_first = grain_of(to, to_offset),
		.count = len >> from->grain_shift < SHARE_GRAINS_MAX ? len >> from->grain_shift : SHARE_GRAINS_MAX,
	};
	struct snapshot held;
	uint64_t hold;
	/* Of two images only one is locked at a time: who takes snapshots of groups locks them in another order. */
	int rc = take_moment(&s, &hold, &held, err);

	if (rc)
		return rc;
	pthread_mutex_lock(&to->open_mutex);
	if (!atomic_load(&to->log) || atomic_load(&to->failed))
		rc = error_set(err, -EIO, "image %016" PRIx64 " has stopped", to->id);
	if (!rc && hold)
		rc = add_layers(&s, hold, &held, err);
	if (!rc) {
		s.layer = to->shared_layer;
		rc = share_moment(&s, err);
	}
	pthread_mutex_unlock(&to->open_mutex);
	return rc ? rc : (int64_t)(s.count << from->grain_shift);
}
